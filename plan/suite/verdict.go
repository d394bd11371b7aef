package suite

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/config"
)

// verdict gathers what speaks against a run.
type verdict struct {
	run      *config.TestRun
	diags    hcl.Diagnostics
	asserted hcl.Diagnostics // assertions that don't hold
	checks   []config.CheckResult
}

func (v *verdict) add(diags hcl.Diagnostics) {
	for _, d := range diags {
		if !slices.ContainsFunc(v.diags, func(o *hcl.Diagnostic) bool { return same(o, d) }) {
			v.diags = append(v.diags, d)
		}
	}
}

// same reports whether two diagnostics say the same of the same place, as two evaluations do.
func same(a, b *hcl.Diagnostic) bool {
	if a.Severity != b.Severity || a.Summary != b.Summary || a.Detail != b.Detail || (a.Subject == nil) != (b.Subject == nil) {
		return false
	}
	return a.Subject == nil || *a.Subject == *b.Subject
}

func (v *verdict) fail(err error) {
	v.diags = append(v.diags, errorf("Cannot carry out the run", "%s.", err))
}

// broken names what has conditions that don't hold.
func (v *verdict) broken() (ids []string) {
	for _, d := range v.diags {
		if name, ok := hcl.DiagnosticExtra[config.FailedValidation](d); ok {
			ids = append(ids, "var."+string(name))
		}
		if name, ok := hcl.DiagnosticExtra[config.FailedPolicy](d); ok {
			ids = append(ids, "policy."+string(name))
		}
	}
	for _, c := range v.checks {
		if c.Status == config.CheckFail {
			ids = append(ids, c.ID())
		}
	}
	return ids
}

// finish compares what failed with what was to fail. What was expected isn't told.
func (v *verdict) finish() (Status, hcl.Diagnostics) {
	broken := v.broken()
	expected := func(id string) bool {
		return slices.ContainsFunc(v.run.ExpectFailures, func(x config.Expectation) bool { return x.Matches(id) })
	}
	all := !slices.ContainsFunc(broken, func(id string) bool { return !expected(id) })
	status := Pass
	var left hcl.Diagnostics
	for _, d := range v.diags {
		condition := config.IsConditionFailure(d)
		switch {
		case condition && all:
			continue
		case condition && d.Severity == hcl.DiagWarning: // a check block
			told := *d
			told.Severity = hcl.DiagError
			d, status = &told, worse(status, Fail)
		case d.Severity == hcl.DiagError:
			status = Error
		}
		left = append(left, d)
	}
	for _, x := range v.run.ExpectFailures {
		if !slices.ContainsFunc(broken, x.Matches) {
			status = worse(status, Fail)
			left = append(left, &hcl.Diagnostic{
				Severity: hcl.DiagError, Summary: "Missing expected failure", Subject: x.Range.Ptr(),
				Detail: fmt.Sprintf("The run expects a condition of %s to fail, but those that were checked hold. A condition isn't checked when something that it refers to failed.", x.ID),
			})
		}
	}
	if v.asserted.HasErrors() {
		status = worse(status, Fail)
	}
	return status, append(left, v.asserted...)
}
