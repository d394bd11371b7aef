package s3

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/remote"
)

// lockFile is the content of a lock's object. A free lock has no token.
type lockFile struct {
	Token  string       `json:"token,omitempty"`
	Holder state.Holder `json:"holder,omitzero"`
	TTL    int64        `json:"ttl_ms,omitempty"`
	Beat   int          `json:"beat,omitempty"` // renewals; each makes another object
}

// lease is the lock that is held.
type lease struct {
	m    *medium
	file lockFile
	etag string
}

// margin is added to a lock's time to live: objects tell their age in whole seconds.
const margin = time.Second

// readLock returns the lock's object, nil when there is none, and what it says.
func (m *medium) readLock(ctx context.Context) (*object, lockFile, error) {
	o, err := m.get(ctx, m.key+lockSuffix)
	if err != nil || o == nil {
		return nil, lockFile{}, err
	}
	var f lockFile
	if err := json.Unmarshal(o.body, &f); err != nil {
		return nil, f, fmt.Errorf("the lock %s can't be read: %w; delete it when nobody is at work", m.key+lockSuffix, err)
	}
	return o, f, nil
}

func (f lockFile) expired(o *object) bool {
	return o.age > time.Duration(f.TTL)*time.Millisecond+margin
}

// writeLock replaces the lock's object.
func (m *medium) writeLock(ctx context.Context, f lockFile, replaces string) (etag string, err error) {
	b, err := json.Marshal(f)
	if err != nil {
		return "", err
	}
	return m.put(ctx, m.key+lockSuffix, append(b, '\n'), replaces, nil)
}

// Lock implements remote.Locks.
func (m *medium) Lock(ctx context.Context, h state.Holder) (remote.Lease, error) {
	o, f, err := m.readLock(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock the state: %w", err)
	}
	replaces, takesOver := "", false
	if o != nil {
		replaces = o.etag
		if takesOver = f.Token != ""; takesOver && !f.expired(o) {
			return nil, m.locked(f)
		}
	}
	l := &lease{m: m, file: lockFile{Token: rand.Text(), Holder: h, TTL: m.o.TTL.Milliseconds()}}
	l.etag, err = m.writeLock(ctx, l.file, replaces)
	if errors.Is(err, errOther) { // somebody was faster
		_, f, err := m.readLock(ctx)
		if err != nil {
			return nil, fmt.Errorf("lock the state: %w", err)
		}
		return nil, m.locked(f)
	}
	if err == nil && takesOver {
		err = m.fence(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the state: %w", err)
	}
	m.lease = l
	return l, nil
}

func (m *medium) locked(f lockFile) error {
	e := &state.LockedError{Path: m.String()}
	if f.Token != "" {
		e.Holder = &f.Holder
	}
	return e
}

// Renew implements remote.Lease. The object's age is that of the last renewal.
func (l *lease) Renew(ctx context.Context) error {
	l.file.Beat++
	etag, err := l.m.writeLock(ctx, l.file, l.etag)
	if errors.Is(err, errOther) {
		return remote.ErrLost
	}
	if err == nil {
		l.etag = etag
	}
	return err
}

// check returns an error unless the lock is known to be held.
func (l *lease) check(ctx context.Context) error {
	_, f, err := l.m.readLock(ctx)
	if err == nil && f.Token != l.file.Token {
		err = remote.ErrLost
	}
	return err
}

// Release implements remote.Lease.
func (l *lease) Release(ctx context.Context) error {
	l.m.lease = nil
	_, err := l.m.writeLock(ctx, lockFile{}, l.etag)
	if errors.Is(err, errOther) {
		return remote.ErrLost
	}
	return err
}

// Holder implements remote.Locks. A lock whose time is over is nobody's.
func (m *medium) Holder(ctx context.Context) (*state.Holder, error) {
	o, f, err := m.readLock(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at the lock: %w", err)
	}
	if o == nil || f.Token == "" || f.expired(o) {
		return nil, nil
	}
	return &f.Holder, nil
}

// ForceUnlock implements remote.Locks.
func (m *medium) ForceUnlock(ctx context.Context, id string) error {
	o, f, err := m.readLock(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("break the lock: %w", err)
	case o == nil || f.Token == "":
		return errors.New("the state is not locked any more")
	case f.Holder.ID != id:
		return fmt.Errorf("the lock has the id %q, not %q: see `iexecform lock info`", f.Holder.ID, id)
	}
	if _, err = m.writeLock(ctx, lockFile{}, o.etag); err == nil {
		err = m.fence(ctx)
	}
	if errors.Is(err, errOther) {
		return errors.New("the lock was renewed or let go of just now: try again")
	}
	if err != nil {
		return fmt.Errorf("break the lock: %w", err)
	}
	return nil
}

// String names the state.
func (m *medium) String() string { return fmt.Sprintf("%s in bucket %s", m.key, m.o.Bucket) }
