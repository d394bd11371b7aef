package iexec

import (
	"context"
	"slices"

	"github.com/iexecform/iexecform/providers"
)

// Review implements providers.Reviewer.
func (c *client) Review(ctx context.Context, actions []providers.Action) ([]providers.Notice, error) {
	notices := slices.Concat(c.reviewFunds(ctx, actions), c.reviewTransfers(ctx, actions), c.reviewTime(actions))
	return notices, c.reviewOpen(ctx, actions)
}

// reviewFunds looks whether the wallet can pay for the gas. If the chain doesn't say, apply will look again.
func (c *client) reviewFunds(ctx context.Context, actions []providers.Action) []providers.Notice {
	lack, err := c.lackOfGas(ctx, actions)
	if err != nil || lack == "" {
		return nil
	}
	return []providers.Notice{{Level: providers.Warning, Attr: "wallet", Summary: lack}}
}

var _ providers.Reviewer = (*client)(nil)
