package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest/anvil"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// chainFaults are the scenarios of the chain and its nodes, B-18 to B-29.
func chainFaults() []scenario {
	return []scenario{
		{number: 18, title: "a load balancer with a replica that lags", run: laggingReplica},
		{number: 19, title: "30 % of all requests fail", run: failingRequests},
		{number: 21, title: "a reorganisation takes the deployment, or the closing of an order, out of the chain, before and after commit", run: reorg},
		{number: 22, title: "a reorganisation puts a foreign transaction in the place of ours", run: reorgSwap},
		{number: 23, title: "the endpoint turns out to be of another chain", run: anotherChain},
		{number: 24, title: "the network was reset", run: networkReset},
		{number: 25, title: "a third party creates our app before us", run: frontRun},
		{number: 26, title: "other code is at the address", run: otherCode},
		{number: 27, title: "one of three deployments would revert", run: wouldRevert},
		{number: 28, title: "a deployment reverts though its simulation did not", run: revertsOnChain},
		{number: 29, title: "the wallet lacks funds, at first and in the middle", run: noFunds},
	}
}

// behind makes an endpoint answer as one does that has not heard of the last n blocks.
func (w *world) behind(n uint64) faultproxy.Fault {
	ask := func(method string, params ...any) string {
		var result json.RawMessage
		if err := w.client.Client().Call(&result, method, params...); err != nil {
			return fmt.Sprintf(`"error":{"code":-32000,"message":%q}`, err.Error())
		}
		return `"result":` + string(result)
	}
	return faultproxy.Reply(func(c faultproxy.Call) string {
		head, err := w.client.BlockNumber(w.t.Context())
		if err != nil || head < n {
			return ""
		}
		old := hexutil.EncodeUint64(head - n)
		var params []any
		if json.Unmarshal(c.Params, &params) != nil {
			return ""
		}
		for i := range params {
			if params[i] == "latest" || params[i] == "pending" {
				params[i] = old
			}
		}
		switch c.Method {
		case "eth_blockNumber":
			return fmt.Sprintf(`"result":%q`, old)
		case "eth_getBlockByNumber", "eth_getTransactionCount", "eth_call", "eth_getCode", "eth_getBalance":
			return ask(c.Method, params...)
		case "eth_getTransactionReceipt":
			receipt, err := w.client.TransactionReceipt(w.t.Context(), common.HexToHash(params[0].(string)))
			if err != nil || receipt.BlockNumber.Uint64() > head-n {
				return `"result":null`
			}
		}
		return ""
	})
}

// mineOnLook makes a block each time that the program looks how far the chain is.
func mineOnLook(node *anvil.Node) faultproxy.Rule {
	return faultproxy.Rule{Match: "eth_getTransactionCount", Fault: faultproxy.Before(func() { node.Call("evm_mine") })}
}

func laggingReplica(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	w.write(anApp+anOrder, "confirmations = 3", impatient)
	lag := w.behind(2)
	for range 3 { // so many blocks there must be
		node.Call("evm_mine")
	}
	w.rpc.Set(
		faultproxy.Rule{Share: 0.5, Fault: lag},
		mineOnLook(node),
	)
	r := w.apply().tells("!no longer in the chain", "!went to")
	if len(r.hashes()) != 1 {
		t.Errorf("transactions %v, want one", r.hashes())
	}
	w.check(1)
}

func failingRequests(t *testing.T, g *ground) {
	calm := g.world(t)
	calm.write(anApp + anOrder)
	calm.rpc.Reset()
	calm.apply()
	ideal := calm.rpc.Requests()

	w := g.world(t)
	w.write(anApp + anOrder)
	faults := []faultproxy.Rule{ // their shares overlap: 30 % in all
		{Share: 0.05, Fault: faultproxy.Status(429, 1)},
		{Share: 0.10, Fault: faultproxy.Status(503, 0)},
		{Share: 0.15, Fault: faultproxy.Status(500, 0)},
		{Share: 0.20, Fault: faultproxy.Drop(nil)},
		{Share: 0.25, Fault: faultproxy.Cut(nil)},
		{Share: 0.30, Fault: faultproxy.Truncate()},
	}
	w.rpc.Set(faults...)
	w.market.Set(faults[1:]...)
	w.registry.Set(faults[1:]...)
	w.rpc.Reset()
	w.apply()
	if n := w.rpc.Requests(); n > 2*ideal {
		t.Errorf("%d requests, want no more than twice %d", n, ideal)
	}
	w.check(1)
}

// height is the number of the block that has the account's first transaction, and of the newest block.
func (w *world) height() (ours, head uint64) {
	head, err := w.client.BlockNumber(w.t.Context())
	if err != nil {
		w.t.Error(err)
	}
	for ours = head; ours > 0; ours-- {
		n, err := w.client.NonceAt(w.t.Context(), w.account.Address, new(big.Int).SetUint64(ours-1))
		if err != nil {
			w.t.Error(err)
		}
		if n == 0 {
			break
		}
	}
	return ours, head
}

// undo takes the account's first transaction out of the chain, with put in its place.
func (w *world) undo(node *anvil.Node, put ...any) (depth uint64) {
	ours, head := w.height()
	txs := []any{}
	for _, raw := range put {
		txs = append(txs, []any{raw, 0})
	}
	depth = head - ours + 1
	node.Call("anvil_reorg", depth, txs)
	return depth
}

func reorg(t *testing.T, g *ground) {
	depths := map[uint64]bool{}
	for looks := range 3 {
		w, node := g.anvil(t)
		w.write(anApp+anOrder, "confirmations = 6", impatient)
		w.rpc.Set(
			faultproxy.Rule{Match: "eth_getTransactionReceipt", Skip: looks, Times: 1, Fault: faultproxy.After(func() { depths[w.undo(node)] = true })},
			mineOnLook(node),
		)
		r := w.apply().tells("is no longer in the chain, which was reorganised; broadcast again, with the same hash")
		if len(r.hashes()) != 1 {
			t.Errorf("transactions %v, want one", r.hashes())
		}
		w.check(1)
		if looks > 0 {
			continue
		}
		app := w.app("iexec_app.a")
		w.undo(node)
		w.changes().tells("its transaction is no longer in the chain, which was reorganised or began anew", "and is now 0x",
			"the chain was reorganised, or began anew, since the last apply", app.Hex())
		w.rpc.Set(mineOnLook(node))
		w.apply()
		if again := w.app("iexec_app.a"); again != app {
			t.Errorf("the app was at %s and is at %s", app, again)
		}
		w.check(1)
	}
	if len(depths) < 2 {
		t.Errorf("reorganisations were of depths %v only", depths)
	}
	for name, c := range map[string]closing{
		"closing":                {then: priced("0.7 RLC")},
		"closing of fewer":       {then: strings.Replace(anOrder, "1000", "600", 1), sold: 100},
		"removal":                {},
		"removal of many":        {others: strings.NewReplacer("\"o\"", "\"p\"", "app  ", "count = 3\n  app").Replace(priced("${count.index} RLC")), more: 3},
		"destruction of all":     {destroy: true},
		"interrupted":            {then: priced("0.7 RLC"), die: true, open: true},
		"interrupted and ended":  {then: priced("0.7 RLC"), die: true},
		"interrupted once again": {then: priced("0.7 RLC"), sold: 100, dieAgain: true},
		"interrupted removal":    {dieAgain: true},
		"undone and done again":  {then: priced("0.7 RLC"), sold: 100, again: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.undone(t, g)
		})
	}
}

// A closing of an order is one that a reorganisation is to undo.
type closing struct {
	sold     uint64 // before
	others   string // orders that are closed too
	more     int    // so many
	then     string // the configuration of the order that closes it
	destroy  bool   // all
	die      bool   // when it is closed
	open     bool   // the apply that was killed is not finished before
	dieAgain bool   // when it is about to be closed again
	again    bool   // the chain takes the same transaction up again, when the plan is made
}

// undone has a reorganisation take the closing of an order out of the chain, after the apply: it is closed again.
func (c closing) undone(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	w.write(anApp + anOrder + c.others)
	w.apply()
	hash, old := w.order()
	if w.different = c.sold > 0; w.different {
		w.buy(old, c.sold)
	}
	switch {
	case c.destroy:
		w.run(0, "destroy", "--auto-approve")
	case c.die:
		w.write(anApp + c.then)
		w.market.Set(faultproxy.Rule{Match: "POST /apporders", Fault: faultproxy.Drop(w.kill)})
		w.die()
	default:
		w.write(anApp + c.then)
		w.changes().tells("close order " + hash)
		w.apply()
	}
	var raw string
	if c.again {
		block, err := w.client.BlockByNumber(t.Context(), nil)
		if err != nil || len(block.Transactions()) != 1 {
			t.Fatalf("the newest block is %v: %v", block, err)
		}
		bytes, err := block.Transactions()[0].MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		raw = hexutil.Encode(bytes)
	}
	if c.die && !c.open {
		w.changes().tells("!close order")
		w.apply()
	}
	before := w.shape()
	node.Call("anvil_reorg", 1+c.more, []any{})
	undone := []string{"order " + hash + " was closed, and a reorganisation of the chain has undone it: it is usable again", "close order " + hash, "!sign order"}
	switch {
	case c.destroy:
		w.run(0, "plan", "--destroy").tells(undone...)
		w.run(0, "destroy", "--auto-approve").tells("nonce 1 sent")
	case c.dieAgain:
		w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.Drop(w.kill)})
		w.die()
		w.changes().tells("close order "+hash, "!sign order")
		w.apply()
	case c.again:
		w.run(0, "plan", "--out=planned").tells(undone...)
		node.Call("eth_sendRawTransaction", raw)
		w.run(0, "apply", "planned").tells("!sent")
	default:
		w.changes().tells(undone...)
		w.apply().tells("nonce 1 sent")
	}
	if after := w.shape(); !c.open && after != before {
		t.Errorf("the state was\n%s\nand is\n%s", before, after)
	}
	if err := nettest.Buy(t, w.net, old, 1); err == nil || !strings.Contains(err.Error(), "matchOrders-0x60") {
		t.Errorf("the old order is bought: %v; want nothing to remain of it", err)
	}
	if c.destroy {
		return
	}
	w.check(2 + c.more)
	if hashes := w.closedInState(); len(hashes) != 1+c.more || !slices.Contains(hashes, hash) {
		t.Errorf("the state remembers that %v were closed, want %d, %s among them", hashes, 1+c.more, hash)
	}
	node.Call("anvil_mine", 100) // then the node calls it final
	w.write(anApp + priced("0.3 RLC"))
	w.apply()
	if hashes := w.closedInState(); len(hashes) > 0 {
		t.Errorf("the state still remembers that %v were closed", hashes)
	}
	w.check(2 + c.more)
}

// closedInState is the orders that the state remembers as closed, because that can be undone.
func (w *world) closedInState() (hashes []string) {
	w.t.Helper()
	for name := range w.snapshot().Networks["iexec"] {
		if hash, ok := strings.CutPrefix(name, "closed "); ok {
			hashes = append(hashes, hash)
		}
	}
	return hashes
}

func reorgSwap(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	w.write(anApp+anOrder, "confirmations = 4", impatient)
	id := new(big.Int).SetUint64(poco.Localnet().ID)
	foreign, err := types.SignNewTx(w.account.Key, types.LatestSignerForChainID(id), &types.DynamicFeeTx{
		ChainID: id, To: &w.account.Address, Gas: 21_000, GasTipCap: big.NewInt(1), GasFeeCap: big.NewInt(100e9),
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := foreign.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	w.rpc.Set(
		faultproxy.Rule{Match: "eth_getTransactionReceipt", Skip: 1, Times: 1, Fault: faultproxy.After(func() { w.undo(node, hexutil.Encode(raw)) })},
		mineOnLook(node),
	)
	w.apply().tells("nonce 0 went to tx "+foreign.Hash().Hex(), "can no longer happen and is sent anew", "nonce 1 sent")
	w.check(2)
}

func anotherChain(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.apply()
	w.write(anApp + priced("0.7 RLC"))
	w.run(0, "plan", "--out=planned")
	other := faultproxy.Rule{Fault: faultproxy.Always("eth_chainId", `"result":"0xa4b1"`)}
	w.rpc.Set(other)
	const text = "is of chain 42161, but the provider is configured for chain 31337"
	w.fail().tells(text)
	w.run(1, "apply", "planned").tells(text)
	// The configuration itself is of another chain than the state.
	w.write(anApp+anOrder, "hub = \"0x098bFCb1E50ebcA0BaA92C12eA0c3F045A1aD9f0\"")
	w.fail().tells("the state belongs to another network than provider iexec reaches: hub was", "and is now 0x098bFCb1E50ebcA0BaA92C12eA0c3F045A1aD9f0")
	w.write(anApp + anOrder)
	w.configs = []string{anApp + anOrder}
	w.check(1)
}

func networkReset(t *testing.T, g *ground) {
	w, _ := g.anvil(t, "--timestamp", "1700000000")
	w.write(anApp + anOrder)
	w.apply()
	fresh, node := g.anvil(t, "--timestamp", "1700000001")
	fresh.account, fresh.dir, fresh.start, fresh.registry = w.account, w.dir, 0, w.registry
	node.Call("anvil_setBalance", w.account.Address, "0xde0b6b3a7640000")
	fresh.write(anApp + anOrder)
	r := fresh.run(1, "plan").tells("genesis was 0x", "if the network itself was reset, run `iexecform state rebase-network`")
	r.tells("!will be created")
	fresh.run(0, "state", "rebase-network").tells("is forgotten")
	fresh.changes().tells("iexec_app.a will be created", "it no longer exists on the chain")
	fresh.apply()
	fresh.check(1)
}

// deployment is the transaction that a saved plan would send to deploy an app.
func (w *world) deployment(file string) (to common.Address, data []byte) {
	w.t.Helper()
	p, err := plan.Decode(w.file(file), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range p.Actions {
		var payload struct {
			To   common.Address
			Data hexutil.Bytes
		}
		if a.Kind == "deploy" {
			if err := json.Unmarshal(a.Payload, &payload); err != nil {
				w.t.Fatal(err)
			}
			return payload.To, payload.Data
		}
	}
	w.t.Fatal("the plan deploys nothing")
	return to, nil
}

func frontRun(t *testing.T, g *ground) {
	w := g.world(t)
	stranger := nettest.NewAccount(t, w.net, int(g.accounts.Add(1)))
	w.write(anApp + anOrder)
	w.run(0, "plan", "--out=planned")
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.Before(func() {
		to, data := w.deployment("planned")
		if _, err := nettest.Send(t, w.net, stranger.Key, to, data); err != nil {
			t.Error(err)
		}
	})})
	w.run(0, "apply", "planned").tells("Warning: tx 0x", "failed, as somebody else did the same just before", "ETH of gas are lost, but what was wanted is done")
	w.check(1)
}

func otherCode(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	w.write(anApp + anOrder)
	w.run(0, "plan", "--out=planned")
	var app common.Address
	p, err := plan.Decode(w.file("planned"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range p.Changes {
		if c.Addr.String() == "iexec_app.a" {
			app = common.HexToAddress(c.After.Text("address"))
		}
	}
	node.Call("anvil_setCode", app, "0x6000")
	w.run(1, "plan").tells("other code (hash 0x", "nothing is adopted")
	w.fail()
	w.run(1, "apply", "planned").tells("the contract reverted: Create2: Failed on deploy")
	if w.sent() != 0 {
		t.Error("a transaction was sent")
	}
	// Registered, as it should be, and then of the same length with other code.
	node.Call("anvil_setCode", app, "0x")
	w.apply()
	code, err := w.client.CodeAt(t.Context(), app, nil)
	if err != nil {
		t.Fatal(err)
	}
	right := hexutil.Encode(code)
	code[len(code)-1] ^= 1
	node.Call("anvil_setCode", app, hexutil.Encode(code))
	w.run(0, "state", "rm", "iexec_app.a")
	w.run(1, "plan").tells("is not that of a registry's app", "it is not adopted")
	node.Call("anvil_setCode", app, right)
	w.apply()
	w.check(1)
}

// revert is what a node answers when a contract refuses with a reason.
func revert(reason string) string {
	packed, err := abi.Arguments{{Type: abi.Type{T: abi.StringTy}}}.Pack(reason)
	if err != nil {
		panic(err)
	}
	data := append(crypto.Keccak256([]byte("Error(string)"))[:4], packed...)
	return fmt.Sprintf(`"error":{"code":3,"message":"execution reverted: %s","data":%q}`, reason, hexutil.Encode(data))
}

func wouldRevert(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(apps(3))
	w.rpc.Set(faultproxy.Rule{Match: "eth_estimateGas", With: hex.EncodeToString([]byte("a1")), Fault: faultproxy.Always("eth_estimateGas", revert("invalid-params"))})
	w.fail().tells("iexec_app.a1: deploy failed", "the contract reverted: invalid-params", "2 added", "1 failed, 0 held, 0 skipped")
	if n := w.sent(); n != 2 {
		t.Errorf("%d transactions were sent, want those of the other two apps", n)
	}
	w.calm()
	w.apply().tells("1 added")
	w.check(3)
}

func revertsOnChain(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.rpc.Set(faultproxy.Rule{Match: "eth_estimateGas", Fault: faultproxy.Always("eth_estimateGas", `"result":"0x15f90"`)})
	w.fail().tells("iexec_app.a: deploy failed", "failed in block", "the contract reverted: out of gas", "1 failed, 0 held, 1 skipped")
	w.calm()
	w.changes().tells("iexec_app.a will be created", "!Left by an interrupted apply")
	w.apply()
	w.check(2)
}

func noFunds(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	w.write(apps(3), "max_pending = 1")
	balance := func(wei int64) { node.Call("anvil_setBalance", w.account.Address, hexutil.EncodeBig(big.NewInt(wei))) }
	balance(1e14)
	w.plan().tells("has 0.0001 ETH and the plan's transactions need about 0.00")
	w.fail().tells("has 0.0001 ETH and the plan's transactions need about 0.00", "Nothing was sent")
	if n := w.sent(); n != 0 {
		t.Errorf("%d transactions were sent", n)
	}
	balance(1e18)
	w.rpc.Set(afterSend(1, func() {
		node.Call("evm_mine") // while it can be paid: the node mines by itself somewhat later
		balance(1e14)
	}))
	w.fail().tells("needs 0.00", "for this transaction (those under way come on top) and has 0.0001 ETH", "to go on: send ETH to", "1 added", "0 failed, 2 held")
	balance(1e18)
	w.calm()
	w.apply().tells("2 added")
	w.check(3)
}
