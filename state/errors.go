package state

import (
	"fmt"

	"github.com/iexecform/iexecform/internal/wording"
)

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
		"away: plan finds what exists and adopts it", e.Offset, e.Line, wording.OfFile(e.Err))
}

func (e *DamagedError) Unwrap() error { return e.Err }

// EditedError is returned for a state that can be read, but isn't what iexecform wrote.
type EditedError struct {
	Digest, Content string // the digest that is written in it, or "", and that of its content
}

func (e *EditedError) Error() string {
	digest := "it has no digest"
	if e.Digest != "" {
		digest = "its digest is " + e.Digest
	}
	return fmt.Sprintf("the state was edited, merged or damaged after iexecform wrote it: %s, and its content has %s; restore it "+
		"from git or a backup, or, if it is meant to be as it is, take it over with `iexecform state push --force FILE`", digest, e.Content)
}

// ConflictError is returned by Store.Append and Store.Compact when somebody else has written since this client read or
// wrote.
type ConflictError struct {
	Stored, Written uint64 // serials
	Journal         bool   // the journal has gone on, or what was to be written are records
}

func (e *ConflictError) Error() string {
	if e.Journal {
		return fmt.Sprintf("another run has written to the state since this one read it (its serial is %d): nothing was overwritten, plan again", e.Stored)
	}
	return fmt.Sprintf("the stored state has serial %d and can't be replaced by serial %d: another run has written since "+
		"this one began; nothing was overwritten, plan again", e.Stored, e.Written)
}

// LostLockError is returned by Store.Append and Store.Compact when the lock that was taken is no longer held.
type LostLockError struct {
	Reason string // completes "because …"
}

func (e *LostLockError) Error() string {
	return "the lock of the state is lost, because " + e.Reason + ": nothing more is written, because another run may be at work; " +
		"wait for it to end, and plan again"
}

func (e *LockedError) Error() string {
	if e.Holder == nil {
		return fmt.Sprintf("the state is locked (%s): wait for the other run to end, or give --lock-timeout", e.Path)
	}
	text := fmt.Sprintf("the state is locked (%s) by %s for %s since %s, id %s: wait for that run to end, or give --lock-timeout",
		e.Path, e.Holder.Who, e.Holder.Operation, e.Holder.Created, e.Holder.ID)
	if e.Breakable {
		text += fmt.Sprintf("; if you know that it is gone, `iexecform force-unlock %s` breaks the lock", e.Holder.ID)
	}
	return text
}
