package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
)

// tee shows an apply to people, and writes it as JSON lines into a file: --json-into.
type tee struct {
	applyView
	lines *view.Lines
}

// openView is lines for machines, or text for people, and with --json-into both. end must be called. SIDE EFFECTS: makes that
// file.
func (a *app) openView(o planOptions) (v applyView, end func(), err error) {
	if o.json {
		lines := view.NewLines(a.streams.Out, version, time.Now)
		return lines, lines.Close, nil
	}
	h := a.human()
	h.Compact, h.Concise = o.compact, o.concise
	people := h.Applying()
	if o.jsonInto == "" {
		return people, people.Close, nil
	}
	file, err := os.OpenFile(a.path(o.jsonInto), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("--json-into: %w", err)
	}
	both := &tee{people, view.NewLines(file, version, time.Now)}
	return both, func() {
		both.Close()
		if err := errors.Join(both.lines.Err(), file.Close()); err != nil {
			_, _ = fmt.Fprintf(a.human().Err, "Warning: --json-into: %s\n", err)
		}
	}, nil
}

// Plan implements applyView.
func (t *tee) Plan(p *plan.Plan, saved bool) error {
	return cmp.Or(t.applyView.Plan(p, saved), t.lines.Plan(p, saved))
}

// Event implements applyView.
func (t *tee) Event(e apply.Event) {
	t.applyView.Event(e)
	t.lines.Event(e)
}

// Outcome implements applyView.
func (t *tee) Outcome(o *view.Outcome) error {
	return cmp.Or(t.applyView.Outcome(o), t.lines.Outcome(o))
}

// Diagnostics implements applyView.
func (t *tee) Diagnostics(diags hcl.Diagnostics, sources view.Sources) error {
	return cmp.Or(t.applyView.Diagnostics(diags, sources), t.lines.Diagnostics(diags, sources))
}

// Close implements applyView.
func (t *tee) Close() {
	t.applyView.Close()
	t.lines.Close()
}
