package fake

import (
	"context"
	"fmt"

	"github.com/iexecform/iexecform/providers"
)

// Import implements providers.Importer: a thing's id is its id.
func (c *client) Import(ctx context.Context, reqs []providers.ImportRequest) []providers.ImportResult {
	results := make([]providers.ImportResult, len(reqs))
	for i, req := range reqs {
		if err := c.faults.before(ctx, Call{OpImport, req.Addr, req.ID}); err != nil {
			results[i].Err = err
			continue
		}
		t, ok := c.look(req.ID)
		if !ok {
			results[i].Err = fmt.Errorf("there is no thing %q", req.ID)
			continue
		}
		results[i].Value = value(tables.Resources[req.Addr.Resource.Type].Blank(), req.ID, map[string]Thing{req.ID: t})
	}
	return results
}

var _ providers.Importer = (*client)(nil)
