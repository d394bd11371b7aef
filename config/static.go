package config

import (
	"context"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
)

// Static mode: what needs neither variables nor network is evaluated when files are loaded.

// staticInstances is how many instances of a block are checked without variables and network. The rest is checked when it
// is evaluated for a plan: checking all of them twice would take as long as planning them.
const staticInstances = 100

// checkStatic evaluates all that is known without variables and network, so that mistakes in literals are found.
func (l *loader) checkStatic() {
	e := l.staticEvaluator(l.broken)
	e.loading = true
	e.walkStatic()
	l.diags = append(l.diags, discreet(l.explain(l.meter.exceeded(e.diags)))...)
}

// staticEvaluator is an evaluator in static mode. All variables are unknown.
func (c *Config) staticEvaluator(broken map[hcl.Expression]bool) *evaluator {
	e := &evaluator{
		Config: c, static: true, broken: broken, sel: &selection{whole: true},
		bad: map[addr.Instance]bool{}, checked: map[string]*CheckResult{}, data: map[addr.Instance][]addr.Instance{},
		result: &Evaluation{Outputs: map[string]OutputValue{}},
	}
	e.start(cty.UnknownVal(cty.String))
	for _, n := range c.variables {
		e.of(n).value = n.variable.mark(cty.UnknownVal(n.variable.Type))
	}
	return e
}

// walkStatic evaluates all blocks in order of reference.
func (e *evaluator) walkStatic() {
	for _, n := range e.order {
		if n.instantiable() {
			e.wave(context.Background(), []*node{n}, nil)
		} else {
			e.everywhere(context.Background(), n)
		}
	}
}
