package oci

import (
	"context"
	"net/http"
	"time"
)

// WatchOver begins a watch over a transport.
func WatchOver(ctx context.Context, t http.RoundTripper, references ...string) *Watch {
	r := resolverOver(t)
	r.transport.Patience = -1
	return r.watch(ctx, references)
}

// NewImpatientResolver repeats requests for a second.
func NewImpatientResolver() *Resolver {
	r := NewResolver()
	r.transport.Patience = time.Second
	return r
}
