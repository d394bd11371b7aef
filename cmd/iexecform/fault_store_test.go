package main

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/http/gitlabtest"
	"github.com/iexecform/iexecform/state/pg/pgtest"
)

// storeFaults are the scenarios of remote states, B-51 and B-52.
func storeFaults() []scenario {
	return []scenario{
		{number: 51, title: "the store can't be reached when the state is saved at the end", run: unreachableAtTheEnd},
		{number: 52, title: "paused on a slow transaction until the lock's time is over", run: pausedBeyondTheLock},
	}
}

// backend keeps the world's state in another place.
func (w *world) backend(block string, env ...string) {
	w.t.Helper()
	w.env = append(w.env, env...)
	if err := os.WriteFile(filepath.Join(w.dir, "backend.hcl"), []byte("iexecform {\n"+block+"\n}\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.run(0, "init")
}

// home takes the state back to a file, where the oracle looks.
func (w *world) home() {
	w.t.Helper()
	if err := os.Remove(filepath.Join(w.dir, "backend.hcl")); err != nil {
		w.t.Fatal(err)
	}
	w.run(0, "init", "--migrate-state")
}

func unreachableAtTheEnd(t *testing.T, g *ground) {
	server := gitlabtest.Start(t)
	var gone atomic.Bool
	server.Between = func(rw http.ResponseWriter, r *http.Request, gitlab http.Handler) {
		if gone.Load() && r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/shop") {
			panic(http.ErrAbortHandler)
		}
		gitlab.ServeHTTP(rw, r)
	}
	w := g.world(t)
	w.write(anApp + anOrder)
	w.backend(`  backend "http" {
    lock_method   = "POST"
    unlock_method = "DELETE"
    username      = "`+gitlabtest.User+`"
  }`, "IEXECFORM_BACKEND_ADDRESS="+server.Address("shop"), "IEXECFORM_BACKEND_LOCK_ADDRESS="+server.Address("shop")+"/lock",
		"IEXECFORM_BACKEND_UNLOCK_ADDRESS="+server.Address("shop")+"/lock", "IEXECFORM_BACKEND_PASSWORD="+gitlabtest.Password)
	gone.Store(true)
	w.fail().tells("Save the state", "errored.state.json", "iexecform state push errored.state.json")
	kept, err := state.Decode(w.file(erroredFile))
	if err != nil || len(kept.Resources) != 2 {
		t.Fatalf("%s: %v\n%s", erroredFile, err, w.file(erroredFile))
	}
	gone.Store(false)
	sent := w.sent()
	w.apply() // the journal has it all
	if n := w.sent() - sent; n != 0 {
		t.Errorf("%d more transactions were sent", n)
	}
	w.run(0, "plan", "--detailed-exitcode")
	w.run(1, "state", "push", erroredFile).tells("push with --force") // the journal has become a state already
	w.home()
	w.check(1)
}

func pausedBeyondTheLock(t *testing.T, g *ground) {
	c, err := pgx.ParseConfig(pgtest.Start(t).Database(t))
	if err != nil {
		t.Fatal(err)
	}
	w := g.world(t)
	w.write(anApp + anOrder)
	w.backend("  backend \"pg\" {\n    lock_ttl = \"1s\"\n  }", "PGHOST="+c.Host, "PGUSER="+c.User, "PGDATABASE="+c.Database)
	stopped := make(chan struct{})
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Times: 1, Fault: faultproxy.After(func() {
		w.signal(syscall.SIGSTOP)
		close(stopped)
	})})
	paused := w.begin(nil, "apply", "--auto-approve")
	<-stopped
	w.run(0, "plan", "--lock-timeout=1m") // another run has the lock, and lets go of it
	posted := w.market.Count("POST /apporders")
	if err := paused.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	r := paused.wait().tells("the lock of the state is lost")
	if r.code != 1 {
		t.Errorf("exit code %d\n%s", r.code, r.text)
	}
	if n := w.market.Count("POST /apporders") - posted; n != 0 || posted != 0 {
		t.Errorf("orders were published %d times by a run that had lost its lock", n+posted)
	}
	if w.file(erroredFile) != nil {
		t.Errorf("a run that was overtaken left %s", erroredFile)
	}
	if slices.Contains(strings.Fields(r.text), "complete!") {
		t.Errorf("it says that it is complete:\n%s", r.text)
	}
	w.apply()
	w.home()
	w.check(1)
}
