package poco

import (
	"bytes"
	"fmt"
	"reflect"
	"sync"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
)

// EntryKind describes one kind of registry entry. Kinds are compared by pointer; they must not be modified.
type EntryKind struct {
	Noun     string  // as messages name it, and the field of orders with its address: app
	Registry string  // the hub's getter of its registry: appregistry
	Create   string  // the registry's method that makes an entry: createApp
	View     string  // the hub's method that reads an entry: viewApp
	Fields   []Field // what is immutable of an entry, in the order in which initialize, Create and View have it

	initialize func() *abi.ABI
}

// EntryFields is the immutable part of an entry, in the order of its kind's Fields: a string's and bytes' own bytes, and
// the 32 bytes of a bytes32.
type EntryFields [][]byte

// The three kinds. Source: App.sol, Dataset.sol, Workerpool.sol and their registries.
var (
	AppEntry        = newEntryKind("app", "App", "string name,string type,bytes multiaddr,bytes32 checksum,bytes mrenclave")
	DatasetEntry    = newEntryKind("dataset", "Dataset", "string name,bytes multiaddr,bytes32 checksum")
	WorkerpoolEntry = newEntryKind("workerpool", "Workerpool", "string description")
)

// EntryKinds returns the three kinds.
func EntryKinds() []*EntryKind { return []*EntryKind{AppEntry, DatasetEntry, WorkerpoolEntry} }

// newEntryKind reads members ("type name,type name") as they stand in the contract's initialize.
func newEntryKind(noun, name, members string) *EntryKind {
	k := &EntryKind{Noun: noun, Registry: noun + "registry", Create: "create" + name, View: "view" + name}
	for _, a := range args(members) {
		k.Fields = append(k.Fields, Field{Name: a.Name, Type: a.Type})
	}
	k.initialize = sync.OnceValue(func() *abi.ABI { return build(fn("initialize", members)) })
	return k
}

// Entry is the kind of entry whose owner signs orders of the kind; nil for RequestOrder, which requesters sign themselves.
func (k *Kind) Entry() *EntryKind {
	for _, e := range EntryKinds() {
		if e.Noun == k.Resource {
			return e
		}
	}
	return nil
}

// arguments are the fields as Go values of their ABI types. Missing ones are a mistake of the caller: it panics.
func (k *EntryKind) arguments(fields EntryFields, before ...any) []any {
	for i, f := range k.Fields {
		switch f.Type {
		case "string":
			before = append(before, string(fields[i]))
		case "bytes32":
			before = append(before, common.BytesToHash(fields[i]))
		default:
			before = append(before, fields[i])
		}
	}
	return before
}

// Initializer is the call initialize(...) with which the registry creates the entry.
func (k *EntryKind) Initializer(fields EntryFields) []byte {
	return mustPack(k.initialize(), "initialize", k.arguments(fields)...)
}

// Address is the entry's address in the registry. It depends on the first owner for ever: a transfer changes the owner and
// not the address.
func (k *EntryKind) Address(registry, firstOwner common.Address, fields EntryFields) common.Address {
	return EntryAddress(registry, firstOwner, k.Initializer(fields))
}

// PackCreate is the call data of the registry's Create. Anybody may send it, for any owner.
func (k *EntryKind) PackCreate(owner common.Address, fields EntryFields) []byte {
	return mustPack(RegistryABI(), k.Create, k.arguments(fields, owner)...)
}

// UnpackCreate reads what PackCreate wrote; ok is false for other call data.
func (k *EntryKind) UnpackCreate(data []byte) (owner common.Address, fields EntryFields, ok bool) {
	method := RegistryABI().Methods[k.Create]
	if !bytes.HasPrefix(data, method.ID) {
		return owner, nil, false
	}
	args, err := method.Inputs.Unpack(data[len(method.ID):])
	if err != nil {
		return owner, nil, false
	}
	for _, arg := range args {
		switch v := arg.(type) {
		case common.Address:
			owner = v
		case string:
			fields = append(fields, []byte(v))
		case [32]byte:
			fields = append(fields, v[:])
		case []byte:
			fields = append(fields, v)
		}
	}
	return owner, fields, len(fields) == len(k.Fields)
}

// PackView is the call data of the hub's View of the entry at an address.
func (k *EntryKind) PackView(address common.Address) []byte {
	return mustPack(HubABI(), k.View, address)
}

// UnpackView reads the hub's answer to View. more is what a kind has beyond its immutable fields, by ABI name: a
// workerpool's workerStakeRatio and schedulerRewardRatio, as *big.Int.
func (k *EntryKind) UnpackView(data []byte) (owner common.Address, fields EntryFields, more map[string]any, err error) {
	outputs := HubABI().Methods[k.View].Outputs
	out, err := outputs.Unpack(data)
	if err != nil {
		return owner, nil, nil, fmt.Errorf("unpack %s: %w", k.View, err)
	}
	fields, more = EntryFields{}, map[string]any{}
	tuple := reflect.ValueOf(out[0])
	for i, name := range outputs[0].Type.TupleRawNames {
		switch v := tuple.Field(i).Interface().(type) {
		case common.Address:
			owner = v
		case string:
			fields = append(fields, []byte(v))
		case [32]byte:
			fields = append(fields, v[:])
		case []byte:
			fields = append(fields, v)
		default:
			more[name] = v
		}
	}
	return owner, fields, more, nil
}
