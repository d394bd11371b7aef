package config

import (
	"slices"
	"sync"

	version "github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
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
	{Type: "module", LabelNames: []string{"name"}},
	{Type: "policy", LabelNames: []string{"name"}},
}}

// loader builds a Config and gathers diagnostics.
type loader struct {
	*Config
	*module // that is being loaded
	diags   hcl.Diagnostics
	tables  map[tableKey]*schema.Table
	bodies  map[*schema.Table]*hcl.BodySchema
	setting hcl.Range               // of the iexecform block, once seen
	broken  map[hcl.Expression]bool // expressions with an invalid reference: not evaluated

	unwritten bool    // see WithoutBlocks
	fetched   Modules // or nil
	program   string  // see ForVersion
	states    StateTables
}

type tableKey struct{ kind, name string }

// Load reads the *.hcl and *.hcl.json files of dir (not recursive; without hidden files, *.iexectest.hcl and *.lock.hcl) and
// checks all that can be checked without variables and without network. The Config is never nil; it must not be evaluated
// when the diagnostics have errors. A directory without such files gives an empty Config.
func Load(dir string, s Schemas, options ...LoadOption) (*Config, hcl.Diagnostics) {
	l := &loader{
		Config: &Config{
			Dir:       dir,
			schemas:   s,
			files:     map[string]*hcl.File{},
			meter:     newMeter(),
			resources: map[addr.Resource]*node{},
		},
		tables: map[tableKey]*schema.Table{},
		bodies: map[*schema.Table]*hcl.BodySchema{},
		broken: map[hcl.Expression]bool{},
	}
	for _, option := range options {
		option(l)
	}
	l.digest = sync.OnceValue(func() string { return l.digestModules() })
	l.scope = baseContext(dir, s.Functions(), l.meter)
	l.Config.module = l.newModule("", dir)
	l.module = l.Config.module
	l.readFiles()
	l.checkMoves()
	l.checkPolicies()
	l.resolve()
	l.sortNodes()
	l.checkStatic()
	l.diags = l.once(inOrder(l.diags))
	l.invalid = l.diags.HasErrors()
	return l.Config, l.diags
}

func (l *loader) declare(block *hcl.Block) {
	for i, label := range block.Labels {
		if !hclsyntax.ValidIdentifier(label) {
			l.errorf(block.LabelRanges[i].Ptr(), "Invalid name",
				"%q cannot name a block: a name starts with a letter, followed by letters, digits, underscores and dashes.", label)
			return
		}
	}
	if l.parent != nil && slices.Contains(rootOnly, block.Type) {
		l.errorf(block.DefRange.Ptr(), "Invalid block in a module", "%s", rootOnlyDetail(block.Type))
		return
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
	case "module":
		l.declareCall(block)
	case "policy":
		l.declarePolicy(block)
	}
}

func (l *loader) declareSettings(block *hcl.Block) {
	if !l.setting.Empty() {
		l.duplicate("The iexecform block", block.DefRange, l.setting)
		return
	}
	l.setting = block.DefRange
	known := &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "project"}, {Name: "required_version"}}}
	for _, kind := range stateKinds {
		known.Blocks = append(known.Blocks, hcl.BlockHeaderSchema{Type: kind, LabelNames: []string{"type"}})
	}
	content, diags := block.Body.Content(known)
	l.diags = append(l.diags, diags...)
	l.declareStates(content.Blocks)
	l.literal(content.Attributes["project"], &l.Settings.Project)
	if attr := content.Attributes["required_version"]; attr != nil && l.literal(attr, &l.Settings.RequiredVersion) {
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
	n.address.Module = l.path
	table := l.table(block.Type, typ, find)
	if table == nil {
		l.errorf(block.LabelRanges[0].Ptr(), "Unknown "+what+" type", "There is no %s type %q.%s", what, typ, DidYouMean(typ, types()))
		l.unknown(n)
		return
	}
	body, content := l.body(block, table, "count", "for_each", "depends_on", "provider", lifecycleBlock)
	n.body = body
	n.body.later = n.kind == dataNode
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

// tableOf is the schema of a block, or nil.
func (l *loader) tableOf(typ string, labels []string) *schema.Table {
	if l.schemas == nil { // see ReadSettings
		return nil
	}
	find := map[string]func(string) *schema.Table{"provider": l.schemas.ProviderTable, "resource": l.schemas.ResourceTable, "data": l.schemas.DataTable}[typ]
	if find == nil || len(labels) == 0 {
		return nil
	}
	return l.table(typ, labels[0], find)
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
	n.module = l.module
	if first := in[n.name]; first != nil {
		l.duplicate(n.id(), n.rng, first.rng)
		return
	}
	in[n.name] = l.append(n)
}

func (l *loader) append(n *node) *node {
	n.index, n.module = len(l.nodes), l.module
	n.module.own = append(n.module.own, n)
	l.nodes = append(l.nodes, n)
	return n
}

func (l *loader) duplicate(what string, second, first hcl.Range) {
	l.errorf(second.Ptr(), "Duplicate declaration", "%s is declared at %s already. Rename or remove one of the two.", what, first)
}

// literal evaluates an attribute that may not refer to anything. It reports whether target was set.
func (l *loader) literal(attr *hcl.Attribute, target any) bool {
	if attr == nil {
		return false
	}
	_, diags := constant(attr.Expr)
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
