package view

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
)

// MarkdownLimit is the most bytes that a plan in Markdown has. A comment on GitHub has at most 65,536 characters.
const MarkdownLimit = 64_999

// Markdown prints a plan as a comment for a pull request.
type Markdown struct {
	Out    io.Writer
	Tables Tables
}

// Plan prints a plan. What doesn't fit into MarkdownLimit is left out and counted; of what goes or becomes usable by others
// everything is named, though in fewer words, unless it is thousands: then it is counted by resource.
func (m *Markdown) Plan(p *plan.Plan) error {
	r, err := newReview(p, m.Tables)
	if err != nil {
		return err
	}
	_, err = io.WriteString(m.Out, r.markdown(MarkdownLimit))
	return err
}

func (r *review) markdown(limit int) string {
	const reserved = 600 // for the remark on what was left out
	head, foot := r.markdownHead(), r.markdownFoot()
	room := limit - len(head) - len(foot) - reserved
	alarms, inShort := r.alarms(room)
	room -= len(alarms)

	var b strings.Builder
	var left []string
	for _, s := range r.sections() {
		text, shown := s.render(min(room, limit*s.share/100))
		if shown < len(s.items) {
			left = append(left, fmt.Sprintf("%s of %s", grouped(fmt.Sprint(shown)), plural(len(s.items), s.noun)))
		}
		if costs := r.costTable(); s.noun == "action" && len(text)+len(costs) <= room {
			text += costs
		}
		b.WriteString(text)
		room -= len(text)
	}
	var cut string
	switch {
	case len(left) > 0:
		cut = fmt.Sprintf("> [!NOTE]\n> This comment is cut to fit: it shows %s. %s `iexecform show FILE` prints all of the saved plan.\n\n", strings.Join(left, ", "), inShort)
	case inShort != everyAlarm:
		cut = fmt.Sprintf("> [!NOTE]\n> This comment is cut to fit. %s `iexecform show FILE` prints all of the saved plan.\n\n", inShort)
	}
	return head + cut + alarms + b.String() + foot
}

func (r *review) markdownHead() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## iexecform plan: %s\n\n", r.Verdict)
	if r.Costs != "" {
		fmt.Fprintf(&b, "%s.\n\n", r.Costs)
	}
	if r.Incomplete {
		b.WriteString("> [!CAUTION]\n> This plan is incomplete: the errors left something out. It can't be applied.\n\n")
	}
	if len(r.Targets) > 0 {
		fmt.Fprintf(&b, "> [!WARNING]\n> Planned for %s only: the rest of the configuration is left out.\n\n", codes(r.Targets))
	}
	if len(r.Exclude) > 0 {
		fmt.Fprintf(&b, "> [!WARNING]\n> Planned without %s.", codes(r.Exclude))
		if len(r.LeftOut) > 0 {
			fmt.Fprintf(&b, " Excluded with it, because of what depends on what: %s.", codes(r.LeftOut))
		}
		b.WriteString("\n\n")
	}
	if len(r.Pending) > 0 {
		b.WriteString("> [!WARNING]\n> Left by an interrupted apply, to be taken up first:\n")
		for _, line := range r.Pending[:min(len(r.Pending), 20)] {
			fmt.Fprintf(&b, "> - %s\n", shortened(line))
		}
		if more := len(r.Pending) - 20; more > 0 {
			fmt.Fprintf(&b, "> - and %d more\n", more)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (r *review) markdownFoot() string {
	var b strings.Builder
	fmt.Fprintf(&b, "---\n\n`iexecform apply FILE` does just this plan, and refuses if something that it takes for granted has changed.\n\nDigest: %s", code(r.Digest))
	for _, f := range r.Facts[:min(len(r.Facts), 20)] {
		fmt.Fprintf(&b, " · %s: %s", inline(f.Name), shortened(f.Value))
	}
	b.WriteByte('\n')
	return b.String()
}

// shortened is text from outside at a place where it must not take much room.
func shortened(s string) string {
	const most = 200
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return inline(s)
}

func codes(list []string) string {
	const most = 20
	shown := make([]string, 0, most)
	for _, s := range list[:min(len(list), most)] {
		shown = append(shown, shortened(s))
	}
	if more := len(list) - most; more > 0 {
		shown = append(shown, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(shown, ", ")
}

const everyAlarm = "Of what is destroyed, replaced, forgotten or stays usable, everything is here."

// alarms is what decides about a plan: what stays or becomes usable by others, and what goes. It is in as many words as
// there is room for, which the remark tells.
func (r *review) alarms(room int) (text, remark string) {
	for _, try := range []struct {
		room   int
		make   func() string
		remark string
	}{
		{room / 2, func() string { return r.alarmLists(true) }, everyAlarm},
		{room / 2, func() string { return r.alarmLists(false) }, everyAlarm},
		{room, r.alarmKeys, "What is destroyed, replaced, forgotten or stays usable is all here, but by name only."},
		{room, func() string { return r.alarmCounts(true) }, "Even what is destroyed, replaced, forgotten or stays usable is only counted, by resource."},
	} {
		if text = try.make(); len(text) <= try.room {
			return text, try.remark
		}
	}
	return r.alarmCounts(false), "Even what is destroyed, replaced, forgotten or stays usable is only counted."
}

const (
	exposureTitle = "### What stays buyable\n\n"
	goingTitle    = "### Destroyed, replaced or forgotten\n\n"
)

// alarmLists has a line for each exposure and each object that goes.
func (r *review) alarmLists(details bool) string {
	var exposures, going strings.Builder
	for _, n := range r.Exposures {
		fmt.Fprintf(&exposures, "- %s: %s", code(n.About()), inline(n.Summary))
		if details && n.Detail != "" {
			fmt.Fprintf(&exposures, "<br>%s", inline(n.Detail))
		}
		exposures.WriteByte('\n')
	}
	for i := range r.Changes {
		c := &r.Changes[i]
		if !c.Goes() {
			continue
		}
		fmt.Fprintf(&going, "- %s %s %s", code(c.Symbol), code(c.Addr), c.Event)
		if notes := c.Notes(); details && len(notes) > 0 {
			fmt.Fprintf(&going, " (%s)", inline(strings.Join(notes, "; ")))
		}
		going.WriteByte('\n')
	}
	return titled(exposureTitle, exposures.String()) + titled(goingTitle, going.String())
}

func titled(title, body string) string {
	if body == "" {
		return ""
	}
	return title + body + "\n"
}

// A heap is objects of one resource to which the same happens.
type heap struct{ block, event, symbol string }

// heaps sorts exposures and what goes into heaps, in the order of first appearance, with the objects' addresses.
func (r *review) heaps() (exposures, going []heap, members map[heap][]string) {
	members = map[heap][]string{}
	for _, n := range r.Exposures {
		h := heap{block: n.Block}
		if len(members[h]) == 0 {
			exposures = append(exposures, h)
		}
		members[h] = append(members[h], n.Addr)
	}
	for i := range r.Changes {
		if c := &r.Changes[i]; c.Goes() {
			h := heap{c.Block, c.Event, c.Symbol}
			if len(members[h]) == 0 {
				going = append(going, h)
			}
			members[h] = append(members[h], c.Addr)
		}
	}
	return exposures, going, members
}

// alarmKeys names all objects, those of a resource together.
func (r *review) alarmKeys() string {
	exposures, going, members := r.heaps()
	names := func(h heap) string {
		var keys []string
		for _, a := range slices.Compact(members[h]) {
			if key := strings.TrimPrefix(a, h.block); key != "" {
				keys = append(keys, key)
			}
		}
		if len(keys) == 0 {
			return ""
		}
		return ": " + code(strings.Join(keys, " "))
	}
	var one, two strings.Builder
	for _, h := range exposures {
		fmt.Fprintf(&one, "- %s, %s%s\n", code(h.block), grouped(fmt.Sprint(len(members[h]))), names(h))
	}
	for _, h := range going {
		fmt.Fprintf(&two, "- %s %s, %s %s%s\n", code(h.symbol), code(h.block), grouped(fmt.Sprint(len(members[h]))), h.event, names(h))
	}
	return titled(exposureTitle, one.String()) + titled(goingTitle, two.String())
}

// alarmCounts counts the objects, by resource or all together.
func (r *review) alarmCounts(byResource bool) string {
	exposures, going, members := r.heaps()
	var one, two strings.Builder
	if !byResource {
		counts := map[string]int{}
		for _, h := range going {
			counts[h.event] += len(members[h])
		}
		for _, k := range []providers.ChangeKind{providers.Replace, providers.Delete, providers.Forget} {
			if event := kindOf(k).header; counts[event] > 0 {
				fmt.Fprintf(&two, "- %s %s\n", grouped(fmt.Sprint(counts[event])), event)
			}
		}
		if len(r.Exposures) > 0 {
			fmt.Fprintf(&one, "- %s\n", grouped(fmt.Sprint(len(r.Exposures))))
		}
		return titled(exposureTitle, one.String()) + titled(goingTitle, two.String())
	}
	for _, h := range exposures {
		fmt.Fprintf(&one, "- %s: %s\n", code(h.block), grouped(fmt.Sprint(len(members[h]))))
	}
	for _, h := range going {
		fmt.Fprintf(&two, "- %s %s: %s %s\n", code(h.symbol), code(h.block), grouped(fmt.Sprint(len(members[h]))), h.event)
	}
	return titled(exposureTitle, one.String()) + titled(goingTitle, two.String())
}

// A section is a list that may be cut.
type section struct {
	title string
	noun  string
	lang  string // of its code block; "" for a list
	share int    // at most so many per cent of all
	items []string
	first func(int) bool // items that are chosen before the others; nil: none
}

func (r *review) sections() []section {
	var warnings, changes, actions, outputs, expects, infos []string
	for _, n := range r.Warnings {
		warnings = append(warnings, noticeMarkdown(n))
	}
	for _, n := range r.Infos {
		infos = append(infos, noticeMarkdown(n))
	}
	for i := range r.Changes {
		changes = append(changes, r.Changes[i].diff())
	}
	for _, m := range r.Moves {
		changes = append(changes, "  # "+m+"\n")
	}
	for i := range r.Actions {
		actions = append(actions, r.Actions[i].line(len(fmt.Sprint(len(r.Actions)))))
	}
	for _, d := range r.Outputs {
		outputs = append(outputs, d.diff(len(d.Name), ""))
	}
	for _, e := range r.Expects {
		text := e.Summary
		if e.Action != 0 {
			text = fmt.Sprintf("action %d: %s", e.Action, text)
		}
		expects = append(expects, text+"\n")
	}
	return []section{
		{"Warnings", "warning", "", 15, warnings, nil},
		{"Changes", "change", "diff", 50, changes, func(i int) bool { return i < len(r.Changes) && r.Changes[i].Goes() }},
		{"Actions, in order", "action", "text", 30, actions, nil},
		{"Changes to outputs", "output", "diff", 15, outputs, nil},
		{"Checked again before anything is done", "precondition", "text", 15, expects, nil},
		{"Notes", "note", "", 15, infos, nil},
	}
}

// render returns the section with as many items as fit into room, and their number.
func (s *section) render(room int) (text string, shown int) {
	if len(s.items) == 0 {
		return "", 0
	}
	before := fmt.Sprintf("<details><summary>%s (%s)</summary>\n\n", s.title, grouped(fmt.Sprint(len(s.items))))
	after := "\n</details>\n\n"
	if s.lang != "" {
		fence := strings.Repeat("`", max(3, longestTicks(s.items)+1))
		before += fence + s.lang + "\n"
		after = fence + "\n" + after
	}
	room -= len(before) + len(after)
	taken := make([]bool, len(s.items))
	for _, first := range []bool{true, false} {
		for i, item := range s.items {
			if (s.first != nil && s.first(i)) != first {
				continue
			}
			if len(item) > room {
				room = min(room, 0) // what follows is not shown either: no gaps within a kind
				break
			}
			taken[i], room = true, room-len(item)
			shown++
		}
	}
	if shown == 0 {
		return "", 0
	}
	var b strings.Builder
	b.WriteString(before)
	for i, item := range s.items {
		if taken[i] {
			b.WriteString(item)
		}
	}
	b.WriteString(after)
	return b.String(), shown
}

// costTable is what the actions cost, by kind.
func (r *review) costTable() string {
	const most = 30
	if len(r.Bill) == 0 || len(r.Bill) > most {
		return ""
	}
	var b strings.Builder
	b.WriteString("<details><summary>Costs</summary>\n\n| action | number | gas ≈ | fee ≈ | signatures | requests |\n| --- | ---: | ---: | ---: | ---: | ---: |\n")
	for i := range r.Bill {
		row := &r.Bill[i]
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %d | %d |\n", code(row.Kind), row.Number, row.Gas(), row.Fee(), row.Signatures, row.Requests)
	}
	b.WriteString("\n</details>\n\n")
	return b.String()
}

func noticeMarkdown(n noticeText) string {
	text := fmt.Sprintf("- %s: %s\n", code(n.About()), inline(n.Summary))
	if n.Detail != "" {
		text = strings.TrimSuffix(text, "\n") + "<br>" + inline(n.Detail) + "\n"
	}
	return text
}

// diff is the change as a block of lines that begin with "+", "-", "!" or a space, which are coloured as a diff is.
func (c *changeText) diff() string {
	var b strings.Builder
	mark := "!"
	switch c.Kind {
	case providers.Create:
		mark = "+"
	case providers.Delete:
		mark = "-"
	case providers.Adopt, providers.NoOp:
		mark = " "
	}
	fmt.Fprintf(&b, "%s # %s %s\n", mark, c.Addr, c.Event)
	for _, note := range c.Notes() {
		fmt.Fprintf(&b, "%s # (%s)\n", mark, strings.ReplaceAll(note, "\n", " "))
	}
	width := 0
	for _, d := range c.Lines {
		width = max(width, len(d.Name))
	}
	for _, d := range c.Lines {
		comment := ""
		if d.Forces {
			comment = " # forces replacement"
		}
		b.WriteString(d.diff(width, comment))
	}
	if c.Hidden > 0 {
		fmt.Fprintf(&b, "    # (%s hidden)\n", plural(c.Hidden, "unchanged attribute"))
	}
	b.WriteByte('\n')
	return b.String()
}

func (d difference) diff(width int, comment string) string {
	line := func(mark, text string) string {
		return fmt.Sprintf("%s   %-*s = %s%s\n", mark, width, d.Name, strings.ReplaceAll(text, "\n", "\n"+mark+"   "), comment)
	}
	mark := strings.ReplaceAll(d.Mark, "~", "!")
	if lines := d.Diff(); lines != nil {
		var b strings.Builder
		b.WriteString(line(" ", lines[0].Text))
		for _, l := range lines[1:] {
			b.WriteString(l.Mark + "   " + l.Text + "\n")
		}
		return b.String()
	}
	switch {
	case d.Mark == "~" && !d.Size && d.Before != "" && d.After != "":
		return line("-", d.Before) + line("+", d.After)
	case d.After == "" && !d.Size:
		return line(mark, d.Before)
	}
	return line(mark, d.text(" -> "))
}

func (a *actionText) line(width int) string {
	text := fmt.Sprintf("%*d. %s %s", width, a.ID, a.Kind, a.Addr)
	if a.Summary != "" {
		text += ": " + strings.ReplaceAll(a.Summary, "\n", " ")
	}
	if remarks := a.Remarks(); len(remarks) > 0 {
		text += fmt.Sprintf("\n%*s  %s", width, "", strings.Join(remarks, "; "))
	}
	return text + "\n"
}

// code is text as a code span, in which nothing is markup.
func code(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if s == "" {
		return "` `"
	}
	ticks := strings.Repeat("`", longestTicks([]string{s})+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return ticks + s + ticks
}

func longestTicks(texts []string) int {
	longest := 0
	for _, s := range texts {
		run := 0
		for i := range len(s) {
			if s[i] != '`' {
				run = 0
				continue
			}
			run++
			longest = max(longest, run)
		}
	}
	return longest
}

// word is what is no markup, no link and no mention wherever it stands within a line.
var word = regexp.MustCompile(`^(?:[-—–=≈→·+]|["'(]*[\p{L}\p{N}]+(?:['’][\p{L}]+|-\p{L}+|[.,]\p{N}+)*["')]*[.,;:!?…%]?)$`)

// inline is text within a line of Markdown: words stand as they are, all else is in code spans.
func inline(s string) string {
	const longest = 32 // of what is a word, and not a hash
	var b strings.Builder
	var inCode []string
	flush := func() {
		if len(inCode) > 0 {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(code(strings.Join(inCode, " ")))
			inCode = nil
		}
	}
	for _, token := range strings.Fields(s) {
		if !word.MatchString(token) || len(token) > longest {
			bare := strings.TrimRight(token, ".,;:")
			if inCode = append(inCode, bare); bare != "" && bare != token {
				flush()
				b.WriteString(token[len(bare):])
			}
			continue
		}
		flush()
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(token)
	}
	flush()
	if b.Len() == 0 {
		return code("")
	}
	return b.String()
}
