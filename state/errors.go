package state

import "fmt"

// NewerError is returned for a state or journal of a version that this program doesn't know.
type NewerError struct {
	What    string // "state", "journal"
	Version int
	Known   int    // the version that this program writes
	Tool    string // version of the program that wrote it, or ""
}

func (e *NewerError) Error() string {
	tool := "a newer iexecform"
	if e.Tool != "" {
		tool = "iexecform " + e.Tool
	}
	return fmt.Sprintf("the %s has format version %d, written by %s, and this program reads version %d: use %s or a later one",
		e.What, e.Version, tool, e.Known, tool)
}

// DamagedError is returned for a state that can't be read.
type DamagedError struct {
	Offset int // byte at which reading stopped
	Line   int // its line, from 1
	Err    error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the state is damaged at byte %d, line %d: %v; restore it from git or a backup, or move it "+
		"away: plan finds what exists and adopts it", e.Offset, e.Line, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// ConflictError is returned by Store.Compact when the stored snapshot isn't the one that the new one continues.
type ConflictError struct {
	Stored, Written uint64 // serials
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("the stored state has serial %d and can't be replaced by serial %d: another run has written since "+
		"this one began; nothing was overwritten, plan again", e.Stored, e.Written)
}

func (e *LockedError) Error() string {
	if e.Holder == nil {
		return fmt.Sprintf("the state is locked (%s): wait for the other run to end, or give --lock-timeout", e.Path)
	}
	return fmt.Sprintf("the state is locked (%s) by %s for %s since %s, id %s: wait for that run to end, or give --lock-timeout",
		e.Path, e.Holder.Who, e.Holder.Operation, e.Holder.Created, e.Holder.ID)
}
