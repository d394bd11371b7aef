package iexec

import (
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
		if found[i], err = foundEntry(kinds[i], addresses[i], data); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(found, func(a, b providers.Found) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return found, nil
}

// foundEntry is an entry as the hub's view has it. Policies are left out where they are as the contract set them.
func foundEntry(k *poco.EntryKind, address common.Address, view []byte) (providers.Found, error) {
	v := &entryView{}
	var err error
	if v.owner, v.fields, v.more, err = k.UnpackView(view); err != nil {
		return providers.Found{}, fmt.Errorf("read %s %s: %w", k.Noun, address, err)
	}
	attrs, odd := v.attrs(k, address)
	for _, p := range entryOf(k).policies {
		if n, ok := v.more[p.view].(*big.Int); ok && n.IsInt64() && n.Int64() == p.initial {
			delete(attrs, p.Name)
		}
	}
	table := tables().Resources[entryOf(k).typ()]
	found := providers.Found{Type: table.Type, ID: address.Hex(), Name: attrs[k.Fields[0].Name].AsString(), Value: complete(table, attrs)}
	if err := cmp.Or(odd, writable(table, attrs)); err != nil {
		found.Inactive = fmt.Sprintf("No configuration can describe %s %s: %s.", k.Noun, address, err)
	}
	return found, nil
}

// writable says why a configuration can't have these attributes: contracts take what the SDK and we don't, such as no name.
func writable(t *schema.Table, attrs map[string]cty.Value) error {
	for _, a := range t.Attrs {
		v, ok := attrs[a.Name]
		if !ok || !a.Mode.Settable() || a.Parse == nil {
			continue
		}
		if _, err := a.Parse(v); err != nil {
			return fmt.Errorf("%s: %w", a.Name, err)
		}
	}
	return nil
}

// complete is an object of the table with some attributes set; the rest is null.
func complete(t *schema.Table, attrs map[string]cty.Value) schema.Object {
	return object{t.Blank()}.with(attrs)
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
	table := tables().Resources[orderOf(k).typ()]
	attrs := map[string]cty.Value{}
	refers := []providers.Reference{{Attr: k.Resource, To: body[k.Resource], Of: "address"}}
	for _, f := range k.Fields {
		a := table.Attr(f.Name)
		if !a.Mode.Settable() {
			continue
		}
		if f.Type == "uint256" {
			attrs[f.Name] = bigNumber(number(body[f.Name]))
		} else {
			attrs[f.Name] = cty.StringVal(body[f.Name])
		}
		if f.Type == "address" && f.Name != k.Resource && body[f.Name] != (common.Address{}).Hex() {
			refers = append(refers, providers.Reference{Attr: f.Name, To: body[f.Name], Of: "address"})
		}
	}
	found := providers.Found{Type: table.Type, ID: hash.Hex(), Refers: refers, Value: complete(table, attrs)}
	if err := writable(table, attrs); err != nil {
		found.Inactive = fmt.Sprintf("No configuration can describe %s %s: %s.", k.Noun, hash, err)
	}
	return found
}

var _ providers.Discoverer = (*client)(nil)
