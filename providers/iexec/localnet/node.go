package localnet

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// otherNode is a chain that another program keeps, such as anvil.
type otherNode struct {
	client *rpc.Client

	mu   sync.Mutex
	head uint64 // as last seen
}

// dialNode connects to a node on loopback.
func dialNode(ctx context.Context, rawURL string) (*otherNode, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if _, _, err := splitAddr(u.Host); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	client, err := rpc.DialContext(ctx, rawURL)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	id, err := ethclient.NewClient(client).ChainID(ctx)
	if err != nil || !id.IsUint64() || id.Uint64() != poco.Localnet().ID {
		client.Close()
		return nil, fmt.Errorf("node at %s: its chain must have the id %d, and has %v: %w", rawURL, poco.Localnet().ID, id, err)
	}
	return &otherNode{client: client}, nil
}

// settle waits, half a minute at most, until the node has made blocks of what the first account sent. anvil may overlook a
// transaction that comes while it makes a block, until it is told to make another.
func (n *otherNode) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	deployer, client := poco.DevAccounts()[0].Address, ethclient.NewClient(n.client)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	last, since := uint64(0), time.Now()
	for {
		mined, err := client.NonceAt(ctx, deployer, nil)
		if err != nil {
			return
		}
		if sent, err := client.PendingNonceAt(ctx, deployer); err != nil || sent == mined {
			return
		}
		if mined > last {
			last, since = mined, time.Now()
		} else if time.Since(since) > 200*time.Millisecond {
			_ = n.client.CallContext(ctx, nil, "evm_mine") // other nodes don't know it
			since = time.Now()
		}
		<-tick.C
	}
}

func (n *otherNode) close() error {
	n.client.Close()
	return nil
}

// Call implements orderbook.Chain.
func (n *otherNode) Call(ctx context.Context, calls ...poco.Call) ([]poco.CallResult, error) {
	return call(ctx, n.client, calls...)
}

// Head implements orderbook.Chain. While the node doesn't answer it is as before.
func (n *otherNode) Head() uint64 {
	number, err := ethclient.NewClient(n.client).BlockNumber(context.Background())
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.head = number
	}
	return n.head
}

// Block implements orderbook.Chain.
func (n *otherNode) Block(number uint64) (seconds uint64, logs []*types.Log, err error) {
	ctx := context.Background()
	var block *struct {
		Hash      common.Hash
		Timestamp hexutil.Uint64
	}
	if err := n.client.CallContext(ctx, &block, "eth_getBlockByNumber", hexutil.Uint64(number), false); err != nil {
		return 0, nil, fmt.Errorf("block %d: %w", number, err)
	}
	if block == nil {
		return 0, nil, fmt.Errorf("block %d: not in the chain", number)
	}
	found, err := ethclient.NewClient(n.client).FilterLogs(ctx, ethereum.FilterQuery{BlockHash: &block.Hash})
	if err != nil {
		return 0, nil, fmt.Errorf("logs of block %d: %w", number, err)
	}
	for i := range found {
		logs = append(logs, &found[i])
	}
	return uint64(block.Timestamp), logs, nil
}

// Watch implements orderbook.Chain. It looks 50 times a second.
func (n *otherNode) Watch(wake chan<- struct{}) (stop func()) {
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for last := n.Head(); ; {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			if head := n.Head(); head != last {
				last = head
				select {
				case wake <- struct{}{}:
				default:
				}
			}
		}
	})
	return func() {
		close(quit)
		done.Wait()
	}
}
