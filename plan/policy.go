package plan

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
)

// enforce checks the policies. A change for which one doesn't hold makes the plan incomplete, or, where the policy is
// acknowledged, gets a notice.
func (b *builder) enforce() (diags hcl.Diagnostics) {
	policies := b.Config.Policies()
	var names []string
	for _, p := range policies {
		names = append(names, p.Name)
	}
	for _, name := range b.Acknowledge {
		if !slices.Contains(names, name) {
			diags = diags.Append(errorf("No such policy", "--ack=%s names no policy of the configuration.%s", name, config.DidYouMean(name, names)))
		}
	}
	if b.Mode == RefreshOnly || b.Unprotected {
		policies = nil
	}
	for i := range b.plan.Changes {
		c := &b.plan.Changes[i]
		for _, p := range policies {
			d := p.Check(b.Inputs, config.PolicyChange{
				Address: c.Addr.String(), Type: c.Addr.Resource.Type, Kind: string(c.Kind), Before: c.Before, After: c.After,
			})
			switch {
			case d == nil:
			case slices.Contains(b.Acknowledge, p.Name):
				b.plan.Notices = slices.Insert(b.plan.Notices, after(b.plan.Notices, c.Addr), Notice{Addr: c.Addr, Notice: providers.Notice{
					Level: providers.Warning, Summary: "acknowledged with --ack=" + p.Name, Detail: d.Detail,
				}})
			default:
				d.Detail += fmt.Sprintf("\nIf it is meant, plan with --ack=%s: the plan then tells so.", p.Name)
				diags = append(diags, d)
			}
		}
	}
	b.plan.Complete = b.plan.Complete && !diags.HasErrors()
	return diags
}

// after is where a notice about an object belongs: those about providers come last.
func after(notices []Notice, i addr.Instance) int {
	for n := range notices {
		if notices[n].Provider != "" || notices[n].Addr.Compare(i) > 0 {
			return n
		}
	}
	return len(notices)
}
