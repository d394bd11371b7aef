package main

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// planFaults are the scenarios of prices, signers and owners that change, of machines, and of plans that no longer fit, B-43 to
// B-56.
func planFaults() []scenario {
	return []scenario{
		{number: 43, title: "a price is lowered and then raised quickly", run: downAndUp},
		{number: 44, title: "killed between closing the cheaper order and offering the dearer one", run: killedBetweenCloseAndPublish},
		{number: 45, title: "the signer signs with another key, or refuses", run: wrongSignature},
		{number: 46, title: "the hub checks signatures in another EIP-712 domain than before", run: otherDomain},
		{number: 47, title: "the wallet changes, and the app has to follow", run: otherWallet},
		{number: 48, title: "the machine's clock and the chain's are ten years apart", run: otherTime},
		{number: 49, title: "the disk is full when the journal is written", run: diskFull, absent: withoutRoot},
		{number: 50, title: "the directory of the state can't be written", run: readOnly, absent: withoutRoot},
		{number: 53, title: "a plan file was changed, or belongs to another commit", run: foreignPlan},
		{number: 54, title: "two plans are applied one after the other", run: secondPlan},
		{number: 55, title: "one of ten deployments fails", run: oneOfTen},
		{number: 56, title: "resources get other names, without a moved block", run: renamed},
	}
}

// withoutRoot is why mounting file systems isn't tested, or "".
var withoutRoot = func() string {
	if os.Geteuid() == 0 {
		return ""
	}
	return "it mounts a file system, for which the tests must be run as root"
}()

// priced is the order of most scenarios at another price.
func priced(price string) string { return strings.Replace(anOrder, "0.5 RLC", price, 1) }

// closed reports whether an order is closed, or sold out, on chain.
func (w *world) closed(hash common.Hash, volume int64) bool {
	w.t.Helper()
	data, err := poco.HubABI().Pack("viewConsumed", hash)
	if err != nil {
		w.t.Fatal(err)
	}
	hub := w.net.Info().Hub
	out, err := w.client.CallContract(w.t.Context(), ethereum.CallMsg{To: &hub, Data: data}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return common.BytesToHash(out).Big().Int64() == volume
}

// onlyRow is the one open order of the account.
func (w *world) onlyRow() common.Hash {
	w.t.Helper()
	rows := w.rows()
	if len(rows) != 1 {
		w.t.Fatalf("open orders: %+v", rows)
	}
	return rows[0].OrderHash
}

func downAndUp(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.apply()
	first := w.onlyRow()

	w.write(anApp + priced("0.3 RLC"))
	w.market.Set(faultproxy.Rule{Match: "PUT /apporders", Fault: faultproxy.Before(func() {
		if rows := w.rows(); len(rows) != 2 {
			t.Errorf("when the dearer order is withdrawn there are %d open orders, want both", len(rows))
		}
	})})
	w.apply()
	second := w.onlyRow()
	if w.closed(first, 1000) || w.sent() != 1 {
		t.Error("lowering a price took a transaction")
	}

	w.write(anApp + priced("0.6 RLC"))
	w.market.Set(faultproxy.Rule{Match: "POST /apporders", Fault: faultproxy.Before(func() {
		if !w.closed(first, 1000) || !w.closed(second, 1000) {
			t.Error("the dearer order is offered while a cheaper one can still be used")
		}
	})})
	w.apply()
	w.check(3)
}

func killedBetweenCloseAndPublish(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.apply()
	old := w.onlyRow()
	w.write(anApp + priced("0.6 RLC"))
	w.market.Set(faultproxy.Rule{Match: "POST /apporders", Fault: faultproxy.Drop(w.kill)})
	w.die()
	if !w.closed(old, 1000) {
		t.Error("the cheaper order can still be used")
	}
	w.changes().tells("publish", "!close")
	w.apply()
	w.check(2)
}

// signer is an external signer with clef's API that can be told to do wrong, which clef can't.
type signer struct {
	w     *world
	typed func(digest []byte) (hexutil.Bytes, error)
}

func (s *signer) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	var call struct {
		ID     json.RawMessage
		Method string
		Params []json.RawMessage
	}
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &call); err != nil {
		s.w.t.Error(err)
	}
	var result any
	var err error
	switch call.Method {
	case "account_list":
		result = []common.Address{s.w.account.Address}
	case "account_signTypedData":
		var doc apitypes.TypedData
		if err := json.Unmarshal(call.Params[1], &doc); err != nil {
			s.w.t.Error(err)
		}
		digest, _, hashErr := apitypes.TypedDataAndHash(doc)
		if hashErr != nil {
			s.w.t.Error(hashErr)
		}
		result, err = s.typed(digest)
	}
	answer := map[string]any{"jsonrpc": "2.0", "id": call.ID, "result": result}
	if err != nil {
		delete(answer, "result")
		answer["error"] = map[string]any{"code": -32000, "message": err.Error()}
	}
	out.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(out).Encode(answer)
}

func wrongSignature(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.apply()

	var by atomic.Pointer[ecdsa.PrivateKey] // nil denies
	by.Store(w.account.Key)
	s := &signer{w: w, typed: func(digest []byte) (hexutil.Bytes, error) {
		if key := by.Load(); key != nil {
			return crypto.Sign(digest, key)
		}
		return nil, errors.New("request denied")
	}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	w.env = append(w.env, "IEXECFORM_PRIVATE_KEY=")
	w.write(anApp+priced("0.3 RLC"), fmt.Sprintf("wallet {\n  clef = %q\n  address = %q\n}", server.URL, w.account.Address))

	by.Store(nettest.NewAccount(t, w.net, int(g.accounts.Add(1))).Key)
	w.market.Reset()
	w.fail().tells("signed something else, or with the key of another account")
	by.Store(nil)
	w.fail().tells("held", "refused", "approve it in clef, and run again")
	if n := w.market.Count("POST /apporders"); n != 0 {
		t.Errorf("%d orders were posted", n)
	}
	by.Store(w.account.Key)
	w.apply()
	w.configs = []string{anApp + anOrder, anApp + priced("0.3 RLC")} // whoever signs, it is the same state
	w.check(1)
}

func otherDomain(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.apply()
	w.write(anApp + priced("0.6 RLC"))
	separator := hexutil.Encode(poco.HubABI().Methods["eip712domain_separator"].ID)
	w.rpc.Set(faultproxy.Rule{Match: "eth_call", With: separator, Fault: faultproxy.Reply(func(c faultproxy.Call) string {
		if strings.Contains(string(c.Raw), separator) {
			return fmt.Sprintf(`"result":"%#064x"`, 1)
		}
		return ""
	})})
	w.market.Reset()
	w.fail().tells("orders that it has signed can't be used there any more", "Nothing was signed")
	if n := w.market.Count("POST /apporders"); n != 0 || w.sent() != 1 {
		t.Errorf("%d orders were posted, and %d transactions sent", n, w.sent())
	}
	w.calm()
	w.apply()
	w.check(2)
}

func otherWallet(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.apply()
	app, first := w.app("iexec_app.a"), w.onlyRow()

	// The new wallet can't move the app, nor sign for it: the plan says who can.
	old, next := w.account, nettest.NewAccount(t, w.net, int(g.accounts.Add(1)))
	key := "IEXECFORM_PRIVATE_KEY=" + hexutil.Encode(crypto.FromECDSA(next.Key))
	w.env = []string{key}
	w.run(1, "plan").tells(app.Hex(), "belongs to "+old.Address.Hex())
	if w.sent() != 1 {
		t.Error("a transaction was sent")
	}

	// The old one transfers it; its order goes with that.
	w.env = nil
	owned := strings.Replace(anApp, "  checksum ", fmt.Sprintf("  owner     = %q\n  checksum ", next.Address), 1)
	w.write(owned)
	w.apply().tells("transfer")
	if !w.closed(first, 1000) || len(w.rows()) != 0 {
		t.Error("the old owner's order is left")
	}

	// The new one signs again.
	w.env = []string{key}
	w.account = next
	w.start = w.nonce()
	w.write(owned + anOrder)
	w.apply()
	if again := w.app("iexec_app.a"); again != app {
		t.Errorf("the app is %s now, and was %s", again, app)
	}
	if w.onlyRow() == first {
		t.Error("the order is the old one")
	}
	w.different = true // an undisturbed run of these configurations has one wallet
	w.check(0)
}

func otherTime(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	w.write(anApp + anOrder)
	node.Call("evm_increaseTime", 10*365*24*60*60)
	w.apply()
	w.write(anApp + priced("0.6 RLC"))
	w.apply()
	w.check(2)
}

// small puts the world's directory on a file system of its own, of few pages.
func (w *world) small() {
	w.t.Helper()
	if err := syscall.Mount("none", w.dir, "tmpfs", 0, "size=256k"); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = syscall.Unmount(w.dir, syscall.MNT_DETACH) })
}

// fill leaves room for as many bytes on the world's file system.
func (w *world) fill(room int64) (filler string) {
	w.t.Helper()
	filler = filepath.Join(w.dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		w.t.Fatal(err)
	}
	size, page := int64(0), make([]byte, os.Getpagesize())
	for {
		n, err := f.Write(page)
		if size += int64(n); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			w.t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(size-room), f.Close()); err != nil {
		w.t.Fatal(err)
	}
	return filler
}

func diskFull(t *testing.T, g *ground) {
	w := g.world(t)
	w.small()
	config := anApp + anOrder
	for n := range 4 {
		config += strings.NewReplacer(`data "oci_image" "hello" { reference = "IMAGE" }`, "", `"a"`, fmt.Sprintf(`"a%d"`, n)).Replace(anApp)
	}
	w.write(config)
	// A page for the lock, and one for the journal, which holds one signed transaction, or two.
	filler := w.fill(2 * int64(os.Getpagesize()))
	w.rpc.Reset()
	w.fail().tells("journal", "no space left on device")
	if n := w.rpc.Count("eth_sendRawTransaction"); n > 3 {
		t.Errorf("%d transactions were sent, and the journal has room for no more than three", n)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	w.apply()
	w.check(5)
}

func readOnly(t *testing.T, g *ground) {
	w := g.world(t)
	w.small()
	w.write(anApp + anOrder)
	if err := syscall.Mount("none", w.dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	w.fail().tells("state can't be kept in", "Read-only file system", "make the directory writable")
	if n := w.rpc.Requests() + w.market.Requests() + w.registry.Requests(); n != 0 {
		t.Errorf("%d requests were made before the lock was taken", n)
	}
	if err := syscall.Mount("none", w.dir, "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	w.apply()
	w.check(1)
}

func foreignPlan(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.run(0, "plan", "--out=planned")
	text := string(w.file("planned"))
	forged := strings.ReplaceAll(text, `"1000"`, `"9000"`)
	if forged == text {
		t.Fatal("the plan has no volume of 1000")
	}
	w.put("forged", forged)
	w.run(1, "apply", "forged").tells("digest")

	w.write(anApp + priced("0.6 RLC"))
	w.run(1, "apply", "--require-config", "planned").tells("not the one that the plan was made from", "Check out the commit", "Nothing was sent")
	if w.sent() != 0 || len(w.rows()) != 0 {
		t.Error("something was done")
	}
	w.write("# another comment is the same configuration\n" + anApp + anOrder)
	w.run(0, "apply", "--require-config", "planned")
	w.configs = []string{anApp + anOrder}
	w.check(1)
}

func (w *world) put(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func secondPlan(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.apply()
	w.write(anApp + priced("0.6 RLC"))
	w.run(0, "plan", "--out=first")
	w.write(anApp + priced("0.7 RLC"))
	w.run(0, "plan", "--out=second")
	w.run(0, "apply", "first")
	row, sent := w.onlyRow(), w.sent()
	w.run(1, "apply", "second").tells("stale")
	if w.onlyRow() != row || w.sent() != sent {
		t.Error("a stale plan was applied")
	}
	w.write(anApp + priced("0.6 RLC"))
	w.configs = []string{anApp + anOrder, anApp + priced("0.6 RLC")}
	w.check(2)
}

func oneOfTen(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(`
data "oci_image" "hello" { reference = "IMAGE" }
resource "iexec_app" "a" {
  count     = 10
  name      = "app-${count.index}"
  multiaddr = data.oci_image.hello.reference
  checksum  = data.oci_image.hello.checksum
}
resource "iexec_apporder" "o" {
  count    = 10
  app      = iexec_app.a[count.index].address
  appprice = 1
  volume   = 10
}
`)
	w.run(0, "plan", "--out=planned")
	w.rpc.Set(faultproxy.Rule{Match: "eth_estimateGas", With: fmt.Sprintf("%x", "app-7"), Fault: faultproxy.Always("eth_estimateGas", `"error":{"code":3,"message":"execution reverted","data":"0x"}`)})
	w.run(1, "apply", "planned").tells("1 failed", "1 skipped", "iexec_app.a[7]", "revert")
	if w.sent() != 9 || len(w.rows()) != 9 {
		t.Errorf("%d apps were deployed and %d orders published, want 9 of each", w.sent(), len(w.rows()))
	}
	w.calm()
	w.changes().tells("!iexec_app.a[6] will", "iexec_app.a[7] will be created")
	w.apply()
	w.check(10)
}

func renamed(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.apply()
	row := w.onlyRow()
	names := strings.NewReplacer(`"iexec_app" "a"`, `"iexec_app" "b"`, "iexec_app.a.", "iexec_app.b.", `"iexec_apporder" "o"`, `"iexec_apporder" "p"`)
	config := names.Replace(anApp + anOrder)
	w.write(config)
	w.changes().tells(
		"iexec_app.b has the same arguments as iexec_app.a, which is no longer in the configuration", "moved { from = iexec_app.a, to = iexec_app.b }",
		"moved { from = iexec_apporder.o, to = iexec_apporder.p }")
	w.write(config + `
moved {
  from = iexec_app.a
  to   = iexec_app.b
}
moved {
  from = iexec_apporder.o
  to   = iexec_apporder.p
}
`)
	w.apply()
	if w.onlyRow() != row {
		t.Error("the order is another one")
	}
	w.different = true // the order keeps the salt that its first name gave it
	w.check(1)
}
