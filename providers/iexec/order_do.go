package iexec

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// orderPayload is the payload of the actions on one order.
type orderPayload struct {
	Kind       string      `json:"kind"`
	Hash       common.Hash `json:"order_hash"`
	Order      poco.Order  `json:"order"`
	Sign       string      `json:"sign,omitempty"` // absent: signed by an earlier action of the plan
	Generation int64       `json:"generation,omitempty"`
	Consumed   string      `json:"consumed,omitempty"`
	Exact      bool        `json:"exact,omitempty"`  // close: another order is made from what was sold, so it must be as planned
	Counts     bool        `json:"counts,omitempty"` // close: what was sold counts in the total of a resource that goes on
	Begun      bool        `json:"begun,omitempty"`  // close: an interrupted run was about to do it
	// Replenished is the object's, which is remembered with the signature: without it the next plan would take the order for
	// more than is wanted.
	Replenished json.Number    `json:"replenished,omitempty"`
	To          common.Address `json:"to,omitzero"`
	Data        hexutil.Bytes  `json:"data,omitempty"` // close: call data of the transaction
}

// orderAction reads the payload of an action and checks that the hash is that of the order.
func (c *client) orderAction(a providers.Action) (orderPayload, *poco.Kind, error) {
	var p orderPayload
	if err := unmarshal(a, &p); err != nil {
		return p, nil, err
	}
	for _, k := range poco.Kinds() {
		if k.Noun != p.Kind {
			continue
		}
		hash, err := c.Domain().OrderHash(k, p.Order)
		if err == nil && hash != p.Hash {
			err = fmt.Errorf("the order in the plan has hash %s, not %s: the plan was made for another chain or hub", hash, p.Hash)
		}
		return p, k, err
	}
	return p, nil, fmt.Errorf("there is no kind of order %q", p.Kind)
}

// patch is the merge patch that remembers one signed order. It has all of it, as the state needn't know an order that was
// found on the market.
func (p orderPayload) patch(sign, status, consumed string) map[string]any {
	return map[string]any{"orders": map[string]any{p.Hash.Hex(): map[string]any{
		"order": p.Order, "sign": sign, "status": status, "consumed": json.Number(consumed), "generation": p.Generation,
	}}}
}

// doSign makes the signature. SIDE EFFECTS: none outside; the signed order is remembered before it is shown to anyone.
func doSign(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	p, k, err := c.orderAction(req.Action)
	if err != nil {
		return nil, err
	}
	signer, err := c.signer(ctx)
	if err != nil {
		return nil, err
	}
	doc, err := c.Domain().OrderDocument(k, p.Order)
	if err != nil {
		return nil, err
	}
	sign, err := signer.SignTypedData(ctx, doc)
	if err != nil {
		return nil, fmt.Errorf("sign order %s: %w", p.Hash, err)
	}
	if by, err := poco.Recover(p.Hash, sign); err != nil || by != c.wallet.Address() {
		return nil, fmt.Errorf("the signature of order %s is not that of %s: the signer has another key", p.Hash, c.wallet.Address())
	}
	text := hexutil.Encode(sign)
	c.mu.Lock()
	c.signed[p.Hash] = text
	c.mu.Unlock()
	tellOrder(req, "order_signed", p)
	patch := p.patch(text, statusSigned, orZero(p.Consumed))
	patch["sign"] = text
	if p.Replenished != "" {
		patch["replenished"] = p.Replenished
	}
	return marshal(patch), nil
}

// tellOrder reports progress to machines; people are told that the action is done.
func tellOrder(req providers.DoRequest, typ string, p orderPayload) {
	req.Progress(providers.Progress{Type: typ, Fields: map[string]string{"order_hash": p.Hash.Hex(), "order_kind": p.Kind}})
}

func orZero(n string) string {
	if n == "" {
		return "0"
	}
	return n
}

// doPublish makes sure that the market shows the order. SIDE EFFECTS: two requests that write to the market.
func doPublish(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	p, k, err := c.orderAction(req.Action)
	if err != nil {
		return nil, err
	}
	sign := p.Sign
	if sign == "" {
		c.mu.Lock()
		sign = c.signed[p.Hash]
		c.mu.Unlock()
	}
	if sign == "" {
		return nil, fmt.Errorf("order %s has no signature: plan again", p.Hash)
	}
	signer, err := c.signer(ctx)
	if err != nil {
		return nil, err
	}
	defer c.writes.Add(-1)
	if _, err := c.market.Publish(c.tellWaits(ctx, req), k, p.Order, sign, signer); err != nil {
		return nil, err
	}
	tellOrder(req, "order_published", p)
	return marshal(p.patch(sign, statusOpen, orZero(p.Consumed))), nil
}

// doUnpublish makes sure that the market doesn't show the order. SIDE EFFECTS: two requests that write to the market.
func doUnpublish(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	p, k, err := c.orderAction(req.Action)
	if err != nil {
		return nil, err
	}
	signer, err := c.signer(ctx)
	if err != nil {
		return nil, err
	}
	defer c.writes.Add(-1)
	if err := c.market.Unpublish(c.tellWaits(ctx, req), k, p.Hash, signer); err != nil {
		return nil, err
	}
	return nil, nil
}

type consumedExpectation struct {
	Hash     common.Hash `json:"order_hash"`
	Consumed string      `json:"consumed"`
}

func consumedPrecondition(s *signed) providers.Precondition {
	return providers.Precondition{Kind: "consumed", Summary: fmt.Sprintf("%s units of order %s were bought", s.consumed, s.hash),
		Payload: marshal(consumedExpectation{Hash: s.hash, Consumed: s.consumed.String()})}
}

func checkConsumed(ctx context.Context, c *client, ps []providers.Precondition) []error {
	errs := make([]error, len(ps))
	want := make([]consumedExpectation, len(ps))
	hashes := make([]common.Hash, len(ps))
	for i, p := range ps {
		if err := json.Unmarshal(p.Payload, &want[i]); err != nil {
			return fail(len(ps), err)
		}
		hashes[i] = want[i].Hash
	}
	consumed, err := c.consumedOf(ctx, hashes, nil)
	if err != nil {
		return fail(len(ps), err)
	}
	for i, w := range want {
		if consumed[i].String() != w.Consumed {
			errs[i] = fmt.Errorf("order %s was bought from: %s of its units were used when the plan was made, and %s are now", w.Hash, w.Consumed, consumed[i])
		}
	}
	return errs
}
