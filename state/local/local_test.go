package local_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
	"github.com/iexecform/iexecform/state/statetest"
)

func TestStore(t *testing.T) {
	statetest.Run(t, func(t *testing.T) func() state.Store {
		dir := t.TempDir()
		return func() state.Store { return local.New(dir) }
	})
}

// An encrypted state passes the same suite.
func TestEncrypted(t *testing.T) {
	statetest.Run(t, func(t *testing.T) func() state.Store {
		path, codec := filepath.Join(t.TempDir(), local.SnapshotFile), statetest.Encrypted(t)
		return func() state.Store { return local.File(path, codec) }
	})
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// contents returns a file's text, or "" when there is no such file.
func contents(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

func encoded(t *testing.T, s *state.Snapshot) string {
	t.Helper()
	b, err := state.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const (
	header = `{"version":1,"lineage":"lineage","serial":3}` + "\n"
	note   = `{"type":"note","key":"tx","data":1}` + "\n"
	done   = `{"type":"done","action":1,"addr":"iexec_app.a","object":{"provider":"iexec","schema_version":0,"attributes":{"n":9}}}` + "\n"
)

// sealed makes a journal of today's format of one of format 1: each line ends with a sum over it and the sum before.
func sealed(journal string) (b string) {
	sum := ""
	for line := range strings.Lines(strings.Replace(journal, `"version":1`, `"version":2`, 1)) {
		if text, ok := strings.CutSuffix(line, "}\n"); ok {
			hash := sha256.Sum256([]byte(sum + text))
			sum = hex.EncodeToString(hash[:8])
			line = text + `,"sum":"` + sum + "\"}\n"
		}
		b += line
	}
	return b
}

// What stands in the files after a crash, and what is made of it.
func TestLoad(t *testing.T) {
	current, older, other := statetest.Snapshot(3), statetest.Snapshot(2), statetest.Snapshot(3)
	other.Lineage = "other"
	for name, c := range map[string]struct {
		snapshot *state.Snapshot
		journal  string
		n        string // attribute n of the object, or ""
		notes    int
		records  int
		torn     bool
		err      []string
	}{
		"snapshot alone":                 {snapshot: current, n: "3"},
		"journal of this snapshot":       {snapshot: current, journal: header + note + done, n: "9", notes: 1, records: 1},
		"torn line":                      {snapshot: current, journal: header + note + done[:40], n: "3", notes: 1, torn: true},
		"whole line without its newline": {snapshot: current, journal: header + note + strings.TrimSuffix(done, "\n"), n: "3", notes: 1, torn: true},
		"garbled last line":              {snapshot: current, journal: header + done + "\x00\x00\n", n: "9", records: 1, torn: true},
		"torn header":                    {snapshot: current, journal: header[:20], n: "3", torn: true},
		"empty journal":                  {snapshot: current, n: "3", torn: true},
		"snapshot written, journal not yet replaced": {
			snapshot: current, journal: strings.Replace(header, `"serial":3`, `"serial":2`, 1) + note + done, n: "3", notes: 1},
		"first snapshot written, journal not yet replaced": {
			snapshot: statetest.Snapshot(1), journal: `{"version":1,"lineage":"","serial":0}` + "\n" + note + done, n: "1", notes: 1},
		"no snapshot":       {journal: header + note + done, n: "9", notes: 1, records: 1},
		"rolled back":       {snapshot: older, journal: header + done, err: []string{local.JournalFile, "rolled back", "serial 3", "serial 2"}},
		"other lineage":     {snapshot: other, journal: header + done, err: []string{local.JournalFile, `"lineage"`, `"other"`, "delete the journal"}},
		"damaged line":      {snapshot: current, journal: header + "<<<<\n" + note, err: []string{local.JournalFile, "line 2", "move it away"}},
		"damaged header":    {snapshot: current, journal: "<<<<\n" + note, err: []string{"line 1"}},
		"unknown record":    {snapshot: current, journal: header + note + `{"type":"new"}` + "\n", err: []string{"line 3", "newer program"}},
		"unknown field":     {snapshot: current, journal: header + `{"type":"note","x":1}` + "\n" + note, err: []string{"line 2", `"x"`}},
		"newer journal":     {snapshot: current, journal: `{"version":3,"more":1}` + "\n", err: []string{"journal", "version 3", "reads version 2"}},
		"damaged by itself": {journal: header + `{"type":"done","object":{"attributes":{}}}` + "\n" + note, err: []string{"line 2", "no address"}},
	} {
		load := func(t *testing.T, journal string) {
			dir := t.TempDir()
			if c.snapshot != nil {
				write(t, dir, local.SnapshotFile, encoded(t, c.snapshot))
			}
			if journal != "" || c.torn {
				write(t, dir, local.JournalFile, journal)
			}
			loaded, err := local.New(dir).Load(t.Context())
			if c.err != nil {
				if err == nil {
					t.Fatal("no error")
				}
				for _, want := range c.err {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("got %q, want %q in it", err, want)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if o := loaded.Snapshot.Resources[statetest.App]; o != nil {
				got = strings.Trim(string(o.Attributes), "{}\"n: \n")
			}
			if got != c.n || len(loaded.Pending) != c.notes || loaded.Records != c.records || loaded.Torn != c.torn {
				t.Errorf("n = %q, %d notes, %d records, torn %t; want %q, %d, %d, %t", got, len(loaded.Pending), loaded.Records, loaded.Torn, c.n, c.notes, c.records, c.torn)
			}
			if c.snapshot == nil && (loaded.Snapshot.Lineage != "lineage" || loaded.Snapshot.Serial != 3) {
				t.Errorf("got %q %d, want the identity in the journal's header", loaded.Snapshot.Lineage, loaded.Snapshot.Serial)
			}
		}
		t.Run(name, func(t *testing.T) { load(t, sealed(c.journal)) })
		t.Run(name+", format 1", func(t *testing.T) { load(t, c.journal) })
	}
}

func TestLoadDamagedSnapshot(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, local.SnapshotFile, "{\n")
	_, err := local.New(dir).Load(t.Context())
	var damaged *state.DamagedError
	if !errors.As(err, &damaged) || !strings.Contains(err.Error(), filepath.Join(dir, local.SnapshotFile)) {
		t.Errorf("got %v, want a DamagedError that names the file", err)
	}
}

func TestAppendRemovesTornLine(t *testing.T) {
	var journals []string
	for _, torn := range []string{`{"type":"no`, "\x00\x00\n", strings.TrimSuffix(done, "\n")} {
		journals = append(journals, sealed(header+note)+torn, header+note+torn)
	}
	for _, before := range append(journals, sealed(header+note+done[:len(done)-1])) {
		dir := t.TempDir()
		write(t, dir, local.SnapshotFile, encoded(t, statetest.Snapshot(3)))
		write(t, dir, local.JournalFile, before)
		if err := local.New(dir).Append(t.Context(), state.Record{Type: state.NoteRec, Key: "b", Data: json.RawMessage(`2`)}); err != nil {
			t.Fatal(err)
		}
		want := header + note + `{"type":"note","key":"b","data":2}` + "\n"
		if !strings.HasPrefix(before, header) {
			want = sealed(want)
		}
		if diff := cmp.Diff(want, contents(t, dir, local.JournalFile)); diff != "" {
			t.Errorf("after %q -want +got:\n%s", before, diff)
		}
	}
}

// Killed after the snapshot was written and before the new journal was started: the next run's records count all the same.
func TestAppendReplacesJournalOfOlderSnapshot(t *testing.T) {
	dir := t.TempDir()
	note := state.Record{Type: state.NoteRec, Key: "k", Data: json.RawMessage(`1`)}
	if err := local.New(dir).Append(t.Context(), note, statetest.Object(1, statetest.App, `{"n":"old"}`)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, local.JournalFile)
	journal, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := local.New(dir).Compact(t.Context(), statetest.Snapshot(1), nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, journal, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := local.New(dir).Append(t.Context(), statetest.Object(1, statetest.Order, `{"n":7}`)); err != nil {
		t.Fatal(err)
	}
	loaded, err := local.New(dir).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	order := loaded.Snapshot.Resources[statetest.Order]
	plain := func(o *state.Object) string { return strings.Join(strings.Fields(string(o.Attributes)), "") }
	if order == nil || plain(order) != `{"n":7}` || plain(loaded.Snapshot.Resources[statetest.App]) != `{"n":1}` {
		t.Errorf("what was appended after the crash is lost: %v", loaded.Snapshot.Resources)
	}
	if len(loaded.Pending) != 1 || loaded.Pending[0].Key != "k" {
		t.Errorf("pending %v, want the note k", loaded.Pending)
	}
}

func TestAppendRefusesDamagedJournal(t *testing.T) {
	dir := t.TempDir()
	journal := header + "<<<<\n" + note
	write(t, dir, local.JournalFile, journal)
	if err := local.New(dir).Append(t.Context(), state.Record{Type: state.Begin}); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v, want an error that names line 2", err)
	}
	if got := contents(t, dir, local.JournalFile); got != journal {
		t.Errorf("the damaged journal was changed to %q", got)
	}
}

func TestCompactLeavesEqualSnapshotAlone(t *testing.T) {
	dir := t.TempDir()
	// The same in other words, as after a change of line ends by git.
	text := strings.ReplaceAll(encoded(t, statetest.Snapshot(3)), "\n", "\r\n")
	write(t, dir, local.SnapshotFile, text)
	if err := local.New(dir).Compact(t.Context(), statetest.Snapshot(3), nil); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, dir, local.SnapshotFile); got != text {
		t.Errorf("the snapshot was written again: %q", got)
	}
}

func TestCompactContinuesDeletedSnapshot(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, local.JournalFile, header+done)
	store := local.New(dir)
	loaded, err := store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	loaded.Snapshot.Serial++
	if err := store.Compact(t.Context(), loaded.Snapshot, nil); err != nil {
		t.Fatal(err)
	}
	if loaded, err = store.Load(t.Context()); err != nil || loaded.Snapshot.Serial != 4 || loaded.Snapshot.Lineage != "lineage" {
		t.Errorf("got %+v, %v; want serial 4 of the same lineage", loaded, err)
	}
}

func TestCompactKeepsNotesWhereTheSnapshotWasDeleted(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, local.JournalFile, sealed(header+note))
	store := local.New(dir)
	loaded, err := store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Compact(t.Context(), loaded.Snapshot, loaded.Pending); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, dir, local.JournalFile); got != sealed(header+note) {
		t.Errorf("got %q, want the journal as it was", got)
	}
	if got := contents(t, dir, local.SnapshotFile); got != "" {
		t.Errorf("a snapshot was written although there is nothing to store: %s", got)
	}
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	store := local.New(dir)
	unlock, err := store.Lock(t.Context(), state.Holder{ID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	mode := func(name string) fs.FileMode {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	pending := []state.Note{{Key: "tx", Data: json.RawMessage(`1`)}}
	if err := store.Append(t.Context(), state.Record{Type: state.Begin}); err != nil {
		t.Fatal(err)
	}
	if got := mode(local.JournalFile); got != 0o600 {
		t.Errorf("journal has mode %o", got)
	}
	if err := store.Compact(t.Context(), statetest.Snapshot(1), pending); err != nil {
		t.Fatal(err)
	}
	if got := mode(local.JournalFile); got != 0o600 {
		t.Errorf("journal has mode %o after compact", got)
	}
	if got := mode(local.SnapshotFile); got&0o600 != 0o600 || got&^0o644 != 0 {
		t.Errorf("snapshot has mode %o", got)
	}
	if err := os.Chmod(filepath.Join(dir, local.SnapshotFile), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := store.Compact(t.Context(), statetest.Snapshot(2), nil); err != nil {
		t.Fatal(err)
	}
	if got := mode(local.SnapshotFile); got != 0o640 {
		t.Errorf("snapshot has mode %o, want the 640 that it had", got)
	}
	if raw, err := store.Raw(); err != nil || string(raw) != encoded(t, statetest.Snapshot(2)) {
		t.Errorf("Raw = %s, %v", raw, err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	// What a killed process left half written goes with the next lock.
	write(t, dir, "."+local.SnapshotFile+"123456", "{")
	write(t, dir, "."+local.JournalFile+"123456", "{")
	if unlock, err = store.Lock(t.Context(), state.Holder{ID: "2"}); err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{local.LockFile, local.SnapshotFile}, names); diff != "" {
		t.Errorf("files -want +got:\n%s", diff)
	}
}

func TestLockFailsWhereNothingCanBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := local.New(file).Lock(t.Context(), state.Holder{})
	if err == nil || !strings.Contains(err.Error(), "can't be kept in "+file) {
		t.Errorf("got %v, want an error that names the directory", err)
	}
}
