package sdkproject

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/internal/bounds"
	"github.com/iexecform/iexecform/providers"
)

// project writes files into a new directory.
func project(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What every version wrote is understood; forms that the SDK takes become canonical.
func TestRead(t *testing.T) {
	const app, owner = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65", "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
	dir := project(t, map[string]string{
		"chain.json": `{"default": "arbitrum-mainnet", "chains": {
			"mine": {"id": "42161", "host": "https://user:pass@mine.example/rpc/", "hub": "0x098bfcb1e50ebca0baa92c12ea0c3f045a1ad9f0", "sms": {"scone": "https://scone.example", "tdx": "https://tdx.example/"}},
			"arbitrum-mainnet": {"host": "arbitrum-mainnet", "iexecGateway": "https://market.example"}}}`,
		"iexec.json": `{"app": {"owner": "` + strings.ToLower(owner) + `", "name": "wind", "type": "DOCKER", "multiaddr": "x:1", "checksum": "0xAB", "mrenclave": {"b" : 1, "a": [ ]}},
			"order": {"apporder": {"app": "` + strings.ToLower(app[2:]) + `", "appprice": "1.5 RLC", "volume": 7, "tag": "tee,gpu"},
			"requestorder": {"params": {"iexec_args": "a b"}, "tag": ""}}}`,
		"deployed.json":                 `{"app": {"42161": "` + app + `"}}`,
		"wallet.json":                   `{"privateKey": "0xSECRET", "address": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}`,
		"keystore/UTC--x--" + owner[2:]: `not read`,
	})
	p, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Chains) != 1 || p.Default != 42161 {
		t.Fatalf("chains %v, default %d; want the default one of the two entries", p.Chains, p.Default)
	}
	if c := p.Chains[0]; c.Name != "arbitrum-mainnet" || c.RPC != "https://arb1.arbitrum.io/rpc" || c.Market != "https://market.example" || len(c.SecretURLs) > 0 {
		t.Errorf("got chain %+v: a host that is no URL must leave the built-in one", c)
	}
	if len(p.Entries) != 1 || p.Entries[0].Address != common.HexToAddress(app) || p.Entries[0].Where != "deployed.json:1 app.42161" {
		t.Errorf("got entries %+v", p.Entries)
	}
	want := map[string]string{"owner": owner, "name": "wind", "type": "DOCKER", "multiaddr": "x:1", "checksum": "0xab", "mrenclave": `{"b":1,"a":[]}`}
	if got := p.Declared[0].Fields; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got app %v, want %v", got, want)
	}
	order, request := p.Wanted[0].Order, p.Wanted[1].Order
	if order["app"] != app || order["appprice"] != "1500000000" || order["volume"] != "7" || !strings.HasSuffix(order["tag"], "0101") || order["datasetrestrict"] != (common.Address{}).Hex() {
		t.Errorf("got order %v", order)
	}
	if request["params"] != `{"iexec_args":"a b"}` || request["tag"] != (common.Hash{}).Hex() {
		t.Errorf("got request %v", request)
	}
	if got := fmt.Sprint(p.Wallets); got != fmt.Sprint([]common.Address{common.HexToAddress(owner), common.HexToAddress("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")}) {
		t.Errorf("got wallets %s", got)
	}
	for _, want := range []providers.Finding{
		{Kind: providers.Secrets, Where: "wallet.json:1 privateKey", Text: "not copied"},
		{Kind: providers.Secrets, Where: "chain.json:2 chains.mine.host", Text: "the URL has an access key in it"},
	} {
		if !strings.Contains(fmt.Sprint(p.Findings), fmt.Sprint(want)) {
			t.Errorf("findings lack %v: %v", want, p.Findings)
		}
	}
	if strings.Contains(fmt.Sprintf("%+v", p), "SECRET") {
		t.Errorf("a key is kept: %+v", p)
	}
}

func TestSecretURL(t *testing.T) {
	for url, secret := range map[string]bool{
		"https://arb1.arbitrum.io/rpc":                                   false,
		"http://127.0.0.1:8545":                                          false,
		"https://api-market.arbitrum-sepolia-testnet.iex.ec":             false,
		"https://kovan.infura.io/v3/f3e0664e01504f5ab2b4360853ce0dc7":    true,
		"https://arb-mainnet.g.alchemy.com/v2/demoKEY_0123456789-abcdef": true,
		"https://user:password@node.example":                             true,
		"https://node.example/rpc?apikey=1":                              true,
	} {
		if got := secretURL(url); got != secret {
			t.Errorf("secretURL(%q) is %v", url, got)
		}
	}
}

var position = regexp.MustCompile(`^[a-z./-]+:[1-9][0-9]*:[1-9][0-9]*: `)

// Whatever a file holds, reading it doesn't panic, an error says where, and a secret isn't repeated.
func FuzzRead(f *testing.F) {
	for i := range files {
		f.Add(i, `{"privateKey": "SECRET", "app": {"1": "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"}, "order": {"apporder": {"tag": ["tee"]}}}`)
		f.Add(i, `{"chains": {"a": {"id": "1", "host": "http://x/y"}}, "1": {"apporder": {"sign": "0x"}}}`)
		f.Add(i, "{\"a\":\n[}")
	}
	f.Add(len(files), `[{"image": "x", "app": "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"}, 1]`)
	f.Fuzz(func(t *testing.T, i int, text string) {
		defer bounds.Watch()()
		name, read := "cache/bellecour/deployments.json", (*reader).readDeployments
		if i := uint(i) % uint(len(files)+1); i < uint(len(files)) {
			name, read = files[i].name, files[i].read
		}
		p := &reader{chains: map[uint64]*Chain{}}
		if err := p.readFile(name, []byte(text), read); err != nil {
			if !position.MatchString(err.Error()) {
				t.Errorf("the error doesn't say where: %v", err)
			}
			return
		}
		for _, e := range p.finish().Findings {
			if e.Kind == providers.Secrets && strings.Contains(e.Text, "SECRET") {
				t.Errorf("finding %v repeats a secret", e)
			}
		}
	})
}
