package chain

import (
	"context"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"
)

// Tx is a transaction of anybody, and what became of it.
type Tx struct {
	From      common.Address
	To        *common.Address // nil: it made a contract
	Block     *big.Int        // nil: it is in none yet, and what follows isn't known
	Succeeded bool
	GasUsed   uint64
	Fee       *big.Int // wei, for the gas
	Logs      []types.Log

	data  []byte
	value *big.Int
}

// Tx reads a transaction, in one request; nil if the node doesn't know it. SIDE EFFECTS: none.
func (c *Client) Tx(ctx context.Context, hash common.Hash) (*Tx, error) {
	var sent *struct {
		From  common.Address
		To    *common.Address
		Input hexutil.Bytes
		Value *hexutil.Big
	}
	var receipt *types.Receipt
	elems := []rpc.BatchElem{
		{Method: "eth_getTransactionByHash", Args: []any{hash}, Result: &sent},
		{Method: "eth_getTransactionReceipt", Args: []any{hash}, Result: &receipt},
	}
	err := c.batch(ctx, elems)
	for _, e := range elems {
		if err == nil {
			err = c.itemError(e.Error)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read transaction %s: %w", hash, err)
	}
	if sent == nil {
		return nil, nil
	}
	tx := &Tx{From: sent.From, To: sent.To, data: sent.Input, value: (*big.Int)(sent.Value)}
	if receipt == nil {
		return tx, nil
	}
	tx.Block, tx.Succeeded, tx.GasUsed = receipt.BlockNumber, receipt.Status == types.ReceiptStatusSuccessful, receipt.GasUsed
	tx.Fee = new(big.Int)
	if receipt.EffectiveGasPrice != nil {
		tx.Fee.Mul(receipt.EffectiveGasPrice, new(big.Int).SetUint64(receipt.GasUsed))
	}
	for _, l := range receipt.Logs {
		tx.Logs = append(tx.Logs, *l)
	}
	return tx, nil
}

// Why performs a failed transaction as a call at its block, which tells a *RevertError if a contract refused it; nil where that
// doesn't fail, or it made a contract. SIDE EFFECTS: none.
func (c *Client) Why(ctx context.Context, tx *Tx) error {
	if tx.To == nil {
		return nil
	}
	return c.replay(ctx, Msg{From: tx.From, To: *tx.To, Data: tx.data, Value: tx.value}, tx.Block)
}
