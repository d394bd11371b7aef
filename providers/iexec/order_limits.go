package iexec

import (
	"context"
	"fmt"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// What only the plan as a whole shows of the market's limits: how many orders the wallet has open, and how long its requests
// take.

// maxOpenOrders is how many open orders of a kind the market lets a wallet have, by default. Source: market API,
// MAX_OPEN_ORDERS_PER_WALLET.
const maxOpenOrders = 50

// reviewOrders looks at the actions, in order, that publish and withdraw orders.
func (c *client) reviewOrders(ctx context.Context, actions []providers.Action) []providers.Notice {
	var all []providers.Notice
	for _, k := range poco.Kinds() {
		if n := c.reviewOpen(ctx, k, actions); n != nil {
			all = append(all, *n)
		}
	}
	if n := c.reviewRate(actions); n != nil {
		all = append(all, *n)
	}
	return all
}

// reviewOpen counts the open orders of a kind along the plan.
func (c *client) reviewOpen(ctx context.Context, k *poco.Kind, actions []providers.Action) *providers.Notice {
	added, removed := map[common.Hash]bool{}, map[common.Hash]bool{}
	most := 0
	var rows *listing
	for _, a := range actions {
		var p struct {
			Kind string      `json:"kind"`
			Hash common.Hash `json:"order_hash"`
		}
		if a.Kind != "publish" && a.Kind != "unpublish" && a.Kind != "close" || unmarshal(a, &p) != nil || p.Kind != k.Noun {
			continue
		}
		if rows == nil {
			var err error
			if rows, err = c.list(ctx, k); err != nil {
				return nil
			}
		}
		switch open := rows.byHash[p.Hash] != nil; {
		case a.Kind == "publish" && !open:
			added[p.Hash] = true
		case a.Kind != "publish" && open:
			removed[p.Hash] = true
		}
		most = max(most, rows.count+len(added)-len(removed))
	}
	if most <= maxOpenOrders || len(added) == 0 {
		return nil
	}
	then := rows.count + len(added) - len(removed)
	text := fmt.Sprintf("wallet %s would have %d open %ss (%d now, %d published, %d withdrawn), and the market by default refuses more than %d",
		c.wallet.Address(), then, k.Noun, rows.count, len(added), len(removed), maxOpenOrders)
	if then <= maxOpenOrders {
		text = fmt.Sprintf("wallet %s has %d open %ss and would have up to %d while they are replaced, and the market by default refuses more than %d: withdraw some first",
			c.wallet.Address(), rows.count, k.Noun, most, maxOpenOrders)
	}
	return &providers.Notice{Level: providers.Warning, Summary: text}
}

// reviewRate tells how long the market's rate limit makes the plan take.
func (c *client) reviewRate(actions []providers.Action) *providers.Notice {
	requests, limit := 0, c.market.RateLimit()
	for _, a := range actions {
		if a.Kind == "publish" || a.Kind == "unpublish" {
			requests += a.Cost.Requests
		}
	}
	if limit == 0 || requests <= limit {
		return nil
	}
	minutes := (requests + limit - 1) / limit
	return &providers.Notice{Level: providers.Info, Attr: "market_url",
		Summary: fmt.Sprintf("about %d minutes: the market takes %d requests a minute, and this plan makes %d", minutes, limit, requests)}
}
