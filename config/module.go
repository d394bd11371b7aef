package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
)

// A module block calls another directory's configuration with values for its variables, once or for each key. Policies: the
// blocks of a module are nodes of the same graph, one for each call, so that a reference through a module's output depends
// on what that output depends on and on nothing else; a node is evaluated in all instances of its module together, so that
// a wave stays one call; providers are configured in the root, and passed to modules; moved, removed and import blocks are
// in the root, too, where addresses are known in full.

// module is a directory as it is called from one place, or the root.
type module struct {
	index  int // in Config.modules
	path   addr.Module
	depth  int
	dir    string
	root   string // of what was fetched, that dir is in; "" for local modules
	parent *module
	caller *node // nil in the root

	blocks     hcl.Blocks // with what override files change
	own        []*node    // its nodes
	variables  map[string]*node
	locals     map[string]*node
	outputs    map[string]*node
	checks     map[string]*node
	calls      map[string]*node
	providers  map[addr.Provider]*node // of the root
	given      map[addr.Provider]given // what the call passes, in terms of the parent
	validation *node                   // nil without such rules, and in the root
}

// given is a provider configuration that a call passes; the key, if there is one, is evaluated for each instance of the module.
type given struct {
	provider addr.Provider
	key      hcl.Expression
}

// call is what a callNode has besides count and for_each.
type call struct {
	module *module // nil when it can't be loaded
	source string
}

// ModuleCall is a module block, also one within a module.
type ModuleCall struct {
	Addr   addr.Module // without keys
	Source string
	Dir    string // of its files; "" when they aren't there
	Range  hcl.Range
}

// ModuleCalls returns the module blocks, sorted by address.
func (c *Config) ModuleCalls() []ModuleCall {
	var list []ModuleCall
	for _, n := range c.nodes {
		if n.kind != callNode {
			continue
		}
		found := ModuleCall{Addr: n.module.path.Child(n.name, addr.Key{}), Source: n.call.source, Range: n.rng}
		if n.call.module != nil {
			found.Dir = n.call.module.dir
		}
		list = append(list, found)
	}
	slices.SortFunc(list, func(a, b ModuleCall) int { return strings.Compare(string(a.Addr), string(b.Addr)) })
	return list
}

// rootOnly are the blocks that a module can't have.
var rootOnly = []string{"provider", "import", "moved", "removed", "policy"}

func rootOnlyDetail(typ string) string {
	if typ == "provider" {
		return "Providers are configured in the root of the configuration. A module uses those, and others if the module block passes them: providers = { iexec = iexec.ALIAS }"
	}
	return fmt.Sprintf("A block of type %q must be in the root of the configuration, with full addresses, such as module.NAME.iexec_app.NAME.", typ)
}

func (l *loader) newModule(path addr.Module, dir string) *module {
	m := &module{
		index: len(l.modules), path: path, dir: dir, parent: l.module,
		variables: map[string]*node{}, locals: map[string]*node{}, outputs: map[string]*node{}, checks: map[string]*node{}, calls: map[string]*node{},
		providers: map[addr.Provider]*node{}, given: map[addr.Provider]given{},
	}
	if m.parent != nil {
		m.depth = m.parent.depth + 1
	}
	l.modules = append(l.modules, m)
	return m
}

var callMeta = []string{"source", "version", "count", "for_each", "depends_on", "providers"}

func (l *loader) declareCall(block *hcl.Block) {
	n := &node{kind: callNode, name: block.Labels[0], rng: block.DefRange, call: &call{}}
	attrs, diags := block.Body.JustAttributes()
	l.diags = append(l.diags, diags...)
	if attr := attrs["count"]; attr != nil {
		n.count = attr.Expr
	}
	if attr := attrs["for_each"]; attr != nil {
		n.forEach = attr.Expr
		if n.count != nil {
			l.errorf(attr.NameRange.Ptr(), "Invalid combination of count and for_each", "module.%s has both count and for_each: keep one of them.", n.name)
		}
	}
	n.dependsOn = l.dependsOn(attrs["depends_on"])
	if first := l.calls[n.name]; first != nil {
		l.duplicate("module."+n.name, block.DefRange, first.rng)
		return
	}
	l.calls[n.name] = l.append(n)
	source := attrs["source"]
	if source == nil {
		l.errorf(block.DefRange.Ptr(), "Missing required attribute", `module.%s needs source: where its files are, such as source = "./modules/%[1]s"`, n.name)
		return
	}
	if !l.literal(source, &n.call.source) {
		return
	}
	if root, dir, ok := l.sourceDir(n, source, attrs["version"]); ok {
		l.loadModule(n, root, dir, source, attrs)
	}
}

const maxDepth = 32

// loadModule reads the files of a call, and binds the call's arguments.
func (l *loader) loadModule(n *node, root, dir string, source *hcl.Attribute, attrs hcl.Attributes) {
	rng := source.Expr.Range().Ptr()
	for m := l.module; m != nil; m = m.parent {
		if filepath.Clean(m.dir) == filepath.Clean(dir) {
			l.errorf(rng, "Module calls itself", "module.%s is made of the files in %s, which it is called from. A module can't contain itself.", n.name, dir)
			return
		}
	}
	if l.depth >= maxDepth {
		l.errorf(rng, "Too many modules within modules", "Modules may be called %d deep.", maxDepth)
		return
	}
	names, err := fileNames(dir)
	if err != nil || len(names) == 0 {
		l.errorf(rng, "No module there", "%s has no .hcl file, so module.%s can't be made of it. Correct the source.", dir, n.name)
		return
	}
	caller := l.module
	child := l.newModule(l.path.Child(n.name, addr.Key{}), dir)
	child.root, child.caller, n.call.module = root, n, child
	l.module = child
	setting := l.setting
	l.setting = hcl.Range{}
	l.readFiles()
	l.setting = setting
	for _, name := range keysOf(child.variables) {
		if len(child.variables[name].variable.validations) > 0 {
			child.validation = l.append(&node{kind: validationNode, rng: n.rng})
			break
		}
	}
	l.module = caller
	l.give(n, attrs["providers"])
	for _, attr := range sortedAttrs(attrs) {
		if slices.Contains(callMeta, attr.Name) {
			continue
		}
		v := child.variables[attr.Name]
		if v == nil {
			if !l.incomplete {
				l.errorf(attr.NameRange.Ptr(), "Unsupported argument", "module.%s has no variable %q.%s", n.name, attr.Name, DidYouMean(attr.Name, keysOf(child.variables)))
			}
			continue
		}
		v.expr = attr.Expr
	}
	for _, name := range keysOf(child.variables) {
		if v := child.variables[name]; v.expr == nil && v.variable.Default == cty.NilVal {
			l.errorf(n.rng.Ptr(), "Missing required argument", "module.%s needs %s: its variable, declared at %s, has no default.", n.name, name, place(v.rng))
		}
	}
}

// give reads the providers of a call.
func (l *loader) give(n *node, attr *hcl.Attribute) {
	if attr == nil {
		return
	}
	pairs, diags := hcl.ExprMap(attr.Expr)
	l.diags = append(l.diags, diags...)
	for _, pair := range pairs {
		to, toKey, okTo := l.providerName(pair.Key)
		from, key, okFrom := l.providerName(pair.Value)
		switch {
		case !okTo || !okFrom:
		case toKey != nil:
			l.errorf(pair.Key.Range().Ptr(), "Invalid provider", "In the module %s is one configuration. Leave the index out.", to)
		case to.Name != from.Name:
			l.errorf(pair.Value.Range().Ptr(), "Invalid provider", "%s can't be passed as %s: they are of different providers.", from, to)
		default:
			n.call.module.given[to] = given{from, key}
		}
	}
}

func (l *loader) providerName(expr hcl.Expression) (p addr.Provider, key hcl.Expression, ok bool) {
	t, key, ok := providerTraversal(expr)
	if !ok {
		l.errorf(expr.Range().Ptr(), "Invalid provider", "providers takes names of provider configurations, without quotes: providers = { iexec = iexec.ALIAS }")
		return p, nil, false
	}
	p.Name = t.RootName()
	p.Alias, _ = attrName(t, 1)
	return p, key, true
}

// passed follows the provider of a node to the root, and reports whether it gets there.
func (l *loader) passed(n *node, rng hcl.Range) bool {
	for m := l.module; m.parent != nil; m = m.parent {
		from, ok := m.given[n.provider]
		switch {
		case ok && from.key != nil && n.providerKey != nil:
			l.errorf(rng.Ptr(), "Invalid provider", "%s is passed to %s as one configuration. Leave the index out: %[1]s", n.provider, m.path)
			return false
		case ok:
			n.provider = from.provider
			if from.key != nil {
				n.providerKey, n.keyGiven = from.key, m
			}
		case n.provider.Alias != "":
			l.errorf(rng.Ptr(), "Reference to undeclared provider", "No provider %s is passed to %s. Add to its module block: providers = { %[1]s = %s.ALIAS }", n.provider, m.path, n.provider.Name)
			return false
		}
	}
	return true
}

// resolveCall finds what a call refers to.
func (l *loader) resolveCall(n *node) {
	if n.count != nil {
		l.use(n, n.count, scope{expansion: true})
	}
	if n.forEach != nil {
		l.use(n, n.forEach, scope{expansion: true})
	}
	if n.call.module != nil {
		passed := n.call.module.given
		for _, p := range slices.SortedFunc(maps.Keys(passed), addr.Provider.Compare) {
			if from := passed[p]; from.key != nil {
				l.use(n, from.key, scope{each: n.forEach != nil, count: n.count != nil})
			}
		}
	}
	after := &node{module: n.module} // what all of the module depends on
	for _, expr := range n.dependsOn {
		l.useDependsOn(after, expr)
	}
	if n.call.module == nil {
		return
	}
	for _, m := range l.modules {
		if !m.within(n.call.module) {
			continue
		}
		for _, inner := range m.own {
			if inner.instantiable() {
				inner.refs = append(inner.refs, after.refs...)
			}
		}
	}
}

func (m *module) within(other *module) bool {
	for ; m != nil; m = m.parent {
		if m == other {
			return true
		}
	}
	return false
}

// anyOf reports whether an address of the module means several instances of it.
func (m *module) anyOf(at addr.Module) bool {
	keys := at.Keys()
	for ; m.parent != nil; m = m.parent {
		if m.caller.expanded() && keys[m.depth-1].IsZero() {
			return true
		}
	}
	return false
}

// resolveArgument finds what the value of a module's variable refers to, and what its validation does.
func (l *loader) resolveArgument(n *node) {
	if l.parent == nil {
		return
	}
	v := l.validation
	if v != nil {
		v.refs = append(v.refs, ref{to: n, rng: n.rng})
	}
	if n.expr == nil {
		return
	}
	child := l.module
	l.module = child.parent
	l.use(n, n.expr, scope{each: child.caller.forEach != nil, count: child.caller.count != nil})
	l.module = child
}

// call checks module.NAME with what follows; index is the index expression that it is the collection of, or nil.
func (f *finder) call(t hcl.Traversal, index *hclsyntax.IndexExpr) {
	r, rest, ok := f.callRef(t)
	if !ok {
		return
	}
	to, what := r.to, "module."+r.to.name
	keyed := r.mode == refKey
	if index != nil && len(rest) == 0 && !keyed {
		r.mode, r.expr = refExpr, index.Key
		for _, v := range index.Key.Variables() {
			if f.isLocal(v.RootName()) {
				r.mode, r.expr = refAll, nil
			}
		}
		rest, keyed = f.rest[index], true
	}
	name, named := attrName(rest, 0)
	switch {
	case !to.expanded() && keyed:
		f.errorf(t, invalidReference, "%s has no count or for_each, so there is one instance only. Leave the index out: %s", what, what)
		return
	case !to.expanded():
		r.mode, r.key = refKey, addr.Key{}
	case r.mode == refKey && r.key.IsInt() != (to.count != nil):
		f.errorf(t, invalidReference, "There is no %s%s. %s", what, r.key, keyForm(to))
		return
	case !keyed && named:
		f.errorf(t, "Missing instance key", "%s has several instances, so an output belongs to one of them. Write %s[KEY].%s", what, what, name)
		return
	}
	f.refs = append(f.refs, ref{to: to, expansion: true, rng: r.rng})
	outputs := to.call.module.outputs
	r.via = to
	if named && (keyed || !to.expanded()) {
		if r.to = outputs[name]; r.to == nil {
			f.broken = true
			if !f.config.incomplete {
				f.errorf(t, "Unsupported attribute", "%s has no output %q.%s", what, name, DidYouMean(name, keysOf(outputs)))
			}
			return
		}
		r.rest = rest
		f.refs = append(f.refs, r)
		return
	}
	for _, name := range keysOf(outputs) {
		r.to = outputs[name]
		f.refs = append(f.refs, r)
	}
}

// callRef finds the call that a traversal names. The mode is refKey when a key is written there, or else refAll.
func (f *finder) callRef(t hcl.Traversal) (r ref, rest hcl.Traversal, ok bool) {
	r = ref{rng: t.SourceRange(), expansion: f.scope.expansion}
	calls := f.scope.module.calls
	name, ok := attrName(t, 1)
	if !ok {
		f.errorf(t, invalidReference, "module must be followed by a dot and the name of a module block.")
		return r, nil, false
	}
	r.to = calls[name]
	switch {
	case r.to == nil && !f.config.incomplete:
		f.errorf(t, "Reference to undeclared module", "There is no module block %q.%s", name, DidYouMean(name, keysOf(calls)))
		return r, nil, false
	case r.to == nil || r.to.call.module == nil: // reported already
		f.broken = true
		return r, nil, false
	}
	rest = t[2:]
	if len(rest) > 0 {
		if index, isIndex := rest[0].(hcl.TraverseIndex); isIndex {
			if key, isKey := addr.KeyOf(index.Key); isKey {
				r.mode, r.key, rest = refKey, key, rest[1:]
			}
		}
	}
	return r, rest, true
}

// dependsOnCall makes n depend on all of a module.
func (f *finder) dependsOnCall(n *node, t hcl.Traversal) {
	r, rest, ok := f.callRef(t)
	switch {
	case !ok:
		return
	case len(rest) > 0:
		f.errorf(t, "Invalid depends_on", "depends_on takes whole modules, not their outputs. Write module.%s", r.to.name)
		return
	case r.mode == refKey && !r.to.expanded():
		f.errorf(t, "Invalid depends_on", "module.%s has no count or for_each, so there is one instance only. Leave the index out.", r.to.name)
		return
	case !r.to.expanded():
		r.mode = refKey
	}
	n.refs = append(n.refs, ref{to: r.to, expansion: true, rng: r.rng})
	r.via, r.dependsOn = r.to, true
	for _, m := range f.config.modules {
		if !m.within(r.via.call.module) {
			continue
		}
		for _, inner := range m.own {
			if inner.instantiable() {
				r.to = inner
				n.refs = append(n.refs, r)
			}
		}
	}
}

// repeated is the node whose instances the keys of the reference belong to.
func (r ref) repeated() *node {
	if r.via != nil {
		return r.via
	}
	return r.to
}

// once leaves out what is said more than once because a module is called more than once.
func (l *loader) once(diags hcl.Diagnostics) hcl.Diagnostics {
	if len(l.modules) == 1 {
		return diags
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(diags, func(d *hcl.Diagnostic) bool {
		key := d.Error()
		twice := seen[key]
		seen[key] = true
		return twice
	})
}

// digestModules is the digest of the configuration with all modules.
func (c *Config) digestModules() string {
	if len(c.modules) == 1 {
		return digestOf(c.blocks)
	}
	var text strings.Builder
	for _, m := range c.modules {
		fmt.Fprintf(&text, "%s %s\n", m.path, digestOf(m.blocks))
	}
	sum := sha256.Sum256([]byte(text.String()))
	return hex.EncodeToString(sum[:])
}

// otherModule offers a module of a similar name.
func (c *Config) otherModule(target addr.Module) string {
	var names []string
	for _, m := range c.modules[1:] {
		names = append(names, string(m.path))
	}
	return DidYouMean(string(target.Call()), names)
}
