package http

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/remote"
)

// info is a lock as the protocol has it. All of it must be there.
type info struct {
	ID        string
	Operation string
	Info      string
	Who       string
	Version   string
	Created   string
	Path      string
}

func (m *medium) infoOf(h state.Holder) info {
	return info{ID: h.ID, Operation: h.Operation, Who: h.Who, Created: h.Created, Version: "iexecform", Path: m.workspace}
}

// holder is who has the lock, as the server's answer and the sign of life tell; nil when they don't.
func (i info) holder(s *sign) *state.Holder {
	if i.ID == "" {
		return nil
	}
	if s != nil && s.Holder.ID == i.ID {
		return &s.Holder
	}
	return &state.Holder{ID: i.ID, Operation: i.Operation, Who: i.Who, Created: i.Created}
}

// sign is the document with the sign of life.
type sign struct {
	Serial uint64       `json:"serial"` // rises with each
	Holder state.Holder `json:"holder"` // the protocol's answers don't tell all of it
	TTL    int64        `json:"ttl_ms"`
}

// watched is a sign of life since when it has been seen.
type watched struct {
	sign  sign
	since time.Time
}

// lease is the lock that is held.
type lease struct {
	m      *medium
	info   info
	holder state.Holder

	mu     sync.Mutex
	serial uint64 // of the sign
	lost   bool
}

// ask asks for the lock. holder is who has it, nil when it is ours now; its ID may be ours, too.
func (m *medium) ask(ctx context.Context, i info) (holder *info, err error) {
	body, err := json.Marshal(i)
	if err != nil {
		return nil, err
	}
	status, answer, err := m.do(ctx, m.o.LockMethod, m.address(m.o.LockAddress, m.workspace, ""), body)
	switch {
	case err != nil:
		return nil, err
	case status/100 == 2:
		return nil, nil
	case status == http.StatusLocked, status == http.StatusConflict:
		holder = new(info)
		_ = json.Unmarshal(answer, holder) // a server may not tell
		return holder, nil
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented:
		return nil, fmt.Errorf("%w; if it has locks at another address or by another method, set lock_address and lock_method; if it has none, --lock=false does without",
			m.refusal(m.o.LockMethod, status, answer))
	}
	return nil, m.refusal(m.o.LockMethod, status, answer)
}

// free lets go of the lock with the id.
func (m *medium) free(ctx context.Context, i info) error {
	body, err := json.Marshal(i)
	if err != nil {
		return err
	}
	status, answer, err := m.do(ctx, m.o.UnlockMethod, withID(m.address(m.o.UnlockAddress, m.workspace, ""), i.ID), body)
	if err == nil && status/100 != 2 {
		err = m.refusal(m.o.UnlockMethod, status, answer)
		if status == http.StatusLocked || status == http.StatusConflict || status == http.StatusNotFound {
			err = fmt.Errorf("%w: %w", err, remote.ErrLost)
		}
	}
	return err
}

// Lock implements remote.Locks.
func (m *medium) Lock(ctx context.Context, h state.Holder) (remote.Lease, error) {
	mine := m.infoOf(h)
	holder, err := m.ask(ctx, mine)
	if err != nil {
		return nil, fmt.Errorf("lock the state: %w", err)
	}
	if holder != nil {
		s, err := m.readSign(ctx)
		if err != nil {
			return nil, fmt.Errorf("lock the state: %w", err)
		}
		if !m.isOver(s, holder.ID) {
			return nil, &state.LockedError{Holder: holder.holder(s), Path: m.String()}
		}
		if err := m.free(ctx, *holder); err != nil && !errors.Is(err, remote.ErrLost) {
			return nil, fmt.Errorf("lock the state: break the lock of one who gives no sign of life: %w", err)
		}
		if holder, err := m.ask(ctx, mine); err != nil || holder != nil {
			if err == nil {
				err = &state.LockedError{Holder: holder.holder(nil), Path: m.String()} // somebody was faster
			}
			return nil, err
		}
	}
	l := &lease{m: m, info: mine, holder: h}
	m.setLock(m.workspace, mine.ID)
	if holder != nil {
		err = m.fence(ctx)
	}
	if err == nil {
		err = l.give(ctx)
	}
	if err != nil {
		m.setLock(m.workspace, "")
		return nil, errors.Join(fmt.Errorf("lock the state: %w", err), m.free(context.WithoutCancel(ctx), mine))
	}
	m.lease = l
	return l, nil
}

// isOver reports whether the lease of the holder has not risen for its time, as far as this client has watched.
func (m *medium) isOver(s *sign, id string) bool {
	if s == nil || s.Holder.ID != id {
		m.waited = watched{}
		return false
	}
	if *s != m.waited.sign {
		m.waited = watched{*s, time.Now()}
	}
	return time.Since(m.waited.since) > time.Duration(s.TTL)*time.Millisecond
}

func (m *medium) signAddress() string { return m.address(m.o.Address, m.workspace, "-lease") }

func (m *medium) readSign(ctx context.Context) (*sign, error) {
	body, err := m.get(ctx, m.signAddress())
	if body == nil || err != nil {
		return nil, err
	}
	s := new(sign)
	if json.Unmarshal(body, s) != nil {
		return nil, nil
	}
	return s, nil
}

// give gives a sign of life.
func (l *lease) give(ctx context.Context) error {
	if l.serial == 0 {
		s, err := l.m.readSign(ctx)
		if err != nil {
			return err
		}
		if s != nil {
			l.serial = s.Serial
		}
	}
	l.serial++
	body, err := json.Marshal(sign{Serial: l.serial, Holder: l.holder, TTL: l.m.o.TTL.Milliseconds()})
	if err != nil {
		return err
	}
	status, answer, err := l.m.do(ctx, l.m.o.UpdateMethod, l.m.signAddress(), body)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("the server must keep documents beside the state, such as %s: %w", l.m.signAddress(), l.m.refusal(l.m.o.UpdateMethod, status, answer))
	}
	return err
}

// Renew implements remote.Lease.
func (l *lease) Renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.check(ctx); err != nil {
		return err
	}
	return l.give(ctx)
}

// check asks whether the lock is held. The protocol has no question, so the lock is asked for again: the server then tells
// who has it.
func (l *lease) check(ctx context.Context) error {
	if l.lost {
		return remote.ErrLost
	}
	holder, err := l.m.ask(ctx, l.info)
	switch {
	case err != nil:
		return err
	case holder == nil: // it was free, and is ours anew: whoever had it in between may have written
		l.lost = true
		return errors.Join(remote.ErrLost, l.m.free(ctx, l.info))
	case holder.ID != l.info.ID:
		l.lost = true
		return remote.ErrLost
	}
	return nil
}

// verify returns ErrLost when the lock was taken and is no longer held.
func (m *medium) verify(ctx context.Context) error {
	if m.lease == nil {
		return nil
	}
	m.lease.mu.Lock()
	defer m.lease.mu.Unlock()
	return m.lease.check(ctx)
}

// Release implements remote.Lease.
func (l *lease) Release(ctx context.Context) error {
	l.m.lease = nil
	l.m.setLock(l.m.workspace, "")
	if l.lost {
		return remote.ErrLost
	}
	return l.m.free(ctx, l.info)
}

// Holder implements remote.Locks. The protocol has no question: the lock is asked for, and let go of at once.
func (m *medium) Holder(ctx context.Context) (*state.Holder, error) {
	probe := m.infoOf(state.Holder{ID: rand.Text(), Operation: "lock info", Who: "iexecform", Created: time.Now().UTC().Format(time.RFC3339)})
	holder, err := m.ask(ctx, probe)
	if err == nil && holder == nil {
		err = m.free(ctx, probe)
	}
	if err != nil {
		return nil, fmt.Errorf("look at the lock: %w", err)
	}
	if holder == nil {
		return nil, nil
	}
	s, err := m.readSign(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at the lock: %w", err)
	}
	if h := holder.holder(s); h != nil {
		return h, nil
	}
	return &state.Holder{}, nil
}

// ForceUnlock implements remote.Locks.
func (m *medium) ForceUnlock(ctx context.Context, id string) error {
	h, err := m.Holder(ctx)
	switch {
	case err != nil:
		return err
	case h == nil:
		return errors.New("the state is not locked any more")
	case h.ID != id:
		return fmt.Errorf("the lock has the id %q, not %q: see `iexecform lock info`", h.ID, id)
	}
	if err := m.free(ctx, m.infoOf(*h)); err != nil {
		return fmt.Errorf("break the lock: %w", err)
	}
	if err := m.fence(ctx); err != nil {
		return fmt.Errorf("break the lock: %w", err)
	}
	return nil
}

// String names the state without what may be secret.
func (m *medium) String() string {
	return withoutQueryText(m.address(m.o.Address, m.workspace, ""))
}
