package iexec_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/oci"
	"github.com/iexecform/iexecform/providers/providertest"
)

// world is a network with a project on it.
type world struct {
	*providertest.Project
	t      *testing.T
	net    *localnet.Network
	market *market.Client
	more   string // settings of the provider
}

// newWorld starts a network. The configurations that write makes begin with its provider.
func newWorld(t *testing.T, opts ...func(*localnet.Options)) *world {
	t.Helper()
	net := nettest.Start(t, opts...)
	c := nettest.Chain(net)
	m, err := market.New(c.Market, c.Domain(), market.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	w := &world{t: t, net: net, market: m, Project: providertest.New(t, providers.Registry{"iexec": iexec.New(), "oci": oci.New()})}
	return w
}

func (w *world) write(hcl string) {
	c := nettest.Chain(w.net)
	w.Write(fmt.Sprintf("provider \"iexec\" {\n  chain      = \"localnet\"\n  rpc_url    = %q\n  market_url = %q\n%s}\n%s", c.RPC, c.Market, w.more, hcl))
}

const checksum = "0xf8a48dc5125fe762e3e35b9493291b8472a68782dd19d741a7e7aa062ef73dd6"

func appBlock(multiaddr string) string {
	return fmt.Sprintf("resource \"iexec_app\" \"a\" {\n  name = \"Nilearn\"\n  multiaddr = %q\n  checksum = %q\n}\n", multiaddr, checksum)
}

func orderBlock(args string) string {
	return "resource \"iexec_apporder\" \"o\" {\n  app = iexec_app.a.address\n" + args + "\n}\n"
}

// offer writes one app with one order.
func (w *world) offer(args string) {
	w.write(appBlock("docker.io/iexechub/nilearn:1.0") + orderBlock(args))
}

func (w *world) nonce() uint64 {
	w.t.Helper()
	n, err := nettest.Client(w.t, w.net).NonceAt(w.t.Context(), poco.DevAccounts()[0].Address, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// live is the open orders of the market.
func (w *world) live() []market.Row {
	w.t.Helper()
	rows, err := w.market.ListByOwner(w.t.Context(), poco.AppOrder, poco.DevAccounts()[0].Address)
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// signed is the only signed order in the state.
func (w *world) signed() poco.SignedOrder {
	w.t.Helper()
	orders := w.Value("iexec_apporder.o").GetAttr("orders").AsValueMap()
	if len(orders) != 1 {
		w.t.Fatalf("%d orders in the state, want 1", len(orders))
	}
	for _, o := range orders {
		body := poco.Order{}
		for name, text := range o.GetAttr("order").AsValueMap() {
			body[name] = text.AsString()
		}
		return poco.SignedOrder{Order: body, Sign: common.FromHex(o.GetAttr("sign").AsString())}
	}
	panic("unreachable")
}

// kinds is the actions of a plan, in short.
func kinds(made *providertest.Made) string {
	var all []string
	for _, a := range made.Actions {
		text := a.Kind
		if len(a.After) > 0 {
			text += strings.ReplaceAll(fmt.Sprint(a.After), " ", ",")
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// step plans, compares the actions, applies, and looks whether all is settled.
func (w *world) step(want string) *providertest.Made {
	w.t.Helper()
	made := w.Plan()
	if got := kinds(made); got != want {
		w.t.Fatalf("actions are %q, want %q\n%s", got, want, made)
	}
	w.Obey(made)
	w.Settled()
	return made
}

func (w *world) wantLive(prices ...int64) {
	w.t.Helper()
	rows := w.live()
	if len(rows) != len(prices) {
		w.t.Fatalf("%d live orders, want %d: %v", len(rows), len(prices), rows)
	}
	for i, row := range rows {
		if row.Order["appprice"] != big.NewInt(prices[i]).String() {
			w.t.Errorf("live order %d has price %s, want %d", i, row.Order["appprice"], prices[i])
		}
	}
}

func TestAppAndOrder(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 100")
	made := w.step("deploy sign publish[1,2]")
	w.wantLive(10)
	address := w.Value("iexec_app.a").GetAttr("address").AsString()
	for _, c := range made.Changes {
		switch c.Addr.Resource.Type {
		case "iexec_app":
			if got := c.After.Attr("address").AsString(); got != address || got != w.live()[0].Order["app"] {
				t.Errorf("planned address %s, state %s, market %s", got, address, w.live()[0].Order["app"])
			}
		case "iexec_apporder":
			if got := c.After.Attr("order_hash").AsString(); got != w.live()[0].OrderHash.Hex() {
				t.Errorf("planned hash %s, market %s", got, w.live()[0].OrderHash)
			}
		}
	}

	before := w.nonce()
	w.LoseState()
	w.step("adopt adopt[1]")
	if now := w.nonce(); now != before {
		t.Errorf("adopting sent %d transactions", now-before)
	}
	w.wantLive(10)
}

func TestPriceUpClosesFirst(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 100")
	w.step("deploy sign publish[1,2]")
	old := w.signed()
	w.offer("appprice = 20\nvolume = 100")
	w.step("close sign[1] publish[2] unpublish[3]")
	w.wantLive(20)
	if err := nettest.Buy(t, w.net, old, 1); err == nil {
		t.Error("the old order can still be bought")
	}
	if err := nettest.Buy(t, w.net, w.signed(), 1); err != nil {
		t.Errorf("the new order can't be bought: %v", err)
	}
}

func TestPriceDownSendsNoTransaction(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 100")
	w.step("deploy sign publish[1,2]")
	before := w.nonce()
	w.offer("appprice = 5\nvolume = 100")
	made := w.step("sign publish[1] unpublish[2]")
	if now := w.nonce(); now != before {
		t.Errorf("%d transactions", now-before)
	}
	w.wantLive(5)
	if !strings.Contains(made.String(), "exposure iexec_apporder.o") {
		t.Errorf("the plan doesn't say that the old order stays usable:\n%s", made)
	}
	w.offer("appprice = 5\nvolume = 100\nrevoke = \"onchain\"")
	w.Apply()
	w.Settled()
}

func TestVolume(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 100")
	w.step("deploy sign publish[1,2]")
	if err := nettest.Buy(t, w.net, w.signed(), 40); err != nil {
		t.Fatal(err)
	}
	w.Settled() // progress is not drift
	w.offer("appprice = 10\nvolume = 150")
	w.step("sign publish[1]")
	w.wantLive(10, 10)
	w.offer("appprice = 10\nvolume = 140") // 40 sold; 60 and 50 remain; the smaller one is closed and 40 of it offered again
	w.step("close sign[1] publish[2] unpublish[3]")
	if got := remaining(w.live()); got != "40 60" && got != "60 40" {
		t.Errorf("remaining %s, want 60 and 40", got)
	}
	w.offer("appprice = 10\nvolume = 30") // fewer than were sold
	w.step("close close unpublish[1,2] unpublish[1,2]")
	w.wantLive()
}

func remaining(rows []market.Row) string {
	var all []string
	for _, r := range rows {
		all = append(all, r.Remaining.String())
	}
	return strings.Join(all, " ")
}

func TestReplacedApp(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 100")
	w.step("deploy sign publish[1,2]")
	old := w.signed()
	w.write(appBlock("docker.io/iexechub/nilearn:1.1") + orderBlock("appprice = 10\nvolume = 100"))
	w.step("deploy sign publish[1,2] unpublish[3] close[4]")
	w.wantLive(10)
	if err := nettest.Buy(t, w.net, old, 1); err == nil {
		t.Error("the order of the old app can still be bought")
	}
	w.offer("appprice = 10\nvolume = 100") // back: the app exists already
	w.step("record sign publish[1,2] unpublish[3] close[4]")
}

func TestUnpublishedFromOutside(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 100")
	w.step("deploy sign publish[1,2]")
	hash := w.live()[0].OrderHash
	if err := w.market.Unpublish(t.Context(), poco.AppOrder, hash, chain.NewKeySigner(poco.DevAccounts()[0].Key)); err != nil {
		t.Fatal(err)
	}
	w.step("publish")
	if rows := w.live(); len(rows) != 1 || rows[0].OrderHash != hash {
		t.Errorf("want the same order again, got %v", rows)
	}
}

func TestFilled(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 3")
	w.step("deploy sign publish[1,2]")
	if err := nettest.Buy(t, w.net, w.signed(), 3); err != nil {
		t.Fatal(err)
	}
	if made := w.Plan(); len(made.Actions) != 0 || !strings.Contains(made.String(), "sold out") {
		t.Errorf("want a notice and no action, got\n%s", made)
	}
	w.offer("appprice = 10\nvolume = 3\nreplenish_below = 1")
	w.step("sign publish[1]")
	if got := remaining(w.live()); got != "3" {
		t.Errorf("remaining %s, want 3", got)
	}
}

func TestDestroy(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 3")
	w.step("deploy sign publish[1,2]")
	old := w.signed()
	w.write("")
	w.step("unpublish close[1] forget[1,2] forget[3]")
	w.wantLive()
	if err := nettest.Buy(t, w.net, old, 1); err == nil {
		t.Error("the order can still be bought")
	}
	if n := len(w.State().Snapshot.Resources); n != 0 {
		t.Errorf("%d objects left in the state", n)
	}
}
