package iexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

type deployPayload struct {
	Kind     string            `json:"kind"` // noun of the entry's kind
	Address  common.Address    `json:"address"`
	Owner    common.Address    `json:"owner"`
	Fields   map[string]string `json:"fields"` // as the configuration has them
	Registry common.Address    `json:"to"`
	Data     hexutil.Bytes     `json:"data"` // call data of the transaction
}

// doDeploy makes sure that the entry is registered. SIDE EFFECTS: at most one transaction.
func doDeploy(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	var p deployPayload
	if err := unmarshal(req.Action, &p); err != nil {
		return nil, err
	}
	e, err := entryOfNoun(p.Kind)
	if err != nil {
		return nil, err
	}
	there := func() (bool, error) {
		owners, err := c.ownersOf(ctx, e.kind, []common.Address{p.Address})
		if err != nil || owners[0] == (common.Address{}) {
			return false, err
		}
		if owners[0] != p.Owner {
			return false, fmt.Errorf("%s %s is registered and belongs to %s, not to %s: plan again", p.Kind, p.Address, owners[0], p.Owner)
		}
		return true, nil
	}
	made, err := c.ensure(ctx, req, there, chain.TxRequest{To: p.Registry, Data: p.Data, Purpose: fmt.Sprintf("deploy %s, %s %s", req.Action.Addr, p.Kind, p.Address)})
	if made != nil {
		req.Journal.Origin(map[string]string{"transaction": made.TxHash.Hex(), "block": made.BlockNumber.String()})
	}
	return nil, err
}

// ensure looks, sends the transaction if it isn't so, and looks again. It returns the receipt, nil when the transaction of
// somebody else, or an earlier one, made it so. SIDE EFFECTS: at most one transaction.
func (c *client) ensure(ctx context.Context, req providers.DoRequest, there func() (bool, error), tx chain.TxRequest) (*types.Receipt, error) {
	tx.Done = func(context.Context) (bool, error) { return there() }
	if done, err := there(); done || err != nil {
		return nil, err
	}
	if c.sender == nil {
		return nil, c.walletErr
	}
	receipt, err := c.sender.Send(ctx, tx, req.Journal, req.Progress)
	if err != nil {
		// Somebody may have done the very same in the meantime: then it is as wanted.
		done, lookErr := there()
		if !done || lookErr != nil {
			return nil, err
		}
		var failed *chain.FailedError
		if errors.As(err, &failed) {
			req.Progress(providers.Progress{Type: "gas_lost", Message: fmt.Sprintf("Warning: tx %s failed, as somebody else did the same just before: %s ETH of gas are lost, but what was wanted is done",
				failed.Receipt.TxHash, failed.Lost()), Fields: map[string]string{"hash": failed.Receipt.TxHash.Hex(), "lost_eth": failed.Lost()}})
		}
		return nil, nil
	}
	return receipt, shows(ctx, req, there)
}

// shows waits until what a transaction did is to be seen: another node behind the endpoint may be some blocks behind.
func shows(ctx context.Context, req providers.DoRequest, there func() (bool, error)) error {
	delay := &backoff.ExponentialBackOff{InitialInterval: 20 * time.Millisecond, Multiplier: 2, MaxInterval: 2 * time.Second}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		done, err := there()
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		if !done {
			return struct{}{}, fmt.Errorf("the transaction succeeded, but had no effect: %s", req.Action.Summary)
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(delay), backoff.WithMaxElapsedTime(20*time.Second))
	return err
}

type transferPayload struct {
	Kind    string         `json:"kind"`
	Address common.Address `json:"address"`
	From    common.Address `json:"from"`
	To      common.Address `json:"to"`
}

// doTransfer makes sure that the entry belongs to its new owner. SIDE EFFECTS: at most one transaction.
func doTransfer(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	var p transferPayload
	if err := unmarshal(req.Action, &p); err != nil {
		return nil, err
	}
	e, err := entryOfNoun(p.Kind)
	if err != nil {
		return nil, err
	}
	registry, err := c.registryOf(ctx, e.kind)
	if err != nil {
		return nil, err
	}
	there := func() (bool, error) {
		owners, err := c.ownersOf(ctx, e.kind, []common.Address{p.Address})
		if err != nil || owners[0] == p.To {
			return err == nil, err
		}
		if owners[0] != p.From {
			return false, fmt.Errorf("%s %s belongs to %s, not to %s: plan again", p.Kind, p.Address, owners[0], p.From)
		}
		return false, nil
	}
	_, err = c.ensure(ctx, req, there, chain.TxRequest{To: registry, Data: poco.PackTransfer(p.From, p.To, p.Address), Purpose: "transfer " + req.Action.Addr.String()})
	return nil, err
}

type policyPayload struct {
	Kind     string            `json:"kind"`
	Address  common.Address    `json:"to"`
	Policies map[string]string `json:"policies"` // all of them, in percent
	Data     hexutil.Bytes     `json:"data"`     // call data of the transaction
}

// doChangePolicy makes sure that the policies are as planned. SIDE EFFECTS: at most one transaction.
func doChangePolicy(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	var p policyPayload
	if err := unmarshal(req.Action, &p); err != nil {
		return nil, err
	}
	e, err := entryOfNoun(p.Kind)
	if err != nil {
		return nil, err
	}
	there := func() (bool, error) {
		policies, err := c.policiesOf(ctx, e, []common.Address{p.Address})
		if err != nil {
			return false, err
		}
		for _, y := range e.policies {
			if policies[0][y.Name].AsBigFloat().Text('f', 0) != p.Policies[y.Name] {
				return false, nil
			}
		}
		return true, nil
	}
	_, err = c.ensure(ctx, req, there, chain.TxRequest{To: p.Address, Data: p.Data, Purpose: "change policy of " + req.Action.Addr.String()})
	return nil, err
}

// doResolve looks whether the image's tag still has the digest that was planned with.
func doResolve(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	return nil, errors.Join(checkDigest(ctx, c, req.Action.Expect)...)
}

func checkDigest(ctx context.Context, c *client, ps []providers.Precondition) []error {
	return c.images.Check(ctx, ps)
}

type ownerExpectation struct {
	Kind    string         `json:"kind"`
	Address common.Address `json:"address"`
	Owner   common.Address `json:"owner"`
}

// ownerPrecondition is that a registered entry has an owner.
func ownerPrecondition(k *poco.EntryKind, entry, owner common.Address) providers.Precondition {
	return providers.Precondition{Kind: "owner", Summary: fmt.Sprintf("%s %s belongs to %s", k.Noun, entry, owner),
		Payload: marshal(ownerExpectation{Kind: k.Noun, Address: entry, Owner: owner})}
}

// checkOwner reads, for each kind in one call, who owns the entries.
func checkOwner(ctx context.Context, c *client, ps []providers.Precondition) []error {
	errs := make([]error, len(ps))
	want := make([]ownerExpectation, len(ps))
	for i, p := range ps {
		if err := json.Unmarshal(p.Payload, &want[i]); err != nil {
			return fail(len(ps), err)
		}
		if _, err := entryOfNoun(want[i].Kind); err != nil {
			return fail(len(ps), err)
		}
	}
	for _, k := range poco.EntryKinds() {
		var which []int
		var entries []common.Address
		for i, w := range want {
			if w.Kind == k.Noun {
				which, entries = append(which, i), append(entries, w.Address)
			}
		}
		owners, err := c.ownersOf(ctx, k, entries)
		if err != nil {
			return fail(len(ps), err)
		}
		for n, i := range which {
			if w := want[i]; owners[n] != w.Owner {
				errs[i] = fmt.Errorf("%s %s changed hands: it belonged to %s and now belongs to %s", w.Kind, w.Address, w.Owner, owners[n])
			}
		}
	}
	return errs
}
