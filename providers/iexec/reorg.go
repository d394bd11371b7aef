package iexec

import (
	"context"
	"fmt"
	"maps"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers"
)

// Whether the chain has gone back behind what an apply did: the state remembers the last block in which one of its
// transactions was final, and plan looks whether the chain still has it, in the request that reads the first block.

// factBlock names that block among what the state knows of the network: its number and its hash.
const factBlock = "block"

// Seen implements providers.Witness.
func (c *client) Seen(ctx context.Context) map[string]string {
	if c.sender == nil {
		return nil
	}
	facts := map[string]string{}
	if number, hash := c.sender.LastBlock(); number != nil {
		facts[factBlock] = blockFact(number, hash)
	}
	if closed, err := c.stillClosed(ctx); err == nil { // else the next plan looks
		maps.Copy(facts, closed)
	}
	if len(facts) == 0 {
		return nil
	}
	return facts
}

func blockFact(number *big.Int, hash common.Hash) string { return number.String() + " " + hash.Hex() }

// readGenesis reads the hash of the first block, and compares the block that the state remembers.
func (c *client) readGenesis(ctx context.Context) (common.Hash, error) {
	text, hash, ok := strings.Cut(c.remembered[factBlock], " ")
	number, isNumber := new(big.Int).SetString(text, 10)
	if !ok || !isNumber {
		return c.chain.Genesis(ctx)
	}
	hashes, err := c.chain.BlockHashes(ctx, []*big.Int{new(big.Int), number})
	if err != nil {
		return common.Hash{}, err
	}
	was, is := common.HexToHash(hash), hashes[1]
	c.mu.Lock()
	defer c.mu.Unlock()
	if genesis := c.remembered["genesis"]; genesis != "" && genesis != hashes[0].Hex() { // another network
		c.remembered = nil
		return hashes[0], nil
	}
	switch is {
	case was:
	case common.Hash{}:
		c.reorganised = fmt.Sprintf("it ends before block %s, which it had", number)
	default:
		c.reorganised = fmt.Sprintf("block %s was %s and is now %s", number, was, is)
	}
	return hashes[0], nil
}

// vanished says why an entry that the state knows is not on the chain.
func (c *client) vanished() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reorganised == "" {
		return "it no longer exists on the chain"
	}
	return fmt.Sprintf("its transaction is no longer in the chain, which was reorganised or began anew (%s): it is sent again", c.reorganised)
}

// noticeReorg warns that what the last apply did may be undone.
func (c *client) noticeReorg() []providers.Notice {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reorganised == "" || !c.inUse {
		return nil
	}
	return []providers.Notice{{Level: providers.Warning, Attr: "confirmations",
		Summary: fmt.Sprintf("the chain was reorganised, or began anew, since the last apply: %s. What was done in that block and after it may be undone", c.reorganised),
		Detail:  "Apps that are gone are planned anew, and orders that were closed there are closed again. A higher value of confirmations, or \"safe\" or \"finalized\", makes apply wait until that can't happen.",
	}}
}

var _ providers.Witness = (*client)(nil)
