package view

// Human output. Rules:
//   - A plan shows what differs and no more: unchanged attributes are counted, not printed; no-op changes are left out.
//   - Nothing in a plan is abbreviated: addresses, hashes and digests are there to be compared.
//   - Only the symbols that occur are explained, and each line means the same without colour.
//   - Amounts have units. "≈" marks what depends on the network; all else is exact.

import (
	"bytes"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
)

// Human prints for people.
type Human struct {
	Streams
	Bars    io.Writer // the terminal itself, for what moves; nil is Err
	Tables  Tables
	Compact bool // warnings without their details
	Concise bool // no progress
}

// Diagnostics prints errors and warnings to standard error.
func (h *Human) Diagnostics(diags hcl.Diagnostics, sources Sources) error {
	return writeDiagnostics(h.Err, diags, sources, h.Width, h.ErrColour, h.Compact)
}

// Print prints a line of result.
func (h *Human) Print(format string, args ...any) error {
	_, err := fmt.Fprintf(h.Out, format+"\n", args...)
	return err
}

// Remark prints what init does. The code is for machines.
func (h *Human) Remark(_, format string, args ...any) error { return h.Print(format, args...) }

// kind is how a change is marked and announced.
type kind struct {
	symbol, legend, header string
	paint                  func(Palette, string) string
}

func kindOf(k providers.ChangeKind) kind {
	switch k {
	case providers.Create:
		return kind{"+", "create", "will be created", Palette.green}
	case providers.Adopt:
		return kind{"^", "adopt", "will be adopted: it exists already", Palette.cyan}
	case providers.Update:
		return kind{"~", "update in-place", "will be updated in-place", Palette.yellow}
	case providers.Replace:
		return kind{"+/-", "replace: make a new one, withdraw the old one", "must be replaced", Palette.yellow}
	case providers.Delete:
		return kind{"-", "destroy", "will be destroyed", Palette.red}
	case providers.Forget:
		return kind{".", "forget", "will be forgotten", Palette.dim}
	case plan.Read:
		return kind{"<=", "read (data sources)", "will be read during apply", Palette.cyan}
	}
	return kind{" ", "", "", Palette.dim}
}

// shownKinds is the order of the legend.
var shownKinds = []providers.ChangeKind{
	providers.Create, providers.Adopt, providers.Update, providers.Replace, providers.Delete, providers.Forget, plan.Read,
}

// Plan prints a plan to standard output.
func (h *Human) Plan(p *plan.Plan) error {
	var b bytes.Buffer
	c := p.Count()
	switch {
	case p.Empty() && p.Complete:
		h.planNothing(&b, p)
	default:
		h.planLegend(&b, p, c)
		h.planDrift(&b, p)
		for i := range p.Changes {
			h.planChange(&b, &p.Changes[i])
		}
		for i := range p.Reads {
			h.planChange(&b, &p.Reads[i])
		}
		for _, m := range otherMoves(p) {
			fmt.Fprintf(&b, "  %s\n\n", h.Colour.bold(movedHeader(m)))
		}
		h.planActions(&b, p.Actions)
	}
	h.planSelection(&b, p)
	h.planNotices(&b, p.Notices)
	h.planPending(&b, p)
	if !p.Empty() {
		h.planOutputs(&b, p.Outputs)
		h.planSummary(&b, p, c)
	}
	_, err := h.Out.Write(b.Bytes())
	return err
}

// Warnings prints what a plan warns of, and nothing else of it.
func (h *Human) Warnings(p *plan.Plan) error {
	var b bytes.Buffer
	h.planSelection(&b, p)
	h.planNotices(&b, slices.DeleteFunc(slices.Clone(p.Notices), func(n plan.Notice) bool { return n.Level != providers.Warning }))
	_, err := h.Out.Write(b.Bytes())
	return err
}

// planSelection warns of what isn't looked at.
func (h *Human) planSelection(b *bytes.Buffer, p *plan.Plan) {
	if len(p.Targets) > 0 {
		fmt.Fprintf(b, "%s planned for %s only: the rest of the configuration is left out.\n\n",
			h.Colour.yellow("Warning:"), strings.Join(p.Targets, ", "))
	}
	if len(p.Exclude) > 0 {
		fmt.Fprintf(b, "%s planned without %s.%s\n\n", h.Colour.yellow("Warning:"), strings.Join(p.Exclude, ", "), leftOutText(p.LeftOut))
	}
}

// leftOutText names what is left out with what is excluded.
func leftOutText(addresses []string) string {
	if len(addresses) == 0 {
		return ""
	}
	return " Excluded with it, because of what depends on what: " + strings.Join(addresses, ", ") + "."
}

func (h *Human) planNothing(b *bytes.Buffer, p *plan.Plan) {
	fmt.Fprintf(b, "%s %s\n", h.Colour.green("No changes."), nothingText(p.Mode))
}

func nothingText(m plan.Mode) string {
	switch m {
	case plan.RefreshOnly:
		return "The state matches what exists."
	case plan.Destroy:
		return "Nothing is left to destroy."
	}
	return "Your apps and orders match the configuration."
}

func (h *Human) planLegend(b *bytes.Buffer, p *plan.Plan, c plan.Counts) {
	var legend strings.Builder
	for _, k := range shownKinds {
		if c.Changes[k] > 0 {
			shown := kindOf(k)
			fmt.Fprintf(&legend, "  %s %s\n", shown.paint(h.Colour, shown.symbol), shown.legend)
		}
	}
	if !p.Complete {
		b.WriteString(h.Colour.red("This plan is incomplete: the errors left something out. It can't be applied.") + "\n\n")
	}
	if legend.Len() > 0 {
		b.WriteString("Symbols of what will happen:\n" + legend.String() + "\n")
	}
}

// planChange prints one object.
func (h *Human) planChange(b *bytes.Buffer, c *plan.Change) {
	if silent(c) {
		return
	}
	shown := kindOf(c.Kind)
	fmt.Fprintf(b, "  %s\n", h.Colour.bold(header(c)))
	for _, remark := range remarks(c) {
		fmt.Fprintf(b, "  %s\n", remark)
	}
	for _, reason := range c.Because {
		fmt.Fprintf(b, "  # (because %s)\n", strings.TrimPrefix(reason, "because "))
	}
	r := c.Addr.Resource
	symbol := shown.paint(h.Colour, shown.symbol)
	fmt.Fprintf(b, "%s%s %s %q %q {\n", strings.Repeat(" ", 3-len(shown.symbol)), symbol, blockOf(r), r.Type, r.Name)
	for _, line := range h.attributes(c, tableOf(h.Tables, r)) {
		b.WriteString(line + "\n")
	}
	b.WriteString("    }\n\n")
}

// blockOf is the type of the block that an address names.
func blockOf(r addr.Resource) string {
	if r.Mode == addr.Data {
		return "data"
	}
	return "resource"
}

// attributes prints the attributes of a change, one or more lines each.
func (h *Human) attributes(c *plan.Change, table *schema.Table) []string {
	list, hidden := differences(c, table, "        ")
	width := 0
	for _, d := range list {
		width = max(width, len(d.Name))
	}
	var lines []string
	for _, d := range list {
		text := h.difference(d)
		if d.Forces {
			text += h.Colour.red(" # forces replacement")
		}
		lines = append(lines, fmt.Sprintf("      %s %-*s = %s", markPaint(d.Mark)(h.Colour, d.Mark), width, d.Name, text))
	}
	if hidden > 0 {
		lines = append(lines, h.Colour.dim(fmt.Sprintf("        # (%s hidden)", plural(hidden, "unchanged attribute"))))
	}
	return lines
}

// difference is what is behind an attribute's "=".
func (h *Human) difference(d difference) string {
	lines := d.Diff()
	if lines == nil {
		return d.text(h.Colour.dim(" -> "))
	}
	texts := make([]string, len(lines))
	for i, l := range lines {
		texts[i] = l.marked(func(mark, text string) string { return markPaint(mark)(h.Colour, text) })
	}
	return strings.Join(texts, "\n")
}

func markPaint(mark string) func(Palette, string) string {
	switch mark {
	case "+":
		return Palette.green
	case "-":
		return Palette.red
	case "~":
		return Palette.yellow
	}
	return func(_ Palette, s string) string { return s }
}

// planActions prints the numbered list.
func (h *Human) planActions(b *bytes.Buffer, actions []providers.Action) {
	if len(actions) == 0 {
		return
	}
	b.WriteString(h.Colour.bold("Actions, in order:") + "\n\n")
	number, kind := len(fmt.Sprint(len(actions))), 0
	for i := range actions {
		kind = max(kind, len(actions[i].Kind))
	}
	for i := range actions {
		a := &actions[i]
		text := a.Addr.String()
		if a.Summary != "" {
			text += ": " + a.Summary
		}
		fmt.Fprintf(b, "  %*d. %-*s  %s\n", number, a.ID, kind, a.Kind, text)
		var remarks []string
		if len(a.After) > 0 {
			remarks = append(remarks, "after "+strings.Join(strings.Fields(strings.Trim(fmt.Sprint(a.After), "[]")), ", "))
		}
		if a.Group != 0 && a.Group != a.ID {
			remarks = append(remarks, fmt.Sprintf("together with %d", a.Group))
		}
		if remarks = append(remarks, costTexts(a.Cost)...); len(remarks) > 0 {
			fmt.Fprintf(b, "  %*s  %s\n", number+kind+2, "", h.Colour.dim(strings.Join(remarks, "; ")))
		}
	}
	b.WriteByte('\n')
}

func costTexts(c providers.Cost) []string {
	var texts []string
	if c.Gas > 0 {
		text := "gas ≈ " + grouped(fmt.Sprint(c.Gas))
		if fee, ok := new(big.Int).SetString(c.Fee, 10); ok {
			text += " (" + ether(fee) + ")"
		}
		texts = append(texts, text)
	}
	if c.Signatures > 0 {
		texts = append(texts, plural(c.Signatures, "signature"))
	}
	if c.Requests > 0 {
		texts = append(texts, plural(c.Requests, "request"))
	}
	return texts
}

// ether is an amount of wei in ETH, to two significant digits.
func ether(wei *big.Int) string {
	if wei.Sign() == 0 {
		return "0 ETH"
	}
	digits := wei.String()
	if len(digits) > 2 { // round to two digits, half up
		unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(len(digits)-2)), nil)
		half := new(big.Int).Rsh(unit, 1)
		wei = new(big.Int).Mul(new(big.Int).Div(new(big.Int).Add(wei, half), unit), unit)
	}
	text := new(big.Rat).SetFrac(wei, big.NewInt(1e18)).FloatString(18)
	return strings.TrimRight(strings.TrimRight(text, "0"), ".") + " ETH"
}

// planNotices prints what the reviewer should know: first what stays buyable, then warnings, then the rest.
func (h *Human) planNotices(b *bytes.Buffer, notices []plan.Notice) {
	for _, group := range []struct {
		level providers.Level
		title string
	}{
		{providers.Exposure, h.Colour.bold("What stays buyable:")},
		{providers.Warning, ""},
		{providers.Info, h.Colour.bold("Notes:")},
	} {
		first := true
		for _, n := range notices {
			if n.Level != group.level {
				continue
			}
			if first && group.title != "" {
				b.WriteString(group.title + "\n\n")
			}
			first = false
			h.notice(b, n)
		}
		if !first && group.title != "" {
			b.WriteByte('\n')
		}
	}
}

func (h *Human) notice(b *bytes.Buffer, n plan.Notice) {
	if n.Level == providers.Warning {
		at := n.About()
		if n.Attr != "" {
			at += "." + n.Attr
		}
		fmt.Fprintf(b, "%s %s: %s\n", h.Colour.yellow("Warning:"), at, n.Summary)
		if n.Detail != "" && !h.Compact {
			b.WriteString(wrap(n.Detail, h.Width, "  ") + "\n")
		}
		b.WriteByte('\n')
		return
	}
	fmt.Fprintf(b, "  - %s: %s\n", n.About(), n.Summary)
	if n.Detail != "" {
		b.WriteString(wrap(n.Detail, h.Width, "    ") + "\n")
	}
}

func (h *Human) planPending(b *bytes.Buffer, p *plan.Plan) {
	if len(p.Pending) > 0 {
		b.WriteString(h.Colour.bold("Left by an interrupted apply, to be taken up first:") + "\n\n")
		for _, line := range p.Pending {
			fmt.Fprintf(b, "  - %s\n", line)
		}
		b.WriteByte('\n')
	}
}

func (h *Human) planOutputs(b *bytes.Buffer, outputs []plan.OutputChange) {
	width := 0
	for _, o := range outputs {
		if o.Changed() {
			width = max(width, len(o.Name))
		}
	}
	if width == 0 {
		return
	}
	b.WriteString(h.Colour.bold("Changes to Outputs:") + "\n")
	for _, o := range outputs {
		if !o.Changed() {
			continue
		}
		d := outputDifference(o, "    ")
		fmt.Fprintf(b, "  %s %-*s = %s\n", markPaint(d.Mark)(h.Colour, d.Mark), width, d.Name, h.difference(d))
	}
	b.WriteByte('\n')
}

func (h *Human) planSummary(b *bytes.Buffer, p *plan.Plan, c plan.Counts) {
	fmt.Fprintf(b, "%s %s.\n", h.Colour.bold("Plan:"), countText(c))
	if len(p.Actions) > 0 {
		fmt.Fprintf(b, "%s %d — %s.\n", h.Colour.bold("Actions:"), len(p.Actions), totalText(c))
	}
}

// countText is a summary of changes; add, change and destroy are there even when they are 0.
func countText(c plan.Counts) string {
	var parts []string
	for _, part := range []struct {
		kind   providers.ChangeKind
		text   string
		always bool
	}{
		{providers.Create, "to add", true}, {providers.Adopt, "to adopt", false}, {providers.Update, "to change", true},
		{providers.Replace, "to replace", false}, {providers.Delete, "to destroy", true}, {providers.Forget, "to forget", false},
	} {
		if count := c.Changes[part.kind]; count > 0 || part.always {
			parts = append(parts, fmt.Sprintf("%d %s", count, part.text))
		}
	}
	return importText(c.Imports, "to import") + strings.Join(parts, ", ")
}

func totalText(c plan.Counts) string {
	parts := []string{"no transaction"}
	if c.Transactions > 0 {
		fee := ether(c.FeeWei)
		if c.FeeMaxWei.Sign() > 0 {
			fee += ", at most " + ether(c.FeeMaxWei)
		}
		parts[0] = fmt.Sprintf("%s (about %s gas, %s)", plural(c.Transactions, "transaction"), grouped(fmt.Sprint(c.Gas)), fee)
	}
	if c.Signatures > 0 {
		parts = append(parts, plural(c.Signatures, "signature"))
	}
	if c.Requests > 0 {
		parts = append(parts, plural(c.Requests, "request"))
	}
	return strings.Join(parts, ", ")
}
