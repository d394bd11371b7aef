package iexec_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// counted is the address of a proxy that counts.
func counted(t testing.TB, target string, count *atomic.Int64) string {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(u)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// client is one of the network's, whose requests are counted from outside.
func (w *world) client() (client providers.Client, count *atomic.Int64) {
	w.t.Helper()
	c, count := nettest.Chain(w.net), new(atomic.Int64)
	config := iexec.New().Schema().Provider.Blank().Cty().AsValueMap()
	config["chain"] = cty.StringVal("localnet")
	config["rpc_url"], config["market_url"] = cty.StringVal(counted(w.t, c.RPC, count)), cty.StringVal(counted(w.t, c.Market, count))
	client, err := iexec.New().Open(w.t.Context(), providers.OpenRequest{Config: cty.ObjectVal(config), Dir: w.Dir})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = client.(providers.Closer).Close() })
	return client, count
}

// discover looks with a client of its own.
func (w *world) discover() (found providers.Discovery, requests int64) {
	w.t.Helper()
	client, count := w.client()
	found, err := client.(providers.Discoverer).Discover(w.t.Context(), poco.DevAccounts()[0].Address.Hex())
	if err != nil {
		w.t.Fatal(err)
	}
	return found, count.Load()
}

// Requests grow with batches and pages, not with objects; and their number that is told is the true one.
func TestDiscoverRequests(t *testing.T) {
	w := newWorld(t, func(o *localnet.Options) { o.MaxOpenOrders = -1 })
	w.more = "max_open_orders = 60\n"
	var few int64
	for _, size := range []struct{ apps, orders int }{{10, 12}, {40, 60}} {
		w.write(fmt.Sprintf("resource \"iexec_app\" \"a\" {\n  count = %d\n  name = \"a\"\n  multiaddr = \"docker.io/a/b:${count.index}\"\n  checksum = %q\n}\n"+
			"resource \"iexec_apporder\" \"o\" {\n  count = %d\n  app = iexec_app.a[count.index %% %d].address\n  appprice = 1\n  volume = 1\n}\n",
			size.apps, checksum, size.orders, size.apps))
		w.Apply()
		found, requests := w.discover()
		if len(found.Objects) != size.apps+size.orders || int64(found.Requests) != requests {
			t.Errorf("found %d objects in %d requests, want %d in %d", len(found.Objects), found.Requests, size.apps+size.orders, requests)
		}
		if few == 0 {
			few = requests
		}
		if requests != few || requests > 10 {
			t.Errorf("%d apps and %d orders took %d requests; want %d, as fewer objects take, and at most 10", size.apps, size.orders, requests, few)
		}
	}
}

// What contracts take and no configuration can say is found, too, but only to be read.
func TestDiscoverOdd(t *testing.T) {
	w := newWorld(t)
	owner := poco.DevAccounts()[0]
	nettest.CreateApp(t, w.net, owner, poco.App{Name: "", Type: "DOCKER", Multiaddr: []byte("a:1")})
	nettest.CreateApp(t, w.net, owner, poco.App{Name: "odd", Type: "DOCKER", Multiaddr: []byte{0xff, 0xfe}})
	nettest.CreateApp(t, w.net, owner, poco.App{Name: "even", Type: "DOCKER", Multiaddr: []byte("a:1")})
	found, _ := w.discover()
	inactive := map[string]bool{}
	for _, o := range found.Objects {
		inactive[o.Name] = o.Inactive != ""
	}
	if want := map[string]bool{"": true, "odd": true, "even": false}; fmt.Sprint(inactive) != fmt.Sprint(want) {
		t.Errorf("only as a comment: %v, want %v", inactive, want)
	}
}
