package plan

import (
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// Drift is what is not as the state has it. A plan tells of it only where something is planned for the object: what changes
// nothing is noise. Attributes that change by use are progress, never drift.

// Drifted reports whether somebody else changed the object since the state was written, so that something is planned.
func (c *Change) Drifted() bool { return !c.Prior.IsZero() }

// Gone reports whether the object was there when the state was written and is no more.
func (c *Change) Gone() bool {
	return !c.Prior.IsZero() && c.Prior.Equal(c.Before)
}

// drifted is the Prior of a change: the object as the state has it, where that is worth telling; else none.
func (b *builder) drifted(c *proposal) schema.Object {
	o := c.object
	if c.Kind == providers.NoOp || o.Current.IsZero() {
		return schema.Object{}
	}
	if o.Current.IsNull() {
		return o.prior
	}
	table := b.Providers.ResourceTable(c.addr.Resource.Type)
	for _, d := range Diff(o.prior, o.Current) {
		if a := table.Attr(d.Name); a == nil || a.Progress == nil || !a.Progress(o.prior, o.Current) {
			return o.prior
		}
	}
	return schema.Object{}
}
