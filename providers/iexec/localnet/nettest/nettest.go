// Package nettest gives tests a local network, and the other side of a sale: a buyer, and a new owner.
package nettest

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// The accounts that the helpers use of poco.DevAccounts. Tests had better use others, as nonces are not shared out.
const (
	WorkerpoolOwner = 8
	Buyer           = 9
)

// Start starts an in-memory network on free ports, which ends with the test.
func Start(t testing.TB, opts ...func(*localnet.Options)) *localnet.Network {
	t.Helper()
	options := localnet.Options{RPC: "127.0.0.1:0", Market: "127.0.0.1:0", SMS: "127.0.0.1:0", Registry: "127.0.0.1:0"}
	for _, opt := range opts {
		opt(&options)
	}
	n, err := localnet.Start(t.Context(), options)
	if err != nil {
		t.Fatalf("start the local network: %v", err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close the local network: %v", err)
		}
	})
	return n
}

// Chain is the network as a chain of the protocol, with its real ports.
func Chain(n *localnet.Network) poco.Chain {
	c, info := poco.Localnet(), n.Info()
	c.RPC, c.Market, c.SMS, c.Registry = info.RPCURL, info.MarketURL, info.SMSURL, info.Registry
	return c
}

// Client is a client of the network's chain, which ends with the test.
func Client(t testing.TB, n *localnet.Network) *ethclient.Client {
	t.Helper()
	client, err := ethclient.DialContext(t.Context(), n.Info().RPCURL)
	if err != nil {
		t.Fatalf("dial the local network: %v", err)
	}
	t.Cleanup(client.Close)
	return client
}

// funding guards the nonces of the account that gives funds.
var funding sync.Mutex

// NewAccount is one more account of the network, with 1 ETH: the same key for the same number.
func NewAccount(t testing.TB, n *localnet.Network, number int) poco.Account {
	t.Helper()
	key, err := crypto.ToECDSA(crypto.Keccak256([]byte("account " + strconv.Itoa(number))))
	if err != nil {
		t.Fatal(err)
	}
	account := poco.Account{Address: crypto.PubkeyToAddress(key.PublicKey), Key: key}
	funding.Lock()
	defer funding.Unlock()
	if _, err := sendValue(t.Context(), Client(t, n), poco.DevAccounts()[0].Key, account.Address, nil, big.NewInt(1e18)); err != nil {
		t.Fatalf("give %s funds: %v", account.Address, err)
	}
	return account
}

// Send sends a transaction and returns its receipt. The error tells why it would revert; then nothing is sent.
func Send(t testing.TB, n *localnet.Network, from *ecdsa.PrivateKey, to common.Address, data []byte) (*types.Receipt, error) {
	t.Helper()
	return send(t.Context(), Client(t, n), from, to, data)
}

func send(ctx context.Context, client *ethclient.Client, from *ecdsa.PrivateKey, to common.Address, data []byte) (*types.Receipt, error) {
	return sendValue(ctx, client, from, to, data, nil)
}

func sendValue(ctx context.Context, client *ethclient.Client, from *ecdsa.PrivateKey, to common.Address, data []byte, wei *big.Int) (*types.Receipt, error) {
	sender := crypto.PubkeyToAddress(from.PublicKey)
	gas, err := client.EstimateGas(ctx, ethereum.CallMsg{From: sender, To: &to, Data: data, Value: wei})
	if err != nil {
		return nil, fmt.Errorf("transaction from %s to %s: %w", sender, to, err)
	}
	nonce, err := client.PendingNonceAt(ctx, sender)
	if err != nil {
		return nil, err
	}
	chainID := new(big.Int).SetUint64(poco.Localnet().ID)
	tx, err := types.SignNewTx(from, types.LatestSignerForChainID(chainID), &types.DynamicFeeTx{
		ChainID: chainID, Nonce: nonce, To: &to, Data: data, Value: wei, Gas: gas + gas/2,
		GasTipCap: big.NewInt(1), GasFeeCap: big.NewInt(10_000_000_000),
	})
	if err != nil {
		return nil, err
	}
	err = client.SendTransaction(ctx, tx)
	var receipt *types.Receipt
	if err == nil {
		receipt, err = mined(ctx, client, tx.Hash())
	}
	if err != nil {
		return nil, fmt.Errorf("transaction from %s to %s: %w", sender, to, err)
	}
	if receipt.Status != types.ReceiptStatusSuccessful {
		return receipt, fmt.Errorf("transaction %s from %s to %s reverted", tx.Hash(), sender, to)
	}
	return receipt, nil
}

// mined waits for the receipt of a transaction, and until the newest block is that of the receipt or a later one.
func mined(ctx context.Context, client *ethclient.Client, hash common.Hash) (*types.Receipt, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		receipt, err := client.TransactionReceipt(ctx, hash)
		switch {
		case errors.Is(err, ethereum.NotFound):
		case err != nil:
			return nil, err
		default:
			if head, err := client.BlockNumber(ctx); err != nil || head >= receipt.BlockNumber.Uint64() {
				return receipt, err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// CreateApp registers an app of the account and returns its address.
func CreateApp(t testing.TB, n *localnet.Network, owner poco.Account, app poco.App) common.Address {
	t.Helper()
	registry := n.Info().AppRegistry
	if _, err := Send(t, n, owner.Key, registry, poco.PackCreateApp(owner.Address, app)); err != nil {
		t.Fatalf("create app: %v", err)
	}
	return app.Address(registry, owner.Address)
}

// AppOrder is an unrestricted order for the app with a new salt and the tag tee,tdx; price in nRLC.
func AppOrder(app common.Address, price, volume uint64) poco.Order {
	o := poco.AppOrder.Zero()
	o["app"] = app.Hex()
	o["appprice"] = strconv.FormatUint(price, 10)
	o["volume"] = strconv.FormatUint(volume, 10)
	o["tag"] = common.BigToHash(big.NewInt(9)).Hex()
	o["salt"] = salt()
	return o
}

func salt() string {
	var s common.Hash
	_, _ = rand.Read(s[:]) // never fails
	return s.Hex()
}

// Sign signs an order for the network's hub.
func Sign(t testing.TB, signer poco.Account, k *poco.Kind, o poco.Order) poco.SignedOrder {
	t.Helper()
	hash, err := poco.Localnet().Domain().OrderHash(k, o)
	if err != nil {
		t.Fatalf("sign %s: %v", k.Noun, err)
	}
	sign, err := poco.Sign(signer.Key, hash)
	if err != nil {
		t.Fatalf("sign %s: %v", k.Noun, err)
	}
	return poco.SignedOrder{Order: o, Sign: sign}
}

// Buy matches volume of the order as a stranger who holds a copy of it would: with a workerpool and a request made to fit,
// paying its price. The error tells why the hub refuses, as in iExecV5-matchOrders-0x60. SIDE EFFECTS: creates a
// workerpool once, deposits the price, makes a deal.
func Buy(t testing.TB, n *localnet.Network, app poco.SignedOrder, volume uint64) error {
	t.Helper()
	_, err := Fill(t, n, poco.AppOrder, app, volume)
	return err
}

// createWorkerpool creates the buyer's workerpool if it isn't there yet.
func createWorkerpool(t testing.TB, n *localnet.Network, client *ethclient.Client, owner poco.Account) common.Address {
	t.Helper()
	registry, workerpool := n.Info().WorkerpoolRegistry, poco.Workerpool{Description: "nettest"}
	address := workerpool.Address(registry, owner.Address)
	code, err := client.CodeAt(t.Context(), address, nil)
	if err != nil {
		t.Fatalf("look for the workerpool: %v", err)
	}
	if len(code) > 0 {
		return address
	}
	if _, err := send(t.Context(), client, owner.Key, registry, poco.PackCreateWorkerpool(owner.Address, workerpool)); err != nil {
		t.Fatalf("create workerpool: %v", err)
	}
	return address
}

// Transfer gives an app to another owner.
func Transfer(t testing.TB, n *localnet.Network, app common.Address, from *ecdsa.PrivateKey, to common.Address) {
	t.Helper()
	owner := crypto.PubkeyToAddress(from.PublicKey)
	if _, err := Send(t, n, from, n.Info().AppRegistry, poco.PackTransfer(owner, to, app)); err != nil {
		t.Fatalf("transfer app %s: %v", app, err)
	}
}
