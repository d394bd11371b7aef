package poco

import (
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Operations of manageXOrder. Source: IexecLibOrders_v5.OrderOperationEnum.
const (
	OpSign  uint8 = 0 // presign: the order is valid without a signature
	OpClose uint8 = 1 // close: consumed becomes volume, for ever
)

const (
	domainName    = "iExecODB"
	domainVersion = "5.0.0"
)

var (
	domainTypeHash    = crypto.Keccak256Hash([]byte("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"))
	domainNameHash    = crypto.Keccak256Hash([]byte(domainName))
	domainVersionHash = crypto.Keccak256Hash([]byte(domainVersion))
)

// Domain is the EIP-712 domain of orders: one hub on one chain.
type Domain struct {
	ChainID *big.Int
	Hub     common.Address
}

// Separator is the EIP-712 domain separator, equal to the hub's eip712domain_separator().
func (d Domain) Separator() common.Hash {
	return crypto.Keccak256Hash(domainTypeHash[:], domainNameHash[:], domainVersionHash[:],
		common.BigToHash(d.ChainID).Bytes(), common.LeftPadBytes(d.Hub[:], 32))
}

func (d Domain) digest(structHash common.Hash) common.Hash {
	sep := d.Separator()
	return crypto.Keccak256Hash([]byte{0x19, 0x01}, sep[:], structHash[:])
}

func (k *Kind) structHash(o Order) (common.Hash, error) {
	data := make([]byte, 0, 32*(len(k.Fields)+1))
	data = append(data, k.typeHash[:]...)
	for _, f := range k.Fields {
		text, ok := o[f.Name]
		if !ok {
			return common.Hash{}, fmt.Errorf("hash %s: field %q is missing", k.Noun, f.Name)
		}
		word, err := f.encode(text)
		if err != nil {
			return common.Hash{}, fmt.Errorf("hash %s: %w", k.Noun, err)
		}
		data = append(data, word[:]...)
	}
	return crypto.Keccak256Hash(data), nil
}

// OrderHash is the order's EIP-712 digest: what its owner signs, and its name on chain, in events and on the market.
func (d Domain) OrderHash(k *Kind, o Order) (common.Hash, error) {
	h, err := k.structHash(o)
	if err != nil {
		return common.Hash{}, err
	}
	return d.digest(h), nil
}

// OperationHash is the digest that an owner signs to let someone else send manageXOrder (op is OpSign or OpClose).
func (d Domain) OperationHash(k *Kind, o Order, op uint8) (common.Hash, error) {
	h, err := k.structHash(o)
	if err != nil {
		return common.Hash{}, err
	}
	return d.digest(crypto.Keccak256Hash(k.operationTypeHash[:], h[:], common.LeftPadBytes([]byte{op}, 32))), nil
}

// TypedData is an EIP-712 document as eth_signTypedData_v4 takes it: what a reviewer reads and an external signer signs.
type TypedData struct {
	Types       map[string][]TypedField `json:"types"`
	PrimaryType string                  `json:"primaryType"`
	Domain      map[string]any          `json:"domain"`
	Message     map[string]string       `json:"message"`
}

// TypedField is one member of a type in TypedData.
type TypedField struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// TypedData returns the document whose digest is OrderHash. The order is not checked.
func (d Domain) TypedData(k *Kind, o Order) TypedData {
	fields := make([]TypedField, len(k.Fields))
	message := make(map[string]string, len(k.Fields))
	for i, f := range k.Fields {
		fields[i] = TypedField(f)
		message[f.Name] = o[f.Name]
	}
	return TypedData{
		Types: map[string][]TypedField{
			"EIP712Domain": {{"name", "string"}, {"version", "string"}, {"chainId", "uint256"}, {"verifyingContract", "address"}},
			k.Name:         fields,
		},
		PrimaryType: k.Name,
		Domain: map[string]any{
			"name": domainName, "version": domainVersion,
			"chainId": json.Number(d.ChainID.String()), "verifyingContract": d.Hub.Hex(),
		},
		Message: message,
	}
}
