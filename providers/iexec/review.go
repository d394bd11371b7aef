package iexec

import (
	"cmp"
	"context"
	"fmt"
	"math/big"
	"slices"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
)

// Review implements providers.Reviewer.
func (c *client) Review(ctx context.Context, actions []providers.Action) ([]providers.Notice, error) {
	notices := slices.Concat(c.reviewFunds(ctx, actions), c.reviewWallet(), c.reviewFees(ctx, actions), c.reviewStrangers(ctx, actions),
		c.reviewTransfers(ctx, actions), c.reviewTime(actions))
	return notices, c.reviewOpen(ctx, actions)
}

// reviewWallet warns of files that others can read, or replace.
func (c *client) reviewWallet() (notices []providers.Notice) {
	if c.wallet == nil {
		return nil
	}
	for _, name := range c.wallet.Exposed() {
		notices = append(notices, providers.Notice{Level: providers.Warning, Attr: "wallet",
			Summary: fmt.Sprintf("other users of this machine can read %s, and with it sign as %s: run `chmod 600 %s`", name, c.wallet.Address(), name)})
	}
	return notices
}

// reviewFunds looks whether the wallet can pay for the gas. If the chain doesn't say, apply will look again.
func (c *client) reviewFunds(ctx context.Context, actions []providers.Action) []providers.Notice {
	lack, err := c.lackOfGas(ctx, actions)
	if err != nil || lack == "" {
		return nil
	}
	return []providers.Notice{{Level: providers.Warning, Attr: "wallet", Summary: lack}}
}

// reviewFees tells the cap of the fees, if there is one.
func (c *client) reviewFees(ctx context.Context, actions []providers.Action) []providers.Notice {
	if c.maxFee == nil || !takesGas(actions) {
		return nil
	}
	text := fmt.Sprintf("max_fee_gwei = %s: no transaction offers more per gas, not even when it is sent again; one that needs more is held", c.maxFee)
	fees, err := c.fees(ctx)
	if err != nil {
		return []providers.Notice{{Level: providers.Info, Attr: "max_fee_gwei", Summary: text}}
	}
	level := providers.Info
	if now := cmp.Or(fees.Base, fees.Cap); now.Cmp(new(big.Int).Mul(c.maxFee, big.NewInt(1e9))) > 0 {
		level = providers.Warning
	}
	return []providers.Notice{{Level: level, Attr: "max_fee_gwei", Summary: fmt.Sprintf("%s (the network wants %s now)", text, chain.Gwei(cmp.Or(fees.Base, fees.Cap)))}}
}

func takesGas(actions []providers.Action) bool {
	return slices.ContainsFunc(actions, func(a providers.Action) bool { return a.Cost.Gas > 0 })
}

// reviewStrangers looks whether transactions of the wallet are pending that nobody here knows.
func (c *client) reviewStrangers(ctx context.Context, actions []providers.Action) []providers.Notice {
	if c.sender == nil || !takesGas(actions) {
		return nil
	}
	nonces, err := c.sender.Strangers(ctx)
	if err != nil || len(nonces) == 0 {
		return nil
	}
	text := fmt.Sprintf("a pending transaction with nonce %d that no journal of this state knows", nonces[0])
	if len(nonces) > 1 {
		text = fmt.Sprintf("%d pending transactions from nonce %d on that no journal of this state knows", len(nonces), nonces[0])
	}
	return []providers.Notice{{Level: providers.Warning, Attr: "wallet", Summary: fmt.Sprintf(
		"wallet %s has %s: apply waits until the node has mined what is pending, and then looks again what is left to do", c.wallet.Address(), text)}}
}

var _ providers.Reviewer = (*client)(nil)
