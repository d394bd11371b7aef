package trial

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"
)

// A Difference is a file that two runs left differently. What a file without effect on the digest differs in is not told.
type Difference struct {
	Path   string    `json:"path"`   // in the container
	Runs   [2]int    `json:"runs"`   // numbers of the two runs
	Counts bool      `json:"counts"` // whether the digest depends on the file
	Sizes  [2]int64  `json:"sizes"`  // bytes; -1 where the file is missing
	Offset int64     `json:"offset"` // of the first byte that differs; -1 when it was not looked for
	Bytes  [2]string `json:"bytes"`  // hexadecimal, up to 16 from the offset on; "" for text
	Diff   string    `json:"diff"`   // of text, cut when long; "" for binary files
}

const (
	maxDiffed = 1 << 20 // bytes of a file that is shown as text
	maxDiff   = 4000    // bytes of a diff in a report
)

// compare returns what differs in the output of the first run and of run n: first what the digest depends on. It lists no
// more than maxListed files. Bytes of binary files may be a part of a secret, so they aren't shown when there is one.
func (j *job) compare(a, b *output, n int, counts map[string]bool) ([]Difference, error) {
	var names []string
	for name := range maps.Keys(a.entries) {
		if !a.entries[name].same(b.entries[name]) {
			names = append(names, name)
		}
	}
	for name := range maps.Keys(b.entries) {
		if _, ok := a.entries[name]; !ok {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(x, y string) int {
		if counts[x] != counts[y] {
			if counts[x] {
				return -1
			}
			return 1
		}
		return strings.Compare(x, y)
	})
	var all []Difference
	for _, name := range names[:min(len(names), maxListed)] {
		d := Difference{Path: path.Join(outDir, name), Runs: [2]int{1, n}, Counts: counts[name], Sizes: [2]int64{-1, -1}, Offset: -1}
		x, inA := a.entries[name]
		y, inB := b.entries[name]
		if inA {
			d.Sizes[0] = x.size
		}
		if inB {
			d.Sizes[1] = y.size
		}
		if d.Counts && x.kind == tar.TypeReg && y.kind == tar.TypeReg {
			if err := d.show(x, y, j); err != nil {
				return nil, err
			}
		}
		all = append(all, d)
	}
	return all, nil
}

func (e entry) same(o entry) bool {
	return e.kind == o.kind && e.sum == o.sum && e.target == o.target
}

// show fills in where two files differ.
func (d *Difference) show(x, y entry, j *job) error {
	if x.size <= maxDiffed && y.size <= maxDiffed {
		before, err := os.ReadFile(x.kept)
		if err != nil {
			return err
		}
		after, err := os.ReadFile(y.kept)
		if err != nil {
			return err
		}
		if isText(before) && isText(after) {
			d.Offset = int64(common(before, after))
			d.Diff = cut(j.redact(string(diff.Diff("run 1", before, fmt.Sprintf("run %d", d.Runs[1]), after))))
			return nil
		}
	}
	f, err := os.Open(x.kept)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	g, err := os.Open(y.kept)
	if err != nil {
		return err
	}
	defer func() { _ = g.Close() }()
	if d.Offset, err = firstDifference(f, g); err != nil {
		return err
	}
	if len(j.Secrets) > 0 {
		return nil
	}
	for i, file := range []*os.File{f, g} {
		b := make([]byte, 16)
		k, err := file.ReadAt(b, d.Offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		d.Bytes[i] = hex.EncodeToString(b[:k])
	}
	return nil
}

func isText(b []byte) bool { return utf8.Valid(b) && !bytes.ContainsRune(b, 0) }

// common is how many bytes are the same at the beginning.
func common(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func firstDifference(a, b io.Reader) (int64, error) {
	const block = 64 << 10
	x, y := bufio.NewReaderSize(a, block), bufio.NewReaderSize(b, block)
	for at := int64(0); ; {
		p, err := x.Peek(block)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		q, err := y.Peek(block)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		n := common(p, q)
		at += int64(n)
		if n < block {
			return at, nil
		}
		_, _ = x.Discard(n) // was peeked
		_, _ = y.Discard(n)
	}
}

// cut shortens a diff at the end of a line.
func cut(text string) string {
	if len(text) <= maxDiff {
		return text
	}
	text = text[:maxDiff]
	if end := strings.LastIndexByte(text, '\n'); end > 0 {
		text = text[:end+1]
	}
	return strings.ToValidUTF8(text, "") + "(cut)\n"
}
