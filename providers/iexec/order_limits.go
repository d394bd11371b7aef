package iexec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// What only the plan as a whole shows of the market's limits: how many orders the wallet has open, and how long its requests
// take.

// maxOpenOrders is how many open orders of a kind the market lets a wallet have, by default. Source: market API,
// MAX_OPEN_ORDERS_PER_WALLET.
const maxOpenOrders = 50

// checkRoom looks whether the market has room for new orders beside those that they replace. Where it hasn't, the old ones
// are withdrawn first.
func (c *client) checkRoom(ctx context.Context, o order, open []*orderPlan) {
	if len(open) == 0 {
		return
	}
	rows, err := c.list(ctx, o.kind)
	crowded := err == nil && rows.count+len(open) > c.maxOpen
	for _, p := range open {
		p.crowded = crowded
	}
}

// reviewTime says how long the market's limit of requests holds the plan up, or that the market was not asked.
func (c *client) reviewTime(actions []providers.Action) []providers.Notice {
	if c.noMarket {
		return []providers.Notice{{Level: providers.Warning, Attr: "market_url",
			Summary: "the market was not asked: what it shows is taken from the state, and orders that the state doesn't know are not found"}}
	}
	requests, wait := c.market.Estimate(writesOf(actions))
	if limit, _ := c.market.RateLimit(); 2*requests <= limit || limit == 0 {
		return nil
	}
	return []providers.Notice{{Level: providers.Info, Attr: "market_url", Summary: fmt.Sprintf(
		"%s: the market takes %s, and this plan makes about %d", minutes(wait), c.rate(), requests)}}
}

// rate is the market's limit in words.
func (c *client) rate() string {
	limit, window := c.market.RateLimit()
	if window == time.Minute {
		return fmt.Sprintf("%d requests a minute", limit)
	}
	return fmt.Sprintf("%d requests in %s", limit, window)
}

// writesOf is how many of the actions write to the market.
func writesOf(actions []providers.Action) (n int) {
	for _, a := range actions {
		if a.Kind == "publish" || a.Kind == "unpublish" {
			n++
		}
	}
	return n
}

// minutes is a duration in words.
func minutes(d time.Duration) string {
	switch n := int((d + 30*time.Second) / time.Minute); {
	case d < 30*time.Second:
		return "less than a minute"
	case n <= 1:
		return "about a minute"
	default:
		return fmt.Sprintf("about %d minutes", n)
	}
}

// tellWaits returns a context with which requests to the market tell of the action that they wait, and how long all takes.
func (c *client) tellWaits(ctx context.Context, req providers.DoRequest) context.Context {
	return market.WithWait(ctx, func(wait time.Duration) {
		writes := int(c.writes.Load())
		_, more := c.market.Estimate(writes)
		req.Progress(providers.Progress{
			Type: "market_wait", Waits: true,
			Message: fmt.Sprintf("waiting %s, as the market takes %s; %d orders are left to publish or withdraw, which takes %s",
				wait.Round(time.Second), c.rate(), writes, minutes(wait+more)),
			Fields: map[string]string{"wait_seconds": fmt.Sprintf("%.0f", wait.Seconds()), "left_seconds": fmt.Sprintf("%.0f", (wait + more).Seconds()), "orders_left": strconv.Itoa(writes)},
		})
	})
}

// An offering is an action that changes what the market shows.
type offering struct {
	publish bool
	Kind    string      `json:"kind"`
	Hash    common.Hash `json:"order_hash"`
}

// reviewOpen refuses a plan that the market has no room for. It counts the open orders of each kind along the actions, which
// publish and withdraw them.
func (c *client) reviewOpen(ctx context.Context, actions []providers.Action) error {
	byKind := map[string][]offering{}
	for _, a := range actions {
		o := offering{publish: a.Kind == "publish"}
		if (o.publish || a.Kind == "unpublish" || a.Kind == "close") && unmarshal(a, &o) == nil {
			byKind[o.Kind] = append(byKind[o.Kind], o)
		}
	}
	var errs []error
	for _, k := range poco.Kinds() {
		errs = append(errs, c.checkOpen(ctx, k, byKind[k.Noun]))
	}
	return providers.At("max_open_orders", errors.Join(errs...))
}

func (c *client) checkOpen(ctx context.Context, k *poco.Kind, offerings []offering) error {
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
	if most <= c.maxOpen || len(added) == 0 {
		return nil
	}
	return fmt.Errorf("wallet %s would have up to %d open %ss (%d now, %d published, %d withdrawn), and the market refuses more than %d: "+
		"withdraw some first, offer more volume in fewer orders, or set max_open_orders if the market has another limit",
		c.wallet.Address(), most, k.Noun, rows.count, len(added), len(removed), c.maxOpen)
}
