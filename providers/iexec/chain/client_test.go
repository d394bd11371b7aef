package chain_test

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

func addr(text string) common.Address { return common.HexToAddress(text) }

func revertOf(err error) *chain.RevertError {
	var revert *chain.RevertError
	if errors.As(err, &revert) {
		return revert
	}
	return nil
}

func pack(t testing.TB, method string, args ...any) []byte {
	t.Helper()
	data, err := poco.HubABI().Pack(method, args...)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// reads are many calls of the hub: each third one reverts with a reason, one more reverts without data.
func reads(t testing.TB, hub common.Address, n int) []chain.Call {
	revert := pack(t, "verifySignature", poco.DevAccounts()[0].Address, common.HexToHash("0x1"), []byte{1, 2, 3})
	calls := make([]chain.Call, n)
	for i := range calls {
		calls[i] = chain.Call{To: hub, Data: pack(t, "viewConsumed", common.BigToHash(big.NewInt(int64(i))))}
		if i%3 == 1 {
			calls[i].Data = revert
		}
	}
	calls[n-1].Data = []byte{1, 2, 3, 4} // no such method
	return calls
}

func TestCalls(t *testing.T) {
	net, n, c := network(t)
	check := func(t *testing.T, size, most int) {
		n.exchanges = 0
		calls := reads(t, net.Info().Hub, size)
		for i, r := range c.Calls(t.Context(), calls) {
			switch revert := revertOf(r.Err); {
			case i == size-1:
				if r.Err == nil {
					t.Errorf("call %d of no method succeeded", i)
				}
			case i%3 == 1:
				if revert == nil || revert.Reason != "invalid-signature-format" || len(revert.Data) == 0 {
					t.Fatalf("call %d: %v, want a revert with its reason", i, r.Err)
				}
			case r.Err != nil || len(r.Data) != 32:
				t.Fatalf("call %d: %x, %v", i, r.Data, r.Err)
			}
		}
		if n.exchanges > most {
			t.Errorf("%d calls took %d exchanges, want at most %d", size, n.exchanges, most)
		}
	}
	t.Run("batches", func(t *testing.T) { check(t, 1200, 5) })  // head, code, 3 batches
	t.Run("few", func(t *testing.T) { check(t, 3, 1) })         // newest block, one batch
	t.Run("pinned", func(t *testing.T) { testPinned(t, c, n) }) // nothing moves
	if results := c.Calls(t.Context(), nil); len(results) != 0 {
		t.Errorf("no calls have %d results", len(results))
	}
	withMulticall(t, n, net.Info().RPCURL)
	c = dial(t, net.Info().RPCURL, n, chain.Options{})
	t.Run("multicall", func(t *testing.T) { check(t, 1200, 6) }) // head, code, 3 aggregates, the call without data again
}

// All reads of a plan are made at the block that was pinned.
func testPinned(t *testing.T, c *chain.Client, n *node) {
	head, err := c.Pin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var wrong atomic.Int64
	n.before = func(calls []message) (*http.Response, error) {
		for _, call := range calls {
			if call.Method == "eth_call" && string(call.Params[1]) != fmt.Sprintf("%q", hexutil.EncodeBig(head.Number)) {
				wrong.Add(1)
			}
		}
		return nil, nil
	}
	hub := poco.Localnet().Hub
	c.Calls(t.Context(), reads(t, hub, 20))
	c.Calls(t.Context(), reads(t, hub, 2))
	n.before = nil
	if wrong.Load() != 0 {
		t.Errorf("%d calls were made at another block than %s", wrong.Load(), head.Number)
	}
	c.Unpin()
}

func TestIdentity(t *testing.T) {
	_, n, c := network(t)
	for range 3 {
		id, err := c.ChainID(t.Context())
		if err != nil || id.Uint64() != 31337 {
			t.Fatalf("chain id %v, %v", id, err)
		}
		genesis, err := c.Genesis(t.Context())
		if err != nil || genesis == (common.Hash{}) {
			t.Fatalf("genesis %v, %v", genesis, err)
		}
	}
	if n.count("eth_chainId") != 1 || n.count("eth_getBlockByNumber") != 1 {
		t.Errorf("identity was read more than once: %v", n.methods)
	}
	code, err := c.Code(t.Context(), poco.Localnet().Hub)
	if err != nil || len(code) == 0 {
		t.Errorf("the hub has %d bytes of code, %v", len(code), err)
	}
}

func TestEstimateGas(t *testing.T) {
	net, _, c := network(t)
	me := poco.DevAccounts()[1].Address
	app := poco.App{Name: "a", Type: "DOCKER", Multiaddr: []byte("x"), Checksum: common.HexToHash("0x1")}
	gas, errs := c.EstimateGas(t.Context(), []chain.Msg{
		{From: me, To: net.Info().AppRegistry, Data: poco.PackCreateApp(me, app)},
		{From: me, To: net.Info().Hub, Data: pack(t, "withdraw", big.NewInt(1e18))},
		{From: me, To: me, Value: big.NewInt(1)},
	})
	if errs[0] != nil || gas[0] < 300_000 {
		t.Errorf("createApp: %d gas, %v", gas[0], errs[0])
	}
	if revertOf(errs[1]) == nil || gas[1] != 0 {
		t.Errorf("withdraw of what isn't there: %d gas, %v; want a revert", gas[1], errs[1])
	}
	if errs[2] != nil || gas[2] != 21000 {
		t.Errorf("transfer: %d gas, %v", gas[2], errs[2])
	}
	fees, err := c.GasPrice(t.Context())
	if err != nil || fees.Cap.Cmp(fees.Base) < 0 || fees.Cap.Cmp(fees.Tip) < 0 {
		t.Errorf("fees %+v, %v", fees, err)
	}
}

// An app that is registered already reverts in words that a user understands.
func TestRevertInWords(t *testing.T) {
	net, _, c := network(t)
	me := poco.DevAccounts()[1]
	data := poco.PackCreateApp(me.Address, poco.App{Name: "a", Type: "DOCKER", Multiaddr: []byte("x"), Checksum: common.HexToHash("0x1")})
	if _, err := nettest.Send(t, net, me.Key, net.Info().AppRegistry, data); err != nil {
		t.Fatal(err)
	}
	_, errs := c.EstimateGas(t.Context(), []chain.Msg{{From: me.Address, To: net.Info().AppRegistry, Data: data}})
	if errs[0] == nil || !strings.Contains(errs[0].Error(), "already has an entry with these very fields") {
		t.Errorf("error %q, want it in words", errs[0])
	}
	for _, r := range []struct {
		err  chain.RevertError
		want string
	}{
		{chain.RevertError{Reason: "iExecV5-matchOrders-0x03"}, "appprice is above the request's appmaxprice"},
		{chain.RevertError{Data: []byte{0xde, 0xad, 0xbe, 0xef, 0}}, "custom error 0xdeadbeef"},
		{chain.RevertError{}, "without a reason"},
	} {
		if text := r.err.Error(); !strings.Contains(text, r.want) {
			t.Errorf("%q does not say %q", text, r.want)
		}
	}
}

func TestRetries(t *testing.T) {
	refuse := func(status int, retryAfter string) *http.Response {
		resp := reply(status, "busy")
		if retryAfter != "" {
			resp.Header.Set("Retry-After", retryAfter)
		}
		return resp
	}
	tests := []struct {
		name      string
		before    func(try int, calls []message) (*http.Response, error)
		answer    func(try int, call message) (message, bool)
		size      int
		least     time.Duration
		exchanges int
	}{
		{name: "rate limit", size: 3, exchanges: 2, least: 7 * time.Second, before: func(try int, _ []message) (*http.Response, error) {
			if try == 1 {
				return refuse(429, "7"), nil
			}
			return nil, nil
		}},
		{name: "bad gateway", size: 3, exchanges: 4, before: func(try int, _ []message) (*http.Response, error) {
			if try < 4 {
				return refuse(502, ""), nil
			}
			return nil, nil
		}},
		{name: "timeout", size: 1, exchanges: 2, before: func(try int, _ []message) (*http.Response, error) {
			if try == 1 {
				return nil, timeout{}
			}
			return nil, nil
		}},
		{name: "single item", size: 4, exchanges: 2, answer: func(try int, call message) (message, bool) {
			return call.fail(-32005, "limit exceeded"), try == 1 && strings.Contains(string(call.Params[0]), "0x0000000000000000000000000000000000000002")
		}},
		{name: "whole batch in one error", size: 4, exchanges: 2, before: func(try int, _ []message) (*http.Response, error) {
			if try == 1 {
				return reply(200, message{Version: "2.0", ID: []byte("null"), Error: &rpcError{Code: -32097, Message: "Too many requests"}}), nil
			}
			return nil, nil
		}},
		{name: "cut short", size: 4, exchanges: 3, before: func(try int, calls []message) (*http.Response, error) {
			switch try {
			case 1:
				return reply(200, fmt.Sprintf(`[{"jsonrpc":"2.0","id":%s,"result":"0x12`, calls[0].ID)), nil
			case 2:
				return reply(200, ""), nil
			}
			return nil, nil
		}},
		{name: "batch too large", size: 7, exchanges: 1 + 1 + 2, before: func(_ int, calls []message) (*http.Response, error) {
			if len(calls) > 3 {
				return reply(200, message{Version: "2.0", ID: []byte("null"), Error: &rpcError{Code: -32600, Message: "batch too large"}}), nil
			}
			return nil, nil
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &node{}
				var mu = make(chan struct{}, 1)
				sent := map[string]int{}
				n.before = func(calls []message) (*http.Response, error) {
					if test.before != nil {
						return test.before(n.exchanges, calls)
					}
					return nil, nil
				}
				n.answer = func(call message) (message, bool) {
					mu <- struct{}{}
					defer func() { <-mu }()
					sent[string(call.Params[0])]++
					if test.answer != nil {
						if a, ok := test.answer(n.exchanges, call); ok {
							return a, true
						}
					}
					return call.respond(hexutil.Bytes(call.Params[0])), true
				}
				c := dial(t, "http://node.example/", n, chain.Options{})
				calls := make([]chain.Call, test.size)
				for i := range calls {
					calls[i] = chain.Call{To: common.BigToAddress(big.NewInt(int64(i)))}
				}
				start := time.Now()
				for i, r := range c.Calls(t.Context(), calls) {
					if want := calls[i].To.Hex(); r.Err != nil || !strings.Contains(string(r.Data), strings.ToLower(want)) {
						t.Errorf("call %d: %s, %v; want the answer for %s", i, r.Data, r.Err, want)
					}
				}
				if took := time.Since(start); took < test.least {
					t.Errorf("took %v, want at least %v", took, test.least)
				}
				if test.name != "batch too large" && n.exchanges != test.exchanges {
					t.Errorf("%d exchanges, want %d", n.exchanges, test.exchanges)
				}
			})
		})
	}
}

type timeout struct{}

func (timeout) Error() string   { return "i/o timeout" }
func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

// What a user meets when rpc_url is wrong. No error may show what the URL holds besides the host.
func TestErrorTexts(t *testing.T) {
	serve := func(status int, contentType, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return strings.Replace(s.URL, "http://", "http://user:passw0rd@", 1) + "/v3/5ecret5ecret?apikey=querys3cret"
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	tests := []struct {
		name, url string
		want      []string
	}{
		{"refused", gone.URL, []string{"cannot reach the chain at " + gone.URL, ": connection refused;", "start `iexecform localnet`"}},
		{"html", serve(200, "text/html", "<html>5ecret5ecret</html>"), []string{"HTML", "rpc_url"}},
		{"text", serve(200, "text/plain", "hello 5ecret5ecret"), []string{"not JSON", "hello …"}},
		{"unauthorized", serve(401, "application/json", `{"error":{"message":"no project 5ecret5ecret"}}`), []string{"401", "no project …", "key in rpc_url"}},
		{"not found", serve(404, "text/plain", "404 page not found"), []string{"404", "check rpc_url"}},
		{"unavailable", serve(503, "text/html", "<h1>no</h1>"), []string{"503", "try again later"}},
		{"limited", serve(429, "text/plain", ""), []string{"429", "limits requests"}},
		{"too long", serve(200, "application/json", `"`+strings.Repeat("x", 2000)+`"`), []string{"more than 1000 bytes"}},
		{"other JSON", serve(200, "application/json", `{"hello":1}`), []string{"the chain at"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, test.url, nil, chain.Options{RetryFor: -1, MaxResponse: 1000})
			_, err := c.ChainID(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want it to say %q", err, want)
				}
			}
			for _, secret := range []string{"5ecret", "s3cret", "passw0rd"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error %q shows a secret", err)
				}
			}
			for _, r := range c.Calls(t.Context(), make([]chain.Call, 2)) {
				if r.Err == nil {
					t.Error("a call succeeded")
				}
			}
		})
	}
	for _, url := range []string{"", "localhost:8545", "ws://x", "http://u:passw0rd@%zz"} {
		if _, err := chain.Dial(t.Context(), url, chain.Options{}); err == nil || strings.Contains(err.Error(), "passw0rd") {
			t.Errorf("dial %q: %v", url, err)
		}
	}
}

// BenchmarkCalls compares 2,000 reads with the bare JSON-RPC batches that they need.
func BenchmarkCalls(b *testing.B) {
	answer := hexutil.Bytes(slices.Repeat(crypto.Keccak256([]byte("x")), 20))
	n := &node{answer: func(call message) (message, bool) {
		if call.Method == "eth_getBlockByNumber" {
			return call.respond(map[string]string{"number": "0x1", "hash": common.HexToHash("0x1").Hex()}), true
		}
		if call.Method == "eth_getCode" {
			return call.respond("0x"), true
		}
		return call.respond(answer), true
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := n.RoundTrip(r)
		if err != nil {
			b.Error(err)
			return
		}
		_, _ = io.Copy(w, resp.Body)
	}))
	defer server.Close()
	const size = 2000
	b.Run("client", func(b *testing.B) {
		c := dial(b, server.URL, nil, chain.Options{})
		calls := make([]chain.Call, size)
		for i := range calls {
			calls[i].Data = make([]byte, 36)
		}
		for b.Loop() {
			for _, r := range c.Calls(b.Context(), calls) {
				if r.Err != nil {
					b.Fatal(r.Err)
				}
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		c, err := rpc.DialContext(b.Context(), server.URL)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			for range size / 500 {
				elems := make([]rpc.BatchElem, 500)
				for i := range elems {
					elems[i] = rpc.BatchElem{Method: "eth_call", Args: []any{map[string]any{"to": common.Address{}, "data": make(hexutil.Bytes, 36)}, "latest"}, Result: new(hexutil.Bytes)}
				}
				if err := c.BatchCallContext(b.Context(), elems); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
