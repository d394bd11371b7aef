package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
)

// A policy block says which changes a plan may have. Its condition is computed for each change of its resources, when all is
// planned, with before, after and change beside the variables; a plan with a change for which it doesn't hold can't be
// applied, unless the policy is acknowledged by name. What can't be computed doesn't hold.

// policyChanges are the kinds of change that a policy may be about; unless it names some, it is about those before "delete".
var policyChanges = []string{"create", "adopt", "update", "replace", "delete", "forget"}

// policyRoots are what a condition may refer to.
var policyRoots = []string{"before", "after", "change", "var"}

// Policy is a policy block.
type Policy struct {
	Name      string
	Range     hcl.Range // of the block's header
	resources []string  // types
	changes   []string
	condition condition
	scope     *hcl.EvalContext
}

// PolicyChange is a change as a policy sees it. Before and After are null where there is nothing.
type PolicyChange struct {
	Address, Type string
	Kind          string        // as in the plan
	Before, After schema.Object // null where there is none
}

// FailedPolicy is the Extra of a diagnostic about a change for which a policy doesn't hold: the policy's name.
type FailedPolicy string

// Policies returns the policy blocks in order of declaration.
func (c *Config) Policies() []*Policy { return c.policies }

func (l *loader) declarePolicy(block *hcl.Block) {
	p := &Policy{Name: block.Labels[0], Range: block.DefRange, changes: policyChanges[:4], scope: l.scope}
	for _, first := range l.policies {
		if first.Name == p.Name {
			l.duplicate("policy."+p.Name, block.DefRange, first.Range)
			return
		}
	}
	content, diags := block.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{
		{Name: "resources", Required: true}, {Name: "changes"}, {Name: "condition", Required: true}, {Name: "error_message", Required: true},
	}})
	l.diags = append(l.diags, diags...)
	p.resources = l.policyWords(content.Attributes["resources"], l.schemas.ResourceTypes())
	if attr := content.Attributes["changes"]; attr != nil {
		p.changes = l.policyWords(attr, policyChanges)
	}
	if is, message := content.Attributes["condition"], content.Attributes["error_message"]; is != nil && message != nil {
		p.condition = condition{is.Expr, message.Expr, "Policy failed"}
		l.policies = append(l.policies, p)
	}
}

// policyWords reads a list of some of the known words.
func (l *loader) policyWords(attr *hcl.Attribute, known []string) (words []string) {
	if attr == nil {
		return nil
	}
	if diags := gohcl.DecodeExpression(attr.Expr, nil, &words); diags.HasErrors() {
		l.diags = append(l.diags, diags...)
		return nil
	}
	for _, word := range words {
		if !slices.Contains(known, word) {
			l.errorf(attr.Expr.Range().Ptr(), "Invalid policy", "%s has no %q.%s There are: %s.", attr.Name, word, DidYouMean(word, known), strings.Join(known, ", "))
		}
	}
	return words
}

// checkPolicies checks what the conditions refer to.
func (l *loader) checkPolicies() {
	for _, p := range l.policies {
		if is := p.condition.condition; len(is.Variables()) == 0 {
			l.errorf(is.Range().Ptr(), "Invalid condition", "The condition refers to nothing, so it is always the same. Refer to before or after.")
		}
		for _, expr := range []hcl.Expression{p.condition.condition, p.condition.message} {
			functions := &finder{config: l.Config, locals: []map[string]struct{}{{}}}
			for _, t := range expr.Variables() {
				functions.locals[0][t.RootName()] = struct{}{} // looked at below
				name, _ := attrName(t, 1)
				switch root := t.RootName(); {
				case !slices.Contains(policyRoots, root):
					l.errorf(t.SourceRange().Ptr(), invalidReference, "The condition of a policy may refer to %s, and %s is none of them.%s", strings.Join(policyRoots, ", "), root, DidYouMean(root, policyRoots))
				case root == "var" && l.variables[name] == nil && !l.incomplete:
					l.errorf(t.SourceRange().Ptr(), "Reference to undeclared variable", "There is no variable %q.%s", name, DidYouMean(name, keysOf(l.variables)))
				}
			}
			if node, ok := expr.(hclsyntax.Expression); ok {
				_ = hclsyntax.Walk(node, functions) // its diagnostics are those of Enter and Exit, which return none
				l.diags = append(l.diags, functions.diags...)
			}
		}
	}
}

// usedByPolicies reports whether a policy refers to a variable of the root.
func (c *Config) usedByPolicies(variable string) bool {
	return slices.ContainsFunc(c.policies, func(p *Policy) bool {
		all := append(p.condition.condition.Variables(), p.condition.message.Variables()...)
		return slices.ContainsFunc(all, func(t hcl.Traversal) bool {
			name, _ := attrName(t, 1)
			return t.RootName() == "var" && name == variable
		})
	})
}

// Check returns why the policy doesn't hold for a change, or nil. inputs are the values of the variables.
func (p *Policy) Check(inputs map[string]cty.Value, change PolicyChange) *hcl.Diagnostic {
	if !slices.Contains(p.resources, change.Type) || !slices.Contains(p.changes, change.Kind) {
		return nil
	}
	ctx := p.scope.NewChild()
	ctx.Variables = map[string]cty.Value{
		"before": change.Before.Cty(), "after": change.After.Cty(), "var": cty.ObjectVal(inputs),
		"change": cty.ObjectVal(map[string]cty.Value{"address": cty.StringVal(change.Address), "type": cty.StringVal(change.Type), "kind": cty.StringVal(change.Kind)}),
	}
	e := &evaluator{} // it only judges
	status, problem, diags := e.judge(p.condition, ctx)
	switch {
	case status == CheckPass:
		return nil
	case status == CheckUnknown:
		problem = "The condition depends on what only apply can tell."
	case status == CheckError && len(diags) > 0:
		problem = diags[0].Detail
	}
	d := failure(p.condition.condition.Range().Ptr(), p.condition.summary, "%s", fmt.Sprintf("Policy %q refuses to %s %s: %s", p.Name, change.Kind, change.Address, problem))
	d.Extra = FailedPolicy(p.Name)
	return within(d, p.condition.condition, ctx)
}
