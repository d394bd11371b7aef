package iexec_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest/officialcli"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

const cliPassword = "correct horse"

// A cli is a project of the official CLI.
type cli struct {
	t        *testing.T
	commands string // directory of the CLI's programs, one for each noun
	dir      string // chain.json, iexec.json and orders.json are here
}

// newCLI makes a project whose chain is the network.
func newCLI(w *world) *cli {
	w.t.Helper()
	c := &cli{t: w.t, commands: officialcli.Install(w.t), dir: w.t.TempDir()}
	local := nettest.Chain(w.net)
	c.write("chain.json", map[string]any{"default": local.Name, "chains": map[string]any{local.Name: map[string]string{
		"id": strconv.FormatUint(local.ID, 10), "host": local.RPC, "hub": local.Hub.Hex(), "iexecGateway": local.Market,
	}}})
	return c
}

func (c *cli) write(name string, content any) {
	c.t.Helper()
	text, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, name), text, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// run runs `iexec NOUN ARGS` and decodes its answer. The exit code is 0 for some failures too, so the answer must say ok.
func (c *cli) run(answer any, noun string, args ...string) {
	c.t.Helper()
	cmd := officialcli.Command(c.t.Context(), c.commands, c.dir, noun, append(args, "--raw")...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var status struct{ OK bool }
	if err != nil || json.Unmarshal(stdout.Bytes(), &status) != nil || !status.OK {
		c.t.Fatalf("iexec %s %s: %v\n%s%s", noun, strings.Join(args, " "), err, &stdout, &stderr)
	}
	dec := json.NewDecoder(&stdout)
	dec.UseNumber()
	if err := dec.Decode(answer); err != nil {
		c.t.Fatalf("iexec %s %s: %v", noun, strings.Join(args, " "), err)
	}
}

// sign runs a command that needs the wallet.
func (c *cli) sign(answer any, noun string, args ...string) {
	c.t.Helper()
	c.run(answer, noun, append(args, "--keystoredir", "keystore", "--password", cliPassword)...)
}

// A cliApp is what `iexec app show` and iexec.json say of an app.
type cliApp struct {
	Owner     string `json:"owner"`
	Name      string `json:"name"`
	Type      string `json:"type"`
	Multiaddr string `json:"multiaddr"`
	Checksum  string `json:"checksum"`
}

// appOf is an app in our state.
func (w *world) appOf(address string) cliApp {
	w.t.Helper()
	v := w.Value(address)
	return cliApp{Owner: v.GetAttr("owner").AsString(), Name: v.GetAttr("name").AsString(), Type: v.GetAttr("type").AsString(),
		Multiaddr: v.GetAttr("multiaddr").AsString(), Checksum: v.GetAttr("checksum").AsString()}
}

// caughtUp waits until the market has seen the head of the chain.
func (w *world) caughtUp() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	head, err := nettest.Client(w.t, w.net).BlockNumber(ctx)
	for last := uint64(0); err == nil && last < head; {
		last, err = w.market.Metrics(ctx)
	}
	if err != nil {
		w.t.Fatalf("the market has not seen block %d: %v", head, err)
	}
}

func (w *world) consumed(hash common.Hash) int64 {
	w.t.Helper()
	hub := w.net.Info().Hub
	data, err := poco.HubABI().Pack("viewConsumed", hash)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := nettest.Client(w.t, w.net).CallContract(w.t.Context(), ethereum.CallMsg{To: &hub, Data: data}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return common.BytesToHash(out).Big().Int64()
}

// cliOrder reads an order as the CLI prints it.
func cliOrder(t *testing.T, values map[string]any) (order poco.Order, hash common.Hash) {
	t.Helper()
	order, err := poco.AppOrder.Canonical(values)
	if err != nil {
		t.Fatal(err)
	}
	if hash, err = poco.Localnet().Domain().OrderHash(poco.AppOrder, order); err != nil {
		t.Fatal(err)
	}
	return order, hash
}

// What we made, the official CLI shows and ends; what it made, we adopt, or leave alone where it isn't ours. The steps
// share one project.
func TestOfficialCLI(t *testing.T) {
	w := newWorld(t)
	c := newCLI(w)
	w.opensItsKeystore(c)
	w.adoptsItsApp(c)
	w.isShown(c)
	w.leavesItsOrderAlone(c)
	w.noticesItsCancel(c)
}

// opensItsKeystore: we open the keystore file that it wrote.
func (w *world) opensItsKeystore(c *cli) {
	account := poco.DevAccounts()[0]
	var imported struct{ Address, FileName string }
	c.sign(&imported, "wallet", "import", hexutil.Encode(crypto.FromECDSA(account.Key)))

	env := func(name string) string { return map[string]string{chain.EnvPassword: cliPassword}[name] }
	wallet, err := chain.OpenWallet(chain.WalletConfig{Keystore: "keystore", Dir: c.dir}, env, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if wallet.Address() != account.Address || imported.Address != account.Address.Hex() {
		w.t.Errorf("our wallet is %s, the CLI's %s, want %s", wallet.Address(), imported.Address, account.Address)
	}
	signer, err := wallet.Signer(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	text := []byte("text")
	sign, err := signer.SignText(w.t.Context(), text)
	if err != nil {
		w.t.Fatal(err)
	}
	if by, err := poco.Recover(poco.PersonalDigest(text), sign); err != nil || by != account.Address {
		w.t.Errorf("the key of the CLI's keystore signs as %s (%v), want %s", by, err, account.Address)
	}
}

// adoptsItsApp: an app that it deployed with the same fields is ours, at the same address, without a transaction.
func (w *world) adoptsItsApp(c *cli) {
	app := cliApp{Owner: poco.DevAccounts()[0].Address.Hex(), Name: `Größe "1"`, Type: "DOCKER",
		Multiaddr: "registry.example:5000/team/größe:1.0-tdx", Checksum: checksum}
	c.write("iexec.json", map[string]any{"app": app})
	var deployed struct{ Address, TxHash string }
	c.sign(&deployed, "app", "deploy")

	before := w.nonce()
	w.write(fmt.Sprintf("resource \"iexec_app\" \"theirs\" {\n  name = %q\n  multiaddr = %q\n  checksum = %q\n}\n", app.Name, app.Multiaddr, app.Checksum))
	w.step("adopt")
	if now := w.nonce(); now != before {
		w.t.Errorf("adopting sent %d transactions", now-before)
	}
	if got := w.Value("iexec_app.theirs").GetAttr("address").AsString(); got != deployed.Address {
		w.t.Errorf("we adopted %s, the CLI deployed %s", got, deployed.Address)
	}
}

// isShown: it shows the app and the order that we made, and what was sold.
func (w *world) isShown(c *cli) {
	w.offer("appprice = 10\nvolume = 100")
	w.step("deploy sign publish[1,2] forget")
	ours := w.signed()
	hash := common.HexToHash(w.Value("iexec_apporder.o").GetAttr("order_hash").AsString())
	if err := nettest.Buy(w.t, w.net, ours, 3); err != nil {
		w.t.Fatal(err)
	}
	w.caughtUp()

	address := w.Value("iexec_app.a").GetAttr("address").AsString()
	var shown struct {
		Address string
		App     struct{ Owner, AppName, AppType, AppMultiaddr, AppChecksum, AppMREnclave string }
	}
	c.run(&shown, "app", "show", address)
	got := cliApp{Owner: shown.App.Owner, Name: shown.App.AppName, Type: shown.App.AppType, Multiaddr: shown.App.AppMultiaddr, Checksum: shown.App.AppChecksum}
	if want := w.appOf("iexec_app.a"); got != want || shown.Address != address || shown.App.AppMREnclave != "" {
		w.t.Errorf("the CLI shows %+v, our state has %+v at %s", shown, want, address)
	}

	var order struct {
		Apporder struct {
			OrderHash, Status, Signer string
			Order                     map[string]any
			Remaining                 json.Number
			Deals                     struct{ Count json.Number }
		}
	}
	c.run(&order, "order", "show", "--app", hash.Hex(), "--deals")
	o := order.Apporder
	body, computed := cliOrder(w.t, o.Order)
	if !maps.Equal(body, ours.Order) || computed != hash || o.OrderHash != hash.Hex() || o.Order["sign"] != hexutil.Encode(ours.Sign) || o.Signer != got.Owner {
		w.t.Errorf("the CLI shows order %+v, our state has %v with hash %s", o, ours.Order, hash)
	}
	if o.Status != market.Open || o.Remaining != "97" || o.Deals.Count != "1" {
		w.t.Errorf("the CLI shows the order %s, %s remaining, %s deals; want open, 97, 1", o.Status, o.Remaining, o.Deals.Count)
	}

	var book struct {
		Count     json.Number
		AppOrders []struct {
			OrderHash        string
			Price, Remaining json.Number
		}
	}
	c.run(&book, "orderbook", "app", address)
	if len(book.AppOrders) != 1 || book.AppOrders[0].OrderHash != hash.Hex() || book.AppOrders[0].Price != "10" {
		w.t.Errorf("the CLI lists %+v for the app, want order %s at 10 nRLC", book, hash)
	}
}

// leavesItsOrderAlone: an order for our app that it signed and published is none of ours.
func (w *world) leavesItsOrderAlone(c *cli) {
	zero := common.Address{}.Hex()
	c.write("iexec.json", map[string]any{"order": map[string]any{"apporder": map[string]any{
		"app": w.Value("iexec_app.a").GetAttr("address").AsString(), "appprice": "0.000000005 RLC", "volume": "7", "tag": []string{"tee", "tdx"},
		"datasetrestrict": zero, "workerpoolrestrict": zero, "requesterrestrict": zero,
	}}})
	var signed struct{ Apporder map[string]any }
	c.sign(&signed, "order", "sign", "--app")
	var published struct{ Apporder struct{ OrderHash string } }
	c.sign(&published, "order", "publish", "--app", "--force")

	order, hash := cliOrder(w.t, signed.Apporder)
	sign, _ := signed.Apporder["sign"].(string)
	by, err := poco.Recover(hash, common.FromHex(sign))
	if err != nil || by != poco.DevAccounts()[0].Address || hash.Hex() != published.Apporder.OrderHash {
		w.t.Errorf("the CLI published %s as %s; we find that %s signed %s (%v)", order, published.Apporder.OrderHash, by, hash, err)
	}
	w.wantLive(5, 10)
	if made := w.Plan(); !made.Empty() {
		w.t.Errorf("the plan is about an order that isn't ours:\n%s", made)
	}
}

// noticesItsCancel: it closes our order on chain, given the order as our state has it. We tell so, and offer another one
// only when more is wanted, of the same terms and thus of the next generation.
func (w *world) noticesItsCancel(c *cli) {
	ours := w.signed()
	hash, err := poco.Localnet().Domain().OrderHash(poco.AppOrder, ours.Order)
	if err != nil {
		w.t.Fatal(err)
	}
	file := maps.Clone(ours.Order)
	file["sign"] = hexutil.Encode(ours.Sign)
	c.write("orders.json", map[string]any{strconv.FormatUint(poco.Localnet().ID, 10): map[string]any{"apporder": file}})
	var canceled struct{ Apporder struct{ TxHash string } }
	c.sign(&canceled, "order", "cancel", "--app", "--force")
	if n := w.consumed(hash); n != 100 {
		w.t.Errorf("%d units of the canceled order are used up on chain, want all 100", n)
	}
	w.caughtUp()

	made := w.Plan()
	if len(made.Actions) != 0 || !strings.Contains(made.String(), "order "+hash.Hex()+" is closed on chain, not by this project") {
		w.t.Errorf("want a notice and no action, got\n%s", made)
	}
	w.offer("appprice = 10\nvolume = 200")
	w.step("sign publish[1]")
	w.wantLive(5, 10)
	if fresh := w.signed(); fresh.Order["salt"] == ours.Order["salt"] || fresh.Order["volume"] != "100" {
		w.t.Errorf("want another order of 100 units, got %v after %v", fresh.Order, ours.Order)
	}
	rows := w.live()
	if !slices.ContainsFunc(rows, func(r market.Row) bool { return r.Order["volume"] == "7" && r.Remaining.Int64() == 7 }) {
		w.t.Errorf("the order of the CLI is gone: %v", rows)
	}
}
