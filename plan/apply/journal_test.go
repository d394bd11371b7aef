package apply_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers/fake"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/statetest"
)

// line is a record, in short.
func line(r state.Record) string {
	text := r.Type
	if r.Kind != "" {
		text += " " + r.Kind
	}
	if r.Key != "" {
		text += " " + r.Key
		if r.Data == nil {
			text += " settled"
		}
	}
	if r.Addr != nil {
		text += " " + r.Addr.String()
	}
	return text
}

// What is done is announced first, in this order.
func TestRecords(t *testing.T) {
	w := newWorld(t)
	w.write(things("a"))
	w.apply()
	w.cloud.Put("box/b", fake.Thing{Kind: "box", Size: 1})
	w.write(things("can/a", "b"))
	m := w.plan()
	store := &recorder{Store: &w.store}
	m.options.Store, m.options.Parallelism = store, 1
	w.obey(m)
	var got []string
	for _, batch := range store.batches {
		for _, r := range batch {
			got = append(got, line(r))
		}
	}
	want := []string{
		"begin",
		"intent create fake_thing.a", "patch fake_thing.a", "note fake/main/create can/a", "note fake/main/create can/a settled",
		"done fake_thing.a",
		"intent delete fake_thing.a", "note fake/main/delete box/a", "note fake/main/delete box/a settled",
		"done fake_thing.a", "done fake_thing.a",
		"done fake_thing.b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if store.compact != 1 {
		t.Errorf("the state was written %d times", store.compact)
	}
}

// Before an effect is made, its note is kept.
func TestNotedBeforeDone(t *testing.T) {
	w := newWorld(t)
	w.write(things("a", "b", "c: a b", "d"))
	effects := 0
	w.faults = fake.Faults{Before: func(_ context.Context, c fake.Call) error {
		if c.Op == fake.OpCreate || c.Op == fake.OpDelete {
			effects++
			if _, journal := w.store.Raw(); !strings.Contains(string(journal), `"key":"fake/main/`+c.String()+`","data"`) {
				return fmt.Errorf("%s is not noted:\n%s", c, journal)
			}
		}
		return nil
	}}
	m := w.plan()
	m.options.Parallelism = 1
	w.obey(m)
	w.write("")
	m = w.plan()
	m.options.Parallelism = 1
	w.obey(m)
	if effects != 8 {
		t.Errorf("%d effects", effects)
	}
}

// While one append is under way the others wait, and are then written at once.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var lines []string
		for i := range 10 {
			lines = append(lines, fmt.Sprintf("t%d", i))
		}
		w.write(things(lines...))
		m := w.plan()
		store := &recorder{Store: &w.store, gate: make(chan struct{})}
		m.options.Store = store
		go w.obey(m)
		var sizes []int
		for range 3 { // begin, the first intent, all the others
			synctest.Wait()
			store.gate <- struct{}{}
		}
		synctest.Wait()
		for _, batch := range store.batches[:3] {
			sizes = append(sizes, len(batch))
		}
		if want := []int{2, 1, 9}; !slices.Equal(sizes, want) {
			t.Errorf("records appended at once: %v, want %v", sizes, want)
		}
		close(store.gate)
		synctest.Wait()
		if n := len(w.cloud.Things()); n != 10 || len(w.load().Snapshot.Resources) != 10 || w.load().Records > 0 {
			t.Errorf("%d things; state %+v", n, w.load())
		}
		perAction := map[int][]string{}
		for _, batch := range store.batches {
			for _, r := range batch {
				if r.Action > 0 {
					perAction[r.Action] = append(perAction[r.Action], r.Type)
				}
			}
		}
		for id, types := range perAction {
			if want := []string{state.Intent, state.Patch, state.Done, state.Done}; !slices.Equal(types, want) {
				t.Errorf("action %d: %v, want %v", id, types, want)
			}
		}
	})
}

// After a failed append nothing more is done, whatever the store would say to the next one.
func TestAppendFails(t *testing.T) {
	for _, step := range []string{statetest.BeforeAppend, statetest.AfterAppend} {
		for _, parallelism := range []int{1, 4} {
			failed := true
			for n := 1; failed; n++ {
				failed = appendFails(t, step, parallelism, n)
			}
		}
	}
}

// appendFails reports whether there was an n-th append to fail.
func appendFails(t *testing.T, step string, parallelism, n int) bool {
	w := newWorld(t)
	w.write(things("a"))
	w.apply()
	w.write(things("can/a=2", "b: a", "c"))
	name := fmt.Sprintf("append %d, %s, parallelism %d", n, step, parallelism)
	before := len(w.cloud.History())
	appends, late := 0, 0
	var noted string
	w.store.Fault = func(s string) error {
		switch {
		case s == statetest.BeforeAppend && appends >= n:
			late++
		case s == step && appends+1 == n:
			appends++
			_, journal := w.store.Raw()
			noted = string(journal)
			return errors.New("no space left on device")
		case s == step:
			appends++
		}
		return nil
	}
	m := w.plan()
	m.options.Parallelism = parallelism
	result, err := m.run(t.Context())
	if appends < n {
		w.store.Fault = nil
		w.settled()
		return false
	}
	switch {
	case n == 1 && (err == nil || !strings.Contains(err.Error(), "Nothing was sent")):
		t.Errorf("%s: error %v", name, err)
	case n > 1 && err != nil:
		t.Errorf("%s: error %v: what is in the journal could be saved", name, err)
	case n > 1 && (result.Failed == 0 || !strings.Contains(result.Errors[0].Error(), "no space left on device")):
		t.Errorf("%s: result %+v", name, result)
	}
	if late > 0 {
		t.Errorf("%s: %d more appends", name, late)
	}
	for _, effect := range w.cloud.History()[before:] {
		if !strings.Contains(noted, `"key":"fake/main/`+effect+`","data"`) {
			t.Errorf("%s: %s was done and isn't in the journal:\n%s", name, effect, noted)
		}
	}
	w.store.Fault = nil
	w.apply()
	w.exist("box/b 1", "box/c 1", "can/a 2")
	w.settled()
	if effects := w.cloud.History(); len(effects) != 5 {
		t.Errorf("%s: something was done twice: %v", name, effects)
	}
	return true
}

// A state that can't be saved loses nothing: the journal has it all, and the next run takes it up.
func TestCompactFails(t *testing.T) {
	for _, step := range []string{statetest.BeforeCompact, statetest.Compacting, statetest.AfterCompact} {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t)
			w.write(things("a"))
			w.apply()
			w.write(things("a=2", "b: a"))
			w.store.Fault = func(s string) error {
				if s == step {
					return errors.New("no space left on device")
				}
				return nil
			}
			m := w.plan()
			result, err := m.run(t.Context())
			if err == nil || !strings.Contains(err.Error(), "save the state: no space left on device") {
				t.Errorf("error %v", err)
			}
			if result == nil || result.Done != 2 {
				t.Errorf("result %+v: what was done is not told", result)
			}
			w.store.Fault = nil
			loaded := w.load()
			if size := w.attributes("fake_thing.a")["size"]; size != 2.0 || len(loaded.Snapshot.Resources) != 2 {
				t.Errorf("size %v in %v", size, loaded.Snapshot.Resources)
			}
			if step == statetest.BeforeCompact {
				if loaded.Records == 0 {
					t.Error("the journal is gone")
				}
				var stale *apply.StaleError
				m.options.State = loaded
				if _, err := m.run(t.Context()); !errors.As(err, &stale) {
					t.Errorf("the same plan again: %v", err)
				}
			}
			w.apply() // of nothing but what the journal has
			w.history("create box/a", "resize box/a", "create box/b")
			if serial := w.load().Snapshot.Serial; serial != 2 {
				t.Errorf("serial %d, want 2", serial)
			}
			w.settled()
		})
	}
}

// A note that an interrupted run left is taken up before anything else.
func TestResume(t *testing.T) {
	w := newWorld(t)
	w.write(things("a"))
	w.faults = fake.Faults{Before: func(_ context.Context, c fake.Call) error {
		if c.Op == fake.OpCreate {
			w.store.Fault = func(string) error { return errors.New("killed") }
			return errors.New("killed")
		}
		return nil
	}}
	if result, err := w.plan().run(t.Context()); err == nil {
		t.Fatalf("result %+v", result)
	}
	w.exist()
	w.store.Fault, w.faults = nil, fake.Faults{}

	w.write(things("b"))
	m := w.plan()
	if diff := cmp.Diff([]string{"create box/a"}, m.Pending); diff != "" {
		t.Errorf("pending -want +got:\n%s", diff)
	}
	var events log
	m.options.Parallelism = 1
	m.options.Observe = func(e apply.Event) {
		switch e.Type {
		case apply.Resuming:
			events.add("resume %s", e.Progress.Message)
		case apply.Succeeded:
			events.add("%s %s", e.Action.Kind, e.Action.Addr)
		}
	}
	w.obey(m)
	want := []string{"resume create box/a", "create fake_thing.b", "delete fake_thing.a", "forget fake_thing.a"}
	if diff := cmp.Diff(want, events.all()); diff != "" {
		t.Errorf("events -want +got:\n%s", diff)
	}
	w.history("create box/a", "create box/b", "delete box/a")
	w.settled()
}

// What an interrupted run noted is taken up although the configuration no longer uses the provider.
func TestResumeUnused(t *testing.T) {
	w := newWorld(t)
	w.write("resource \"fake_thing\" \"a\" {\n  kind = \"box\"\n  size = 1\n  prepare = true\n}\n")
	w.faults = fake.Faults{After: func(_ context.Context, c fake.Call) error {
		if c.Op == fake.OpPrepare {
			w.store.Fault = func(string) error { return errors.New("killed") }
			return errors.New("killed")
		}
		return nil
	}}
	if result, err := w.plan().run(t.Context()); err == nil {
		t.Fatalf("result %+v", result)
	}
	w.store.Fault, w.faults = nil, fake.Faults{}

	w.write("")
	m := w.plan()
	if diff := cmp.Diff([]string{"prepare box/a"}, m.Pending); diff != "" {
		t.Errorf("pending -want +got:\n%s", diff)
	}
	w.obey(m)
	w.settled()
}

// What can't be taken up keeps apply from going on, and stays.
func TestResumeFails(t *testing.T) {
	w := newWorld(t)
	w.write(things("a", "b"))
	w.faults = fake.Faults{After: func(_ context.Context, c fake.Call) error { return errFault }}
	m := w.plan()
	m.options.Parallelism = 1
	if _, err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.write(things("a=2", "b", "c"))
	if _, err := w.plan().run(t.Context()); err == nil || !strings.Contains(err.Error(), "resume what an interrupted run left: the cloud said no") {
		t.Errorf("error %v", err)
	}
	w.exist("box/a 1", "box/b 1")
	if loaded := w.load(); len(loaded.Pending) != 2 {
		t.Errorf("pending %v", loaded.Pending)
	}
	w.faults = fake.Faults{}
	w.apply()
	w.exist("box/a 2", "box/b 1", "box/c 1")
	w.settled()
}
