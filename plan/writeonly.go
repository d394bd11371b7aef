package plan

import (
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// Write-only attributes reach the provider and nothing else. A plan names those that its actions need; their values stay in
// the session that the plan was made in, and whoever applies a saved plan puts them into a new one.

// WriteOnly returns the write-only attributes of an object of the table's type that have a value, or nil. Those of a nested
// block have the block's name and a dot in front.
func WriteOnly(table *schema.Table, o schema.Object) map[string]cty.Value {
	if o.IsNull() {
		return nil
	}
	set := map[string]cty.Value{}
	collect := func(of schema.Object, attrs []schema.Attr, prefix string) {
		for i := range attrs {
			if a := &attrs[i]; a.WriteOnly {
				if value := of.Attr(a.Name); !value.IsNull() {
					set[prefix+a.Name] = value
				}
			}
		}
	}
	collect(o, table.Attrs, "")
	for i := range table.Blocks {
		b := &table.Blocks[i]
		if v := o.Attr(b.Name); v.IsKnown() && !v.IsNull() {
			collect(schema.ObjectOf(v), b.Attrs, b.Name+".")
		}
	}
	if len(set) == 0 {
		return nil
	}
	return set
}

// SetWriteOnly keeps the write-only attributes of an instance for the actions on it.
func (s *Session) SetWriteOnly(i addr.Instance, values map[string]cty.Value) {
	if len(values) > 0 {
		s.writeOnly[i] = values
	}
}

// WriteOnly returns the write-only attributes of an instance that are at hand.
func (s *Session) WriteOnly(i addr.Instance) map[string]cty.Value { return s.writeOnly[i] }

// withhold keeps the write-only attributes of an instance in the session, and takes them out of what the plan will show.
func (b *builder) withhold(req providers.PlanRequest, result *providers.PlanResult) {
	table := b.Providers.ResourceTable(req.Addr.Resource.Type)
	values := WriteOnly(table, req.Desired)
	if len(values) == 0 {
		return
	}
	b.session.SetWriteOnly(req.Addr, values)
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	result.Planned = redact(result.Planned, names)
	if !result.Found.IsZero() {
		result.Found = redact(result.Found, names)
	}
}
