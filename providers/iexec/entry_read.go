package iexec

import (
	"context"
	"fmt"
	"maps"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Entries that the state doesn't know, by address: what the registry and the hub say of them. What can't be read is who
// owned them first, which their address was made from. Usually it is who owns them now, and the address proves it; else the
// registry's log tells.

// readEntries returns entries of a kind as whole objects of its resource type. It reads the chain in two calls, and the
// registry's log only for entries that were transferred; where the node doesn't give it, first_owner is null. SIDE EFFECTS: none.
func readEntries(ctx context.Context, c *client, k *poco.EntryKind, addresses []common.Address) ([]schema.Object, []error) {
	values, errs := make([]schema.Object, len(addresses)), make([]error, len(addresses))
	views, err := c.viewsOf(ctx, k, addresses, errs)
	if err != nil {
		return values, fail(len(addresses), err)
	}
	firsts := c.firstOwners(ctx, k, addresses, views)
	table := tables().Resources[entryOf(k).typ()]
	for i, v := range views {
		if v == nil {
			continue
		}
		attrs, err := v.attrs(k, addresses[i])
		if err != nil {
			errs[i] = fmt.Errorf("%s %s can't be managed: %w", k.Noun, addresses[i], err)
			continue
		}
		if firsts[i] != (common.Address{}) {
			attrs["first_owner"] = cty.StringVal(firsts[i].Hex())
		}
		c.rememberOwner(k, addresses[i], v.owner)
		values[i] = object{table.Blank()}.with(attrs)
	}
	return values, errs
}

// An entryView is what the hub says of a registered entry.
type entryView struct {
	owner  common.Address
	fields poco.EntryFields
	more   map[string]any // see poco's UnpackView
}

// attrs is the attributes that the view tells. The error says which field has no text; it then has a likeness.
func (v *entryView) attrs(k *poco.EntryKind, address common.Address) (map[string]cty.Value, error) {
	e := entryOf(k)
	attrs, err := e.attrsOf(v.fields)
	maps.Copy(attrs, e.policyAttrs(v.more))
	attrs["address"], attrs["owner"] = cty.StringVal(address.Hex()), cty.StringVal(v.owner.Hex())
	return attrs, err
}

// viewsOf reads entries of a kind in two calls: which of them the registry has, and what they are. What isn't there is nil,
// and its place in errs says what is there instead.
func (c *client) viewsOf(ctx context.Context, k *poco.EntryKind, addresses []common.Address, errs []error) ([]*entryView, error) {
	if err := c.pin(ctx); err != nil {
		return nil, err
	}
	owners, err := c.ownersOf(ctx, k, addresses)
	if err != nil {
		return nil, err
	}
	var calls []chain.Call
	var places []int
	for i, a := range addresses {
		if owners[i] == (common.Address{}) {
			errs[i] = c.notThere(ctx, k, a)
			continue
		}
		calls, places = append(calls, chain.Call{To: c.Hub, Data: k.PackView(a)}), append(places, i)
	}
	views := make([]*entryView, len(addresses))
	if len(calls) == 0 {
		return views, nil
	}
	for n, r := range c.chain.Calls(ctx, calls) {
		i := places[n]
		if r.Err != nil {
			return nil, fmt.Errorf("read %s %s: %w", k.Noun, addresses[i], r.Err)
		}
		v := &entryView{}
		if v.owner, v.fields, v.more, err = k.UnpackView(r.Data); err != nil {
			return nil, fmt.Errorf("read %s %s: %w", k.Noun, addresses[i], err)
		}
		views[i] = v
	}
	return views, nil
}

// notThere says what is at an address where no entry of a kind is registered.
func (c *client) notThere(ctx context.Context, k *poco.EntryKind, address common.Address) error {
	what := ""
	for _, other := range poco.EntryKinds() {
		if other == k {
			continue
		}
		owners, err := c.ownersOf(ctx, other, []common.Address{address})
		if err != nil {
			return err
		}
		if owners[0] != (common.Address{}) {
			what = fmt.Sprintf("; it is %s: use iexec_%s", entryOf(other).a(), other.Noun)
		}
	}
	return fmt.Errorf("there is no %s at %s on chain %d%s", k.Noun, address, c.ID, what)
}

// firstOwners finds who the registered entries were made for; the zero address where nobody tells.
func (c *client) firstOwners(ctx context.Context, k *poco.EntryKind, addresses []common.Address, views []*entryView) []common.Address {
	firsts := make([]common.Address, len(addresses))
	registry, err := c.registryOf(ctx, k)
	if err != nil {
		return firsts
	}
	places := map[common.Hash]int{}
	for i, v := range views {
		if v == nil {
			continue
		}
		wallet, _ := c.address()
		for _, candidate := range []common.Address{v.owner, wallet} {
			if k.Address(registry, candidate, v.fields) == addresses[i] {
				firsts[i] = candidate
			}
		}
		if firsts[i] == (common.Address{}) {
			places[common.BytesToHash(addresses[i][:])] = i
		}
	}
	if len(places) == 0 {
		return firsts
	}
	var tokens []common.Hash
	for token := range places {
		tokens = append(tokens, token)
	}
	transfer := crypto.Keccak256Hash([]byte("Transfer(address,address,uint256)"))
	logs, err := c.chain.Logs(ctx, registry, big.NewInt(0), [][]common.Hash{{transfer}, {{}}, nil, tokens})
	if err != nil {
		return firsts // many nodes refuse to search all blocks
	}
	for _, l := range logs {
		if i, ok := places[l.Topics[3]]; ok {
			firsts[i] = common.BytesToAddress(l.Topics[2][:])
		}
	}
	return firsts
}
