package config

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

// An import block says that an object exists already: import { to = iexec_app.a["k"], id = "0x…" }. Policies: it is a node
// of the graph, evaluated before the block that it is for; what it refers to is known before anything is planned, so it
// may not refer to resources; once its object is in the state it has no effect, so it may stay.

// HasImports reports whether there are import blocks.
func (c *Config) HasImports() bool { return len(c.imports) > 0 }

// Import is one import that a configuration asks for.
type Import struct {
	To       addr.Instance
	ID       string
	Provider addr.Provider
	Table    *schema.Table // of To
	Range    hcl.Range     // of the id
}

// importBlock is what an import node has besides id (expr), for_each and provider.
type importBlock struct {
	key     addr.Key       // of to, when it is literal
	keyExpr hcl.Expression // of to, when it isn't
	toRange hcl.Range
	table   *schema.Table // nil when the type is unknown
}

// LoadOption changes what Load checks.
type LoadOption func(*loader)

// WithoutBlocks lets import blocks name resources that the configuration doesn't have: their blocks are to be written.
// Such imports are in Evaluation.Unwritten.
func WithoutBlocks(l *loader) { l.unwritten = true }

func (l *loader) declareImport(block *hcl.Block) {
	content, diags := block.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{
		{Name: "to", Required: true}, {Name: "id", Required: true}, {Name: "for_each"}, {Name: "provider"},
	}})
	l.diags = append(l.diags, diags...)
	to, id := content.Attributes["to"], content.Attributes["id"]
	if to == nil || id == nil {
		return
	}
	n := &node{kind: importNode, rng: block.DefRange, expr: id.Expr, providerExpr: content.Attributes["provider"],
		imports: &importBlock{toRange: to.Expr.Range()}}
	if attr := content.Attributes["for_each"]; attr != nil {
		n.forEach = attr.Expr
	}
	target, keyExpr, ok := l.target(to.Expr)
	if !ok {
		return
	}
	n.address, n.imports.key, n.imports.keyExpr = target.Resource, target.Key, keyExpr
	if n.imports.table = l.table("resource", n.address.Type, l.schemas.ResourceTable); n.imports.table == nil {
		l.errorf(to.Expr.Range().Ptr(), "Unknown resource type", "There is no resource type %q.%s", n.address.Type, DidYouMean(n.address.Type, l.schemas.ResourceTypes()))
		return
	}
	n.name = target.String()
	l.imports = append(l.imports, l.append(n))
}

// target reads the address of an instance. A key that isn't literal is returned as an expression.
func (l *loader) target(expr hcl.Expression) (i addr.Instance, key hcl.Expression, ok bool) {
	whole := expr
	if index, isIndex := expr.(*hclsyntax.IndexExpr); isIndex {
		expr, key = index.Collection, index.Key
	}
	t, diags := hcl.AbsTraversalForExpr(expr)
	var rest hcl.Traversal
	if !diags.HasErrors() {
		i, rest, ok = addr.FromTraversal(t)
	}
	switch {
	case !ok || len(rest) > 0 || key != nil && !i.Key.IsZero():
		l.errorf(whole.Range().Ptr(), "Invalid address", `This must be the address of a resource, without quotes: iexec_app.NAME, or iexec_app.NAME["KEY"] for an instance.`)
		return i, nil, false
	case i.Resource.Mode == addr.Data:
		l.errorf(whole.Range().Ptr(), "Invalid address", "%s is a data source: it is read at every plan and never kept, so only resources can be named here.", i)
		return i, nil, false
	}
	return i, key, true
}

// resolveImport finds what an import refers to, and ties it to its block.
func (l *loader) resolveImport(n *node) {
	s := scope{each: n.forEach != nil}
	l.use(n, n.expr, s)
	if n.imports.keyExpr != nil {
		l.use(n, n.imports.keyExpr, s)
	}
	if n.forEach != nil {
		l.use(n, n.forEach, scope{})
	}
	for _, r := range n.refs {
		if r.to.kind == resourceNode {
			l.errorf(r.rng.Ptr(), "Invalid reference", "What is imported must be known before resources are planned, so an import block can't refer to %s. Use a variable, a local value or a data source.", r.to.name)
		}
	}
	to := l.resources[n.address.Block()]
	switch {
	case to != nil:
		to.imported = append(to.imported, n)
		to.deps, n.users = append(to.deps, n), append(n.users, to)
		if attr := n.providerExpr; attr != nil {
			l.errorf(attr.Range.Ptr(), "Invalid provider", "%s is declared at %s, and its block says which provider it uses. Remove provider from the import block.", to.name, place(to.rng))
		}
		return
	case !l.unwritten && !l.incomplete:
		f := finder{config: l.Config}
		l.errorf(n.imports.toRange.Ptr(), "Import without a resource block", "There is no %s in the configuration.%s Write its block, or let it be written: iexecform plan --generate-config-out=FILE.hcl",
			n.address, f.otherBlock(n.address))
	case n.forEach != nil || !n.imports.key.IsZero() || n.imports.keyExpr != nil:
		l.errorf(n.imports.toRange.Ptr(), "Cannot write the resource block", "%s is an instance of a block with count or for_each, which only you can write. Write resource %q %q, or import to addresses without key.",
			n.name, n.address.Type, n.address.Name)
	}
	l.useProvider(n)
}

// importSet is the imports that were evaluated.
type importSet struct {
	to map[addr.Resource]map[addr.Key]hcl.Range
	id map[string]addr.Instance // by provider, type and id
}

// evaluateImport computes the imports of a node, and tells the caller of Evaluate.
func (e *evaluator) evaluateImport(n *node, ctx *hcl.EvalContext) (ok bool) {
	x, diags := e.expand(n, ctx)
	if e.diags = append(e.diags, diags...); diags.HasErrors() {
		return false
	}
	if x.unknown { // only in static mode
		_, diags := e.oneImport(n, x.ctx)
		e.diags = append(e.diags, diags...)
		return true
	}
	ok = true
	var problems folder
	for i, key := range x.keys {
		in, diags := e.oneImport(n, keyContext(ctx, key, x.value(i)))
		if in != nil {
			diags = append(diags, e.addImport(n, *in)...)
		}
		problems.add(diags)
		ok = ok && !diags.HasErrors()
	}
	e.diags = append(e.diags, problems.result()...)
	return ok
}

// oneImport computes an import. It is nil when something of it is unknown, which is possible in static mode only, or wrong.
func (e *evaluator) oneImport(n *node, ctx *hcl.EvalContext) (*Import, hcl.Diagnostics) {
	in := &Import{To: addr.Instance{Resource: n.address, Key: n.imports.key}, Provider: n.provider, Table: n.imports.table, Range: n.expr.Range()}
	if to := e.resources[n.address.Block()]; to != nil {
		in.Provider = to.provider
	}
	if expr := n.imports.keyExpr; expr != nil {
		v, diags := e.importText(expr, ctx, "The key of the resource")
		if diags.HasErrors() || !v.IsKnown() {
			return nil, diags
		}
		in.To.Key = addr.StringKey(v.AsString())
		if to := e.resources[n.address.Block()]; to != nil && to.count != nil {
			number, err := convert.Convert(v, cty.Number)
			key, whole := addr.KeyOf(number)
			if err != nil || !whole {
				return nil, hcl.Diagnostics{failure(expr.Range().Ptr(), "Invalid key", "%q is not a whole number. %s", v.AsString(), keyForm(to))}
			}
			in.To.Key = key
		}
	}
	v, diags := e.importText(n.expr, ctx, "The id of what is imported to "+in.To.String())
	if diags.HasErrors() || !v.IsKnown() {
		return nil, diags
	}
	in.ID = strings.TrimSpace(v.AsString())
	if in.ID == "" {
		return nil, hcl.Diagnostics{within(failure(n.expr.Range().Ptr(), "Invalid id", "The id of what is imported to %s is empty.", in.To), n.expr, ctx)}
	}
	return in, nil
}

// importText is a public text; unknown only in static mode.
func (e *evaluator) importText(expr hcl.Expression, ctx *hcl.EvalContext, what string) (cty.Value, hcl.Diagnostics) {
	if e.broken[expr] {
		return cty.UnknownVal(cty.String), nil
	}
	v, diags := expr.Value(ctx)
	if diags.HasErrors() {
		return v, diags
	}
	fail := func(text string) (cty.Value, hcl.Diagnostics) {
		return v, hcl.Diagnostics{within(failure(expr.Range().Ptr(), "Invalid import", "%s %s", what, text), expr, ctx)}
	}
	if v.ContainsMarked() {
		return fail("is sensitive, but it is shown in plans. Use nonsensitive(...) if it may be seen by everyone.")
	}
	text, err := convert.Convert(v, cty.String)
	switch {
	case err != nil:
		return fail(fmt.Sprintf("must be text: %s.", err))
	case !text.IsKnown() && !e.static:
		return fail("is known only after apply, but it must be known to plan.")
	case text.IsKnown() && text.IsNull():
		return fail("is null.")
	}
	return text, nil
}

// addImport takes an import up unless it contradicts another one.
func (e *evaluator) addImport(n *node, in Import) hcl.Diagnostics {
	set := &e.imports
	if set.to == nil {
		set.to, set.id = map[addr.Resource]map[addr.Key]hcl.Range{}, map[string]addr.Instance{}
	}
	if first, twice := set.to[in.To.Resource][in.To.Key]; twice {
		return hcl.Diagnostics{failure(n.imports.toRange.Ptr(), "Duplicate import", "%s is imported at %s already: an address has one object.", in.To, place(first))}
	}
	if set.to[in.To.Resource] == nil {
		set.to[in.To.Resource] = map[addr.Key]hcl.Range{}
	}
	set.to[in.To.Resource][in.To.Key] = n.imports.toRange
	object := in.Provider.String() + " " + in.To.Resource.Type + " " + strings.ToLower(in.ID)
	if other, twice := set.id[object]; twice {
		return hcl.Diagnostics{failure(in.Range.Ptr(), "Duplicate import", "%s is imported to %s already: an object has one address.", in.ID, other)}
	}
	set.id[object] = in.To
	switch {
	case e.static:
	case e.resources[in.To.Resource.Block()] == nil:
		e.result.Unwritten = append(e.result.Unwritten, in)
	case e.onImport != nil:
		e.onImport(in)
	}
	return nil
}

// checkNamed reports import, moved and removed blocks that don't fit to the instances that a block has.
func (e *evaluator) checkNamed(n *node, keys []addr.Key) (diags hcl.Diagnostics) {
	if len(n.imported) == 0 && len(n.leaving) == 0 && len(n.arriving) == 0 {
		return nil
	}
	has := make(map[addr.Key]bool, len(keys))
	for _, k := range keys {
		has[k] = true
	}
	resource := e.address(n)
	for key, at := range e.imports.to[resource] {
		if !has[key] {
			diags = append(diags, failure(at.Ptr(), "Import to an unknown instance", "%s is not an instance of the configuration. %s",
				addr.Instance{Resource: resource, Key: key}, keyForm(n)))
		}
	}
	for _, a := range n.arriving {
		if a.module == resource.Module && !has[a.key] {
			diags = append(diags, failure(a.rng.Ptr(), "Move to something that is not configured", "%s moves to %s, which is not an instance of the configuration, so it would end. %s",
				a.from, addr.Instance{Resource: resource, Key: a.key}, keyForm(n)))
		}
	}
	for _, l := range n.leaving {
		if l.module == resource.Module && has[l.key] {
			diags = append(diags, l.stillThere(addr.Instance{Resource: resource, Key: l.key}.String()))
		}
	}
	return diags
}

// importsFailed reports whether it is uncertain what exists already of a block: then it must not be planned.
func (e *evaluator) importsFailed(n *node) bool {
	for _, in := range n.imported {
		if e.of(in).failed && !e.static {
			return true
		}
	}
	return false
}
