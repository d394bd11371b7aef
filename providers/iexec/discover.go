package iexec

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// What an owner has: the entries that the three registries list (ERC721Enumerable), read at one block in three steps of
// batched calls, and the open orders that the market lists, by pages of a thousand.

// Discover implements providers.Discoverer.
func (c *client) Discover(ctx context.Context, owner string) (providers.Discovery, error) {
	canonical, err := parseAddress(cty.StringVal(owner))
	if err != nil {
		return providers.Discovery{}, err
	}
	before := c.chain.Requests() + c.market.Requests()
	account := common.HexToAddress(canonical.AsString())
	var entries, orders []providers.Found
	var entryErr, orderErr error
	parallel(2, 2, func(i int) {
		if i == 0 {
			entries, entryErr = c.entriesOwnedBy(ctx, account)
		} else {
			orders, orderErr = c.ordersOpenOf(ctx, account)
		}
	})
	if err := cmp.Or(entryErr, orderErr); err != nil {
		return providers.Discovery{}, err
	}
	if wallet, err := c.address(); err == nil && wallet == account { // then it needs no saying
		for i := range entries {
			entries[i].Value = withoutOwner(entries[i].Value)
		}
	}
	return providers.Discovery{Objects: append(entries, orders...), Requests: c.chain.Requests() + c.market.Requests() - before}, nil
}

// entriesOwnedBy are the registries' entries of an owner, sorted by kind, name and address.
func (c *client) entriesOwnedBy(ctx context.Context, owner common.Address) ([]providers.Found, error) {
	if err := c.pin(ctx); err != nil {
		return nil, err
	}
	var registries []common.Address
	var balances []chain.Call
	for _, k := range poco.EntryKinds() {
		registry, err := c.registryOf(ctx, k)
		if err != nil {
			return nil, err
		}
		registries = append(registries, registry)
		balances = append(balances, chain.Call{To: registry, Data: pack(poco.RegistryABI().Pack("balanceOf", owner))})
	}
	counts, err := c.callAll(ctx, balances)
	if err != nil {
		return nil, err
	}
	var kinds []*poco.EntryKind
	var tokens []chain.Call
	for i, k := range poco.EntryKinds() {
		for n := range new(big.Int).SetBytes(counts[i]).Int64() {
			kinds = append(kinds, k)
			tokens = append(tokens, chain.Call{To: registries[i], Data: pack(poco.RegistryABI().Pack("tokenOfOwnerByIndex", owner, big.NewInt(n)))})
		}
	}
	ids, err := c.callAll(ctx, tokens)
	if err != nil {
		return nil, err
	}
	addresses := make([]common.Address, len(ids))
	for i, id := range ids {
		addresses[i] = common.BytesToAddress(id)
	}
	return c.viewEntries(ctx, kinds, addresses)
}

// callAll is the calls' answers; any failure fails all.
func (c *client) callAll(ctx context.Context, calls []chain.Call) ([][]byte, error) {
	answers := make([][]byte, len(calls))
	for i, r := range c.chain.Calls(ctx, calls) {
		if r.Err != nil {
			return nil, r.Err
		}
		answers[i] = r.Data
	}
	return answers, nil
}

// viewEntries reads registered entries, in one call, and sorts them by kind, name and address.
func (c *client) viewEntries(ctx context.Context, kinds []*poco.EntryKind, addresses []common.Address) ([]providers.Found, error) {
	calls := make([]chain.Call, len(addresses))
	for i, k := range kinds {
		calls[i] = chain.Call{To: c.Hub, Data: k.PackView(addresses[i])}
	}
	views, err := c.callAll(ctx, calls)
	if err != nil {
		return nil, err
	}
	found := make([]providers.Found, len(views))
	for i, data := range views {
		if found[i], err = c.foundEntry(kinds[i], addresses[i], data); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(found, func(a, b providers.Found) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return found, nil
}

// foundEntry is an entry as the hub's view has it.
func (c *client) foundEntry(k *poco.EntryKind, address common.Address, view []byte) (providers.Found, error) {
	owner, fields, _, err := k.UnpackView(view)
	if err != nil {
		return providers.Found{}, fmt.Errorf("read %s %s: %w", k.Noun, address, err)
	}
	attrs := map[string]cty.Value{"address": cty.StringVal(address.Hex()), "owner": cty.StringVal(owner.Hex())}
	for i, f := range k.Fields {
		if f.Type == "bytes32" {
			attrs[f.Name] = cty.StringVal(common.BytesToHash(fields[i]).Hex())
		} else {
			attrs[f.Name] = cty.StringVal(string(bytes.ToValidUTF8(fields[i], []byte("\uFFFD"))))
		}
	}
	typ := "iexec_" + k.Noun
	return providers.Found{Type: typ, ID: address.Hex(), Name: attrs[k.Fields[0].Name].AsString(), Value: complete(tables().Resources[typ], attrs)}, nil
}

// complete is an object of the table with some attributes set; the rest is null.
func complete(t *schema.Table, attrs map[string]cty.Value) cty.Value {
	return object{t.Null()}.with(attrs)
}

// ordersOpenOf are the open orders of all kinds that the market lists for an account, sorted by kind, resource and hash.
func (c *client) ordersOpenOf(ctx context.Context, owner common.Address) ([]providers.Found, error) {
	kinds := poco.Kinds()
	listed := make([][]market.Row, len(kinds))
	errs := make([]error, len(kinds))
	parallel(len(kinds), len(kinds), func(i int) { listed[i], errs[i] = c.market.ListByOwner(ctx, kinds[i], owner) })
	if err := cmp.Or(errs...); err != nil {
		return nil, err
	}
	var found []providers.Found
	for i, k := range kinds {
		rows := listed[i]
		slices.SortFunc(rows, func(a, b market.Row) int {
			return cmp.Or(cmp.Compare(a.Order[k.Resource], b.Order[k.Resource]), a.OrderHash.Cmp(b.OrderHash))
		})
		for _, r := range rows {
			found = append(found, foundOrder(k, r.OrderHash, r.Order))
		}
	}
	return found, nil
}

// foundOrder is an order as the resource that manages it.
func foundOrder(k *poco.Kind, hash common.Hash, body poco.Order) providers.Found {
	typ := "iexec_" + k.Noun
	table := tables().Resources[typ]
	attrs := map[string]cty.Value{}
	refers := []providers.Reference{{Attr: k.Resource, To: body[k.Resource], Of: "address"}}
	for _, f := range k.Fields {
		a := table.Attr(f.Name)
		if !a.Mode.Settable() {
			continue
		}
		switch a.Type {
		case cty.Number:
			n, _ := new(big.Int).SetString(body[f.Name], 10)
			attrs[f.Name] = bigNumber(n)
		default:
			attrs[f.Name] = cty.StringVal(body[f.Name])
		}
		if f.Type == "address" && f.Name != k.Resource && body[f.Name] != (common.Address{}).Hex() {
			refers = append(refers, providers.Reference{Attr: f.Name, To: body[f.Name], Of: "address"})
		}
	}
	return providers.Found{Type: typ, ID: hash.Hex(), Refers: refers, Value: complete(table, attrs)}
}

var _ providers.Discoverer = (*client)(nil)
