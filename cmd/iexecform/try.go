package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
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
			"the digest that its checksum says; other images are taken from the engine, and pulled only if it hasn't got them.\n\n" +
			"Nothing is sent to a chain or a market, and no container is left.\n\n" +
			"Exit codes: 0 when the app passed, 1 when it could not be tried, 2 when it failed a check.",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec, err := o.spec(a)
			if err != nil {
				return &usageError{cmd, err}
			}
			return a.asJSON(o.json, a.try(cmd.Context(), args[0], spec, o))
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
	flags.StringVar(&o.memory, "memory", units.BytesSize(trial.DefaultMemory), "allow `SIZE` of memory, such as 512MiB")
	flags.StringVar(&o.outputLimit, "output-limit", units.BytesSize(trial.DefaultOutputLimit), "allow `SIZE` of output")
	flags.BoolVar(&o.network, "network", false, "let the app use the network")
	flags.BoolVar(&o.json, "json", false, "print the report as JSON")
	o.addVariables(flags)
	return cmd
}

// spec makes what to try of the flags, without the image.
func (o *tryOptions) spec(a *app) (trial.Spec, error) {
	s := trial.Spec{
		Args: strings.Join(o.args, " "), Secrets: map[string]string{}, Expect: o.expect,
		Runs: o.runs, Timeout: o.timeout, Network: o.network,
		Progress: func(text string) { _, _ = fmt.Fprintln(a.streams.Err, text+" …") },
	}
	if o.runs < 1 {
		return s, fmt.Errorf("--runs must be 1 or more")
	}
	if s.Timeout == 0 {
		category, err := parseCategory(o.category)
		if err != nil {
			return s, err
		}
		s.Timeout = category.Timeout
	} else if s.Timeout < 0 {
		return s, fmt.Errorf("--timeout must be more than 0")
	}
	var err error
	if s.Memory, err = parseSize("--memory", o.memory); err != nil {
		return s, err
	}
	if s.OutputLimit, err = parseSize("--output-limit", o.outputLimit); err != nil {
		return s, err
	}
	for _, name := range o.datasets {
		s.Datasets = append(s.Datasets, a.path(name))
	}
	for _, text := range o.inputFiles {
		var f trial.InputFile
		if at := strings.LastIndexByte(text, '='); at >= 0 {
			f.URL, text = text[:at], text[at+1:]
		}
		f.Path = a.path(text)
		s.InputFiles = append(s.InputFiles, f)
	}
	for _, text := range o.secrets {
		name, variable, ok := strings.Cut(text, "=")
		if !ok {
			variable = name
		}
		if s.Secrets[name] = a.getenv(variable); s.Secrets[name] == "" {
			return s, fmt.Errorf("--secret %s: the environment variable %s is not set. It must hold the secret's value", text, variable)
		}
	}
	return s, nil
}

func parseCategory(text string) (trial.Category, error) {
	all := trial.Categories()
	for i, c := range all {
		if strings.EqualFold(text, c.Name) || text == strconv.Itoa(i) {
			return c, nil
		}
	}
	return trial.Category{}, fmt.Errorf("--category %s: want XS, S, M, L, XL or 0 to %d", text, len(all)-1)
}

func parseSize(flag, text string) (int64, error) {
	n, err := units.RAMInBytes(text)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%s %s: want a size such as 512MiB or 6GiB", flag, text)
	}
	return n, nil
}

func (a *app) try(ctx context.Context, what string, spec trial.Spec, o tryOptions) error {
	ctx, stop := a.interruptible(ctx, "Interrupt received: the trial ends.")
	defer stop()
	spec.Image = what
	if at, err := addr.ParseInstance(what); err == nil && (at.Resource.Mode == addr.Data || a.providers().ResourceTable(at.Resource.Type) != nil) {
		if spec.Image, spec.Digest, err = a.appImage(ctx, at, o.inputFlags); err != nil {
			return err
		}
	}
	report, err := trial.Run(ctx, spec)
	if err != nil {
		return err
	}
	if o.json {
		err = a.json().Document(tried{"1.0", report})
	} else {
		err = a.human().Print("%s", strings.TrimSuffix(report.Text(), "\n"))
	}
	if err == nil && !report.Passed {
		err = exitCode(exitFailedTrial)
	}
	return err
}

// tried is what try prints as JSON: docs/schemas/trial.schema.json.
type tried struct {
	FormatVersion string `json:"format_version"`
	trial.Report
}

var checksum = regexp.MustCompile(`^0x[0-9a-fA-F]{64}$`)

// appImage returns the multiaddr of an app of the configuration and the digest that its checksum stands for: that which the
// registry has now when the configuration leaves it out, as planning takes it. It reads data sources, and neither the state
// nor the chain unless a data source does.
func (a *app) appImage(ctx context.Context, at addr.Instance, o inputFlags) (image, digest string, err error) {
	if at.Resource.Mode != addr.Managed || at.Resource.Type != "iexec_app" {
		return "", "", fmt.Errorf("%s is no app: only an iexec_app, or an image reference, can be tried", at)
	}
	c, diags, err := a.loadConfig()
	if err != nil {
		return "", "", err
	}
	inputs, more := a.inputs(ctx, c, o)
	if diags = append(diags, more...); diags.HasErrors() {
		return "", "", &failure{err: diags, sources: c.Files()}
	}
	workspace, err := a.workspace()
	if err != nil {
		return "", "", err
	}
	nothing := &state.Loaded{Snapshot: &state.Snapshot{}}
	session := plan.NewSession(a.providers(), nothing, c.Settings.Project, workspace, a.dir, a.prompt(o.noInput))
	defer func() { _ = session.Close() }()
	found := &written{session: session, settings: providerSettings{}, tables: a.providers(), values: map[addr.Instance]cty.Value{}}
	_, diags = c.Evaluate(ctx, config.EvalRequest{Inputs: inputs, Workspace: workspace, Targets: []addr.Instance{at}, Handler: found})
	if diags.HasErrors() {
		return "", "", &failure{err: diags, sources: c.Files()}
	}
	value, ok := found.values[at]
	if !ok {
		return "", "", fmt.Errorf("%s has instances: give the address of one, such as %s[0] or %s[\"name\"]", at, at, at)
	}
	multiaddr, sum := value.GetAttr("multiaddr"), value.GetAttr("checksum")
	if !multiaddr.IsKnown() || multiaddr.IsNull() || !sum.IsKnown() {
		return "", "", fmt.Errorf("the image of %s depends on something that isn't known before it is applied: try the image by its reference", at)
	}
	image = multiaddr.AsString()
	if sum.IsNull() {
		resolved, err := oci.NewResolver().Resolve(ctx, image, "")
		if err != nil {
			return "", "", fmt.Errorf("%s leaves out its checksum, which is then that of the image in its registry: %w", at, err)
		}
		return image, resolved.Digest, nil
	}
	if !checksum.MatchString(sum.AsString()) {
		return "", "", fmt.Errorf("the checksum %q of %s is not 0x and 64 hexadecimal digits", sum.AsString(), at)
	}
	return image, "sha256:" + strings.ToLower(sum.AsString()[2:]), nil
}

// written is a config.Handler that keeps resources as they are written, with what only planning knows left unknown.
type written struct {
	session  *plan.Session
	settings providerSettings
	tables   providers.Registry
	values   map[addr.Instance]cty.Value
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
		attrs := in.Value.AsValueMap()
		for name, v := range attrs {
			attr := w.tables.ResourceTable(in.Addr.Resource.Type).Attr(name)
			if v.IsNull() && attr != nil && (attr.Mode == schema.Computed || attr.Mode == schema.OptionalComputed) {
				attrs[name] = cty.UnknownVal(v.Type())
			}
		}
		results[i].Value = cty.ObjectVal(attrs)
	}
	return results
}
