package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
)

func (a *app) localnetCommand() *cobra.Command {
	var o localnet.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "localnet",
		Short: "Run a local network to try things on: chain, contracts, market, secrets and image registry",
		Long: "Runs, in this process and until it is interrupted, an Ethereum development chain with the real PoCo contracts, a\n" +
			"market, a secret management service and an OCI registry. provider \"iexec\" { chain = \"localnet\" } uses it. It listens on the loopback interface\n" +
			"only: the keys of its accounts are known to everybody.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.asJSON(asJSON, a.localnet(cmd.Context(), o, asJSON))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.RPC, "rpc", "", "listen address of the chain's JSON-RPC (default 127.0.0.1:8545; port 0 takes any)")
	flags.StringVar(&o.Market, "market", "", "listen address of the market (default 127.0.0.1:3000)")
	flags.StringVar(&o.SMS, "sms", "", "listen address of the secret management service (default 127.0.0.1:13300)")
	flags.StringVar(&o.Registry, "registry", "", "listen address of the image registry (default 127.0.0.1:5000)")
	flags.StringVar(&o.DataDir, "data-dir", "", "keep the network in `DIR` (default: in memory, gone when it stops)")
	flags.DurationVar(&o.BlockTime, "block-time", 0, "make a block each `DURATION` (default: one for each transaction)")
	flags.StringVar(&o.Contracts, "contracts", "", "take the contracts from `DIR`, the npm package @iexec/poco unpacked or as tarball")
	flags.IntVar(&o.MaxOpenOrders, "max-open-orders", 0, "the market's limit of open orders by wallet and kind (default 50; negative: none)")
	flags.BoolVar(&asJSON, "json", false, "print one line of JSON when ready")
	return cmd
}

func (a *app) localnet(ctx context.Context, o localnet.Options, asJSON bool) (err error) {
	ctx, stop := a.interruptible(ctx, "Interrupt received: stopping the network.")
	defer stop()
	start := time.Now()
	network, err := localnet.Start(ctx, o)
	if err != nil {
		return fmt.Errorf("start the local network: %w", err)
	}
	defer func() {
		if closeErr := network.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("stop the local network: %w", closeErr)
		}
	}()
	info := network.Info()
	if asJSON {
		err = a.json().Line(info)
	} else {
		err = a.localnetInfo(info, time.Since(start))
	}
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (a *app) localnetInfo(info localnet.Info, took time.Duration) error {
	facts := [][2]string{
		{"chain id", fmt.Sprint(info.ChainID)}, {"JSON-RPC", info.RPCURL}, {"market", info.MarketURL}, {"secrets", info.SMSURL}, {"registry", info.Registry},
		{"sample image", info.SampleImage}, {"hub", info.Hub.Hex()}, {"RLC", info.RLC.Hex()},
	}
	h := a.human()
	if err := h.Facts(fmt.Sprintf("The local network is ready after %s.", took.Round(time.Millisecond)), facts); err != nil {
		return err
	}
	var accounts [][2]string
	for _, account := range info.Accounts {
		accounts = append(accounts, [2]string{account.Address.Hex(), account.PrivateKey})
	}
	if err := h.Facts("\nAccounts, with funds, and their private keys, which everybody knows:", accounts); err != nil {
		return err
	}
	return h.Print("\nUse it with provider \"iexec\" { chain = \"localnet\" }. Press Ctrl-C to stop.")
}
