package state_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/state"
)

// All moves happen at once: a chain of them ends where each one says, and what depends on moved objects follows them.
func TestMoveObjects(t *testing.T) {
	a, b, c, d := instance(t, "iexec_app.a"), instance(t, "iexec_app.b"), instance(t, "iexec_app.c"), instance(t, "iexec_apporder.d")
	base := &state.Snapshot{Version: 1, Lineage: "l", Serial: 3, Resources: map[addr.Instance]*state.Object{
		a: {Provider: "iexec", Attributes: raw(`{"name":"a"}`)},
		b: {Provider: "iexec", Attributes: raw(`{"name":"b"}`)},
		d: {Provider: "iexec", Attributes: raw(`{"name":"d"}`), Dependencies: []addr.Instance{a, b}},
	}}
	before := encode(t, base)
	moves := []state.Moved{{From: a, To: b}, {From: b, To: c}}
	loaded, err := state.Fold(base, []state.Record{{Type: state.Begin}, {Type: state.Move, Moves: moves}})
	if err != nil {
		t.Fatal(err)
	}
	want := &state.Snapshot{Version: 1, Lineage: "l", Serial: 3, Resources: map[addr.Instance]*state.Object{
		b: {Provider: "iexec", Attributes: raw(`{"name":"a"}`)},
		c: {Provider: "iexec", Attributes: raw(`{"name":"b"}`)},
		d: {Provider: "iexec", Attributes: raw(`{"name":"d"}`), Dependencies: []addr.Instance{b, c}},
	}, Networks: loaded.Snapshot.Networks}
	if diff := cmp.Diff(string(encode(t, want)), string(encode(t, loaded.Snapshot))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(string(before), string(encode(t, base))); diff != "" {
		t.Errorf("the snapshot that was moved from was changed:\n%s", diff)
	}
	for text, moves := range map[string][]state.Moved{
		"has no iexec_app.c":                        {{From: c, To: a}},
		"has iexec_app.b already":                   {{From: a, To: b}},
		"two objects can't both become iexec_app.c": {{From: a, To: c}, {From: b, To: c}},
	} {
		if _, err := state.MoveObjects(base, moves); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: got error %v, want %q", moves, err, text)
		}
	}
}
