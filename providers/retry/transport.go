package retry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Transport is an http.RoundTripper for requests that may be made again, such as GET and HEAD. It repeats them as the policy
// says and reads answers whole, so that one that is cut short counts as broken.
type Transport struct {
	Base     http.RoundTripper
	Limit    int64         // bytes per answer; an answer that is larger fails with a *TooLargeError
	Patience time.Duration // of one request; see Do
}

// RoundTrip implements http.RoundTripper. The answer to the last attempt is returned, whatever its status.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	var resp *http.Response
	patience := t.Patience
	if req.Body != nil && req.GetBody == nil {
		patience = -1
	}
	err := Do(req.Context(), patience, func(context.Context) (err error) {
		if resp, err = t.attempt(req); err != nil {
			if !Network(err) {
				return err
			}
			return Again(err, 0)
		}
		if Status(resp.StatusCode) {
			return Again(fmt.Errorf("HTTP status %s", resp.Status), After(resp.Header))
		}
		return nil
	})
	if resp != nil && req.Context().Err() == nil {
		return resp, nil
	}
	return nil, err
}

// attempt makes the request once.
func (t *Transport) attempt(req *http.Request) (*http.Response, error) {
	once := req.Clone(req.Context()) // a RoundTripper closes the body
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		once.Body = body
	}
	resp, err := t.Base.RoundTrip(once)
	if err != nil || req.Method == http.MethodHead {
		return resp, err
	}
	body, err := ReadAll(resp, t.Limit)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// CloseIdleConnections makes http.Client's method of that name reach Base.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.Base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
