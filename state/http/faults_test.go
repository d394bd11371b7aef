package http_test

import (
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/http/gitlabtest"
	"github.com/iexecform/iexecform/state/statetest"
)

// note is a record as long as many of a real journal.
func note(n int) state.Record {
	return state.Record{Type: state.NoteRec, Key: fmt.Sprintf("note-%d", n), Data: json.RawMessage(`"` + strings.Repeat("x", 3000) + `"`)}
}

// A server that loses answers and is at fault now and then: each write is done once. The journal goes over several parts.
func TestFaults(t *testing.T) {
	server := gitlabtest.Start(t)
	var n, lost atomic.Int32
	server.Between = func(w nethttp.ResponseWriter, r *nethttp.Request, gitlab nethttp.Handler) {
		switch k := n.Add(1); {
		case k%7 == 3:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(nethttp.StatusServiceUnavailable)
		case k%7 == 5 && !strings.HasSuffix(r.URL.Path, "/lock"):
			lost.Add(1)
			statetest.LoseAnswer(w, r, gitlab)
		default:
			gitlab.ServeHTTP(w, r)
		}
	}
	store := open(t, options(server.Address("shop"))).Store("default")
	unlock, err := store.Lock(t.Context(), state.Holder{ID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	for serial := range uint64(2) {
		for i := range 40 {
			if err := store.Append(t.Context(), note(i)); err != nil {
				t.Fatal(err)
			}
		}
		loaded, err := open(t, options(server.Address("shop"))).Store("default").Load(t.Context())
		if err != nil || len(loaded.Pending) != 40 {
			t.Fatalf("%d notes: %v", len(loaded.Pending), err)
		}
		if err := store.Compact(t.Context(), statetest.Snapshot(serial+1), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	documents := server.Documents()
	if documents["shop-journal-3"] == "" {
		t.Error("the journal never had three parts")
	}
	if strings.Contains(documents["shop-journal-1"], "xxx") {
		t.Error("the settled notes are still in the journal")
	}
	if lost.Load() < 5 {
		t.Errorf("only %d answers were lost", lost.Load())
	}
}

// A holder is stopped right before a document is written, of the snapshot or of the journal.
func TestLateWrite(t *testing.T) {
	for _, name := range []string{"shop", "shop-journal-1"} {
		server := gitlabtest.Start(t)
		o := options(server.Address("shop"))
		write := func(r *nethttp.Request) bool {
			return r.Method == nethttp.MethodPost && strings.HasSuffix(r.URL.Path, "/"+name)
		}
		statetest.LateWrite(t, func() state.Store { return open(t, o).Store("default") }, 0, write, func(b statetest.Between) { server.Between = b })
	}
}

func TestWorkspaces(t *testing.T) {
	server := gitlabtest.Start(t)
	b := open(t, options(server.Address("shop-{workspace}")))
	if has, err := b.Has(t.Context(), "staging"); err != nil || has {
		t.Errorf("has %v: %v", has, err)
	}
	if err := b.Create(t.Context(), "staging"); err != nil {
		t.Fatal(err)
	}
	if has, err := b.Has(t.Context(), "staging"); err != nil || !has {
		t.Errorf("has %v: %v", has, err)
	}
	store := b.Store("staging")
	unlock, err := store.Lock(t.Context(), state.Holder{ID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Compact(t.Context(), statetest.Snapshot(1), nil); err != nil {
		t.Fatal(err)
	}
	if server.Documents()["shop-staging"] == "" {
		t.Error("the state isn't where its workspace's is")
	}
	if err := b.Delete(t.Context(), "staging"); err != nil {
		t.Fatal(err)
	}
	_ = unlock() // there is nothing to unlock any more
	if left := server.Documents(); len(left) != 0 {
		t.Errorf("%d documents are left", len(left))
	}
	if err := open(t, options(server.Address("shop"))).Create(t.Context(), "staging"); err == nil || !strings.Contains(err.Error(), "{workspace}") {
		t.Errorf("error %v", err)
	}
}

// What is wrong is said with what to do, and never with a password or what is behind a question mark.
func TestErrors(t *testing.T) {
	server := gitlabtest.Start(t)
	elsewhere := httptest.NewServer(nethttp.RedirectHandler("https://example.com/x?token=hidden", nethttp.StatusFound))
	t.Cleanup(elsewhere.Close)
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, c := range map[string]struct {
		address, lock, password, want string
	}{
		"password":    {address: server.Address("shop"), lock: server.Address("shop") + "/lock", password: "hidden", want: "IEXECFORM_BACKEND_PASSWORD"},
		"no locks":    {address: server.Address("shop"), lock: server.URL + "/nowhere", password: gitlabtest.Password, want: "lock_address"},
		"redirect":    {address: elsewhere.URL, lock: elsewhere.URL, want: "redirects to example.com"},
		"nobody":      {address: gone.URL + "/x?token=hidden", lock: gone.URL + "/x?token=hidden", want: "refused"},
		"other pages": {address: server.Address("shop"), lock: server.Address("shop") + "/lock", password: gitlabtest.Password, want: "version"},
	} {
		o := options(c.address)
		o.LockAddress, o.Password, o.Patience = c.lock, c.password, 1
		if name == "other pages" {
			server.Between = func(w nethttp.ResponseWriter, r *nethttp.Request, gitlab nethttp.Handler) {
				if r.Method == nethttp.MethodGet && strings.HasSuffix(r.URL.Path, "/shop") {
					_, _ = w.Write([]byte("{}"))
					return
				}
				gitlab.ServeHTTP(w, r)
			}
		}
		store := open(t, o).Store("default")
		_, err := store.Lock(t.Context(), state.Holder{ID: "1"})
		if err == nil {
			_, err = store.Load(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		server.Between = nil
	}
}
