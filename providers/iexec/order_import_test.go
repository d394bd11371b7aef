package iexec

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// openClient opens a client of the first development account's on a network.
func openClient(t *testing.T, n *localnet.Network) *client {
	t.Helper()
	c := nettest.Chain(n)
	config := object{providerTable().Blank()}.with(map[string]cty.Value{
		"chain": cty.StringVal("localnet"), "rpc_url": cty.StringVal(c.RPC), "market_url": cty.StringVal(c.Market),
	})
	opened, err := New().Open(t.Context(), providers.OpenRequest{Config: config.Cty(), Workspace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.(*client).Close() })
	return opened.(*client)
}

// published signs an order with a salt of its own, as other tools do, and publishes it.
func published(t *testing.T, c *client, owner poco.Account, app common.Address) common.Hash {
	t.Helper()
	offer := nettest.Sign(t, owner, poco.AppOrder, nettest.AppOrder(app, 7, 10))
	row, err := c.market.Publish(t.Context(), poco.AppOrder, offer.Order, fmt.Sprintf("%#x", offer.Sign), chain.NewKeySigner(owner.Key))
	if err != nil {
		t.Fatal(err)
	}
	return row.OrderHash
}

func readOrder(t *testing.T, c *client, k *poco.Kind, hash common.Hash) (schema.Object, error) {
	values, errs := readOrders(t.Context(), c, k, []common.Hash{hash})
	return values[0], errs[0]
}

// TestReadOrder reads an order that another tool made, and plans with it: nothing is to be done.
func TestReadOrder(t *testing.T) {
	n := nettest.Start(t)
	owner := poco.DevAccounts()[0]
	app := nettest.CreateApp(t, n, owner, poco.App{Name: "a", Type: "DOCKER", Multiaddr: []byte("x"), Checksum: common.Hash{1}})
	hash := published(t, openClient(t, n), owner, app)
	c := openClient(t, n)
	value, err := readOrder(t, c, poco.AppOrder, hash)
	if err != nil {
		t.Fatal(err)
	}
	if got := (object{value}).str("order_hash"); got != hash.Hex() {
		t.Errorf("order_hash is %s, want %s", got, hash)
	}
	i, err := addr.ParseInstance("iexec_apporder.o")
	if err != nil {
		t.Fatal(err)
	}
	read := c.Read(t.Context(), []providers.ReadRequest{{Addr: i, Prior: value}})[0]
	if read.Err != nil || !read.Current.Equal(value) {
		t.Fatalf("read differs from what was imported (%v): %#v", read.Err, read.Current)
	}
	desired := map[string]cty.Value{} // what a configuration written from it says
	for _, a := range tables().Resources["iexec_apporder"].Attrs {
		if !a.Mode.Settable() {
			desired[a.Name] = cty.NullVal(a.Type)
		}
	}
	planned := c.Plan(t.Context(), []providers.PlanRequest{{Addr: i, Prior: value, Current: read.Current, Desired: object{value}.with(desired)}})[0]
	if planned.Err != nil || planned.Kind != providers.NoOp || len(planned.Actions) > 0 {
		t.Errorf("plan is %s with %d actions (%v), want no-op", planned.Kind, len(planned.Actions), planned.Err)
	}
}

func TestReadOrderRefuses(t *testing.T) {
	n := nettest.Start(t)
	owner, other := poco.DevAccounts()[0], poco.DevAccounts()[1]
	open := openClient(t, n)
	mine := published(t, open, owner, nettest.CreateApp(t, n, owner, poco.App{Name: "a", Type: "DOCKER", Multiaddr: []byte("x"), Checksum: common.Hash{1}}))
	theirs := published(t, open, other, nettest.CreateApp(t, n, other, poco.App{Name: "a", Type: "DOCKER", Multiaddr: []byte("x"), Checksum: common.Hash{1}}))
	c := openClient(t, n)
	for _, test := range []struct {
		kind *poco.Kind
		hash common.Hash
		want string
	}{
		{poco.DatasetOrder, mine, "is of kind apporder, not datasetorder: import it as an iexec_apporder"},
		{poco.AppOrder, theirs, "is signed by " + other.Address.Hex() + ", and the wallet is " + owner.Address.Hex()},
		{poco.AppOrder, common.Hash{1}, "the market has no order 0x01"},
	} {
		if _, err := readOrder(t, c, test.kind, test.hash); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want %q", err, test.want)
		}
	}
}

// TestReadManyOrders counts what it takes: pages, not orders.
func TestReadManyOrders(t *testing.T) {
	n := nettest.Start(t)
	owner := poco.DevAccounts()[0]
	app := nettest.CreateApp(t, n, owner, poco.App{Name: "a", Type: "DOCKER", Multiaddr: []byte("x"), Checksum: common.Hash{1}})
	hashes := make([]common.Hash, 20)
	for i := range hashes {
		hashes[i] = published(t, openClient(t, n), owner, app)
	}
	c := openClient(t, n)
	_, errs := readOrders(t.Context(), c, poco.AppOrder, hashes)
	for i, err := range errs {
		if err != nil {
			t.Errorf("order %d: %v", i, err)
		}
	}
	if got := c.market.Requests(); got != 1 {
		t.Errorf("%d requests to the market for %d orders, want 1", got, len(hashes))
	}
}
