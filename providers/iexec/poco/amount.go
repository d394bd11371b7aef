package poco

import (
	"fmt"
	"math/big"
	"strings"
)

const rlcDecimals = 9 // 1 RLC = 10^9 nRLC

// ParseAmount reads an amount of RLC and returns nRLC: "1.5 RLC", "10 nRLC", or an integer of nRLC ("123"). One space
// before the unit, whose case matters; at most nine decimals; no sign, no fraction of a nRLC, less than 2^256 nRLC.
func ParseAmount(text string) (*big.Int, error) {
	number, unit, spaced := strings.Cut(text, " ")
	bad := func(why string) (*big.Int, error) {
		return nil, fmt.Errorf(`amount %q %s: write "1.5 RLC", "10 nRLC" or an integer of nRLC`, text, why)
	}
	if spaced && unit != "RLC" && unit != "nRLC" {
		return bad("has no unit RLC or nRLC after one space")
	}
	if unit == "RLC" {
		whole, fraction, dotted := strings.Cut(number, ".")
		switch {
		case dotted && fraction == "":
			return bad("has no digit after the point")
		case len(fraction) > rlcDecimals:
			return bad("has more than 9 decimals")
		case whole == "":
			return bad("has no digit before the point")
		}
		number = whole + fraction + strings.Repeat("0", rlcDecimals-len(fraction))
	}
	n, ok := parseUint(number)
	switch {
	case ok:
		return n, nil
	case strings.HasPrefix(number, "-"):
		return bad("is negative")
	case strings.Contains(number, "."):
		return bad("is a fraction of a nRLC")
	}
	return bad("is not a number from 0 to 2^256-1 nRLC")
}

// FormatAmount writes nRLC (not negative) for people: "0.5 RLC", or "10 nRLC" for less than a millionth of a RLC.
// ParseAmount reads it back exactly.
func FormatAmount(nRLC *big.Int) string {
	if nRLC.Sign() > 0 && nRLC.Cmp(big.NewInt(1000)) < 0 {
		return nRLC.String() + " nRLC"
	}
	whole, fraction := new(big.Int).QuoRem(nRLC, big.NewInt(1e9), new(big.Int))
	if fraction.Sign() == 0 {
		return whole.String() + " RLC"
	}
	return whole.String() + "." + strings.TrimRight(fmt.Sprintf("%09d", fraction), "0") + " RLC"
}
