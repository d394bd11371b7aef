package addr_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/internal/bounds"
)

var app = addr.Resource{Type: "iexec_app", Name: "a"}

func TestInstanceText(t *testing.T) {
	for text, want := range map[string]addr.Instance{
		"iexec_app.a":               {Resource: app},
		"iexec_app.a[0]":            {Resource: app, Key: addr.IntKey(0)},
		"iexec_app.a[12]":           {Resource: app, Key: addr.IntKey(12)},
		`iexec_app.a["x"]`:          {Resource: app, Key: addr.StringKey("x")},
		`iexec_app.a["0"]`:          {Resource: app, Key: addr.StringKey("0")},
		`iexec_app.a[""]`:           {Resource: app, Key: addr.StringKey("")},
		`iexec_app.a["a.b[\"c\"]"]`: {Resource: app, Key: addr.StringKey(`a.b["c"]`)},
		`iexec_app.a["$${x}%%{y}"]`: {Resource: app, Key: addr.StringKey("${x}%{y}")},
		`iexec_app.a["\n\\é"]`:      {Resource: app, Key: addr.StringKey("\n\\é")},
		"data.oci_image.i":          {Resource: addr.Resource{Mode: addr.Data, Type: "oci_image", Name: "i"}},
		"data.oci_image.i[1]":       {Resource: addr.Resource{Mode: addr.Data, Type: "oci_image", Name: "i"}, Key: addr.IntKey(1)},
	} {
		got, err := addr.ParseInstance(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if want.String() != text {
			t.Errorf("%+v writes %s, want %s", want, want, text)
		}
	}
	for _, text := range []string{
		"", "iexec_app", "data.oci_image", "iexec_app.a.b", "iexec_app.a[", "iexec_app.a[x]", "iexec_app.a[0.5]", "iexec_app.a[0].name",
		"iexec_app.a[0][1]", "iexec app.a", "iexec_app.", ".a", "iexec_app.a b", `iexec_app.a["${x}"]`, "iexec_app[0].a", "iexec_app.a[\"\xc0\x8e\"]",
	} {
		if got, err := addr.ParseInstance(text); err == nil || !strings.Contains(err.Error(), "TYPE.NAME") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestInstanceAsJSON(t *testing.T) {
	want := map[addr.Instance][]addr.Instance{{Resource: app, Key: addr.StringKey("x")}: {{Resource: app, Key: addr.IntKey(1)}}}
	b, err := json.Marshal(want)
	if err != nil || string(b) != `{"iexec_app.a[\"x\"]":["iexec_app.a[1]"]}` {
		t.Fatalf("%s, %v", b, err)
	}
	got := map[addr.Instance][]addr.Instance{}
	if err := json.Unmarshal(b, &got); err != nil || got[addr.Instance{Resource: app, Key: addr.StringKey("x")}][0].Key != addr.IntKey(1) {
		t.Errorf("%v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"nothing":[]}`), &got); err == nil {
		t.Error("want an error")
	}
}

func TestOrder(t *testing.T) {
	want := []string{
		"iexec_app.a", "iexec_app.a[0]", "iexec_app.a[2]", "iexec_app.a[10]", `iexec_app.a["10"]`, `iexec_app.a["2"]`,
		"iexec_app.b", "iexec_order.a", "data.iexec_app.a",
	}
	var list []addr.Instance
	for i := range want {
		inst, err := addr.ParseInstance(want[len(want)-1-i])
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, inst)
	}
	slices.SortFunc(list, addr.Instance.Compare)
	for i, inst := range list {
		if inst.String() != want[i] {
			t.Errorf("%d: %s, want %s", i, inst, want[i])
		}
	}
}

func TestKeyOf(t *testing.T) {
	for _, v := range []cty.Value{cty.StringVal("x"), cty.NumberIntVal(3)} {
		key, ok := addr.KeyOf(v)
		if !ok || !key.Value().RawEquals(v) || key.IsZero() || key.IsInt() != (v.Type() == cty.Number) {
			t.Errorf("%#v: %v %v", v, key, ok)
		}
	}
	if !(addr.Key{}).IsZero() || (addr.Key{}).Value() != cty.NilVal {
		t.Error("the zero key is not zero")
	}
	for _, v := range []cty.Value{
		cty.NilVal, cty.NullVal(cty.String), cty.UnknownVal(cty.String), cty.StringVal("x").Mark("m"), cty.NumberFloatVal(0.5),
		cty.MustParseNumberVal("18446744073709551616"), cty.True,
	} {
		if key, ok := addr.KeyOf(v); ok {
			t.Errorf("%#v: %v", v, key)
		}
	}
}

func TestFromTraversal(t *testing.T) {
	for text, want := range map[string]string{
		"iexec_app.a.address":          "iexec_app.a 1",
		`iexec_app.a["x"].address`:     `iexec_app.a["x"] 1`,
		"iexec_app.a[0].tag[1]":        "iexec_app.a[0] 2",
		"data.oci_image.i.checksum":    "data.oci_image.i 1",
		"data.oci_image.i[0].checksum": "data.oci_image.i[0] 1",
		"data.oci_image":               "short",
		"iexec_app[0].a":               "short",
	} {
		tr, diags := hclsyntax.ParseTraversalAbs([]byte(text), "", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		inst, rest, ok := addr.FromTraversal(tr)
		got := "short"
		if ok {
			got = inst.String() + " " + string(rune('0'+len(rest)))
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestProvider(t *testing.T) {
	for text, want := range map[string]addr.Provider{
		"iexec":              {Name: "iexec"},
		"iexec.other":        {Name: "iexec", Alias: "other"},
		`iexec.by["a.b"]`:    {Name: "iexec", Alias: "by", Key: addr.StringKey("a.b")},
		`iexec.by["é\"$${"]`: {Name: "iexec", Alias: "by", Key: addr.StringKey("é\"${")},
	} {
		if got := addr.ParseProvider(text); got != want || want.String() != text {
			t.Errorf("%s: %+v %s", text, got, want)
		}
	}
}

func FuzzParseInstance(f *testing.F) {
	for _, text := range []string{"iexec_app.a", `data.oci_image.i["x"]`, "iexec_app.a[3]", `a.b["\u0007$${"]`, `module.m["x"].module.n[0].a.b`, "module.m"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		defer bounds.Watch()()
		if target, err := addr.ParseTarget(text); err == nil {
			if again, err := addr.ParseTarget(target.String()); err != nil || again != target {
				t.Errorf("%q reads as %s, which reads as %s: %v", text, target, again, err)
			}
		}
		first, err := addr.ParseInstance(text)
		if err != nil {
			return
		}
		if again, err := addr.ParseInstance(first.String()); err != nil || again != first {
			t.Errorf("%q reads as %s, which reads as %s: %v", text, first, again, err)
		}
	})
}
