package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	version "github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

var rootSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "iexecform"},
	{Type: "provider", LabelNames: []string{"name"}},
	{Type: "resource", LabelNames: []string{"type", "name"}},
	{Type: "data", LabelNames: []string{"type", "name"}},
	{Type: "variable", LabelNames: []string{"name"}},
	{Type: "locals"},
	{Type: "output", LabelNames: []string{"name"}},
	{Type: "import"},
	{Type: "moved"},
	{Type: "removed"},
	{Type: "check", LabelNames: []string{"name"}},
}}

// loader builds a Config and gathers diagnostics.
type loader struct {
	*Config
	parser  *hclparse.Parser
	diags   hcl.Diagnostics
	tables  map[tableKey]*schema.Table
	bodies  map[*schema.Table]*hcl.BodySchema
	setting hcl.Range               // of the iexecform block, once seen
	broken  map[hcl.Expression]bool // expressions with an invalid reference: not evaluated

	unwritten bool // see WithoutBlocks
}

type tableKey struct{ kind, name string }

// Load reads the *.hcl files of dir (not recursive; without hidden files, *.iexectest.hcl and *.lock.hcl) and checks all
// that can be checked without variables and without network. The Config is never nil; it must not be evaluated when the
// diagnostics have errors. A directory without such files gives an empty Config.
func Load(dir string, s Schemas, options ...LoadOption) (*Config, hcl.Diagnostics) {
	l := &loader{
		Config: &Config{
			Dir:       dir,
			schemas:   s,
			files:     map[string]*hcl.File{},
			variables: map[string]*node{},
			locals:    map[string]*node{},
			outputs:   map[string]*node{},
			checks:    map[string]*node{},
			providers: map[addr.Provider]*node{},
			resources: map[addr.Resource]*node{},
		},
		parser: hclparse.NewParser(),
		tables: map[tableKey]*schema.Table{},
		bodies: map[*schema.Table]*hcl.BodySchema{},
		broken: map[hcl.Expression]bool{},
	}
	for _, option := range options {
		option(l)
	}
	l.scope = baseContext(dir, s.Functions())
	l.readFiles()
	l.checkMoves()
	l.resolve()
	l.sortNodes()
	l.checkStatic()
	l.diags = inOrder(l.diags)
	l.invalid = l.diags.HasErrors()
	return l.Config, l.diags
}

// readFiles parses every configuration file and declares its blocks.
func (l *loader) readFiles() {
	names, err := fileNames(l.Dir)
	if err != nil {
		l.errorf(nil, "Cannot read the configuration directory", "%s. Give a directory with .hcl files, with --chdir.", upperFirst(err.Error()))
		return
	}
	l.empty = len(names) == 0
	sum := sha256.New()
	for _, name := range names {
		path := filepath.Join(l.Dir, name)
		src, err := os.ReadFile(path)
		if err != nil {
			l.errorf(nil, "Cannot read a configuration file", "%s.", upperFirst(err.Error()))
			continue
		}
		_, _ = fmt.Fprintf(sum, "%d %s %d\n", len(name), name, len(src)) // a hash takes all
		_, _ = sum.Write(src)
		file, diags := l.parser.ParseHCL(src, path)
		l.diags = append(l.diags, diags...)
		if file != nil {
			l.files[path] = file
		}
		if diags.HasErrors() { // what the file declares is uncertain: say nothing about it
			l.incomplete = true
			continue
		}
		content, diags := file.Body.Content(rootSchema)
		l.diags = append(l.diags, diags...)
		for _, block := range content.Blocks {
			l.declare(block)
		}
	}
	l.digest = hex.EncodeToString(sum.Sum(nil))
}

// fileNames lists the configuration files of a directory, sorted.
func fileNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		name := entry.Name()
		if !IsConfigFile(name) {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
			continue
		}
		names = append(names, name)
	}
	return names, nil
}

// IsConfigFile reports whether a file of that name is part of the configuration of its directory.
func IsConfigFile(name string) bool {
	return strings.HasSuffix(name, ".hcl") && !strings.HasPrefix(name, ".") &&
		!strings.HasSuffix(name, ".iexectest.hcl") && !strings.HasSuffix(name, ".lock.hcl")
}

func (l *loader) declare(block *hcl.Block) {
	for i, label := range block.Labels {
		if !hclsyntax.ValidIdentifier(label) {
			l.errorf(block.LabelRanges[i].Ptr(), "Invalid name",
				"%q cannot name a block: a name starts with a letter, followed by letters, digits, underscores and dashes.", label)
			return
		}
	}
	switch block.Type {
	case "iexecform":
		l.declareSettings(block)
	case "variable":
		l.declareVariable(block)
	case "locals":
		attrs, diags := block.Body.JustAttributes()
		l.diags = append(l.diags, diags...)
		for _, attr := range sortedAttrs(attrs) {
			l.add(&node{kind: localNode, name: attr.Name, expr: attr.Expr, rng: attr.Range}, l.locals)
		}
	case "output":
		l.declareOutput(block)
	case "provider":
		l.declareProvider(block)
	case "resource", "data":
		l.declareResource(block)
	case "import":
		l.declareImport(block)
	case "moved":
		l.declareMoved(block)
	case "removed":
		l.declareRemoved(block)
	case "check":
		l.declareCheck(block)
	}
}

func (l *loader) declareSettings(block *hcl.Block) {
	if !l.setting.Empty() {
		l.duplicate("the iexecform block", block.DefRange, l.setting)
		return
	}
	l.setting = block.DefRange
	content, diags := block.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "project"}, {Name: "required_version"}}})
	l.diags = append(l.diags, diags...)
	l.literal(content.Attributes["project"], &l.Settings.Project)
	if attr := content.Attributes["required_version"]; attr != nil && l.literal(attr, &l.Settings.RequiredVersion) {
		l.Settings.requiredRange = attr.Expr.Range()
		if _, err := version.NewConstraint(l.Settings.RequiredVersion); err != nil {
			l.errorf(attr.Expr.Range().Ptr(), "Invalid version constraint",
				`%q is not a version constraint. Write for example "~> 1.2" or ">= 1.0, < 2.0".`, l.Settings.RequiredVersion)
			l.Settings.RequiredVersion = ""
		}
	}
}

func (l *loader) declareOutput(block *hcl.Block) {
	n := &node{kind: outputNode, name: block.Labels[0], rng: block.DefRange, output: &Output{Name: block.Labels[0], Range: block.DefRange}}
	content, diags := block.Body.Content(&hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "value", Required: true}, {Name: "description"}, {Name: "sensitive"}, {Name: "depends_on"}},
		Blocks:     []hcl.BlockHeaderSchema{{Type: "precondition"}},
	})
	l.diags = append(l.diags, diags...)
	l.literal(content.Attributes["description"], &n.output.Description)
	l.literal(content.Attributes["sensitive"], &n.output.Sensitive)
	n.dependsOn = l.dependsOn(content.Attributes["depends_on"])
	for _, inner := range content.Blocks {
		n.asserts = append(n.asserts, l.conditions(inner)...)
	}
	if value := content.Attributes["value"]; value != nil {
		n.expr = value.Expr
		l.add(n, l.outputs)
	}
}

func (l *loader) declareProvider(block *hcl.Block) {
	name := block.Labels[0]
	table := l.table("provider", name, l.schemas.ProviderTable)
	if table == nil {
		l.errorf(block.LabelRanges[0].Ptr(), "Unknown provider", "There is no provider %q.%s There are: %s.",
			name, DidYouMean(name, l.schemas.Names()), strings.Join(l.schemas.Names(), ", "))
		return
	}
	p := addr.Provider{Name: name}
	body, content := l.body(block, table, "alias")
	if alias := content.Attributes["alias"]; alias != nil && l.literal(alias, &p.Alias) && !hclsyntax.ValidIdentifier(p.Alias) {
		l.errorf(alias.Expr.Range().Ptr(), "Invalid name", "%q cannot be an alias: it must be a name.", p.Alias)
	}
	if first := l.providers[p]; first != nil {
		what := fmt.Sprintf("the configuration of provider %s", p)
		if p.Alias == "" {
			what += " without alias"
		}
		l.duplicate(what, block.DefRange, first.rng)
		return
	}
	l.providers[p] = l.append(&node{kind: providerNode, name: p.String(), provider: p, body: body, rng: block.DefRange})
}

func (l *loader) declareResource(block *hcl.Block) {
	typ := block.Labels[0]
	address := addr.Resource{Mode: addr.Managed, Type: typ, Name: block.Labels[1]}
	find, types, what := l.schemas.ResourceTable, l.schemas.ResourceTypes, "resource"
	n := &node{kind: resourceNode, address: address, rng: block.DefRange}
	if block.Type == "data" {
		find, types, what = l.schemas.DataTable, l.schemas.DataTypes, "data source"
		n.kind, n.address.Mode = dataNode, addr.Data
	}
	n.name = n.address.String()
	table := l.table(block.Type, typ, find)
	if table == nil {
		l.errorf(block.LabelRanges[0].Ptr(), "Unknown "+what+" type", "There is no %s type %q.%s", what, typ, DidYouMean(typ, types()))
		l.unknown(n)
		return
	}
	body, content := l.body(block, table, "count", "for_each", "depends_on", "provider", lifecycleBlock)
	n.body = body
	l.lifecycle(n, content)
	if attr := content.Attributes["count"]; attr != nil {
		n.count = attr.Expr
	}
	if attr := content.Attributes["for_each"]; attr != nil {
		n.forEach = attr.Expr
		if n.count != nil {
			l.errorf(attr.NameRange.Ptr(), "Invalid combination of count and for_each", "%s has both count and for_each: keep one of them.", n.name)
		}
	}
	n.dependsOn = l.dependsOn(content.Attributes["depends_on"])
	n.providerExpr = content.Attributes["provider"]
	if first := l.resources[n.address]; first != nil {
		l.duplicate(n.name, block.DefRange, first.rng)
		return
	}
	l.resources[n.address] = l.append(n)
}

// unknown declares a block that cannot be checked, so that references to it aren't reported as well.
func (l *loader) unknown(n *node) {
	if l.resources[n.address] == nil {
		l.resources[n.address] = l.append(n)
	}
}

// table is the schema of a type. The answer is the same pointer each time.
func (l *loader) table(kind, name string, find func(string) *schema.Table) *schema.Table {
	key := tableKey{kind, name}
	table, seen := l.tables[key]
	if !seen {
		table = find(name)
		l.tables[key] = table
	}
	return table
}

// add declares a named block once.
func (l *loader) add(n *node, in map[string]*node) {
	if first := in[n.name]; first != nil {
		l.duplicate(n.id(), n.rng, first.rng)
		return
	}
	in[n.name] = l.append(n)
}

func (l *loader) append(n *node) *node {
	n.index = len(l.nodes)
	l.nodes = append(l.nodes, n)
	return n
}

func (l *loader) duplicate(what string, second, first hcl.Range) {
	l.errorf(second.Ptr(), "Duplicate declaration", "%s is declared at %s already. Rename or remove one of the two.", upperFirst(what), first)
}

// literal evaluates an attribute that may not refer to anything. It reports whether target was set.
func (l *loader) literal(attr *hcl.Attribute, target any) bool {
	if attr == nil {
		return false
	}
	_, diags := attr.Expr.Value(nil)
	if !diags.HasErrors() {
		diags = gohcl.DecodeExpression(attr.Expr, nil, target)
	}
	l.diags = append(l.diags, diags...)
	return !diags.HasErrors()
}

func (l *loader) dependsOn(attr *hcl.Attribute) []hcl.Expression {
	if attr == nil {
		return nil
	}
	exprs, diags := hcl.ExprList(attr.Expr)
	l.diags = append(l.diags, diags...)
	return exprs
}

func (l *loader) errorf(subject *hcl.Range, summary, format string, args ...any) {
	l.diags = append(l.diags, failure(subject, summary, format, args...))
}

// CheckVersion tells whether the program's version satisfies required_version. A version that is not a semantic version,
// such as that of a development build, satisfies all.
func (c *Config) CheckVersion(program string) hcl.Diagnostics {
	v, err := version.NewVersion(program)
	if c.Settings.RequiredVersion == "" || err != nil {
		return nil
	}
	constraint, err := version.NewConstraint(c.Settings.RequiredVersion)
	if err != nil || constraint.Check(v) {
		return nil
	}
	return hcl.Diagnostics{failure(c.Settings.requiredRange.Ptr(), "Unsupported program version",
		"This configuration requires iexecform %s, and this is %s. Install such a version, or change required_version.", c.Settings.RequiredVersion, program)}
}
