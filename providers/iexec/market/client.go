// Package market is a typed client of the iExec market API, the book of published orders.
//
// Policy. Reads are repeated as package retry says. A write is made under a lock per wallet, as the
// market has one challenge per wallet at a time, and with a fresh challenge after a 403 "invalid authorization", which another
// program with the same wallet may cause. A write whose outcome is unclear is never repeated blindly: the order is looked
// up by its hash first. Requests stay within the market's limit (see limit.go), and where it has one, several writes are looked
// up together.
package market

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	jsonv2 "github.com/go-json-experiment/json"

	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/retry"
	"github.com/iexecform/iexecform/providers/trace"
)

// Options tune a Client. The zero value is ready to use.
type Options struct {
	HTTPClient  *http.Client  // nil: one of the client's own
	MaxResponse int64         // bytes per answer; 0: 64 MiB
	Timeout     time.Duration // of one request; 0: 30 s
	RetryFor    time.Duration // how long a failing request is repeated, rate limits aside; 0: 30 s, negative: never (see retry.Do)
}

// Authenticator signs for a wallet.
type Authenticator interface {
	Address() common.Address
	SignTypedData(ctx context.Context, doc poco.TypedData) ([]byte, error) // 65 bytes, v 27 or 28
}

// Client is a client of one market for one chain. It is safe for concurrent use.
type Client struct {
	base    string
	host    string // for messages
	secrets trace.Secrets
	domain  poco.Domain
	http    *http.Client
	opts    Options
	limit   limit
	sent    atomic.Int64

	mu    sync.Mutex
	lanes map[common.Address]*lane
}

// New makes a client. domain has the chain's id and its hub, with which order hashes are made.
func New(rawURL string, domain poco.Domain, opts Options) (*Client, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errors.New("market: market_url is not an http:// or https:// URL; set it to the base URL of the market API")
	}
	if opts.MaxResponse == 0 {
		opts.MaxResponse = 64 << 20
	}
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	if opts.RetryFor == 0 {
		opts.RetryFor = 30 * time.Second
	}
	c := &Client{
		base: strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), host: u.Host, secrets: trace.SecretsOf(u),
		domain: domain, http: opts.HTTPClient, opts: opts, lanes: map[common.Address]*lane{},
	}
	if u.User != nil {
		c.base = strings.Replace(c.base, "://", "://"+u.User.String()+"@", 1)
	}
	if c.http == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = parallel
		t.IdleConnTimeout = 4 * time.Second // the market closes idle connections after 5 s
		c.http = &http.Client{Transport: trace.Transport(t, "market", c.secrets), CheckRedirect: stay}
	}
	return c, nil
}

// stay has a redirection be the answer: another host would get the key in the URL, which the Referer header repeats.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Requests is how many HTTP requests were made so far.
func (c *Client) Requests() int { return int(c.sent.Load()) }

// RateLimit is how many requests the market takes in a time, mostly a minute, as its answers so far say; 0: it hasn't said.
func (c *Client) RateLimit() (requests int, in time.Duration) {
	c.limit.mu.Lock()
	defer c.limit.mu.Unlock()
	return c.limit.most, c.limit.window()
}

// Estimate is about how many requests it takes to publish or unpublish so many orders, many at a time, and how long the market's
// limit holds them back.
func (c *Client) Estimate(writes int) (requests int, wait time.Duration) {
	const together = 16 // looks
	if limit, _ := c.RateLimit(); limit == 0 {
		return 3 * writes, 0
	}
	requests = 2*writes + (writes+together-1)/together
	return requests, c.limit.estimate(requests)
}

// Close closes idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Metrics is the last block that the market has followed: older than the chain's head means that status and remaining lag.
func (c *Client) Metrics(ctx context.Context) (lastBlock uint64, err error) {
	var out struct {
		LastBlock uint64 `json:"lastBlock"`
	}
	return out.LastBlock, c.get(ctx, "read market metrics", "/metrics", nil, &out)
}

// Version is the version of the market's API.
func (c *Client) Version(ctx context.Context) (string, error) {
	var out struct {
		Version string `json:"version"`
	}
	return out.Version, c.get(ctx, "read market version", "/version", nil, &out)
}

// get performs a read, following the policy above.
func (c *Client) get(ctx context.Context, op, path string, query url.Values, out any) error {
	return c.retry(ctx, func(ctx context.Context) error {
		body, err := c.send(ctx, op, http.MethodGet, path, query, nil, "")
		if err != nil {
			return err
		}
		return c.decode(op, body, out)
	})
}

func (c *Client) decode(op string, body []byte, out any) error {
	if err := jsonv2.Unmarshal(body, out); err != nil {
		return &Error{Op: op, Host: c.host, Status: http.StatusOK, Text: "JSON that this version doesn't understand: " + err.Error(), cut: errors.Is(err, io.ErrUnexpectedEOF)}
	}
	return nil
}

// retry repeats f while its error is an *Error that may not last.
func (c *Client) retry(ctx context.Context, f func(ctx context.Context) error) error {
	return retry.Do(ctx, c.opts.RetryFor, func(ctx context.Context) error {
		err := f(ctx)
		var e *Error
		if errors.As(err, &e) && e.transient() {
			return retry.Again(err, e.after)
		}
		return err
	})
}

// send performs one request, waiting for the rate limit as long as it takes, and returns the body of a success. The error is an
// *Error, or that of ctx.
func (c *Client) send(ctx context.Context, op, method, path string, query url.Values, body []byte, authorization string) ([]byte, error) {
	if query == nil {
		query = url.Values{}
	}
	query.Set("chainId", c.domain.ChainID.String())
	for {
		start := time.Now()
		if err := c.limit.wait(ctx); err != nil {
			return nil, err
		}
		retry.Queued(ctx, time.Since(start))
		answer, err := c.exchange(ctx, op, method, c.base+path+"?"+query.Encode(), body, authorization)
		var e *Error
		if errors.As(err, &e) && e.Status == http.StatusTooManyRequests {
			continue // limit knows until when
		}
		return answer, err
	}
}

func (c *Client) exchange(ctx context.Context, op, method, rawURL string, body []byte, authorization string) ([]byte, error) {
	attempt, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(attempt, method, rawURL, bytes.NewReader(body))
	if err != nil {
		c.limit.failed()
		return nil, &Error{Op: op, Host: c.host, Text: "the request cannot be made"}
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	c.sent.Add(1)
	resp, err := c.http.Do(req)
	if err != nil {
		c.limit.failed()
	} else {
		c.limit.update(resp, time.Now())
		body, err = retry.ReadAll(resp, c.opts.MaxResponse)
	}
	e := &Error{Op: op, Host: c.host}
	var large *retry.TooLargeError
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &large):
		e.Status, e.Text = resp.StatusCode, fmt.Sprintf("more than %d bytes", large.Limit)
		return nil, e
	case err != nil:
		e.Text, e.cause = retry.Cause(err).Error(), err
		return nil, e
	}
	if resp.StatusCode == http.StatusOK && bytes.HasPrefix(body, []byte(`{"ok":true`)) {
		return body, nil
	}
	e.Status, e.after = resp.StatusCode, retry.After(resp.Header)
	var head struct {
		OK    *bool  `json:"ok"`
		Error string `json:"error"`
	}
	switch err := jsonv2.Unmarshal(body, &head); {
	case err != nil || head.OK == nil:
		e.notJSON, e.Text = true, excerpt([]byte(c.secrets.Hide(string(body[:min(len(body), 1<<12)]))))
		e.cut = len(body) == 0 || errors.Is(err, io.ErrUnexpectedEOF)
		return nil, e
	case resp.StatusCode != http.StatusOK || !*head.OK:
		e.Text = c.secrets.Hide(head.Error)
		return nil, e
	}
	return body, nil
}

func excerpt(body []byte) string {
	const most = 80
	body = bytes.TrimSpace(body)
	switch {
	case len(body) == 0:
		return "nothing"
	case body[0] == '<':
		return "HTML"
	case len(body) > most:
		body = body[:most]
	}
	return strconv.Quote(string(body))
}
