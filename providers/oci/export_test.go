package oci

import "time"

// NewImpatientResolver repeats requests for a second.
func NewImpatientResolver() *Resolver {
	r := NewResolver()
	r.transport.Patience = time.Second
	return r
}
