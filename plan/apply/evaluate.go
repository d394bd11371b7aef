package apply

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// What a plan couldn't know is evaluated while it is applied, with the configuration that it was made from: preconditions
// before the first action of their object, postconditions after the last one, everything else when all actions are done.
// An action whose precondition doesn't hold is not begun. A postcondition that doesn't hold undoes nothing: what was done is
// remembered, and what waits for it is skipped.

// Remembered is a config.Handler that answers with objects as they are, and reads data sources.
type Remembered struct {
	Session *plan.Session
	Object  func(addr.Instance) (schema.Object, bool)
}

// Provider implements config.Handler.
func (Remembered) Provider(context.Context, addr.Provider, config.Block) hcl.Diagnostics { return nil }

// Data implements config.Handler.
func (r Remembered) Data(ctx context.Context, instances []config.Instance) []config.Result {
	results := make([]config.Result, len(instances))
	for i, in := range instances {
		client, ok := r.Session.Client(in.Provider)
		if !ok {
			results[i].Diags = Lost(in, fmt.Sprintf("Provider %s is not open.", in.Provider))
			continue
		}
		if !in.Value.IsWhollyKnown() {
			results[i].Diags = Lost(in, in.Addr.String()+" depends on something that is not known yet.")
			continue
		}
		data, err := client.ReadData(ctx, providers.DataRequest{Addr: in.Addr, Config: in.Value.Cty()})
		if err != nil {
			results[i].Diags = Lost(in, err.Error())
			continue
		}
		results[i].Value = data.Value
	}
	return results
}

// Resources implements config.Handler.
func (r Remembered) Resources(_ context.Context, instances []config.Instance) []config.Result {
	results := make([]config.Result, len(instances))
	for i, in := range instances {
		value, ok := r.Object(in.Addr)
		if !ok {
			results[i].Diags = Lost(in, in.Addr.String()+" is neither in the state nor in the plan.")
			continue
		}
		results[i].Object = value
	}
	return results
}

// Lost is what to say of an instance that can't be answered for.
func Lost(in config.Instance, detail string) hcl.Diagnostics {
	return hcl.Diagnostics{in.Diagnostic(hcl.DiagError, "", "Cannot evaluate the configuration again", detail)}
}

// ConditionError is a condition that doesn't hold.
type ConditionError struct{ Diagnostic *hcl.Diagnostic }

func (e *ConditionError) Error() string { return e.Diagnostic.Summary + ": " + e.Diagnostic.Detail }

// Undecided returns what has conditions that can make the apply of a plan fail and that only apply can tell.
func Undecided(p *plan.Plan) (ids []string) {
	for _, c := range p.Checks {
		if c.Before || c.After {
			ids = append(ids, c.ID())
		}
	}
	return ids
}

func (r *run) evaluate(ctx context.Context, targets []addr.Instance, phase config.CheckPhase, object func(addr.Instance) (schema.Object, bool)) (*config.Evaluation, hcl.Diagnostics) {
	return r.Config.Evaluate(ctx, config.EvalRequest{
		Inputs: r.Inputs, Workspace: r.Plan.Workspace, Targets: targets, Checks: phase, Handler: Remembered{r.Session, object},
	})
}

// conditions are those of one object that the plan left to apply.
type conditions struct {
	before, after bool
	left          int // actions that are not done
	begun         bool
	failed        error // a precondition doesn't hold
}

// undecided are the objects with actions that have such conditions.
func undecided(p *plan.Plan) map[addr.Instance]*conditions {
	all := map[addr.Instance]*conditions{}
	for _, c := range p.Checks {
		if c.Kind == config.CheckResource && (c.Before || c.After) {
			all[c.Addr] = &conditions{before: c.Before, after: c.After}
		}
	}
	for i := range p.Actions {
		if c := all[p.Actions[i].Addr]; c != nil {
			c.left++
		}
	}
	for i, c := range all {
		if c.left == 0 {
			delete(all, i)
		}
	}
	return all
}

// begins checks the preconditions of the object that an action is about, if it is the first that is more than remembering.
func (r *run) begins(ctx context.Context, a *providers.Action) error {
	c := r.conditions[a.Addr]
	if c == nil || !c.before || a.Kind == providers.ActionAdopt || a.Kind == providers.ActionImport {
		return nil
	}
	r.checking.Lock() // actions of one object may begin side by side
	defer r.checking.Unlock()
	if !c.begun {
		c.begun, c.failed = true, r.hold(ctx, a.Addr, config.ChecksBefore)
	}
	return c.failed
}

// ends checks the postconditions of the object that an action is about, if it was the last one.
func (r *run) ends(ctx context.Context, a *providers.Action) error {
	c := r.conditions[a.Addr]
	if c == nil {
		return nil
	}
	r.checking.Lock()
	defer r.checking.Unlock()
	if c.left--; c.left > 0 || !c.after {
		return nil
	}
	return r.hold(ctx, a.Addr, config.ChecksAfter)
}

// hold evaluates the conditions of one object in one phase.
func (r *run) hold(ctx context.Context, i addr.Instance, phase config.CheckPhase) error {
	evaluation, diags := r.evaluate(ctx, []addr.Instance{i}, phase, r.current)
	for _, c := range evaluation.Checks {
		if c.Addr != i || c.Kind != config.CheckResource || c.Status == config.CheckUnknown {
			continue
		}
		r.judged(c, phase)
		if c.Status == config.CheckPass {
			return nil
		}
		for _, d := range diags {
			if config.CheckOf(d) == c.ID() {
				return &ConditionError{d}
			}
		}
	}
	if !diags.HasErrors() {
		return fmt.Errorf("the conditions on %s can't be told yet", i)
	}
	return fmt.Errorf("the conditions on %s can't be computed: %w", i, diags)
}

// judged keeps what the conditions of one phase came to.
func (r *run) judged(c config.CheckResult, phase config.CheckPhase) {
	at := slices.IndexFunc(r.result.Checks, func(k config.CheckResult) bool { return k.ID() == c.ID() })
	if at < 0 {
		return
	}
	known := &r.result.Checks[at]
	known.Before = known.Before && phase == config.ChecksAfter
	known.After = known.After && phase == config.ChecksBefore
	if c.Status == config.CheckFail || c.Status == config.CheckError || !known.Before && !known.After {
		known.Status, known.Problems = c.Status, c.Problems
	}
}

// current is an object as the state and the journal have it by now.
func (r *run) current(i addr.Instance) (schema.Object, bool) {
	base := &state.Snapshot{Resources: map[addr.Instance]*state.Object{}}
	if object := r.moved.Resources[i]; object != nil {
		base.Resources[i] = object
	}
	loaded, err := state.Fold(base, r.journal.about(i))
	if err != nil || loaded.Snapshot.Resources[i] == nil {
		return schema.Object{}, false
	}
	v, err := plan.DecodeObject(r.Providers, i.Resource.Type, loaded.Snapshot.Resources[i])
	return v, err == nil
}

// late evaluates all that the plan couldn't know, after the actions.
func (r *run) late(ctx context.Context, s *state.Snapshot) (*config.Evaluation, error) {
	objects := make(map[addr.Instance]schema.Object, len(s.Resources))
	for i, object := range s.Resources {
		value, err := plan.DecodeObject(r.Providers, i.Resource.Type, object)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", i, err)
		}
		objects[i] = value
	}
	evaluation, diags := r.evaluate(ctx, nil, config.AllChecks, func(i addr.Instance) (schema.Object, bool) {
		v, ok := objects[i]
		return v, ok
	})
	open := map[string]bool{}
	for _, c := range r.result.Checks {
		open[c.ID()] = c.Status == config.CheckUnknown
	}
	var others hcl.Diagnostics
	for _, d := range diags {
		switch id := config.CheckOf(d); {
		case id == "":
			others = append(others, d)
		case open[id]:
			r.result.Diagnostics = append(r.result.Diagnostics, d)
		}
	}
	if others.HasErrors() {
		return nil, others
	}
	for _, c := range evaluation.Checks {
		if open[c.ID()] {
			r.judged(c, config.AllChecks)
		}
	}
	return evaluation, nil
}
