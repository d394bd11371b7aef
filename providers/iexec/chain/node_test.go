package chain_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// message is one JSON-RPC request or answer.
type message struct {
	Version string            `json:"jsonrpc"`
	ID      json.RawMessage   `json:"id"`
	Method  string            `json:"method,omitempty"`
	Params  []json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage   `json:"result,omitempty"`
	Error   *rpcError         `json:"error,omitempty"`
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    string `json:"data,omitempty"`
}

func (m message) respond(result any) message {
	text, err := json.Marshal(result)
	if err != nil {
		panic(err)
	}
	return message{Version: "2.0", ID: m.ID, Result: text}
}

func (m message) fail(code int, text string) message {
	return message{Version: "2.0", ID: m.ID, Error: &rpcError{Code: code, Message: text}}
}

// node is a transport in the place of a node, or in front of one. Its hooks may be nil.
type node struct {
	next http.RoundTripper // nil: there is no node behind
	// before sees each HTTP exchange and may answer it.
	before func(calls []message) (*http.Response, error)
	// answer may answer a call instead of the node behind.
	answer func(call message) (message, bool)
	// after sees each exchange with its answers, and may fail it.
	after func(calls, answers []message) error

	mu        sync.Mutex
	exchanges int
	methods   map[string]int
}

func (n *node) count(method string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.methods[method]
}

func (n *node) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	calls, batch := parse(body)
	n.mu.Lock()
	n.exchanges++
	if n.methods == nil {
		n.methods = map[string]int{}
	}
	for _, c := range calls {
		n.methods[c.Method]++
	}
	n.mu.Unlock()
	if n.before != nil {
		if resp, err := n.before(calls); resp != nil || err != nil {
			return resp, err
		}
	}
	var answers, forward []message
	for _, c := range calls {
		if n.answer != nil {
			if a, ok := n.answer(c); ok {
				answers = append(answers, a)
				continue
			}
		}
		forward = append(forward, c)
	}
	if len(forward) > 0 {
		text, err := json.Marshal(forward)
		if err != nil {
			return nil, err
		}
		out := req.Clone(req.Context())
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		resp, err := n.next.RoundTrip(out)
		if err != nil {
			return nil, err
		}
		text, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return nil, err
		}
		more, _ := parse(text)
		answers = append(answers, more...)
	}
	if n.after != nil {
		if err := n.after(calls, answers); err != nil {
			return nil, err
		}
	}
	if batch {
		return reply(http.StatusOK, answers), nil
	}
	return reply(http.StatusOK, answers[0]), nil
}

func parse(body []byte) (list []message, batch bool) {
	if json.Unmarshal(body, &list) == nil {
		return list, true
	}
	var one message
	if err := json.Unmarshal(body, &one); err != nil {
		panic(err)
	}
	return []message{one}, false
}

func reply(status int, body any) *http.Response {
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		text = string(b)
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: http.Header{}, ContentLength: -1,
		Body: io.NopCloser(bytes.NewReader([]byte(text))),
	}
}

func dial(t testing.TB, url string, n *node, opts chain.Options) *chain.Client {
	t.Helper()
	if n != nil {
		opts.HTTPClient = &http.Client{Transport: n}
	}
	c, err := chain.Dial(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// network is a real chain, with a transport in front of it.
func network(t testing.TB, opts ...func(*localnet.Options)) (*localnet.Network, *node, *chain.Client) {
	t.Helper()
	net := nettest.Start(t, opts...)
	n := &node{next: http.DefaultTransport}
	return net, n, dial(t, net.Info().RPCURL, n, chain.Options{})
}

// withMulticall makes the node answer as if Multicall3 were deployed: each call inside is made by the node behind.
func withMulticall(t testing.TB, n *node, url string) {
	t.Helper()
	behind := dial(t, url, nil, chain.Options{})
	n.answer = func(call message) (message, bool) {
		switch call.Method {
		case "eth_getCode":
			return call.respond("0x6000"), true
		case "eth_call":
			var args struct{ Data hexutil.Bytes }
			if err := json.Unmarshal(call.Params[0], &args); err != nil || !bytes.HasPrefix(args.Data, poco.MulticallABI().Methods["aggregate3"].ID) {
				return message{}, false
			}
			in, err := poco.MulticallABI().Methods["aggregate3"].Inputs.Unpack(args.Data[4:])
			if err != nil {
				return call.fail(-32000, err.Error()), true
			}
			raw, err := json.Marshal(in[0])
			if err != nil {
				return call.fail(-32000, err.Error()), true
			}
			var inner []struct {
				Target   string `json:"target"`
				CallData []byte `json:"callData"`
			}
			if err := json.Unmarshal(raw, &inner); err != nil {
				return call.fail(-32000, err.Error()), true
			}
			var calls []chain.Call
			for _, i := range inner {
				calls = append(calls, chain.Call{To: addr(i.Target), Data: i.CallData})
			}
			var results []poco.CallResult
			for _, r := range behind.Calls(t.Context(), calls) {
				out := poco.CallResult{Success: r.Err == nil, ReturnData: r.Data}
				if revert := revertOf(r.Err); revert != nil {
					out.ReturnData = revert.Data
				}
				if out.ReturnData == nil {
					out.ReturnData = []byte{}
				}
				results = append(results, out)
			}
			data, err := poco.MulticallABI().Methods["aggregate3"].Outputs.Pack(results)
			if err != nil {
				return call.fail(-32000, err.Error()), true
			}
			return call.respond(hexutil.Bytes(data)), true
		}
		return message{}, false
	}
}
