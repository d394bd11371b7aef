package config

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

// Inspected is a block as it can be known without network: what only a provider can tell is unknown in its Value, and so is
// what follows from variables without value.
type Inspected struct {
	Block
	Table    *schema.Table
	Addr     addr.Instance  // zero for a provider block
	Provider addr.Provider  // of the instance, or that is configured
	Count    hcl.Expression // of the resource or data block, or nil
}

// Inspect evaluates the configuration without asking any provider, and returns the provider blocks and the instances of
// resource and data blocks (of each block 100 at most), in order of reference. A variable that inputs lacks, or has as
// unknown, is unknown. The configuration must have been loaded without errors.
func (c *Config) Inspect(inputs map[string]cty.Value) ([]Inspected, hcl.Diagnostics) {
	var seen []Inspected
	e := c.staticEvaluator(nil)
	e.inspect = func(i Inspected) { seen = append(seen, i) }
	for name, n := range c.variables {
		if v, ok := inputs[name]; ok {
			e.of(n).value = n.variable.mark(v)
		}
	}
	e.walkStatic()
	return seen, inOrder(discreet(e.diags))
}

// Expression is what an attribute (named as for AttrRange) is set to, or nil.
func (b Block) Expression(attr string) hcl.Expression {
	if b.body == nil {
		return nil
	}
	if set, _ := b.body.find(attr); set != nil {
		return set.expr
	}
	return nil
}

// Unused is a declaration that nothing refers to.
type Unused struct {
	Kind  string // "variable", "local", "data" or "provider"
	Name  string // as in references
	Range hcl.Range
}

// Unused returns the variables, local values, data blocks and aliased provider blocks that nothing refers to, in order of
// declaration.
func (c *Config) Unused() []Unused {
	var list []Unused
	validated := c.validatedBy()
	for _, n := range c.nodes {
		kind := map[nodeKind]string{variableNode: "variable", localNode: "local", dataNode: "data"}[n.kind]
		if n.kind == providerNode && n.provider.Alias != "" {
			kind = "provider"
		}
		if n.module.parent != nil {
			continue // a module may be for others
		}
		if n.kind == variableNode && c.usedByPolicies(n.name) {
			continue
		}
		if kind != "" && len(n.users) == 0 && !validated[n] && n.check == nil {
			list = append(list, Unused{Kind: kind, Name: n.id(), Range: n.rng})
		}
	}
	slices.SortStableFunc(list, func(a, b Unused) int { return compareRanges(a.Range, b.Range) })
	return list
}

// validatedBy is the variables that the validation of another one refers to.
func (c *Config) validatedBy() map[*node]bool {
	used := map[*node]bool{}
	for _, n := range c.variables {
		for _, rule := range n.variable.validations {
			for _, t := range append(rule.condition.Variables(), rule.message.Variables()...) {
				if name, ok := attrName(t, 1); ok && t.RootName() == "var" && name != n.name && c.variables[name] != nil {
					used[c.variables[name]] = true
				}
			}
		}
	}
	return used
}
