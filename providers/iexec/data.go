package iexec

import (
	"context"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// chainData is the data source iexec_chain: the chain and the wallet that the provider is configured for.
type chainData struct{}

func (chainData) table() *schema.Table {
	return &schema.Table{
		Type:    "iexec_chain",
		Doc:     "The chain that the provider is configured for, and its wallet.",
		Example: "data \"iexec_chain\" \"here\" {}\n",
		Attrs: []schema.Attr{
			{Name: "name", Type: cty.String, Mode: schema.Computed, Doc: "Name of a built-in chain; empty for another."},
			{Name: "chain_id", Type: cty.Number, Mode: schema.Computed, Doc: "Chain id (EIP-155)."},
			{Name: "hub", Type: cty.String, Mode: schema.Computed, Doc: "Address of the PoCo hub."},
			{Name: "app_registry", Type: cty.String, Mode: schema.Computed, Doc: "Address of the app registry."},
			{Name: "market_url", Type: cty.String, Mode: schema.Computed, Doc: "Base URL of the market API."},
			{Name: "registry", Type: cty.String, Mode: schema.Computed, Doc: "On `localnet`, host and port of its image registry; else empty."},
			{Name: "wallet", Type: cty.String, Mode: schema.Computed, Doc: "Address of the wallet; null when there is none."},
		},
	}
}

func (chainData) readData(ctx context.Context, c *client, req providers.DataRequest) (providers.DataResult, error) {
	registry, err := c.registryOf(ctx, poco.AppEntry)
	if err != nil {
		return providers.DataResult{}, err
	}
	wallet := cty.NullVal(cty.String)
	if c.wallet != nil {
		wallet = cty.StringVal(c.wallet.Address().Hex())
	}
	return providers.DataResult{Value: cty.ObjectVal(map[string]cty.Value{
		"name": cty.StringVal(c.Name), "chain_id": cty.NumberUIntVal(c.ID), "hub": cty.StringVal(c.Hub.Hex()),
		"app_registry": cty.StringVal(registry.Hex()), "market_url": cty.StringVal(c.Market),
		"registry": cty.StringVal(c.Registry), "wallet": wallet,
	})}, nil
}
