package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Marks follow values through expressions. A sensitive value is not shown: it may be used where values are not public, and
// with nonsensitive(...) everywhere. An ephemeral value is not kept either: it may be used in write-only attributes, in
// provider blocks, and in what leads there; only ephemeralasnull(...) takes that mark off, together with the value.

type mark string

const (
	sensitiveMark = mark("sensitive")
	ephemeralMark = mark("ephemeral")
)

// mark adds the marks that the variable's declaration asks for.
func (v *variable) mark(value cty.Value) cty.Value {
	if v.Sensitive {
		value = value.Mark(sensitiveMark)
	}
	if v.Ephemeral {
		value = value.Mark(ephemeralMark)
	}
	return value
}

// secret reports whether messages must not show the variable's value.
func (v *variable) secret() bool { return v.Sensitive || v.Ephemeral }

// hasSecrets reports whether there is such a variable.
func (c *Config) hasSecrets() bool {
	for _, n := range c.variables {
		if n.variable.secret() {
			return true
		}
	}
	return false
}

// Public returns the values of variables; of those that must not be seen or kept it has cty.NilVal: those that are declared
// so, and those that a sensitive or write-only attribute is set from.
func (c *Config) Public(inputs map[string]cty.Value) map[string]cty.Value {
	secret := c.secrets()
	public := make(map[string]cty.Value, len(inputs))
	for name, v := range inputs {
		switch n := c.variables[name]; {
		case n == nil:
		case secret[n] || n.variable.secret() || v.ContainsMarked():
			public[name] = cty.NilVal
		default:
			public[name] = v
		}
	}
	return public
}

// secrets are the variables, local values and outputs of modules that sensitive and write-only attributes are set from.
func (c *Config) secrets() map[*node]bool {
	secret := map[*node]bool{}
	var spoil func(n *node)
	spoil = func(n *node) {
		if secret[n] || n.instantiable() || n.kind == providerNode {
			return
		}
		secret[n] = true
		for _, to := range n.deps {
			spoil(to)
		}
	}
	for _, n := range c.nodes {
		for _, b := range n.body.secrets() {
			f := c.find(b.expr, scope{module: n.module, each: true, count: true, check: n.check})
			if f.each && n.forEach != nil {
				f.refs = append(f.refs, c.find(n.forEach, scope{module: n.module}).refs...)
			}
			for _, r := range f.refs {
				spoil(r.to)
			}
		}
	}
	return secret
}

// secrets are the bindings of attributes that are not shown or kept.
func (b *body) secrets() (list []binding) {
	if b == nil {
		return nil
	}
	keep := func(set []binding) {
		for _, one := range set {
			if secretAttr(one.attr) {
				list = append(list, one)
			}
		}
	}
	keep(b.attrs)
	for i := range b.blocks {
		keep(b.blocks[i].attrs)
	}
	return list
}

// isEphemeral reports whether the value or a part of it is ephemeral.
func isEphemeral(v cty.Value) bool {
	_, marks := v.UnmarkDeep()
	_, has := marks[ephemeralMark]
	return has
}

// discreet takes out of diagnostics what functions said of arguments that must not be shown: they may quote them.
func discreet(diags hcl.Diagnostics) hcl.Diagnostics {
	for _, d := range diags {
		call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d)
		if !ok || call.FunctionCallError() == nil || d.Expression == nil || d.EvalContext == nil {
			continue
		}
		marked := slices.ContainsFunc(d.Expression.Variables(), func(t hcl.Traversal) bool {
			v, problems := t.TraverseAbs(d.EvalContext)
			return !problems.HasErrors() && v.ContainsMarked()
		})
		if marked {
			d.Detail = hiddenReason(call)
		}
	}
	return diags
}

func hiddenReason(call hclsyntax.FunctionCallDiagExtra) string {
	return fmt.Sprintf("Call to function %q failed. The reason is not shown, because it may quote a value that must not be shown.", call.CalledFunctionName())
}

// conceal takes out of diagnostics about a write-only attribute whatever might show its value: values, what functions said,
// and, where it is written as it is, its source. The place is that of the block then.
func (b *binding) conceal(diags hcl.Diagnostics, block hcl.Range) hcl.Diagnostics {
	if !b.attr.WriteOnly {
		return diags
	}
	for _, d := range diags {
		d.Expression, d.EvalContext = nil, nil
		if call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d); ok && call.FunctionCallError() != nil {
			d.Detail = hiddenReason(call)
		}
		if len(b.expr.Variables()) == 0 {
			d.Subject, d.Context = block.Ptr(), nil
		}
	}
	return diags
}

// withoutSensitive takes the sensitive mark off a value and all its parts.
func withoutSensitive(v cty.Value) cty.Value {
	v, marked := v.UnmarkDeepWithPaths()
	for i := range marked {
		marked[i].Marks = maps.Clone(marked[i].Marks)
		delete(marked[i].Marks, sensitiveMark)
	}
	marked = slices.DeleteFunc(marked, func(m cty.PathValueMarks) bool { return len(m.Marks) == 0 })
	return v.MarkWithPaths(marked)
}

// ephemeralAsNull replaces what is ephemeral of a value by null.
func ephemeralAsNull(v cty.Value) cty.Value {
	v, _ = cty.Transform(v, func(_ cty.Path, part cty.Value) (cty.Value, error) {
		if !part.HasMark(ephemeralMark) {
			return part, nil
		}
		_, marks := part.Unmark()
		marks = maps.Clone(marks)
		delete(marks, ephemeralMark)
		return cty.NullVal(part.Type()).WithMarks(marks), nil
	}) // fails only when the function does
	return v
}

// marksFunc makes a function that changes nothing but marks.
func marksFunc(f func(cty.Value) cty.Value) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowNull: true, AllowMarked: true, AllowDynamicType: true}},
		Type:   func(args []cty.Value) (cty.Type, error) { return args[0].Type(), nil },
		Impl:   func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f(args[0]), nil },
	})
}

var isSensitiveFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowNull: true, AllowMarked: true, AllowDynamicType: true}},
	Type:   function.StaticReturnType(cty.Bool),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		return cty.BoolVal(args[0].HasMark(sensitiveMark)), nil
	},
})
