package iexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/docker"
	"github.com/iexecform/iexecform/providers/trial"
)

// The trial block of an app: its image is run as a worker runs it, before the app is deployed and before anything of the app
// is signed or offered. Policy:
//   - Planning runs nothing. It computes what a passed trial is remembered by: the digest of the image, which is the app's
//     checksum, and the fingerprint of the trial's inputs. With both as remembered there is nothing to try.
//   - All actions that make the app usable wait for the trial: deploying, transferring, its secret, and of its orders also the
//     signing, and the closing of an order that a new one replaces. So a failed trial leaves what is offered as it was.
//   - A trial that is passed is remembered at once, though the app may not be there yet.
//   - Every trial's report is kept beside the configuration, and shown by the plans until another trial is passed.

const trialBlockName = "trial"

// trialSecrets is the write-only attribute of the block, as actions name it.
const trialSecrets = trialBlockName + ".secrets"

// trialDir is where reports are kept, relative to the configuration.
var trialDir = filepath.Join(".iexecform", "trials")

func trialBlock() schema.Block {
	return schema.Block{
		Name: trialBlockName,
		Doc: "Tries the image before the app is deployed and before anything of it is signed or offered: it is run as a worker runs it, in the container engine that `docker` " +
			"would use (Docker, or Podman's socket), and its result is checked as a worker checks it. Planning runs nothing; the action is `trial`. An app that fails is neither deployed " +
			"nor offered, and what depends on it isn't done; everything else is.\n\n" +
			"A passed trial is remembered by the image's digest and the trial's inputs, and made again when one of them changes (the values of secrets aside). " +
			"`plan --skip-trial` leaves it out and says so. The reports are in `.iexecform/trials`; `iexecform try ADDRESS` makes the same trial by hand.",
		Attrs: []schema.Attr{
			{Name: "args", Type: cty.String, Mode: schema.Optional, Parse: parseArgs,
				Doc: "Arguments, as a requester gives `iexec_args`: split at spaces, with single and double quotes. Left out, the image's own command stays."},
			pathsAttr(schema.Attr{Name: "dataset", Mode: schema.Optional,
				Doc: "File that the app gets as its dataset, in `/iexec_in` under the name in `IEXEC_DATASET_FILENAME` and, for older apps, `DATASET_FILENAME`. Several are a bulk."}),
			{Name: "input_files", Type: cty.List(cty.String), Mode: schema.Optional, Parse: parsePaths,
				Doc: "Files that the app gets as the input files of a request, as `[URL=]FILE`: the URL, which the request would have, gives the file its name."},
			{Name: "secrets", Type: cty.Map(cty.String), Mode: schema.Optional, WriteOnly: true, Parse: parseSecretNames,
				Doc: "Secrets by the name that the app sees: `IEXEC_APP_DEVELOPER_SECRET`, `IEXEC_REQUESTER_SECRET_1` and so on. Set them from variables with `ephemeral = true`."},
			rangeAttr(schema.Attr{Name: "runs", Mode: schema.Optional, Default: cty.NumberIntVal(trial.DefaultRuns),
				Doc: fmt.Sprintf("How many times it is run, at most %d. All results must be the same.", trial.MaxRuns)}, 1, trial.MaxRuns),
			{Name: "category", Type: cty.String, Mode: schema.Optional, Default: cty.StringVal("XS"), Parse: parseCategory,
				Doc: "Category of tasks, which says how long a run may take: `XS` (300 s), `S` (1200 s), `M` (3600 s), `L` (10800 s) or `XL` (36000 s)."},
			{Name: "timeout", Type: cty.String, Mode: schema.Optional, Parse: parseTimeout,
				Doc: "How long a run may take, instead of the category's time, such as `90s`."},
			sizeAttr(schema.Attr{Name: "memory", Mode: schema.Optional, Default: cty.NumberIntVal(trial.DefaultMemory), Doc: "Memory that a run may use."}),
			sizeAttr(schema.Attr{Name: "output_limit", Mode: schema.Optional, Default: cty.NumberIntVal(trial.DefaultOutputLimit), Doc: "Size that the output of a run may have."}),
			{Name: "expect", Type: cty.List(cty.String), Mode: schema.Optional, Parse: parseExpected,
				Doc: "Files that the output must have, relative to `/iexec_out`."},
			{Name: "network", Type: cty.Bool, Mode: schema.Optional, Default: cty.False, Doc: "Whether the app may use the network."},
			{Name: "image_digest", Type: cty.String, Mode: schema.Computed, Doc: "Digest of the image that passed."},
			{Name: "inputs", Type: cty.String, Mode: schema.Computed, Doc: "Fingerprint of the inputs with which it passed."},
			{Name: "result_digests", Type: cty.List(cty.String), Mode: schema.Computed,
				Doc: "What all runs agreed on: the digest of the result as workers compute it. Two, when `computed.json` has both a path and callback data; none is remembered of a trial with secrets."},
		},
	}
}

func parseArgs(v cty.Value) (cty.Value, error) {
	_, err := trial.SplitArgs(v.AsString())
	return v, err
}

// parseSecretNames must not quote values.
func parseSecretNames(v cty.Value) (cty.Value, error) {
	for name, value := range v.AsValueMap() {
		if err := trial.CheckSecretName(name); err != nil {
			return v, err
		}
		if value.IsNull() {
			return v, fmt.Errorf("the secret %s has no value", name)
		}
	}
	return v, nil
}

func parseCategory(v cty.Value) (cty.Value, error) {
	c, err := trial.ParseCategory(v.AsString())
	return cty.StringVal(c.Name), err
}

func parseTimeout(v cty.Value) (cty.Value, error) {
	if d, err := time.ParseDuration(v.AsString()); err != nil || d <= 0 {
		return v, fmt.Errorf("%q is no time: want such as \"90s\" or \"10m\"", v.AsString())
	}
	return v, nil
}

// parsePaths takes any list of text without holes.
func parsePaths(v cty.Value) (cty.Value, error) {
	for _, e := range v.AsValueSlice() {
		if e.IsNull() || e.AsString() == "" {
			return v, errors.New("one of the paths is empty")
		}
	}
	return v, nil
}

func parseExpected(v cty.Value) (cty.Value, error) {
	v, err := parsePaths(v)
	if err != nil {
		return v, err
	}
	for _, name := range texts(v) {
		if !filepath.IsLocal(name) {
			return v, fmt.Errorf("%q is not a path relative to /iexec_out", name)
		}
	}
	return v, nil
}

// sizeAttr is a number of bytes that is written with a unit.
func sizeAttr(a schema.Attr) schema.Attr {
	a.Type, a.Form, a.Accepts = cty.Number, "size, such as \"512MiB\"", cty.String
	a.Parse = func(v cty.Value) (cty.Value, error) {
		n, err := trial.ParseSize(v.AsString())
		return cty.NumberIntVal(n), err
	}
	a.Format = func(v cty.Value) string {
		n, _ := v.AsBigFloat().Int64()
		return `"` + trial.FormatSize(n) + `"`
	}
	return a
}

// pathsAttr is one path or a list of paths. Canonical: a list.
func pathsAttr(a schema.Attr) schema.Attr {
	a.Type, a.Form, a.Accepts = cty.List(cty.String), "path, or list of paths", cty.DynamicPseudoType
	a.Parse = func(v cty.Value) (cty.Value, error) {
		if v.Type() == cty.String {
			v = cty.ListVal([]cty.Value{v})
		}
		list, err := convert.Convert(v, a.Type)
		if err != nil {
			return cty.NilVal, fmt.Errorf("want a path or a list of paths, not %s", v.Type().FriendlyName())
		}
		return parsePaths(list)
	}
	return a
}

// texts is the elements of a list of text without holes, nil for null.
func texts(v cty.Value) (list []string) {
	if v.IsNull() {
		return nil
	}
	for _, e := range v.AsValueSlice() {
		list = append(list, e.AsString())
	}
	return list
}

// WithoutTrials is the provider with trials left out: its plans warn of that. It is what other providers are for others.
func WithoutTrials(p providers.Provider) providers.Provider {
	if ours, ok := p.(provider); ok {
		ours.skipTrials = true
		return ours
	}
	return p
}

// A trialPayload is what to try, complete but for the values of secrets.
type trialPayload struct {
	Address    common.Address `json:"address"` // of the app
	Image      string         `json:"image"`
	Digest     string         `json:"digest"`
	Inputs     string         `json:"inputs"` // the spec's fingerprint
	Args       string         `json:"args,omitempty"`
	Datasets   []string       `json:"datasets,omitempty"` // paths relative to the configuration
	InputFiles []string       `json:"input_files,omitempty"`
	Secrets    []string       `json:"secrets,omitempty"` // names, sorted
	Expect     []string       `json:"expect,omitempty"`
	Runs       int            `json:"runs"`
	Timeout    string         `json:"timeout"`
	Memory     int64          `json:"memory_bytes"`
	Output     int64          `json:"output_bytes"`
	Network    bool           `json:"network,omitempty"`
}

// digestOf is what the checksum of an app stands for.
func digestOf(app object) string { return "sha256:" + strings.TrimPrefix(app.str("checksum"), "0x") }

// trialOf reads the trial block of an app with a checksum, which must not be null.
func trialOf(app object) trialPayload {
	block := objectOf(app.v.Attr(trialBlockName))
	p := trialPayload{
		Image: app.str("multiaddr"), Digest: digestOf(app),
		Args: block.str("args"), Datasets: texts(block.v.Attr("dataset")), InputFiles: texts(block.v.Attr("input_files")),
		Expect: texts(block.v.Attr("expect")), Runs: int(block.num0("runs").Int64()), Timeout: block.str("timeout"),
		Memory: block.num0("memory").Int64(), Output: block.num0("output_limit").Int64(), Network: block.v.Attr("network").True(),
	}
	if secrets := block.v.Attr("secrets"); !secrets.IsNull() {
		p.Secrets = slices.Sorted(maps.Keys(secrets.AsValueMap()))
	}
	if p.Timeout == "" {
		category, _ := trial.ParseCategory(block.str("category")) // was checked
		p.Timeout = category.Timeout.String()
	}
	return p
}

// spec is what is to be tried; paths are relative to a directory. Secrets have no values.
func (p trialPayload) spec(dir string) (trial.Spec, error) {
	timeout, err := time.ParseDuration(p.Timeout)
	if err != nil {
		return trial.Spec{}, fmt.Errorf("timeout of the trial: %w", err)
	}
	s := trial.Spec{
		Image: p.Image, Digest: p.Digest, Args: p.Args, Expect: p.Expect, Runs: p.Runs, Timeout: timeout,
		Memory: p.Memory, OutputLimit: p.Output, Network: p.Network, Secrets: map[string]string{},
	}
	within := func(name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(dir, name)
	}
	for _, name := range p.Datasets {
		s.Datasets = append(s.Datasets, within(name))
	}
	for _, text := range p.InputFiles {
		f := trial.ParseInputFile(text)
		f.Path = within(f.Path)
		s.InputFiles = append(s.InputFiles, f)
	}
	for _, name := range p.Secrets {
		s.Secrets[name] = ""
	}
	return s, nil
}

// TrialSpec is the trial that the block of an app asks for, of the image that its multiaddr and its checksum name, with the values
// of secrets. Paths are relative to dir. Without a block it is a trial with the defaults.
func TrialSpec(app schema.Object, dir string) (trial.Spec, error) {
	block := app.Attr(trialBlockName)
	if block.IsNull() {
		return trial.Spec{Image: object{app}.str("multiaddr"), Digest: digestOf(object{app})}, nil
	}
	s, err := trialOf(object{app}).spec(dir)
	if secrets := block.GetAttr("secrets"); err == nil && !secrets.IsNull() {
		giveSecrets(&s, secrets)
	}
	return s, err
}

func giveSecrets(s *trial.Spec, secrets cty.Value) {
	for name, v := range secrets.AsValueMap() {
		s.Secrets[name] = v.AsString()
	}
}

// prepareTrial completes the trial block of an app whose checksum is known: with what was remembered if that is of the same image
// and inputs, or else with what will be remembered when the trial is passed. It reads the trial's files.
func (p *entryPlan) prepareTrial(c *client) error {
	if p.d.v.Attr(trialBlockName).IsNull() {
		return nil
	}
	block := objectOf(p.d.v.Attr(trialBlockName))
	t := trialOf(p.d)
	spec, err := t.spec(c.dir)
	if err == nil {
		t.Inputs, err = spec.Fingerprint()
	}
	if file := (*trial.FileError)(nil); errors.As(err, &file) {
		return providers.At(trialBlockName+"."+map[string]string{"dataset": "dataset", "input file": "input_files"}[file.As], err)
	}
	if err != nil {
		return providers.At(trialBlockName, err)
	}
	done := map[string]cty.Value{
		"secrets": cty.NullVal(cty.Map(cty.String)), "image_digest": cty.StringVal(t.Digest), "inputs": cty.StringVal(t.Inputs),
		"result_digests": cty.UnknownVal(cty.List(cty.String)),
	}
	if len(t.Secrets) > 0 {
		done["result_digests"] = cty.NullVal(cty.List(cty.String)) // a secret that can be guessed could be found with them
	}
	was := objectOf(p.req.Prior.Attr(trialBlockName))
	switch {
	case was.str("image_digest") == t.Digest && was.str("inputs") == t.Inputs:
		if len(t.Secrets) == 0 {
			done["result_digests"] = was.v.Attr("result_digests")
		}
	case c.skipTrials:
		for _, name := range []string{"image_digest", "inputs", "result_digests"} {
			done[name] = cty.NullVal(done[name].Type())
		}
		p.result.Notices = append(p.result.Notices, providers.Notice{Level: providers.Warning, Attr: trialBlockName,
			Summary: fmt.Sprintf("the trial of %s is SKIPPED, as --skip-trial asks for: nobody has seen that a worker can run this image, nor that its result is always the same", t.Image)})
	default:
		p.trial = &t
	}
	p.d = object{p.d.with(map[string]cty.Value{trialBlockName: block.with(done).Cty()})}
	return nil
}

// trialKey is what an app with a trial provides, and what makes it usable requires.
func (c *client) trialKey(app common.Address) string {
	return fmt.Sprintf("iexec/%d/app/%s/trial", c.ID, app.Hex())
}

// onTrial reports whether this run plans to try an app.
func (c *client) onTrial(app common.Address) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tried[app]
}

// tryImage plans the trial, if there is one to be made, after some of the actions, and returns those that all further ones wait
// for.
func (p *entryPlan) tryImage(c *client, after []int) []int {
	if p.trial == nil || p.result.Err != nil {
		return after
	}
	t, r := p.trial, p.result
	t.Address = p.address
	a := providers.Action{
		Kind: trialBlockName, After: after, Payload: marshal(t),
		Summary: fmt.Sprintf("run %s@%s %d times as a worker does, and compare the results", t.Image, t.Digest, t.Runs),
	}
	if t.Runs == 1 {
		a.Summary = fmt.Sprintf("run %s@%s once as a worker does, and check its result", t.Image, t.Digest)
	}
	if len(t.Secrets) > 0 {
		a.WriteOnly = []string{trialSecrets}
	}
	if len(t.Datasets)+len(t.InputFiles) > 0 {
		a.Expect = []providers.Precondition{{Kind: trialBlockName, Summary: "the files of the trial are unchanged", Payload: a.Payload}}
	}
	r.Actions = append(r.Actions, a)
	r.Provides = append(r.Provides, c.trialKey(p.address))
	c.mu.Lock()
	c.tried[p.address] = true
	c.mu.Unlock()
	if last, ok := trial.Kept(c.reportName(p.req.Addr.String())); ok && last.Digest == t.Digest && !last.Passed {
		r.Notices = append(r.Notices, providers.Notice{Level: providers.Info, Attr: trialBlockName,
			Summary: "the last trial of this image failed: " + c.reportName(p.req.Addr.String()) + ".txt", Detail: excerpt(last.Text())})
	}
	return []int{len(r.Actions) - 1}
}

// excerpt is the first lines of a report.
func excerpt(text string) string {
	const most = 40
	lines := strings.SplitN(strings.TrimSpace(text), "\n", most+1)
	if len(lines) > most {
		lines[most] = "…"
	}
	return strings.Join(lines, "\n")
}

// reportName is where the report of an object's trial is kept, without the ending.
func (c *client) reportName(address string) string {
	dir := filepath.Join(c.dir, trialDir)
	if c.workspace != "default" {
		dir = filepath.Join(dir, url.PathEscape(c.workspace))
	}
	return filepath.Join(dir, url.PathEscape(address))
}

// doTrial makes the trial. SIDE EFFECTS: runs containers and removes them; may pull the image; keeps the report.
func doTrial(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	var p trialPayload
	if err := unmarshal(req.Action, &p); err != nil {
		return nil, err
	}
	spec, err := p.spec(c.dir)
	if err != nil {
		return nil, err
	}
	if secrets, ok := req.WriteOnly[trialSecrets]; ok {
		giveSecrets(&spec, secrets)
	}
	spec.Progress = func(text string) { req.Progress(providers.Progress{Type: "trial_progress", Message: text}) }
	ctx, end := untilStopped(ctx, req.Stop)
	defer end()
	if err := c.trials.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	defer c.trials.Release(1)
	if c.standsIn { // there is neither an engine nor the image
		return p.passed(nil), nil
	}
	report, err := trial.Run(ctx, spec)
	if err != nil {
		return nil, err
	}
	kept := c.reportName(req.Action.Addr.String())
	if err := report.Keep(kept); err != nil {
		req.Progress(providers.Progress{Type: "trial_progress", Message: fmt.Sprintf("the report can't be kept: %s", err)})
		kept = ""
	} else {
		kept += ".txt"
	}
	switch {
	case !report.Passed:
		return nil, &trial.FailedError{Report: report, Kept: kept}
	case report.Inputs != p.Inputs:
		return nil, errTrialFiles
	}
	var digests []string
	for _, d := range report.Digests {
		digests = append(digests, d.Value)
	}
	said := providers.Progress{Type: "trial_passed", Message: "passed", Fields: map[string]string{"image_digest": p.Digest}}
	if len(p.Secrets) == 0 {
		said.Message += ": " + strings.Join(digests, ", ")
		said.Fields["result_digests"] = strings.Join(digests, " ")
	}
	req.Progress(said)
	return p.passed(digests), nil
}

// untilStopped is a context that also ends when the user wants the run to end: a trial leaves no trace. end must be called.
func untilStopped(ctx context.Context, stop <-chan struct{}) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-stop:
			cancel(&providers.HeldError{Reason: "the run was interrupted", Unblock: "apply again: the image is tried anew"})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// passed is what is remembered of a trial that is passed.
func (p trialPayload) passed(digests []string) json.RawMessage {
	done := map[string]any{"image_digest": p.Digest, "inputs": p.Inputs, "result_digests": nil}
	if len(p.Secrets) == 0 {
		done["result_digests"] = digests
	}
	return marshal(map[string]any{trialBlockName: done})
}

var errTrialFiles = errors.New("the files of the trial are not those that the plan was made with: plan again")

// checkTrialFiles looks whether the files of trials are those that they were planned with.
func checkTrialFiles(_ context.Context, c *client, ps []providers.Precondition) []error {
	errs := make([]error, len(ps))
	parallel(len(ps), 16, func(i int) {
		var p trialPayload
		if errs[i] = json.Unmarshal(ps[i].Payload, &p); errs[i] != nil {
			return
		}
		spec, err := p.spec(c.dir)
		if err == nil {
			var inputs string
			if inputs, err = spec.Fingerprint(); err == nil && inputs != p.Inputs {
				err = errTrialFiles
			}
		}
		if err != nil {
			errs[i] = fmt.Errorf("trial of %s: %w", p.Image, err)
		}
	})
	return errs
}

// checkTrialSecrets tells whether the secrets at hand are those, by name, that a trial was planned with.
func checkTrialSecrets(a providers.Action, values map[string]cty.Value) error {
	var p trialPayload
	if err := unmarshal(a, &p); err != nil {
		return err
	}
	secrets := values[trialSecrets]
	if secrets == cty.NilVal || secrets.IsNull() || !secrets.IsWhollyKnown() || !slices.Equal(slices.Sorted(maps.Keys(secrets.AsValueMap())), p.Secrets) {
		return fmt.Errorf("action %d, %s, was planned with the secrets %s, and has others now", a.ID, a.Kind, strings.Join(p.Secrets, ", "))
	}
	return nil
}

// readyForTrials looks for the container engine, if there are trials to be made. Nothing was done yet.
func (c *client) readyForTrials(ctx context.Context, actions []providers.Action) error {
	if c.standsIn || !slices.ContainsFunc(actions, func(a providers.Action) bool { return a.Kind == trialBlockName }) {
		return nil
	}
	engine, err := docker.Connect(ctx)
	if err != nil {
		return fmt.Errorf("the plan has images to try: %w. Or plan with --skip-trial", err)
	}
	return engine.Close()
}
