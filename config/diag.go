package config

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
)

// failure makes an error.
func failure(subject *hcl.Range, summary, format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: subject}
}

// within adds the expression and its values, which are shown beside the source.
func within(d *hcl.Diagnostic, expr hcl.Expression, ctx *hcl.EvalContext) *hcl.Diagnostic {
	d.Expression, d.EvalContext = expr, ctx
	return d
}

const maxTypos = 2

// suggestion is the candidate that given was probably meant to be, or "".
func suggestion(given string, candidates []string) string {
	best, typos := "", maxTypos+1
	for _, c := range candidates {
		if d := len(c) - len(given); d > maxTypos || -d > maxTypos {
			continue
		}
		if d := levenshtein.Distance(given, c, nil); d < typos && d < len(given) {
			best, typos = c, d
		}
	}
	return best
}

// DidYouMean is a sentence with a leading space that offers the candidate that given was probably meant to be, or "".
func DidYouMean(given string, candidates []string) string {
	if s := suggestion(given, candidates); s != "" {
		return fmt.Sprintf(" Did you mean %q?", s)
	}
	return ""
}

// folder gathers the diagnostics of a block's instances and keeps one of each kind and place.
type folder struct {
	diags hcl.Diagnostics
	seen  map[string]*folded
}

type folded struct {
	diag *hcl.Diagnostic
	more int
}

func (f *folder) add(diags hcl.Diagnostics) {
	for _, d := range diags {
		key := d.Summary
		if d.Subject != nil {
			key += d.Subject.String()
		}
		if first := f.seen[key]; first != nil {
			first.more++
			continue
		}
		if f.seen == nil {
			f.seen = map[string]*folded{}
		}
		f.seen[key] = &folded{diag: d}
		f.diags = append(f.diags, d)
	}
}

// result is the diagnostics, each with the number of further instances that it holds for.
func (f *folder) result() hcl.Diagnostics {
	for _, s := range f.seen {
		if s.more > 0 {
			s.diag.Detail += fmt.Sprintf(" (And %d more of the same at this place.)", s.more)
			s.more = 0
		}
	}
	return f.diags
}

func sortedAttrs(attrs hcl.Attributes) []*hcl.Attribute {
	list := make([]*hcl.Attribute, 0, len(attrs))
	for _, a := range attrs {
		list = append(list, a)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Range.Start.Byte < list[j].Range.Start.Byte })
	return list
}

func upperFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

func keysOf[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// inOrder sorts diagnostics by file and place; those without a place come first.
func inOrder(diags hcl.Diagnostics) hcl.Diagnostics {
	slices.SortStableFunc(diags, func(a, b *hcl.Diagnostic) int {
		var x, y hcl.Range
		if a.Subject != nil {
			x = *a.Subject
		}
		if b.Subject != nil {
			y = *b.Subject
		}
		return cmp.Or(compareRanges(x, y), cmp.Compare(a.Summary, b.Summary))
	})
	return diags
}

func compareRanges(a, b hcl.Range) int {
	return cmp.Or(cmp.Compare(a.Filename, b.Filename), cmp.Compare(a.Start.Byte, b.Start.Byte))
}

// place is a short form of a range: file and line.
func place(r hcl.Range) string {
	return fmt.Sprintf("%s:%d", r.Filename, r.Start.Line)
}

func sentence(err error) string { return strings.TrimSuffix(upperFirst(err.Error()), ".") + "." }
