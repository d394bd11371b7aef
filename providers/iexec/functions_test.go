package iexec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// call evaluates an expression with the provider's functions.
func call(t *testing.T, text string) (cty.Value, hcl.Diagnostics) {
	t.Helper()
	expr, diags := hclsyntax.ParseExpression([]byte(text), "test", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return expr.Value(&hcl.EvalContext{Functions: providers.Registry{"iexec": iexec.New()}.Functions()})
}

func TestFunctions(t *testing.T) {
	const (
		account = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
		salt    = "0x" + "11" + "00000000000000000000000000000000000000000000000000000000000000"
	)
	for expr, want := range map[string]string{
		`nrlc("1.5 RLC")`:     "1500000000",
		`rlc(1.5)`:            "1500000000",
		`rlc("0.000000001")`:  "1",
		`rlc("2 RLC")`:        "2000000000",
		`keccak256("")`:       "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
		`tag(["tee", "tdx"])`: "0x0000000000000000000000000000000000000000000000000000000000000009",
		`tag("tee,scone")`:    "0x0000000000000000000000000000000000000000000000000000000000000003",
		`tag([])`:             "0x0000000000000000000000000000000000000000000000000000000000000000",
		`tag("0x` + salt[2:] + `") == "` + salt + `"`: "true",
		`checksum_address(lower)`:                     account,
	} {
		expr = strings.ReplaceAll(expr, "lower", fmt.Sprintf("%q", strings.ToLower(account)))
		v, diags := call(t, expr)
		got := ""
		switch {
		case diags.HasErrors():
			t.Errorf("%s: %v", expr, diags)
			continue
		case v.Type() == cty.Number:
			got = v.AsBigFloat().Text('f', -1)
		case v.Type() == cty.Bool:
			got = fmt.Sprint(v.True())
		default:
			got = v.AsString()
		}
		if got != want {
			t.Errorf("%s = %s, want %s", expr, got, want)
		}
	}
	for expr, want := range map[string]string{
		`rlc("a")`:              "amount",
		`rlc("1.0000000001")`:   "9 decimals",
		`rlc(-1)`:               "amount",
		`tag(["tee", "sgx"])`:   `unknown tag "sgx"`,
		`tag(1)`:                "want a list of names",
		`checksum_address("0")`: "is not an address",
		`checksum_address("0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266")`: "wrong EIP-55 checksum",
		`predict_app("mainnet", {})`:                                     "neither one of arbitrum-mainnet",
		`predict_app("localnet", "x")`:                                   "want an object",
		`predict_app("localnet", { owner = "` + account + `" })`:         "name is missing",
		`order_hash("mainnet", {})`:                                      "there is no chain",
		`order_hash({ chain_id = 0, hub = "` + account + `" }, {})`:      "chain_id: 0 is out of range",
		`order_hash("localnet", { price = 1 })`:                          "it is no order",
		`order_hash("localnet", { appprice = 1 })`:                       "app is missing",
		`order_hash("localnet", { app = "` + account + `", appprice = 1, volume = 1, tag = [], salt = "` + salt + `", volum = 1 })`: "it has volum, and may have",
	} {
		if _, diags := call(t, expr); !strings.Contains(diags.Error(), want) {
			t.Errorf("%s: %v, want %s", expr, diags, want)
		}
	}
}

// What isn't known yet makes the results unknown.
func TestFunctionsOfUnknownValues(t *testing.T) {
	unknown := cty.UnknownVal(cty.String)
	for name, f := range (providers.Registry{"iexec": iexec.New()}).Functions() {
		args := make([]cty.Value, len(f.Params()))
		for i, p := range f.Params() {
			if args[i] = unknown; p.Type == cty.DynamicPseudoType {
				args[i] = cty.ObjectVal(map[string]cty.Value{"owner": unknown, "appprice": unknown, "chain_id": unknown})
			}
		}
		if v, err := f.Call(args); err != nil || v.IsKnown() {
			t.Errorf("%s: %#v %v", name, v, err)
		}
	}
}

// What the functions compute is what the contracts compute, and what the resources are.
func TestFunctionsAgreeWithChain(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = \"1.5 RLC\"\nvolume = 7\nrequesterrestrict = iexec_app.a.owner")
	w.Obey(w.Plan())
	app, order := w.Value("iexec_app.a"), w.Value("iexec_apporder.o")
	owner := app.GetAttr("owner").AsString()
	object := fmt.Sprintf(`{ owner = %q, name = "Nilearn", multiaddr = "docker.io/iexechub/nilearn:1.0", checksum = %q }`, owner, checksum)
	args := []any{common.HexToAddress(owner), "Nilearn", "DOCKER", []byte("docker.io/iexechub/nilearn:1.0"), common.HexToHash(checksum), []byte{}}
	data, err := poco.RegistryABI().Pack("predictApp", args...)
	if err != nil {
		t.Fatal(err)
	}
	registry := w.net.Info().AppRegistry
	predicted := common.BytesToAddress(w.call(registry, data)).Hex()
	for _, where := range []string{"localnet", registry.Hex()} {
		v, diags := call(t, fmt.Sprintf("predict_app(%q, %s)", where, object))
		if diags.HasErrors() || v.AsString() != predicted || predicted != app.GetAttr("address").AsString() {
			t.Errorf("%s: %#v %v, want %s", where, v, diags, predicted)
		}
	}
	object = fmt.Sprintf(`{ app = %q, appprice = "1.5 RLC", volume = 7, tag = ["tee", "tdx"], requesterrestrict = %q, salt = %q }`,
		predicted, owner, order.GetAttr("salt").AsString())
	for _, where := range []string{`"localnet"`, fmt.Sprintf("{ chain_id = 31337, hub = %q }", w.net.Info().Hub.Hex())} {
		v, diags := call(t, fmt.Sprintf("order_hash(%s, %s)", where, object))
		if diags.HasErrors() || v.AsString() != order.GetAttr("order_hash").AsString() {
			t.Errorf("%s: %#v %v, want %#v", where, v, diags, order.GetAttr("order_hash"))
		}
	}
}
