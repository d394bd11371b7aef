package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/modules"
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers/iexec"
	"github.com/iexecform/iexecform/state"
)

// planOptions are the flags that plan, apply and destroy share.
type planOptions struct {
	inputFlags
	lockFlags
	destroy, refreshOnly bool
	noRefresh, noMarket  bool
	selectionFlags
	replace       []string
	ack           []string
	parallelism   int
	json, compact bool
	concise       bool
	skipTrial     bool
	jsonInto      string
	imports       map[addr.Instance]string // see plan.Options
	planOnly      bool                     // see plan.Options
}

// addInputs adds the flags of every command that makes a plan.
func (o *planOptions) addInputs(cmd *cobra.Command, a *app) {
	flags := cmd.Flags()
	o.inputFlags.add(flags)
	o.lockFlags.add(flags)
	a.addState(cmd)
	o.selectionFlags.add(cmd, a)
	flags.StringArrayVar(&o.replace, "replace", nil, "make a new object for the resource `ADDRESS` (repeatable)")
	_ = cmd.RegisterFlagCompletionFunc("replace", a.completeAddresses) // fails for a flag that doesn't exist
	flags.StringArrayVar(&o.ack, "ack", nil, "go on although the policy `NAME` doesn't hold; the plan tells so (repeatable)")
	flags.Var((*refreshValue)(o), "refresh", "look what exists; --refresh=false takes the state's word for it, --refresh=market=false for the market alone")
	flags.Lookup("refresh").NoOptDefVal = "true"
	flags.IntVar(&o.parallelism, "parallelism", 0, "do at most `N` things at once (default: 10 reads, 16 actions)")
	flags.BoolVar(&o.compact, "compact-warnings", false, "print warnings without details")
}

func (o *planOptions) addModes(flags *pflag.FlagSet) {
	flags.BoolVar(&o.destroy, "destroy", false, "plan to withdraw everything")
	flags.BoolVar(&o.refreshOnly, "refresh-only", false, "only make the state say what exists")
	flags.BoolVar(&o.skipTrial, "skip-trial", false, "leave out trials of images; the plan warns of each")
	o.addJSON(flags)
}

func (o *planOptions) addJSON(flags *pflag.FlagSet) {
	flags.BoolVar(&o.json, "json", false, "print JSON lines")
	flags.StringVar(&o.jsonInto, "json-into", "", "print for people, and write the JSON lines into `FILE`")
}

// check refuses combinations that contradict each other.
func (o *planOptions) check(cmd *cobra.Command) error {
	for _, c := range []struct {
		bad  bool
		text string
	}{
		{o.destroy && o.refreshOnly, "--destroy and --refresh-only exclude each other"},
		{o.refreshOnly && o.noMarket, "--refresh-only and --refresh=market=false exclude each other"},
		{o.refreshOnly && o.noRefresh, "--refresh-only and --refresh=false exclude each other"},
		{o.refreshOnly && len(o.replace) > 0, "--refresh-only changes nothing, so --replace has no meaning"},
		{o.destroy && len(o.replace) > 0, "--destroy makes nothing, so --replace has no meaning"},
		{o.contradicts(), "--target and --exclude exclude each other"},
		{o.json && o.jsonInto != "", "--json and --json-into exclude each other"},
		{o.parallelism < 0, "--parallelism must be 1 or more"},
	} {
		if c.bad {
			return &usageError{cmd, errors.New(c.text)}
		}
	}
	return nil
}

func (o *planOptions) mode() plan.Mode {
	switch {
	case o.destroy:
		return plan.Destroy
	case o.refreshOnly:
		return plan.RefreshOnly
	}
	return plan.Normal
}

// refreshValue is the value of --refresh: true or false, for all or, after "market=", for the market.
type refreshValue planOptions

func (v *refreshValue) Set(text string) error {
	of, market := strings.CutPrefix(text, "market=")
	if market {
		return (*inverted)(&v.noMarket).Set(of)
	}
	return (*inverted)(&v.noRefresh).Set(text)
}

func (v *refreshValue) String() string { return (*inverted)(&v.noRefresh).String() }
func (v *refreshValue) Type() string   { return "bool" }

// built is a plan with all that applying it takes. close must be called.
type built struct {
	config  *config.Config
	inputs  map[string]cty.Value
	store   state.Store
	state   *state.Loaded
	plan    *plan.Plan
	session *plan.Session
	diags   hcl.Diagnostics // warnings of all steps, and the errors that made the plan incomplete
	unlock  func()
}

func (b *built) close() {
	if b.session != nil {
		_ = b.session.Close() // nothing is lost with a connection
	}
	b.unlock()
}

// loadState locks and loads the state.
func (b *built) loadState(ctx context.Context, a *app, operation string, o lockFlags) (err error) {
	if b.unlock, err = a.lock(ctx, b.store, operation, o); err != nil {
		return err
	}
	if b.state, err = b.store.Load(ctx); err == nil {
		b.diags = repaired(b.state)
	}
	return err
}

// loadInputs loads the configuration and the values of its variables. The diagnostics are warnings.
func (a *app) loadInputs(ctx context.Context, b *built, o planOptions) (hcl.Diagnostics, error) {
	c, diags, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	if c.Empty() && o.mode() != plan.Destroy {
		return nil, fmt.Errorf("there is no .hcl file in %s: without a configuration everything would have to go. "+
			"Run `iexecform init` to make a first file, choose another directory with --chdir, or run `iexecform destroy` if all is to go", a.dir)
	}
	b.config = c
	var more hcl.Diagnostics
	b.inputs, more = a.inputs(ctx, c, o.inputFlags)
	if diags = append(diags, more...); diags.HasErrors() {
		return nil, &failure{err: diags, sources: c.Files()}
	}
	return diags, nil
}

var errInterruptedPlanning = fmt.Errorf("%w while planning. Nothing was changed", errInterrupted)

// build makes a plan while the state is locked. The error is about what kept it from being begun; whatever came up on the
// way is in the result's diags.
func (a *app) build(ctx context.Context, o planOptions, operation string) (*built, error) {
	targets, exclude, err := a.selection(o.selectionFlags)
	if err != nil {
		return nil, err
	}
	replace, err := parseAddresses("--replace", o.replace)
	if err != nil {
		return nil, err
	}
	workspace, err := a.workspace(ctx)
	if err != nil {
		return nil, err
	}
	b := &built{}
	if b.store, err = a.store(ctx); err != nil {
		return nil, err
	}
	stateErr := make(chan error, 1) // the state is read while the configuration is
	go func() { stateErr <- b.loadState(ctx, a, operation, o.lockFlags) }()
	diags, err := a.loadInputs(ctx, b, o)
	if err = cmp.Or(err, <-stateErr); err != nil { // what is wrong in the files comes first
		b.close()
		if ctx.Err() != nil {
			return nil, errInterruptedPlanning
		}
		return nil, err
	}
	registry := a.providers()
	registry = maps.Clone(registry)
	for name, p := range registry {
		if o.skipTrial {
			p = iexec.WithoutTrials(p)
		}
		if o.noMarket {
			p = iexec.WithoutMarket(p)
		}
		registry[name] = p
	}
	locked, err := modules.Images(a.dir)
	if err != nil {
		b.close()
		return nil, err
	}
	var more hcl.Diagnostics
	b.plan, b.session, more = plan.Build(ctx, plan.Options{
		Tool: version, Config: b.config, Inputs: b.inputs, Workspace: workspace, State: b.state, Providers: registry,
		Prompt: a.prompt(o.noInput), Mode: o.mode(), SkipRefresh: o.noRefresh, Targets: targets, Exclude: exclude, Replace: replace, Acknowledge: o.ack,
		Locked: locked, Parallelism: o.parallelism, Imports: o.imports, PlanOnly: o.planOnly,
	})
	b.diags = slices.Concat(b.diags, diags, more)
	if ctx.Err() != nil {
		b.close()
		return nil, errInterruptedPlanning
	}
	return b, nil
}

// readPlan reads a saved plan.
func (a *app) readPlan(name string) (*plan.Plan, error) {
	b, err := os.ReadFile(a.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no plan file %s. Make one with `iexecform plan --out %s`", name, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the plan file: %w", err)
	}
	return a.decodePlan(name, b)
}
