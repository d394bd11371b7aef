package chain

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/iexecform/iexecform/providers"
)

// quote is what a transaction takes now.
type quote struct {
	gas     uint64 // with margin
	fees    Fees
	balance *big.Int
}

// quote simulates the request and reads what sending it takes. A *providers.HeldError if fees or funds don't allow it.
func (s *Sender) quote(ctx context.Context, req TxRequest) (quote, error) {
	var gas hexutil.Uint64
	var balance hexutil.Big
	msg := Msg{From: s.from, To: req.To, Data: req.Data, Value: req.Value}
	var price feeRead
	elems := append([]rpc.BatchElem{
		{Method: "eth_estimateGas", Args: []any{msg.args(), "latest"}, Result: &gas},
		{Method: "eth_getBalance", Args: []any{s.from, "latest"}, Result: &balance},
	}, price.elems()...)
	if err := s.c.batch(ctx, elems); err != nil {
		return quote{}, err
	}
	q := quote{gas: uint64(gas) * (100 + s.opts.GasMargin) / 100, balance: balance.ToInt()}
	for _, e := range elems[:2] {
		if e.Error != nil {
			return quote{}, s.held(s.c.itemError(e.Error), q, req)
		}
	}
	fees, err := price.fees(s.c, elems[2:])
	if err != nil {
		return quote{}, err
	}
	if q.fees, err = s.limit(fees, fees.Base); err != nil {
		return quote{}, err
	}
	if q.balance.Cmp(q.cost(req)) < 0 {
		return quote{}, s.held(errFunds, q, req)
	}
	return q, nil
}

// cost is the most that the transaction can take, in wei.
func (q quote) cost(req TxRequest) *big.Int {
	need := new(big.Int)
	if q.fees.Cap != nil {
		need.Mul(new(big.Int).SetUint64(q.gas), q.fees.Cap)
	}
	return need.Add(need, req.Value)
}

// MostFee is the most, in wei, that a transaction of estimated gas can take as it is first sent, at fees as they are now.
func (s *Sender) MostFee(gas uint64, fees Fees) *big.Int {
	limit := fees.Cap
	if s.opts.MaxFee != nil && limit.Cmp(s.opts.MaxFee) > 0 {
		limit = s.opts.MaxFee
	}
	return new(big.Int).Mul(new(big.Int).SetUint64(gas*(100+s.opts.GasMargin)/100), limit)
}

// limit keeps fees within MaxFee, as long as that leaves least for the cap (nil: the cap itself).
func (s *Sender) limit(fees Fees, least *big.Int) (Fees, error) {
	if s.opts.MaxFee == nil || fees.Cap.Cmp(s.opts.MaxFee) <= 0 {
		return fees, nil
	}
	if least == nil || least.Cmp(s.opts.MaxFee) > 0 {
		return Fees{}, &providers.HeldError{
			Reason:  fmt.Sprintf("fee cap: the network wants %s per gas now, and max_fee_gwei allows %s", Gwei(higher(fees.Cap, nil)), Gwei(s.opts.MaxFee)),
			Unblock: "wait until gas is cheaper, or raise max_fee_gwei, and run again",
		}
	}
	fees.Cap = s.opts.MaxFee
	if fees.Tip != nil && fees.Tip.Cmp(fees.Cap) > 0 {
		fees.Tip = fees.Cap
	}
	return fees, nil
}

// bump makes further attempts with higher fees until the node takes one; one attempt at most, and none above what is sensible,
// unless it must. The lane is held. A *providers.HeldError if it must and MaxFee doesn't allow it.
func (e *errand) bump(ctx context.Context, t *transaction, must bool) error {
	signer, err := e.unlock(ctx)
	if err != nil {
		return err
	}
	for range 5 {
		now, err := e.c.GasPrice(ctx)
		if err != nil {
			return err
		}
		old := t.fees()
		least := raised(old.Cap)
		fees := Fees{Cap: higher(least, now.Cap)}
		if old.Tip != nil {
			fees.Tip = higher(raised(old.Tip), now.Tip)
			fees.Cap = higher(fees.Cap, fees.Tip)
		}
		if !must && e.opts.MaxFee == nil && least.Cmp(new(big.Int).Lsh(now.Cap, 1)) > 0 {
			return nil // a stuck transaction isn't worth any price
		}
		fees, err = e.limit(fees, higher(least, now.Base))
		if err != nil && !must {
			return nil
		}
		if err != nil {
			return heldAt(err, t)
		}
		if err := e.attempt(ctx, t, signer, fees); err != nil {
			return err
		}
		err = e.broadcast(ctx, t)
		if refused := errors.Is(err, errUnderpriced) || errors.Is(err, errNonceHeld); !refused {
			return err
		} else if !must {
			return nil
		}
	}
	return fmt.Errorf("tx %s nonce %d: the node finds every fee too low; wait, and run again", t.hash(), t.nonce)
}

// heldAt says which transaction is held by its fees.
func heldAt(err error, t *transaction) error {
	var held *providers.HeldError
	if errors.As(err, &held) {
		held.Reason += fmt.Sprintf("; tx %s nonce %d stays in the journal", t.hash(), t.nonce)
	}
	return err
}

// raised is the least that a node accepts instead of an old fee: an eighth more.
func raised(fee *big.Int) *big.Int {
	more := new(big.Int).Rsh(fee, 3)
	return more.Add(more.Add(more, fee), big.NewInt(1))
}

func higher(a, b *big.Int) *big.Int {
	if b != nil && b.Cmp(a) > 0 {
		return b
	}
	return a
}

// Gwei shows an amount of wei.
func Gwei(wei *big.Int) string { return decimal(wei, 1e9, 9) + " gwei" }

// ether shows an amount of wei, in ETH.
func ether(wei *big.Int) string { return decimal(wei, 1e18, 18) }

func decimal(wei *big.Int, unit int64, places int) string {
	text := new(big.Rat).SetFrac(wei, big.NewInt(unit)).FloatString(places)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// replay performs a message as a call at a block, to learn why it failed there.
func (c *Client) replay(ctx context.Context, m Msg, block *big.Int) error {
	var out hexutil.Bytes
	return c.call(ctx, "replay", &out, "eth_call", m.args(), hexutil.EncodeBig(block))
}
