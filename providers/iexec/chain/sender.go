package chain

// Policy of the sender: nothing lost, nothing doubled.
//
//   - The signed bytes are in the journal, on disk, before they are broadcast; their hash is known from then on. A note
//     stays until a receipt of one of its hashes is final (finality.go), or the nonce went to a foreign transaction.
//   - A transaction of an earlier run with the same to, data and value is not sent anew: its very bytes are broadcast
//     again, which is harmless, and its receipt awaited (resume.go).
//   - A nonce is the lowest one that the chain has not used and no unsettled note holds, so there is no gap. It is given
//     in the lane: one errand of this process at a time, and one process of this machine (lane.go). The lane is free again
//     after the broadcast: the next transaction doesn't wait for the receipt. Whatever was journaled but not broadcast goes
//     first, and blocks the lane while it cannot be. No more than Window transactions are under way at a time.
//   - A foreign transaction that waits in the node's pool is given way to, and then it is looked again whether what is to
//     be done is done. The same when it took a nonce of ours.
//   - "Lost" (our nonce used, no receipt of ours) and "dropped" (it had a receipt, and has none) need evidence from polls in
//     two newer blocks, or from many polls when the chain stands still, because nodes behind a load balancer lag.
//   - Every transaction is simulated before it is signed. Fees are estimated at sending. One that the node finds too cheap, or
//     that stalls though there are new blocks, gets a further attempt: same nonce, fees at least 12.5 % higher, journaled
//     first, all hashes kept, never above MaxFee (fees.go).
//   - What the node certainly refused is settled and its nonce given again. What it may have taken is kept (answers.go).

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
	Finality     Finality      // when a receipt counts
	GasMargin    uint64        // percent added to the estimated gas; 0: 20
	MaxFee       *big.Int      // wei per gas that are never exceeded; nil: twice what the network recommends when a fee is raised
	Window       int           // transactions under way, not mined yet, at a time; 0: 64 if the node is on this machine, else 1
	LockDir      string        // where processes with the same account take turns; "": they don't
	PollInterval time.Duration // between looks for receipts; 0: 25 ms if the node is on this machine, else 1 s
	StallAfter   time.Duration // without progress of the next transaction in line: broadcast again, with higher fees if these are too low; 0: 15 s
}

// patience is how many times StallAfter a transaction may stay without progress before it is held.
const patience = 40

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
	// Done reports whether what the transaction is for is so already. It is asked when a foreign transaction of the account
	// came between. nil: it never is.
	Done func(context.Context) (bool, error)
}

// Sender sends transactions of one account on one chain. It is safe for concurrent use.
type Sender struct {
	c      *Client
	unlock func(context.Context) (Signer, error)
	from   common.Address
	opts   SenderOptions
	broken error         // a note that cannot be read
	queue  chan struct{} // holds one token while nobody wants to send
	lane   chan struct{} // holds one token while nobody allots a nonce or broadcasts

	mu      sync.Mutex
	txs     map[string]*transaction // unsettled, by note key; those of other chains are only shown
	floor   uint64                  // no nonce below is given: it is known to be used
	window  int                     // as Window, or fewer if the node takes no more
	last    *types.Receipt          // the final one of the newest block
	waiters map[*waiter]struct{}
	stop    context.CancelFunc // of the poller; nil: it isn't running
}

// NewSender makes a sender. signer is called when the first transaction is to be signed. pending holds the unsettled notes of
// earlier runs; those of other senders are ignored. SIDE EFFECTS: none.
func NewSender(c *Client, signer func(context.Context) (Signer, error), from common.Address, opts SenderOptions, pending []state.Note) *Sender {
	poll, window := time.Second, 1
	if c.loopback {
		poll, window = 25*time.Millisecond, 64
	}
	if opts.PollInterval == 0 {
		opts.PollInterval = poll
	}
	if opts.Window == 0 {
		opts.Window = window
	}
	if opts.GasMargin == 0 {
		opts.GasMargin = 20
	}
	if opts.StallAfter == 0 {
		opts.StallAfter = 15 * time.Second
	}
	s := &Sender{
		c: c, unlock: signer, from: from, opts: opts, window: opts.Window,
		queue: make(chan struct{}, 1), lane: make(chan struct{}, 1), txs: map[string]*transaction{}, waiters: map[*waiter]struct{}{},
	}
	s.queue <- struct{}{}
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

// An errand is one call of Send or Resume.
type errand struct {
	*Sender
	chainID  *big.Int
	journal  Journal
	progress func(providers.Progress)
}

// errand checks the notes and reads the chain id.
func (s *Sender) errand(ctx context.Context, j Journal, progress func(providers.Progress)) (*errand, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	chainID, err := s.c.ChainID(ctx)
	if err != nil {
		return nil, err
	}
	return &errand{Sender: s, chainID: chainID, journal: j, progress: progress}, nil
}

// tell reports progress about t.
func (e *errand) tell(typ string, t *transaction, format string, args ...any) {
	e.progress(providers.Progress{Type: typ, Message: fmt.Sprintf(format, args...), Fields: map[string]string{
		"hash": t.hash().Hex(), "nonce": fmt.Sprint(t.nonce), "purpose": t.req.Purpose,
	}})
}

// Send makes sure that a transaction is on chain and final, and returns its receipt; nil when a foreign transaction did what it
// is for. A *RevertError before it is sent (nothing happened) or after (gas was spent); *providers.HeldError when fees or
// funds, or the account's other transactions, don't allow it now. When ctx ends the transaction stays journaled and a later
// run goes on with it. SIDE EFFECTS: journal notes, one transaction.
func (s *Sender) Send(ctx context.Context, req TxRequest, j Journal, progress func(providers.Progress)) (*types.Receipt, error) {
	if req.Value == nil {
		req.Value = new(big.Int)
	}
	e, err := s.errand(ctx, j, progress)
	var receipt *types.Receipt
	if err == nil {
		receipt, err = e.send(ctx, req)
	}
	if err != nil {
		return nil, fmt.Errorf("send transaction (%s): %w", req.Purpose, err)
	}
	return receipt, nil
}

func (e *errand) send(ctx context.Context, req TxRequest) (*types.Receipt, error) {
	t, err := e.takeUp(ctx, req)
	if t == nil && err == nil {
		t, err = e.submit(ctx, req, nil)
	}
	for range 5 {
		if t == nil || err != nil {
			return nil, err
		}
		receipt, err := e.await(ctx, t)
		if !errors.Is(err, errLost) {
			return receipt, err
		}
		if t, err = e.replaceLost(ctx, t, req); err != nil {
			return nil, err
		}
	}
	if t == nil {
		return nil, nil
	}
	e.release(t)
	return nil, fmt.Errorf("other transactions of %s keep taking its nonces; stop the other program that uses this account and run again", e.from)
}

// replaceLost sends a transaction anew whose nonce went to a foreign one, or returns nil if that did the same.
func (e *errand) replaceLost(ctx context.Context, lost *transaction, req TxRequest) (*transaction, error) {
	t, err := func() (*transaction, error) {
		by := e.foreign(ctx, lost.nonce)
		done, err := e.done(ctx, req)
		if err != nil {
			return nil, err
		}
		if done {
			e.tell("tx_lost", lost, "nonce %d went to %s, which did the same as tx %s", lost.nonce, by, lost.hash())
			return nil, e.settle(ctx, lost, true)
		}
		e.tell("tx_lost", lost, "nonce %d went to %s; tx %s can no longer happen and is sent anew", lost.nonce, by, lost.hash())
		return e.submit(ctx, req, lost)
	}()
	if err != nil {
		e.release(lost)
	}
	return t, err
}

func (e *errand) done(ctx context.Context, req TxRequest) (bool, error) {
	if req.Done == nil {
		return false, nil
	}
	return req.Done(ctx)
}

// submit simulates, signs, journals and broadcasts a new transaction; nil if a foreign transaction did the same meanwhile. With
// lost, it takes that one's place.
func (e *errand) submit(ctx context.Context, req TxRequest, lost *transaction) (*transaction, error) {
	signer, err := e.unlock(ctx)
	if err != nil {
		return nil, err
	}
	if signer.Address() != e.from {
		return nil, fmt.Errorf("the signer is %s, but %s is to send; check the wallet", signer.Address(), e.from)
	}
	if err := take(ctx, e.queue); err != nil {
		return nil, err
	}
	defer func() { e.queue <- struct{}{} }()
	for {
		q, err := e.quote(ctx, req)
		if err != nil {
			return nil, err
		}
		var t *transaction
		err = e.withLane(ctx, func() error {
			t, err = e.launch(ctx, signer, req, q, &lost)
			return err
		})
		var busy *busyError
		if !errors.As(err, &busy) {
			if err == nil {
				e.tell("tx_sent", t, "tx %s nonce %d sent", t.hash(), t.nonce)
			}
			return t, err
		}
		if err := e.giveWay(ctx, busy); err != nil {
			return nil, err
		}
		if done, err := e.done(ctx, req); done || err != nil {
			if lost != nil && err == nil {
				err = e.settle(ctx, lost, true)
			}
			return nil, err
		}
	}
}

// launch gives the transaction a nonce, signs, journals and broadcasts it. The lane is held. *busyError: not now. lost is
// settled, and set to nil, as soon as the new one is journaled.
func (e *errand) launch(ctx context.Context, signer Signer, req TxRequest, q quote, lost **transaction) (*transaction, error) {
	if err := e.flush(ctx); err != nil {
		return nil, fmt.Errorf("an earlier transaction of %s must go first: %w", e.from, err)
	}
	pos, err := e.position(ctx)
	if err != nil {
		return nil, err
	}
	nonce, busy := e.next(pos)
	if busy != nil {
		return nil, busy
	}
	t := &transaction{from: e.from, chainID: e.chainID, nonce: nonce, req: req, gas: q.gas, claimed: true, tried: true}
	if err := e.attempt(ctx, t, signer, q.fees); err != nil {
		return nil, err
	}
	if *lost != nil {
		if err := e.settle(ctx, *lost, true); err != nil {
			e.release(t)
			return nil, err
		}
		*lost = nil
	}
	err = e.broadcast(ctx, t)
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, errUnderpriced):
		if err := e.bump(ctx, t, true); err != nil {
			e.release(t)
			return nil, err
		}
		return t, nil
	case errors.Is(err, errNonceHeld), errors.Is(err, errCrowded), isRefusal(err):
		if serr := e.settle(ctx, t, false); serr != nil {
			return nil, serr
		}
		if errors.Is(err, errCrowded) {
			return nil, cmp.Or(e.crowded(), err)
		}
		if errors.Is(err, errNonceHeld) {
			return nil, &busyError{nonce: nonce}
		}
		return nil, e.held(err, q, req)
	default:
		e.release(t) // perhaps it arrived: flush and the next run see to it
		return nil, fmt.Errorf("tx %s is journaled and may have been sent; run again to go on with it: %w", t.hash(), err)
	}
}

// attempt signs t with fees and journals it; nothing is broadcast. If it fails t is as before.
func (e *errand) attempt(ctx context.Context, t *transaction, signer Signer, fees Fees) error {
	signed, err := signer.SignTx(ctx, t.unsigned(fees), t.chainID)
	if err != nil {
		return fmt.Errorf("%w; nothing was sent", err)
	}
	attempts := append(slices.Clip(t.attempts), signed) // the lane is held, so nobody else adds one
	data, err := t.note(attempts)
	if err != nil {
		return err
	}
	if err := e.journal.Note(ctx, t.key(), data); err != nil {
		return fmt.Errorf("the signed transaction could not be journaled, so it was not sent: %w", err)
	}
	t.setAttempts(attempts)
	e.mu.Lock()
	e.txs[t.key()] = t
	e.mu.Unlock()
	return nil
}

// flush broadcasts what was journaled but not sent, in the order of the nonces. The lane is held.
func (e *errand) flush(ctx context.Context) error {
	for _, t := range e.unsettled(e.chainID) {
		if sent, _ := t.sentFor(); sent {
			continue
		}
		err := e.broadcast(ctx, t)
		if errors.Is(err, errUnderpriced) {
			err = e.bump(ctx, t, true)
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, errNonceHeld): // whichever is mined, the receipts will tell
			t.setSent(true)
			continue
		case isRefusal(err) && !isFunds(err):
			if serr := e.settle(ctx, t, false); serr != nil {
				return serr
			}
			return fmt.Errorf("tx %s nonce %d (%s) of an earlier run is refused by the node and given up; run again: %w", t.hash(), t.nonce, t.req.Purpose, err)
		}
		return fmt.Errorf("broadcast tx %s nonce %d (%s) again: %w", t.hash(), t.nonce, t.req.Purpose, e.held(err, quote{}, t.req))
	}
	return nil
}

// broadcast sends the newest attempt. The node knowing it already is success, whatever it answered; its nonce being used is for
// the poller to judge.
func (e *errand) broadcast(ctx context.Context, t *transaction) error {
	raw, err := t.last().MarshalBinary()
	if err != nil {
		return fmt.Errorf("encode transaction: %w", err)
	}
	err = classify(e.c.sendRaw(ctx, raw))
	if isUnclear(err) {
		if tx, lookErr := e.c.Tx(ctx, t.hash()); tx != nil && lookErr == nil {
			err = nil
		}
	}
	if err == nil {
		t.setSent(true)
	}
	return err
}

// settle ends the matter of t. Its nonce is used, or else free again. It is done even when ctx has ended.
func (e *errand) settle(ctx context.Context, t *transaction, used bool) error {
	if err := e.journal.Note(context.WithoutCancel(ctx), t.key(), nil); err != nil {
		return fmt.Errorf("settle tx %s in the journal: %w", t.hash(), err)
	}
	e.mu.Lock()
	delete(e.txs, t.key())
	if used {
		e.floor = max(e.floor, t.nonce+1)
	}
	e.mu.Unlock()
	return nil
}

// await waits for the receipt and settles the matter. errLost: t can no longer happen; its note is still there.
func (e *errand) await(ctx context.Context, t *transaction) (*types.Receipt, error) {
	for {
		out := e.watch(ctx, t)
		var err error
		switch {
		case out.err != nil:
			err = fmt.Errorf("wait for tx %s nonce %d: %w", t.hash(), t.nonce, out.err)
		case out.lost:
			return nil, errLost
		case out.stalled:
			err = e.nudge(ctx, t, out.head)
		case out.dropped:
			e.tell("tx_dropped", t, "tx %s is no longer in the chain, which was reorganised; broadcast again, with the same hash", t.hash())
			t.told = false
			if err = e.withLane(ctx, func() error { return e.broadcast(ctx, t) }); errors.Is(err, errNonceHeld) {
				err = nil // the receipts will tell
			}
		default:
			if !out.final || !t.told {
				t.told = true
				e.tell("tx_mined", t, "tx %s nonce %d is in block %s", out.receipt.TxHash, t.nonce, out.receipt.BlockNumber)
			}
			if out.final {
				return e.confirmed(ctx, t, out.receipt)
			}
		}
		if err != nil {
			e.release(t)
			return nil, err
		}
	}
}

// confirmed settles a transaction that has a final receipt.
func (e *errand) confirmed(ctx context.Context, t *transaction, r *types.Receipt) (*types.Receipt, error) {
	e.tell("tx_confirmed", t, "tx %s nonce %d confirmed", r.TxHash, t.nonce)
	if err := e.settle(ctx, t, true); err != nil {
		return nil, err
	}
	e.witness(r)
	if r.Status == types.ReceiptStatusSuccessful {
		return r, nil
	}
	return nil, e.failure(ctx, t, r)
}

// witness remembers the newest block with a final transaction of the account.
func (s *Sender) witness(r *types.Receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil || r.BlockNumber.Cmp(s.last.BlockNumber) > 0 {
		s.last = r
	}
}

// LastBlock is the newest block in which a transaction of this sender was final; nil if none was.
func (s *Sender) LastBlock() (number *big.Int, hash common.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return nil, common.Hash{}
	}
	return s.last.BlockNumber, s.last.BlockHash
}

// nudge helps a transaction that is the first of those waited for and doesn't get on: whatever has to go before it is broadcast
// again, then itself; with higher fees if its own are too low by now, or if blocks went by without it more than once.
func (e *errand) nudge(ctx context.Context, t *transaction, head *big.Int) error {
	return e.withLane(ctx, func() error {
		for _, before := range e.unsettled(t.chainID) {
			if before.nonce < t.nonce {
				before.setSent(false)
			}
		}
		if err := e.flush(ctx); err != nil {
			return err
		}
		now, err := e.c.GasPrice(ctx)
		if err != nil {
			return err
		}
		t.stalls++
		passed := t.stalledAt != nil && head.Cmp(t.stalledAt) > 0
		t.stalledAt = head
		old, low := t.hash(), t.fees().Cap.Cmp(higher(new(big.Int), now.Base)) < 0
		if !low {
			err := e.broadcast(ctx, t)
			if err == nil && passed {
				if err := e.bump(ctx, t, false); err != nil {
					return err
				}
			}
			if (err == nil || errors.Is(err, errNonceHeld)) && t.hash() == old {
				return e.stillWaiting(t)
			}
			if low = errors.Is(err, errUnderpriced); err != nil && !low {
				return fmt.Errorf("broadcast tx %s nonce %d again: %w", old, t.nonce, e.held(err, quote{}, t.req))
			}
		}
		if low {
			if err := e.bump(ctx, t, true); err != nil {
				return err
			}
		}
		e.tell("tx_bumped", t, "tx %s nonce %d did not get on; sent again with at most %s instead of %s per gas as %s", old, t.nonce, Gwei(t.fees().Cap), Gwei(t.previousCap()), t.hash())
		return nil
	})
}

// stillWaiting tells of a transaction that was broadcast again unchanged, and gives up on it after a long while.
func (e *errand) stillWaiting(t *transaction) error {
	t.setSent(true)
	if t.stalls >= patience {
		return &providers.HeldError{
			Reason:  fmt.Sprintf("tx %s nonce %d is not mined after %s, though the node has it", t.hash(), t.nonce, time.Duration(t.stalls)*e.opts.StallAfter),
			Unblock: "it stays in the journal: run again to wait for it",
		}
	}
	e.tell("tx_waiting", t, "tx %s nonce %d is not mined yet; broadcast again", t.hash(), t.nonce)
	return nil
}

// FailedError is about a transaction that is on chain and failed: gas was spent.
type FailedError struct {
	Receipt *types.Receipt
	Reason  *RevertError
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("tx %s failed in block %s: %s", e.Receipt.TxHash, e.Receipt.BlockNumber, e.Reason)
}

// Unwrap returns the reason.
func (e *FailedError) Unwrap() error { return e.Reason }

// Lost is what was spent for nothing, in ETH.
func (e *FailedError) Lost() string {
	price := e.Receipt.EffectiveGasPrice
	if price == nil {
		price = new(big.Int)
	}
	return ether(new(big.Int).Mul(price, new(big.Int).SetUint64(e.Receipt.GasUsed)))
}

// failure finds out why a transaction that is on chain failed.
func (e *errand) failure(ctx context.Context, t *transaction, r *types.Receipt) error {
	failed := &FailedError{Receipt: r, Reason: &RevertError{}}
	err := e.c.replay(ctx, Msg{From: e.from, To: t.req.To, Data: t.req.Data, Value: t.req.Value}, r.BlockNumber)
	if !errors.As(err, &failed.Reason) && r.GasUsed == t.last().Gas() {
		failed.Reason = &RevertError{Reason: "out of gas"}
	}
	return failed
}
