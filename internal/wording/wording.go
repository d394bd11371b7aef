// Package wording says in words what errors of connections mean, instead of "EOF" and "context canceled". What a server or a
// person said stays as it is: only the texts of such errors themselves are replaced, wherever they are wrapped.
package wording

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Of is err in words, as far as it tells by itself that a connection or an interruption is what it is about. It is err to errors.Is
// and errors.As. err may be nil.
func Of(err error) error { return of(err, nothing) }

// OfExchange is err in words, when it is what became of a request: then the end of what could be read is that of a connection.
func OfExchange(err error) error { return of(err, exchange) }

// OfFile is err in words, when it is what became of reading a file. Where its syntax is wrong is said by err itself.
func OfFile(err error) error { return of(err, file) }

// A subject is what an error is about.
type subject struct{ closed, cut, syntax, form string }

var (
	nothing  = subject{}
	exchange = subject{"the connection was closed without an answer", "the answer broke off", "the answer is not JSON", "the answer has another form than it should"}
	file     = subject{closed: "there is nothing in it", cut: "it ends too early"}
)

type worded struct {
	text string
	err  error
}

func (e *worded) Error() string { return e.text }
func (e *worded) Unwrap() error { return e.err }

func of(err error, about subject) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	replace := func(part error, words string) {
		was := part.Error()
		if text == was {
			text = words
			return
		}
		for _, before := range []string{": ", ", "} { // as a text stands that is wrapped
			text = strings.ReplaceAll(text, before+was, before+words)
		}
	}
	walk(err, about, replace)
	if request := (*url.Error)(nil); errors.As(err, &request) { // some lists of errors can be asked, but not walked
		for _, part := range []error{io.EOF, io.ErrUnexpectedEOF} {
			if errors.Is(err, part) {
				replace(part, meaning(part, exchange))
			}
		}
	}
	if text == err.Error() {
		return err
	}
	return &worded{text, err}
}

// walk calls found for each part of err that has other words.
func walk(err error, about subject, found func(part error, words string)) {
	if words := meaning(err, about); words != "" {
		found(err, words)
		return
	}
	switch e := err.(type) {
	case *url.Error:
		walk(e.Err, exchange, found)
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			walk(inner, about, found)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			walk(inner, about, found)
		}
	}
}

// meaning is what err says in words; "" for what others say, and for what wraps the error that it is about.
func meaning(err error, about subject) string {
	op, inConn := err.(*net.OpError)
	if inConn {
		err = op.Err
		if sys := errors.Unwrap(err); sys != nil {
			err = sys
		}
	}
	if inConn {
		about = exchange
	}
	timeout, timed := err.(interface{ Timeout() bool })
	_, wrapped := err.(interface{ Unwrap() error })
	_, syntax := err.(*json.SyntaxError)
	_, syntactic := err.(*jsontext.SyntacticError)
	_, form := err.(*json.UnmarshalTypeError)
	_, semantic := err.(*jsonv2.SemanticError)
	switch {
	case err == context.Canceled:
		return "the run was interrupted"
	case err == syscall.ECONNRESET || err == syscall.EPIPE:
		return "the other side broke the connection off"
	case timed && timeout.Timeout() && !wrapped:
		return "there was no answer in time"
	case err == io.EOF:
		return about.closed
	case err == io.ErrUnexpectedEOF, syntactic && errors.Is(err, io.ErrUnexpectedEOF):
		return about.cut
	case syntax || syntactic:
		return about.syntax
	case form || semantic:
		return about.form
	}
	return ""
}
