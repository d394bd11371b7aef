package chain

// Policy of requests. Every request is idempotent (raw transactions too), so each is repeated as package retry says, and also
// while items of a batch fail for the endpoint's rate limit or because it lags behind the block asked for; only those items
// are sent again. A batch refused as too large is halved. Nothing of a URL but scheme and host is printed.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/rpc"
	"golang.org/x/sync/errgroup"

	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/providers/retry"
	"github.com/iexecform/iexecform/providers/trace"
)

const (
	parallel   = 4 // HTTP exchanges of one read at a time
	codeRevert = 3 // JSON-RPC error code of a revert in Geth and its kin
)

// call performs one JSON-RPC call. op says in errors what it was for.
func (c *Client) call(ctx context.Context, op string, result any, method string, args ...any) error {
	elem := []rpc.BatchElem{{Method: method, Args: args, Result: result}}
	err := c.exchange(ctx, elem)
	if err == nil {
		err = c.itemError(elem[0].Error)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// batch performs many calls. The error is that of the transport, then no element can be used; else look at each one's Error.
func (c *Client) batch(ctx context.Context, elems []rpc.BatchElem) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for chunk := range slices.Chunk(elems, int(c.maxBatch.Load())) {
		g.Go(func() error { return c.exchange(ctx, chunk) })
	}
	return g.Wait()
}

// exchange performs one batch, following the policy above.
func (c *Client) exchange(ctx context.Context, elems []rpc.BatchElem) error {
	todo := make([]*rpc.BatchElem, len(elems))
	for i := range elems {
		todo[i] = &elems[i]
	}
	var last error
	err := retry.Do(ctx, c.retryFor, func(ctx context.Context) error {
		if last = c.send(ctx, todo); last != nil {
			return again(last)
		}
		todo = slices.DeleteFunc(todo, func(e *rpc.BatchElem) bool { return !isItemTransient(e.Error) })
		if len(todo) > 0 {
			return retry.Again(todo[0].Error, 0)
		}
		return nil
	})
	if cerr := context.Cause(ctx); err != nil && cerr != nil {
		return cerr
	}
	if last == nil {
		return nil // what is left is some elements' own errors
	}
	if isTooLarge(last) && len(elems) > 1 {
		half := len(elems) / 2
		c.maxBatch.Store(int64(max(half, 1)))
		if err := c.exchange(ctx, elems[:half]); err != nil {
			return err
		}
		return c.exchange(ctx, elems[half:])
	}
	return c.describe(last)
}

// send performs one HTTP exchange, and logs which methods it calls.
func (c *Client) send(ctx context.Context, todo []*rpc.BatchElem) error {
	log := trace.From(ctx)
	if !log.Enabled(ctx, trace.Level) {
		return c.transfer(ctx, todo)
	}
	begin := time.Now()
	err := c.transfer(ctx, todo)
	calls := map[string]int{}
	for _, e := range todo {
		calls[e.Method]++
	}
	methods := slices.Sorted(maps.Keys(calls))
	for i, m := range methods {
		if calls[m] > 1 {
			methods[i] = fmt.Sprintf("%s×%d", m, calls[m])
		}
	}
	log.LogAttrs(ctx, trace.Level, "rpc", slog.String("service", "chain"), slog.String("methods", strings.Join(methods, " ")),
		slog.Duration("took", time.Since(begin)), slog.Bool("answered", err == nil))
	return err
}

func (c *Client) transfer(ctx context.Context, todo []*rpc.BatchElem) error {
	if len(todo) == 1 {
		e := todo[0]
		err := c.rpc.CallContext(ctx, e.Result, e.Method, e.Args...)
		if isAnswer(err) {
			e.Error, err = err, nil
		} else {
			e.Error = nil
		}
		return err
	}
	elems := make([]rpc.BatchElem, len(todo))
	for i, e := range todo {
		elems[i] = rpc.BatchElem{Method: e.Method, Args: e.Args, Result: e.Result}
	}
	if err := c.rpc.BatchCallContext(ctx, elems); err != nil {
		return err
	}
	for i := range elems {
		if isTooLarge(elems[i].Error) {
			return elems[i].Error
		}
		todo[i].Error = elems[i].Error
	}
	return nil
}

// isAnswer tells a JSON-RPC error, which the node gave, from a failure of the exchange.
func isAnswer(err error) bool {
	var answer rpc.Error
	return errors.As(err, &answer) || errors.Is(err, rpc.ErrNoResult)
}

func isMethodMissing(err error) bool {
	var answer rpc.Error
	return errors.As(err, &answer) && answer.ErrorCode() == -32601
}

func isTooLarge(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, rpc.ErrMissingBatchResponse) {
		return true
	}
	var status *httpError
	if errors.As(err, &status) && (status.status == http.StatusRequestEntityTooLarge || status.tooLarge) {
		return true
	}
	var answer rpc.Error
	if errors.As(err, &answer) && answer.ErrorCode() == codeRevert {
		return false
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "batch too large") || strings.Contains(text, "response too large") ||
		strings.Contains(text, "batch size") || strings.Contains(text, "too many requests in batch")
}

// isItemTransient: -32005 is EIP-1474's "limit exceeded"; 429 and the words are what public nodes answer. A node behind a
// load balancer may lag behind the one that named the block.
func isItemTransient(err error) bool {
	var answer rpc.Error
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.ErrorCode() {
	case -32005, 429, -32016, -32002:
		return true
	case codeRevert:
		return false // whatever its words
	}
	text := strings.ToLower(answer.Error())
	return strings.Contains(text, "rate limit") || strings.Contains(text, "too many requests") ||
		strings.Contains(text, "header not found") || strings.Contains(text, "indexing is in progress") || strings.Contains(text, "unknown block")
}

// again marks a failure of an exchange that may go well later.
func again(err error) error {
	var answer *httpError
	var network *url.Error
	switch {
	case isTooLarge(err):
		return err
	case errors.As(err, &answer):
		if !retry.Status(answer.status) && !answer.cut {
			return err
		}
		return retry.Again(err, answer.retryAfter)
	case errors.As(err, &network) && retry.Network(network), errors.Is(err, io.ErrUnexpectedEOF):
		return retry.Again(err, 0)
	}
	return err
}

// UnreachableError means that the endpoint gives no answer, or none of a node.
type UnreachableError struct{ Err error }

func (e *UnreachableError) Error() string { return e.Err.Error() }
func (e *UnreachableError) Unwrap() error { return e.Err }

// describe words a failure of the transport for the user.
func (c *Client) describe(err error) error { return &UnreachableError{c.wording(err)} }

func (c *Client) wording(err error) error {
	var status *httpError
	if errors.As(err, &status) {
		return fmt.Errorf("the chain at %s answered %w", c.url, status)
	}
	hint := "check rpc_url and the network connection"
	if c.loopback {
		hint = "check rpc_url, or start `iexecform localnet`"
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) {
		return fmt.Errorf("the chain at %s answered something that is not JSON-RPC: %w; check rpc_url", c.url, wording.OfExchange(err))
	}
	return fmt.Errorf("cannot reach the chain at %s: %w; %s", c.url, retry.Cause(err), hint)
}

// itemError words the node's own error.
func (c *Client) itemError(err error) error {
	if err == nil {
		return nil
	}
	if revert := revertOf(err); revert != nil {
		return revert
	}
	return &answerError{c.secrets.Hide(fmt.Sprintf("the chain at %s answered: %v", c.url, err)), err}
}

// answerError is the node's own error, without what it repeats of the URL.
type answerError struct {
	text string
	err  error
}

func (e *answerError) Error() string { return e.text }
func (e *answerError) Unwrap() error { return e.err }

// httpError is an HTTP answer that is no JSON-RPC answer.
type httpError struct {
	status     int
	text       string
	retryAfter time.Duration // 0: not said
	tooLarge   bool
	cut        bool // ends before it begins
}

func (e *httpError) Error() string { return e.text }

// transport performs whole exchanges: what it returns has been read to the end and looks like JSON.
type transport struct {
	base    http.RoundTripper
	limit   int64
	timeout time.Duration
	secrets trace.Secrets // of the URL
	sent    atomic.Int64
}

// CloseIdleConnections makes http.Client's method of that name reach base.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), t.timeout)
	defer cancel()
	t.sent.Add(1)
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	body, err := retry.ReadAll(resp, t.limit)
	var large *retry.TooLargeError
	switch {
	case errors.As(err, &large):
		return nil, &httpError{status: resp.StatusCode, tooLarge: true, text: fmt.Sprintf("with more than %d bytes; check rpc_url", large.Limit)}
	case err != nil:
		return nil, err
	}
	first := byte(0)
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 {
		first = trimmed[0]
	}
	isJSON := first == '{' || first == '['
	switch {
	case resp.StatusCode/100 != 2:
		return nil, t.statusError(resp, body, isJSON)
	case first == '<':
		return nil, &httpError{status: resp.StatusCode, text: "with a web page (HTML), not JSON; rpc_url must be the JSON-RPC endpoint itself"}
	case !isJSON:
		return nil, &httpError{status: resp.StatusCode, cut: first == 0, text: fmt.Sprintf("with something that is not JSON (%s); check rpc_url", t.excerpt(body))}
	case first == '{' && isBatch(req):
		return nil, t.batchError(resp.StatusCode, body)
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return resp, nil
}

// statusError: some nodes put a JSON-RPC error into the body.
func (t *transport) statusError(resp *http.Response, body []byte, isJSON bool) error {
	e := &httpError{status: resp.StatusCode, text: "HTTP status " + resp.Status}
	if isJSON {
		if text := errorText(body); text != "" {
			e.text += ": " + t.short(text)
		}
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		e.text += "; check the key in rpc_url"
	case resp.StatusCode == http.StatusTooManyRequests:
		e.text += "; the endpoint limits requests: wait, or set rpc_url to one of your own"
		e.retryAfter = retry.After(resp.Header)
	case resp.StatusCode/100 == 5:
		e.retryAfter = retry.After(resp.Header)
		e.text += "; the endpoint has a problem: try again later, or set another rpc_url"
	default:
		e.text += "; check rpc_url"
	}
	return e
}

// batchError is for nodes that answer a whole batch with one error.
func (t *transport) batchError(status int, body []byte) error {
	text := errorText(body)
	e := &httpError{status: status, text: "a batch of calls with one error: " + t.short(text)}
	lower := strings.ToLower(text)
	if strings.Contains(lower, "rate limit") || strings.Contains(lower, "too many requests") {
		e.status = http.StatusTooManyRequests
	} else if strings.Contains(lower, "batch") || strings.Contains(lower, "too large") {
		e.tooLarge = true
	}
	return e
}

func (t *transport) excerpt(body []byte) string {
	const most = 80
	if len(body) == 0 {
		return "nothing"
	}
	text := t.secrets.Hide(string(body[:min(len(body), 1<<12)])) // before it is cut: half a key is one, too
	return strconv.Quote(text[:min(len(text), most)])
}

func isBatch(req *http.Request) bool {
	if req.GetBody == nil {
		return false
	}
	body, err := req.GetBody()
	if err != nil {
		return false
	}
	defer func() { _ = body.Close() }()
	var first [1]byte
	_, err = io.ReadFull(body, first[:])
	return err == nil && first[0] == '['
}

// errorText is the message of a JSON-RPC error, or "".
func errorText(body []byte) string {
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	var object struct {
		Message string `json:"message"`
	}
	var text string
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	if json.Unmarshal(answer.Error, &object) == nil {
		text = object.Message
	} else {
		_ = json.Unmarshal(answer.Error, &text)
	}
	return text
}

// short is an answer's text without secrets, and not too long.
func (t *transport) short(text string) string {
	const most = 300
	if text = t.secrets.Hide(text); len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

func redactURL(u *url.URL) string {
	text := u.Scheme + "://" + u.Host
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		text += "/…"
	}
	return text
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
