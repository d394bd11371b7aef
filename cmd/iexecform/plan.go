package main

import (
	"errors"
	"fmt"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/plan"
)

type planCommandOptions struct {
	planOptions
	out      string
	detailed bool
	generate string
}

func (a *app) planCommand() *cobra.Command {
	var o planCommandOptions
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what apply would do, and change nothing",
		Long: "Reads the configuration, the state, the chain, the market and the image registry, and prints what would change and\n" +
			"the numbered actions that do it.\n\n" +
			"Exit code with --detailed-exitcode: 0 when there is nothing to do, 2 when there is, 1 for an error.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			if o.generate != "" && o.mode() != plan.Normal {
				return &usageError{cmd, errors.New("--generate-config-out is for what is imported, and --destroy and --refresh-only import nothing")}
			}
			v, end, err := a.openView(o.planOptions)
			if err != nil {
				return err
			}
			defer end()
			return tell(v, a.plan(cmd, o, v))
		},
	}
	flags := cmd.Flags()
	o.addInputs(cmd, a)
	o.addModes(flags)
	flags.BoolVar(&o.concise, "concise", false, "print no progress; planning prints none")
	flags.StringVar(&o.out, "out", "", "save the plan to `FILE`, for apply")
	flags.StringVar(&o.generate, "generate-config-out", "", "write the resources that import blocks lack to the new `FILE`, and plan with them")
	flags.BoolVar(&o.detailed, "detailed-exitcode", false, "exit 2 when there is something to do")
	return cmd
}

// asJSON makes an error one that is printed as JSON.
func (a *app) asJSON(json bool, err error) error {
	if _, silent := err.(exitCode); err == nil || silent || !json {
		return err
	}
	failed, ok := err.(*failure)
	if !ok {
		failed = &failure{err: err}
	}
	failed.json = true
	return failed
}

func (a *app) plan(cmd *cobra.Command, o planCommandOptions, v applyView) error {
	ctx, stop := a.interruptible(cmd.Context(), "Interrupt received: planning ends.")
	defer stop()
	if o.generate != "" {
		if err := a.generateConfig(ctx, o.planOptions, o.generate); err != nil {
			return err
		}
	}
	o.planOnly = true
	b, err := a.build(ctx, o.planOptions, "plan")
	if err != nil {
		return err
	}
	defer b.close()
	if o.out != "" {
		if err := a.savePlan(b.plan, o.out); err != nil {
			return err
		}
	}
	if err := a.showPlan(b, o, v); err != nil {
		return err
	}
	switch {
	case b.diags.HasErrors():
		return exitCode(exitError)
	case o.detailed && !b.plan.Empty():
		return exitCode(exitChanges)
	}
	return nil
}

// savePlan writes the plan file, encrypted if the state is to be.
func (a *app) savePlan(p *plan.Plan, name string) error {
	document, _, err := plan.Encode(p, a.codec)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(a.path(name), document, 0o600); err != nil {
		return fmt.Errorf("save the plan: %w. Name a file in a directory that can be written", err)
	}
	return nil
}

// envAutomation, when it isn't empty, leaves out what only people who type commands need to be told.
const envAutomation = "IEXECFORM_IN_AUTOMATION"

// showPlan prints the plan, what came up while it was made, and how to go on.
func (a *app) showPlan(b *built, o planCommandOptions, v applyView) error {
	if b.plan.Complete || !b.plan.Empty() {
		if err := v.Plan(b.plan, false); err != nil {
			return err
		}
	}
	if err := v.Diagnostics(b.diags, b.config.Files()); err != nil {
		return err
	}
	switch {
	case !b.plan.Complete || o.json:
		return nil
	case o.out != "":
		return a.human().Print("\nThe plan is saved as %s. To do just these actions: iexecform apply %s", o.out, o.out)
	case !b.plan.Empty() && a.getenv("CI")+a.getenv(envAutomation) == "":
		return a.human().Print("\nNote: the plan was not saved with --out FILE, so `iexecform apply` will plan again and ask.")
	}
	return nil
}
