package view

import (
	"fmt"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// Imports and moves change the state only. They are shown as Terraform shows them: what is imported or moved and otherwise
// as configured has a header of its own; what is also changed has a remark below the header of the change.

func moved(c *plan.Change) bool { return c.MovedFrom != (addr.Instance{}) }

// silent reports whether nothing at all happens to an object.
func silent(c *plan.Change) bool {
	return c.Kind == providers.NoOp && c.Importing == "" && !moved(c)
}

// header announces a change.
func header(c *plan.Change) string {
	switch {
	case c.Reason == plan.ReasonRequested:
		return fmt.Sprintf("# %s will be replaced, as requested", c.Addr)
	case c.Reason == plan.ReasonTainted:
		return fmt.Sprintf("# %s is tainted, so must be replaced", c.Addr)
	case c.Kind == providers.Adopt && c.Before.IsNull():
		return fmt.Sprintf("# %s will be adopted: it is on its way", c.Addr)
	case c.Kind != providers.NoOp:
		return fmt.Sprintf("# %s %s", c.Addr, kindOf(c.Kind).header)
	case c.Importing != "":
		return fmt.Sprintf("# %s will be imported", c.Addr)
	}
	return movedHeader(state.Moved{From: c.MovedFrom, To: c.Addr})
}

func movedHeader(m state.Moved) string { return fmt.Sprintf("# %s has moved to %s", m.From, m.To) }

// remarks are what else happens than the header says.
func remarks(c *plan.Change) []string {
	switch {
	case c.Kind == providers.NoOp:
		return nil
	case moved(c):
		return []string{fmt.Sprintf("# (moved from %s)", c.MovedFrom)}
	case c.Importing != "":
		return []string{fmt.Sprintf("# (imported from %q)", c.Importing)}
	}
	return nil
}

// otherMoves are those of objects that are not among the plan's changes, because of its targets.
func otherMoves(p *plan.Plan) []state.Moved {
	shown := map[addr.Instance]bool{}
	for i := range p.Changes {
		shown[p.Changes[i].Addr] = true
	}
	var others []state.Moved
	for _, m := range p.Moves {
		if !shown[m.To] {
			others = append(others, m)
		}
	}
	return others
}

// importText is the number of imports, with its separator, where there are any.
func importText(n int, word string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d %s, ", n, word)
}
