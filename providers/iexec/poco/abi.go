package poco

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
)

// The contracts' interfaces, as far as they are used. Sources: the contracts' artifacts (PoCo 6.1.0), Multicall3.
// Argument names are short forms of the contracts' own; they don't take part in selectors.
var (
	// HubABI is the PoCo hub (the diamond). Orders in it are the structs of Kinds, with sign.
	HubABI = sync.OnceValue(func() *abi.ABI {
		members := []entry{
			fn("appregistry", "", "address"), fn("datasetregistry", "", "address"), fn("workerpoolregistry", "", "address"),
			fn("token", "", "address"),
			fn("domain", "").returns(tuple("domain", "string name,string version,uint256 chainId,address verifyingContract")),
			fn("eip712domain_separator", "", "bytes32"),
			fn("viewConsumed", "bytes32 orderHash", "uint256"),
			fn("viewPresigned", "bytes32 orderHash", "address"),
			fn("verifySignature", "address identity,bytes32 hash,bytes signature", "bool"),
			fn("verifyPresignatureOrSignature", "address identity,bytes32 hash,bytes signature", "bool"),
			fn("viewAccount", "address account").returns(tuple("account", "uint256 stake,uint256 locked")),
			fn("viewApp", "address app").returns(tuple("app",
				"address owner,string name,string type,bytes multiaddr,bytes32 checksum,bytes mrenclave")),
			fn("viewDataset", "address dataset").returns(tuple("dataset",
				"address owner,string name,bytes multiaddr,bytes32 checksum")),
			fn("viewWorkerpool", "address workerpool").returns(tuple("workerpool",
				"address owner,string description,uint256 workerStakeRatio,uint256 schedulerRewardRatio")),
			fn("viewCategory", "uint256 catid").returns(tuple("category", "string name,string description,uint256 workClockTimeRef")),
			fn("countCategory", "", "uint256"), fn("createCategory", "string name,string description,uint256 workClockTimeRef", "uint256"),
			fn("viewDeal", "bytes32 dealid").returns(dealTuple()),
			fn("balanceOf", "address account", "uint256"),
			fn("deposit", "uint256 amount", "bool"), fn("depositFor", "uint256 amount,address target", "bool"),
			fn("withdraw", "uint256 amount", "bool"), fn("withdrawTo", "uint256 amount,address target", "bool"),
			fn("configure", "address token,string name,string symbol,uint8 decimals,address appregistry,"+
				"address datasetregistry,address workerpoolregistry,address v3"),
			event("OrdersMatched", "bytes32 dealid,bytes32 appHash,bytes32 datasetHash,bytes32 workerpoolHash,bytes32 requestHash,uint256 volume"),
			event("Reward", "address owner,uint256 amount,bytes32 ref"),
			event("CreateCategory", "uint256 catid,string name,string description,uint256 workClockTimeRef"),
		}
		match := fn("matchOrders", "", "bytes32")
		for _, k := range Kinds() {
			order := orderTuple(k)
			operation := entry{Name: "operation", Type: "tuple", Components: append([]entry{order}, args("uint8 operation,bytes sign")...)}
			manage := fn(k.ManageMethod(), "")
			manage.Inputs = []entry{operation}
			members = append(members, manage, event(k.ClosedEvent(), "bytes32 hash"), event(k.SignedEvent(), "bytes32 hash"))
			order.Name = k.Noun
			match.Inputs = append(match.Inputs, order)
		}
		return build(append(members, match)...)
	})

	// RegistryABI is what the three registries have in common (ERC-721), with the create and predict methods of each.
	RegistryABI = sync.OnceValue(func() *abi.ABI {
		app := "address owner,string name,string type,bytes multiaddr,bytes32 checksum,bytes mrenclave"
		dataset := "address owner,string name,bytes multiaddr,bytes32 checksum"
		workerpool := "address owner,string description"
		transfer := event("Transfer", "address from,address to,uint256 tokenId")
		for i := range transfer.Inputs {
			transfer.Inputs[i].Indexed = true
		}
		return build(
			fn("createApp", app, "address"), fn("predictApp", app, "address"),
			fn("createDataset", dataset, "address"), fn("predictDataset", dataset, "address"),
			fn("createWorkerpool", workerpool, "address"), fn("predictWorkerpool", workerpool, "address"),
			fn("isRegistered", "address entry", "bool"),
			fn("proxyCodeHash", "", "bytes32"),
			fn("initialize", "address previous"),
			fn("balanceOf", "address owner", "uint256"),
			fn("tokenOfOwnerByIndex", "address owner,uint256 index", "uint256"),
			fn("ownerOf", "uint256 tokenId", "address"),
			fn("safeTransferFrom", "address from,address to,uint256 tokenId"),
			transfer,
		)
	})

	// AppABI is the getters of an app; owner() is also that of datasets and workerpools.
	AppABI = sync.OnceValue(func() *abi.ABI {
		return build(fn("owner", "", "address"), fn("m_appName", "", "string"), fn("m_appType", "", "string"),
			fn("m_appMultiaddr", "", "bytes"), fn("m_appChecksum", "", "bytes32"), fn("m_appMREnclave", "", "bytes"))
	})

	// WorkerpoolABI is what only workerpools have.
	WorkerpoolABI = sync.OnceValue(func() *abi.ABI {
		return build(fn("changePolicy", "uint256 workerStakeRatio,uint256 schedulerRewardRatio"))
	})

	// TokenABI is the RLC token.
	TokenABI = sync.OnceValue(func() *abi.ABI {
		return build(fn("balanceOf", "address owner", "uint256"), fn("transfer", "address to,uint256 amount", "bool"),
			fn("approve", "address spender,uint256 amount", "bool"), fn("allowance", "address owner,address spender", "uint256"),
			fn("approveAndCall", "address spender,uint256 amount,bytes data", "bool"))
	})

	// MulticallABI is Multicall3's aggregate3.
	MulticallABI = sync.OnceValue(func() *abi.ABI {
		calls := tuple("calls", "address target,bool allowFailure,bytes callData")
		results := tuple("results", "bool success,bytes returnData")
		calls.Type, results.Type = "tuple[]", "tuple[]"
		aggregate := fn("aggregate3", "").returns(results)
		aggregate.Inputs = []entry{calls}
		return build(aggregate)
	})
)

// entry is one element of a JSON ABI: a method, an event, or an argument.
type entry struct {
	Name       string  `json:"name"`
	Type       string  `json:"type"`
	Indexed    bool    `json:"indexed,omitempty"`
	Inputs     []entry `json:"inputs,omitempty"`
	Outputs    []entry `json:"outputs,omitempty"`
	Components []entry `json:"components,omitempty"`
}

func fn(name, inputs string, outputs ...string) entry {
	e := entry{Type: "function", Name: name, Inputs: args(inputs)}
	for _, o := range outputs {
		e.Outputs = append(e.Outputs, entry{Type: o})
	}
	return e
}

func (e entry) returns(out entry) entry {
	e.Outputs = []entry{out}
	return e
}

func event(name, inputs string) entry { return entry{Type: "event", Name: name, Inputs: args(inputs)} }

func tuple(name, components string) entry {
	return entry{Type: "tuple", Name: name, Components: args(components)}
}

// args reads "type name,type name".
func args(list string) (out []entry) {
	if list == "" {
		return nil
	}
	for a := range strings.SplitSeq(list, ",") {
		typ, name, _ := strings.Cut(a, " ")
		out = append(out, entry{Type: typ, Name: name})
	}
	return out
}

func orderTuple(k *Kind) entry {
	t := entry{Type: "tuple", Name: "order"}
	for _, f := range k.Fields {
		t.Components = append(t.Components, entry{Type: f.Type, Name: f.Name})
	}
	t.Components = append(t.Components, entry{Type: "bytes", Name: "sign"})
	return t
}

func dealTuple() entry {
	t := entry{Type: "tuple", Name: "deal"}
	for _, r := range []string{"app", "dataset", "workerpool"} {
		t.Components = append(t.Components, tuple(r, "address pointer,address owner,uint256 price"))
	}
	t.Components = append(t.Components, args("uint256 trust,uint256 category,bytes32 tag,address requester,address beneficiary,"+
		"address callback,string params,uint256 startTime,uint256 botFirst,uint256 botSize,uint256 workerStake,"+
		"uint256 schedulerRewardRatio,address sponsor")...)
	return t
}

// build panics on a malformed table, which is a mistake in this file.
func build(entries ...entry) *abi.ABI {
	text, err := json.Marshal(entries)
	if err != nil {
		panic(err)
	}
	a, err := abi.JSON(bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	return &a
}

// mustPack is for arguments whose Go types fit the ABI by construction.
func mustPack(a *abi.ABI, method string, args ...any) []byte {
	data, err := a.Pack(method, args...)
	if err != nil {
		panic(fmt.Sprintf("pack %s: %v", method, err))
	}
	return data
}

// PackCreateApp is the call data of createApp on the AppRegistry.
func PackCreateApp(owner common.Address, app App) []byte {
	return AppEntry.PackCreate(owner, app.Fields())
}

// PackCreateDataset is the call data of createDataset on the DatasetRegistry.
func PackCreateDataset(owner common.Address, d Dataset) []byte {
	return DatasetEntry.PackCreate(owner, d.Fields())
}

// PackCreateWorkerpool is the call data of createWorkerpool on the WorkerpoolRegistry.
func PackCreateWorkerpool(owner common.Address, w Workerpool) []byte {
	return WorkerpoolEntry.PackCreate(owner, w.Fields())
}

// PackTransfer is the call data of safeTransferFrom on the registry that holds entry.
func PackTransfer(from, to, entry common.Address) []byte {
	return mustPack(RegistryABI(), "safeTransferFrom", from, to, TokenID(entry))
}

// PackChangePolicy is the call data of changePolicy on a workerpool, which only its owner may send. Both are percentages, and
// schedulerReward is at most 100.
func PackChangePolicy(workerStake, schedulerReward *big.Int) []byte {
	return mustPack(WorkerpoolABI(), "changePolicy", workerStake, schedulerReward)
}

// TokenID is the ERC-721 token of an entry in its registry.
func TokenID(entry common.Address) *big.Int { return new(big.Int).SetBytes(entry[:]) }

// Call is one call of Multicall3's aggregate3.
type Call struct {
	Target       common.Address
	AllowFailure bool
	CallData     []byte
}

// CallResult is the result of one Call; ReturnData of a failed one is the revert data.
type CallResult struct {
	Success    bool
	ReturnData []byte
}

// PackAggregate3 is the call data of aggregate3 on Multicall3.
func PackAggregate3(calls []Call) []byte { return mustPack(MulticallABI(), "aggregate3", calls) }

// UnpackAggregate3 reads the answer to aggregate3: one result per call, in order.
func UnpackAggregate3(data []byte) ([]CallResult, error) {
	var out struct{ Results []CallResult }
	if err := MulticallABI().UnpackIntoInterface(&out, "aggregate3", data); err != nil {
		return nil, fmt.Errorf("unpack aggregate3: %w", err)
	}
	return out.Results, nil
}

// SignedOrder is an order with its signature: a bearer instrument, usable by whoever holds it until it is closed.
type SignedOrder struct {
	Order Order
	Sign  []byte // empty for a presigned order, and for the zero dataset order
}

// PackManageOrder is the call data of the hub's manageXOrder for op OpSign or OpClose. sign is the owner's signature over
// OperationHash, and may be nil if the owner sends the transaction. (The order's own sign plays no part and is left empty.)
func PackManageOrder(k *Kind, o Order, op uint8, sign []byte) ([]byte, error) {
	method := HubABI().Methods[k.ManageMethod()]
	typ := method.Inputs[0].Type
	operation := reflect.New(typ.GetType()).Elem()
	if err := setOrder(operation.Field(0), k, SignedOrder{Order: o}); err != nil {
		return nil, fmt.Errorf("pack %s: %w", method.Name, err)
	}
	operation.Field(1).SetUint(uint64(op))
	operation.Field(2).SetBytes(sign)
	return HubABI().Pack(method.Name, operation.Interface())
}

// PackMatchOrders is the call data of the hub's matchOrders.
func PackMatchOrders(app, dataset, workerpool, request SignedOrder) ([]byte, error) {
	method := HubABI().Methods["matchOrders"]
	args := make([]any, 4)
	for i, o := range []SignedOrder{app, dataset, workerpool, request} {
		v := reflect.New(method.Inputs[i].Type.GetType()).Elem()
		if err := setOrder(v, Kinds()[i], o); err != nil {
			return nil, fmt.Errorf("pack matchOrders: %w", err)
		}
		args[i] = v.Interface()
	}
	return HubABI().Pack(method.Name, args...)
}

// setOrder fills the ABI's struct of an order, whose members are the kind's fields in order, then sign.
func setOrder(v reflect.Value, k *Kind, o SignedOrder) error {
	for i, f := range k.Fields {
		text := o.Order[f.Name]
		word, err := f.encode(text)
		if err != nil {
			return fmt.Errorf("%s: %w", k.Noun, err)
		}
		switch f.Type {
		case "address":
			v.Field(i).Set(reflect.ValueOf(common.BytesToAddress(word[12:])))
		case "uint256":
			v.Field(i).Set(reflect.ValueOf(new(big.Int).SetBytes(word[:])))
		case "bytes32":
			v.Field(i).Set(reflect.ValueOf(word))
		default:
			v.Field(i).SetString(text)
		}
	}
	sign := o.Sign
	if sign == nil {
		sign = []byte{}
	}
	v.Field(len(k.Fields)).SetBytes(sign)
	return nil
}
