package anvil_test

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest/anvil"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// The network stands on anvil as it does on its own chain: the real contracts take an app, and a buyer's deal.
func TestNetworkOnAnvil(t *testing.T) {
	node := anvil.Start(t, anvil.Install(t))
	net := nettest.Start(t, func(o *localnet.Options) { o.Node = node.URL })
	owner := poco.DevAccounts()[1]
	app := nettest.CreateApp(t, net, owner, poco.App{Name: "a", Type: "DOCKER", Multiaddr: []byte("x"), Checksum: common.Hash{1}})
	order := nettest.Sign(t, owner, poco.AppOrder, nettest.AppOrder(app, 5, 10))
	if err := nettest.Buy(t, net, order, 3); err != nil {
		t.Fatal(err)
	}
	if net.Info().RPCURL != node.URL {
		t.Errorf("the network's chain is at %s, want %s", net.Info().RPCURL, node.URL)
	}
}
