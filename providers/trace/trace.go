// Package trace logs what goes over the network, for those who look for a fault. The logger travels in the context, so that
// nothing between a command and its requests has to know of it.
//
// What is logged of a request is its service, method, host, path, status, size and duration. Headers and bodies never are,
// nor queries and users of URLs, nor what of a path may be an access key: there are secrets in them.
package trace

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"
)

// Level is that of requests: below slog.LevelDebug.
const Level = slog.Level(-8)

type key struct{}

// With returns a context with the logger.
func With(ctx context.Context, log *slog.Logger) context.Context {
	return context.WithValue(ctx, key{}, log)
}

// From returns the context's logger, or one that discards.
func From(ctx context.Context) *slog.Logger {
	if log, ok := ctx.Value(key{}).(*slog.Logger); ok {
		return log
	}
	return slog.New(slog.DiscardHandler)
}

// Transport logs the requests that go through base to a service, without the secrets of its URL.
func Transport(base http.RoundTripper, service string, secrets Secrets) http.RoundTripper {
	return &transport{base, service, secrets}
}

type transport struct {
	base    http.RoundTripper
	service string
	secrets Secrets
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	log := From(req.Context())
	if !log.Enabled(req.Context(), Level) {
		return t.base.RoundTrip(req)
	}
	begin := time.Now()
	resp, err := t.base.RoundTrip(req)
	facts := []slog.Attr{
		slog.String("service", t.service), slog.String("method", req.Method), slog.String("host", req.URL.Host),
		slog.String("path", t.secrets.Hide(req.URL.EscapedPath())), slog.Int64("sent", req.ContentLength), slog.Duration("took", time.Since(begin)),
	}
	if err != nil {
		facts = append(facts, slog.String("error", t.secrets.Hide(cause(err).Error())))
	} else {
		facts = append(facts, slog.Int("status", resp.StatusCode), slog.Int64("received", resp.ContentLength))
	}
	log.LogAttrs(req.Context(), Level, "request", facts...)
	return resp, err
}

// CloseIdleConnections makes http.Client's method of that name reach base.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// cause is the error without the URL.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
