package config

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	"go.yaml.in/yaml/v3"
)

// A few lines can ask for more than any machine has: loops within loops, texts that double from line to line, numbers with a
// billion digits. So what is evaluated is metered: the elements that loops go through, the text that templates are made of,
// and what functions return. Past the limits there is an error, and all further results are unknown.
//
// To be metered, a part of an expression is wrapped into a call of the function meterName (see limiter), which returns its
// argument. No configuration can name that.

const (
	maxElements = 2_000_000 // of all collections that are gone through
	maxText     = 256 << 20 // bytes of all texts that are put together
	maxExponent = 1 << 16   // of a number, to the base of 2
	maxParts    = 2_000_000 // of a value, all in all
	maxFiles    = 1_000_000 // that fileset looks at
	meterName   = "␀meter"
)

// meter counts what one configuration's evaluation works on.
type meter struct {
	maxElements, maxText int64
	maxParts             int
	elements, text       atomic.Int64
	over                 atomic.Bool
}

func newMeter() *meter { return &meter{maxElements: maxElements, maxText: maxText, maxParts: maxParts} }

func (m *meter) reset() {
	m.elements.Store(0)
	m.text.Store(0)
	m.over.Store(false)
}

// take counts a value. It reports whether that is within the limits, and an error the first time that it isn't.
func (m *meter) take(v cty.Value) (within bool, err error) {
	v, _ = v.Unmark()
	switch {
	case !v.IsKnown() || v.IsNull():
	case v.Type() == cty.String:
		m.text.Add(int64(len(v.AsString())))
	case v.CanIterateElements():
		m.elements.Add(int64(v.LengthInt()))
	}
	if m.elements.Load() <= m.maxElements && m.text.Load() <= m.maxText {
		return true, nil
	}
	if m.over.CompareAndSwap(false, true) {
		return false, m.tooMuch()
	}
	return false, nil
}

// deep counts all parts of a value, of which some may be shared.
func (m *meter) deep(v cty.Value) (within bool, err error) {
	within = true
	_ = cty.Walk(v, func(_ cty.Path, part cty.Value) (bool, error) {
		if within && err == nil {
			within, err = m.take(part)
		}
		return within, nil
	})
	return within, err
}

// survey looks at all parts of a value: whether there are too many, and whether all of them are known. Parts that are shared
// count each time: whoever goes through the value meets them each time.
func (m *meter) survey(v cty.Value) (tooLarge, known bool) {
	left, known := m.maxParts, true
	var visit func(v cty.Value)
	visit = func(v cty.Value) {
		v, _ = v.Unmark()
		known = known && v.IsKnown()
		if left--; left < 0 || !v.IsKnown() || !v.CanIterateElements() {
			return
		}
		for it := v.ElementIterator(); left >= 0 && it.Next(); {
			_, element := it.Element()
			visit(element)
		}
	}
	visit(v)
	return left < 0, known && left >= 0
}

func (m *meter) tooMuch() error {
	return tooMuchError(fmt.Sprintf("this works on more than %d elements, or %d MB of text. Divide the configuration, or compute the values elsewhere and read them from a file",
		m.maxElements, m.maxText>>20))
}

// tooMuchError is the error of the meter.
type tooMuchError string

func (e tooMuchError) Error() string { return string(e) }

// function is the function called meterName.
func (m *meter) function() function.Function {
	return function.New(&function.Spec{
		Description: "Counts what is evaluated.",
		Params:      []function.Parameter{anything("value", cty.DynamicPseudoType)},
		Type: func(args []cty.Value) (cty.Type, error) {
			if m.over.Load() {
				return cty.DynamicPseudoType, nil
			}
			return args[0].Type(), nil
		},
		Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
			if within, err := m.take(args[0]); !within {
				return cty.UnknownVal(ty), err
			}
			return args[0], nil
		},
	})
}

func anything(name string, ty cty.Type) function.Parameter {
	return function.Parameter{Name: name, Type: ty, AllowNull: true, AllowUnknown: true, AllowDynamicType: true, AllowMarked: true}
}

// functions meters what functions return.
func (m *meter) functions(all map[string]function.Function) map[string]function.Function {
	metered := make(map[string]function.Function, len(all)+1)
	for name, f := range all {
		var types []cty.Type
		for _, p := range f.Params() {
			types = append(types, p.Type)
		}
		switch ty, err := f.ReturnType(types); {
		case name == "try" || name == "can":
			metered[name] = f // of expressions, whose parts are metered
		case err == nil && ty == cty.Bool:
			metered[name] = f
		default:
			metered[name] = m.metered(name, f)
		}
	}
	metered[meterName] = m.function()
	return metered
}

func (m *meter) metered(name string, f function.Function) function.Function {
	spec := &function.Spec{Description: f.Description(), Type: func(args []cty.Value) (cty.Type, error) { // asked before Impl
		if err := m.check(growth[name], args); err != nil {
			return cty.DynamicPseudoType, err
		}
		return f.ReturnTypeForValues(args)
	}}
	for _, p := range f.Params() {
		spec.Params = append(spec.Params, metered(p))
	}
	if p := f.VarParam(); p != nil {
		open := metered(*p)
		spec.VarParam = &open
	}
	count := m.take
	if strings.HasSuffix(name, "decode") {
		count = m.deep
	}
	spec.Impl = func(args []cty.Value, ty cty.Type) (cty.Value, error) {
		if m.over.Load() {
			return cty.UnknownVal(ty), nil
		}
		v, err := f.Call(args)
		if err != nil {
			return v, err
		}
		if within, err := count(v); !within {
			return cty.UnknownVal(ty), err
		}
		return v, Finite(v)
	}
	return function.New(spec)
}

func metered(p function.Parameter) function.Parameter {
	open := anything(p.Name, p.Type)
	open.Description = p.Description
	return open
}

// growing tells how many bytes a function's result has, for those whose result may be much larger than their arguments.
type growing func(args []cty.Value) (size float64)

func (m *meter) check(size growing, args []cty.Value) error {
	if size == nil {
		return nil
	}
	plain := make([]cty.Value, len(args))
	for i, v := range args {
		plain[i], _ = v.UnmarkDeep()
		if !plain[i].IsWhollyKnown() || plain[i].IsNull() {
			return nil
		}
	}
	if size(plain) > float64(m.maxText) {
		return m.tooMuch()
	}
	return nil
}

var growth = map[string]growing{
	"setproduct": func(args []cty.Value) float64 {
		size := 1.0
		for _, v := range args {
			if v.CanIterateElements() {
				size *= float64(v.LengthInt())
			}
		}
		return size * float64(maxText/maxElements) // elements, not bytes
	},
	"join": func(args []cty.Value) (size float64) {
		for _, list := range args[1:] {
			size += float64(list.LengthInt() * len(args[0].AsString()))
		}
		return size
	},
	"replace":       func(args []cty.Value) float64 { return replaced(args) },
	"regex_replace": func(args []cty.Value) float64 { return replaced(args) },
	"indent": func(args []cty.Value) float64 {
		spaces, _ := args[0].AsBigFloat().Float64()
		return spaces * float64(strings.Count(args[1].AsString(), "\n"))
	},
	"yamldecode": func(args []cty.Value) float64 { return expanded(args[0].AsString()) * (maxText / maxElements) },
	"format":     func(args []cty.Value) float64 { return formatted(args) },
	"formatlist": func(args []cty.Value) float64 { return formatted(args) },
}

func replaced(args []cty.Value) float64 {
	return float64(len(args[0].AsString())+1) * float64(len(args[2].AsString()))
}

// expanded is the number of nodes of YAML whose aliases are replaced by what they stand for; 0 if it isn't valid.
func expanded(text string) float64 {
	if !strings.Contains(text, "*") {
		return 0
	}
	var doc yaml.Node
	if yaml.Unmarshal([]byte(text), &doc) != nil {
		return 0
	}
	sizes := map[*yaml.Node]float64{}
	var size func(n *yaml.Node) float64
	size = func(n *yaml.Node) float64 {
		if known, ok := sizes[n]; ok {
			return known
		}
		sizes[n] = 0 // of a cycle, which is an error
		total := 1.0
		for _, child := range n.Content {
			total += size(child)
		}
		if n.Alias != nil {
			total += size(n.Alias)
		}
		sizes[n] = total
		return total
	}
	return size(&doc)
}

// formatted is the largest number within a format, or among the arguments where the format asks for such a width.
func formatted(args []cty.Value) (size float64) {
	if args[0].Type() != cty.String {
		return 0
	}
	text := args[0].AsString()
	for at := 0; at < len(text); {
		end := at
		for end < len(text) && text[end] >= '0' && text[end] <= '9' {
			end++
		}
		if end-at > 7 {
			return maxText + 1
		}
		at = max(end, at) + 1
	}
	if strings.Contains(text, "*") {
		for _, v := range args[1:] {
			if v.Type() == cty.Number && !v.IsNull() {
				n, _ := v.AsBigFloat().Float64()
				size = max(size, n)
			}
		}
	}
	return size
}

// Finite is an error for a number that nobody can write down, because it has too many digits. Other values are fine.
func Finite(v cty.Value) error {
	v, _ = v.Unmark()
	if !v.IsKnown() || v.IsNull() || v.Type() != cty.Number {
		return nil
	}
	switch f := v.AsBigFloat(); {
	case f.IsInf():
		return fmt.Errorf("the result is infinite")
	case f.MantExp(nil) > maxExponent || f.Sign() != 0 && f.MantExp(nil) < -maxExponent:
		return fmt.Errorf("the number has too many digits")
	}
	return nil
}

// checkedOperation is an operation of two numbers whose result must be one that can be written down.
func checkedOperation(f function.Function) *hclsyntax.Operation {
	return &hclsyntax.Operation{Type: cty.Number, Impl: function.New(&function.Spec{
		Params: []function.Parameter{
			{Name: "a", Type: cty.Number, AllowDynamicType: true, AllowUnknown: true, AllowMarked: true},
			{Name: "b", Type: cty.Number, AllowDynamicType: true, AllowUnknown: true, AllowMarked: true},
		},
		Type: function.StaticReturnType(cty.Number),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			v, err := f.Call(args)
			if err == nil {
				err = Finite(v)
			}
			return v, err
		},
	})}
}

var (
	multiply = checkedOperation(stdlib.MultiplyFunc)
	divide   = checkedOperation(stdlib.DivideFunc)
)

// limiter wraps what grows within an expression, and finds numbers that nobody can write down. It is an hclsyntax.Walker, and
// may walk an expression again.
type limiter struct {
	loops int
	diags hcl.Diagnostics
}

// Enter implements hclsyntax.Walker.
func (l *limiter) Enter(n hclsyntax.Node) hcl.Diagnostics {
	switch n := n.(type) {
	case hclsyntax.ChildScope:
		l.loops++
	case *hclsyntax.ForExpr:
		n.CollExpr = measured(n.CollExpr)
	case *hclsyntax.SplatExpr:
		n.Source = measured(n.Source)
	case *hclsyntax.TemplateExpr:
		for i, part := range n.Parts {
			if _, literal := part.(*hclsyntax.LiteralValueExpr); !literal || l.loops > 0 && len(n.Parts) > 1 {
				n.Parts[i] = measured(part)
			}
		}
	case *hclsyntax.BinaryOpExpr:
		switch n.Op {
		case hclsyntax.OpMultiply:
			n.Op = multiply
		case hclsyntax.OpDivide:
			n.Op = divide
		}
	case *hclsyntax.LiteralValueExpr:
		if err := Finite(n.Val); err != nil {
			l.diags = append(l.diags, failure(n.SrcRange.Ptr(), "Invalid number", "%s.", upperFirst(err.Error())))
		}
	}
	return nil
}

// Exit implements hclsyntax.Walker.
func (l *limiter) Exit(n hclsyntax.Node) hcl.Diagnostics {
	if _, ok := n.(hclsyntax.ChildScope); ok {
		l.loops--
	}
	return nil
}

// constant evaluates an expression that may not refer to anything.
func constant(expr hcl.Expression) (cty.Value, hcl.Diagnostics) {
	if node, ok := expr.(hclsyntax.Expression); ok {
		loop := &loopFinder{}
		_ = hclsyntax.Walk(node, loop)
		if loop.at != nil {
			return cty.DynamicVal, hcl.Diagnostics{failure(loop.at, "Loops not allowed", "A value that is known without evaluating anything can't have a for expression. Write the values down, or use a local value.")}
		}
	}
	v, diags := expr.Value(nil)
	if !diags.HasErrors() {
		_ = cty.Walk(v, func(_ cty.Path, part cty.Value) (bool, error) {
			err := Finite(part)
			if err != nil && !diags.HasErrors() {
				diags = append(diags, failure(expr.Range().Ptr(), "Invalid number", "%s.", upperFirst(err.Error())))
			}
			return err == nil, nil
		})
	}
	return v, diags
}

// loopFinder is an hclsyntax.Walker that finds a for expression.
type loopFinder struct{ at *hcl.Range }

// Enter implements hclsyntax.Walker.
func (l *loopFinder) Enter(n hclsyntax.Node) hcl.Diagnostics {
	if loop, ok := n.(*hclsyntax.ForExpr); ok && l.at == nil {
		l.at = loop.SrcRange.Ptr()
	}
	return nil
}

// Exit implements hclsyntax.Walker.
func (l *loopFinder) Exit(hclsyntax.Node) hcl.Diagnostics { return nil }

// measured is the expression wrapped into a call of the meter.
func measured(e hclsyntax.Expression) hclsyntax.Expression {
	if _, done := unmeasured(e); done {
		return e
	}
	return &hclsyntax.FunctionCallExpr{Name: meterName, Args: []hclsyntax.Expression{e}, NameRange: e.Range(), OpenParenRange: e.Range(), CloseParenRange: e.Range()}
}

// unmeasured is what is wrapped, if it is.
func unmeasured(e hclsyntax.Expression) (hclsyntax.Expression, bool) {
	if call, ok := e.(*hclsyntax.FunctionCallExpr); ok && call.Name == meterName {
		return call.Args[0], true
	}
	return e, false
}

// exceeded makes the errors of the meter readable, and adds one if it was lost within try.
func (m *meter) exceeded(diags hcl.Diagnostics) hcl.Diagnostics {
	told := !m.over.Load()
	for _, d := range diags {
		var tooMuch tooMuchError
		call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d)
		if ok && errors.As(call.FunctionCallError(), &tooMuch) {
			d.Summary, d.Detail, told = "Too much to evaluate", upperFirst(tooMuch.Error())+".", true
		}
	}
	if !told {
		diags = append(diags, failure(nil, "Too much to evaluate", "%s.", upperFirst(m.tooMuch().Error())))
	}
	return diags
}
