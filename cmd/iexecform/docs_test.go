package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
