package plan

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
)

// Data sources are read while planning, and what they say is known. One is read after the actions instead, and is unknown
// until then, when
//   - its configuration is unknown;
//   - depends_on names an object that has actions in this plan, or it belongs to a check and depends on one at all;
//   - it can't be read, and depends on an object that this plan makes.
// A dependency without actions makes nothing unknown.

// Data reads the data sources of one wave, Parallelism at a time.
func (b *builder) Data(ctx context.Context, instances []config.Instance) []config.Result {
	results := make([]config.Result, len(instances))
	verify := make([]*providers.Action, len(instances))
	notices := make([][]providers.Notice, len(instances))
	slots := make(chan struct{}, b.Parallelism)
	var wg sync.WaitGroup
	for i, in := range instances {
		if b.Override != nil {
			if v, ok := b.Override(in); ok {
				results[i].Value = v
				continue
			}
		}
		if after := b.readAfter(in); after != nil {
			results[i] = b.later(in, *after)
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			client, ok := b.session.Client(in.Provider)
			if !ok {
				results[i] = failed(in, fmt.Errorf("provider %s is not open", in.Provider))
				return
			}
			data, err := client.ReadData(ctx, providers.DataRequest{Addr: in.Addr, Config: in.Value.Cty()})
			if err != nil {
				results[i] = failed(in, err)
				return
			}
			notices[i] = data.Notices
			if results[i].Value = data.Value; !in.Check {
				verify[i] = data.Verify
			}
		})
	}
	wg.Wait()
	for i, in := range instances {
		if after := firstOf(in.DependsOn, b.isMade); after != nil && results[i].Diags.HasErrors() {
			results[i] = b.later(in, *after)
		}
		for _, n := range notices[i] {
			b.plan.Notices = append(b.plan.Notices, Notice{Addr: in.Addr, Notice: n})
		}
		if v := verify[i]; v != nil {
			v.Addr, v.Provider = in.Addr, in.Provider.String()
			place := &proposal{PlanResult: &providers.PlanResult{}, addr: in.Addr, provider: in.Provider}
			b.verify[in.Addr] = &secondLook{*v, place}
			b.order = append(b.order, place)
		}
	}
	return results
}

// isPending reports whether the plan so far has actions for an object.
func (b *builder) isPending(i addr.Instance) bool {
	c := b.proposed(i)
	return c != nil && len(c.Actions) > 0
}

// isMade reports whether the plan so far makes an object.
func (b *builder) isMade(i addr.Instance) bool {
	c := b.proposed(i)
	return c != nil && (c.Kind == providers.Create || c.Kind == providers.Replace)
}

// firstOf is the first instance of a list that has a property, or none.
func firstOf(list []addr.Instance, has func(addr.Instance) bool) *addr.Instance {
	for _, i := range list {
		if has(i) {
			return &i
		}
	}
	return nil
}

// readAfter is what a data source is to be read after; nil when it can be read now.
func (b *builder) readAfter(in config.Instance) *addr.Instance {
	list := in.After
	if in.Check {
		list = in.DependsOn
	}
	if i := firstOf(list, b.isPending); i != nil || in.Value.IsWhollyKnown() {
		return i
	}
	if i := firstOf(in.DependsOn, b.isPending); i != nil {
		return i
	}
	return &addr.Instance{}
}

// later is the result of a data source that is read after the actions: what the configuration sets is known, and what is
// to be read isn't.
func (b *builder) later(in config.Instance, after addr.Instance) config.Result {
	table := b.Providers.DataTable(in.Addr.Resource.Type)
	values := map[string]cty.Value{}
	for _, a := range table.Attrs {
		if in.Value.Attr(a.Name).IsNull() {
			values[a.Name] = cty.UnknownVal(a.Type)
		}
	}
	hidden := slices.Clone(in.Sensitive)
	for _, a := range table.Attrs {
		if a.Sensitive || a.WriteOnly {
			hidden = append(hidden, a.Name)
		}
	}
	value := in.Value.With(values)
	read := Change{Addr: in.Addr, Provider: in.Provider, Kind: Read, Before: value.Null(), After: redact(value, hidden)}
	switch {
	case after == (addr.Instance{}):
		read.Reason, read.Because = ReasonConfigUnknown, []string{"what it refers to is not known yet"}
	case in.Check:
		read.Reason = ReasonCheckNested
	default:
		read.Reason = ReasonDependencyPending
	}
	if after != (addr.Instance{}) {
		read.Because = []string{fmt.Sprintf("%s has to be as planned first", after)}
	}
	b.plan.Reads = append(b.plan.Reads, read)
	return config.Result{Object: value}
}
