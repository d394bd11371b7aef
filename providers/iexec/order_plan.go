package iexec

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Planning is level-based: it looks at the signed orders that are known and at what the configuration wants, never at how
// things came to be so. An order whose terms are the wanted ones is kept; every other one is withdrawn; what is missing
// from the total is offered by one more order. So a plan after a crash just finishes the job.

// An orderPlan is one order resource on the way through plan.
type orderPlan struct {
	order
	c        *client
	req      providers.PlanRequest
	result   *providers.PlanResult
	d        object
	terms    poco.Order
	known    []*signed // all that is known, those that are over too
	settled  *big.Int  // sold of orders that are no longer kept
	adopted  bool      // known from the market, not from the state
	strayed  bool      // some are known from the market only, although the state knows the resource
	reopened bool      // some were closed and are usable again
	next     *signed   // to be signed, or nil
	chosen   *decision
	extra    *big.Int // offered beyond volume by replenishing
	crowded  bool     // the market has no room for the new order beside the old one
}

func (o order) plan(ctx context.Context, c *client, reqs []providers.PlanRequest) []providers.PlanResult {
	results := make([]providers.PlanResult, len(reqs))
	wallet, _ := c.address() // prepareOrders tells when there is none
	if err := cmp.Or(c.learnOwnersOfKnown(ctx, o, reqs), c.learnDeployments(ctx)); err != nil {
		return fail(len(reqs), providers.PlanResult{Err: err})
	}
	var todo, leaving []*orderPlan
	for i, req := range reqs {
		p := &orderPlan{order: o, c: c, req: req, result: &results[i], d: object{req.Desired}, known: c.ordersOf(req)}
		if results[i].Err = o.whole(req.Addr, p.known); results[i].Err != nil { // without refresh
			continue
		}
		if req.Desired.IsNull() {
			leaving = append(leaving, p)
			continue
		}
		if o.complete != nil {
			p.d = object{p.d.with(o.complete(p.d, wallet))}
		}
		p.terms = o.desiredTerms(p.d)
		p.settled, p.extra = object{req.Current}.num0("settled"), object{req.Current}.num0("replenished")
		todo = append(todo, p)
	}
	all := slices.Concat(todo, leaving)
	failing(todo, c.prepareOrders(ctx, o, todo))
	failing(all, c.reopenOrders(ctx, o, all))
	failing(all, c.recogniseOrders(ctx, o, all))
	for _, p := range all {
		if p.result.Err == nil && p.reopened {
			p.result.Found = p.takenUp()
		}
	}
	for _, p := range leaving {
		if p.result.Err == nil {
			p.withdrawAll(ctx)
		}
	}
	workers := runtime.GOMAXPROCS(0)
	parallel(len(todo), workers, func(i int) {
		if p := todo[i]; p.result.Err == nil {
			p.decide()
		}
	})
	var open []*orderPlan
	for _, p := range todo {
		if p.result.Err == nil && p.next != nil {
			open = append(open, p)
		}
	}
	c.chooseGenerations(ctx, open)
	c.checkOffers(ctx, o, open)
	c.checkRoom(ctx, o, open)
	parallel(len(todo), workers, func(i int) {
		if p := todo[i]; p.result.Err == nil {
			p.finish(ctx)
		}
	})
	return results
}

// failing notes an error of what was done for all of a list at once; nil is none.
func failing(list []*orderPlan, err error) {
	for _, p := range list {
		p.result.Err = cmp.Or(p.result.Err, err)
	}
}

// ordersOf is the signed orders of an object as they were read, or, without refresh, as the state has them.
func (c *client) ordersOf(req providers.PlanRequest) []*signed {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.observed[req.Addr]; ok {
		return known
	}
	return ordersOf(req.Current)
}

func (p *orderPlan) notice(level providers.Level, attr, format string, args ...any) {
	p.result.Notices = append(p.result.Notices, providers.Notice{Level: level, Attr: attr, Summary: fmt.Sprintf(format, args...)})
}

// split sorts the known orders into those kept and those to be withdrawn. Those that are over count as settled.
func (p *orderPlan) split() (keep, old []*signed) {
	p.settled = new(big.Int).Set(p.settled)
	for _, s := range p.known {
		switch {
		case s.over():
			p.settled.Add(p.settled, s.sold())
		case s.undone: // whatever is wanted now
			old = append(old, s)
		case sameTerms(p.kind, s.body, p.terms) && !p.req.Replace:
			keep = append(keep, s)
		default:
			old = append(old, s)
		}
	}
	return keep, old
}

// A decision is what becomes of the known orders.
type decision struct {
	keep       []*signed
	closeFirst []*signed // closed before the new order is signed
	withdraw   []*signed // unpublished after the new one is published
	closeLast  []*signed // closed after that
	hidden     []*signed // off the market already, and not to be closed
	exact      bool      // the new order's volume depends on what was sold of those withdrawn
}

// decide compares the total that is wanted with what was sold and is on offer. It sets p.next to the order to be made.
func (p *orderPlan) decide() {
	d := &decision{}
	keep, old := p.split()
	d.keep = keep
	need := new(big.Int).Add(p.d.num0("volume"), p.extra)
	need.Sub(need, p.settled)
	for _, s := range keep {
		need.Sub(need, s.volume())
	}
	for _, s := range old {
		need.Sub(need, s.consumed)
	}
	revoke := p.d.str("revoke")
	for _, s := range old {
		switch {
		case p.dead(s):
			d.hidden = append(d.hidden, s)
		case s.undone || p.req.Replace || !p.moved(s) && p.better(s.body, p.terms) && revoke != "unpublish":
			d.closeFirst = append(d.closeFirst, s)
			d.withdraw = append(d.withdraw, s)
		case p.moved(s) && revoke != "unpublish" || revoke == "onchain":
			d.withdraw = append(d.withdraw, s)
			d.closeLast = append(d.closeLast, s)
		case s.status != statusOpen:
			d.hidden = append(d.hidden, s)
		default:
			d.withdraw = append(d.withdraw, s)
		}
	}
	d.exact = len(old) > 0
	if need.Sign() < 0 && p.strayed {
		p.reckon(need)
	}
	if need.Sign() < 0 { // less is wanted: close enough, and offer the rest again
		need = p.shrink(d, need)
	}
	p.replenish(d, need)
	if need.Sign() > 0 {
		body := poco.Order{"volume": need.String()}
		for name, text := range p.terms {
			body[name] = text
		}
		p.next = &signed{body: body, status: statusOpen, consumed: new(big.Int)}
	}
	p.chosen = d
}

// reckon takes orders that were closed as closed by the run that the state knows nothing of, as far as what that run offered
// instead would be too much otherwise: they count for less than their whole volume, but for no less than was known to be sold.
func (p *orderPlan) reckon(need *big.Int) {
	for _, s := range p.known {
		if s.status != statusGone || need.Sign() >= 0 {
			continue
		}
		back := s.remaining()
		if excess := new(big.Int).Neg(need); back.Cmp(excess) > 0 {
			back = excess
		}
		need.Add(need, back)
		p.settled.Sub(p.settled, back)
	}
}

// replenish adds to what is to be offered so many times the volume that no fewer than replenish_below remain. A negative need
// means that more was sold than is wanted: that counts as replenished too.
func (p *orderPlan) replenish(d *decision, need *big.Int) {
	below, volume := p.d.num("replenish_below"), p.d.num0("volume")
	left := new(big.Int)
	if need.Sign() > 0 {
		left.Set(need)
	}
	for _, s := range d.keep {
		left.Add(left, s.remaining())
	}
	if below == nil || left.Cmp(below) >= 0 || volume.Sign() == 0 {
		return
	}
	more := new(big.Int).Sub(below, left)
	more.Add(more, volume).Sub(more, big.NewInt(1)).Div(more, volume).Mul(more, volume) // rounded up
	p.notice(providers.Info, "replenish_below", "%s remain, fewer than %s: %s more are offered", left, below, more)
	p.extra = new(big.Int).Add(p.extra, more)
	if need.Sign() < 0 {
		p.extra.Sub(p.extra, need)
		need.SetInt64(0)
	}
	need.Add(need, more)
}

// moved reports whether an order is about another entry than the one that is wanted.
func (p *orderPlan) moved(s *signed) bool {
	return s.body[p.kind.Resource] != p.terms[p.kind.Resource]
}

// shrink moves kept orders to be closed until the total fits, and returns what is to be offered again; it is negative when
// nothing is left to be closed.
func (p *orderPlan) shrink(d *decision, need *big.Int) *big.Int {
	slices.SortStableFunc(d.keep, func(a, b *signed) int { return a.remaining().Cmp(b.remaining()) })
	excess := new(big.Int).Neg(need)
	freed := new(big.Int)
	for len(d.keep) > 0 && freed.Cmp(excess) < 0 {
		s := d.keep[0]
		d.keep = d.keep[1:]
		freed.Add(freed, s.remaining())
		d.closeFirst = append(d.closeFirst, s)
		d.withdraw = append(d.withdraw, s)
		d.exact = true
	}
	return freed.Sub(freed, excess)
}

// finish writes the result: the planned value and the actions.
func (p *orderPlan) finish(ctx context.Context) {
	d, r := p.chosen, p.result
	r.Kind = providers.NoOp
	if p.asWanted(d) {
		r.Planned = p.req.Current
		p.exposures(d)
		return
	}
	fresh := !p.reopened && (p.req.Prior.IsNull() || (object{p.req.Prior}).str(p.index) == "") // the latter: making it was interrupted
	if fresh && !p.adopted && p.next != nil || fresh && !p.req.Prior.IsNull() {
		r.Kind = providers.Create
	}
	b := &actionList{p: p, ctx: ctx, counts: true}
	waits := p.next != nil && p.c.onTrial(common.HexToAddress(p.terms["app"])) // then nothing is done before
	closing := b.closes(d.closeFirst, nil, p.next != nil)
	for _, i := range closing {
		b.list[i].Early = b.list[i].Early && !waits
	}
	offered := closing
	gone := map[common.Hash][]int{}
	withdraw := func(after []int, early bool) (all []int) {
		for _, s := range d.withdraw {
			gone[s.hash] = after
			if s.status == statusOpen {
				a := p.unpublish(s, after)
				a.Early = early
				gone[s.hash] = []int{b.add(a)}
				all = append(all, gone[s.hash]...)
			}
		}
		return all
	}
	if p.next != nil {
		payload := p.payload(p.next)
		if p.extra.Sign() > 0 {
			payload.Replenished = json.Number(p.extra.String())
		}
		signing := b.add(providers.Action{Kind: "sign", Early: !waits, After: closing, Summary: fmt.Sprintf("sign order %s: %s", p.next.hash, p.offer(p.next.volume(), p.next.body)),
			Payload: marshal(payload), Cost: p.signing(), Expect: p.expectations(d)})
		before := []int{signing}
		if p.crowded {
			before = append(before, withdraw(before, false)...)
		}
		offered = []int{b.add(p.publish(p.next, before))}
	}
	for _, s := range d.keep {
		if s.status == statusSigned || s.status == statusClosing {
			b.add(p.publish(s, nil))
			r.Because = []string{"it was unpublished and is still valid"}
			if r.Kind == providers.Create {
				r.Because = []string{"an interrupted apply has signed its order"}
			}
		}
	}
	if !p.crowded || p.next == nil {
		withdraw(offered, true)
	}
	for _, s := range d.closeLast {
		b.closes([]*signed{s}, gone[s.hash], false)
	}
	r.Actions = b.list
	if app := p.terms["app"]; app != "" {
		r.Requires = append(r.Requires, p.c.trialKey(common.HexToAddress(app)))
		if p.kind == poco.AppOrder {
			r.Requires = append(r.Requires, p.c.secretKey(common.HexToAddress(app)))
		}
	}
	r.Planned = p.planned(d)
	switch {
	case p.adopted:
		r.Kind, r.Found = providers.Adopt, p.found()
		r.Because = append(r.Because, "its orders are on the market already")
	case r.Kind == providers.Create:
	case p.next != nil && len(d.withdraw) > 0:
		r.Kind = providers.Replace
		if p.volumeOnly(d) {
			r.Kind = providers.Update
		}
	default:
		r.Kind = providers.Update
	}
	p.warn(d)
}

// signing is what signing the new order takes, and what the order can bring in or cost.
func (p *orderPlan) signing() providers.Cost {
	cost := providers.Cost{Signatures: 1}
	total := new(big.Int).Mul(p.price(p.next.body), p.next.volume()).String()
	if p.kind == poco.RequestOrder {
		cost.Spending = total
	} else {
		cost.Income = total
	}
	return cost
}

// asWanted reports whether there is nothing to do, nor to remember.
func (p *orderPlan) asWanted(d *decision) bool {
	return p.next == nil && len(d.withdraw) == 0 && !p.adopted && !p.strayed && p.settings(d) &&
		!slices.ContainsFunc(d.keep, func(s *signed) bool { return s.status != statusOpen })
}

// volumeOnly reports whether what is withdrawn has the wanted terms.
func (p *orderPlan) volumeOnly(d *decision) bool {
	return !p.req.Replace && !slices.ContainsFunc(d.withdraw, func(s *signed) bool { return !sameTerms(p.kind, s.body, p.terms) })
}

// settings reports whether the remembered arguments are the desired ones. Terms are remembered together with the hash of
// the order that has them.
func (p *orderPlan) settings(d *decision) bool {
	if p.req.Current.IsNull() {
		return false
	}
	hash := object{p.req.Current}.str("order_hash")
	same := slices.ContainsFunc(d.keep, func(s *signed) bool { return s.hash.Hex() == hash })
	for _, a := range tables().Resources[p.typ()].Attrs {
		if !a.Mode.Settable() || same && a.ForceNew {
			continue
		}
		if !p.req.Current.Attr(a.Name).RawEquals(p.d.v.Attr(a.Name)) {
			return false
		}
	}
	return true
}

// planned is the object afterwards.
func (p *orderPlan) planned(d *decision) schema.Object {
	live := slices.Clone(d.keep)
	for _, s := range live {
		s.status = statusOpen
	}
	settled := new(big.Int).Set(p.settled)
	for _, s := range d.withdraw {
		if slices.Contains(d.closeFirst, s) || slices.Contains(d.closeLast, s) {
			settled.Add(settled, s.consumed)
			continue
		}
		hidden := *s
		hidden.status = statusSigned
		live = append(live, &hidden)
	}
	live = append(live, d.hidden...)
	newest := p.next
	if newest != nil {
		live = append(live, newest)
	}
	for i, s := range d.keep { // the one that it was, or the first
		if p.next == nil && (i == 0 || !p.req.Current.IsNull() && s.hash.Hex() == (object{p.req.Current}).str("order_hash")) {
			newest = s
		}
	}
	attrs := summary(settled, live)
	if newest != nil {
		attrs["order_hash"] = cty.StringVal(newest.hash.Hex())
		attrs["salt"] = cty.StringVal(newest.body["salt"])
		attrs["sign"] = newest.value().GetAttr("sign")
	} else if !p.req.Current.IsNull() { // the last one there was
		for _, name := range []string{"order_hash", "salt", "sign"} {
			attrs[name] = p.req.Current.Attr(name)
		}
	}
	attrs["replenished"] = bigNumber(p.extra)
	return p.d.with(attrs)
}

// found is the object as it was recognised.
func (p *orderPlan) found() schema.Object {
	attrs := summary(p.settled, p.known)
	attrs["replenished"] = bigNumber(p.extra)
	if len(p.known) > 0 {
		first := p.known[0]
		attrs["order_hash"], attrs["salt"], attrs["sign"] = cty.StringVal(first.hash.Hex()), cty.StringVal(first.body["salt"]), cty.StringVal(first.sign)
	}
	return p.d.with(attrs)
}

// takenUp is the object with all orders that are known, before anything is done.
func (p *orderPlan) takenUp() schema.Object {
	attrs := summary(p.settled, p.known)
	if p.req.Current.IsNull() {
		return p.kindObject(attrs, p.known[0])
	}
	if p.extra != nil {
		attrs["replenished"] = bigNumber(p.extra)
	}
	return object{p.req.Current}.with(attrs)
}

// exposures tells which orders whoever has a copy can use for ever.
func (p *orderPlan) exposures(d *decision) {
	for _, s := range slices.Concat(d.withdraw, d.hidden) {
		if slices.Contains(d.closeFirst, s) || slices.Contains(d.closeLast, s) {
			continue
		}
		if p.dead(s) {
			p.noticeDead(s)
			continue
		}
		p.notice(providers.Exposure, "", "order %s stays usable by whoever has a copy: %s. revoke = \"onchain\" closes it", s.hash, p.offer(s.remaining(), s.body))
	}
}

// ending is how the resource's orders end, in the words of on_destroy: as a removed block says, or as the resource said.
func (p *orderPlan) ending() string {
	switch how := p.req.Removal; how {
	case schema.RemoveDefault:
		return cmp.Or(object{p.req.Prior}.str("on_destroy"), "close")
	case schema.RemoveForget:
		return "keep"
	default:
		return string(how)
	}
}

// withdrawAll plans the end of the resource.
func (p *orderPlan) withdrawAll(ctx context.Context) {
	r := p.result
	how := p.ending()
	r.Kind, r.Planned = providers.Delete, p.req.Desired
	b := &actionList{p: p, ctx: ctx}
	for _, s := range p.known {
		if s.over() {
			continue
		}
		if p.dead(s) {
			p.noticeDead(s)
			continue
		}
		closes := how == "close" || s.undone
		if !closes {
			word := "usable by whoever has a copy"
			if how == "keep" && s.status == statusOpen {
				word = "open on the market"
			}
			p.notice(providers.Exposure, "", "order %s stays %s: %s", s.hash, word, p.offer(s.remaining(), s.body))
		}
		var after []int
		if (how != "keep" || closes) && s.status == statusOpen {
			after = []int{b.add(p.unpublish(s, nil))}
		}
		if closes {
			b.closes([]*signed{s}, after, false)
		}
	}
	if how == "keep" {
		r.Kind = providers.Forget
	}
	r.Because = []string{fmt.Sprintf("on_destroy = %q", how)}
	if p.req.Prior.IsNull() {
		r.Because = []string{"it was removed, and closing its orders was undone"}
	}
	r.Actions = b.list
	if len(b.list) > 0 {
		if wallet, err := p.c.address(); err != nil {
			r.Err = err
		} else if err := p.checkWithdrawable(wallet, p.known); err != nil {
			r.Err = err
		}
	}
}

// An actionList collects the actions of one order resource.
type actionList struct {
	p      *orderPlan
	ctx    context.Context
	counts bool // the resource goes on, with what was sold
	list   []providers.Action
}

func (b *actionList) add(a providers.Action) int {
	b.list = append(b.list, a)
	return len(b.list) - 1
}

// closes adds the closing of orders and returns the indexes. With exact, it matters how much was sold before.
func (b *actionList) closes(list []*signed, after []int, exact bool) []int {
	var all []int
	c := b.p.c
	for _, s := range list {
		data, err := poco.PackManageOrder(b.p.kind, s.body, poco.OpClose, nil)
		if err != nil {
			b.p.result.Err = errors.Join(b.p.result.Err, fmt.Errorf("close order %s: %w", s.hash, err))
			continue
		}
		from, _ := c.address()
		gas := c.estimate(b.ctx, "close", chain.Msg{From: from, To: c.Hub, Data: data}, 70_000)
		payload := b.p.payload(s)
		payload.Exact, payload.Counts, payload.Begun = exact, b.counts, s.begun || s.undone || s.status == statusClosing
		payload.Data = data
		payload.To = c.Hub
		a := providers.Action{Kind: "close", Batch: closeBatch, Early: true, After: after, Payload: marshal(payload), Cost: c.cost(b.ctx, gas),
			Summary: fmt.Sprintf("close order %s on chain: %s can't be %s any more", s.hash, b.p.offer(s.remaining(), s.body), b.p.taken),
			Expect:  b.p.ownership(s)}
		if entry := common.HexToAddress(s.body[b.p.kind.Resource]); !c.registered(entry) { // only its owner can close it
			a.Early, a.Expect = false, nil
			b.p.result.Requires = append(b.p.result.Requires, c.entryKey(entry))
		}
		if exact {
			a.Expect = append(a.Expect, consumedPrecondition(s))
		}
		all = append(all, b.add(a))
	}
	return all
}

// expectations is what the volume and the validity of a new order rest on.
func (p *orderPlan) expectations(d *decision) []providers.Precondition {
	var all []providers.Precondition
	for _, s := range slices.Concat(d.withdraw, d.hidden) {
		if d.exact && !slices.Contains(d.closeFirst, s) {
			all = append(all, consumedPrecondition(s))
		}
	}
	return all
}

func (p *orderPlan) publish(s *signed, after []int) providers.Action {
	a := providers.Action{Kind: "publish", After: after, Summary: fmt.Sprintf("publish order %s on the market", s.hash),
		Payload: marshal(p.payload(s)), Cost: providers.Cost{Signatures: 1, Requests: 3}} // challenge, publish, look
	if p.c.registered(common.HexToAddress(s.body[p.kind.Resource])) {
		a.Expect = p.ownership(s)
	}
	return a
}

// ownership is what makes the wallet the one whose orders are valid: that it owns the entry.
func (p *orderPlan) ownership(s *signed) []providers.Precondition {
	if p.kind.Entry() == nil {
		return nil
	}
	return []providers.Precondition{ownerPrecondition(p.kind.Entry(), common.HexToAddress(s.body[p.kind.Resource]), p.c.wallet.Address())}
}

func (p *orderPlan) unpublish(s *signed, after []int) providers.Action {
	return providers.Action{Kind: "unpublish", Early: true, After: after, Summary: fmt.Sprintf("take order %s off the market", s.hash),
		Payload: marshal(p.payload(s)), Cost: providers.Cost{Signatures: 1, Requests: 2}}
}

func (p *orderPlan) payload(s *signed) orderPayload {
	return orderPayload{Kind: p.kind.Noun, Hash: s.hash, Order: s.body, Sign: s.sign, Generation: s.generation, Consumed: s.consumed.String()}
}
