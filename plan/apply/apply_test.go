package apply_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/fake"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/statetest"
)

// A story of one configuration.
func TestStory(t *testing.T) {
	w := newWorld(t)
	w.write(things("a", "b: a", "c: b"))
	if result := w.apply(); result.Done != 3 || !result.Changed || result.Snapshot.Serial != 1 || result.Snapshot.Lineage == "" {
		t.Errorf("first apply: %+v", result)
	}
	w.history("create box/a", "create box/b", "create box/c")
	w.exist("box/a 1", "box/b 1", "box/c 1")
	w.settled()
	if token := w.cloud.Things()["box/b"].Token; w.attributes("fake_thing.b")["token"] != token {
		t.Errorf("the state has token %v, the cloud %s", w.attributes("fake_thing.b")["token"], token)
	}

	lineage := w.load().Snapshot.Lineage
	w.write(things("a=4", "can/b: a"))
	if result := w.apply(); result.Snapshot.Serial != 2 || result.Snapshot.Lineage != lineage {
		t.Errorf("second apply: serial %d, lineage %s, was %s", result.Snapshot.Serial, result.Snapshot.Lineage, lineage)
	}
	w.exist("box/a 4", "can/b 1")
	w.settled()
	if token := w.cloud.Things()["can/b"].Token; w.attributes("fake_thing.b")["token"] != token {
		t.Errorf("replaced: the state has token %v, the cloud %s", w.attributes("fake_thing.b")["token"], token)
	}

	w.store.Set(nil, nil)
	w.apply()
	w.exist("box/a 4", "can/b 1")
	w.settled()
	if got := len(w.cloud.History()); got != 7 {
		t.Errorf("adopting had effects: %v", w.cloud.History())
	}

	w.cloud.Remove("can/b")
	w.write("")
	w.apply()
	w.exist()
	w.settled()
	if n := len(w.load().Snapshot.Resources); n != 0 {
		t.Errorf("%d objects are left in the state", n)
	}
}

func TestDestroy(t *testing.T) {
	w := newWorld(t)
	w.write(things("a", "b: a") + "output \"a\" {\n  value = fake_thing.a.id\n}\n")
	w.apply()
	m := w.tryPlan(plan.Options{Mode: plan.Destroy})
	w.obey(m)
	w.exist()
	w.history("create box/a", "create box/b", "delete box/b", "delete box/a")
	if s := w.load().Snapshot; len(s.Resources)+len(s.Outputs) != 0 {
		t.Errorf("left in the state: %v, %v", s.Resources, s.Outputs)
	}
	if again := w.tryPlan(plan.Options{Mode: plan.Destroy}); !again.Empty() {
		t.Errorf("destroying again is\n%s", again)
	}
}

// What is refreshed is in the state, and nothing else is done.
func TestRefreshOnly(t *testing.T) {
	w := newWorld(t)
	output := "output \"size\" {\n  value = fake_thing.a.size\n}\n"
	w.write(things("a", "b") + output)
	w.apply()
	w.cloud.Put("box/a", fake.Thing{Kind: "box", Size: 9, Token: "t"})
	w.cloud.Remove("box/b")
	effects := len(w.cloud.History())
	w.obey(w.tryPlan(plan.Options{Mode: plan.RefreshOnly}))
	if size := w.attributes("fake_thing.a")["size"]; size != 9.0 {
		t.Errorf("size %v, want 9", size)
	}
	if w.attributes("fake_thing.b") != nil || len(w.cloud.History()) != effects {
		t.Errorf("b is still there, or effects: %v", w.cloud.History())
	}
	if o := w.load().Snapshot.Outputs["size"]; string(o.Value) != "1" {
		t.Errorf("output %s: refreshing doesn't evaluate outputs", o.Value)
	}
	if again := w.tryPlan(plan.Options{Mode: plan.RefreshOnly}); !again.Empty() {
		t.Errorf("refreshing again is\n%s", again)
	}
}

// Everything waits for what it depends on, and for nothing else: with enough hands it takes as long as the longest path.
func TestGraphOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var lines []string
		for i := range 40 {
			line := fmt.Sprintf("t%d:", i)
			if i >= 4 {
				line += fmt.Sprintf(" t%d t%d", i-4, (i*7)%(i-3))
			}
			lines = append(lines, line)
		}
		w.write(things(lines...))
		for _, parallelism := range []int{1, 3, 64} {
			w.cloud, w.store = fake.Cloud{}, statetest.Memory{}
			begun, ended := map[string]time.Time{}, map[string]time.Time{}
			running, most := 0, 0
			m := w.plan()
			m.options.Parallelism = parallelism
			w.faults = fake.Faults{}
			m.options.Observe = func(e apply.Event) {
				switch e.Type {
				case apply.Started:
					begun[e.Action.Addr.String()] = time.Now()
					running++
					most = max(most, running)
				case apply.Succeeded:
					ended[e.Action.Addr.String()] = time.Now()
					running--
					if e.Elapsed != time.Second {
						t.Errorf("%s took %v", e.Action.Addr, e.Elapsed)
					}
				}
			}
			m.slow(t, w, time.Second)
			start := time.Now()
			w.obey(m)
			for _, a := range m.Actions {
				for _, id := range a.After {
					before := m.Actions[id-1].Addr.String()
					if begun[a.Addr.String()].Before(ended[before]) {
						t.Errorf("parallelism %d: %s began before %s ended", parallelism, a.Addr, before)
					}
				}
			}
			if most > parallelism {
				t.Errorf("%d actions at once, want %d at most", most, parallelism)
			}
			took := time.Since(start)
			if want := map[int]time.Duration{1: 40 * time.Second, 64: 10 * time.Second}[parallelism]; want != 0 && took != want {
				t.Errorf("parallelism %d took %v, want %v", parallelism, took, want)
			}
		}
	})
}

// slow replaces the plan by one of a process whose effects take their time.
func (m *made) slow(t *testing.T, w *world, effect time.Duration) {
	t.Helper()
	w.faults = fake.Faults{Before: func(_ context.Context, c fake.Call) error {
		switch c.Op {
		case fake.OpCreate, fake.OpResize, fake.OpDelete, fake.OpPrepare:
			time.Sleep(effect) // of the bubble's time
		}
		return nil
	}}
	again := w.plan()
	again.options.Observe, again.options.Parallelism = m.options.Observe, m.options.Parallelism
	*m = *again
}

// A failed or held action keeps back only what waits for it; the next run does the rest.
func TestFailures(t *testing.T) {
	w := newWorld(t)
	w.write(things("bad", "b: bad", "c: b", "fine", "d: fine", "held", "e: held fine"))
	w.faults = fake.Faults{Before: func(_ context.Context, c fake.Call) error {
		switch c.String() {
		case "create box/bad":
			return errFault
		case "create box/held":
			return &providers.HeldError{Reason: "two signatures are missing", Unblock: "ask the others"}
		}
		return nil
	}}
	m := w.plan()
	var events log
	m.options.Observe = func(e apply.Event) { events.add("%s %s", e.Type, e.Action.Addr) }
	result, err := m.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if result.Done != 2 || result.Failed != 1 || result.Held != 1 || result.Skipped != 3 || result.Interrupted || !result.Changed {
		t.Errorf("result %+v", result)
	}
	var failures []string
	for _, e := range result.Errors {
		failures = append(failures, e.Error())
	}
	want := []string{
		"action 1, create of fake_thing.bad: the cloud said no",
		"action 3, create of fake_thing.held: held: two signatures are missing; to go on: ask the others",
	}
	if diff := cmp.Diff(want, failures); diff != "" {
		t.Errorf("errors -want +got:\n%s", diff)
	}
	got := events.all()
	slices.Sort(got)
	wantEvents := []string{
		"complete fake_thing.d", "complete fake_thing.fine", "errored fake_thing.bad", "held fake_thing.held",
		"progress fake_thing.d", "progress fake_thing.fine",
		"skipped fake_thing.b", "skipped fake_thing.c", "skipped fake_thing.e",
		"start fake_thing.bad", "start fake_thing.d", "start fake_thing.fine", "start fake_thing.held",
	}
	if diff := cmp.Diff(wantEvents, got); diff != "" {
		t.Errorf("events -want +got:\n%s", diff)
	}
	w.exist("box/d 1", "box/fine 1")
	if loaded := w.load(); loaded.Records != 0 || len(loaded.Pending) != 0 {
		t.Errorf("the journal isn't folded: %+v", loaded)
	}

	w.faults = fake.Faults{}
	w.apply()
	w.exist("box/b 1", "box/bad 1", "box/c 1", "box/d 1", "box/e 1", "box/fine 1", "box/held 1")
	w.settled()
}

// An answer that is lost doesn't make a second thing.
func TestLostAnswer(t *testing.T) {
	w := newWorld(t)
	w.write(things("a", "b: a"))
	w.faults = fake.Faults{After: func(_ context.Context, c fake.Call) error { return errors.New("connection reset") }}
	result, err := w.plan().run(t.Context())
	if err != nil || result.Failed != 1 || result.Skipped != 1 {
		t.Fatalf("result %+v, error %v", result, err)
	}
	w.exist("box/a 1")
	loaded := w.load()
	if len(loaded.Pending) != 1 || loaded.Records != 0 {
		t.Errorf("pending %v, %d records; want the note of what isn't certain", loaded.Pending, loaded.Records)
	}
	w.faults = fake.Faults{}
	w.apply()
	w.history("create box/a", "create box/b")
	w.settled()
}

// What was found is remembered even when changing it fails.
func TestAdoptThenFail(t *testing.T) {
	w := newWorld(t)
	w.cloud.Put("box/a", fake.Thing{Kind: "box", Size: 7, Token: "t"})
	w.write(things("a"))
	w.faults = failing("resize box/a")
	result, err := w.plan().run(t.Context())
	if err != nil || result.Done != 1 || result.Failed != 1 {
		t.Fatalf("result %+v, error %v", result, err)
	}
	want := map[string]any{"id": "box/a", "kind": "box", "size": 7.0, "token": "t", "things": map[string]any{"box/a": "box"}}
	if diff := cmp.Diff(want, w.attributes("fake_thing.a")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	w.faults = fake.Faults{}
	w.apply()
	w.exist("box/a 1")
	w.settled()
}

// Interrupted, apply begins nothing new, finishes what runs, and saves.
func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write(things("a", "b", "c", "d: a"))
		release := make(chan struct{})
		var begun log
		w.faults = fake.Faults{Before: func(ctx context.Context, c fake.Call) error {
			if c.Op == fake.OpCreate {
				begun.add("%s", c.ID)
				<-release
				return ctx.Err() // of the action's own context
			}
			return nil
		}}
		m := w.plan()
		m.options.Parallelism = 2
		m.options.Store = &recorder{Store: &w.store}
		ctx, cancel := context.WithCancel(t.Context())
		var result *apply.Result
		var err error
		over := false
		go func() {
			result, err = m.run(ctx)
			over = true
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if over {
			t.Fatal("apply left what was under way")
		}
		close(release)
		synctest.Wait()
		if !over || err != nil {
			t.Fatalf("over is %v, error %v", over, err)
		}
		if result.Done != 2 || result.Skipped != 2 || result.Failed != 0 || !result.Interrupted {
			t.Errorf("result %+v", result)
		}
		w.exist("box/a 1", "box/b 1")
		if n := len(begun.all()); n != 2 {
			t.Errorf("begun: %v", begun.all())
		}
		if loaded := w.load(); loaded.Records != 0 || len(loaded.Snapshot.Resources) != 2 {
			t.Errorf("saved: %+v", loaded)
		}
		w.faults = fake.Faults{}
		w.apply()
		w.exist("box/a 1", "box/b 1", "box/c 1", "box/d 1")
		w.settled()
	})
}

// Interrupted before it begins, apply does nothing.
func TestInterruptedBefore(t *testing.T) {
	w := newWorld(t)
	w.write(things("a"))
	m := w.plan()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if result, err := m.run(ctx); err != nil || !result.Interrupted || result.Skipped != 1 {
		t.Errorf("result %+v, error %v", result, err)
	}
	w.exist()
}

func TestStalePlans(t *testing.T) {
	w := newWorld(t)
	w.write(things("a"))
	first, same := w.plan(), w.plan()
	w.obey(first)
	refused := func(name string, m *made, loaded *state.Loaded, want string) {
		t.Helper()
		w.t = t
		m.options.State = loaded
		effects := len(w.cloud.History())
		_, err := m.run(t.Context())
		var stale *apply.StaleError
		if !errors.As(err, &stale) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Plan again") {
			t.Errorf("%s: error %v, want a StaleError with %q", name, err, want)
		}
		if len(w.cloud.History()) != effects {
			t.Errorf("%s had effects", name)
		}
	}
	refused("the same plan twice", first, w.load(), "applied already")
	refused("another plan of the same state", same, w.load(), "serial 0")

	w.write(things("a=2"))
	m := w.plan()
	other := w.load()
	other.Snapshot.Lineage = "other"
	refused("another lineage", m, other, "has other")
	none := w.load()
	none.Snapshot.Lineage = ""
	refused("a lost lineage", m, none, "another state")
	interrupted := w.load()
	interrupted.Records = 3
	refused("an interrupted run since", m, interrupted, "interrupted")
	w.obey(w.plan())
	w.exist("box/a 2")
}

func TestIncompletePlan(t *testing.T) {
	w := newWorld(t)
	w.write(things("a", "b"))
	w.faults = fake.Faults{Before: func(_ context.Context, c fake.Call) error {
		if c.Op == fake.OpPlan && c.Addr.Resource.Name == "b" {
			return errFault
		}
		return nil
	}}
	m := w.tryPlan(plan.Options{})
	if _, err := m.run(t.Context()); err == nil || !strings.Contains(err.Error(), "incomplete") {
		t.Errorf("error %v", err)
	}
	w.exist()
}

// When what the plan takes for granted is no longer so, nothing is sent, and all that changed is told.
func TestPreconditions(t *testing.T) {
	w := newWorld(t)
	w.write(things("a", "b", "c"))
	w.apply()
	w.cloud.Put("box/base", fake.Thing{Kind: "box", Size: 1})
	w.write(things("a=2", "b=2", "c=2", "new") + "data \"fake_thing\" \"base\" {\n  id = \"box/base\"\n}\n")
	m := w.plan()
	w.cloud.Put("box/b", fake.Thing{Kind: "box", Size: 7})
	w.cloud.Put("box/new", fake.Thing{Kind: "box", Size: 1})
	w.cloud.Remove("box/base")
	effects := len(w.cloud.History())
	snapshot, journal := w.store.Raw()
	result, err := m.run(t.Context())
	var failed *apply.PreconditionError
	if !errors.As(err, &failed) || result != nil {
		t.Fatalf("result %+v, error %v", result, err)
	}
	want := []string{"box/b had size 1, and now has 7", "box/new exists already", "box/base is gone"}
	var got []string
	for _, e := range failed.Failed {
		got = append(got, e.Error())
		if !strings.Contains(err.Error(), e.Error()) {
			t.Errorf("%q is missing in %q", e, err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	after, journalAfter := w.store.Raw()
	if len(w.cloud.History()) != effects || string(snapshot) != string(after) || string(journal) != string(journalAfter) {
		t.Errorf("something was done: %v, %s", w.cloud.History()[effects:], journalAfter)
	}
}

// A data source that moves between the check and the action stops what depends on it.
func TestVerifyAction(t *testing.T) {
	w := newWorld(t)
	w.cloud.Put("box/base", fake.Thing{Kind: "box", Size: 3})
	w.write("data \"fake_thing\" \"base\" {\n  id = \"box/base\"\n}\n" +
		"resource \"fake_thing\" \"a\" {\n  kind = \"box\"\n  size = data.fake_thing.base.size\n}\n" + things("b"))
	w.faults = fake.Faults{Before: func(_ context.Context, c fake.Call) error {
		if c.Op == fake.OpVerify {
			w.cloud.Put("box/base", fake.Thing{Kind: "box", Size: 4})
		}
		return nil
	}}
	result, err := w.plan().run(t.Context())
	if err != nil || result.Failed != 1 || result.Skipped != 1 || result.Done != 1 {
		t.Fatalf("result %+v, error %v", result, err)
	}
	w.exist("box/b 1", "box/base 4")
	w.faults = fake.Faults{}
	w.apply()
	w.exist("box/a 4", "box/b 1", "box/base 4")
	w.settled()
}

func TestNotReady(t *testing.T) {
	w := newWorld(t)
	w.write(things("a"))
	w.faults = failing(fake.OpReady)
	_, err := w.plan().run(t.Context())
	if err == nil || !errors.Is(err, errFault) || !strings.Contains(err.Error(), "Nothing was sent") {
		t.Errorf("error %v", err)
	}
	w.exist()
	if _, journal := w.store.Raw(); journal != nil {
		t.Errorf("journal %s", journal)
	}
}

func TestAnotherNetwork(t *testing.T) {
	w := newWorld(t)
	w.write(things("a"))
	m := w.plan()
	m.Providers[0].Network = map[string]string{"network": "another"}
	if _, err := m.run(t.Context()); err == nil || !strings.Contains(err.Error(), "network was another and is main") {
		t.Errorf("error %v", err)
	}
	w.exist()
}

// Outputs that only apply can know are evaluated after the actions.
func TestLateOutputs(t *testing.T) {
	w := newWorld(t)
	w.write(things("a") + "output \"token\" {\n  value = fake_thing.a.token\n}\noutput \"id\" {\n  value = fake_thing.a.id\n}\n")
	m := w.plan()
	m.options.Config = m.config
	w.obey(m)
	outputs := w.load().Snapshot.Outputs
	if token := w.cloud.Things()["box/a"].Token; string(outputs["token"].Value) != `"`+token+`"` || string(outputs["id"].Value) != `"box/a"` {
		t.Errorf("outputs %s, %s", outputs["token"].Value, outputs["id"].Value)
	}
	w.settled()

	t.Run("without configuration the old value stays", func(t *testing.T) {
		w.t = t
		w.cloud.Remove("box/a")
		w.apply()
		if got := w.load().Snapshot.Outputs["token"]; string(got.Value) != string(outputs["token"].Value) {
			t.Errorf("token %s, was %s", got.Value, outputs["token"].Value)
		}
		if next := w.plan(); next.Empty() || len(next.Actions) > 0 {
			t.Errorf("the next plan doesn't show the output:\n%s", next)
		}
		w.apply()
		w.settled()
	})
	t.Run("after a failure all old values stay", func(t *testing.T) {
		w.t = t
		before := w.load().Snapshot.Outputs
		w.write(things("can/a") + "output \"token\" {\n  value = fake_thing.a.token\n}\noutput \"id\" {\n  value = fake_thing.a.id\n}\n")
		w.faults = failing("create can/a")
		m := w.plan()
		m.options.Config = m.config
		if result, err := m.run(t.Context()); err != nil || result.Failed != 1 {
			t.Fatalf("%+v, %v", result, err)
		}
		after := w.load().Snapshot.Outputs
		for name, o := range before {
			if !o.Equal(after[name]) {
				t.Errorf("output %s is %s, was %s", name, after[name].Value, o.Value)
			}
		}
		w.faults = fake.Faults{}
		m = w.plan()
		m.options.Config = m.config
		w.obey(m)
		w.settled()
	})
}

// An output that can't be evaluated loses nothing of what was done.
func TestLateOutputsFail(t *testing.T) {
	w := newWorld(t)
	w.write(things("a") + "data \"fake_thing\" \"gone\" {\n  id = fake_thing.a.token\n}\noutput \"size\" {\n  value = data.fake_thing.gone.size\n}\n")
	m := w.plan()
	m.options.Config = m.config
	if _, err := m.run(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no thing") {
		t.Errorf("error %v", err)
	}
	w.exist("box/a 1")
	if w.attributes("fake_thing.a")["token"] != w.cloud.Things()["box/a"].Token {
		t.Errorf("the state lost what was done: %v", w.attributes("fake_thing.a"))
	}
	w.cloud.Put(w.cloud.Things()["box/a"].Token, fake.Thing{Kind: "found", Size: 1})
	w.apply()
	w.history("create box/a")
	w.settled()
}

// A run that changes nothing writes nothing, or leaves the snapshot as it is.
func TestNothingChanged(t *testing.T) {
	w := newWorld(t)
	w.write(things("a") + "output \"a\" {\n  value = fake_thing.a.id\n}\n")
	w.apply()
	w.settled()
	snapshot, _ := w.store.Raw()

	m := w.plan()
	store := &recorder{Store: &w.store}
	m.options.Store = store
	if result := w.obey(m); result.Changed || result.Snapshot == nil || result.Snapshot.Serial != 1 || store.compact > 0 || len(store.batches) > 0 {
		t.Errorf("result %+v, %d writes of the state, journal %v", result, store.compact, store.batches)
	}

	w.write(things("a", "b") + "output \"a\" {\n  value = fake_thing.a.id\n}\n")
	w.faults = failing("create box/b")
	result, err := w.plan().run(t.Context())
	if err != nil || result.Failed != 1 {
		t.Fatalf("%+v, %v", result, err)
	}
	w.faults = fake.Faults{}
	w.write(things("a") + "output \"a\" {\n  value = fake_thing.a.id\n}\n")
	w.apply() // forgets b, which was about to exist
	w.settled()
	again, _ := w.store.Raw()
	want, err := state.Decode(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	want.Serial = 3
	if snapshot, err = state.Encode(want); err != nil || string(snapshot) != string(again) {
		t.Errorf("%v, -want +got:\n%s", err, cmp.Diff(string(snapshot), string(again)))
	}
}
