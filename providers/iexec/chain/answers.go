package chain

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/iexecform/iexecform/providers"
)

// The answers of a node to a raw transaction that matter. errLost is the poller's judgement.
var (
	errUnderpriced = errors.New("the node finds the fee too low")
	errNonceHeld   = errors.New("the node holds another transaction with this nonce")
	errCrowded     = errors.New("the node takes no more pending transactions of this account")
	errFunds       = errors.New("insufficient funds")
	errLost        = errors.New("the nonce went to another transaction")
)

// refusals are answers after which the transaction is certainly not in the node's pool. Words of geth, Nitro, Nethermind, Besu,
// Erigon and anvil.
var refusals = []string{
	"insufficient funds", "insufficient balance", "intrinsic gas", "exceeds block gas limit", "block gas limit exceeded", "gas limit too high",
	"exceeds the configured cap", "invalid sender", "invalid chain id", "invalid signature", "not supported", "oversized data",
}

func isRefusal(err error) bool {
	var answer rpc.Error
	return errors.As(err, &answer) && containsAny(answer.Error(), refusals...)
}

// isUnclear reports whether the node answered what doesn't tell whether it has taken the transaction.
func isUnclear(err error) bool {
	var answer rpc.Error
	return errors.As(err, &answer) && !isRefusal(err)
}

func isFunds(err error) bool {
	return errors.Is(err, errFunds) || containsAny(err.Error(), "insufficient funds", "insufficient balance")
}

// classify reduces the answers that are fine to nil: the node has the transaction, or had it.
func classify(err error) error {
	var answer rpc.Error
	if err == nil || !errors.As(err, &answer) {
		return err
	}
	text := answer.Error()
	switch {
	case containsAny(text, "already known", "alreadyknown", "known transaction", "already imported", "already exists"):
		return nil
	case containsAny(text, "nonce too low", "nonce is too low", "old nonce", "oldnonce", "nonce has already been used"):
		return nil
	case containsAny(text, "nonce too high", "nonce is too high", "future transaction", "pool is full", "too many pending", "account limit", "exceeds account"):
		return errCrowded
	case containsAny(text, "replacement"):
		return errNonceHeld
	case containsAny(text, "underpriced", "less than block base fee", "fee too low", "feetoolow", "gas price too low", "below current base fee"):
		return errUnderpriced
	}
	return err
}

func containsAny(text string, words ...string) bool {
	text = strings.ToLower(text)
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// held turns a lack of funds into a *providers.HeldError and leaves other errors as they are.
func (s *Sender) held(err error, q quote, req TxRequest) error {
	if !isFunds(err) {
		return err
	}
	reason := fmt.Sprintf("%s has not enough for gas", s.from)
	if q.balance != nil {
		reason = fmt.Sprintf("%s needs %s ETH for this transaction (those under way come on top) and has %s ETH", s.from, ether(q.cost(req)), ether(q.balance))
	}
	return &providers.HeldError{Reason: reason, Unblock: fmt.Sprintf("send ETH to %s and run again", s.from)}
}

func (c *Client) sendRaw(ctx context.Context, raw []byte) error {
	var hash common.Hash
	return c.call(ctx, "broadcast", &hash, "eth_sendRawTransaction", hexutil.Bytes(raw))
}
