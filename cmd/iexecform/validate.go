package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/config"
)

func (a *app) validateCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check the configuration, without network and without variables' values",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return a.validate(asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func (a *app) validate(asJSON bool) error {
	c, diags := config.Load(a.dir, a.providers(), config.ForVersion(version), a.withModules(), withStates())
	if asJSON {
		if err := a.json().Diagnostics(diags, c.Files()); err != nil {
			return err
		}
	} else if err := a.human().Diagnostics(diags, c.Files()); err != nil {
		return err
	}
	switch {
	case diags.HasErrors():
		return exitCode(exitError)
	case asJSON:
		return nil
	case c.Empty():
		return a.human().Print("There is no .hcl file in %s: nothing to validate. `iexecform init` makes a first one.", a.dir)
	}
	warnings := ""
	if len(diags) > 0 {
		warnings = fmt.Sprintf(", with %d warning(s)", len(diags))
	}
	return a.human().Print("Success! The configuration is valid%s.", warnings)
}
