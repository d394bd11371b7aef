// Package errcode gives every diagnostic a stable code for machines, such as IXF1203.
//
// Policy: the table below is the one place where codes are. A code stands for one thing that can be wrong, or for a family of
// them that call for the same answer. Codes are never given a second time, nor another meaning: what is no longer wrong
// leaves a gap. A diagnostic is known by its summary, which is a constant text in the source (what is computed in it stands
// as "*"); where it was made of an error, the error's type says more, and comes first. The exit codes stay 0, 1, 2 and 3.
package errcode

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Other is the code of what has no other: its text tells.
const Other = "IXF0001"

// Code is a row of the table.
type Code struct {
	ID        string
	Summaries []string // of diagnostics; "*" stands for what is computed
	Meaning   string   // what is wrong, and what to do where that is always the same; a sentence of Markdown
	is        func(error) bool
}

// Cause is the Extra of a diagnostic that was made of an error.
type Cause struct{ Err error }

// Cause returns the error.
func (c Cause) Cause() error { return c.Err }

// Of returns the code of a diagnostic.
func Of(d *hcl.Diagnostic) string {
	if c, ok := hcl.DiagnosticExtra[interface{ Cause() error }](d); ok && c.Cause() != nil {
		for i := range table {
			if is := table[i].is; is != nil && is(c.Cause()) {
				return table[i].ID
			}
		}
	}
	for _, matches := range []func(pattern, summary string) bool{func(p, s string) bool { return p == s }, match} {
		for i := range table {
			for _, pattern := range table[i].Summaries {
				if matches(pattern, d.Summary) {
					return table[i].ID
				}
			}
		}
	}
	return Other
}

// match reports whether a summary is what a pattern stands for.
func match(pattern, summary string) bool {
	first, rest, computed := strings.Cut(pattern, "*")
	if !computed {
		return pattern == summary
	}
	summary, ok := strings.CutPrefix(summary, first)
	if !ok {
		return false
	}
	for i := range len(summary) + 1 {
		if match(rest, summary[i:]) {
			return true
		}
	}
	return false
}

// Page is the table as a reference page.
func Page() string {
	var b strings.Builder
	b.WriteString("# Diagnostic codes\n\n" +
		"Every error and warning has a code in JSON (`validate --json`, the lines of `plan --json` and `apply --json`), as `code`. Codes are\n" +
		"stable: scripts can rely on them, while texts may change. The exit codes of the program are few: 0, 1 for an error, 2 for\n" +
		"changes (`plan --detailed-exitcode`), 3 for `fmt --check`. Made from the program's own table by `make docs`.\n\n" +
		"| code | what is wrong | summaries |\n| --- | --- | --- |\n")
	for _, c := range table {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.ID, c.Meaning, strings.ReplaceAll(strings.Join(c.Summaries, "; "), "*", "…"))
	}
	return b.String()
}

// as makes a condition: the error is, or wraps, one of type E that holds.
func as[E error](holds func(E) bool) func(error) bool {
	return func(err error) bool {
		var e E
		return errors.As(err, &e) && (holds == nil || holds(e))
	}
}

func is(targets ...error) func(error) bool {
	return func(err error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
}
