package main

import (
	"context"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/rogpeppe/go-internal/testscript"
)

// sent fails unless the script's account has sent as many transactions, since the last sent, as it is told; without a number
// it only counts anew.
func sent(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	client, err := ethclient.DialContext(ctx, ts.Getenv("LOCALNET_RPC"))
	ts.Check(err)
	defer client.Close()
	nonce, err := client.NonceAt(ctx, common.HexToAddress(ts.Getenv("LOCALNET_ADDRESS")), nil)
	ts.Check(err)
	if len(args) > 0 {
		before, err := strconv.Atoi(ts.Getenv("SENT"))
		ts.Check(err)
		if got := strconv.Itoa(int(nonce) - before); got != args[0] {
			ts.Fatalf("%s transactions were sent, want %s", got, args[0])
		}
	}
	ts.Setenv("SENT", strconv.Itoa(int(nonce)))
}
