package iexec_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/plan"
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

var sizes = []int{100, 1000}

// manyApps is n apps with an order each, on a network without a limit of orders.
func manyApps(b *testing.B, n int) (*providertest.Project, *localnet.Network) {
	net := nettest.Start(b, func(o *localnet.Options) { o.MaxOpenOrders = -1 })
	c := nettest.Chain(net)
	p := providertest.New(b, providers.Registry{"iexec": iexec.New(), "oci": oci.New()})
	p.Write(fmt.Sprintf(`
provider "iexec" {
  chain      = "localnet"
  rpc_url    = %q
  market_url = %q
}
variable "apps" { type = number }
locals { names = toset([for i in range(var.apps) : "app-${i}"]) }
resource "iexec_app" "many" {
  for_each  = local.names
  name      = each.key
  multiaddr = "docker.io/iexechub/${each.key}:1.0"
  checksum  = %q
}
resource "iexec_apporder" "many" {
  for_each = local.names
  app      = iexec_app.many[each.key].address
  appprice = 10
  volume   = 100
}
`, c.RPC, c.Market, checksum))
	p.Set("apps", strconv.Itoa(n))
	return p, net
}

func bySize(b *testing.B, f func(b *testing.B, n int)) {
	for _, n := range sizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) { f(b, n) })
	}
}

// BenchmarkApply makes n apps and publishes n orders.
func BenchmarkApply(b *testing.B) {
	bySize(b, func(b *testing.B, n int) {
		for b.Loop() {
			b.StopTimer()
			p, _ := manyApps(b, n)
			b.StartTimer()
			p.Apply()
		}
	})
}

// BenchmarkPlan plans n apps and n orders in which nothing changes, and compares with the bare calls that this needs.
func BenchmarkPlan(b *testing.B) {
	bySize(b, func(b *testing.B, n int) {
		p, net := manyApps(b, n)
		p.Apply()
		b.Run("no-op", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Settled()
			}
		})
		b.Run("floor", func(b *testing.B) {
			f := newFloor(b, p, net)
			b.ReportAllocs()
			for b.Loop() {
				f.run(b)
			}
		})
	})
}

// A floor makes the calls that a plan in which nothing changes can't do without, and no more.
type floor struct {
	c     poco.Chain
	calls []chain.Call
}

func newFloor(b *testing.B, p *providertest.Project, net *localnet.Network) *floor {
	f := &floor{c: nettest.Chain(net)}
	client := f.dial(b)
	defer func() { _ = client.Close() }()
	data, _ := poco.HubABI().Pack("appregistry")
	registry := common.BytesToAddress(client.Calls(b.Context(), []chain.Call{{To: f.c.Hub, Data: data}})[0].Data)
	for i, object := range p.State().Snapshot.Resources {
		v, err := plan.DecodeObject(p.Providers, i.Resource.Type, object)
		if err != nil {
			b.Fatal(err)
		}
		if i.Resource.Type == "iexec_app" {
			data, _ := poco.RegistryABI().Pack("ownerOf", poco.TokenID(common.HexToAddress(v.GetAttr("address").AsString())))
			f.calls = append(f.calls, chain.Call{To: registry, Data: data})
			continue
		}
		data, _ := poco.HubABI().Pack("viewConsumed", common.HexToHash(v.GetAttr("order_hash").AsString()))
		f.calls = append(f.calls, chain.Call{To: f.c.Hub, Data: data})
	}
	return f
}

func (f *floor) dial(b *testing.B) *chain.Client {
	client, err := chain.Dial(b.Context(), f.c.RPC, chain.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return client
}

func (f *floor) run(b *testing.B) {
	client := f.dial(b)
	defer func() { _ = client.Close() }()
	if _, err := client.Pin(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, r := range client.Calls(b.Context(), f.calls) {
		if r.Err != nil {
			b.Fatal(r.Err)
		}
	}
	m, err := market.New(f.c.Market, f.c.Domain(), market.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	if _, err := m.ListByOwner(b.Context(), poco.AppOrder, poco.DevAccounts()[0].Address); err != nil {
		b.Fatal(err)
	}
}
