package iexec

import (
	"context"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// An importer is a resource type whose objects exist without iexecform and are known by one text: registry entries by their
// address, orders by their hash.
type importer interface {
	// importAll returns whole objects, in as few calls as it can.
	importAll(ctx context.Context, c *client, ids []string) ([]schema.Object, []error)
}

// Import implements providers.Importer.
func (c *client) Import(ctx context.Context, reqs []providers.ImportRequest) []providers.ImportResult {
	return byType(true, reqs, func(r providers.ImportRequest) string { return r.Addr.Resource.Type },
		func(typ string, part []providers.ImportRequest) []providers.ImportResult {
			t, ok := c.known[typ].(importer)
			if !ok {
				return fail(len(part), providers.ImportResult{Err: fmt.Errorf("objects of type %s can't be imported: they are remembered when they are applied", typ)})
			}
			ids := make([]string, len(part))
			for i, r := range part {
				ids[i] = r.ID
			}
			values, errs := t.importAll(ctx, c, ids)
			results := make([]providers.ImportResult, len(part))
			for i := range results {
				results[i] = providers.ImportResult{Value: values[i], Err: errs[i]}
			}
			return results
		})
}

func (e entry) importAll(ctx context.Context, c *client, ids []string) ([]schema.Object, []error) {
	return importParsed(ids, parseAddress, common.HexToAddress, func(addresses []common.Address) ([]schema.Object, []error) {
		return readEntries(ctx, c, e.kind, addresses)
	})
}

func (o order) importAll(ctx context.Context, c *client, ids []string) ([]schema.Object, []error) {
	return importParsed(ids, parseBytes32, common.HexToHash, func(hashes []common.Hash) ([]schema.Object, []error) {
		return readOrders(ctx, c, o.kind, hashes)
	})
}

// importParsed reads the objects whose ids are well-formed, together.
func importParsed[K any](ids []string, parse func(cty.Value) (cty.Value, error), keyOf func(string) K, read func([]K) ([]schema.Object, []error)) ([]schema.Object, []error) {
	values, errs := make([]schema.Object, len(ids)), make([]error, len(ids))
	var keys []K
	var places []int
	for i, id := range ids {
		canonical, err := parse(cty.StringVal(id))
		if err != nil {
			errs[i] = err
			continue
		}
		keys, places = append(keys, keyOf(canonical.AsString())), append(places, i)
	}
	if len(keys) == 0 {
		return values, errs
	}
	objects, failures := read(keys)
	for n, i := range places {
		values[i], errs[i] = objects[n], failures[n]
	}
	return values, errs
}

var _ providers.Importer = (*client)(nil)
