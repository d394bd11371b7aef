package iexec

import (
	"context"

	"github.com/iexecform/iexecform/providers"
)

// Review implements providers.Reviewer.
func (c *client) Review(ctx context.Context, actions []providers.Action) []providers.Notice {
	return c.reviewOrders(ctx, actions)
}

var _ providers.Reviewer = (*client)(nil)
