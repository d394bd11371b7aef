package view

import (
	"bytes"
	"fmt"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
)

// Drift is shown only where it makes a plan differ (see plan/drift.go), and of it only what isn't progress.

// drifts lists the changes of objects that are not as the state has them.
func drifts(p *plan.Plan) []*plan.Change {
	var list []*plan.Change
	for i := range p.Changes {
		if c := &p.Changes[i]; c.Drifted() {
			list = append(list, c)
		}
	}
	return list
}

// drift is what somebody else changed of an object; nothing when all of it is gone.
func drift(c *plan.Change, table *schema.Table) (list []difference) {
	if c.Gone() {
		return nil
	}
	for _, d := range withinBlocks(table, plan.Diff(c.Prior, c.Before)) {
		if a := attrOf(table, d.Name); a == nil || a.Progress == nil || !a.Progress(c.Prior, c.Before) {
			list = append(list, differenceOf(a, d, "        "))
		}
	}
	return list
}

func (h *Human) planDrift(b *bytes.Buffer, p *plan.Plan) {
	list := drifts(p)
	if len(list) == 0 || p.Mode == plan.RefreshOnly { // there all changes are such
		return
	}
	b.WriteString(h.Colour.bold("Changed by somebody else since the last apply:") + "\n\n")
	for _, c := range list {
		what := "has changed"
		if c.Gone() {
			what = "is gone"
		}
		fmt.Fprintf(b, "  # %s %s\n", c.Addr, what)
		for _, d := range drift(c, tableOf(h.Tables, c.Addr.Resource)) {
			fmt.Fprintf(b, "      %s %s = %s\n", markPaint(d.Mark)(h.Colour, d.Mark), d.Name, h.difference(d))
		}
	}
	b.WriteByte('\n')
}

// drift prints a line for each object that is not as the state has it.
func (l *Lines) drift(p *plan.Plan) {
	for _, c := range drifts(p) {
		action := driftAction(c)
		l.line("info", fmt.Sprintf("%s: drift (%s)", c.Addr, action), "resource_drift",
			map[string]any{"change": map[string]any{"resource": toJSONAddr(c.Addr), "action": action}})
	}
}

func driftAction(c *plan.Change) providers.ChangeKind {
	if c.Gone() {
		return providers.Delete
	}
	return providers.Update
}

// drifted is a drift as a change from what the state has to what there is.
func drifted(c *plan.Change) *plan.Change {
	d := &plan.Change{Addr: c.Addr, Provider: c.Provider, Kind: driftAction(c), Before: c.Prior, After: c.Before}
	if c.Gone() {
		d.After = c.Before.Null()
	}
	return d
}
