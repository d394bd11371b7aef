package iexec_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/accounts/abi/bind/v2"
	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/localnet/orderbook"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// onOffer is what the state, the market, and the chain (of the orders that the market shows) say can be bought.
func (w *world) onOffer() [3]int64 {
	w.t.Helper()
	w.caughtUp()
	remaining, _ := w.Value("iexec_apporder.o").GetAttr("remaining").AsBigFloat().Int64()
	offers := [3]int64{remaining}
	for _, r := range w.live() {
		volume, _ := new(big.Int).SetString(r.Order["volume"], 10)
		offers[1] += r.Remaining.Int64()
		offers[2] += volume.Int64() - w.consumed(r.OrderHash)
	}
	return offers
}

// TestAmountsOnOffer changes volume and price of an order that was partly bought.
func TestAmountsOnOffer(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 100")
	w.Apply()
	if err := nettest.Buy(t, w.net, w.signed(), 30); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name, args string
		want       int64
		sends      bool
	}{
		{"more", "appprice = 10\nvolume = 150", 120, false},
		{"fewer", "appprice = 10\nvolume = 130", 100, true},
		{"dearer", "appprice = 20\nvolume = 130", 100, true},
		{"cheaper", "appprice = 5\nvolume = 130", 100, false},
	} {
		before := w.nonce()
		w.offer(step.args)
		plan := w.Apply()
		w.Settled()
		if got := w.onOffer(); got != [3]int64{step.want, step.want, step.want} {
			t.Errorf("%s: state, market and chain offer %d, want %d each\n%s", step.name, got, step.want, plan)
		}
		if sent := w.nonce() > before; sent != step.sends {
			t.Errorf("%s: sent transactions: %v, want %v\n%s", step.name, sent, step.sends, plan)
		}
	}
	if got := w.Value("iexec_apporder.o").GetAttr("consumed"); !got.RawEquals(cty.NumberIntVal(30)) {
		t.Errorf("consumed is %#v, want 30", got)
	}
}

// TestGenerations lets several orders of one resource live, of old terms and of new ones, and ends them in different ways.
func TestGenerations(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 30\nvolume = 10")
	w.Apply()
	first := w.signed()
	w.offer("appprice = 20\nvolume = 10") // the first one stays usable
	w.Apply()
	w.offer("appprice = 20\nvolume = 25") // one more
	w.Apply()
	w.offer("appprice = 10\nvolume = 25\nrevoke = \"unpublish\"")
	w.Apply()
	w.Settled()
	if n := w.Value("iexec_apporder.o").GetAttr("orders").LengthInt(); n != 4 {
		t.Errorf("%d signed orders are remembered, want all 4", n)
	}
	if err := nettest.Buy(t, w.net, first, 4); err != nil {
		t.Fatal(err)
	}
	w.step("close sign[1] publish[2] unpublish[3]") // what was sold of the hidden one no longer is on offer
	if got := w.onOffer(); got != [3]int64{21, 21, 21} {
		t.Errorf("on offer %d, want 21 each", got)
	}
	w.offer("appprice = 40\nvolume = 25\nrevoke = \"onchain\"") // ends them all
	w.Apply()
	w.Settled()
	orders := w.Value("iexec_apporder.o").GetAttr("orders")
	if n := orders.LengthInt(); n != 1 {
		t.Errorf("%d signed orders are remembered, want the new one", n)
	}
	if err := nettest.Buy(t, w.net, first, 1); err == nil {
		t.Error("the first order can still be bought")
	}
	w.offer("appprice = 40\nvolume = 25\non_destroy = \"keep\"")
	w.Apply()
	kept := w.signed()
	w.write("")
	w.Apply()
	w.wantLive(40)
	if err := nettest.Buy(t, w.net, kept, 1); err != nil {
		t.Errorf("on_destroy = keep: %v", err)
	}
}

// TestReplenish offers as much again, again and again.
func TestReplenish(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 10\nreplenish_below = 5")
	w.Apply()
	for round := range 3 {
		for left := int64(6); left > 0; {
			w.caughtUp()
			r := w.live()[0]
			n := min(left, r.Remaining.Int64())
			if err := nettest.Buy(t, w.net, poco.SignedOrder{Order: r.Order, Sign: common.FromHex(r.Sign)}, uint64(n)); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			left -= n
		}
		if got := kinds(w.Plan()); round == 0 && got != "sign publish[1]" {
			t.Errorf("round %d: actions are %q", round, got)
		}
		w.Apply()
		w.Settled()
		if got := w.onOffer(); got[1] < 5 || got[2] != got[1] { // the state may lag: use is progress, not drift
			t.Errorf("round %d: market and chain offer %d, want the same, and at least 5", round, got[1:])
		}
	}
	if got := w.Value("iexec_apporder.o").GetAttr("replenished"); !got.RawEquals(cty.NumberIntVal(20)) {
		t.Errorf("replenished %#v, want 20: 18 of 10 were bought", got)
	}
}

// notices is what the plan says besides its changes, and its errors.
func (w *world) notices() string {
	w.t.Helper()
	made := w.TryPlan()
	var all []string
	for _, d := range made.Diags {
		all = append(all, "error: "+d.Summary+": "+d.Detail)
	}
	if made.Plan != nil {
		for _, n := range made.Notices {
			all = append(all, fmt.Sprintf("%s %s: %s", n.Level, n.Attr, n.Summary))
		}
	}
	return strings.Join(all, "\n")
}

// many writes n orders of one app.
func (w *world) many(n int) {
	w.write(w.manyOrders(n))
}

func (w *world) manyOrders(n int) string {
	return appBlock("docker.io/iexechub/nilearn:1.0") + fmt.Sprintf(
		"resource \"iexec_apporder\" \"o\" {\n  count = %d\n  app = iexec_app.a.address\n  appprice = count.index + 100\n  volume = 1\n}\n", n)
}

func TestOpenOrdersLimit(t *testing.T) {
	w := newWorld(t)
	w.many(50)
	if got := w.notices(); strings.Contains(got, "refuses more") {
		t.Errorf("50 orders are allowed:\n%s", got)
	}
	w.Apply()
	w.many(51)
	want := "would have up to 51 open apporders (50 now, 1 published, 0 withdrawn), and the market refuses more than 50"
	if got := w.notices(); strings.Count(got, want) != 1 {
		t.Errorf("want %q once, got\n%s", want, got)
	}
	w.many(30)
	if got := w.notices(); strings.Contains(got, "refuses more") {
		t.Errorf("fewer orders:\n%s", got)
	}
	w.write(strings.Replace(w.manyOrders(50), "count.index + 100", "count.index + 1", 1)) // no room beside the old ones
	if got := w.notices(); strings.Contains(got, "refuses more") {
		t.Errorf("cheaper orders:\n%s", got)
	}
	w.Apply()
	w.Settled()
	if got := w.live(); len(got) != 50 || got[0].Order["appprice"] != "1" {
		t.Errorf("%d orders on the market, the cheapest at %s, want 50 at 1 and more", len(got), got[0].Order["appprice"])
	}
}

func TestRateLimitIsToldAsTime(t *testing.T) {
	w := newWorld(t, func(o *localnet.Options) { o.RateLimit = orderbook.RateLimit{Max: 40, Period: time.Minute} })
	w.many(30)
	for n, want := range map[int]string{
		30: "about a minute: the market takes 40 requests a minute, and this plan makes about 62",
		50: "about 2 minutes: the market takes 40 requests a minute, and this plan makes about 104",
		15: "less than a minute: the market takes 40 requests a minute, and this plan makes about 31",
		3:  "",
	} {
		w.many(n)
		if got := w.notices(); want != "" && strings.Count(got, want) != 1 || want == "" && strings.Contains(got, "minute") {
			t.Errorf("%d orders: want %q once, got\n%s", n, want, got)
		}
	}
}

// TestUnmatchable has the plan say which orders the market refuses, or nobody can match.
func TestUnmatchable(t *testing.T) {
	w := newWorld(t)
	owner, other := poco.DevAccounts()[0], poco.DevAccounts()[1]
	theirs := nettest.CreateApp(t, w.net, other, poco.App{Name: "theirs", Type: "DOCKER", Multiaddr: []byte("x"), Checksum: common.Hash{1}})
	mine := nettest.CreateApp(t, w.net, owner, poco.App{Name: "mine", Type: "DOCKER", Multiaddr: []byte("x"), Checksum: common.Hash{1}})
	data := poco.Dataset{Name: "d", Multiaddr: []byte("x"), Checksum: common.Hash{1}}
	pool := poco.Workerpool{Description: "w"}
	info := w.net.Info()
	w.transact(&info.DatasetRegistry, poco.PackCreateDataset(owner.Address, data))
	w.transact(&info.WorkerpoolRegistry, poco.PackCreateWorkerpool(owner.Address, pool))
	dataset, workerpool := data.Address(info.DatasetRegistry, owner.Address), pool.Address(info.WorkerpoolRegistry, owner.Address)
	// A contract that answers every call with true: a group that everybody is a member of.
	group := w.transact(nil, common.FromHex("600a600c600039600a6000f3"+"600160005260206000f3"))
	safe := poco.App{Name: "safe's", Type: "DOCKER", Multiaddr: []byte("x"), Checksum: common.Hash{1}}
	w.transact(&info.AppRegistry, poco.PackCreateApp(group, safe))
	safes := safe.Address(info.AppRegistry, group)
	supply := poco.WorkerpoolOrder.Zero()
	supply["workerpool"], supply["volume"], supply["tag"], supply["workerpoolprice"] = workerpool.Hex(), "5", common.BigToHash(big.NewInt(9)).Hex(), "0"
	offered := nettest.Sign(t, owner, poco.WorkerpoolOrder, supply)
	if _, err := w.market.Publish(t.Context(), poco.WorkerpoolOrder, offered.Order, fmt.Sprintf("%#x", offered.Sign), chain.NewKeySigner(owner.Key)); err != nil {
		t.Fatal(err)
	}

	dear := nettest.CreateApp(t, w.net, other, poco.App{Name: "dear", Type: "DOCKER", Multiaddr: []byte("x"), Checksum: common.Hash{1}})
	offered = nettest.Sign(t, other, poco.AppOrder, nettest.AppOrder(dear, 7, 5))
	if _, err := w.market.Publish(t.Context(), poco.AppOrder, offered.Order, fmt.Sprintf("%#x", offered.Sign), chain.NewKeySigner(other.Key)); err != nil {
		t.Fatal(err)
	}

	app := fmt.Sprintf("app = %q\n", mine)
	for _, test := range []struct {
		name, typ, args string
		want            string // "" for nothing
	}{
		{"fine", "apporder", app + "appprice = 1\nvolume = 1", ""},
		{"foreign app", "apporder", fmt.Sprintf("app = %q\nappprice = 1\nvolume = 1", theirs), "belongs to " + other.Address.Hex() + ", and only its owner's orders are valid"},
		{"dataset as app", "apporder", fmt.Sprintf("app = %q\nappprice = 1\nvolume = 1", dataset), "there is no app at " + dataset.Hex() + " on chain 31337; it is a dataset"},
		{"app of a contract", "apporder", fmt.Sprintf("app = %q\nappprice = 1\nvolume = 1", safes), "can presign orders on chain (the hub's manageAppOrder with operation SIGN), but the market doesn't take orders of contracts"},
		{"price", "apporder", app + "appprice = 9007199254740992\nvolume = 1", "warning appprice: the market refuses prices and volumes above 9007199254740991"},
		{"volume", "apporder", app + "appprice = 1\nvolume = 9007199254740992", "warning volume: the market refuses"},
		{"restricted to nothing", "apporder", app + fmt.Sprintf("appprice = 1\nvolume = 1\ndatasetrestrict = %q", other.Address),
			"warning datasetrestrict: nobody can match this order: no dataset is registered at " + other.Address.Hex() + ", and it is no group of them"},
		{"restricted to another kind", "apporder", app + fmt.Sprintf("appprice = 1\nvolume = 1\nworkerpoolrestrict = %q", mine), "no workerpool is registered at " + mine.Hex()},
		{"restricted to a dataset", "apporder", app + fmt.Sprintf("appprice = 1\nvolume = 1\ndatasetrestrict = %q", dataset), ""},
		{"restricted to a group", "apporder", app + fmt.Sprintf("appprice = 1\nvolume = 1\ndatasetrestrict = %q", group), ""},
		{"restricted to a requester", "apporder", app + fmt.Sprintf("appprice = 1\nvolume = 1\nrequesterrestrict = %q", other.Address), ""},
		{"tag of clients", "apporder", app + "appprice = 1\nvolume = 1\ntag = [\"tee\"]", "warning tag: today's market clients match only"},
		{"tag of workerpools", "apporder", app + "appprice = 1\nvolume = 1\ntag = [\"tee\", \"tdx\", \"gpu\"]", "warning tag: no workerpool on the market has tee,tdx,gpu: none of its 1 workerpool orders fits"},
		{"bulk", "datasetorder", fmt.Sprintf("dataset = %q\ndatasetprice = 0\nvolume = 9007199254740990", dataset), "info volume: the dataset can be used in bulk"},
		{"dataset framework", "datasetorder", fmt.Sprintf("dataset = %q\ndatasetprice = 1\nvolume = 1\ntag = [\"tee\", \"scone\"]", dataset), ""},
		{"lock", "workerpoolorder", fmt.Sprintf("workerpool = %q\nworkerpoolprice = \"1 RLC\"\nvolume = 10\ncategory = 0", workerpool),
			"warning volume: the market refuses this order unless 3 RLC more are staked: 10 tasks lock up to 3 RLC, and " + owner.Address.Hex() + " has 0 RLC at the hub"},
		{"category", "workerpoolorder", fmt.Sprintf("workerpool = %q\nworkerpoolprice = 0\nvolume = 1\ncategory = 9", workerpool), "there is no category 9 on chain 31337: it has the categories 0 to 4"},
		{"cost", "requestorder", app + "appmaxprice = 1\nworkerpoolmaxprice = \"1 RLC\"\nvolume = 2\ncategory = 0",
			"warning volume: the market refuses this order unless 2.000000002 RLC more are staked: 2 tasks cost up to 2.000000002 RLC"},
		{"no such supply", "requestorder", app + "appmaxprice = 0\nworkerpoolmaxprice = 0\nvolume = 1\ncategory = 2", "none of the market's 1 workerpool orders fits: category 2"},
		{"no offer", "requestorder", fmt.Sprintf("app = %q\nappmaxprice = 0\nworkerpoolmaxprice = 0\nvolume = 1\ncategory = 0", theirs),
			"warning app: the market refuses this request: it has no apporder for app " + theirs.Hex() + " that fits"},
		{"offer too dear", "requestorder", fmt.Sprintf("app = %q\nappmaxprice = 0\nworkerpoolmaxprice = 0\nvolume = 1\ncategory = 0", dear),
			"warning appmaxprice: the market refuses this request: the cheapest apporder for app " + dear.Hex() + " that fits is at 7 nRLC"},
		{"somebody else's request", "requestorder", app + fmt.Sprintf("appmaxprice = 0\nworkerpoolmaxprice = 0\nvolume = 1\ncategory = 0\nrequester = %q", other.Address),
			"a request is signed by its requester, " + other.Address.Hex()},
		{"request for nothing", "requestorder", fmt.Sprintf("app = %q\nappmaxprice = 0\nworkerpoolmaxprice = 0\nvolume = 1\ncategory = 0", dataset), "nobody can match this order: no app is registered at " + dataset.Hex()},
		{"params", "requestorder", app + "appmaxprice = 0\nworkerpoolmaxprice = 0\nvolume = 1\ncategory = 0\nparams = \"--fast\"", "it is not the JSON text of an object"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.write(fmt.Sprintf("resource \"iexec_%s\" \"o\" {\n%s\n}\n", test.typ, test.args))
			got := w.notices()
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("got\n%s\nwant %q", got, test.want)
			}
		})
	}
}

// transact sends a transaction of the wallet's, outside of the project, and returns the contract that it made, if any.
func (w *world) transact(to *common.Address, data []byte) common.Address {
	w.t.Helper()
	client, account := nettest.Client(w.t, w.net), poco.DevAccounts()[0]
	if to != nil {
		if _, err := nettest.Send(w.t, w.net, account.Key, *to, data); err != nil {
			w.t.Fatal(err)
		}
		return common.Address{}
	}
	opts := bind.NewKeyedTransactor(account.Key, big.NewInt(31337))
	address, tx, err := bind.DeployContract(opts, data, client, nil)
	if err == nil {
		_, err = bind.WaitDeployed(w.t.Context(), client, tx.Hash())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return address
}

// TestOrderForAnotherKind refers to a dataset, which the same plan deploys, as an app.
func TestOrderForAnotherKind(t *testing.T) {
	w := newWorld(t)
	w.write(fmt.Sprintf("resource \"iexec_dataset\" \"d\" {\n  name = \"d\"\n  multiaddr = \"https://example.com/d\"\n  checksum = %q\n}\n", checksum) +
		"resource \"iexec_apporder\" \"o\" {\n  app = iexec_dataset.d.address\n  appprice = 1\n  volume = 1\n}\n")
	if got := w.notices(); !strings.Contains(got, "there is no app at ") {
		t.Errorf("got\n%s", got)
	}
}

// TestRequestAfterOffer publishes an offer and the request that the market takes only because of it, in one plan; then another
// wallet comes along, which can't withdraw the request.
func TestRequestAfterOffer(t *testing.T) {
	w := newWorld(t)
	if err := nettest.Deposit(t, w.net, poco.DevAccounts()[0], big.NewInt(1e9)); err != nil {
		t.Fatal(err)
	}
	w.write(appBlock("docker.io/iexechub/nilearn:1.0") + orderBlock("appprice = 10\nvolume = 100") +
		"resource \"iexec_requestorder\" \"r\" {\n  app = iexec_apporder.o.app\n  appmaxprice = 10\n  workerpoolmaxprice = 5\n  volume = 3\n  category = 0\n  params = { iexec_args = \"--fast\" }\n}\n")
	w.step("deploy sign publish[1,2] sign publish[3,4]")
	rows, err := w.market.ListByOwner(t.Context(), poco.RequestOrder, poco.DevAccounts()[0].Address)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d requests on the market (%v), want 1", len(rows), err)
	}
	if got, want := rows[0].Order["params"], `{"iexec_args":"--fast"}`; got != want {
		t.Errorf("params are %s, want %s", got, want)
	}
	if got := rows[0].Order["beneficiary"]; got != poco.DevAccounts()[0].Address.Hex() {
		t.Errorf("beneficiary is %s, want the wallet", got)
	}
	before := w.nonce()
	w.LoseState()
	w.Apply()
	w.Settled()
	if now := w.nonce(); now != before {
		t.Errorf("finding the orders again sent %d transactions", now-before)
	}

	c := nettest.Chain(w.net)
	w.Write(fmt.Sprintf("provider \"iexec\" {\n  chain      = \"localnet\"\n  rpc_url    = %q\n  market_url = %q\n  wallet {\n    address = %q\n  }\n}\n",
		c.RPC, c.Market, poco.DevAccounts()[1].Address))
	if got := w.notices(); !strings.Contains(got, "who alone can withdraw it") {
		t.Errorf("got\n%s", got)
	}
}
