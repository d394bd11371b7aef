package remote_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/remote"
	"github.com/iexecform/iexecform/state/statetest"
)

// medium takes everything, and its lease fails as it is told to.
type medium struct {
	writes int

	mu       sync.Mutex
	renewals int
	renew    error
}

func (m *medium) answer(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.renew = err
}

func (m *medium) Read(context.Context) (*remote.Contents, error) {
	return &remote.Contents{At: m.writes}, nil
}

func (m *medium) Append(context.Context, remote.Position, remote.Piece) (remote.Position, error) {
	m.writes++
	return m.writes, nil
}

func (m *medium) Replace(context.Context, remote.Position, []byte, remote.Piece) (remote.Position, error) {
	m.writes++
	return m.writes, nil
}
func (m *medium) Lock(context.Context, state.Holder) (remote.Lease, error) { return m, nil }
func (m *medium) Holder(context.Context) (*state.Holder, error)            { return nil, nil }
func (m *medium) ForceUnlock(context.Context, string) error                { return nil }
func (m *medium) Release(context.Context) error                            { return nil }
func (m *medium) Renew(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.renewals++
	return m.renew
}

const ttl = time.Minute

// locked runs a test with a locked store, on simulated time.
func locked(t *testing.T, test func(t *testing.T, m *medium, write func() error)) {
	synctest.Test(t, func(t *testing.T) {
		m := &medium{}
		s := remote.New(m, nil, ttl)
		unlock, err := s.Lock(t.Context(), state.Holder{ID: "1"})
		if err != nil {
			t.Fatal(err)
		}
		test(t, m, func() error { return s.Append(t.Context(), statetest.Object(1, statetest.App, `{"n":1}`)) })
		if err := unlock(); err != nil {
			t.Error(err)
		}
	})
}

func isLost(err error) bool {
	var lost *state.LostLockError
	return errors.As(err, &lost)
}

// A lock is renewed four times within its time, for as long as it is held.
func TestHeartbeat(t *testing.T) {
	locked(t, func(t *testing.T, m *medium, write func() error) {
		time.Sleep(10*ttl + time.Second)
		m.mu.Lock()
		if m.renewals != 40 {
			t.Errorf("%d renewals", m.renewals)
		}
		m.mu.Unlock()
		if err := write(); err != nil {
			t.Error(err)
		}
	})
}

// A store that is out of reach for a while keeps its lock; one that is for the lock's time has lost it, for good.
func TestOutOfReach(t *testing.T) {
	locked(t, func(t *testing.T, m *medium, write func() error) {
		m.answer(errors.New("no route to host"))
		time.Sleep(ttl - time.Second)
		if err := write(); err != nil {
			t.Errorf("within its time: %v", err)
		}
		m.answer(nil)
		time.Sleep(ttl)
		if err := write(); err != nil {
			t.Errorf("after it came back: %v", err)
		}
		m.answer(errors.New("no route to host"))
		time.Sleep(ttl + ttl/2)
		writes := m.writes
		m.answer(nil)
		if err := write(); !isLost(err) || m.writes != writes {
			t.Errorf("beyond its time: %v, %d writes", err, m.writes-writes)
		}
	})
}

// A lock that somebody else has is lost at the next sign of life.
func TestTaken(t *testing.T) {
	locked(t, func(t *testing.T, m *medium, write func() error) {
		m.answer(remote.ErrLost)
		time.Sleep(ttl / 3)
		if err := write(); !isLost(err) || m.writes != 0 {
			t.Errorf("%v, %d writes", err, m.writes)
		}
		m.answer(nil)
		if err := write(); !isLost(err) {
			t.Errorf("later: %v", err)
		}
	})
}
