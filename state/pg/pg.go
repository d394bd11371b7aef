// Package pg keeps states in PostgreSQL, version 14 or later.
//
// What holds:
//   - A state is a row of the table states, its journal rows of the table journal. Every write is one statement or
//     transaction that also counts the row's position up, so that it is done or not done as a whole, and only by a client
//     that knows what was written before. A commit is as durable as the server makes it (synchronous_commit).
//   - The lock is an advisory lock of a connection of its own. It ends with the connection: when the process dies, at once;
//     when its machine or the network does, when the server notices. The connection also has an idle_session_timeout, which is
//     the lock's time to live, so that the server ends it when the holder is paused.
//   - Each lock gets a fencing token, one higher than the last. A write names the token and is refused when there is a newer.
//   - A connection through a pooler such as PgBouncer must be in session mode: the lock belongs to a session.
//
// Passwords belong in PGPASSWORD, PGPASSFILE or a service file, which are read as psql reads them. Errors name host, user and
// database, never a password.
package pg

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/remote"
)

// DefaultSchema is the schema of the tables.
const DefaultSchema = "iexecform"

// Options is how the database is reached.
type Options struct {
	ConnString string        // URL or keywords, as libpq has them; what it doesn't say comes from PGHOST, PGUSER, PGPASSWORD, …
	Schema     string        // "" is DefaultSchema
	TTL        time.Duration // 0 is remote.DefaultTTL
	Patience   time.Duration // how long a write is tried again when the connection breaks; 0 is 15 s
	Codec      *state.Codec  // nil: in the clear
}

// Backend is a state.Backend in a database.
type Backend struct {
	o    Options
	pool *pgxpool.Pool
}

var (
	_ state.Backend = (*Backend)(nil)
	_ state.Initer  = (*Backend)(nil)
)

// Open returns the backend. It connects when something is asked of it.
func Open(ctx context.Context, o Options) (*Backend, error) {
	if o.Schema == "" {
		o.Schema = DefaultSchema
	}
	if o.TTL <= 0 {
		o.TTL = remote.DefaultTTL
	}
	if o.Patience <= 0 {
		o.Patience = 15 * time.Second
	}
	config, err := pgxpool.ParseConfig(o.ConnString)
	if err != nil {
		return nil, fmt.Errorf("the connection string of the database can't be read: %w", hideString(err))
	}
	config.MaxConns, config.MinConns = 4, 0
	config.ConnConfig.RuntimeParams["application_name"] = "iexecform"
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		// A client that is paused amid a write must not hold up the next one for longer than its lock would.
		return setting(ctx, conn, "idle_in_transaction_session_timeout", o.TTL)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return &Backend{o, pool}, nil
}

// setting sets a time of a session.
func setting(ctx context.Context, conn *pgx.Conn, name string, d time.Duration) error {
	_, err := conn.Exec(ctx, `SELECT set_config($1, $2, false)`, name, strconv.FormatInt(d.Milliseconds(), 10))
	return err
}

// hideString leaves out the connection string of an error: what pgx hides of it may not be all.
func hideString(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		if inner := parse.Unwrap(); inner != nil {
			return inner
		}
		return errors.New("it is neither a URL such as postgres://user@host/database nor keywords such as host=… dbname=…")
	}
	return err
}

// Close closes the connections, but for those of locks.
func (b *Backend) Close() error {
	b.pool.Close()
	return nil
}

// table is a table's quoted name.
func (b *Backend) table(name string) string { return pgx.Identifier{b.o.Schema, name}.Sanitize() }

// Init implements state.Initer. SIDE EFFECTS: makes the schema and the tables where there are none.
func (b *Backend) Init(ctx context.Context) error {
	var there bool // whoever may only use the tables must be able to run init as well
	err := b.pool.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL`, b.table("states"), b.table("journal")).Scan(&there)
	if err != nil || there {
		return explained(err)
	}
	// One at a time: IF NOT EXISTS alone doesn't keep two from making the same. All of it is one transaction.
	_, err = b.pool.Exec(ctx, fmt.Sprintf(`
SELECT pg_advisory_xact_lock(%d);
CREATE SCHEMA IF NOT EXISTS %s;
CREATE TABLE IF NOT EXISTS %s (
	name     text PRIMARY KEY,
	serial   bigint NOT NULL DEFAULT 0,
	snapshot text,
	position bigint NOT NULL DEFAULT 0,
	fence    bigint NOT NULL DEFAULT 0,
	holder   text,
	written  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS %s (
	name     text NOT NULL REFERENCES %[3]s ON DELETE CASCADE,
	position bigint NOT NULL,
	piece    text NOT NULL,
	PRIMARY KEY (name, position)
);`, b.key("schema"), pgx.Identifier{b.o.Schema}.Sanitize(), b.table("states"), b.table("journal")), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return fmt.Errorf("make the tables of the state: %w", explained(err))
	}
	return nil
}

// key is the number of an advisory lock.
func (b *Backend) key(of string) int64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "iexecform\x00%s\x00%s", b.o.Schema, of)
	return int64(h.Sum64()) //nolint:gosec // any 64 bits will do
}

// Store implements state.Backend.
func (b *Backend) Store(workspace string) state.Store {
	return remote.New(&medium{Backend: b, name: workspace}, b.o.Codec, b.o.TTL)
}

// Workspaces implements state.Backend.
func (b *Backend) Workspaces(ctx context.Context) ([]string, error) {
	rows, err := b.pool.Query(ctx, `SELECT name FROM `+b.table("states"))
	var names []string
	if err == nil {
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return nil, fmt.Errorf("list workspaces: %w", explained(err))
	}
	if !slices.Contains(names, state.DefaultWorkspace) {
		names = append(names, state.DefaultWorkspace)
	}
	slices.Sort(names)
	return names, nil
}

// Has implements state.Backend.
func (b *Backend) Has(ctx context.Context, workspace string) (bool, error) {
	if workspace == state.DefaultWorkspace {
		return true, nil
	}
	var there bool
	err := b.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM `+b.table("states")+` WHERE name = $1)`, workspace).Scan(&there)
	if err != nil {
		return false, fmt.Errorf("look for workspace %s: %w", workspace, explained(err))
	}
	return there, nil
}

// Create implements state.Backend.
func (b *Backend) Create(ctx context.Context, workspace string) error {
	if err := b.insert(ctx, workspace); err != nil {
		return fmt.Errorf("make workspace %s: %w", workspace, err)
	}
	return nil
}

func (b *Backend) insert(ctx context.Context, name string) error {
	_, err := b.pool.Exec(ctx, `INSERT INTO `+b.table("states")+` (name) VALUES ($1) ON CONFLICT DO NOTHING`, name)
	return explained(err)
}

// Delete implements state.Backend.
func (b *Backend) Delete(ctx context.Context, workspace string) error {
	if _, err := b.pool.Exec(ctx, `DELETE FROM `+b.table("states")+` WHERE name = $1`, workspace); err != nil {
		return fmt.Errorf("delete workspace %s: %w", workspace, explained(err))
	}
	return nil
}

// explained says what to do about errors of the server.
func explained(err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return err
	}
	switch server.Code {
	case "42P01", "3F000": // no such table, no such schema
		return fmt.Errorf("the database has no tables for states: run `iexecform init` to make them (%w)", err)
	case "42501": // insufficient privilege
		return fmt.Errorf("%w: the user needs to read and write the schema of the states", err)
	}
	return err
}

// medium is one state.
type medium struct {
	*Backend
	name  string
	lease *lease // nil when the lock isn't held
}

// position is a remote.Position. The fence is that at the time of the read, for clients that don't lock.
type position struct {
	n, fence int64
	exists   bool
}

// Read implements remote.Medium. Snapshot and journal are of the same moment.
func (m *medium) Read(ctx context.Context) (*remote.Contents, error) {
	var c *remote.Contents
	err := m.again(ctx, func() error {
		return pgx.BeginTxFunc(ctx, m.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
			c, err = m.read(ctx, tx)
			return err
		})
	})
	return c, explained(err)
}

func (m *medium) read(ctx context.Context, tx pgx.Tx) (*remote.Contents, error) {
	var c remote.Contents
	at := position{exists: true}
	err := tx.QueryRow(ctx, `SELECT position, fence, snapshot FROM `+m.table("states")+` WHERE name = $1`, m.name).Scan(&at.n, &at.fence, &c.Snapshot)
	if errors.Is(err, pgx.ErrNoRows) {
		return &remote.Contents{At: position{}}, nil
	}
	if err != nil {
		return nil, err
	}
	c.At = at
	rows, err := tx.Query(ctx, `SELECT piece FROM `+m.table("journal")+` WHERE name = $1 ORDER BY position`, m.name)
	if err != nil {
		return nil, err
	}
	var piece string
	_, err = pgx.ForEachRow(rows, []any{&piece}, func() error {
		c.Journal = append(c.Journal, piece...)
		return nil
	})
	return &c, err
}

// Append implements remote.Medium.
func (m *medium) Append(ctx context.Context, at remote.Position, p remote.Piece) (remote.Position, error) {
	sql := `
WITH w AS (UPDATE ` + m.table("states") + ` SET position = position + 1, written = now() WHERE name = $1 AND position = $2 AND fence = $3 RETURNING position),
     d AS (DELETE FROM ` + m.table("journal") + ` WHERE name = $1 AND $5 AND EXISTS (SELECT FROM w))
INSERT INTO ` + m.table("journal") + ` (name, position, piece) SELECT $1, position, $4 FROM w`
	return m.write(ctx, at, func(ctx context.Context, tx pgx.Tx, n, fence int64) (bool, error) {
		tag, err := tx.Exec(ctx, sql, m.name, n, fence, string(p.Text), p.Begins)
		return tag.RowsAffected() == 1, err
	}, `SELECT EXISTS (SELECT FROM `+m.table("journal")+` WHERE name = $1 AND position = $2 AND piece = $3)`, string(p.Text))
}

// Replace implements remote.Medium. It is done as a whole or not at all.
func (m *medium) Replace(ctx context.Context, at remote.Position, snapshot []byte, journal remote.Piece) (remote.Position, error) {
	update := `UPDATE ` + m.table("states") + ` SET position = position + 1, written = now(), serial = $4, snapshot = coalesce($5, snapshot)
WHERE name = $1 AND position = $2 AND fence = $3`
	var text *string
	if snapshot != nil {
		s := string(snapshot)
		text = &s
	}
	return m.write(ctx, at, func(ctx context.Context, tx pgx.Tx, n, fence int64) (bool, error) {
		tag, err := tx.Exec(ctx, update, m.name, n, fence, int64(journal.Serial), text) //nolint:gosec // a serial counts runs
		if err != nil || tag.RowsAffected() == 0 {
			return false, err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM `+m.table("journal")+` WHERE name = $1`, m.name); err != nil || len(journal.Text) == 0 {
			return true, err
		}
		_, err = tx.Exec(ctx, `INSERT INTO `+m.table("journal")+` (name, position, piece) VALUES ($1, $2, $3)`, m.name, n+1, string(journal.Text))
		return true, err
	}, `SELECT EXISTS (SELECT FROM `+m.table("states")+` WHERE name = $1 AND position = $2 AND ($3::text IS NULL OR snapshot = $3))`, text)
}

// write does a write that counts the position up from at. When the connection breaks, the answer of a commit may be lost: it is
// tried again, and was done when the next position has what was to be written, which the query written tells.
func (m *medium) write(ctx context.Context, after remote.Position, do func(ctx context.Context, tx pgx.Tx, n, fence int64) (bool, error), written string, what any) (remote.Position, error) {
	at := after.(position)
	if m.lease != nil {
		at.fence = m.lease.fence
	}
	if !at.exists {
		if err := m.insert(ctx, m.name); err != nil {
			return nil, err
		}
		at.exists = true
	}
	tried := false
	err := m.again(ctx, func() error {
		return pgx.BeginFunc(ctx, m.pool, func(tx pgx.Tx) error {
			done, err := do(ctx, tx, at.n, at.fence)
			if err != nil || done {
				tried = true
				return err
			}
			if tried {
				if err := tx.QueryRow(ctx, written, m.name, at.n+1, what).Scan(&done); err != nil || done {
					return err
				}
			}
			return m.refused(ctx, tx, at)
		})
	})
	if err != nil {
		return nil, explained(err)
	}
	at.n++
	return at, nil
}

// refused tells why a write was: the lock is lost, or somebody has written.
func (m *medium) refused(ctx context.Context, tx pgx.Tx, at position) error {
	var fence int64
	err := tx.QueryRow(ctx, `SELECT fence FROM `+m.table("states")+` WHERE name = $1`, m.name).Scan(&fence)
	if m.lease != nil && (err == nil && fence != at.fence || errors.Is(err, pgx.ErrNoRows)) {
		return backoff.Permanent(remote.ErrLost)
	}
	return backoff.Permanent(remote.ErrBehind)
}

// again does something until it is done or the server says no: broken connections and servers that start are waited for.
func (m *medium) again(ctx context.Context, do func() error) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 50*time.Millisecond, 2*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := do()
		if err != nil && !passes(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(m.o.Patience))
	return err
}

// passes reports whether an error is about the connection, or about a server that will be back.
func passes(err error) bool {
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) || errors.Is(err, context.Canceled) {
		return false
	}
	var server *pgconn.PgError
	if errors.As(err, &server) {
		class := server.Code[:2]
		return class == "57" && server.Code != "57014" || class == "53" || class == "08" || class == "40" || server.Code == "25P03" // paused amid it
	}
	return true
}
