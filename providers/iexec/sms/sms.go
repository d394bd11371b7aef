// Package sms is a typed client of iExec's secret management service, for the secrets of app developers.
//
// Policy. An app has one secret, pushed once by its owner and never told again, so looking and pushing are all there is. A
// look is repeated as package retry says. A push whose outcome is unclear is repeated only
// after a look has shown that there is still no secret: what is written once can't be written twice. Redirects are not
// followed, secrets are sent over TLS only (loopback aside), and errors never quote an answer, which may quote the secret.
package sms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/retry"
	"github.com/iexecform/iexecform/providers/trace"
)

// MaxSecret is the largest secret that the service takes, in bytes of UTF-8. Source: SecretUtils of iexec-sms.
const MaxSecret = 4096

// Options tune a Client. The zero value is ready to use.
type Options struct {
	Transport http.RoundTripper // nil: one of the client's own
	Timeout   time.Duration     // of one request; 0: 30 s
	RetryFor  time.Duration     // how long a failing request is repeated; 0: 30 s, negative: never (see retry.Do)
}

// Signer signs for the app's owner. The service takes signatures of keys only, not those of contracts.
type Signer interface {
	SignText(ctx context.Context, message []byte) ([]byte, error) // EIP-191: 65 bytes, v 27 or 28
}

// Client is a client of one service. It is safe for concurrent use.
type Client struct {
	base string
	host string // for messages
	http *http.Client
	opts Options
}

// New makes a client. SIDE EFFECTS: none.
func New(rawURL string, opts Options) (*Client, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return nil, errors.New("sms_url is not an https:// URL; set it to the base URL of the secret management service")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("sms_url is http://%s: everybody on the way could read the secrets; set it to an https:// URL", u.Host)
	}
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	if opts.RetryFor == 0 {
		opts.RetryFor = 30 * time.Second
	}
	if opts.Transport == nil {
		opts.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	return &Client{
		base: strings.TrimRight(u.String(), "/"), host: u.Host, opts: opts,
		http: &http.Client{Transport: trace.Transport(opts.Transport, "sms", trace.SecretsOf(u)), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// Close closes idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Check tells whether the service would take the secret. The error says what is wrong, without the secret.
func Check(secret string) error {
	switch {
	case secret == "":
		return errors.New("the secret is empty: give the app no secret instead, or set it to its value")
	case len(secret) > MaxSecret:
		return fmt.Errorf("the secret has %d bytes, and the secret management service takes %d at most: shorten it, or encrypt what is large, publish that, and make its key the secret", len(secret), MaxSecret)
	}
	return nil
}

// Exists reports whether the app has a secret. SIDE EFFECTS: none.
func (c *Client) Exists(ctx context.Context, app common.Address) (bool, error) {
	op := "look for the secret of app " + app.Hex()
	var there bool
	err := c.retry(ctx, func() error {
		resp, err := c.send(ctx, op, http.MethodHead, app, "", "")
		switch {
		case err != nil:
			return err
		case resp.StatusCode == http.StatusNoContent, resp.StatusCode == http.StatusNotFound:
			there = resp.StatusCode == http.StatusNoContent
			return nil
		}
		return c.failure(op, resp)
	})
	return there, err
}

// Push gives the app, of which a look has shown that it has none, its secret; signer is that of the app's current owner. It
// returns an *ExistsError when the app has a secret all the same, and nil when the answer was lost but the secret is there.
// SIDE EFFECTS: the secret, for ever.
func (c *Client) Push(ctx context.Context, app common.Address, secret string, signer Signer) error {
	if err := Check(secret); err != nil {
		return err
	}
	op := "push the secret of app " + app.Hex()
	challenge := poco.AppSecretChallenge(app, secret)
	sign, err := signer.SignText(ctx, challenge[:])
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	unclear := false // an earlier request may have had its effect
	return c.retry(ctx, func() error {
		if unclear {
			if there, err := c.Exists(ctx, app); err != nil || there {
				return err
			}
		}
		resp, err := c.send(ctx, op, http.MethodPost, app, secret, hexutil.Encode(sign))
		switch {
		case err != nil:
			unclear = true
			return err
		case resp.StatusCode == http.StatusNoContent, resp.StatusCode == http.StatusConflict && unclear:
			return nil
		case resp.StatusCode == http.StatusConflict:
			return &ExistsError{App: app}
		}
		unclear = unclear || resp.StatusCode >= http.StatusInternalServerError
		return c.failure(op, resp)
	})
}

// retry repeats f while its error is an *Error that may not last.
func (c *Client) retry(ctx context.Context, f func() error) error {
	return retry.Do(ctx, c.opts.RetryFor, func(context.Context) error {
		err := f()
		var e *Error
		if errors.As(err, &e) && e.transient() {
			return retry.Again(err, e.after)
		}
		return err
	})
}

func (c *Client) failure(op string, resp *http.Response) error {
	return &Error{Op: op, Host: c.host, Status: resp.StatusCode, after: retry.After(resp.Header)}
}

// send performs one request and returns the answer, whose body nobody needs. The error is an *Error, or that of ctx.
func (c *Client) send(ctx context.Context, op, method string, app common.Address, body, authorization string) (*http.Response, error) {
	attempt, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(attempt, method, c.base+"/apps/"+app.Hex()+"/secrets", strings.NewReader(body))
	if err != nil {
		return nil, &Error{Op: op, Host: c.host, cause: errors.New("the request cannot be made")}
	}
	if authorization != "" {
		req.Header.Set("Content-Type", "text/plain")
		req.Header.Set("Authorization", authorization)
	}
	resp, err := c.http.Do(req)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, &Error{Op: op, Host: c.host, cause: retry.Cause(err)}
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16)) // so that the connection can be used again
	_ = resp.Body.Close()
	return resp, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
