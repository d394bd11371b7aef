package iexec

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// What planning orders needs to know first: whose orders are valid, and which orders a lost state or journal had.

// maxGenerations bounds the search for orders of the same terms.
const maxGenerations = 16

// prepareOrders reads who owns the entries, and says which orders can't be signed.
func (c *client) prepareOrders(ctx context.Context, o order, todo []*orderPlan) error {
	wallet, err := c.address()
	if err != nil {
		return err
	}
	if e := o.kind.Entry(); e != nil {
		var entries []common.Address
		for _, p := range todo {
			entries = append(entries, common.HexToAddress(p.terms[o.kind.Resource]))
		}
		if err := c.learnOwners(ctx, e, entries); err != nil {
			return err
		}
	}
	for _, p := range todo {
		p.result.Err = providers.At(o.kind.Resource, p.checkSigner(ctx, wallet))
	}
	return nil
}

// recogniseOrders looks on the market for orders that the state should know, and takes them up: all orders of resources that
// it doesn't know, as when it was lost, and those of which only a journal told that was lost.
func (c *client) recogniseOrders(ctx context.Context, o order, plans []*orderPlan) error {
	all := plans
	plans = slices.DeleteFunc(slices.Clone(plans), func(p *orderPlan) bool {
		return p.result.Err != nil || !p.req.Prior.IsNull() && !c.wasRead(p.req.Addr)
	})
	if len(plans) == 0 || c.noMarket || c.wallet == nil {
		return nil
	}
	rows, err := c.list(ctx, o.kind)
	if err != nil {
		return adviseMarket(err)
	}
	strays := c.strays(rows)
	if len(strays) == 0 {
		return nil
	}
	defer func() { c.rememberStrays(strays, all) }()
	var hashes []common.Hash
	var entries []common.Address
	found := make([][]*signed, len(plans))
	for i, p := range plans {
		found[i] = p.recognise(strays)
		for _, s := range found[i] {
			hashes, entries = append(hashes, s.hash), append(entries, common.HexToAddress(s.body[o.kind.Resource]))
		}
	}
	if len(hashes) == 0 {
		return nil
	}
	if err := c.pin(ctx); err != nil {
		return err
	}
	if e := o.kind.Entry(); e != nil {
		if err := c.learnOwners(ctx, e, entries); err != nil {
			return err
		}
	}
	consumed, err := c.consumedOf(ctx, hashes, nil)
	if err != nil {
		return err
	}
	for i, p := range plans {
		for _, s := range found[i] {
			if err := o.observe(ctx, c, s, consumed[0], rows); err != nil { // the market may be behind
				return err
			}
			consumed = consumed[1:]
		}
		p.takeUp(found[i])
	}
	return nil
}

// places is what the wanted order is about, and the known ones: values of the field that is the kind's index.
func (p *orderPlan) places() []string {
	places := []string{p.terms[p.index]} // "" when the resource is to go
	for _, s := range p.known {
		if place := s.body[p.index]; !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	return places
}

// wasRead reports whether the orders of an object were read in this run: without refresh the state's word counts.
func (c *client) wasRead(i addr.Instance) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.observed[i]
	return ok
}

// learnOwners reads the owners of entries that aren't known yet. Those that aren't registered stay unknown.
func (c *client) learnOwners(ctx context.Context, k *poco.EntryKind, entries []common.Address) error {
	var ask []common.Address
	asked := map[common.Address]bool{}
	for _, a := range entries {
		if _, ok := c.ownerOf(k, a); !ok && !asked[a] {
			asked[a] = true
			ask = append(ask, a)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	if err := c.pin(ctx); err != nil {
		return err
	}
	owners, err := c.ownersOf(ctx, k, ask)
	if err != nil {
		return err
	}
	for i, a := range ask {
		if owners[i] != (common.Address{}) {
			c.rememberOwner(k, a, owners[i])
		}
	}
	return nil
}

// learnOwnersOfKnown reads who owns the entries of signed orders that are to go, or that are about another entry than is wanted.
func (c *client) learnOwnersOfKnown(ctx context.Context, o order, reqs []providers.PlanRequest) error {
	if o.kind.Entry() == nil {
		return nil
	}
	var entries []common.Address
	for _, req := range reqs {
		for _, s := range c.ordersOf(req) {
			if entry := s.body[o.kind.Resource]; !s.over() && entry != (object{req.Desired}).str(o.kind.Resource) {
				entries = append(entries, common.HexToAddress(entry))
			}
		}
	}
	return c.learnOwners(ctx, o.kind.Entry(), entries)
}

// dead reports whether an order is of an entry that somebody else owns, or that nobody has deployed, nor this plan will: then
// nobody can use it, and the wallet can't close it.
func (p *orderPlan) dead(s *signed) bool {
	e, entry := p.kind.Entry(), common.HexToAddress(s.body[p.kind.Resource])
	wallet, err := p.c.address()
	if err != nil || e == nil || p.c.isGiven(entry) {
		return false
	}
	owner, ok := p.c.ownerOf(e, entry)
	return !ok || owner != wallet
}

func (p *orderPlan) noticeDead(s *signed) {
	entry := common.HexToAddress(s.body[p.kind.Resource])
	if _, known := p.c.ownerOf(p.kind.Entry(), entry); !known {
		p.notice(providers.Exposure, "", "order %s is dead while there is no %s %s, and can't be closed; if it is deployed, the order is usable: %s",
			s.hash, p.kind.Resource, entry, p.offer(s.remaining(), s.body))
		return
	}
	p.notice(providers.Exposure, "", "order %s is dead while %s %s belongs to somebody else, and can't be closed; if the wallet gets the %s back, the order is usable again: %s",
		s.hash, p.kind.Resource, s.body[p.kind.Resource], p.kind.Resource, p.offer(s.remaining(), s.body))
}

// checkSigner tells why an order that the wallet signs would not be valid.
func (p *orderPlan) checkSigner(ctx context.Context, wallet common.Address) error {
	e, a := p.kind.Entry(), common.HexToAddress(p.terms[p.kind.Resource])
	if e == nil {
		if a != wallet {
			return fmt.Errorf("a request is signed by its requester, %s, but the wallet is %s: leave requester out, or use the requester's wallet", a, wallet)
		}
		return p.checkWithdrawable(wallet, p.known)
	}
	owner, ok := p.c.ownerOf(e, a)
	switch {
	case !ok:
		return fmt.Errorf("%w (nor does this configuration deploy one there): refer to iexec_%s.NAME.address, or correct the address", p.c.notThere(ctx, e, a), e.Noun)
	case owner == wallet:
		return nil
	}
	advice := "use the owner's wallet"
	if contract, err := p.c.isContract(ctx, owner); err != nil {
		return err
	} else if contract {
		advice = fmt.Sprintf("that owner is a contract, such as a Safe, which can presign orders on chain (the hub's %s with operation SIGN), but the market doesn't take orders of contracts", p.kind.ManageMethod())
	}
	if dead := p.deadOrders(a); dead != "" {
		return fmt.Errorf("wallet %s is no longer the owner of %s %s, which belongs to %s now, so that %s can be neither used nor closed while it does: get the %s back, %s, or take the order out of the configuration",
			wallet, e.Noun, a, owner, dead, e.Noun, advice)
	}
	return fmt.Errorf("%s %s belongs to %s, and only its owner's orders are valid, but the wallet is %s: %s", e.Noun, a, owner, wallet, advice)
}

// deadOrders names the orders of an entry that somebody else owns by now; "" if there are none.
func (p *orderPlan) deadOrders(entry common.Address) string {
	var hashes []string
	for _, s := range p.known {
		if !s.over() && s.body[p.kind.Resource] == entry.Hex() {
			hashes = append(hashes, "order "+s.hash.Hex())
		}
	}
	return strings.Join(hashes, ", ")
}

// checkWithdrawable tells why the wallet could not withdraw orders. What an owner signed the next owner can withdraw; a
// request only its requester.
func (p *orderPlan) checkWithdrawable(wallet common.Address, list []*signed) error {
	for _, s := range list {
		if by := s.body[p.kind.Resource]; p.kind.Entry() == nil && !s.over() && by != wallet.Hex() {
			return fmt.Errorf("order %s is signed by %s, who alone can withdraw it, but the wallet is %s: use that wallet until the order is gone", s.hash, by, wallet)
		}
	}
	return nil
}

// generationOf tells whether this resource signed an order, under its address or a former one, and the order's generation.
func (p *orderPlan) generationOf(body poco.Order) (int64, bool) {
	for _, i := range append([]addr.Instance{p.req.Addr}, p.req.Formerly...) {
		for g := range int64(maxGenerations) {
			if p.c.salt(p.kind, i, body, g) == body["salt"] {
				return g, true
			}
		}
	}
	return 0, false
}

// recognise finds, among open orders by index, those that this resource signed: their salt tells. It looks at those that are about
// what the wanted order is about, or a known one.
func (p *orderPlan) recognise(rows map[string][]*market.Row) (found []*signed) {
	for _, place := range p.places() {
		for _, row := range rows[place] {
			if g, ok := p.generationOf(row.Order); ok {
				found = append(found, &signed{hash: row.OrderHash, body: row.Order, sign: row.Sign, status: statusOpen, consumed: new(big.Int), generation: g})
			}
		}
	}
	return found
}

// takeUp adds orders to those that are known.
func (p *orderPlan) takeUp(found []*signed) {
	known := !p.req.Prior.IsNull()
	if known { // what is over was counted when the state forgot it
		found = slices.DeleteFunc(found, (*signed).over)
	}
	if len(found) == 0 {
		return
	}
	p.known = slices.Concat(p.known, found)
	slices.SortFunc(p.known, func(a, b *signed) int { return a.hash.Cmp(b.hash) })
	p.strayed, p.adopted = known, !known
	if known {
		for _, s := range found {
			p.notice(providers.Warning, "", "order %s is on the market, and the state doesn't know it: %s. It is taken up. The state is an old one, its journal was lost, or another state has the resource too; what else was signed, and the market doesn't show, can't be found",
				s.hash, p.offer(s.remaining(), s.body))
		}
	}
	if !p.req.Desired.IsNull() {
		p.guessTotals()
	}
}

// guessTotals works out, from the orders that were found, what else was lost: how much was replenished, and sold.
func (p *orderPlan) guessTotals() {
	total := new(big.Int).Set(p.settled)
	for _, s := range p.known {
		if sameTerms(p.kind, s.body, p.terms) {
			total.Add(total, s.volume())
		}
	}
	volume := p.d.num0("volume")
	if p.d.num("replenish_below") != nil && volume.Sign() > 0 {
		for more := new(big.Int).Sub(total, volume); more.Cmp(p.extra) > 0; {
			p.extra = new(big.Int).Add(p.extra, volume)
		}
	}
	if missing := new(big.Int).Sub(volume, total); p.adopted && missing.Sign() > 0 && total.Sign() > 0 {
		p.settled = missing
		p.notice(providers.Warning, "volume", "the orders found offer %s of %s in total: the other %s count as sold, because the state that would know was lost. To offer more, raise volume", total, volume, missing)
	}
}

// chooseGenerations gives each new order the first generation whose order was never used up, in one read a round.
func (c *client) chooseGenerations(ctx context.Context, open []*orderPlan) {
	if len(open) == 0 {
		return
	}
	if err := c.pin(ctx); err != nil {
		for _, p := range open {
			p.result.Err = err
		}
		return
	}
	generation := make([]int64, len(open))
	for len(open) > 0 {
		hashes := make([]common.Hash, len(open))
		for i, p := range open {
			for {
				p.next.generation = generation[i]
				p.next.body["salt"] = c.salt(p.kind, p.req.Addr, p.next.body, generation[i])
				hash, err := c.Domain().OrderHash(p.kind, p.next.body)
				if err != nil {
					p.result.Err = err
				}
				p.next.hash, hashes[i] = hash, hash
				if !slices.ContainsFunc(p.known, func(s *signed) bool { return s.hash == hash }) {
					break
				}
				generation[i]++
			}
		}
		consumed, err := c.consumedOf(ctx, hashes, nil)
		var again []*orderPlan
		var generations []int64
		for i, p := range open {
			switch {
			case err != nil:
				p.result.Err = err
			case consumed[i].Cmp(p.next.volume()) < 0:
				p.next.consumed = consumed[i]
			case p.soldOut(ctx) && p.next == nil:
			default:
				again, generations = append(again, p), append(generations, generation[i]+1)
			}
		}
		open, generation = again, generations
	}
}

// soldOut recognises, for a resource without state, an order that was filled: then nothing more is offered, unless
// replenish_below says so. With an error, neither.
func (p *orderPlan) soldOut(ctx context.Context) bool {
	if p.c.noMarket || !p.req.Prior.IsNull() || p.adopted || p.next.volume().Cmp(p.d.num0("volume")) != 0 {
		return false
	}
	row, err := p.c.market.Get(ctx, p.kind, p.next.hash)
	if err != nil {
		p.result.Err, p.next = err, nil
		return true
	}
	if row == nil || row.Status != "filled" {
		return false
	}
	p.notice(providers.Info, "", "order %s is %s", p.next.hash, p.filled)
	p.settled.Add(p.settled, p.next.volume())
	p.adopted, p.next = true, nil
	p.decide()
	return true
}
