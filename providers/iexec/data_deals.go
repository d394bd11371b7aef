package iexec

import (
	"context"
	"errors"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/market"
)

// dealsData is the data source iexec_deals: who bought what.
type dealsData struct{}

func dealFilters() []marketFilter {
	address := func(name, param, doc string) marketFilter {
		return marketFilter{addressAttr(schema.Attr{Name: name, Mode: schema.Optional, Doc: doc}), param, nil}
	}
	filters := []marketFilter{
		address("requester", "requester", "Who bought."),
		address("beneficiary", "beneficiary", "Who gets the results."),
	}
	for _, r := range []string{"app", "dataset", "workerpool"} {
		filters = append(filters, address(r, r, "Deals with this "+r+"."),
			address(r+"_owner", r+"Owner", "Deals with a "+r+" that belonged to this address at that time."))
	}
	for _, o := range []string{"apporder", "datasetorder", "workerpoolorder", "requestorder"} {
		filters = append(filters, marketFilter{bytes32Attr(schema.Attr{Name: o + "_hash", Mode: schema.Optional, Doc: "Deals that used this " + o + "."}), o + "Hash", nil})
	}
	return append(filters, marketFilter{uintAttr(schema.Attr{Name: "category", Mode: schema.Optional, Doc: "Deals of this category."}, 0), "category", nil})
}

// dealType is the type of one deal of the list.
var dealType = cty.Object(map[string]cty.Type{
	"dealid": cty.String, "time": cty.String, "block": cty.Number, "transaction": cty.String,
	"requester": cty.String, "beneficiary": cty.String, "callback": cty.String, "params": cty.String,
	"volume": cty.Number, "category": cty.Number, "trust": cty.Number, "tag": cty.String,
	"app": cty.String, "app_owner": cty.String, "appprice": cty.Number, "apporder_hash": cty.String,
	"dataset": cty.String, "dataset_owner": cty.String, "datasetprice": cty.Number, "datasetorder_hash": cty.String,
	"workerpool": cty.String, "workerpool_owner": cty.String, "workerpoolprice": cty.Number, "workerpoolorder_hash": cty.String,
	"requestorder_hash": cty.String,
})

func (dealsData) table() *schema.Table {
	t := &schema.Table{
		Type: "iexec_deals",
		Doc: "Deals: who bought what, at which price, and when; newest first. They come from the market, which follows the chain with a delay. " +
			"Set at least one filter.",
		Example: "data \"iexec_deals\" \"sold\" {\n  app = iexec_app.nilearn.address\n}\n\noutput \"income\" {\n  value = data.iexec_deals.sold.app_income\n}\n",
	}
	for _, f := range dealFilters() {
		t.Attrs = append(t.Attrs, f.Attr)
	}
	t.Attrs = append(t.Attrs, limitAttr("deals, the newest"),
		schema.Attr{Name: "deals", Type: cty.List(dealType), Mode: schema.Computed,
			Doc: "The deals: `dealid`, `time`, `block`, `transaction`, `requester`, `beneficiary`, `callback`, `params`, `volume` (tasks), `category`, `trust`, `tag`, " +
				"then for `app`, `dataset` and `workerpool` the address (null: none), as in `app_owner` the owner at that time, as in `appprice` the price in nRLC of each task, as in `apporder_hash` the order, " +
				"and `requestorder_hash`."},
		schema.Attr{Name: "volume", Type: cty.Number, Mode: schema.Computed, Doc: "Sum of the deals' tasks."})
	for _, r := range []string{"app", "dataset", "workerpool"} {
		t.Attrs = append(t.Attrs, priceAttr(schema.Attr{Name: r + "_income", Mode: schema.Computed,
			Doc: "Sum of volume times " + r + "price over the deals, in nRLC. The owner is paid task by task, when one is finished; the tasks that never are aren't paid."}))
	}
	return t
}

func (dealsData) readData(ctx context.Context, c *client, req providers.DataRequest) (providers.DataResult, error) {
	d := objectOf(req.Config)
	query, err := marketQuery(d, dealFilters(), nil)
	if err != nil {
		return providers.DataResult{}, err
	}
	if len(query) == 0 {
		var names []string
		for _, f := range dealFilters() {
			names = append(names, f.Name)
		}
		return providers.DataResult{}, errors.New("without a filter these would be the deals of everybody: set at least one of " + strings.Join(names, ", "))
	}
	deals, err := c.market.Deals(ctx, query, limitOf(d))
	if err != nil {
		return providers.DataResult{}, err
	}
	values := make([]cty.Value, len(deals))
	volume, app, dataset, workerpool := new(big.Int), new(big.Int), new(big.Int), new(big.Int)
	for i := range deals {
		values[i] = dealValue(&deals[i])
		volume.Add(volume, deals[i].Volume)
		for _, sum := range []struct{ to, price *big.Int }{{app, deals[i].App.Price}, {dataset, deals[i].Dataset.Price}, {workerpool, deals[i].Workerpool.Price}} {
			sum.to.Add(sum.to, new(big.Int).Mul(sum.price, deals[i].Volume))
		}
	}
	return providers.DataResult{Value: d.with(map[string]cty.Value{
		"deals": listOf(dealType, values), "volume": bigNumber(volume),
		"app_income": bigNumber(app), "dataset_income": bigNumber(dataset), "workerpool_income": bigNumber(workerpool),
	}).Cty()}, nil
}

func dealValue(d *market.Deal) cty.Value {
	attrs := map[string]cty.Value{
		"dealid": cty.StringVal(d.ID.Hex()), "time": cty.StringVal(d.BlockTimestamp), "block": bigNumber(d.BlockNumber),
		"transaction": cty.StringVal(d.TransactionHash.Hex()),
		"requester":   cty.StringVal(d.Requester.Hex()), "beneficiary": cty.StringVal(d.Beneficiary.Hex()), "callback": cty.StringVal(d.Callback.Hex()),
		"params": cty.StringVal(d.Params), "volume": bigNumber(d.Volume), "category": bigNumber(d.Category), "trust": bigNumber(d.Trust),
		"tag": cty.StringVal(d.Tag.Hex()), "requestorder_hash": cty.StringVal(d.RequestHash.Hex()),
	}
	for _, r := range []struct {
		name string
		of   *market.DealResource
		hash string
	}{{"app", &d.App, d.AppHash.Hex()}, {"dataset", &d.Dataset, d.DatasetHash.Hex()}, {"workerpool", &d.Workerpool, d.WorkerpoolHash.Hex()}} {
		attrs[r.name+"price"] = bigNumber(r.of.Price)
		attrs[r.name], attrs[r.name+"_owner"], attrs[r.name+"order_hash"] = cty.NullVal(cty.String), cty.NullVal(cty.String), cty.NullVal(cty.String)
		if r.of.Address != (common.Address{}) {
			attrs[r.name], attrs[r.name+"_owner"], attrs[r.name+"order_hash"] = cty.StringVal(r.of.Address.Hex()), cty.StringVal(r.of.Owner.Hex()), cty.StringVal(r.hash)
		}
	}
	return cty.ObjectVal(attrs)
}
