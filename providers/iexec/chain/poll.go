package chain

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"
)

// enoughMisses are the looks after which a chain that stands still is believed.
const enoughMisses = 20

// outcome is what there is to tell about a transaction that is waited for. One of its fields, or receipt with final, is set.
type outcome struct {
	receipt *types.Receipt
	final   bool // the receipt counts
	dropped bool // it had a receipt, and now there is none
	lost    bool // its nonce is used, but not by it
	stalled bool // it is the next in line, and nothing happens
	head    *big.Int
	err     error
}

// waiter waits for one outcome.
type waiter struct {
	t      *transaction
	ch     chan outcome
	seen   common.Hash // head of the last look at its receipts
	misses int         // looks that found its nonce used, or a receipt gone, and no receipt
	heads  int         // those at a newer head than all before
	top    *big.Int    // the newest of these heads
}

// position is where the chain and the account are.
type position struct {
	head    Head
	count   uint64   // the account's transactions in the newest block
	pending uint64   // with those that wait in the node's pool without a gap; at least count
	final   *big.Int // the last block that counts; may be negative
}

// watch waits for the next thing to tell about t. One goroutine, which runs as long as somebody watches, looks for the
// receipts of all that is watched, in one batch per look.
func (s *Sender) watch(ctx context.Context, t *transaction) outcome {
	w := &waiter{t: t, ch: make(chan outcome, 1)}
	s.mu.Lock()
	s.waiters[w] = struct{}{}
	if s.stop == nil {
		var poll context.Context
		poll, s.stop = context.WithCancel(context.WithoutCancel(ctx))
		go s.poll(poll)
	}
	s.mu.Unlock()
	select {
	case out := <-w.ch:
		return out
	case <-ctx.Done():
		s.tell(w, outcome{})
		return outcome{err: context.Cause(ctx)}
	}
}

// tell ends a wait. The poller stops when nobody waits.
func (s *Sender) tell(w *waiter, out outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.waiters[w]; !ok {
		return
	}
	delete(s.waiters, w)
	w.ch <- out
	if len(s.waiters) == 0 {
		s.stop()
		s.stop = nil
	}
}

func (s *Sender) poll(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		waiters := s.watched()
		if err := s.look(ctx, waiters); err != nil && ctx.Err() == nil {
			for _, w := range waiters {
				s.tell(w, outcome{err: err})
			}
		}
		timer.Reset(s.opts.PollInterval)
	}
}

// watched lists who waits, in the order of the nonces.
func (s *Sender) watched() []*waiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.waiters), func(a, b *waiter) int { return cmp.Compare(a.t.nonce, b.t.nonce) })
}

// look looks once. Only transactions whose nonce the chain has used can have a receipt.
func (s *Sender) look(ctx context.Context, waiters []*waiter) error {
	pos, err := s.position(ctx)
	if err != nil {
		return err
	}
	var due []*waiter
	first := true // of those that are not on chain
	for _, w := range waiters {
		if w.t.nonce < pos.count || s.toldBlock(w.t) != (common.Hash{}) {
			if w.seen != pos.head.Hash || w.misses > 0 {
				due = append(due, w)
			}
			continue
		}
		if sent, ago := w.t.sentFor(); first && sent && ago >= s.opts.StallAfter {
			s.tell(w, outcome{stalled: true, head: pos.head.Number})
		}
		first = false
	}
	receipts, err := s.receipts(ctx, due, pos.final)
	if err != nil {
		return err
	}
	for i, w := range due {
		if err := s.judge(ctx, w, pos, receipts[i]); err != nil {
			return err
		}
	}
	return nil
}

// judge tells w what its receipt, or the lack of one, means.
func (s *Sender) judge(ctx context.Context, w *waiter, pos position, r *types.Receipt) error {
	w.seen = pos.head.Hash
	known := s.toldBlock(w.t)
	if r != nil {
		w.misses, w.heads, w.top = 0, 0, nil
		final := s.opts.Finality.newest() || r.BlockNumber.Cmp(pos.final) <= 0
		if final || known != r.BlockHash {
			s.setToldBlock(w.t, r.BlockHash)
			s.tell(w, outcome{receipt: r, final: final})
		}
		return nil
	}
	if known == (common.Hash{}) && w.t.nonce >= pos.count { // the chain takes its use back, or the node lags
		w.misses, w.heads, w.top = 0, 0, nil
		return nil
	}
	w.misses++
	if w.top == nil || pos.head.Number.Cmp(w.top) > 0 {
		w.heads, w.top = w.heads+1, pos.head.Number
	}
	switch {
	case w.heads < 2 && w.misses < enoughMisses:
	case known != (common.Hash{}):
		s.setToldBlock(w.t, common.Hash{})
		s.tell(w, outcome{dropped: true})
	default:
		used, err := true, error(nil)
		if !s.opts.Finality.newest() { // the block that used it may go again
			used, err = s.used(ctx, w.t.nonce, pos.final)
		}
		if used && err == nil {
			s.tell(w, outcome{lost: true})
		}
		return err
	}
	return nil
}

func (s *Sender) toldBlock(t *transaction) common.Hash {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.block
}

func (s *Sender) setToldBlock(t *transaction, block common.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.block = block
}

// position reads the head and the account's transaction count in one request.
func (s *Sender) position(ctx context.Context) (position, error) {
	var block, final *blockJSON
	var count, pending hexutil.Uint64
	elems := append([]rpc.BatchElem{
		{Method: "eth_getBlockByNumber", Args: []any{"latest", false}, Result: &block},
		{Method: "eth_getTransactionCount", Args: []any{s.from, "latest"}, Result: &count},
		{Method: "eth_getTransactionCount", Args: []any{s.from, "pending"}, Result: &pending},
	}, s.opts.Finality.elem(&final)...)
	if err := s.c.batch(ctx, elems); err != nil {
		return position{}, err
	}
	for i, e := range elems {
		if e.Error != nil && i != 2 { // some nodes have no pending block
			return position{}, s.c.itemError(e.Error)
		}
	}
	if block == nil || block.Number == nil {
		return position{}, fmt.Errorf("%s has no newest block; it may be out of sync", s.c.url)
	}
	head := block.head()
	return position{head: head, count: uint64(count), pending: max(uint64(pending), uint64(count)), final: s.opts.Finality.last(head.Number, final)}, nil
}

// receipts reads, for each waiter, the receipt of whichever of its attempts has one, or nil. It asks the node what is
// canonical now, and about the block itself again where the receipt would be final.
func (s *Sender) receipts(ctx context.Context, waiters []*waiter, final *big.Int) ([]*types.Receipt, error) {
	if len(waiters) == 0 {
		return nil, nil
	}
	var elems []rpc.BatchElem
	var owner []int
	for i, w := range waiters {
		for _, h := range w.t.hashes() {
			elems = append(elems, rpc.BatchElem{Method: "eth_getTransactionReceipt", Args: []any{h}, Result: new(*types.Receipt)})
			owner = append(owner, i)
		}
	}
	if err := s.c.batch(ctx, elems); err != nil {
		return nil, err
	}
	found := make([]*types.Receipt, len(waiters))
	for n, e := range elems {
		if e.Error != nil {
			return nil, fmt.Errorf("read receipts: %w", s.c.itemError(e.Error))
		}
		if r := *e.Result.(**types.Receipt); r != nil {
			found[owner[n]] = r
		}
	}
	if s.opts.Finality.newest() {
		return found, nil
	}
	deep := make([]*types.Receipt, len(found))
	for i, r := range found {
		if r != nil && r.BlockNumber.Cmp(final) <= 0 {
			deep[i] = r
		}
	}
	there, err := s.stillThere(ctx, deep)
	for i := range deep {
		if deep[i] != nil && err == nil && !there[i] {
			found[i] = nil
		}
	}
	return found, err
}
