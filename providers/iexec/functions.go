package iexec

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Functions that the provider adds to the language. They are pure: what only a chain knows is an argument. Their arguments
// are written as the attributes of the resources are.

func functions() map[string]function.Function {
	return map[string]function.Function{
		"nrlc":             nrlcFunc,
		"rlc":              rlcFunc,
		"keccak256":        keccakFunc,
		"checksum_address": checksumAddressFunc,
		"tag":              tagFunc,
		"predict_app":      predictAppFunc,
		"order_hash":       orderHashFunc,
	}
}

// pure makes a function of f, whose errors are about the argument that it names.
func pure(doc string, result cty.Type, params []function.Parameter, f func(args []cty.Value) (v cty.Value, wrong int, err error)) function.Function {
	return function.New(&function.Spec{
		Description: doc, Params: params, Type: function.StaticReturnType(result),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			for _, arg := range args {
				if !arg.IsWhollyKnown() {
					return cty.UnknownVal(result), nil
				}
			}
			v, wrong, err := f(args)
			if err != nil {
				return cty.UnknownVal(result), function.NewArgError(wrong, err)
			}
			return v, nil
		},
	})
}

func one(name string, ty cty.Type) []function.Parameter {
	return []function.Parameter{{Name: name, Type: ty}}
}

var nrlcFunc = pure("`nrlc(\"1.5 RLC\")` is the amount as an integer of nRLC.", cty.Number, one("amount", cty.String),
	func(args []cty.Value) (cty.Value, int, error) {
		n, err := poco.ParseAmount(args[0].AsString())
		return amountOf(n), 0, err
	})

var rlcFunc = pure("`rlc(1.5)` is that many RLC as an integer of nRLC, of which a RLC has 10^9.", cty.Number, one("amount", cty.String),
	func(args []cty.Value) (cty.Value, int, error) {
		n, err := poco.ParseAmount(strings.TrimSuffix(args[0].AsString(), " RLC") + " RLC")
		return amountOf(n), 0, err
	})

func amountOf(n *big.Int) cty.Value {
	if n == nil {
		return cty.NilVal
	}
	return bigNumber(n)
}

var keccakFunc = pure("`keccak256(text)` is the Keccak-256 hash of the text's UTF-8 bytes, as 0x hex.", cty.String, one("text", cty.String),
	func(args []cty.Value) (cty.Value, int, error) {
		return cty.StringVal(crypto.Keccak256Hash([]byte(args[0].AsString())).Hex()), 0, nil
	})

var checksumAddressFunc = pure("`checksum_address(address)` is the address with the upper and lower case of EIP-55. An address whose case is wrong is refused.",
	cty.String, one("address", cty.String),
	func(args []cty.Value) (cty.Value, int, error) {
		v, err := parseAddress(args[0])
		return v, 0, err
	})

var tagFunc = pure("`tag([\"tee\", \"tdx\"])` is the tag with these names as 32 bytes of hex.", cty.String, one("names", cty.DynamicPseudoType),
	func(args []cty.Value) (cty.Value, int, error) {
		v, err := tagAttr(schema.Attr{}).Parse(args[0])
		return v, 0, err
	})

// appRegistries are the app registries of the built-in chains. Where there is a chain to ask it is asked; the functions
// have none. Source: deployments of PoCo 6.1.0; the localnet's is tested.
var appRegistries = map[string]common.Address{
	"arbitrum-mainnet":         common.HexToAddress("0x9950D94fb074182ee93ff79A50Cd698C4983281F"),
	"arbitrum-sepolia-testnet": common.HexToAddress("0x9950D94fb074182ee93ff79A50Cd698C4983281F"),
	"localnet":                 common.HexToAddress("0x09635F643e140090A9A8Dcd712eD6285858ceBef"),
}

var predictAppFunc = pure("`predict_app(registry, app)` is the address that an app has or will have. `registry` is the name of a built-in chain, or the address "+
	"of an app registry; `app` is an object with the attributes of iexec_app: owner (the first one), name, multiaddr, checksum, and where they aren't the usual ones type and mrenclave.",
	cty.String, append(one("registry", cty.String), function.Parameter{Name: "app", Type: cty.DynamicPseudoType}),
	func(args []cty.Value) (cty.Value, int, error) {
		registry, ok := appRegistries[args[0].AsString()]
		if !ok {
			v, err := parseAddress(args[0])
			if err != nil {
				return v, 0, fmt.Errorf("%q is neither one of %s nor the address of a registry", args[0].AsString(), strings.Join(chainNames(), ", "))
			}
			registry = common.HexToAddress(v.AsString())
		}
		attrs := append([]schema.Attr{addressAttr(schema.Attr{Name: "owner", Mode: schema.Required})}, appEntry.fields...)
		for i := range attrs {
			if attrs[i].Mode == schema.OptionalComputed { // there is nobody to ask
				attrs[i].Mode = schema.Required
			}
		}
		app, err := objectArgument(args[1], attrs)
		if err != nil {
			return cty.NilVal, 1, err
		}
		enclave := []byte(app["mrenclave"].AsString())
		fields := poco.App{Name: app["name"].AsString(), Type: app["type"].AsString(), Multiaddr: []byte(app["multiaddr"].AsString()),
			Checksum: common.HexToHash(app["checksum"].AsString()), MREnclave: enclave}
		return cty.StringVal(fields.Address(registry, common.HexToAddress(app["owner"].AsString())).Hex()), 0, nil
	})

var orderHashFunc = pure("`order_hash(chain, order)` is the hash of an order of any kind (EIP-712): its name on chain and on the market. `chain` is the name of a built-in "+
	"chain, or an object with chain_id and hub; `order` is an object with the order's fields, including salt; restrictions that are left out are none.",
	cty.String, []function.Parameter{{Name: "chain", Type: cty.DynamicPseudoType}, {Name: "order", Type: cty.DynamicPseudoType}},
	func(args []cty.Value) (cty.Value, int, error) {
		domain, err := domainArgument(args[0])
		if err != nil {
			return cty.NilVal, 0, err
		}
		kind, order, err := orderArgument(args[1])
		if err != nil {
			return cty.NilVal, 1, err
		}
		hash, err := domain.OrderHash(kind, order)
		return cty.StringVal(hash.Hex()), 1, err
	})

func domainArgument(v cty.Value) (poco.Domain, error) {
	if v.Type() == cty.String {
		c, ok := poco.ChainByName(v.AsString())
		if !ok {
			return poco.Domain{}, fmt.Errorf("there is no chain %q; there are %s, or write { chain_id = N, hub = \"0x…\" }", v.AsString(), strings.Join(chainNames(), ", "))
		}
		return c.Domain(), nil
	}
	attrs := []schema.Attr{uintAttr(schema.Attr{Name: "chain_id", Mode: schema.Required}, 1), addressAttr(schema.Attr{Name: "hub", Mode: schema.Required})}
	chain, err := objectArgument(v, attrs)
	if err != nil {
		return poco.Domain{}, err
	}
	id, err := bigInt(chain["chain_id"])
	return poco.Domain{ChainID: id, Hub: common.HexToAddress(chain["hub"].AsString())}, err
}

// orderArgument reads an order; its price tells the kind.
func orderArgument(v cty.Value) (*poco.Kind, poco.Order, error) {
	if !v.Type().IsObjectType() && !v.Type().IsMapType() {
		return nil, nil, fmt.Errorf("want an object with the order's fields, not %s", v.Type().FriendlyName())
	}
	var kind *poco.Kind
	for _, k := range poco.Kinds() {
		if _, ok := v.AsValueMap()[k.Price]; ok {
			kind = k
		}
	}
	if kind == nil {
		return nil, nil, errors.New("it is no order: it has none of appprice, datasetprice, workerpoolprice and workerpoolmaxprice")
	}
	attrs := make([]schema.Attr, len(kind.Fields))
	for i, f := range kind.Fields {
		a := schema.Attr{Name: f.Name, Mode: schema.Required}
		switch {
		case f.Name == "tag":
			a = tagAttr(a)
		case strings.HasSuffix(f.Name, "price"):
			a = priceAttr(a)
		case f.Type == "uint256":
			a = uintAttr(a, 0)
		case f.Type == "bytes32":
			a = bytes32Attr(a)
		case f.Type == "string":
			a.Type, a.Mode, a.Default = cty.String, schema.Optional, cty.StringVal("")
		default:
			a = addressAttr(a)
		}
		if strings.HasSuffix(f.Name, "restrict") {
			a.Mode, a.Default = schema.Optional, cty.StringVal(common.Address{}.Hex())
		}
		attrs[i] = a
	}
	values, err := objectArgument(v, attrs)
	if err != nil {
		return nil, nil, err
	}
	texts := map[string]any{}
	for name, value := range values {
		if value.Type() == cty.Number {
			n, err := bigInt(value)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", name, err)
			}
			texts[name] = json.Number(n.String())
			continue
		}
		texts[name] = value.AsString()
	}
	order, err := kind.Canonical(texts)
	return kind, order, err
}

// objectArgument reads an object as a block with the attributes would be read.
func objectArgument(v cty.Value, attrs []schema.Attr) (map[string]cty.Value, error) {
	if !v.Type().IsObjectType() && !v.Type().IsMapType() {
		return nil, fmt.Errorf("want an object, not %s", v.Type().FriendlyName())
	}
	given, values := v.AsValueMap(), map[string]cty.Value{}
	var names []string
	for _, a := range attrs {
		names = append(names, a.Name)
		value, ok := given[a.Name]
		switch {
		case ok && !value.IsNull():
		case a.Mode == schema.Required:
			return nil, fmt.Errorf("%s is missing", a.Name)
		default:
			values[a.Name] = a.Default
			continue
		}
		accepts := a.Accepts
		if accepts == cty.NilType {
			accepts = a.Type
		}
		value, err := convert.Convert(value, accepts)
		if err == nil && a.Parse != nil {
			value, err = a.Parse(value)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.Name, err)
		}
		values[a.Name] = value
	}
	for name := range given {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("it has %s, and may have %s", name, strings.Join(names, ", "))
		}
	}
	return values, nil
}
