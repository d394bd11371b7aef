package wording_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"

	"github.com/iexecform/iexecform/internal/wording"
)

// list is a list of errors as libraries have them: it can be asked, but not walked.
type list []error

func (l list) Error() string        { return fmt.Sprintf("%v; %v", l[0], l[1]) }
func (l list) As(target any) bool   { return errors.As(errors.Join(l...), target) }
func (l list) Is(target error) bool { return errors.Is(errors.Join(l...), target) }

func TestWords(t *testing.T) {
	get := func(err error) error { return &url.Error{Op: "Get", URL: "http://h/EOF", Err: err} }
	read := func(err error) error {
		return &net.OpError{Op: "read", Net: "tcp", Addr: &net.TCPAddr{Port: 1}, Err: err}
	}
	syntax := json.Unmarshal([]byte("<html>"), new(int))
	for _, c := range []struct {
		err            error
		want, exchange string // "" is want
	}{
		{err: io.EOF, want: "EOF", exchange: "the connection was closed without an answer"},
		{err: fmt.Errorf("read the file: %w", io.ErrUnexpectedEOF), want: "read the file: unexpected EOF", exchange: "read the file: the answer broke off"},
		{err: get(io.EOF), want: `Get "http://h/EOF": the connection was closed without an answer`},
		{err: fmt.Errorf("a: %w; b", errors.Join(get(io.EOF), get(io.ErrUnexpectedEOF))),
			want: "a: Get \"http://h/EOF\": the connection was closed without an answer\nGet \"http://h/EOF\": the answer broke off; b"},
		{err: get(read(os.NewSyscallError("read", syscall.ECONNRESET))), want: `Get "http://h/EOF": the other side broke the connection off`},
		{err: read(os.ErrDeadlineExceeded), want: "there was no answer in time"},
		{err: get(context.DeadlineExceeded), want: `Get "http://h/EOF": there was no answer in time`},
		{err: fmt.Errorf("lock: %w", context.Canceled), want: "lock: the run was interrupted"},
		{err: fmt.Errorf("fetch: %w", syntax), want: "fetch: " + syntax.Error(), exchange: "fetch: the answer is not JSON"},
		{err: list{get(io.EOF), get(io.ErrUnexpectedEOF)}, want: "Get \"http://h/EOF\": the connection was closed without an answer; Get \"http://h/EOF\": the answer broke off"},
		{err: fmt.Errorf("canceled, %w", context.Canceled), want: "canceled, the run was interrupted"},
		{err: errors.New("the node answered: EOF"), want: "the node answered: EOF"},
		{err: read(os.NewSyscallError("connect", syscall.ECONNREFUSED)), want: "read tcp :1: connect: connection refused"},
	} {
		if c.exchange == "" {
			c.exchange = c.want
		}
		if got := wording.Of(c.err); got.Error() != c.want || errors.Is(got, io.EOF) != errors.Is(c.err, io.EOF) {
			t.Errorf("%q: got %q, want %q", c.err, got, c.want)
		}
		if got := wording.OfFile(fmt.Errorf("x: %w", io.ErrUnexpectedEOF)).Error(); got != "x: it ends too early" {
			t.Errorf("of a file got %q", got)
		}
		if got := wording.OfExchange(c.err); got.Error() != c.exchange {
			t.Errorf("%q: of an exchange got %q, want %q", c.err, got, c.exchange)
		}
	}
	if wording.Of(nil) != nil {
		t.Error("nil is an error")
	}
}
