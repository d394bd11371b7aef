// Package state holds what iexecform remembers between runs: a snapshot, made to be committed to git, and a journal of
// what has been begun and done since, so that a process may die at any moment.
//
// Rules:
//   - A snapshot holds no secret and no time stamp; keys are sorted; a run that changes nothing changes no byte of it.
//   - A record is on disk before the effect that it announces. State is the snapshot folded with the records after it.
//   - Unknown newer versions are refused, never guessed at.
package state

import (
	"context"
	"encoding/json"

	"github.com/iexecform/iexecform/config/addr"
)

// Version is the version of the snapshot format that this program writes. Older ones are read, and replaced by the next
// write. 2 has a digest.
const Version = 2

// Snapshot is the whole state at the end of a run.
type Snapshot struct {
	Version   int                          `json:"version"`
	Tool      string                       `json:"iexecform_version"` // version of the program that wrote it
	Lineage   string                       `json:"lineage"`           // made at the first write, never changed; "" when nothing was written yet
	Serial    uint64                       `json:"serial"`            // rises by one with every changed snapshot; 0 when nothing was written yet
	Networks  map[string]map[string]string `json:"networks,omitempty"`
	Outputs   map[string]Output            `json:"outputs,omitempty"`
	Resources map[addr.Instance]*Object    `json:"resources,omitempty"`
}

// Output is a root output value as last applied. A sensitive output has neither type nor value.
type Output struct {
	Type      json.RawMessage `json:"type,omitzero"` // cty JSON type
	Value     json.RawMessage `json:"value,omitzero"`
	Sensitive bool            `json:"sensitive,omitzero"`
}

// Object is what is remembered of one resource instance.
type Object struct {
	Provider      string          `json:"provider"` // addr.Provider text
	SchemaVersion int             `json:"schema_version"`
	Attributes    json.RawMessage `json:"attributes"`             // JSON object by the resource's schema; big integers exact
	Dependencies  []addr.Instance `json:"dependencies,omitempty"` // direct ones only, sorted
	// Protected is prevent_destroy as last applied: it holds when the block that said so is gone, too.
	Protected bool `json:"prevent_destroy,omitzero"`
	// Tainted means that the next plan replaces the object.
	Tainted bool `json:"tainted,omitzero"`
	// Origin is how the object was made, as its provider tells: a JSON object of texts, such as its transaction and block. Absent
	// where nobody knows, as of what was adopted. In a record, null removes it, and without it, it stays.
	Origin json.RawMessage `json:"origin,omitzero"`
}

// Record is one line of the journal.
type Record struct {
	Type    string          `json:"type"`
	Plan    string          `json:"plan,omitempty"`    // Begin: digest of the plan applied
	Op      string          `json:"op,omitempty"`      // Begin: "apply", …
	Network *Network        `json:"network,omitempty"` // Begin, Pin: identities to remember; Seen: facts to add
	Action  int             `json:"action,omitzero"`   // Intent, Done, Failed, Note: the action's number in the plan
	Kind    string          `json:"kind,omitempty"`    // Intent: the action's kind
	Addr    *addr.Instance  `json:"addr,omitempty"`    // Intent, Done, Forget
	Object  *Object         `json:"object,omitempty"`  // Done: provider, schema version, dependencies; Attributes is an RFC 7386 merge patch
	Error   string          `json:"error,omitempty"`   // Failed
	Owner   string          `json:"owner,omitempty"`   // Note: the provider configuration that wrote it, as addr.Provider text
	Key     string          `json:"key,omitempty"`     // Note: what it is about
	Data    json.RawMessage `json:"data,omitzero"`     // Note: provider's own; absent: the matter is settled
	Moves   []Moved         `json:"moves,omitempty"`   // Move
}

// Network is the identity of the network that a provider configuration reaches.
type Network struct {
	Provider string            `json:"provider"`
	Facts    map[string]string `json:"facts"`
}

// The types of records.
const (
	Begin   = "begin"   // a run begins
	Pin     = "network" // a provider's network is remembered
	Seen    = "seen"    // facts are added to those of a provider's network; an empty one is forgotten
	Intent  = "intent"  // an action is about to be done
	Patch   = "patch"   // what an action under way wants remembered of its object
	Done    = "done"    // an action is done; the patch is to be merged into the object
	Failed  = "failed"  // an action failed
	Forget  = "forget"  // an object is no longer remembered
	Move    = "move"    // objects have other addresses now
	NoteRec = "note"    // a provider's note, such as a signed transaction; kept until settled
)

// Note is what a provider wrote down about something that outlives an action: a signed transaction, say.
type Note struct {
	Owner string          // the provider configuration that wrote it, as addr.Provider text; "" when that isn't known
	Key   string          // unique; a later note with the same key replaces this one
	Data  json.RawMessage // nil settles the matter
}

// Loaded is what a store holds.
type Loaded struct {
	Snapshot *Snapshot // folded with the journal; never nil; its Serial is that of the snapshot that the journal continues
	Pending  []Note    // unsettled notes, oldest first
	Open     []Record  // intents of the last run without Done, Failed or Forget, oldest first: what it was doing when it died
	Torn     bool      // the journal ends in what can't be read, which was left out: see DecodeJournal
	Records  int       // journal records folded in, but for notes: not 0 when a run died and the fold has not been written yet
}

// Holder says who holds a lock.
type Holder struct {
	ID        string `json:"id"`
	Operation string `json:"operation"`
	Who       string `json:"who"`
	Created   string `json:"created"` // RFC 3339
}

// LockedError is returned by Store.Lock when somebody else holds the lock. Holder may be nil when it can't be read.
type LockedError struct {
	Holder    *Holder
	Path      string
	Breakable bool // the lock can outlive its holder, and be broken: see Unlocker
}

// Inspector is an optional ability of a Store: to tell who holds the lock.
type Inspector interface {
	// Holder returns nil when nobody holds the lock, and a zero Holder when it can't be told who does. SIDE EFFECTS: none.
	Holder(ctx context.Context) (*Holder, error)
}

// Unlocker is an optional ability of a Store whose lock can outlive its holder: to break the lock with that id.
type Unlocker interface {
	ForceUnlock(ctx context.Context, id string) error
}

// Backend is where the states of a configuration are kept, one for each workspace.
type Backend interface {
	// Store returns the store of a workspace. It asks nothing of the place yet.
	Store(workspace string) Store
	// Has reports whether the workspace was made, or is the default one, which always exists.
	Has(ctx context.Context, workspace string) (bool, error)
	// Workspaces lists them, sorted, with the default one.
	Workspaces(ctx context.Context) ([]string, error)
	// Create makes a workspace that doesn't exist.
	Create(ctx context.Context, workspace string) error
	// Delete removes a workspace and its state. The default one loses its state.
	Delete(ctx context.Context, workspace string) error
}

// DefaultWorkspace is the workspace that always exists.
const DefaultWorkspace = "default"

// Initer is an optional ability of a Backend: to prepare the place, as `iexecform init` asks. It may be called again.
type Initer interface {
	Init(ctx context.Context) error
}

// Store keeps a state. Every method but Lock needs the lock to be held; Load alone may be used without. What a client
// writes follows what it has read or written last: when somebody else has written in between, which a lock that is
// respected prevents, Append and Compact return a *ConflictError and write nothing. A client whose lock is lost gets a
// *LostLockError.
type Store interface {
	// Load reads the snapshot and folds the journal into it. Nothing stored is an empty Snapshot, not an error. With an
	// *EditedError comes what was read, for those who take it over.
	Load(ctx context.Context) (*Loaded, error)
	// Append adds records to the journal and returns when they are on disk.
	Append(ctx context.Context, records ...Record) error
	// Compact writes the snapshot, replacing one of a lower serial, then starts a new journal that holds only the notes. The
	// serial and the lineage are the caller's to set. A snapshot equal to the stored one, serial included, is not written
	// again. Any other one of the same or a lower serial is refused with a *ConflictError.
	Compact(ctx context.Context, s *Snapshot, pending []Note) error
	// Lock takes the lock, or returns a *LockedError at once. The lock dies with the process, or soon after it.
	Lock(ctx context.Context, h Holder) (unlock func() error, err error)
}
