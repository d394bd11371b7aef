package iexec_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// migrate migrates a project whose chain.json leads to the network. The result is in words: what was found, then the findings
// that aren't about keys.
func (w *world) migrate(files map[string]any) string {
	w.t.Helper()
	dir := w.t.TempDir()
	c := nettest.Chain(w.net)
	all := map[string]any{"chain.json": map[string]any{"default": "localnet", "chains": map[string]any{
		"localnet": map[string]string{"id": "31337", "host": strings.Replace(c.RPC, "://", "://user:TOPSECRET@", 1), "hub": c.Hub.Hex(), "iexecGateway": c.Market},
	}}}
	maps.Copy(all, files)
	for name, content := range all {
		text, err := json.Marshal(content)
		if err != nil {
			w.t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	m, err := iexec.New().(providers.Migrator).Migrate(w.t.Context(), providers.MigrateRequest{Dir: dir})
	if err != nil {
		w.t.Fatal(err)
	}
	if text := fmt.Sprintf("%#v", m); strings.Contains(text, "TOPSECRET") {
		w.t.Errorf("a secret is in %s", text)
	}
	if len(m.Providers) != 1 || len(m.Providers[0].Secrets) != 1 || m.Providers[0].Secrets[0].Attr != "rpc_url" || !m.Providers[0].Config.Attr("rpc_url").IsNull() {
		w.t.Errorf("the URL with a password must come from a variable: %#v", m.Providers)
	}
	var b strings.Builder
	for _, o := range m.Objects {
		active := "resource"
		if o.Inactive != "" {
			active = "comment"
		}
		fmt.Fprintf(&b, "%s %s %s %s\n", active, o.Type, o.ID, o.Name)
	}
	for _, f := range m.Findings {
		if f.Kind != providers.Secrets && f.Kind != providers.UnknownKey {
			fmt.Fprintf(&b, "%s: %s: %s\n", f.Kind, f.Where, f.Text)
		}
	}
	return b.String()
}

// orderFile is orders.json with one order.
func orderFile(k *poco.Kind, s poco.SignedOrder) map[string]any {
	order := map[string]string{"sign": hexutil.Encode(s.Sign)}
	maps.Copy(order, s.Order)
	return map[string]any{"31337": map[string]any{k.Noun: order}}
}

func hashOf(t *testing.T, k *poco.Kind, o poco.Order) string {
	t.Helper()
	hash, err := poco.Localnet().Domain().OrderHash(k, o)
	if err != nil {
		t.Fatal(err)
	}
	return hash.Hex()
}

// The chain and the market decide what becomes of a signed order.
func TestMigrateOrders(t *testing.T) {
	w := newWorld(t)
	owner, other := poco.DevAccounts()[0], poco.DevAccounts()[1]
	app := nettest.CreateApp(t, w.net, owner, poco.App{Name: "wind", Type: "DOCKER", Multiaddr: []byte("a/b:1")})
	sign := func(by poco.Account, app common.Address, volume uint64) poco.SignedOrder {
		return nettest.Sign(t, by, poco.AppOrder, nettest.AppOrder(app, 0, volume))
	}
	deployed := map[string]any{"app": map[string]string{"31337": app.Hex()}}
	want := func(name, got string, lines ...string) {
		t.Helper()
		if want := strings.Join(lines, "\n") + "\n"; got != want {
			t.Errorf("%s: got\n%swant\n%s", name, got, want)
		}
	}
	hidden := sign(owner, app, 5)
	hash := hashOf(t, poco.AppOrder, hidden.Order)
	want("not published", w.migrate(map[string]any{"deployed.json": deployed, "orders.json": orderFile(poco.AppOrder, hidden)}),
		"resource iexec_app "+app.Hex()+" wind",
		"comment iexec_apporder "+hash+" ",
		"exposed: orders.json:1 31337.apporder: apporder "+hash+" is signed but not on the market: who has a copy can use 5 of it until it is closed on chain. It was written as a comment")

	sold := sign(owner, app, 2)
	if err := nettest.Buy(t, w.net, sold, 2); err != nil {
		t.Fatal(err)
	}
	want("filled, of an app that deployed.json lacks", w.migrate(map[string]any{"orders.json": orderFile(poco.AppOrder, sold)}),
		"resource iexec_app "+app.Hex()+" wind",
		"not-written: orders.json:1 31337.apporder: apporder "+hashOf(t, poco.AppOrder, sold.Order)+" is filled or closed: nothing of its volume of 2 is left")

	nowhere := sign(owner, other.Address, 1)
	want("of no app", w.migrate(map[string]any{"orders.json": orderFile(poco.AppOrder, nowhere)}),
		"not-written: orders.json:1 31337.apporder.app: there is no app at "+other.Address.Hex()+" on chain 31337",
		"not-written: orders.json:1 31337.apporder: apporder "+hashOf(t, poco.AppOrder, nowhere.Order)+" is for app "+other.Address.Hex()+", which doesn't exist")

	foreign := sign(other, app, 1)
	want("of somebody else", w.migrate(map[string]any{"orders.json": orderFile(poco.AppOrder, foreign)}),
		"resource iexec_app "+app.Hex()+" wind",
		"not-written: orders.json:1 31337.apporder: apporder "+hashOf(t, poco.AppOrder, foreign.Order)+" isn't signed by "+owner.Address.Hex()+", who owns app "+app.Hex()+" now: nobody can use it")

	broken := maps.Clone(sold.Order)
	delete(broken, "volume")
	want("an old kind of order", w.migrate(map[string]any{"orders.json": map[string]any{"31337": map[string]any{"apporder": broken}}, "deployed.json": deployed}),
		"resource iexec_app "+app.Hex()+" wind",
		"unreadable: orders.json:1 31337.apporder: it lacks a salt or a signature of this version of the protocol")
}

// Where iexec.json says something else than the chain, each difference is told; a dataset's place is compared as the chain has it.
func TestMigrateDiffers(t *testing.T) {
	w := newWorld(t)
	w.write("resource \"iexec_dataset\" \"d\" {\n  name = \"winds\"\n  multiaddr = \"/ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ\"\n  checksum = \"" + checksum + "\"\n}\n")
	w.Apply()
	address := w.Value("iexec_dataset.d").GetAttr("address").AsString()
	got := w.migrate(map[string]any{
		"deployed.json": map[string]any{"dataset": map[string]string{"31337": address}},
		"iexec.json": map[string]any{"dataset": map[string]string{"owner": poco.DevAccounts()[0].Address.Hex(), "name": "renamed",
			"multiaddr": "/p2p/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ", "checksum": checksum}},
	})
	want := "resource iexec_dataset " + address + " winds\n" +
		"differs: iexec.json:1 dataset.name: says \"renamed\"; dataset " + address + " on localnet has \"winds\", which was written\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	got = w.migrate(map[string]any{"deployed.json": map[string]any{"app": map[string]string{"31337": address}}})
	want = "not-written: deployed.json:1 app.31337: there is no app at " + address + " on chain 31337; it is a dataset: use iexec_dataset\n"
	if got != want {
		t.Errorf("a dataset where an app is meant: got\n%swant\n%s", got, want)
	}
}

// A chain that can't be asked leaves the files; what is told of it has no part of a URL with a key.
func TestMigrateOutOfReach(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Error(rw, "no such key: "+r.URL.Path, http.StatusUnauthorized)
	}))
	defer server.Close()
	address := poco.DevAccounts()[0].Address.Hex()
	got := w.migrate(map[string]any{
		"chain.json": map[string]any{"default": "localnet", "chains": map[string]any{
			"localnet": map[string]string{"host": server.URL + "/v3/TOPSECRET0123456789"},
		}},
		"deployed.json": map[string]any{"workerpool": map[string]string{"31337": address}},
		"iexec.json":    map[string]any{"workerpool": map[string]string{"description": "here"}},
	})
	if strings.Contains(got, "TOPSECRET") || !strings.HasPrefix(got, "resource iexec_workerpool "+address+" here\nunverified: chain.json:1 chains.localnet: ") {
		t.Errorf("got\n%s", got)
	}
}

// All deployments of iApp's cache are apps; the fields that it doesn't keep come from the chain.
func TestMigrateIApp(t *testing.T) {
	w := newWorld(t)
	owner := poco.DevAccounts()[0]
	old := nettest.CreateApp(t, w.net, owner, poco.App{Name: "hello", Type: "DOCKER", Multiaddr: []byte("a/hello:1")})
	now := nettest.CreateApp(t, w.net, owner, poco.App{Name: "hello", Type: "DOCKER", Multiaddr: []byte("a/hello:2")})
	got := w.migrate(map[string]any{
		"iapp.config.json": map[string]string{"projectName": "hello", "defaultChain": "localnet", "walletPrivateKey": "TOPSECRET", "appSecret": "TOPSECRET"},
		"cache/localnet/deployments.json": []map[string]string{
			{"image": "a/hello:1", "app": old.Hex(), "owner": owner.Address.Hex()},
			{"image": "a/hello:other", "app": now.Hex(), "owner": owner.Address.Hex()},
		},
	})
	want := "resource iexec_app " + old.Hex() + " hello\n" +
		"resource iexec_app " + now.Hex() + " hello\n" +
		"differs: cache/localnet/deployments.json:1 [1]: says image \"a/hello:other\"; app " + now.Hex() + " on localnet has \"a/hello:2\", which was written\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
