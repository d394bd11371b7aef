package apply

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/state"
)

// setOutputs remembers the plan's outputs. One that the plan could not know is evaluated now; where that is not possible,
// because an action failed or the configuration isn't there, it keeps its old value, which the next plan shows. So does one
// whose precondition doesn't hold.
func (r *run) setOutputs(ctx context.Context, s *state.Snapshot) error {
	outputs := map[string]state.Output{}
	complete := r.result.Failed+r.result.Held+r.result.Skipped == 0
	var late map[string]config.OutputValue
	if complete && r.Config != nil && r.hasLate() {
		evaluation, err := r.late(ctx, s)
		if err != nil {
			return err
		}
		late = evaluation.Outputs
	}
	for _, o := range r.Plan.Outputs {
		value := o.After
		if now, ok := late[o.Name]; value != cty.NilVal && !value.IsWhollyKnown() && ok {
			value = now.Value
		}
		old, had := s.Outputs[o.Name]
		switch {
		case !complete || value != cty.NilVal && !value.IsWhollyKnown() || r.failed(o.Name):
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

// hasLate reports whether there is something that could not be told before all was done.
func (r *run) hasLate() bool {
	return slices.ContainsFunc(r.Plan.Outputs, func(o plan.OutputChange) bool { return o.After != cty.NilVal && !o.After.IsWhollyKnown() }) ||
		slices.ContainsFunc(r.result.Checks, func(c config.CheckResult) bool { return c.Status == config.CheckUnknown })
}

// failed reports whether a precondition of an output doesn't hold.
func (r *run) failed(output string) bool {
	return slices.ContainsFunc(r.result.Checks, func(c config.CheckResult) bool {
		return c.Kind == config.CheckOutput && c.Name == output && (c.Status == config.CheckFail || c.Status == config.CheckError)
	})
}

// newLineage is a random UUID (RFC 9562, version 4).
func newLineage() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
