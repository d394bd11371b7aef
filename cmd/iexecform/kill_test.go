package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
	"github.com/iexecform/iexecform/state"
)

// dying is the program with a store that kills the process (SIGKILL) at its n-th write, before or after it, as
// DIE_AT and DIE_WHEN say. Every effect of an apply lies between two writes. With DIE_WHEN=compact it dies when it is to write
// a new snapshot, and with full there is no room for one.
func dying() {
	n, err := strconv.Atoi(os.Getenv("DIE_AT"))
	if err != nil {
		panic(err)
	}
	when := os.Getenv("DIE_WHEN")
	a := newApp(builtins, os.Stdin, os.Stdout, os.Stderr, takeEnvironment())
	a.wrapStore = func(s state.Store) state.Store {
		return &mortal{Store: s, left: n, when: when}
	}
	os.Exit(a.run(os.Args[1:]))
}

type mortal struct {
	state.Store
	left int
	when string
}

func (m *mortal) write(f func() error) error {
	if m.when == "compact" {
		return f()
	}
	m.left--
	if m.left == 0 && m.when == "before" {
		die()
	}
	err := f()
	if m.left == 0 {
		die()
	}
	return err
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

func (m *mortal) Append(ctx context.Context, records ...state.Record) error {
	return m.write(func() error { return m.Store.Append(ctx, records...) })
}

func (m *mortal) Compact(ctx context.Context, s *state.Snapshot, pending []state.Note) error {
	switch m.when {
	case "full":
		return syscall.ENOSPC
	case "compact":
		die()
	}
	return m.write(func() error { return m.Store.Compact(ctx, s, pending) })
}

// TestKilled kills an apply at every write of its journal and state, and at every request that changes something, before and
// after it; then a plan and an apply must satisfy the oracle.
func TestKilled(t *testing.T) {
	g := newGround(t)
	cheap, dear := anApp+anOrder, anApp+strings.Replace(anOrder, "0.5 RLC", "0.7 RLC", 1)
	for _, test := range []struct {
		name         string
		prepare      func(w *world)
		transactions int
	}{
		{"create", func(w *world) { w.write(cheap) }, 1},
		{"price", func(w *world) {
			w.write(cheap)
			w.apply()
			w.write(dear)
		}, 2},
	} {
		// each dies at the points one after the other until an apply comes through alive.
		each := func(point string, arm func(w *world, at int) (env []string)) {
			t.Run(test.name+", "+point, func(t *testing.T) {
				t.Parallel()
				for at := 1; ; at++ {
					w := g.world(t)
					test.prepare(w)
					r := w.begin(arm(w, at), "apply", "--auto-approve").wait()
					w.calm()
					if r.killed {
						w.plan()
						w.apply()
					} else if r.code != 0 {
						t.Fatalf("point %d: exit code %d\n%s", at, r.code, r.text)
					}
					if w.check(test.transactions); t.Failed() {
						t.Fatalf("after dying at point %d:\n%s", at, r.text)
					}
					if !r.killed {
						if at < 2 {
							t.Error("it never died")
						}
						return
					}
				}
			})
		}
		for _, when := range []string{"before", "after"} {
			each("writes, "+when, func(_ *world, at int) []string { return []string{"DIE_AT=" + strconv.Itoa(at), "DIE_WHEN=" + when} })
			fault := faultproxy.Drop
			if when == "after" {
				fault = faultproxy.Cut
			}
			each("requests, "+when, func(w *world, at int) []string {
				die := func(match string) faultproxy.Rule {
					return faultproxy.Rule{Match: match, Skip: at - 1, Times: 1, Fault: fault(w.kill)}
				}
				w.rpc.Set(die("eth_sendRawTransaction"))
				w.market.Set(die("POST "), die("PUT "))
				return nil
			})
		}
	}
}
