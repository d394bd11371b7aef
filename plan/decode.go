package plan

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/schema"
)

// decode reads the JSON of a state object as an object of a table. Attributes that are absent are null; unknown ones are
// refused. It does what cty's JSON package does, in one pass over the bytes: that package makes a decoder for each
// nested value, which was two thirds of the memory of a plan in which nothing changes.
func (dec *decoder) decode(raw []byte, t *schema.Table) (schema.Object, error) {
	values := make([]cty.Value, t.Size())
	dec.begin(raw)
	err := dec.members(func(name string) (err error) {
		i, typ, ok := t.Place(name)
		if !ok {
			return unknownAttribute(name)
		}
		values[i], err = dec.value(typ)
		return within(name, err)
	})
	if err != nil {
		return schema.Object{}, fmt.Errorf("attributes: %w", err)
	}
	return t.Make(values), nil
}

// decodeValue reads the JSON of a value of one of the types that an object's attributes have.
func (dec *decoder) decodeValue(raw []byte, t cty.Type) (cty.Value, error) {
	dec.begin(raw)
	v, err := dec.value(t)
	if err != nil {
		return cty.NilVal, fmt.Errorf("attributes: %w", err)
	}
	return v, nil
}

// begin begins to read a text in place. Names occur once: that was checked when the whole was read.
func (dec *decoder) begin(raw []byte) {
	dec.Reset(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
}

// DecodeValue reads the JSON of a value of any type.
func DecodeValue(raw []byte, t cty.Type) (cty.Value, error) {
	v, err := ctyjson.Unmarshal(raw, t)
	if err != nil {
		return cty.NilVal, err
	}
	return v, cty.Walk(v, func(_ cty.Path, part cty.Value) (bool, error) { return true, config.Finite(part) })
}

// A text is a string as it stands and as a value.
type text struct {
	string
	value cty.Value
}

// texts shares equal strings: those that objects have in common, such as names of attributes, and those that come again within
// an object, such as a hash.
type texts struct {
	common map[string]text
	recent [32][2]text // the last ones, by length
}

const maxCommon = 1024

func (t *texts) share(b []byte) text {
	if known, ok := t.common[string(b)]; ok {
		return known
	}
	recent := &t.recent[len(b)%len(t.recent)]
	for _, known := range recent {
		if known.value != cty.NilVal && known.string == string(b) {
			return known
		}
	}
	s := string(b)
	made := text{s, cty.StringVal(s)}
	if len(t.common) < maxCommon {
		t.common[s] = made
	}
	recent[0], recent[1] = made, recent[0]
	return made
}

// A decoder reads one state object after the other.
type decoder struct {
	jsontext.Decoder
	texts   texts
	numbers map[int64]cty.Value    // small ones
	spare   []map[string]cty.Value // maps to fill again: cty copies what it is given
}

func newDecoder() *decoder {
	return &decoder{texts: texts{common: map[string]text{}}, numbers: map[int64]cty.Value{}}
}

func (dec *decoder) spareMap() map[string]cty.Value {
	last := len(dec.spare) - 1
	if last < 0 {
		return map[string]cty.Value{}
	}
	m := dec.spare[last]
	dec.spare = dec.spare[:last]
	return m
}

func (dec *decoder) reuse(m map[string]cty.Value) {
	clear(m)
	dec.spare = append(dec.spare, m)
}

// text reads a string.
func (dec *decoder) text() (text, error) {
	if k := dec.PeekKind(); k != '"' && k != 0 {
		return text{}, mismatch("string", k)
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return text{}, err
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return dec.texts.share(raw[1 : len(raw)-1]), nil
	}
	plain, err := jsontext.AppendUnquote(nil, raw)
	return dec.texts.share(plain), err
}

func (dec *decoder) value(t cty.Type) (cty.Value, error) {
	if dec.PeekKind() == 'n' {
		_, err := dec.ReadToken()
		return cty.NullVal(t), err
	}
	switch {
	case t == cty.String:
		text, err := dec.text()
		return text.value, err
	case t == cty.Number:
		return dec.number()
	case t == cty.Bool:
		tok, err := dec.ReadToken()
		if err != nil {
			return cty.NilVal, err
		}
		if k := tok.Kind(); k != 't' && k != 'f' {
			return cty.NilVal, mismatch("true or false", k)
		}
		return cty.BoolVal(tok.Bool()), nil
	case t.IsObjectType():
		return dec.objectOf(t)
	case t.IsMapType():
		return dec.mapOf(t.ElementType())
	case t.IsListType() || t.IsSetType():
		return dec.list(t)
	}
	return cty.NilVal, fmt.Errorf("a value of type %s can't be kept in a state", t.FriendlyName())
}

func (dec *decoder) token(want jsontext.Kind) (jsontext.Token, error) {
	if k := dec.PeekKind(); k != want && k != 0 {
		return jsontext.Token{}, mismatch(want.String(), k)
	}
	return dec.ReadToken()
}

func mismatch(want string, got jsontext.Kind) error {
	return fmt.Errorf("want %s, found %s", want, got)
}

func (dec *decoder) number() (cty.Value, error) {
	if k := dec.PeekKind(); k != '0' && k != 0 {
		return cty.NilVal, mismatch("number", k)
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return cty.NilVal, err
	}
	if text := string(raw); len(text) > 18 || strings.ContainsAny(text, ".eE-") {
		v, err := cty.ParseNumberVal(text)
		if err == nil {
			err = config.Finite(v)
		}
		return v, err
	}
	n := int64(0)
	for _, digit := range raw {
		n = 10*n + int64(digit-'0')
	}
	v, ok := dec.numbers[n]
	if !ok {
		v = cty.NumberIntVal(n)
		if n < maxCommon {
			dec.numbers[n] = v
		}
	}
	return v, nil
}

// members reads a JSON object; read is called to read the value of each member.
func (dec *decoder) members(read func(name string) error) error {
	if _, err := dec.token('{'); err != nil {
		return err
	}
	for dec.PeekKind() == '"' {
		name, err := dec.text()
		if err == nil {
			err = read(name.string)
		}
		if err != nil {
			return err
		}
	}
	_, err := dec.token('}')
	return err
}

func unknownAttribute(name string) error { return fmt.Errorf("unknown attribute %q", name) }

// within says which member an error is about.
func within(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

func (dec *decoder) objectOf(t cty.Type) (cty.Value, error) {
	types, attrs := t.AttributeTypes(), dec.spareMap()
	defer dec.reuse(attrs)
	err := dec.members(func(name string) (err error) {
		at, ok := types[name]
		if !ok {
			return unknownAttribute(name)
		}
		attrs[name], err = dec.value(at)
		return within(name, err)
	})
	if err != nil {
		return cty.NilVal, err
	}
	for name, at := range types {
		if _, ok := attrs[name]; !ok {
			attrs[name] = cty.NullVal(at)
		}
	}
	return cty.ObjectVal(attrs), nil
}

func (dec *decoder) mapOf(element cty.Type) (cty.Value, error) {
	all := dec.spareMap()
	defer dec.reuse(all)
	err := dec.members(func(name string) (err error) {
		all[name], err = dec.value(element)
		return within(name, err)
	})
	switch {
	case err != nil:
		return cty.NilVal, err
	case len(all) == 0:
		return cty.MapValEmpty(element), nil
	}
	return cty.MapVal(all), nil
}

func (dec *decoder) list(t cty.Type) (cty.Value, error) {
	if _, err := dec.token('['); err != nil {
		return cty.NilVal, err
	}
	var elements []cty.Value
	for k := dec.PeekKind(); k != ']' && k != 0; k = dec.PeekKind() {
		v, err := dec.value(t.ElementType())
		if err != nil {
			return cty.NilVal, err
		}
		elements = append(elements, v)
	}
	if _, err := dec.token(']'); err != nil {
		return cty.NilVal, err
	}
	switch {
	case t.IsSetType() && len(elements) == 0:
		return cty.SetValEmpty(t.ElementType()), nil
	case t.IsSetType():
		return cty.SetVal(elements), nil
	case len(elements) == 0:
		return cty.ListValEmpty(t.ElementType()), nil
	}
	return cty.ListVal(elements), nil
}
