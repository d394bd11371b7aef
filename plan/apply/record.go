package apply

// What is recorded of objects: patches while actions are done, and the planned object with the last of them.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// done records that an action is done. The last of an object's actions brings the object to what was planned.
func (r *run) done(ctx context.Context, a *providers.Action, patch json.RawMessage) error {
	r.mu.Lock()
	r.left[a.Addr]--
	last := r.left[a.Addr] == 0
	r.mu.Unlock()
	change := r.changes[a.Addr]
	if change == nil { // a data source
		return r.journal.append(ctx, state.Record{Type: state.Done, Action: a.ID, Addr: &a.Addr})
	}
	var patches []json.RawMessage
	var origin json.RawMessage
	if patch != nil {
		patches = append(patches, patch)
		if err := r.remember(a.Addr, patch); err != nil {
			return fmt.Errorf("record %s: %w", a.Addr, err)
		}
	}
	switch {
	case last && !change.After.IsNull():
		planned, err := r.plannedPatch(change)
		if err != nil {
			return fmt.Errorf("record %s: %w", a.Addr, err)
		}
		patches, origin = append(patches, planned), r.origin(change)
	case a.Kind == providers.ActionAdopt || a.Kind == providers.ActionImport:
		found, err := plan.EncodeObject(change.Before)
		if err != nil {
			return fmt.Errorf("record %s: %w", a.Addr, err)
		}
		if err := r.remember(a.Addr, found); err != nil {
			return fmt.Errorf("record %s: %w", a.Addr, err)
		}
		patches = append(patches, found)
	}
	if len(patches) == 0 {
		patches = append(patches, json.RawMessage("{}"))
	}
	records := make([]state.Record, len(patches))
	for i, p := range patches {
		records[i] = state.Record{Type: state.Done, Action: a.ID, Addr: &a.Addr, Object: r.object(a, p)}
		records[i].Object.Origin = origin
	}
	return r.journal.append(ctx, records...)
}

// object is a patch to the object that an action is about.
func (r *run) object(a *providers.Action, patch json.RawMessage) *state.Object {
	object := &state.Object{
		Provider: a.Provider, SchemaVersion: r.Providers.ResourceTable(a.Addr.Resource.Type).Version, Attributes: patch,
	}
	if change := r.changes[a.Addr]; change != nil {
		object.Dependencies, object.Protected = change.DependsOn, change.Protected
		object.Tainted = change.Tainted || r.stillTainted(change)
	}
	return object
}

// stillTainted reports whether the object was tainted and has actions that aren't done.
func (r *run) stillTainted(c *plan.Change) bool {
	if before := r.stored(c.Addr); before == nil || !before.Tainted {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.left[c.Addr] > 0
}

// origin is what is recorded of how an object was made that is as planned now: nil where what is known still holds.
func (r *run) origin(c *plan.Change) json.RawMessage {
	r.mu.Lock()
	made := r.origins[c.Addr]
	r.mu.Unlock()
	before := r.stored(c.Addr)
	if made != nil || before == nil || before.Origin == nil || c.Kind == providers.Update || c.Kind == providers.NoOp {
		return made
	}
	return json.RawMessage("null") // of the one that was there before
}

// resumeJournal is the journal while an interrupted run is taken up: no object is being worked on.
type resumeJournal struct {
	journal  *journal
	provider string
}

// Note implements providers.Journal.
func (j resumeJournal) Note(ctx context.Context, key string, data json.RawMessage) error {
	return j.journal.note(ctx, state.Note{Owner: j.provider, Key: key, Data: data})
}

// Patch implements providers.Journal.
func (resumeJournal) Patch(context.Context, json.RawMessage) error {
	return errors.New("no action is under way")
}

// Origin implements providers.Journal.
func (resumeJournal) Origin(map[string]string) {}

// Seen implements providers.Journal.
func (j resumeJournal) Seen(ctx context.Context, facts map[string]string) error {
	return j.journal.append(ctx, seenBy(j.provider, facts))
}

// actionJournal is the journal as one action's provider sees it.
type actionJournal struct {
	journal *journal
	run     *run
	action  *providers.Action
}

// Note implements providers.Journal.
func (j actionJournal) Note(ctx context.Context, key string, data json.RawMessage) error {
	return j.journal.note(ctx, state.Note{Owner: j.action.Provider, Key: key, Data: data})
}

// Patch implements providers.Journal.
func (j actionJournal) Patch(ctx context.Context, patch json.RawMessage) error {
	if err := j.run.remember(j.action.Addr, patch); err != nil {
		return err
	}
	return j.journal.append(ctx, state.Record{Type: state.Patch, Action: j.action.ID, Addr: &j.action.Addr, Object: j.run.object(j.action, patch)})
}

// Seen implements providers.Journal.
func (j actionJournal) Seen(ctx context.Context, facts map[string]string) error {
	return j.journal.append(ctx, seenBy(j.action.Provider, facts))
}

// Origin implements providers.Journal.
func (j actionJournal) Origin(origin map[string]string) {
	j.run.mu.Lock()
	defer j.run.mu.Unlock()
	j.run.origins[j.action.Addr], _ = json.Marshal(origin) // texts
}

// remember follows what the records make of an object.
func (r *run) remember(i addr.Instance, patch json.RawMessage) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, err := state.MergePatch(r.known(i), patch)
	if err == nil {
		r.now[i] = now
	}
	return err
}

// known is the attributes of an object as the records up to here make them. r.mu is held.
func (r *run) known(i addr.Instance) json.RawMessage {
	if now := r.now[i]; now != nil {
		return now
	}
	if object := r.stored(i); object != nil {
		return object.Attributes
	}
	return json.RawMessage("{}")
}

// stored is an object as it was before the run, or nil.
func (r *run) stored(i addr.Instance) *state.Object {
	if c := r.changes[i]; c != nil && c.MovedFrom != (addr.Instance{}) {
		i = c.MovedFrom
	}
	return r.State.Snapshot.Resources[i]
}

// plannedPatch brings the object, from what the records made of it, to what was planned; what is unknown in the plan stays
// as the actions recorded it.
func (r *run) plannedPatch(c *plan.Change) (json.RawMessage, error) {
	encoded, err := plan.EncodeObject(c.After)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	known := r.known(c.Addr)
	delete(r.now, c.Addr)
	r.mu.Unlock()
	patch, err := state.CreatePatch(known, encoded)
	if err != nil || c.After.IsWhollyKnown() {
		return patch, err
	}
	return withoutUnknown(patch, c.After.Cty())
}

// withoutUnknown leaves out of a patch what is unknown in the planned value. A list or set is known or unknown as a whole.
func withoutUnknown(patch json.RawMessage, planned cty.Value) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(patch, &members); err != nil {
		return nil, err
	}
	for name, value := range planned.AsValueMap() {
		part, ok := members[name]
		if !ok || value.IsWhollyKnown() {
			continue
		}
		t := value.Type()
		if !value.IsKnown() || !t.IsObjectType() && !t.IsMapType() {
			delete(members, name)
			continue
		}
		part, err := withoutUnknown(part, value)
		if err != nil {
			return nil, err
		}
		members[name] = part
	}
	return json.Marshal(members)
}
