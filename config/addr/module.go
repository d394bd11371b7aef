package addr

import (
	"cmp"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Module is the address of an instance of a module: module.a["k"].module.b. The zero Module is the root. Where it names a
// call, and not what the call makes, it has no keys: module.a.module.b.
type Module string

// Child is the address of a module that is called in m.
func (m Module) Child(name string, key Key) Module {
	return Module(m.prefix() + "module." + name + key.String())
}

// prefix is what addresses within the module begin with.
func (m Module) prefix() string {
	if m == "" {
		return ""
	}
	return string(m) + "."
}

// Qualify is the text of an address within the module.
func (m Module) Qualify(text string) string { return m.prefix() + text }

// Call is the address without keys.
func (m Module) Call() Module {
	if !strings.Contains(string(m), "[") {
		return m
	}
	var call Module
	for _, s := range m.steps() {
		call = call.Child(s.name, Key{})
	}
	return call
}

// Contains reports whether other is m, or in m; where a step of m has no key, of any key.
func (m Module) Contains(other Module) bool {
	if m == "" || m == other || strings.HasPrefix(string(other), string(m)+".") {
		return true
	}
	mine, others := m.steps(), other.steps()
	if len(mine) > len(others) {
		return false
	}
	for i, s := range mine {
		if s.name != others[i].name || !s.key.IsZero() && s.key != others[i].key {
			return false
		}
	}
	return true
}

// Covers reports whether i is what t stands for: without key every instance, and of a module all that is in it.
func (t Instance) Covers(i Instance) bool {
	if t.Resource.Type == "" {
		return t.Resource.Module.Contains(i.Resource.Module)
	}
	if t.Resource.Local() != i.Resource.Local() || !t.Key.IsZero() && t.Key != i.Key {
		return false
	}
	return t.Resource.Module == i.Resource.Module || len(t.Resource.Module.steps()) == len(i.Resource.Module.steps()) && t.Resource.Module.Contains(i.Resource.Module)
}

// Up is the module that m is in, so many calls from the root.
func (m Module) Up(depth int) Module {
	var up Module
	for _, s := range m.steps()[:depth] {
		up = up.Child(s.name, s.key)
	}
	return up
}

// Parent is the module that m is called in; the root for the root.
func (m Module) Parent() Module {
	return m.Up(max(0, len(m.steps())-1))
}

// Names are those of the calls that lead to m, with dots between them.
func (m Module) Names() string {
	var names []string
	for _, s := range m.steps() {
		names = append(names, s.name)
	}
	return strings.Join(names, ".")
}

// Keys are those of the calls that lead to m; zero where there is none.
func (m Module) Keys() []Key {
	var keys []Key
	for _, s := range m.steps() {
		keys = append(keys, s.key)
	}
	return keys
}

// Moved is the address of i when from becomes to; ok is false when from isn't i, or a module that i is in. Without keys on
// both sides, from stands for all instances, which keep theirs.
func (i Instance) Moved(from, to Instance) (_ Instance, ok bool) {
	if from.Resource.Type == "" {
		i.Resource.Module, ok = i.Resource.Module.moved(from.Resource.Module, to.Resource.Module)
		return i, ok
	}
	if i.Resource != from.Resource || i.Key != from.Key && (!from.Key.IsZero() || !to.Key.IsZero()) {
		return i, false
	}
	if from.Key.IsZero() && to.Key.IsZero() {
		to.Key = i.Key
	}
	return to, true
}

func (m Module) moved(from, to Module) (Module, bool) {
	mine, depth := m.steps(), len(from.steps())
	if len(mine) < depth {
		return m, false
	}
	outer := m.Up(depth)
	switch {
	case outer == from && !outer.LastKey().IsZero(), outer == from && !to.LastKey().IsZero():
	case outer.Parent() == from.Parent() && from.LastKey().IsZero() && to.LastKey().IsZero() && mine[depth-1].name == from.steps()[depth-1].name:
		last := to.steps()
		to = to.Parent().Child(last[len(last)-1].name, mine[depth-1].key)
	default:
		return m, false
	}
	for _, s := range mine[depth:] {
		to = to.Child(s.name, s.key)
	}
	return to, true
}

// LastKey is the key of the call that makes m, or the zero Key.
func (m Module) LastKey() Key {
	keys := m.Keys()
	if len(keys) == 0 {
		return Key{}
	}
	return keys[len(keys)-1]
}

// compare orders the root before others, and numbers by their value.
func (m Module) compare(o Module) int {
	if m == o || m == "" || o == "" {
		return cmp.Compare(m, o)
	}
	mine, others := m.steps(), o.steps()
	for i := range min(len(mine), len(others)) {
		if c := cmp.Or(cmp.Compare(mine[i].name, others[i].name), mine[i].key.Compare(others[i].key)); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(mine), len(others))
}

// step is a call, and which of its instances.
type step struct {
	name string
	key  Key
}

func (m Module) steps() []step {
	var steps []step
	for rest := string(m); rest != ""; {
		s, after, ok := cutStep(rest)
		if !ok {
			return nil
		}
		steps, rest = append(steps, s), strings.TrimPrefix(after, ".")
	}
	return steps
}

const moduleStep = "module."

// cutStep reads module.NAME, or module.NAME[KEY] with a plain key or as Key.String writes it.
func cutStep(text string) (s step, rest string, ok bool) {
	text, ok = strings.CutPrefix(text, moduleStep)
	if !ok {
		return s, "", false
	}
	end := strings.IndexAny(text, ".[")
	if end < 0 {
		return step{name: text}, "", isIdentifier(text)
	}
	s.name, rest = text[:end], text[end:]
	if rest[0] == '.' {
		return s, rest, isIdentifier(s.name)
	}
	quoted := false
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ']' && !quoted:
			index := rest[:i+1]
			if _, key, plain := cutPlainKey(index); plain {
				s.key = key
			} else if parsed, err := ParseInstance("x.x" + index); err == nil {
				s.key = parsed.Key
			}
			return s, rest[i+1:], !s.key.IsZero() && isIdentifier(s.name)
		}
	}
	return s, "", false
}

// cutModule splits the steps off the text of an address.
func cutModule(text string) (m Module, rest string, ok bool) {
	for strings.HasPrefix(text, moduleStep) {
		s, after, ok := cutStep(text)
		if !ok {
			return "", "", false
		}
		m = m.Child(s.name, s.key)
		if after == "" {
			return m, "", true
		}
		if text, ok = strings.CutPrefix(after, "."); !ok || text == "" {
			return "", "", false
		}
	}
	return m, text, true
}

// ModuleOf splits the modules off a traversal: what follows begins with another step. ok is false when a module has no name.
func ModuleOf(t hcl.Traversal) (m Module, rest hcl.Traversal, ok bool) {
	for len(t) > 0 && stepName(t[0]) == "module" {
		if len(t) < 2 || stepName(t[1]) == "" {
			return m, t, false
		}
		name, key := stepName(t[1]), Key{}
		t = t[2:]
		if len(t) > 0 {
			if index, isIndex := t[0].(hcl.TraverseIndex); isIndex {
				if k, isKey := KeyOf(index.Key); isKey {
					key, t = k, t[1:]
				}
			}
		}
		m = m.Child(name, key)
	}
	return m, t, true
}

func stepName(step hcl.Traverser) string {
	switch s := step.(type) {
	case hcl.TraverseRoot:
		return s.Name
	case hcl.TraverseAttr:
		return s.Name
	}
	return ""
}
