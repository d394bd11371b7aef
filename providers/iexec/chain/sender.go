package chain

// Policy of the sender: nothing lost, nothing doubled.
//
//   - The signed bytes are in the journal, on disk, before they are broadcast; their hash is known from then on. A note
//     stays until a receipt of one of its hashes has the wanted depth, or the nonce went to a foreign transaction.
//   - A transaction of an earlier run with the same to, data and value is not sent anew: its very bytes are broadcast
//     again, which is harmless, and its receipt awaited.
//   - A nonce is the lowest one that the chain has not used and no unsettled note holds, so there is no gap. It is
//     given under the lane, a mutex that is released after the broadcast: the next transaction doesn't wait for the receipt.
//     Whatever was journaled but not broadcast goes first, and blocks the lane while it cannot be.
//   - "Lost" (our nonce used, no receipt of ours) needs evidence from two polls in different blocks, or from many polls
//     when the chain stands still, because nodes behind a load balancer lag. Then a new nonce is taken, new note first.
//   - Fees are estimated at sending. A stalled or underpriced transaction gets a second attempt: same nonce, fees at least
//     12.5 % higher, journaled first, all hashes kept, never above MaxFee.
//   - What the node certainly refused is settled and its nonce given again. What it may have taken is kept.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// SenderOptions tune a Sender. The zero value is ready to use.
type SenderOptions struct {
	Confirmations uint64        // blocks from the receipt's to the head, both included; 0: 1
	GasMargin     uint64        // percent added to the estimated gas; 0: 20
	MaxFee        *big.Int      // wei per gas that are never exceeded; nil: no limit
	PollInterval  time.Duration // between looks for receipts; 0: 25 ms if the node is on this machine, else 1 s
	StallAfter    time.Duration // without progress of the next transaction in line: broadcast again, with higher fees if these are too low; 0: 15 s
}

// Journal is what a Sender needs of a providers.Journal.
type Journal interface {
	// Note returns when the note is on disk. Nil data settles the matter of that key.
	Note(ctx context.Context, key string, data json.RawMessage) error
}

// TxRequest is a transaction to send.
type TxRequest struct {
	To      common.Address
	Data    []byte
	Value   *big.Int // wei; nil: none
	Purpose string   // for people: "deploy iexec_app.a"
}

// PendingTx is a journaled transaction that is not settled, for display.
type PendingTx struct {
	ChainID *big.Int
	Nonce   uint64
	Purpose string
	To      common.Address
	Data    []byte
	Hashes  []common.Hash // of all attempts, the newest last
}

// Sender sends transactions of one account on one chain. It is safe for concurrent use.
type Sender struct {
	c      *Client
	unlock func(context.Context) (Signer, error)
	from   common.Address
	opts   SenderOptions
	broken error         // a note that cannot be read
	lane   chan struct{} // holds one token while nobody allots a nonce

	mu      sync.Mutex
	txs     map[string]*transaction // unsettled, by note key; those of other chains are only shown
	floor   uint64                  // no nonce below is given: it is known to be used
	waiters map[*waiter]struct{}
	stop    context.CancelFunc // of the poller; nil: it isn't running
}

// NewSender makes a sender. signer is called when the first transaction is to be signed. pending holds the unsettled notes of
// earlier runs; those of other senders are ignored. SIDE EFFECTS: none.
func NewSender(c *Client, signer func(context.Context) (Signer, error), from common.Address, opts SenderOptions, pending []state.Note) *Sender {
	opts.Confirmations = max(opts.Confirmations, 1)
	if opts.GasMargin == 0 {
		opts.GasMargin = 20
	}
	if opts.PollInterval == 0 {
		opts.PollInterval = time.Second
		if c.loopback {
			opts.PollInterval = 25 * time.Millisecond
		}
	}
	if opts.StallAfter == 0 {
		opts.StallAfter = 15 * time.Second
	}
	s := &Sender{
		c: c, unlock: signer, from: from, opts: opts,
		lane: make(chan struct{}, 1), txs: map[string]*transaction{}, waiters: map[*waiter]struct{}{},
	}
	s.lane <- struct{}{}
	for _, n := range pending {
		t, err := readNote(n, from)
		if err != nil {
			s.broken = err
		}
		if t != nil {
			s.txs[n.Key] = t
		}
	}
	return s
}

// Pending lists the unsettled transactions in the order of their nonces.
func (s *Sender) Pending() []PendingTx {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []PendingTx{}
	for _, t := range s.txs {
		list = append(list, PendingTx{ChainID: t.chainID, Nonce: t.nonce, Purpose: t.req.Purpose, To: t.req.To, Data: t.req.Data, Hashes: t.hashes()})
	}
	slices.SortFunc(list, func(a, b PendingTx) int {
		if c := a.ChainID.Cmp(b.ChainID); c != 0 {
			return c
		}
		return cmp.Compare(a.Nonce, b.Nonce)
	})
	return list
}

// Send makes sure that a transaction is on chain at the wanted depth and returns its receipt. A *RevertError before it is sent
// (nothing happened) or after (gas was spent); *providers.HeldError when fees or funds don't allow it now. When ctx ends the
// transaction stays journaled and a later run goes on with it. SIDE EFFECTS: journal notes, one transaction.
func (s *Sender) Send(ctx context.Context, req TxRequest, j Journal, progress func(providers.Progress)) (*types.Receipt, error) {
	receipt, err := s.send(ctx, req, j, progress)
	if err != nil {
		return nil, fmt.Errorf("send transaction (%s): %w", req.Purpose, err)
	}
	return receipt, nil
}

func (s *Sender) send(ctx context.Context, req TxRequest, j Journal, progress func(providers.Progress)) (*types.Receipt, error) {
	if req.Value == nil {
		req.Value = new(big.Int)
	}
	chainID, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	t := s.claim(chainID, req)
	if t == nil {
		if t, err = s.submit(ctx, chainID, req, nil, j, progress); err != nil {
			return nil, err
		}
	} else {
		tell(progress, "tx_resumed", t, "tx %s nonce %d of an earlier run is awaited", t.hash(), t.nonce)
		if err := s.withLane(ctx, func() error { return s.flush(ctx, chainID, j) }); err != nil {
			s.release(t)
			return nil, err
		}
	}
	for range 5 {
		receipt, err := s.await(ctx, t, j, progress)
		if !errors.Is(err, errLost) {
			return receipt, err
		}
		tell(progress, "tx_lost", t, "nonce %d went to another transaction of %s; tx %s can no longer happen and is sent anew", t.nonce, s.from, t.hash())
		lost := t
		if t, err = s.submit(ctx, chainID, req, lost, j, progress); err != nil {
			s.release(lost)
			return nil, err
		}
	}
	s.release(t)
	return nil, fmt.Errorf("other transactions of %s keep taking its nonces; stop the other program that uses this account and run again", s.from)
}

// Resume is called when an apply starts: every unsettled transaction is broadcast again in the order of the nonces. Those that
// have a receipt at the wanted depth, and those whose nonce went to another transaction, are settled; the others aren't
// waited for. SIDE EFFECTS: journal notes, broadcasts of bytes that were signed in earlier runs.
func (s *Sender) Resume(ctx context.Context, j Journal, progress func(providers.Progress)) error {
	if err := s.resume(ctx, j, progress); err != nil {
		return fmt.Errorf("resume transactions of %s: %w", s.from, err)
	}
	return nil
}

func (s *Sender) resume(ctx context.Context, j Journal, progress func(providers.Progress)) error {
	chainID, err := s.ready(ctx)
	if err != nil {
		return err
	}
	pending := s.unsettled(chainID)
	if len(pending) == 0 {
		return nil
	}
	pos, err := s.position(ctx)
	if err != nil {
		return err
	}
	for _, t := range pending {
		if t.nonce >= pos.count {
			continue // not on chain yet
		}
		out := s.watch(ctx, t)
		switch {
		case out.err != nil:
			return out.err
		case out.lost:
			tell(progress, "tx_lost", t, "nonce %d went to another transaction of %s; tx %s (%s) can no longer happen", t.nonce, s.from, t.hash(), t.req.Purpose)
		case !out.confirmed:
			continue
		default:
			how := "is done"
			if out.receipt.Status != types.ReceiptStatusSuccessful {
				how = "has failed"
			}
			tell(progress, "tx_confirmed", t, "tx %s nonce %d (%s) of an earlier run %s in block %s", out.receipt.TxHash, t.nonce, t.req.Purpose, how, out.receipt.BlockNumber)
		}
		if err := s.settle(ctx, t, true, j); err != nil {
			return err
		}
	}
	return s.withLane(ctx, func() error { return s.flush(ctx, chainID, j) })
}

// ready checks the notes and reads the chain id.
func (s *Sender) ready(ctx context.Context) (*big.Int, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	return s.c.ChainID(ctx)
}

// claim takes over a transaction of an earlier run that does just what req wants, the newest one if there are several.
func (s *Sender) claim(chainID *big.Int, req TxRequest) *transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *transaction
	for _, t := range s.txs {
		if !t.claimed && t.chainID.Cmp(chainID) == 0 && t.same(req) && (found == nil || t.nonce > found.nonce) {
			found = t
		}
	}
	if found != nil {
		found.claimed = true
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

// withLane runs f while nobody else allots nonces or broadcasts.
func (s *Sender) withLane(ctx context.Context, f func() error) error {
	select {
	case <-s.lane:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { s.lane <- struct{}{} }()
	return f()
}

// submit simulates, signs, journals and broadcasts a new transaction. With lost, it takes that one's place.
func (s *Sender) submit(ctx context.Context, chainID *big.Int, req TxRequest, lost *transaction, j Journal, progress func(providers.Progress)) (*transaction, error) {
	q, err := s.quote(ctx, req)
	if err != nil {
		return nil, err
	}
	signer, err := s.unlock(ctx)
	if err != nil {
		return nil, err
	}
	if signer.Address() != s.from {
		return nil, fmt.Errorf("the signer is %s, but %s is to send; check the wallet", signer.Address(), s.from)
	}
	var t *transaction
	err = s.withLane(ctx, func() error {
		if err := s.flush(ctx, chainID, j); err != nil {
			return fmt.Errorf("an earlier transaction of %s must go first: %w", s.from, err)
		}
		for skip := range uint64(8) {
			t, err = s.launch(ctx, signer, chainID, req, q, skip, lost, j)
			if !errors.Is(err, errNonceHeld) {
				return err
			}
		}
		return fmt.Errorf("the node holds several pending transactions of %s that are not iexecform's; wait until they are mined, then run again", s.from)
	})
	if err != nil {
		return nil, err
	}
	tell(progress, "tx_sent", t, "tx %s nonce %d sent", t.hash(), t.nonce)
	return t, nil
}

// launch gives the transaction a nonce (skip of the free ones are passed over), signs, journals and broadcasts it. The lane is held.
func (s *Sender) launch(ctx context.Context, signer Signer, chainID *big.Int, req TxRequest, q quote, skip uint64, lost *transaction, j Journal) (*transaction, error) {
	t := &transaction{from: s.from, chainID: chainID, req: req, gas: q.gas, claimed: true}
	s.mu.Lock()
	s.floor = max(s.floor, q.count)
	for t.nonce = s.floor; ; t.nonce++ {
		if _, taken := s.txs[t.key()]; taken {
			continue
		}
		if skip == 0 {
			break
		}
		skip--
	}
	s.mu.Unlock()
	if err := s.attempt(ctx, t, signer, q.fees, j); err != nil {
		return nil, err
	}
	if lost != nil {
		if err := s.settle(ctx, lost, true, j); err != nil {
			s.release(t)
			return nil, err
		}
	}
	err := s.broadcast(ctx, t)
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, errNonceHeld), isRefusal(err):
		if serr := s.settle(ctx, t, false, j); serr != nil {
			return nil, serr
		}
		return nil, s.held(err, q, req)
	case errors.Is(err, errUnderpriced):
		if err := s.bump(ctx, t, j); err != nil {
			s.release(t)
			return nil, err
		}
		return t, nil
	default:
		s.release(t) // perhaps it arrived: flush and the next run see to it
		return nil, fmt.Errorf("tx %s is journaled and may have been sent; run again to go on with it: %w", t.hash(), err)
	}
}

// attempt signs t with fees and journals it; nothing is broadcast. If it fails t is as before.
func (s *Sender) attempt(ctx context.Context, t *transaction, signer Signer, fees Fees, j Journal) error {
	signed, err := signer.SignTx(ctx, t.unsigned(fees), t.chainID)
	if err != nil {
		return fmt.Errorf("%w; nothing was sent", err)
	}
	attempts := append(slices.Clip(t.attempts), signed) // the lane is held, so nobody else adds one
	data, err := t.note(attempts)
	if err != nil {
		return err
	}
	if err := j.Note(ctx, t.key(), data); err != nil {
		return fmt.Errorf("the signed transaction could not be journaled, so it was not sent: %w", err)
	}
	t.setAttempts(attempts)
	s.mu.Lock()
	s.txs[t.key()] = t
	s.mu.Unlock()
	return nil
}

// flush broadcasts what was journaled but not sent, in the order of the nonces. The lane is held.
func (s *Sender) flush(ctx context.Context, chainID *big.Int, j Journal) error {
	for _, t := range s.unsettled(chainID) {
		if sent, _ := t.sentFor(); sent {
			continue
		}
		err := s.broadcast(ctx, t)
		if errors.Is(err, errUnderpriced) {
			err = s.bump(ctx, t, j)
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, errNonceHeld): // whichever is mined, the receipts will tell
			t.setSent(true)
			continue
		case isRefusal(err) && !isFunds(err):
			if serr := s.settle(ctx, t, false, j); serr != nil {
				return serr
			}
			return fmt.Errorf("tx %s nonce %d (%s) of an earlier run is refused by the node and given up; run again: %w", t.hash(), t.nonce, t.req.Purpose, err)
		}
		return fmt.Errorf("broadcast tx %s nonce %d (%s) again: %w", t.hash(), t.nonce, t.req.Purpose, s.held(err, quote{}, t.req))
	}
	return nil
}

// bump makes further attempts with higher fees until the node takes one. The lane is held.
func (s *Sender) bump(ctx context.Context, t *transaction, j Journal) error {
	signer, err := s.unlock(ctx)
	if err != nil {
		return err
	}
	for range 5 {
		now, err := s.c.GasPrice(ctx)
		if err != nil {
			return err
		}
		old := t.fees()
		least := raised(old.Cap)
		fees := Fees{Cap: higher(least, now.Cap)}
		if old.Tip != nil {
			fees.Tip = higher(raised(old.Tip), now.Tip)
			fees.Cap = higher(fees.Cap, fees.Tip)
		}
		if fees, err = s.limit(fees, higher(least, now.Base)); err != nil {
			return err
		}
		if err := s.attempt(ctx, t, signer, fees, j); err != nil {
			return err
		}
		err = s.broadcast(ctx, t)
		if !errors.Is(err, errUnderpriced) && !errors.Is(err, errNonceHeld) {
			return err
		}
	}
	return fmt.Errorf("tx %s nonce %d: the node finds every fee too low; wait, and run again", t.hash(), t.nonce)
}

// broadcast sends the newest attempt. The node knowing it already is success; its nonce being used is for the poller to judge.
func (s *Sender) broadcast(ctx context.Context, t *transaction) error {
	raw, err := t.last().MarshalBinary()
	if err != nil {
		return fmt.Errorf("encode transaction: %w", err)
	}
	err = classify(s.c.sendRaw(ctx, raw))
	if err == nil {
		t.setSent(true)
	}
	return err
}

// settle ends the matter of t. Its nonce is used, or else free again. It is done even when ctx has ended.
func (s *Sender) settle(ctx context.Context, t *transaction, used bool, j Journal) error {
	if err := j.Note(context.WithoutCancel(ctx), t.key(), nil); err != nil {
		return fmt.Errorf("settle tx %s in the journal: %w", t.hash(), err)
	}
	s.mu.Lock()
	delete(s.txs, t.key())
	if used {
		s.floor = max(s.floor, t.nonce+1)
	}
	s.mu.Unlock()
	return nil
}

// await waits for the receipt and settles the matter. errLost: t can no longer happen; its note is still there.
func (s *Sender) await(ctx context.Context, t *transaction, j Journal, progress func(providers.Progress)) (*types.Receipt, error) {
	for {
		out := s.watch(ctx, t)
		switch {
		case out.err != nil:
			s.release(t)
			return nil, fmt.Errorf("wait for tx %s nonce %d: %w", t.hash(), t.nonce, out.err)
		case out.lost:
			return nil, errLost
		case out.stalled:
			if err := s.nudge(ctx, t, j, progress); err != nil {
				s.release(t)
				return nil, err
			}
			continue
		case out.dropped:
			tell(progress, "tx_dropped", t, "tx %s is no longer in the chain (reorganised); broadcast again", t.hash())
			if err := s.withLane(ctx, func() error { return s.broadcast(ctx, t) }); err != nil {
				s.release(t)
				return nil, err
			}
			continue
		}
		r := out.receipt
		if !out.confirmed || !t.told {
			t.told = true
			tell(progress, "tx_mined", t, "tx %s nonce %d is in block %s", r.TxHash, t.nonce, r.BlockNumber)
		}
		if !out.confirmed {
			continue
		}
		tell(progress, "tx_confirmed", t, "tx %s nonce %d confirmed", r.TxHash, t.nonce)
		if err := s.settle(ctx, t, true, j); err != nil {
			return nil, err
		}
		if r.Status == types.ReceiptStatusSuccessful {
			return r, nil
		}
		return nil, s.failure(ctx, t, r)
	}
}

// nudge helps a transaction that is the first of those waited for and doesn't get on: whatever has to go before it is broadcast
// again, then itself, with higher fees if its own are too low by now.
func (s *Sender) nudge(ctx context.Context, t *transaction, j Journal, progress func(providers.Progress)) error {
	return s.withLane(ctx, func() error {
		for _, before := range s.unsettled(t.chainID) {
			if before.nonce < t.nonce {
				before.setSent(false)
			}
		}
		if err := s.flush(ctx, t.chainID, j); err != nil {
			return err
		}
		now, err := s.c.GasPrice(ctx)
		if err != nil {
			return err
		}
		old, low := t.hash(), t.fees().Cap.Cmp(higher(new(big.Int), now.Base)) < 0
		if !low {
			err := s.broadcast(ctx, t)
			if err == nil || errors.Is(err, errNonceHeld) {
				t.setSent(true)
				tell(progress, "tx_waiting", t, "tx %s nonce %d is not mined yet; broadcast again", old, t.nonce)
				return nil
			}
			if !errors.Is(err, errUnderpriced) {
				return fmt.Errorf("broadcast tx %s nonce %d again: %w", old, t.nonce, s.held(err, quote{}, t.req))
			}
		}
		if err := s.bump(ctx, t, j); err != nil {
			return err
		}
		tell(progress, "tx_bumped", t, "tx %s nonce %d did not get on; sent again with higher fees as %s", old, t.nonce, t.hash())
		return nil
	})
}

// failure is the reason of a transaction that is on chain and failed.
func (s *Sender) failure(ctx context.Context, t *transaction, r *types.Receipt) error {
	where := fmt.Sprintf("tx %s failed in block %s", r.TxHash, r.BlockNumber)
	err := s.c.replay(ctx, Msg{From: s.from, To: t.req.To, Data: t.req.Data, Value: t.req.Value}, r.BlockNumber)
	var revert *RevertError
	if errors.As(err, &revert) {
		return fmt.Errorf("%s: %w", where, revert)
	}
	if r.GasUsed == t.last().Gas() {
		return fmt.Errorf("%s: %w", where, &RevertError{Reason: "out of gas"})
	}
	return fmt.Errorf("%s: %w", where, &RevertError{})
}

// tell reports progress about t.
func tell(progress func(providers.Progress), typ string, t *transaction, format string, args ...any) {
	progress(providers.Progress{Type: typ, Message: fmt.Sprintf(format, args...), Fields: map[string]string{
		"hash": t.hash().Hex(), "nonce": fmt.Sprint(t.nonce), "purpose": t.req.Purpose,
	}})
}
