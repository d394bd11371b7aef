package iexec

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// What the three registries know of their entries: who owns them.

// An entryKey is an entry of a registry. An address alone isn't one: it may be meant for an entry of another kind.
type entryKey struct {
	kind    *poco.EntryKind
	address common.Address
}

// readRegistries asks the hub for its registries, and for the EIP-712 domain in which it checks signatures, in one request.
func (c *client) readRegistries(ctx context.Context) ([]common.Address, error) {
	calls := []chain.Call{{To: c.Hub, Data: pack(poco.HubABI().Pack("eip712domain_separator"))}}
	for _, k := range poco.EntryKinds() {
		calls = append(calls, chain.Call{To: c.Hub, Data: pack(poco.HubABI().Pack(k.Registry))})
	}
	words := make([]common.Hash, len(calls))
	for i, out := range c.chain.Calls(ctx, calls) {
		var revert *chain.RevertError
		switch {
		case out.Err == nil && len(out.Data) == 32:
			words[i] = common.BytesToHash(out.Data)
		case out.Err == nil || errors.As(out.Err, &revert):
			return nil, providers.At("hub", fmt.Errorf("there is no PoCo hub at %s on chain %d: correct hub, or the chain that rpc_url reaches", c.Hub, c.ID))
		default:
			return nil, out.Err
		}
	}
	if is, known := words[0], c.Domain().Separator(); is != known {
		return nil, providers.At("hub", fmt.Errorf("the hub at %s checks signatures in the EIP-712 domain %s, and this program signs in %s: orders that it has signed can't be used there any more, "+
			"and it can sign none that can. Nothing was signed. The protocol was upgraded: use a program that knows it", c.Hub, is, known))
	}
	registries := make([]common.Address, len(words)-1)
	for i, word := range words[1:] {
		registries[i] = common.BytesToAddress(word[:])
	}
	return registries, nil
}

// registryOf is the hub's registry of a kind. The hub is asked once.
func (c *client) registryOf(ctx context.Context, k *poco.EntryKind) (common.Address, error) {
	registries, err := c.registries(ctx)
	if err != nil {
		return common.Address{}, err
	}
	return registries[slices.Index(poco.EntryKinds(), k)], nil
}

// ownersOf reads the owners of entries of a kind's registry, in one call. The zero address: not registered there.
func (c *client) ownersOf(ctx context.Context, k *poco.EntryKind, entries []common.Address) ([]common.Address, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	registry, err := c.registryOf(ctx, k)
	if err != nil {
		return nil, err
	}
	calls := make([]chain.Call, len(entries))
	for i, a := range entries {
		calls[i] = chain.Call{To: registry, Data: pack(poco.RegistryABI().Pack("ownerOf", poco.TokenID(a)))}
	}
	owners := make([]common.Address, len(entries))
	for i, r := range c.chain.Calls(ctx, calls) {
		var revert *chain.RevertError
		switch {
		case errors.As(r.Err, &revert): // ERC-721: nonexistent token
		case r.Err != nil:
			return nil, r.Err
		default:
			owners[i] = common.BytesToAddress(r.Data)
		}
	}
	return owners, nil
}

func (c *client) rememberOwner(k *poco.EntryKind, entry, owner common.Address) {
	c.mu.Lock()
	c.owners[entryKey{k, entry}] = owner
	c.mu.Unlock()
}

// ownerOf is the owner of an entry that was read or planned in this run.
func (c *client) ownerOf(k *poco.EntryKind, entry common.Address) (common.Address, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	owner, ok := c.owners[entryKey{k, entry}]
	return owner, ok
}

// isGiven reports whether this run plans to transfer an entry, which is still the wallet's until then.
func (c *client) isGiven(entry common.Address) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.given[entry]
}

// registered reports whether an entry with a known owner is on chain already, rather than only planned.
func (c *client) registered(entry common.Address) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.unborn[entry]
}

// entryKey is what a new entry provides, and what closing an order of it requires.
func (c *client) entryKey(entry common.Address) string {
	return fmt.Sprintf("iexec/%d/entry/%s", c.ID, entry.Hex())
}

// isContract tells whether an account has code, such as a Safe. It is asked once.
func (c *client) isContract(ctx context.Context, account common.Address) (bool, error) {
	contracts, err := c.areContracts(ctx, []common.Address{account})
	return err == nil && contracts[0], err
}

// areContracts is isContract for several accounts, in one request.
func (c *client) areContracts(ctx context.Context, accounts []common.Address) ([]bool, error) {
	var ask []common.Address
	c.mu.Lock()
	for _, a := range accounts {
		if _, ok := c.contracts[a]; !ok && !slices.Contains(ask, a) {
			ask = append(ask, a)
		}
	}
	c.mu.Unlock()
	codes, err := c.chain.Codes(ctx, ask)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, a := range ask {
		c.contracts[a] = len(codes[i]) > 0
	}
	are := make([]bool, len(accounts))
	for i, a := range accounts {
		are[i] = c.contracts[a]
	}
	return are, nil
}
