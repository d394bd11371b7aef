package plan

import (
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/config/addr"
)

// require makes objects wait for those that provide what they require, though they don't refer to them, and sorts the
// proposals again so that each comes after those it waits for. With nothing required, it does nothing.
func (b *builder) require() (diags hcl.Diagnostics) {
	provided := map[string][]addr.Instance{}
	for _, c := range b.order {
		for _, key := range c.Provides {
			provided[key] = append(provided[key], c.addr)
		}
	}
	required := false
	for _, c := range b.order {
		for _, key := range c.Requires {
			c.requires = append(c.requires, provided[key]...)
		}
		required = required || len(c.requires) > 0
		slices.SortFunc(c.requires, addr.Instance.Compare)
	}
	if !required {
		return nil
	}
	const visiting, placed = 1, 2
	reached := make(map[*proposal]int, len(b.order))
	sorted := make([]*proposal, 0, len(b.order))
	var visit func(c *proposal)
	visit = func(c *proposal) {
		reached[c] = visiting
		if !c.removed { // what goes is sorted the other way round
			for _, i := range slices.Concat(c.dependsOn, c.requires) {
				before := b.proposed(i)
				switch {
				case before == nil:
				case reached[before] == 0 && !before.removed:
					visit(before)
				case reached[before] == visiting:
					diags = diags.Append(errorf("Contradictory order", "%s must come before %s, but depends on it. Remove the reference that makes it so.", i, c.addr))
				}
			}
		}
		reached[c] = placed
		sorted = append(sorted, c)
	}
	for _, c := range b.order {
		if reached[c] == 0 {
			visit(c)
		}
	}
	b.order = sorted
	return diags
}

// waitsFor is the objects whose actions come before those of the proposal's object.
func (c *proposal) waitsFor() []addr.Instance {
	if len(c.requires) == 0 {
		return c.dependsOn
	}
	return slices.Concat(c.dependsOn, c.requires)
}
