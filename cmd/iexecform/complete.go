package main

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/config"
)

// Completion for shells knows what is there: resources of the state and the configuration, outputs, workspaces. It reads files
// only, and offers nothing where they can't be read.

func offered(names []string, err error) ([]cobra.Completion, cobra.ShellCompDirective) {
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeAddresses offers the resources of the state.
func (a *app) completeAddresses(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	loaded, err := a.load(cmd.Context())
	if err != nil {
		return offered(nil, err)
	}
	var names []string
	for _, i := range sortedInstances(loaded.Snapshot) {
		names = append(names, i.String())
	}
	return offered(names, nil)
}

// completeTargets offers the resources of the state, and the blocks of the configuration.
func (a *app) completeTargets(cmd *cobra.Command, args []string, text string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names, _ := a.completeAddresses(cmd, args, text)
	if c, diags := config.Load(a.dir, a.providers(), a.withModules()); !diags.HasErrors() {
		for _, d := range c.Blocks() {
			names = append(names, d.Addr.String())
		}
	}
	slices.Sort(names)
	return offered(slices.Compact(names), nil)
}

// completeOutputs offers the outputs of the state.
func (a *app) completeOutputs(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	loaded, err := a.load(cmd.Context())
	if err != nil || len(args) > 0 {
		return offered(nil, err)
	}
	return offered(slices.Sorted(maps.Keys(loaded.Snapshot.Outputs)), nil)
}

// completeWorkspaces offers the workspaces.
func (a *app) completeWorkspaces(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return offered(nil, nil)
	}
	return offered(a.workspaces(cmd.Context()))
}
