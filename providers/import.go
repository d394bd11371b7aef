package providers

import (
	"context"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

// Importer is an optional ability of a Client: to find objects that exist by what they are known by outside, so that a
// resource can manage them.
type Importer interface {
	// Import returns the objects in the requests' order, in as few calls as it can. SIDE EFFECTS: none.
	Import(ctx context.Context, reqs []ImportRequest) []ImportResult
}

// ImportRequest asks for one object.
type ImportRequest struct {
	Addr addr.Instance // that is to manage it
	ID   string        // such as an address or a hash, as a person wrote it
}

// ImportResult is an object as Read would return it.
type ImportResult struct {
	Value schema.Object // of the type's table; arguments that the object itself doesn't have are at their defaults
	Err   error         // also when there is no such object
}
