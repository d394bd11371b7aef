// Package schema describes what a block may hold, as tables. The same tables check configurations, decode state, and
// make the reference pages.
package schema

import (
	"sync"

	"github.com/zclconf/go-cty/cty"
)

// Mode says who sets an attribute.
type Mode uint8

// The modes.
const (
	Required         Mode = iota // the configuration must set it
	Optional                     // the configuration may set it; left out, it is Default, or null
	OptionalComputed             // the configuration may set it; left out, the provider does
	Computed                     // only the provider sets it
)

// Settable reports whether a configuration may set the attribute.
func (m Mode) Settable() bool { return m != Computed }

// Attr is one attribute.
type Attr struct {
	Name string
	Type cty.Type // of the canonical value, which is what state, plan and references hold
	Mode Mode

	// Accepts is the type that a configuration may give; cty.NilType means Type. Parse then makes the canonical value.
	Accepts cty.Type
	// Form is what the reference pages call the type: "address", "amount of RLC"; "" for Accepts' own name.
	Form string
	// Parse turns a known, non-null, unmarked value of Accepts into the canonical value of Type. An error's text
	// completes "…: " after the attribute's name, and says what to write instead; that of a write-only attribute doesn't
	// quote the value. nil: the value is already canonical.
	Parse func(cty.Value) (cty.Value, error)
	// Format is how people read a known, non-null canonical value in plans, as HCL. nil: an HCL literal.
	Format func(cty.Value) string

	Default   cty.Value // canonical; cty.NilVal for null; only for Optional
	ForceNew  bool      // a change of it means another object: shown as "forces replacement"
	Sensitive bool      // never shown, never kept in plan or state
	WriteOnly bool      // given to the provider to plan and to do with, and to nobody else: null in plan and state
	Doc       string    // one or two sentences of Markdown, with unit and source
	// Progress tells, of a computed attribute, whether its change from an object as the state has it to what there is comes
	// of use, which is no drift. nil: no change does.
	Progress func(prior, current Object) bool
	Lacks    string // of an object: the attribute, map(string), with the names that it can't have and why, for messages
}

// Block is a nested block that may occur at most once.
type Block struct {
	Name  string
	Attrs []Attr
	Doc   string
}

// Removal is how an object goes that is no longer configured.
type Removal string

// The ways to go.
const (
	RemoveDefault   Removal = ""          // as the object itself says, or as its type does
	RemoveClose     Removal = "close"     // it ends, for everybody
	RemoveUnpublish Removal = "unpublish" // it is hidden; who has it can still use it
	RemoveForget    Removal = "forget"    // nothing happens to it: it is no longer remembered
)

// RemovalModes returns what a removed block may ask for.
func (t *Table) RemovalModes() []Removal {
	return append([]Removal{RemoveClose, RemoveForget}, t.Removals...)
}

// Table is the schema of a provider, resource or data block.
type Table struct {
	Type    string // "iexec_app", or a provider's name
	Version int    // of the attributes as state holds them
	Attrs   []Attr
	Blocks  []Block
	Doc     string // Markdown: what it is and what its changes do
	Example string // HCL
	// Removals is what a removed block may ask for besides RemoveClose and RemoveForget.
	Removals []Removal
	// Permanent objects can't be replaced by others with the same arguments.
	Permanent bool

	once  sync.Once
	shape *shape
}

// Attr returns the attribute of that name, or nil.
func (t *Table) Attr(name string) *Attr { return attrNamed(t.Attrs, name) }

// Attr returns the attribute of that name, or nil.
func (b *Block) Attr(name string) *Attr { return attrNamed(b.Attrs, name) }

func attrNamed(attrs []Attr, name string) *Attr {
	for i := range attrs {
		if attrs[i].Name == name {
			return &attrs[i]
		}
	}
	return nil
}

// Block returns the nested block of that name, or nil.
func (t *Table) Block(name string) *Block {
	for i := range t.Blocks {
		if t.Blocks[i].Name == name {
			return &t.Blocks[i]
		}
	}
	return nil
}

// ObjectType is the type of a whole value: every attribute, and every block as an object that may be null. The table must
// not be changed after the first call.
func (t *Table) ObjectType() cty.Type { return t.layout().typ }

// layout is made once.
func (t *Table) layout() *shape {
	t.once.Do(func() {
		attrs, names := attrTypes(t.Attrs), make([]string, 0, len(t.Attrs)+len(t.Blocks))
		for _, a := range t.Attrs {
			names = append(names, a.Name)
		}
		for _, b := range t.Blocks {
			attrs[b.Name], names = b.ObjectType(), append(names, b.Name)
		}
		t.shape = newShape(cty.Object(attrs), names)
	})
	return t.shape
}

// ObjectType is the type of the block's value.
func (b *Block) ObjectType() cty.Type { return cty.Object(attrTypes(b.Attrs)) }

// Blank is the value of a block that isn't there: an object with null for everything.
func (t *Table) Blank() Object { return t.Make(make([]cty.Value, t.Size())) }

func attrTypes(attrs []Attr) map[string]cty.Type {
	types := make(map[string]cty.Type, len(attrs))
	for _, a := range attrs {
		types[a.Name] = a.Type
	}
	return types
}
