package main

import (
	"slices"
	"testing"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
)

// killFaults are the scenarios of processes that die, B-1 to B-10.
func killFaults() []scenario {
	return []scenario{
		{number: 1, title: "killed after the transaction is in the journal, before it is broadcast", run: killedBeforeBroadcast},
		{number: 2, title: "killed after the broadcast, before the receipt", run: killedAfterBroadcast},
		{number: 5, title: "killed after the market took the order, before that is recorded", run: killedAfterPost},
	}
}

func killedBeforeBroadcast(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.Drop(w.kill)})
	w.die()
	plan := w.changes().tells("it will be broadcast again, with the same hash")
	applied := w.apply()
	if planned, sent := plan.hashes(), applied.hashes(); len(planned) != 1 || !slices.Equal(planned, sent) {
		t.Errorf("planned to send %v and sent %v", planned, sent)
	}
	w.check(1)
}

func killedAfterBroadcast(t *testing.T, g *ground) {
	w, node := g.anvil(t)
	w.write(anApp + anOrder)
	node.Call("evm_setAutomine", false)
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Fault: faultproxy.Cut(w.kill)})
	w.die()
	w.changes()
	node.Call("evm_setAutomine", true)
	w.apply()
	w.check(1)
}

func killedAfterPost(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.market.Set(faultproxy.Rule{Match: "POST /apporders", Fault: faultproxy.Cut(w.kill)})
	w.die()
	w.market.Reset()
	w.apply()
	if n := w.market.Count("POST /apporders"); n != 0 {
		t.Errorf("the order was posted %d times more", n)
	}
	w.check(1)
}
