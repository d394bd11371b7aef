package main

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest/anvil"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/http/gitlabtest"
	"github.com/iexecform/iexecform/state/local"
)

// A ground is what scenarios share: a local network, and the programs.
type ground struct {
	network  func() *localnet.Network
	program  func() string // anvil
	states   func() *gitlabtest.Server
	bin      string
	accounts atomic.Int32

	mu    sync.Mutex
	plain map[string]*plainRun // by configurations; see world.reference
}

type plainRun struct {
	once  sync.Once
	state string
}

func newGround(t *testing.T) *ground {
	return &ground{
		program: sync.OnceValue(func() string { return anvil.Install(t) }),
		network: sync.OnceValue(func() *localnet.Network { return nettest.Start(t) }),
		states:  sync.OnceValue(func() *gitlabtest.Server { return gitlabtest.Start(t) }),
		bin:     programs(t, "iexecform", "iexecform-dying"), plain: map[string]*plainRun{},
	}
}

// A world is one project and one account on a network, with a fault proxy before each of its services.
type world struct {
	t       testing.TB
	ground  *ground
	net     *localnet.Network
	account poco.Account
	dir     string
	env     []string // of the programs, besides that of the test

	rpc, market, registry, sms *faultproxy.Proxy

	client *ethclient.Client // these two see the network as it is
	book   *market.Client
	start  uint64 // the account's nonce at first

	configs   []string // as they were written
	different bool     // the state is to be another than what an undisturbed run makes
	orphans   int      // apps of the account that no state knows, as they should

	mu      sync.Mutex
	running map[*process]bool
}

// world makes a project on the shared network.
func (g *ground) world(t testing.TB) *world {
	t.Helper()
	return g.worldOn(t, g.network())
}

// anvil makes a project on a network of its own, whose chain is anvil's.
func (g *ground) anvil(t *testing.T, args ...string) (*world, *anvil.Node) {
	t.Helper()
	node := anvil.Start(t, g.program(), args...)
	return g.worldOn(t, nettest.Start(t, func(o *localnet.Options) { o.Node = node.URL })), node
}

// worldOn makes a project on a network.
func (g *ground) worldOn(t testing.TB, net *localnet.Network) *world {
	t.Helper()
	number := int(g.accounts.Add(1))
	w := &world{t: t, ground: g, net: net, dir: t.TempDir(), account: nettest.NewAccount(t, net, number), client: nettest.Client(t, net), running: map[*process]bool{}}
	info := net.Info()
	for p, target := range map[**faultproxy.Proxy]string{&w.rpc: info.RPCURL, &w.market: info.MarketURL, &w.registry: "http://" + info.Registry, &w.sms: info.SMSURL} {
		proxy := faultproxy.New(target, uint64(number))
		t.Cleanup(proxy.Close)
		*p = proxy
	}
	c := nettest.Chain(net)
	var err error
	if w.book, err = market.New(c.Market, c.Domain(), market.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.book.Close()
		w.kill()
	})
	w.start = w.nonce()
	return w
}

// The configuration of most scenarios.
const (
	anApp = `
data "oci_image" "hello" { reference = "IMAGE" }
resource "iexec_app" "a" {
  name      = "a"
  multiaddr = data.oci_image.hello.reference
  checksum  = data.oci_image.hello.checksum
}
`
	anOrder = `
resource "iexec_apporder" "o" {
  app      = iexec_app.a.address
  appprice = "0.5 RLC"
  volume   = 1000
}
`
)

// write writes the configuration, with a provider block before it, whose further settings may be given. IMAGE stands for the
// sample image's reference.
func (w *world) write(config string, settings ...string) {
	w.t.Helper()
	w.configs = append(w.configs, config)
	text := fmt.Sprintf("provider \"iexec\" {\n  chain      = \"localnet\"\n  rpc_url    = %q\n  market_url = %q\n  sms_url    = %q\n%s\n}\n%s",
		w.rpc.URL(), w.market.URL(), w.sms.URL(), strings.Join(settings, "\n"), strings.ReplaceAll(config, "IMAGE", w.image()))
	if err := os.WriteFile(filepath.Join(w.dir, "main.hcl"), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// image is the reference of the sample image, by the proxy.
func (w *world) image() string {
	_, name, _ := strings.Cut(w.net.Info().SampleImage, "/")
	return w.registry.Host() + "/" + name
}

// calm ends all faults.
func (w *world) calm() {
	for _, p := range []*faultproxy.Proxy{w.rpc, w.market, w.registry, w.sms} {
		p.Set()
	}
}

// A process is a run of the program.
type process struct {
	w    *world
	cmd  *exec.Cmd
	args string
	out  bytes.Buffer
}

// A result is what a process came to.
type result struct {
	*process
	text   string // standard output and error
	code   int    // -1 when a signal ended it
	killed bool   // by SIGKILL
}

// begin starts the program; with DIE_AT among the variables, the one that dies.
func (w *world) begin(env []string, args ...string) *process {
	w.t.Helper()
	name := "iexecform"
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "DIE_AT=") }) {
		name = "iexecform-dying"
	}
	p := &process{w: w, cmd: exec.CommandContext(w.t.Context(), filepath.Join(w.ground.bin, name), args...), args: strings.Join(args, " ")}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = w.dir, &p.out, &p.out
	p.cmd.Env = append(os.Environ(), endQuickly, w.key())
	p.cmd.Env = slices.Concat(p.cmd.Env, w.env, env)
	w.mu.Lock()
	defer w.mu.Unlock() // until it is known, so that a request of its can kill it
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.running[p] = true
	return p
}

// key is the variable with the account's key.
func (w *world) key() string {
	return "IEXECFORM_PRIVATE_KEY=" + hex.EncodeToString(crypto.FromECDSA(w.account.Key))
}

// wait waits for the end of the process.
func (p *process) wait() result {
	err := p.cmd.Wait()
	p.w.mu.Lock()
	delete(p.w.running, p)
	p.w.mu.Unlock()
	r := result{process: p, text: p.out.String(), code: p.cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.killed = exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	}
	return r
}

// signal sends a signal to all running processes of the world.
func (w *world) signal(s syscall.Signal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.running {
		_ = p.cmd.Process.Signal(s) // it may have ended
	}
}

// kill kills them. Given to a rule, it makes a request a point to die at.
func (w *world) kill() { w.signal(syscall.SIGKILL) }

// run runs the program and expects an exit code.
func (w *world) run(code int, args ...string) result {
	w.t.Helper()
	r := w.begin(nil, args...).wait()
	if r.code != code {
		w.t.Fatalf("iexecform %s: exit code %d, want %d\n%s", r.args, r.code, code, r.text)
	}
	return r
}

func (w *world) plan() result    { w.t.Helper(); return w.run(0, "plan") }
func (w *world) changes() result { w.t.Helper(); return w.run(2, "plan", "--detailed-exitcode") }
func (w *world) apply() result   { w.t.Helper(); return w.run(0, "apply", "--auto-approve") }
func (w *world) fail() result    { w.t.Helper(); return w.run(1, "apply", "--auto-approve") }

// die runs an apply that is to be killed.
func (w *world) die(env ...string) result {
	w.t.Helper()
	r := w.begin(env, "apply", "--auto-approve").wait()
	if !r.killed {
		w.t.Fatalf("the apply was to be killed, but ended with %d:\n%s", r.code, r.text)
	}
	w.calm()
	return r
}

// tells expects texts, line breaks being spaces, in any order; one that begins with "!" must not be there.
func (r result) tells(texts ...string) result {
	r.w.t.Helper()
	said := strings.Join(strings.Fields(strings.NewReplacer("│", " ", "╷", " ", "╵", " ").Replace(r.text)), " ")
	for _, text := range texts {
		if text, not := strings.CutPrefix(text, "!"); not == strings.Contains(said, text) {
			r.w.t.Fatalf("iexecform %s says (or, with !, doesn't say) %q:\n%s", r.args, text, r.text)
		}
	}
	return r
}

// hashes are the transactions that the output names, in order, each once.
func (r result) hashes() (list []string) {
	for _, m := range txHash.FindAllStringSubmatch(r.text, -1) {
		if !slices.Contains(list, m[1]) {
			list = append(list, m[1])
		}
	}
	return list
}

var txHash = regexp.MustCompile(`(?:tx|transaction) (0x[0-9a-f]{64})`)

func (w *world) nonce() uint64 {
	w.t.Helper()
	n, err := w.client.NonceAt(w.t.Context(), w.account.Address, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// sent is how many transactions of the account are on chain since the world began.
func (w *world) sent() int { w.t.Helper(); return int(w.nonce() - w.start) }

func (w *world) file(name string) []byte {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	return b
}

// snapshot is the state as it is stored.
func (w *world) snapshot() *state.Snapshot {
	w.t.Helper()
	s, err := state.Decode(w.file(local.SnapshotFile))
	if err != nil {
		w.t.Fatalf("%v:\n%s", err, w.file(local.SnapshotFile))
	}
	return s
}

// attributes decodes those of an object of the state.
func (w *world) attributes(address string, into any) {
	w.t.Helper()
	i, err := addr.ParseInstance(address)
	if err != nil {
		w.t.Fatal(err)
	}
	o := w.snapshot().Resources[i]
	if o == nil {
		w.t.Fatalf("%s is not in the state", address)
	}
	if err := json.Unmarshal(o.Attributes, into); err != nil {
		w.t.Fatal(err)
	}
}

// app is the address of an app in the state.
func (w *world) app(address string) common.Address {
	w.t.Helper()
	var a struct{ Address common.Address }
	w.attributes(address, &a)
	return a.Address
}

// rows are the account's open app orders on the market.
func (w *world) rows() []market.Row {
	w.t.Helper()
	rows, err := w.book.ListByOwner(w.t.Context(), poco.AppOrder, w.account.Address)
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// apps is how many apps the account has on chain.
func (w *world) apps() int {
	w.t.Helper()
	registry := w.net.Info().AppRegistry
	data := append(crypto.Keccak256([]byte("balanceOf(address)"))[:4], common.LeftPadBytes(w.account.Address[:], 32)...)
	out, err := w.client.CallContract(w.t.Context(), ethereum.CallMsg{To: &registry, Data: data}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return int(new(big.Int).SetBytes(out).Int64())
}

// check is the oracle: the account has exactly one app for each of the configuration's, each of its open orders is one of the
// state's, at most one of each resource, terms and generation; what the state says of deployments is so; it has sent so many transactions, with no gap in the nonces
// and nothing waiting; a further plan has nothing to do; the journal is gone; and the state is what an undisturbed run of the
// same configurations makes.
func (w *world) check(transactions int) {
	w.t.Helper()
	w.calm()
	w.run(0, "plan", "--detailed-exitcode")
	if w.file(local.JournalFile) != nil {
		w.t.Errorf("the journal is still there:\n%s", w.file(local.JournalFile))
	}
	if n := w.sent(); n != transactions {
		w.t.Errorf("%d transactions were sent, want %d", n, transactions)
	}
	if pending, err := w.client.PendingNonceAt(w.t.Context(), w.account.Address); err != nil || pending != w.nonce() {
		w.t.Errorf("nonce %d with what is pending, %d without, %v", pending, w.nonce(), err)
	}
	var pool struct {
		Pending, Queued map[common.Address]json.RawMessage
	}
	if err := w.client.Client().CallContext(w.t.Context(), &pool, "txpool_content"); err != nil {
		w.t.Error(err)
	}
	for _, left := range []json.RawMessage{pool.Pending[w.account.Address], pool.Queued[w.account.Address]} {
		if left != nil && string(left) != "{}" {
			w.t.Errorf("transactions are left in the node's pool: %s", left)
		}
	}

	apps, open := 0, map[string]bool{}
	for _, row := range w.rows() {
		open[row.OrderHash.Hex()] = true
	}
	for i, object := range w.snapshot().Resources {
		var attributes struct {
			Orders map[string]struct {
				Generation int64
				Order      poco.Order
			}
		}
		if err := json.Unmarshal(object.Attributes, &attributes); err != nil {
			w.t.Error(err)
		}
		if i.Resource.Type == "iexec_app" {
			apps++
			w.checkOrigin(object)
		}
		offers := map[string]string{}
		for _, hash := range slices.Sorted(maps.Keys(attributes.Orders)) {
			o := attributes.Orders[hash]
			if !open[hash] {
				continue
			}
			delete(open, hash)
			terms := maps.Clone(o.Order)
			delete(terms, "salt")
			offer := fmt.Sprint(o.Generation, terms)
			if other := offers[offer]; other != "" {
				w.t.Errorf("%s has two open orders of the same terms and generation: %s and %s", i, other, hash)
			}
			offers[offer] = hash
		}
	}
	if got := w.apps(); got != apps+w.orphans {
		w.t.Errorf("the account has %d apps on chain, want %d", got, apps+w.orphans)
	}
	for hash := range open {
		w.t.Errorf("order %s is open on the market, and the state doesn't know it", hash)
	}
	if !w.different {
		if got, want := w.shape(), w.reference(); got != want {
			w.t.Errorf("the state differs from that of an undisturbed run: got\n%s\nwant\n%s", got, want)
		}
	}
}

// checkOrigin looks for the deployment that the state remembers, if it does.
func (w *world) checkOrigin(app *state.Object) {
	w.t.Helper()
	var origin struct{ Transaction, Block string }
	if app.Origin == nil {
		return
	}
	err := json.Unmarshal(app.Origin, &origin)
	if err == nil {
		var receipt *types.Receipt
		if receipt, err = w.client.TransactionReceipt(w.t.Context(), common.HexToHash(origin.Transaction)); err == nil && receipt.BlockNumber.String() != origin.Block {
			err = fmt.Errorf("it is in block %s", receipt.BlockNumber)
		}
	}
	if err != nil {
		w.t.Errorf("the state says that an app was made by %s: %v", app.Origin, err)
	}
}

// reference is the shape of the state that the world's configurations make, one applied after the other, without faults.
func (w *world) reference() string {
	w.t.Helper()
	configs := slices.Compact(slices.Clone(w.configs))
	key := strings.Join(configs, "\x00")
	g := w.ground
	g.mu.Lock()
	run := g.plain[key]
	if run == nil {
		run = &plainRun{}
		g.plain[key] = run
	}
	g.mu.Unlock()
	run.once.Do(func() {
		plain := g.worldOn(w.t, w.net)
		for _, config := range configs {
			plain.write(config)
			plain.apply()
		}
		run.state = plain.shape()
	})
	return run.state
}

// shape is the state without what depends on who made it: serial, lineage, digest, ports, and hashes and the like, of which only the
// length is left.
func (w *world) shape() string {
	w.t.Helper()
	var s map[string]any
	text := bytes.ReplaceAll(w.file(local.SnapshotFile), []byte(w.registry.Host()), []byte("REGISTRY"))
	if err := json.Unmarshal(text, &s); err != nil {
		w.t.Fatal(err)
	}
	delete(s, "serial")
	delete(s, "lineage")
	delete(s, "digest")
	for _, facts := range s["networks"].(map[string]any) {
		maps.DeleteFunc(facts.(map[string]any), func(name string, _ any) bool { return name == "block" || strings.HasPrefix(name, "closed ") })
	}
	resources, _ := s["resources"].(map[string]any)
	for _, object := range resources {
		delete(object.(map[string]any), "origin") // what was adopted has none
	}
	b, err := json.MarshalIndent(anonymous(s), "", " ")
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

var hexText = regexp.MustCompile(`^0x[0-9a-fA-F]{40,}$`)

func anonymous(v any) any {
	switch v := v.(type) {
	case string:
		if hexText.MatchString(v) {
			return fmt.Sprintf("0x(%d)", len(v)/2-1)
		}
	case []any:
		for i := range v {
			v[i] = anonymous(v[i])
		}
	case map[string]any:
		var keyed []any // members whose keys are hashes
		for name, member := range v {
			v[name] = anonymous(member)
			if hexText.MatchString(name) {
				keyed = append(keyed, v[name])
				delete(v, name)
			}
		}
		if keyed != nil {
			slices.SortFunc(keyed, func(a, b any) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			v["by hash"] = keyed
		}
	}
	return v
}
