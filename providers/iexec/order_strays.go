package iexec

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/market"
)

// Strays are open orders of the wallet that no object of the state has. Those that a salt explains are taken up by their resource (see
// recogniseOrders). The others, about what is offered here, are told of and left alone: another project may have signed them, and
// only who reads of them can say whether they are to stay.

// A stray is one of them.
type stray struct {
	order
	row *market.Row
}

// knownHashes is the signed orders that were read, or taken up, in this run.
func (c *client) knownHashes() map[common.Hash]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := make(map[common.Hash]bool, len(c.observed))
	for _, list := range c.observed {
		for _, s := range list {
			known[s.hash] = true
		}
	}
	return known
}

// strays is the rows that nobody knows yet, by index.
func (c *client) strays(rows *listing) map[string][]*market.Row {
	known := c.knownHashes()
	strays := map[string][]*market.Row{}
	for index, list := range rows.byIndex {
		for _, row := range list {
			if !known[row.OrderHash] {
				strays[index] = append(strays[index], row)
			}
		}
	}
	return strays
}

// rememberStrays notes which rows are about what these resources offer, and what the resources know by now.
func (c *client) rememberStrays(strays map[string][]*market.Row, plans []*orderPlan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range plans {
		for _, place := range p.places() {
			for _, row := range strays[place] {
				c.strayed[row.OrderHash] = stray{p.order, row}
			}
		}
		c.observed[p.req.Addr] = p.known
	}
}

// noticeStrays tells of those that are left when all is planned.
func (c *client) noticeStrays() (notices []providers.Notice) {
	known := c.knownHashes()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, hash := range slices.SortedFunc(maps.Keys(c.strayed), common.Hash.Cmp) {
		if s := c.strayed[hash]; !known[hash] {
			notices = append(notices, providers.Notice{Level: providers.Exposure,
				Summary: fmt.Sprintf("order %s stays open on the market, and no resource here has it: %s, for %s %s", hash, s.offer(s.row.Remaining, s.row.Order), s.index, s.row.Order[s.index]),
				Detail:  "Another project, workspace or tool of this wallet signed it, or the state that knew it is lost. To manage it here, import it under its hash: a resource that doesn't have it makes its own order beside it."})
		}
	}
	return notices
}
