package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/modules"
	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

const interruptText = "Interrupt received: finishing what is in flight; nothing new is begun (once more to exit at once)."

type applyOptions struct {
	planOptions
	backupFlag
	autoApprove bool
	stopTimeout time.Duration
	planFile    string
	sameConfig  bool
}

// addApply adds the flags of apply and destroy.
func (o *applyOptions) addApply(cmd *cobra.Command, a *app) {
	o.addInputs(cmd, a)
	flags := cmd.Flags()
	o.add(flags, "none: git has the state")
	flags.BoolVar(&o.autoApprove, "auto-approve", false, "don't ask")
	flags.BoolVar(&o.concise, "concise", false, "print no progress")
	flags.DurationVar(&o.stopTimeout, "stop-timeout", time.Minute, "when interrupted, wait for what is in flight no longer than this `DURATION`; 0s is without end")
}

// applyView shows an apply. Diagnostics may be called at any time, Close at the end.
type applyView interface {
	Plan(p *plan.Plan, saved bool) error
	Event(apply.Event)
	Outcome(*view.Outcome) error
	Diagnostics(hcl.Diagnostics, view.Sources) error
	Close()
}

func (a *app) applyCommand() *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "apply [PLANFILE]",
		Short: "Plan, ask, and do it; or do just what a saved plan says",
		Args:  arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.planFile = args[0]
				if err := refuseWithPlan(cmd); err != nil {
					return err
				}
			}
			return a.applyChecked(cmd, o)
		},
	}
	o.addApply(cmd, a)
	o.addModes(cmd.Flags())
	cmd.Flags().BoolVar(&o.sameConfig, "require-config", false, "with PLANFILE: refuse it unless the configuration here says what the one said that it was made from")
	return cmd
}

func (a *app) destroyCommand() *cobra.Command {
	o := applyOptions{}
	cmd := &cobra.Command{
		Use:   "destroy",
		Short: "Withdraw everything that the state knows; the same as apply --destroy",
		Long: "Unpublishes and closes orders as their on_destroy says, and forgets apps: an app cannot be removed from the chain.\n" +
			"`iexecform plan --destroy` shows what would happen.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.destroy = true
			return a.applyChecked(cmd, o)
		},
	}
	o.addApply(cmd, a)
	o.addJSON(cmd.Flags())
	return cmd
}

// refreshCommand says what Terraform's users look for.
func (a *app) refreshCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "refresh",
		Short:  "Is `apply --refresh-only` here, which shows what it found and asks",
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return &usageError{cmd, errors.New("refresh is `iexecform apply --refresh-only` here: it shows what it found and asks, instead of taking it over unseen")}
		},
	}
}

// refuseWithPlan refuses flags that only make sense while planning.
func refuseWithPlan(cmd *cobra.Command) error {
	var given []string
	for _, name := range []string{"var-file", "target", "target-file", "exclude", "exclude-file", "replace", "ack", "skip-trial", "destroy", "refresh-only", "refresh"} {
		if cmd.Flags().Changed(name) {
			given = append(given, "--"+name)
		}
	}
	if len(given) > 0 {
		return &usageError{cmd, fmt.Errorf("%s can't be given with a saved plan: the plan has them already. Plan again to change them", strings.Join(given, ", "))}
	}
	return nil
}

func (a *app) applyChecked(cmd *cobra.Command, o applyOptions) error {
	if err := o.check(cmd); err != nil {
		return err
	}
	if o.sameConfig && o.planFile == "" {
		return &usageError{cmd, errors.New("--require-config is for a saved plan: give its file")}
	}
	if o.json && o.planFile == "" && !o.autoApprove {
		return &usageError{cmd, errors.New("--json asks nothing: give --auto-approve or a plan file as well")}
	}
	v, end, err := a.openView(o.planOptions)
	if err != nil {
		return err
	}
	defer end()
	ctx, stop := a.interruptible(cmd.Context(), interruptText)
	defer stop()
	run := a.applyFresh
	if o.planFile != "" {
		run = a.applySaved
	}
	return tell(v, run(ctx, o, v))
}

// teller is where errors are told.
type teller interface {
	Diagnostics(hcl.Diagnostics, view.Sources) error
	Close()
}

// tell shows an error, unless all has been shown.
func tell(v teller, err error) error {
	var code exitCode
	if err == nil || errors.As(err, &code) {
		return err
	}
	v.Close()
	var sources view.Sources
	if failed := (*failure)(nil); errors.As(err, &failed) {
		err, sources = failed.err, failed.sources
	}
	if err := v.Diagnostics(diagnose(err), sources); err != nil {
		return err
	}
	return exitCode(exitError)
}

// applyFresh makes a plan, asks, and applies it.
func (a *app) applyFresh(ctx context.Context, o applyOptions, v applyView) error {
	operation := "apply"
	if o.destroy {
		operation = "destroy"
	}
	b, err := a.build(ctx, o.planOptions, operation)
	if err != nil {
		return err
	}
	defer b.close()
	if b.plan.Complete || !b.plan.Empty() {
		if err := v.Plan(b.plan, false); err != nil {
			return err
		}
	}
	if err := v.Diagnostics(b.diags, b.config.Files()); err != nil {
		return err
	}
	if b.diags.HasErrors() {
		return exitCode(exitError)
	}
	if !b.plan.Empty() && !o.autoApprove {
		if err := a.approve(ctx, b.plan, o.noInput); err != nil {
			return err
		}
	}
	return a.perform(ctx, o, v, b.store, apply.Options{Plan: b.plan, State: b.state, Session: b.session, Config: b.config, Inputs: b.inputs})
}

// approve asks whether to go on.
func (a *app) approve(ctx context.Context, p *plan.Plan, noInput bool) error {
	const hint = "Give --auto-approve to apply without being asked, or apply a plan saved with `iexecform plan --out FILE`"
	if !a.mayAsk(noInput) {
		return errors.New("this plan needs approval, and --input=false or " + envInput + " forbids to ask. Nothing was changed. " + hint)
	}
	question := "Do you want to perform these actions?\n  They will be done as listed above."
	if p.Mode == plan.Destroy {
		question = "Do you really want to withdraw all of this?\n  The actions will be done as listed above, and can't be undone."
	}
	return a.confirm(ctx, question, "Apply", hint)
}

// confirm asks whether to go on with what is named. Only the word yes approves.
func (a *app) confirm(ctx context.Context, question, what, hint string) error {
	_, _ = fmt.Fprintf(a.human().Err, "\n%s\n  Only 'yes' is accepted.\n\n  Enter a value: ", question)
	answer, err := a.readLine(ctx)
	_, _ = fmt.Fprintln(a.human().Err)
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("this needs approval, and there is nobody to ask: standard input is at its end. Nothing was changed. " + hint)
	case err != nil && ctx.Err() == nil:
		return fmt.Errorf("read the approval: %w. Nothing was changed. %s", err, hint)
	case err != nil || answer != "yes":
		_, _ = fmt.Fprintf(a.human().Err, "%s cancelled. Nothing was changed.\n", what)
		return exitCode(exitError)
	}
	return nil
}

// requireConfig refuses a plan that was made from another configuration than there is.
func (a *app) requireConfig(p *plan.Plan) error {
	c, _, err := a.loadConfig()
	if err == nil && c.Digest() != p.Config {
		err = a.otherConfig()
	}
	if err != nil {
		return fmt.Errorf("--require-config: %w. Nothing was sent. Check out the commit that the plan was made from, or plan again", err)
	}
	return nil
}

func (a *app) otherConfig() error {
	return fmt.Errorf("the configuration in %s is not the one that the plan was made from", a.dir)
}

// applySaved applies a plan as it was saved.
func (a *app) applySaved(ctx context.Context, o applyOptions, v applyView) error {
	p, err := a.readPlan(o.planFile)
	if err != nil {
		return err
	}
	workspace, err := a.workspace(ctx)
	if err != nil {
		return err
	}
	if p.Workspace != workspace {
		return fmt.Errorf("the plan was made in workspace %q, and %q is selected. Nothing was sent. Select that of the plan, with `iexecform workspace select %s`, or plan again",
			p.Workspace, workspace, p.Workspace)
	}
	if o.sameConfig {
		if err := a.requireConfig(p); err != nil {
			return err
		}
	}
	store, loaded, unlock, err := a.hold(ctx, "apply", o.lockFlags)
	if err != nil {
		return err
	}
	defer unlock()
	if a.codec.Encrypts() && !p.Encrypted() {
		return unusable(o.planFile, &plan.FileError{Err: errors.New("it is not encrypted, and the configuration says that the state should be. " +
			"Nothing was sent. Plan again, or remove the encryption block. If it was encrypted before, somebody has replaced it")})
	}
	if err := apply.CheckFresh(p, loaded); err != nil {
		return err
	}
	if err := v.Plan(p, true); err != nil {
		return err
	}
	if err := v.Diagnostics(repaired(loaded), nil); err != nil {
		return err
	}
	source, err := a.planSource(ctx, p, o.inputFlags)
	if err != nil {
		return err
	}
	locked, err := modules.Images(a.dir)
	if err != nil {
		return err
	}
	session := plan.NewSession(a.providers(), loaded, p.Project, p.Workspace, a.dir, a.prompt(o.noInput))
	session.Lock(locked)
	defer func() { _ = session.Close() }()
	if err := source.open(ctx, p, session); err != nil {
		return err
	}
	if err := source.writeOnly(ctx, p, session, a.providers()); err != nil {
		return err
	}
	options := apply.Options{Plan: p, State: loaded, Session: session, Config: source.config, Inputs: source.inputs}
	return a.perform(ctx, o, v, store, options)
}

// perform applies the plan, unless there is nothing at all to do, and shows what came of it.
func (a *app) perform(ctx context.Context, o applyOptions, v applyView, store state.Store, options apply.Options) error {
	outcome := &view.Outcome{Plan: options.Plan, Result: &apply.Result{Snapshot: options.State.Snapshot}}
	if !options.Plan.Empty() || options.State.Records > 0 || options.State.Torn {
		if _, err := a.backUp(ctx, options.State.Snapshot, o.backupFlag, false); err != nil {
			return err
		}
		options.Tool, options.Store, options.Providers, options.Parallelism = version, store, a.providers(), o.parallelism
		options.StopTimeout = o.stopTimeout
		options.Observe = func(e apply.Event) {
			if e.Type == apply.Succeeded {
				outcome.Done = append(outcome.Done, e.Action)
			}
			logEvent(ctx, e)
			v.Event(e)
		}
		result, err := apply.Run(ctx, options)
		if err != nil {
			if result != nil { // the actions are over, and then the state could not be saved
				err = a.keepErrored(err, result)
			}
			if diags := (hcl.Diagnostics)(nil); errors.As(err, &diags) {
				return &failure{err: err, sources: options.Config.Files()}
			}
			return err
		}
		if outcome.Result = result; len(result.Diagnostics) > 0 {
			if err := v.Diagnostics(result.Diagnostics, options.Config.Files()); err != nil {
				return err
			}
		}
	}
	outcome.Outputs = view.SortedOutputs(outcome.Result.Snapshot)
	outcome.Links = a.links(options.Session, options.Plan, outcome.Result.Snapshot)
	if err := v.Outcome(outcome); err != nil {
		return err
	}
	if !outcome.Complete() {
		return exitCode(exitError)
	}
	return nil
}

// links are the pages about what was changed.
func (a *app) links(session *plan.Session, p *plan.Plan, s *state.Snapshot) (links []view.Link) {
	for i := range p.Changes {
		c := &p.Changes[i]
		client, _ := session.Client(c.Provider)
		linker, ok := client.(providers.Linker)
		object := s.Resources[c.Addr]
		if !ok || object == nil || c.Kind == providers.NoOp {
			continue
		}
		value, err := plan.DecodeObject(a.providers(), c.Addr.Resource.Type, object)
		if err != nil {
			continue // a page less to look at is no reason to fail after the work is done
		}
		if url := linker.Link(c.Addr.Resource.Type, value); url != "" {
			links = append(links, view.Link{Addr: c.Addr, URL: url})
		}
	}
	return links
}
