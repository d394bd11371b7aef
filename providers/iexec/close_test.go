package iexec_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/providertest"
)

// shop is an app with n orders, of prices from low on.
type shop struct {
	*providertest.Project
	t   testing.TB
	net *localnet.Network
}

func newShop(t testing.TB, opts ...func(*localnet.Options)) *shop {
	t.Helper()
	opts = append(opts, func(o *localnet.Options) { o.MaxOpenOrders = -1 })
	return &shop{providertest.New(t, providers.Registry{"iexec": iexec.New()}), t, nettest.Start(t, opts...)}
}

func (s *shop) offer(n, low int) {
	c := nettest.Chain(s.net)
	s.Write(fmt.Sprintf(`
provider "iexec" {
  chain           = "localnet"
  rpc_url         = %q
  market_url      = %q
  max_open_orders = 1000
}
%s
resource "iexec_apporder" "o" {
  count    = %d
  app      = iexec_app.a.address
  appprice = %d + count.index
  volume   = 10
}
`, c.RPC, c.Market, appBlock("docker.io/iexechub/nilearn:1.0"), n, low))
}

// close takes the orders out of the configuration and applies that. It returns the plan, and the transactions and the gas
// that it took.
func (s *shop) close() (made *providertest.Made, transactions, gas uint64) {
	s.t.Helper()
	client, owner := nettest.Client(s.t, s.net), poco.DevAccounts()[0].Address
	head := func() (nonce, block uint64) {
		nonce, err := client.NonceAt(s.t.Context(), owner, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		if block, err = client.BlockNumber(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
		return nonce, block
	}
	nonce, block := head()
	c := nettest.Chain(s.net)
	s.Write(fmt.Sprintf("provider \"iexec\" {\n  chain = \"localnet\"\n  rpc_url = %q\n  market_url = %q\n}\n%s", c.RPC, c.Market, appBlock("docker.io/iexechub/nilearn:1.0")))
	made = s.Plan()
	s.Obey(made)
	after, last := head()
	for block++; block <= last; block++ {
		header, err := client.HeaderByNumber(s.t.Context(), new(big.Int).SetUint64(block))
		if err != nil {
			s.t.Fatal(err)
		}
		gas += header.GasUsed
	}
	return made, after - nonce, gas
}

func (s *shop) hashes() []common.Hash {
	var all []common.Hash
	for i := 0; ; i++ {
		a := fmt.Sprintf("iexec_apporder.o[%d]", i)
		instance, err := addr.ParseInstance(a)
		if err != nil {
			s.t.Fatal(err)
		}
		if _, ok := s.State().Snapshot.Resources[instance]; !ok {
			return all
		}
		all = append(all, common.HexToHash(s.Value(a).GetAttr("order_hash").AsString()))
	}
}

// signed is the only order of a resource.
func (s *shop) signed(i int) poco.SignedOrder {
	s.t.Helper()
	orders := s.Value(fmt.Sprintf("iexec_apporder.o[%d]", i)).GetAttr("orders").AsValueMap()
	if len(orders) != 1 {
		s.t.Fatalf("%d orders in the state, want 1", len(orders))
	}
	var found poco.SignedOrder
	for _, o := range orders {
		found = poco.SignedOrder{Order: poco.Order{}, Sign: common.FromHex(o.GetAttr("sign").AsString())}
		for name, text := range o.GetAttr("order").AsValueMap() {
			found.Order[name] = text.AsString()
		}
	}
	return found
}

func (s *shop) wantClosed(hashes []common.Hash) {
	s.t.Helper()
	client := nettest.Client(s.t, s.net)
	for _, h := range hashes {
		data, err := poco.HubABI().Pack("viewConsumed", h)
		if err != nil {
			s.t.Fatal(err)
		}
		hub := poco.Localnet().Hub
		out, err := client.CallContract(s.t.Context(), ethereum.CallMsg{To: &hub, Data: data}, nil)
		if err != nil || new(big.Int).SetBytes(out).Int64() != 10 {
			s.t.Errorf("order %s: consumed %x, %v; want it closed", h, out, err)
		}
	}
}

func TestClosesTogether(t *testing.T) {
	s := newShop(t, nettest.Multicall3(t))
	s.offer(5, 100)
	s.Apply()
	old := s.hashes()
	s.offer(5, 200) // dearer: the old orders are closed first
	made := s.Plan()
	if !strings.Contains(made.String(), "5 orders are closed together in 1 transaction") {
		t.Errorf("the plan doesn't say so:\n%s", made)
	}
	if n := made.Count().Transactions; n != 1 {
		t.Errorf("the plan counts %d transactions, want 1", n)
	}
	s.Obey(made)
	s.Settled()
	s.wantClosed(old)
	if err := nettest.Buy(t, s.net, s.signed(0), 3); err != nil {
		t.Fatal(err)
	}
	now := s.hashes()
	made, transactions, _ := s.close()
	if transactions != 1 {
		t.Errorf("%d transactions, want 1:\n%s", transactions, made)
	}
	s.wantClosed(now)
	s.Settled()
}

// An order that somebody closes or fills between plan and apply doesn't keep the others from being closed.
func TestClosesTogetherWhatIsLeft(t *testing.T) {
	s := newShop(t, nettest.Multicall3(t))
	s.offer(3, 100)
	s.Apply()
	hashes := s.hashes()
	c := nettest.Chain(s.net)
	order := s.signed(1)
	s.Write(fmt.Sprintf("provider \"iexec\" {\n  chain = \"localnet\"\n  rpc_url = %q\n  market_url = %q\n}\n%s", c.RPC, c.Market, appBlock("docker.io/iexechub/nilearn:1.0")))
	made := s.Plan()
	if err := nettest.Buy(t, s.net, order, 10); err != nil {
		t.Fatal(err)
	}
	s.Obey(made)
	s.wantClosed(hashes)
	s.Settled()
}

func TestClosesOneByOneWithoutMulticall3(t *testing.T) {
	s := newShop(t)
	s.offer(3, 100)
	s.Apply()
	hashes := s.hashes()
	if made, transactions, _ := s.close(); transactions != 3 || made.Count().Transactions != 3 {
		t.Errorf("%d transactions, planned %d; want 3", transactions, made.Count().Transactions)
	}
	s.wantClosed(hashes)
	s.Settled()
}

// BenchmarkClose closes 200 orders in one apply, with Multicall3 and without. Setting up isn't timed.
func BenchmarkClose(b *testing.B) {
	for name, opts := range map[string][]func(*localnet.Options){"together": {nettest.Multicall3(b)}, "one-by-one": nil} {
		b.Run(name, func(b *testing.B) {
			var planned, transactions, gas uint64
			for b.Loop() {
				b.StopTimer()
				s := newShop(b, opts...)
				s.offer(200, 100)
				s.Apply()
				b.StartTimer()
				var made *providertest.Made
				made, transactions, gas = s.close()
				planned = made.Count().Gas
			}
			b.ReportMetric(float64(transactions), "transactions")
			b.ReportMetric(float64(gas), "gas")
			b.ReportMetric(float64(gas)/200, "gas/order")
			b.ReportMetric(float64(planned), "planned-gas")
		})
	}
}
