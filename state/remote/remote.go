// Package remote is what the stores behind a network have in common: the order of reads and writes, who is behind, and a lock
// that ends when its holder gives no sign of life. A Medium keeps the bytes.
//
// Rules:
//   - A write names the position that this client has read or written last. The medium refuses it, in one step with the
//     write, when the state is at another position or when the lock was given to somebody else since.
//   - The lock is renewed four times within its time to live. A client that could not renew it writes nothing more, even
//     when nobody else has taken it: it can't know. The time is that of the machine's steady clock, which goes on while a
//     process is stopped.
//   - So a holder that is paused, or cut off, has lost: what it writes afterwards is refused here or by the medium.
package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/iexecform/iexecform/state"
)

// DefaultTTL is how long a lock outlives the last sign of life of its holder.
const DefaultTTL = time.Minute

// Errors that a Medium returns, wrapped or not.
var (
	// ErrBehind means that the state isn't at the position that a write follows. Nothing was written.
	ErrBehind = errors.New("somebody else has written")
	// ErrLost means that the lock is no longer this client's. Nothing was written.
	ErrLost = errors.New("somebody else took it, or broke it")
)

// Position is where a state is in the order of its writes. It is the medium's own, and comparable.
type Position any

// Contents is what a medium holds. Snapshot and Journal are nil when there is none; the journal is all its pieces, joined.
type Contents struct {
	Snapshot, Journal []byte
	At                Position
}

// Piece is what is added to a journal at a time.
type Piece struct {
	Serial uint64 // of the snapshot that the journal continues
	Begins bool   // it begins a new journal, in place of the one that there may be
	Text   []byte
}

// Medium keeps the bytes of one state. It is used by one goroutine at a time, but for the lock's. A write that returns an
// error other than ErrBehind and ErrLost may or may not have been done; the medium itself tries again what may pass.
type Medium interface {
	// Read returns what is stored. SIDE EFFECTS: none.
	Read(ctx context.Context) (*Contents, error)
	// Append adds a piece after the position, and returns the new one, when it is as safe as the medium makes it.
	Append(ctx context.Context, at Position, p Piece) (Position, error)
	// Replace replaces the snapshot, unless it is nil, and the journal by one with this text, or by none. A crash in between
	// leaves the new snapshot with the old journal.
	Replace(ctx context.Context, at Position, snapshot []byte, journal Piece) (Position, error)
}

// Locks are the locks of one state.
type Locks interface {
	// Lock takes the lock, or returns a *state.LockedError at once. It may take one whose time is over. What a former
	// holder writes from then on is refused.
	Lock(ctx context.Context, h state.Holder) (Lease, error)
	// Holder is state.Inspector's.
	Holder(ctx context.Context) (*state.Holder, error)
	// ForceUnlock is state.Unlocker's. What the former holder writes from then on is refused.
	ForceUnlock(ctx context.Context, id string) error
}

// Lease is a lock that is held.
type Lease interface {
	// Renew gives a sign of life. It returns ErrLost when the lock is somebody else's, or nobody's.
	Renew(ctx context.Context) error
	// Release lets go of the lock. A lock that is lost is let alone.
	Release(ctx context.Context) error
}

// Store is a state.Store in a medium. It is safe for concurrent use.
type Store struct {
	medium Medium
	locks  Locks
	codec  *state.Codec
	ttl    time.Duration

	mu       sync.Mutex
	at       Position // nil before the first operation
	snapshot state.Envelope
	journal  *state.Journal // that the next append continues, without its records; nil: it begins one
	pending  []state.Note   // of an older journal, that the next one begins with
	held     *held          // the lock; nil when it isn't taken, or was let go of
}

var (
	_ state.Store     = (*Store)(nil)
	_ state.Inspector = (*Store)(nil)
	_ state.Unlocker  = (*Store)(nil)
)

// New returns the store in a medium. A nil codec is in the clear; a ttl of 0 is DefaultTTL.
func New(m interface {
	Medium
	Locks
}, codec *state.Codec, ttl time.Duration) *Store {
	if ttl <= 0 {
		ttl = DefaultTTL
	}
	return &Store{medium: m, locks: m, codec: codec, ttl: ttl}
}

// Load implements state.Store.
func (s *Store) Load(ctx context.Context) (*state.Loaded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	loaded, _, err := s.load(ctx)
	return loaded, err
}

func (s *Store) load(ctx context.Context) (*state.Loaded, []byte, error) {
	c, err := s.medium.Read(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read the state: %w", err)
	}
	journal, err := s.codec.DecodeJournal(c.Journal)
	if err != nil {
		return nil, nil, err
	}
	if journal != nil && journal.Torn || journal == nil && c.Journal != nil {
		return nil, nil, errors.New("the end of the journal can't be read, although the store keeps whole pieces only: it was damaged since; " +
			"restore it, or delete it: plan finds what exists, but not transactions that were signed and not yet mined")
	}
	var snapshot *state.Snapshot
	var edited error
	if c.Snapshot != nil {
		if snapshot, edited = s.codec.Decode(c.Snapshot); snapshot == nil {
			return nil, nil, edited
		}
	}
	loaded, err := state.Resume(snapshot, journal)
	if err != nil {
		return nil, nil, err
	}
	s.at, s.snapshot = c.At, state.Envelope{Lineage: loaded.Snapshot.Lineage, Serial: loaded.Snapshot.Serial}
	s.journal, s.pending = journal, nil
	if journal != nil {
		journal.Records = nil
		if journal.Header.Serial < s.snapshot.Serial { // left by a crash: what would be added to it would not be read
			s.journal, s.pending = nil, loaded.Pending
		}
	}
	return loaded, c.Snapshot, edited
}

// Append implements state.Store.
func (s *Store) Append(ctx context.Context, records ...state.Record) error {
	if len(records) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayWrite(ctx); err != nil {
		return err
	}
	if s.at == nil {
		if _, _, err := s.load(ctx); err != nil {
			return err
		}
	}
	p := Piece{Serial: s.snapshot.Serial}
	journal := s.journal
	if journal == nil {
		var err error
		if journal, p.Text, err = s.codec.BeginJournal(s.snapshot.Lineage, s.snapshot.Serial, s.pending); err != nil {
			return err
		}
		p.Begins, journal.Records = true, nil
	}
	lines, err := journal.Encode(records)
	if err != nil {
		return err
	}
	p.Text = append(p.Text, lines...)
	at, err := s.medium.Append(ctx, s.at, p)
	if err != nil {
		return s.failed("write the journal", "nothing was begun that isn't in it", err, 0)
	}
	journal.Appended(lines)
	s.at, s.journal, s.pending = at, journal, nil
	return nil
}

// Compact implements state.Store.
func (s *Store) Compact(ctx context.Context, next *state.Snapshot, pending []state.Note) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.mayWrite(ctx); err != nil {
		return err
	}
	same := false
	if s.at == nil || next.Serial <= s.snapshot.Serial {
		was := s.at
		_, stored, err := s.load(ctx)
		if err != nil {
			return err
		}
		if was != nil && was != s.at {
			s.at = was // still behind
			return s.failed("", "", ErrBehind, next.Serial)
		}
		if same, err = s.codec.Follows(stored, s.snapshot.Serial, next); err != nil {
			return err
		}
	}
	var snapshot []byte
	var err error
	if !same {
		if snapshot, err = s.codec.Encode(next); err != nil {
			return err
		}
	}
	journal, p := (*state.Journal)(nil), Piece{Serial: next.Serial, Begins: true}
	if len(pending) > 0 {
		if journal, p.Text, err = s.codec.BeginJournal(next.Lineage, next.Serial, pending); err != nil {
			return err
		}
		journal.Records = nil
	}
	at, err := s.medium.Replace(ctx, s.at, snapshot, p)
	if err != nil {
		return s.failed("write the state", "the journal still holds what was done", err, next.Serial)
	}
	s.at, s.journal, s.pending = at, journal, nil
	s.snapshot = state.Envelope{Lineage: next.Lineage, Serial: next.Serial}
	return nil
}

// failed says what an error of the medium means for a write of a snapshot with that serial, or 0 for records.
func (s *Store) failed(what, consequence string, err error, serial uint64) error {
	switch {
	case errors.Is(err, ErrBehind):
		return &state.ConflictError{Stored: s.snapshot.Serial, Written: serial, Journal: true}
	case errors.Is(err, ErrLost):
		return s.lose(err)
	}
	return fmt.Errorf("%s: %w; %s", what, err, consequence)
}

// Holder implements state.Inspector.
func (s *Store) Holder(ctx context.Context) (*state.Holder, error) { return s.locks.Holder(ctx) }

// ForceUnlock implements state.Unlocker.
func (s *Store) ForceUnlock(ctx context.Context, id string) error {
	return s.locks.ForceUnlock(ctx, id)
}
