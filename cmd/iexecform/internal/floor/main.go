// Command floor makes the requests that a plan in which nothing changes can't do without, and does nothing else: it is what
// BenchmarkPlan holds plan against. It has plan's clients of the chain and the market, so that only plan's own work
// makes a difference.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

func main() {
	if err := run(context.Background()); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run reads the file floor: the URLs of the chain and the market, then a call a line, target and data in hex. It makes the
// calls, in batches, and lists the orders of the network's first account.
func run(ctx context.Context) error {
	text, err := os.ReadFile("floor")
	if err != nil {
		return err
	}
	lines := bytes.Fields(text)
	client, err := chain.Dial(ctx, string(lines[0]), chain.Options{})
	if err != nil {
		return err
	}
	if _, err := client.Pin(ctx); err != nil {
		return err
	}
	calls := make([]chain.Call, len(lines)-2)
	for i, line := range lines[2:] {
		raw := common.Hex2Bytes(string(line))
		calls[i] = chain.Call{To: common.BytesToAddress(raw[:20]), Data: raw[20:]}
	}
	for _, r := range client.Calls(ctx, calls) {
		if r.Err != nil {
			return r.Err
		}
	}
	m, err := market.New(string(lines[1]), poco.Localnet().Domain(), market.Options{})
	if err != nil {
		return err
	}
	_, err = m.ListByOwner(ctx, poco.AppOrder, poco.DevAccounts()[0].Address)
	return err
}
