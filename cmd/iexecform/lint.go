package main

import (
	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/lint"
	"github.com/iexecform/iexecform/config"
)

type lintOptions struct {
	inputFlags
	json, strict bool
}

func (a *app) lintCommand() *cobra.Command {
	var o lintOptions
	cmd := &cobra.Command{
		Use:   "lint",
		Short: "Look for what is allowed but probably not meant, without network",
		Long: "Looks at the configuration alone, without network and state, for what is allowed but probably not meant: image tags that\n" +
			"move, orders that nobody can match or everybody can use for ever, declarations that nothing uses, and more. A comment\n" +
			"`# iexecform:ignore RULE` silences a rule for the line or block after it.\n\n" +
			"Exit code: 0; with --strict 2 if there are warnings; 1 for a configuration that isn't valid.",
		Args: arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return a.asJSON(o.json, a.lint(o))
		},
	}
	flags := cmd.Flags()
	o.addVariables(flags)
	flags.BoolVar(&o.json, "json", false, "print the findings as JSON")
	flags.BoolVar(&o.strict, "strict", false, "exit 2 when there are warnings")
	return cmd
}

func (a *app) lint(o lintOptions) error {
	c, _, err := a.loadConfig()
	if err != nil {
		return err
	}
	inputs, diags := c.Inputs(config.InputSources{Environ: a.env, Args: o.args, Partial: true})
	if diags.HasErrors() {
		return &failure{err: diags, sources: c.Files()}
	}
	findings, diags := lint.Run(c, inputs)
	if diags.HasErrors() {
		return &failure{err: diags, sources: c.Files()}
	}
	if o.json {
		err = a.json().Findings(findings, c.Files())
	} else {
		err = a.human().Findings(findings, c.Files())
	}
	if err != nil || !o.strict {
		return err
	}
	for _, f := range findings {
		if f.Rule.Severity == lint.Warning {
			return exitCode(exitChanges)
		}
	}
	return nil
}
