package config

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

func encodeBase64(s string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil }

func decodeBase64(s string) (string, error) {
	b, err := base64Bytes(s)
	if err != nil {
		return "", err
	}
	return validText(b)
}

func base64Bytes(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, errors.New("not Base64 of the standard alphabet with padding")
	}
	return b, nil
}

func encodeGzip(s string) (string, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b) // a buffer takes all
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

func decodeGzip(s string) (string, error) {
	b, err := base64Bytes(s)
	if err != nil {
		return "", err
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return "", errors.New("not compressed with gzip")
	}
	text, err := io.ReadAll(io.LimitReader(r, maxText+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("not compressed with gzip: %w", err)
	case len(text) > maxText:
		return "", fmt.Errorf("is more than %d bytes when it is expanded", maxText)
	}
	return validText(text)
}
