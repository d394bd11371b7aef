package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
)

// Runs of the program inside the process of the test, which are cheap, and which can be ended as SIGKILL ends a process.

// A judge is the testing.TB of one story: what fails the story doesn't fail the test, because a story that fails is told
// again, shorter and shorter.
type judge struct {
	testing.TB
	ctx      context.Context
	mu       sync.Mutex
	cleanups []func()
	verdict  string // the first failure; "" is none
}

// errJudged is panicked with where a test would end its goroutine.
var errJudged = errors.New("the story has failed")

// judged runs f and returns what was wrong, or "".
func judged(t testing.TB, f func(j *judge)) string {
	ctx, cancel := context.WithCancel(t.Context())
	j := &judge{TB: t, ctx: ctx}
	defer func() {
		cancel()
		for _, f := range slices.Backward(j.cleanups) {
			f()
		}
	}()
	j.guard(func() { f(j) })
	return j.verdict
}

// guard runs f, which may fail the story, in any goroutine.
func (j *judge) guard(f func()) {
	defer func() {
		if r := recover(); r != nil && r != errJudged {
			j.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	f()
}

func (j *judge) Helper() {}

func (j *judge) Context() context.Context { return j.ctx }

func (j *judge) Cleanup(f func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cleanups = append(j.cleanups, f)
}

func (j *judge) TempDir() string {
	dir, err := os.MkdirTemp("", "story")
	if err != nil {
		j.Fatal(err)
	}
	j.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (j *judge) Errorf(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.verdict == "" {
		j.verdict = fmt.Sprintf(format, args...)
	}
}

func (j *judge) Failed() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.verdict != ""
}

func (j *judge) Error(args ...any)                 { j.Errorf("%s", fmt.Sprint(args...)) }
func (j *judge) Fatal(args ...any)                 { j.Fatalf("%s", fmt.Sprint(args...)) }
func (j *judge) Fatalf(format string, args ...any) { j.Errorf(format, args...); j.FailNow() }
func (j *judge) FailNow()                          { panic(errJudged) }

// A life is one run of the program in this process. When it ends as by SIGKILL nothing that the run still does has an effect
// outside of it: its store takes nothing, and its requests don't arrive.
type life struct {
	state.Store
	world   *world
	journal string // the file
	signals chan os.Signal
	dead    atomic.Bool
	ending  sync.Mutex // held while it dies, or ends by itself

	mu     sync.Mutex
	writes int    // so far
	fatal  int    // the write at which it dies; 0: none
	when   string // "before" that write, "after" it, or with it "torn"
}

var errDead = errors.New("this process is dead")

// kill ends the life, unless it is over.
func (l *life) kill() {
	l.ending.Lock()
	defer l.ending.Unlock()
	if l.dead.Swap(true) {
		return
	}
	for _, p := range l.world.proxies() {
		p.Set(faultproxy.Rule{Fault: faultproxy.Drop(nil)})
	}
	l.signal() // so that it doesn't linger
}

// signal interrupts the run.
func (l *life) signal() {
	select {
	case l.signals <- os.Interrupt:
	default:
	}
}

func (l *life) write(f func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead.Load() {
		return errDead
	}
	l.writes++
	if l.writes != l.fatal {
		return f()
	}
	defer l.kill()
	if l.when == "before" {
		return errDead
	}
	before, _ := os.ReadFile(l.journal)
	err := f()
	if after, rerr := os.ReadFile(l.journal); l.when == "torn" && rerr == nil && bytes.HasPrefix(after, before) {
		_ = os.Truncate(l.journal, int64(len(before)+(len(after)-len(before))/2))
	}
	return errors.Join(err, errDead)
}

// Append implements state.Store.
func (l *life) Append(ctx context.Context, records ...state.Record) error {
	return l.write(func() error { return l.Store.Append(ctx, records...) })
}

// Compact implements state.Store.
func (l *life) Compact(ctx context.Context, s *state.Snapshot, pending []state.Note) error {
	return l.write(func() error { return l.Store.Compact(ctx, s, pending) })
}

// live runs the program in this process until it is over, by itself or, which is told, by l.kill.
func (l *life) live(args ...string) (code int, text string, killed bool) {
	var out syncBuffer
	a := l.world.program(&out)
	a.wrapStore = func(s state.Store) state.Store {
		l.Store = s
		return l
	}
	a.interrupts = func() (<-chan os.Signal, func()) { return l.signals, func() {} }
	a.exit = func(int) { l.kill() } // of the second interrupt: whatever is under way is cut off
	code = a.run(append([]string{"--chdir=" + l.world.dir}, args...))
	l.ending.Lock()
	defer l.ending.Unlock()
	return code, out.String(), l.dead.Swap(true)
}

// program is the program in this process.
func (w *world) program(out io.Writer) *app {
	a := newApp(builtins, strings.NewReader(""), out, out, slices.Concat(os.Environ(), []string{w.key()}, w.env))
	a.dir = w.dir
	return a
}

// lives makes a life that has begun nothing yet.
func (w *world) lives() *life {
	return &life{world: w, journal: w.dir + "/" + local.JournalFile, signals: make(chan os.Signal, 2)}
}

func (w *world) proxies() []*faultproxy.Proxy {
	return []*faultproxy.Proxy{w.rpc, w.market, w.registry, w.sms}
}

// interrupt interrupts whatever runs.
func (w *world) interrupt() { w.signal(syscall.SIGINT) }
