package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
)

// The reference pages are what the tables make of them: `make docs` writes them.
func TestReferencePages(t *testing.T) {
	committed := filepath.Join("..", "..", "docs", "reference")
	fresh := t.TempDir()
	var stderr strings.Builder
	if code := run([]string{"docs", fresh}, strings.NewReader(""), io.Discard, &stderr, nil); code != 0 {
		t.Fatalf("iexecform docs: exit code %d: %s", code, stderr.String())
	}
	want, got := pages(t, fresh), pages(t, committed)
	if len(want) == 0 {
		t.Fatal("iexecform docs wrote nothing")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/reference is out of date, run `make docs` (-should be +is):\n%s", diff)
	}
}

// The comparison with Terraform is what the scripts' first lines say: `make docs` writes it.
func TestComparison(t *testing.T) {
	docs := filepath.Join("..", "..", "docs")
	list, err := rows(os.DirFS("testdata"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(docs, comparisonPage))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(view.Comparison(list, "../cmd/iexecform/testdata"), string(got)); diff != "" {
		t.Errorf("docs/%s is out of date, run `make docs` (-should be +is):\n%s", comparisonPage, diff)
	}
}

func TestRows(t *testing.T) {
	complete := func() fstest.MapFS {
		dir := fstest.MapFS{}
		var text strings.Builder
		for n := 2; n <= lastRow; n++ {
			fmt.Fprintf(&text, "%03d feature: no: why\n", n)
		}
		dir["rows.list"] = &fstest.MapFile{Data: []byte(text.String())}
		dir["row-001-first.txtar"] = &fstest.MapFile{Data: []byte("# row 001: first: what it does: this\nexec iexecform\n")}
		return dir
	}
	list, err := rows(complete())
	if err != nil || len(list) != lastRow || list[0].Feature != "first" || list[0].Text != "what it does: this" || list[1].Status != "no" {
		t.Fatalf("%v, %v", list, err)
	}
	for want, change := range map[string]func(fstest.MapFS){
		"neither a script":   func(dir fstest.MapFS) { delete(dir, "row-001-first.txtar") },
		"is there twice":     func(dir fstest.MapFS) { dir["row-002-x.txtar"] = &fstest.MapFile{Data: []byte("# row 002: a: b\n")} },
		"first line must be": func(dir fstest.MapFS) { dir["row-001-first.txtar"] = &fstest.MapFile{Data: []byte("# first\n")} },
		"with the number of its": func(dir fstest.MapFS) {
			dir["row-001-first.txtar"] = &fstest.MapFile{Data: []byte("# row 003: a: b\n")}
		},
		"a line must be": func(dir fstest.MapFS) {
			dir["rows.list"].Data = append(dir["rows.list"].Data, "143 x: perhaps: why\n"...)
		},
		"or isn't 1 to": func(dir fstest.MapFS) { dir["rows.list"].Data = append(dir["rows.list"].Data, "143 x: no: why\n"...) },
	} {
		dir := complete()
		change(dir)
		if _, err := rows(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func pages(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(text)
	}
	return all
}
