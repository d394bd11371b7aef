package schema_test

import (
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
)

func TestObject(t *testing.T) {
	values := map[string]cty.Value{
		"name": cty.StringVal("a"), "volume": cty.NumberIntVal(3), "address": cty.NullVal(cty.String),
		"restrict": cty.ObjectVal(map[string]cty.Value{"requester": cty.StringVal("0x1")}),
	}
	whole := cty.ObjectVal(values)
	o := table.Object(whole)
	if !o.Cty().RawEquals(whole) || !schema.ObjectOf(whole).Cty().RawEquals(whole) || !table.Blank().With(values).Equal(o) {
		t.Errorf("%#v", o.Cty())
	}
	if o.Text("name") != "a" || o.Text("address") != "" || !o.Attr("volume").RawEquals(cty.NumberIntVal(3)) || !o.Has("restrict") || o.Has("none") {
		t.Errorf("%#v", o.Cty())
	}
	made := table.Make([]cty.Value{cty.StringVal("a"), cty.NumberIntVal(3), cty.NilVal, values["restrict"]})
	if !made.Equal(o) || !schema.ObjectOf(whole).Equal(o) {
		t.Errorf("%#v", made.Cty())
	}
	if i, typ, ok := table.Place("volume"); i != 1 || typ != cty.Number || !ok {
		t.Error(i, typ, ok)
	}
	changed := o.With(map[string]cty.Value{"name": cty.StringVal("b"), "address": cty.UnknownVal(cty.String)})
	if changed.Equal(o) || changed.IsWhollyKnown() || o.Text("name") != "a" || changed.Text("name") != "b" || changed.Text("address") != "" {
		t.Errorf("%#v and %#v", o.Cty(), changed.Cty())
	}
	if !changed.With(map[string]cty.Value{"name": cty.StringVal("a"), "address": cty.NullVal(cty.String)}).Equal(o) {
		t.Error("a change that is undone leaves something")
	}
}

func TestObjectNull(t *testing.T) {
	null, none := table.NullObject(), schema.Object{}
	if !null.IsNull() || null.IsZero() || !null.Cty().RawEquals(cty.NullVal(table.ObjectType())) || !null.Attr("volume").RawEquals(cty.NullVal(cty.Number)) || null.Text("name") != "" {
		t.Errorf("%#v", null.Cty())
	}
	if !none.IsNull() || !none.IsZero() || none.Cty() != cty.NilVal || none.Text("name") != "" || !schema.ObjectOf(cty.NilVal).IsZero() {
		t.Errorf("%#v", none)
	}
	if empty := (&schema.Table{Type: "t"}).Blank(); empty.IsNull() || !empty.Equal(schema.ObjectOf(cty.EmptyObjectVal)) || !empty.Equal(empty) {
		t.Errorf("%#v", empty.Cty())
	}
	if null.Equal(table.Blank()) || !null.Equal(table.Blank().Null()) || !none.Equal(schema.Object{}) || none.Equal(null) {
		t.Error("null, none and blank are three things")
	}
	if !null.With(map[string]cty.Value{"name": cty.StringVal("a")}).Equal(table.Blank().With(map[string]cty.Value{"name": cty.StringVal("a")})) {
		t.Error("of a null object the others are null")
	}
}
