package plan

import (
	"bytes"
	"encoding/json"
)

// Sealed is a plan file with the given body and the digest that fits it; false when the body isn't JSON.
func Sealed(body []byte) ([]byte, bool) {
	var compact bytes.Buffer
	if json.Compact(&compact, body) != nil {
		return nil, false
	}
	document, err := json.Marshal(file{
		Format: fileFormat, Version: fileVersion, Tool: "1.0.0", Digest: digestOf(compact.Bytes()), Plan: compact.Bytes(),
	})
	return document, err == nil
}
