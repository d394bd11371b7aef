package view

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/errcode"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
)

// Outcome is what applying a plan came to.
type Outcome struct {
	Plan    *plan.Plan
	Result  *apply.Result
	Done    []*providers.Action // in the order in which they were done
	Outputs []Output            // as remembered now
	Links   []Link
}

// Link is a page about an object.
type Link struct {
	Addr addr.Instance
	URL  string
}

// Complete reports whether everything was done.
func (o *Outcome) Complete() bool {
	r := o.Result
	return r.Failed+r.Held+r.Skipped == 0 && !r.Interrupted && !r.Diagnostics.HasErrors()
}

// counts adds up what was done. A change counts when all of its actions are done.
func (o *Outcome) counts() plan.Counts {
	left := map[addr.Instance]int{}
	for i := range o.Plan.Actions {
		left[o.Plan.Actions[i].Addr]++
	}
	done := plan.Plan{}
	for _, a := range o.Done {
		left[a.Addr]--
		done.Actions = append(done.Actions, *a)
	}
	for i := range o.Plan.Changes {
		if c := &o.Plan.Changes[i]; left[c.Addr] == 0 {
			done.Changes = append(done.Changes, *c)
		}
	}
	return done.Count()
}

// Outcome prints what was done, what was not and why, and the outputs.
func (h *Human) Outcome(o *Outcome) error {
	r, c := o.Result, o.counts()
	for _, e := range r.Errors {
		if err := h.Diagnostics(hcl.Diagnostics{failedAction(e)}, nil); err != nil {
			return err
		}
	}
	var b bytes.Buffer
	verb := "Apply"
	if o.Plan.Mode == plan.Destroy {
		verb = "Destroy"
	}
	resources := "Resources: " + resultText(c) + "."
	if o.Complete() {
		fmt.Fprintf(&b, "\n%s %s\n", h.Colour.green(verb+" complete!"), resources)
	} else {
		fmt.Fprintf(&b, "\n%s %s\n", h.Colour.red(verb+" incomplete."), resources)
	}
	if len(o.Done) > 0 {
		fmt.Fprintf(&b, "Actions: %d done — %s.\n", len(o.Done), doneText(c))
	}
	if !o.Complete() {
		fmt.Fprintf(&b, "Not done: %d failed, %d held, %d skipped.\n", r.Failed, r.Held, r.Skipped)
		if r.Interrupted {
			b.WriteString("The run was interrupted: what was in flight is finished or noted in the journal, nothing is lost.\n")
		}
		b.WriteString("What was done is remembered. Correct what failed, then re-run `iexecform apply` to go on.\n")
	}
	if len(o.Links) > 0 {
		b.WriteString("\n" + h.Colour.bold("To look at:") + "\n")
		for _, l := range o.Links {
			fmt.Fprintf(&b, "  %s  %s\n", l.Addr, l.URL)
		}
	}
	if len(o.Outputs) > 0 {
		b.WriteString("\n" + h.Colour.bold("Outputs:") + "\n\n")
		writeOutputs(&b, o.Outputs)
	}
	_, err := h.Out.Write(b.Bytes())
	return err
}

// resultText counts what was done to resources, of each kind.
func resultText(c plan.Counts) string {
	n := c.Changes
	return importText(c.Imports, "imported") + fmt.Sprintf("%d added, %d changed, %d replaced, %d adopted, %d destroyed, %d forgotten",
		n[providers.Create], n[providers.Update], n[providers.Replace], n[providers.Adopt], n[providers.Delete], n[providers.Forget])
}

func doneText(c plan.Counts) string {
	text := "no transaction"
	if c.Transactions > 0 {
		text = plural(c.Transactions, "transaction")
	}
	if c.Signatures > 0 {
		text += ", " + plural(c.Signatures, "signature")
	}
	if c.Requests > 0 {
		text += ", " + plural(c.Requests, "request")
	}
	return text
}

// failedAction is the diagnostic about an action that failed, or the warning about one that is held.
func failedAction(e apply.ActionError) *hcl.Diagnostic {
	d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: fmt.Sprintf("%s: %s failed", e.Action.Addr, e.Action.Kind), Detail: upperFirst(wording.Of(e.Err).Error()), Extra: errcode.Cause{Err: e.Err}}
	if held := (*providers.HeldError)(nil); errors.As(e.Err, &held) {
		d.Severity = hcl.DiagWarning
		d.Summary = fmt.Sprintf("%s: %s is held", e.Action.Addr, e.Action.Kind)
	}
	if failed := (*apply.ConditionError)(nil); errors.As(e.Err, &failed) {
		d.Summary, d.Subject = failed.Diagnostic.Summary, failed.Diagnostic.Subject
		d.Detail = fmt.Sprintf("%s: %s", e.Action.Addr, failed.Diagnostic.Detail)
	}
	return d
}

// Applying shows an apply to people.
type Applying struct {
	*Human
	actions  int
	progress *Progress
}

// Applying returns a view of an apply.
func (h *Human) Applying() *Applying { return &Applying{Human: h} }

// Plan prints the plan. A saved one has been reviewed: only what it warns of is printed again.
func (a *Applying) Plan(p *plan.Plan, saved bool) error {
	a.actions = len(p.Actions)
	if saved {
		return a.Warnings(p)
	}
	return a.Human.Plan(p)
}

// Event prints progress.
func (a *Applying) Event(e apply.Event) {
	if a.progress == nil {
		a.progress = a.NewProgress(a.actions)
	}
	a.progress.Event(e)
}

// Outcome ends the progress and prints what came of it.
func (a *Applying) Outcome(o *Outcome) error {
	a.Close()
	return a.Human.Outcome(o)
}

// Close ends the progress.
func (a *Applying) Close() {
	if a.progress != nil {
		a.progress.Close()
	}
}
