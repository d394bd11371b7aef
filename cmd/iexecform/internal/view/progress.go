package view

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
)

const (
	stillEvery = 10 * time.Second // a line about each action that takes this long, again and again
	barFrom    = 20               // with more actions than this a terminal shows a bar instead of lines
)

// Progress prints what happens while a plan is applied, to standard error.
type Progress struct {
	out     io.Writer
	colour  Palette
	concise bool // only what fails is told

	mu      sync.Mutex
	running map[int]*running
	closed  bool
	bars    *mpb.Progress // nil: lines
	bar     *mpb.Bar
}

type running struct {
	action *providers.Action
	start  time.Time
	waits  string // what the action said last that it waits for
	timer  *time.Timer
}

// NewProgress starts to print the progress of a number of actions. Close ends it.
func (h *Human) NewProgress(actions int) *Progress {
	p := &Progress{out: h.Err, colour: h.ErrColour, concise: h.Concise, running: map[int]*running{}}
	if actions > barFrom && h.ErrTerminal && !h.Concise {
		bars := h.Bars
		if bars == nil {
			bars = h.Err
		}
		p.bars = mpb.New(mpb.WithOutput(bars), mpb.WithWidth(h.Width), mpb.WithAutoRefresh())
		p.bar = p.bars.AddBar(int64(actions),
			mpb.PrependDecorators(decor.CountersNoUnit("%d of %d actions ")),
			mpb.AppendDecorators(decor.Percentage(), decor.Elapsed(decor.ET_STYLE_GO, decor.WCSyncSpace)))
	}
	return p
}

// Event prints an event.
func (p *Progress) Event(e apply.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	switch e.Type {
	case apply.Started:
		r := &running{action: e.Action, start: time.Now()}
		p.running[e.Action.ID] = r
		r.timer = time.AfterFunc(stillEvery, func() { p.still(r) })
		p.line("%s: %s…", p.name(e.Action), gerund(e.Action.Kind))
	case apply.Progress:
		if r := p.running[e.Action.ID]; r != nil {
			if tx := e.Progress.Fields["hash"]; tx != "" {
				r.waits = "waiting for tx " + tx
			}
		}
		switch {
		case e.Progress.Message == "":
		case e.Progress.Waits && !p.concise:
			p.always("%s: %s", p.name(e.Action), e.Progress.Message)
		default:
			p.line("%s: %s", p.name(e.Action), e.Progress.Message)
		}
	case apply.Resuming:
		p.line("%s: %s", p.colour.bold("resuming"), e.Progress.Message)
	case apply.Succeeded:
		p.end(e.Action)
		p.line("%s: %s complete after %s", p.name(e.Action), e.Action.Kind, seconds(e.Elapsed))
	case apply.Failed:
		p.end(e.Action)
		p.always("%s: %s %s after %s: %s", p.name(e.Action), e.Action.Kind, p.colour.red("failed"), seconds(e.Elapsed), firstLine(e.Err))
	case apply.Held:
		p.end(e.Action)
		p.always("%s: %s is %s after %s: %s", p.name(e.Action), e.Action.Kind, p.colour.yellow("held"), seconds(e.Elapsed), firstLine(e.Err))
	case apply.Skipped:
		p.end(e.Action)
		p.line("%s: %s skipped", p.name(e.Action), e.Action.Kind)
	}
}

// still says that an action is under way, and comes back.
func (p *Progress) still(r *running) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.running[r.action.ID] != r {
		return
	}
	waits := r.waits
	if waits == "" {
		waits = gerund(r.action.Kind)
	}
	p.line("%s: still %s [%s]", p.name(r.action), waits, seconds(time.Since(r.start)))
	r.timer.Reset(stillEvery)
}

func (p *Progress) end(a *providers.Action) {
	if r := p.running[a.ID]; r != nil {
		r.timer.Stop()
		delete(p.running, a.ID)
	}
	if p.bar != nil {
		p.bar.Increment()
	}
}

// line prints a line, unless there is a bar, or no progress is wanted.
func (p *Progress) line(format string, args ...any) {
	if p.bars == nil && !p.concise {
		_, _ = fmt.Fprintf(p.out, format+"\n", args...)
	}
}

// always prints a line, above the bar if there is one.
func (p *Progress) always(format string, args ...any) {
	if p.bars == nil {
		_, _ = fmt.Fprintf(p.out, format+"\n", args...)
		return
	}
	_, _ = fmt.Fprintf(Escaping(p.bars, p.colour), format+"\n", args...)
}

// Close ends the output.
func (p *Progress) Close() {
	p.mu.Lock()
	for _, r := range p.running {
		r.timer.Stop()
	}
	p.closed = true
	p.mu.Unlock()
	if p.bars != nil {
		p.bar.Abort(false)
		p.bars.Wait()
	}
}

func (p *Progress) name(a *providers.Action) string { return p.colour.bold(a.Addr.String()) }

// gerund is the form of an action's kind that says that it is under way.
func gerund(kind string) string {
	verb, rest, _ := strings.Cut(kind, "-")
	switch verb {
	case "trial":
		verb = "try"
	case "forget", "transfer":
		verb += verb[len(verb)-1:]
	default:
		verb = strings.TrimSuffix(verb, "e")
	}
	return strings.TrimSpace(verb + "ing " + rest)
}

func seconds(d time.Duration) string { return d.Round(time.Second).String() }

func firstLine(err error) string {
	line, _, _ := strings.Cut(wording.Of(err).Error(), "\n")
	return line
}
