package chain

import (
	"context"
	"fmt"
	"math/big"
	"strconv"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"
)

// Finality says when a receipt counts. The zero value is the newest block.
type Finality struct {
	blocks uint64 // from the receipt's to the head, both included; 0 with a tag
	tag    string // "safe" or "finalized": the block that the node calls so
}

// ParseFinality reads a number of blocks, or "latest", "safe" or "finalized".
func ParseFinality(text string) (Finality, error) {
	switch text {
	case "latest":
		return Finality{blocks: 1}, nil
	case "safe", "finalized":
		return Finality{tag: text}, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return Finality{}, fmt.Errorf("%q is neither a number of blocks, from 1, nor latest, safe or finalized", text)
	}
	return Finality{blocks: n}, nil
}

// newest reports whether any block counts.
func (f Finality) newest() bool { return f.tag == "" && f.blocks <= 1 }

// elem reads the last final block, where only the node knows it; else there is none.
func (f Finality) elem(block **blockJSON) []rpc.BatchElem {
	if f.tag == "" {
		return nil
	}
	return []rpc.BatchElem{{Method: "eth_getBlockByNumber", Args: []any{f.tag, false}, Result: block}}
}

// last is the last final block; block is what elem read. It may be negative.
func (f Finality) last(head *big.Int, block *blockJSON) *big.Int {
	switch {
	case f.newest():
		return head
	case f.tag == "":
		return new(big.Int).Sub(head, new(big.Int).SetUint64(f.blocks-1))
	case block == nil || block.Number == nil:
		return big.NewInt(-1) // there is none yet
	}
	return block.Number.ToInt()
}

// stillThere reports for each receipt whether its block is the one that the chain has at that height now. nil receipts are not.
func (s *Sender) stillThere(ctx context.Context, receipts []*types.Receipt) ([]bool, error) {
	there := make([]bool, len(receipts))
	var elems []rpc.BatchElem
	var which []int
	for i, r := range receipts {
		if r != nil {
			which = append(which, i)
			elems = append(elems, rpc.BatchElem{Method: "eth_getBlockByNumber", Args: []any{hexutil.EncodeBig(r.BlockNumber), false}, Result: new(*blockJSON)})
		}
	}
	if len(elems) == 0 {
		return there, nil
	}
	if err := s.c.batch(ctx, elems); err != nil {
		return nil, err
	}
	for n, e := range elems {
		if e.Error != nil {
			return nil, fmt.Errorf("read blocks again: %w", s.c.itemError(e.Error))
		}
		block := *e.Result.(**blockJSON)
		there[which[n]] = block != nil && block.Hash == receipts[which[n]].BlockHash
	}
	return there, nil
}

// used reports whether the chain used the account's nonce in a final block.
func (s *Sender) used(ctx context.Context, nonce uint64, final *big.Int) (bool, error) {
	if final.Sign() < 0 {
		return false, nil
	}
	count, err := s.countAt(ctx, hexutil.EncodeBig(final))
	return count > nonce, err
}

// countAt is the account's transactions up to a block, given as JSON-RPC has it.
func (s *Sender) countAt(ctx context.Context, block string) (uint64, error) {
	var count hexutil.Uint64
	err := s.c.call(ctx, "read the transaction count of "+s.from.Hex(), &count, "eth_getTransactionCount", s.from, block)
	return uint64(count), err
}
