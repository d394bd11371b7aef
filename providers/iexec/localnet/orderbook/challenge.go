package orderbook

import (
	"crypto/rand"
	"math/big"
	"slices"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// challenges are those handed out and not used yet, by wallet. A wallet's challenge is handed out again until it is used,
// and it is used by the first request that is authorized with it, whatever becomes of the request. They don't expire.
type challenges struct {
	chainID *big.Int
	mu      sync.Mutex
	texts   map[common.Address]string
}

func newChallenges(chainID *big.Int) *challenges {
	return &challenges{chainID: chainID, texts: map[common.Address]string{}}
}

// of returns the wallet's challenge.
func (c *challenges) of(wallet common.Address) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text, ok := c.texts[wallet]
	if !ok {
		text = "Sign this message to log into iExec Gateway: " + rand.Text() + rand.Text()[:6]
		c.texts[wallet] = text
	}
	return text
}

// use checks an Authorization header and, if it is good, uses up the challenge. The digest is compared as text: it must be
// in lower case.
func (c *challenges) use(header string) (wallet common.Address, ok bool) {
	parts := strings.Split(header, "_")
	if len(parts) < 3 || !common.IsHexAddress(parts[2]) {
		return wallet, false
	}
	wallet = common.HexToAddress(parts[2])
	c.mu.Lock()
	defer c.mu.Unlock()
	text, ok := c.texts[wallet]
	if !ok {
		return wallet, false
	}
	digest := poco.MarketChallengeDigest(c.chainID, text)
	signer, err := poco.Recover(digest, common.FromHex(parts[1]))
	if parts[0] != digest.Hex() || err != nil || signer != wallet {
		return wallet, false
	}
	delete(c.texts, wallet)
	return wallet, true
}

// challengeTypedData is the document that the wallet signs. chainId is a string, as the market has it.
func challengeTypedData(chainID, challenge string) map[string]any {
	type member map[string]string
	fields := func(names ...string) (out []member) {
		for name := range slices.Values(names) {
			n, typ, _ := strings.Cut(name, " ")
			out = append(out, member{"name": n, "type": typ})
		}
		return out
	}
	return map[string]any{
		"types": map[string]any{
			"EIP712Domain": fields("name string", "version string", "chainId uint256"),
			"Challenge":    fields("challenge string"),
		},
		"domain":      map[string]string{"name": "iExec Gateway", "version": "1", "chainId": chainID},
		"primaryType": "Challenge",
		"message":     map[string]string{"challenge": challenge},
	}
}
