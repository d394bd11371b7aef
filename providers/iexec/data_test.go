package iexec_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/abi/bind/v2"
	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/providertest"
)

// seller is a development account that signs orders outside of the project.
type seller struct {
	poco.Account
	*chain.KeySigner
}

func newSeller(n int) seller {
	account := poco.DevAccounts()[n]
	return seller{account, chain.NewKeySigner(account.Key)}
}

func (s seller) Address() common.Address { return s.Account.Address }

// offerOutside publishes an app order of another seller, changed by the fields.
func (w *world) offerOutside(s seller, app common.Address, price, volume uint64, fields map[string]string) (poco.SignedOrder, common.Hash) {
	w.t.Helper()
	o := nettest.AppOrder(app, price, volume)
	for name, value := range fields {
		o[name] = value
	}
	order := nettest.Sign(w.t, s.Account, poco.AppOrder, o)
	row, err := w.market.Publish(w.t.Context(), poco.AppOrder, order.Order, "0x"+common.Bytes2Hex(order.Sign), s)
	if err != nil {
		w.t.Fatal(err)
	}
	return order, row.OrderHash
}

// output is what the configuration's output comes to.
func output(t *testing.T, made *providertest.Made, name string) cty.Value {
	t.Helper()
	for _, o := range made.Outputs {
		if o.Name == name {
			return o.After
		}
	}
	t.Fatalf("there is no output %s", name)
	return cty.NilVal
}

// wantOutputs compares outputs with HCL-like text.
func wantOutputs(t *testing.T, made *providertest.Made, want map[string]cty.Value) {
	t.Helper()
	for name, value := range want {
		if got := output(t, made, name); !got.RawEquals(value) {
			t.Errorf("output %s is %#v, want %#v", name, got, value)
		}
	}
}

func numbers(list ...int64) cty.Value {
	values := make([]cty.Value, len(list))
	for i, n := range list {
		values[i] = cty.NumberIntVal(n)
	}
	return cty.TupleVal(values)
}

// What others sell and who bought is read from the market, all of it in the market's order; amounts and volumes exactly.
func TestOrderbookAndDealsData(t *testing.T) {
	w := newWorld(t)
	other := newSeller(3)
	app := nettest.CreateApp(t, w.net, other.Account, poco.App{Name: "theirs", Type: "DOCKER", Multiaddr: []byte("a/b:1"), Checksum: common.Hash{1}})
	cheap, cheapHash := w.offerOutside(other, app, 5, 100, nil)
	w.offerOutside(other, app, 9007199254740991, 9007199254740991, nil)
	w.offerOutside(other, app, 1, 10, map[string]string{"requesterrestrict": poco.DevAccounts()[nettest.Buyer].Address.Hex()})
	for _, volume := range []uint64{3, 4} {
		if err := nettest.Buy(t, w.net, cheap, volume); err != nil {
			t.Fatal(err)
		}
	}
	w.caughtUp()

	book := func(name, args string) string {
		return fmt.Sprintf("data \"iexec_orderbook\" %q {\n  kind = \"apporder\"\n  app = %q\n%s\n}\noutput %q { value = data.iexec_orderbook.%s.orders[*].price }\n", name, app, args, name, name)
	}
	w.write(book("open", "") + book("all", `requester = "any"`) + book("first", "requester = \"any\"\n  limit = 1") +
		book("strict", fmt.Sprintf("requester = %q\nrequester_strict = true", poco.DevAccounts()[nettest.Buyer].Address)) +
		book("big", "min_volume = 9007199254740991") + book("none", "max_tag = []") + fmt.Sprintf(`
output "remaining" { value = data.iexec_orderbook.open.remaining }
output "signers" { value = distinct(data.iexec_orderbook.all.orders[*].signer) }
data "iexec_order" "cheap" { hash = %q }
output "cheap" { value = [data.iexec_order.cheap.kind, data.iexec_order.cheap.status, data.iexec_order.cheap.order.appprice] }
output "cheap_numbers" { value = [data.iexec_order.cheap.volume, data.iexec_order.cheap.consumed, data.iexec_order.cheap.remaining] }
data "iexec_deals" "sold" { app = %q }
data "iexec_deals" "newest" {
  apporder_hash = %q
  limit         = 1
}
data "iexec_deals" "nothing" { app_owner = %q }
output "buyers" { value = distinct(data.iexec_deals.sold.deals[*].requester) }
output "volumes" { value = data.iexec_deals.sold.deals[*].volume }
output "datasets" { value = data.iexec_deals.sold.deals[*].dataset }
output "sums" { value = [data.iexec_deals.sold.volume, data.iexec_deals.sold.app_income, data.iexec_deals.newest.volume, data.iexec_deals.nothing.volume] }
`, cheapHash, app, cheapHash, poco.DevAccounts()[4].Address))
	made := w.Plan()
	big, one := cty.NumberUIntVal(9007199254740991), []cty.Value{cty.NumberIntVal(1)}
	wantOutputs(t, made, map[string]cty.Value{
		"open": cty.ListVal([]cty.Value{cty.NumberIntVal(5), big}), "all": cty.ListVal([]cty.Value{cty.NumberIntVal(1), cty.NumberIntVal(5), big}),
		"first": cty.ListVal(one), "strict": cty.ListVal(one), "big": cty.ListVal([]cty.Value{big}), "none": cty.ListValEmpty(cty.Number),
		"remaining": cty.NumberUIntVal(9007199254740991 + 93),
		"signers":   cty.ListVal([]cty.Value{cty.StringVal(other.Address().Hex())}),
		"cheap":     cty.TupleVal([]cty.Value{cty.StringVal("apporder"), cty.StringVal("open"), cty.StringVal("5")}), "cheap_numbers": numbers(100, 7, 93),
		"buyers":   cty.ListVal([]cty.Value{cty.StringVal(poco.DevAccounts()[nettest.Buyer].Address.Hex())}),
		"volumes":  cty.ListVal([]cty.Value{cty.NumberIntVal(4), cty.NumberIntVal(3)}),
		"datasets": cty.ListVal([]cty.Value{cty.NullVal(cty.String), cty.NullVal(cty.String)}),
		"sums":     numbers(7, 35, 4, 0),
	})
}

// Every kind of order is found by its hash alone; the chain says how much of it is left.
func TestOrderData(t *testing.T) {
	w := newWorld(t)
	s := newSeller(3)
	dataset := poco.Dataset{Name: "d"}
	if _, err := nettest.Send(t, w.net, s.Key, w.net.Info().DatasetRegistry, poco.PackCreateDataset(s.Address(), dataset)); err != nil {
		t.Fatal(err)
	}
	body := poco.DatasetOrder.Zero()
	body["dataset"], body["volume"], body["datasetprice"] = dataset.Address(w.net.Info().DatasetRegistry, s.Address()).Hex(), "2", "7"
	order := nettest.Sign(t, s.Account, poco.DatasetOrder, body)
	row, err := w.market.Publish(t.Context(), poco.DatasetOrder, order.Order, "0x"+common.Bytes2Hex(order.Sign), s)
	if err != nil {
		t.Fatal(err)
	}
	block := func(args string) string {
		return fmt.Sprintf("data \"iexec_order\" \"o\" {\n%s\n}\noutput \"o\" { value = \"${data.iexec_order.o.kind} ${data.iexec_order.o.status} ${data.iexec_order.o.price} ${data.iexec_order.o.remaining} ${data.iexec_order.o.signer}\" }\n", args)
	}
	w.write(block(fmt.Sprintf("hash = %q", row.OrderHash)))
	want := func(text string) {
		t.Helper()
		if got := output(t, w.Plan(), "o").AsString(); got != text {
			t.Errorf("got %s, want %s", got, text)
		}
	}
	want("datasetorder open 7 2 " + s.Address().Hex())
	if _, err := nettest.Fill(t, w.net, poco.DatasetOrder, order, 2); err != nil {
		t.Fatal(err)
	}
	want("datasetorder filled 7 0 " + s.Address().Hex()) // whether the market knows yet or not

	for args, message := range map[string]string{
		fmt.Sprintf("hash = %q\nkind = \"apporder\"", row.OrderHash): "has no apporder " + row.OrderHash.Hex(),
		fmt.Sprintf("hash = %q", common.Hash{1}):                     "has no order " + common.Hash{1}.Hex() + ": it was never published, or it was unpublished",
		`hash = "0x12"`:                                              "not 32 bytes",
		fmt.Sprintf("hash = %q\nkind = \"order\"", common.Hash{1}):   "none of",
	} {
		w.write(block(args))
		w.wantDataError(message)
	}
}

// wantDataError wants the plan to fail with the text, and without any action.
func (w *world) wantDataError(text string) {
	w.t.Helper()
	made := w.TryPlan()
	if !strings.Contains(made.Diags.Error(), text) {
		w.t.Errorf("errors are %q, want %q", made.Diags.Error(), text)
	}
	if made.Plan != nil && len(made.Actions) > 0 {
		w.t.Errorf("a plan with errors has actions:\n%s", made)
	}
}

// An account is the wallet's unless another is named; what a finished task paid is there.
func TestAccountAndCategoryData(t *testing.T) {
	w := newWorld(t)
	owner := poco.DevAccounts()[0]
	app := nettest.CreateApp(t, w.net, owner, poco.App{Name: "ours", Type: "DOCKER", Multiaddr: []byte("a/b:1"), Checksum: common.Hash{1}})
	const price = 123_456_789_012 // more than a float64 of RLC shows
	order := nettest.Sign(t, owner, poco.AppOrder, nettest.AppOrder(app, price, 5))
	deal, err := nettest.Fill(t, w.net, poco.AppOrder, order, 2)
	if err != nil {
		t.Fatal(err)
	}
	nettest.Finalize(t, w.net, deal, 0)
	buyer := poco.DevAccounts()[nettest.Buyer].Address
	w.write(fmt.Sprintf(`
data "iexec_account" "mine" {}
data "iexec_account" "buyer" { address = %q }
data "iexec_category" "small" { name = "S" }
data "iexec_category" "last" { id = 4 }
output "accounts" { value = [data.iexec_account.mine.stake, data.iexec_account.mine.locked, data.iexec_account.buyer.locked] }
output "address" { value = data.iexec_account.mine.address }
output "categories" { value = [data.iexec_category.small.id, data.iexec_category.small.max_time, data.iexec_category.last.max_time] }
output "name" { value = data.iexec_category.last.name }
`, buyer))
	wantOutputs(t, w.Plan(), map[string]cty.Value{
		"accounts": numbers(price, 0, price), "address": cty.StringVal(owner.Address.Hex()),
		"categories": numbers(1, 1200, 36000), "name": cty.StringVal("XL"),
	})
	for args, message := range map[string]string{
		`data "iexec_category" "c" { id = 5 }`:             "it has 0 (XS), 1 (S), 2 (M), 3 (L), 4 (XL)",
		`data "iexec_category" "c" { name = "s" }`:         "it has 0 (XS)",
		`data "iexec_category" "c" {}`:                     "set one of the two",
		`data "iexec_deals" "d" {}`:                        "set at least one of requester, beneficiary, app",
		`data "iexec_orderbook" "b" { kind = "apporder" }`: "by app or owner",
		fmt.Sprintf("data \"iexec_orderbook\" \"b\" {\n kind = \"requestorder\"\n requester = %q\n owner = %q\n}", buyer, buyer): "set only one of requester and owner",
		"data \"iexec_orderbook\" \"b\" {\n kind = \"requestorder\"\n min_trust = 1\n}":                                          "can't select a requestorder by min_trust",
		"data \"iexec_orderbook\" \"b\" {\n kind = \"datasetorder\"\n app = \"anyone\"\n}":                                       `or "any"`,
	} {
		w.write(args)
		w.wantDataError(message)
	}
}

// What became of a transaction is read from its receipt: what the contracts tell, or why it failed.
func TestTxData(t *testing.T) {
	w := newWorld(t)
	owner, registry := poco.DevAccounts()[0], w.net.Info().AppRegistry
	app := poco.App{Name: "ours", Type: "DOCKER", Multiaddr: []byte("a/b:1"), Checksum: common.Hash{1}}
	create := poco.PackCreateApp(owner.Address, app)
	made, err := nettest.Send(t, w.net, owner.Key, registry, create)
	if err != nil {
		t.Fatal(err)
	}
	order := nettest.Sign(t, owner, poco.AppOrder, nettest.AppOrder(app.Address(registry, owner.Address), 5, 10))
	closing, err := poco.PackManageOrder(poco.AppOrder, order.Order, poco.OpClose, nil)
	if err != nil {
		t.Fatal(err)
	}
	closed, err := nettest.Send(t, w.net, owner.Key, w.net.Info().Hub, closing)
	if err != nil {
		t.Fatal(err)
	}
	opts := bind.NewKeyedTransactor(owner.Key, big.NewInt(31337))
	opts.GasLimit = 1_000_000 // or else it would not be sent
	client := nettest.Client(t, w.net)
	again, err := bind.NewBoundContract(registry, *poco.RegistryABI(), client, client, client).RawTransact(opts, create)
	if err == nil {
		_, err = bind.WaitMined(t.Context(), client, again.Hash())
	}
	if err != nil {
		t.Fatal(err)
	}
	block := func(name string, hash common.Hash) string {
		return fmt.Sprintf("data \"iexec_tx\" %q { hash = %q }\n", name, hash)
	}
	w.write(block("made", made.TxHash) + block("closed", closed.TxHash) + block("failed", again.Hash()) + `
output "made" { value = [for e in data.iexec_tx.made.events : "${e.name} ${e.args.from} ${e.args.tokenId}" if e.contract == data.iexec_tx.made.to] }
output "closed" { value = data.iexec_tx.closed.events }
output "status" { value = [data.iexec_tx.made.status, data.iexec_tx.closed.status, data.iexec_tx.failed.status] }
output "reason" { value = [data.iexec_tx.made.reason, data.iexec_tx.failed.reason] }
output "sent" { value = [data.iexec_tx.made.block, data.iexec_tx.made.gas_used, data.iexec_tx.made.fee_wei, data.iexec_tx.made.from] }
`)
	hash, err := nettest.Chain(w.net).Domain().OrderHash(poco.AppOrder, order.Order)
	if err != nil {
		t.Fatal(err)
	}
	text := cty.StringVal
	wantOutputs(t, w.Plan(), map[string]cty.Value{
		"made": cty.TupleVal([]cty.Value{text(fmt.Sprintf("Transfer %s %s", common.Address{}, app.Address(registry, owner.Address)))}),
		"closed": cty.ListVal([]cty.Value{cty.ObjectVal(map[string]cty.Value{
			"contract": text(w.net.Info().Hub.Hex()), "name": text("ClosedAppOrder"), "args": cty.MapVal(map[string]cty.Value{"hash": text(hash.Hex())}),
		})}),
		"status": cty.TupleVal([]cty.Value{text("succeeded"), text("succeeded"), text("failed")}),
		"reason": cty.TupleVal([]cty.Value{cty.NullVal(cty.String), text("the contract reverted: Create2: Failed on deploy (the registry already has an entry with these very fields and first owner)")}),
		"sent": cty.TupleVal([]cty.Value{cty.NumberVal(new(big.Float).SetInt(made.BlockNumber)), cty.NumberUIntVal(made.GasUsed),
			cty.NumberVal(new(big.Float).SetInt(new(big.Int).Mul(made.EffectiveGasPrice, new(big.Int).SetUint64(made.GasUsed)))), text(owner.Address.Hex())}),
	})
	w.write(block("none", common.Hash{1}))
	w.wantDataError("has no transaction " + common.Hash{1}.Hex())
}

// A list that keeps changing while its pages are read is not passed off as complete.
func TestQueryPages(t *testing.T) {
	w := newWorld(t)
	s := newSeller(3)
	app := nettest.CreateApp(t, w.net, s.Account, poco.App{Name: "many", Type: "DOCKER", Multiaddr: []byte("a/b:1"), Checksum: common.Hash{1}})
	for price := range uint64(12) {
		w.offerOutside(s, app, 20-price, 1, nil)
	}
	for limit, want := range map[int]int{0: 12, 1: 1, 10: 10, 11: 11, 12: 12, 100: 12} {
		rows, err := w.market.Query(t.Context(), poco.AppOrder, map[string][]string{"app": {app.Hex()}}, limit)
		if err != nil || len(rows) != want {
			t.Fatalf("limit %d: %d rows, %v; want %d", limit, len(rows), err, want)
		}
		for i, row := range rows {
			if row.Order["appprice"] != big.NewInt(int64(9+i)).String() || row.Status != market.Open {
				t.Errorf("limit %d: row %d is %v", limit, i, row)
			}
		}
	}
}
