// Package retry says which requests are made again, and after how long: one policy for every service.
//
// Policy. What may go well later is repeated: a broken or timed out connection, an answer that is cut short, and the HTTP
// statuses 408, 429 and 5xx. Delays double from 0.2 to 4 seconds, each longer or shorter by up to half, at random, so that
// clients don't keep step. A server's Retry-After is obeyed. What only a person can put right is reported at once: a refused
// connection, an unknown host, an untrusted certificate, any other status. A server that wants to be left alone for longer
// than the client has patience is reported at once, too.
package retry

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/providers/trace"
)

// again marks an error of an attempt that may go well later.
type again struct {
	error
	after time.Duration // 0: as the policy has it
}

func (a *again) Unwrap() error { return a.error }

// Again says that the attempt that failed with err may be repeated, after a time that the server named, or 0. It returns nil
// for a nil error. See Do.
func Again(err error, after time.Duration) error {
	if err == nil {
		return nil
	}
	return &again{err, after}
}

// idle is the time, in ns, that attempts spent in queues of the client's own.
type idle struct {
	spent  atomic.Int64
	around *idle // of the Do around this one, or nil
}

type idleKey struct{}

// Queued says that the attempt of the context spent a time in a queue of the client's own, such as for a rate limit: it doesn't
// try anybody's patience.
func Queued(ctx context.Context, d time.Duration) {
	i, _ := ctx.Value(idleKey{}).(*idle)
	for ; i != nil; i = i.around {
		i.spent.Add(int64(d))
	}
}

// delays are those of the policy, until patience has run out.
type delays struct {
	backoff.ExponentialBackOff
	left func() time.Duration
}

func (d *delays) NextBackOff() time.Duration {
	if next := d.ExponentialBackOff.NextBackOff(); next <= d.left() {
		return next
	}
	return backoff.Stop
}

// Do calls attempt until it succeeds, fails with an error that isn't marked by Again, or patience has run out; with negative
// patience it calls it once. The error is the last attempt's, without the mark, so that an outer Do doesn't begin anew; or
// that of ctx.
func Do(ctx context.Context, patience time.Duration, attempt func(ctx context.Context) error) error {
	var last error
	begin, queued := time.Now(), &idle{}
	queued.around, _ = ctx.Value(idleKey{}).(*idle)
	left := func() time.Duration { return patience - time.Since(begin) + time.Duration(queued.spent.Load()) }
	opts := []backoff.RetryOption{
		backoff.WithBackOff(&delays{backoff.ExponentialBackOff{InitialInterval: 200 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 4 * time.Second}, left}),
		backoff.WithMaxElapsedTime(0), // left tells
		backoff.WithNotify(func(_ error, d time.Duration) {
			trace.From(ctx).LogAttrs(ctx, trace.Level, "again", slog.Duration("after", d), slog.String("error", Cause(last).Error()))
		}),
	}
	if patience < 0 {
		opts = append(opts, backoff.WithMaxTries(1))
	}
	attemptCtx := context.WithValue(ctx, idleKey{}, queued)
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = attempt(attemptCtx)
		a, ok := last.(*again)
		switch {
		case last == nil:
			return struct{}{}, nil
		case !ok:
			return struct{}{}, backoff.Permanent(last)
		}
		last = a.error
		if a.after > left() {
			return struct{}{}, backoff.Permanent(last)
		}
		if a.after > 0 {
			return struct{}{}, &backoff.RetryAfterError{Duration: a.after}
		}
		return struct{}{}, last
	}, opts...)
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return last
}

// Status tells whether a server that answers with the HTTP status may answer otherwise later.
func Status(code int) bool {
	return code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= 500
}

// Network tells whether an exchange that broke with err, which isn't nil, may go well later.
func Network(err error) bool {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var large *TooLargeError
	switch {
	case errors.As(err, &dns):
		return dns.IsTemporary || dns.IsTimeout
	case errors.As(err, &certificate), errors.As(err, &record), errors.As(err, &large), errors.Is(err, http.ErrSchemeMismatch):
		return false
	}
	for _, lasting := range []error{syscall.ECONNREFUSED, syscall.ENETUNREACH, syscall.EHOSTUNREACH} {
		if errors.Is(err, lasting) {
			return false
		}
	}
	return true
}

// After is how long an answer's Retry-After header, in seconds or a date, asks to wait; at least a second, because servers
// cut off fractions. 0: it doesn't say.
func After(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if text == "" {
		return 0
	}
	if seconds, err := strconv.Atoi(text); err == nil {
		return max(time.Duration(seconds)*time.Second, time.Second)
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(time.Until(date), time.Second)
}

// Cause drops the wrappings of err that repeat the URL, which may hold secrets: "connection refused" is what matters. It is in
// words: see wording.OfExchange.
func Cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return wording.OfExchange(err)
}

// TooLargeError means that an answer was larger than the client takes.
type TooLargeError struct{ Limit int64 }

func (e *TooLargeError) Error() string {
	return "the answer has more than " + strconv.FormatInt(e.Limit, 10) + " bytes"
}

// ReadAll reads an answer to its end and closes it. The error is a *TooLargeError when it has more than limit bytes.
func ReadAll(resp *http.Response, limit int64) ([]byte, error) {
	defer func() { _ = resp.Body.Close() }()
	size := resp.ContentLength
	if size > limit {
		return nil, &TooLargeError{limit}
	}
	buf := make([]byte, 0, max(size, 0)+512)
	for {
		n, err := resp.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > limit:
			return nil, &TooLargeError{limit}
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return nil, err
		case len(buf) == cap(buf):
			buf = slices.Grow(buf, 2*len(buf)) // append alone would copy long answers many times
		}
	}
}
