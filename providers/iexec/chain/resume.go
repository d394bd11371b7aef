package chain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/iexecform/iexecform/providers"
)

// What earlier runs left: journaled transactions that are not settled.

// PendingTx is a journaled transaction that is not settled.
type PendingTx struct {
	ChainID *big.Int
	Nonce   uint64
	Purpose string
	To      common.Address
	Data    []byte
	Hashes  []common.Hash // of all attempts, the newest last
	Status  Status
	Block   *big.Int    // Mined, Failed: the receipt's
	By      common.Hash // Lost: of the transaction that has its nonce; zero when the node doesn't tell
}

// Hash is that of the newest attempt.
func (p PendingTx) Hash() common.Hash { return p.Hashes[len(p.Hashes)-1] }

// Status is what the chain knows of a transaction.
type Status int

// The statuses.
const (
	Unknown Status = iota // nobody was asked
	Unseen                // the node doesn't have it, and its nonce is free
	Waiting               // it is in the node's pool
	Mined                 // it is in a block, final or not
	Failed                // the same, and it reverted
	Lost                  // its nonce went to another transaction
)

func (t *transaction) shown() PendingTx {
	return PendingTx{ChainID: t.chainID, Nonce: t.nonce, Purpose: t.req.Purpose, To: t.req.To, Data: t.req.Data, Hashes: t.hashes()}
}

// Pending lists the unsettled transactions in the order of their nonces, without asking the chain.
func (s *Sender) Pending() []PendingTx {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []PendingTx{}
	for _, t := range s.txs {
		list = append(list, t.shown())
	}
	slices.SortFunc(list, func(a, b PendingTx) int {
		return cmp.Or(a.ChainID.Cmp(b.ChainID), cmp.Compare(a.Nonce, b.Nonce))
	})
	return list
}

// Inspect is Pending with what the chain knows of each transaction; those of other chains stay Unknown. SIDE EFFECTS: none.
func (s *Sender) Inspect(ctx context.Context) ([]PendingTx, error) {
	list := s.Pending()
	if len(list) == 0 {
		return list, nil
	}
	chainID, err := s.c.ChainID(ctx)
	if err != nil {
		return nil, err
	}
	pos, err := s.position(ctx)
	if err != nil {
		return nil, err
	}
	type known struct{ BlockHash *common.Hash }
	var elems []rpc.BatchElem
	var owner []int
	for i, p := range list {
		if p.ChainID.Cmp(chainID) != 0 {
			continue
		}
		for _, h := range p.Hashes {
			elems = append(elems,
				rpc.BatchElem{Method: "eth_getTransactionReceipt", Args: []any{h}, Result: new(*types.Receipt)},
				rpc.BatchElem{Method: "eth_getTransactionByHash", Args: []any{h}, Result: new(*known)})
			owner = append(owner, i, i)
		}
		list[i].Status = Unseen
		if p.Nonce < pos.count {
			list[i].Status = Lost
		}
	}
	if err := s.c.batch(ctx, elems); err != nil {
		return nil, err
	}
	for n, e := range elems {
		if e.Error != nil {
			return nil, fmt.Errorf("look for transactions: %w", s.c.itemError(e.Error))
		}
		p := &list[owner[n]]
		switch result := e.Result.(type) {
		case **types.Receipt:
			if r := *result; r != nil {
				p.Status, p.Block = Mined, r.BlockNumber
				if r.Status != types.ReceiptStatusSuccessful {
					p.Status = Failed
				}
			}
		case **known:
			if *result != nil && (p.Status == Unseen || p.Status == Lost && (*result).BlockHash != nil) {
				p.Status = Waiting
			}
		}
	}
	for i := range list {
		if list[i].Status == Lost {
			list[i].By = s.usedBy(ctx, list[i].Nonce, pos.head.Number.Uint64())
		}
	}
	return list, nil
}

// Strangers are the nonces of pending transactions of the account that no note is about. SIDE EFFECTS: none.
func (s *Sender) Strangers(ctx context.Context) ([]uint64, error) {
	pos, err := s.position(ctx)
	if err != nil {
		return nil, err
	}
	ours := map[uint64]bool{}
	for _, p := range s.Pending() {
		ours[p.Nonce] = true
	}
	var list []uint64
	for nonce := pos.count; nonce < pos.pending; nonce++ {
		if !ours[nonce] {
			list = append(list, nonce)
		}
	}
	return list, nil
}

// Surplus tells which of the transactions are given up when an apply begins: those that nothing needs and the node doesn't
// have, unless one that stays has a higher nonce.
func Surplus(list []PendingTx, needed func(PendingTx) bool) []bool {
	surplus := make([]bool, len(list))
	for i, p := range slices.Backward(list) {
		surplus[i] = p.Status == Unseen && !needed(p)
		if !surplus[i] && p.Status != Unknown {
			break
		}
	}
	return surplus
}

// ResumeOptions say how to take up what earlier runs left.
type ResumeOptions struct {
	// Needed reports whether something is to be done that the transaction does. nil: always.
	Needed func(PendingTx) bool
	// Wait makes Resume wait for what no Send has taken up.
	Wait bool
}

// Resume is called when an apply starts, and with Wait when it ends: every unsettled transaction is broadcast again in the
// order of the nonces. Those that are final, and those whose nonce went to another transaction, are settled; and so are those
// that are given up, see Surplus. SIDE EFFECTS: journal notes, broadcasts of bytes that were signed in earlier runs.
func (s *Sender) Resume(ctx context.Context, opts ResumeOptions, j Journal, progress func(providers.Progress)) error {
	e, err := s.errand(ctx, j, progress)
	if err == nil {
		err = e.resume(ctx, opts)
	}
	if err != nil {
		return fmt.Errorf("resume transactions of %s: %w", s.from, err)
	}
	return nil
}

func (e *errand) resume(ctx context.Context, opts ResumeOptions) error {
	list, err := e.Inspect(ctx)
	if err != nil || len(list) == 0 {
		return err
	}
	if opts.Needed == nil {
		opts.Needed = func(PendingTx) bool { return true }
	}
	surplus := Surplus(list, opts.Needed)
	for i, p := range list {
		t := e.unsettledTx(p)
		switch {
		case t == nil: // of another chain, or settled meanwhile
		case surplus[i]:
			e.tell("tx_lost", t, "tx %s nonce %d (%s) of an earlier run was never seen by the node, and nothing needs it any more: it is given up", t.hash(), t.nonce, t.req.Purpose)
			err = e.settle(ctx, t, false)
		case p.Status == Mined, p.Status == Failed, p.Status == Lost:
			err = e.conclude(ctx, t)
		case p.Status == Waiting:
			if t.setSent(true); !opts.Needed(p) { // what is planned rests on what it makes
				err = e.waitFor(ctx, t)
			}
		}
		if err != nil {
			return err
		}
	}
	if opts.Wait {
		return e.waitForRest(ctx)
	}
	err = e.withLane(ctx, func() error { return e.flush(ctx) })
	if held := (*providers.HeldError)(nil); errors.As(err, &held) {
		return nil // so is whatever takes it up, or has to come after it
	}
	return err
}

// unsettledTx is the transaction of this chain that a list shows, or nil.
func (e *errand) unsettledTx(p PendingTx) *transaction {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.ChainID.Cmp(e.chainID) != 0 {
		return nil
	}
	return e.txs[(&transaction{from: e.from, chainID: p.ChainID, nonce: p.Nonce}).key()]
}

// conclude settles a transaction whose nonce is used, once that is certain. One that isn't final yet stays.
func (e *errand) conclude(ctx context.Context, t *transaction) error {
	out := e.watch(ctx, t)
	switch {
	case out.err != nil:
		return out.err
	case out.lost:
		e.tell("tx_lost", t, "nonce %d went to %s; tx %s (%s) can no longer happen", t.nonce, e.foreign(ctx, t.nonce), t.hash(), t.req.Purpose)
	case !out.final:
		return nil
	default:
		how := "is done"
		if out.receipt.Status != types.ReceiptStatusSuccessful {
			how = "has failed"
		}
		e.witness(out.receipt)
		e.tell("tx_confirmed", t, "tx %s nonce %d (%s) of an earlier run %s in block %s", out.receipt.TxHash, t.nonce, t.req.Purpose, how, out.receipt.BlockNumber)
	}
	return e.settle(ctx, t, true)
}

// waitForRest waits for the transactions that no errand has taken up. That one failed is told, and is nobody's error.
func (e *errand) waitForRest(ctx context.Context) error {
	for _, t := range e.unsettled(e.chainID) {
		if err := e.waitFor(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// waitFor waits for a transaction of an earlier run, unless an errand has taken it up.
func (e *errand) waitFor(ctx context.Context, t *transaction) error {
	e.mu.Lock()
	mine := !t.claimed && !t.tried
	t.claimed, t.tried = t.claimed || mine, true
	e.mu.Unlock()
	if !mine {
		return nil
	}
	e.tell("tx_resumed", t, "tx %s nonce %d (%s) of an earlier run is awaited", t.hash(), t.nonce, t.req.Purpose)
	_, err := e.await(ctx, t)
	var revert *RevertError
	switch {
	case errors.Is(err, errLost):
		e.tell("tx_lost", t, "nonce %d went to %s; tx %s (%s) can no longer happen", t.nonce, e.foreign(ctx, t.nonce), t.hash(), t.req.Purpose)
		return e.settle(ctx, t, true)
	case errors.As(err, &revert):
		e.tell("tx_confirmed", t, "%s (%s)", err, t.req.Purpose)
		return nil
	}
	return err
}

// takeUp claims a transaction of an earlier run that does just what req wants, and sees to it that the node has it; nil if
// there is none. Of several it is the newest.
func (e *errand) takeUp(ctx context.Context, req TxRequest) (*transaction, error) {
	t := e.claim(req)
	if t == nil {
		return nil, nil
	}
	e.tell("tx_resumed", t, "tx %s nonce %d of an earlier run is awaited", t.hash(), t.nonce)
	if err := e.withLane(ctx, func() error { return e.flush(ctx) }); err != nil {
		e.release(t)
		return nil, err
	}
	return t, nil
}

func (e *errand) claim(req TxRequest) *transaction {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found *transaction
	for _, t := range e.txs {
		if !t.claimed && t.chainID.Cmp(e.chainID) == 0 && t.same(req) && (found == nil || t.nonce > found.nonce) {
			found = t
		}
	}
	if found != nil {
		found.claimed, found.tried = true, true
	}
	return found
}

func (s *Sender) release(t *transaction) {
	s.mu.Lock()
	t.claimed = false
	s.mu.Unlock()
}

func (s *Sender) unsettled(chainID *big.Int) []*transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*transaction
	for _, t := range s.txs {
		if t.chainID.Cmp(chainID) == 0 {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *transaction) int { return cmp.Compare(a.nonce, b.nonce) })
	return list
}

// foreign names the transaction that has a nonce of the account.
func (e *errand) foreign(ctx context.Context, nonce uint64) string {
	pos, err := e.position(ctx)
	if err == nil {
		if hash := e.usedBy(ctx, nonce, pos.head.Number.Uint64()); hash != (common.Hash{}) {
			return fmt.Sprintf("tx %s, which iexecform did not send for this state", hash)
		}
	}
	return fmt.Sprintf("another transaction of %s", e.from)
}

// usedBy finds the account's transaction with a nonce that is used by the head; the zero hash when the node doesn't keep what
// is needed for that. It looks back in growing steps, and then halves.
func (s *Sender) usedBy(ctx context.Context, nonce, head uint64) common.Hash {
	usedAt := func(block uint64) (bool, error) {
		count, err := s.countAt(ctx, hexutil.EncodeUint64(block))
		return count > nonce, err
	}
	high, low := head, uint64(0) // used at high, and not before low
	for step := uint64(1); ; step *= 2 {
		if step > high {
			break
		}
		used, err := usedAt(high - step)
		if err != nil {
			return common.Hash{}
		}
		if !used {
			low = high - step + 1
			break
		}
		high -= step
	}
	for low < high {
		middle := low + (high-low)/2
		used, err := usedAt(middle)
		if err != nil {
			return common.Hash{}
		}
		if used {
			high = middle
		} else {
			low = middle + 1
		}
	}
	var block *struct {
		Transactions []struct {
			Hash  common.Hash
			From  common.Address
			Nonce hexutil.Uint64
		}
	}
	if err := s.c.call(ctx, "read a block", &block, "eth_getBlockByNumber", hexutil.EncodeUint64(high), true); err != nil || block == nil {
		return common.Hash{}
	}
	for _, tx := range block.Transactions {
		if tx.From == s.from && uint64(tx.Nonce) == nonce {
			return tx.Hash
		}
	}
	return common.Hash{}
}
