package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/config/schema"
)

// String is the plan in a short printable form that tests compare: changes with their differing attributes, actions
// with their edges, outputs, notices. It is not what users see.
func (p *Plan) String() string {
	var out strings.Builder
	for _, m := range p.Moves {
		fmt.Fprintf(&out, "move %s to %s\n", m.From, m.To)
	}
	for _, c := range p.Changes {
		fmt.Fprintf(&out, "%s %s", c.Kind, c.Addr)
		if c.Importing != "" {
			fmt.Fprintf(&out, " import %s", c.Importing)
		}
		if len(c.Because) > 0 {
			fmt.Fprintf(&out, " (%s)", strings.Join(c.Because, "; "))
		}
		if c.Reason != ReasonNone && c.Reason != ReasonCannotUpdate {
			fmt.Fprintf(&out, " %s", c.Reason)
		}
		if c.Protected {
			out.WriteString(" protected")
		}
		out.WriteByte('\n')
		if c.Kind == "no-op" {
			continue
		}
		for _, d := range Diff(c.Before, c.After) {
			fmt.Fprintf(&out, "  %s: %s -> %s\n", d.Name, short(d.Before), short(d.After))
		}
	}
	for _, r := range p.Reads {
		fmt.Fprintf(&out, "read %s (%s)\n", r.Addr, strings.Join(r.Because, "; "))
	}
	for _, a := range p.Actions {
		fmt.Fprintf(&out, "%d. %s %s", a.ID, a.Kind, a.Addr)
		if len(a.After) > 0 {
			fmt.Fprintf(&out, " after %s", strings.Trim(fmt.Sprint(a.After), "[]"))
		}
		if a.Group != 0 {
			fmt.Fprintf(&out, " group %d", a.Group)
		}
		out.WriteByte('\n')
	}
	for _, o := range p.Outputs {
		if o.Changed() {
			fmt.Fprintf(&out, "output %s: %s -> %s\n", o.Name, short(o.Before), short(o.After))
		}
	}
	for _, n := range p.Notices {
		fmt.Fprintf(&out, "%s %s: %s\n", n.Level, n.About(), n.Summary)
	}
	for _, c := range p.Checks {
		fmt.Fprintf(&out, "check %s: %s", c.ID(), c.Status)
		if len(c.Problems) > 0 {
			fmt.Fprintf(&out, " (%s)", strings.Join(c.Problems, "; "))
		}
		out.WriteByte('\n')
	}
	for _, s := range p.Pending {
		fmt.Fprintf(&out, "pending %s\n", s)
	}
	if !p.Complete {
		out.WriteString("incomplete\n")
	}
	return out.String()
}

func short(v cty.Value) string {
	if v == cty.NilVal || v.IsNull() {
		return "null"
	}
	if v = wholeSets(v); !v.IsKnown() {
		return "?"
	}
	text, err := ctyjson.Marshal(cty.UnknownAsNull(v), v.Type())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// AttrDiff is an attribute that differs between two objects of one type.
type AttrDiff struct {
	Name          string
	Before, After cty.Value // null where there is none
}

// Diff returns the attributes that differ, in alphabetical order. Either object may be null.
func Diff(before, after schema.Object) []AttrDiff {
	var diffs []AttrDiff
	for _, name := range slices.Sorted(slices.Values(before.Names())) {
		b, a := before.Attr(name), after.Attr(name)
		if !b.RawEquals(a) {
			diffs = append(diffs, AttrDiff{Name: name, Before: b, After: a})
		}
	}
	return diffs
}
