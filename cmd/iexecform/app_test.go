package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
)

func TestNormalise(t *testing.T) {
	takesValue := map[string]bool{"out": true, "var": true, "json": false, "chdir": true, "help": false}
	for given, want := range map[string]string{
		"plan -out=p -json":               "plan --out=p --json",
		"plan --out=p":                    "plan --out=p",
		"-chdir=d plan -h":                "--chdir=d plan -h",
		"plan -var a=-json -out -json":    "plan --var a=-json --out -json",
		"plan --var -json -json":          "plan --var -json --json",
		"fmt -":                           "fmt -",
		"state show -json -- -json":       "state show --json -- -json",
		"plan -unknown x":                 "plan --unknown x",
		"plan -var":                       "plan --var",
		"plan -var=a=-b -var-file=x=-out": "plan --var=a=-b --var-file=x=-out",
	} {
		if got := strings.Join(normalise(strings.Fields(given), takesValue), " "); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}

// slow is a provider whose one action takes until it is released.
type slow struct {
	begun   chan string // the addresses of actions that were begun
	release chan struct{}
}

func newSlow() *slow { return &slow{begun: make(chan string, 10), release: make(chan struct{})} }

func (s *slow) Schema() *providers.Schema {
	return &providers.Schema{
		Provider: &schema.Table{Type: "slow"},
		Resources: map[string]*schema.Table{"slow_thing": {Type: "slow_thing", Attrs: []schema.Attr{
			{Name: "name", Type: cty.String, Mode: schema.Required},
			{Name: "number", Type: cty.Number, Mode: schema.Computed},
		}}},
	}
}

func (s *slow) Open(context.Context, providers.OpenRequest) (providers.Client, error) { return s, nil }

func (s *slow) Read(_ context.Context, reqs []providers.ReadRequest) []providers.ReadResult {
	results := make([]providers.ReadResult, len(reqs))
	for i, r := range reqs {
		results[i].Current = r.Prior
	}
	return results
}

func (s *slow) ReadData(context.Context, providers.DataRequest) (providers.DataResult, error) {
	return providers.DataResult{}, errors.New("there is no data source")
}

func (s *slow) Plan(_ context.Context, reqs []providers.PlanRequest) []providers.PlanResult {
	results := make([]providers.PlanResult, len(reqs))
	for i, r := range reqs {
		switch {
		case r.Desired.IsNull():
			results[i] = providers.PlanResult{Kind: providers.Delete, Planned: r.Desired}
		case !r.Current.IsNull():
			results[i] = providers.PlanResult{Kind: providers.NoOp, Planned: r.Current}
		default:
			results[i] = providers.PlanResult{
				Kind:    providers.Create,
				Planned: r.Desired.With(map[string]cty.Value{"number": cty.UnknownVal(cty.Number)}),
				Actions: []providers.Action{{Kind: "make", Summary: "make it"}},
			}
		}
	}
	return results
}

func (s *slow) Check(_ context.Context, ps []providers.Precondition) []error {
	return make([]error, len(ps))
}

func (s *slow) Do(ctx context.Context, req providers.DoRequest) (json.RawMessage, error) {
	s.begun <- req.Action.Addr.String()
	select {
	case <-s.release:
		return json.RawMessage(`{"number": 7}`), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// session is a run of the program in this process.
type session struct {
	*app
	out, err *syncBuffer
	signals  chan os.Signal
	exited   chan int
}

// start makes a program in a directory of two slow things.
func start(t *testing.T, p providers.Provider, stdin io.Reader) *session {
	t.Helper()
	dir := t.TempDir()
	const hcl = `
resource "slow_thing" "a" {
  name = "a"
}
resource "slow_thing" "b" {
  name = "b"
}
output "number" {
  value = slow_thing.b.number
}
`
	if err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(hcl), 0o644); err != nil {
		t.Fatal(err)
	}
	s := &session{out: &syncBuffer{}, err: &syncBuffer{}, signals: make(chan os.Signal, 2), exited: make(chan int, 2)}
	s.app = &app{
		streams:    view.Streams{In: stdin, Out: s.out, Err: s.err, Width: view.DefaultWidth},
		providers:  func() providers.Registry { return providers.Registry{"slow": p} },
		interrupts: func() (<-chan os.Signal, func()) { return s.signals, func() {} },
		exit:       func(code int) { s.exited <- code },
		dir:        dir,
	}
	return s
}

func (s *session) do(args ...string) int { return s.run(append([]string{"--chdir=" + s.dir}, args...)) }

// syncBuffer is a buffer that can be waited for. The zero value is empty.
type syncBuffer struct {
	mu      sync.Mutex
	b       bytes.Buffer
	waiting []chan struct{} // closed at the next write
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.waiting {
		close(c)
	}
	s.waiting = nil
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// waitFor returns when the buffer has the text.
func waitFor(t *testing.T, s *syncBuffer, text string) {
	t.Helper()
	for {
		s.mu.Lock()
		if strings.Contains(s.b.String(), text) {
			s.mu.Unlock()
			return
		}
		written := make(chan struct{})
		s.waiting = append(s.waiting, written)
		s.mu.Unlock()
		select {
		case <-written:
		case <-t.Context().Done():
			t.Fatalf("never printed %q", text)
		}
	}
}

// The first interrupt lets what is in flight finish and begins nothing new; the run ends with an error, and another run
// goes on from there.
func TestInterrupt(t *testing.T) {
	p := newSlow()
	s := start(t, p, strings.NewReader(""))
	ended := make(chan int)
	go func() { ended <- s.do("apply", "-auto-approve", "-parallelism=1") }()
	<-p.begun
	s.signals <- syscall.SIGINT
	waitFor(t, s.err, "Interrupt received: finishing what is in flight; nothing new is begun (once more to exit at once)")
	close(p.release)
	if code := <-ended; code != exitError {
		t.Errorf("exit code %d, want %d", code, exitError)
	}
	if len(p.begun) != 0 {
		t.Errorf("%s was begun after the interrupt", <-p.begun)
	}
	if got := s.out.String(); !strings.Contains(got, "Resources: 1 added") || !strings.Contains(got, "1 skipped") {
		t.Errorf("the summary doesn't tell what was done and what not:\n%s", got)
	}
	loaded, err := local.New(s.dir).Load(t.Context())
	if err != nil || len(loaded.Snapshot.Resources) != 1 {
		t.Fatalf("state: %+v, %v; want one resource", loaded, err)
	}
	if code := s.do("apply", "-auto-approve"); code != exitOK {
		t.Fatalf("the second run: exit code %d\n%s", code, s.err)
	}
	out := len(s.out.String())
	if code := s.do("output", "-raw", "number"); code != exitOK || s.out.String()[out:] != "7" {
		t.Errorf("output: exit code %d, %q; want the value that the action made known", code, s.out.String()[out:])
	}
}

// The second interrupt ends the process at once.
func TestSecondInterrupt(t *testing.T) {
	p := newSlow()
	s := start(t, p, strings.NewReader(""))
	ended := make(chan int)
	go func() { ended <- s.do("apply", "-auto-approve") }()
	<-p.begun
	s.signals <- syscall.SIGTERM
	s.signals <- syscall.SIGTERM
	if code := <-s.exited; code != exitError {
		t.Errorf("exit code %d, want %d", code, exitError)
	}
	waitFor(t, s.err, "The journal holds what was begun")
	close(p.release)
	<-ended
}

// Whoever is asked and interrupts has changed nothing.
func TestInterruptAtTheQuestion(t *testing.T) {
	never, hold := io.Pipe()
	defer func() { _ = hold.Close() }()
	s := start(t, newSlow(), never)
	ended := make(chan int)
	go func() { ended <- s.do("apply") }()
	waitFor(t, s.err, "Enter a value:")
	s.signals <- syscall.SIGINT
	if code := <-ended; code != exitError {
		t.Errorf("exit code %d, want %d", code, exitError)
	}
	if !strings.Contains(s.err.String(), "Apply cancelled. Nothing was changed.") {
		t.Errorf("not told that nothing was changed:\n%s", s.err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, local.SnapshotFile)); err == nil {
		t.Error("there is a state")
	}
}

// Variables without a value are asked for on a terminal; sensitive ones without echo; with --input=false not at all.
func TestVariablesAreAskedFor(t *testing.T) {
	p := newSlow()
	s := start(t, p, strings.NewReader("from the terminal\n"))
	const more = `
variable "who" {
  description = "Who it is for."
}
variable "word" {
  sensitive = true
}
resource "slow_thing" "c" {
  name = var.who
}
`
	if err := os.WriteFile(filepath.Join(s.dir, "more.hcl"), []byte(more), 0o644); err != nil {
		t.Fatal(err)
	}
	s.streams.InTerminal = true
	s.secret = func(io.Reader) (string, error) { return "hunter2", nil }
	if code := s.do("plan", "-input=false"); code != exitError || !strings.Contains(s.err.String(), "who") {
		t.Errorf("with --input=false: exit code %d\n%s", code, s.err)
	}
	if code := s.do("plan"); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, s.err)
	}
	if !strings.Contains(s.err.String(), "Who it is for.") || !strings.Contains(s.out.String(), `"from the terminal"`) {
		t.Errorf("asked:\n%s\nplanned:\n%s", s.err, s.out)
	}
	if strings.Contains(s.out.String()+s.err.String(), "hunter2") {
		t.Error("the secret is shown")
	}
}

// A lock that is held is tried again until the timeout, and then its holder is named.
func TestLockTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &app{streams: view.Streams{Err: io.Discard}}
		begin := time.Now()
		held := &heldStore{until: begin.Add(time.Hour)}
		_, err := a.lock(t.Context(), held, "plan", lockFlags{timeout: 2 * time.Second})
		var locked *state.LockedError
		if !errors.As(err, &locked) || locked.Holder.Who != "alice" {
			t.Errorf("got %v, want the holder of the lock", err)
		}
		if waited := time.Since(begin); waited != 2*time.Second || held.tries < 3 {
			t.Errorf("tried %d times in %s, want some times in 2s", held.tries, waited)
		}

		held = &heldStore{until: time.Now().Add(3 * time.Second)}
		unlock, err := a.lock(t.Context(), held, "plan", lockFlags{timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		unlock()
		if !held.unlocked {
			t.Error("not unlocked")
		}

		held = &heldStore{until: time.Now().Add(time.Hour)}
		if _, err := a.lock(t.Context(), held, "plan", lockFlags{}); !errors.As(err, &locked) || held.tries != 1 {
			t.Errorf("without timeout: %v after %d tries, want one", err, held.tries)
		}
		if _, err := a.lock(t.Context(), held, "plan", lockFlags{noLock: true}); err != nil || held.tries != 1 {
			t.Errorf("--lock=false: %v after %d tries", err, held.tries)
		}
	})
}

// heldStore is locked by alice until a time.
type heldStore struct {
	state.Store
	until    time.Time
	tries    int
	unlocked bool
}

func (s *heldStore) Lock(context.Context, state.Holder) (func() error, error) {
	s.tries++
	if time.Now().Before(s.until) {
		return nil, &state.LockedError{Holder: &state.Holder{Who: "alice"}}
	}
	return func() error { s.unlocked = true; return nil }, nil
}

// Every command says what it does, and every flag too.
func TestEveryCommandIsDocumented(t *testing.T) {
	s := start(t, newSlow(), strings.NewReader(""))
	var names []string
	for _, c := range s.rootCommand().Commands() {
		names = append(names, c.Name())
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.Name(), c.Short)
		}
	}
	for _, want := range strings.Fields("init validate fmt plan apply destroy show output state graph localnet version") {
		if !slices.Contains(names, want) {
			t.Errorf("there is no command %s", want)
		}
	}
}
