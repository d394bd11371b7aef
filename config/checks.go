package config

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/iexecform/iexecform/config/addr"
)

// Conditions are what an author expects: precondition and postcondition of resource and data blocks, precondition of
// outputs, assert of check blocks. Policies: a condition that doesn't hold is an error, but in a check block a warning; one
// that only apply can tell is no error: the caller asks again when more is known; a failure to read the data sources of a
// check is a warning, too, and nothing outside of the check may refer to them.

// CheckKind is what has conditions.
type CheckKind string

// The kinds.
const (
	CheckResource CheckKind = "resource" // a resource or data instance
	CheckOutput   CheckKind = "output_value"
	CheckBlock    CheckKind = "check"
)

// CheckStatus says whether conditions hold.
type CheckStatus string

// What may be said, the worst last.
const (
	CheckPass    CheckStatus = "pass"
	CheckUnknown CheckStatus = "unknown" // only apply can tell
	CheckFail    CheckStatus = "fail"
	CheckError   CheckStatus = "error" // a condition could not be computed
)

var severities = []CheckStatus{CheckPass, CheckUnknown, CheckFail, CheckError}

// CheckResult says whether the conditions of one thing hold.
type CheckResult struct {
	Kind     CheckKind     `json:"kind"`
	Addr     addr.Instance `json:"addr,omitzero"`                   // of CheckResource
	Name     string        `json:"name,omitempty"`                  // of the others
	Module   addr.Module   `json:"module,omitempty"`                // that the others are in
	Status   CheckStatus   `json:"status"`                          // the worst of all conditions
	Problems []string      `json:"problems,omitempty"`              // messages of those that don't hold
	Before   bool          `json:"precondition_unknown,omitempty"`  // only apply can tell a precondition
	After    bool          `json:"postcondition_unknown,omitempty"` // only apply can tell a postcondition
}

// CheckPhase is which conditions of resource and data blocks an evaluation looks at.
type CheckPhase uint8

// The phases.
const (
	AllChecks    CheckPhase = iota
	ChecksBefore            // preconditions
	ChecksAfter             // postconditions
)

// CheckOf returns the CheckResult.ID of what a diagnostic about a condition belongs to, and "" for other diagnostics.
func CheckOf(d *hcl.Diagnostic) string {
	of, _ := d.Extra.(checkOf)
	return string(of)
}

type checkOf string

// ID names what has the conditions: an address, output.NAME or check.NAME.
func (r CheckResult) ID() string {
	switch r.Kind {
	case CheckOutput:
		return r.Module.Qualify("output." + r.Name)
	case CheckBlock:
		return r.Module.Qualify("check." + r.Name)
	}
	return r.Addr.String()
}

// Add takes up the status of one more condition.
func (r *CheckResult) Add(status CheckStatus, problem string) {
	if slices.Index(severities, status) > slices.Index(severities, r.Status) {
		r.Status = status
	}
	if status == CheckFail {
		r.Problems = append(r.Problems, problem)
	}
}

// condition is a precondition, postcondition or assert block.
type condition struct {
	condition, message hcl.Expression
	summary            string // when it doesn't hold
}

var conditionSummaries = map[string]string{
	"precondition": "Precondition failed", "postcondition": "Postcondition failed", "assert": "Check block assertion failed",
}

// conditions reads a block of that kind; none when it is wrong.
func (l *loader) conditions(block *hcl.Block) []condition {
	content, diags := block.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{
		{Name: "condition", Required: true}, {Name: "error_message", Required: true},
	}})
	l.diags = append(l.diags, diags...)
	is, message := content.Attributes["condition"], content.Attributes["error_message"]
	if is == nil || message == nil {
		return nil
	}
	if len(is.Expr.Variables()) == 0 {
		l.errorf(is.Expr.Range().Ptr(), "Invalid condition", "The condition refers to nothing, so it is always the same. Refer to what is to be checked.")
		return nil
	}
	return []condition{{is.Expr, message.Expr, conditionSummaries[block.Type]}}
}

func (l *loader) useCondition(n *node, c condition, s scope) {
	l.use(n, c.condition, s)
	l.use(n, c.message, s)
}

func (l *loader) declareCheck(block *hcl.Block) {
	content, diags := block.Body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "data", LabelNames: []string{"type", "name"}}, {Type: "assert"},
	}})
	l.diags = append(l.diags, diags...)
	n := &node{kind: checkNode, name: block.Labels[0], rng: block.DefRange}
	l.add(n, l.checks)
	asserts := 0
	for _, inner := range content.Blocks {
		if inner.Type == "data" {
			l.declareScoped(n, inner)
			continue
		}
		asserts++
		n.asserts = append(n.asserts, l.conditions(inner)...)
	}
	if asserts == 0 {
		l.errorf(block.DefRange.Ptr(), "Invalid check", "The check asserts nothing. Write a block: assert { condition = …, error_message = \"…\" }")
	}
}

// declareScoped declares a data source of a check.
func (l *loader) declareScoped(check *node, block *hcl.Block) {
	at := len(l.nodes)
	l.declare(block)
	for _, n := range l.nodes[at:] {
		n.check = check
		if n.expanded() {
			l.errorf(n.rng.Ptr(), "Invalid data source of a check", "count and for_each have no place in a check. Write a data block outside of it.")
		}
	}
}

// judge computes a condition. The diagnostics have an error for CheckFail and CheckError.
func (e *evaluator) judge(c condition, ctx *hcl.EvalContext) (status CheckStatus, problem string, diags hcl.Diagnostics) {
	if e.broken[c.condition] || e.broken[c.message] {
		return CheckUnknown, "", nil
	}
	v, diags := c.condition.Value(ctx)
	if diags.HasErrors() {
		return CheckError, "", diags
	}
	v, _ = v.Unmark()
	v, err := convert.Convert(v, cty.Bool)
	switch {
	case err != nil || v.IsNull():
		return CheckError, "", hcl.Diagnostics{within(failure(c.condition.Range().Ptr(), "Invalid condition", "The condition must be true or false."), c.condition, ctx)}
	case !v.IsKnown():
		return CheckUnknown, "", nil
	case v.True():
		return CheckPass, "", nil
	}
	problem = e.message(c, ctx)
	return CheckFail, problem, hcl.Diagnostics{within(failure(c.condition.Range().Ptr(), c.summary, "%s", problem), c.condition, ctx)}
}

// message is what the author has to say.
func (e *evaluator) message(c condition, ctx *hcl.EvalContext) string {
	v, diags := c.message.Value(ctx)
	if diags.HasErrors() {
		return "The error message could not be computed."
	}
	if v.ContainsMarked() {
		return "The error message refers to sensitive values, so it is not shown."
	}
	v, err := convert.Convert(v, cty.String)
	if err != nil || v.IsNull() || !v.IsKnown() {
		return "The error message is no text, or known only after apply."
	}
	return strings.TrimSpace(v.AsString())
}

// note takes up what a condition came to.
func (e *evaluator) note(what CheckResult, status CheckStatus, problem string) {
	id := what.ID()
	r := e.checked[id]
	if r == nil {
		r = &what
		r.Status = CheckPass
		e.checked[id] = r
	}
	r.Add(status, problem)
	r.Before, r.After = r.Before || what.Before, r.After || what.After
}

// assert computes conditions of one thing and reports whether none fails. In static mode only what can't be computed is told.
func (e *evaluator) assert(what CheckResult, list []condition, ctx *hcl.EvalContext) (ok bool, diags hcl.Diagnostics) {
	ok = true
	for _, c := range list {
		status, problem, more := e.judge(c, ctx)
		if e.static && status == CheckFail {
			continue
		}
		for _, d := range more {
			if status == CheckFail {
				d.Extra = checkOf(what.ID())
			}
		}
		diags = append(diags, more...)
		ok = ok && !more.HasErrors()
		if !e.static {
			found := what
			found.Before, found.After = found.Before && status == CheckUnknown, found.After && status == CheckUnknown
			e.note(found, status, problem)
		}
	}
	return ok, diags
}

func (e *evaluator) preconditions(n *node, in Instance) (hcl.Diagnostics, bool) {
	if n.lifecycle == nil || e.phase == ChecksAfter {
		return nil, true
	}
	ok, diags := e.assert(CheckResult{Kind: CheckResource, Addr: in.Addr, Before: true}, n.lifecycle.pre, in.context())
	return diags, ok
}

// postconditions checks what became of an instance.
func (e *evaluator) postconditions(n *node, in Instance, self Result) (hcl.Diagnostics, bool) {
	if n.lifecycle == nil || len(n.lifecycle.post) == 0 || e.phase == ChecksBefore {
		return nil, true
	}
	ctx := in.context().NewChild()
	ctx.Variables = map[string]cty.Value{"self": n.seen(self)}
	ok, diags := e.assert(CheckResult{Kind: CheckResource, Addr: in.Addr, After: true}, n.lifecycle.post, ctx)
	return diags, ok
}

// check evaluates a check block. What fails is a warning.
func (e *evaluator) check(n *node, ctx *hcl.EvalContext) {
	_, diags := e.assert(CheckResult{Kind: CheckBlock, Name: n.name, Module: e.here.path}, n.asserts, ctx)
	if !e.static {
		diags = asWarnings(diags)
	}
	e.diags = append(e.diags, diags...)
}

// asWarnings is the diagnostics with warnings for errors.
func asWarnings(diags hcl.Diagnostics) hcl.Diagnostics {
	warnings := make(hcl.Diagnostics, len(diags))
	for i, d := range diags {
		w := *d
		w.Severity = hcl.DiagWarning
		warnings[i] = &w
	}
	return warnings
}

// checkResults are all that were noted, sorted by kind and name.
func (e *evaluator) checkResults() []CheckResult {
	list := make([]CheckResult, 0, len(e.checked))
	for _, r := range e.checked {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b CheckResult) int {
		if a.Kind == CheckResource && b.Kind == CheckResource {
			return a.Addr.Compare(b.Addr)
		}
		return strings.Compare(string(a.Kind)+" "+a.ID(), string(b.Kind)+" "+b.ID())
	})
	return list
}
