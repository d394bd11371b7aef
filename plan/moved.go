package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// Moves change addresses in the state and nothing else. Those of moved blocks are made before anything is looked at, all at
// once, whatever the plan's targets: everything after sees the new addresses.

// moveState is the state with the moves of the configuration's moved blocks.
func moveState(c *config.Config, loaded *state.Loaded) (*state.Loaded, []state.Moved, hcl.Diagnostics) {
	if len(c.Moves()) == 0 {
		return loaded, nil, nil
	}
	var moves []state.Moved
	var diags hcl.Diagnostics
	arrived := map[addr.Instance]addr.Instance{}
	for _, from := range slices.SortedFunc(maps.Keys(loaded.Snapshot.Resources), addr.Instance.Compare) {
		to, by, ok := c.MovedTo(from)
		if !ok {
			return loaded, nil, hcl.Diagnostics{errorf("Cycle of moves", "The moved blocks lead from %s in a circle, so that it arrives nowhere. Remove one of them.", from)}
		}
		other, taken := arrived[to]
		if arrived[to] = from; taken {
			if by == nil {
				_, by, _ = c.MovedTo(other)
				from, other = other, from
			}
			d := errorf("Move to an existing object", "%s can't become %s: that is the address of another object in the state. Forget that one first, with `iexecform state rm '%s'`, or remove the moved block.", from, to, other)
			d.Subject = by.Range.Ptr()
			diags = append(diags, d)
			continue
		}
		if to != from {
			moves = append(moves, state.Moved{From: from, To: to})
		}
	}
	if diags.HasErrors() || len(moves) == 0 {
		return loaded, nil, diags
	}
	moved := *loaded
	var err error
	if moved.Snapshot, err = state.MoveObjects(loaded.Snapshot, moves); err != nil {
		return loaded, nil, diags.Append(errorf("Invalid move", "%s.", err))
	}
	return &moved, moves, nil
}

// sources is where the moved objects come from, by their new addresses.
func sources(moves []state.Moved) map[addr.Instance]addr.Instance {
	from := make(map[addr.Instance]addr.Instance, len(moves))
	for _, m := range moves {
		from[m.To] = m.From
	}
	return from
}

// removal is how a removed block wants an object to go.
func (b *builder) removal(i addr.Instance) schema.Removal {
	if r := b.Config.RemovedBy(i); r != nil {
		return r.Mode
	}
	return schema.RemoveDefault
}

// removed makes the result for an object that a removed block is about tell so. Forgetting touches nothing, whatever the
// provider says.
func removed(how schema.Removal, result *providers.PlanResult) {
	if how == schema.RemoveDefault {
		return
	}
	result.Because = []string{fmt.Sprintf("a removed block says mode = %q", string(how))}
	if how == schema.RemoveForget {
		result.Kind, result.Actions, result.Expect = providers.Forget, nil, nil
	}
}
