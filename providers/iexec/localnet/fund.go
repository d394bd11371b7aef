package localnet

import (
	"context"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Fund gives an account what a development account has at first: 10,000 RLC, and 100 ETH for gas. It must not be called twice
// at the same time, or while the first development account sends something else. SIDE EFFECTS: two transactions of that
// account.
func (n *Network) Fund(ctx context.Context, to common.Address) error {
	from := poco.DevAccounts()[0]
	client := ethclient.NewClient(n.client)
	chainID := new(big.Int).SetUint64(n.info.ChainID)
	rlc, err := poco.TokenABI().Pack("transfer", to, big.NewInt(initialRLC))
	if err != nil {
		return fmt.Errorf("give %s RLC: %w", to, err)
	}
	token := localAddresses().token
	for _, tx := range []*types.DynamicFeeTx{
		{To: &to, Value: new(big.Int).Mul(big.NewInt(100), big.NewInt(1e18)), Gas: 21_000},
		{To: &token, Data: rlc, Gas: 200_000},
	} {
		nonce, err := client.PendingNonceAt(ctx, from.Address)
		if err != nil {
			return fmt.Errorf("give %s funds: %w", to, err)
		}
		tx.ChainID, tx.Nonce, tx.GasTipCap, tx.GasFeeCap = chainID, nonce, big.NewInt(1), big.NewInt(10_000_000_000)
		signed, err := types.SignNewTx(from.Key, types.LatestSignerForChainID(chainID), tx)
		if err != nil {
			return fmt.Errorf("give %s funds: %w", to, err)
		}
		receipt, err := client.SendTransactionSync(ctx, signed, nil)
		if err != nil {
			return fmt.Errorf("give %s funds: %w", to, err)
		}
		if receipt.Status != types.ReceiptStatusSuccessful {
			return fmt.Errorf("give %s funds: transaction %s reverted", to, signed.Hash())
		}
	}
	return nil
}
