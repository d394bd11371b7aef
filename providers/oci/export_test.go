package oci

import "time"

// NewImpatientResolver retries after milliseconds.
func NewImpatientResolver() *Resolver {
	r := NewResolver()
	r.backoff.Duration = time.Millisecond
	return r
}
