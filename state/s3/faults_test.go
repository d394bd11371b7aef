package s3_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/s3/s3test"
	"github.com/iexecform/iexecform/state/statetest"
)

// A write whose answer is lost is made again, and was done once.
func TestLostAnswers(t *testing.T) {
	s3test.Credentials(t)
	server := s3test.Start(t)
	var n, lost atomic.Int32
	server.Between = func(w http.ResponseWriter, r *http.Request, s3 http.Handler) {
		if r.Method == http.MethodPut && n.Add(1)%2 == 0 {
			lost.Add(1)
			statetest.LoseAnswer(w, r, s3)
		}
		s3.ServeHTTP(w, r)
	}
	o := options(server.URL, server.Bucket(t))
	o.TTL = time.Minute
	store := open(t, o).Store("default")
	unlock, err := store.Lock(t.Context(), state.Holder{ID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		record := state.Record{Type: state.NoteRec, Key: string(rune('a' + i)), Data: json.RawMessage("1")}
		if err := store.Append(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := open(t, o).Store("default").Load(t.Context())
	if err != nil || len(loaded.Pending) != 3 {
		t.Fatalf("%d notes: %v", len(loaded.Pending), err)
	}
	if err := errors.Join(store.Compact(t.Context(), statetest.Snapshot(1), nil), unlock()); err != nil {
		t.Fatal(err)
	}
	if lost.Load() < 3 {
		t.Errorf("only %d answers were lost", lost.Load())
	}
}

// A holder is stopped right before it replaces the snapshot.
func TestLateReplace(t *testing.T) {
	s3test.Credentials(t)
	for _, before := range []uint64{0, 1} { // without a snapshot, and with one
		server := s3test.Start(t)
		o := options(server.URL, server.Bucket(t))
		o.TTL = time.Minute
		if before == 1 {
			if err := open(t, o).Store("default").Compact(t.Context(), statetest.Snapshot(1), nil); err != nil {
				t.Fatal(err)
			}
		}
		write := func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "state.json")
		}
		statetest.LateWrite(t, func() state.Store { return open(t, o).Store("default") }, before, write, func(b statetest.Between) { server.Between = b })
	}
}

// An append of one who is behind, that arrives when the pieces before it are gone, counts for nothing.
func TestLateAppend(t *testing.T) {
	s3test.Credentials(t)
	server := s3test.Start(t)
	o := options(server.URL, server.Bucket(t))
	late, next := open(t, o).Store("default"), open(t, o).Store("default")
	note := func(key string) state.Record {
		return state.Record{Type: state.NoteRec, Key: key, Data: json.RawMessage("1")}
	}
	for _, s := range []state.Store{late, next} {
		if _, err := s.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(next.Append(t.Context(), note("kept")),
		next.Compact(t.Context(), statetest.Snapshot(1), []state.Note{{Key: "kept", Data: json.RawMessage("1")}})); err != nil {
		t.Fatal(err)
	}
	var conflict *state.ConflictError
	if err := late.Append(t.Context(), note("late")); !errors.As(err, &conflict) {
		t.Errorf("late append: %v, want a ConflictError", err)
	}
	loaded, err := open(t, o).Store("default").Load(t.Context())
	if err != nil || len(loaded.Pending) != 1 || loaded.Pending[0].Key != "kept" {
		t.Errorf("notes %v: %v", loaded.Pending, err)
	}
}

// What is left of many runs is the snapshot, one piece and the lock.
func TestObjects(t *testing.T) {
	s3test.Credentials(t)
	server := s3test.Start(t)
	o := options(server.URL, server.Bucket(t))
	b := open(t, o)
	store := b.Store("default")
	for n := range uint64(4) {
		unlock, err := store.Lock(t.Context(), state.Holder{ID: "1"})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := store.Append(t.Context(), statetest.Object(1, statetest.App, `{"n":1}`)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(store.Compact(t.Context(), statetest.Snapshot(n+1), nil), unlock()); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"shop/state.json", "shop/state.json.journal/00000000000000000004-0000000000", "shop/state.json.lock"}
	if got := server.Objects(t, o.Bucket); !slices.Equal(got, want) {
		t.Errorf("objects %q", got)
	}
	if err := b.Create(t.Context(), "staging"); err != nil {
		t.Fatal(err)
	}
	if err := b.Store("staging").Compact(t.Context(), statetest.Snapshot(1), nil); err != nil {
		t.Fatal(err)
	}
	if names, err := b.Workspaces(t.Context()); err != nil || !slices.Equal(names, []string{"default", "staging"}) {
		t.Errorf("workspaces %q: %v", names, err)
	}
	if err := b.Delete(t.Context(), "staging"); err != nil {
		t.Fatal(err)
	}
	if has, err := b.Has(t.Context(), "staging"); err != nil || has {
		t.Errorf("it is still there: %v", err)
	}
	if got := server.Objects(t, o.Bucket); !slices.Equal(got, want) {
		t.Errorf("objects %q", got)
	}
}

func TestErrors(t *testing.T) {
	s3test.Credentials(t)
	server := s3test.Start(t)
	_, err := open(t, options(server.URL, "nowhere")).Store("default").Load(t.Context())
	if err == nil || !strings.Contains(err.Error(), `there is no bucket "nowhere"`) {
		t.Errorf("error %v", err)
	}
	bucket := server.Bucket(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	_, err = open(t, options(server.URL, bucket)).Store("default").Load(t.Context())
	if err == nil || !strings.Contains(err.Error(), "refuses the credentials") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}
