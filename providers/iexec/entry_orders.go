package iexec

import (
	"context"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// reviewTransfers lists the orders that die with the planned transfers: those of the old owner for the entry, as the market
// shows them and as the state has them.
func (c *client) reviewTransfers(ctx context.Context, actions []providers.Action) []providers.Notice {
	var all []providers.Notice
	for _, a := range actions {
		var p transferPayload
		if a.Kind != "transfer" || unmarshal(a, &p) != nil {
			continue
		}
		for _, k := range poco.Kinds() {
			if e := k.Entry(); e == nil || e.Noun != p.Kind {
				continue
			}
			for _, s := range c.liveOrders(ctx, orderOf(k), p.Address) {
				all = append(all, providers.Notice{Level: providers.Warning,
					Summary: fmt.Sprintf("order %s dies with the transfer of %s %s: %s", s.hash, p.Kind, p.Address, orderOf(k).offer(s.remaining(), s.body))})
			}
		}
	}
	return all
}

// liveOrders is the wallet's orders for an entry that can be used, sorted by hash. What the market doesn't tell is left out.
func (c *client) liveOrders(ctx context.Context, o order, entry common.Address) []*signed {
	live := map[common.Hash]*signed{}
	if rows, err := c.list(ctx, o.kind); err == nil {
		for _, row := range rows.byHash {
			if common.HexToAddress(row.Order[o.kind.Resource]) == entry {
				s := &signed{hash: row.OrderHash, body: row.Order}
				s.consumed = s.volume()
				s.consumed.Sub(s.consumed, row.Remaining)
				live[s.hash] = s
			}
		}
	}
	c.mu.Lock()
	for i, known := range c.observed {
		for _, s := range known {
			if i.Resource.Type == o.typ() && common.HexToAddress(s.body[o.kind.Resource]) == entry && !s.over() {
				live[s.hash] = s
			}
		}
	}
	c.mu.Unlock()
	all := make([]*signed, 0, len(live))
	for _, s := range live {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *signed) int { return a.hash.Cmp(b.hash) })
	return all
}
