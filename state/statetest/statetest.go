// Package statetest is the conformance suite that every state.Store passes.
package statetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/state"
)

// App and Order are the objects that the suite stores.
var (
	App   = addr.Instance{Resource: addr.Resource{Type: "iexec_app", Name: "a"}}
	Order = addr.Instance{Resource: addr.Resource{Type: "iexec_apporder", Name: "o"}, Key: addr.StringKey(`"€<`)}
)

// Run runs the suite. fresh makes an empty place to store a state, cleans it up with t.Cleanup, and returns a function
// that opens the place: each call is a new client of the same place, as another process would be.
func Run(t *testing.T, fresh func(t *testing.T) (open func() state.Store)) {
	RunLocked(t, fresh)
	t.Run("of eight writers without lock one goes on", func(t *testing.T) { race(t, fresh(t)) })
}

// RunLocked runs the suite for a store that can't keep runs apart that write at the same time without the lock.
func RunLocked(t *testing.T, fresh func(t *testing.T) (open func() state.Store)) {
	for _, c := range []struct {
		name string
		test func(*testing.T, func() state.Store)
	}{
		{"nothing stored is an empty snapshot", empty},
		{"what was appended survives a crash", appendLoad},
		{"compact writes the snapshot and keeps notes only", compact},
		{"compact of the same changes nothing", compactSame},
		{"compact refuses a serial that is not greater", conflicts},
		{"who is behind writes nothing", behind},
		{"a new journal continues the new snapshot", appendAfterCompact},
		{"notes can be kept before there is a snapshot", notesOnly},
		{"values are exact", exact},
		{"appends at the same time are all kept", concurrent},
		{"a large journal is kept", large},
		{"the lock has one holder", lock},
		{"a broken lock is lost", broken},
		{"eight writers take turns", turns},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, fresh(t)) })
	}
}

// Object is a record that an action made or changed an object.
func Object(action int, a addr.Instance, patch string) state.Record {
	return state.Record{Type: state.Done, Action: action, Addr: &a, Object: &state.Object{Provider: "iexec", Attributes: json.RawMessage(patch)}}
}

// Snapshot is a snapshot with one object whose attribute n is the serial.
func Snapshot(serial uint64) *state.Snapshot {
	return &state.Snapshot{Version: state.Version, Tool: "0.0.1", Lineage: "lineage", Serial: serial, Resources: map[addr.Instance]*state.Object{
		App: {Provider: "iexec", Attributes: json.RawMessage(fmt.Sprintf(`{"n":%d}`, serial))},
	}}
}

func lockStore(t *testing.T, s state.Store) {
	t.Helper()
	unlock, err := s.Lock(t.Context(), state.Holder{ID: t.Name(), Operation: "test"})
	if err != nil {
		t.Fatalf("Lock: %v", err)
	}
	t.Cleanup(func() {
		if err := unlock(); err != nil {
			t.Errorf("unlock: %v", err)
		}
	})
}

func appendTo(t *testing.T, s state.Store, records ...state.Record) {
	t.Helper()
	if err := s.Append(t.Context(), records...); err != nil {
		t.Fatalf("Append: %v", err)
	}
}

func compactTo(t *testing.T, s state.Store, snapshot *state.Snapshot, pending ...state.Note) {
	t.Helper()
	if err := s.Compact(t.Context(), snapshot, pending); err != nil {
		t.Fatalf("Compact of serial %d: %v", snapshot.Serial, err)
	}
}

// loadable compares what another client loads.
func loadable(t *testing.T, open func() state.Store, want *state.Loaded) *state.Loaded {
	t.Helper()
	got, err := open().Load(t.Context())
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	if got.Snapshot == nil {
		t.Fatal("Load returned no snapshot")
	}
	if diff := cmp.Diff(text(t, want.Snapshot), text(t, got.Snapshot)); diff != "" {
		t.Errorf("snapshot -want +got:\n%s", diff)
	}
	if len(got.Pending) == 0 {
		got.Pending = nil
	}
	if len(got.Open) == 0 {
		got.Open = nil
	}
	ignore := cmpopts.IgnoreFields(state.Loaded{}, "Snapshot")
	rawEqual := cmp.Comparer(func(a, b json.RawMessage) bool { return string(a) == string(b) })
	if diff := cmp.Diff(want, got, ignore, rawEqual, cmpopts.EquateComparable(addr.Instance{})); diff != "" {
		t.Errorf("loaded -want +got:\n%s", diff)
	}
	return got
}

func text(t *testing.T, s *state.Snapshot) string {
	t.Helper()
	b, err := state.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func empty(t *testing.T, open func() state.Store) {
	loadable(t, open, &state.Loaded{Snapshot: &state.Snapshot{}})
	s := open()
	lockStore(t, s)
	loadable(t, func() state.Store { return s }, &state.Loaded{Snapshot: &state.Snapshot{}})
}

func appendLoad(t *testing.T, open func() state.Store) {
	s := open()
	unlock, err := s.Lock(t.Context(), state.Holder{ID: t.Name(), Operation: "test"})
	if err != nil {
		t.Fatal(err)
	}
	note := state.Note{Key: "tx/1", Data: json.RawMessage(`{"raw":"0x01"}`)}
	appendTo(t, s, state.Record{Type: state.Begin, Op: "apply", Plan: "digest"},
		state.Record{Type: state.Intent, Action: 1, Kind: "deploy", Addr: &App})
	appendTo(t, s, state.Record{Type: state.NoteRec, Action: 1, Key: note.Key, Data: note.Data})
	open1 := state.Record{Type: state.Intent, Action: 1, Kind: "deploy", Addr: &App}
	loadable(t, open, &state.Loaded{Snapshot: &state.Snapshot{}, Pending: []state.Note{note}, Open: []state.Record{open1}, Records: 2})

	appendTo(t, s, Object(1, App, `{"n":1,"gone":null}`), Object(2, Order, `{"volume":9}`))
	appendTo(t, s, Object(3, App, `{"m":2}`))
	want := &state.Loaded{Pending: []state.Note{note}, Records: 5, Snapshot: &state.Snapshot{Resources: map[addr.Instance]*state.Object{
		App:   {Provider: "iexec", Attributes: json.RawMessage(`{"m":2,"n":1}`)},
		Order: {Provider: "iexec", Attributes: json.RawMessage(`{"volume":9}`)},
	}}}
	loaded := loadable(t, open, want)

	// The next run carries on from what the dead one left.
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	loaded.Snapshot.Lineage, loaded.Snapshot.Serial = "lineage", 1
	compactTo(t, open(), loaded.Snapshot, loaded.Pending...)
	loadable(t, open, &state.Loaded{Snapshot: loaded.Snapshot, Pending: []state.Note{note}})
}

func compact(t *testing.T, open func() state.Store) {
	s := open()
	lockStore(t, s)
	b, a := state.Note{Key: "b", Data: json.RawMessage(`1`)}, state.Note{Key: "a", Data: json.RawMessage(`[2]`)}
	appendTo(t, s, state.Record{Type: state.Intent, Action: 1}, state.Record{Type: state.NoteRec, Key: "c", Data: json.RawMessage(`0`)})
	compactTo(t, s, Snapshot(1), b, a)
	loadable(t, open, &state.Loaded{Snapshot: Snapshot(1), Pending: []state.Note{b, a}})

	appendTo(t, s, state.Record{Type: state.NoteRec, Key: "b"})
	loadable(t, open, &state.Loaded{Snapshot: Snapshot(1), Pending: []state.Note{a}})
	compactTo(t, s, Snapshot(2))
	loadable(t, open, &state.Loaded{Snapshot: Snapshot(2)})
}

func compactSame(t *testing.T, open func() state.Store) {
	s := open()
	lockStore(t, s)
	compactTo(t, s, &state.Snapshot{})
	loadable(t, open, &state.Loaded{Snapshot: &state.Snapshot{}})
	compactTo(t, s, Snapshot(1))
	appendTo(t, s, state.Record{Type: state.Begin}, state.Record{Type: state.Intent, Action: 1}, state.Record{Type: state.Failed, Action: 1})
	compactTo(t, s, Snapshot(1))
	loadable(t, open, &state.Loaded{Snapshot: Snapshot(1)})
}

func conflicts(t *testing.T, open func() state.Store) {
	s := open()
	lockStore(t, s)
	refused := func(snapshot *state.Snapshot, stored uint64) {
		t.Helper()
		var conflict *state.ConflictError
		if err := s.Compact(t.Context(), snapshot, nil); !errors.As(err, &conflict) {
			t.Fatalf("Compact of serial %d over %d: %v, want a ConflictError", snapshot.Serial, stored, err)
		}
		if conflict.Stored != stored || conflict.Written != snapshot.Serial {
			t.Errorf("got %+v, want stored %d, written %d", conflict, stored, snapshot.Serial)
		}
	}
	refused(Snapshot(0), 0)
	compactTo(t, s, Snapshot(2)) // a state from elsewhere
	other := Snapshot(2)
	other.Resources[App].Attributes = json.RawMessage(`{"n":"other"}`)
	appendTo(t, s, Object(1, App, `{"kept":true}`))
	for _, snapshot := range []*state.Snapshot{Snapshot(1), other, {}} {
		refused(snapshot, 2)
	}
	want := Snapshot(2)
	want.Resources[App].Attributes = json.RawMessage(`{"kept":true,"n":2}`)
	loadable(t, open, &state.Loaded{Snapshot: want, Records: 1})
}

// behind is two clients without respect for the lock: the one that doesn't know what the other wrote writes nothing.
func behind(t *testing.T, open func() state.Store) {
	ahead, late := open(), open()
	if ahead == late {
		return // this store has one client only
	}
	load := func(s state.Store) {
		t.Helper()
		if _, err := s.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what string, err error) {
		t.Helper()
		var conflict *state.ConflictError
		if !errors.As(err, &conflict) {
			t.Fatalf("%s: %v, want a ConflictError", what, err)
		}
	}
	note := state.Record{Type: state.NoteRec, Key: "late", Data: json.RawMessage(`1`)}
	load(late)
	appendTo(t, ahead, Object(1, App, `{"n":1}`))
	refused("append after another's append", late.Append(t.Context(), note))
	refused("compact after another's append", late.Compact(t.Context(), Snapshot(1), nil))
	load(late)
	compactTo(t, ahead, Snapshot(1))
	refused("append after another's compact", late.Append(t.Context(), note))
	refused("compact after another's compact", late.Compact(t.Context(), Snapshot(2), nil))
	load(late)
	appendTo(t, late, Object(1, App, `{"n":2}`))
	refused("append of the one that was ahead", ahead.Append(t.Context(), note))
	compactTo(t, late, Snapshot(2))
	refused("compact of the one that was ahead", ahead.Compact(t.Context(), Snapshot(3), nil))
	loadable(t, open, &state.Loaded{Snapshot: Snapshot(2)})
}

func appendAfterCompact(t *testing.T, open func() state.Store) {
	s := open()
	lockStore(t, s)
	for serial := uint64(1); serial < 4; serial++ {
		appendTo(t, s, Object(1, App, fmt.Sprintf(`{"n":%d}`, serial)))
		loadable(t, open, &state.Loaded{Records: 1, Snapshot: func() *state.Snapshot {
			if serial == 1 {
				return &state.Snapshot{Resources: Snapshot(1).Resources}
			}
			folded := Snapshot(serial)
			folded.Serial--
			return folded
		}()})
		compactTo(t, s, Snapshot(serial))
		loadable(t, open, &state.Loaded{Snapshot: Snapshot(serial)})
	}
	appendTo(t, s, state.Record{Type: state.Forget, Action: 2, Addr: &App})
	gone := Snapshot(3)
	gone.Resources = nil
	loadable(t, open, &state.Loaded{Snapshot: gone, Records: 1})
}

func notesOnly(t *testing.T, open func() state.Store) {
	s := open()
	lockStore(t, s)
	note := state.Note{Key: "k", Data: json.RawMessage(`1`)}
	compactTo(t, s, &state.Snapshot{}, note)
	loadable(t, open, &state.Loaded{Snapshot: &state.Snapshot{}, Pending: []state.Note{note}})
	compactTo(t, s, Snapshot(1), note)
	loadable(t, open, &state.Loaded{Snapshot: Snapshot(1), Pending: []state.Note{note}})
}

func exact(t *testing.T, open func() state.Store) {
	s := open()
	lockStore(t, s)
	value := `{"big":123456789012345678901234567890,"html":"<&>","line":"a\nb\u2028","nul":"\u0000","small":0.10}`
	data := json.RawMessage(`"` + strings.Repeat("0123456789abcdef", 1<<13) + `"`) // 128 KiB: longer than any line buffer
	appendTo(t, s, Object(1, Order, value), state.Record{Type: state.NoteRec, Key: "ключ\n", Data: data})
	want := &state.Snapshot{Resources: map[addr.Instance]*state.Object{Order: {Provider: "iexec", Attributes: json.RawMessage(value)}}}
	loaded := loadable(t, open, &state.Loaded{Snapshot: want, Pending: []state.Note{{Key: "ключ\n", Data: data}}, Records: 1})
	loaded.Snapshot.Serial = 1
	compactTo(t, s, loaded.Snapshot, loaded.Pending...)
	loadable(t, open, &state.Loaded{Snapshot: loaded.Snapshot, Pending: loaded.Pending})
}

func concurrent(t *testing.T, open func() state.Store) {
	s := open()
	lockStore(t, s)
	var wg sync.WaitGroup
	want := map[string]bool{}
	for i := range 8 {
		for k := range 5 {
			want[fmt.Sprintf("%d/%d", i, k)] = true
		}
		wg.Go(func() {
			for k := range 5 {
				if err := s.Append(context.WithoutCancel(t.Context()), state.Record{Type: state.NoteRec, Key: fmt.Sprintf("%d/%d", i, k), Data: json.RawMessage(`1`)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	loaded, err := open().Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, n := range loaded.Pending {
		got[n.Key] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("notes -want +got:\n%s", diff)
	}
}

func lock(t *testing.T, open func() state.Store) {
	first, second := open(), open()
	holder := state.Holder{ID: "1", Operation: "apply", Who: "me@here", Created: "2024-01-02T03:04:05Z"}
	unlock, err := first.Lock(t.Context(), holder)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]state.Store{"another client": second, "the same client": first} {
		_, err := s.Lock(t.Context(), state.Holder{ID: "2", Operation: "plan"})
		var locked *state.LockedError
		if !errors.As(err, &locked) {
			t.Fatalf("Lock by %s: %v, want a LockedError", name, err)
		}
		if locked.Holder != nil { // nil where the system can't tell
			if diff := cmp.Diff(holder, *locked.Holder); diff != "" {
				t.Errorf("holder -want +got:\n%s", diff)
			}
		}
	}
	if _, err := second.Load(t.Context()); err != nil {
		t.Errorf("Load without the lock: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	unlock, err = second.Lock(t.Context(), state.Holder{ID: "2"})
	if err != nil {
		t.Fatalf("Lock after unlock: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}

// large is a journal of many appends and a long one.
func large(t *testing.T, open func() state.Store) {
	s := open()
	lockStore(t, s)
	data := json.RawMessage(`"` + strings.Repeat("0123456789abcdef", 1<<14) + `"`) // 256 KiB
	appendTo(t, s, state.Record{Type: state.NoteRec, Key: "long", Data: data})
	for i := range 50 {
		records := make([]state.Record, 20)
		for k := range records {
			records[k] = Object(1, App, fmt.Sprintf(`{"n":%d,"filler":%q}`, i*20+k, strings.Repeat("x", 100)))
		}
		appendTo(t, s, records...)
	}
	attributes := fmt.Sprintf(`{"filler":%q,"n":999}`, strings.Repeat("x", 100))
	want := &state.Loaded{Records: 1000, Pending: []state.Note{{Key: "long", Data: data}}, Snapshot: &state.Snapshot{
		Resources: map[addr.Instance]*state.Object{App: {Provider: "iexec", Attributes: json.RawMessage(attributes)}}}}
	loaded := loadable(t, open, want)
	loaded.Snapshot.Serial = 1
	compactTo(t, s, loaded.Snapshot, loaded.Pending...)
	loadable(t, open, &state.Loaded{Snapshot: loaded.Snapshot, Pending: loaded.Pending})
}

// broken: who broke the lock of another may write, and the other may not.
func broken(t *testing.T, open func() state.Store) {
	first, second := open(), open()
	breaker, able := second.(state.Unlocker)
	if !able {
		return // a lock that always ends with its holder
	}
	unlock, err := first.Lock(t.Context(), state.Holder{ID: "1", Operation: "apply", Who: "a"})
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, first, Object(1, App, `{"n":1}`))
	if err := breaker.ForceUnlock(t.Context(), "2"); err == nil || !strings.Contains(err.Error(), `"1"`) {
		t.Errorf("ForceUnlock with another id: %v", err)
	}
	if err := breaker.ForceUnlock(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	if h, err := second.(state.Inspector).Holder(t.Context()); err != nil || h != nil {
		t.Errorf("the broken lock is held by %+v: %v", h, err)
	}
	lost := func(what string, err error) {
		t.Helper()
		var lost *state.LostLockError
		if !errors.As(err, &lost) {
			t.Errorf("%s: %v, want a LostLockError", what, err)
		}
	}
	lost("append", first.Append(t.Context(), Object(1, App, `{"n":2}`)))
	lockStore(t, second)
	lost("append while another has the lock", first.Append(t.Context(), Object(1, App, `{"n":3}`)))
	lost("compact", first.Compact(t.Context(), Snapshot(1), nil))
	if _, err := second.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil { // must not unlock the other's
		t.Errorf("unlock of a lost lock: %v", err)
	}
	if h, err := first.(state.Inspector).Holder(t.Context()); err != nil || h == nil || h.ID != t.Name() {
		t.Errorf("the lock is held by %+v: %v", h, err)
	}
	compactTo(t, second, Snapshot(1))
	loadable(t, open, &state.Loaded{Snapshot: Snapshot(1)})
}

// turns: each of eight writers adds to a number under the lock. No addition is lost.
func turns(t *testing.T, open func() state.Store) {
	const writers, times = 8, 3
	var wg sync.WaitGroup
	for i := range writers {
		s := open()
		wg.Go(func() {
			for range times {
				if err := add(t.Context(), s, strconv.Itoa(i), true); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	counted(t, open, writers*times, 0)
}

// race: eight writers ignore the lock. What was acknowledged counts, and nothing else.
func race(t *testing.T, open func() state.Store) {
	stores := make([]state.Store, 8)
	for i := range stores {
		stores[i] = open()
	}
	if stores[0] == stores[1] {
		return // this store has one client only
	}
	var wg sync.WaitGroup
	var done, refused atomic.Int32
	for i, s := range stores {
		wg.Go(func() {
			for range 5 {
				err := add(t.Context(), s, strconv.Itoa(i), false)
				switch conflict := (*state.ConflictError)(nil); {
				case err == nil:
					done.Add(1)
				case errors.As(err, &conflict):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d done, %d refused", done.Load(), refused.Load())
	if done.Load() == 0 {
		t.Error("nobody could write")
	}
	counted(t, open, int(done.Load()), int(refused.Load()))
}

// add is a small run: it adds one to the number, first in the journal and then in the snapshot.
func add(ctx context.Context, s state.Store, id string, locked bool) error {
	if locked {
		unlock, err := lockWhenFree(ctx, s, state.Holder{ID: id, Operation: "add"})
		if err != nil {
			return err
		}
		defer func() { _ = unlock() }()
	}
	loaded, err := s.Load(ctx)
	if err != nil {
		return err
	}
	n := count(loaded) + 1
	if err := s.Append(ctx, Object(1, App, fmt.Sprintf(`{"n":%d}`, n))); err != nil {
		return err
	}
	next := Snapshot(loaded.Snapshot.Serial + 1)
	next.Resources[App].Attributes = json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))
	return s.Compact(ctx, next, nil)
}

// counted fails unless each run that was done counts, once. One that was refused in between may have left its record.
func counted(t *testing.T, open func() state.Store, done, refused int) {
	t.Helper()
	loaded, err := open().Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := count(loaded); loaded.Snapshot.Serial != uint64(done) || n < done || n > done+refused {
		t.Errorf("%d were done and %d refused, and the state counts %d with serial %d", done, refused, n, loaded.Snapshot.Serial)
	}
}
