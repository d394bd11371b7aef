package chain

import (
	"context"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
	"golang.org/x/sync/errgroup"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// An aggregate3 call holds up to 500 calls and 200 kB of call data, which stays well below the gas that nodes give a call.
const (
	minAggregate   = 8 // fewer calls are as cheap without
	maxAggregate   = 500
	maxAggregateIn = 200_000
)

// Call is one read-only call of a contract.
type Call struct {
	To    common.Address
	Data  []byte
	Block *big.Int // nil: the pinned block, or the newest one
}

// CallResult is what one Call returned. Err is a *RevertError if the contract reverted.
type CallResult struct {
	Data []byte
	Err  error
}

// Calls performs the calls in as few requests as it can and returns their results in order. All calls without a block of
// their own are made at the same one. A failure of the transport is the Err of each. SIDE EFFECTS: none.
func (c *Client) Calls(ctx context.Context, calls []Call) []CallResult {
	results := make([]CallResult, len(calls))
	if err := c.calls(ctx, calls, results); err != nil {
		err = fmt.Errorf("call contracts: %w", err)
		for i := range results {
			results[i] = CallResult{Err: err}
		}
	}
	return results
}

func (c *Client) calls(ctx context.Context, calls []Call, results []CallResult) error {
	if len(calls) == 0 {
		return nil
	}
	tag := c.blockTag(nil)
	if tag == "latest" && (len(calls) >= minAggregate || len(calls) > int(c.maxBatch.Load())) {
		head, err := c.Head(ctx) // several requests, or a repeated one, must not see different blocks
		if err != nil {
			return err
		}
		tag = hexutil.EncodeBig(head.Number)
	}
	byBlock := map[string][]int{}
	var tags []string
	for i, call := range calls {
		at := tag
		if call.Block != nil {
			at = hexutil.EncodeBig(call.Block)
		}
		if byBlock[at] == nil {
			tags = append(tags, at)
		}
		byBlock[at] = append(byBlock[at], i)
	}
	for _, at := range tags {
		if err := c.callsAt(ctx, at, calls, byBlock[at], results); err != nil {
			return err
		}
	}
	return nil
}

// callsAt performs calls[which...] at one block.
func (c *Client) callsAt(ctx context.Context, tag string, calls []Call, which []int, results []CallResult) error {
	if len(which) >= minAggregate {
		has, err := c.hasMulticall(ctx, tag)
		if err != nil {
			return err
		}
		if has {
			if which, err = c.aggregate(ctx, tag, calls, which, results); err != nil {
				return err
			}
		}
	}
	return c.direct(ctx, tag, calls, which, results)
}

// HasMulticall tells whether the chain has Multicall3.
func (c *Client) HasMulticall(ctx context.Context) (bool, error) {
	return c.hasMulticall(ctx, "latest")
}

// hasMulticall tells whether the chain has Multicall3; asked once.
func (c *Client) hasMulticall(ctx context.Context, tag string) (bool, error) {
	c.mu.Lock()
	known := c.multicall
	c.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	var code hexutil.Bytes
	if err := c.call(ctx, "look for Multicall3", &code, "eth_getCode", poco.Multicall3, tag); err != nil {
		return false, err
	}
	has := len(code) > 0
	c.mu.Lock()
	c.multicall = &has
	c.mu.Unlock()
	return has, nil
}

// aggregate performs calls[which...] through Multicall3 and returns those that have to be made directly: the ones of a
// refused aggregate, and the ones that failed without data, as too little gas left for one call looks the same.
func (c *Client) aggregate(ctx context.Context, tag string, calls []Call, which []int, results []CallResult) ([]int, error) {
	var chunks [][]int
	start, size := 0, 0
	for i, w := range which {
		size += len(calls[w].Data)
		if i > start && (i-start == maxAggregate || size > maxAggregateIn) {
			chunks = append(chunks, which[start:i])
			start, size = i, len(calls[w].Data)
		}
	}
	chunks = append(chunks, which[start:])
	left := make([][]int, len(chunks))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for n, chunk := range chunks {
		g.Go(func() (err error) {
			left[n], err = c.aggregateOne(ctx, tag, calls, chunk, results)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []int
	for _, l := range left {
		all = append(all, l...)
	}
	return all, nil
}

func (c *Client) aggregateOne(ctx context.Context, tag string, calls []Call, chunk []int, results []CallResult) ([]int, error) {
	packed := make([]poco.Call, len(chunk))
	for i, w := range chunk {
		packed[i] = poco.Call{Target: calls[w].To, AllowFailure: true, CallData: calls[w].Data}
	}
	var answer hexutil.Bytes
	elem := []rpc.BatchElem{{Method: "eth_call", Result: &answer, Args: []any{
		callArgs{To: poco.Multicall3, Data: poco.PackAggregate3(packed)}, tag,
	}}}
	if err := c.exchange(ctx, elem); err != nil {
		return nil, err
	}
	if elem[0].Error != nil {
		return chunk, nil
	}
	inner, err := poco.UnpackAggregate3(answer)
	if err != nil || len(inner) != len(chunk) {
		return chunk, nil
	}
	var left []int
	for i, r := range inner {
		switch {
		case r.Success:
			results[chunk[i]].Data = r.ReturnData
		case len(r.ReturnData) == 0:
			left = append(left, chunk[i])
		default:
			results[chunk[i]].Err = newRevertError(r.ReturnData, "")
		}
	}
	return left, nil
}

func (c *Client) direct(ctx context.Context, tag string, calls []Call, which []int, results []CallResult) error {
	if len(which) == 0 {
		return nil
	}
	elems := make([]rpc.BatchElem, len(which))
	data := make([]hexutil.Bytes, len(which))
	for i, w := range which {
		elems[i] = rpc.BatchElem{Method: "eth_call", Result: &data[i], Args: []any{callArgs{To: calls[w].To, Data: calls[w].Data}, tag}}
	}
	if err := c.batch(ctx, elems); err != nil {
		return err
	}
	for i, w := range which {
		results[w] = CallResult{Data: data[i], Err: c.itemError(elems[i].Error)}
	}
	return nil
}

// Msg is a transaction to be.
type Msg struct {
	From, To common.Address
	Data     []byte
	Value    *big.Int // wei; nil: none
}

// EstimateGas tells, for each message and in order, the gas that it takes at the pinned block (exactly as the node says,
// without margin), or why it cannot be done: a *RevertError if a contract refuses it. SIDE EFFECTS: none.
func (c *Client) EstimateGas(ctx context.Context, msgs []Msg) ([]uint64, []error) {
	gas, errs := make([]uint64, len(msgs)), make([]error, len(msgs))
	elems := make([]rpc.BatchElem, len(msgs))
	out := make([]hexutil.Uint64, len(msgs))
	tag := c.blockTag(nil)
	for i, m := range msgs {
		elems[i] = rpc.BatchElem{Method: "eth_estimateGas", Result: &out[i], Args: []any{m.args(), tag}}
	}
	err := c.batch(ctx, elems)
	for i := range msgs {
		gas[i], errs[i] = uint64(out[i]), err
		if err == nil {
			errs[i] = c.itemError(elems[i].Error)
		}
		if errs[i] != nil {
			gas[i], errs[i] = 0, fmt.Errorf("estimate gas: %w", errs[i])
		}
	}
	return gas, errs
}

func (m Msg) args() callArgs {
	from := m.From
	return callArgs{From: &from, To: m.To, Data: m.Data, Value: (*hexutil.Big)(m.Value)}
}

type callArgs struct {
	From  *common.Address `json:"from,omitempty"`
	To    common.Address  `json:"to"`
	Data  hexutil.Bytes   `json:"data"`
	Value *hexutil.Big    `json:"value,omitempty"`
}
