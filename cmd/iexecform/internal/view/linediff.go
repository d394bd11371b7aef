package view

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

// A value of several lines that changes into another one is shown once, with the lines that differ marked, and those far from
// any of them counted.

// diffLine is a line of such a value. The mark is "+", "-", or " " for a line that stays.
type diffLine struct{ Mark, Text string }

var hunk = regexp.MustCompile(`^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@$`)

// Diff is the lines of both values; nil unless both are of several lines.
func (d difference) Diff() []diffLine {
	if d.Mark != "~" || d.Size || !strings.Contains(d.Before, "\n") || !strings.Contains(d.After, "\n") {
		return nil
	}
	after := strings.Split(d.After, "\n")
	var lines []diffLine
	shown := 0 // lines of after
	skip := func(to int) {
		if shown == 0 && to > 0 { // how the value begins
			lines, shown = append(lines, diffLine{" ", after[0]}), 1
		}
		switch n := to - shown; {
		case n == 1:
			lines = append(lines, diffLine{" ", after[shown]})
		case n > 1:
			text := after[shown]
			lines = append(lines, diffLine{" ", text[:len(text)-len(strings.TrimLeft(text, " "))] + fmt.Sprintf("# (%s hidden)", plural(n, "unchanged line"))})
		}
		shown = to
	}
	_, hunks, _ := strings.Cut(string(diff.Diff("old", []byte(d.Before+"\n"), "new", []byte(d.After+"\n"))), "\n+++ new\n")
	for line := range strings.Lines(hunks) {
		line = strings.TrimSuffix(line, "\n")
		if m := hunk.FindStringSubmatch(line); m != nil {
			from, _ := strconv.Atoi(m[1]) // digits
			if m[2] != "0" {
				from--
			}
			skip(from)
			continue
		}
		lines = append(lines, diffLine{line[:1], line[1:]})
		if line[0] != '-' {
			shown++
		}
	}
	if last := len(after) - 1; shown <= last {
		skip(last)
		lines = append(lines, diffLine{" ", after[last]})
	}
	return lines
}

// marked is the line with its mark in the white space that it begins with.
func (l diffLine) marked(paint func(mark, text string) string) string {
	if l.Mark == " " {
		return l.Text
	}
	text := strings.TrimLeft(l.Text, " ")
	return strings.Repeat(" ", max(0, len(l.Text)-len(text)-2)) + paint(l.Mark, l.Mark) + " " + text
}
