package iexec

import (
	"context"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// orderData is the data source iexec_order: a published order of any kind, by its hash.
type orderData struct{}

func (orderData) table() *schema.Table {
	return &schema.Table{
		Type: "iexec_order",
		Doc: "An order of any kind by its hash. The order itself comes from the market, so it must have been published; how much of it is used up comes from the chain. " +
			"An unpublished order can't be found by its hash.",
		Example: "data \"iexec_order\" \"theirs\" {\n  hash = \"0x49fe49d7c14c667af0b26933a8dce293fd0dcdb0ba9b53a125f5210eaa030faf\"\n}\n",
		Attrs: []schema.Attr{
			bytes32Attr(schema.Attr{Name: "hash", Mode: schema.Required, Doc: "EIP-712 hash of the order."}),
			kindAttr(schema.Attr{Name: "kind", Mode: schema.OptionalComputed, Doc: "`apporder`, `datasetorder`, `workerpoolorder` or `requestorder`. Left out: found out, which takes up to four requests."}),
			{Name: "order", Type: cty.Map(cty.String), Mode: schema.Computed, Doc: "The order's fields as text, by the protocol's names."},
			{Name: "sign", Type: cty.String, Mode: schema.Computed, Doc: "Its signature."},
			addressAttr(schema.Attr{Name: "signer", Mode: schema.Computed, Doc: "Who signed it."}),
			{Name: "status", Type: cty.String, Mode: schema.Computed, Doc: "`open`, `filled` (used up), `canceled` (closed on chain) or `dead` (the signer can't honour it any more)."},
			priceAttr(schema.Attr{Name: "price", Mode: schema.Computed, Doc: "Its price in nRLC; of a request order the most for the workerpool."}),
			{Name: "volume", Type: cty.Number, Mode: schema.Computed, Doc: "Its volume."},
			{Name: "consumed", Type: cty.Number, Mode: schema.Computed, Doc: "How much of it is used up on chain; all of it once it is closed."},
			{Name: "remaining", Type: cty.Number, Mode: schema.Computed, Doc: "How much of it can still be used."},
			{Name: "published", Type: cty.String, Mode: schema.Computed, Doc: "When it was published."},
		},
	}
}

func (orderData) readData(ctx context.Context, c *client, req providers.DataRequest) (providers.DataResult, error) {
	if err := c.pin(ctx); err != nil {
		return providers.DataResult{}, err
	}
	d := objectOf(req.Config)
	hash := common.HexToHash(d.str("hash"))
	kinds := poco.Kinds()
	if k := kindOf(d.str("kind")); k != nil {
		kinds = []*poco.Kind{k}
	}
	var kind *poco.Kind
	var row *market.Row
	for _, k := range kinds {
		var err error
		if row, err = c.market.Get(ctx, k, hash); err != nil {
			return providers.DataResult{}, err
		}
		if row != nil {
			kind = k
			break
		}
	}
	if row == nil {
		what := "order"
		if len(kinds) == 1 {
			what = kinds[0].Noun
		}
		return providers.DataResult{}, providers.At("hash", fmt.Errorf("the market at %s has no %s %s: it was never published, or it was unpublished", c.Market, what, hash))
	}
	if computed, err := c.Domain().OrderHash(kind, row.Order); err != nil || computed != hash {
		return providers.DataResult{}, providers.At("hash", fmt.Errorf("the market's %s for %s has hash %s: don't use it, and check market_url and hub", kind.Noun, hash, computed))
	}
	consumed, err := c.consumedOf(ctx, []common.Hash{hash}, nil)
	if err != nil {
		return providers.DataResult{}, err
	}
	volume := number(row.Order["volume"])
	remaining := new(big.Int).Sub(volume, consumed[0])
	if remaining.Sign() <= 0 {
		remaining.SetInt64(0)
		if row.Status == market.Open { // the market hasn't noticed yet
			row.Status = market.Filled
		}
	}
	return providers.DataResult{Value: d.with(map[string]cty.Value{
		"kind": cty.StringVal(kind.Noun), "order": fieldsValue(row.Order), "sign": cty.StringVal(row.Sign), "signer": cty.StringVal(row.Signer.Hex()),
		"status": cty.StringVal(row.Status), "price": bigNumber(number(row.Order[kind.Price])), "volume": bigNumber(volume),
		"consumed": bigNumber(consumed[0]), "remaining": bigNumber(remaining), "published": cty.StringVal(row.PublicationTimestamp),
	}).Cty()}, nil
}
