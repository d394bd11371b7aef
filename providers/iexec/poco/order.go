package poco

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Order is an order without its signature, in canonical text: EIP-55 addresses, decimal integers without leading zeros
// (prices in nRLC), lower-case 0x bytes32.
type Order map[string]string

// Canonical reads an order as files and the market write it: values are strings or json.Number (decode JSON with
// UseNumber; a float64 is refused, as it cannot hold every amount). Addresses may have any case and may lack 0x.
// Every field of the kind must be there; other keys (sign, orderHash) are ignored.
func (k *Kind) Canonical(values map[string]any) (Order, error) {
	o := make(Order, len(k.Fields))
	for _, f := range k.Fields {
		var text string
		switch v := values[f.Name].(type) {
		case string:
			text = v
		case json.Number:
			text = v.String()
		case nil:
			return nil, fmt.Errorf("%s: field %q is missing", k.Noun, f.Name)
		default:
			return nil, fmt.Errorf("%s: field %q is a %T, want a string or a JSON number", k.Noun, f.Name, v)
		}
		word, err := f.encode(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.Noun, err)
		}
		o[f.Name] = f.format(word, text)
	}
	return o, nil
}

// A Reader reads many orders of one kind, field by field, and keeps values that they share once. It is not safe for
// concurrent use.
type Reader struct {
	kind *Kind
	seen map[string]string // canonical by what was read, of values that are likely to come again
}

// NewReader makes a Reader.
func NewReader(k *Kind) *Reader { return &Reader{kind: k, seen: map[string]string{}} }

// Set sets a field from its text, as Canonical does. A name that isn't a field of the kind is ignored.
func (r *Reader) Set(o Order, name, text []byte) error {
	for i := range r.kind.Fields {
		f := &r.kind.Fields[i]
		if f.Name != string(name) {
			continue
		}
		if known, ok := r.seen[string(text)]; ok && f.Type != "string" {
			o[f.Name] = known
			return nil
		}
		word, err := f.encode(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", r.kind.Noun, err)
		}
		o[f.Name] = f.format(word, string(text))
		if f.Name != "salt" && f.Type != "string" && len(r.seen) < 1000 {
			r.seen[string(text)] = o[f.Name]
		}
		return nil
	}
	return nil
}

// Complete reports a field that is missing.
func (r *Reader) Complete(o Order) error {
	if len(o) == len(r.kind.Fields) {
		return nil
	}
	for _, f := range r.kind.Fields {
		if _, ok := o[f.Name]; !ok {
			return fmt.Errorf("%s: field %q is missing", r.kind.Noun, f.Name)
		}
	}
	return nil
}

// encode returns the field's 32 bytes in EIP-712 encodeData (and, except for strings, in the ABI).
func (f Field) encode(text string) (word [32]byte, err error) {
	switch f.Type {
	case "address":
		if !common.IsHexAddress(text) {
			return word, fmt.Errorf("field %q: %q is not an address (20 bytes of hex)", f.Name, text)
		}
		copy(word[12:], common.HexToAddress(text).Bytes())
	case "uint256":
		n, ok := parseUint(text)
		if !ok {
			return word, fmt.Errorf("field %q: %q is not a decimal integer from 0 to 2^256-1", f.Name, text)
		}
		n.FillBytes(word[:])
	case "bytes32":
		if len(text) != 66 || !strings.HasPrefix(text, "0x") {
			return word, fmt.Errorf("field %q: %q is not 32 bytes of hex with 0x", f.Name, text)
		}
		if _, err := hex.Decode(word[:], []byte(text[2:])); err != nil {
			return word, fmt.Errorf("field %q: %q is not 32 bytes of hex with 0x", f.Name, text)
		}
	default: // string
		word = crypto.Keccak256Hash([]byte(text))
	}
	return word, nil
}

// format returns the canonical text of an encoded value; a string stays as it is.
func (f Field) format(word [32]byte, text string) string {
	switch f.Type {
	case "address":
		return common.BytesToAddress(word[12:]).Hex()
	case "uint256":
		return new(big.Int).SetBytes(word[:]).String()
	case "bytes32":
		return common.Hash(word).Hex()
	default:
		return text
	}
}

// parseUint reads decimal digits, nothing else, of a number below 2^256.
func parseUint(text string) (*big.Int, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" || len(strings.TrimLeft(text, "0")) > 78 {
		return nil, false
	}
	n, ok := new(big.Int).SetString(text, 10)
	return n, ok && n.BitLen() <= 256
}
