package iexec

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Kinds of attribute: how a value is written, checked and shown. The canonical form is what the protocol's tools write:
// EIP-55 addresses, lower-case bytes32, prices as integers of nRLC.

func addressAttr(a schema.Attr) schema.Attr {
	a.Type, a.Form, a.Parse = cty.String, "address", parseAddress
	return a
}

var hexAddress = regexp.MustCompile(`^0[xX][0-9a-fA-F]{40}$`)

func parseAddress(v cty.Value) (cty.Value, error) {
	text := v.AsString()
	if !hexAddress.MatchString(text) {
		return cty.NilVal, fmt.Errorf("%q is not an address: want 0x and 40 hexadecimal digits, such as 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", text)
	}
	canonical := common.HexToAddress(text).Hex()
	digits := text[2:]
	if digits != strings.ToLower(digits) && digits != strings.ToUpper(digits) && digits != canonical[2:] {
		return cty.NilVal, fmt.Errorf("%q has a wrong EIP-55 checksum, so a digit is probably mistyped; if it is right, write %s", text, canonical)
	}
	return cty.StringVal(canonical), nil
}

// ownerAttr is an address that something can belong to.
func ownerAttr(a schema.Attr) schema.Attr {
	a = addressAttr(a)
	parse := a.Parse
	a.Parse = func(v cty.Value) (cty.Value, error) {
		owner, err := parse(v)
		if err == nil && owner.AsString() == (common.Address{}).Hex() {
			err = errors.New("nothing can belong to the zero address: leave it out for the wallet")
		}
		return owner, err
	}
	return a
}

// multiaddrAttr is the place of a dataset: a URL, or /ipfs/<cid>. It stays as it is written.
func multiaddrAttr(a schema.Attr) schema.Attr {
	a = textAttr(a)
	a.ForceNew = true
	parse := a.Parse
	a.Parse = func(v cty.Value) (cty.Value, error) {
		if _, err := poco.ParseMultiaddr(v.AsString()); err != nil {
			return cty.NilVal, err
		}
		return parse(v)
	}
	return a
}

func bytes32Attr(a schema.Attr) schema.Attr {
	a.Type, a.Form, a.Parse = cty.String, "32 bytes of hex", parseBytes32
	return a
}

func parseBytes32(v cty.Value) (cty.Value, error) {
	text := v.AsString()
	raw, err := hexutil.Decode(strings.ToLower(text))
	if err != nil || len(raw) != 32 {
		hint := ""
		if strings.HasPrefix(text, "sha256:") {
			hint = fmt.Sprintf("; write \"0x%s\"", strings.TrimPrefix(text, "sha256:"))
		} else if err == nil {
			hint = fmt.Sprintf("; this has %d digits", 2*len(raw))
		}
		return cty.NilVal, fmt.Errorf("%q is not 32 bytes: want 0x and 64 hexadecimal digits%s", text, hint)
	}
	return cty.StringVal(strings.ToLower(text)), nil
}

// finalityAttr says when a transaction counts.
func finalityAttr(a schema.Attr) schema.Attr {
	a.Type, a.Form = cty.String, "number of blocks, or latest, safe or finalized"
	a.Parse = func(v cty.Value) (cty.Value, error) {
		_, err := chain.ParseFinality(v.AsString())
		return v, err
	}
	return a
}

// priceAttr is an amount of RLC: "1.5 RLC", "10 nRLC", or an integer of nRLC. Canonical: integer of nRLC.
func priceAttr(a schema.Attr) schema.Attr {
	a.Type, a.Form, a.Accepts = cty.Number, "amount of RLC", cty.DynamicPseudoType
	a.Parse = func(v cty.Value) (cty.Value, error) {
		switch v.Type() {
		case cty.Number: // the common case, without a detour through text
			if n, err := bigInt(v); err == nil && n.BitLen() <= 256 {
				return v, nil
			}
		case cty.String:
		default:
			return cty.NilVal, fmt.Errorf("want an amount such as \"1.5 RLC\" or an integer of nRLC, not %s", v.Type().FriendlyName())
		}
		text, err := convert.Convert(v, cty.String)
		if err != nil {
			return cty.NilVal, err
		}
		n, err := poco.ParseAmount(text.AsString())
		if err != nil {
			return cty.NilVal, err
		}
		return bigNumber(n), nil
	}
	a.Format = func(v cty.Value) string {
		n, err := bigInt(v)
		if err != nil {
			return "?"
		}
		return `"` + poco.FormatAmount(n) + `"`
	}
	return a
}

// uintAttr is a whole number from least to 2^256-1.
func uintAttr(a schema.Attr, least int64) schema.Attr {
	most := new(big.Int).Lsh(big.NewInt(1), 256)
	return wholeAttr(a, least, most.Sub(most, big.NewInt(1)), "2^256-1")
}

// rangeAttr is a whole number from least to most.
func rangeAttr(a schema.Attr, least, most int64) schema.Attr {
	return wholeAttr(a, least, big.NewInt(most), strconv.FormatInt(most, 10))
}

// wholeAttr is a whole number from least to most, which is written so.
func wholeAttr(a schema.Attr, least int64, most *big.Int, written string) schema.Attr {
	a.Type = cty.Number
	a.Parse = func(v cty.Value) (cty.Value, error) {
		n, err := bigInt(v)
		if err != nil {
			return cty.NilVal, err
		}
		if n.Cmp(big.NewInt(least)) < 0 || n.Cmp(most) > 0 {
			return cty.NilVal, fmt.Errorf("%s is out of range: want a whole number from %d to %s", n, least, written)
		}
		return v, nil
	}
	return a
}

// tagAttr is a set of TEE and hardware requirements. Canonical: bytes32.
func tagAttr(a schema.Attr) schema.Attr {
	a.Type, a.Form, a.Accepts = cty.String, "list of names, or 32 bytes of hex", cty.DynamicPseudoType
	a.Parse = func(v cty.Value) (cty.Value, error) {
		var names []string
		switch t := v.Type(); {
		case t == cty.String:
			names = []string{v.AsString()}
		case t.IsTupleType() || t.IsListType() || t.IsSetType():
			for _, e := range v.AsValueSlice() {
				if e.IsNull() || e.Type() != cty.String {
					return cty.NilVal, errors.New("want names such as [\"tee\", \"tdx\"]")
				}
				names = append(names, e.AsString())
			}
		default:
			return cty.NilVal, fmt.Errorf("want a list of names such as [\"tee\", \"tdx\"], or 32 bytes of hex, not %s", t.FriendlyName())
		}
		tag, err := poco.ParseTag(names...)
		if err != nil {
			return cty.NilVal, err
		}
		return cty.StringVal(tag.Hex()), nil
	}
	a.Format = func(v cty.Value) string {
		names, ok := poco.TagNames(common.HexToHash(v.AsString()))
		if !ok {
			return `"` + v.AsString() + `"`
		}
		for i, n := range names {
			names[i] = `"` + n + `"`
		}
		return "[" + strings.Join(names, ", ") + "]"
	}
	return a
}

// choiceAttr is one of some words.
func choiceAttr(a schema.Attr, words ...string) schema.Attr {
	a.Type = cty.String
	a.Parse = func(v cty.Value) (cty.Value, error) {
		for _, w := range words {
			if v.AsString() == w {
				return v, nil
			}
		}
		return cty.NilVal, fmt.Errorf("%q is none of %q", v.AsString(), words)
	}
	return a
}

func textAttr(a schema.Attr) schema.Attr {
	a.Type = cty.String
	a.Parse = func(v cty.Value) (cty.Value, error) {
		if v.AsString() == "" {
			return cty.NilVal, errors.New("it must not be empty")
		}
		return v, nil
	}
	return a
}

func bigNumber(n *big.Int) cty.Value {
	return cty.NumberVal(new(big.Float).SetPrec(512).SetInt(n))
}

func bigInt(v cty.Value) (*big.Int, error) {
	n, accuracy := v.AsBigFloat().Int(nil)
	if accuracy != big.Exact || n == nil {
		return nil, fmt.Errorf("%s is not a whole number", v.AsBigFloat().Text('f', -1))
	}
	if n.Sign() < 0 {
		return nil, fmt.Errorf("%s is negative", n)
	}
	return n, nil
}

// object reads attributes of a known value. Null attributes read as zero values.
type object struct{ v schema.Object }

// objectOf is for values that come as cty has them.
func objectOf(v cty.Value) object { return object{schema.ObjectOf(v)} }

func (o object) str(name string) string { return o.v.Text(name) }

func (o object) address(name string) common.Address { return common.HexToAddress(o.str(name)) }

// num is the number, or nil when it is null.
func (o object) num(name string) *big.Int {
	if o.v.IsNull() {
		return nil
	}
	a := o.v.Attr(name)
	if a.IsNull() || !a.IsKnown() {
		return nil
	}
	n, _ := a.AsBigFloat().Int(nil)
	return n
}

func (o object) num0(name string) *big.Int {
	if n := o.num(name); n != nil {
		return n
	}
	return new(big.Int)
}

// with is the object with some attributes replaced.
func (o object) with(attrs map[string]cty.Value) schema.Object { return o.v.With(attrs) }
