package retry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/iexecform/iexecform/providers/retry"
)

var errBusy = errors.New("busy")

// Delays grow from 0.2 to 4 seconds, half more or less, and end when patience does.
func TestDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, last := time.Now(), time.Now()
		var delays []time.Duration
		err := retry.Do(t.Context(), 30*time.Second, func(context.Context) error {
			delays, last = append(delays, time.Since(last)), time.Now()
			return retry.Again(errBusy, 0)
		})
		if err != errBusy {
			t.Errorf("error %v, want the attempt's own", err)
		}
		want := 200 * time.Millisecond
		for i, d := range delays[1:] {
			if d < want/2 || d > want*3/2 {
				t.Errorf("delay %d is %v, want about %v", i, d, want)
			}
			want = min(2*want, 4*time.Second)
		}
		if took := time.Since(start); took > 30*time.Second || took < 20*time.Second || len(delays) < 8 {
			t.Errorf("%d attempts in %v", len(delays), took)
		}
	})
}

func TestDo(t *testing.T) {
	for name, test := range map[string]struct {
		answers  []error
		patience time.Duration
		took     time.Duration // with what the server asks for
		attempts int
		want     error
	}{
		"success":              {answers: []error{nil}, attempts: 1},
		"lasting":              {answers: []error{errBusy}, attempts: 1, want: errBusy},
		"after":                {answers: []error{retry.Again(errBusy, 7*time.Second), retry.Again(errBusy, 3*time.Second), nil}, attempts: 3, took: 10 * time.Second},
		"after too long":       {answers: []error{retry.Again(errBusy, time.Hour)}, attempts: 1, want: errBusy},
		"no patience":          {answers: []error{retry.Again(errBusy, 0)}, patience: -1, attempts: 1, want: errBusy},
		"another that gave up": {answers: []error{retry.Do(context.Background(), -1, func(context.Context) error { return retry.Again(errBusy, 0) })}, attempts: 1, want: errBusy},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, attempts := time.Now(), 0
				if test.patience == 0 {
					test.patience = time.Minute
				}
				err := retry.Do(t.Context(), test.patience, func(context.Context) error {
					attempts++
					return test.answers[attempts-1]
				})
				if took := time.Since(start); err != test.want || attempts != test.attempts || took != test.took {
					t.Errorf("error %v after %d attempts in %v; want %v, %d, %v", err, attempts, took, test.want, test.attempts, test.took)
				}
			})
		})
	}
	if retry.Again(nil, 0) != nil {
		t.Error("no error became one")
	}
}

// What an attempt spends in a queue tries nobody's patience, of inner and outer ones.
func TestQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		err := retry.Do(t.Context(), 10*time.Second, func(ctx context.Context) error {
			attempts++
			_ = retry.Do(ctx, 10*time.Second, func(ctx context.Context) error {
				time.Sleep(time.Minute)
				retry.Queued(ctx, time.Minute)
				return errBusy
			})
			return retry.Again(errBusy, 0)
		})
		if err != errBusy || attempts < 4 {
			t.Errorf("%v after %d attempts", err, attempts)
		}
	})
}

// Who interrupts is told why, at once.
func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("interrupted")
		time.AfterFunc(time.Second, func() { cancel(why) })
		start := time.Now()
		err := retry.Do(ctx, time.Minute, func(context.Context) error { return retry.Again(errBusy, 30*time.Second) })
		if err != why || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestNetwork(t *testing.T) {
	secure := httptest.NewTLSServer(nil)
	defer secure.Close()
	_, untrusted := http.Get(secure.URL)
	_, plain := http.Get(strings.Replace(secure.URL, "https", "http", 1)) // answers 400
	if plain != nil {
		t.Fatal(plain)
	}
	open := httptest.NewServer(nil)
	_, mismatch := http.Get(strings.Replace(open.URL, "http", "https", 1))
	open.Close()
	_, refused := http.Get(open.URL)
	for _, test := range []struct {
		err  error
		want bool
	}{
		{io.ErrUnexpectedEOF, true}, {&url.Error{Err: io.EOF}, true}, {context.DeadlineExceeded, true},
		{&net.OpError{Err: syscall.ECONNRESET}, true}, {&net.OpError{Err: syscall.EPIPE}, true},
		{&net.DNSError{IsNotFound: true}, false}, {&net.DNSError{IsTemporary: true}, true}, {&net.OpError{Err: syscall.ENETUNREACH}, false},
		{untrusted, false}, {mismatch, false}, {refused, false}, {&retry.TooLargeError{Limit: 1}, false},
	} {
		if got := retry.Network(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
	if text := retry.Cause(refused).Error(); text != "connection refused" {
		t.Errorf("cause %q", text)
	}
}

func TestStatus(t *testing.T) {
	for code, want := range map[int]bool{200: false, 301: false, 400: false, 401: false, 403: false, 404: false, 408: true, 429: true, 500: true, 502: true, 503: true, 504: true} {
		if got := retry.Status(code); got != want {
			t.Errorf("%d: %v", code, got)
		}
	}
}

func TestAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for text, want := range map[string]time.Duration{
			"": 0, "soon": 0, "0": time.Second, "-5": time.Second, "30": 30 * time.Second,
			time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat): 90 * time.Second, "Fri, 01 Jan 1999 00:00:00 GMT": time.Second,
		} {
			if got := retry.After(http.Header{"Retry-After": {text}}); got != want {
				t.Errorf("%q: %v, want %v", text, got, want)
			}
		}
	})
}

func TestReadAll(t *testing.T) {
	for _, test := range []struct {
		size, told int64
		large      bool
	}{{0, 0, false}, {1000, 1000, false}, {1000, -1, false}, {1001, 1001, true}, {1001, -1, true}, {0, 1 << 40, true}, {5000, 5, true}} {
		resp := &http.Response{ContentLength: test.told, Body: io.NopCloser(iotest.HalfReader(bytes.NewReader(bytes.Repeat([]byte("x"), int(test.size)))))}
		body, err := retry.ReadAll(resp, 1000)
		var large *retry.TooLargeError
		if errors.As(err, &large) != test.large || err == nil && int64(len(body)) != test.size {
			t.Errorf("%+v: %d bytes, %v", test, len(body), err)
		}
	}
	endless := &http.Response{ContentLength: -1, Body: io.NopCloser(forever{})}
	if _, err := retry.ReadAll(endless, 1<<20); err == nil {
		t.Error("an endless answer was read to its end")
	}
	cut := &http.Response{ContentLength: -1, Body: io.NopCloser(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(io.ErrUnexpectedEOF)))}
	if _, err := retry.ReadAll(cut, 1000); err != io.ErrUnexpectedEOF {
		t.Errorf("cut short: %v", err)
	}
}

type forever struct{}

func (forever) Read(p []byte) (int, error) { return len(p), nil }

// roundTrip is an http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := func(status int, body io.Reader) (*http.Response, error) {
			return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{}, ContentLength: -1, Body: io.NopCloser(body)}, nil
		}
		var attempts int
		var sent []string
		get := func(answers ...func() (*http.Response, error)) (string, error) {
			attempts, sent = 0, nil
			client := &http.Client{Transport: &retry.Transport{Limit: 10, Patience: 10 * time.Second, Base: roundTrip(func(r *http.Request) (*http.Response, error) {
				body, _ := io.ReadAll(r.Body)
				sent = append(sent, string(body))
				attempts++
				return answers[min(attempts, len(answers))-1]()
			})}}
			resp, err := client.Post("http://example.com", "text/plain", strings.NewReader("question"))
			if err != nil {
				return "", retry.Cause(err)
			}
			body, err := io.ReadAll(resp.Body)
			return fmt.Sprint(resp.StatusCode, " ", string(body)), err
		}
		status := func(code int, text string) func() (*http.Response, error) {
			return func() (*http.Response, error) { return answer(code, strings.NewReader(text)) }
		}
		broken := func() (*http.Response, error) { return nil, io.EOF }
		cut := func() (*http.Response, error) {
			return answer(200, io.MultiReader(strings.NewReader("who"), iotest.ErrReader(io.ErrUnexpectedEOF)))
		}
		if text, err := get(status(503, ""), broken, cut, status(429, ""), status(200, "whole")); text != "200 whole" || err != nil || attempts != 5 {
			t.Errorf("%q, %v after %d attempts", text, err, attempts)
		}
		for _, text := range sent {
			if text != "question" {
				t.Errorf("sent %q", sent)
			}
		}
		if text, err := get(status(404, "no")); text != "404 no" || err != nil || attempts != 1 {
			t.Errorf("%q, %v after %d attempts", text, err, attempts)
		}
		if text, err := get(status(503, "busy")); text != "503 busy" || err != nil || attempts < 4 {
			t.Errorf("%q, %v after %d attempts", text, err, attempts)
		}
		var large *retry.TooLargeError
		if text, err := get(func() (*http.Response, error) { return answer(200, forever{}) }); !errors.As(err, &large) || attempts != 1 {
			t.Errorf("%q, %v after %d attempts", text, err, attempts)
		}
		if _, err := get(broken); !errors.Is(err, io.EOF) || attempts < 4 {
			t.Errorf("%v after %d attempts", err, attempts)
		}
	})
}
