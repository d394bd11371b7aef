package orderbook

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// The market validates with a JavaScript library; its texts and its leniency (numbers as strings, "1e2", "0x64") are what
// clients see.

// validateOrder reads member order of a body: a canonical order and its sign.
func validateOrder(k *poco.Kind, body any) (poco.Order, string, error) {
	root, err := validateRoot(body)
	if err != nil {
		return nil, "", err
	}
	raw, ok := root["order"]
	if !ok {
		return nil, "", badRequest("order.sign is a required field")
	}
	if raw == nil {
		return nil, "", badRequest("order is a required field")
	}
	values, ok := raw.(map[string]any)
	if !ok {
		return nil, "", badRequest("order must be a `object` type, but the final value was: `%s`.", show(raw))
	}
	order := make(poco.Order, len(k.Fields))
	for _, f := range k.Fields {
		text, err := validateField(f, values[f.Name])
		if err != nil {
			return nil, "", err
		}
		order[f.Name] = text
	}
	sign, ok := values["sign"].(string)
	switch {
	case values["sign"] == nil || ok && sign == "":
		return nil, "", badRequest("order.sign is a required field")
	case !ok || !strings.HasPrefix(sign, "0x"):
		return nil, "", badRequest("order.sign must be a valid signature")
	}
	return order, sign, nil
}

func validateRoot(body any) (map[string]any, error) {
	root, ok := body.(map[string]any)
	if !ok {
		return nil, badRequest("this must be a `object` type, but the final value was: `%s`.", show(body))
	}
	return root, nil
}

func validateField(f poco.Field, value any) (string, error) {
	path := "order." + f.Name
	if value == nil {
		if f.Type == "string" {
			return "", nil
		}
		return "", badRequest("%s is a required field", path)
	}
	if f.Type == "uint256" {
		low := 0.0
		if f.Name == "volume" {
			low = 1
		}
		n, err := integer(path, value, low, maxSafeInteger)
		return strconv.FormatUint(n, 10), err
	}
	if _, ok := value.([]any); ok && f.Name == "tag" {
		return "", errInternal
	}
	var text string
	switch v := value.(type) {
	case string:
		text = v
	case json.Number, bool:
		text = show(v)
	default:
		return "", badRequest("%s must be a `string` type, but the final value was: `%s`.", path, show(value))
	}
	switch f.Type {
	case "address":
		if !common.IsHexAddress(text) {
			return "", badRequest("%s is not a valid ethereum address", path)
		}
		return common.HexToAddress(text).Hex(), nil
	case "bytes32":
		h, ok := parseBytes32(text)
		if !ok {
			return "", badRequest("%s must be a bytes32 hexstring", path)
		}
		return h.Hex(), nil
	}
	return text, nil
}

// integer reads a number, or a string as JavaScript casts it, from low to high.
func integer(path string, value any, low, high float64) (uint64, error) {
	n := math.NaN()
	switch v := value.(type) {
	case json.Number:
		n, _ = v.Float64() // out of range is infinite, which is above high
	case string:
		n = castNumber(v)
	}
	switch {
	case math.IsNaN(n):
		return 0, badRequest("%s must be a `number` type, but the final value was: `NaN` (cast from the value `%s`).", path, show(value))
	case n < low:
		return 0, badRequest("%s must be greater than or equal to %.0f", path, low)
	case n > high:
		return 0, badRequest("%s must be less than or equal to %.0f", path, high)
	case n != math.Trunc(n):
		return 0, badRequest("%s must be an integer", path)
	}
	return uint64(n), nil
}

// castNumber is JavaScript's Number(text) after all spaces are removed, except that nothing is not 0.
func castNumber(text string) float64 {
	text = strings.Join(strings.Fields(text), "")
	if len(text) > 2 && text[0] == '0' && strings.ContainsRune("xXoObB", rune(text[1])) {
		if n, err := strconv.ParseUint(text, 0, 64); err == nil && !strings.Contains(text, "_") {
			return float64(n)
		}
		return math.NaN()
	}
	if text == "" || strings.Trim(text, "0123456789.eE+-") != "" {
		return math.NaN()
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(n, 0) {
		return math.NaN()
	}
	return n
}

// show prints a value as the messages do: strings quoted, the rest as JSON.
func show(value any) string {
	out, _ := json.Marshal(value) // it came from JSON
	return string(out)
}

// parseBytes32 reads 0x and 64 digits of hex, of any case.
func parseBytes32(text string) (h common.Hash, ok bool) {
	if len(text) != 66 || text[:2] != "0x" && text[:2] != "0X" {
		return h, false
	}
	_, err := hex.Decode(h[:], []byte(text[2:]))
	return h, err == nil
}

// The functions below read parameters of queries; an absent or empty one is "" or has ok false.

func text(q url.Values, name string) (string, error) {
	values := q[name]
	if len(values) > 1 {
		return "", badRequest("%s must be a `string` type, but the final value was: `%s`.", name, show(values))
	}
	return q.Get(name), nil
}

func address(q url.Values, name string) (string, error) {
	v, err := text(q, name)
	if err != nil || v == "" {
		return "", err
	}
	if !common.IsHexAddress(v) {
		return "", badRequest("%s is not a valid ethereum address", name)
	}
	return common.HexToAddress(v).Hex(), nil
}

const anyAddress = "any"

func addressOrAny(q url.Values, name string) (string, error) {
	if q.Get(name) == anyAddress && len(q[name]) == 1 {
		return anyAddress, nil
	}
	return address(q, name)
}

func bytes32(q url.Values, name string) (h common.Hash, ok bool, err error) {
	v, err := text(q, name)
	if err != nil || v == "" {
		return h, false, err
	}
	if h, ok = parseBytes32(v); !ok {
		return h, false, badRequest("%s must be a bytes32 hexstring", name)
	}
	return h, true, nil
}

func boolean(q url.Values, name string) (bool, error) {
	v, err := text(q, name)
	if err != nil {
		return false, err
	}
	switch strings.ToLower(v) {
	case "", "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	}
	return false, badRequest("%s must be a `boolean` type, but the final value was: `%s`.", name, show(v))
}

func number(q url.Values, name string, low, high float64) (n uint64, ok bool, err error) {
	v, err := text(q, name)
	if err != nil || v == "" {
		return 0, false, err
	}
	n, err = integer(name, v, low, high)
	return n, err == nil, err
}

// page is what part of a list is asked for.
type page struct{ skip, size int }

const defaultPageSize = 20

func parsePage(q url.Values) (page, error) {
	offset, _, err := number(q, "page", 0, maxSafeInteger)
	if err != nil {
		return page{}, err
	}
	index, indexed, err := number(q, "pageIndex", 0, maxSafeInteger)
	if err != nil {
		return page{}, err
	}
	size, sized, err := number(q, "pageSize", 10, 1000)
	if err != nil {
		return page{}, err
	}
	if !sized {
		size = defaultPageSize
	}
	if indexed || sized {
		offset = index * size // page is ignored
	}
	return page{skip: int(min(offset, math.MaxInt32)), size: int(size)}, nil
}
