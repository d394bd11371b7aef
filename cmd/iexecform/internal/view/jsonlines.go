package view

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
)

// Lines prints what happens as JSON lines, in the envelope of Terraform's machine-readable interface. It is safe for
// concurrent use. docs/schemas/lines.schema.json describes every line.
type Lines struct {
	out     io.Writer
	now     func() time.Time
	mu      sync.Mutex
	err     error               // of the first write that failed
	running map[int]*time.Timer // of the actions under way, by ID
}

// NewLines starts a stream of lines; the first tells the version.
func NewLines(out io.Writer, version string, now func() time.Time) *Lines {
	l := &Lines{out: out, now: now, running: map[int]*time.Timer{}}
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

// Remark prints what init does, as Terraform's does.
func (l *Lines) Remark(code, format string, args ...any) error {
	l.line("info", fmt.Sprintf(format, args...), "init_output", map[string]any{"message_code": code})
	return l.Err()
}

// Plan prints what changed outside, the changes, the notices, the summary and the outputs of a plan.
func (l *Lines) Plan(p *plan.Plan, _ bool) error {
	l.drift(p)
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
	for _, r := range p.Reads {
		l.line("info", fmt.Sprintf("%s: plan to read", r.Addr), "planned_change", map[string]any{"change": map[string]any{
			"resource": toJSONAddr(r.Addr), "action": "read", "reason": r.Reason, "because": r.Because,
		}})
	}
	for _, n := range p.Notices {
		level := "info"
		if n.Level != providers.Info {
			level = "warn"
		}
		l.line(level, fmt.Sprintf("%s: %s", n.About(), n.Summary), "notice", map[string]any{"notice": toJSONNotice(n)})
	}
	c := p.Count()
	l.summary("Plan: "+countText(c), "plan", c)
	return l.plannedOutputs(p.Outputs)
}

// plannedOutputs prints what happens to the outputs, without values.
func (l *Lines) plannedOutputs(outputs []plan.OutputChange) error {
	if len(outputs) == 0 {
		return l.Err()
	}
	all := map[string]any{}
	for _, o := range outputs {
		all[o.Name] = map[string]any{"sensitive": o.Sensitive, "action": outputAction(o)}
	}
	l.line("info", fmt.Sprintf("Outputs: %d", len(all)), "outputs", map[string]any{"outputs": all})
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
	hook := map[string]any{}
	name := "resuming"
	if a := e.Action; a != nil {
		hook["resource"], hook["action"], hook["id"] = toJSONAddr(a.Addr), a.Kind, a.ID
		name = fmt.Sprintf("%s: %s", a.Addr, a.Kind)
	}
	switch e.Type {
	case apply.Started:
		l.line("info", name+" started", "apply_start", map[string]any{"hook": hook})
		l.begin(e.Action.ID, name, hook)
		return
	case apply.Progress, apply.Resuming:
		l.progress(name, hook, e.Progress)
		return
	}
	l.end(e.Action.ID)
	if e.Type == apply.Skipped {
		l.line("warn", name+" skipped", "apply_skipped", map[string]any{"hook": hook})
		return
	}
	hook["elapsed_seconds"] = rounded(e.Elapsed)
	switch held := (*providers.HeldError)(nil); {
	case e.Type == apply.Succeeded:
		l.line("info", name+" complete", "apply_complete", map[string]any{"hook": hook})
	case errors.As(e.Err, &held):
		hook["reason"], hook["unblock"] = held.Reason, held.Unblock
		l.line("warn", name+" held: "+held.Reason, "hold", map[string]any{"hook": hook})
	default:
		hook["error"] = wording.Of(e.Err).Error()
		l.line("error", name+" "+string(e.Type), "apply_errored", map[string]any{"hook": hook})
	}
}

// progress prints what a provider says of a transaction or an order as a line of its own type, such as tx_sent.
func (l *Lines) progress(name string, hook map[string]any, p *providers.Progress) {
	typ := "apply_progress"
	if subject, _, _ := strings.Cut(p.Type, "_"); subject == "tx" || subject == "order" {
		typ = p.Type
		hook[subject] = p.Fields
	} else {
		hook["event"] = p.Type
		if len(p.Fields) > 0 {
			hook["fields"] = p.Fields
		}
	}
	l.line("info", name+": "+cmp.Or(p.Message, strings.ReplaceAll(p.Type, "_", " ")), typ, map[string]any{"hook": hook})
}

// begin makes an action heard of, again and again, while it is under way.
func (l *Lines) begin(id int, name string, hook map[string]any) {
	start := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running[id] = time.AfterFunc(stillEvery, func() {
		l.mu.Lock()
		timer := l.running[id]
		if timer != nil {
			timer.Reset(stillEvery)
		}
		l.mu.Unlock()
		if timer != nil {
			still := maps.Clone(hook)
			still["elapsed_seconds"] = rounded(l.now().Sub(start))
			l.line("info", name+" still under way", "apply_progress", map[string]any{"hook": still})
		}
	})
}

func (l *Lines) end(id int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.running[id]; t != nil {
		t.Stop()
		delete(l.running, id)
	}
}

func rounded(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

// Outcome prints what an apply came to: a diagnostic for each failure, the summary, the outputs.
func (l *Lines) Outcome(o *Outcome) error {
	for _, e := range o.Result.Errors {
		if err := l.Diagnostics(hcl.Diagnostics{failedAction(e)}, nil); err != nil {
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

// Close ends what is said of actions that are under way. Every line is written at once.
func (l *Lines) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, t := range l.running {
		t.Stop()
		delete(l.running, id)
	}
}
