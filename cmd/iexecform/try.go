package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec"
	"github.com/iexecform/iexecform/providers/oci"
	"github.com/iexecform/iexecform/providers/trial"
	"github.com/iexecform/iexecform/state"
)

// exitFailedTrial is how try ends when the app was tried and isn't fit for sale.
const exitFailedTrial = 2

type tryOptions struct {
	inputFlags
	args, datasets, inputFiles, secrets, expect []string
	runs                                        int
	category                                    string
	timeout                                     time.Duration
	memory, outputLimit                         string
	network, json                               bool
}

func (a *app) tryCommand() *cobra.Command {
	var o tryOptions
	cmd := &cobra.Command{
		Use:   "try IMAGE|ADDRESS",
		Short: "Run an app's image as an iExec worker does, and check its result",
		Long: "Runs an image several times in a container engine (Docker or Podman) as a worker runs it, and checks what a worker\n" +
			"checks: exit code, time, memory, computed.json, names and size of the output, and that all runs have the same result.\n" +
			"The app is an iexec_app of the configuration, given by its address, or any image reference. An app is tried with\n" +
			"the digest that its checksum says, and as its trial block says where no flag says otherwise; other images are taken\n" +
			"from the engine, and pulled only if it hasn't got them.\n\n" +
			"Nothing is sent to a chain or a market, and no container is left. An engine that gives no answer for a minute, or for as\n" +
			"many seconds as DOCKER_CLIENT_TIMEOUT says, ends the trial.\n\n" +
			"Exit codes: 0 when the app passed, 1 when it could not be tried, 2 when it failed a check.",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asJSON(o.json, a.try(cmd, args[0], o))
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&o.args, "arg", nil, "give the app `ARGS`, which are split as the worker splits iexec_args (repeatable)")
	flags.StringArrayVar(&o.datasets, "dataset", nil, "give the app `FILE` as its dataset (repeatable: a bulk)")
	flags.StringArrayVar(&o.inputFiles, "input-file", nil, "give the app `[URL=]FILE` as an input file that the request has at URL (repeatable)")
	flags.StringArrayVar(&o.secrets, "secret", nil, "give the app the secret `NAME[=VARIABLE]`, with the value of an environment variable, of the same name if no other is said: IEXEC_APP_DEVELOPER_SECRET, IEXEC_REQUESTER_SECRET_1, … (repeatable)")
	flags.StringArrayVar(&o.expect, "expect", nil, "check that the output has `FILE` (repeatable)")
	flags.IntVar(&o.runs, "runs", trial.DefaultRuns, "run it `N` times")
	flags.StringVar(&o.category, "category", "XS", "allow the time of `CATEGORY`: XS, S, M, L, XL or 0 to 4")
	flags.DurationVar(&o.timeout, "timeout", 0, "allow `TIME` instead of a category's, such as 90s")
	flags.StringVar(&o.memory, "memory", trial.FormatSize(trial.DefaultMemory), "allow `SIZE` of memory, such as 512MiB")
	flags.StringVar(&o.outputLimit, "output-limit", trial.FormatSize(trial.DefaultOutputLimit), "allow `SIZE` of output")
	flags.BoolVar(&o.network, "network", false, "let the app use the network")
	flags.BoolVar(&o.json, "json", false, "print the report as JSON")
	o.addVariables(flags)
	return cmd
}

// override changes what to try as the flags say that are given.
func (o *tryOptions) override(a *app, given func(flag string) bool, s *trial.Spec) (err error) {
	set := func(flag string, f func()) {
		if given(flag) {
			f()
		}
	}
	set("arg", func() { s.Args = strings.Join(o.args, " ") })
	set("expect", func() { s.Expect = o.expect })
	set("runs", func() { s.Runs = o.runs })
	set("network", func() { s.Network = o.network })
	set("dataset", func() {
		s.Datasets = nil
		for _, name := range o.datasets {
			s.Datasets = append(s.Datasets, a.path(name))
		}
	})
	set("input-file", func() {
		s.InputFiles = nil
		for _, text := range o.inputFiles {
			f := trial.ParseInputFile(text)
			f.Path = a.path(f.Path)
			s.InputFiles = append(s.InputFiles, f)
		}
	})
	failed := func(flag string, problem error) {
		if err == nil && problem != nil {
			err = fmt.Errorf("--%s: %w", flag, problem)
		}
	}
	set("category", func() {
		category, problem := trial.ParseCategory(o.category)
		failed("category", problem)
		s.Timeout = category.Timeout
	})
	set("timeout", func() {
		if s.Timeout = o.timeout; o.timeout <= 0 {
			failed("timeout", errors.New("must be more than 0"))
		}
	})
	set("memory", func() {
		var problem error
		s.Memory, problem = trial.ParseSize(o.memory)
		failed("memory", problem)
	})
	set("output-limit", func() {
		var problem error
		s.OutputLimit, problem = trial.ParseSize(o.outputLimit)
		failed("output-limit", problem)
	})
	if o.runs < 1 || o.runs > trial.MaxRuns {
		failed("runs", fmt.Errorf("must be from 1 to %d", trial.MaxRuns))
	}
	for _, text := range o.secrets {
		name, variable, ok := strings.Cut(text, "=")
		if !ok {
			variable = name
		}
		if s.Secrets == nil {
			s.Secrets = map[string]string{}
		}
		if s.Secrets[name] = a.getenv(variable); s.Secrets[name] == "" {
			failed("secret", fmt.Errorf("%s: the environment variable %s is not set. It must hold the secret's value", text, variable))
		}
	}
	return err
}

func (a *app) try(cmd *cobra.Command, what string, o tryOptions) error {
	ctx, stop := a.interruptible(cmd.Context(), "Interrupt received: the trial ends.")
	defer stop()
	spec := trial.Spec{Image: what}
	if at, err := addr.ParseInstance(what); err == nil && (at.Resource.Mode == addr.Data || a.providers().ResourceTable(at.Resource.Type) != nil) {
		if spec, err = a.appTrial(ctx, at, o.inputFlags); err != nil {
			return err
		}
	}
	if err := o.override(a, cmd.Flags().Changed, &spec); err != nil {
		return &usageError{cmd, err}
	}
	spec.Progress = func(text string) { _, _ = fmt.Fprintln(a.streams.Err, text+" …") }
	report, err := trial.Run(ctx, spec)
	if err != nil {
		return err
	}
	if o.json {
		err = a.json().Document(report)
	} else {
		err = a.human().Print("%s", strings.TrimSuffix(report.Text(), "\n"))
	}
	if err == nil && !report.Passed {
		err = exitCode(exitFailedTrial)
	}
	return err
}

// appTrial returns the trial that an app of the configuration asks for, of its image with the digest that its checksum stands for:
// that which the registry has now when the configuration leaves it out, as planning takes it. It reads data sources, and
// neither the state nor the chain unless a data source does.
func (a *app) appTrial(ctx context.Context, at addr.Instance, o inputFlags) (trial.Spec, error) {
	if at.Resource.Mode != addr.Managed || at.Resource.Type != "iexec_app" {
		return trial.Spec{}, fmt.Errorf("%s is no app: only an iexec_app, or an image reference, can be tried", at)
	}
	c, diags, err := a.loadConfig()
	if err != nil {
		return trial.Spec{}, err
	}
	inputs, more := a.inputs(ctx, c, o)
	if diags = append(diags, more...); diags.HasErrors() {
		return trial.Spec{}, &failure{err: diags, sources: c.Files()}
	}
	workspace, err := a.workspace(ctx)
	if err != nil {
		return trial.Spec{}, err
	}
	nothing := &state.Loaded{Snapshot: &state.Snapshot{}}
	session := plan.NewSession(a.providers(), nothing, c.Settings.Project, workspace, a.dir, a.prompt(o.noInput))
	defer func() { _ = session.Close() }()
	found := &written{session: session, settings: providerSettings{}, tables: a.providers(), values: map[addr.Instance]schema.Object{}}
	_, diags = c.Evaluate(ctx, config.EvalRequest{Inputs: inputs, Workspace: workspace, Targets: []addr.Instance{at}, Handler: found})
	if diags.HasErrors() {
		return trial.Spec{}, &failure{err: diags, sources: c.Files()}
	}
	value, ok := found.values[at]
	if !ok {
		return trial.Spec{}, fmt.Errorf("%s has instances: give the address of one, such as %s[0] or %s[\"name\"]", at, at, at)
	}
	multiaddr, sum := value.Attr("multiaddr"), value.Attr("checksum")
	if !multiaddr.IsKnown() || multiaddr.IsNull() || !sum.IsKnown() {
		return trial.Spec{}, fmt.Errorf("the image of %s depends on something that isn't known before it is applied: try the image by its reference", at)
	}
	if sum.IsNull() {
		resolved, err := oci.NewResolver().Resolve(ctx, multiaddr.AsString(), "")
		if err != nil {
			return trial.Spec{}, fmt.Errorf("%s leaves out its checksum, which is then that of the image in its registry: %w", at, err)
		}
		value = value.With(map[string]cty.Value{"checksum": cty.StringVal(resolved.Checksum())})
	}
	return iexec.TrialSpec(value, a.dir)
}

// written is a config.Handler that keeps resources as they are written, with what only planning knows left unknown.
type written struct {
	session  *plan.Session
	settings providerSettings
	tables   providers.Registry
	values   map[addr.Instance]schema.Object
}

func (w *written) Provider(ctx context.Context, p addr.Provider, block config.Block) hcl.Diagnostics {
	return w.settings.Provider(ctx, p, block)
}

func (w *written) Data(ctx context.Context, instances []config.Instance) []config.Result {
	results := make([]config.Result, len(instances))
	for i, in := range instances {
		if err := w.session.Open(ctx, in.Provider, w.settings[in.Provider]); err != nil {
			results[i].Diags = apply.Lost(in, err.Error())
			continue
		}
		results[i] = apply.Remembered{Session: w.session}.Data(ctx, instances[i:i+1])[0]
	}
	return results
}

func (w *written) Resources(_ context.Context, instances []config.Instance) []config.Result {
	results := make([]config.Result, len(instances))
	for i, in := range instances {
		w.values[in.Addr] = in.Value
		results[i].Object = unapplied(w.tables.ResourceTable(in.Addr.Resource.Type), in.Value)
	}
	return results
}
