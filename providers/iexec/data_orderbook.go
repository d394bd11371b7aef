package iexec

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// bookData is the data source iexec_orderbook: open orders as the market lists them.
type bookData struct{}

var (
	sellers   = []*poco.Kind{poco.AppOrder, poco.DatasetOrder, poco.WorkerpoolOrder}
	computing = []*poco.Kind{poco.WorkerpoolOrder, poco.RequestOrder}
)

func bookFilters() []marketFilter {
	resource := func(name string, doc string) marketFilter {
		return marketFilter{addressOrAnyAttr(schema.Attr{Name: name, Mode: schema.Optional, Doc: doc}), name, nil}
	}
	strict := func(name, param string, of ...*poco.Kind) marketFilter {
		return marketFilter{schema.Attr{Name: name + "_strict", Type: cty.Bool, Mode: schema.Optional,
			Doc: "Only orders restricted to `" + name + "`, not also those without restriction."}, param, of}
	}
	const restricted = " Of orders for something else it is the restriction: an address selects orders that it may use, `any` all, and left out, orders without that restriction only."
	return []marketFilter{
		resource("app", "App of an app order or request order."+restricted),
		resource("dataset", "Dataset of a dataset order or request order."+restricted),
		resource("workerpool", "Workerpool of a workerpool order."+restricted),
		resource("requester", "Requester of a request order."+restricted),
		{addressAttr(schema.Attr{Name: "owner", Mode: schema.Optional, Doc: "Who signed the order."}), "", nil},
		strict("app", "isAppStrict", poco.DatasetOrder, poco.WorkerpoolOrder),
		strict("dataset", "isDatasetStrict", poco.AppOrder, poco.WorkerpoolOrder),
		strict("workerpool", "isWorkerpoolStrict", poco.AppOrder, poco.DatasetOrder, poco.RequestOrder),
		strict("requester", "isRequesterStrict", sellers...),
		{addressAttr(schema.Attr{Name: "beneficiary", Mode: schema.Optional, Doc: "Beneficiary of a request order."}), "beneficiary", []*poco.Kind{poco.RequestOrder}},
		{tagAttr(schema.Attr{Name: "min_tag", Mode: schema.Optional, Doc: "What the order's tag must have."}), "minTag", nil},
		{tagAttr(schema.Attr{Name: "max_tag", Mode: schema.Optional, Doc: "What the order's tag may have."}), "maxTag", nil},
		{uintAttr(schema.Attr{Name: "min_volume", Mode: schema.Optional, Doc: "Least volume that remains."}, 1), "minVolume", nil},
		{uintAttr(schema.Attr{Name: "category", Mode: schema.Optional, Doc: "Category of a workerpool order or request order."}, 0), "category", computing},
		{uintAttr(schema.Attr{Name: "min_trust", Mode: schema.Optional, Doc: "Least trust of a workerpool order."}, 0), "minTrust", []*poco.Kind{poco.WorkerpoolOrder}},
		{uintAttr(schema.Attr{Name: "max_trust", Mode: schema.Optional, Doc: "Highest trust of a request order."}, 0), "maxTrust", []*poco.Kind{poco.RequestOrder}},
		{schema.Attr{Name: "bulk_only", Type: cty.Bool, Mode: schema.Optional, Doc: "Only dataset orders that can be used in bulk."}, "bulkOnly", []*poco.Kind{poco.DatasetOrder}},
	}
}

// bookRow is the type of one order of the list.
var bookRow = cty.Object(map[string]cty.Type{
	"order_hash": cty.String, "order": cty.Map(cty.String), "sign": cty.String, "signer": cty.String,
	"price": cty.Number, "volume": cty.Number, "remaining": cty.Number, "published": cty.String,
})

func (bookData) table() *schema.Table {
	t := &schema.Table{
		Type: "iexec_orderbook",
		Doc: "Open orders of one kind, as the market lists them: all pages, cheapest first (request orders: best paid first). " +
			"What remains of an order is the market's word, which follows the chain with a delay.",
		Example: "data \"iexec_orderbook\" \"mine\" {\n  kind       = \"apporder\"\n  app        = \"0x201B033C191C6d9640B80C672d7E0C62b933f293\"\n  dataset    = \"any\"\n  workerpool = \"any\"\n  requester  = \"any\"\n}\n",
		Attrs: []schema.Attr{
			kindAttr(schema.Attr{Name: "kind", Mode: schema.Required, Doc: "`apporder`, `datasetorder`, `workerpoolorder` or `requestorder`."}),
		},
	}
	for _, f := range bookFilters() {
		t.Attrs = append(t.Attrs, f.Attr)
	}
	t.Attrs = append(t.Attrs, limitAttr("orders"),
		schema.Attr{Name: "orders", Type: cty.List(bookRow), Mode: schema.Computed,
			Doc: "The orders: `order_hash`, `order` (its fields as text), `sign`, `signer`, `price` (nRLC; of request orders that of the workerpool), `volume`, `remaining` and `published` (time)."},
		schema.Attr{Name: "remaining", Type: cty.Number, Mode: schema.Computed, Doc: "Sum of what remains of the orders."})
	return t
}

func (bookData) readData(ctx context.Context, c *client, req providers.DataRequest) (providers.DataResult, error) {
	d := objectOf(req.Config)
	kind := kindOf(d.str("kind"))
	query, err := marketQuery(d, bookFilters(), kind)
	if err != nil {
		return providers.DataResult{}, err
	}
	if (kind == poco.AppOrder || kind == poco.DatasetOrder) && !query.Has(kind.Resource) && !query.Has(ownerParam(kind)) {
		return providers.DataResult{}, errors.New("the market lists a " + kind.Noun + " by " + kind.Resource + " or owner: set one of them; " + kind.Resource + " = \"any\" lists those of all")
	}
	limit := limitOf(d)
	rows, err := c.market.Query(ctx, kind, query, limit)
	if err != nil {
		return providers.DataResult{}, err
	}
	if limit == 0 {
		slices.SortStableFunc(rows, func(a, b market.Row) int { return compareRows(kind, &a, &b) })
	}
	values := make([]cty.Value, len(rows))
	sum := cty.Zero
	for i := range rows {
		values[i] = rowValue(kind, &rows[i])
		sum = sum.Add(values[i].GetAttr("remaining"))
	}
	return providers.DataResult{Value: d.with(map[string]cty.Value{"orders": listOf(bookRow, values), "remaining": sum}).Cty()}, nil
}

// compareRows is the market's order: what the other side likes best first, then the oldest.
func compareRows(k *poco.Kind, a, b *market.Row) int {
	byPrice := number(a.Order[k.Price]).Cmp(number(b.Order[k.Price]))
	if k == poco.RequestOrder {
		byPrice = -byPrice
	}
	return cmp.Or(byPrice, cmp.Compare(a.PublicationTimestamp, b.PublicationTimestamp), a.OrderHash.Cmp(b.OrderHash))
}

func rowValue(k *poco.Kind, r *market.Row) cty.Value {
	return cty.ObjectVal(map[string]cty.Value{
		"order_hash": cty.StringVal(r.OrderHash.Hex()), "order": fieldsValue(r.Order), "sign": cty.StringVal(r.Sign),
		"signer": cty.StringVal(r.Signer.Hex()), "price": bigNumber(number(r.Order[k.Price])), "volume": bigNumber(number(r.Order["volume"])),
		"remaining": bigNumber(r.Remaining), "published": cty.StringVal(r.PublicationTimestamp),
	})
}

// fieldsValue is an order's fields as a map of text.
func fieldsValue(o poco.Order) cty.Value {
	fields := make(map[string]cty.Value, len(o))
	for name, text := range o {
		fields[name] = cty.StringVal(text)
	}
	return cty.MapVal(fields)
}
