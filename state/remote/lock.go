package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/iexecform/iexecform/state"
)

// held is a lock, from when it is taken until the next one is.
type held struct {
	lease Lease
	ttl   time.Duration
	stop  context.CancelFunc
	ended chan struct{} // closed when nothing renews it any more

	asking  sync.Mutex // one renewal at a time
	mu      sync.Mutex
	renewed time.Time // when the last renewal that came through was asked for
	lost    error     // a *state.LostLockError; nil while it is held
}

// Lock implements state.Store. The lock is renewed until it is unlocked or lost.
func (s *Store) Lock(ctx context.Context, holder state.Holder) (unlock func() error, err error) {
	asked := time.Now()
	lease, err := s.locks.Lock(ctx, holder)
	var locked *state.LockedError
	if errors.As(err, &locked) {
		locked.Breakable = true
	}
	if err != nil {
		return nil, err
	}
	beat, stop := context.WithCancel(context.WithoutCancel(ctx))
	h := &held{lease: lease, ttl: s.ttl, stop: stop, ended: make(chan struct{}), renewed: asked}
	go h.beat(beat)
	s.mu.Lock()
	s.held = h
	s.mu.Unlock()
	return sync.OnceValue(func() error { return s.unlock(context.WithoutCancel(ctx), h) }), nil
}

// beat renews the lock until it is let go of or lost.
func (h *held) beat(ctx context.Context) {
	defer close(h.ended)
	ticker := time.NewTicker(h.ttl / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if h.renew(ctx) != nil {
				return
			}
		}
	}
}

// renew gives a sign of life. It returns an error when the lock is lost.
func (h *held) renew(ctx context.Context) error {
	h.asking.Lock()
	defer h.asking.Unlock()
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, h.ttl/2)
	defer cancel()
	err := h.lease.Renew(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.lost != nil:
	case err == nil:
		h.renewed = asked
	case errors.Is(err, ErrLost):
		h.lost = &state.LostLockError{Reason: err.Error()}
	case time.Since(h.renewed) >= h.ttl:
		h.lost = &state.LostLockError{Reason: fmt.Sprintf("it could not be renewed for %s (%v)", h.ttl, err)}
	}
	return h.lost
}

// check returns an error when the lock is lost. A lock that nothing was heard of for half its time is renewed first.
func (h *held) check(ctx context.Context) error {
	h.mu.Lock()
	fresh, lost := time.Since(h.renewed) < h.ttl/2, h.lost
	h.mu.Unlock()
	if lost != nil || fresh {
		return lost
	}
	return h.renew(ctx)
}

// unlock waits for the write that is under way. A lock that was lost stays lost.
func (s *Store) unlock(ctx context.Context, h *held) error {
	h.stop()
	<-h.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == h && h.lost == nil {
		s.held = nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.ttl/2)
	defer cancel()
	if err := h.lease.Release(ctx); err != nil && h.lost == nil && !errors.Is(err, ErrLost) {
		return fmt.Errorf("%w; it ends by itself %s after the last sign of life", err, h.ttl)
	}
	return nil
}

// mayWrite returns an error when the lock that was taken is lost. Who never took one has none to lose. s.mu is held.
func (s *Store) mayWrite(ctx context.Context) error {
	if s.held == nil {
		return nil
	}
	return s.held.check(ctx)
}

// lose remembers that the lock is lost. s.mu is held.
func (s *Store) lose(err error) error {
	lost := &state.LostLockError{Reason: err.Error()}
	if h := s.held; h != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.lost == nil {
			h.lost = lost
		}
	}
	return lost
}
