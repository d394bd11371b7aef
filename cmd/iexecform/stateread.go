package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/state"
)

// listFilter limits `state list` to objects by what they are, whatever their resources are called.
type listFilter struct{ id, address, hash string }

func (f *listFilter) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.address, "address", "", "only what is at the `ADDRESS` on chain")
	flags.StringVar(&f.hash, "hash", "", "only what the signed order with the `HASH` belongs to")
	flags.StringVar(&f.id, "id", "", "only what has the `ID`: an address on chain or the hash of an order")
}

// has reports whether the object passes.
func (f *listFilter) has(o *state.Object) (bool, error) {
	if *f == (listFilter{}) {
		return true, nil
	}
	var known struct {
		Address string                     `json:"address"`
		Hash    string                     `json:"order_hash"`
		Orders  map[string]json.RawMessage `json:"orders"`
	}
	if err := json.Unmarshal(o.Attributes, &known); err != nil {
		return false, err
	}
	at := func(text string) bool { return strings.EqualFold(known.Address, text) }
	hash := func(text string) bool {
		return strings.EqualFold(known.Hash, text) ||
			slices.ContainsFunc(slices.Collect(maps.Keys(known.Orders)), func(h string) bool { return strings.EqualFold(h, text) })
	}
	return (f.address == "" || at(f.address)) && (f.hash == "" || hash(f.hash)) && (f.id == "" || at(f.id) || hash(f.id)), nil
}

func (a *app) stateListCommand() *cobra.Command {
	var filter listFilter
	cmd := &cobra.Command{
		Use:               "list [ADDRESS…]",
		Short:             "List the resources in the state, one a line",
		ValidArgsFunction: a.completeAddresses,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.stateList(cmd.Context(), args, filter)
		},
	}
	filter.add(cmd.Flags())
	a.addState(cmd)
	return cmd
}

func (a *app) stateList(ctx context.Context, addresses []string, filter listFilter) error {
	loaded, err := a.load(ctx)
	if err != nil {
		return err
	}
	list := sortedInstances(loaded.Snapshot)
	if len(addresses) > 0 {
		if list, err = find(loaded.Snapshot, addresses); err != nil {
			return err
		}
	}
	for _, i := range list {
		ok, err := filter.has(loaded.Snapshot.Resources[i])
		if err != nil {
			return fmt.Errorf("%s in the state: %w", i, err)
		}
		if !ok {
			continue
		}
		if err := a.human().Print("%s", i); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) stateShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "show ADDRESS",
		Short:             "Print what the state knows of a resource",
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeAddresses,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asJSON(asJSON, a.stateShow(cmd.Context(), args[0], asJSON))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.addState(cmd)
	return cmd
}

func (a *app) stateShow(ctx context.Context, address string, asJSON bool) error {
	loaded, err := a.load(ctx)
	if err != nil {
		return err
	}
	list, err := find(loaded.Snapshot, []string{address})
	if err != nil {
		return err
	}
	if len(list) > 1 {
		return fmt.Errorf("%s has %d instances: name one, such as '%s'", address, len(list), list[0])
	}
	found, err := a.objects(loaded.Snapshot, list)
	if err != nil {
		return err
	}
	if asJSON {
		return a.json().Object(found[0])
	}
	return a.human().Objects(found)
}

// sortedInstances is the objects of a state in the order in which they are listed.
func sortedInstances(s *state.Snapshot) []addr.Instance {
	return slices.SortedFunc(maps.Keys(s.Resources), addr.Instance.Compare)
}
