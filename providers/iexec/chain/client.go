// Package chain talks JSON-RPC to an Ethereum chain: batched reads at one block, wallets, and a sender of transactions
// that loses and doubles nothing.
package chain

import (
	"context"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/iexecform/iexecform/providers/trace"
)

// Options tune a Client. The zero value is ready to use.
type Options struct {
	HTTPClient  *http.Client  // its Transport carries the requests; nil: one of the client's own
	MaxBatch    int           // calls per JSON-RPC batch; 0: 500. It shrinks by itself when the node refuses a batch as too large
	MaxResponse int64         // bytes per answer; 0: 64 MiB
	Timeout     time.Duration // of one HTTP exchange; 0: 30 s
	RetryFor    time.Duration // how long a failing request is repeated; 0: 1 min, negative: never
}

// Client is a connection to one JSON-RPC endpoint. It is safe for concurrent use.
type Client struct {
	rpc      *rpc.Client
	http     *http.Client
	url      string        // without secrets
	secrets  trace.Secrets // of the URL
	loopback bool
	retryFor time.Duration
	maxBatch atomic.Int64

	mu        sync.Mutex
	pin       *Head
	chainID   *big.Int
	genesis   *common.Hash
	multicall *bool
}

// Head is a block, as far as it matters here.
type Head struct {
	Number  *big.Int
	Hash    common.Hash
	BaseFee *big.Int // wei per gas; nil on a chain without EIP-1559
}

// Fees are what one unit of gas may cost, in wei. On a chain without EIP-1559 Base and Tip are nil and Cap is the gas price.
type Fees struct{ Base, Cap, Tip *big.Int }

// Dial makes a client for an http(s) URL. SIDE EFFECTS: none; it connects with the first request.
func Dial(ctx context.Context, rawURL string, opts Options) (*Client, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		// The URL may hold secrets, and so may the parser's error.
		return nil, fmt.Errorf("dial chain: rpc_url is not an http:// or https:// URL; set it to the JSON-RPC endpoint of the chain")
	}
	c := &Client{url: redactURL(u), loopback: isLoopback(u.Hostname()), secrets: trace.SecretsOf(u), retryFor: opts.RetryFor}
	if c.retryFor == 0 {
		c.retryFor = time.Minute
	}
	c.maxBatch.Store(500)
	if opts.MaxBatch > 0 {
		c.maxBatch.Store(int64(opts.MaxBatch))
	}
	t := &transport{limit: opts.MaxResponse, timeout: opts.Timeout, secrets: c.secrets}
	if t.limit == 0 {
		t.limit = 64 << 20
	}
	if t.timeout == 0 {
		t.timeout = 30 * time.Second
	}
	if opts.HTTPClient != nil {
		t.base = opts.HTTPClient.Transport
	}
	if t.base == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxIdleConnsPerHost = parallel
		t.base = own
	}
	t.base = trace.Transport(t.base, "chain", c.secrets)
	c.http = &http.Client{Transport: t}
	if c.rpc, err = rpc.DialOptions(ctx, rawURL, rpc.WithHTTPClient(c.http)); err != nil {
		return nil, fmt.Errorf("dial chain at %s: %w", c.url, err)
	}
	return c, nil
}

// URL is the endpoint without user, path and query, fit for messages.
func (c *Client) URL() string { return c.url }

// Requests is how many HTTP requests were made so far; a batch is one.
func (c *Client) Requests() int { return int(c.http.Transport.(*transport).sent.Load()) }

// Close closes idle connections.
func (c *Client) Close() error {
	c.rpc.Close()
	c.http.CloseIdleConnections()
	return nil
}

// ChainID is the chain's id; asked once.
func (c *Client) ChainID(ctx context.Context) (*big.Int, error) {
	c.mu.Lock()
	known := c.chainID
	c.mu.Unlock()
	if known == nil {
		var id hexutil.Big
		if err := c.call(ctx, "read the chain id", &id, "eth_chainId"); err != nil {
			return nil, err
		}
		known = id.ToInt()
		c.mu.Lock()
		c.chainID = known
		c.mu.Unlock()
	}
	return new(big.Int).Set(known), nil
}

// Genesis is the hash of block 0, which tells a chain that was reset from the one before; asked once.
func (c *Client) Genesis(ctx context.Context) (common.Hash, error) {
	c.mu.Lock()
	known := c.genesis
	c.mu.Unlock()
	if known == nil {
		h, err := c.block(ctx, "read the genesis block", "0x0")
		if err != nil {
			return common.Hash{}, err
		}
		known = &h.Hash
		c.mu.Lock()
		c.genesis = known
		c.mu.Unlock()
	}
	return *known, nil
}

// BlockHashes reads the hashes of blocks, in one request; the zero hash for those that the chain doesn't have.
func (c *Client) BlockHashes(ctx context.Context, numbers []*big.Int) ([]common.Hash, error) {
	blocks, elems := make([]*blockJSON, len(numbers)), make([]rpc.BatchElem, len(numbers))
	for i, n := range numbers {
		elems[i] = rpc.BatchElem{Method: "eth_getBlockByNumber", Args: []any{hexutil.EncodeBig(n), false}, Result: &blocks[i]}
	}
	err := c.batch(ctx, elems)
	hashes := make([]common.Hash, len(numbers))
	for i, b := range blocks {
		if err == nil {
			err = c.itemError(elems[i].Error)
		}
		if b != nil {
			hashes[i] = b.Hash
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read blocks: %w", err)
	}
	return hashes, nil
}

// Head is the newest block, whatever is pinned.
func (c *Client) Head(ctx context.Context) (Head, error) {
	return c.block(ctx, "read the head of the chain", "latest")
}

// deep is how many blocks behind the newest one can't be undone, where the node calls no newer one final.
const deep = 100_000

// Final is the newest block, and the number of the newest one that can't be undone, which may be negative: the one that the node
// calls finalized, where it does. It takes one request.
func (c *Client) Final(ctx context.Context) (newest Head, final *big.Int, err error) {
	var blocks [2]*blockJSON
	elems := make([]rpc.BatchElem, len(blocks))
	for i, tag := range []string{"latest", "finalized"} {
		elems[i] = rpc.BatchElem{Method: "eth_getBlockByNumber", Args: []any{tag, false}, Result: &blocks[i]}
	}
	if err = c.batch(ctx, elems); err == nil && elems[0].Error != nil {
		err = c.itemError(elems[0].Error)
	}
	if err != nil {
		return Head{}, nil, fmt.Errorf("read the newest and the last final block: %w", err)
	}
	if blocks[0] == nil || blocks[0].Number == nil {
		return Head{}, nil, fmt.Errorf("%s has no newest block; it may be out of sync", c.url)
	}
	newest = blocks[0].head()
	final = new(big.Int).Sub(newest.Number, big.NewInt(deep))
	if b := blocks[1]; elems[1].Error == nil && b != nil && b.Number != nil && b.Number.ToInt().Cmp(final) > 0 {
		final = b.Number.ToInt()
	}
	return newest, final, nil
}

// Pin makes the present head the block that all later reads without a block of their own are made at, and returns it.
func (c *Client) Pin(ctx context.Context) (Head, error) {
	h, err := c.Head(ctx)
	if err != nil {
		return Head{}, err
	}
	c.mu.Lock()
	c.pin = &h
	c.mu.Unlock()
	return h, nil
}

// Unpin lets later reads see the newest block again.
func (c *Client) Unpin() {
	c.mu.Lock()
	c.pin = nil
	c.mu.Unlock()
}

// Code is the code at an address, empty if there is none, at the pinned block.
func (c *Client) Code(ctx context.Context, addr common.Address) ([]byte, error) {
	var code hexutil.Bytes
	err := c.call(ctx, "read the code at "+addr.Hex(), &code, "eth_getCode", addr, c.blockTag(nil))
	return code, err
}

// Balance is what an account has, in wei, at the pinned block.
func (c *Client) Balance(ctx context.Context, addr common.Address) (*big.Int, error) {
	var b hexutil.Big
	if err := c.call(ctx, "read the balance of "+addr.Hex(), &b, "eth_getBalance", addr, c.blockTag(nil)); err != nil {
		return nil, err
	}
	return b.ToInt(), nil
}

// GasPrice suggests fees for a transaction sent now: the node's tip, and twice the base fee plus the tip as the cap, which
// lasts through six full blocks.
func (c *Client) GasPrice(ctx context.Context) (Fees, error) {
	var read feeRead
	elems := read.elems()
	if err := c.batch(ctx, elems); err != nil {
		return Fees{}, fmt.Errorf("read the gas price: %w", err)
	}
	return read.fees(c, elems)
}

// feeRead is what fees are made from; one batch reads it.
type feeRead struct {
	block      *blockJSON
	tip, price hexutil.Big
}

func (r *feeRead) elems() []rpc.BatchElem {
	return []rpc.BatchElem{
		{Method: "eth_getBlockByNumber", Args: []any{"latest", false}, Result: &r.block},
		{Method: "eth_maxPriorityFeePerGas", Result: &r.tip},
		{Method: "eth_gasPrice", Result: &r.price},
	}
}

// fees reads the answers to elems. A node that knows no tip method asks for no tip.
func (r *feeRead) fees(c *Client, elems []rpc.BatchElem) (Fees, error) {
	needed := elems[:1]
	if r.block != nil && r.block.BaseFee == nil {
		needed = []rpc.BatchElem{elems[0], elems[2]}
	} else if !isMethodMissing(elems[1].Error) {
		needed = elems[:2]
	}
	for _, e := range needed {
		if e.Error != nil {
			return Fees{}, fmt.Errorf("read the gas price: %w", c.itemError(e.Error))
		}
	}
	switch {
	case r.block == nil:
		return Fees{}, fmt.Errorf("read the gas price: %s has no newest block; it may be out of sync", c.url)
	case r.block.BaseFee == nil:
		return Fees{Cap: r.price.ToInt()}, nil
	}
	base, tip := r.block.BaseFee.ToInt(), r.tip.ToInt()
	most := new(big.Int).Lsh(base, 1)
	return Fees{Base: base, Cap: most.Add(most, tip), Tip: tip}, nil
}

// blockTag is the JSON-RPC name of block, or of the pinned block, or "latest".
func (c *Client) blockTag(block *big.Int) string {
	if block == nil {
		c.mu.Lock()
		if c.pin != nil {
			block = c.pin.Number
		}
		c.mu.Unlock()
	}
	if block == nil {
		return "latest"
	}
	return hexutil.EncodeBig(block)
}

// blockJSON is a block, as far as it matters here.
type blockJSON struct {
	Number  *hexutil.Big `json:"number"`
	Hash    common.Hash  `json:"hash"`
	BaseFee *hexutil.Big `json:"baseFeePerGas"`
}

func (c *Client) block(ctx context.Context, op, tag string) (Head, error) {
	var b *blockJSON
	if err := c.call(ctx, op, &b, "eth_getBlockByNumber", tag, false); err != nil {
		return Head{}, err
	}
	if b == nil || b.Number == nil {
		return Head{}, fmt.Errorf("%s: %s has no block %s; it may be out of sync", op, c.url, tag)
	}
	return b.head(), nil
}

func (b *blockJSON) head() Head {
	return Head{Number: b.Number.ToInt(), Hash: b.Hash, BaseFee: (*big.Int)(b.BaseFee)}
}
