package config

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
)

// A dynamic block makes the nested blocks of its label's type, one for each element of its for_each:
//
//	dynamic "wallet" {
//	  for_each = var.keystore[*]
//	  content {
//	    keystore = wallet.value
//	  }
//	}
//
// Nested blocks occur at most once, so it says whether there is one. Meta-blocks such as lifecycle can't be made.

const (
	dynamicBlock = "dynamic"
	contentBlock = "content"
)

// dynamic is when a nested block is there.
type dynamic struct {
	forEach  hcl.Expression
	iterator string // the name of the object with key and value
}

var dynamicSchema = &hcl.BodySchema{
	Attributes: []hcl.AttributeSchema{{Name: "for_each", Required: true}, {Name: "iterator"}},
	Blocks:     []hcl.BlockHeaderSchema{{Type: contentBlock}},
}

// dynamic reads a dynamic block. Its content stands for the block that it makes.
func (l *loader) dynamic(block *hcl.Block, t *schema.Table) (made *hcl.Block, d *dynamic, ok bool) {
	typ := block.Labels[0]
	names := make([]string, len(t.Blocks))
	for i, b := range t.Blocks {
		names[i] = b.Name
		ok = ok || b.Name == typ
	}
	if !ok {
		l.errorf(block.LabelRanges[0].Ptr(), "Unsupported block type", "%s has no blocks of type %q that could be made.%s", t.Type, typ, DidYouMean(typ, names))
		return nil, nil, false
	}
	content, diags := block.Body.Content(dynamicSchema)
	l.diags = append(l.diags, diags...)
	d = &dynamic{iterator: typ}
	if attr := content.Attributes["for_each"]; attr != nil {
		d.forEach = attr.Expr
	}
	if attr := content.Attributes["iterator"]; attr != nil {
		if d.iterator = hcl.ExprAsKeyword(attr.Expr); d.iterator == "" {
			l.errorf(attr.Expr.Range().Ptr(), "Invalid iterator", "iterator takes a name, without quotes: iterator = NAME")
			return nil, nil, false
		}
	}
	switch len(content.Blocks) {
	case 0:
		l.errorf(block.DefRange.Ptr(), "Missing content block", "A dynamic block needs a block content { … } with the arguments of the %s block that it makes.", typ)
		return nil, nil, false
	case 1:
	default:
		l.duplicate("The content of dynamic "+typ, content.Blocks[1].DefRange, content.Blocks[0].DefRange)
	}
	made = &hcl.Block{Type: typ, Body: content.Blocks[0].Body, DefRange: block.DefRange, TypeRange: block.TypeRange}
	return made, d, d.forEach != nil
}

// presence says whether a dynamic block is there, and adds its iterator to the context. Unknown is possible in static mode
// only.
func (d *decoder) presence(n *nested) (there, unknown bool, ctx *hcl.EvalContext) {
	ctx = d.ctx.NewChild()
	iterator := func(key, value cty.Value) *hcl.EvalContext {
		ctx.Variables = map[string]cty.Value{n.dynamic.iterator: cty.ObjectVal(map[string]cty.Value{"key": key, "value": value})}
		return ctx
	}
	fail := func(summary, format string, args ...any) (bool, bool, *hcl.EvalContext) {
		diag := failure(n.dynamic.forEach.Range().Ptr(), summary, format, args...)
		d.out.diags = append(d.out.diags, within(diag, n.dynamic.forEach, d.ctx))
		return false, true, nil
	}
	if d.broken[n.dynamic.forEach] {
		return false, true, iterator(cty.DynamicVal, cty.DynamicVal)
	}
	v, diags := n.dynamic.forEach.Value(d.ctx)
	if diags.HasErrors() {
		d.out.diags = append(d.out.diags, diags...)
		return false, true, nil
	}
	if v.IsMarked() && !d.sensitiveOK {
		return fail("Invalid for_each", "The value is sensitive, but whether there is a %s block is public. Use nonsensitive(...) if everyone may know it.", n.block.Name)
	}
	v, _ = v.Unmark()
	switch {
	case v.IsNull():
		return fail("Invalid for_each", "The value is null. Write [] for no block.")
	case !v.IsKnown() && d.static:
		return false, true, iterator(cty.DynamicVal, cty.DynamicVal)
	case !v.IsKnown():
		return fail("Value known only after apply", "for_each of the %s block of %s is known only after apply, but everything that is planned must be known now.", n.block.Name, d.who)
	case !v.CanIterateElements():
		return fail("Invalid for_each", "for_each takes a collection, and this is a %s. Write %s[*] for a block if the value is not null.", v.Type().FriendlyName(), sourceHint(n.dynamic.forEach))
	case v.LengthInt() > 1:
		return fail("Too many blocks", "The block %q may occur once in %s, and for_each makes %d of it.", n.block.Name, d.table.Type, v.LengthInt())
	case v.LengthInt() == 0:
		return false, false, nil
	}
	it := v.ElementIterator()
	it.Next()
	key, value := it.Element()
	return true, false, iterator(key, value)
}

// sourceHint is a short expression as it is written, or a word for it.
func sourceHint(expr hcl.Expression) string {
	if t, diags := hcl.AbsTraversalForExpr(expr); !diags.HasErrors() {
		return traversalText(t)
	}
	return "(…)"
}

func traversalText(t hcl.Traversal) string {
	var text string
	for _, step := range t {
		switch step := step.(type) {
		case hcl.TraverseRoot:
			text += step.Name
		case hcl.TraverseAttr:
			text += "." + step.Name
		default:
			return "(…)"
		}
	}
	return text
}
