package state_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/state"
)

func raw(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// The examples of RFC 7386, appendix A, and numbers that a float64 can't hold.
func TestMergePatch(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{``, `{"z":1,"a":{"y":2,"b":3}}`, `{"a":{"b":3,"y":2},"z":1}`},
		{`{"n":123456789012345678901234567890, "m": 1.50}`, `{"k":98765432109876543210}`, `{"k":98765432109876543210,"m":1.50,"n":123456789012345678901234567890}`},
		{`{"z":{"b":1,"a":"<&>"}}`, `{"a":1}`, `{"a":1,"z":{"a":"<&>","b":1}}`},
	} {
		got, err := state.MergePatch(raw(c[0]), raw(c[1]))
		if err != nil || string(got) != c[2] {
			t.Errorf("MergePatch(%s, %s) = %s, %v; want %s", c[0], c[1], got, err, c[2])
		}
	}
	for _, c := range [][2]string{{`{"a":`, `{}`}, {`{}`, `{"a"`}, {`{}`, ``}} {
		if got, err := state.MergePatch(raw(c[0]), raw(c[1])); err == nil {
			t.Errorf("MergePatch(%q, %q) = %s, want an error", c[0], c[1], got)
		}
	}
}

func TestFold(t *testing.T) {
	app, order := instance(t, "iexec_app.a"), instance(t, "iexec_apporder.o")
	base := &state.Snapshot{Version: 1, Lineage: "l", Serial: 3, Resources: map[addr.Instance]*state.Object{
		app: {Provider: "iexec", Attributes: raw(`{"name":"old","owner":"0x1"}`)},
	}}
	before := encode(t, base)
	loaded, err := state.Fold(base, []state.Record{
		{Type: state.NoteRec, Key: "tx/1", Data: raw(`1`)},
		{Type: state.NoteRec, Key: "tx/2", Data: raw(`2`)},
		{Type: state.Begin, Op: "apply", Network: &state.Network{Provider: "iexec", Facts: map[string]string{"chain_id": "1"}}},
		{Type: state.Pin, Network: &state.Network{Provider: "iexec.b", Facts: map[string]string{"chain_id": "2"}}},
		{Type: state.Intent, Action: 1, Kind: "deploy", Addr: &app},
		{Type: state.Intent, Action: 2, Kind: "sign", Addr: &order},
		{Type: state.NoteRec, Action: 1, Key: "tx/3", Data: raw(`3`)},
		{Type: state.NoteRec, Action: 1, Key: "tx/1"},
		{Type: state.Patch, Action: 1, Addr: &app, Object: &state.Object{Provider: "iexec", Attributes: raw(`{"early":true}`)}},
		{Type: state.Patch, Action: 4, Addr: &order, Object: &state.Object{Provider: "iexec", Attributes: raw(`{"volume":1}`)}},
		{Type: state.Done, Action: 1, Addr: &app, Object: &state.Object{Provider: "iexec.b", SchemaVersion: 2, Attributes: raw(`{"name":"new","tx":null}`), Protected: true}},
		{Type: state.Done, Action: 2, Addr: &order, Object: &state.Object{Provider: "iexec", Attributes: raw(`{"volume":18446744073709551617,"x":null}`),
			Dependencies: []addr.Instance{order, app}}},
		{Type: state.Intent, Action: 3, Kind: "publish", Addr: &order},
		{Type: state.Intent, Action: 4, Kind: "close", Addr: &order},
		{Type: state.Intent, Action: 5, Kind: "resolve"},
		{Type: state.Done, Action: 5},
		{Type: state.Failed, Action: 3, Error: "market down"},
		{Type: state.NoteRec, Key: "tx/2", Data: raw(`22`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &state.Loaded{
		Snapshot: &state.Snapshot{Version: 1, Lineage: "l", Serial: 3,
			Networks: map[string]map[string]string{"iexec": {"chain_id": "1"}, "iexec.b": {"chain_id": "2"}},
			Resources: map[addr.Instance]*state.Object{
				app:   {Provider: "iexec.b", SchemaVersion: 2, Attributes: raw(`{"early":true,"name":"new","owner":"0x1"}`), Protected: true},
				order: {Provider: "iexec", Attributes: raw(`{"volume":18446744073709551617}`), Dependencies: []addr.Instance{app, order}},
			}},
		Pending: []state.Note{{Key: "tx/2", Data: raw(`22`)}, {Key: "tx/3", Data: raw(`3`)}},
		Open:    []state.Record{{Type: state.Intent, Action: 4, Kind: "close", Addr: &order}},
		Records: 13,
	}
	if diff := cmp.Diff(want, loaded, cmpopts.EquateComparable(addr.Instance{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(string(before), string(encode(t, base))); diff != "" {
		t.Errorf("the folded snapshot was changed:\n%s", diff)
	}
}

// What was seen of a network is added to what is known of it, and forgotten again.
func TestFoldSeen(t *testing.T) {
	base := &state.Snapshot{Networks: map[string]map[string]string{"iexec": {"chain_id": "1", "block": "7"}}}
	seen := func(provider string, facts ...string) state.Record {
		r := state.Record{Type: state.Seen, Network: &state.Network{Provider: provider, Facts: map[string]string{}}}
		for i := 0; i < len(facts); i += 2 {
			r.Network.Facts[facts[i]] = facts[i+1]
		}
		return r
	}
	for name, c := range map[string]struct {
		records []state.Record
		want    map[string]map[string]string // nil: the base
	}{
		"added":     {[]state.Record{seen("iexec", "a", "1"), seen("iexec", "b", "2", "block", "8")}, map[string]map[string]string{"iexec": {"chain_id": "1", "block": "8", "a": "1", "b": "2"}}},
		"forgotten": {[]state.Record{seen("iexec", "a", "1", "block", ""), seen("iexec", "a", "")}, map[string]map[string]string{"iexec": {"chain_id": "1"}}},
		"another":   {[]state.Record{seen("iexec.b", "a", "1")}, map[string]map[string]string{"iexec": base.Networks["iexec"], "iexec.b": {"a": "1"}}},
		"replaced": {[]state.Record{seen("iexec", "a", "1"), {Type: state.Pin, Network: &state.Network{Provider: "iexec", Facts: map[string]string{"chain_id": "2"}}}, seen("iexec", "b", "2")},
			map[string]map[string]string{"iexec": {"chain_id": "2", "b": "2"}}},
		"nothing new": {[]state.Record{seen("iexec", "block", "7"), seen("iexec", "a", ""), seen("iexec.b")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			before := encode(t, base)
			loaded, err := state.Fold(base, c.records)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == nil && loaded.Snapshot != base {
				t.Error("the snapshot was changed")
			}
			if diff := cmp.Diff(c.want, loaded.Snapshot.Networks); c.want != nil && diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(string(before), string(encode(t, base))); diff != "" {
				t.Errorf("the folded snapshot was changed:\n%s", diff)
			}
		})
	}
	if _, err := state.Fold(base, []state.Record{{Type: state.Seen}}); err == nil {
		t.Error("a record without a network was taken")
	}
}

func TestFoldForgetsAndReopens(t *testing.T) {
	app := instance(t, "iexec_app.a")
	base := &state.Snapshot{Resources: map[addr.Instance]*state.Object{app: {Attributes: raw(`{"a":1}`)}}}
	forget := state.Record{Type: state.Forget, Action: 1, Addr: &app}
	create := state.Record{Type: state.Done, Action: 1, Addr: &app, Object: &state.Object{Attributes: raw(`{"b":2}`)}}
	loaded, err := state.Fold(base, []state.Record{
		{Type: state.Intent, Action: 1}, forget, create,
		{Type: state.NoteRec, Key: "k", Data: raw(`1`)}, {Type: state.NoteRec, Key: "j", Data: raw(`2`)},
		{Type: state.NoteRec, Key: "k"}, {Type: state.NoteRec, Key: "k", Data: raw(`3`)},
		{Type: state.Intent, Action: 2}, {Type: state.Begin}, {Type: state.Intent, Action: 3},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(loaded.Snapshot.Resources[app].Attributes); got != `{"b":2}` {
		t.Errorf("attributes = %s: what was forgotten came back", got)
	}
	if diff := cmp.Diff([]state.Note{{Key: "j", Data: raw(`2`)}, {Key: "k", Data: raw(`3`)}}, loaded.Pending); diff != "" {
		t.Errorf("pending -want +got:\n%s", diff)
	}
	if len(loaded.Open) != 1 || loaded.Open[0].Action != 3 {
		t.Errorf("open = %v, want only the last run's intent 3", loaded.Open)
	}
}

// The origin of an object stays until it is replaced or removed, and is in the text of a snapshot.
func TestFoldOrigin(t *testing.T) {
	app := instance(t, "iexec_app.a")
	s := sample(t)
	for _, c := range []struct{ record, want string }{
		{``, ``}, {`null`, ``}, {`{"block":"1"}`, `{"block":"1"}`}, {``, `{"block":"1"}`}, {`{"transaction":"0x1"}`, `{"transaction":"0x1"}`}, {`null`, ``},
	} {
		object := *s.Resources[app]
		object.Attributes, object.Origin = nil, raw(c.record)
		loaded, err := state.Fold(s, []state.Record{{Type: state.Done, Addr: &app, Object: &object}})
		if err != nil {
			t.Fatal(err)
		}
		if s, err = state.Decode(encode(t, loaded.Snapshot)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(strings.Fields(string(s.Resources[app].Origin)), ""); got != c.want {
			t.Errorf("after a record with %q: %q, want %q", c.record, got, c.want)
		}
	}
}

func TestFoldUnchanged(t *testing.T) {
	s := sample(t)
	app := instance(t, "iexec_app.a")
	same := *s.Resources[app]
	same.Attributes = nil
	loaded, err := state.Fold(s, []state.Record{
		{Type: state.Pin, Network: &state.Network{Provider: "iexec", Facts: s.Networks["iexec"]}},
		{Type: state.Done, Addr: &app, Object: &same},
	})
	if err != nil || loaded.Snapshot != s {
		t.Errorf("records that change nothing made a new snapshot (err %v)", err)
	}
}

func TestFoldRefuses(t *testing.T) {
	app := instance(t, "iexec_app.a")
	for name, r := range map[string]state.Record{
		"newer program": {Type: "something"},
		"no address":    {Type: state.Forget},
		"JSON object":   {Type: state.Done, Addr: &app, Object: &state.Object{Attributes: raw(`[1]`)}},
		"no object":     {Type: state.Patch, Addr: &app},
		"the origin":    {Type: state.Done, Addr: &app, Object: &state.Object{Origin: raw(`"x"`)}},
		"merge patch":   {Type: state.Done, Addr: &app, Object: &state.Object{Attributes: raw(`{"a"`)}},
	} {
		_, err := state.Fold(&state.Snapshot{}, []state.Record{{Type: state.Begin}, r})
		var at *state.RecordError
		if !errors.As(err, &at) || at.Index != 1 || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want a RecordError of record 1", name, err)
		}
	}
}

func BenchmarkFold(b *testing.B) {
	s := large()
	var records []state.Record
	i := 0
	for a := range s.Resources {
		i++
		records = append(records,
			state.Record{Type: state.Intent, Action: i, Kind: "deploy", Addr: &a},
			state.Record{Type: state.Done, Action: i, Addr: &a, Object: &state.Object{Provider: "iexec", Attributes: raw(fmt.Sprintf(`{"tx":"0x%064d"}`, i))}})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := state.Fold(s, records); err != nil {
			b.Fatal(err)
		}
	}
}
