package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest/anvil"
	"github.com/iexecform/iexecform/state/local"
)

// killFaults are the scenarios of processes that end before their time, and of files that get lost: B-1 to B-10, B-57, B-58.
func killFaults() []scenario {
	return []scenario{
		{number: 1, title: "killed after the transaction is in the journal, before it is broadcast", run: killedBeforeBroadcast},
		{number: 2, title: "killed after the broadcast, before the transaction is mined", run: killedAfterBroadcast},
		{number: 3, title: "killed after the transaction is mined, before that is recorded", run: killedAfterMined},
		{number: 4, title: "killed between signing an order and posting it", run: killedBeforePost},
		{number: 5, title: "killed after the market took the order, before that is recorded", run: killedAfterPost},
		{number: 6, title: "killed while writing the state, with torn files", run: killedWhileSaving},
		{number: 7, title: "interrupted once while waiting for a transaction", run: interruptedOnce},
		{number: 8, title: "interrupted twice, and terminated and then killed", run: interruptedTwice},
		{number: 9, title: "state and journal are lost", run: stateLost},
		{number: 10, title: "the journal is lost while a transaction is pending", run: journalLost},
		{number: 57, title: "resources are removed from the configuration while their transaction is pending", run: removedWhilePending},
		{number: 58, title: "an app's arguments change after its deployment was interrupted", run: changedAfterKill},
	}
}

// stopMining keeps transactions in the node's pool until mineLater's moment.
func stopMining(node *anvil.Node) { node.Call("evm_setAutomine", false) }

// mineLater mines when the program has looked a few times whether it was, and from then on at once.
func (w *world) mineLater(node *anvil.Node) {
	w.rpc.Set(faultproxy.Rule{Match: "eth_getTransactionCount", Skip: 8, Times: 1, Fault: faultproxy.Before(func() {
		node.Call("evm_setAutomine", true)
		node.Call("evm_mine")
	})})
}

func killedBeforeBroadcast(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.Drop(w.kill)})
	w.die()
	plan := w.changes().tells("not yet seen by the node: it will be broadcast again, with the same hash")
	applied := w.apply()
	if planned, sent := plan.hashes(), applied.hashes(); len(planned) != 1 || !slices.Equal(planned, sent) {
		t.Errorf("planned to send %v and sent %v", planned, sent)
	}
	w.check(1)
}

func killedAfterBroadcast(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	w.write(anApp + anOrder)
	stopMining(node)
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.Cut(w.kill)})
	w.die()
	plan := w.changes().tells("iexec_app.a will be adopted: it is on its way", "nonce 0), which an interrupted apply sent, is pending: waiting",
		"nonce 0: pending: it is waited for", "!iexec_app.a will be created", "!gas ≈")
	w.mineLater(node)
	applied := w.apply().tells("of an earlier run is awaited")
	if planned, sent := plan.hashes(), applied.hashes(); len(planned) != 1 || !slices.Equal(planned, sent) {
		t.Errorf("%v was pending and %v was waited for", planned, sent)
	}
	w.check(1)
}

func killedAfterMined(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.rpc.Set(faultproxy.Rule{Match: "eth_getTransactionReceipt", Fault: faultproxy.Cut(w.kill)})
	w.die()
	w.changes().tells("in block", "it will be taken out of the journal", "iexec_app.a will be adopted: it exists already", "!gas ≈")
	w.rpc.Reset()
	w.apply()
	if n := w.rpc.Count("eth_sendRawTransaction"); n != 0 {
		t.Errorf("%d transactions were sent", n)
	}
	w.check(1)
}

var signOrder = regexp.MustCompile(`sign order (0x[0-9a-f]{64})`)

func killedBeforePost(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	hash := signOrder.FindStringSubmatch(w.plan().text)[1]
	w.market.Set(faultproxy.Rule{Match: "POST /apporders", Fault: faultproxy.Drop(w.kill)})
	w.die()
	w.changes().tells("publish order "+hash, "!sign order")
	w.apply()
	if rows := w.rows(); len(rows) != 1 || rows[0].OrderHash.Hex() != hash {
		t.Errorf("the market has %v, want order %s", rows, hash)
	}
	w.check(1)
}

func killedAfterPost(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.market.Set(faultproxy.Rule{Match: "POST /apporders", Fault: faultproxy.Cut(w.kill)})
	w.die()
	w.changes().tells("!publish order", "!sign order")
	w.market.Reset()
	w.apply()
	if n := w.market.Count("POST /apporders"); n != 0 {
		t.Errorf("the order was posted %d times more", n)
	}
	w.check(1)
}

func killedWhileSaving(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.apply()
	before := w.file(local.SnapshotFile)
	w.write(anApp + strings.Replace(anOrder, "0.5 RLC", "0.7 RLC", 1))
	w.die("DIE_AT=1", "DIE_WHEN=compact")
	if now := w.file(local.SnapshotFile); string(now) != string(before) {
		t.Error("the state was written, though the process was killed before")
	}
	// What a file system may leave of the last writes: half a line, and half a new file.
	journal := append(w.file(local.JournalFile), `{"type":"done","act`...)
	for name, text := range map[string][]byte{local.JournalFile: journal, "." + local.SnapshotFile + "1234567": before[:len(before)/2]} {
		if err := os.WriteFile(filepath.Join(w.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.plan().tells("!invalid character", "!error")
	w.apply()
	if left, _ := filepath.Glob(filepath.Join(w.dir, "."+local.SnapshotFile+"*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	w.check(2)
}

func interruptedOnce(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	w.write(anApp + anOrder)
	stopMining(node)
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.After(func() { w.signal(syscall.SIGINT) })})
	r := w.run(1, "apply", "--auto-approve", "--stop-timeout=100ms")
	r.tells("Interrupt received", "run apply again: what is in flight is in the journal", "1 held, 1 skipped", "re-run `iexecform apply` to go on")
	w.run(0, "lock", "info").tells("not locked")
	w.calm()
	w.changes().tells("pending: it is waited for")
	w.mineLater(node)
	w.apply()
	w.check(1)
}

func interruptedTwice(t *testing.T, g *ground) {
	for _, signals := range [][]syscall.Signal{{syscall.SIGINT, syscall.SIGINT}, {syscall.SIGTERM, syscall.SIGKILL}} {
		w, node := g.anvil(t)
		w.write(anApp + anOrder)
		stopMining(node)
		w.rpc.Set(
			faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.After(func() { w.signal(signals[0]) })},
			faultproxy.Rule{Match: "eth_getTransactionCount", Skip: 8, Times: 1, Fault: faultproxy.Before(func() { w.signal(signals[1]) })},
		)
		if r := w.begin(nil, "apply", "--auto-approve").wait(); r.code == 0 {
			t.Fatalf("the apply survived %v:\n%s", signals, r.text)
		}
		w.calm()
		w.changes().tells("pending: it is waited for", "!iexec_app.a will be created")
		w.mineLater(node)
		w.apply()
		w.check(1)
	}
}

// lose removes files of the project.
func (w *world) lose(names ...string) {
	w.t.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
			w.t.Fatal(err)
		}
	}
}

func stateLost(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.apply()
	w.lose(local.SnapshotFile)
	w.changes().tells("iexec_app.a will be adopted", "iexec_apporder.o will be adopted", "!will be created")
	w.market.Reset()
	w.apply().tells("2 adopted")
	if n := w.market.Count("POST "); n != 0 {
		t.Errorf("%d orders were posted", n)
	}
	w.check(1)

	more := func(o string) string { return strings.Replace(o, "1000", "1500", 1) }
	w.write(anApp + more(anOrder))
	w.apply()
	w.lose(local.SnapshotFile)
	w.write(anApp + more(priced("0.3 RLC")))
	w.apply().tells("2 adopted", "!skipped")
	w.check(1)
}

func journalLost(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	second := strings.ReplaceAll(strings.ReplaceAll(anApp, `"iexec_app" "a"`, `"iexec_app" "b"`), `= "a"`, `= "b"`)
	second = second[strings.Index(second, "resource"):]
	w.write(anApp + anOrder)
	w.apply()
	w.write(anApp + anOrder + second)
	stopMining(node)
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.Cut(w.kill)})
	w.die()
	w.lose(local.JournalFile)
	w.changes().tells("a pending transaction with nonce 1 that no journal of this state knows")
	w.mineLater(node)
	w.apply().tells("a transaction of", "with nonce 1 that is in no journal of this state is pending; it is waited for")
	w.check(2)
}

func removedWhilePending(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	stopMining(node)
	w.write(anApp + anOrder)
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.Cut(func() {
		for !bytes.Contains(w.file(local.JournalFile), []byte(`"sign":`)) { // the order is signed at the same time
			runtime.Gosched()
		}
		w.kill()
	})})
	w.die()
	w.write(apps(1))
	w.changes().tells("(deploy iexec_app.a, app 0x", "nonce 0: pending, and nothing needs it any more: it is waited for first, and what it makes stays on the chain, without orders of this project",
		"iexec_apporder.o will be destroyed", "close order 0x", "iexec_app.a0 will be created")
	w.mineLater(node)
	w.apply()
	w.orphans, w.configs = 1, []string{apps(1)}
	w.check(3) // with the closing of the order that was signed
}

func changedAfterKill(t *testing.T, g *ground) {
	other := strings.Replace(anApp, `= "a"`, `= "other"`, 1)

	// Never broadcast: it is as if nothing had been.
	w := g.world(t)
	w.write(anApp)
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.Drop(w.kill)})
	w.die()
	w.write(other)
	w.changes().tells("nonce 0: not yet seen by the node, and nothing needs it any more: it will be given up", "iexec_app.a will be created")
	w.apply().tells("was never seen by the node, and nothing needs it any more: it is given up", "nonce 0 sent")
	w.configs = []string{other}
	w.check(1)

	// Broadcast: the app will be there, and is listed.
	w, node := g.anvil(t)
	stopMining(node)
	w.write(anApp)
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.Cut(w.kill)})
	w.die()
	w.write(other)
	orphan := w.changes().tells("nonce 0: pending, and nothing needs it any more: it is waited for first", "iexec_app.a will be created").orphan()
	w.mineLater(node)
	w.apply().tells("nonce 1 sent")
	w.run(0, "discover", "--owner", w.account.Address.Hex()).tells(orphan)
	w.orphans, w.configs = 1, []string{other}
	w.check(2)
}

var deployed = regexp.MustCompile(`\(deploy [^ ]+, app (0x[0-9a-fA-F]{40})\)`)

// orphan is the app of a pending deployment that the output names.
func (r result) orphan() string {
	r.w.t.Helper()
	m := deployed.FindStringSubmatch(r.text)
	if m == nil {
		r.w.t.Fatalf("no deployment is pending:\n%s", r.text)
	}
	return m[1]
}
