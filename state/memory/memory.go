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

// codec writes in the clear: what is in memory is nowhere else.
var codec = (*state.Codec)(nil)

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

// Load implements state.Store.
func (m *Store) Load(context.Context) (*state.Loaded, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	loaded, _, err := m.load()
	return loaded, err
}

func (m *Store) load() (*state.Loaded, *state.Journal, error) {
	journal, err := codec.DecodeJournal(m.journal)
	if err != nil {
		return nil, nil, err
	}
	var stored *state.Snapshot
	if m.snapshot != nil {
		if stored, err = codec.Decode(m.snapshot); stored == nil {
			return nil, nil, err
		}
	}
	loaded, broken := state.Resume(stored, journal)
	if broken != nil {
		return nil, nil, broken
	}
	loaded.Torn = loaded.Torn || m.journal != nil && journal == nil
	return loaded, journal, err
}

// Append implements state.Store.
func (m *Store) Append(_ context.Context, records ...state.Record) error {
	if err := m.ask(BeforeAppend); err != nil {
		return err
	}
	if err := m.keep(records); err != nil {
		return err
	}
	return m.ask(AfterAppend)
}

func (m *Store) keep(records []state.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	loaded, journal, err := m.load()
	if err != nil {
		return err
	}
	// What is added to the journal of an older snapshot, left by a crash, would not be read.
	if journal == nil || journal.Header.Serial < loaded.Snapshot.Serial {
		if journal, m.journal, err = codec.BeginJournal(loaded.Snapshot.Lineage, loaded.Snapshot.Serial, loaded.Pending); err != nil {
			return err
		}
	}
	lines, err := journal.Encode(records)
	m.journal = append(bytes.Clone(m.journal[:journal.Whole()]), lines...) // what follows was torn
	return err
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

func (m *Store) restart(s *state.Snapshot, pending []state.Note) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.journal = nil
	if len(pending) > 0 {
		_, m.journal, err = codec.BeginJournal(s.Lineage, s.Serial, pending)
	}
	return err
}

func (m *Store) write(s *state.Snapshot) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	same, err := codec.Follows(m.snapshot, 0, s)
	if err != nil || same {
		return err
	}
	m.snapshot, err = codec.Encode(s)
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
