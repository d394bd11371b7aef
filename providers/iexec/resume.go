package iexec

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// What interrupted runs left: transactions that are in the journal and not settled.

// senderOptions reads the provider block.
func senderOptions(cfg object) (opts chain.SenderOptions, err error) {
	if text := cfg.str("confirmations"); text != "" {
		if opts.Finality, err = chain.ParseFinality(text); err != nil {
			return opts, providers.At("confirmations", err)
		}
	}
	if n := cfg.num("max_fee_gwei"); n != nil {
		opts.MaxFee = new(big.Int).Mul(n, big.NewInt(1e9))
	}
	if n := cfg.num("resend_after"); n != nil {
		opts.StallAfter = time.Duration(min(n.Uint64(), 86_400)) * time.Second
	}
	if n := cfg.num("max_pending"); n != nil {
		opts.Window = int(min(n.Uint64(), 10_000))
	}
	if cache, err := os.UserCacheDir(); err == nil {
		opts.LockDir = filepath.Join(cache, "iexecform", "wallets")
	}
	return opts, nil
}

// readLeft looks what became of the transactions.
func (c *client) readLeft(ctx context.Context) ([]chain.PendingTx, error) {
	if c.sender == nil {
		return nil, nil
	}
	return c.sender.Inspect(ctx)
}

// underWay is the transaction with the call data that an interrupted run has broadcast and that isn't lost, or nil.
func (c *client) underWay(ctx context.Context, data []byte) (*chain.PendingTx, error) {
	left, err := c.left(ctx)
	for i, tx := range left {
		if bytes.Equal(tx.Data, data) && (tx.Status == chain.Waiting || tx.Status == chain.Mined) {
			return &left[i], err
		}
	}
	return nil, err
}

// learnDeployments remembers the entries that an interrupted run's pending transactions make, as apply waits for these first.
func (c *client) learnDeployments(ctx context.Context) error {
	left, err := c.left(ctx)
	if err != nil || len(left) == 0 {
		return err
	}
	for _, k := range poco.EntryKinds() {
		registry, err := c.registryOf(ctx, k)
		if err != nil {
			return err
		}
		for _, tx := range left {
			owner, fields, ok := k.UnpackCreate(tx.Data)
			if !ok || tx.Status != chain.Waiting {
				continue
			}
			entry := k.Address(registry, owner, fields)
			if _, known := c.ownerOf(k, entry); !known {
				c.rememberOwner(k, entry, owner)
				c.mu.Lock()
				c.unborn[entry] = true
				c.mu.Unlock()
			}
		}
	}
	return nil
}

// Pending implements providers.Resumer.
func (c *client) Pending(ctx context.Context, actions []providers.Action) []string {
	left, err := c.left(ctx)
	if err != nil {
		left = c.sender.Pending() // nobody knows more
	}
	needed := neededBy(actions)
	surplus := chain.Surplus(left, needed)
	all := make([]string, len(left))
	for i, tx := range left {
		all[i] = fmt.Sprintf("transaction %s (%s), nonce %d: %s", tx.Hash(), tx.Purpose, tx.Nonce, c.fate(tx, surplus[i], needed(tx)))
	}
	return all
}

// fate says what becomes of a transaction.
func (c *client) fate(tx chain.PendingTx, surplus, needed bool) string {
	switch {
	case surplus:
		return "not yet seen by the node, and nothing needs it any more: it will be given up"
	case tx.Status == chain.Waiting && needed:
		return "pending: it is waited for"
	case tx.Status == chain.Waiting:
		return "pending, and nothing needs it any more: it is waited for first, and what it makes stays on the chain, without orders of this project"
	case tx.Status == chain.Mined && needed:
		return fmt.Sprintf("in block %s: nothing is sent for it", tx.Block)
	case tx.Status == chain.Mined:
		return fmt.Sprintf("in block %s: it will be taken out of the journal", tx.Block)
	case tx.Status == chain.Failed:
		return fmt.Sprintf("failed in block %s: what is still wanted of it is planned anew", tx.Block)
	case tx.Status == chain.Lost && tx.By != common.Hash{}:
		return fmt.Sprintf("cancelled or replaced from outside, as its nonce went to transaction %s: what is still wanted of it is planned anew", tx.By)
	case tx.Status == chain.Lost:
		return "cancelled or replaced from outside, as its nonce went to another transaction: what is still wanted of it is planned anew"
	case tx.Status == chain.Unseen:
		return "not yet seen by the node: it will be broadcast again, with the same hash"
	case !tx.ChainID.IsUint64() || tx.ChainID.Uint64() != c.ID:
		return fmt.Sprintf("of chain %s, so it is left alone", tx.ChainID)
	}
	return "it will be broadcast again, with the same hash"
}

// neededBy tells whether one of the actions does what a transaction does. One that moves stake always counts: while it is
// under way no other movement is planned.
func neededBy(actions []providers.Action) func(chain.PendingTx) bool {
	calls := map[string]bool{}
	closes := false
	for _, a := range actions {
		var payload struct{ Data hexutil.Bytes }
		if json.Unmarshal(a.Payload, &payload) == nil && len(payload.Data) > 0 {
			calls[string(payload.Data)] = true
		}
		var t transferPayload
		if a.Kind == "transfer" && json.Unmarshal(a.Payload, &t) == nil {
			calls[string(poco.PackTransfer(t.From, t.To, t.Address))] = true
		}
		closes = closes || a.Kind == "close"
	}
	return func(tx chain.PendingTx) bool {
		return calls[string(tx.Data)] || movesStake(tx) || closes && tx.To == poco.Multicall3 // which orders are in it can't be told
	}
}

// Resume implements providers.Resumer.
func (c *client) Resume(ctx context.Context, req providers.ResumeRequest) error {
	c.chain.Unpin()
	if c.sender == nil {
		return nil
	}
	opts := chain.ResumeOptions{Needed: neededBy(req.Actions), Wait: req.Last}
	return c.sender.Resume(ctx, opts, req.Journal, req.Progress)
}

var _ providers.Resumer = (*client)(nil)
