package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) stateReencryptCommand() *cobra.Command {
	var o changeOptions
	cmd := &cobra.Command{
		Use:   "reencrypt",
		Short: "Store the state as the encryption block says: encrypted, with other keys, or in the clear",
		Long: "Reads the state with the keys of the encryption block, or with the former ones in IEXECFORM_ENCRYPTION_FORMER_PASSPHRASE or\n" +
			"IEXECFORM_ENCRYPTION_FORMER_IDENTITY, or in the clear, and writes it as the block says; without a block in the clear, with\n" +
			"the key to read it in IEXECFORM_ENCRYPTION_PASSPHRASE or IEXECFORM_ENCRYPTION_IDENTITY.\n\n" +
			"It is about the selected workspace. Copies that a backend or git keeps of former states stay as they are.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.stateReencrypt(cmd.Context(), o) },
	}
	a.addChange(cmd, &o, "")
	return cmd
}

func (a *app) stateReencrypt(ctx context.Context, o changeOptions) error {
	a.changing = true
	store, loaded, unlock, err := a.hold(ctx, "state reencrypt", o.lockFlags)
	if err != nil {
		return err
	}
	defer unlock()
	if isEmpty(loaded) {
		return a.human().Print("There is no state yet: the first one will be written as the configuration says.")
	}
	s := *loaded.Snapshot
	if err := a.replaceState(ctx, store, loaded, &s, o); err != nil {
		return err
	}
	how := "in the clear"
	if a.codec.Encrypts() {
		how = "encrypted with the present keys"
	}
	return a.human().Print("The state is stored %s now; its serial is %d.", how, s.Serial)
}
