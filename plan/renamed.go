package plan

import (
	"fmt"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// A rename is a new object with all the arguments of one that goes because the configuration doesn't have it any more.
type rename struct{ from, to addr.Instance }

// tellRenames suggests moved blocks for what looks like objects that got another name: withdrawing the old one and making
// the new one costs what a moved block doesn't. Where several have the same arguments nothing is suggested.
func (b *builder) tellRenames() {
	gone, come := map[string][]addr.Instance{}, map[string][]addr.Instance{}
	var keys []string // of gone, in order
	for _, c := range b.order {
		if !c.removed || b.removal(c.addr) != schema.RemoveDefault {
			continue
		}
		if key := b.arguments(c, c.before); key != "" {
			gone[key], keys = append(gone[key], c.addr), append(keys, key)
		}
	}
	if len(gone) == 0 {
		return
	}
	for _, c := range b.order {
		if !c.removed && !isData(c.addr) && b.State.Snapshot.Resources[c.addr] == nil {
			key := b.arguments(c, c.Planned)
			come[key] = append(come[key], c.addr)
		}
	}
	told := map[rename]bool{}
	for _, key := range keys {
		if len(gone[key]) != 1 || len(come[key]) != 1 {
			continue
		}
		move := rename{gone[key][0], come[key][0]}
		at := move.to
		if move.from.Key == move.to.Key { // the blocks as a whole
			move = rename{addr.Instance{Resource: move.from.Resource}, addr.Instance{Resource: move.to.Resource}}
		}
		if told[move] {
			continue
		}
		told[move] = true
		b.plan.Notices = append(b.plan.Notices, Notice{Addr: at, Notice: providers.Notice{
			Level:   providers.Warning,
			Summary: fmt.Sprintf("%s has the same arguments as %s, which is no longer in the configuration", move.to, move.from),
			Detail: fmt.Sprintf("If it is the same by another name, write a block that says so, and nothing is withdrawn and made anew: moved { from = %s, to = %s }",
				move.from, move.to),
		}})
	}
}

// arguments is a text of what a configuration can set of an object, with its provider and type; "" when it isn't known.
func (b *builder) arguments(c *proposal, o schema.Object) string {
	table := b.Providers.ResourceTable(c.addr.Resource.Type)
	if table == nil || o.IsNull() {
		return ""
	}
	settable := map[string]cty.Value{}
	for _, a := range table.Attrs {
		if a.Mode.Settable() {
			settable[a.Name] = o.Attr(a.Name)
		}
	}
	object := cty.ObjectVal(settable)
	if !object.IsWhollyKnown() {
		return ""
	}
	text, err := ctyjson.Marshal(object, object.Type())
	if err != nil {
		return ""
	}
	return c.provider.String() + " " + c.addr.Resource.Type + string(text)
}
