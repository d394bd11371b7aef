package poco

import (
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"
)

// TestMultiaddr holds the bytes to those of the official SDK (iexec 9.0.1, humanToMultiaddrBuffer without strict).
func TestMultiaddr(t *testing.T) {
	const ipfs = "0xa5032212207237a7f4091a74ae95514890fa86a2e8a36037c350ea71c06a34c8cbe25a5057"
	const text = "/ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ"
	for _, test := range []struct{ text, raw, back string }{
		{"docker.io/iexechub/x:1", "0x646f636b65722e696f2f69657865636875622f783a31", "docker.io/iexechub/x:1"},
		{"https://example.com/data.bin", "0x68747470733a2f2f6578616d706c652e636f6d2f646174612e62696e", "https://example.com/data.bin"},
		{text, ipfs, text},
		{"/p2p/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ", ipfs, text},
		{"//ipfs/bafybeidsg6t7ici2osxjkukisd5inixiunqdpq2q5jy4a2ruzdf6ewsqk4/", ipfs, text},
		{"/ipfs/zdj7WWeQ43G6JJvLWQWZpyHuAMq6uYWRjkBXFad11vE2LHhQ7", "0xa503221220120f6af601d46e10b2d2e11ed71c55d25f3042c22501e41d1246e7a1e9d3d8ec",
			"/ipfs/QmPZ9gcCEpqKTo6aq61g2nXGUhM4iCL3ewB6LDXZCtioEB"},
		{text + "/a", hexutil.Encode([]byte(text + "/a")), text + "/a"},
		{"", "0x", ""},
		{"/", "0x", ""},
		{"/dns4/foo/tcp/80", "0x3603666f6f060050", "/dns4/foo/tcp/80"},
		{"/ip6/::1/udp/1", "0x290000000000000000000000000000000191020001", "/ip6/::1/udp/1"},
		{"/http", "0xe003", "/http"},
		{"/tcp/99999", "0x2f7463702f3939393939", "/tcp/99999"},
		{"/a/b", "0x2f612f62", "/a/b"},
	} {
		raw, err := ParseMultiaddr(test.text)
		if err != nil || hexutil.Encode(raw) != test.raw {
			t.Errorf("%q: got %#x, %v, want %s", test.text, raw, err, test.raw)
		}
		if back, ok := FormatMultiaddr(raw); !ok || back != test.back {
			t.Errorf("%s: read back as %q (%v), want %q", test.raw, back, ok, test.back)
		}
	}
	for _, text := range []string{"/ipfs/notacid", "/ipfs/Qm123"} {
		if raw, err := ParseMultiaddr(text); err == nil {
			t.Errorf("%q: got %#x, want an error", text, raw)
		}
	}
	if text, ok := FormatMultiaddr([]byte{0xff, 0xfe}); ok || text != "0xfffe" {
		t.Errorf("got %q, %v", text, ok)
	}
}
