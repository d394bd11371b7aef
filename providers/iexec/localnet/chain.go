package localnet

import (
	"context"
	"fmt"
	"maps"
	"math/big"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/rawdb"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/eth"
	"github.com/ethereum/go-ethereum/eth/catalyst"
	"github.com/ethereum/go-ethereum/eth/ethconfig"
	"github.com/ethereum/go-ethereum/eth/filters"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/params"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// blockGasLimit leaves room for about 1,700 new apps in one block.
const blockGasLimit = 1_000_000_000

// chain is a go-ethereum node without peers, and the simulated beacon that tells it to make blocks.
//
// Policy: every state is written to disk as soon as its block is made (hash scheme, archive mode), and the market hears of a
// block only then, so that a killed process loses no block that an order of the market rests on. The genesis block is always the same.
type chain struct {
	stack   *node.Node
	backend *eth.Ethereum
	beacon  *catalyst.SimulatedBeacon
	client  *rpc.Client // in process
	stop    chan struct{}
	done    sync.WaitGroup
	making  sync.RWMutex // held while a block is made and written
}

// openChain opens the chain in dir ("" is in memory), whose genesis block has the code, and serves JSON-RPC at addr. It makes
// no blocks before mine.
func openChain(addr, dir string, code map[common.Address][]byte) (*chain, error) {
	host, port, err := splitAddr(addr)
	if err != nil {
		return nil, err
	}
	nodeConfig := node.DefaultConfig
	nodeConfig.Name = "chain"
	nodeConfig.DataDir = ""
	if dir != "" {
		if nodeConfig.DataDir, err = filepath.Abs(dir); err != nil {
			return nil, fmt.Errorf("resolve %s: %w", dir, err)
		}
	}
	nodeConfig.P2P = p2p.Config{NoDiscovery: true, NoDial: true}
	nodeConfig.HTTPHost, nodeConfig.HTTPPort = host, port
	nodeConfig.HTTPModules = []string{"eth", "net", "web3", "txpool"}
	nodeConfig.BatchRequestLimit = 20_000
	nodeConfig.BatchResponseMaxSize = 512 << 20
	nodeConfig.HTTPBodyLimit = 128 << 20

	ethConfig := ethconfig.Defaults
	ethConfig.Genesis = genesis(code)
	ethConfig.SyncMode = ethconfig.FullSync
	ethConfig.StateScheme, ethConfig.NoPruning = rawdb.HashScheme, true
	ethConfig.NoPrefetch = true
	ethConfig.DatabaseCache, ethConfig.DatabaseHandles = 64, 256
	ethConfig.TrieCleanCache, ethConfig.TrieDirtyCache, ethConfig.SnapshotCache = 64, 0, 0
	ethConfig.LogNoHistory = true // logs are searched by the blocks' blooms, which needs no index
	ethConfig.Miner.GasCeil = blockGasLimit
	ethConfig.Miner.GasPrice = big.NewInt(1) // what the pool accepts is mined
	ethConfig.TxPool.NoLocals, ethConfig.TxPool.Journal = true, ""
	ethConfig.TxPool.AccountSlots, ethConfig.TxPool.GlobalSlots = 100_000, 200_000
	ethConfig.TxPool.AccountQueue, ethConfig.TxPool.GlobalQueue = 100_000, 200_000
	ethConfig.RPCGasCap = blockGasLimit
	ethConfig.RPCTxFeeCap = 0 // none

	stack, err := node.New(&nodeConfig)
	if err != nil {
		return nil, fmt.Errorf("open chain: %w", err)
	}
	c := &chain{stack: stack, stop: make(chan struct{})}
	if c.backend, err = eth.New(stack, &ethConfig); err != nil {
		_ = stack.Close()
		return nil, fmt.Errorf("open chain: %w", err)
	}
	stack.RegisterAPIs([]rpc.API{{
		Namespace: "eth",
		Service:   filters.NewFilterAPI(filters.NewFilterSystem(c.backend.APIBackend, filters.Config{})),
	}})
	if err := stack.Start(); err != nil {
		_ = stack.Close()
		return nil, fmt.Errorf("start chain: %w", err)
	}
	if c.beacon, err = catalyst.NewSimulatedBeacon(0, common.Address{}, c.backend); err != nil {
		_ = stack.Close()
		return nil, fmt.Errorf("start chain: %w", err)
	}
	c.client = stack.Attach()
	return c, nil
}

// genesis funds the development accounts with 10,000 ETH each. Its hash is the same at every start; a change of it makes
// existing data directories unusable.
func genesis(code map[common.Address][]byte) *core.Genesis {
	config := *params.AllDevChainProtocolChanges
	config.ChainID = new(big.Int).SetUint64(poco.Localnet().ID)
	config.OsakaTime, config.BogotaTime = nil, nil // up to Prague: Osaka caps the gas of a transaction
	alloc := maps.Clone(core.SystemContractAllocs())
	balance := new(big.Int).Mul(big.NewInt(10_000), big.NewInt(params.Ether))
	for _, a := range poco.DevAccounts() {
		alloc[a.Address] = types.Account{Balance: balance}
	}
	for address, code := range code {
		alloc[address] = types.Account{Code: code, Balance: new(big.Int)}
	}
	return &core.Genesis{
		Config:     &config,
		GasLimit:   blockGasLimit,
		BaseFee:    big.NewInt(params.InitialBaseFee),
		Difficulty: new(big.Int),
		Alloc:      alloc,
	}
}

// mine starts to make blocks: one as soon as there are transactions, or, with a period, one each period.
func (c *chain) mine(period time.Duration) {
	if period > 0 {
		c.done.Go(func() {
			tick := time.NewTicker(period)
			defer tick.Stop()
			for {
				select {
				case <-c.stop:
					return
				case <-tick.C:
					c.commit()
				}
			}
		})
		return
	}
	// The pool waits for who listens to it, and a new block waits for the pool: two goroutines, so that neither waits for
	// the other.
	txs := make(chan core.NewTxsEvent)
	sub := c.backend.TxPool().SubscribeTransactions(txs, true)
	wake := make(chan struct{}, 1)
	c.done.Go(func() {
		defer sub.Unsubscribe()
		for {
			select {
			case <-c.stop:
				return
			case <-txs:
				select {
				case wake <- struct{}{}:
				default:
				}
			}
		}
	})
	c.done.Go(func() {
		for {
			select {
			case <-c.stop:
				return
			case <-wake:
				c.mineAll()
			}
		}
	})
}

// commit makes a block and has it on disk.
func (c *chain) commit() {
	c.making.Lock()
	defer c.making.Unlock()
	c.beacon.Commit()
	db := c.backend.ChainDb()
	if c.stack.DataDir() == "" {
		// Once a minute a node moves what is final to a freezer. In memory that gains nothing, and it looks through the whole
		// database for each block: of 10,000 it takes minutes. Only the freezer reads this.
		rawdb.WriteFinalizedBlockHash(db, common.Hash{})
	}
	_ = db.SyncKeyValue() // else the newest block waits in the process for the next ones
}

// mineAll makes blocks until no executable transaction is left, or a block comes out empty (one that can't be included
// waits for the next).
func (c *chain) mineAll() {
	for {
		if n, _ := c.backend.TxPool().Stats(); n == 0 {
			return
		}
		before := c.backend.BlockChain().CurrentBlock()
		c.commit()
		after := c.backend.BlockChain().CurrentBlock()
		if before.Hash() == after.Hash() || after.TxHash == types.EmptyTxsHash || c.backend.TxPool().Sync() != nil {
			return
		}
		select {
		case <-c.stop:
			return
		default:
		}
	}
}

// close stops mining and closes the database.
func (c *chain) close() error {
	close(c.stop)
	c.done.Wait()
	c.client.Close()
	_ = c.beacon.Stop()
	if err := c.stack.Close(); err != nil {
		return fmt.Errorf("close chain: %w", err)
	}
	return nil
}

// splitAddr checks a listen address: its host must be a loopback address, as the network's keys are public.
func splitAddr(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("listen address %q: want host:port, as in 127.0.0.1:8545: %w", addr, err)
	}
	if port, err = strconv.Atoi(text); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("listen address %q: port %q is not a number from 0 (any) to 65535", addr, text)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", 0, fmt.Errorf("listen address %q is not a loopback address: everybody knows the keys of the local network, so it listens on 127.0.0.1 or [::1] only", addr)
	}
	return host, port, nil
}

// Call implements orderbook.Chain.
func (c *chain) Call(ctx context.Context, calls ...poco.Call) ([]poco.CallResult, error) {
	return call(ctx, c.client, calls...)
}

// call makes read-only calls against the newest block, in one batch. A call that reverts is a CallResult without Success.
func call(ctx context.Context, client *rpc.Client, calls ...poco.Call) ([]poco.CallResult, error) {
	batch := make([]rpc.BatchElem, len(calls))
	data := make([]hexutil.Bytes, len(calls))
	for i, call := range calls {
		batch[i] = rpc.BatchElem{
			Method: "eth_call",
			Args:   []any{map[string]any{"to": call.Target, "data": hexutil.Bytes(call.CallData)}, "latest"},
			Result: &data[i],
		}
	}
	if err := client.BatchCallContext(ctx, batch); err != nil {
		return nil, fmt.Errorf("call contracts: %w", err)
	}
	results := make([]poco.CallResult, len(calls))
	for i := range batch {
		results[i] = poco.CallResult{Success: batch[i].Error == nil, ReturnData: data[i]}
	}
	return results, nil
}

// Head is the number of the newest block that is on disk.
func (c *chain) Head() uint64 {
	c.making.RLock()
	defer c.making.RUnlock()
	return c.backend.BlockChain().CurrentBlock().Number.Uint64()
}

// Block returns the time of a block (Unix seconds) and its logs, in order.
func (c *chain) Block(number uint64) (seconds uint64, logs []*types.Log, err error) {
	header := c.backend.BlockChain().GetHeaderByNumber(number)
	if header == nil {
		return 0, nil, fmt.Errorf("block %d: not in the chain", number)
	}
	for _, receipt := range c.backend.BlockChain().GetReceiptsByHash(header.Hash()) {
		logs = append(logs, receipt.Logs...)
	}
	return header.Time, logs, nil
}

// Watch sends to wake, without blocking, after every new block, until the returned function is called.
func (c *chain) Watch(wake chan<- struct{}) (stop func()) {
	heads := make(chan core.ChainHeadEvent, 16)
	sub := c.backend.BlockChain().SubscribeChainHeadEvent(heads)
	quit := make(chan struct{})
	c.done.Go(func() {
		for {
			select {
			case <-heads:
				select {
				case wake <- struct{}{}:
				default:
				}
			case <-quit:
				return
			}
		}
	})
	return func() {
		sub.Unsubscribe()
		close(quit)
	}
}
