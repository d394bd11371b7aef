package apply

import (
	"context"
	"fmt"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
)

// writeOnly is the values of the write-only attributes that an action needs.
func writeOnly(s *plan.Session, a *providers.Action) map[string]cty.Value {
	if len(a.WriteOnly) == 0 {
		return nil
	}
	values := make(map[string]cty.Value, len(a.WriteOnly))
	for _, name := range a.WriteOnly {
		if v, ok := s.WriteOnly(a.Addr)[name]; ok {
			values[name] = v
		}
	}
	return values
}

// checkWriteOnly makes sure that the values which the plan doesn't hold are at hand, and are those that it was made with.
func checkWriteOnly(ctx context.Context, o Options) error {
	var failed []error
	for i := range o.Plan.Actions {
		a := &o.Plan.Actions[i]
		if len(a.WriteOnly) == 0 {
			continue
		}
		values := writeOnly(o.Session, a)
		for _, name := range a.WriteOnly {
			if _, ok := values[name]; !ok {
				return fmt.Errorf("%s of %s is write-only, so the plan doesn't hold it, and it has no value now. Nothing was sent. "+
					"Apply in the directory of the configuration and give its variables their values, or plan again", name, a.Addr)
			}
		}
		client, _ := o.Session.Client(addr.ParseProvider(a.Provider))
		checker, ok := client.(providers.WriteOnlyChecker)
		if !ok {
			continue
		}
		if err := checker.CheckWriteOnly(ctx, *a, values); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", a.Addr, err))
		}
	}
	if len(failed) > 0 {
		return &PreconditionError{Failed: failed}
	}
	return nil
}
