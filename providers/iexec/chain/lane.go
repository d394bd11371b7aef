package chain

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/iexecform/iexecform/providers"
)

// withLane runs f while nobody else of this process, and no other process of this machine, allots nonces of the account or
// broadcasts. Where the lock file can't be made, processes are told apart by the node's answers alone.
func (e *errand) withLane(ctx context.Context, f func() error) error {
	if err := take(ctx, e.lane); err != nil {
		return err
	}
	defer func() { e.lane <- struct{}{} }()
	if dir := e.opts.LockDir; dir != "" && os.MkdirAll(dir, 0o700) == nil {
		lock := flock.New(filepath.Join(dir, fmt.Sprintf("%s-%s.lock", e.chainID, e.from.Hex())), flock.SetPermissions(0o600))
		if _, err := lock.TryLockContext(ctx, 10*time.Millisecond); err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		defer func() { _ = lock.Unlock() }()
	}
	return f()
}

// take takes a token, which is to be put back.
func take(ctx context.Context, tokens <-chan struct{}) error {
	select {
	case <-tokens:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// busyError means that no transaction can be sent until the one with a nonce is mined: a foreign one, or one of ours that
// fills the window.
type busyError struct {
	nonce uint64
	ours  *transaction // nil: a foreign one
}

func (e *busyError) Error() string {
	return fmt.Sprintf("nonce %d is taken by a pending transaction", e.nonce)
}

// next is the lowest nonce that nobody has used or holds.
func (e *errand) next(pos position) (uint64, *busyError) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.floor = max(e.floor, pos.count)
	under, first := e.underWay()
	if under >= e.window {
		return 0, &busyError{nonce: first.nonce, ours: first}
	}
	for nonce := e.floor; ; nonce++ {
		t := transaction{from: e.from, chainID: e.chainID, nonce: nonce}
		if _, ours := e.txs[t.key()]; ours {
			continue
		}
		if nonce < pos.pending {
			return 0, &busyError{nonce: nonce}
		}
		return nonce, nil
	}
}

// underWay counts the transactions that aren't mined, and returns the first. mu is held.
func (e *errand) underWay() (n int, first *transaction) {
	for _, t := range e.txs {
		if t.chainID.Cmp(e.chainID) != 0 || t.nonce < e.floor {
			continue
		}
		if n++; first == nil || t.nonce < first.nonce {
			first = t
		}
	}
	return n, first
}

// crowded narrows the window to what a node has taken before it refused one more; nil if that is nothing.
func (e *errand) crowded() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	n, first := e.underWay()
	if n == 0 {
		return nil
	}
	e.window = n
	return &busyError{nonce: first.nonce, ours: first}
}

// giveWay waits until a nonce is used. A foreign transaction that doesn't get on is not ours to help: then what is to be sent
// is held.
func (e *errand) giveWay(ctx context.Context, busy *busyError) error {
	begin, told := time.Now(), false
	timer := time.NewTimer(e.opts.PollInterval)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pos, err := e.position(ctx)
		if err != nil {
			return err
		}
		e.mu.Lock()
		e.floor = max(e.floor, pos.count)
		claimed := busy.ours != nil && busy.ours.claimed
		_, open := e.txs[(&transaction{from: e.from, chainID: e.chainID, nonce: busy.nonce}).key()]
		e.mu.Unlock()
		switch {
		case pos.count > busy.nonce:
			return nil
		case busy.ours != nil && !open:
			return nil // it was settled otherwise
		case busy.ours == nil && pos.pending <= busy.nonce && time.Since(begin) > e.opts.StallAfter:
			return nil // it vanished, or the node doesn't show it
		case busy.ours == nil && !told:
			told = true
			e.progress(providers.Progress{Type: "wallet_waiting", Message: fmt.Sprintf(
				"a transaction of %s with nonce %d that is in no journal of this state is pending; it is waited for", e.from, busy.nonce)})
		case busy.ours == nil && time.Since(begin) > 4*e.opts.StallAfter:
			return &providers.HeldError{
				Reason:  fmt.Sprintf("a transaction of %s with nonce %d that is in no journal of this state is pending, and doesn't get on", e.from, busy.nonce),
				Unblock: "wait until it is mined, or replace it with the wallet that sent it, and run again",
			}
		case busy.ours != nil && !claimed && time.Since(begin) > e.opts.StallAfter:
			begin = time.Now()
			if err := e.nudge(ctx, busy.ours, pos.head.Number); err != nil {
				return err
			}
		}
		timer.Reset(e.opts.PollInterval)
	}
}
