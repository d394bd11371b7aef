package main

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest/anvil"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// sendFaults are the scenarios of transactions on their way into a block: B-11 to B-17, B-20, B-59, B-60.
func sendFaults() []scenario {
	return []scenario{
		{number: 11, title: "the node drops the transaction, with a fee that is enough or too low by now", run: dropped},
		{number: 12, title: "the fee rises above the transaction's, and above the cap", run: feeSpike},
		{number: 13, title: "the node says underpriced, already known, nonce too low", run: nodeSays},
		{number: 14, title: "somebody with our key takes our nonce, for the same and for something else", run: nonceTaken},
		{number: 15, title: "our nonce is cancelled after the process was killed", run: cancelled},
		{number: 16, title: "two processes apply to one state", run: oneState},
		{number: 17, title: "two states with one wallet are applied at the same time", run: oneWallet},
		{number: 20, title: "the node takes the transaction and says that it didn't", run: lyingNode},
		{number: 59, title: "the lowest of several pending transactions is dropped", run: lowestDropped},
		{number: 60, title: "the node takes only so many pending transactions of an account", run: smallPool},
	}
}

// impatient makes the program look after a transaction that doesn't get on for a second.
const impatient = "resend_after = 1"

// apps is the configuration of so many apps.
func apps(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "resource \"iexec_app\" \"a%d\" {\n  name = \"a%d\"\n  multiaddr = \"docker.io/a/b:1\"\n  checksum = %q\n}\n", i, i, common.Hash{31: byte(i + 1)}.Hex())
	}
	return b.String()
}

// afterSend gives the n-th raw transaction from now on to f, after it has been passed on.
func afterSend(n int, f func()) faultproxy.Rule {
	return faultproxy.Rule{Match: "eth_sendRawTransaction", Skip: n - 1, Times: 1, Fault: faultproxy.After(f)}
}

// resume mines what waits, and from now on at once.
func resume(node *anvil.Node) {
	node.Call("evm_setAutomine", true)
	node.Call("evm_mine")
}

// pendingTx is the account's transaction in the node's pool with a nonce.
func (w *world) pendingTx(nonce uint64) *types.Transaction {
	w.t.Helper()
	var pool struct {
		Pending map[common.Address]map[string]*types.Transaction
	}
	if err := w.client.Client().CallContext(w.t.Context(), &pool, "txpool_content"); err != nil {
		w.t.Error(err)
	}
	tx := pool.Pending[w.account.Address][fmt.Sprint(nonce)]
	if tx == nil {
		w.t.Errorf("no transaction with nonce %d is pending: %v", nonce, pool)
	}
	return tx
}

// replace has the account send something else with the nonce, at a much higher fee.
func (w *world) replace(nonce uint64, to common.Address, data []byte) common.Hash {
	w.t.Helper()
	id := new(big.Int).SetUint64(poco.Localnet().ID)
	tx, err := types.SignNewTx(w.account.Key, types.LatestSignerForChainID(id), &types.DynamicFeeTx{
		ChainID: id, Nonce: nonce, To: &to, Data: data, Gas: 1_000_000, GasTipCap: big.NewInt(90e9), GasFeeCap: big.NewInt(100e9),
	})
	if err == nil {
		err = w.client.SendTransaction(w.t.Context(), tx)
	}
	if err != nil {
		w.t.Error(err)
		return common.Hash{}
	}
	return tx.Hash()
}

func dropped(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	stopMining(node)
	w.write(anApp+anOrder, impatient)
	w.rpc.Set(afterSend(1, func() {
		node.Call("anvil_dropAllTransactions")
		resume(node)
	}))
	r := w.apply().tells("nonce 0 is not mined yet; broadcast again")
	if len(r.hashes()) != 1 {
		t.Errorf("several transactions were sent: %v", r.hashes())
	}
	w.check(1)

	w, node = g.anvil(t)
	stopMining(node)
	w.write(anApp+anOrder, impatient)
	w.rpc.Set(afterSend(1, func() {
		node.Call("anvil_dropAllTransactions")
		node.Call("anvil_setNextBlockBaseFeePerGas", "0x2540be400") // 10 gwei
		resume(node)
	}))
	r = w.apply().tells("nonce 0 did not get on; sent again with at most")
	if len(r.hashes()) != 2 {
		t.Errorf("transactions %v, want two attempts", r.hashes())
	}
	w.check(1)
}

func feeSpike(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	stopMining(node)
	w.write(anApp+anOrder, impatient, "max_fee_gwei = 50")
	spike := func(gwei int64) {
		node.Call("anvil_setNextBlockBaseFeePerGas", fmt.Sprintf("0x%x", gwei*1e9))
		node.Call("evm_mine")
	}
	w.rpc.Set(afterSend(1, func() { spike(20) }), afterSend(2, func() { spike(100) }))
	w.run(0, "plan").tells("max_fee_gwei = 50")
	w.fail().tells("nonce 0 did not get on; sent again with at most", "iexec_app.a: deploy is held", "fee cap: the network wants", "max_fee_gwei allows 50 gwei",
		"nonce 0 stays in the journal", "to go on: wait until gas is cheaper, or raise max_fee_gwei", "1 held, 1 skipped")
	w.calm()
	w.run(1, "apply", "--auto-approve", "--json").tells(`"type":"hold"`, `"unblock":"wait until gas is cheaper`, "IXF5002")
	node.Call("anvil_setNextBlockBaseFeePerGas", "0x3b9aca00")
	resume(node)
	w.apply()
	w.check(1)
}

func nodeSays(t *testing.T, g *ground) {
	for _, test := range []struct {
		says     string
		attempts int
	}{
		{"already known", 1},
		{"transaction underpriced: tip needed 1, tip permitted 0", 2},
		{"replacement transaction underpriced", 1},
		{"nonce too low: next nonce 7, tx nonce 0", 1},
	} {
		w := g.world(t)
		w.write(anApp+anOrder, impatient)
		w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Times: 1, Fault: faultproxy.Always("", fmt.Sprintf(`"error":{"code":-32000,"message":%q}`, test.says))})
		r := w.apply()
		if w.rpc.Count("eth_sendRawTransaction") < 2 {
			t.Errorf("%s: it was sent once only", test.says)
		}
		if n := len(r.hashes()); n > test.attempts {
			t.Errorf("%s: %d attempts, want %d at most", test.says, n, test.attempts)
		}
		w.check(1)
	}
	// And truly so: the transaction was taken before the node says that its nonce is used.
	w := g.world(t)
	w.write(anApp+anOrder, impatient)
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: func(x *faultproxy.Exchange) {
		x.Forward()
		faultproxy.Always("", `"error":{"code":-32000,"message":"nonce too low"}`)(x)
	}})
	w.apply()
	w.check(1)
}

func nonceTaken(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	stopMining(node)
	w.write(anApp+anOrder, impatient)
	var other common.Hash
	w.rpc.Set(afterSend(1, func() { // the same, to have it sooner
		ours := w.pendingTx(0)
		other = w.replace(0, *ours.To(), ours.Data())
		resume(node)
	}))
	w.apply().tells("nonce 0 went to tx "+other.Hex(), "which did the same as tx")
	w.check(1)

	w, node = g.anvil(t)
	stopMining(node)
	w.write(anApp+anOrder, impatient)
	w.rpc.Set(afterSend(1, func() { // something else
		other = w.replace(0, poco.DevAccounts()[5].Address, nil)
		resume(node)
	}))
	w.apply().tells("nonce 0 went to tx "+other.Hex(), "can no longer happen and is sent anew", "nonce 1 sent")
	w.check(2)
}

func cancelled(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	stopMining(node)
	w.write(anApp + anOrder)
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.Cut(w.kill)})
	w.die()
	other := w.replace(0, w.account.Address, nil)
	resume(node)
	w.changes().tells("cancelled or replaced from outside, as its nonce went to transaction "+other.Hex(), "iexec_app.a will be created")
	w.apply().tells("nonce 0 went to tx "+other.Hex(), "nonce 1 sent")
	w.check(2)
}

func oneState(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	stopMining(node)
	w.write(anApp + anOrder)
	// The second comes while the first waits for its transaction.
	w.rpc.Set(afterSend(1, func() {
		w.run(1, "apply", "--auto-approve").tells("The state is locked", "apply")
		resume(node)
	}))
	w.apply()
	w.check(1)

	// Neither locks, and both have planned: one commits.
	w = g.world(t)
	w.write(apps(3))
	w.run(0, "plan", "--out=planned")
	runs := []*process{w.begin(nil, "apply", "--lock=false", "planned"), w.begin(nil, "apply", "--lock=false", "planned")}
	winner, loser := runs[0].wait(), runs[1].wait()
	if winner.code != 0 {
		winner, loser = loser, winner
	}
	if winner.code != 0 || loser.code != 1 {
		t.Errorf("exit codes %d and %d, want one to win:\n%s", winner.code, loser.code, winner.text)
	}
	loser.tells("!nonce")
	if n := w.rpc.Count("eth_sendRawTransaction"); n != 3 {
		t.Errorf("%d transactions were sent, want 3:\n%s", n, loser.text)
	}
	w.check(3)
}

func oneWallet(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(apps(5))
	other := g.worldOn(t, w.net)
	other.account, other.start = w.account, w.start
	other.write(strings.ReplaceAll(apps(5), `name = "a`, `name = "b`))
	first, second := w.begin(nil, "apply", "--auto-approve"), other.begin(nil, "apply", "--auto-approve")
	if a, b := first.wait(), second.wait(); a.code+b.code != 0 {
		t.Fatalf("exit codes %d and %d:\n%s\n%s", a.code, b.code, a.text, b.text)
	}
	w.orphans, other.orphans = 5, 5 // each other's
	w.check(10)
	other.check(10)
}

const internalError = `"error":{"code":-32603,"message":"internal error"}`

func lyingNode(t *testing.T, g *ground) {
	for _, fault := range []faultproxy.Fault{
		faultproxy.Cut(nil), faultproxy.Truncate(),
		func(x *faultproxy.Exchange) { x.Forward(); faultproxy.Status(504, 0)(x) },
		func(x *faultproxy.Exchange) {
			x.Forward()
			faultproxy.Always("", internalError)(x)
		},
	} {
		w := g.world(t)
		w.write(anApp+anOrder, impatient)
		w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Times: 1, Fault: fault})
		r := w.apply()
		if n := len(r.hashes()); n != 1 {
			t.Errorf("transactions %v, want one", r.hashes())
		}
		w.check(1)
	}
	// What it has not taken, and answers so, it is asked to take by the next run.
	w := g.world(t)
	w.write(anApp+anOrder, impatient)
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Times: 1, Fault: faultproxy.Always("", internalError)})
	w.fail().tells("is journaled and may have been sent; run again to go on with it")
	w.apply()
	w.check(1)
}

func lowestDropped(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	stopMining(node)
	w.write(apps(4), impatient, "max_pending = 4")
	var kept []common.Hash
	w.rpc.Set(afterSend(4, func() {
		for nonce := range uint64(4) {
			if tx := w.pendingTx(nonce); tx != nil {
				kept = append(kept, tx.Hash())
			}
		}
		node.Call("anvil_dropTransaction", kept[0])
		resume(node)
	}))
	r := w.apply()
	if len(r.hashes()) != 4 {
		t.Errorf("transactions %v, want 4", r.hashes())
	}
	for _, hash := range kept {
		receipt, err := w.client.TransactionReceipt(t.Context(), hash)
		if err != nil || receipt.Status != types.ReceiptStatusSuccessful {
			t.Errorf("tx %s was not kept: %v", hash, err)
		}
	}
	w.check(4)
}

func smallPool(t *testing.T, g *ground) {
	// By default one transaction is under way at a time, where the node isn't on this machine. Here it is, so it is said.
	w, node := g.anvil(t)
	w.write(apps(4), "max_pending = 1")
	stopMining(node)
	most := 0
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.After(func() {
		pending, err := w.client.PendingNonceAt(t.Context(), w.account.Address)
		if err != nil {
			t.Error(err)
		}
		most = max(most, int(pending-w.nonce()))
		node.Call("evm_mine")
	})})
	w.apply()
	if most != 1 {
		t.Errorf("%d transactions were pending at a time", most)
	}
	resume(node)
	w.check(4)

	// A node that refuses the third: the window shrinks to what it takes.
	w, node = g.anvil(t)
	w.write(apps(6), impatient, "max_pending = 6")
	stopMining(node)
	var refused int
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: func(x *faultproxy.Exchange) {
		pending, err := w.client.PendingNonceAt(t.Context(), w.account.Address)
		if err != nil {
			t.Error(err)
		}
		if pending-w.nonce() < 2 {
			x.Answer(x.Forward())
			return
		}
		refused++
		faultproxy.Always("", `"error":{"code":-32000,"message":"nonce too high"}`)(x)
		if refused == 2 {
			resume(node)
		}
	}})
	w.apply().tells("!nonce too high")
	if refused == 0 {
		t.Error("nothing was refused")
	}
	resume(node)
	w.check(6)
}
