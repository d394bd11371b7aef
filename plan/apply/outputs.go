package apply

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/state"
)

// setOutputs remembers the plan's outputs. One that the plan could not know is evaluated now; where that is not possible,
// because an action failed or the configuration isn't there, it keeps its old value, which the next plan shows.
func (r *run) setOutputs(ctx context.Context, s *state.Snapshot) error {
	outputs := map[string]state.Output{}
	var late map[string]config.OutputValue
	complete := r.result.Failed+r.result.Held+r.result.Skipped == 0
	for _, o := range r.Plan.Outputs {
		value := o.After
		if value != cty.NilVal && !value.IsWhollyKnown() && complete && r.Outputs != nil {
			if late == nil {
				var err error
				if late, err = r.lateOutputs(ctx, s); err != nil {
					return err
				}
			}
			value = late[o.Name].Value
		}
		old, had := s.Outputs[o.Name]
		switch {
		case !complete || value != cty.NilVal && !value.IsWhollyKnown():
			if had {
				outputs[o.Name] = old
			}
		case value != cty.NilVal:
			encoded, err := plan.EncodeOutput(value, o.Sensitive)
			if err != nil {
				return fmt.Errorf("output %s: %w", o.Name, err)
			}
			outputs[o.Name] = encoded
		}
	}
	if r.Plan.Mode == plan.RefreshOnly || len(r.Plan.Outputs) == 0 && r.Plan.Mode == plan.Destroy && !complete {
		outputs = maps.Clone(s.Outputs)
	}
	s.Outputs = outputs
	return nil
}

func (r *run) lateOutputs(ctx context.Context, s *state.Snapshot) (map[string]config.OutputValue, error) {
	objects := map[addr.Instance]cty.Value{}
	for i, object := range s.Resources {
		value, err := plan.DecodeObject(r.Providers, i.Resource.Type, object)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", i, err)
		}
		objects[i] = value
	}
	return r.Outputs(ctx, objects)
}

// newLineage is a random UUID (RFC 9562, version 4).
func newLineage() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
