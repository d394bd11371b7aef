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

// Logs returns a contract's logs from a block to the pinned one. topics is, for each position, what it may be; nil: anything.
// Many nodes refuse to search many blocks. SIDE EFFECTS: none.
func (c *Client) Logs(ctx context.Context, contract common.Address, from *big.Int, topics [][]common.Hash) ([]types.Log, error) {
	filter := map[string]any{"address": contract, "fromBlock": hexutil.EncodeBig(from), "toBlock": c.blockTag(nil), "topics": topics}
	var logs []types.Log
	err := c.call(ctx, "read the logs of "+contract.Hex(), &logs, "eth_getLogs", filter)
	return logs, err
}

// Codes is the code at each address, empty where there is none, at the pinned block and in as few requests as it can. SIDE
// EFFECTS: none.
func (c *Client) Codes(ctx context.Context, addrs []common.Address) ([][]byte, error) {
	codes, elems := make([]hexutil.Bytes, len(addrs)), make([]rpc.BatchElem, len(addrs))
	for i, a := range addrs {
		elems[i] = rpc.BatchElem{Method: "eth_getCode", Args: []any{a, c.blockTag(nil)}, Result: &codes[i]}
	}
	if len(elems) == 0 {
		return nil, nil
	}
	err := c.batch(ctx, elems)
	all := make([][]byte, len(addrs))
	for i := range elems {
		if err == nil && elems[i].Error != nil {
			err = c.itemError(elems[i].Error)
		}
		all[i] = codes[i]
	}
	if err != nil {
		return nil, fmt.Errorf("read codes: %w", err)
	}
	return all, nil
}
