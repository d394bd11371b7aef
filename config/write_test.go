package config_test

import (
	"math/big"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

// What is written has no default, reads as people write it where that is exact, and is in canonical style.
func TestWriteResource(t *testing.T) {
	table := &schema.Table{
		Type: "iexec_apporder",
		Attrs: []schema.Attr{
			{Name: "app", Type: cty.String, Mode: schema.Required},
			{Name: "price", Type: cty.Number, Mode: schema.Required, Accepts: cty.DynamicPseudoType, Parse: parsePrice, Format: func(v cty.Value) string {
				n, _ := v.AsBigFloat().Int(nil)
				return `"` + n.Div(n, big.NewInt(1e9)).String() + ` RLC"`
			}},
			{Name: "volume", Type: cty.Number, Mode: schema.Optional, Default: cty.NumberIntVal(1)},
			{Name: "tag", Type: cty.List(cty.String), Mode: schema.Optional},
			{Name: "password", Type: cty.String, Mode: schema.Optional, Sensitive: true},
			{Name: "hash", Type: cty.String, Mode: schema.Computed},
		},
		Blocks: []schema.Block{{Name: "restrict", Attrs: []schema.Attr{{Name: "requester", Type: cty.String, Mode: schema.Required}}}},
	}
	huge, _ := cty.ParseNumberVal(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)).String())
	value := func(price, volume cty.Value, block cty.Value) schema.Object {
		return table.Blank().With(map[string]cty.Value{
			"app": cty.StringVal("0x1 ${not} \"a\" template\n"), "price": price, "volume": volume,
			"tag": cty.ListVal([]cty.Value{cty.StringVal("tee"), cty.StringVal("tdx")}), "password": cty.StringVal("hunter2"),
			"hash": cty.StringVal("0x2"), "restrict": block,
		})
	}
	none := cty.NullVal(cty.Object(map[string]cty.Type{"requester": cty.String}))
	f := hclwrite.NewEmptyFile()
	name := func(n string) addr.Resource { return addr.Resource{Type: "iexec_apporder", Name: n} }
	price, _ := cty.ParseNumberVal("2000000000") // as Parse makes it
	config.WriteResource(f, table, name("a"), addr.Provider{Name: "iexec"}, value(price, cty.NumberIntVal(1), none))
	body := config.WriteResource(f, table, name("b"), addr.Provider{Name: "iexec", Alias: "other"}, value(cty.NumberIntVal(5), huge,
		cty.ObjectVal(map[string]cty.Value{"requester": cty.StringVal("0x3")})))
	body.SetAttributeValue("app", cty.StringVal("0x4"))
	config.WriteImport(f, addr.Instance{Resource: name("a"), Key: addr.StringKey("k")}, "0x5")
	got := string(config.Source(f))
	want := `resource "iexec_apporder" "a" {
  app   = "0x1 $${not} \"a\" template\n"
  price = "2 RLC"
  tag   = ["tee", "tdx"]
}

resource "iexec_apporder" "b" {
  provider = iexec.other
  app      = "0x4"
  price    = 5
  volume   = 115792089237316195423570985008687907853269984665640564039457584007913129639935
  tag      = ["tee", "tdx"]
  restrict {
    requester = "0x3"
  }
}

import {
  to = iexec_apporder.a["k"]
  id = "0x5"
}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
