package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/config/schema"
)

// The outline of a configuration has the shape of "configuration" in Terraform's JSON plans: blocks as they are written, with
// constants where an expression is one, and else with what it refers to. Policy tools follow references with it. What may be
// secret is left out: constants of sensitive and write-only attributes, and of variables and outputs that are sensitive, or
// that such an attribute is set from.

type outline struct {
	Providers map[string]outlinedProvider `json:"provider_config"`
	Root      outlinedModule              `json:"root_module"`
}

type outlinedProvider struct {
	Name        string              `json:"name"`
	Alias       string              `json:"alias,omitempty"`
	Expressions outlinedExpressions `json:"expressions,omitempty"`
	ForEach     *outlinedExpression `json:"for_each_expression,omitempty"`
}

type outlinedModule struct {
	Outputs   map[string]outlinedOutput   `json:"outputs,omitempty"`
	Resources []outlinedResource          `json:"resources,omitempty"`
	Calls     map[string]outlinedCall     `json:"module_calls,omitempty"`
	Variables map[string]outlinedVariable `json:"variables,omitempty"`
}

type outlinedOutput struct {
	Expression  *outlinedExpression `json:"expression,omitempty"`
	Description string              `json:"description,omitempty"`
	Sensitive   bool                `json:"sensitive,omitempty"`
	DependsOn   []string            `json:"depends_on,omitempty"`
}

type outlinedResource struct {
	Address       string              `json:"address"`
	Mode          string              `json:"mode"`
	Type          string              `json:"type"`
	Name          string              `json:"name"`
	Provider      string              `json:"provider_config_key"`
	Expressions   outlinedExpressions `json:"expressions"`
	SchemaVersion int                 `json:"schema_version"`
	Count         *outlinedExpression `json:"count_expression,omitempty"`
	ForEach       *outlinedExpression `json:"for_each_expression,omitempty"`
	DependsOn     []string            `json:"depends_on,omitempty"`
}

type outlinedCall struct {
	Source      string              `json:"source"`
	Expressions outlinedExpressions `json:"expressions,omitempty"`
	Count       *outlinedExpression `json:"count_expression,omitempty"`
	ForEach     *outlinedExpression `json:"for_each_expression,omitempty"`
	DependsOn   []string            `json:"depends_on,omitempty"`
	Module      *outlinedModule     `json:"module,omitempty"`
}

type outlinedVariable struct {
	Default     json.RawMessage `json:"default,omitempty"`
	Description string          `json:"description,omitempty"`
	Sensitive   bool            `json:"sensitive,omitempty"`
}

// outlinedExpressions has attributes and, as objects of their own, nested blocks.
type outlinedExpressions map[string]any

type outlinedExpression struct {
	Constant   json.RawMessage `json:"constant_value,omitempty"`
	References []string        `json:"references,omitempty"`
}

// Outline returns the outline of a configuration that was loaded without errors, as JSON. It holds no secrets.
func (c *Config) Outline() []byte {
	o := outliner{secret: c.secrets()}
	out := outline{Providers: map[string]outlinedProvider{}, Root: o.module(c.module)}
	for _, n := range c.providers {
		p := outlinedProvider{Name: n.provider.Name, Alias: n.provider.Alias, Expressions: o.body(n.body)}
		p.ForEach = o.expression(n.forEach, len(n.body.secrets()) > 0) // each.value may be in one
		out.Providers[n.provider.String()] = p
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(out) // of texts, and of JSON that was made before: never fails
	return bytes.TrimSpace(b.Bytes())
}

type outliner struct{ secret map[*node]bool }

func (o outliner) module(m *module) outlinedModule {
	out := outlinedModule{Outputs: map[string]outlinedOutput{}, Calls: map[string]outlinedCall{}, Variables: map[string]outlinedVariable{}}
	for _, n := range m.own {
		switch n.kind {
		case outputNode:
			out.Outputs[n.name] = outlinedOutput{
				Expression: o.expression(n.expr, n.output.Sensitive), Description: n.output.Description, Sensitive: n.output.Sensitive, DependsOn: references(n.dependsOn...),
			}
		case variableNode:
			v := n.variable
			shown := outlinedVariable{Description: v.Description, Sensitive: v.secret()}
			if v.Default != cty.NilVal && !v.secret() && !o.secret[n] {
				shown.Default, _ = ctyjson.Marshal(v.Default, v.Default.Type()) // a constant, known in full
			}
			out.Variables[n.name] = shown
		case resourceNode, dataNode:
			out.Resources = append(out.Resources, o.resource(n))
		case callNode:
			out.Calls[n.name] = o.call(n)
		}
	}
	slices.SortFunc(out.Resources, func(a, b outlinedResource) int {
		return cmp.Or(-cmp.Compare(a.Mode, b.Mode), cmp.Compare(a.Address, b.Address))
	})
	return out
}

func (o outliner) resource(n *node) outlinedResource {
	out := outlinedResource{
		Address: n.localID(), Mode: "managed", Type: n.address.Type, Name: n.address.Name, Provider: n.provider.String(),
		Expressions: o.body(n.body), DependsOn: references(n.dependsOn...),
	}
	if n.kind == dataNode {
		out.Mode = "data"
	}
	if n.body != nil {
		out.SchemaVersion = n.body.table.Version
	}
	out.Count, out.ForEach = o.expression(n.count, false), o.expression(n.forEach, len(n.body.secrets()) > 0)
	return out
}

func (o outliner) call(n *node) outlinedCall {
	out := outlinedCall{Source: n.call.source, Expressions: outlinedExpressions{}, DependsOn: references(n.dependsOn...)}
	secret := false // of any argument
	if m := n.call.module; m != nil {
		for name, v := range m.variables {
			if v.expr != nil {
				hidden := v.variable.secret() || o.secret[v]
				secret = secret || hidden
				out.Expressions[name] = o.expression(v.expr, hidden)
			}
		}
		inner := o.module(m)
		out.Module = &inner
	}
	out.Count, out.ForEach = o.expression(n.count, false), o.expression(n.forEach, secret)
	return out
}

func (o outliner) body(b *body) outlinedExpressions {
	out := outlinedExpressions{}
	if b == nil {
		return out
	}
	o.bindings(b.attrs, out)
	for _, n := range b.blocks {
		if n.absent {
			continue
		}
		inner := outlinedExpressions{}
		o.bindings(n.attrs, inner)
		out[n.block.Name] = inner
	}
	return out
}

func (o outliner) bindings(set []binding, into outlinedExpressions) {
	for _, b := range set {
		into[b.attr.Name] = o.expression(b.expr, secretAttr(b.attr))
	}
}

func secretAttr(a *schema.Attr) bool { return a.Sensitive || a.WriteOnly }

// expression is nil for no expression.
func (o outliner) expression(expr hcl.Expression, secret bool) *outlinedExpression {
	if expr == nil {
		return nil
	}
	out := &outlinedExpression{References: references(expr)}
	if len(out.References) > 0 || secret {
		return out
	}
	if v, diags := constant(expr); !diags.HasErrors() && v.IsWhollyKnown() {
		out.Constant, _ = ctyjson.Marshal(v, v.Type()) // of a known value without marks: never fails
	}
	return out
}

// references is what expressions refer to: of each reference itself, then what leads there, down to the block.
func references(exprs ...hcl.Expression) (list []string) {
	told := map[string]bool{}
	for _, expr := range exprs {
		for _, t := range expr.Variables() {
			shortest := 2
			if t.RootName() == "data" {
				shortest = 3
			}
			for n := len(t); n >= min(shortest, len(t)); n-- {
				if text := string(hclwrite.TokensForTraversal(t[:n]).Bytes()); !told[text] {
					told[text] = true
					list = append(list, text)
				}
			}
		}
	}
	return list
}
