package apply_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"pgregory.net/rapid"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/fake"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/statetest"
)

// world is a configuration, a stored state and a cloud.
type world struct {
	t      rapid.TB
	dir    string
	cloud  fake.Cloud
	store  statetest.Memory
	faults fake.Faults
}

func newWorld(t *testing.T) *world { return &world{t: t, dir: t.TempDir()} }

func (w *world) write(text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "main.hcl"), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// made is a plan, and what the process that made it holds.
type made struct {
	*plan.Plan
	options apply.Options
	diags   hcl.Diagnostics
	config  *config.Config
}

// tryPlan is a new process that makes a plan.
func (w *world) tryPlan(o plan.Options) *made {
	w.t.Helper()
	ctx := context.Background()
	registry := providers.Registry{"fake": fake.New(&w.cloud, w.faults)}
	cfg, diags := config.Load(w.dir, registry)
	if diags.HasErrors() {
		w.t.Fatal(diags.Error())
	}
	inputs, diags := cfg.Inputs(config.InputSources{})
	if diags.HasErrors() {
		w.t.Fatal(diags.Error())
	}
	o.Config, o.Inputs, o.Workspace, o.State, o.Providers = cfg, inputs, "default", w.load(), registry
	if o.Mode == "" {
		o.Mode = plan.Normal
	}
	p, session, diags := plan.Build(ctx, o)
	return &made{Plan: p, diags: diags, config: cfg, options: apply.Options{
		Plan: p, Tool: "test", Store: &w.store, State: o.State, Session: session, Providers: registry,
	}}
}

func (w *world) plan() *made {
	w.t.Helper()
	m := w.tryPlan(plan.Options{})
	if m.diags.HasErrors() {
		w.t.Fatalf("plan: %v", m.diags)
	}
	return m
}

func (w *world) load() *state.Loaded {
	w.t.Helper()
	loaded, err := w.store.Load(context.Background())
	if err != nil {
		w.t.Fatalf("load the state: %v", err)
	}
	return loaded
}

func (m *made) run(ctx context.Context) (*apply.Result, error) { return apply.Run(ctx, m.options) }

// obey applies a plan of which nothing may fail.
func (w *world) obey(m *made) *apply.Result {
	w.t.Helper()
	result, err := m.run(context.Background())
	if err != nil {
		w.t.Fatalf("apply: %v\nplan was\n%s", err, m)
	}
	if len(result.Errors) > 0 || result.Skipped > 0 || result.Interrupted {
		w.t.Fatalf("apply: %+v\nplan was\n%s", result, m)
	}
	return result
}

func (w *world) apply() *apply.Result {
	w.t.Helper()
	return w.obey(w.plan())
}

// settled fails the test unless there is nothing left to do, and doing that changes no byte.
func (w *world) settled() {
	w.t.Helper()
	m := w.plan()
	if !m.Empty() || m.options.State.Records > 0 || len(m.options.State.Pending) > 0 {
		w.t.Fatalf("the second plan is not empty (%d records, pending %v):\n%s", m.options.State.Records, m.options.State.Pending, m)
	}
	snapshot, journal := w.store.Raw()
	if result := w.obey(m); result.Changed {
		w.t.Error("applying an empty plan changed the state")
	}
	if again, journalAgain := w.store.Raw(); string(again) != string(snapshot) || string(journalAgain) != string(journal) {
		w.t.Errorf("applying an empty plan wrote\n%s%s, where there was\n%s%s", again, journalAgain, snapshot, journal)
	}
}

// exist compares what the cloud has with lines of "ID SIZE".
func (w *world) exist(want ...string) {
	w.t.Helper()
	var got []string
	things := w.cloud.Things()
	for _, id := range slices.Sorted(maps.Keys(things)) {
		got = append(got, fmt.Sprintf("%s %d", id, things[id].Size))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("the cloud has %q, want %q", got, want)
	}
}

func (w *world) history(want ...string) {
	w.t.Helper()
	if got := w.cloud.History(); !slices.Equal(got, want) {
		w.t.Errorf("effects were %q, want %q", got, want)
	}
}

// attributes of an object of the state, or nil.
func (w *world) attributes(address string) map[string]any {
	w.t.Helper()
	for i, object := range w.load().Snapshot.Resources {
		if i.String() != address {
			continue
		}
		var attributes map[string]any
		if err := json.Unmarshal(object.Attributes, &attributes); err != nil {
			w.t.Fatal(err)
		}
		return attributes
	}
	return nil
}

// things is a configuration: a line "a: x y" is a thing a that refers to x and y, "a=3: x" one of size 3.
func things(lines ...string) string {
	var out strings.Builder
	for _, line := range lines {
		name, refs, _ := strings.Cut(line, ":")
		name, size, _ := strings.Cut(name, "=")
		if size == "" {
			size = "1"
		}
		kind := "box"
		if k, n, ok := strings.Cut(name, "/"); ok {
			kind, name = k, n
		}
		fmt.Fprintf(&out, "resource \"fake_thing\" %q {\n  kind = %q\n  size = %s\n", name, kind, size)
		if refs = strings.TrimSpace(refs); refs != "" {
			refs = "${fake_thing." + strings.Join(strings.Fields(refs), ".id} ${fake_thing.") + ".id}"
			fmt.Fprintf(&out, "  ref  = \"%s\"\n", refs)
		}
		out.WriteString("}\n")
	}
	return out.String()
}

var errFault = errors.New("the cloud said no")

// failing makes the named calls fail, such as "create box/a".
func failing(calls ...string) fake.Faults {
	return fake.Faults{Before: func(_ context.Context, c fake.Call) error {
		if slices.Contains(calls, strings.TrimSpace(c.String())) {
			return errFault
		}
		return nil
	}}
}

// recorder is a store that keeps what is appended at once, and whether it was compacted. It refuses a cancelled context,
// as stores across a network do.
type recorder struct {
	state.Store
	mu      sync.Mutex
	batches [][]state.Record
	compact int
	gate    chan struct{} // when not nil, an append waits for it
}

func (r *recorder) Append(ctx context.Context, records ...state.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	r.batches = append(r.batches, slices.Clone(records))
	r.mu.Unlock()
	if r.gate != nil {
		<-r.gate
	}
	return r.Store.Append(ctx, records...)
}

func (r *recorder) Compact(ctx context.Context, s *state.Snapshot, pending []state.Note) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	r.compact++
	r.mu.Unlock()
	return r.Store.Compact(ctx, s, pending)
}

// log is what a test wants to remember, in order.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *log) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}
