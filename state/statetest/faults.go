package statetest

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/iexecform/iexecform/state"
)

// Between handles a request in a server's place. It may pass it on.
type Between func(w http.ResponseWriter, r *http.Request, server http.Handler)

// LoseAnswer passes a request on, and nobody hears of the answer.
func LoseAnswer(_ http.ResponseWriter, r *http.Request, server http.Handler) {
	server.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// LateWrite has a holder stopped right before it writes the snapshot that follows one with the serial before, 0 for none. Its
// lock is broken, another takes over and writes; then the request arrives, and counts for nothing. write tells which request it is;
// between is called first, with what stops it.
func LateWrite(t *testing.T, open func() state.Store, before uint64, write func(*http.Request) bool, between func(Between)) {
	t.Helper()
	paused, resume := make(chan struct{}), make(chan struct{})
	var stop atomic.Bool // the next one
	between(func(w http.ResponseWriter, r *http.Request, server http.Handler) {
		if write(r) && stop.CompareAndSwap(true, false) {
			close(paused)
			<-resume
		}
		server.ServeHTTP(w, r)
	})
	late, next := open(), open()
	if _, err := late.Lock(t.Context(), state.Holder{ID: "1"}); err != nil {
		t.Fatal(err)
	}
	if err := late.Append(t.Context(), Object(1, App, `{"n":1}`)); err != nil {
		t.Fatal(err)
	}
	stop.Store(true)
	done := make(chan error, 1)
	go func() { done <- late.Compact(t.Context(), Snapshot(before+1), nil) }()
	<-paused
	if err := next.(state.Unlocker).ForceUnlock(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	unlock, err := next.Lock(t.Context(), state.Holder{ID: "2"})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := next.Load(t.Context())
	if err != nil || loaded.Snapshot.Serial != before || loaded.Records != 1 {
		t.Fatalf("loaded %+v: %v", loaded, err)
	}
	if err := next.Append(t.Context(), Object(1, App, `{"n":2}`)); err != nil {
		t.Fatal(err)
	}
	close(resume)
	var lost *state.LostLockError
	if err := <-done; !errors.As(err, &lost) {
		t.Errorf("the late compact: %v, want a LostLockError", err)
	}
	s := Snapshot(before + 1)
	s.Resources[App].Attributes = json.RawMessage(`{"n":2}`)
	if err := errors.Join(next.Compact(t.Context(), s, nil), unlock()); err != nil {
		t.Errorf("the other's compact: %v", err)
	}
}
