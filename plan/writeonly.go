package plan

import (
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// Write-only attributes reach the provider and nothing else. A plan names those that its actions need; their values stay in
// the session that the plan was made in, and whoever applies a saved plan puts them into a new one.

// WriteOnly returns the write-only attributes of a value of the table's type that have a value, or nil.
func WriteOnly(table *schema.Table, v cty.Value) map[string]cty.Value {
	if v.IsNull() {
		return nil
	}
	var set map[string]cty.Value
	for i := range table.Attrs {
		a := &table.Attrs[i]
		if !a.WriteOnly {
			continue
		}
		if value := v.GetAttr(a.Name); !value.IsNull() {
			if set == nil {
				set = map[string]cty.Value{}
			}
			set[a.Name] = value
		}
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
	if result.Found != cty.NilVal {
		result.Found = redact(result.Found, names)
	}
}
