package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/state"
)

func (a *app) stateRebaseCommand() *cobra.Command {
	var o changeOptions
	cmd := &cobra.Command{
		Use:   "rebase-network [PROVIDER…]",
		Short: "Let the state belong to the network that its provider reaches now",
		Long: "For a network that was reset: forgets which network the state's objects were made on, and the transactions that were under\n" +
			"way there. The next plan finds what exists on the network as it is now, and plans the rest anew. Nothing is sent.\n" +
			"PROVIDER is a provider configuration such as iexec or iexec.test; without it, all of them are meant.",
		Args: arguments(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeLoaded(cmd.Context(), "state rebase-network", o, func(loaded *state.Loaded, s *state.Snapshot) ([]string, error) {
				return rebase(loaded, s, args)
			})
		},
	}
	a.addChange(cmd, &o, "only print what would be forgotten")
	return cmd
}

// rebase forgets the networks of provider configurations, all without names, and what was unsettled there.
func rebase(loaded *state.Loaded, s *state.Snapshot, names []string) (done []string, err error) {
	known := slices.Sorted(maps.Keys(s.Networks))
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("the state knows no network of provider %s; it knows those of %s", name, strings.Join(known, ", "))
		}
	}
	if len(names) == 0 {
		names = known
	}
	s.Networks = maps.Clone(s.Networks)
	for _, name := range names {
		was := s.Networks[name]
		delete(s.Networks, name)
		done = append(done, fmt.Sprintf("Provider %s: the network that the state was made on (%s) is forgotten. The next plan takes that which the provider reaches", name, factsText(was)))
	}
	before := len(loaded.Pending)
	loaded.Pending = slices.DeleteFunc(loaded.Pending, func(n state.Note) bool { return n.Owner == "" || slices.Contains(names, n.Owner) })
	if n := before - len(loaded.Pending); n > 0 {
		done = append(done, fmt.Sprintf("Forgot what was under way there: %d", n))
	}
	return done, nil
}

func factsText(facts map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		list = append(list, name+" "+facts[name])
	}
	return strings.Join(list, ", ")
}
