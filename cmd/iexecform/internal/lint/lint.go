// Package lint finds what is allowed but probably not meant, in the files alone: no network, no state.
//
// Policy: a false alarm is worse than a miss. A rule speaks only of values that are known from the files and the given
// variables, or of what stands there literally. What only the chain or the market can tell, a plan tells.
package lint

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
)

// Severity says how sure it is that something should change.
type Severity string

// The severities.
const (
	Warning Severity = "warning" // probably a mistake
	Note    Severity = "note"    // often right, and worth knowing
)

// Rule is one thing to look for.
type Rule struct {
	ID       string
	Severity Severity
	Doc      string // Markdown: why it matters and what to do, in a sentence or two
	Example  string // HCL that the rule speaks of
	find     func(*pass)
}

// Finding is what a rule found.
type Finding struct {
	Rule Rule
	*hcl.Diagnostic
}

// Run applies all rules. The inputs are from Config.Inputs, and may lack values. The findings are in order of file and
// place, each place and rule once, without those that comments ask to ignore. The diagnostics are errors that kept the
// configuration from being looked at.
func Run(c *config.Config, inputs map[string]cty.Value) ([]Finding, hcl.Diagnostics) {
	blocks, diags := c.Inspect(inputs)
	if diags.HasErrors() {
		return nil, diags
	}
	files := c.Files()
	ignored, findings := ignoreComments(files)
	for _, rule := range Rules {
		p := &pass{config: c, files: files, rule: rule}
		for _, b := range blocks {
			p.blocks = append(p.blocks, block{b})
		}
		rule.find(p)
		findings = append(findings, p.findings...)
	}
	findings = slices.DeleteFunc(findings, ignored.has)
	slices.SortStableFunc(findings, compare)
	return slices.CompactFunc(findings, func(a, b Finding) bool { return compare(a, b) == 0 }), nil
}

func compare(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.Subject.Filename, b.Subject.Filename), cmp.Compare(a.Subject.Start.Byte, b.Subject.Start.Byte), cmp.Compare(a.Rule.ID, b.Rule.ID))
}

// ByID returns a rule.
func ByID(id string) (Rule, bool) {
	i := slices.IndexFunc(Rules, func(r Rule) bool { return r.ID == id })
	if i < 0 {
		return Rule{}, false
	}
	return Rules[i], true
}

// pass is what a rule works on.
type pass struct {
	config   *config.Config
	blocks   []block
	files    map[string]*hcl.File
	rule     Rule
	findings []Finding
}

// report tells of an attribute of a block, or of the block when attr is "". An implied block has no place, and is left out.
func (p *pass) report(b block, attr, summary, format string, args ...any) {
	if !b.Range.Empty() {
		d := b.Diagnostic(hcl.DiagWarning, attr, summary, fmt.Sprintf(format, args...))
		p.findings = append(p.findings, Finding{p.rule, d})
	}
}

// reportAt tells of a place.
func (p *pass) reportAt(rng hcl.Range, summary, format string, args ...any) {
	p.findings = append(p.findings, Finding{p.rule, &hcl.Diagnostic{
		Severity: hcl.DiagWarning, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: &rng,
	}})
}

// source is the text of a range.
func (p *pass) source(r hcl.Range) string {
	if f := p.files[r.Filename]; f != nil && r.CanSliceBytes(f.Bytes) {
		return string(r.SliceBytes(f.Bytes))
	}
	return ""
}

// of calls f for every block of the types: resources and data sources by their type's name, data sources with "data." in
// front, providers with "provider.".
func (p *pass) of(f func(block), types ...string) {
	for _, b := range p.blocks {
		if slices.Contains(types, b.typ()) {
			f(b)
		}
	}
}

// orders calls f for every order.
func (p *pass) orders(f func(block)) {
	p.of(f, "iexec_apporder", "iexec_datasetorder", "iexec_workerpoolorder", "iexec_requestorder")
}
