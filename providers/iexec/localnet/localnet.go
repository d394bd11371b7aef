// Package localnet is the embedded development network: in one process, an Ethereum chain with the real PoCo contracts, a
// market and a secret management service that behave like iExec's, and an OCI registry. It listens on loopback addresses only, as its keys are public.
package localnet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/iexecform/iexecform/providers/iexec/localnet/orderbook"
	"github.com/iexecform/iexecform/providers/iexec/localnet/secrets"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Options say how a network runs. The zero value is an in-memory network at the default ports of poco.Localnet.
type Options struct {
	RPC, Market, SMS, Registry string        // listen addresses, loopback only; port 0 takes any free port
	Node                       string        // URL of a development node on loopback, with the same chain id and accounts, that is used instead of a chain of the network's own; then RPC, BlockTime and Code don't count
	DataDir                    string        // where the network is kept; "" keeps it in memory
	BlockTime                  time.Duration // a block each BlockTime; 0 makes one as soon as a transaction arrives
	Contracts                  string        // directory with the tarball of the npm package @iexec/poco, or the package unpacked; "" has npm fetch it
	MaxOpenOrders              int           // the market's limit of open orders by wallet and kind; 0 is its default, 50; negative is none
	RateLimit                  orderbook.RateLimit
	Code                       map[common.Address][]byte // more contracts in the genesis block; usually none
	Log                        *slog.Logger              // of what goes wrong inside; nil is quiet
}

// Info is what a client of the network needs to know.
type Info struct {
	ChainID            uint64         `json:"chain_id"`
	RPCURL             string         `json:"rpc_url"`
	Hub                common.Address `json:"hub"`
	RLC                common.Address `json:"rlc"`
	AppRegistry        common.Address `json:"app_registry"`
	DatasetRegistry    common.Address `json:"dataset_registry"`
	WorkerpoolRegistry common.Address `json:"workerpool_registry"`
	MarketURL          string         `json:"market_url"`
	SMSURL             string         `json:"sms_url"`
	Registry           string         `json:"registry"`     // host:port of the OCI registry
	SampleImage        string         `json:"sample_image"` // reference of an image in the registry
	Accounts           []Account      `json:"accounts"`     // funded; the first one has deployed the contracts
}

// Account is one of the well-known development accounts.
type Account struct {
	Address    common.Address `json:"address"`
	PrivateKey string         `json:"private_key"` // 0x hex
}

// MarshalJSON writes the addresses in EIP-55 form.
func (i Info) MarshalJSON() ([]byte, error) {
	type plain Info
	return json.Marshal(struct {
		plain
		Hub                common.AddressEIP55 `json:"hub"`
		RLC                common.AddressEIP55 `json:"rlc"`
		AppRegistry        common.AddressEIP55 `json:"app_registry"`
		DatasetRegistry    common.AddressEIP55 `json:"dataset_registry"`
		WorkerpoolRegistry common.AddressEIP55 `json:"workerpool_registry"`
	}{
		plain(i), common.AddressEIP55(i.Hub), common.AddressEIP55(i.RLC), common.AddressEIP55(i.AppRegistry),
		common.AddressEIP55(i.DatasetRegistry), common.AddressEIP55(i.WorkerpoolRegistry),
	})
}

// MarshalJSON writes the address in EIP-55 form.
func (a Account) MarshalJSON() ([]byte, error) {
	type plain Account
	return json.Marshal(struct {
		Address common.AddressEIP55 `json:"address"`
		plain
	}{common.AddressEIP55(a.Address), plain(a)})
}

// Network is a running network.
type Network struct {
	info   Info
	client *rpc.Client    // of the chain
	closes []func() error // in reverse order
}

// A ledger is the chain under a network.
type ledger interface {
	orderbook.Chain
	close() error
}

// Start starts a network and returns when it is ready. SIDE EFFECTS: listens on four ports, writes to DataDir, and where
// the contracts are in neither Contracts nor the user's cache has npm fetch them.
func Start(ctx context.Context, opts Options) (*Network, error) {
	n := &Network{}
	if err := n.start(ctx, opts); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Network) start(ctx context.Context, opts Options) error {
	local, at := poco.Localnet(), localAddresses()
	defaults := func(addr, url string) string { return cmp.Or(addr, strings.TrimPrefix(url, "http://")) }
	opts.RPC, opts.Market, opts.SMS = defaults(opts.RPC, local.RPC), defaults(opts.Market, local.Market), defaults(opts.SMS, local.SMS)
	opts.Registry = cmp.Or(opts.Registry, local.Registry)
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	for _, addr := range []string{opts.RPC, opts.Market, opts.SMS, opts.Registry} {
		if _, _, err := splitAddr(addr); err != nil {
			return err
		}
	}
	kept := func(name string) string { return "" }
	if opts.DataDir != "" {
		if err := os.MkdirAll(opts.DataDir, 0o755); err != nil {
			return fmt.Errorf("make the data directory: %w", err)
		}
		kept = func(name string) string { return filepath.Join(opts.DataDir, name) }
	}

	chain, url, err := n.openLedger(ctx, opts, kept("chain"))
	if err != nil {
		return err
	}

	market, err := orderbook.New(ctx, orderbook.Config{
		Chain:  chain,
		Domain: local.Domain(),
		Registries: map[*poco.Kind]common.Address{
			poco.AppOrder: at.appRegistry, poco.DatasetOrder: at.datasetRegistry, poco.WorkerpoolOrder: at.workerpoolRegistry,
		},
		File:          kept("market.jsonl"),
		MaxOpenOrders: opts.MaxOpenOrders,
		RateLimit:     opts.RateLimit,
		Log:           opts.Log,
	})
	if err != nil {
		return err
	}
	n.closes = append(n.closes, market.Close)
	marketAddr, err := n.serve(opts.Market, market)
	if err != nil {
		return err
	}

	vault, err := secrets.New(secrets.Config{Chain: chain, AppRegistry: at.appRegistry, File: kept("secrets.json"), Log: opts.Log})
	if err != nil {
		return err
	}
	smsAddr, err := n.serve(opts.SMS, vault)
	if err != nil {
		return err
	}

	images, closeImages, err := newRegistry(kept("registry"))
	if err != nil {
		return err
	}
	n.closes = append(n.closes, closeImages)
	registryAddr, err := n.serve(opts.Registry, images)
	if err != nil {
		return err
	}
	sample, err := pushSample(ctx, registryAddr)
	if err != nil {
		return err
	}

	n.info = Info{
		ChainID: local.ID, RPCURL: url, Hub: at.hub, RLC: at.token,
		AppRegistry: at.appRegistry, DatasetRegistry: at.datasetRegistry, WorkerpoolRegistry: at.workerpoolRegistry,
		MarketURL: "http://" + marketAddr, SMSURL: "http://" + smsAddr, Registry: registryAddr, SampleImage: sample,
	}
	for _, a := range poco.DevAccounts() {
		n.info.Accounts = append(n.info.Accounts, Account{Address: a.Address, PrivateKey: hexutil.Encode(crypto.FromECDSA(a.Key))})
	}
	return nil
}

// openLedger opens the chain with the contracts on it, and returns its URL.
func (n *Network) openLedger(ctx context.Context, opts Options, dir string) (ledger, string, error) {
	if opts.Node != "" {
		node, err := dialNode(ctx, opts.Node)
		if err != nil {
			return nil, "", err
		}
		n.client = node.client
		n.closes = append(n.closes, node.close)
		return node, opts.Node, setup(ctx, node.client, opts.Contracts, func() { node.settle(ctx) })
	}
	chain, err := openChain(opts.RPC, dir, opts.Code)
	if err != nil {
		return nil, "", err
	}
	n.client = chain.client
	n.closes = append(n.closes, chain.close)
	mine := func() {
		_ = chain.backend.TxPool().Sync() // transactions that came by RPC are on their way into the pool
		chain.mineAll()
	}
	if err := setup(ctx, chain.client, opts.Contracts, mine); err != nil {
		return nil, "", err
	}
	chain.mine(opts.BlockTime)
	return chain, chain.stack.HTTPEndpoint(), nil
}

// serve serves HTTP at addr until Close and returns the address with the port that it got.
func (n *Network) serve(addr string, handler http.Handler) (string, error) {
	host, port, err := splitAddr(addr)
	if err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: local(handler), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // always ends with ErrServerClosed
	n.closes = append(n.closes, server.Close)
	return listener.Addr().String(), nil
}

// Info returns where the network is and who owns what.
func (n *Network) Info() Info { return n.info }

// Close stops the network. What is in DataDir stays.
func (n *Network) Close() error {
	var errs []error
	for _, closing := range slices.Backward(n.closes) {
		errs = append(errs, closing())
	}
	n.closes = nil
	return errors.Join(errs...)
}
