package nettest_test

import (
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

var app = poco.App{Name: "hello", Type: "DOCKER", Multiaddr: []byte("docker.io/iexec/hello:1.0"), Checksum: common.Hash{1}, MREnclave: []byte{}}

func TestBuy(t *testing.T) {
	n := nettest.Start(t)
	owner := poco.DevAccounts()[1]
	address := nettest.CreateApp(t, n, owner, app)
	order := nettest.Sign(t, owner, poco.AppOrder, nettest.AppOrder(address, 7, 5))
	if err := nettest.Buy(t, n, order, 2); err != nil {
		t.Fatal(err)
	}
	if got := consumed(t, n, order); got != 2 {
		t.Errorf("consumed %d, want 2", got)
	}
	if err := nettest.Buy(t, n, order, 10); err != nil {
		t.Fatal(err)
	}
	if got := consumed(t, n, order); got != 5 {
		t.Errorf("consumed %d, want 5: a deal takes what is left", got)
	}
	if err := nettest.Buy(t, n, order, 1); err == nil || !strings.Contains(err.Error(), "iExecV5-matchOrders-0x60") {
		t.Errorf("bought a filled order: error %v, want iExecV5-matchOrders-0x60", err)
	}

	fresh := nettest.Sign(t, owner, poco.AppOrder, nettest.AppOrder(address, 0, 5))
	nettest.Transfer(t, n, address, owner.Key, poco.DevAccounts()[2].Address)
	if err := nettest.Buy(t, n, fresh, 1); err == nil || !strings.Contains(err.Error(), "iExecV5-matchOrders-0x21") {
		t.Errorf("bought from a former owner: error %v, want iExecV5-matchOrders-0x21", err)
	}

	client := nettest.Client(t, n)
	data, err := client.CallContract(t.Context(), ethereum.CallMsg{To: new(n.Info().Hub), Data: poco.AppEntry.PackView(address)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	gotOwner, got, _, err := poco.AppEntry.UnpackView(data)
	if err != nil || gotOwner != poco.DevAccounts()[2].Address || !reflect.DeepEqual(got, app.Fields()) {
		t.Errorf("viewApp: owner %s, %q (%v)", gotOwner, got, err)
	}
}

func consumed(t *testing.T, n *localnet.Network, o poco.SignedOrder) uint64 {
	t.Helper()
	hash, err := poco.Localnet().Domain().OrderHash(poco.AppOrder, o.Order)
	if err != nil {
		t.Fatal(err)
	}
	data, err := poco.HubABI().Pack("viewConsumed", hash)
	if err != nil {
		t.Fatal(err)
	}
	data, err = nettest.Client(t, n).CallContract(t.Context(), ethereum.CallMsg{To: new(n.Info().Hub), Data: data}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return new(big.Int).SetBytes(data).Uint64()
}
