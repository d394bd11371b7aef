package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/state"
)

func (a *app) lockCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lock",
		Short: "Look at the lock of the state",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return a.unknownCommand(cmd, args[0])
		},
	}
	cmd.AddCommand(a.lockInfoCommand())
	return cmd
}

func (a *app) lockInfoCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Say who holds the lock of the state",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.asJSON(asJSON, a.lockInfo(cmd.Context(), asJSON))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.addState(cmd)
	return cmd
}

func (a *app) lockInfo(ctx context.Context, asJSON bool) error {
	_, holder, err := a.holder(ctx)
	switch {
	case err != nil:
		return err
	case asJSON:
		return a.json().Document(map[string]any{"locked": holder != nil, "holder": holder})
	case holder == nil:
		return a.human().Print("The state is not locked.")
	case holder.ID == "":
		return a.human().Print("The state is locked; by whom can't be told.")
	}
	return a.human().Facts("The state is locked:", [][2]string{
		{"id", holder.ID}, {"operation", holder.Operation}, {"who", holder.Who}, {"since", holder.Created},
	})
}

// holder is who holds the lock of the state; nil when nobody does.
func (a *app) holder(ctx context.Context) (state.Store, *state.Holder, error) {
	store, err := a.store(ctx)
	if err != nil {
		return nil, nil, err
	}
	inspector, ok := store.(state.Inspector)
	if !ok {
		return nil, nil, errors.New("this store of the state can't tell who holds its lock")
	}
	holder, err := inspector.Holder(ctx)
	return store, holder, err
}

func (a *app) forceUnlockCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "force-unlock LOCK_ID",
		Short: "Break the lock of a state whose holder is gone",
		Long: "The lock of a state in a directory belongs to a process, and ends with it, so it is never left behind and can't be\n" +
			"broken. `iexecform lock info` says who holds it, and the LOCK_ID.",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.forceUnlock(cmd.Context(), args[0], force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "don't ask")
	a.addState(cmd)
	return cmd
}

func (a *app) forceUnlock(ctx context.Context, id string, force bool) error {
	store, holder, err := a.holder(ctx)
	if err != nil {
		return err
	}
	unlocker, able := store.(state.Unlocker)
	switch {
	case holder == nil:
		return errors.New("the state is not locked: there is nothing to break. A lock ends with the process that holds it")
	case !able:
		return fmt.Errorf("the lock is held by %s for %s since %s, by a process that still runs: end that process, and the lock is gone. It can't be broken from outside",
			holder.Who, holder.Operation, holder.Created)
	case holder.ID != id:
		return fmt.Errorf("the lock has the id %q, not %q: see `iexecform lock info`", holder.ID, id)
	}
	if !force {
		question := fmt.Sprintf("Do you really want to break the lock of %s, held for %s since %s?\n  If that run is still at work, both may write.", holder.Who, holder.Operation, holder.Created)
		if err := a.confirm(ctx, question, "Unlocking", "Give --force to break it without being asked"); err != nil {
			return err
		}
	}
	if err := unlocker.ForceUnlock(ctx, id); err != nil {
		return err
	}
	return a.human().Print("The lock is broken.")
}
