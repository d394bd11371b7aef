package iexec

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// txData is the data source iexec_tx: what became of a transaction.
type txData struct{}

var eventType = cty.Object(map[string]cty.Type{"contract": cty.String, "name": cty.String, "args": cty.Map(cty.String)})

func (txData) table() *schema.Table {
	return &schema.Table{
		Type: "iexec_tx",
		Doc: "A transaction that is in a block, whoever sent it: whether it succeeded, what it took, and what the iExec contracts say that it did. " +
			"One that isn't in a block is an error.",
		Example: "data \"iexec_tx\" \"release\" {\n  hash = \"0x8a1f0d1a4b0b2e3c5d6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5\"\n}\n\noutput \"registered\" {\n  value = data.iexec_tx.release.events[*].args\n}\n",
		Attrs: []schema.Attr{
			bytes32Attr(schema.Attr{Name: "hash", Mode: schema.Required, Doc: "Hash of the transaction."}),
			{Name: "status", Type: cty.String, Mode: schema.Computed, Doc: "`succeeded` or `failed`."},
			{Name: "reason", Type: cty.String, Mode: schema.Computed, Doc: "Why it failed, as far as its node can tell; else null."},
			{Name: "block", Type: cty.Number, Mode: schema.Computed, Doc: "Number of its block."},
			{Name: "from", Type: cty.String, Mode: schema.Computed, Doc: "Who sent it."},
			{Name: "to", Type: cty.String, Mode: schema.Computed, Doc: "The contract, or the account, that it was sent to; null if it made a contract."},
			{Name: "gas_used", Type: cty.Number, Mode: schema.Computed, Doc: "Gas that it took."},
			{Name: "fee_wei", Type: cty.Number, Mode: schema.Computed, Doc: "What its sender paid for the gas, in wei."},
			{Name: "events", Type: cty.List(eventType), Mode: schema.Computed,
				Doc: "What the hub and the registries tell of it, in order; other contracts are left out. Each has `contract` (its address), `name`, such as `OrdersMatched`, and `args`, a map of " +
					"texts. A registry's `Transfer` from the zero address is a registration; its `tokenId` is the address of the entry."},
		},
	}
}

func (txData) readData(ctx context.Context, c *client, req providers.DataRequest) (providers.DataResult, error) {
	d := objectOf(req.Config)
	registries, err := c.registries(ctx)
	if err != nil {
		return providers.DataResult{}, err
	}
	hash := common.HexToHash(d.str("hash"))
	tx, err := c.chain.Tx(ctx, hash)
	switch {
	case err != nil:
		return providers.DataResult{}, err
	case tx == nil:
		return providers.DataResult{}, providers.At("hash", fmt.Errorf("chain %d has no transaction %s; look for it on the chain that it was sent to", c.ID, hash))
	case tx.Block == nil:
		return providers.DataResult{}, providers.At("hash", fmt.Errorf("transaction %s of %s is in no block yet; read it when it is", hash, tx.From))
	}
	attrs := map[string]cty.Value{
		"status": cty.StringVal("succeeded"), "reason": cty.NullVal(cty.String), "block": bigNumber(tx.Block),
		"from": cty.StringVal(tx.From.Hex()), "to": cty.NullVal(cty.String),
		"gas_used": cty.NumberUIntVal(tx.GasUsed), "fee_wei": bigNumber(tx.Fee), "events": listOf(eventType, eventValues(c.Hub, registries, tx.Logs)),
	}
	if tx.To != nil {
		attrs["to"] = cty.StringVal(tx.To.Hex())
	}
	if !tx.Succeeded {
		attrs["status"] = cty.StringVal("failed")
		var revert *chain.RevertError
		if errors.As(c.chain.Why(ctx, tx), &revert) {
			attrs["reason"] = cty.StringVal(revert.Error())
		}
	}
	return providers.DataResult{Value: d.with(attrs).Cty()}, nil
}

// eventValues are the logs of the protocol's contracts that are understood.
func eventValues(hub common.Address, registries []common.Address, logs []types.Log) (values []cty.Value) {
	for _, l := range logs {
		var known *abi.ABI
		switch {
		case l.Address == hub:
			known = poco.HubABI()
		case slices.Contains(registries, l.Address):
			known = poco.RegistryABI()
		}
		if known == nil || len(l.Topics) == 0 {
			continue
		}
		event, err := known.EventByID(l.Topics[0])
		if err != nil {
			continue
		}
		found := map[string]any{}
		indexed := slices.DeleteFunc(slices.Clone(event.Inputs), func(a abi.Argument) bool { return !a.Indexed })
		if event.Inputs.UnpackIntoMap(found, l.Data) != nil || abi.ParseTopicsIntoMap(found, indexed, l.Topics[1:]) != nil {
			continue
		}
		args := make(map[string]cty.Value, len(found))
		for name, value := range found {
			args[name] = cty.StringVal(argText(name, value))
		}
		values = append(values, cty.ObjectVal(map[string]cty.Value{
			"contract": cty.StringVal(l.Address.Hex()), "name": cty.StringVal(event.Name), "args": cty.MapVal(args),
		}))
	}
	return values
}

// argText is a value of an event as the protocol's tools write it.
func argText(name string, value any) string {
	switch v := value.(type) {
	case [32]byte:
		return hexutil.Encode(v[:])
	case common.Address:
		return v.Hex()
	case *big.Int:
		if name == "tokenId" {
			return common.BigToAddress(v).Hex()
		}
		return v.String()
	}
	return fmt.Sprint(value)
}
