package view_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
)

// An action that takes long is heard of every ten seconds, with what it waits for, until it ends.
func TestStillWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := human(&out, &out).NewProgress(2)
		deploy := &providers.Action{ID: 1, Kind: "deploy", Addr: instance(t, "demo_thing.a")}
		sign := &providers.Action{ID: 2, Kind: "sign", Addr: instance(t, "demo_thing.b")}
		p.Event(apply.Event{Type: apply.Started, Action: deploy})
		p.Event(apply.Event{Type: apply.Started, Action: sign})
		time.Sleep(5 * time.Second)
		p.Event(apply.Event{Type: apply.Progress, Action: deploy, Progress: &providers.Progress{
			Type: "tx_sent", Message: "tx 0xab nonce 3 sent", Fields: map[string]string{"hash": "0xab"},
		}})
		p.Event(apply.Event{Type: apply.Succeeded, Action: sign, Elapsed: 5 * time.Second})
		time.Sleep(16 * time.Second)
		p.Event(apply.Event{Type: apply.Failed, Action: deploy, Elapsed: 21 * time.Second, Err: errors.New("it reverted\nat length")})
		p.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		const want = `demo_thing.a: deploying…
demo_thing.b: signing…
demo_thing.a: tx 0xab nonce 3 sent
demo_thing.b: sign complete after 5s
demo_thing.a: still waiting for tx 0xab [10s]
demo_thing.a: still waiting for tx 0xab [20s]
demo_thing.a: deploy failed after 21s: it reverted
`
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("progress (-want +got):\n%s", diff)
		}
	})
}

// With many actions a terminal shows a bar and what goes wrong, a file every action.
func TestManyActions(t *testing.T) {
	const actions = 50
	for _, terminal := range []bool{true, false} {
		var out bytes.Buffer
		h := human(&out, &out)
		h.ErrTerminal = terminal
		p := h.NewProgress(actions)
		for i := range actions {
			a := &providers.Action{ID: i + 1, Kind: "deploy", Addr: instance(t, "demo_thing.a")}
			p.Event(apply.Event{Type: apply.Started, Action: a})
			if i == 7 {
				p.Event(apply.Event{Type: apply.Failed, Action: a, Err: errors.New("it reverted")})
			} else {
				p.Event(apply.Event{Type: apply.Succeeded, Action: a})
			}
		}
		p.Close()
		if !strings.Contains(out.String(), "it reverted") {
			t.Errorf("terminal %v: the failure is not shown:\n%s", terminal, out.String())
		}
		if got := strings.Contains(out.String(), "50 of 50 actions"); got != terminal {
			t.Errorf("terminal %v: a bar was shown: %v\n%s", terminal, got, out.String())
		}
		if got := strings.Count(out.String(), "deploy complete"); (got > 0) == terminal {
			t.Errorf("terminal %v: %d lines of actions", terminal, got)
		}
	}
}

// outcome is a plan of which one action failed, one is held and one was skipped.
func outcome(t testing.TB) *view.Outcome {
	p := everyKind(t)
	p.Actions = append(p.Actions, providers.Action{ID: 4, Kind: "make", Addr: instance(t, "demo_thing.updated")},
		providers.Action{ID: 5, Kind: "make", Addr: instance(t, `demo_thing.many["k"]`)})
	return &view.Outcome{
		Plan: p,
		Done: []*providers.Action{&p.Actions[0], &p.Actions[1], &p.Actions[2]},
		Result: &apply.Result{Done: 3, Failed: 1, Held: 1, Skipped: 1, Errors: []apply.ActionError{
			{Action: &p.Actions[3], Err: errors.New("it reverted")},
			{Action: &p.Actions[4], Err: &providers.HeldError{Reason: "no funds", Unblock: "send 1 ETH"}},
		}},
		Links: []view.Link{{Addr: instance(t, "demo_thing.created"), URL: "https://example.org/c"}},
	}
}

func TestIncompleteOutcome(t *testing.T) {
	var out, problems bytes.Buffer
	if err := human(&out, &problems).Outcome(outcome(t)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Apply incomplete. Resources: 1 added, 0 changed, 0 replaced",
		"Actions: 3 done — 1 transaction, 1 signature, 2 requests.",
		"Not done: 1 failed, 1 held, 1 skipped.",
		"re-run `iexecform apply` to go on",
		"demo_thing.created  https://example.org/c",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	for _, want := range []string{"Error: demo_thing.updated: make failed", "It reverted", `Warning: demo_thing.many["k"]: make is held`, "send 1 ETH"} {
		if !strings.Contains(problems.String(), want) {
			t.Errorf("no %q in:\n%s", want, problems.String())
		}
	}
}

// Every line of an apply in JSON has the envelope, and nothing of it is secret.
func TestJSONLines(t *testing.T) {
	var out bytes.Buffer
	now := time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)
	l := view.NewLines(&out, "1.2.3", func() time.Time { return now })
	o := outcome(t)
	if err := l.Plan(o.Plan, true); err != nil {
		t.Fatal(err)
	}
	a := &o.Plan.Actions[0]
	l.Event(apply.Event{Type: apply.Resuming, Progress: &providers.Progress{Type: "tx_resumed", Message: "tx 0xab is awaited", Fields: map[string]string{"hash": "0xab"}}})
	l.Event(apply.Event{Type: apply.Started, Action: a})
	l.Event(apply.Event{Type: apply.Progress, Action: a, Progress: &providers.Progress{Type: "tx_sent", Message: "tx 0xab sent", Fields: map[string]string{"hash": "0xab"}}})
	l.Event(apply.Event{Type: apply.Progress, Action: a, Progress: &providers.Progress{Type: "order_signed", Fields: map[string]string{"order_hash": "0xcd"}}})
	l.Event(apply.Event{Type: apply.Progress, Action: a, Progress: &providers.Progress{Type: "pulled", Message: "image pulled"}})
	l.Event(apply.Event{Type: apply.Succeeded, Action: a, Elapsed: 1500 * time.Millisecond})
	l.Event(apply.Event{Type: apply.Held, Action: a, Err: &providers.HeldError{Reason: "no funds", Unblock: "send some"}})
	l.Event(apply.Event{Type: apply.Failed, Action: a, Err: errors.New("it reverted")})
	l.Event(apply.Event{Type: apply.Skipped, Action: a})
	if err := l.Outcome(o); err != nil {
		t.Fatal(err)
	}
	var types []string
	for line := range strings.Lines(out.String()) {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if got["@module"] != "iexecform.ui" || got["@timestamp"] != "2026-01-02T03:04:05.678900Z" || got["@level"] == nil || got["@message"] == "" {
			t.Errorf("envelope of %s", line)
		}
		types = append(types, got["type"].(string))
	}
	want := strings.Fields("version planned_change planned_change planned_change planned_change planned_change planned_change " +
		"notice notice notice change_summary outputs tx_resumed apply_start tx_sent order_signed apply_progress apply_complete hold apply_errored apply_skipped " +
		"diagnostic diagnostic change_summary outputs")
	if diff := cmp.Diff(want, types); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Error("a sensitive value is in the lines")
	}
}

func TestLinesKeepTheFirstError(t *testing.T) {
	l := view.NewLines(brokenPipe{}, "1.2.3", time.Now)
	if err := l.Plan(&plan.Plan{}, false); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want the error of the writer", err)
	}
}

var errBroken = errors.New("broken pipe")

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errBroken }

// Machines hear of an action that takes long, too, until it ends.
func TestLinesOfLongActions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := view.NewLines(&out, "1.2.3", time.Now)
		a := &providers.Action{ID: 1, Kind: "deploy", Addr: instance(t, "demo_thing.a")}
		l.Event(apply.Event{Type: apply.Started, Action: a})
		time.Sleep(25 * time.Second)
		l.Event(apply.Event{Type: apply.Succeeded, Action: a, Elapsed: 25 * time.Second})
		time.Sleep(time.Minute)
		l.Event(apply.Event{Type: apply.Started, Action: a})
		l.Close()
		time.Sleep(time.Minute)
		var heard []string
		for line := range strings.Lines(out.String()) {
			var got struct {
				Type string
				Hook struct {
					Elapsed float64 `json:"elapsed_seconds"`
				}
			}
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			heard = append(heard, fmt.Sprint(got.Type, " ", got.Hook.Elapsed))
		}
		want := []string{"version 0", "apply_start 0", "apply_progress 10", "apply_progress 20", "apply_complete 25", "apply_start 0"}
		if diff := cmp.Diff(want, heard); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
	})
}
