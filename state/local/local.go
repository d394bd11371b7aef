// Package local keeps a state in a directory.
//
// Files:
//   - iexecform.state.json, the snapshot, made to be committed to git: mode 0644 less the umask when it is new, as it was
//     when it is replaced. It holds no secret, but signed orders, which whoever reads them can use.
//   - iexecform.state.journal, what was begun and done since the snapshot, mode 0600: it holds signed transactions. It
//     exists only while there is something to remember.
//     Both are encrypted when the store has a codec that does so.
//   - The directory itself is locked with flock for the moment of a read or a write, so that runs that ignore the lock of the
//     state don't tear each other's files.
//   - .iexecform.state.lock, locked with flock, so that the kernel unlocks it when the process dies. What it holds tells
//     who has the lock; it counts only while somebody has it. The file stays.
//
// A store in a file of another name (see File) has the names that go with it.
package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"github.com/iexecform/iexecform/state"
)

// Names of the files in a directory.
const (
	SnapshotFile = "iexecform.state.json"
	JournalFile  = "iexecform.state.journal"
	LockFile     = ".iexecform.state.lock"
)

// Store is a state.Store in a directory. It is safe for concurrent use.
type Store struct {
	dir                     string
	snapshot, logged, guard string // names of the files
	codec                   *state.Codec

	mu      sync.Mutex
	file    *os.File       // the journal, open for append, or nil
	journal *state.Journal // what file holds, without its records
	seen    *position      // where the last Load, Append or Compact left the files; nil before the first
}

// position is what the files are like after an operation. Whoever writes without the lock changes it.
type position struct {
	snapshot os.FileInfo // nil when there is none
	journal  int64       // size
}

func (p position) same(q position) bool {
	if p.snapshot == nil || q.snapshot == nil {
		return p.snapshot == nil && q.snapshot == nil && p.journal == q.journal
	}
	return p.journal == q.journal && os.SameFile(p.snapshot, q.snapshot) &&
		p.snapshot.Size() == q.snapshot.Size() && p.snapshot.ModTime().Equal(q.snapshot.ModTime())
}

var _ state.Store = (*Store)(nil)

// New returns the store in a directory. Lock makes the directory when it doesn't exist.
func New(dir string) *Store { return File(filepath.Join(dir, SnapshotFile), nil) }

// File returns the store whose snapshot is in the file, which ends in ".json". The other files are beside it, with names
// made from its own in the same way: those of x.json are x.journal and .x.lock. A nil codec is in the clear.
func File(path string, codec *state.Codec) *Store {
	dir, name := filepath.Split(path)
	base := strings.TrimSuffix(name, ".json")
	return &Store{dir: filepath.Clean(dir), snapshot: name, logged: base + ".journal", guard: "." + base + ".lock", codec: codec}
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// Raw returns the snapshot as it is stored, without the journal; nil when there is none.
func (s *Store) Raw() ([]byte, error) { return read(s.path(s.snapshot)) }

// Load implements state.Store.
func (s *Store) Load(context.Context) (*state.Loaded, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.alone()()
	loaded, err := s.load()
	if loaded != nil {
		at := s.look()
		s.seen = &at
	}
	return loaded, err
}

// alone keeps other processes from reading and writing until the returned function is called. Where a directory can't be
// locked, because there is none yet or the system can't, there is the lock of the state still.
func (s *Store) alone() (release func()) {
	guard := flock.New(s.dir, flock.SetFlag(os.O_RDONLY))
	if guard.Lock() != nil {
		return func() {}
	}
	return func() { _ = guard.Unlock() }
}

func (s *Store) load() (*state.Loaded, error) {
	// The journal first: should another run compact in between, where directories can't be locked, the journal read
	// continues an older snapshot than the one read, which is a case that Resume knows.
	logged, journal, err := s.readJournal()
	if err != nil {
		return nil, err
	}
	b, err := s.Raw()
	if err != nil {
		return nil, err
	}
	var snapshot *state.Snapshot
	if b != nil {
		if snapshot, err = s.codec.Decode(b); err != nil {
			err = fmt.Errorf("%s: %w", s.path(s.snapshot), err)
		}
		if snapshot == nil {
			return nil, err
		}
	}
	loaded, broken := state.Resume(snapshot, journal)
	if broken != nil {
		return nil, fmt.Errorf("%s: %w", s.path(s.logged), broken)
	}
	loaded.Torn = loaded.Torn || logged != nil && journal == nil
	return loaded, err
}

// readJournal returns the file, nil when there is none, and what it holds, nil when it has no whole header.
func (s *Store) readJournal() ([]byte, *state.Journal, error) {
	b, err := read(s.path(s.logged))
	if err != nil {
		return nil, nil, err
	}
	journal, err := s.codec.DecodeJournal(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.path(s.logged), err)
	}
	return b, journal, nil
}

// envelope reads what identifies the stored snapshot; the zero Envelope when there is none.
func (s *Store) envelope() (state.Envelope, []byte, error) {
	b, err := s.Raw()
	if b == nil || err != nil {
		return state.Envelope{}, nil, err
	}
	e, err := state.DecodeEnvelope(b)
	if err != nil {
		return e, nil, fmt.Errorf("%s: %w", s.path(s.snapshot), err)
	}
	return e, b, nil
}

// look returns what the files are like. A file that can't be looked at says so to whoever reads or writes it.
func (s *Store) look() (p position) {
	if info, err := os.Stat(s.path(s.snapshot)); err == nil {
		p.snapshot = info
	}
	if info, err := os.Stat(s.path(s.logged)); err == nil {
		p.journal = info.Size()
	}
	return p
}

// unchanged refuses to write a snapshot with that serial, or 0 for records, when somebody else has written.
func (s *Store) unchanged(writing uint64) error {
	if s.seen == nil || s.look().same(*s.seen) {
		return nil
	}
	stored, _, err := s.envelope()
	if err != nil {
		return err
	}
	return &state.ConflictError{Stored: stored.Serial, Written: writing, Journal: writing == 0 || stored.Serial < writing}
}

// Append implements state.Store. An append that fails leaves the journal as it was, as far as the disk allows.
func (s *Store) Append(_ context.Context, records ...state.Record) error {
	if len(records) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.alone()()
	if err := s.unchanged(0); err != nil {
		return err
	}
	if err := s.openJournal(); err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	lines, err := s.journal.Encode(records)
	if err != nil {
		return err
	}
	if err := s.write(lines); err != nil {
		err = fmt.Errorf("write the journal: %w; nothing was begun that isn't in it", err)
		return errors.Join(err, s.closeJournal())
	}
	s.seen.journal = int64(s.journal.Whole())
	return nil
}

// write appends b and waits until it is on disk.
func (s *Store) write(b []byte) error {
	_, err := s.file.Write(b)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		_ = s.file.Truncate(int64(s.journal.Whole())) // a torn line is ignored anyway
		return err
	}
	s.journal.Appended(b)
	return nil
}

// openJournal makes sure that s.file is the journal on disk and ends with a whole line.
func (s *Store) openJournal() error {
	if s.file != nil {
		mine, err := s.file.Stat()
		if err != nil {
			return err
		}
		there, err := os.Stat(s.path(s.logged))
		if err == nil && os.SameFile(mine, there) && there.Size() == int64(s.journal.Whole()) {
			return nil
		}
		if err := s.closeJournal(); err != nil {
			return err
		}
	}
	if err := s.replaceOldJournal(); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path(s.logged), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s.file = f
	if err := s.repair(); err != nil {
		return errors.Join(err, s.closeJournal())
	}
	at := s.look()
	s.seen = &at
	return nil
}

// replaceOldJournal starts a new journal where a crash left the one of an older snapshot: records that were added to it
// would never be read.
func (s *Store) replaceOldJournal() error {
	_, journal, err := s.readJournal()
	if err != nil || journal == nil {
		return err
	}
	stored, _, err := s.envelope()
	if err != nil || journal.Header.Serial >= stored.Serial {
		return err
	}
	loaded, err := s.load()
	if err != nil {
		return err
	}
	return s.startJournal(loaded.Snapshot, loaded.Pending)
}

// repair removes a torn line and writes a header where there is none.
func (s *Store) repair() error {
	b, err := io.ReadAll(s.file)
	if err != nil {
		return err
	}
	if s.journal, err = s.codec.DecodeJournal(b); err != nil {
		return err
	}
	if s.journal != nil {
		s.journal.Records = nil
		if !s.journal.Torn {
			return nil
		}
		return s.file.Truncate(int64(s.journal.Whole()))
	}
	if len(b) > 0 {
		if err := s.file.Truncate(0); err != nil {
			return err
		}
	}
	stored, _, err := s.envelope()
	if err != nil {
		return err
	}
	journal, header, err := s.codec.BeginJournal(stored.Lineage, stored.Serial, nil)
	if err != nil {
		return err
	}
	s.journal = &state.Journal{}
	if err := s.write(header); err != nil {
		return err
	}
	s.journal = journal
	return s.syncDir()
}

func (s *Store) closeJournal() error {
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file, s.journal = nil, nil
	return f.Close()
}

// Compact implements state.Store.
func (s *Store) Compact(_ context.Context, snapshot *state.Snapshot, pending []state.Note) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.alone()()
	if err := s.unchanged(snapshot.Serial); err != nil {
		return err
	}
	same, err := s.isStored(snapshot)
	if err != nil {
		return err
	}
	if !same {
		b, err := s.codec.Encode(snapshot)
		if err != nil {
			return err
		}
		err = renameio.WriteFile(s.path(s.snapshot), b, 0o644, renameio.WithTempDir(s.dir), renameio.WithExistingPermissions())
		if err == nil {
			err = s.syncDir()
		}
		if err != nil {
			return fmt.Errorf("write the state: %w; the journal still holds what was done", err)
		}
	}
	err = s.startJournal(snapshot, pending)
	at := s.look()
	s.seen = &at
	if err != nil {
		return fmt.Errorf("start a new journal: %w; the state is written", err)
	}
	return nil
}

// isStored reports whether the snapshot is the stored one already, and refuses one that doesn't follow the stored one.
func (s *Store) isStored(snapshot *state.Snapshot) (bool, error) {
	there, err := s.Raw()
	if err != nil {
		return false, err
	}
	var gone uint64 // the journal may continue a snapshot that is gone
	if there == nil {
		_, journal, err := s.readJournal()
		if err != nil {
			return false, err
		}
		if journal != nil {
			gone = journal.Header.Serial
		}
	}
	same, err := s.codec.Follows(there, gone, snapshot)
	if conflict := (*state.ConflictError)(nil); err != nil && !errors.As(err, &conflict) {
		err = fmt.Errorf("%s: %w", s.path(s.snapshot), err)
	}
	return same, err
}

// startJournal replaces the journal by one that holds only notes, or by none.
func (s *Store) startJournal(snapshot *state.Snapshot, pending []state.Note) error {
	if err := s.closeJournal(); err != nil {
		return err
	}
	if len(pending) == 0 {
		if err := os.Remove(s.path(s.logged)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return s.syncDir()
	}
	_, text, err := s.codec.BeginJournal(snapshot.Lineage, snapshot.Serial, pending)
	if err != nil {
		return err
	}
	err = renameio.WriteFile(s.path(s.logged), text, 0o600, renameio.WithTempDir(s.dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	return s.syncDir()
}

// Lock implements state.Store. SIDE EFFECTS: makes the directory when it doesn't exist, and removes temporary files of
// runs that were killed. It fails when the directory can't be written.
func (s *Store) Lock(_ context.Context, h state.Holder) (unlock func() error, err error) {
	if err := s.checkWritable(); err != nil {
		return nil, fmt.Errorf("the state can't be kept in %s: %w; make the directory writable", s.dir, err)
	}
	path := s.path(s.guard)
	lock := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !locked {
		return nil, &state.LockedError{Holder: readHolder(path), Path: path}
	}
	if err := writeHolder(path, h); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), lock.Unlock())
	}
	s.removeTemporary()
	return sync.OnceValue(func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = os.Truncate(path, 0) // the name counts for nothing once the lock is gone
		return errors.Join(s.closeJournal(), lock.Unlock())
	}), nil
}

// Holder implements state.Inspector. Whoever was killed leaves its name behind, but not the lock.
func (s *Store) Holder(context.Context) (*state.Holder, error) {
	path := s.path(s.guard)
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil, nil // nobody who is told of
	} else if err != nil {
		return nil, fmt.Errorf("look at the lock: %w", err)
	}
	lock := flock.New(path, flock.SetFlag(os.O_RDONLY))
	free, err := lock.TryRLock()
	if err != nil {
		return nil, fmt.Errorf("look at the lock: %w", err)
	}
	if free {
		return nil, lock.Unlock()
	}
	if h := readHolder(path); h != nil {
		return h, nil
	}
	return &state.Holder{}, nil
}

func (s *Store) checkWritable() error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	probe, err := os.CreateTemp(s.dir, s.guard+"-probe-*")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// removeTemporary removes what renameio leaves behind when the process is killed.
func (s *Store) removeTemporary() {
	for _, name := range []string{s.snapshot, s.logged} {
		left, _ := filepath.Glob(filepath.Join(s.dir, "."+name+"*"))
		for _, path := range left {
			_ = os.Remove(path)
		}
	}
}

func writeHolder(path string, h state.Holder) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o600)
}

// readHolder returns nil when the holder hasn't told its name yet, or the system doesn't let others read.
func readHolder(path string) *state.Holder {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	h := new(state.Holder)
	if json.Unmarshal(b, h) != nil {
		return nil
	}
	return h
}

// read returns nil for a file that doesn't exist.
func read(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && b == nil {
		b = []byte{}
	}
	return b, err
}

// syncDir waits until renames, creations and removals in the directory are on disk, which renameio doesn't.
func (s *Store) syncDir() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
