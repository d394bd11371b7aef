package iexec

import (
	"context"
	"fmt"
	"math/big"
	"net/url"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// What a plan says about the orders that it makes, before anybody finds out at the market or never does. Only what the chain
// can never match is an error; what the market refuses, or nobody is likely to match, is a warning, because orders can be
// used without the market. What is read for it is read in one batch for all orders of a kind.

// marketMax is the largest number that the market accepts.
var marketMax = new(big.Int).SetUint64(1<<53 - 1)

// maxAsked is for how many requests the market is asked what is offered: it doesn't take many questions a minute.
const maxAsked = 10

// bulkVolume is the volume from which a free dataset can be used in bulk. Source: the market API's datasetorderModel.
var bulkVolume = new(big.Int).SetUint64(1<<53 - 2)

// checkOffers looks at the orders of a kind that are to be signed: category, stake, and who could match them.
func (c *client) checkOffers(ctx context.Context, o order, open []*orderPlan) {
	open = slices.DeleteFunc(slices.Clone(open), func(p *orderPlan) bool { return p.result.Err != nil || p.next == nil })
	if len(open) == 0 {
		return
	}
	var facts offerFacts
	var factsErr, partiesErr error
	parties := map[common.Address]bool{}
	var supply []market.Row
	parallel(3, 3, func(i int) {
		switch i {
		case 0:
			facts, factsErr = c.offerFacts(ctx)
		case 1:
			parties, partiesErr = c.partiesOf(ctx, o, open)
		case 2:
			supply, _ = c.supply(ctx) // without it, nothing is said of it
		}
	})
	for _, p := range open {
		switch {
		case factsErr != nil:
			p.result.Err = factsErr
			continue
		case partiesErr != nil:
			p.result.Err = partiesErr
			continue
		}
		p.checkCategory(facts.categories)
		p.checkStake(facts.stake)
		p.checkParties(parties)
		p.checkSupply(supply)
	}
	if o.kind == poco.RequestOrder && !c.noMarket {
		for _, p := range open[:min(len(open), maxAsked)] {
			p.checkOffered(ctx)
		}
	}
}

// offerFacts is what the hub says that matters to new orders of the wallet.
type offerFacts struct {
	categories *big.Int
	stake      *big.Int // of the wallet, nRLC
}

func (c *client) offerFacts(ctx context.Context) (offerFacts, error) {
	out := c.chain.Calls(ctx, []chain.Call{
		{To: c.Hub, Data: pack(poco.HubABI().Pack("countCategory"))},
		{To: c.Hub, Data: pack(poco.HubABI().Pack("viewAccount", c.wallet.Address()))},
	})
	for _, r := range out {
		if r.Err != nil {
			return offerFacts{}, r.Err
		}
	}
	return offerFacts{categories: new(big.Int).SetBytes(out[0].Data), stake: new(big.Int).SetBytes(out[1].Data[:min(32, len(out[1].Data))])}, nil
}

func (p *orderPlan) checkCategory(count *big.Int) {
	if category, ok := p.next.body["category"]; ok && number(category).Cmp(count) >= 0 {
		p.result.Err = providers.At("category", fmt.Errorf("there is no category %s on chain %d: it has the categories 0 to %s", category, p.c.ID, new(big.Int).Sub(count, big.NewInt(1))))
	}
}

// checkStake compares what the market wants to be staked with what the wallet has. Source: market API, services/order.js.
func (p *orderPlan) checkStake(stake *big.Int) {
	var need *big.Int
	var what string
	switch p.kind {
	case poco.WorkerpoolOrder: // 30 %, rounded down for each task
		need = new(big.Int).Mul(p.price(p.next.body), big.NewInt(30))
		need.Quo(need, big.NewInt(100))
		what = "lock up to"
	case poco.RequestOrder:
		need, what = p.price(p.next.body), "cost up to"
	default:
		return
	}
	need.Mul(need, p.next.remaining())
	if missing := new(big.Int).Sub(need, stake); missing.Sign() > 0 {
		p.notice(providers.Warning, "volume", "the market refuses this order unless %s more are staked: %s %s %s, and %s has %s at the hub", poco.FormatAmount(missing),
			p.units(p.next.remaining()), what, poco.FormatAmount(need), p.c.wallet.Address(), poco.FormatAmount(stake))
	}
}

// A party is who an order names besides its signer: a field, and the kind of entry that it must be.
type party struct {
	field string
	kind  *poco.EntryKind
	group bool // whether a group of such entries will do too
}

// parties lists the fields of a kind of order that name other entries. Requesters may be anybody.
func (o order) parties() []party {
	var all []party
	for _, e := range poco.EntryKinds() {
		if o.kind.Entry() == nil {
			all = append(all, party{e.Noun, e, e == poco.WorkerpoolEntry})
		} else if e != o.kind.Entry() {
			all = append(all, party{e.Noun + "restrict", e, true})
		}
	}
	return all
}

// partiesOf reads which of the named entries exist: registered, planned, or a group.
func (c *client) partiesOf(ctx context.Context, o order, open []*orderPlan) (map[common.Address]bool, error) {
	there := map[common.Address]bool{}
	var groups []common.Address
	for _, y := range o.parties() {
		var entries []common.Address
		for _, p := range open {
			if text := p.next.body[y.field]; text != zeroAddress {
				entries = append(entries, common.HexToAddress(text))
			}
		}
		if err := c.learnOwners(ctx, y.kind, entries); err != nil {
			return nil, err
		}
		for _, a := range entries {
			if _, ok := c.ownerOf(y.kind, a); ok {
				there[a] = true
			} else if y.group {
				groups = append(groups, a)
			}
		}
	}
	calls := make([]chain.Call, len(groups))
	for i, a := range groups {
		calls[i] = chain.Call{To: a, Data: pack(poco.GroupABI().Pack("keyHasPurpose", [32]byte{}, big.NewInt(poco.GroupMember)))}
	}
	if len(calls) == 0 {
		return there, nil
	}
	for i, r := range c.chain.Calls(ctx, calls) {
		there[groups[i]] = r.Err == nil && len(r.Data) == 32
	}
	return there, nil
}

// checkParties warns of an order that nobody can match, because it is only for an entry that doesn't exist.
func (p *orderPlan) checkParties(there map[common.Address]bool) {
	for _, y := range p.parties() {
		text := p.next.body[y.field]
		if text == zeroAddress || there[common.HexToAddress(text)] {
			continue
		}
		what := fmt.Sprintf("no %s is registered at %s", y.kind.Noun, text)
		if y.group {
			what += ", and it is no group of them"
		}
		p.notice(providers.Warning, y.field, "nobody can match this order: %s", what)
	}
}

// readSupply reads the open workerpool orders of the market: its first page, which is all but of a crowded market.
func (c *client) readSupply(ctx context.Context) ([]market.Row, error) {
	if c.noMarket {
		return nil, nil
	}
	const page = 1000
	filter := url.Values{}
	for _, name := range []string{"workerpool", "app", "dataset", "requester"} {
		filter.Set(name, "any")
	}
	return c.market.Query(ctx, poco.WorkerpoolOrder, filter, page)
}

// checkSupply warns of an order that no workerpool order of the market fits. A market without any says nothing.
func (p *orderPlan) checkSupply(supply []market.Row) {
	if p.kind == poco.WorkerpoolOrder || len(supply) == 0 {
		return
	}
	fits := func(r market.Row) bool { return fitsTag(p.kind, p.next.body["tag"], r.Order["tag"]) }
	if !slices.ContainsFunc(supply, fits) {
		p.notice(providers.Warning, "tag", "no workerpool on the market has %s: none of its %d workerpool orders fits", poco.FormatTag(common.HexToHash(p.next.body["tag"])), len(supply))
		return
	}
	if p.kind != poco.RequestOrder {
		return
	}
	if !slices.ContainsFunc(supply, func(r market.Row) bool { return fits(r) && p.next.fitsWorkerpool(r.Order) }) {
		p.notice(providers.Warning, "workerpoolmaxprice", "none of the market's %d workerpool orders fits: category %s, trust %s, at most %s", len(supply),
			p.next.body["category"], p.next.body["trust"], poco.FormatAmount(number(p.next.body["workerpoolmaxprice"])))
	}
}

// checkOffered warns of a request that the market refuses because no published order of its app, or dataset, fits. What the
// wallet sells itself may be in the same plan, so nothing is said of that. Source: market API, services/order.js.
func (p *orderPlan) checkOffered(ctx context.Context) {
	body := p.next.body
	for _, k := range []*poco.Kind{poco.AppOrder, poco.DatasetOrder} {
		resource := body[k.Resource]
		if owner, ok := p.c.ownerOf(k.Entry(), common.HexToAddress(resource)); resource == zeroAddress || !ok || owner == p.c.wallet.Address() {
			continue
		}
		filter := url.Values{}
		for _, name := range []string{"app", "dataset", "workerpool", "requester"} {
			filter.Set(name, body[name])
		}
		if tee := common.HexToHash(body["tag"])[31] & 1; k == poco.AppOrder && tee == 1 {
			filter.Set("minTag", common.BigToHash(big.NewInt(1)).Hex())
		}
		rows, err := p.c.market.Query(ctx, k, filter, 1)
		if err != nil {
			continue
		}
		attr := k.Resource + "maxprice"
		switch {
		case len(rows) == 0:
			p.notice(providers.Warning, k.Resource, "the market refuses this request: it has no %s for %s %s that fits", k.Noun, k.Resource, resource)
		case lower(body[attr], rows[0].Order[k.Price]):
			p.notice(providers.Warning, attr, "the market refuses this request: the cheapest %s for %s %s that fits is at %s", k.Noun, k.Resource, resource, poco.FormatAmount(number(rows[0].Order[k.Price])))
		}
	}
}

// fitsTag reports whether a workerpool's tag has what an order's wants. A dataset's framework bits don't count. Source:
// IexecPoco1Facet.sol, 0x06.
func fitsTag(k *poco.Kind, wants, has string) bool {
	const frameworks = 0x2 | 0x4 | 0x8 // scone, gramine, tdx
	want, have := common.HexToHash(wants).Big(), common.HexToHash(has).Big()
	if k == poco.DatasetOrder {
		want.AndNot(want, big.NewInt(frameworks))
	}
	return want.AndNot(want, have).Sign() == 0
}

// fitsWorkerpool reports whether a workerpool order offers what a request wants, restrictions of the former and the tag aside.
func (s *signed) fitsWorkerpool(pool poco.Order) bool {
	return s.body["category"] == pool["category"] && !lower(pool["trust"], s.body["trust"]) &&
		!higher(pool["workerpoolprice"], s.body["workerpoolmaxprice"]) &&
		(s.body["workerpool"] == zeroAddress || s.body["workerpool"] == pool["workerpool"])
}

// warn tells what is allowed but probably not meant, and what stays usable.
func (p *orderPlan) warn(d *decision) {
	p.exposures(d)
	if p.next == nil {
		return
	}
	names, ok := poco.TagNames(common.HexToHash(p.d.str("tag")))
	if p.kind != poco.DatasetOrder && (!ok || !slices.Contains(names, "tee") || !slices.Contains(names, "tdx")) {
		p.notice(providers.Warning, "tag", "today's market clients match only orders with the tags tee and tdx: few will find this one")
	}
	free := p.kind.Entry() != nil && p.price(p.terms).Sign() == 0
	switch volume := p.d.num0("volume"); {
	case free && p.kind == poco.DatasetOrder && p.next.volume().Cmp(bulkVolume) >= 0:
		p.notice(providers.Info, "volume", "the dataset can be used in bulk, free of charge")
	case free && volume.Cmp(big.NewInt(10_000_000)) > 0:
		p.notice(providers.Warning, p.kind.Price, "%s are free of charge", p.units(volume))
	}
	for _, name := range append([]string{"volume"}, p.prices...) {
		if number(p.next.body[name]).Cmp(marketMax) > 0 {
			p.notice(providers.Warning, name, "the market refuses prices and volumes above %s", marketMax)
		}
	}
}
