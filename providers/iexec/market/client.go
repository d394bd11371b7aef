// Package market is a typed client of the iExec market API, the book of published orders.
//
// Policy. Reads are repeated as package retry says. A write is made under a lock per wallet, as the
// market has one challenge per wallet at a time, and with a fresh challenge after a 403 "invalid authorization", which another
// program with the same wallet may cause. A write whose outcome is unclear is never repeated blindly: the order is looked
// up by its hash first. Requests are held back when the market's headers say that the limit is reached; after a 429 the
// client waits for one second more than Retry-After, which is truncated.
package market

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	HTTPClient  *http.Client        // nil: one of the client's own
	Log         *slog.Logger        // of waits and repetitions; nil: none
	OnWait      func(time.Duration) // called before the client waits for the market's rate limit; nil: nobody
	MaxResponse int64               // bytes per answer; 0: 64 MiB
	Timeout     time.Duration       // of one request; 0: 30 s
	RetryFor    time.Duration       // how long a failing request is repeated, rate limits aside; 0: 30 s, negative: never (see retry.Do)
}

// Authenticator signs for a wallet.
type Authenticator interface {
	Address() common.Address
	SignTypedData(ctx context.Context, doc poco.TypedData) ([]byte, error) // 65 bytes, v 27 or 28
}

// Client is a client of one market for one chain. It is safe for concurrent use.
type Client struct {
	base   string
	host   string // for messages
	domain poco.Domain
	http   *http.Client
	opts   Options
	limit  limit
	sent   atomic.Int64

	mu    sync.Mutex
	lanes map[common.Address]chan struct{} // one token each: who has it may write as the wallet
}

// New makes a client. domain has the chain's id and its hub, with which order hashes are made.
func New(rawURL string, domain poco.Domain, opts Options) (*Client, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errors.New("market: market_url is not an http:// or https:// URL; set it to the base URL of the market API")
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.OnWait == nil {
		opts.OnWait = func(time.Duration) {}
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
		base: strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), host: u.Host,
		domain: domain, http: opts.HTTPClient, opts: opts, lanes: map[common.Address]chan struct{}{},
	}
	if u.User != nil {
		c.base = strings.Replace(c.base, "://", "://"+u.User.String()+"@", 1)
	}
	if c.http == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = parallel
		t.IdleConnTimeout = 4 * time.Second // the market closes idle connections after 5 s
		c.http = &http.Client{Transport: trace.Transport(t, "market", false)}
	}
	return c, nil
}

// Requests is how many HTTP requests were made so far.
func (c *Client) Requests() int { return int(c.sent.Load()) }

// RateLimit is how many requests a minute the market takes, as its answers so far say; 0: it hasn't said. (They tell when a
// window ends, not how long windows are: a minute, unless the market is set up otherwise.)
func (c *Client) RateLimit() int {
	c.limit.mu.Lock()
	defer c.limit.mu.Unlock()
	return c.limit.most
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
	return c.retry(ctx, func() error {
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
func (c *Client) retry(ctx context.Context, f func() error) error {
	return retry.Do(ctx, c.opts.RetryFor, func() error {
		err := f()
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
		if err := c.limit.wait(ctx, c.opts.OnWait); err != nil {
			return nil, err
		}
		answer, err := c.exchange(ctx, op, method, c.base+path+"?"+query.Encode(), body, authorization)
		var e *Error
		if errors.As(err, &e) && e.Status == http.StatusTooManyRequests {
			c.opts.Log.Debug("market: rate limit exceeded", "op", op)
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
	if err == nil {
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
		e.notJSON, e.Text = true, excerpt(body)
		e.cut = len(body) == 0 || errors.Is(err, io.ErrUnexpectedEOF)
		return nil, e
	case resp.StatusCode != http.StatusOK || !*head.OK:
		e.Text = head.Error
		return nil, e
	}
	return body, nil
}

// limit holds requests back as the market's headers say.
type limit struct {
	mu        sync.Mutex
	until     time.Time // end of the present window; zero: nothing known
	remaining int       // requests that it still allows
	most      int       // requests in a whole window; 0: nothing known
}

// wait returns when a request may be sent, and counts it.
func (l *limit) wait(ctx context.Context, onWait func(time.Duration)) error {
	for {
		l.mu.Lock()
		left := time.Until(l.until)
		if left <= 0 || l.remaining > 0 {
			l.remaining--
			l.mu.Unlock()
			return nil
		}
		l.mu.Unlock()
		onWait(left)
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// update reads the X-RateLimit headers and Retry-After. The clocks may differ: the market's time is the Date header's.
func (l *limit) update(resp *http.Response, now time.Time) {
	const longest = 2 * time.Minute
	var until time.Time
	remaining, err := strconv.Atoi(resp.Header.Get("X-RateLimit-Remaining"))
	reset, rerr := strconv.ParseFloat(resp.Header.Get("X-RateLimit-Reset"), 64)
	if err == nil && rerr == nil {
		theirs := now
		if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			if date.Sub(now).Abs() > 2*time.Second { // it has whole seconds
				theirs = date
			}
		}
		left := time.UnixMicro(int64(reset * 1e6)).Sub(theirs)
		until = now.Add(min(max(left, 0), longest))
	}
	most, _ := strconv.Atoi(resp.Header.Get("X-RateLimit-Limit"))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.most = max(most, l.most)
	if resp.StatusCode == http.StatusTooManyRequests {
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if err != nil {
			seconds = 5
		}
		l.until, l.remaining = now.Add(min(time.Duration(max(seconds, 0)+1)*time.Second, longest)), 0
		return
	}
	if until.IsZero() {
		return
	}
	if until.Sub(l.until).Abs() < time.Second { // the same window: requests under way are counted already
		l.remaining = min(l.remaining, remaining)
		return
	}
	if until.After(l.until) {
		l.until, l.remaining = until, remaining
	}
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
