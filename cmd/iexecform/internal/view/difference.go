package view

import (
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
)

// A difference is one attribute of a change as people read it. A sensitive one has only an After, which says so.
type difference struct {
	Name   string
	Mark   string // "+", "-", "~", or " " where nothing changes
	Before string // "" where there was none
	After  string // "" where there will be none
	Size   bool   // the texts are not values but their sizes, such as "2 orders"
	Forces bool   // replacement
	Own    bool   // the provider sets it, not the configuration
}

// text is what is behind an attribute's "=".
func (d difference) text(arrow string) string {
	switch {
	case d.Size && (d.Before == "" || d.Before == d.After):
		return "{…} # " + d.After
	case d.Size && d.After == "":
		return "{…} # " + d.Before
	case d.Size:
		return "{…} # " + d.Before + arrow + d.After
	case d.Before == "":
		return d.After
	case d.After == "":
		return d.Before + arrow + "null"
	}
	return d.Before + arrow + d.After
}

// Text is text with the usual arrow.
func (d difference) Text() string { return d.text(" → ") }

// differences lists what a plan shows of a change's attributes, in alphabetical order, and counts those that it doesn't
// show because they stay. Further lines of a value are indented by indent.
func differences(c *plan.Change, table *schema.Table, indent string) (list []difference, hidden int) {
	before, after := c.Before, c.After
	switch {
	case c.Kind == providers.Create:
		before = before.Null()
	case c.Kind == providers.Delete, c.Kind == providers.Forget:
		after = after.Null()
	case c.Kind == providers.Adopt, c.Kind == providers.NoOp && c.Importing != "":
		return adopted(before, after, table, indent), 0
	}
	diffs := plan.Diff(before, after)
	if c.Kind != providers.Create {
		hidden = notNull(before) - countNotNull(diffs)
	}
	diffs = withinBlocks(table, diffs)
	if c.Kind == providers.Create || c.Kind == providers.Replace {
		diffs = withWriteOnly(diffs, table)
	}
	for _, d := range diffs {
		shown := differenceOf(attrOf(table, d.Name), d, indent)
		shown.Forces = shown.Forces && c.Kind == providers.Replace
		list = append(list, shown)
	}
	return list, hidden
}

// adopted lists all attributes of an object that is there already, marked only where the plan changes it too.
func adopted(found, now schema.Object, table *schema.Table, indent string) []difference {
	changed := map[string]plan.AttrDiff{}
	if !found.IsNull() {
		for _, d := range withinBlocks(table, plan.Diff(found, now)) {
			changed[d.Name] = d
		}
	}
	var list []difference
	for _, d := range withinBlocks(table, plan.Diff(now.Null(), now)) {
		mark := " "
		if c, ok := changed[d.Name]; ok {
			mark, d = "~", c
		}
		shown := differenceOf(attrOf(table, d.Name), d, indent)
		shown.Mark, shown.Forces = mark, false
		list = append(list, shown)
	}
	return list
}

// withinBlocks replaces what differs of nested blocks by what differs of their attributes, as "block.attribute".
func withinBlocks(table *schema.Table, diffs []plan.AttrDiff) []plan.AttrDiff {
	if table == nil || len(table.Blocks) == 0 {
		return diffs
	}
	var all []plan.AttrDiff
	for _, d := range diffs {
		if table.Block(d.Name) == nil || !d.Before.IsKnown() || !d.After.IsKnown() {
			all = append(all, d)
			continue
		}
		for _, inner := range plan.Diff(schema.ObjectOf(d.Before), schema.ObjectOf(d.After)) {
			inner.Name = d.Name + "." + inner.Name
			all = append(all, inner)
		}
	}
	return all
}

func differenceOf(a *schema.Attr, d plan.AttrDiff, indent string) difference {
	shown := difference{Name: d.Name, Mark: "~"}
	switch {
	case d.Before.IsNull():
		shown.Mark = "+"
	case d.After.IsNull():
		shown.Mark = "-"
	}
	if a != nil {
		shown.Forces, shown.Own = a.ForceNew, a.Mode == schema.Computed
	}
	text := func(v cty.Value) string { return attrText(a, v, indent) }
	switch {
	case isCollection(d.After.Type()):
		shown.Size = true
		text = func(v cty.Value) string { return collectionSize(d.Name, v) }
	case a != nil && a.WriteOnly:
		shown.After = writeOnlyText
		return shown
	case a != nil && a.Sensitive:
		shown.After = sensitiveText
		return shown
	}
	if !d.Before.IsNull() {
		shown.Before = text(d.Before)
	}
	if !d.After.IsNull() {
		shown.After = text(d.After)
	}
	return shown
}

// withWriteOnly adds the write-only attributes that must have been set, of which a plan has no value.
func withWriteOnly(diffs []plan.AttrDiff, table *schema.Table) []plan.AttrDiff {
	if table == nil {
		return diffs
	}
	for _, a := range table.Attrs {
		if a.WriteOnly && a.Mode == schema.Required {
			diffs = append(diffs, plan.AttrDiff{Name: a.Name, Before: cty.NullVal(a.Type), After: cty.UnknownVal(a.Type)})
		}
	}
	slices.SortFunc(diffs, func(x, y plan.AttrDiff) int { return strings.Compare(x.Name, y.Name) })
	return diffs
}

// tableOf is the table of a resource type, or nil.
func tableOf(tables Tables, r addr.Resource) *schema.Table {
	switch {
	case tables == nil:
		return nil
	case r.Mode == addr.Data:
		return tables.DataTable(r.Type)
	}
	return tables.ResourceTable(r.Type)
}

func attrOf(table *schema.Table, name string) *schema.Attr {
	if table == nil {
		return nil
	}
	if block, attr, ok := strings.Cut(name, "."); ok {
		if b := table.Block(block); b != nil {
			return b.Attr(attr)
		}
		return nil
	}
	return table.Attr(name)
}

func nameWidth(diffs []plan.AttrDiff) int {
	width := 0
	for _, d := range diffs {
		width = max(width, len(d.Name))
	}
	return width
}

// notNull counts the attributes that an object has.
func notNull(o schema.Object) int {
	return len(plan.Diff(o.Null(), o))
}

func countNotNull(diffs []plan.AttrDiff) int {
	n := 0
	for _, d := range diffs {
		if !d.Before.IsNull() {
			n++
		}
	}
	return n
}

// outputDifference is what happens to an output value.
func outputDifference(o plan.OutputChange, indent string) difference {
	text := func(v cty.Value) string {
		switch {
		case v == cty.NilVal:
			return ""
		case o.Sensitive:
			return sensitiveText
		}
		return plain(valueText(v, indent))
	}
	d := difference{Name: plain(o.Name), Mark: "~", Before: text(o.Before), After: text(o.After)}
	switch {
	case d.Before == "":
		d.Mark = "+"
	case d.After == "":
		d.Mark = "-"
	}
	return d
}
