package nettest_test

import (
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// stake is what the account has at the hub, in nRLC, without what is locked.
func stake(t *testing.T, n *localnet.Network, account common.Address) int64 {
	t.Helper()
	data, err := poco.HubABI().Pack("viewAccount", account)
	if err == nil {
		data, err = nettest.Client(t, n).CallContract(t.Context(), ethereum.CallMsg{To: new(n.Info().Hub), Data: data}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return new(big.Int).SetBytes(data[:32]).Int64()
}

func TestFinalizePaysTheOwner(t *testing.T) {
	n := nettest.Start(t)
	owner := poco.DevAccounts()[1]
	address := nettest.CreateApp(t, n, owner, app)
	order := nettest.Sign(t, owner, poco.AppOrder, nettest.AppOrder(address, 7, 5)) // its tag is tee,tdx
	deal, err := nettest.Fill(t, n, poco.AppOrder, order, 2)
	if err != nil {
		t.Fatal(err)
	}
	for task := range uint64(2) {
		nettest.Finalize(t, n, deal, task)
	}
	if got := stake(t, n, owner.Address); got != 14 {
		t.Errorf("the owner of the app has %d nRLC, want 14", got)
	}
}

// Every kind of order can be filled by a stranger, as often as there is volume.
func TestFill(t *testing.T) {
	n := nettest.Start(t)
	owner := poco.DevAccounts()[1]
	dataset, workerpool := poco.Dataset{Name: "d"}, poco.Workerpool{Description: "w"}
	appAddress := nettest.CreateApp(t, n, owner, app)
	for registry, data := range map[common.Address][]byte{
		n.Info().DatasetRegistry:    poco.PackCreateDataset(owner.Address, dataset),
		n.Info().WorkerpoolRegistry: poco.PackCreateWorkerpool(owner.Address, workerpool),
	} {
		if _, err := nettest.Send(t, n, owner.Key, registry, data); err != nil {
			t.Fatal(err)
		}
	}
	deposit, err := poco.TokenABI().Pack("approveAndCall", n.Info().Hub, big.NewInt(1000), []byte{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nettest.Send(t, n, owner.Key, n.Info().RLC, deposit); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		kind   *poco.Kind
		fields map[string]string
	}{
		{poco.AppOrder, map[string]string{"app": appAddress.Hex(), "appprice": "5"}},
		{poco.DatasetOrder, map[string]string{"dataset": dataset.Address(n.Info().DatasetRegistry, owner.Address).Hex(), "datasetprice": "6"}},
		{poco.WorkerpoolOrder, map[string]string{"workerpool": workerpool.Address(n.Info().WorkerpoolRegistry, owner.Address).Hex(), "workerpoolprice": "10", "category": "2", "trust": "1"}},
		{poco.RequestOrder, map[string]string{"app": appAddress.Hex(), "appmaxprice": "5", "workerpoolmaxprice": "2", "requester": owner.Address.Hex(), "category": "1"}},
	} {
		o := test.kind.Zero()
		o["volume"], o["tag"] = "3", common.BigToHash(big.NewInt(9)).Hex()
		for name, value := range test.fields {
			o[name] = value
		}
		order := nettest.Sign(t, owner, test.kind, o)
		for range 2 { // 2, then what is left
			if _, err := nettest.Fill(t, n, test.kind, order, 2); err != nil {
				t.Errorf("fill %s: %v", test.kind.Noun, err)
			}
		}
		if _, err := nettest.Fill(t, n, test.kind, order, 1); err == nil {
			t.Errorf("filled %s, which is used up", test.kind.Noun)
		}
	}
}
