package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/iexecform/iexecform/config/addr"
)

// scope is what an expression may refer to besides the blocks.
type scope struct {
	each, count   bool
	variablesOnly bool   // as in a variable's validation
	expansion     bool   // the expression is count or for_each itself
	self          *node  // whose postcondition it is, or nil
	check         *node  // that it is part of, or nil
	iterator      string // of the dynamic block that it is within, or ""
	module        *module
}

// finder collects the references of one expression. It is an hclsyntax.Walker.
type finder struct {
	config *Config
	scope  scope
	diags  hcl.Diagnostics
	refs   []ref
	keyed  bool // each or count occurs
	each   bool // each.value occurs
	broken bool // the expression cannot be evaluated

	limits  limiter
	locals  []map[string]struct{} // names of enclosing for expressions
	indexed map[*hclsyntax.ScopeTraversalExpr]*hclsyntax.IndexExpr
	rest    map[*hclsyntax.IndexExpr]hcl.Traversal
}

// find collects the references of an expression and checks them.
func (c *Config) find(expr hcl.Expression, s scope) *finder {
	f := &finder{config: c, scope: s}
	if f.scope.module == nil {
		f.scope.module = c.module
	}
	if node, ok := expr.(hclsyntax.Expression); ok {
		_ = hclsyntax.Walk(node, f) // its diagnostics are those of Enter and Exit, which return none
		f.diags = append(f.diags, f.limits.diags...)
	}
	return f
}

// Enter implements hclsyntax.Walker.
func (f *finder) Enter(n hclsyntax.Node) hcl.Diagnostics {
	_ = f.limits.Enter(n)
	switch n := n.(type) {
	case hclsyntax.ChildScope:
		f.locals = append(f.locals, n.LocalNames)
	case *hclsyntax.RelativeTraversalExpr:
		if index, ok := n.Source.(*hclsyntax.IndexExpr); ok {
			if f.rest == nil {
				f.rest = map[*hclsyntax.IndexExpr]hcl.Traversal{}
			}
			f.rest[index] = n.Traversal
		}
	case *hclsyntax.IndexExpr:
		if source, ok := n.Collection.(*hclsyntax.ScopeTraversalExpr); ok {
			if f.indexed == nil {
				f.indexed = map[*hclsyntax.ScopeTraversalExpr]*hclsyntax.IndexExpr{}
			}
			f.indexed[source] = n
		}
	case *hclsyntax.FunctionCallExpr:
		f.function(n)
	case *hclsyntax.ScopeTraversalExpr:
		if !f.isLocal(n.Traversal.RootName()) {
			f.reference(n.Traversal, f.indexed[n])
		}
	}
	return nil
}

// Exit implements hclsyntax.Walker.
func (f *finder) Exit(n hclsyntax.Node) hcl.Diagnostics {
	_ = f.limits.Exit(n)
	if _, ok := n.(hclsyntax.ChildScope); ok {
		f.locals = f.locals[:len(f.locals)-1]
	}
	return nil
}

// function checks the name of a function that is called.
func (f *finder) function(call *hclsyntax.FunctionCallExpr) {
	if _, ok := f.config.scope.Functions[call.Name]; ok {
		return
	}
	why, hint := "", DidYouMean(call.Name, keysOf(f.config.scope.Functions))
	if instead := impure[call.Name]; instead != "" {
		why, hint = " Its result would change from plan to plan, but a plan made twice from the same files must be the same.", " "+instead
	}
	if at := strings.LastIndex(call.Name, "::"); at > 0 {
		hint = fmt.Sprintf(" Functions of providers are called by their own names: %s(...)", call.Name[at+2:])
	}
	d := failure(call.NameRange.Ptr(), "Call to unknown function", "There is no function named %q.%s%s", call.Name, why, hint)
	d.Context = call.Range().Ptr()
	f.diags = append(f.diags, d)
}

func (f *finder) isLocal(name string) bool {
	if name == f.scope.iterator {
		return true
	}
	for _, names := range f.locals {
		if _, ok := names[name]; ok {
			return true
		}
	}
	return false
}

func (f *finder) errorf(t hcl.Traversal, summary, format string, args ...any) {
	f.diags = append(f.diags, failure(t.SourceRange().Ptr(), summary, format, args...))
}

const invalidReference = "Invalid reference"

// reference checks one traversal; index is the index expression that it is the collection of, or nil.
func (f *finder) reference(t hcl.Traversal, index *hclsyntax.IndexExpr) {
	root := t.RootName()
	if f.scope.variablesOnly && root != "var" && root != "path" {
		f.errorf(t, invalidReference, "A validation may refer to variables only, and %s is none. Move the check to the block that uses it, or pass the value in a variable.", root)
		return
	}
	switch root {
	case "var":
		f.named(t, "variable", f.scope.module.variables)
	case "local":
		f.named(t, "local value", f.scope.module.locals)
	case "each":
		f.keyed = true
		f.member(t, "key", "value")
		if !f.scope.each {
			f.errorf(t, invalidReference, "each is known only inside of a resource or data block that has for_each. Add for_each to the block, or name the value in another way.")
		}
		if name, _ := attrName(t, 1); name != "key" {
			f.each = true
		}
	case "count":
		f.keyed = true
		f.member(t, "index")
		if !f.scope.count {
			f.errorf(t, invalidReference, "count is known only inside of a resource or data block that has count. Add count to the block, or name the value in another way.")
		}
	case "path":
		f.member(t, "module", "root", "cwd")
	case "iexecform":
		f.member(t, "workspace")
	case "module":
		f.call(t, index)
	case "output":
		f.errorf(t, invalidReference, "Outputs are for others: nothing in their own configuration can refer to them. Refer to what the output is set from.")
	case "self":
		if f.scope.self == nil {
			f.errorf(t, invalidReference, "self is known only inside of a postcondition. Write the address of the block that you mean.")
			return
		}
		f.attribute(t, f.scope.self, t[1:])
	default:
		f.resource(t, index)
	}
}

func attrName(t hcl.Traversal, i int) (string, bool) {
	if i >= len(t) {
		return "", false
	}
	a, ok := t[i].(hcl.TraverseAttr)
	return a.Name, ok
}

// member checks the second step of a traversal with fixed names.
func (f *finder) member(t hcl.Traversal, names ...string) {
	name, ok := attrName(t, 1)
	for _, n := range names {
		if ok && n == name {
			return
		}
	}
	f.errorf(t, invalidReference, "%s has no %q.%s It has: %s.", t.RootName(), name, DidYouMean(name, names), strings.Join(names, ", "))
}

// named checks var.NAME and local.NAME.
func (f *finder) named(t hcl.Traversal, what string, in map[string]*node) {
	name, ok := attrName(t, 1)
	if !ok {
		f.errorf(t, invalidReference, "%s must be followed by a dot and the name of a %s.", t.RootName(), what)
		return
	}
	to := in[name]
	if to == nil && f.config.incomplete {
		f.broken = true
		return
	}
	if to == nil {
		hint := DidYouMean(name, keysOf(in))
		if hint == "" && what == "variable" {
			hint = fmt.Sprintf(" Declare it with a block: variable %q {}", name)
		}
		f.errorf(t, "Reference to undeclared "+what, "There is no %s %q.%s", what, name, hint)
		return
	}
	f.refs = append(f.refs, ref{to: to, rng: t.SourceRange()})
}

var rootNames = []string{"var", "local", "data", "module", "each", "count", "path", "iexecform"}

// resource checks TYPE.NAME and data.TYPE.NAME with what follows.
func (f *finder) resource(t hcl.Traversal, index *hclsyntax.IndexExpr) {
	to, inst, rest := f.block(t)
	if to == nil {
		return
	}
	r := ref{to: to, rng: t.SourceRange(), expansion: f.scope.expansion}
	keyed := !inst.Key.IsZero()
	if index != nil && len(rest) == 0 && !keyed {
		r.mode, r.expr = refExpr, index.Key
		if f.isOwnKey(index.Key, to) {
			r.mode, r.expr = refEach, nil
		}
		for _, v := range index.Key.Variables() {
			if f.isLocal(v.RootName()) {
				r.mode, r.expr = refAll, nil // the key changes within the expression
			}
		}
		rest, keyed = f.rest[index], true
	} else if keyed {
		r.mode, r.key = refKey, inst.Key
	}
	switch {
	case !to.expanded():
		if keyed && to.body != nil {
			f.errorf(t, invalidReference, "%s has no count or for_each, so there is one instance only. Leave the index out: %s", to.name, to.name)
			return
		}
		r.mode, r.key = refKey, addr.Key{}
		f.attribute(t, to, rest)
	case keyed && inst.Key.IsInt() && to.count == nil:
		f.errorf(t, invalidReference, "%s has for_each, so its instances have strings as keys. Write for example %s[each.key].", to.name, to.name)
	case keyed && r.mode == refKey && !inst.Key.IsInt() && to.count != nil:
		f.errorf(t, invalidReference, "%s has count, so its instances have numbers as keys. Write for example %s[0].", to.name, to.name)
	case keyed:
		f.attribute(t, to, rest)
	default:
		if name, ok := attrName(rest, 0); ok {
			how, key := "for_each", "each.key"
			if to.count != nil {
				how, key = "count", "count.index"
			}
			f.errorf(t, "Missing instance key", "%s has %s, so an attribute belongs to one of its instances. Write %s[KEY].%s, where KEY may be %s in a block with %s.",
				to.name, how, to.name, name, key, how)
			return
		}
	}
	r.rest = rest
	f.refs = append(f.refs, r)
}

// isOwnKey reports whether an index is each.key, or count.index, where the block that it is of has keys of that kind.
func (f *finder) isOwnKey(index hclsyntax.Expression, of *node) bool {
	own, ok := index.(*hclsyntax.ScopeTraversalExpr)
	if !ok {
		return false
	}
	switch traversalText(own.Traversal) {
	case "each.key":
		return f.scope.each && of.forEach != nil
	case "count.index":
		return f.scope.count && of.count != nil
	}
	return false
}

// block finds the block that a traversal starts with. The node is nil after an error.
func (f *finder) block(t hcl.Traversal) (*node, addr.Instance, hcl.Traversal) {
	root := t.RootName()
	inst, rest, ok := addr.FromTraversal(t)
	c := f.config
	if !ok {
		form := root + ".NAME"
		if root == "data" {
			form = "data.TYPE.NAME"
		} else if c.schemas.ResourceTable(root) == nil {
			types := append(c.schemas.ResourceTypes(), rootNames...)
			f.errorf(t, invalidReference, "%q is not a value or the name of a resource type.%s Text must be in quotes.", root, DidYouMean(root, types))
			return nil, inst, nil
		}
		f.errorf(t, invalidReference, "A reference to a resource or data block must name the block: %s", form)
		return nil, inst, nil
	}
	inst.Resource.Module = f.scope.module.path
	if to := c.resources[inst.Resource]; to != nil {
		if to.check != nil && to.check != f.scope.check {
			f.errorf(t, invalidReference, "%s belongs to check %q, and only that may refer to it. Write a data block outside of the check.", to.name, to.check.name)
			return nil, inst, nil
		}
		return to, inst, rest
	}
	r := inst.Resource.Local()
	known, types := c.schemas.ResourceTable(r.Type) != nil, c.schemas.ResourceTypes()
	if r.Mode == addr.Data {
		known, types = c.schemas.DataTable(r.Type) != nil, c.schemas.DataTypes()
	}
	other := inst.Resource
	other.Mode = addr.Data - r.Mode
	switch {
	case known && c.incomplete:
		f.broken = true
	case c.resources[other] != nil:
		f.errorf(t, "Reference to undeclared block", "There is no %s. Did you mean %s?", r, other.Local())
	case known:
		f.errorf(t, "Reference to undeclared block", "There is no %s.%s", r, f.otherBlock(inst.Resource))
	case r.Mode == addr.Data:
		f.errorf(t, invalidReference, "There is no data source type %q.%s", r.Type, DidYouMean(r.Type, types))
	default:
		f.errorf(t, invalidReference, "%q is neither the name of a resource type nor one of %s.%s",
			root, strings.Join(rootNames, ", "), DidYouMean(root, append(types, rootNames...)))
	}
	return nil, inst, nil
}

func (f *finder) otherBlock(r addr.Resource) string {
	var names []string
	for other := range f.config.resources {
		if other.Type == r.Type && other.Mode == r.Mode && other.Module == r.Module {
			names = append(names, other.Name)
		}
	}
	if s := suggestion(r.Name, names); s != "" {
		r.Name = s
		return " Did you mean " + r.Local().String() + "?"
	}
	return ""
}

// attribute checks the attribute that follows an instance.
func (f *finder) attribute(t hcl.Traversal, to *node, rest hcl.Traversal) {
	name, ok := attrName(rest, 0)
	if !ok || to.body == nil {
		return
	}
	table := to.body.table
	if a := table.Attr(name); a != nil {
		if a.WriteOnly {
			f.errorf(t, "Write-only attribute", "%s of %s is write-only: it is kept nowhere, so nothing can refer to it. Refer to what it is set from.", name, table.Type)
		}
		return
	}
	names := make([]string, 0, len(table.Attrs)+len(table.Blocks))
	for _, a := range table.Attrs {
		names = append(names, a.Name)
	}
	for _, b := range table.Blocks {
		if b.Name == name {
			return
		}
		names = append(names, b.Name)
	}
	d := failure(rest[0].SourceRange().Ptr(), "Unsupported attribute", "%s has no attribute %q.%s", table.Type, name, DidYouMean(name, names))
	d.Context = hcl.RangeBetween(t.SourceRange(), rest.SourceRange()).Ptr()
	f.diags = append(f.diags, d)
}

// resolve finds and checks all references.
func (l *loader) resolve() {
	for _, n := range l.nodes { // not those appended meanwhile, the implied providers, which refer to nothing
		l.module = n.module
		l.resolveNode(n)
	}
	l.module = l.Config.module
	for _, n := range l.imports {
		l.resolveImport(n)
	}
	for _, n := range l.nodes {
		seen := map[*node]bool{}
		if caller := n.module.caller; caller != nil {
			seen[caller] = true
			n.deps, caller.users = append(n.deps, caller), append(caller.users, n)
		}
		for _, r := range n.refs {
			if !seen[r.to] {
				seen[r.to] = true
				n.deps = append(n.deps, r.to)
				r.to.users = append(r.to.users, n)
			}
		}
	}
}

func (l *loader) resolveNode(n *node) {
	switch n.kind {
	case callNode:
		l.resolveCall(n)
		return
	case variableNode:
		l.resolveArgument(n)
		for _, v := range n.variable.validations {
			l.use(&node{}, v.condition, scope{variablesOnly: true})
			l.use(&node{}, v.message, scope{variablesOnly: true})
		}
	case localNode, outputNode, checkNode:
		if n.expr != nil {
			l.use(n, n.expr, scope{})
		}
		for _, c := range n.asserts {
			l.useCondition(n, c, scope{check: n})
		}
	case providerNode:
		if n.forEach != nil {
			l.use(n, n.forEach, scope{})
		}
	case dataNode, resourceNode:
		if n.count != nil {
			l.use(n, n.count, scope{expansion: true})
		}
		if n.forEach != nil {
			l.useForEach(n)
		}
		if n.body != nil {
			l.useProvider(n)
		}
	}
	if n.body != nil {
		s := scope{each: n.forEach != nil, count: n.count != nil, check: n.check}
		l.resolveLifecycle(n, s)
		l.useAttrs(n, n.body.attrs, s)
		for _, inner := range n.body.blocks {
			within := s
			if inner.dynamic != nil {
				l.use(n, inner.dynamic.forEach, s)
				within.iterator = inner.dynamic.iterator
			}
			l.useAttrs(n, inner.attrs, within)
		}
	}
	for _, expr := range n.dependsOn {
		l.useDependsOn(n, expr)
	}
	if n.eachValue {
		for i := range n.refs { // the instances get their values from there
			n.refs[i].expansion = false
		}
	}
}

func (l *loader) useAttrs(n *node, attrs []binding, s scope) {
	for i := range attrs {
		keyed := l.use(n, attrs[i].expr, s)
		attrs[i].shared = !keyed && s.iterator == ""
	}
}

// use takes up what an expression of a node refers to. It reports whether the expression names each or count.
func (l *loader) use(n *node, expr hcl.Expression, s scope) (keyed bool) {
	s.module = l.module
	f := l.find(expr, s)
	n.refs = append(n.refs, f.refs...)
	n.eachValue = n.eachValue || f.each
	l.diags = append(l.diags, f.diags...)
	if f.broken || len(f.diags) > 0 {
		l.broken[expr] = true
	}
	return f.keyed
}

// useForEach resolves for_each. Over a whole block, each instance refers to the instance of the same key only.
func (l *loader) useForEach(n *node) {
	at := len(n.refs)
	l.use(n, n.forEach, scope{expansion: true})
	t, diags := hcl.AbsTraversalForExpr(n.forEach)
	if diags.HasErrors() || len(n.refs) != at+1 {
		return
	}
	if _, rest, ok := addr.FromTraversal(t); ok && len(rest) == 0 && n.refs[at].mode == refAll && n.refs[at].to.forEach != nil {
		n.refs[at].mode = refEach
	}
}

func (l *loader) useDependsOn(n *node, expr hcl.Expression) {
	t, diags := hcl.AbsTraversalForExpr(expr)
	if diags.HasErrors() {
		l.diags = append(l.diags, diags...)
		return
	}
	f := &finder{config: l.Config, scope: scope{module: l.module}}
	if t.RootName() == "module" {
		f.dependsOnCall(n, t)
		l.diags = append(l.diags, f.diags...)
		return
	}
	if slices.Contains(rootNames, t.RootName()) && t.RootName() != "data" {
		l.errorf(t.SourceRange().Ptr(), "Invalid depends_on", "depends_on takes resource and data blocks, and %s is none.", t.RootName())
		return
	}
	to, inst, rest := f.block(t)
	switch {
	case to == nil:
	case len(rest) > 0:
		f.errorf(t, "Invalid depends_on", "depends_on takes resource and data blocks or instances of them, not their attributes. Write %s", inst)
	case inst.Key.IsZero() && to.expanded():
		n.refs = append(n.refs, ref{to: to, explicit: true, rng: t.SourceRange()})
	case !inst.Key.IsZero() && !to.expanded() && to.body != nil:
		f.errorf(t, "Invalid depends_on", "%s has no count or for_each, so there is one instance only. Leave the index out.", to.name)
	default:
		n.refs = append(n.refs, ref{to: to, mode: refKey, key: inst.Key, explicit: true, dependsOn: true, rng: t.SourceRange()})
	}
	l.diags = append(l.diags, f.diags...)
}
