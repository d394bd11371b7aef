package view

// A review is what reviewers read of a plan: the same in Markdown and in HTML. Rules:
//   - First what decides: the summary, what stays usable by others, what goes; then the rest, folded.
//   - Nothing is abbreviated, but for what doesn't fit into a Markdown comment, and that is said.
//   - Names and values are what somebody wrote into a file, so they may be meant to deceive: nothing in them acts on a
//     terminal, becomes markup, or changes the direction or the place of other text.

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
)

// review is a plan in words. All its text is plain.
type review struct {
	Verdict    string // "2 to add, …" or "No changes. …"
	Costs      string // of all actions
	Incomplete bool
	Targets    []string
	Exclude    []string
	LeftOut    []string // with what is excluded
	Digest     string
	Facts      []fact // what the plan was made from and for
	Tallies    []tally
	Changes    []changeText
	Moves      []string // of objects that aren't among the changes
	Actions    []actionText
	Bill       []billRow // of the actions, by kind
	Exposures  []noticeText
	Warnings   []noticeText
	Infos      []noticeText
	Outputs    []difference
	Expects    []expectText
	Pending    []string
}

type fact struct{ Name, Value string }

// tally is how many changes are of one kind.
type tally struct {
	Kind   providers.ChangeKind
	Symbol string
	Count  int
	Legend string
}

// changeText is a change that does something.
type changeText struct {
	Addr    string
	Block   string // Addr without the key
	Kind    providers.ChangeKind
	Symbol  string
	Event   string // what happens: "will be created"
	Remarks []string
	Because []string
	Lines   []difference
	Hidden  int // attributes that stay as they are
}

// Goes reports whether something ends with the change.
func (c *changeText) Goes() bool {
	return c.Kind == providers.Delete || c.Kind == providers.Replace || c.Kind == providers.Forget
}

// Notes are all remarks and reasons.
func (c *changeText) Notes() []string {
	notes := slices.Clone(c.Remarks)
	for _, reason := range c.Because {
		notes = append(notes, "because "+reason)
	}
	return notes
}

type actionText struct {
	ID      int
	Kind    string
	Addr    string
	Block   string // Addr without the key
	Type    string // of the resource
	Summary string
	After   []int
	Group   int // the first of those that it is done together with; 0 when alone, or the first
	Costs   []string
	Touch   touch
}

// touch is the most lasting thing that an action does.
type touch string

const (
	touchChain   touch = "chain"   // a transaction
	touchService touch = "service" // a signature, or a request to a service
	touchState   touch = "state"   // nothing outside
)

// billRow is what actions of one kind cost together.
type billRow struct {
	Kind       string
	Number     int
	Signatures int
	Requests   int
	gas        uint64
	wei        *big.Int
}

func (r *billRow) add(c providers.Cost) {
	r.Number++
	r.Signatures += c.Signatures
	r.Requests += c.Requests
	r.gas += c.Gas
	if fee, ok := new(big.Int).SetString(c.Fee, 10); ok {
		r.wei.Add(r.wei, fee)
	}
}

// Gas is "" for none.
func (r *billRow) Gas() string {
	if r.gas == 0 {
		return ""
	}
	return grouped(fmt.Sprint(r.gas))
}

// Fee is "" for none, or one that isn't known.
func (r *billRow) Fee() string {
	if r.wei.Sign() == 0 {
		return ""
	}
	return ether(r.wei)
}

func bill(actions []providers.Action) []billRow {
	var rows []billRow
	at := map[string]int{}
	for i := range actions {
		kind := plain(actions[i].Kind)
		n, ok := at[kind]
		if !ok {
			n = len(rows)
			at[kind] = n
			rows = append(rows, billRow{Kind: kind, wei: new(big.Int)})
		}
		rows[n].add(actions[i].Cost)
	}
	return rows
}

type noticeText struct {
	Addr    string // of the object or provider
	Block   string // Addr without the key
	Attr    string
	Summary string
	Detail  string
}

// About is the address with the attribute, if there is one.
func (n noticeText) About() string {
	if n.Attr == "" {
		return n.Addr
	}
	return n.Addr + "." + n.Attr
}

// expectText is what must still hold for an action, or with action 0 for the plan.
type expectText struct {
	Action  int
	Summary string
}

// plain makes text harmless: control characters and those without a glyph of their own, which reorder or hide others, are
// shown by their code. Line feeds stay.
func plain(s string) string {
	harmful := func(r rune) bool {
		if r >= ' ' && r <= '~' {
			return false
		}
		return r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || r == utf8.RuneError)
	}
	if !strings.ContainsFunc(s, harmful) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if harmful(r) {
			fmt.Fprintf(&b, `\u{%04x}`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func plains(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = plain(s)
	}
	return out
}

func newReview(p *plan.Plan, tables Tables) (*review, error) {
	digest, err := plan.Digest(p)
	if err != nil {
		return nil, err
	}
	c := p.Count()
	r := &review{
		Verdict: verdict(p, c), Incomplete: !p.Complete, Targets: plains(p.Targets), Exclude: plains(p.Exclude), LeftOut: plains(p.LeftOut), Digest: digest, Facts: facts(p), Pending: plains(p.Pending),
	}
	if len(p.Actions) > 0 {
		r.Costs = plural(len(p.Actions), "action") + ": " + totalText(c)
	}
	for _, k := range shownKinds {
		if n := c.Changes[k]; n > 0 {
			shown := kindOf(k)
			r.Tallies = append(r.Tallies, tally{k, shown.symbol, n, shown.legend})
		}
	}
	for i := range p.Changes {
		if change := &p.Changes[i]; !silent(change) {
			r.Changes = append(r.Changes, toChangeText(change, tables))
		}
	}
	for i := range p.Reads {
		r.Changes = append(r.Changes, toChangeText(&p.Reads[i], tables))
	}
	r.Bill = bill(p.Actions)
	for _, m := range otherMoves(p) {
		r.Moves = append(r.Moves, plain(strings.TrimPrefix(movedHeader(m), "# ")))
	}
	for i := range p.Actions {
		a := &p.Actions[i]
		r.Actions = append(r.Actions, toActionText(a))
		for _, e := range a.Expect {
			r.Expects = append(r.Expects, expectText{a.ID, plain(e.Summary)})
		}
	}
	said := map[string]bool{}
	for _, e := range p.Expect {
		if !said[e.Summary] {
			r.Expects = append(r.Expects, expectText{0, plain(e.Summary)})
		}
		said[e.Summary] = true
	}
	for _, n := range p.Notices {
		text := noticeText{Addr: plain(n.About()), Block: plain(n.About()), Attr: n.Attr, Summary: plain(n.Summary), Detail: plain(n.Detail)}
		if n.Provider == "" {
			text.Block = strings.TrimSuffix(text.Addr, plain(n.Addr.Key.String()))
		}
		switch n.Level {
		case providers.Exposure:
			r.Exposures = append(r.Exposures, text)
		case providers.Warning:
			r.Warnings = append(r.Warnings, text)
		default:
			r.Infos = append(r.Infos, text)
		}
	}
	for _, o := range p.Outputs {
		if o.Changed() {
			r.Outputs = append(r.Outputs, outputDifference(o, ""))
		}
	}
	return r, nil
}

// verdict is the summary without what doesn't happen.
func verdict(p *plan.Plan, c plan.Counts) string {
	if p.Empty() && p.Complete {
		return "No changes. " + nothingText(p.Mode)
	}
	var parts []string
	for _, part := range strings.Split(countText(c), ", ") {
		if !strings.HasPrefix(part, "0 ") {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return "only outputs and what the state remembers"
	}
	return strings.Join(parts, ", ")
}

func facts(p *plan.Plan) []fact {
	var list []fact
	add := func(name, value string) {
		if value != "" {
			list = append(list, fact{name, plain(value)})
		}
	}
	for _, v := range p.Providers {
		var words []string
		for _, name := range slices.Sorted(maps.Keys(v.Network)) {
			words = append(words, name+" "+v.Network[name])
		}
		if len(words) > 0 {
			add("provider "+v.Addr.String(), strings.Join(words, ", "))
		}
	}
	add("project", p.Project)
	add("workspace", p.Workspace)
	if p.Mode != plan.Normal {
		add("mode", string(p.Mode))
	}
	if p.Lineage == "" {
		add("state", "empty")
	} else {
		add("state", fmt.Sprintf("serial %d of lineage %s", p.Serial, p.Lineage))
	}
	add("configuration", "sha256:"+p.Config)
	add("made by", "iexecform "+p.Tool)
	return list
}

func toChangeText(c *plan.Change, tables Tables) changeText {
	shown := kindOf(c.Kind)
	text := changeText{
		Addr: plain(c.Addr.String()), Kind: c.Kind, Symbol: shown.symbol,
		Event: plain(strings.TrimPrefix(header(c), "# "+c.Addr.String()+" ")),
	}
	text.Block = strings.TrimSuffix(text.Addr, plain(c.Addr.Key.String()))
	if c.Kind == providers.NoOp {
		text.Symbol = "^" // the state learns something
		if moved(c) {
			text.Event = plain("has moved from " + c.MovedFrom.String())
		}
	}
	for _, remark := range remarks(c) {
		text.Remarks = append(text.Remarks, plain(strings.Trim(remark, "# ()")))
	}
	for _, reason := range c.Because {
		text.Because = append(text.Because, plain(strings.TrimPrefix(reason, "because ")))
	}
	text.Lines, text.Hidden = differences(c, tableOf(tables, c.Addr.Resource), "")
	slices.SortStableFunc(text.Lines, func(a, b difference) int { // what the configuration says comes first
		switch {
		case a.Own == b.Own:
			return 0
		case a.Own:
			return 1
		}
		return -1
	})
	for i := range text.Lines {
		d := &text.Lines[i]
		d.Name, d.Before, d.After = plain(d.Name), plain(d.Before), plain(d.After)
		if d.Size && d.Before == d.After {
			d.Before = ""
		}
	}
	return text
}

func toActionText(a *providers.Action) actionText {
	text := actionText{
		ID: a.ID, Kind: plain(a.Kind), Addr: plain(a.Addr.String()), Type: a.Addr.Resource.Type, Summary: plain(a.Summary),
		After: a.After, Costs: costTexts(a.Cost), Touch: touchState,
	}
	text.Block = strings.TrimSuffix(text.Addr, plain(a.Addr.Key.String()))
	if a.Group != a.ID {
		text.Group = a.Group
	}
	switch {
	case a.Cost.Gas > 0 || text.Group != 0:
		text.Touch = touchChain
	case a.Cost.Signatures > 0 || a.Cost.Requests > 0:
		text.Touch = touchService
	}
	return text
}

// Remarks is what is said below an action.
func (a *actionText) Remarks() []string {
	var remarks []string
	if len(a.After) > 0 {
		remarks = append(remarks, "after "+strings.Join(strings.Fields(strings.Trim(fmt.Sprint(a.After), "[]")), ", "))
	}
	if a.Group != 0 {
		remarks = append(remarks, fmt.Sprintf("together with %d", a.Group))
	}
	return append(remarks, a.Costs...)
}
