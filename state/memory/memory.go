// Package memory is the store that keeps the state as long as the process lives: for test files, and for tests.
package memory

import (
	"bytes"
	"context"
	"sync"

	"github.com/iexecform/iexecform/state"
)

// Steps of a Store at which Fault is asked.
const (
	BeforeAppend  = "before append"  // nothing of it is kept yet
	AfterAppend   = "after append"   // kept, and not acknowledged yet
	BeforeCompact = "before compact" // nothing of it is kept yet
	Compacting    = "compacting"     // the snapshot is kept, and the journal is still the old one
	AfterCompact  = "after compact"  // all is kept, and not acknowledged yet
)

// Store is a state.Store in memory, as bytes of the real encodings. The zero Store is empty and ready for use. Fault,
// which may be nil, is asked at each step: an error ends the operation there. It may block.
type Store struct {
	Fault func(step string) error

	mu       sync.Mutex
	snapshot []byte
	journal  []byte
	holder   *state.Holder
}

var _ state.Store = (*Store)(nil)

// Set replaces all that is stored. Either may be nil.
func (m *Store) Set(snapshot, journal []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.snapshot, m.journal = snapshot, journal
}

// Raw returns what is stored, as encoded; nil for what isn't there.
func (m *Store) Raw() (snapshot, journal []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.snapshot), bytes.Clone(m.journal)
}

func (m *Store) ask(step string) error {
	if m.Fault == nil {
		return nil
	}
	return m.Fault(step)
}

func (m *Store) stored() (*state.Snapshot, error) {
	if m.snapshot == nil {
		return nil, nil
	}
	return state.Decode(m.snapshot)
}

// Load implements state.Store.
func (m *Store) Load(context.Context) (*state.Loaded, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stored, err := m.stored()
	if err != nil {
		return nil, err
	}
	journal, err := state.DecodeJournal(m.journal)
	if err != nil {
		return nil, err
	}
	return state.Resume(stored, journal)
}

// Append implements state.Store.
func (m *Store) Append(_ context.Context, records ...state.Record) error {
	if err := m.ask(BeforeAppend); err != nil {
		return err
	}
	lines, err := state.EncodeRecords(records)
	if err != nil {
		return err
	}
	if err := m.keep(lines); err != nil {
		return err
	}
	return m.ask(AfterAppend)
}

func (m *Store) keep(lines []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	stored, err := m.stored()
	if err != nil {
		return err
	}
	journal, err := state.DecodeJournal(m.journal)
	if err != nil {
		return err
	}
	if stored == nil {
		stored = &state.Snapshot{}
	}
	var pending []state.Note
	if journal != nil && journal.Header.Serial < stored.Serial { // left by a crash: what is added to it would not be read
		loaded, err := state.Resume(stored, journal)
		if err != nil {
			return err
		}
		journal, pending = nil, loaded.Pending
	}
	if journal == nil {
		if err := m.startJournal(stored, pending); err != nil {
			return err
		}
	}
	whole := len(m.journal)
	if journal != nil {
		whole = journal.Whole // what follows was torn
	}
	m.journal = append(bytes.Clone(m.journal[:whole]), lines...)
	return nil
}

// Compact implements state.Store.
func (m *Store) Compact(_ context.Context, s *state.Snapshot, pending []state.Note) error {
	if err := m.ask(BeforeCompact); err != nil {
		return err
	}
	if err := m.write(s); err != nil {
		return err
	}
	if err := m.ask(Compacting); err != nil {
		return err
	}
	if err := m.restart(s, pending); err != nil {
		return err
	}
	return m.ask(AfterCompact)
}

func (m *Store) restart(s *state.Snapshot, pending []state.Note) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.journal = nil
	if len(pending) == 0 {
		return nil
	}
	return m.startJournal(s, pending)
}

func (m *Store) write(s *state.Snapshot) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := state.Encode(s)
	if err != nil {
		return err
	}
	stored, err := m.stored()
	if err != nil {
		return err
	}
	if stored == nil {
		if s.Serial == 0 && len(s.Resources)+len(s.Outputs)+len(s.Networks) == 0 {
			return nil // nothing to store
		}
		stored = &state.Snapshot{}
	}
	if s.Serial != stored.Serial+1 && !bytes.Equal(b, m.snapshot) {
		return &state.ConflictError{Stored: stored.Serial, Written: s.Serial}
	}
	m.snapshot = b
	return nil
}

func (m *Store) startJournal(s *state.Snapshot, pending []state.Note) error {
	header, err := state.EncodeHeader(s.Lineage, s.Serial)
	if err != nil {
		return err
	}
	lines, err := state.EncodeRecords(state.NoteRecords(pending))
	m.journal = append(header, lines...)
	return err
}

// Lock implements state.Store.
func (m *Store) Lock(_ context.Context, h state.Holder) (unlock func() error, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holder != nil {
		return nil, &state.LockedError{Holder: m.holder, Path: "memory"}
	}
	m.holder = &h
	return sync.OnceValue(func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.holder = nil
		return nil
	}), nil
}
