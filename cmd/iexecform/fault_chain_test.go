package main

import (
	"encoding/json"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
)

// chainFaults are the scenarios of the chain and its nodes, B-10 to B-29.
func chainFaults() []scenario {
	return []scenario{
		{number: 23, title: "the endpoint turns out to be of another chain", run: anotherChain},
		{number: 25, title: "a third party creates our app before us", run: frontRun},
	}
}

func anotherChain(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.apply()
	w.rpc.Set(faultproxy.Rule{Fault: faultproxy.Always("eth_chainId", `"result":"0xa4b1"`)})
	w.fail().tells("is of chain 42161, but the provider is configured for chain 31337")
	w.check(1)
}

// deployment is the transaction that a saved plan would send to deploy an app.
func (w *world) deployment(file string) (to common.Address, data []byte) {
	w.t.Helper()
	p, err := plan.Decode(w.file(file))
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
	w.run(0, "apply", "planned")
	if app := w.app("iexec_app.a"); app == (common.Address{}) {
		t.Error("the app has no address")
	}
	w.check(1)
}
