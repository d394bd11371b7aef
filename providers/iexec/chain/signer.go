package chain

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"io"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Signer signs for one account. It is safe for concurrent use.
type Signer interface {
	Address() common.Address
	// SignHash signs a digest: 65 bytes r, s, v with v 27 or 28.
	SignHash(ctx context.Context, digest common.Hash) ([]byte, error)
	// SignTx returns the transaction with the account's signature for that chain.
	SignTx(ctx context.Context, tx *types.Transaction, chainID *big.Int) (*types.Transaction, error)
}

// KeySigner is a Signer that holds the private key. It never shows it, however it is printed.
type KeySigner struct {
	key     *ecdsa.PrivateKey
	address common.Address
}

// NewKeySigner makes a signer of a private key.
func NewKeySigner(key *ecdsa.PrivateKey) *KeySigner {
	return &KeySigner{key: key, address: crypto.PubkeyToAddress(key.PublicKey)}
}

// Address is the account.
func (s *KeySigner) Address() common.Address { return s.address }

// SignHash implements Signer.
func (s *KeySigner) SignHash(_ context.Context, digest common.Hash) ([]byte, error) {
	return poco.Sign(s.key, digest)
}

// SignTx implements Signer.
func (s *KeySigner) SignTx(_ context.Context, tx *types.Transaction, chainID *big.Int) (*types.Transaction, error) {
	signed, err := types.SignTx(tx, types.LatestSignerForChainID(chainID), s.key)
	if err != nil {
		return nil, fmt.Errorf("sign transaction as %s: %w", s.address, err)
	}
	return signed, nil
}

// Format prints the address, whatever the verb.
func (s KeySigner) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "signer of "+s.address.Hex())
}
