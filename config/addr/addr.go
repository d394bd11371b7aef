// Package addr names resources and their instances: iexec_app.a, iexec_app.a["x"], data.oci_image.i[0],
// module.m["k"].iexec_app.a.
package addr

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// Mode tells a managed resource from a data source.
type Mode uint8

// The two modes.
const (
	Managed Mode = iota
	Data
)

// Resource is the address of a resource or data block. It is comparable.
type Resource struct {
	Mode   Mode
	Type   string // "" with a Module: all of the module
	Name   string
	Module Module // the instance of a module that it is in; of a block, the call
}

func (r Resource) String() string {
	if r.Type == "" {
		return string(r.Module)
	}
	if r.Mode == Data {
		return r.Module.prefix() + "data." + r.Type + "." + r.Name
	}
	return r.Module.prefix() + r.Type + "." + r.Name
}

// Block is the address of the block that makes r: with the call of its module.
func (r Resource) Block() Resource {
	r.Module = r.Module.Call()
	return r
}

// Local is the address as it is written within the module.
func (r Resource) Local() Resource {
	r.Module = ""
	return r
}

// Key is the instance key of a block with count or for_each. The zero Key is that of a block with neither. It is
// comparable.
type Key struct {
	kind keyKind
	n    int
	s    string
}

type keyKind uint8

const (
	noKey keyKind = iota
	intKey
	stringKey
)

// IntKey is the key of a count instance.
func IntKey(n int) Key { return Key{kind: intKey, n: n} }

// StringKey is the key of a for_each instance.
func StringKey(s string) Key { return Key{kind: stringKey, s: s} }

// IsZero reports whether the key is that of a block without count and for_each.
func (k Key) IsZero() bool { return k.kind == noKey }

// IsInt reports whether the key is that of a count instance.
func (k Key) IsInt() bool { return k.kind == intKey }

// Value is the key as a cty number or string, and cty.NilVal for the zero Key.
func (k Key) Value() cty.Value {
	switch k.kind {
	case intKey:
		return cty.NumberIntVal(int64(k.n))
	case stringKey:
		return cty.StringVal(k.s)
	}
	return cty.NilVal
}

func (k Key) String() string {
	switch k.kind {
	case intKey:
		return "[" + strconv.Itoa(k.n) + "]"
	case stringKey:
		return "[" + quote(k.s) + "]"
	}
	return ""
}

// quote writes s as an HCL string literal without template sequences.
func quote(s string) string {
	if isPlain(s) {
		return `"` + s + `"`
	}
	return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes())
}

// isPlain reports whether s stands for itself between quotes in HCL: printable ASCII, and nothing that begins an escape.
func isPlain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '$', c == '%':
			return false
		}
	}
	return true
}

// Compare orders keys: none, then numbers, then strings.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.kind, o.kind), cmp.Compare(k.n, o.n), cmp.Compare(k.s, o.s))
}

// Instance is the address of one instance of a block. It is comparable.
type Instance struct {
	Resource Resource
	Key      Key
}

func (i Instance) String() string { return i.Resource.String() + i.Key.String() }

// Compare orders instances: the root's before those of modules, managed before data, then by type, name and key.
func (i Instance) Compare(o Instance) int {
	switch {
	case i.Resource == o.Resource: // most are of one block
		return i.Key.Compare(o.Key)
	case i.Resource.Module != o.Resource.Module:
		return i.Resource.Module.compare(o.Resource.Module)
	}
	return cmp.Or(
		cmp.Compare(i.Resource.Mode, o.Resource.Mode),
		cmp.Compare(i.Resource.Type, o.Resource.Type),
		cmp.Compare(i.Resource.Name, o.Resource.Name),
	)
}

// MarshalText writes the address as in String, so that an Instance can be a JSON string or object key.
func (i Instance) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (i *Instance) UnmarshalText(b []byte) error {
	parsed, err := ParseInstance(string(b))
	*i = parsed
	return err
}

// ParseInstance parses the text form of an instance address. The error names the text and the form expected.
func ParseInstance(text string) (Instance, error) {
	i, err := ParseTarget(text)
	if err == nil && i.Resource.Type == "" {
		return Instance{}, invalid(text)
	}
	return i, err
}

// ParseTarget parses the text form of an instance address, or of a module, which stands for all that is in it.
func ParseTarget(text string) (Instance, error) {
	m, rest, ok := cutModule(text)
	switch {
	case !ok, !utf8.ValidString(text): // what isn't UTF-8 would be written as other text than was read
		return Instance{}, invalid(text)
	case m != "" && rest == "":
		return Instance{Resource: Resource{Module: m}}, nil
	}
	i, err := parseLocal(rest)
	if err != nil {
		return i, invalid(text)
	}
	i.Resource.Module = m
	return i, nil
}

// parseLocal parses an address within a module.
func parseLocal(text string) (Instance, error) {
	if i, ok := parsePlain(text); ok {
		return i, nil
	}
	t, diags := hclsyntax.ParseTraversalAbs([]byte(text), "", hcl.InitialPos)
	if diags.HasErrors() {
		return Instance{}, invalid(text)
	}
	i, rest, ok := FromTraversal(t)
	if !ok || len(rest) > 0 || i.Resource.Module != "" {
		return Instance{}, invalid(text)
	}
	return i, nil
}

// parsePlain is the fast way for what nearly every address is: two names, or "data" and two names, and a key that is a
// number or a string of printable ASCII without escapes.
func parsePlain(text string) (Instance, bool) {
	text, key, ok := cutPlainKey(text)
	if !ok {
		return Instance{}, false
	}
	r := Resource{}
	if local, ok := strings.CutPrefix(text, "data."); ok {
		r.Mode, text = Data, local
	}
	r.Type, r.Name, _ = strings.Cut(text, ".")
	if !isIdentifier(r.Type) || !isIdentifier(r.Name) {
		return Instance{}, false
	}
	return Instance{Resource: r, Key: key}, true
}

func cutPlainKey(text string) (names string, key Key, ok bool) {
	names, index, found := strings.Cut(text, "[")
	if !found {
		return names, Key{}, true
	}
	index, closed := strings.CutSuffix(index, "]")
	if !closed {
		return "", Key{}, false
	}
	if len(index) < 2 || index[0] != '"' || index[len(index)-1] != '"' {
		n, err := strconv.ParseUint(index, 10, 31)
		return names, IntKey(int(n)), err == nil && strconv.FormatUint(n, 10) == index
	}
	index = index[1 : len(index)-1]
	for i := range len(index) {
		if c := index[i]; c < ' ' || c > '~' || strings.IndexByte(`"\$%`, c) >= 0 {
			return "", Key{}, false
		}
	}
	return names, StringKey(index), true
}

func isIdentifier(s string) bool {
	for i := range len(s) {
		switch c := s[i] | 0x20; {
		case 'a' <= c && c <= 'z', s[i] == '_':
		case i > 0 && (s[i] == '-' || '0' <= s[i] && s[i] <= '9'):
		default:
			return hclsyntax.ValidIdentifier(s) // slower; knows all of Unicode
		}
	}
	return s != ""
}

func invalid(text string) error {
	return fmt.Errorf("%q is not a resource address: want TYPE.NAME, TYPE.NAME[0], TYPE.NAME[\"key\"] or data.TYPE.NAME, with module.NAME. before it for one in a module", text)
}

// FromTraversal splits a traversal that starts with a resource or data address into the instance and what follows it.
// A key is taken only when it is a literal number or string. ok is false when the traversal is too short.
func FromTraversal(t hcl.Traversal) (i Instance, rest hcl.Traversal, ok bool) {
	if t.IsRelative() || len(t) < 2 {
		return i, nil, false
	}
	if i.Resource.Module, t, ok = ModuleOf(t); !ok || len(t) == 0 {
		return i, nil, false
	}
	names := []string{stepName(t[0])}
	want := 2
	if names[0] == "data" {
		i.Resource.Mode = Data
		want = 3
	}
	for len(names) < want {
		if len(t) <= len(names) {
			return i, nil, false
		}
		attr, isAttr := t[len(names)].(hcl.TraverseAttr)
		if !isAttr {
			return i, nil, false
		}
		names = append(names, attr.Name)
	}
	i.Resource.Type, i.Resource.Name = names[want-2], names[want-1]
	rest = t[want:]
	if len(rest) > 0 {
		if index, isIndex := rest[0].(hcl.TraverseIndex); isIndex {
			if key, isKey := KeyOf(index.Key); isKey {
				i.Key = key
				rest = rest[1:]
			}
		}
	}
	return i, rest, i.Resource.Type != ""
}

// KeyOf makes a Key of a known, unmarked cty string or whole number.
func KeyOf(v cty.Value) (Key, bool) {
	if v == cty.NilVal || !v.IsKnown() || v.IsNull() || v.IsMarked() {
		return Key{}, false
	}
	switch v.Type() {
	case cty.String:
		return StringKey(v.AsString()), true
	case cty.Number:
		n, accuracy := v.AsBigFloat().Int64()
		if accuracy != 0 || int64(int(n)) != n {
			return Key{}, false
		}
		return IntKey(int(n)), true
	}
	return Key{}, false
}

// Provider is the address of a provider configuration: its name and, when it isn't the default one, its alias, and the key
// of one with for_each: iexec, iexec.other, iexec.by_chain["main"]. It is comparable.
type Provider struct {
	Name  string
	Alias string
	Key   Key // with an Alias only
}

func (p Provider) String() string {
	if p.Alias == "" {
		return p.Name
	}
	return p.Name + "." + p.Alias + p.Key.String()
}

// Block is the address of the block that configures p: p without its key.
func (p Provider) Block() Provider {
	p.Key = Key{}
	return p
}

// Compare orders provider configurations by name, alias and key.
func (p Provider) Compare(o Provider) int {
	return cmp.Or(cmp.Compare(p.Name, o.Name), cmp.Compare(p.Alias, o.Alias), p.Key.Compare(o.Key))
}

// ParseProvider is the inverse of Provider.String. What isn't the text of a provider configuration becomes one that there
// can't be.
func ParseProvider(text string) Provider {
	name, alias, _ := strings.Cut(text, ".")
	if strings.Contains(alias, "[") {
		if i, err := ParseInstance(text); err == nil && i.Resource.Mode == Managed {
			return Provider{Name: i.Resource.Type, Alias: i.Resource.Name, Key: i.Key}
		}
	}
	return Provider{Name: name, Alias: alias}
}
