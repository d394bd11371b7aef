package iexec

import (
	"context"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Orders that the state doesn't know, by hash. Their bodies come from the market, and are believed only as far as they have
// that hash and the wallet's signature. Their salt is anybody's: once they are in the state, it no longer matters.

// readOrders returns orders of a kind as whole objects of its resource type: volume is that of the order, and everything that an
// order doesn't say is at its default. It reads the wallet's open orders, page by page, and the chain in one call; only an
// order that isn't among them is asked for alone, to say what it is. SIDE EFFECTS: none.
func readOrders(ctx context.Context, c *client, k *poco.Kind, hashes []common.Hash) ([]schema.Object, []error) {
	values, errs := make([]schema.Object, len(hashes)), make([]error, len(hashes))
	wallet, err := c.address()
	if err != nil {
		return values, fail(len(hashes), err)
	}
	if err := c.pin(ctx); err != nil {
		return values, fail(len(hashes), err)
	}
	rows, err := c.list(ctx, k)
	if err != nil {
		return values, fail(len(hashes), err)
	}
	consumed, err := c.consumedOf(ctx, hashes, nil)
	if err != nil {
		return values, fail(len(hashes), err)
	}
	for i, hash := range hashes {
		row := rows.byHash[hash]
		if row == nil {
			errs[i] = c.notMine(ctx, k, hash, wallet)
			continue
		}
		values[i], errs[i] = c.imported(orderOf(k), row, consumed[i], wallet)
	}
	return values, errs
}

// notMine says why an order isn't among the wallet's open orders of a kind.
func (c *client) notMine(ctx context.Context, k *poco.Kind, hash common.Hash, wallet common.Address) error {
	row, err := c.market.Get(ctx, k, hash)
	switch {
	case err != nil:
		return err
	case row == nil:
		for _, other := range poco.Kinds() {
			if other == k {
				continue
			}
			if row, err := c.market.Get(ctx, other, hash); err == nil && row != nil {
				return fmt.Errorf("order %s is of kind %s, not %s: import it as an iexec_%s", hash, other.Noun, k.Noun, other.Noun)
			}
		}
		return fmt.Errorf("the market has no order %s on chain %d: correct the hash. An order that isn't published can't be imported, as only the market knows what is in it", hash, c.ID)
	case row.Signer != wallet:
		return fmt.Errorf("order %s is signed by %s, and the wallet is %s: only its signer can manage it", hash, row.Signer, wallet)
	}
	what := map[string]string{market.Filled: "is sold out", market.Canceled: "is closed", market.Dead: "is dead: its signer no longer owns the " + k.Resource + ", or has too little stake"}[row.Status]
	if what == "" {
		return fmt.Errorf("order %s was published just now: try again", hash)
	}
	return fmt.Errorf("order %s %s: there is nothing to manage", hash, what)
}

// imported is the object that has one open order.
func (c *client) imported(o order, row *market.Row, consumed *big.Int, wallet common.Address) (schema.Object, error) {
	hash, err := c.Domain().OrderHash(o.kind, row.Order)
	if err != nil {
		return schema.Object{}, err
	}
	sign, err := hexutil.Decode(row.Sign)
	if err != nil {
		return schema.Object{}, fmt.Errorf("the market's signature of order %s: %w", row.OrderHash, err)
	}
	switch by, err := poco.Recover(hash, sign); {
	case err != nil:
		return schema.Object{}, fmt.Errorf("the market's signature of order %s: %w", row.OrderHash, err)
	case hash != row.OrderHash || by != wallet:
		return schema.Object{}, fmt.Errorf("the market shows order %s with a body of hash %s that %s signed: it can't be trusted", row.OrderHash, hash, by)
	}
	s := &signed{hash: hash, body: row.Order, sign: row.Sign, status: statusOpen, consumed: consumed}
	if consumed.Cmp(s.volume()) >= 0 {
		return schema.Object{}, fmt.Errorf("order %s is sold out or closed: there is nothing to manage", hash)
	}
	return o.kindObject(summary(new(big.Int), []*signed{s}), s), nil
}

// kindObject is a whole object of an order's resource type: volume is that of the order, and everything that an order doesn't say is
// at its default, unless attrs has it.
func (o order) kindObject(attrs map[string]cty.Value, s *signed) schema.Object {
	for _, f := range o.kind.Fields {
		if f.Type == "uint256" {
			attrs[f.Name] = bigNumber(number(s.body[f.Name]))
		} else {
			attrs[f.Name] = cty.StringVal(s.body[f.Name])
		}
	}
	table := tables().Resources[o.typ()]
	for _, a := range table.Attrs {
		if _, ok := attrs[a.Name]; !ok && a.Default != cty.NilVal {
			attrs[a.Name] = a.Default
		}
	}
	attrs["order_hash"], attrs["sign"], attrs["replenished"] = cty.StringVal(s.hash.Hex()), cty.StringVal(s.sign), cty.NumberIntVal(0)
	return object{table.Blank()}.with(attrs)
}
