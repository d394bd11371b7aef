// Package suite runs test files: every run is a real plan, or a plan and an apply, of the configuration on providers that the
// caller gives, which had better lead to a network of the test's own.
//
// Policies: the state is kept in memory from one run of a file to the next, and begins empty; the objects are withdrawn at
// the end of the file, those that depend on others first, and prevent_destroy doesn't hold then. A run that can't be carried
// out skips those after it; one whose assertions fail doesn't. A failed check block fails its run.
package suite

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/memory"
)

// Options is what Run needs besides the test files.
type Options struct {
	Tool      string // version of the program
	Config    *config.Config
	Inputs    config.InputSources // values of variables that the files don't give
	Workspace string
	// Providers makes the providers of one file. Files must not see what others make.
	Providers func(file *config.TestFile) (providers.Registry, error)
	Observe   func(Event) // may be nil
}

// Status is what came of a run, a file, or all.
type Status string

// What may come of it, the worst last.
const (
	Skip  Status = "skip"
	Pass  Status = "pass"
	Fail  Status = "fail"  // an assertion or an expected failure
	Error Status = "error" // it could not be carried out
)

// RunResult is what came of a run.
type RunResult struct {
	Run     *config.TestRun
	Status  Status
	Diags   hcl.Diagnostics
	Plan    *plan.Plan // nil when there is none
	Elapsed time.Duration
}

// FileResult is what came of a file: the worst of its runs, and of its end.
type FileResult struct {
	File    *config.TestFile
	Status  Status
	Runs    []RunResult
	Diags   hcl.Diagnostics // about the end
	Elapsed time.Duration
}

// EventType says what an Event is about.
type EventType string

// The types of events.
const (
	FileStarted EventType = "file_start"
	RunStarted  EventType = "run_start"
	RunDone     EventType = "run_done"
	TearingDown EventType = "tear_down"
	FileDone    EventType = "file_done"
)

// Event is told to Options.Observe.
type Event struct {
	Type EventType
	File *FileResult // so far
	Run  *RunResult  // of RunStarted and RunDone
}

func worse(a, b Status) Status {
	rank := map[Status]int{Skip: 1, Pass: 2, Fail: 3, Error: 4}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// Run runs the files one after another. When the context ends, the rest is skipped. SIDE EFFECTS: those of the providers.
func Run(ctx context.Context, tests []*config.TestFile, o Options) []FileResult {
	results := make([]FileResult, len(tests))
	for i, t := range tests {
		f := &file{Options: o, store: &memory.Store{}, outputs: map[string]cty.Value{}, result: &results[i]}
		f.run(ctx, t)
	}
	return results
}

// file is a test file under way.
type file struct {
	Options
	registry providers.Registry
	store    *memory.Store
	outputs  map[string]cty.Value // of the runs so far, by name
	last     *made                // of the latest run that was planned
	result   *FileResult
}

// made is what a run's plan is made from.
type made struct {
	run    *config.TestRun
	inputs map[string]cty.Value
}

func (f *file) tell(typ EventType, run *RunResult) {
	if f.Observe != nil {
		f.Observe(Event{Type: typ, File: f.result, Run: run})
	}
}

func (f *file) run(ctx context.Context, t *config.TestFile) {
	start := time.Now()
	f.result.File, f.result.Status = t, Skip
	f.tell(FileStarted, nil)
	registry, err := f.Providers(t)
	if f.registry = registry; err != nil {
		f.result.Status = Error
		f.result.Diags = hcl.Diagnostics{errorf("Cannot begin the test", "%s.", err)}
	}
	f.result.Runs = make([]RunResult, len(t.Runs))
	for i, r := range t.Runs {
		result := &f.result.Runs[i]
		result.Run, result.Status = r, Skip
		if f.result.Status != Error && ctx.Err() == nil {
			f.tell(RunStarted, result)
			begin := time.Now()
			f.one(ctx, r, result)
			result.Elapsed = time.Since(begin)
		}
		f.result.Status = worse(f.result.Status, result.Status)
		f.tell(RunDone, result)
	}
	if err == nil && ctx.Err() == nil {
		f.tearDown(ctx)
	}
	f.result.Elapsed = time.Since(start)
	f.tell(FileDone, nil)
}

// one carries out a run.
func (f *file) one(ctx context.Context, r *config.TestRun, result *RunResult) {
	v := &verdict{run: r}
	defer func() { result.Status, result.Diags = v.finish() }()
	values, diags := r.Values(f.Config, f.outputs)
	if v.add(diags); diags.HasErrors() {
		return
	}
	sources := f.Inputs
	sources.Values = values
	inputs, diags := f.Config.Inputs(sources)
	if v.add(diags); diags.HasErrors() {
		return
	}
	f.last = &made{run: r, inputs: inputs}
	loaded, err := f.store.Load(ctx)
	if err != nil {
		v.fail(err)
		return
	}
	mode := plan.Normal
	if r.RefreshOnly {
		mode = plan.RefreshOnly
	}
	p, session, diags := plan.Build(ctx, plan.Options{
		Tool: f.Tool, Config: f.Config, Inputs: inputs, Workspace: f.Workspace, State: loaded, Providers: f.registry,
		Mode: mode, SkipRefresh: r.SkipRefresh, Targets: r.Targets, Replace: r.Replace, Override: r.Override,
	})
	defer func() { _ = session.Close() }() // nothing is lost with a connection
	result.Plan = p
	objects := map[addr.Instance]schema.Object{}
	for i := range p.Changes {
		objects[p.Changes[i].Addr] = p.Changes[i].After
	}
	if v.add(diags); r.Apply && !diags.HasErrors() {
		if err := f.apply(ctx, p, session, loaded, v); err != nil {
			v.fail(err)
			return
		}
		if objects, err = f.objects(ctx); err != nil {
			v.fail(err)
			return
		}
	}
	f.look(ctx, session, objects, v)
}

// apply applies a plan. Failures of actions go to the verdict.
func (f *file) apply(ctx context.Context, p *plan.Plan, session *plan.Session, loaded *state.Loaded, v *verdict) error {
	result, err := apply.Run(ctx, apply.Options{
		Plan: p, Tool: f.Tool, Store: f.store, State: loaded, Session: session, Providers: f.registry,
		Config: f.Config, Inputs: f.last.inputs,
	})
	if err != nil {
		return err
	}
	for _, e := range result.Errors {
		v.add(hcl.Diagnostics{errorf("Action failed", "%s.", e)})
	}
	return nil
}

// objects are those of the state.
func (f *file) objects(ctx context.Context) (map[addr.Instance]schema.Object, error) {
	loaded, err := f.store.Load(ctx)
	if err != nil {
		return nil, err
	}
	objects := make(map[addr.Instance]schema.Object, len(loaded.Snapshot.Resources))
	for i, object := range loaded.Snapshot.Resources {
		if objects[i], err = plan.DecodeObject(f.registry, i.Resource.Type, object); err != nil {
			return nil, fmt.Errorf("%s in the state: %w", i, err)
		}
	}
	return objects, nil
}

// look evaluates the configuration with what there is now, checks the conditions, and the assertions unless something failed.
func (f *file) look(ctx context.Context, session *plan.Session, objects map[addr.Instance]schema.Object, v *verdict) {
	evaluation, diags := f.Config.Evaluate(ctx, config.EvalRequest{
		Inputs: f.last.inputs, Workspace: f.Workspace, Targets: v.run.Targets,
		Handler: &answers{session: session, objects: objects, override: v.run.Override},
	})
	v.checks = evaluation.Checks
	if !v.diags.HasErrors() { // otherwise the plan has told why
		v.add(diags)
	}
	f.outputs[v.run.Name] = evaluation.OutputObject()
	if v.diags.HasErrors() {
		return
	}
	for _, a := range v.run.Asserts {
		v.asserted = append(v.asserted, evaluation.Assert(a, f.outputs)...)
	}
}

// tearDown withdraws what the runs have left.
func (f *file) tearDown(ctx context.Context) {
	loaded, err := f.store.Load(ctx)
	if err == nil && len(loaded.Snapshot.Resources) == 0 {
		return
	}
	f.tell(TearingDown, nil)
	v := &verdict{run: f.last.run}
	if err == nil {
		err = f.destroy(ctx, loaded, v)
	}
	if err != nil {
		v.fail(err)
	}
	if v.diags.HasErrors() {
		f.result.Status = Error
		f.result.Diags = append(f.result.Diags, v.diags...)
	}
}

func (f *file) destroy(ctx context.Context, loaded *state.Loaded, v *verdict) error {
	p, session, diags := plan.Build(ctx, plan.Options{
		Tool: f.Tool, Config: f.Config, Inputs: f.last.inputs, Workspace: f.Workspace, State: loaded, Providers: f.registry,
		Mode: plan.Destroy, Unprotected: true, Override: f.last.run.Override,
	})
	defer func() { _ = session.Close() }()
	if v.add(diags); diags.HasErrors() {
		return nil
	}
	return f.apply(ctx, p, session, loaded, v)
}

// answers is a config.Handler that knows the objects already.
type answers struct {
	session  *plan.Session
	objects  map[addr.Instance]schema.Object
	override func(config.Instance) (cty.Value, bool)
}

// Provider implements config.Handler: the session has them open.
func (a *answers) Provider(context.Context, addr.Provider, config.Block) hcl.Diagnostics { return nil }

// Data implements config.Handler.
func (a *answers) Data(ctx context.Context, instances []config.Instance) []config.Result {
	results := make([]config.Result, len(instances))
	for i, in := range instances {
		if v, ok := a.override(in); ok {
			results[i].Value = v
			continue
		}
		client, ok := a.session.Client(in.Provider)
		if !ok {
			results[i].Diags = missing(in)
			continue
		}
		data, err := client.ReadData(ctx, providers.DataRequest{Addr: in.Addr, Config: in.Value.Cty()})
		if results[i].Value = data.Value; err != nil {
			results[i].Diags = hcl.Diagnostics{in.Diagnostic(hcl.DiagError, providers.AttrOf(err), "Cannot read a data source", err.Error()+".")}
		}
	}
	return results
}

// Resources implements config.Handler.
func (a *answers) Resources(_ context.Context, instances []config.Instance) []config.Result {
	results := make([]config.Result, len(instances))
	for i, in := range instances {
		v, ok := a.objects[in.Addr]
		if results[i].Object = v; !ok {
			results[i].Diags = missing(in)
		}
	}
	return results
}

func missing(in config.Instance) hcl.Diagnostics {
	return hcl.Diagnostics{in.Diagnostic(hcl.DiagError, "", "No value", in.Addr.String()+" is neither in the state nor in the plan.")}
}

func errorf(summary, format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...)}
}
