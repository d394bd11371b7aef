package iexec

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
)

// What was closed, for as long as a reorganisation of the chain can undo it: the state's objects know it no more, and whoever has a
// copy of the order could use it again. Policy:
//   - Before an order is closed, all of it is noted among what the state knows of the network, so that it outlives its resource and
//     the run. When an apply ends, what is closed in a final block is left out again.
//   - A plan looks at it only where it may be undone: when the chain went back behind the last block with a transaction of ours, or
//     when the run that closed it didn't come to its end. Otherwise it costs nothing.
//   - An order that can be used again is taken up as one of its resource's: what was sold of it is settled no more, the state
//     remembers it before anything else is done, and it is closed, whatever is wanted. A resource that the state has forgotten is
//     back with it, to be removed.

// factClosed begins the names of facts of the network that are closed orders: their hash follows. The value is the number of a
// block in which it was closed, or "" when nobody has seen that, and after a space the rest, as JSON.
const factClosed = "closed "

// A closedOrder is one that was closed, or was about to be.
type closedOrder struct {
	Addr       addr.Instance     `json:"addr"`
	Order      map[string]string `json:"order"`
	Sign       string            `json:"sign"`
	Generation int64             `json:"generation,omitempty"`
	Sold       string            `json:"sold"` // before

	hash  common.Hash
	block string
	seen  bool // to be closed, in this run
}

func (x *closedOrder) fact() string { return x.block + " " + string(marshal(x)) }

func (x *closedOrder) signed() *signed {
	return &signed{hash: x.hash, body: x.Order, sign: x.Sign, status: statusSigned, consumed: new(big.Int), generation: x.Generation, undone: true}
}

// recallClosed reads what the state remembers of closed orders. c.mu is held.
func (c *client) recallClosed() {
	for name, value := range c.remembered {
		text, ok := strings.CutPrefix(name, factClosed)
		block, rest, _ := strings.Cut(value, " ")
		x := &closedOrder{hash: common.HexToHash(text), block: block}
		if ok && c.closed[x.hash] == nil && json.Unmarshal([]byte(rest), x) == nil { // what another version wrote differently can't be helped
			c.closed[x.hash] = x
		}
	}
}

// mayBeUndone reports whether orders that the state remembers as closed need a look. c.mu is held.
func (c *client) mayBeUndone() bool {
	for name, value := range c.remembered {
		if strings.HasPrefix(name, factClosed) && (c.reorganised != "" || strings.HasPrefix(value, " ")) {
			return c.identified
		}
	}
	return false
}

// noteClosing remembers an order that is about to be closed.
func (c *client) noteClosing(ctx context.Context, x *closing) error {
	note := &closedOrder{Addr: x.req.Action.Addr, Order: x.p.Order, Sign: x.p.Sign, Generation: x.p.Generation, Sold: x.sold.String(), hash: x.p.Hash}
	c.mu.Lock()
	c.closed[note.hash] = note
	c.mu.Unlock()
	return x.req.Journal.Seen(ctx, map[string]string{factClosed + note.hash.Hex(): note.fact()})
}

// noteClosed remembers in which block an order was closed, and what was sold before.
func (c *client) noteClosed(x *closing, block *big.Int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if note := c.closed[x.p.Hash]; note != nil {
		note.Sold, note.block, note.seen = x.sold.String(), block.String(), true
	}
}

// stillClosed is the facts that a run ends with: what it closed, without what is final. What nobody has seen closed, or was closed
// before a reorganisation, is looked at; then the newest block is one that it was closed in. With an error all stays as it was.
func (c *client) stillClosed(ctx context.Context) (facts map[string]string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recallClosed()
	var doubtful []*closedOrder
	var hashes []common.Hash
	for hash, x := range c.closed {
		if !x.seen && (x.block == "" || c.reorganised != "") {
			doubtful, hashes = append(doubtful, x), append(hashes, hash)
		}
	}
	if len(c.closed) == 0 {
		return nil, nil
	}
	newest, final, err := c.chain.Final(ctx)
	if err != nil {
		return nil, err
	}
	consumed, err := c.consumedOf(ctx, hashes, newest.Number)
	if err != nil {
		return nil, err
	}
	facts = map[string]string{}
	for i, x := range doubtful {
		x.block = ""
		if consumed[i].Cmp(number(x.Order["volume"])) >= 0 {
			x.block = newest.Number.String()
			facts[factBlock] = blockFact(newest.Number, newest.Hash)
		}
	}
	for hash, x := range c.closed {
		name := factClosed + hash.Hex()
		if facts[name] = x.fact(); x.block != "" && number(x.block).Cmp(final) <= 0 {
			facts[name] = ""
		}
	}
	return facts, nil
}

// An undoneOrder is one that was closed and is usable again.
type undoneOrder struct {
	*closedOrder
	consumed *big.Int
}

// readUndone looks which orders are usable again, where they may be. Without refresh nobody knows whether they may.
func (c *client) readUndone(ctx context.Context) (map[addr.Instance][]undoneOrder, error) {
	c.mu.Lock()
	if !c.mayBeUndone() {
		c.mu.Unlock()
		return nil, nil
	}
	c.recallClosed()
	var list []*closedOrder
	var hashes []common.Hash
	for hash, x := range c.closed {
		if o, ok := c.known[x.Addr.Resource.Type].(order); ok && (x.block == "" || c.reorganised != "") {
			if is, err := c.Domain().OrderHash(o.kind, x.Order); err == nil && is == hash { // else of another hub
				list, hashes = append(list, x), append(hashes, hash)
			}
		}
	}
	c.mu.Unlock()
	if len(list) == 0 {
		return nil, nil
	}
	if err := c.pin(ctx); err != nil {
		return nil, err
	}
	consumed, err := c.consumedOf(ctx, hashes, nil)
	if err != nil {
		return nil, err
	}
	undone := map[addr.Instance][]undoneOrder{}
	for i, x := range list {
		if consumed[i].Cmp(number(x.Order["volume"])) < 0 {
			undone[x.Addr] = append(undone[x.Addr], undoneOrder{x, consumed[i]})
		}
	}
	return undone, nil
}

// reopenOrders takes up the orders of resources that were closed and are usable again.
func (c *client) reopenOrders(ctx context.Context, o order, plans []*orderPlan) error {
	undone, err := c.undone(ctx)
	if err != nil || len(undone) == 0 {
		return err
	}
	var rows *listing
	if !c.noMarket {
		if rows, err = c.list(ctx, o.kind); err != nil {
			return adviseMarket(err)
		}
	}
	known := c.knownHashes()
	for _, p := range plans {
		if p.result.Err != nil || !p.req.Prior.IsNull() && !c.wasRead(p.req.Addr) {
			continue
		}
		var found []undoneOrder
		for _, i := range append([]addr.Instance{p.req.Addr}, p.req.Formerly...) {
			found = append(found, undone[i]...)
		}
		if found, err = c.usable(ctx, o, known, found); err != nil {
			return err
		}
		if len(found) > 0 {
			p.reopen(found, rows)
		}
	}
	return nil
}

// usable leaves out the orders that the state knows all the same, as when the run that was to close them was interrupted, and those
// that the wallet can't close: nobody can use them either.
func (c *client) usable(ctx context.Context, o order, known map[common.Hash]bool, undone []undoneOrder) ([]undoneOrder, error) {
	undone = slices.DeleteFunc(slices.Clone(undone), func(x undoneOrder) bool { return known[x.hash] })
	wallet, err := c.address()
	if err != nil || len(undone) == 0 {
		return nil, nil
	}
	e := o.kind.Entry()
	if e == nil {
		return slices.DeleteFunc(undone, func(x undoneOrder) bool { return x.Order[o.kind.Resource] != wallet.Hex() }), nil
	}
	var entries []common.Address
	for _, x := range undone {
		entries = append(entries, common.HexToAddress(x.Order[o.kind.Resource]))
	}
	if err := c.learnOwners(ctx, e, entries); err != nil {
		return nil, err
	}
	p := &orderPlan{order: o, c: c}
	return slices.DeleteFunc(undone, func(x undoneOrder) bool { return p.dead(x.signed()) }), nil
}

// reopen takes up orders of the resource.
func (p *orderPlan) reopen(found []undoneOrder, rows *listing) {
	settled := new(big.Int).Set(object{p.req.Current}.num0("settled"))
	p.known = slices.Clone(p.known)
	for _, x := range found {
		s := x.signed()
		s.consumed = x.consumed
		if rows != nil && rows.byHash[s.hash] != nil {
			s.status = statusOpen
		}
		if settled.Sub(settled, number(x.Sold)); settled.Sign() < 0 { // of a resource that was made anew
			settled.SetInt64(0)
		}
		p.known = append(p.known, s)
		p.result.Notices = append(p.result.Notices, noticeUndone(s))
	}
	slices.SortFunc(p.known, func(a, b *signed) int { return a.hash.Cmp(b.hash) })
	p.settled, p.reopened = settled, true
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	p.c.observed[p.req.Addr] = p.known
}

func noticeUndone(s *signed) providers.Notice {
	return providers.Notice{Level: providers.Warning, Summary: fmt.Sprintf("order %s was closed, and a reorganisation of the chain has undone it: it is usable again", s.hash)}
}

// Back implements providers.Rememberer.
func (c *client) Back(ctx context.Context) ([]addr.Instance, error) {
	undone, err := c.undone(ctx)
	if err != nil || len(undone) == 0 {
		return nil, err
	}
	known := c.knownHashes()
	var back []addr.Instance
	for i, list := range undone {
		o := c.known[i.Resource.Type].(order) //nolint:errcheck,forcetypeassert // readUndone has looked
		list, err := c.usable(ctx, o, known, list)
		if err != nil {
			return nil, err
		}
		if len(list) > 0 {
			back = append(back, i)
		}
	}
	slices.SortFunc(back, addr.Instance.Compare)
	return back, nil
}

var _ providers.Rememberer = (*client)(nil)
