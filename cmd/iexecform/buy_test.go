package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/state"
)

// buyer makes the command buy ADDRESS N: a stranger buys N units of the app order that the state in the current directory has
// at the address.
func buyer(t *testing.T, network func() *localnet.Network) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		s, err := state.Decode([]byte(ts.ReadFile("iexecform.state.json")))
		ts.Check(err)
		i, err := addr.ParseInstance(args[0])
		ts.Check(err)
		volume, err := strconv.ParseUint(args[1], 10, 64)
		ts.Check(err)
		var object struct {
			Orders map[string]struct {
				Order poco.Order
				Sign  hexutil.Bytes
			}
		}
		if s.Resources[i] == nil {
			ts.Fatalf("%s is not in the state", i)
		}
		ts.Check(json.Unmarshal(s.Resources[i].Attributes, &object))
		for _, hash := range slices.Sorted(maps.Keys(object.Orders))[:1] {
			o := object.Orders[hash]
			ts.Check(nettest.Buy(t, network(), poco.SignedOrder{Order: o.Order, Sign: o.Sign}, volume))
		}
	}
}
