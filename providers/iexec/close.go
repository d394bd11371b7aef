package iexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Closing ends orders on chain. What was sold before is remembered before a transaction is sent, because the chain forgets
// it: afterwards consumed equals volume. Many orders are closed by one transaction where the chain has Multicall3: the hub
// takes CLOSE operations that the owner signed from any sender (facts: IexecOrderManagementFacet). An order that such a
// transaction left open is closed by one of its own.

const (
	closeBatch = "close" // Action.Batch of closes
	maxCloses  = 100     // in one transaction
	// Gas of a transaction through Multicall3 beside its calls. A call takes what the owner's own transaction does without
	// txBase, or less: the signature and its data cost about 9,000, and what the calls share saves more (measured).
	closeBase = 32_000
	txBase    = 21_000 // gas: what every transaction takes
)

// Batch implements providers.Batcher.
func (c *client) Batch(ctx context.Context, actions []*providers.Action) (groups [][]int, notices []providers.Notice) {
	if has, err := c.chain.HasMulticall(ctx); err != nil || !has {
		return nil, nil
	}
	var alone, together uint64
	for from := 0; from < len(actions); from += maxCloses {
		to := min(from+maxCloses, len(actions))
		if to-from < 2 {
			break
		}
		gas := uint64(closeBase)
		var group []int
		for i := from; i < to; i++ {
			alone += actions[i].Cost.Gas
			gas += actions[i].Cost.Gas - min(txBase, actions[i].Cost.Gas)
			actions[i].Cost = providers.Cost{Signatures: 1}
			group = append(group, i)
		}
		together += gas
		actions[from].Cost = c.cost(ctx, gas)
		actions[from].Cost.Signatures = 1
		groups = append(groups, group)
	}
	if len(groups) > 0 {
		transactions := "1 transaction"
		if len(groups) > 1 {
			transactions = fmt.Sprintf("%d transactions", len(groups))
		}
		notices = append(notices, providers.Notice{Level: providers.Info, Summary: fmt.Sprintf(
			"%d orders are closed together in %s, with about %d gas instead of %d, which is %d %% less", len(actions), transactions, together, alone, 100-100*together/max(alone, 1))})
	}
	return groups, notices
}

// DoBatch implements providers.Batcher. SIDE EFFECTS: those of doClose.
func (c *client) DoBatch(ctx context.Context, reqs []providers.DoRequest) []providers.DoResult {
	return c.closeOrders(ctx, reqs)
}

// doClose makes sure that nobody can use the order any more. SIDE EFFECTS: at most one transaction.
func doClose(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	result := c.closeOrders(ctx, []providers.DoRequest{req})[0]
	return result.Patch, result.Err
}

// A closing is one order that is to be closed.
type closing struct {
	*providers.DoResult
	req    providers.DoRequest
	kind   *poco.Kind
	p      orderPayload
	volume *big.Int
	sold   *big.Int // before it is closed
}

// record is the patch that remembers what was sold and how far the closing is.
func (x *closing) record(status string) json.RawMessage {
	return marshal(x.p.patch(x.p.Sign, status, x.sold.String()))
}

// mustBe refuses when another order is made from what was sold and that isn't as planned.
func (x *closing) mustBe() error {
	if x.p.Exact && x.sold.String() != orZero(x.p.Consumed) {
		return fmt.Errorf("order %s was bought from since the plan was made (%s sold, planned with %s), so the volume of the new order would be wrong: plan again", x.p.Hash, x.sold, orZero(x.p.Consumed))
	}
	return nil
}

func (c *client) closeOrders(ctx context.Context, reqs []providers.DoRequest) []providers.DoResult {
	results := make([]providers.DoResult, len(reqs))
	var list []*closing
	for i, req := range reqs {
		x := &closing{DoResult: &results[i], req: req}
		if x.Err = x.read(c); x.Err == nil {
			list = append(list, x)
		}
	}
	if list = c.beginClosing(ctx, list); len(list) > 1 {
		list = c.closeTogether(ctx, list)
	}
	for _, x := range list {
		c.closeAlone(ctx, x)
	}
	return results
}

func (x *closing) read(c *client) (err error) {
	if x.p, x.kind, err = c.orderAction(x.req.Action); err != nil {
		return err
	}
	if c.sender == nil {
		return c.walletErr
	}
	x.volume, _ = new(big.Int).SetString(x.p.Order["volume"], 10)
	planned, ok := new(big.Int).SetString(orZero(x.p.Consumed), 10)
	if x.volume == nil || !ok {
		return fmt.Errorf("payload of action %d: volume or consumed is not a number", x.req.Action.ID)
	}
	x.sold = planned
	return nil
}

// beginClosing remembers what was sold, and returns those that are not over yet.
func (c *client) beginClosing(ctx context.Context, list []*closing) []*closing {
	consumed, err := c.consumedOf(ctx, hashesOf(list), nil)
	var open []*closing
	for i, x := range list {
		switch {
		case err != nil:
			x.Err = err
		case consumed[i].Cmp(x.volume) >= 0:
			c.isOver(ctx, x)
		default:
			x.sold = consumed[i]
			if x.Err = x.mustBe(); x.Err == nil {
				open = append(open, x)
			}
		}
	}
	parallel(len(open), len(open), func(i int) { // they share a write of the journal
		x := open[i]
		if err := x.req.Journal.Patch(ctx, x.record(statusClosing)); err != nil {
			x.Err = fmt.Errorf("cannot persist what was sold, so nothing was sent: %w", err)
		} else if err := c.noteClosing(ctx, x); err != nil {
			x.Err = fmt.Errorf("cannot persist what is closed, so nothing was sent: %w", err)
		}
	})
	return slices.DeleteFunc(open, func(x *closing) bool { return x.Err != nil })
}

// isOver ends the closing of an order that nobody can use any more. Where a run has begun to close it what was sold is as that
// recorded, unless the market knows that it was sold out first. Otherwise it was sold out since the plan was made, or somebody else
// closed it, which counts the same.
func (c *client) isOver(ctx context.Context, x *closing) {
	out := !x.p.Begun
	if !out && !c.noMarket {
		row, err := c.market.Get(ctx, x.kind, x.p.Hash)
		if err != nil {
			x.Err = adviseMarket(err)
			return
		}
		out = row != nil && row.Status == "filled"
	}
	if out {
		x.sold = x.volume
		x.end(ctx, "was sold out since the plan was made, or closed by somebody else")
	} else if x.sold, x.Err = c.soldBefore(ctx, x.kind, x.p.Hash, x.sold); x.Err == nil {
		x.end(ctx, boughtBefore)
	}
}

const boughtBefore = "was bought from before it was closed"

// end records that nobody can use the order any more. Where the resource goes on with another total than was planned, what it
// offers is wrong, which only another plan can set right.
func (x *closing) end(ctx context.Context, how string) {
	x.Patch = x.record(statusClosed)
	if planned := orZero(x.p.Consumed); x.p.Counts && x.sold.String() != planned {
		x.Err = errors.Join(fmt.Errorf("order %s %s (%s sold, planned with %s), so that something else must be offered: plan again", x.p.Hash, how, x.sold, planned), x.req.Journal.Patch(ctx, x.Patch))
	}
}

// soldBefore is what was sold of an order before a run closed it that was interrupted: what that has recorded, or more, when the
// market knows of deals between its look and the closing.
func (c *client) soldBefore(ctx context.Context, k *poco.Kind, hash common.Hash, recorded *big.Int) (*big.Int, error) {
	if c.noMarket {
		return recorded, nil
	}
	deals, err := c.market.Deals(ctx, url.Values{k.Noun + "Hash": {hash.Hex()}}, 0)
	if err != nil {
		return recorded, adviseMarket(err)
	}
	sold := new(big.Int)
	for _, d := range deals {
		sold.Add(sold, d.Volume)
	}
	if sold.Cmp(recorded) < 0 {
		return recorded, nil // the market is behind
	}
	return sold, nil
}

// closeAlone closes an order by the owner's transaction.
func (c *client) closeAlone(ctx context.Context, x *closing) {
	tx := chain.TxRequest{To: c.Hub, Data: x.p.Data, Purpose: "close order " + x.p.Hash.Hex(), Done: func(ctx context.Context) (bool, error) {
		consumed, err := c.consumedOf(ctx, hashesOf([]*closing{x}), nil)
		return err == nil && consumed[0].Cmp(x.volume) >= 0, err
	}}
	receipt, err := c.sender.Send(ctx, tx, x.req.Journal, x.req.Progress)
	switch {
	case err != nil:
		x.Err = err
	case receipt == nil: // by another transaction of the owner, or a buyer's
		x.p.Begun = true
		c.isOver(ctx, x)
	default:
		c.endClosing(ctx, []*closing{x}, receipt.BlockNumber)
	}
}

// closeTogether closes orders by one transaction, and returns those that it left open.
func (c *client) closeTogether(ctx context.Context, list []*closing) []*closing {
	failAll := func(err error) []*closing {
		for _, x := range list {
			x.Err = err
		}
		return nil
	}
	signer, err := c.signer(ctx)
	if err != nil {
		return failAll(err)
	}
	calls := make([]poco.Call, len(list))
	for i, x := range list {
		data, err := closeOperation(ctx, c.Domain(), signer, x)
		if err != nil {
			return failAll(fmt.Errorf("close order %s: %w", x.p.Hash, err))
		}
		calls[i] = poco.Call{Target: c.Hub, AllowFailure: true, CallData: data}
	}
	tx := chain.TxRequest{To: poco.Multicall3, Data: poco.PackAggregate3(calls), Purpose: fmt.Sprintf("close %d orders", len(list))}
	receipt, err := c.sender.Send(ctx, tx, list[0].req.Journal, list[0].req.Progress)
	var revert *chain.RevertError
	if errors.As(err, &revert) {
		return list // such as a chain that limits the gas of a transaction
	}
	if err != nil {
		return failAll(err)
	}
	consumed, err := c.consumedOf(ctx, hashesOf(list), receipt.BlockNumber)
	if err != nil {
		return failAll(err)
	}
	var closed, open []*closing
	for i, x := range list {
		if consumed[i].Cmp(x.volume) >= 0 {
			closed = append(closed, x)
		} else {
			open = append(open, x)
		}
	}
	c.endClosing(ctx, closed, receipt.BlockNumber)
	return open
}

// closeOperation is the call data that closes an order for whoever sends it.
func closeOperation(ctx context.Context, domain poco.Domain, signer chain.Signer, x *closing) ([]byte, error) {
	doc, err := domain.OperationDocument(x.kind, x.p.Order, poco.OpClose)
	if err != nil {
		return nil, err
	}
	sign, err := signer.SignTypedData(ctx, doc)
	if err != nil {
		return nil, err
	}
	return poco.PackManageOrder(x.kind, x.p.Order, poco.OpClose, sign)
}

// endClosing looks whether somebody bought between the look and the transaction, which is in the given block.
func (c *client) endClosing(ctx context.Context, list []*closing, block *big.Int) {
	before := new(big.Int).Sub(block, big.NewInt(1))
	consumed, err := c.consumedOf(ctx, hashesOf(list), before)
	for i, x := range list {
		if err == nil && consumed[i].Cmp(x.sold) != 0 {
			x.sold = consumed[i]
		}
		x.end(ctx, boughtBefore)
		c.noteClosed(x, block)
	}
}

func hashesOf(list []*closing) []common.Hash {
	hashes := make([]common.Hash, len(list))
	for i, x := range list {
		hashes[i] = x.p.Hash
	}
	return hashes
}

var _ providers.Batcher = (*client)(nil)
