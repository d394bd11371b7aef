package iexec

import (
	"context"
	"errors"
	"fmt"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// appData is the data source iexec_app: an app as the chain has it.
type appData struct{}

func (appData) table() *schema.Table {
	return &schema.Table{
		Type:    "iexec_app",
		Doc:     "An app that is registered on chain, whoever owns it.",
		Example: "data \"iexec_app\" \"theirs\" {\n  address = \"0x201B033C191C6d9640B80C672d7E0C62b933f293\"\n}\n",
		Attrs: []schema.Attr{
			addressAttr(schema.Attr{Name: "address", Mode: schema.Required, Doc: "Address of the app."}),
			addressAttr(schema.Attr{Name: "owner", Mode: schema.Computed, Doc: "Owner of the app."}),
			{Name: "name", Type: cty.String, Mode: schema.Computed, Doc: "Name of the app."},
			{Name: "type", Type: cty.String, Mode: schema.Computed, Doc: "Always `DOCKER`."},
			{Name: "multiaddr", Type: cty.String, Mode: schema.Computed, Doc: "Image reference."},
			{Name: "checksum", Type: cty.String, Mode: schema.Computed, Doc: "`0x` and the SHA-256 digest of the image."},
			{Name: "mrenclave", Type: cty.String, Mode: schema.Computed, Doc: "SGX enclave description, usually empty."},
		},
	}
}

func (appData) readData(ctx context.Context, c *client, req providers.DataRequest) (providers.DataResult, error) {
	if err := c.pin(ctx); err != nil {
		return providers.DataResult{}, err
	}
	d := object{req.Config}
	address := d.address("address")
	out := c.chain.Calls(ctx, []chain.Call{{To: c.Hub, Data: pack(poco.HubABI().Pack("viewApp", address))}})[0]
	var revert *chain.RevertError
	if errors.As(out.Err, &revert) {
		return providers.DataResult{}, providers.At("address", fmt.Errorf("there is no app at %s on chain %d", address, c.ID))
	}
	if out.Err != nil {
		return providers.DataResult{}, out.Err
	}
	owner, app, err := poco.UnpackViewApp(out.Data)
	if err != nil {
		return providers.DataResult{}, fmt.Errorf("read app %s: %w", address, err)
	}
	return providers.DataResult{Value: d.with(map[string]cty.Value{
		"owner": cty.StringVal(owner.Hex()), "name": cty.StringVal(app.Name), "type": cty.StringVal(app.Type),
		"multiaddr": cty.StringVal(string(app.Multiaddr)), "checksum": cty.StringVal(app.Checksum.Hex()), "mrenclave": cty.StringVal(string(app.MREnclave)),
	})}, nil
}

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
