package config

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
)

// explain adds to errors about attributes that an object doesn't have what may have been meant, or why it lacks them, and to
// all errors about steps of a traversal what it has led to.
func (c *Config) explain(diags hcl.Diagnostics) hcl.Diagnostics {
	for _, d := range diags {
		if d.Summary != "Unsupported attribute" || d.Subject == nil || d.EvalContext == nil {
			continue
		}
		p, ok := pathOf(d)
		if !ok {
			continue
		}
		plain := fmt.Sprintf("This object does not have an attribute named %q.", p.name)
		if at, reason := c.lacks(p); reason != "" {
			d.Detail = strings.Replace(d.Detail, plain, fmt.Sprintf("There is no %q in %s: %s.", p.name, at, reason), 1)
		} else if object, ok := p.value(p.steps); ok {
			d.Detail = strings.Replace(d.Detail, plain, plain+DidYouMean(p.name, keysOf(object.Type().AttributeTypes())), 1)
		}
	}
	for _, d := range diags {
		showSource(d)
	}
	return diags
}

// path is the way to an attribute that isn't there.
type path struct {
	block hcl.Traversal // begins with the block's name; nil when it isn't known
	steps hcl.Traversal // to the object, from the expression's source
	name  string        // of the attribute
	walk  func(hcl.Traversal) (cty.Value, hcl.Diagnostics)
}

// pathOf finds, in the expression of a diagnostic, the step that it is about.
func pathOf(d *hcl.Diagnostic) (path, bool) {
	var p path
	switch e := d.Expression.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		p.block, p.steps = e.Traversal, e.Traversal
		p.walk = func(t hcl.Traversal) (cty.Value, hcl.Diagnostics) { return t.TraverseAbs(d.EvalContext) }
	case *hclsyntax.RelativeTraversalExpr: // after an index that isn't a constant
		if index, ok := e.Source.(*hclsyntax.IndexExpr); ok {
			if collection, ok := index.Collection.(*hclsyntax.ScopeTraversalExpr); ok {
				p.block = collection.Traversal
			}
		}
		p.steps = e.Traversal
		p.walk = func(t hcl.Traversal) (cty.Value, hcl.Diagnostics) {
			v, diags := e.Source.Value(d.EvalContext)
			if diags.HasErrors() {
				return v, diags
			}
			return t.TraverseRel(v)
		}
	}
	for i, step := range p.steps {
		if attr, ok := step.(hcl.TraverseAttr); ok && attr.SrcRange == *d.Subject {
			p.name, p.steps = attr.Name, p.steps[:i]
			return p, i > 0
		}
	}
	return p, false
}

// value is the object at the end of the steps.
func (p path) value(steps hcl.Traversal) (cty.Value, bool) {
	v, diags := p.walk(steps)
	if diags.HasErrors() {
		return v, false
	}
	v, _ = v.Unmark()
	return v, v.IsKnown() && !v.IsNull() && v.Type().IsObjectType()
}

// lacks is the attribute that the path leads to and why it has no such member (schema.Attr.Lacks), or "".
func (c *Config) lacks(p path) (at, reason string) {
	inst, _, ok := addr.FromTraversal(p.block)
	last := len(p.steps) - 1
	name, isAttr := attrName(p.steps, last)
	if !ok || !isAttr || last == 0 && !p.steps.IsRelative() {
		return "", ""
	}
	table := c.schemas.ResourceTable(inst.Resource.Type)
	if inst.Resource.Mode == addr.Data {
		table = c.schemas.DataTable(inst.Resource.Type)
	}
	if table == nil || table.Attr(name) == nil || table.Attr(name).Lacks == "" {
		return "", ""
	}
	owner, ok := p.value(p.steps[:last])
	if !ok || !owner.Type().HasAttribute(table.Attr(name).Lacks) {
		return "", ""
	}
	reasons, _ := owner.GetAttr(table.Attr(name).Lacks).Unmark()
	if reasons.IsNull() || !reasons.IsWhollyKnown() {
		return "", ""
	}
	if r, ok := reasons.AsValueMap()[p.name]; ok && r.Type() == cty.String && !r.IsNull() {
		return name, r.AsString()
	}
	return "", ""
}

// showSource makes a traversal that fails at one of its steps show the value before that: it has none itself.
func showSource(d *hcl.Diagnostic) {
	e, ok := d.Expression.(*hclsyntax.ScopeTraversalExpr)
	if !ok || d.EvalContext == nil || d.Severity != hcl.DiagError {
		return
	}
	if _, diags := e.Traversal.TraverseAbs(d.EvalContext); !diags.HasErrors() {
		return
	}
	for n := len(e.Traversal) - 1; n > 0; n-- {
		if v, diags := e.Traversal[:n].TraverseAbs(d.EvalContext); !diags.HasErrors() {
			if n > 1 || v.IsKnown() && !v.Type().IsObjectType() { // var, local and the like are no values
				d.Expression = &hclsyntax.ScopeTraversalExpr{Traversal: e.Traversal[:n], SrcRange: e.Traversal[:n].SourceRange()}
			}
			return
		}
	}
}
