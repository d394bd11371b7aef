package poco

import (
	"crypto/ecdsa"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Multicall3 is its address on both Arbitrum chains; a development chain may lack it.
var Multicall3 = common.HexToAddress("0xcA11bde05977b3631167028862bE2a173976CA11")

// Chain is a built-in chain: where its hub and services are.
type Chain struct {
	Name     string
	ID       uint64
	RPC      string
	Hub      common.Address
	Token    common.Address // RLC; read token() of the hub where it matters
	Market   string         // base URL of the market API
	SMS      string         // base URL of the secret management service; empty if there is none
	Explorer string         // base URL of iExec's explorer for the chain, to which /app/<address> is added; empty if there is none
	Registry string         // host:port of the OCI registry that runs beside it; only on localnet
}

// Domain is the EIP-712 domain of the chain's orders.
func (c Chain) Domain() Domain {
	return Domain{ChainID: new(big.Int).SetUint64(c.ID), Hub: c.Hub}
}

// Chains returns the built-in chains. Source: SDK 9, config.js; localnet is the embedded development network at its
// default ports.
func Chains() []Chain {
	return []Chain{
		{
			Name: "arbitrum-mainnet", ID: 42161,
			RPC:      "https://arb1.arbitrum.io/rpc",
			Hub:      common.HexToAddress("0x098bFCb1E50ebcA0BaA92C12eA0c3F045A1aD9f0"),
			Token:    common.HexToAddress("0xe649e6a1F2afc63ca268C2363691ceCAF75CF47C"),
			Market:   "https://api.market.arbitrum-mainnet.iex.ec",
			SMS:      "https://sms.arbitrum-mainnet.iex.ec",
			Explorer: "https://explorer.iex.ec/arbitrum-mainnet",
		},
		{
			Name: "arbitrum-sepolia-testnet", ID: 421614,
			RPC:      "https://sepolia-rollup.arbitrum.io/rpc",
			Hub:      common.HexToAddress("0xB2157BF2fAb286b2A4170E3491Ac39770111Da3E"),
			Token:    common.HexToAddress("0x9923eD3cbd90CD78b910c475f9A731A6e0b8C963"),
			Market:   "https://api-market.arbitrum-sepolia-testnet.iex.ec",
			SMS:      "https://sms.arbitrum-sepolia-testnet.iex.ec",
			Explorer: "https://explorer.iex.ec/arbitrum-sepolia-testnet",
		},
		Localnet(),
	}
}

// Localnet is the embedded development network at its default ports. Its contracts are the first ones that the first
// development account deploys, in a fixed order, so their addresses never change.
func Localnet() Chain {
	return Chain{
		Name: "localnet", ID: 31337,
		RPC:      "http://127.0.0.1:8545",
		Hub:      common.HexToAddress("0x0165878A594ca255338adfa4d48449f69242Eb8F"),
		Token:    common.HexToAddress("0x5FbDB2315678afecb367f032d93F642f64180aa3"),
		Market:   "http://127.0.0.1:3000",
		SMS:      "http://127.0.0.1:13300",
		Registry: "127.0.0.1:5000",
	}
}

// ChainByName returns the built-in chain of that name.
func ChainByName(name string) (Chain, bool) {
	for _, c := range Chains() {
		if c.Name == name {
			return c, true
		}
	}
	return Chain{}, false
}

// ChainByID returns the built-in chain with that id.
func ChainByID(id uint64) (Chain, bool) {
	for _, c := range Chains() {
		if c.ID == id {
			return c, true
		}
	}
	return Chain{}, false
}

// Account is an account with its private key.
type Account struct {
	Address common.Address
	Key     *ecdsa.PrivateKey
}

// DevAccounts returns the ten accounts that every Ethereum development tool knows (mnemonic "test test test test test
// test test test test test test junk"). Their keys are public: whatever they own on a public chain can be taken by anyone.
func DevAccounts() []Account {
	keys := []string{
		"ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
		"59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
		"5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
		"7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
		"47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
		"8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
		"92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
		"4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
		"dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
		"2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
	}
	accounts := make([]Account, len(keys))
	for i, text := range keys {
		key, err := crypto.HexToECDSA(text)
		if err != nil {
			panic(err) // a typing error in the table above
		}
		accounts[i] = Account{Address: crypto.PubkeyToAddress(key.PublicKey), Key: key}
	}
	return accounts
}
