package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/state"
)

// A tainted object is replaced by the next apply. It is meant for orders: whatever is registered has its address from its
// fields, so there can't be another one with the same fields.

type taintOptions struct {
	changeOptions
	allowMissing bool
}

func (a *app) taintCommand() *cobra.Command {
	var o taintOptions
	cmd := &cobra.Command{
		Use:   "taint ADDRESS",
		Short: "Mark an order to be replaced by the next apply",
		Long: "Marks an object in the state, so that the next plan replaces it: an order is closed and signed anew. `iexecform plan\n" +
			"--replace=ADDRESS` does the same without changing the state first.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.taint(cmd, args[0], true, o) },
	}
	a.addTaint(cmd, &o)
	return cmd
}

func (a *app) untaintCommand() *cobra.Command {
	var o taintOptions
	cmd := &cobra.Command{
		Use:   "untaint ADDRESS",
		Short: "Take back a taint",
		RunE:  func(cmd *cobra.Command, args []string) error { return a.taint(cmd, args[0], false, o) },
	}
	a.addTaint(cmd, &o)
	return cmd
}

func (a *app) addTaint(cmd *cobra.Command, o *taintOptions) {
	cmd.Args, cmd.ValidArgsFunction = arguments(cobra.ExactArgs(1)), a.completeAddresses
	a.addChange(cmd, &o.changeOptions, "")
	cmd.Flags().BoolVar(&o.allowMissing, "allow-missing", false, "succeed though the state has no such object")
}

func (a *app) taint(cmd *cobra.Command, address string, tainted bool, o taintOptions) error {
	return a.changeState(cmd.Context(), cmd.Name(), o.changeOptions, func(s *state.Snapshot) ([]string, error) {
		list, err := find(s, []string{address})
		if err != nil && o.allowMissing {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		var done []string
		for _, i := range list {
			object := *s.Resources[i]
			table := a.providers().ResourceTable(i.Resource.Type)
			switch {
			case tainted && table != nil && table.Permanent:
				return nil, fmt.Errorf("%s can't be tainted: another %s with the same arguments can't be made. Change an argument, and a new one is", i, i.Resource.Type)
			case object.Tainted == tainted:
				return nil, fmt.Errorf("%s is %s already", i, taintText(tainted))
			}
			object.Tainted = tainted
			s.Resources[i] = &object
			done = append(done, fmt.Sprintf("%s is now %s.", i, taintText(tainted)))
		}
		return done, nil
	})
}

func taintText(tainted bool) string {
	if tainted {
		return "tainted"
	}
	return "not tainted"
}
