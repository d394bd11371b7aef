package poco

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
)

// Sign signs a digest: 65 bytes r, s, v with v 27 or 28, the only values that the hub accepts. It is deterministic.
func Sign(key *ecdsa.PrivateKey, digest common.Hash) ([]byte, error) {
	sig, err := crypto.Sign(digest[:], key)
	if err != nil {
		return nil, fmt.Errorf("sign digest: %w", err)
	}
	sig[64] += 27
	return sig, nil
}

// Recover returns the account that signed the digest. It takes 65 bytes with v 27/28 or 0/1, or the 64 bytes of EIP-2098.
// Any well-formed signature recovers to some account: compare the result.
func Recover(digest common.Hash, sig []byte) (common.Address, error) {
	s := make([]byte, 65)
	switch {
	case len(sig) == 64: // EIP-2098: the top bit of s is v
		copy(s, sig)
		s[64] = s[32] >> 7
		s[32] &= 0x7f
	case len(sig) == 65:
		copy(s, sig)
		if s[64] >= 27 {
			s[64] -= 27
		}
	default:
		return common.Address{}, fmt.Errorf("recover signer: signature has %d bytes, want 65 (or 64)", len(sig))
	}
	if s[64] > 1 {
		return common.Address{}, errors.New("recover signer: v of the signature is none of 27, 28, 0, 1")
	}
	pub, err := crypto.SigToPub(digest[:], s)
	if err != nil {
		return common.Address{}, fmt.Errorf("recover signer: %w", err)
	}
	return crypto.PubkeyToAddress(*pub), nil
}

var (
	gatewayTypeHash    = crypto.Keccak256Hash([]byte("EIP712Domain(string name,string version,uint256 chainId)"))
	gatewayNameHash    = crypto.Keccak256Hash([]byte("iExec Gateway"))
	gatewayVersionHash = crypto.Keccak256Hash([]byte("1"))
	challengeTypeHash  = crypto.Keccak256Hash([]byte("Challenge(string challenge)"))
)

// MarketChallengeDigest is the EIP-712 digest of a challenge of the market (its whole text, "Sign this message ...").
func MarketChallengeDigest(chainID *big.Int, challenge string) common.Hash {
	sep := crypto.Keccak256Hash(gatewayTypeHash[:], gatewayNameHash[:], gatewayVersionHash[:], common.BigToHash(chainID).Bytes())
	text := crypto.Keccak256Hash([]byte(challenge))
	message := crypto.Keccak256Hash(challengeTypeHash[:], text[:])
	return crypto.Keccak256Hash([]byte{0x19, 0x01}, sep[:], message[:])
}

// MarketChallenge is the document of a challenge of the market, with the digest MarketChallengeDigest.
func MarketChallenge(chainID *big.Int, challenge string) TypedData {
	return TypedData{
		Types: map[string][]TypedField{
			"EIP712Domain": {{"name", "string"}, {"version", "string"}, {"chainId", "uint256"}},
			"Challenge":    {{"challenge", "string"}},
		},
		PrimaryType: "Challenge",
		Domain:      map[string]any{"name": "iExec Gateway", "version": "1", "chainId": json.Number(chainID.String())},
		Message:     map[string]any{"challenge": challenge},
		digest:      MarketChallengeDigest(chainID, challenge),
	}
}

// MarketAuthorization is the Authorization header that answers a challenge: digest_signature_address.
func MarketAuthorization(digest common.Hash, sig []byte, signer common.Address) string {
	return digest.Hex() + "_" + hexutil.Encode(sig) + "_" + signer.Hex()
}

// AppSecretChallenge is the 32 bytes that the app's owner signs as a personal message (EIP-191) to push the secret to the
// SMS; the Authorization header is that signature in hex. It has neither nonce nor chain: it stays valid for ever.
func AppSecretChallenge(app common.Address, secret string) common.Hash {
	return crypto.Keccak256Hash(crypto.Keccak256([]byte("IEXEC_SMS_DOMAIN")), app[:],
		crypto.Keccak256([]byte("1")), crypto.Keccak256([]byte(secret)))
}

// PersonalDigest is the EIP-191 digest of a personal message: what Sign must be given for it.
func PersonalDigest(message []byte) common.Hash {
	return common.BytesToHash(accounts.TextHash(message))
}
