package iexec

import (
	"context"
	"fmt"
	"slices"

	"github.com/iexecform/iexecform/providers"
)

// Review implements providers.Reviewer.
func (c *client) Review(ctx context.Context, actions []providers.Action) ([]providers.Notice, error) {
	notices := slices.Concat(c.reviewFunds(ctx, actions), c.reviewWallet(), c.reviewStrangers(ctx, actions), c.reviewTransfers(ctx, actions), c.reviewTime(actions))
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

// reviewStrangers looks whether transactions of the wallet are pending that nobody here knows.
func (c *client) reviewStrangers(ctx context.Context, actions []providers.Action) []providers.Notice {
	if c.sender == nil || !slices.ContainsFunc(actions, func(a providers.Action) bool { return a.Cost.Gas > 0 }) {
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
