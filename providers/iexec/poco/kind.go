// Package poco is the iExec protocol (PoCo 5.0.0 order format, contracts 6.x) as pure functions: orders and their EIP-712
// hashes, signatures, CREATE2 addresses, tags, amounts, call data and well-known addresses. It does no I/O.
//
// The four order kinds differ only by their tables of fields; everything else is written once over those tables.
package poco

import (
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Field is one member of an order struct.
type Field struct {
	Name string
	Type string // EIP-712 type: address, uint256, bytes32 or string
}

// Kind describes one kind of order. Kinds are compared by pointer; they must not be modified.
type Kind struct {
	Name     string  // struct name: AppOrder
	Noun     string  // as messages and orders.json name it: apporder
	Path     string  // in URLs of the market: apporders
	Resource string  // field with the address whose owner signs: app; for RequestOrder requester, who signs themselves
	Price    string  // field that the market sorts by: appprice; for RequestOrder workerpoolmaxprice
	Fields   []Field // in struct order, including salt; sign is not among them, as it is not part of the hash

	typeHash, operationTypeHash common.Hash
}

// The four kinds. Source: IexecLibOrders_v5.sol.
var (
	AppOrder = newKind("App", "app", "appprice",
		"address app,uint256 appprice,uint256 volume,bytes32 tag,address datasetrestrict,"+
			"address workerpoolrestrict,address requesterrestrict,bytes32 salt")
	DatasetOrder = newKind("Dataset", "dataset", "datasetprice",
		"address dataset,uint256 datasetprice,uint256 volume,bytes32 tag,address apprestrict,"+
			"address workerpoolrestrict,address requesterrestrict,bytes32 salt")
	WorkerpoolOrder = newKind("Workerpool", "workerpool", "workerpoolprice",
		"address workerpool,uint256 workerpoolprice,uint256 volume,bytes32 tag,uint256 category,uint256 trust,"+
			"address apprestrict,address datasetrestrict,address requesterrestrict,bytes32 salt")
	RequestOrder = newKind("Request", "requester", "workerpoolmaxprice",
		"address app,uint256 appmaxprice,address dataset,uint256 datasetmaxprice,address workerpool,"+
			"uint256 workerpoolmaxprice,address requester,uint256 volume,bytes32 tag,uint256 category,uint256 trust,"+
			"address beneficiary,address callback,string params,bytes32 salt")
)

// Kinds returns the four kinds in the order in which matchOrders takes them.
func Kinds() []*Kind { return []*Kind{AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder} }

// newKind reads members ("type name,type name") as they stand in an EIP-712 type string.
func newKind(prefix, resource, price, members string) *Kind {
	k := &Kind{
		Name:     prefix + "Order",
		Noun:     strings.ToLower(prefix) + "order",
		Path:     strings.ToLower(prefix) + "orders",
		Resource: resource,
		Price:    price,
	}
	for m := range strings.SplitSeq(members, ",") {
		typ, name, _ := strings.Cut(m, " ")
		k.Fields = append(k.Fields, Field{Name: name, Type: typ})
	}
	orderType := k.Name + "(" + members + ")"
	k.typeHash = crypto.Keccak256Hash([]byte(orderType))
	k.operationTypeHash = crypto.Keccak256Hash([]byte(k.Name + "Operation(" + k.Name + " order,uint256 operation)" + orderType))
	return k
}

// ManageMethod is the hub's method that closes or presigns an order of this kind: manageAppOrder.
func (k *Kind) ManageMethod() string { return "manage" + k.Name }

// ClosedEvent is the hub's event for a closed order of this kind: ClosedAppOrder(bytes32 hash), not indexed.
func (k *Kind) ClosedEvent() string { return "Closed" + k.Name }

// SignedEvent is the hub's event for a presigned order of this kind: SignedAppOrder(bytes32 hash), not indexed.
func (k *Kind) SignedEvent() string { return "Signed" + k.Name }

// Zero returns the order with every field zero (params empty): with sign 0x, the DatasetOrder that stands for "no
// dataset" in matchOrders.
func (k *Kind) Zero() Order {
	o := make(Order, len(k.Fields))
	for _, f := range k.Fields {
		o[f.Name] = f.format([32]byte{}, "")
	}
	return o
}
