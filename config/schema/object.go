package schema

import (
	"fmt"
	"maps"
	"slices"

	"github.com/zclconf/go-cty/cty"
)

// Object is a value of a table's type, or null; the zero Object is none. It has its attributes, and blocks, side by side in
// the table's order. A cty object has maps instead and a type of its own, several times the memory and the time, and a plan
// has three for each instance. Objects are not changed: they may share what they hold.
type Object struct {
	shape  *shape
	values []cty.Value // nil: null
}

// shape is the names and types of an object's attributes.
type shape struct {
	typ   cty.Type
	names []string
	types []cty.Type
	at    map[string]int
}

func newShape(typ cty.Type, names []string) *shape {
	s := &shape{typ: typ, names: names, types: make([]cty.Type, len(names)), at: make(map[string]int, len(names))}
	for i, name := range names {
		s.types[i], s.at[name] = typ.AttributeType(name), i
	}
	return s
}

// NullObject is the null of the table's type.
func (t *Table) NullObject() Object { return Object{shape: t.layout()} }

// Object is an object of a cty value of the table's type: known, unmarked, and possibly null.
func (t *Table) Object(v cty.Value) Object { return t.layout().object(v) }

// Null is the null of the object's type.
func (o Object) Null() Object { return Object{shape: o.shape} }

// Make makes an object of values in the table's order, which become the object's. cty.NilVal stands for null.
func (t *Table) Make(values []cty.Value) Object { return t.layout().make(values) }

func (s *shape) make(values []cty.Value) Object {
	for i, v := range values {
		if v == cty.NilVal {
			values[i] = cty.NullVal(s.types[i])
		}
	}
	return Object{shape: s, values: values}
}

// Size is the number of attributes and blocks.
func (t *Table) Size() int { return len(t.Attrs) + len(t.Blocks) }

// Place is where an attribute or block is in the table's order, and its type.
func (t *Table) Place(name string) (i int, typ cty.Type, ok bool) {
	s := t.layout()
	if i, ok = s.at[name]; ok {
		typ = s.types[i]
	}
	return i, typ, ok
}

// ObjectOf is an object of a cty value of an object type: known, unmarked, and possibly null. cty.NilVal becomes the zero
// Object.
func ObjectOf(v cty.Value) Object {
	if v == cty.NilVal {
		return Object{}
	}
	return Objects(v.Type())(v)
}

// Objects is ObjectOf for values of one object type.
func Objects(typ cty.Type) func(cty.Value) Object {
	s := newShape(typ, slices.Sorted(maps.Keys(typ.AttributeTypes())))
	return func(v cty.Value) Object {
		if v == cty.NilVal {
			return Object{}
		}
		return s.object(v)
	}
}

func (s *shape) object(v cty.Value) Object {
	o := Object{shape: s}
	if v.IsNull() {
		return o
	}
	o.values = make([]cty.Value, len(s.names))
	for i, name := range s.names {
		o.values[i] = v.GetAttr(name)
	}
	return o
}

// IsZero reports whether there is no object, not even a null one.
func (o Object) IsZero() bool { return o.shape == nil }

// IsNull reports whether the object is null, or none.
func (o Object) IsNull() bool { return o.values == nil }

// Type is the type of the object as a cty value.
func (o Object) Type() cty.Type { return o.shape.typ }

// Attr is an attribute or a block; of a null object it is null. It panics when the type has none of that name.
func (o Object) Attr(name string) cty.Value {
	i, ok := o.shape.at[name]
	if !ok {
		panic(fmt.Sprintf("the object has no attribute %s", name))
	}
	if o.values == nil {
		return cty.NullVal(o.shape.types[i])
	}
	return o.values[i]
}

// Text is a text attribute; "" where it, or the object, is null or unknown.
func (o Object) Text(name string) string {
	if o.values == nil {
		return ""
	}
	if v := o.Attr(name); !v.IsNull() && v.IsKnown() {
		return v.AsString()
	}
	return ""
}

// Has reports whether the type has an attribute or block of that name.
func (o Object) Has(name string) bool {
	_, ok := o.shape.at[name]
	return ok
}

// Names is the names of the attributes and blocks, in order. It must not be changed.
func (o Object) Names() []string { return o.shape.names }

// With is the object with some attributes replaced; of a null object the others are null.
func (o Object) With(attrs map[string]cty.Value) Object {
	values := make([]cty.Value, len(o.shape.names))
	copy(values, o.values)
	for name, v := range attrs {
		i, ok := o.shape.at[name]
		if !ok {
			panic(fmt.Sprintf("the object has no attribute %s", name))
		}
		values[i] = v
	}
	return o.shape.make(values)
}

// Equal reports whether two objects have the same attributes, with the same values.
func (o Object) Equal(p Object) bool {
	if o.IsNull() || p.IsNull() || o.shape != p.shape {
		return o.Cty().RawEquals(p.Cty())
	}
	return len(o.values) == 0 || &o.values[0] == &p.values[0] || slices.EqualFunc(o.values, p.values, cty.Value.RawEquals)
}

// IsWhollyKnown reports whether no part is unknown.
func (o Object) IsWhollyKnown() bool {
	return !slices.ContainsFunc(o.values, func(v cty.Value) bool { return !v.IsWhollyKnown() })
}

// Cty is the object as a cty value; cty.NilVal for none.
func (o Object) Cty() cty.Value {
	switch {
	case o.shape == nil:
		return cty.NilVal
	case o.values == nil:
		return cty.NullVal(o.shape.typ)
	}
	attrs := make(map[string]cty.Value, len(o.values))
	for i, name := range o.shape.names {
		attrs[name] = o.values[i]
	}
	return cty.ObjectVal(attrs)
}
