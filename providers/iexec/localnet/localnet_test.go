package localnet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/params"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// serveEnv makes the test binary a network that keeps itself in the directory named, until it is killed.
const serveEnv = "LOCALNET_TEST_SERVE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		n, err := localnet.Start(context.Background(), options(dir))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := json.NewEncoder(os.Stdout).Encode(n.Info()); err != nil {
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

func options(dir string) localnet.Options {
	return localnet.Options{RPC: "127.0.0.1:0", Market: "127.0.0.1:0", SMS: "127.0.0.1:0", Registry: "127.0.0.1:0", DataDir: dir}
}

func in(dir string) func(*localnet.Options) {
	return func(o *localnet.Options) { o.DataDir = dir }
}

var app = poco.App{Name: "a", Type: "DOCKER", Multiaddr: []byte("docker.io/a/a:1")}

func genesisHash(t *testing.T, n *localnet.Network) common.Hash {
	t.Helper()
	header, err := nettest.Client(t, n).HeaderByNumber(t.Context(), new(big.Int))
	if err != nil {
		t.Fatal(err)
	}
	return header.Hash()
}

func digest(t *testing.T, reference string) v1.Hash {
	t.Helper()
	ref, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Head(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest
}

func TestEveryStartIsTheSame(t *testing.T) {
	n, again := nettest.Start(t), nettest.Start(t)
	info, want := n.Info(), poco.Localnet()
	if info.ChainID != want.ID || info.Hub != want.Hub || info.RLC != want.Token {
		t.Errorf("network is chain %d, hub %s, token %s; poco.Localnet says %+v", info.ChainID, info.Hub, info.RLC, want)
	}
	for i, a := range poco.DevAccounts() {
		key, err := crypto.ToECDSA(common.FromHex(info.Accounts[i].PrivateKey))
		if err != nil || info.Accounts[i].Address != a.Address || !key.Equal(a.Key) {
			t.Errorf("account %d: %+v (%v)", i, info.Accounts[i], err)
		}
	}
	text, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	var back localnet.Info
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(info, back); diff != "" {
		t.Errorf("info read back (-want +got):\n%s", diff)
	}
	for _, address := range []common.Address{info.Hub, info.RLC, info.AppRegistry, info.DatasetRegistry, info.WorkerpoolRegistry, info.Accounts[9].Address} {
		if !bytes.Contains(text, []byte(`"`+address.Hex()+`"`)) {
			t.Errorf("%s is not as it should be in %s", address, text)
		}
	}
	if a, b := genesisHash(t, n), genesisHash(t, again); a != b {
		t.Errorf("genesis %s, then %s", a, b)
	}
	const sample = "sha256:5557a384c3cbf0d80721a60810da8092ccb628bfd2c1f0d4a31eb9db4a9a4145"
	if got := digest(t, info.SampleImage); got.String() != sample {
		t.Errorf("sample image %s is %s, want %s", info.SampleImage, got, sample)
	}
	if want := info.Registry + "/iexecform/hello-world:1.0"; info.SampleImage != want {
		t.Errorf("sample image is %s, want %s", info.SampleImage, want)
	}

	client := nettest.Client(t, n)
	for i, a := range poco.DevAccounts() {
		ether, err := client.BalanceAt(t.Context(), a.Address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if least := new(big.Int).Mul(big.NewInt(9_999), big.NewInt(params.Ether)); ether.Cmp(least) < 0 {
			t.Errorf("account %d has %s wei", i, ether)
		}
		want := big.NewInt(10_000e9)
		if i == 0 {
			want = big.NewInt((87_000_000 - 90_000) * 1e9)
		}
		var rlc hexutil.Bytes
		data, err := poco.TokenABI().Pack("balanceOf", a.Address)
		if err != nil {
			t.Fatal(err)
		}
		call := map[string]any{"to": info.RLC, "data": hexutil.Bytes(data)}
		if err := client.Client().CallContext(t.Context(), &rlc, "eth_call", call, "latest"); err != nil {
			t.Fatal(err)
		}
		if got := new(big.Int).SetBytes(rlc); got.Cmp(want) != 0 {
			t.Errorf("account %d has %s nRLC, want %s", i, got, want)
		}
	}
	for _, namespace := range []string{"admin_nodeInfo", "debug_setHead", "personal_listAccounts"} {
		if err := client.Client().CallContext(t.Context(), nil, namespace); err == nil {
			t.Errorf("%s is served", namespace)
		}
	}
}

// TestManyAtOnce sends hundreds of transactions of one account in one batch, and makes a thousand calls in another.
func TestManyAtOnce(t *testing.T) {
	n := nettest.Start(t)
	client, owner, registry := nettest.Client(t, n), poco.DevAccounts()[1], n.Info().AppRegistry
	const count, calls = 250, 1000
	signer := types.LatestSignerForChainID(new(big.Int).SetUint64(n.Info().ChainID))
	send, ask := make([]rpc.BatchElem, count), make([]rpc.BatchElem, calls)
	registered := make([]hexutil.Bytes, calls)
	for i := range count {
		app := app
		app.Name = fmt.Sprint("app ", i)
		tx, err := types.SignNewTx(owner.Key, signer, &types.DynamicFeeTx{
			ChainID: signer.ChainID(), Nonce: uint64(i), To: &registry, Data: poco.PackCreateApp(owner.Address, app),
			Gas: 700_000, GasTipCap: big.NewInt(1), GasFeeCap: big.NewInt(10e9),
		})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := tx.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		send[i] = rpc.BatchElem{Method: "eth_sendRawTransaction", Args: []any{hexutil.Bytes(raw)}, Result: new(common.Hash)}
		data, err := poco.RegistryABI().Pack("isRegistered", app.Address(registry, owner.Address))
		if err != nil {
			t.Fatal(err)
		}
		call := map[string]any{"to": registry, "data": hexutil.Bytes(data)}
		for j := i; j < calls; j += count {
			ask[j] = rpc.BatchElem{Method: "eth_call", Args: []any{call, "latest"}, Result: &registered[j]}
		}
	}
	batch := func(b []rpc.BatchElem) {
		t.Helper()
		if err := client.Client().BatchCallContext(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for i := range b {
			if b[i].Error != nil {
				t.Fatalf("%s %d: %v", b[i].Method, i, b[i].Error)
			}
		}
	}
	batch(send)
	for deadline := time.Now().Add(time.Minute); ; {
		nonce, err := client.NonceAt(t.Context(), owner.Address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if nonce == count {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d transactions were mined", nonce, count)
		}
	}
	batch(ask)
	for i, r := range registered {
		if new(big.Int).SetBytes(r).Sign() == 0 {
			t.Fatalf("app %d is not registered", i%count)
		}
	}
}

// publish publishes an order of account 1 and returns its hash.
func publish(t *testing.T, n localnet.Info, o poco.SignedOrder) string {
	t.Helper()
	var challenge struct {
		Data struct{ Message struct{ Challenge string } }
	}
	owner := poco.DevAccounts()[1]
	get(t, n.MarketURL+"/challenge?chainId=31337&address="+owner.Address.Hex(), &challenge)
	authorization := poco.MarketChallengeDigest(big.NewInt(31337), challenge.Data.Message.Challenge)
	sig, err := poco.Sign(owner.Key, authorization)
	if err != nil {
		t.Fatal(err)
	}
	order := map[string]string{"sign": hexutil.Encode(o.Sign)}
	for field, value := range o.Order {
		order[field] = value
	}
	body, err := json.Marshal(map[string]any{"order": order})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest("POST", n.MarketURL+"/apporders?chainId=31337", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", poco.MarketAuthorization(authorization, sig, owner.Address))
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != 200 {
		t.Fatalf("publish: %s", text)
	}
	hash, err := poco.Localnet().Domain().OrderHash(poco.AppOrder, o.Order)
	if err != nil {
		t.Fatal(err)
	}
	return hash.Hex()
}

func get(t *testing.T, url string, into any) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// wantOrder checks status and remaining volume of an order, and the number of the market's deals.
func wantOrder(t *testing.T, n *localnet.Network, hash, status string, remaining, deals int) {
	t.Helper()
	var order struct {
		Status    string
		Remaining int
	}
	var all struct{ Count int }
	get(t, n.Info().MarketURL+"/apporders/"+hash+"?chainId=31337", &order)
	get(t, n.Info().MarketURL+"/deals?chainId=31337", &all)
	if order.Status != status || order.Remaining != remaining || all.Count != deals {
		t.Errorf("order is %s with %d remaining after %d deals, want %s with %d after %d", order.Status, order.Remaining, all.Count, status, remaining, deals)
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	n, err := localnet.Start(t.Context(), options(dir))
	if err != nil {
		t.Fatal(err)
	}
	owner := poco.DevAccounts()[1]
	address := nettest.CreateApp(t, n, owner, app)
	order := nettest.Sign(t, owner, poco.AppOrder, nettest.AppOrder(address, 0, 5))
	hash := publish(t, n.Info(), order)
	gone := publish(t, n.Info(), nettest.Sign(t, owner, poco.AppOrder, nettest.AppOrder(address, 0, 7)))
	if err := nettest.Buy(t, n, order, 2); err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(100, 2)
	if err != nil {
		t.Fatal(err)
	}
	pushed := func(n *localnet.Network) string { return n.Info().Registry + "/some/image:1" }
	ref, err := name.ParseReference(pushed(n))
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	want, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	genesis := genesisHash(t, n)
	head, err := nettest.Client(t, n).BlockNumber(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	// The market's own memory of the deal is taken away: it has to catch up with the chain.
	forget(t, filepath.Join(dir, "market.jsonl"), `"deal"`, `"block"`)
	n = nettest.Start(t, in(dir), func(o *localnet.Options) { o.Contracts = t.TempDir() }) // the contracts aren't needed again
	if got := genesisHash(t, n); got != genesis {
		t.Errorf("genesis %s, then %s", genesis, got)
	}
	if got, err := nettest.Client(t, n).BlockNumber(t.Context()); err != nil || got != head {
		t.Errorf("block %d (%v) after a restart, want %d", got, err, head)
	}
	code, err := nettest.Client(t, n).CodeAt(t.Context(), address, nil)
	if err != nil || len(code) == 0 {
		t.Errorf("the app is gone (%v)", err)
	}
	wantOrder(t, n, hash, "open", 3, 1)
	wantOrder(t, n, gone, "open", 7, 1)
	if got := digest(t, pushed(n)); got != want {
		t.Errorf("the pushed image is %s, want %s", got, want)
	}
	if err := nettest.Buy(t, n, order, 3); err != nil {
		t.Errorf("buy after a restart: %v", err)
	}
}

// forget removes the lines of a file that contain one of the words.
func forget(t *testing.T, file string, words ...string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
next:
	for l := range strings.Lines(string(text)) {
		for _, word := range words {
			if strings.Contains(l, word) {
				continue next
			}
		}
		kept = append(kept, l)
	}
	if err := os.WriteFile(file, []byte(strings.Join(kept, "")), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var info localnet.Info
	if err := json.NewDecoder(out).Decode(&info); err != nil {
		t.Fatal(err)
	}
	owner := poco.DevAccounts()[1]
	client, err := rpc.DialContext(t.Context(), info.RPCURL)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	chainID := new(big.Int).SetUint64(info.ChainID)
	tx, err := types.SignNewTx(owner.Key, types.LatestSignerForChainID(chainID), &types.DynamicFeeTx{
		ChainID: chainID, To: &info.AppRegistry, Data: poco.PackCreateApp(owner.Address, app),
		Gas: 700_000, GasTipCap: big.NewInt(1), GasFeeCap: big.NewInt(10e9),
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := tx.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var receipt *types.Receipt
	if err := client.CallContext(t.Context(), &receipt, "eth_sendRawTransactionSync", hexutil.Bytes(raw)); err != nil || receipt.Status != 1 {
		t.Fatal(receipt, err)
	}
	address := app.Address(info.AppRegistry, owner.Address)
	hash := publish(t, info, nettest.Sign(t, owner, poco.AppOrder, nettest.AppOrder(address, 0, 5)))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed

	n := nettest.Start(t, in(dir))
	code, err := nettest.Client(t, n).CodeAt(t.Context(), address, nil)
	if err != nil || len(code) == 0 {
		t.Errorf("the app is gone after a kill (%v)", err)
	}
	wantOrder(t, n, hash, "open", 5, 0)
}

func TestBlockTime(t *testing.T) {
	n := nettest.Start(t, func(o *localnet.Options) { o.BlockTime = 5 * time.Millisecond })
	client := nettest.Client(t, n)
	first, err := client.BlockNumber(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		head, err := client.BlockNumber(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if head >= first+3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no blocks without transactions")
		}
	}
	nettest.CreateApp(t, n, poco.DevAccounts()[1], app)
}

func TestListensOnLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:8545", "[::]:0", "example.com:80"} {
		for _, set := range []func(*localnet.Options){
			func(o *localnet.Options) { o.RPC = addr },
			func(o *localnet.Options) { o.Market = addr },
			func(o *localnet.Options) { o.Registry = addr },
		} {
			opts := options("")
			set(&opts)
			n, err := localnet.Start(t.Context(), opts)
			if err == nil || !strings.Contains(err.Error(), "loopback") {
				t.Errorf("%s: error %v, want one about loopback", addr, err)
			}
			if n != nil {
				_ = n.Close()
			}
		}
	}
}

// startError starts a network that must fail.
func startError(t *testing.T, opts localnet.Options) string {
	t.Helper()
	n, err := localnet.Start(t.Context(), opts)
	if err == nil {
		_ = n.Close()
		t.Fatal("the network starts")
	}
	return err.Error()
}

// tarball returns the path of the package in the user's cache, where a first start has put it.
func tarball(t *testing.T) string {
	t.Helper()
	nettest.Start(t)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "iexecform", "contracts", "iexec-poco-6.1.0.tgz")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Pages of others, which a browser on this machine shows, reach no service: not under a name that points here (DNS rebinding), and not
// by requests across origins.
func TestPagesOfOthersAreRefused(t *testing.T) {
	info := nettest.Start(t).Info()
	for service, url := range map[string]string{"chain": info.RPCURL, "market": info.MarketURL + "/version", "secrets": info.SMSURL, "registry": "http://" + info.Registry + "/v2/"} {
		ask := func(method, host, origin string) *http.Response {
			t.Helper()
			req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			req.Header.Set("Content-Type", "application/json")
			if origin != "" {
				req.Header.Set("Origin", origin)
				req.Header.Set("Access-Control-Request-Method", http.MethodPost)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			return resp
		}
		if resp := ask(http.MethodPost, "", ""); resp.StatusCode == http.StatusForbidden {
			t.Errorf("%s: a program of this machine gets %s", service, resp.Status)
		}
		for _, host := range []string{"evil.example", "evil.example:8545", "127.0.0.1.evil.example", "localhost.evil.example:80"} {
			if resp := ask(http.MethodPost, host, ""); resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s, called %s: %s", service, host, resp.Status)
			}
		}
		for _, origin := range []string{"https://evil.example", "null"} {
			resp := ask(http.MethodOptions, "", origin) // what a browser asks before a request with JSON
			if resp.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s: a page of %s may go on", service, origin)
			}
			if resp = ask(http.MethodPost, "", origin); service != "chain" && resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s, for a page of %s: %s", service, origin, resp.Status)
			}
		}
	}
}

func TestContractsFromDirectory(t *testing.T) {
	source := tarball(t)
	with := func(dir string) localnet.Options {
		opts := options("")
		opts.Contracts = dir
		return opts
	}
	empty := t.TempDir()
	if text := startError(t, with(empty)); !strings.Contains(text, "npm pack @iexec/poco@6.1.0") || !strings.Contains(text, empty) {
		t.Errorf("no contracts: %s", text)
	}

	packed := t.TempDir()
	file := filepath.Join(packed, filepath.Base(source))
	copyFile(t, source, file)
	nettest.Start(t, func(o *localnet.Options) { o.Contracts = packed })

	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if text := startError(t, with(packed)); !strings.Contains(text, "its integrity is sha512-") || !strings.Contains(text, file) {
		t.Errorf("changed tarball: %s", text)
	}

	unpacked := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "tar", "-xzf", source, "-C", unpacked).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	for _, dir := range []string{unpacked, filepath.Join(unpacked, "package")} {
		nettest.Start(t, func(o *localnet.Options) { o.Contracts = dir })
	}
	copyFile(t, filepath.Join(unpacked, "package/artifacts/contracts/facets/IexecRelayFacet.sol/IexecRelayFacet.json"),
		filepath.Join(unpacked, "package/artifacts/contracts/facets/IexecPoco2Facet.sol/IexecPoco2Facet.json"))
	if text := startError(t, with(unpacked)); !strings.Contains(text, "the contracts are not those of @iexec/poco@6.1.0") {
		t.Errorf("changed contract: %s", text)
	}
}

// TestFetchContracts puts an npm in the path that serves the package from a file.
func TestFetchContracts(t *testing.T) {
	source := tarball(t)
	cache, bin := t.TempDir(), t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache)
	t.Setenv("PATH", bin)
	if text := startError(t, options("")); !strings.Contains(text, "install npm") || !strings.Contains(text, "iexec-poco-6.1.0.tgz") {
		t.Errorf("no npm: %s", text)
	}

	npm := func(script string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(bin, "npm"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	npm("echo no network >&2; exit 1")
	if text := startError(t, options("")); !strings.Contains(text, "no network") || !strings.Contains(text, "name a directory") {
		t.Errorf("npm fails: %s", text)
	}
	npm("echo something else > iexec-poco-6.1.0.tgz")
	if text := startError(t, options("")); !strings.Contains(text, "its integrity is") {
		t.Errorf("npm brings another package: %s", text)
	}

	npm("[ \"$1 $2 $3\" = 'pack --silent @iexec/poco@6.1.0' ] && /bin/cp '" + source + "' .")
	errs := make(chan error)
	for range 3 {
		go func() {
			n, err := localnet.Start(t.Context(), options(""))
			if err == nil {
				err = n.Close()
			}
			errs <- err
		}()
	}
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	npm("exit 1") // not needed again
	nettest.Start(t)
	left, err := filepath.Glob(filepath.Join(cache, "*", "iexecform", "contracts", "*"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(cache, "iexecform", "contracts", "*"))
	if err != nil || len(left)+len(more) != 1 {
		t.Errorf("the cache holds %v %v (%v), want the tarball alone", left, more, err)
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		n, err := localnet.Start(b.Context(), options(""))
		if err != nil {
			b.Fatal(err)
		}
		if err := n.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTransaction is the time from a transaction to its receipt.
func BenchmarkTransaction(b *testing.B) {
	n := nettest.Start(b)
	for b.Loop() {
		if _, err := nettest.Send(b, n, poco.DevAccounts()[1].Key, poco.DevAccounts()[2].Address, nil); err != nil {
			b.Fatal(err)
		}
	}
}
