// Package apply obeys a plan: it checks that what the plan takes for granted still holds, then does the plan's actions,
// each recorded in the journal before and after, and folds the journal into the state.
//
// Rules: nothing is sent unless all preconditions hold. A failed action skips only what waits for it. When the context is
// cancelled nothing new is begun; what is under way is finished. What a journal append could not persist is not done.
package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/dag"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// Options is what Run needs. The caller holds the store's lock.
type Options struct {
	Plan        *plan.Plan
	Tool        string // version of the program
	Store       state.Store
	State       *state.Loaded
	Session     *plan.Session // with the clients of the plan's providers open
	Providers   providers.Registry
	Parallelism int           // actions at once; 0 means 16
	StopTimeout time.Duration // how long what is under way may go on after ctx has ended; 0: without end
	Observe     func(Event)   // may be nil; called from several goroutines, one at a time
	// Config and Inputs are what the plan was made from, for what it could not know; nil when that isn't there. Then such
	// outputs keep their old values, and a plan with conditions that only apply can tell is refused.
	Config *config.Config
	Inputs map[string]cty.Value
}

// EventType says what an Event is about.
type EventType string

// The types of events.
const (
	Started   EventType = "start"
	Progress  EventType = "progress" // Event.Progress is set
	Succeeded EventType = "complete"
	Failed    EventType = "errored" // Event.Err is set
	Held      EventType = "held"    // Event.Err is set
	Skipped   EventType = "skipped" // something that it waits for failed, or the run was interrupted
	Resuming  EventType = "resume"  // Event.Progress is set: a matter of an interrupted run; Action is nil
)

// Event is told to Options.Observe.
type Event struct {
	Type     EventType
	Action   *providers.Action
	Progress *providers.Progress
	Elapsed  time.Duration
	Err      error
}

// Result is what Run did.
type Result struct {
	Done, Failed, Held, Skipped int // actions
	Interrupted                 bool
	Errors                      []ActionError
	Snapshot                    *state.Snapshot // the state afterwards
	Changed                     bool            // the state changed
	Checks                      []config.CheckResult
	Diagnostics                 hcl.Diagnostics // about conditions that could be told only when all was done
}

// ActionError is an action that failed or is held.
type ActionError struct {
	Action *providers.Action
	Err    error
}

func (e ActionError) Error() string {
	return fmt.Sprintf("action %d, %s of %s: %s", e.Action.ID, e.Action.Kind, e.Action.Addr, e.Err)
}

// StaleError means that the plan was made for another state than there is now.
type StaleError struct{ Reason string }

func (e *StaleError) Error() string {
	return "the plan is stale: " + e.Reason + ". Nothing was sent. Plan again"
}

// PreconditionError means that what the plan takes for granted no longer holds.
type PreconditionError struct{ Failed []error }

func (e *PreconditionError) Error() string {
	text := "since the plan was made things have changed, so that it can't be applied as it was reviewed:"
	for _, err := range e.Failed {
		text += "\n  - " + err.Error()
	}
	return text + "\nNothing was sent. Plan again"
}

// CheckFresh returns a *StaleError when the plan doesn't fit the state.
func CheckFresh(p *plan.Plan, loaded *state.Loaded) error {
	s := loaded.Snapshot
	switch {
	case !p.Complete:
		return errors.New("the plan is incomplete, because making it failed: it can't be applied. Plan again")
	case p.Lineage != s.Lineage && p.Lineage != "" && s.Lineage != "":
		return &StaleError{fmt.Sprintf("it was made from a state with lineage %s, and this one has %s", p.Lineage, s.Lineage)}
	case p.Serial != s.Serial:
		return &StaleError{fmt.Sprintf("it was made from the state with serial %d, and the state now has %d: another apply came between, or this plan was applied already", p.Serial, s.Serial)}
	case p.Lineage != s.Lineage:
		return &StaleError{"it was made from another state"}
	case p.Records != loaded.Records:
		return &StaleError{"an apply was interrupted after it was made"}
	}
	return nil
}

// Run applies the plan. The error is about what kept it from beginning or from saving; failures of actions are in the
// result. SIDE EFFECTS: those of the plan's actions; the state and its journal are written.
func Run(ctx context.Context, o Options) (*Result, error) {
	if o.Parallelism <= 0 {
		o.Parallelism = 16
	}
	if err := CheckFresh(o.Plan, o.State); err != nil {
		return nil, err
	}
	if ids := Undecided(o.Plan); len(ids) > 0 && o.Config == nil {
		return nil, fmt.Errorf("the plan has conditions that only apply can tell, on %s, and they are in the configuration, which isn't there. Nothing was sent. "+
			"Apply in the directory of the configuration that the plan was made from, or plan again", strings.Join(ids, ", "))
	}
	if err := checkNetworks(ctx, o); err != nil {
		return nil, err
	}
	if err := checkExpectations(ctx, o); err != nil {
		return nil, err
	}
	if err := checkWriteOnly(ctx, o); err != nil {
		return nil, err
	}
	if err := makeReady(ctx, o); err != nil {
		return nil, err
	}
	r := newRun(o)
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	r.walk(ctx)
	if ctx.Err() == nil && r.journal.unsettled() {
		if err := r.resume(ctx, true); err != nil {
			return r.result, errors.Join(err, r.finish(context.WithoutCancel(ctx)))
		}
	}
	r.witness(ctx)
	// Saving must not be cut short by the interrupt that ended the walk.
	return r.result, r.finish(context.WithoutCancel(ctx))
}

func checkNetworks(ctx context.Context, o Options) error {
	for _, p := range o.Plan.Providers {
		facts, err := o.Session.CheckNetwork(ctx, p.Addr)
		if err != nil {
			return err
		}
		for name, was := range p.Network {
			if is, ok := facts[name]; ok && is != was {
				return plan.NetworkErrorf("the plan was made on another network than provider %s reaches now: %s was %s and is %s. Nothing was sent", p.Addr, name, was, is)
			}
		}
	}
	return nil
}

// checkExpectations checks every precondition of the plan, one call a provider configuration.
func checkExpectations(ctx context.Context, o Options) error {
	byProvider := map[string][]providers.Precondition{}
	for i := range o.Plan.Actions {
		a := &o.Plan.Actions[i]
		byProvider[a.Provider] = append(byProvider[a.Provider], a.Expect...)
	}
	for _, e := range o.Plan.Expect {
		byProvider[e.Provider] = append(byProvider[e.Provider], e.Precondition)
	}
	var failed []error
	for _, p := range o.Session.Providers() {
		list := byProvider[p.String()]
		if len(list) == 0 {
			continue
		}
		client, _ := o.Session.Client(p)
		for _, err := range client.Check(ctx, list) {
			if err != nil && !slices.ContainsFunc(failed, func(f error) bool { return f.Error() == err.Error() }) {
				failed = append(failed, err)
			}
		}
	}
	if len(failed) > 0 {
		return &PreconditionError{Failed: failed}
	}
	return nil
}

// makeReady lets every provider look for what its actions need.
func makeReady(ctx context.Context, o Options) error {
	byProvider := plan.ActionsByProvider(o.Plan.Actions)
	for _, p := range o.Session.Providers() {
		client, _ := o.Session.Client(p)
		readier, ok := client.(providers.Readier)
		if !ok || len(byProvider[p.String()]) == 0 {
			continue
		}
		if err := readier.Ready(ctx, byProvider[p.String()]); err != nil {
			return fmt.Errorf("%w. Nothing was sent", err)
		}
	}
	return nil
}

type run struct {
	Options
	journal *journal
	changes map[addr.Instance]*plan.Change
	left    map[addr.Instance]int // actions of the instance that are not done yet
	moved   *state.Snapshot       // the state before the run, with the plan's moves
	result  *Result
	stop    <-chan struct{} // closed by an interrupt
	observe sync.Mutex
	now     map[addr.Instance]json.RawMessage // attributes of objects that actions have recorded something of
	origins map[addr.Instance]json.RawMessage // of objects that actions have made
	mu      sync.Mutex                        // guards left, now, origins and result

	conditions map[addr.Instance]*conditions
	checking   sync.Mutex // guards conditions and result.Checks
}

func newRun(o Options) *run {
	r := &run{
		Options: o, journal: newJournal(o.Store, o.State.Pending),
		changes: map[addr.Instance]*plan.Change{}, left: map[addr.Instance]int{}, now: map[addr.Instance]json.RawMessage{}, origins: map[addr.Instance]json.RawMessage{}, result: &Result{Checks: slices.Clone(o.Plan.Checks)},
		moved: o.State.Snapshot, conditions: undecided(o.Plan),
	}
	if moved, err := state.MoveObjects(o.State.Snapshot, o.Plan.Moves); err == nil { // begin tells if not
		r.moved = moved
	}
	for i := range o.Plan.Changes {
		c := &o.Plan.Changes[i]
		r.changes[c.Addr] = c
	}
	for i := range o.Plan.Actions {
		r.left[o.Plan.Actions[i].Addr]++
	}
	return r
}

func (r *run) tell(e Event) {
	if r.Observe == nil {
		return
	}
	r.observe.Lock()
	defer r.observe.Unlock()
	r.Observe(e)
}

// begin records the run and takes up what an interrupted one left.
func (r *run) begin(ctx context.Context) error {
	if r.Plan.Empty() {
		return nil
	}
	digest, err := plan.Digest(r.Plan)
	if err != nil {
		return err
	}
	records := []state.Record{{Type: state.Begin, Plan: digest, Op: string(r.Plan.Mode)}}
	for _, p := range r.Plan.Providers {
		records = append(records, r.pin(p)...)
	}
	if len(r.Plan.Moves) > 0 {
		records = append(records, state.Record{Type: state.Move, Moves: r.Plan.Moves})
	}
	if err := r.journal.append(ctx, records...); err != nil {
		return fmt.Errorf("begin: %w. Nothing was sent", err)
	}
	if err := r.resume(ctx, false); err != nil {
		return fmt.Errorf("resume what an interrupted run left: %w", err)
	}
	return nil
}

// pin remembers which network a provider reaches, unless that is known. Of another network than before, which may be while there are
// no objects, nothing is known.
func (r *run) pin(p plan.Provider) []state.Record {
	known := r.State.Snapshot.Networks[p.Addr.String()]
	for name, value := range p.Network {
		if known[name] != value {
			return []state.Record{{Type: state.Pin, Network: &state.Network{Provider: p.Addr.String(), Facts: maps.Clone(p.Network)}}}
		}
	}
	return nil
}

// witness remembers where the networks were after the run's effects.
func (r *run) witness(ctx context.Context) {
	if r.Plan.Empty() && r.State.Records == 0 { // nor does the state change
		return
	}
	for _, p := range r.Plan.Providers {
		client, _ := r.Session.Client(p.Addr)
		if w, ok := client.(providers.Witness); ok && p.Network != nil {
			if seen := w.Seen(ctx); seen != nil {
				_ = r.journal.append(ctx, seenBy(p.Addr.String(), seen)) // what was done is recorded; without this the next plan looks more closely
			}
		}
	}
}

// seenBy remembers more facts of a provider's network.
func seenBy(provider string, facts map[string]string) state.Record {
	return state.Record{Type: state.Seen, Network: &state.Network{Provider: provider, Facts: facts}}
}

// resume lets clients take up what is unsettled. It is called before the actions, and after them, last, for what none of
// them has taken up: then there is something to settle still.
func (r *run) resume(ctx context.Context, last bool) error {
	byProvider := plan.ActionsByProvider(r.Plan.Actions)
	for _, p := range r.Session.Providers() {
		client, _ := r.Session.Client(p)
		resumer, ok := client.(providers.Resumer)
		if !ok {
			continue
		}
		err := resumer.Resume(ctx, providers.ResumeRequest{
			Actions: byProvider[p.String()], Last: last, Journal: resumeJournal{r.journal, p.String()},
			Progress: func(p providers.Progress) { r.tell(Event{Type: Resuming, Progress: &p}) },
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// walk does the actions.
func (r *run) walk(ctx context.Context) {
	after, group := make([][]int, len(r.Plan.Actions)), make([]int, len(r.Plan.Actions))
	for i, a := range r.Plan.Actions {
		group[i] = a.Group
		for _, id := range a.After {
			after[i] = append(after[i], id-1)
		}
	}
	r.stop = ctx.Done()
	work, end := patience(ctx, r.StopTimeout)
	defer end()
	visit := func(_ context.Context, nodes []int) []error { return r.visit(work, nodes) }
	for i, result := range dag.WalkGroups(ctx, after, group, r.Parallelism, visit) {
		a := &r.Plan.Actions[i]
		switch result.Status {
		case dag.Done:
			r.result.Done++
		case dag.Failed:
			var held *providers.HeldError
			if errors.As(result.Err, &held) {
				r.result.Held++
			} else {
				r.result.Failed++
			}
			r.result.Errors = append(r.result.Errors, ActionError{Action: a, Err: result.Err})
		default:
			r.result.Skipped++
			r.tell(Event{Type: Skipped, Action: a})
		}
	}
	r.result.Interrupted = ctx.Err() != nil
}

// visit does actions that are done together, mostly one.
func (r *run) visit(ctx context.Context, nodes []int) []error {
	actions := make([]*providers.Action, len(nodes))
	start := time.Now()
	for n, i := range nodes {
		actions[n] = &r.Plan.Actions[i]
		r.tell(Event{Type: Started, Action: actions[n]})
	}
	errs := r.doChecked(ctx, actions)
	for n, a := range actions {
		e := Event{Type: Succeeded, Action: a, Elapsed: time.Since(start), Err: errs[n]}
		var held *providers.HeldError
		switch {
		case errors.As(e.Err, &held):
			e.Type = Held
		case e.Err != nil:
			e.Type = Failed
		}
		r.tell(e)
	}
	return errs
}

// doChecked does actions whose preconditions hold, and looks at their postconditions.
func (r *run) doChecked(ctx context.Context, actions []*providers.Action) []error {
	errs := make([]error, len(actions))
	var ready []*providers.Action
	var places []int
	for n, a := range actions {
		if errs[n] = r.begins(ctx, a); errs[n] == nil {
			ready, places = append(ready, a), append(places, n)
		}
	}
	if len(ready) == 0 {
		return errs
	}
	for k, err := range r.do(ctx, ready) {
		if err == nil {
			err = r.ends(ctx, ready[k])
		}
		errs[places[k]] = err
	}
	return errs
}

// do does actions between their records.
func (r *run) do(ctx context.Context, actions []*providers.Action) []error {
	switch a := actions[0]; a.Kind {
	case providers.ActionForget:
		return []error{r.journal.append(ctx, state.Record{Type: state.Forget, Action: a.ID, Addr: &a.Addr})}
	case providers.ActionAdopt, providers.ActionImport, providers.ActionRecord:
		return []error{r.done(ctx, a, nil)}
	}
	intents := make([]state.Record, len(actions))
	reqs := make([]providers.DoRequest, len(actions))
	for n, a := range actions {
		intents[n] = state.Record{Type: state.Intent, Action: a.ID, Kind: a.Kind, Addr: &a.Addr}
		reqs[n] = providers.DoRequest{
			Action: *a, WriteOnly: writeOnly(r.Session, a), Journal: actionJournal{journal: r.journal, run: r, action: a},
			Progress: func(p providers.Progress) { r.tell(Event{Type: Progress, Action: a, Progress: &p}) },
			Stop:     r.stop,
		}
	}
	errs := make([]error, len(actions))
	if err := r.journal.append(ctx, intents...); err != nil {
		for n := range errs {
			errs[n] = fmt.Errorf("cannot persist the intent, so nothing was done: %w", err)
		}
		return errs
	}
	var recorded sync.WaitGroup // they share an fsync
	for n, result := range r.results(ctx, reqs) {
		recorded.Go(func() {
			a := actions[n]
			if result.Err != nil {
				record := state.Record{Type: state.Failed, Action: a.ID, Addr: &a.Addr, Error: result.Err.Error()}
				errs[n] = errors.Join(result.Err, r.journal.append(ctx, record))
				return
			}
			errs[n] = r.done(ctx, a, result.Patch)
		})
	}
	recorded.Wait()
	return errs
}

// results lets the client do what was asked for, in one go if it is more than one thing.
func (r *run) results(ctx context.Context, reqs []providers.DoRequest) []providers.DoResult {
	results := make([]providers.DoResult, len(reqs))
	client, ok := r.Session.Client(addr.ParseProvider(reqs[0].Action.Provider))
	if !ok {
		for n := range results {
			results[n].Err = fmt.Errorf("provider %s is not open", reqs[n].Action.Provider)
		}
		return results
	}
	if batcher, ok := client.(providers.Batcher); ok && len(reqs) > 1 {
		return batcher.DoBatch(ctx, reqs)
	}
	for n, req := range reqs {
		results[n].Patch, results[n].Err = client.Do(ctx, req)
	}
	return results
}

// finish folds what was done into the state and writes it, if it changed.
func (r *run) finish(ctx context.Context) error {
	records, pending := r.journal.close()
	before := r.State.Snapshot
	loaded, err := state.Fold(before, records)
	if err != nil {
		return fmt.Errorf("fold the journal into the state: %w", err)
	}
	snapshot := *loaded.Snapshot
	if err := r.setOutputs(ctx, &snapshot); err != nil {
		return err
	}
	r.result.Snapshot = before
	if loaded.Snapshot == before && r.State.Records == 0 && maps.EqualFunc(before.Outputs, snapshot.Outputs, state.Output.Equal) {
		if len(records) == 0 && !r.State.Torn {
			return nil
		}
		return r.save(ctx, before, pending) // empties the journal
	}
	snapshot.Version, snapshot.Tool = state.Version, r.Tool
	if snapshot.Lineage == "" {
		snapshot.Lineage = newLineage()
	}
	snapshot.Serial++
	r.result.Snapshot, r.result.Changed = &snapshot, true
	return r.save(ctx, &snapshot, pending)
}

func (r *run) save(ctx context.Context, s *state.Snapshot, pending []state.Note) error {
	if err := r.Store.Compact(ctx, s, pending); err != nil {
		return fmt.Errorf("save the state: %w. What was done is in the journal: the next run takes it up", err)
	}
	return nil
}
