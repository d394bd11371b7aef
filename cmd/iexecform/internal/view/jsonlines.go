package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
)

// Lines prints what happens as JSON lines, in the envelope of Terraform's machine-readable interface. It is safe for
// concurrent use.
type Lines struct {
	out io.Writer
	now func() time.Time
	mu  sync.Mutex
	err error // of the first write that failed
}

// NewLines starts a stream of lines; the first tells the version.
func NewLines(out io.Writer, version string, now func() time.Time) *Lines {
	l := &Lines{out: out, now: now}
	l.line("info", "iexecform "+version, "version", map[string]any{"iexecform": version, "ui": "1.2"})
	return l
}

// line prints one line: the envelope's keys first, then the fields in alphabetical order.
func (l *Lines) line(level, message, typ string, fields map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	envelope := map[string]any{
		"@level": level, "@message": message, "@module": "iexecform.ui",
		"@timestamp": l.now().UTC().Format("2006-01-02T15:04:05.000000Z"), "type": typ,
	}
	for name, v := range fields {
		envelope[name] = v
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if l.err = enc.Encode(envelope); l.err == nil {
		_, l.err = l.out.Write(b.Bytes())
	}
}

// Err is the error of the first line that could not be written.
func (l *Lines) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Diagnostics prints a line for each diagnostic.
func (l *Lines) Diagnostics(diags hcl.Diagnostics, sources Sources) error {
	for _, d := range toJSONDiagnostics(diags, sources) {
		level := "error"
		if d.Severity == "warning" {
			level = "warn"
		}
		l.line(level, upperFirst(d.Severity)+": "+d.Summary, "diagnostic", map[string]any{"diagnostic": d})
	}
	return l.Err()
}

// Plan prints the changes, the notices and the summary of a plan.
func (l *Lines) Plan(p *plan.Plan, _ bool) error {
	for i := range p.Changes {
		c := &p.Changes[i]
		if silent(c) {
			continue
		}
		action := string(c.Kind)
		change := map[string]any{"resource": toJSONAddr(c.Addr)}
		if moved(c) {
			change["previous_resource"] = toJSONAddr(c.MovedFrom)
			if c.Kind == providers.NoOp {
				action = "move"
			}
		}
		if c.Importing != "" {
			change["importing"] = jsonImporting{ID: c.Importing}
			if c.Kind == providers.NoOp {
				action = "import"
			}
		}
		change["action"] = action
		if len(c.Because) > 0 {
			change["because"] = c.Because
		}
		l.line("info", fmt.Sprintf("%s: plan to %s", c.Addr, action), "planned_change", map[string]any{"change": change})
	}
	for _, n := range p.Notices {
		level := "info"
		if n.Level != providers.Info {
			level = "warn"
		}
		l.line(level, fmt.Sprintf("%s: %s", n.About(), n.Summary), "notice", map[string]any{"notice": n})
	}
	c := p.Count()
	l.summary("Plan: "+countText(c), "plan", c)
	return l.Err()
}

func (l *Lines) summary(message, operation string, c plan.Counts) {
	changes := map[string]any{"operation": operation}
	for name, count := range summaryCounts(c) {
		changes[name] = count
	}
	l.line("info", message, "change_summary", map[string]any{"changes": changes})
}

// Event prints an event of an apply.
func (l *Lines) Event(e apply.Event) {
	if e.Action == nil {
		l.line("info", e.Progress.Message, "apply_resume", map[string]any{"hook": map[string]any{"event": e.Progress.Type, "fields": e.Progress.Fields}})
		return
	}
	a := e.Action
	hook := map[string]any{"resource": toJSONAddr(a.Addr), "action": a.Kind, "id": a.ID}
	name := fmt.Sprintf("%s: %s", a.Addr, a.Kind)
	switch e.Type {
	case apply.Started:
		l.line("info", name+" started", "apply_start", map[string]any{"hook": hook})
	case apply.Progress:
		hook["event"], hook["fields"] = e.Progress.Type, e.Progress.Fields
		l.line("info", name+": "+e.Progress.Message, "apply_progress", map[string]any{"hook": hook})
	case apply.Skipped:
		l.line("warn", name+" skipped", "apply_skipped", map[string]any{"hook": hook})
	default:
		hook["elapsed_seconds"] = math.Round(e.Elapsed.Seconds()*1000) / 1000
		if e.Type == apply.Succeeded {
			l.line("info", name+" complete", "apply_complete", map[string]any{"hook": hook})
			return
		}
		hook["error"], hook["held"] = e.Err.Error(), e.Type == apply.Held
		l.line("error", name+" "+string(e.Type), "apply_errored", map[string]any{"hook": hook})
	}
}

// Outcome prints what an apply came to: a diagnostic for each failure, the summary, the outputs.
func (l *Lines) Outcome(o *Outcome) error {
	for _, e := range o.Result.Errors {
		d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: fmt.Sprintf("%s: %s failed", e.Action.Addr, e.Action.Kind), Detail: e.Err.Error()}
		if err := l.Diagnostics(hcl.Diagnostics{d}, nil); err != nil {
			return err
		}
	}
	c, r := o.counts(), o.Result
	message := "Apply complete! Resources: "
	if !o.Complete() {
		message = fmt.Sprintf("Apply incomplete: %d failed, %d held, %d skipped. Resources: ", r.Failed, r.Held, r.Skipped)
	}
	l.summary(message+resultText(c), "apply", c)
	l.line("info", fmt.Sprintf("Outputs: %d", len(o.Outputs)), "outputs", map[string]any{"outputs": toJSONOutputs(o.Outputs)})
	return l.Err()
}

// Close does nothing: every line is written at once.
func (l *Lines) Close() {}
