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

// Signer signs for one account. It gets what is to be signed, not its digest, because signers that show people what they sign
// refuse bare digests; one that signs digests, as a KMS does, is given doc.Digest(), poco.PersonalDigest(message) and
// types.Signer.Hash(tx). A signer that doesn't want to sign, for now, returns a *providers.HeldError. It is safe for
// concurrent use.
type Signer interface {
	Address() common.Address
	// SignTypedData signs an EIP-712 document: 65 bytes r, s, v with v 27 or 28.
	SignTypedData(ctx context.Context, doc poco.TypedData) ([]byte, error)
	// SignText signs a personal message (EIP-191): 65 bytes r, s, v with v 27 or 28.
	SignText(ctx context.Context, message []byte) ([]byte, error)
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

// SignTypedData implements Signer.
func (s *KeySigner) SignTypedData(_ context.Context, doc poco.TypedData) ([]byte, error) {
	return poco.Sign(s.key, doc.Digest())
}

// SignText implements Signer.
func (s *KeySigner) SignText(_ context.Context, message []byte) ([]byte, error) {
	return poco.Sign(s.key, poco.PersonalDigest(message))
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
