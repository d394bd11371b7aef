package poco

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/common"
)

// tagBits names the known bits of a tag, lowest first. Source: SDK, TAG_MAP.
var tagBits = []struct {
	name string
	bit  uint
}{{"tee", 0}, {"scone", 1}, {"gramine", 2}, {"tdx", 3}, {"gpu", 8}}

// ParseTag reads a tag: names ("tee", "tdx"), or one string of names separated by commas ("tee,tdx", no spaces, lower
// case), or one 0x bytes32 of any case, which may have unknown bits. No names, or one empty string, is the zero tag.
func ParseTag(names ...string) (common.Hash, error) {
	if len(names) == 1 {
		switch {
		case names[0] == "":
			return common.Hash{}, nil
		case strings.HasPrefix(names[0], "0x"):
			return Field{"tag", "bytes32"}.encode(names[0])
		}
		names = strings.Split(names[0], ",")
	}
	bits := new(big.Int)
next:
	for _, name := range names {
		for _, t := range tagBits {
			if t.name == name {
				bits.SetBit(bits, int(t.bit), 1)
				continue next
			}
		}
		return common.Hash{}, fmt.Errorf("unknown tag %q, want tee, scone, gramine, tdx, gpu (lower case, no spaces) or 32 bytes of hex with 0x", name)
	}
	return common.BigToHash(bits), nil
}

// TagNames returns the names of the tag's bits, lowest first; ok is false if it has bits without a name.
func TagNames(tag common.Hash) (names []string, ok bool) {
	bits := tag.Big()
	for _, t := range tagBits {
		if bits.Bit(int(t.bit)) == 1 {
			names = append(names, t.name)
			bits.SetBit(bits, int(t.bit), 0)
		}
	}
	return names, bits.Sign() == 0
}

// FormatTag returns the names joined by commas, or the hex if the tag is zero or has unknown bits. ParseTag reads it back.
func FormatTag(tag common.Hash) string {
	names, ok := TagNames(tag)
	if !ok || len(names) == 0 {
		return tag.Hex()
	}
	return strings.Join(names, ",")
}
