package poco

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"

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
// Those of this package know their digest.
type TypedData struct {
	Types       map[string][]TypedField `json:"types"`
	PrimaryType string                  `json:"primaryType"`
	Domain      map[string]any          `json:"domain"`
	Message     map[string]any          `json:"message"`

	digest common.Hash
}

// TypedField is one member of a type in TypedData.
type TypedField struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Digest is what a signer that signs digests is given.
func (t TypedData) Digest() common.Hash { return t.digest }

// OrderDocument is the document whose digest is OrderHash.
func (d Domain) OrderDocument(k *Kind, o Order) (TypedData, error) {
	digest, err := d.OrderHash(k, o)
	if err != nil {
		return TypedData{}, err
	}
	return d.document(k.Name, map[string][]TypedField{k.Name: k.members()}, k.message(o), digest), nil
}

// OperationDocument is the document whose digest is OperationHash (op is OpSign or OpClose).
func (d Domain) OperationDocument(k *Kind, o Order, op uint8) (TypedData, error) {
	digest, err := d.OperationHash(k, o, op)
	if err != nil {
		return TypedData{}, err
	}
	name := k.Name + "Operation"
	types := map[string][]TypedField{k.Name: k.members(), name: {{"order", k.Name}, {"operation", "uint256"}}}
	return d.document(name, types, map[string]any{"order": k.message(o), "operation": strconv.Itoa(int(op))}, digest), nil
}

func (d Domain) document(primary string, types map[string][]TypedField, message map[string]any, digest common.Hash) TypedData {
	types["EIP712Domain"] = []TypedField{{"name", "string"}, {"version", "string"}, {"chainId", "uint256"}, {"verifyingContract", "address"}}
	return TypedData{
		Types: types, PrimaryType: primary, Message: message, digest: digest,
		Domain: map[string]any{
			"name": domainName, "version": domainVersion,
			"chainId": json.Number(d.ChainID.String()), "verifyingContract": d.Hub.Hex(),
		},
	}
}

func (k *Kind) members() []TypedField {
	fields := make([]TypedField, len(k.Fields))
	for i, f := range k.Fields {
		fields[i] = TypedField(f)
	}
	return fields
}

func (k *Kind) message(o Order) map[string]any {
	message := make(map[string]any, len(k.Fields))
	for _, f := range k.Fields {
		message[f.Name] = o[f.Name]
	}
	return message
}
