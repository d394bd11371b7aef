package plan

import (
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
)

// --exclude leaves out instances and whatever depends on them, in the configuration; of what is to go, also whatever they
// depend on, in the state. What is left out is neither read nor changed, and outputs that refer to it stay.

// excludes is asked by the evaluation; nil when nothing is excluded.
func (b *builder) excludes() func(addr.Instance) bool {
	if len(b.Exclude) == 0 {
		return nil
	}
	return func(i addr.Instance) bool { return matches(b.Exclude, i) }
}

// checkInstances refuses instances that are not there, as far as the evaluation can tell: a mistyped one would have no effect,
// and nobody would notice.
func (b *builder) checkInstances(flag string, list []addr.Instance, evaluation *config.Evaluation) (diags hcl.Diagnostics) {
	for _, t := range list {
		if len(b.Targets) > 0 || t.Key.IsZero() || b.remembers(t) || slices.Contains(evaluation.Instances, t) {
			continue
		}
		var names []string
		for _, i := range evaluation.Instances {
			if i.Resource == t.Resource {
				names = append(names, i.String())
			}
		}
		diags = diags.Append(errorf("No such resource", "%s=%s names nothing in the configuration or the state.%s", flag, t, config.DidYouMean(t.String(), names)))
	}
	return diags
}

// stay removes from the objects that are to go those that are excluded and what they depend on.
func (b *builder) stay(gone []addr.Instance) []addr.Instance {
	if len(b.Exclude) == 0 {
		return gone
	}
	stays := map[addr.Instance]bool{}
	var keep func(addr.Instance)
	keep = func(i addr.Instance) {
		if object := b.State.Snapshot.Resources[i]; object != nil && !stays[i] {
			stays[i] = true
			if b.Mode == RefreshOnly {
				return
			}
			for _, d := range object.Dependencies {
				keep(d)
			}
		}
	}
	for i := range b.State.Snapshot.Resources {
		if matches(b.Exclude, i) {
			keep(i)
		}
	}
	return slices.DeleteFunc(gone, func(i addr.Instance) bool {
		if stays[i] && !matches(b.Exclude, i) {
			b.plan.LeftOut = append(b.plan.LeftOut, i.String())
		}
		return stays[i]
	})
}

// tellExcluded notes what is left out because of what it depends on.
func (b *builder) tellExcluded(evaluation *config.Evaluation) {
	if len(b.Exclude) == 0 {
		return
	}
	for _, i := range evaluation.Skipped {
		b.plan.LeftOut = append(b.plan.LeftOut, i.String())
	}
	slices.Sort(b.plan.LeftOut)
}
