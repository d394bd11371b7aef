package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
)

// The comparison with Terraform is made of what is tested: the first line of each script row-NNN-*.txtar says what iexecform
// does about a feature, and rows.list why others aren't there.

// lastRow is the number of the last feature that is compared.
const lastRow = 142

const (
	scriptPattern = "row-[0-9][0-9][0-9]-*.txtar"
	unkeptRows    = "rows.list"
)

var (
	scriptLine = regexp.MustCompile(`^# row (\d{3}): (.+?): (.+)$`)
	unkeptLine = regexp.MustCompile(`^(\d{3}) (.+?): (later|no): (.+)$`)
)

// rows reads the features, and refuses first lines without form, and features that have neither a script nor a reason.
func rows(dir fs.FS) ([]view.Row, error) {
	found := map[int]view.Row{}
	add := func(match []string, from string, row view.Row) error {
		row.Number, _ = strconv.Atoi(match[1]) // it is digits
		row.Feature = match[2]
		if _, twice := found[row.Number]; twice || row.Number < 1 || row.Number > lastRow {
			return fmt.Errorf("%s: row %s is there twice, or isn't 1 to %d", from, match[1], lastRow)
		}
		found[row.Number] = row
		return nil
	}
	scripts, err := fs.Glob(dir, scriptPattern)
	if err != nil {
		return nil, err
	}
	for _, name := range scripts {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		first, _, _ := strings.Cut(string(text), "\n")
		match := scriptLine.FindStringSubmatch(first)
		if match == nil || !strings.HasPrefix(name, "row-"+match[1]) {
			return nil, fmt.Errorf("%s: its first line must be `# row NNN: FEATURE: WHAT`, with the number of its name; it is %q", name, first)
		}
		if err := add(match, name, view.Row{Script: name, Text: match[3]}); err != nil {
			return nil, err
		}
	}
	text, err := fs.ReadFile(dir, unkeptRows)
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		match := unkeptLine.FindStringSubmatch(lines.Text())
		if match == nil {
			return nil, fmt.Errorf("%s: a line must be `NNN FEATURE: later: WHY` or `NNN FEATURE: no: WHY`; it is %q", unkeptRows, lines.Text())
		}
		if err := add(match, unkeptRows, view.Row{Status: match[3], Text: match[4]}); err != nil {
			return nil, err
		}
	}
	for n := 1; n <= lastRow; n++ {
		if _, ok := found[n]; !ok {
			return nil, fmt.Errorf("row %03d has neither a script row-%03d-*.txtar nor a reason in %s", n, n, unkeptRows)
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b view.Row) int { return a.Number - b.Number }), nil
}
