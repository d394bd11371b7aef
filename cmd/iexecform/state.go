package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/state"
)

func (a *app) stateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Look at the state and repair it",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return a.unknownCommand(cmd, args[0])
		},
	}
	cmd.AddCommand(a.stateListCommand(), a.stateShowCommand(), a.stateRmCommand(), a.stateMvCommand(), a.statePullCommand(), a.statePushCommand(), a.stateRebaseCommand(), a.stateReencryptCommand())
	return cmd
}

// changeOptions are the flags of the commands that change the state.
type changeOptions struct {
	lockFlags
	backupFlag
	dryRun bool
}

// addChange adds the flags of a command that changes the state.
func (a *app) addChange(cmd *cobra.Command, o *changeOptions, dryRun string) {
	o.lockFlags.add(cmd.Flags())
	o.backupFlag.add(cmd.Flags(), "a file beside the state, named after its serial")
	a.addState(cmd)
	if dryRun != "" {
		cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, dryRun)
	}
}

func (a *app) stateRmCommand() *cobra.Command {
	var o changeOptions
	cmd := &cobra.Command{
		Use:   "rm ADDRESS…",
		Short: "Forget resources, without touching what exists",
		Long: "Removes resources from the state. Nothing happens to the apps and orders themselves: an order that is published\n" +
			"stays buyable. While the configuration has them, the next plan adopts them again.",
		Args:              arguments(cobra.MinimumNArgs(1)),
		ValidArgsFunction: a.completeAddresses,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeState(cmd.Context(), "state rm", o, func(s *state.Snapshot) ([]string, error) {
				list, err := find(s, args)
				if err != nil {
					return nil, err
				}
				var done []string
				for _, i := range list {
					delete(s.Resources, i)
					done = append(done, "Forgot "+i.String())
				}
				return done, nil
			})
		},
	}
	a.addChange(cmd, &o, "only print what would be forgotten")
	return cmd
}

func (a *app) stateMvCommand() *cobra.Command {
	var o changeOptions
	cmd := &cobra.Command{
		Use:               "mv SOURCE DESTINATION [SOURCE DESTINATION…]",
		Short:             "Give resources in the state another address, as the configuration has it now",
		Args:              arguments(cobra.MinimumNArgs(2)),
		ValidArgsFunction: a.completeAddresses,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args)%2 != 0 {
				return &usageError{cmd, fmt.Errorf("%s has no destination: give addresses in pairs", args[len(args)-1])}
			}
			return a.changeState(cmd.Context(), "state mv", o, func(s *state.Snapshot) (done []string, err error) {
				for pair := range slices.Chunk(args, 2) {
					moved, err := move(s, pair[0], pair[1])
					if err != nil {
						return nil, err
					}
					done = append(done, moved...)
				}
				return done, nil
			})
		},
	}
	a.addChange(cmd, &o, "only print what would be moved")
	return cmd
}

// move renames an instance, or all instances of a resource, and the dependencies on them.
func move(s *state.Snapshot, from, to string) (done []string, err error) {
	list, err := find(s, []string{from})
	if err != nil {
		return nil, err
	}
	target, err := addr.ParseInstance(to)
	if err != nil {
		return nil, err
	}
	source := list[0]
	whole := len(list) > 1 || source.String() != from
	switch {
	case target.Resource.Mode != addr.Managed || target.Resource.Type != source.Resource.Type:
		return nil, fmt.Errorf("%s can't become %s: its type is and stays %s", from, to, source.Resource.Type)
	case whole && !target.Key.IsZero():
		return nil, fmt.Errorf("%s has several instances, so it can't become the one instance %s", from, to)
	}
	var moves []state.Moved
	for _, i := range list {
		name := target
		if whole {
			name.Key = i.Key
		}
		if _, taken := s.Resources[name]; taken {
			return nil, fmt.Errorf("the state has %s already: forget that first, with `iexecform state rm '%s'`", name, name)
		}
		moves = append(moves, state.Moved{From: i, To: name})
		done = append(done, fmt.Sprintf("Moved %s to %s", i, name))
	}
	moved, err := state.MoveObjects(s, moves)
	if err != nil {
		return nil, err
	}
	s.Resources = moved.Resources
	return done, nil
}

// changeState lets change edit a copy of the state and writes it, unless it is a dry run.
func (a *app) changeState(ctx context.Context, operation string, o changeOptions, change func(*state.Snapshot) ([]string, error)) error {
	return a.changeLoaded(ctx, operation, o, func(_ *state.Loaded, s *state.Snapshot) ([]string, error) { return change(s) })
}

// changeLoaded is changeState for what may drop unsettled notes too.
func (a *app) changeLoaded(ctx context.Context, operation string, o changeOptions, change func(*state.Loaded, *state.Snapshot) ([]string, error)) error {
	store, loaded, unlock, err := a.hold(ctx, operation, o.lockFlags)
	if err != nil {
		return err
	}
	defer unlock()
	if err := a.human().Diagnostics(repaired(loaded), nil); err != nil {
		return err
	}
	s := *loaded.Snapshot
	s.Resources = maps.Clone(s.Resources)
	done, err := change(loaded, &s)
	if err != nil {
		return err
	}
	if len(done) == 0 {
		return nil
	}
	if o.dryRun {
		if err := a.human().Print("Dry run, nothing is written:"); err != nil {
			return err
		}
	} else if err := a.replaceState(ctx, store, loaded, &s, o); err != nil {
		return err
	}
	for _, line := range done {
		if err := a.human().Print("%s", line); err != nil {
			return err
		}
	}
	return nil
}

// replaceState writes a new snapshot, and before that a backup of the old one.
func (a *app) replaceState(ctx context.Context, store state.Store, loaded *state.Loaded, s *state.Snapshot, o changeOptions) error {
	if _, err := a.backUp(ctx, loaded.Snapshot, o.backupFlag, true); err != nil {
		return err
	}
	s.Serial, s.Tool = loaded.Snapshot.Serial+1, version
	return store.Compact(ctx, s, loaded.Pending)
}

func (a *app) statePullCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pull",
		Short: "Print the state file's content, the journal folded in",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := a.load(cmd.Context())
			if err != nil {
				return err
			}
			b, err := state.Encode(loaded.Snapshot)
			if err != nil {
				return err
			}
			_, err = a.streams.Out.Write(b)
			return err
		},
	}
	a.addState(cmd)
	return cmd
}

func (a *app) statePushCommand() *cobra.Command {
	var o changeOptions
	var force bool
	cmd := &cobra.Command{
		Use:   "push FILE",
		Short: "Replace the state by that of a file, or with - of standard input",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.statePush(cmd.Context(), args[0], o, force)
		},
	}
	a.addChange(cmd, &o, "")
	cmd.Flags().BoolVar(&force, "force", false, "push a state of another lineage, an older one, or one that was edited by hand, too, whatever is stored")
	return cmd
}

func (a *app) statePush(ctx context.Context, name string, o changeOptions, force bool) error {
	b, err := a.readInput(name)
	if err != nil {
		return err
	}
	pushed, err := a.decodeState(b)
	if err != nil && (!force || pushed == nil) {
		return fmt.Errorf("%s: %w", name, err)
	}
	store, err := a.store(ctx)
	if err != nil {
		return err
	}
	unlock, err := a.lock(ctx, store, "state push", o.lockFlags)
	if err != nil {
		return err
	}
	defer unlock()
	loaded, err := store.Load(ctx)
	edited := err != nil && loaded != nil // of the stored state, which may be the one that is pushed
	if err != nil && (!force || !edited) {
		return err
	}
	if err := a.human().Diagnostics(repaired(loaded), nil); err != nil {
		return err
	}
	if err := state.CheckPush(loaded.Snapshot, pushed, force); err != nil {
		return err
	}
	stored, err := state.Encode(loaded.Snapshot)
	if err != nil {
		return err
	}
	canonical, err := state.Encode(pushed)
	if err != nil {
		return err
	}
	if bytes.Equal(stored, canonical) && loaded.Records == 0 && !edited {
		return a.human().Print("The state is the same already.")
	}
	if err := a.replaceState(ctx, store, loaded, pushed, o); err != nil {
		return err
	}
	return a.human().Print("The state is replaced; its serial is %d now.", pushed.Serial)
}

// readInput reads a file, or standard input for "-".
func (a *app) readInput(name string) ([]byte, error) {
	if name == "-" {
		b, err := io.ReadAll(a.streams.In)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return b, nil
	}
	b, err := os.ReadFile(a.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file %s", name)
	}
	return b, err
}

// find returns the instances that addresses name, each once, sorted; an address without key names every instance.
func find(s *state.Snapshot, addresses []string) ([]addr.Instance, error) {
	wanted, err := parseAddresses("address", addresses)
	if err != nil {
		return nil, err
	}
	all := sortedInstances(s)
	found := map[addr.Instance]bool{}
	for _, w := range wanted {
		known := false
		for _, i := range all {
			if w.Covers(i) {
				found[i], known = true, true
			}
		}
		if !known {
			names := make([]string, len(all))
			for k, i := range all {
				names[k] = i.String()
			}
			return nil, fmt.Errorf("the state has no %s.%s `iexecform state list` lists what it has", w, config.DidYouMean(w.String(), names))
		}
	}
	return slices.SortedFunc(maps.Keys(found), addr.Instance.Compare), nil
}
