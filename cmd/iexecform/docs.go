package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/backends"
	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
)

func (a *app) docsCommand() *cobra.Command {
	var scripts string
	cmd := &cobra.Command{
		Use:    "docs DIR",
		Short:  "Write the reference pages into a directory",
		Hidden: true,
		Args:   arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if scripts != "" {
				return writeComparison(args[0], scripts)
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("write reference pages: %w", err)
			}
			for name, text := range view.Reference(a.providers(), backends.Tables(), cmd.Root()) {
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
					return fmt.Errorf("write reference pages: %w", err)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&scripts, "comparison", "", "write only the comparison with Terraform, from the scripts in `DIR`")
	return cmd
}

// comparisonPage is its name in the directory of the documentation.
const comparisonPage = "terraform.md"

func writeComparison(dir, scripts string) error {
	list, err := rows(os.DirFS(scripts))
	if err != nil {
		return err
	}
	seen, err := filepath.Rel(dir, scripts)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, comparisonPage), []byte(view.Comparison(list, filepath.ToSlash(seen))), 0o644)
}
