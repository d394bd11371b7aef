package schema_test

import (
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
)

var table = &schema.Table{
	Type: "iexec_app",
	Attrs: []schema.Attr{
		{Name: "name", Type: cty.String, Mode: schema.Required},
		{Name: "volume", Type: cty.Number, Mode: schema.Optional, Accepts: cty.String},
		{Name: "address", Type: cty.String, Mode: schema.Computed},
	},
	Blocks: []schema.Block{{Name: "restrict", Attrs: []schema.Attr{{Name: "requester", Type: cty.String}}}},
}

func TestObjectType(t *testing.T) {
	want := cty.Object(map[string]cty.Type{
		"name": cty.String, "volume": cty.Number, "address": cty.String,
		"restrict": cty.Object(map[string]cty.Type{"requester": cty.String}),
	})
	if got := table.ObjectType(); !got.Equals(want) {
		t.Errorf("%#v", got)
	}
	blank := table.Blank().Cty()
	if !blank.Type().Equals(want) || blank.IsNull() {
		t.Errorf("%#v", blank)
	}
	for name, v := range blank.AsValueMap() {
		if !v.IsNull() {
			t.Errorf("%s is %#v", name, v)
		}
	}
}

func TestAttr(t *testing.T) {
	if a := table.Attr("volume"); a != &table.Attrs[1] {
		t.Errorf("%+v", a)
	}
	if a := table.Attr("restrict"); a != nil {
		t.Errorf("%+v", a)
	}
}

func TestSettable(t *testing.T) {
	for mode, want := range map[schema.Mode]bool{schema.Required: true, schema.Optional: true, schema.OptionalComputed: true, schema.Computed: false} {
		if mode.Settable() != want {
			t.Errorf("%d", mode)
		}
	}
}
