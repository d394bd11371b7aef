package config

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

// A lifecycle block says how the plan treats the instances of a resource. Policies: ignore_changes and replace_triggered_by
// name things, they don't compute; prevent_destroy may be any expression that is known when planning;
// create_before_destroy = true is how every replacement is done. A data block may have conditions only: see checks.go.

// Lifecycle is what a lifecycle block says about one instance.
type Lifecycle struct {
	Protected bool      // prevent_destroy
	Triggers  []Trigger // what the instance is replaced for when it changes
	ignore    *ignored
}

// Trigger is an instance, or an attribute of it, that replace_triggered_by names.
type Trigger struct {
	Addr addr.Instance
	Attr hcl.Traversal // relative; empty for the whole instance
}

// lifecycle is the block as it is written.
type lifecycle struct {
	preventDestroy hcl.Expression // or nil
	ignore         *ignored       // or nil
	triggers       []ref
	triggerExprs   []hcl.Expression // resolved to triggers
	pre, post      []condition
}

// ignored is the attributes that ignore_changes names, each as the names that lead to it.
type ignored struct {
	all   bool
	paths [][]string
}

const lifecycleBlock = "lifecycle"

var lifecycleSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{
		{Name: "prevent_destroy"}, {Name: "create_before_destroy"}, {Name: "ignore_changes"}, {Name: "replace_triggered_by"},
	},
	Blocks: []hcl.BlockHeaderSchema{{Type: "precondition"}, {Type: "postcondition"}},
}

// lifecycle reads the lifecycle block of a resource or data block, if there is one.
func (l *loader) lifecycle(n *node, content *hcl.BodyContent) {
	for _, block := range content.Blocks {
		if block.Type != lifecycleBlock {
			continue
		}
		inner, diags := block.Body.Content(lifecycleSchema)
		l.diags = append(l.diags, diags...)
		n.lifecycle = &lifecycle{}
		for _, c := range inner.Blocks {
			to := &n.lifecycle.pre
			if c.Type == "postcondition" {
				to = &n.lifecycle.post
			}
			*to = append(*to, l.conditions(c)...)
		}
		if n.kind == dataNode {
			for _, attr := range sortedAttrs(inner.Attributes) {
				l.errorf(attr.NameRange.Ptr(), "Invalid lifecycle", "A data source is only read, so %s has no meaning for it. Its lifecycle block may have precondition and postcondition.", attr.Name)
			}
			return
		}
		l.lifecycleAttrs(n, inner.Attributes)
		return // a second one is reported as a duplicate
	}
}

func (l *loader) lifecycleAttrs(n *node, attrs hcl.Attributes) {
	if attr := attrs["prevent_destroy"]; attr != nil {
		n.lifecycle.preventDestroy = attr.Expr
	}
	if attr := attrs["ignore_changes"]; attr != nil {
		n.lifecycle.ignore = l.ignoreChanges(n, attr.Expr)
	}
	if attr := attrs["replace_triggered_by"]; attr != nil {
		exprs, diags := hcl.ExprList(attr.Expr)
		l.diags = append(l.diags, diags...)
		n.lifecycle.triggerExprs = exprs
	}
	var first bool
	if attr := attrs["create_before_destroy"]; attr != nil && l.literal(attr, &first) && !first {
		d := failure(attr.Expr.Range().Ptr(), "create_before_destroy has no effect",
			"What replaces %s is always made before the old object is withdrawn, so that there is no time without either. Remove the line, or write true.", n.name)
		d.Severity = hcl.DiagWarning
		l.diags = append(l.diags, d)
	}
}

// ignoreChanges reads a list of attributes, or the word all.
func (l *loader) ignoreChanges(n *node, expr hcl.Expression) *ignored {
	if hcl.ExprAsKeyword(expr) == "all" {
		return &ignored{all: true}
	}
	exprs, diags := hcl.ExprList(expr)
	l.diags = append(l.diags, diags...)
	found := &ignored{}
	for _, e := range exprs {
		t, diags := hcl.RelTraversalForExpr(e)
		if diags.HasErrors() {
			l.errorf(e.Range().Ptr(), "Invalid ignore_changes", "ignore_changes takes names of attributes, without quotes, or the word all: ignore_changes = [NAME]")
			continue
		}
		if path := l.ignoredPath(n, t); path != nil {
			found.paths = append(found.paths, path)
		}
	}
	return found
}

// ignoredPath checks one element of ignore_changes. It returns nil for one that can't be, or needs not be, ignored.
func (l *loader) ignoredPath(n *node, t hcl.Traversal) []string {
	path := make([]string, 0, len(t))
	for i := range t {
		name, ok := attrName(t, i)
		if index, isIndex := t[i].(hcl.TraverseIndex); isIndex && index.Key.Type() == cty.String {
			name, ok = index.Key.AsString(), true
		}
		if !ok {
			l.errorf(t.SourceRange().Ptr(), "Invalid ignore_changes", "Only attributes of objects and keys of maps can be ignored, not elements of lists. Ignore %s as a whole.", t.RootName())
			return nil
		}
		path = append(path, name)
	}
	table, rng := n.body.table, t.SourceRange().Ptr()
	attrs, at := table.Attrs, path[0]
	for _, b := range table.Blocks {
		if b.Name == path[0] && len(path) > 1 {
			attrs, at = b.Attrs, path[1]
		} else if b.Name == path[0] {
			return path
		}
	}
	for _, a := range attrs {
		switch {
		case a.Name != at:
		case a.WriteOnly:
			l.errorf(rng, "Invalid ignore_changes", "%s is write-only: it is kept nowhere, so that it can't be told whether it changes.", at)
			return nil
		case !a.Mode.Settable():
			d := failure(rng, "Redundant ignore_changes", "%s of %s is computed by the provider, so a change of it is never planned because of the configuration. Remove it from the list.", at, table.Type)
			d.Severity = hcl.DiagWarning
			l.diags = append(l.diags, d)
			return nil
		default:
			return path
		}
	}
	l.errorf(rng, "Unsupported attribute", "%s has no attribute %q.%s", table.Type, at, DidYouMean(at, settable(attrs)))
	return nil
}

func settable(attrs []schema.Attr) (names []string) {
	for _, a := range attrs {
		if a.Mode.Settable() {
			names = append(names, a.Name)
		}
	}
	return names
}

// resolveLifecycle finds what the lifecycle block of a node refers to.
func (l *loader) resolveLifecycle(n *node, s scope) {
	if n.lifecycle == nil {
		return
	}
	if expr := n.lifecycle.preventDestroy; expr != nil {
		l.use(n, expr, s)
	}
	for _, c := range n.lifecycle.pre {
		l.useCondition(n, c, s)
	}
	for _, expr := range n.lifecycle.triggerExprs {
		l.useTrigger(n, expr, s)
	}
	s.self = n
	for _, c := range n.lifecycle.post {
		l.useCondition(n, c, s)
	}
}

// useTrigger resolves an element of replace_triggered_by.
func (l *loader) useTrigger(n *node, expr hcl.Expression, s scope) {
	source := expr
	if rest, ok := source.(*hclsyntax.RelativeTraversalExpr); ok {
		source = rest.Source
	}
	if index, ok := source.(*hclsyntax.IndexExpr); ok {
		source = index.Collection
	}
	t, diags := hcl.AbsTraversalForExpr(source)
	at := len(n.refs)
	if !diags.HasErrors() {
		l.use(n, expr, s)
	}
	for _, r := range n.refs[at:] {
		if r.to.kind == resourceNode && r.to.name == t.RootName()+"."+attrNameOr(t, 1) {
			n.lifecycle.triggers = append(n.lifecycle.triggers, r)
			return
		}
	}
	if !l.broken[expr] {
		l.errorf(expr.Range().Ptr(), "Invalid replace_triggered_by", "replace_triggered_by takes resources, instances of them, and their attributes, such as iexec_app.NAME or iexec_app.NAME.address.")
	}
}

func attrNameOr(t hcl.Traversal, i int) string {
	name, _ := attrName(t, i)
	return name
}

// lifecycleOf is what the block says about an instance; nil without a block.
func (e *evaluator) lifecycleOf(n *node, in Instance) (*Lifecycle, hcl.Diagnostics) {
	if n.lifecycle == nil {
		return nil, nil
	}
	found := &Lifecycle{ignore: n.lifecycle.ignore}
	var diags hcl.Diagnostics
	if expr := n.lifecycle.preventDestroy; expr != nil && !e.broken[expr] {
		found.Protected, diags = e.flag(expr, in.context(), "prevent_destroy")
	}
	for _, r := range n.lifecycle.triggers {
		for _, i := range e.named(r, in.Block) {
			found.Triggers = append(found.Triggers, Trigger{Addr: i, Attr: r.rest})
		}
	}
	return found, diags
}

// flag computes an expression that must be true or false when planning; null is false.
func (e *evaluator) flag(expr hcl.Expression, ctx *hcl.EvalContext, what string) (bool, hcl.Diagnostics) {
	v, diags := expr.Value(ctx)
	if diags.HasErrors() {
		return false, diags
	}
	fail := func(text string) (bool, hcl.Diagnostics) {
		return false, hcl.Diagnostics{within(failure(expr.Range().Ptr(), "Invalid "+what, "%s %s", what, text), expr, ctx)}
	}
	if v.ContainsMarked() {
		return fail("is sensitive or ephemeral, but it shows in plans and in the state. Compute it from values that may be seen.")
	}
	v, err := convert.Convert(v, cty.Bool)
	switch {
	case err != nil:
		return fail(fmt.Sprintf("must be true or false: %s.", err))
	case !v.IsKnown() && !e.static:
		return fail("is known only after apply, but it must be known to plan. Compute it from values that are known now.")
	}
	return v.IsKnown() && !v.IsNull() && v.True(), nil
}

// named is the instances that a reference names.
func (e *evaluator) named(r ref, at Block) []addr.Instance {
	key, ok := r.key, r.mode == refKey
	switch r.mode {
	case refEach:
		key, ok = at.key, !at.key.IsZero()
	case refExpr:
		key, ok = e.key(r, at.context())
	}
	if !ok {
		return e.of(r.to).instances
	}
	return []addr.Instance{{Resource: e.address(r.to), Key: key}}
}

// Ignoring is the desired object of an instance with those attributes that ignore_changes names as they are in current,
// which is null for an object that isn't there.
func (l *Lifecycle) Ignoring(table *schema.Table, desired, current schema.Object) schema.Object {
	if l == nil || l.ignore == nil || current.IsNull() {
		return desired
	}
	paths := l.ignore.paths
	if l.ignore.all {
		for _, name := range settable(table.Attrs) {
			if !table.Attr(name).WriteOnly {
				paths = append(paths, []string{name})
			}
		}
		for _, b := range table.Blocks {
			paths = append(paths, []string{b.Name})
		}
	}
	for _, path := range paths {
		is := current.Attr(path[0])
		if a := table.Attr(path[0]); a != nil && a.Mode == schema.Required && is.IsNull() {
			continue // the object isn't all there
		}
		desired = desired.With(map[string]cty.Value{path[0]: keep(desired.Attr(path[0]), is, path[1:])})
	}
	return desired
}

// keep is an object or map with what is at a path as it is in another one of the same type.
func keep(v, as cty.Value, path []string) cty.Value {
	if len(path) == 0 {
		return as
	}
	if v.IsNull() || as.IsNull() || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		return v
	}
	members, others := v.AsValueMap(), as.AsValueMap()
	was, had := others[path[0]]
	is, has := members[path[0]]
	switch {
	case !had:
		delete(members, path[0])
	case !has && len(path) == 1:
		if members == nil {
			members = map[string]cty.Value{}
		}
		members[path[0]] = was
	case has:
		members[path[0]] = keep(is, was, path[1:])
	}
	switch {
	case v.Type().IsObjectType():
		return cty.ObjectVal(members)
	case len(members) == 0:
		return cty.MapValEmpty(v.Type().ElementType())
	}
	return cty.MapVal(members)
}

// Protects reports whether the block of an address says prevent_destroy = true in so many words. What it computes is known
// to an evaluation only.
func (c *Config) Protects(r addr.Resource) bool {
	n := c.resources[r.Block()]
	if n == nil || n.lifecycle == nil || n.lifecycle.preventDestroy == nil {
		return false
	}
	v, diags := n.lifecycle.preventDestroy.Value(nil)
	return !diags.HasErrors() && v.RawEquals(cty.True)
}
