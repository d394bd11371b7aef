package apply

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/state"
)

// journal appends records from many goroutines with one write, and one fsync, for all that wait at a time. append
// returns when the records are on disk. After a failed append nothing more is accepted: what can't be written down must
// not be done.
type journal struct {
	store   state.Store
	mu      sync.Mutex
	idle    *sync.Cond
	waiting []*entry
	writing bool
	broken  error
	records []state.Record // written, in order
	pending []state.Note
}

type entry struct {
	records []state.Record
	done    chan error
}

func newJournal(store state.Store, pending []state.Note) *journal {
	j := &journal{store: store, pending: slices.Clone(pending)}
	j.idle = sync.NewCond(&j.mu)
	return j
}

func (j *journal) append(ctx context.Context, records ...state.Record) error {
	e := &entry{records: records, done: make(chan error, 1)}
	j.mu.Lock()
	j.waiting = append(j.waiting, e)
	if j.writing {
		j.mu.Unlock()
		return <-e.done
	}
	j.writing = true
	for len(j.waiting) > 0 {
		batch := j.waiting
		j.waiting = nil
		err := j.broken
		var all []state.Record
		for _, e := range batch {
			all = append(all, e.records...)
		}
		if err == nil {
			j.mu.Unlock()
			err = j.store.Append(context.WithoutCancel(ctx), all...)
			j.mu.Lock()
		}
		if err != nil {
			j.broken = err
		} else {
			j.records = append(j.records, all...)
		}
		for _, e := range batch {
			e.done <- err
		}
	}
	j.writing = false
	j.idle.Broadcast()
	j.mu.Unlock()
	return <-e.done
}

// note appends a note.
func (j *journal) note(ctx context.Context, n state.Note) error {
	if n.Key == "" {
		return errors.New("a note needs a key")
	}
	if err := j.append(ctx, state.NoteRecords([]state.Note{n})...); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = slices.DeleteFunc(j.pending, func(old state.Note) bool { return old.Key == n.Key })
	if n.Data != nil {
		j.pending = append(j.pending, n)
	}
	return nil
}

// about returns the records about an object so far.
func (j *journal) about(i addr.Instance) (records []state.Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.records {
		if r.Addr != nil && *r.Addr == i {
			records = append(records, r)
		}
	}
	return records
}

// unsettled reports whether there are notes that are not settled.
func (j *journal) unsettled() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.pending) > 0
}

// close waits for the last write and returns all records and the notes that are not settled.
func (j *journal) close() ([]state.Record, []state.Note) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.writing {
		j.idle.Wait()
	}
	return j.records, j.pending
}
