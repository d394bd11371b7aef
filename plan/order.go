package plan

import (
	"maps"
	"slices"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
)

// orderActions makes one graph of all actions and numbers them. The rules:
//   - an object's actions follow each other as its provider says;
//   - an action that isn't early waits for all actions of the objects that its object depends on, through objects
//     without actions too, and of those that provide what it requires;
//   - what goes, goes after the objects that depended on it, those that go too, and those that change, and after those that
//     provide what it requires;
//   - a late action waits for the same;
//   - no action of an object is early while a precondition of it can't be told;
//   - an object that only the state changes for gets one action of the engine's;
//   - an object that is imported, or that is there but not as the state has it, is remembered first.
//
// Numbers rise along the order in which instances were planned, except for what late actions wait for, so After points
// backwards only.
func (b *builder) orderActions() {
	o := &ordering{builder: b, ends: map[addr.Instance][]int{}, before: map[addr.Instance][]int{}}
	b.completeActions()
	if !slices.ContainsFunc(b.order, func(c *proposal) bool { return len(c.Actions) > 0 }) {
		return
	}
	b.verifyWhereUsed()
	o.findLeavers()
	for _, c := range b.order {
		o.place(c)
	}
}

// completeActions adds the engine's own actions to the proposals.
func (b *builder) completeActions() {
	undecided := map[addr.Instance]bool{}
	for _, c := range b.plan.Checks {
		undecided[c.Addr] = c.Before
	}
	for _, c := range b.order {
		if isData(c.addr) || b.excluded(c.addr) {
			continue
		}
		if undecided[c.addr] {
			for n := range c.Actions {
				c.Actions[n].Early = false
			}
		}
		if !c.Found.IsZero() && (c.Kind == providers.Adopt || len(c.Actions) > 0) {
			c.adoptFirst()
		}
		switch c.Kind {
		case providers.Delete, providers.Forget:
			forget := providers.Action{Kind: providers.ActionForget, Summary: "forget it"}
			for n := range c.Actions {
				forget.After = append(forget.After, n)
			}
			c.Actions = append(c.Actions, forget)
		case providers.Create, providers.Update, providers.Replace:
			if len(c.Actions) == 0 {
				c.Actions = []providers.Action{{Kind: providers.ActionRecord, Summary: "update the state"}}
			}
		}
		if id := b.imported[c.addr]; id != "" {
			importFirst(c, id)
		}
	}
}

// adoptFirst makes the object remembered as it was found before anything else is done. What is on its way is not found yet: its own
// actions end with it.
func (c *proposal) adoptFirst() {
	shift(c.Actions)
	adopt := providers.Action{Kind: providers.ActionAdopt, Summary: "remember it: it exists already"}
	if c.Kind != providers.Adopt {
		adopt.Summary, adopt.Early = "remember it as it is", true
	}
	c.Actions = append([]providers.Action{adopt}, c.Actions...)
	for n := range c.Actions[1:] {
		if len(c.Actions[n+1].After) == 0 {
			c.Actions[n+1].After = []int{0}
		}
	}
}

// shift makes room for an action before the others.
func shift(actions []providers.Action) {
	for n := range actions {
		actions[n].After = slices.Clone(actions[n].After) // several may share one
		for k := range actions[n].After {
			actions[n].After[k]++
		}
	}
}

func (b *builder) excluded(i addr.Instance) bool {
	return len(b.Targets) > 0 && b.Mode == Normal && !b.wanted(i)
}

// verifyWhereUsed makes the second look at a data source an action when actions depend on it, and an expectation of the
// whole plan when not.
func (b *builder) verifyWhereUsed() {
	used := map[addr.Instance]bool{}
	acting := false
	for _, c := range b.order {
		if len(c.Actions) == 0 {
			continue
		}
		acting = true
		for _, d := range c.dependsOn {
			used[d] = true
		}
	}
	for _, i := range slices.SortedFunc(maps.Keys(b.verify), addr.Instance.Compare) {
		v := b.verify[i]
		switch {
		case used[i]:
			v.place.Actions = []providers.Action{v.Action}
			b.objects[i] = &object{proposal: v.place}
		case acting:
			for _, e := range v.Expect {
				b.plan.Expect = append(b.plan.Expect, Expectation{Provider: v.Provider, Precondition: e})
			}
		}
	}
}

// secondLook is the action that verifies a data source, and its place among the proposals.
type secondLook struct {
	providers.Action
	place *proposal
}

type ordering struct {
	*builder
	ends   map[addr.Instance][]int // numbers of the actions that end an instance, through instances without actions
	before map[addr.Instance][]int // what must be over before an instance may go, if it goes
	// leavers are the objects that depended on an instance and go or depend on it no more; nil unless an action is late.
	leavers map[addr.Instance][]addr.Instance
	placed  map[addr.Instance]bool // only with leavers
}

func (c *proposal) isLate() bool {
	return slices.ContainsFunc(c.Actions, func(a providers.Action) bool { return a.Late })
}

func (o *ordering) findLeavers() {
	if !slices.ContainsFunc(o.order, (*proposal).isLate) {
		return
	}
	o.leavers, o.placed = map[addr.Instance][]addr.Instance{}, map[addr.Instance]bool{}
	for _, c := range o.order {
		for _, d := range c.dependedOn() {
			if c.removed || !slices.Contains(c.dependsOn, d) {
				o.leavers[d] = append(o.leavers[d], c.addr)
			}
		}
	}
}

// dependedOn is what the object depended on when the state was written.
func (c *proposal) dependedOn() []addr.Instance {
	if c.object == nil || c.object.stored == nil {
		return nil
	}
	return c.object.stored.Dependencies
}

// needs is the objects that are placed before that of a proposal.
func (o *ordering) needs(c *proposal) []addr.Instance {
	switch {
	case c.removed:
		return slices.Concat(o.leavers[c.addr], c.requires)
	case !c.isLate():
		return c.waitsFor()
	}
	needs := slices.Clone(c.waitsFor())
	for _, l := range o.leavers[c.addr] {
		if !o.reaches(l, c.addr, map[addr.Instance]bool{}) {
			needs = append(needs, l)
		}
	}
	return needs
}

// reaches tells whether placing one instance needs another to be placed before, late actions aside.
func (o *ordering) reaches(from, to addr.Instance, seen map[addr.Instance]bool) bool {
	c := o.proposed(from)
	if from == to || c == nil || seen[from] {
		return from == to
	}
	seen[from] = true
	next := c.waitsFor()
	if c.removed {
		next = slices.Concat(o.leavers[from], c.requires)
	}
	return slices.ContainsFunc(next, func(n addr.Instance) bool { return o.reaches(n, to, seen) })
}

// place numbers the actions of one proposal.
func (o *ordering) place(c *proposal) {
	i := c.addr
	if o.excluded(i) || o.placed[i] {
		return
	}
	if o.leavers != nil {
		o.placed[i] = true
		for _, n := range o.needs(c) {
			if before := o.proposed(n); before != nil {
				o.place(before)
			}
		}
	}
	var wait []int
	if c.removed {
		wait = slices.Concat(o.before[i], o.endsOf(c.requires))
	} else {
		wait = o.endsOf(c.waitsFor())
	}
	first := len(o.plan.Actions) + 1
	isEnd := make([]bool, len(c.Actions))
	for n, a := range c.Actions {
		isEnd[n] = true
		local := a.After
		a.ID, a.Addr, a.Provider = first+n, i, c.provider.String()
		a.After = make([]int, 0, len(local)+len(wait))
		for _, l := range local {
			isEnd[l] = false
			a.After = append(a.After, first+l)
		}
		if !a.Early && !slices.ContainsFunc(local, func(l int) bool { return !c.Actions[l].Early }) {
			a.After = append(a.After, wait...)
		}
		if a.Late {
			a.After = append(a.After, o.before[i]...)
		}
		slices.Sort(a.After)
		a.After = slices.Compact(a.After)
		o.plan.Actions = append(o.plan.Actions, a)
	}
	var ends []int
	for n, end := range isEnd {
		if end {
			ends = append(ends, first+n)
		}
	}
	if c.removed {
		for _, d := range c.dependsOn {
			o.before[d] = append(o.before[d], ends...)
		}
		return
	}
	for _, d := range c.dependedOn() {
		o.before[d] = append(o.before[d], ends...)
	}
	if len(ends) == 0 {
		ends = wait
	}
	o.ends[i] = ends
}

func (o *ordering) endsOf(list []addr.Instance) []int {
	var all []int
	for _, d := range list {
		all = append(all, o.ends[d]...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
