package iexec

import (
	"context"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// accountData is the data source iexec_account: what an address has at the hub.
type accountData struct{}

func (accountData) table() *schema.Table {
	return &schema.Table{
		Type:    "iexec_account",
		Doc:     "The hub account of an address: what buyers pay from, and where sellers are paid.",
		Example: "data \"iexec_account\" \"mine\" {}\n",
		Attrs: []schema.Attr{
			addressAttr(schema.Attr{Name: "address", Mode: schema.OptionalComputed, Doc: "Whose account. Left out: the wallet's."}),
			priceAttr(schema.Attr{Name: "stake", Mode: schema.Computed, Doc: "What can be spent or withdrawn, in nRLC."}),
			priceAttr(schema.Attr{Name: "locked", Mode: schema.Computed, Doc: "What is held back for deals that aren't finished, in nRLC."}),
		},
	}
}

func (accountData) readData(ctx context.Context, c *client, req providers.DataRequest) (providers.DataResult, error) {
	if err := c.pin(ctx); err != nil {
		return providers.DataResult{}, err
	}
	d := objectOf(req.Config)
	address := d.address("address")
	if address == (common.Address{}) && d.str("address") == "" {
		var err error
		if address, err = c.address(); err != nil {
			return providers.DataResult{}, err
		}
	}
	balances, err := c.balancesOf(ctx, []common.Address{address})
	if err != nil {
		return providers.DataResult{}, err
	}
	return providers.DataResult{Value: balances[0].set(object{d.with(map[string]cty.Value{"address": cty.StringVal(address.Hex())})}).Cty()}, nil
}
