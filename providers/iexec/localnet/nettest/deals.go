package nettest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Fill matches volume of an order of any kind as a stranger who holds a copy of it would, with the other three orders made
// to fit, and returns the deal. What the buyer pays is deposited first; for a request order the requester's stake must be
// there, and its app and dataset must belong to development accounts. The error tells why the hub refuses. SIDE EFFECTS:
// creates an app and a workerpool once, deposits prices, makes a deal.
func Fill(t testing.TB, n *localnet.Network, k *poco.Kind, order poco.SignedOrder, volume uint64) (common.Hash, error) {
	t.Helper()
	client, given := Client(t, n), order.Order
	buyer, pool := poco.DevAccounts()[Buyer], poco.DevAccounts()[WorkerpoolOwner]

	request := poco.RequestOrder.Zero()
	if k == poco.RequestOrder {
		request = maps.Clone(given)
	} else {
		request["requester"], request["beneficiary"] = buyer.Address.Hex(), buyer.Address.Hex()
		for name, from := range map[string]string{
			k.Resource: k.Resource, strings.Replace(k.Price, "price", "maxprice", 1): k.Price,
			"tag": "tag", "category": "category", "trust": "trust",
		} {
			request[name] = cmp.Or(given[from], request[name])
		}
	}
	request["volume"] = strconv.FormatUint(volume, 10)
	if k == poco.DatasetOrder || k == poco.WorkerpoolOrder {
		request["app"] = CreateAppOnce(t, n, pool, poco.App{Name: "nettest", Type: "DOCKER", Multiaddr: []byte("nettest"), Checksum: common.Hash{1}}).Hex()
	}
	zero := common.Address{}.Hex()
	if request["workerpool"] == zero {
		request["workerpool"] = createWorkerpool(t, n, client, pool).Hex()
	}

	// counterpart is the order of another kind that the request asks for, at the price that it offers.
	counterpart := func(other *poco.Kind) (poco.SignedOrder, error) {
		switch {
		case other == k:
			return order, nil
		case other == poco.DatasetOrder && request["dataset"] == zero:
			return poco.SignedOrder{Order: other.Zero()}, nil
		}
		o := other.Zero()
		for _, f := range other.Fields {
			o[f.Name] = cmp.Or(request[f.Name], o[f.Name])
		}
		o[other.Price], o["salt"] = request[strings.Replace(other.Price, "price", "maxprice", 1)], salt()
		if other == poco.RequestOrder {
			o[other.Price] = request[other.Price]
			return Sign(t, buyer, other, o), nil
		}
		signer, err := ownerOf(t, client, common.HexToAddress(o[other.Resource]))
		if err != nil {
			return poco.SignedOrder{}, err
		}
		return Sign(t, signer, other, o), nil
	}
	var orders [4]poco.SignedOrder
	for i, other := range poco.Kinds() {
		var err error
		if orders[i], err = counterpart(other); err != nil {
			return common.Hash{}, fmt.Errorf("fill %s: %w", k.Noun, err)
		}
	}

	amount := func(name string) *big.Int {
		price, _ := new(big.Int).SetString(request[name], 10)
		return price.Mul(price, new(big.Int).SetUint64(volume))
	}
	if k != poco.RequestOrder {
		cost := amount("appmaxprice")
		cost.Add(cost, amount("datasetmaxprice")).Add(cost, amount("workerpoolmaxprice"))
		if err := Deposit(t, n, buyer, cost); err != nil {
			return common.Hash{}, fmt.Errorf("deposit the price: %w", err)
		}
	}
	if k != poco.WorkerpoolOrder { // else the pool is the seller's business
		if err := Deposit(t, n, pool, amount("workerpoolmaxprice")); err != nil {
			return common.Hash{}, fmt.Errorf("deposit the workerpool's stake: %w", err)
		}
	}
	return Match(t, n, orders[0], orders[1], orders[2], orders[3])
}

// Match has the buyer send matchOrders and returns the deal. The error tells why the hub refuses, as in
// iExecV5-matchOrders-0x60. SIDE EFFECTS: makes a deal.
func Match(t testing.TB, n *localnet.Network, app, dataset, workerpool, request poco.SignedOrder) (common.Hash, error) {
	t.Helper()
	data, err := poco.PackMatchOrders(app, dataset, workerpool, request)
	if err != nil {
		return common.Hash{}, err
	}
	receipt, err := Send(t, n, poco.DevAccounts()[Buyer].Key, n.Info().Hub, data)
	if err != nil {
		return common.Hash{}, fmt.Errorf("match orders: %w", err)
	}
	matched := poco.HubABI().Events["OrdersMatched"].ID
	for _, log := range receipt.Logs {
		if log.Address == n.Info().Hub && log.Topics[0] == matched {
			return common.BytesToHash(log.Data[:32]), nil
		}
	}
	return common.Hash{}, fmt.Errorf("match orders: transaction %s made no deal", receipt.TxHash)
}

// CreateAppOnce is CreateApp, unless the account has created the app already.
func CreateAppOnce(t testing.TB, n *localnet.Network, owner poco.Account, app poco.App) common.Address {
	t.Helper()
	address := app.Address(n.Info().AppRegistry, owner.Address)
	code, err := Client(t, n).CodeAt(t.Context(), address, nil)
	if err != nil {
		t.Fatalf("look for the app: %v", err)
	}
	if len(code) > 0 {
		return address
	}
	return CreateApp(t, n, owner, app)
}

// ownerOf is the development account that owns an app, dataset or workerpool.
func ownerOf(t testing.TB, client *ethclient.Client, entry common.Address) (poco.Account, error) {
	t.Helper()
	data, err := poco.AppABI().Pack("owner")
	if err != nil {
		return poco.Account{}, err
	}
	out, err := client.CallContract(t.Context(), ethereum.CallMsg{To: &entry, Data: data}, nil)
	if err != nil {
		return poco.Account{}, fmt.Errorf("owner of %s: %w", entry, err)
	}
	owner := common.BytesToAddress(out)
	accounts := poco.DevAccounts()
	i := slices.IndexFunc(accounts, func(a poco.Account) bool { return a.Address == owner })
	if i < 0 {
		return poco.Account{}, fmt.Errorf("%s belongs to %s, which is no development account", entry, owner)
	}
	return accounts[i], nil
}

// Deposit adds an amount of nRLC to the account's stake at the hub.
func Deposit(t testing.TB, n *localnet.Network, account poco.Account, amount *big.Int) error {
	t.Helper()
	if amount.Sign() == 0 {
		return nil
	}
	data, err := poco.TokenABI().Pack("approveAndCall", n.Info().Hub, amount, []byte{})
	if err != nil {
		return err
	}
	_, err = Send(t, n, account.Key, n.Info().RLC, data)
	return err
}

// workerABI is what a worker calls. Source: the contracts, IexecPoco2Facet.
const workerABI = `[
	{"type":"function","name":"initialize","inputs":[{"name":"dealid","type":"bytes32"},{"name":"index","type":"uint256"}],"outputs":[{"type":"bytes32"}]},
	{"type":"function","name":"contributeAndFinalize","inputs":[{"name":"taskid","type":"bytes32"},{"name":"digest","type":"bytes32"},
		{"name":"results","type":"bytes"},{"name":"callback","type":"bytes"},{"name":"enclave","type":"address"},
		{"name":"enclaveSign","type":"bytes"},{"name":"authorization","type":"bytes"}],"outputs":[]}]`

// Finalize does one task of a deal whose trust is at most 1 and whose workerpool is a development account's, as a worker
// would: initialize, then contribute and finalize with a made-up result. The hub has no TEE broker, so any key passes for
// an enclave. index counts from the order's botFirst, 0 for the first deal of a request. It returns the task. SIDE
// EFFECTS: the owners of app and dataset, the worker and the workerpool's owner are paid.
func Finalize(t testing.TB, n *localnet.Network, deal common.Hash, index uint64) common.Hash {
	t.Helper()
	client, hub, worker := Client(t, n), n.Info().Hub, poco.DevAccounts()[Buyer]
	methods, err := abi.JSON(strings.NewReader(workerABI))
	if err != nil {
		t.Fatal(err)
	}
	call := func(method string, args ...any) {
		t.Helper()
		data, err := methods.Pack(method, args...)
		if err == nil {
			_, err = Send(t, n, worker.Key, hub, data)
		}
		if err != nil {
			t.Fatalf("%s of deal %s, task %d: %v", method, deal, index, err)
		}
	}
	scheduler, err := ownerOf(t, client, workerpoolOf(t, client, hub, deal))
	if err != nil {
		t.Fatal(err)
	}
	call("initialize", deal, new(big.Int).SetUint64(index))

	task := crypto.Keccak256Hash(deal[:], common.BigToHash(new(big.Int).SetUint64(index)).Bytes())
	digest, enclave := crypto.Keccak256Hash([]byte("result")), worker
	resultHash := crypto.Keccak256(task[:], digest[:])
	resultSeal := crypto.Keccak256(worker.Address[:], task[:], digest[:])
	call("contributeAndFinalize", task, digest, []byte("result"), []byte{}, enclave.Address,
		signMessage(t, enclave, resultHash, resultSeal), signMessage(t, scheduler, worker.Address[:], task[:], enclave.Address[:]))
	return task
}

// workerpoolOf is the workerpool of a deal.
func workerpoolOf(t testing.TB, client *ethclient.Client, hub common.Address, deal common.Hash) common.Address {
	t.Helper()
	data, err := poco.HubABI().Pack("viewDeal", deal)
	if err == nil {
		data, err = client.CallContract(t.Context(), ethereum.CallMsg{To: &hub, Data: data}, nil)
	}
	const word, pointer = 32, 1 + 2*3 // the tuple's offset; app and dataset are three words each
	if err != nil || len(data) < (pointer+1)*word {
		t.Fatalf("view deal %s: %x, %v", deal, data, err)
	}
	return common.BytesToAddress(data[(pointer)*word : (pointer+1)*word])
}

// signMessage signs the hash of the parts as an Ethereum message, as the hub checks it.
func signMessage(t testing.TB, account poco.Account, parts ...[]byte) []byte {
	t.Helper()
	sign, err := poco.Sign(account.Key, poco.PersonalDigest(crypto.Keccak256(bytes.Join(parts, nil))))
	if err != nil {
		t.Fatal(err)
	}
	return sign
}
