package state_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/internal/bounds"
	"github.com/iexecform/iexecform/state"
)

// codec writes in the clear.
var codec = (*state.Codec)(nil)

func journalText(t testing.TB, records []state.Record) []byte {
	t.Helper()
	j, b, err := codec.BeginJournal("l", 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := j.Encode(records)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, lines...)
}

func journalSample(t testing.TB) []state.Record {
	app := instance(t, `iexec_app.a["\n"]`)
	return []state.Record{
		{Type: state.Begin, Plan: "d", Op: "apply", Network: &state.Network{Provider: "iexec", Facts: map[string]string{"hub": "0x"}}},
		{Type: state.Intent, Action: 1, Kind: "deploy", Addr: &app},
		{Type: state.Done, Action: 1, Addr: &app, Object: &state.Object{Provider: "iexec", Attributes: raw(`{"n":123456789012345678901,"s":"<\n>"}`)}},
		{Type: state.Failed, Action: 2, Error: "no\nluck"},
		{Type: state.NoteRec, Key: "k", Data: raw(`""`)},
		{Type: state.NoteRec, Key: "k"},
	}
}

// Cut anywhere, a journal holds the records whose lines are whole, in order, and nothing else.
func TestDecodeJournalCutAnywhere(t *testing.T) {
	records := journalSample(t)
	text := journalText(t, records)
	for n := range len(text) + 1 {
		j, err := codec.DecodeJournal(text[:n])
		if err != nil {
			t.Fatalf("cut at byte %d: %v", n, err)
		}
		lines := strings.Count(string(text[:n]), "\n")
		if lines == 0 {
			if j != nil {
				t.Fatalf("cut at byte %d: got a journal without a header", n)
			}
			continue
		}
		if diff := cmp.Diff(records[:lines-1], j.Records, cmpopts.EquateEmpty(), cmpopts.EquateComparable(addr.Instance{})); diff != "" {
			t.Fatalf("cut at byte %d -want +got:\n%s", n, diff)
		}
		if torn := text[n-1] != '\n'; j.Torn != torn {
			t.Fatalf("cut at byte %d: torn is %t", n, j.Torn)
		}
		if want := strings.LastIndexByte(string(text[:n]), '\n') + 1; j.Whole() != want {
			t.Fatalf("cut at byte %d: %d bytes are whole, want %d", n, j.Whole(), want)
		}
	}
}

// Whatever happens to lines other than the last is noticed.
func TestDecodeJournalChangedLines(t *testing.T) {
	lines := strings.SplitAfter(strings.TrimSuffix(string(journalText(t, journalSample(t))), "\n"), "\n")
	lines[len(lines)-1] += "\n"
	for name, changed := range map[string][]string{
		"a digit":      slices.Concat(lines[:3], []string{strings.Replace(lines[3], "789", "788", 1)}, lines[4:]),
		"white space":  slices.Concat(lines[:3], []string{" " + lines[3]}, lines[4:]),
		"lost":         slices.Concat(lines[:3], lines[4:]),
		"repeated":     slices.Concat(lines[:4], lines[3:]),
		"swapped":      slices.Concat(lines[:3], []string{lines[4], lines[3]}, lines[5:]),
		"without sum":  slices.Concat(lines[:3], []string{lines[3][:strings.LastIndex(lines[3], ",")] + "}\n"}, lines[4:]),
		"other header": slices.Concat([]string{strings.Replace(lines[0], `"serial":3`, `"serial":2`, 1)}, lines[1:]),
		"older header": slices.Concat([]string{strings.Replace(lines[0], `"version":2`, `"version":1`, 1)}, lines[1:]),
	} {
		if _, err := codec.DecodeJournal([]byte(strings.Join(changed, ""))); err == nil || !strings.Contains(err.Error(), "its sum doesn't fit") {
			t.Errorf("%s: got %v, want an error about a sum", name, err)
		}
	}
	for cut := range len(lines) { // a last line that doesn't fit is a torn one
		j, err := codec.DecodeJournal([]byte(strings.Join(lines[:cut], "") + strings.Replace(lines[cut], `"sum":"`, `"sum":"x`, 1)))
		if cut == 0 {
			if err != nil || j != nil {
				t.Errorf("header: got %+v, %v; want none", j, err)
			}
			continue
		}
		if err != nil || !j.Torn || len(j.Records) != cut-1 {
			t.Errorf("line %d: got %+v, %v; want the lines before it, torn", cut+1, j, err)
		}
	}
}

// Journals of format 1, whose lines have no sums, are read.
func TestDecodeJournalOfFormat1(t *testing.T) {
	j, err := codec.DecodeJournal([]byte("{\"version\":1,\"lineage\":\"l\",\"serial\":3}\n{\"type\":\"note\",\"key\":\"k\",\"data\":1}\n"))
	if err != nil || j.Torn || len(j.Records) != 1 || j.Header != (state.Header{Version: 1, Lineage: "l", Serial: 3}) {
		t.Fatalf("got %+v, %v", j, err)
	}
}

func FuzzDecodeJournal(f *testing.F) {
	text := journalText(f, journalSample(f))
	f.Add(text)
	f.Add(text[:len(text)-3])
	f.Add([]byte("{\"version\":1}\n{\"type\":\"done\",\"addr\":\"a_b.c\",\"object\":{\"attributes\":{\"a\":{\"b\":null}}}}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		defer bounds.Watch()()
		j, err := codec.DecodeJournal(b)
		if err != nil || j == nil {
			return
		}
		if j.Whole() > len(b) {
			t.Fatalf("%d of %d bytes are whole", j.Whole(), len(b))
		}
		begun, written, err := codec.BeginJournal(j.Header.Lineage, j.Header.Serial, nil)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := begun.Encode(j.Records)
		if err != nil {
			t.Fatal(err)
		}
		written = append(written, lines...)
		again, err := codec.DecodeJournal(written)
		if err != nil || again.Torn || len(again.Records) != len(j.Records) {
			t.Fatalf("what Encode wrote can't be read: %v\n%s", err, written)
		}
		loaded, err := state.Resume(nil, j)
		if err != nil {
			return
		}
		if _, err := state.Encode(loaded.Snapshot); err != nil {
			t.Fatalf("a folded journal can't be encoded: %v", err)
		}
	})
}

func TestCheckPush(t *testing.T) {
	stored := &state.Snapshot{Lineage: "a", Serial: 7}
	for _, c := range []struct {
		pushed state.Snapshot
		force  bool
		want   []string // in the error; nil for none
	}{
		{state.Snapshot{Lineage: "a", Serial: 7}, false, nil},
		{state.Snapshot{Lineage: "a", Serial: 7, Outputs: map[string]state.Output{"x": {}}}, false, []string{"both have serial 7", "--force"}},
		{state.Snapshot{Lineage: "a", Serial: 7, Outputs: map[string]state.Output{"x": {}}}, true, nil},
		{state.Snapshot{Lineage: "a", Serial: 9}, false, nil},
		{state.Snapshot{Lineage: "a", Serial: 6}, false, []string{"serial 7", "6", "--force"}},
		{state.Snapshot{Lineage: "b", Serial: 9}, false, []string{`"a"`, `"b"`, "--force"}},
		{state.Snapshot{Lineage: "a", Serial: 6}, true, nil},
		{state.Snapshot{Lineage: "b", Serial: 1}, true, nil},
	} {
		err := state.CheckPush(stored, &c.pushed, c.force)
		if (err != nil) != (c.want != nil) {
			t.Errorf("%+v: got %v", c, err)
		}
		for _, want := range c.want {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("got %q, want %q in it", err, want)
			}
		}
	}
	if err := state.CheckPush(&state.Snapshot{}, stored, false); err != nil {
		t.Errorf("push to an empty store: %v", err)
	}
}

func TestLockedErrorNamesTheHolder(t *testing.T) {
	h := state.Holder{ID: "7f", Operation: "apply", Who: "ann@host", Created: "2024-01-02T03:04:05Z"}
	text := (&state.LockedError{Holder: &h, Path: "dir/lock"}).Error()
	for _, want := range []string{h.ID, h.Operation, h.Who, h.Created, "dir/lock", "--lock-timeout"} {
		if !strings.Contains(text, want) {
			t.Errorf("got %q, want %q in it", text, want)
		}
	}
	if text := (&state.LockedError{Path: "dir/lock"}).Error(); !strings.Contains(text, "dir/lock") {
		t.Errorf("got %q, want the path in it", text)
	}
}

func BenchmarkDecodeJournal(b *testing.B) {
	var records []state.Record
	i := 0
	for a, o := range large().Resources {
		i++
		records = append(records, state.Record{Type: state.Done, Action: i, Addr: &a, Object: &state.Object{Provider: "iexec", Attributes: json.RawMessage(o.Attributes)}})
	}
	text := journalText(b, records)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.DecodeJournal(text); err != nil {
			b.Fatal(err)
		}
	}
}
