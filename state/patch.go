package state

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// CreatePatch makes the RFC 7386 merge patch that turns the JSON object before into after. Values that are equal but for
// white space are left out; null members of after count as absent. Numbers are kept as they are written.
func CreatePatch(before, after json.RawMessage) (json.RawMessage, error) {
	var was, is map[string]json.RawMessage
	if err := json.Unmarshal(before, &was); err != nil {
		return nil, fmt.Errorf("create patch: before: %w", err)
	}
	if err := json.Unmarshal(after, &is); err != nil {
		return nil, fmt.Errorf("create patch: after: %w", err)
	}
	patch := map[string]json.RawMessage{}
	for name := range was {
		if value, ok := is[name]; !ok || isNull(value) {
			patch[name] = json.RawMessage("null")
		}
	}
	for name, value := range is {
		old, had := was[name]
		switch {
		case isNull(value) || had && sameJSON(old, value):
		case had && isObject(old) && isObject(value):
			nested, err := CreatePatch(old, value)
			if err != nil {
				return nil, err
			}
			patch[name] = nested
		default:
			patch[name] = value
		}
	}
	return json.Marshal(patch)
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

// Equal reports whether two outputs are the same but for white space.
func (o Output) Equal(p Output) bool {
	return o.Sensitive == p.Sensitive && sameRaw(o.Type, p.Type) && sameRaw(o.Value, p.Value)
}

func sameRaw(a, b json.RawMessage) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return sameJSON(a, b)
}
