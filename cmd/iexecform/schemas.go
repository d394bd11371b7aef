package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/config"
)

func (a *app) providersCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "providers", Short: "Tell what providers there are", Args: arguments(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		for _, name := range a.providers().Names() {
			if err := a.human().Print("%s", name); err != nil {
				return err
			}
		}
		return nil
	}}
	var asJSON, forEditors bool
	schemas := &cobra.Command{
		Use:   "schema",
		Short: "Print what the blocks of all providers may hold",
		Long: "Prints every argument and attribute of every provider, resource and data source: with --json in the shape of Terraform's\n" +
			"`providers schema -json`, with --json-schema as a JSON Schema of *.hcl.json files, for editors.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case asJSON == forEditors:
				return &usageError{cmd, errors.New("give either --json or --json-schema; docs/reference tells people")}
			case forEditors:
				return a.json().ConfigSchema(a.providers())
			}
			return a.json().Schemas(a.providers())
		},
	}
	schemas.Flags().BoolVar(&asJSON, "json", false, "print Terraform's shape")
	schemas.Flags().BoolVar(&forEditors, "json-schema", false, "print a JSON Schema of configuration files in JSON syntax")
	cmd.AddCommand(schemas)
	return cmd
}

func (a *app) metadataCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "metadata", Short: "Tell about the language, for machines", Args: arguments(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var asJSON bool
	functions := &cobra.Command{
		Use:   "functions",
		Short: "Print the signatures of all functions",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !asJSON {
				return &usageError{cmd, errors.New("give --json; docs/reference/functions.md tells people")}
			}
			return a.json().Functions(config.Functions(a.dir, a.providers().Functions()))
		},
	}
	functions.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(functions)
	return cmd
}
