// Package providers declares what the engine asks of a provider, and nothing of any provider. Resources cross this boundary
// as objects of their tables, settings and data sources as cty values; a provider never meets an unknown or marked value.
package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/state"
)

// Provider is one kind of provider: its tables, and the way to open a configured client.
type Provider interface {
	// Schema is what the provider, resource and data blocks may hold. It must be cheap and always the same.
	Schema() *Schema
	// Open makes a client from the provider block's value (Schema.Provider.ObjectType; all attributes null without a
	// block). It must not need a key. SIDE EFFECTS: none beyond connections.
	Open(ctx context.Context, req OpenRequest) (Client, error)
}

// Schema is a provider's tables. A type's prefix up to its first "_" is the provider's name.
type Schema struct {
	Provider  *schema.Table
	Resources map[string]*schema.Table
	Data      map[string]*schema.Table
	Functions map[string]function.Function // for expressions; pure
}

// OpenRequest is what a client is made from.
type OpenRequest struct {
	Config    cty.Value
	Project   string       // the configuration's project, or ""
	Workspace string       // "default" unless another is selected
	Dir       string       // directory of the configuration; relative paths are relative to it
	Pending   []state.Note // unsettled notes that clients of this provider wrote in earlier runs
	Prompt    Prompter     // nil when nobody can be asked
	Expect    []string     // types of which the state has objects: what a client may begin to read
	// Locked is what things outside that may change stood for when they were locked, by their names: digests of image tags.
	Locked map[string]string
	// Known is what the state remembers of the network, by Identified, Witness and Journal. With no objects to Expect it may be
	// about another network than this one.
	Known map[string]string
	// CheckNetwork refuses facts (see Identified) that contradict those of the state. A client that knows some of them without
	// asking anybody checks them first. It may be nil.
	CheckNetwork func(facts map[string]string) error
}

// Prompter asks a person for a secret. The answer is not echoed and must not be kept.
type Prompter interface {
	Secret(ctx context.Context, question string) (string, error)
}

// Client is a configured provider. Its methods are safe for concurrent use.
type Client interface {
	// Read returns the current values of objects of one type that the state knows, in the requests' order, in as few
	// calls as it can. Types are read side by side. SIDE EFFECTS: none.
	Read(ctx context.Context, reqs []ReadRequest) []ReadResult
	// ReadData reads one data source. SIDE EFFECTS: none.
	ReadData(ctx context.Context, req DataRequest) (DataResult, error)
	// Plan says, for each request and in the same order, what the object will be and the actions that make it so, in
	// as few calls as it can. SIDE EFFECTS: none.
	Plan(ctx context.Context, reqs []PlanRequest) []PlanResult
	// Check tells which preconditions no longer hold: one error or nil for each, in order. SIDE EFFECTS: none.
	Check(ctx context.Context, ps []Precondition) []error
	// Do makes sure that one action is done: it looks first, acts only if it must, and looks again. The patch (RFC 7386,
	// may be nil) is merged into the object's attributes. SIDE EFFECTS: those of the action; each is noted in the
	// journal before it can be seen from outside.
	Do(ctx context.Context, req DoRequest) (patch json.RawMessage, err error)
}

// Identified is an optional ability of a Client: to name the network that it reaches, so that a state is never used
// with another one. The facts are stable names and values such as chain_id, hub, genesis.
type Identified interface {
	Identity(ctx context.Context) (map[string]string, error)
}

// Witness is an optional ability of a Client: to tell later whether the network went back behind what this client did.
type Witness interface {
	// Seen is facts about the network as it was after the client's last effect, or nil when it had none. The state keeps them
	// beside those of Identified, and gives them to Open as Known; it forgets those that are "". SIDE EFFECTS: none.
	Seen(ctx context.Context) map[string]string
}

// Rememberer is an optional ability of a Client: to remember objects that the state has forgotten, because the network went back
// behind their end.
type Rememberer interface {
	// Back lists the objects that the state doesn't know and that exist again. It is called when all else is planned; the end of those
	// that aren't planned is planned then, by a request without values. SIDE EFFECTS: none.
	Back(ctx context.Context) ([]addr.Instance, error)
}

// Readier is an optional ability of a Client: to make sure, before anything is done, that what the actions need is at
// hand, such as a key and funds. SIDE EFFECTS: it may ask the user for a secret.
type Readier interface {
	Ready(ctx context.Context, actions []Action) error
}

// Reviewer is an optional ability of a Client: to say what only the plan as a whole shows, such as funds that don't suffice for
// all of it, or how long it will take. It gets the client's actions, ordered and numbered; it is asked only if there are any.
// A notice's Attr, and that of an error, is one of the provider block; with an error the plan can't be applied. SIDE EFFECTS:
// none.
type Reviewer interface {
	Review(ctx context.Context, actions []Action) ([]Notice, error)
}

// Watcher is an optional ability of a Client: to tell, when all else is planned, what it noticed meanwhile of what objects rest on
// but aren't made of, such as the tag of an image. Nothing is planned because of it. The zero address is for notices about the
// provider. With partial the client was not asked about all that the state and the configuration have. SIDE EFFECTS: none.
type Watcher interface {
	Noticed(ctx context.Context, partial bool) map[addr.Instance][]Notice
}

// Batcher is an optional ability of a Client: to do several actions in one go, such as in one transaction. Each of them
// still succeeds or fails by itself.
type Batcher interface {
	// Batch is told which actions have the same Batch key and don't wait for one another. It returns which of them, by
	// index, are done together, two or more at a time, and may change their costs; the notices are for the reviewer.
	// SIDE EFFECTS: none.
	Batch(ctx context.Context, actions []*Action) (groups [][]int, notices []Notice)
	// DoBatch is Do for actions that Batch put together, or some of them. There is a result for each, in order.
	DoBatch(ctx context.Context, reqs []DoRequest) []DoResult
}

// DoResult is what Do returns.
type DoResult struct {
	Patch json.RawMessage
	Err   error
}

// Linker is an optional ability of a Client: the address of a page where people can look at an object, or "".
type Linker interface {
	Link(typ string, value schema.Object) string
}

// Resumer is an optional ability of a Client: to finish what an interrupted run left unsettled in its notes.
type Resumer interface {
	// Pending says what is unsettled, and what becomes of it when the actions, which are the client's in a plan, are
	// applied; in words. SIDE EFFECTS: none.
	Pending(ctx context.Context, actions []Action) []string
	// Resume takes the unsettled up again, and settles what it can at once. What no action needs it may give up, if it has
	// had no effect. SIDE EFFECTS: repeats those already noted.
	Resume(ctx context.Context, req ResumeRequest) error
}

// ResumeRequest asks to take up what is unsettled.
type ResumeRequest struct {
	Actions  []Action // of the plan that is applied, for the client
	Last     bool     // the actions are over: what none of them has taken up is waited for
	Journal  Journal
	Progress func(Progress) // never nil
}

// WriteOnlyChecker is an optional ability of a Client: to tell, before anything is done, whether write-only values are
// those that an action was planned with. The error doesn't hold them. SIDE EFFECTS: none.
type WriteOnlyChecker interface {
	CheckWriteOnly(ctx context.Context, a Action, values map[string]cty.Value) error
}

// Closer is an optional ability of a Client.
type Closer interface{ Close() error }

// ReadRequest asks for the current value of an object.
type ReadRequest struct {
	Addr  addr.Instance
	Prior schema.Object
}

// ReadResult is the current value of an object.
type ReadResult struct {
	Current schema.Object // null when the object is gone
	Notices []Notice      // what happened to it from outside, where that matters
	Err     error
}

// DataRequest asks for a data source's value.
type DataRequest struct {
	Addr   addr.Instance
	Config cty.Value // computed attributes are null
}

// DataResult is a data source's value.
type DataResult struct {
	Value   cty.Value
	Notices []Notice
	// Verify, when not nil, is an action that looks again whether Value still holds. It becomes part of a plan in which
	// actions depend on this data source.
	Verify *Action
}

// PlanRequest asks what to do about one object.
type PlanRequest struct {
	Addr    addr.Instance
	Prior   schema.Object // as the state has it; null when the state doesn't know it
	Current schema.Object // as Read returned it; null when it is gone or Prior is null
	Desired schema.Object // as the configuration has it, computed attributes null; null when the object is to go
	Replace bool          // a new object is wanted although nothing differs (--replace)
	// Formerly is the addresses that moved blocks say the object had, for what is derived from an address.
	Formerly []addr.Instance
	// Removal says, with a null Desired, how a removed block wants the object to go; RemoveDefault without one.
	Removal schema.Removal
}

// ChangeKind is what happens to an object.
type ChangeKind string

// The kinds of change.
const (
	NoOp    ChangeKind = "no-op"
	Create  ChangeKind = "create"
	Adopt   ChangeKind = "adopt"   // it is there already: only the state changes; or, with nothing Found, it is on its way
	Update  ChangeKind = "update"  // changed in place
	Replace ChangeKind = "replace" // a new object is made, then the old one withdrawn
	Delete  ChangeKind = "delete"  // withdrawn
	Forget  ChangeKind = "forget"  // no longer remembered; nothing happens to the object itself
)

// PlanResult is what will happen to one object.
type PlanResult struct {
	Kind ChangeKind
	// Planned is the object afterwards: unknown where only apply can tell; null for Delete and Forget. When the last of
	// the actions is done the engine remembers it, so a patch of Do is needed only for what is learned, or must be
	// remembered, before that.
	Planned schema.Object
	Found   schema.Object  // for an object that is there, but not as the state has it, or not known to it: as it is; else none
	Because []string       // short reasons for the kind, or nil
	Actions []Action       // in order; Action.After holds indexes into this slice
	Expect  []Precondition // what the plan takes for granted besides what its actions expect
	Notices []Notice
	// Provides and Requires order actions of objects that don't refer to each other: those that aren't early wait for the
	// actions of the objects of this plan that provide a key which this object requires. Keys begin with the provider's name.
	Provides, Requires []string
	Err                error
}

// Level says how much a Notice matters.
type Level string

// The levels.
const (
	Info     Level = "info"
	Warning  Level = "warning"
	Exposure Level = "exposure" // something stays, or becomes, usable by others
)

// Notice is something that the reviewer of a plan should know.
type Notice struct {
	Level   Level  `json:"level"`
	Summary string `json:"summary"`
	Detail  string `json:"detail,omitempty"`
	Attr    string `json:"attribute,omitempty"` // what it is about, or ""
}

// Action is one step of a plan. It is data: the payload is all that Do needs besides the connection.
type Action struct {
	ID       int             `json:"id"` // from 1, in the order of the plan; 0 before ordering
	Kind     string          `json:"kind"`
	Addr     addr.Instance   `json:"addr"`
	Provider string          `json:"provider"` // addr.Provider text
	Summary  string          `json:"summary"`
	After    []int           `json:"after,omitempty"`
	Early    bool            `json:"early,omitempty"` // doesn't wait for the objects that its object depends on
	Late     bool            `json:"-"`               // waits for the objects that depended on its object and go, or change
	Batch    string          `json:"-"`               // actions with the same one may be done together; see Batcher
	Group    int             `json:"group,omitempty"` // those that are done together have the same one: the first one's ID
	Payload  json.RawMessage `json:"payload,omitempty"`
	// WriteOnly is the names of the write-only attributes that Do needs. Their values are in no plan.
	WriteOnly []string       `json:"write_only,omitempty"`
	Cost      Cost           `json:"cost"`
	Expect    []Precondition `json:"expect,omitempty"`
}

// Kinds of action that the engine itself does: they change the state only.
const (
	ActionAdopt  = "adopt"  // remember an object that is there already
	ActionRecord = "record" // remember attributes that have no effect outside
	ActionForget = "forget" // forget an object
	ActionImport = "import" // remember an object that an import block names
)

// Cost is what an action takes. Gas is in gas units; Fee is gas times the gas price at plan time, FeeMax the most that the
// transaction is first sent with, both in wei, as decimal text.
type Cost struct {
	Gas        uint64 `json:"gas,omitempty"`
	Fee        string `json:"fee_wei,omitempty"`
	FeeMax     string `json:"fee_max_wei,omitempty"`
	Signatures int    `json:"signatures,omitempty"`
	Requests   int    `json:"requests,omitempty"` // to services other than the chain
	// Income and Spending are the most that what is signed can bring in, and can cost, in nRLC, as decimal text.
	Income   string `json:"income_max_nrlc,omitempty"`
	Spending string `json:"spending_max_nrlc,omitempty"`
}

// Precondition is something that the plan takes for granted and that apply checks again before it does anything.
type Precondition struct {
	Kind    string          `json:"kind"`
	Summary string          `json:"summary"` // what must hold, in words
	Payload json.RawMessage `json:"payload,omitempty"`
}

// DoRequest asks for one action to be done.
type DoRequest struct {
	Action    Action
	WriteOnly map[string]cty.Value // of the action's WriteOnly
	Journal   Journal
	Progress  func(Progress) // never nil
	// Stop is closed when the user wants the run to end. What is under way is finished all the same, unless it can end without a
	// trace. It may be nil.
	Stop <-chan struct{}
}

// Journal is where a provider notes what must outlive the process.
type Journal interface {
	// Note returns when the note is on disk. Nil data settles the matter of that key.
	Note(ctx context.Context, key string, data json.RawMessage) error
	// Patch merges (RFC 7386) into the attributes of the object that the action is about, and returns when that is on disk.
	Patch(ctx context.Context, patch json.RawMessage) error
	// Origin remembers how the action made the object that it is about, in stable names and texts: the transaction, say. It is on
	// disk when the object is as planned.
	Origin(origin map[string]string)
	// Seen adds to the facts that Witness tells, and returns when that is on disk.
	Seen(ctx context.Context, facts map[string]string) error
}

// Progress is something worth telling while an action is under way.
type Progress struct {
	Type    string            // "tx_sent", "tx_mined", …: stable, for machines
	Message string            // for people, such as "tx 0x12… nonce 3 sent"; "": they know already
	Fields  map[string]string // for machines
	Waits   bool              // nothing goes on for a while: people are told even where details are left out
}

// HeldError means that an action could not be done now but nothing failed: who or what it waits for is in Unblock.
type HeldError struct {
	Reason  string
	Unblock string
}

func (e *HeldError) Error() string { return fmt.Sprintf("held: %s; to go on: %s", e.Reason, e.Unblock) }

// AttrError is an error about one attribute, which lets the engine show the place in the configuration.
type AttrError struct {
	Attr string
	Err  error
}

func (e *AttrError) Error() string { return e.Attr + ": " + e.Err.Error() }

func (e *AttrError) Unwrap() error { return e.Err }

// At makes an error one about an attribute. It returns nil for a nil error.
func At(attr string, err error) error {
	if err == nil {
		return nil
	}
	return &AttrError{Attr: attr, Err: err}
}

// AttrOf returns the attribute that err is about, or "".
func AttrOf(err error) string {
	var at *AttrError
	if errors.As(err, &at) {
		return at.Attr
	}
	return ""
}
