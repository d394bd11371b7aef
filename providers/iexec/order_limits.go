package iexec

import (
	"context"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// What only the plan as a whole shows of the market's limits: how many orders the wallet has open, and how long its requests
// take.

// maxOpenOrders is how many open orders of a kind the market lets a wallet have, by default. Source: market API,
// MAX_OPEN_ORDERS_PER_WALLET.
const maxOpenOrders = 50

// checkRoom looks whether the market has room for new orders beside those that they replace. Where it hasn't, the old ones
// are withdrawn first. A wallet that has more open orders than the usual limit is on a market with another one.
func (c *client) checkRoom(ctx context.Context, o order, open []*orderPlan) {
	if len(open) == 0 {
		return
	}
	rows, err := c.list(ctx, o.kind)
	crowded := err == nil && rows.count <= maxOpenOrders && rows.count+len(open) > maxOpenOrders
	for _, p := range open {
		p.crowded = crowded
	}
}

// An offering is an action that changes what the market shows.
type offering struct {
	publish bool
	Kind    string      `json:"kind"`
	Hash    common.Hash `json:"order_hash"`
}

// reviewOrders looks at the actions, in order, that publish and withdraw orders.
func (c *client) reviewOrders(ctx context.Context, actions []providers.Action) []providers.Notice {
	byKind := map[string][]offering{}
	requests := 0
	for _, a := range actions {
		switch a.Kind {
		case "publish", "unpublish":
			requests += a.Cost.Requests
		case "close":
		default:
			continue
		}
		o := offering{publish: a.Kind == "publish"}
		if unmarshal(a, &o) == nil {
			byKind[o.Kind] = append(byKind[o.Kind], o)
		}
	}
	var all []providers.Notice
	for _, k := range poco.Kinds() {
		if n := c.reviewOpen(ctx, k, byKind[k.Noun]); n != nil {
			all = append(all, *n)
		}
	}
	if limit := c.market.RateLimit(); limit > 0 && requests > limit {
		all = append(all, providers.Notice{Level: providers.Info, Attr: "market_url", Summary: fmt.Sprintf(
			"about %d minutes: the market takes %d requests a minute, and this plan makes %d", (requests+limit-1)/limit, limit, requests)})
	}
	return all
}

// reviewOpen counts the open orders of a kind along the plan.
func (c *client) reviewOpen(ctx context.Context, k *poco.Kind, offerings []offering) *providers.Notice {
	if !slices.ContainsFunc(offerings, func(o offering) bool { return o.publish }) {
		return nil
	}
	rows, err := c.list(ctx, k)
	if err != nil {
		return nil // publishing will tell
	}
	added, removed := map[common.Hash]bool{}, map[common.Hash]bool{}
	most := 0
	for _, o := range offerings {
		switch open := rows.byHash[o.Hash] != nil; {
		case o.publish && !open:
			added[o.Hash] = true
		case !o.publish && open:
			removed[o.Hash] = true
		}
		most = max(most, rows.count+len(added)-len(removed))
	}
	if most <= maxOpenOrders || len(added) == 0 {
		return nil
	}
	return &providers.Notice{Level: providers.Warning, Summary: fmt.Sprintf("wallet %s would have up to %d open %ss (%d now, %d published, %d withdrawn), and the market by default refuses more than %d",
		c.wallet.Address(), most, k.Noun, rows.count, len(added), len(removed), maxOpenOrders)}
}
