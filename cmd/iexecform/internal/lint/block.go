package lint

import (
	"math/big"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
)

// block gives a block's values where they are known.
type block struct{ config.Inspected }

func (b block) typ() string {
	switch {
	case b.Addr.Resource.Type == "":
		return "provider." + b.Provider.Name
	case b.Addr.Resource.Mode == addr.Data:
		return "data." + b.Addr.Resource.Type
	}
	return b.Addr.Resource.Type
}

// name is the block's address, as far as all instances share it.
func (b block) name() string {
	if b.Addr.Resource.Type == "" {
		return "provider " + b.Provider.String()
	}
	return b.Addr.Resource.String()
}

// value is an attribute ("name", or "block.name") that is known and not null.
func (b block) value(name string) (cty.Value, bool) {
	name, part, nested := strings.Cut(name, ".")
	if !b.Value.Has(name) {
		return cty.NilVal, false
	}
	v := b.Value.Attr(name)
	if nested {
		if v.IsNull() || !v.IsKnown() || !v.Type().IsObjectType() || !v.Type().HasAttribute(part) {
			return v, false
		}
		v = v.GetAttr(part)
	}
	return v, v.IsWhollyKnown() && !v.IsNull()
}

// left reports whether an attribute or block is surely left out, or null.
func (b block) left(name string) bool {
	name, part, nested := strings.Cut(name, ".")
	v := b.Value.Attr(name)
	if nested && (!v.IsKnown() || !v.IsNull()) {
		v = v.GetAttr(part)
	}
	return v.IsKnown() && v.IsNull()
}

func (b block) text(name string) (string, bool) {
	v, ok := b.value(name)
	if !ok || v.Type() != cty.String {
		return "", false
	}
	return v.AsString(), true
}

func (b block) number(name string) (*big.Int, bool) {
	v, ok := b.value(name)
	if !ok || v.Type() != cty.Number {
		return nil, false
	}
	n, accuracy := v.AsBigFloat().Int(nil)
	return n, accuracy == big.Exact
}

// literal reports whether an attribute is set to something that refers to nothing.
func (b block) literal(name string) bool {
	expr := b.Expression(name)
	return expr != nil && len(expr.Variables()) == 0
}

// refers returns the block and the attribute that an attribute is just a reference to, through an index or not.
func (b block) refers(name string) (to addr.Resource, attr string, ok bool) {
	expr := b.Expression(name)
	if expr == nil {
		return to, "", false
	}
	var after hcl.Traversal
	switch e := expr.(type) {
	case *hclsyntax.RelativeTraversalExpr: // after an index that isn't a constant
		index, indexed := e.Source.(*hclsyntax.IndexExpr)
		if !indexed {
			return to, "", false
		}
		expr, after = index.Collection, e.Traversal
	}
	t, diags := hcl.AbsTraversalForExpr(expr)
	if diags.HasErrors() {
		return to, "", false
	}
	inst, rest, ok := addr.FromTraversal(t)
	rest = append(rest, after...)
	if !ok || len(rest) != 1 {
		return to, "", false
	}
	step, ok := rest[0].(hcl.TraverseAttr)
	return inst.Resource, step.Name, ok
}
