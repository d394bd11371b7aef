package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// The digest of a configuration is over what it says and not over how: neither comments, spaces, the order of blocks, their
// division into files nor the choice between native and JSON syntax change it. Every part is written with its kind and
// length, so that different configurations are written differently.

// digestOf is the digest of a configuration's blocks, in hex.
func digestOf(blocks hcl.Blocks) string {
	var parts []string
	part := func(write func(*digester)) {
		d := &digester{Hash: sha256.New()}
		write(d)
		parts = append(parts, string(d.Sum(nil)))
	}
	for _, b := range blocks {
		if b.Type != "locals" {
			part(func(d *digester) { d.block(b.Type, b.Labels, syntax(b)) })
			continue
		}
		for _, attr := range syntax(b).Attributes {
			part(func(d *digester) { d.text("local", attr.Name); d.expr(attr.Expr) })
		}
	}
	slices.Sort(parts)
	sum := sha256.Sum256([]byte(strings.Join(parts, "")))
	return hex.EncodeToString(sum[:])
}

type digester struct{ hash.Hash }

func (d *digester) number(n int) {
	_, _ = d.Write(binary.AppendUvarint(nil, uint64(n))) //nolint:gosec // a length; a hash takes all
}

func (d *digester) text(kind string, texts ...string) {
	d.number(len(texts) + 1)
	for _, t := range append([]string{kind}, texts...) {
		d.number(len(t))
		_, _ = d.Write([]byte(t))
	}
}

func (d *digester) block(typ string, labels []string, body *hclsyntax.Body) {
	d.text("block", append([]string{typ}, labels...)...)
	d.number(len(body.Attributes))
	for _, name := range keysOf(body.Attributes) {
		d.text("argument", name)
		d.expr(body.Attributes[name].Expr)
	}
	blocks := slices.Clone(body.Blocks)
	slices.SortStableFunc(blocks, func(a, b *hclsyntax.Block) int {
		return strings.Compare(a.Type+" "+strings.Join(a.Labels, " "), b.Type+" "+strings.Join(b.Labels, " "))
	})
	d.number(len(blocks))
	for _, b := range blocks {
		d.block(b.Type, b.Labels, b.Body)
	}
}

var operations = map[*hclsyntax.Operation]string{
	hclsyntax.OpLogicalOr: "||", hclsyntax.OpLogicalAnd: "&&", hclsyntax.OpLogicalNot: "!", hclsyntax.OpEqual: "==", hclsyntax.OpNotEqual: "!=",
	hclsyntax.OpGreaterThan: ">", hclsyntax.OpGreaterThanOrEqual: ">=", hclsyntax.OpLessThan: "<", hclsyntax.OpLessThanOrEqual: "<=",
	multiply: "*", divide: "/",
	hclsyntax.OpAdd: "+", hclsyntax.OpSubtract: "-", hclsyntax.OpMultiply: "*", hclsyntax.OpDivide: "/", hclsyntax.OpModulo: "%", hclsyntax.OpNegate: "neg",
}

func (d *digester) expr(e hclsyntax.Expression) {
	e, _ = unmeasured(e)
	if v, ok := literalOf(e); ok {
		d.text("literal", v.Type().FriendlyName(), literalText(v))
		return
	}
	switch e := e.(type) {
	case nil:
		d.text("none")
	case *hclsyntax.ParenthesesExpr:
		d.expr(e.Expression)
	case *hclsyntax.TemplateWrapExpr:
		d.expr(e.Wrapped)
	case *hclsyntax.TemplateExpr:
		d.text("template")
		var text strings.Builder // neighbouring texts are one
		for _, p := range e.Parts {
			if v, ok := literalOf(p); ok && v.Type() == cty.String && !v.IsNull() {
				text.WriteString(v.AsString())
				continue
			}
			d.text("text", text.String())
			text.Reset()
			d.expr(p)
		}
		d.text("end", text.String())
	case *hclsyntax.TemplateJoinExpr:
		d.text("join")
		d.expr(e.Tuple)
	case *hclsyntax.ScopeTraversalExpr:
		d.traversal(e.Traversal)
	case *hclsyntax.RelativeTraversalExpr:
		d.text("of")
		d.expr(e.Source)
		d.traversal(e.Traversal)
	case *hclsyntax.FunctionCallExpr:
		d.text("call", e.Name, fmt.Sprint(len(e.Args), e.ExpandFinal))
		d.exprs(e.Args...)
	case *hclsyntax.ConditionalExpr:
		d.text("if")
		d.exprs(e.Condition, e.TrueResult, e.FalseResult)
	case *hclsyntax.IndexExpr:
		d.text("index")
		d.exprs(e.Collection, e.Key)
	case *hclsyntax.TupleConsExpr:
		d.text("tuple", fmt.Sprint(len(e.Exprs)))
		d.exprs(e.Exprs...)
	case *hclsyntax.ObjectConsExpr:
		d.text("object", fmt.Sprint(len(e.Items)))
		for _, item := range e.Items {
			d.exprs(item.KeyExpr, item.ValueExpr)
		}
	case *hclsyntax.ObjectConsKeyExpr:
		d.expr(e.Wrapped)
	case *hclsyntax.ForExpr:
		d.text("for", e.KeyVar, e.ValVar, fmt.Sprint(e.Group))
		d.exprs(e.CollExpr, e.KeyExpr, e.ValExpr, e.CondExpr)
	case *hclsyntax.SplatExpr:
		d.text("splat")
		d.exprs(e.Source, e.Each)
	case *hclsyntax.AnonSymbolExpr:
		d.text("element")
	case *hclsyntax.BinaryOpExpr:
		d.text("binary", operations[e.Op])
		d.exprs(e.LHS, e.RHS)
	case *hclsyntax.UnaryOpExpr:
		d.text("unary", operations[e.Op])
		d.expr(e.Val)
	default:
		d.text(fmt.Sprintf("%T", e))
	}
}

func (d *digester) exprs(list ...hclsyntax.Expression) {
	for _, e := range list {
		d.expr(e)
	}
}

func (d *digester) traversal(t hcl.Traversal) {
	d.text("traversal", fmt.Sprint(len(t)))
	for _, step := range t {
		switch step := step.(type) {
		case hcl.TraverseRoot:
			d.text("root", step.Name)
		case hcl.TraverseAttr:
			d.text("attr", step.Name)
		case hcl.TraverseIndex:
			d.text("index", step.Key.Type().FriendlyName(), literalText(step.Key))
		default:
			d.text(fmt.Sprintf("%T", step))
		}
	}
}

// literalOf is the value of an expression that is written as a literal, in whatever form.
func literalOf(e hclsyntax.Expression) (cty.Value, bool) {
	e, _ = unmeasured(e)
	switch e := e.(type) {
	case *hclsyntax.LiteralValueExpr:
		return e.Val, true
	case *hclsyntax.ParenthesesExpr:
		return literalOf(e.Expression)
	case *hclsyntax.UnaryOpExpr:
		v, ok := literalOf(e.Val)
		if ok && e.Op == hclsyntax.OpNegate && v.Type() == cty.Number && !v.IsNull() {
			return v.Negate(), true
		}
	case *hclsyntax.ObjectConsKeyExpr:
		if name := hcl.ExprAsKeyword(e.Wrapped); name != "" && !e.ForceNonLiteral {
			return cty.StringVal(name), true
		}
		return literalOf(e.Wrapped)
	case *hclsyntax.TemplateExpr:
		var text strings.Builder
		for _, p := range e.Parts {
			v, ok := literalOf(p)
			if !ok || v.IsNull() || v.Type() != cty.String {
				return cty.NilVal, false
			}
			text.WriteString(v.AsString())
		}
		return cty.StringVal(text.String()), true
	}
	return cty.NilVal, false
}

func literalText(v cty.Value) string {
	switch {
	case v.IsNull():
		return "null"
	case v.Type() == cty.String:
		return v.AsString()
	case v.Type() == cty.Number:
		return v.AsBigFloat().Text('p', 0)
	}
	return fmt.Sprintf("%#v", v)
}
