package pg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/remote"
)

// lease is the lock: a connection that has an advisory lock, and the fencing token.
type lease struct {
	m     *medium
	conn  *pgx.Conn
	fence int64
}

// Lock implements remote.Locks.
func (m *medium) Lock(ctx context.Context, h state.Holder) (remote.Lease, error) {
	conn, err := pgx.ConnectConfig(ctx, m.pool.Config().ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("lock the state: %w", err)
	}
	l, err := m.lock(ctx, conn, h)
	if err != nil {
		end(conn)
		return nil, explained(err)
	}
	m.lease = l
	return l, nil
}

func (m *medium) lock(ctx context.Context, conn *pgx.Conn, h state.Holder) (*lease, error) {
	var locked bool
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, m.key(m.name)).Scan(&locked); err != nil {
		return nil, fmt.Errorf("lock the state: %w", err)
	}
	if !locked {
		holder, err := m.Holder(ctx)
		if err != nil {
			return nil, err
		}
		if holder != nil && holder.ID == "" {
			holder = nil
		}
		return nil, &state.LockedError{Holder: holder, Path: m.String()}
	}
	if err := setting(ctx, conn, "idle_session_timeout", m.o.TTL); err != nil {
		return nil, fmt.Errorf("give the lock a time to live, which needs PostgreSQL 14 or later: %w", err)
	}
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	l := &lease{m: m, conn: conn}
	err = conn.QueryRow(ctx, `INSERT INTO `+m.table("states")+` AS s (name, fence, holder) VALUES ($1, 1, $2)
ON CONFLICT (name) DO UPDATE SET fence = s.fence + 1, holder = $2 RETURNING fence`, m.name, string(text)).Scan(&l.fence)
	if err != nil {
		return nil, fmt.Errorf("lock the state: %w", err)
	}
	return l, nil
}

// end closes a connection, and with it its lock. It waits no longer than a moment for the server to say so.
func end(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// Renew implements remote.Lease. A connection that doesn't answer is closed by it: the lock ended with it, or will.
func (l *lease) Renew(ctx context.Context) error {
	if err := l.conn.Ping(ctx); err != nil {
		return fmt.Errorf("the connection that has it is gone (%w): %w", err, remote.ErrLost)
	}
	return nil
}

// Release implements remote.Lease.
func (l *lease) Release(ctx context.Context) error {
	defer end(l.conn)
	l.m.lease = nil
	if l.conn.IsClosed() {
		return remote.ErrLost
	}
	_, err := l.conn.Exec(ctx, `UPDATE `+l.m.table("states")+` SET holder = NULL WHERE name = $1 AND fence = $2`, l.m.name, l.fence)
	if err == nil {
		_, err = l.conn.Exec(ctx, `SELECT pg_advisory_unlock($1)`, l.m.key(l.m.name))
	}
	return err
}

// whoLocks finds the backend process that has the advisory lock, and who the row says that it is.
func (m *medium) whoLocks(ctx context.Context) (pid int32, h *state.Holder, err error) {
	key := uint64(m.key(m.name)) //nolint:gosec // the same bits
	var text *string
	err = m.pool.QueryRow(ctx, `
SELECT l.pid, (SELECT holder FROM `+m.table("states")+` WHERE name = $3) FROM pg_locks l
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid::bigint = $1 AND l.objid::bigint = $2
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
		int64(key>>32), int64(key&0xffffffff), m.name).Scan(&pid, &text)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, fmt.Errorf("look at the lock: %w", explained(err))
	}
	h = new(state.Holder)
	if text != nil && json.Unmarshal([]byte(*text), h) != nil {
		h = new(state.Holder)
	}
	return pid, h, nil
}

// Holder implements remote.Locks. Whoever died leaves its name behind, but not the lock.
func (m *medium) Holder(ctx context.Context) (*state.Holder, error) {
	_, h, err := m.whoLocks(ctx)
	return h, err
}

// ForceUnlock implements remote.Locks. It ends the connection of the holder, which takes the same user or the role
// pg_signal_backend, and gives out a new fencing token.
func (m *medium) ForceUnlock(ctx context.Context, id string) error {
	pid, h, err := m.whoLocks(ctx)
	switch {
	case err != nil:
		return err
	case h == nil:
		return errors.New("the state is not locked any more")
	case h.ID != id:
		return fmt.Errorf("the lock has the id %q, not %q: see `iexecform lock info`", h.ID, id)
	}
	if _, err := m.pool.Exec(ctx, `UPDATE `+m.table("states")+` SET fence = fence + 1, holder = NULL WHERE name = $1`, m.name); err != nil {
		return fmt.Errorf("break the lock: %w", explained(err))
	}
	return m.again(ctx, func() error { // the server ends a session a moment after it was told to
		if _, err := m.pool.Exec(ctx, `SELECT pg_terminate_backend($1)`, pid); err != nil {
			return fmt.Errorf("break the lock: %w", explained(err))
		}
		now, _, err := m.whoLocks(ctx)
		if err == nil && now == pid {
			err = fmt.Errorf("break the lock: the server doesn't end the session %d", pid)
		}
		return err
	})
}

// String names the state without what is secret.
func (m *medium) String() string {
	c := m.pool.Config().ConnConfig
	return fmt.Sprintf("workspace %s in database %s on %s", m.name, c.Database, c.Host)
}
