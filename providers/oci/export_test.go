package oci

import (
	"context"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
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

// MeasuredPush pushes an image and tells how far it is, each time that it gets further.
func MeasuredPush(ctx context.Context, tag name.Tag, image v1.Image, tell func(complete, total int64)) error {
	c := &client{pushes: pushTransport()}
	m, err := newMeter(c.pushes, image, tell)
	if err != nil {
		return err
	}
	return remote.Push(tag, image, append(c.options(ctx), remote.WithTransport(m))...)
}
