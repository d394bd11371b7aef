// Package providertest drives real providers through the real engine, for tests: a directory with a configuration, a local
// state, plan and apply.
package providertest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
)

// Project is a configuration with its state.
type Project struct {
	Dir       string
	Providers providers.Registry
	Options   plan.Options // Mode, Targets, Replace, SkipRefresh of the next plan
	t         testing.TB
	vars      []config.InputArg
}

// New makes a project in a temporary directory.
func New(t testing.TB, registry providers.Registry) *Project {
	return &Project{Dir: t.TempDir(), Providers: registry, t: t}
}

// Write replaces the configuration.
func (p *Project) Write(hcl string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.Dir, "main.hcl"), []byte(hcl), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// Set gives a variable a value for the following plans.
func (p *Project) Set(name, value string) {
	p.vars = slices.DeleteFunc(p.vars, func(a config.InputArg) bool { return strings.HasPrefix(a.Text, name+"=") })
	p.vars = append(p.vars, config.InputArg{Text: name + "=" + value})
}

// LoseState deletes the state and the journal.
func (p *Project) LoseState() {
	p.t.Helper()
	for _, name := range []string{"iexecform.state.json", "iexecform.state.journal"} {
		if err := os.Remove(filepath.Join(p.Dir, name)); err != nil && !os.IsNotExist(err) {
			p.t.Fatal(err)
		}
	}
}

// State is the state as it is now.
func (p *Project) State() *state.Loaded {
	p.t.Helper()
	loaded, err := local.New(p.Dir).Load(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return loaded
}

// Value is an object of the state.
func (p *Project) Value(address string) cty.Value {
	p.t.Helper()
	i, err := addr.ParseInstance(address)
	if err != nil {
		p.t.Fatal(err)
	}
	object := p.State().Snapshot.Resources[i]
	if object == nil {
		p.t.Fatalf("%s is not in the state", i)
	}
	o, err := plan.DecodeObject(p.Providers, i.Resource.Type, object)
	if err != nil {
		p.t.Fatal(err)
	}
	return o.Cty()
}

// A Made is a plan with the open session that made it.
type Made struct {
	*plan.Plan
	Session *plan.Session
	Diags   hcl.Diagnostics
	Loaded  *state.Loaded

	config *config.Config
	inputs map[string]cty.Value
}

// TryPlan makes a plan; errors are in Diags.
func (p *Project) TryPlan() *Made {
	p.t.Helper()
	cfg, diags := config.Load(p.Dir, p.Providers)
	loaded := p.State()
	if diags.HasErrors() {
		return &Made{Diags: diags, Loaded: loaded}
	}
	inputs, diags := cfg.Inputs(config.InputSources{Args: p.vars})
	if diags.HasErrors() {
		return &Made{Diags: diags, Loaded: loaded}
	}
	o := p.Options
	o.Config, o.Inputs, o.Workspace, o.State, o.Providers = cfg, inputs, "default", loaded, p.Providers
	if o.Mode == "" {
		o.Mode = plan.Normal
	}
	made, session, diags := plan.Build(p.t.Context(), o)
	p.t.Cleanup(func() { _ = session.Close() })
	return &Made{Plan: made, Session: session, Diags: diags, Loaded: loaded, config: cfg, inputs: inputs}
}

// Plan makes a plan and fails the test on errors.
func (p *Project) Plan() *Made {
	p.t.Helper()
	made := p.TryPlan()
	if made.Diags.HasErrors() {
		p.t.Fatal(made.Diags.Error())
	}
	return made
}

// TryApply applies a plan.
func (p *Project) TryApply(ctx context.Context, made *Made) (*apply.Result, error) {
	return apply.Run(ctx, apply.Options{
		Plan: made.Plan, Store: local.New(p.Dir), State: made.Loaded, Session: made.Session, Providers: p.Providers,
		Config: made.config, Inputs: made.inputs,
	})
}

// Apply plans and applies, and fails the test when something fails. It returns the plan's text.
func (p *Project) Apply() string {
	p.t.Helper()
	made := p.Plan()
	p.Obey(made)
	return made.String()
}

// Obey applies a plan and fails the test when something fails.
func (p *Project) Obey(made *Made) {
	p.t.Helper()
	result, err := p.TryApply(p.t.Context(), made)
	if err != nil {
		p.t.Fatalf("%v\nplan was\n%s", err, made)
	}
	for _, e := range result.Errors {
		p.t.Errorf("%v", e)
	}
	if result.Failed+result.Held+result.Skipped > 0 {
		p.t.Fatalf("plan was\n%s", made)
	}
}

// Settled fails the test unless another plan is empty.
func (p *Project) Settled() {
	p.t.Helper()
	if made := p.Plan(); !made.Empty() {
		p.t.Fatalf("the second plan is not empty:\n%s", made)
	}
}
