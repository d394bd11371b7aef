package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

// Test files say what a configuration should come to. Policies: they are no part of the configuration and of its digest; all
// names in them are checked before anything runs; their expressions see what the configuration's own see, and outputs.

const testSuffix = ".iexectest.hcl"

// TestFile is a *.iexectest.hcl file.
type TestFile struct {
	Name      string // as in ranges
	Runs      []*TestRun
	variables []*hcl.Attribute
	overrides []dataOverride
}

// TestRun is a run block: one plan, or plan and apply, and what should hold then.
type TestRun struct {
	Name           string
	Range          hcl.Range // of the block's header
	Apply          bool      // else it plans only
	RefreshOnly    bool
	SkipRefresh    bool
	Targets        []addr.Instance
	Replace        []addr.Instance
	Asserts        []TestAssert
	ExpectFailures []Expectation

	file      *TestFile
	variables []*hcl.Attribute
	overrides []dataOverride
}

// TestAssert is an assert block.
type TestAssert struct {
	Range     hcl.Range // of the condition
	condition condition
}

// Expectation is something whose conditions should not hold: a variable, an output, a check, a policy, a resource or data block.
type Expectation struct {
	ID    string // var.NAME, or as CheckResult.ID; without key for any instance
	Range hcl.Range
	block addr.Instance // of a resource or data block
}

// Matches reports whether the expectation means what has that ID.
func (x Expectation) Matches(id string) bool {
	if id == x.ID || x.block.Resource.Type == "" {
		return id == x.ID
	}
	i, err := addr.ParseInstance(id)
	return err == nil && x.block.Covers(i)
}

// dataOverride is an override_data block.
type dataOverride struct {
	target addr.Instance // without key: every instance
	values map[string]cty.Value
}

var (
	testFileSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "variables"}, {Type: "run", LabelNames: []string{"name"}}, {Type: "override_data"},
	}}
	testRunSchema = &hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "command"}, {Name: "expect_failures"}},
		Blocks:     []hcl.BlockHeaderSchema{{Type: "variables"}, {Type: "assert"}, {Type: "plan_options"}, {Type: "override_data"}},
	}
	planOptionsSchema  = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "mode"}, {Name: "refresh"}, {Name: "replace"}, {Name: "target"}}}
	dataOverrideSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "target", Required: true}, {Name: "values", Required: true}}}
)

// LoadTests reads the test files of the configuration's directory and of its subdirectory testDir, sorted by name. It adds
// them to Files. A directory that isn't there has none.
func (c *Config) LoadTests(testDir string) ([]*TestFile, hcl.Diagnostics) {
	l := &testLoader{Config: c}
	var tests []*TestFile
	for _, dir := range []string{".", testDir} {
		paths, err := testFiles(filepath.Join(c.Dir, dir))
		if err != nil {
			l.errorf(nil, "Cannot read the test files", "%s.", upperFirst(err.Error()))
		}
		for _, path := range paths {
			if t := l.file(path); t != nil {
				tests = append(tests, t)
			}
		}
		if filepath.Clean(testDir) == "." {
			break
		}
	}
	return tests, inOrder(l.diags)
}

func testFiles(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, testSuffix) && !strings.HasPrefix(name, ".") && !entry.IsDir() {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths, err
}

// testLoader builds test files and gathers diagnostics.
type testLoader struct {
	*Config
	diags hcl.Diagnostics
}

func (l *testLoader) errorf(subject *hcl.Range, summary, format string, args ...any) {
	l.diags = append(l.diags, failure(subject, summary, format, args...))
}

func (l *testLoader) content(body hcl.Body, s *hcl.BodySchema) *hcl.BodyContent {
	content, diags := body.Content(s)
	l.diags = append(l.diags, diags...)
	return content
}

func (l *testLoader) file(path string) *TestFile {
	src, err := os.ReadFile(path)
	if err != nil {
		l.errorf(nil, "Cannot read a test file", "%s.", upperFirst(err.Error()))
		return nil
	}
	file, diags := parseNative(src, path)
	l.diags = append(l.diags, diags...)
	if file != nil {
		l.files[path] = file
	}
	if diags.HasErrors() {
		return nil
	}
	t := &TestFile{Name: path}
	names := map[string]hcl.Range{}
	for _, block := range l.content(file.Body, testFileSchema).Blocks {
		switch block.Type {
		case "variables":
			t.variables = append(t.variables, l.variableValues(block)...)
		case "override_data":
			t.overrides = append(t.overrides, l.override(block)...)
		case "run":
			run := l.run(t, block)
			if first, twice := names[run.Name]; twice {
				l.errorf(run.Range.Ptr(), "Duplicate declaration", "Run %q is declared at %s already. Rename or remove one of the two.", run.Name, first)
			}
			names[run.Name] = run.Range
			t.Runs = append(t.Runs, run)
		}
	}
	return t
}

// variableValues reads a variables block. The expressions are evaluated when the run begins.
func (l *testLoader) variableValues(block *hcl.Block) []*hcl.Attribute {
	attrs, diags := block.Body.JustAttributes()
	l.diags = append(l.diags, diags...)
	list := sortedAttrs(attrs)
	for _, attr := range list {
		if l.variables[attr.Name] == nil {
			l.errorf(attr.NameRange.Ptr(), "Undeclared variable", "The test gives a value to %q, but there is no such variable.%s",
				attr.Name, DidYouMean(attr.Name, keysOf(l.variables)))
		}
	}
	return list
}

func (l *testLoader) run(t *TestFile, block *hcl.Block) *TestRun {
	r := &TestRun{Name: block.Labels[0], Range: block.DefRange, Apply: true, file: t}
	if !hclsyntax.ValidIdentifier(r.Name) {
		l.errorf(block.LabelRanges[0].Ptr(), "Invalid name", "%q cannot name a run: a name starts with a letter, followed by letters, digits, underscores and dashes.", r.Name)
	}
	content := l.content(block.Body, testRunSchema)
	if attr := content.Attributes["command"]; attr != nil {
		r.Apply = l.keyword(attr, "apply", "plan") != "plan"
	}
	if attr := content.Attributes["expect_failures"]; attr != nil {
		for _, expr := range l.list(attr) {
			r.ExpectFailures = append(r.ExpectFailures, l.expectation(expr)...)
		}
	}
	for _, inner := range content.Blocks {
		switch inner.Type {
		case "variables":
			values := l.variableValues(inner)
			for _, attr := range values {
				l.outcomes(t, attr.Expr)
			}
			r.variables = append(r.variables, values...)
		case "override_data":
			r.overrides = append(r.overrides, l.override(inner)...)
		case "plan_options":
			l.planOptions(r, inner)
		case "assert":
			r.Asserts = append(r.Asserts, l.assert(t, inner)...)
		}
	}
	return r
}

// keyword is one of the words, the first when it is wrong.
func (l *testLoader) keyword(attr *hcl.Attribute, words ...string) string {
	word := hcl.ExprAsKeyword(attr.Expr)
	if slices.Contains(words, word) {
		return word
	}
	l.errorf(attr.Expr.Range().Ptr(), "Invalid "+attr.Name, "%s takes one of the words %s, without quotes.", attr.Name, strings.Join(words, ", "))
	return words[0]
}

func (l *testLoader) list(attr *hcl.Attribute) []hcl.Expression {
	exprs, diags := hcl.ExprList(attr.Expr)
	l.diags = append(l.diags, diags...)
	return exprs
}

func (l *testLoader) planOptions(r *TestRun, block *hcl.Block) {
	content := l.content(block.Body, planOptionsSchema)
	if attr := content.Attributes["mode"]; attr != nil {
		r.RefreshOnly = l.keyword(attr, "normal", "refresh-only") == "refresh-only"
	}
	if attr := content.Attributes["refresh"]; attr != nil {
		refresh := true
		l.diags = append(l.diags, gohcl.DecodeExpression(attr.Expr, nil, &refresh)...)
		r.SkipRefresh = !refresh
	}
	for name, list := range map[string]*[]addr.Instance{"replace": &r.Replace, "target": &r.Targets} {
		if attr := content.Attributes[name]; attr != nil {
			for _, expr := range l.list(attr) {
				if i, ok := l.instance(expr, name); ok {
					*list = append(*list, i)
				}
			}
		}
	}
}

// instance reads the address of a resource or data block, or of an instance of it.
func (l *testLoader) instance(expr hcl.Expression, what string) (addr.Instance, bool) {
	t, diags := hcl.AbsTraversalForExpr(expr)
	l.diags = append(l.diags, diags...)
	if diags.HasErrors() {
		return addr.Instance{}, false
	}
	inst, rest, ok := addr.FromTraversal(t)
	to := l.resources[inst.Resource.Block()]
	if !ok || to == nil && inst.Resource.Module == "" {
		f := &finder{config: l.Config, scope: scope{module: l.module}}
		_, _, _ = f.block(t)
		l.diags = append(l.diags, f.diags...)
		return inst, false
	}
	switch {
	case to == nil:
		l.errorf(expr.Range().Ptr(), "Invalid "+what, "There is no %s in the module.", inst.Resource)
		return inst, false
	case len(rest) > 0:
		l.errorf(expr.Range().Ptr(), "Invalid "+what, "%s takes blocks or instances of them, not their attributes. Write %s", what, inst)
		return inst, false
	case !to.mayHave(inst.Key):
		l.errorf(expr.Range().Ptr(), "Invalid "+what, "%s has no instance %s. %s", to.name, inst.Key, keyForm(to))
		return inst, false
	}
	return inst, true
}

func (l *testLoader) expectation(expr hcl.Expression) []Expectation {
	t, diags := hcl.AbsTraversalForExpr(expr)
	if diags.HasErrors() {
		l.diags = append(l.diags, diags...)
		return nil
	}
	if name, ok := attrName(t, 1); ok && t.RootName() == "policy" && len(t) == 2 {
		if !slices.ContainsFunc(l.policies, func(p *Policy) bool { return p.Name == name }) {
			l.errorf(expr.Range().Ptr(), "Invalid expect_failures", "There is no policy.%s.", name)
		}
		return []Expectation{{ID: "policy." + name, Range: expr.Range()}}
	}
	for root, in := range map[string]map[string]*node{"var": l.variables, "output": l.outputs, "check": l.checks} {
		if t.RootName() != root {
			continue
		}
		name, ok := attrName(t, 1)
		if !ok || len(t) != 2 || in[name] == nil {
			l.errorf(expr.Range().Ptr(), "Invalid expect_failures", "There is no %s.%s.%s", root, name, DidYouMean(name, keysOf(in)))
			return nil
		}
		return []Expectation{{ID: root + "." + name, Range: expr.Range()}}
	}
	if inst, ok := l.instance(expr, "expect_failures"); ok {
		return []Expectation{{ID: inst.String(), Range: expr.Range(), block: inst}}
	}
	return nil
}

// outcomes checks that the outputs and the earlier runs that an expression of the file's next run refers to are there.
func (l *testLoader) outcomes(t *TestFile, expr hcl.Expression) {
	var earlier []string
	for _, r := range t.Runs {
		earlier = append(earlier, r.Name)
	}
	for _, ref := range expr.Variables() {
		name, ok := attrName(ref, 1)
		output := name
		if root := ref.RootName(); root == "run" {
			if ok && !slices.Contains(earlier, name) {
				l.errorf(ref.SourceRange().Ptr(), invalidReference, "There is no earlier run %q in the file.%s", name, DidYouMean(name, earlier))
				continue
			}
			output, ok = attrName(ref, 2)
		} else if root != "output" {
			continue
		}
		if ok && l.outputs[output] == nil {
			l.errorf(ref.SourceRange().Ptr(), "Unsupported attribute", "There is no output %q in the configuration.%s", output, DidYouMean(output, keysOf(l.outputs)))
		}
	}
}

func (l *testLoader) assert(t *TestFile, block *hcl.Block) []TestAssert {
	content := l.content(block.Body, &hcl.BodySchema{Attributes: []hcl.AttributeSchema{
		{Name: "condition", Required: true}, {Name: "error_message", Required: true},
	}})
	is, message := content.Attributes["condition"], content.Attributes["error_message"]
	if is == nil || message == nil {
		return nil
	}
	for _, expr := range []hcl.Expression{is.Expr, message.Expr} {
		l.diags = append(l.diags, l.testFinder(expr).diags...)
		l.outcomes(t, expr)
	}
	return []TestAssert{{Range: is.Expr.Range(), condition: condition{is.Expr, message.Expr, "Test assertion failed"}}}
}

// testFinder collects the references of an expression of a test, which may name outputs and earlier runs besides.
func (c *Config) testFinder(expr hcl.Expression) *finder {
	f := &finder{config: c, scope: scope{module: c.module}, locals: []map[string]struct{}{{"output": {}, "run": {}}}}
	if node, ok := expr.(hclsyntax.Expression); ok {
		_ = hclsyntax.Walk(node, f) // its diagnostics are those of Enter and Exit, which return none
	}
	return f
}

func (l *testLoader) override(block *hcl.Block) []dataOverride {
	content := l.content(block.Body, dataOverrideSchema)
	target, values := content.Attributes["target"], content.Attributes["values"]
	if target == nil || values == nil {
		return nil
	}
	inst, ok := l.instance(target.Expr, "target")
	if !ok {
		return nil
	}
	if inst.Resource.Mode != addr.Data {
		l.errorf(target.Expr.Range().Ptr(), "Invalid target", "%s is not a data source. Only these can be overridden: resources are made on the network of the test.", inst)
		return nil
	}
	v, diags := values.Expr.Value(l.scope)
	l.diags = append(l.diags, diags...)
	if diags.HasErrors() {
		return nil
	}
	o, err := dataOverrideOf(inst, l.schemas.DataTable(inst.Resource.Type), v)
	if err != nil {
		l.errorf(values.Expr.Range().Ptr(), "Invalid values", "%s", sentence(err))
		return nil
	}
	return []dataOverride{o}
}

func dataOverrideOf(target addr.Instance, table *schema.Table, v cty.Value) (dataOverride, error) {
	o := dataOverride{target: target, values: map[string]cty.Value{}}
	if !v.Type().IsObjectType() || v.IsNull() || !v.IsWhollyKnown() || v.ContainsMarked() {
		return o, errors.New("want an object of attributes that the data source computes, such as { digest = \"sha256:…\" }")
	}
	var computed []string
	for _, a := range table.Attrs {
		if a.Mode == schema.Computed || a.Mode == schema.OptionalComputed {
			computed = append(computed, a.Name)
		}
	}
	for name, value := range v.AsValueMap() {
		if !slices.Contains(computed, name) {
			return o, fmt.Errorf("the data source %s computes no attribute %q.%s It computes %s", table.Type, name, DidYouMean(name, computed), strings.Join(computed, ", "))
		}
		converted, err := convert.Convert(value, table.Attr(name).Type)
		if err != nil {
			return o, fmt.Errorf("the value of %s: %w", name, err)
		}
		o.values[name] = converted
	}
	return o, nil
}

// Override answers a data source in place of its provider, if the run or its file says how. Attributes that they leave out
// are null.
func (r *TestRun) Override(in Instance) (cty.Value, bool) {
	for _, o := range slices.Backward(slices.Concat(r.file.overrides, r.overrides)) { // the last one wins
		if o.target.Covers(in.Addr) {
			return in.Value.With(o.values).Cty(), true
		}
	}
	return cty.NilVal, false
}

// Values computes the values that the run and its file give to variables. Those of the file may use functions; those of the
// run also var.NAME, of the file, and run.NAME.OUTPUT, of earlier runs.
func (r *TestRun) Values(c *Config, runs map[string]cty.Value) (map[string]InputValue, hcl.Diagnostics) {
	values := map[string]InputValue{}
	diags := evaluateInto(values, r.file.variables, c.scope)
	ctx := c.scope.NewChild()
	of := map[string]cty.Value{}
	for name, v := range values {
		of[name] = v.Value
	}
	ctx.Variables = map[string]cty.Value{"var": cty.ObjectVal(of), "run": cty.ObjectVal(runs)}
	return values, append(diags, evaluateInto(values, r.variables, ctx)...)
}

func evaluateInto(values map[string]InputValue, attrs []*hcl.Attribute, ctx *hcl.EvalContext) (diags hcl.Diagnostics) {
	for _, attr := range attrs {
		v, more := attr.Expr.Value(ctx)
		if diags = append(diags, more...); !more.HasErrors() {
			values[attr.Name] = InputValue{Value: v, Range: attr.Expr.Range()}
		}
	}
	return diags
}

// Assert computes an assertion with the evaluated values and the outputs of earlier runs, by name. The diagnostics have an
// error unless it holds.
func (v *Evaluation) Assert(a TestAssert, runs map[string]cty.Value) hcl.Diagnostics {
	e := v.eval
	var refs []ref
	for _, expr := range []hcl.Expression{a.condition.condition, a.condition.message} {
		f := e.testFinder(expr)
		for _, r := range f.refs {
			if !e.hasValue(r) {
				return hcl.Diagnostics{failure(r.rng.Ptr(), "No value", "%s has no value, because it was not evaluated or failed.", r.to.id())}
			}
		}
		refs = append(refs, f.refs...)
	}
	ctx := e.contextOf(refs)
	ctx.Variables["output"], ctx.Variables["run"] = v.OutputObject(), cty.ObjectVal(runs)
	status, _, diags := e.judge(a.condition, ctx)
	if status == CheckUnknown {
		d := failure(a.Range.Ptr(), "Unknown assertion", "The condition depends on what only apply can tell. Write command = apply in the run, or assert what is known when planning.")
		return append(diags, within(d, a.condition.condition, ctx))
	}
	return discreet(e.explain(diags))
}

// OutputObject is the outputs as one object, sensitive ones marked.
func (v *Evaluation) OutputObject() cty.Value {
	values := map[string]cty.Value{}
	for name, o := range v.Outputs {
		values[name] = o.Value
		if o.Sensitive {
			values[name] = o.Value.Mark(sensitiveMark)
		}
	}
	return cty.ObjectVal(values)
}

// IsConditionFailure reports whether a diagnostic is about a condition of the author's that doesn't hold.
func IsConditionFailure(d *hcl.Diagnostic) bool {
	_, validation := hcl.DiagnosticExtra[FailedValidation](d)
	_, policy := hcl.DiagnosticExtra[FailedPolicy](d)
	return validation || policy || slices.Contains(slices.Collect(maps.Values(conditionSummaries)), d.Summary)
}
