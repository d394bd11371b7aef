package poco

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-varint"
)

var (
	slashes = regexp.MustCompile(`//+`)
	// ipfsPath names one object of IPFS by its CID, and nothing below it.
	ipfsPath = regexp.MustCompile(`^/(?:ipfs|p2p)/([^/]+)$`)
)

// ParseMultiaddr is the bytes of a dataset's multiaddr, as the official SDK makes them (9.0.1, utils.js): those of a libp2p
// multiaddr where the text is one, such as /ipfs/<cid>, and else its UTF-8, such as a URL's. Of a CID only the multihash
// counts, so different texts may have the same bytes. An error: the text names an object of IPFS, but not by a CID.
func ParseMultiaddr(text string) ([]byte, error) {
	if !strings.HasPrefix(text, "/") {
		return []byte(text), nil
	}
	path := strings.TrimRight(slashes.ReplaceAllString(text, "/"), "/")
	if m := ipfsPath.FindStringSubmatch(path); m != nil {
		id, err := cid.Decode(m[1])
		if err != nil {
			return nil, fmt.Errorf("%q is not a CID: %w", m[1], err)
		}
		hash := id.Hash()
		head := append(varint.ToUvarint(multiaddr.P_P2P), varint.ToUvarint(uint64(len(hash)))...)
		return append(head, hash...), nil
	}
	if path == "" {
		return nil, nil
	}
	if m, err := multiaddr.NewMultiaddr(path); err == nil {
		return m.Bytes(), nil
	}
	return []byte(text), nil
}

// FormatMultiaddr is a text that ParseMultiaddr makes these bytes of, with /ipfs/ for objects of IPFS; if there is none, the
// bytes as 0x hex, and false.
func FormatMultiaddr(raw []byte) (string, bool) {
	texts := []string{string(raw)}
	if m, err := multiaddr.NewMultiaddrBytes(raw); err == nil {
		texts = []string{m.String(), string(raw)}
		if id, ok := strings.CutPrefix(m.String(), "/p2p/"); ok {
			texts = append([]string{"/ipfs/" + id}, texts...)
		}
	}
	for _, text := range texts {
		if again, err := ParseMultiaddr(text); err == nil && utf8.ValidString(text) && bytes.Equal(again, raw) {
			return text, true
		}
	}
	return fmt.Sprintf("%#x", raw), false
}
