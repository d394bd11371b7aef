// Package localnet is the embedded development network: in one process, an Ethereum chain with the real PoCo contracts, a
// market that behaves like iExec's, and an OCI registry. It listens on loopback addresses only, as its keys are public.
package localnet

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Options say how a network runs. The zero value is an in-memory network at the default ports of poco.Localnet.
type Options struct {
	RPC, Market, Registry string        // listen addresses, loopback only; port 0 takes any free port
	DataDir               string        // where the network is kept; "" keeps it in memory
	BlockTime             time.Duration // a block each BlockTime; 0 makes one as soon as a transaction arrives
	Contracts             string        // directory with the tarball of the npm package @iexec/poco, or the package unpacked; "" has npm fetch it
	MaxOpenOrders         int           // the market's limit of open orders by wallet and kind; 0 is its default, 50; negative is none
	Log                   *slog.Logger  // nil is quiet
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
	Registry           string         `json:"registry"`     // host:port of the OCI registry
	SampleImage        string         `json:"sample_image"` // reference of an image in the registry
	Accounts           []Account      `json:"accounts"`     // funded; the first one has deployed the contracts
}

// Account is one of the well-known development accounts.
type Account struct {
	Address    common.Address `json:"address"`
	PrivateKey string         `json:"private_key"` // 0x hex
}

// Network is a running network.
type Network struct {
	info  Info
	chain *chain
}

// Start starts a network and returns when it is ready. SIDE EFFECTS: listens on three ports, writes to DataDir, and where
// the contracts are in neither Contracts nor the user's cache has npm fetch them.
func Start(ctx context.Context, opts Options) (*Network, error) {
	local := poco.Localnet()
	opts.RPC = orDefault(opts.RPC, "127.0.0.1:8545")
	n := &Network{}
	dir := ""
	if opts.DataDir != "" {
		dir = filepath.Join(opts.DataDir, "chain")
	}
	var err error
	if n.chain, err = openChain(opts.RPC, dir); err != nil {
		return nil, err
	}
	if err := n.chain.setup(ctx, opts.Contracts); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	n.chain.mine(opts.BlockTime)
	at := localAddresses()
	n.info = Info{
		ChainID: local.ID, RPCURL: n.chain.stack.HTTPEndpoint(), Hub: at.hub, RLC: at.token,
		AppRegistry: at.appRegistry, DatasetRegistry: at.datasetRegistry, WorkerpoolRegistry: at.workerpoolRegistry,
	}
	for _, a := range poco.DevAccounts() {
		n.info.Accounts = append(n.info.Accounts, Account{Address: a.Address, PrivateKey: hexutil.Encode(crypto.FromECDSA(a.Key))})
	}
	return n, nil
}

// Info returns where the network is and who owns what.
func (n *Network) Info() Info { return n.info }

// Close stops the network. What is in DataDir stays.
func (n *Network) Close() error {
	return n.chain.close()
}

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
