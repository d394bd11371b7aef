package iexec

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Kinds of order are tables: what they are made of, and what makes an old order better for the other side than the new one,
// so that it must be closed first. Everything that is done with orders is written once, over these tables.

// An orderKind is what differs between kinds of order.
type orderKind struct {
	kind   *poco.Kind
	unit   string   // what volume counts, such as "run"
	at     string   // how prices are told: "at", or "at up to"
	taken  string   // what the other side does with a unit, such as "bought"
	filled string   // what an order is when all of it is taken, such as "sold out"
	prices []string // the price of a unit is the sum of these fields
	index  string   // field by which orders are looked for when the state is lost
	terms  []term   // in struct order; volume is one of them
	intro  string   // of the reference page
	// complete sets what the configuration leaves out and the wallet decides; nil: nothing
	complete func(d object, wallet common.Address) map[string]cty.Value
	tighter  string // changes that close the old order first, in the reference page's words
	looser   string // changes that may leave it
	example  string
}

// A term is an argument of an order that becomes a field of it. better tells whether the other side would rather use the old
// value than the new one; nil: it doesn't matter to them.
type term struct {
	schema.Attr
	better func(old, now string) bool
}

func number(text string) *big.Int {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return new(big.Int)
	}
	return n
}

func lower(old, now string) bool   { return number(old).Cmp(number(now)) < 0 }
func higher(old, now string) bool  { return lower(now, old) }
func differs(old, now string) bool { return old != now }

// restricted: who the new order excludes could still use the old one.
func restricted(old, now string) bool { return old != now && now != zeroAddress }

var (
	zeroAddress = common.Address{}.Hex()
	teeTDX      = common.BigToHash(big.NewInt(9)).Hex()
)

func newTerm(a schema.Attr, better func(old, now string) bool) term {
	a.ForceNew = true
	return term{a, better}
}

func resourceTerm(noun string) term {
	return newTerm(addressAttr(schema.Attr{Name: noun, Mode: schema.Required, Doc: "Address of the " + noun + "."}), nil)
}

func priceTerm(name, unit string) term {
	return newTerm(priceAttr(schema.Attr{Name: name, Mode: schema.Required,
		Doc: "Price of one " + unit + ": `\"1.5 RLC\"`, `\"10 nRLC\"`, or an integer of nRLC. The market accepts at most 2^53-1 nRLC."}), lower)
}

func maxPriceTerm(name, noun string, mode schema.Mode) term {
	a := schema.Attr{Name: name, Mode: mode,
		Doc: "The most to pay to the " + noun + "'s owner for one task: `\"1.5 RLC\"`, `\"10 nRLC\"`, or an integer of nRLC. The market accepts at most 2^53-1 nRLC."}
	if mode == schema.Optional {
		a.Default = cty.NumberIntVal(0)
	}
	return newTerm(priceAttr(a), higher)
}

func volumeTerm(unit string) term {
	return term{uintAttr(schema.Attr{Name: "volume", Mode: schema.Required, Doc: "Number of " + unit + "s to offer in total. The market accepts at most 2^53-1."}, 1), nil}
}

func tagTerm(doc string) term {
	return newTerm(tagAttr(schema.Attr{Name: "tag", Mode: schema.Optional, Default: cty.StringVal(teeTDX),
		Doc: doc + ": names such as `[\"tee\", \"tdx\"]`, the default, or 32 bytes of hex. Today's market clients match only tee with tdx."}), differs)
}

func restrictTerm(name, text string) term {
	return newTerm(addressAttr(schema.Attr{Name: name, Mode: schema.Optional, Default: cty.StringVal(zeroAddress),
		Doc: text + " The zero address: no restriction."}), restricted)
}

func categoryTerm(doc string) term {
	return newTerm(uintAttr(schema.Attr{Name: "category", Mode: schema.Required, Doc: doc}, 0), differs)
}

func trustTerm(doc string, better func(old, now string) bool) term {
	return newTerm(uintAttr(schema.Attr{Name: "trust", Mode: schema.Optional, Default: cty.NumberIntVal(0), Doc: doc}, 0), better)
}

var (
	datasetRestrict    = restrictTerm("datasetrestrict", "Only with this dataset, or group of datasets.")
	appRestrict        = restrictTerm("apprestrict", "Only with this app, or group of apps.")
	workerpoolRestrict = restrictTerm("workerpoolrestrict", "Only on this workerpool, or group.")
	requesterRestrict  = restrictTerm("requesterrestrict", "Only for this requester, or group.")
)

var appOrder = order{&orderKind{
	kind: poco.AppOrder, unit: "run", at: "at", taken: "bought", filled: "sold out", prices: []string{"appprice"}, index: "app",
	terms: []term{resourceTerm("app"), priceTerm("appprice", "run"), volumeTerm("run"), tagTerm("What the run needs"),
		datasetRestrict, workerpoolRestrict, requesterRestrict},
	intro:   "An order that offers runs of an app: signed by the app's owner, published on the market, settled on chain. Its hash is known before it is signed.",
	tighter: "price up, restriction added or changed, tag changed", looser: "price down, restriction lifted",
	example: "resource \"iexec_apporder\" \"public\" {\n  app      = iexec_app.hello.address\n  appprice = \"0.5 RLC\"\n  volume   = 1000000\n  tag      = [\"tee\", \"tdx\"]\n}\n",
}}

var datasetOrder = order{&orderKind{
	kind: poco.DatasetOrder, unit: "use", at: "at", taken: "bought", filled: "sold out", prices: []string{"datasetprice"}, index: "dataset",
	terms: []term{resourceTerm("dataset"), priceTerm("datasetprice", "use"), volumeTerm("use"), tagTerm("What the run that uses it needs"),
		appRestrict, workerpoolRestrict, requesterRestrict},
	intro: "An order that offers uses of a dataset: signed by the dataset's owner, published on the market, settled on chain. Its hash is known before it is signed.\n\n" +
		"A dataset that is free (`datasetprice = 0`) and offered at least 2^53-2 times can be used in bulk: many datasets in one task.",
	tighter: "price up, restriction added or changed, tag changed", looser: "price down, restriction lifted",
	example: "resource \"iexec_datasetorder\" \"members\" {\n  dataset      = iexec_dataset.genome.address\n  datasetprice = \"2 RLC\"\n  volume       = 1000\n  apprestrict  = iexec_app.study.address\n}\n",
}}

var workerpoolOrder = order{&orderKind{
	kind: poco.WorkerpoolOrder, unit: "task", at: "at", taken: "bought", filled: "sold out", prices: []string{"workerpoolprice"}, index: "workerpool",
	terms: []term{resourceTerm("workerpool"), priceTerm("workerpoolprice", "task"), volumeTerm("task"), tagTerm("What the workers have"),
		categoryTerm("Category of the tasks, which says how long one may take: see data source iexec_category."),
		trustTerm("The most trust that a request may ask for. 0 and 1: one worker's result is believed.", higher),
		appRestrict, datasetRestrict, requesterRestrict},
	intro: "An order that offers to compute tasks: signed by the workerpool's owner, published on the market, settled on chain. Its hash is known before it is signed.\n\n" +
		"When it is matched, 30 % of the price of each task is locked from the owner's stake until the task is done; the market refuses an order whose owner's stake can't cover all of it.",
	tighter: "price up, trust down, restriction added or changed, tag or category changed", looser: "price down, trust up, restriction lifted",
	example: "resource \"iexec_workerpoolorder\" \"small\" {\n  workerpool      = iexec_workerpool.here.address\n  workerpoolprice = \"0.1 RLC\"\n  volume          = 100\n  category        = 0\n}\n",
}}

var requestOrder = order{&orderKind{
	kind: poco.RequestOrder, unit: "task", at: "at up to", taken: "filled", filled: "filled", prices: []string{"appmaxprice", "datasetmaxprice", "workerpoolmaxprice"}, index: "app",
	terms: []term{
		newTerm(addressAttr(schema.Attr{Name: "app", Mode: schema.Required, Doc: "Address of the app to run. The market takes the request only when an app order that fits it is published."}), differs),
		maxPriceTerm("appmaxprice", "app", schema.Required),
		newTerm(addressAttr(schema.Attr{Name: "dataset", Mode: schema.Optional, Default: cty.StringVal(zeroAddress), Doc: "Address of the dataset to use. The zero address: none."}), differs),
		maxPriceTerm("datasetmaxprice", "dataset", schema.Optional),
		restrictTerm("workerpool", "Only on this workerpool, or group."),
		maxPriceTerm("workerpoolmaxprice", "workerpool", schema.Required),
		newTerm(addressAttr(schema.Attr{Name: "requester", Mode: schema.OptionalComputed, Doc: "Who asks, signs and pays: always the wallet."}), nil),
		volumeTerm("task"), tagTerm("What the task needs"),
		categoryTerm("Category of the task, which says how long it may take: see data source iexec_category."),
		trustTerm("Trust that the result needs. 0 and 1: one worker's result is believed.", lower),
		newTerm(addressAttr(schema.Attr{Name: "beneficiary", Mode: schema.OptionalComputed, Doc: "Who gets the result; the requester, unless set."}), differs),
		newTerm(addressAttr(schema.Attr{Name: "callback", Mode: schema.Optional, Default: cty.StringVal(zeroAddress), Doc: "Contract that is called with the result. The zero address: none."}), differs),
		newTerm(paramsAttr(schema.Attr{Name: "params", Mode: schema.Optional, Default: cty.StringVal(`{"iexec_result_storage_provider":"ipfs"}`),
			Doc: "Parameters of the task: an object with `iexec_args`, `iexec_input_files`, `iexec_secrets`, `iexec_result_encryption`, `iexec_result_storage_provider`, `bulk_cid`, or its JSON text, which is signed as it is written. They are public."}), differs),
	},
	intro: "An order that asks for tasks: signed by who asks, published on the market, settled on chain. Its hash is known before it is signed.\n\n" +
		"The market refuses a request whose requester's stake can't pay for all of it, and one that no published app order fits.",
	complete: func(d object, wallet common.Address) map[string]cty.Value {
		requester := cmp.Or(d.str("requester"), wallet.Hex())
		return map[string]cty.Value{"requester": cty.StringVal(requester), "beneficiary": cty.StringVal(cmp.Or(d.str("beneficiary"), requester))}
	},
	tighter: "a maximum price down, workerpool set or changed, trust up, another term changed", looser: "a maximum price up, workerpool left open, trust down",
	example: "resource \"iexec_requestorder\" \"nightly\" {\n  app                = iexec_apporder.public.app\n  appmaxprice        = \"0.5 RLC\"\n  workerpoolmaxprice = \"0.1 RLC\"\n  volume             = 30\n  category           = 0\n  params             = { iexec_args = \"--fast\" }\n}\n",
}}

// orderOf is the resource type of a kind.
func orderOf(k *poco.Kind) order {
	orders := []order{appOrder, datasetOrder, workerpoolOrder, requestOrder}
	return orders[slices.Index(poco.Kinds(), k)]
}

// price is that of one unit, in nRLC.
func (o order) price(body poco.Order) *big.Int {
	sum := new(big.Int)
	for _, name := range o.prices {
		sum.Add(sum, number(body[name]))
	}
	return sum
}

// units is a number of what the order is about.
func (o order) units(n *big.Int) string {
	if n.IsInt64() && n.Int64() == 1 {
		return "1 " + o.unit
	}
	return n.String() + " " + o.unit + "s"
}

// offer is a number of units and their price.
func (o order) offer(n *big.Int, body poco.Order) string {
	return fmt.Sprintf("%s %s %s", o.units(n), o.at, poco.FormatAmount(o.price(body)))
}

// better reports whether the other side would rather use the old than the new terms: cheaper, or allowing what the new ones
// don't. Then the old order must be closed before the new one is offered.
func (o order) better(old, now poco.Order) bool {
	for _, t := range o.terms {
		if t.better != nil && t.better(old[t.Name], now[t.Name]) {
			return true
		}
	}
	return false
}

// paramsAttr is the parameters of a request. Canonical: JSON text, which is signed and shown to the workers as it is.
func paramsAttr(a schema.Attr) schema.Attr {
	a.Type, a.Form, a.Accepts = cty.String, "object, or JSON text", cty.DynamicPseudoType
	a.Parse = func(v cty.Value) (cty.Value, error) {
		text := ""
		switch t := v.Type(); {
		case t == cty.String:
			text = v.AsString()
		case t.IsObjectType() || t.IsMapType():
			raw, err := ctyjson.Marshal(v, t)
			if err != nil {
				return cty.NilVal, err
			}
			text = string(raw)
		default:
			return cty.NilVal, fmt.Errorf("want an object such as { iexec_args = \"--fast\" }, or its JSON text, not %s", t.FriendlyName())
		}
		var object map[string]json.RawMessage
		if text != "" && json.Unmarshal([]byte(text), &object) != nil {
			return cty.NilVal, errors.New("it is not the JSON text of an object: write an object such as { iexec_args = \"--fast\" }")
		}
		return cty.StringVal(text), nil
	}
	return a
}
