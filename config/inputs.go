package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Values of variables, later ones winning: default, environment, iexecform.tfvars, iexecform.tfvars.json, *.auto.tfvars and
// *.auto.tfvars.json in lexical order, then --var and --var-file in the order of the command line. Files named *.json are
// JSON objects, whose texts are taken as they are. A name that isn't declared is an error on the command line, a
// warning in a file, and ignored in the environment, which is shared between configurations.

const (
	envPrefix     = "IEXECFORM_VAR_"
	variablesFile = "iexecform.tfvars"
	autoSuffix    = ".auto.tfvars"
)

// InputSources is where values of variables come from, besides defaults and the tfvars files of the directory.
type InputSources struct {
	Environ []string   // as os.Environ
	Args    []InputArg // in the order of the command line
	// Given are values that were settled before: those of a plan that is applied. They win, but for cty.NilVal, which the
	// plan has of values that it doesn't keep.
	Given map[string]cty.Value
	// EphemeralOnly refuses Args for variables that are not ephemeral: their values are in the plan that is to be applied.
	EphemeralOnly bool
	Partial       bool // a variable without value is unknown, and no error
	// Values are in HCL already, and win over all others.
	Values map[string]InputValue
}

// FailedValidation is the Extra of a diagnostic about a variable that a validation block refuses: the variable's name.
type FailedValidation string

// InputValue is a value with the place where it is given.
type InputValue struct {
	Value cty.Value
	Range hcl.Range
}

// InputArg is a --var (Text is NAME=VALUE) or a --var-file (Text is a file's name).
type InputArg struct {
	Text string
	File bool
}

// variable is a Variable with what only this package needs.
type variable struct {
	Variable
	constraint  cty.Type // Type with optional attributes
	typed       bool     // the block has a type
	defaults    *typeexpr.Defaults
	validations []validation
}

type validation struct {
	condition, message hcl.Expression
}

func (l *loader) declareVariable(block *hcl.Block) {
	v := &variable{constraint: cty.DynamicPseudoType}
	v.Variable = Variable{Name: block.Labels[0], Type: cty.DynamicPseudoType, Nullable: true, Range: block.DefRange}
	content, diags := block.Body.Content(&hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "type"}, {Name: "default"}, {Name: "description"}, {Name: "sensitive"}, {Name: "ephemeral"}, {Name: "nullable"}},
		Blocks:     []hcl.BlockHeaderSchema{{Type: "validation"}},
	})
	l.diags = append(l.diags, diags...)
	l.literal(content.Attributes["description"], &v.Description)
	l.literal(content.Attributes["sensitive"], &v.Sensitive)
	l.literal(content.Attributes["ephemeral"], &v.Ephemeral)
	l.literal(content.Attributes["nullable"], &v.Nullable)
	if attr := content.Attributes["type"]; attr != nil {
		ty, defaults, diags := typeexpr.TypeConstraintWithDefaults(attr.Expr)
		l.diags = append(l.diags, diags...)
		if !diags.HasErrors() {
			v.typed, v.constraint, v.defaults = true, ty, defaults
			v.Type = ty.WithoutOptionalAttributesDeep()
		}
	}
	if attr := content.Attributes["default"]; attr != nil {
		value, diags := constant(attr.Expr)
		l.diags = append(l.diags, diags...)
		if !diags.HasErrors() {
			converted, err := v.convert(value)
			if err != nil {
				l.errorf(attr.Expr.Range().Ptr(), "Invalid default", "The default of variable %q does not fit its type %s: %s.", v.Name, typeexpr.TypeString(v.constraint), err)
			}
			v.Default = converted
		} else {
			v.Default = cty.UnknownVal(v.Type)
		}
	}
	for _, inner := range content.Blocks {
		content, diags := inner.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{
			{Name: "condition", Required: true}, {Name: "error_message", Required: true},
		}})
		l.diags = append(l.diags, diags...)
		if !diags.HasErrors() {
			v.validations = append(v.validations, validation{content.Attributes["condition"].Expr, content.Attributes["error_message"].Expr})
		}
	}
	l.add(&node{kind: variableNode, name: v.Name, variable: v, rng: block.DefRange}, l.variables)
}

// convert makes a value of the variable's type. Null becomes the default when the variable isn't nullable.
func (v *variable) convert(value cty.Value) (cty.Value, error) {
	if value.IsNull() && !v.Nullable {
		if v.Default == cty.NilVal {
			return cty.UnknownVal(v.Type), fmt.Errorf("the variable is not nullable")
		}
		return v.Default, nil
	}
	if v.defaults != nil && !value.IsNull() {
		value = v.defaults.Apply(value)
	}
	converted, err := convert.Convert(value, v.constraint)
	if err != nil {
		return cty.UnknownVal(v.Type), err
	}
	return converted, nil
}

// assignment is a value for a variable before it is converted.
type assignment struct {
	value  cty.Value
	source string // for messages
	rng    *hcl.Range
}

// gatherer collects assignments.
type gatherer struct {
	*Config
	set   map[string]assignment
	diags hcl.Diagnostics
}

func (c *Config) gather(src InputSources) *gatherer {
	g := &gatherer{Config: c, set: map[string]assignment{}}
	for _, entry := range src.Environ {
		name, text, _ := strings.Cut(entry, "=")
		name, ok := strings.CutPrefix(name, envPrefix)
		if n := c.variables[name]; ok && n != nil {
			g.text(n.variable, text, "the environment variable "+envPrefix+name)
		}
	}
	for _, path := range c.variableFiles() {
		g.file(path, path)
	}
	for _, arg := range src.Args {
		if arg.File {
			g.file(arg.Text, "--var-file="+arg.Text)
			continue
		}
		name, text, ok := strings.Cut(arg.Text, "=")
		n := c.variables[name]
		switch {
		case !ok || name == "":
			g.fail(nil, "Invalid --var", "--var takes NAME=VALUE, and got %q. Write for example --var 'price=1 RLC'.", arg.Text)
		case n == nil:
			g.fail(nil, "Undeclared variable", "--var gives a value to %q, but there is no such variable.%s%s", name, DidYouMean(name, keysOf(c.variables)), spaceHint(name))
		case src.EphemeralOnly && !n.variable.Ephemeral:
			g.fail(nil, "Variable of a saved plan", "--var gives a value to %q, but the plan was made with one already. Only ephemeral variables can be given with a saved plan; plan again to change others.", name)
		default:
			g.text(n.variable, text, "--var "+name)
		}
	}
	for _, name := range keysOf(src.Values) {
		v, n := src.Values[name], c.variables[name]
		if n == nil {
			g.fail(v.Range.Ptr(), "Undeclared variable", "A value is given to %q, but there is no such variable.%s", name, DidYouMean(name, keysOf(c.variables)))
			continue
		}
		given := assignment{value: v.Value, source: v.Range.Filename, rng: v.Range.Ptr()}
		if n.variable.secret() {
			given.rng = nil // no source of it in messages
		}
		g.set[name] = given
	}
	return g
}

func spaceHint(name string) string {
	if strings.TrimSpace(name) != name {
		return " Leave out the space around the equals sign."
	}
	return ""
}

// variableFiles lists the tfvars files that are read unasked, in order.
func (c *Config) variableFiles() []string {
	var paths []string
	for _, name := range []string{variablesFile, variablesFile + ".json"} {
		if path := filepath.Join(c.Dir, name); isFile(path) {
			paths = append(paths, path)
		}
	}
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return paths // Load has reported it
	}
	for _, entry := range entries {
		name := entry.Name()
		if path := filepath.Join(c.Dir, name); strings.HasSuffix(strings.TrimSuffix(name, ".json"), autoSuffix) && !strings.HasPrefix(name, ".") && isFile(path) {
			paths = append(paths, path)
		}
	}
	return paths
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

func (g *gatherer) fail(subject *hcl.Range, summary, format string, args ...any) {
	g.diags = append(g.diags, failure(subject, summary, format, args...))
}

// text takes a value from outside of HCL: as it is for strings, else as an expression.
func (g *gatherer) text(v *variable, text, source string) {
	if !v.typed || v.constraint == cty.String {
		g.set[v.Name] = assignment{value: cty.StringVal(text), source: source}
		return
	}
	name := "<" + source + ">"
	var expr hclsyntax.Expression
	diags := tooNested([]byte(text), name, hclsyntax.LexExpression)
	if !diags.HasErrors() {
		expr, diags = hclsyntax.ParseExpression([]byte(text), name, hcl.InitialPos)
	}
	value := cty.DynamicVal
	if !diags.HasErrors() {
		value, diags = constant(expr)
	}
	if diags.HasErrors() {
		why := diags[0].Detail + " "
		if v.secret() {
			why = "" // it may quote the value
		}
		g.fail(nil, "Invalid value for variable", "The value that %s gives to variable %q is not an expression of type %s. %sText within it must be in double quotes.",
			source, v.Name, typeexpr.TypeString(v.constraint), why)
		value = cty.UnknownVal(v.Type)
	}
	g.set[v.Name] = assignment{value: value, source: source}
}

func (g *gatherer) file(path, source string) {
	src, err := os.ReadFile(path)
	if err != nil {
		g.fail(nil, "Cannot read a variables file", "%s", sentence(err))
		return
	}
	parse := parseNative
	if strings.HasSuffix(path, ".json") {
		parse = func(src []byte, path string) (*hcl.File, hcl.Diagnostics) {
			if diags := tooNestedJSON(src, path); diags.HasErrors() {
				return nil, diags
			}
			return hcljson.Parse(src, path)
		}
	}
	file, diags := parse(src, path)
	g.diags = append(g.diags, diags...)
	if file == nil {
		return
	}
	if !diags.HasErrors() || !g.hasSecrets() { // the place of a syntax error may be that of a secret
		g.files[path] = file
	}
	attrs, diags := file.Body.JustAttributes()
	g.diags = append(g.diags, diags...)
	for _, attr := range sortedAttrs(attrs) {
		if g.variables[attr.Name] == nil {
			d := failure(attr.NameRange.Ptr(), "Undeclared variable", "The file gives a value to %q, but there is no such variable.%s The value is ignored.", attr.Name, DidYouMean(attr.Name, keysOf(g.variables)))
			d.Severity = hcl.DiagWarning
			g.diags = append(g.diags, d)
			continue
		}
		rng := attr.Expr.Range().Ptr()
		value, diags := constant(attr.Expr)
		if v := g.variables[attr.Name].variable; v.secret() { // no source of it in messages
			rng = nil
			if diags.HasErrors() {
				diags = hcl.Diagnostics{failure(v.Range.Ptr(), "Invalid value for variable", "The value that %s gives to variable %q, in line %d, is not valid: it must be a literal value, with text in double quotes.",
					source, v.Name, attr.Range.Start.Line)}
			}
		}
		g.diags = append(g.diags, diags...)
		if diags.HasErrors() {
			value = cty.DynamicVal
		}
		g.set[attr.Name] = assignment{value: value, source: source, rng: rng}
	}
}

// Missing returns the variables that have no default and no value in src, sorted: what a caller may prompt for. It adds
// to Files.
func (c *Config) Missing(src InputSources) []Variable {
	g := c.gather(src)
	var missing []Variable
	for _, v := range c.Variables() {
		if _, set := g.set[v.Name]; !set && v.Default == cty.NilVal {
			missing = append(missing, v)
		}
	}
	return missing
}

// Inputs returns the value of every variable, of the variable's type; sensitive ones are marked. Validations have been
// checked. It adds the files that it reads to Files.
func (c *Config) Inputs(src InputSources) (map[string]cty.Value, hcl.Diagnostics) {
	g := c.gather(src)
	inputs := make(map[string]cty.Value, len(c.variables))
	wrong := map[string]bool{}
	for _, name := range keysOf(c.variables) {
		v := c.variables[name].variable
		given, set := g.set[name]
		settled := src.Given[name]
		switch {
		case settled != cty.NilVal:
			value, err := v.convert(settled)
			if err != nil {
				g.fail(v.Range.Ptr(), "Invalid value for variable", "The value that the plan has of variable %q does not fit its type %s: %s.", name, typeexpr.TypeString(v.constraint), err)
				wrong[name] = true
			}
			inputs[name] = value
		case set:
			value, err := v.convert(given.value)
			if err != nil {
				g.fail(given.rng, "Invalid value for variable", "The value that %s gives to variable %q, declared at %s, does not fit its type %s: %s.",
					given.source, name, place(v.Range), typeexpr.TypeString(v.constraint), err)
				wrong[name] = true
			}
			inputs[name] = value
		case v.Default != cty.NilVal:
			inputs[name] = v.Default
		default:
			if !src.Partial {
				g.diags = append(g.diags, missingVariable(v))
			}
			inputs[name], wrong[name] = cty.UnknownVal(v.Type), true
		}
		wrong[name] = wrong[name] || !inputs[name].IsWhollyKnown() // an error that is reported already
		inputs[name] = v.mark(inputs[name])
	}
	for _, name := range keysOf(c.variables) {
		if !wrong[name] {
			g.diags = append(g.diags, c.validate(c.scope, c.variables[name].variable, inputs, g.set[name].rng)...)
		}
	}
	return inputs, inOrder(discreet(g.diags))
}

func missingVariable(v *variable) *hcl.Diagnostic {
	return failure(v.Range.Ptr(), "Missing value for variable",
		"Variable %q has no default and no value. Give it on the command line with --var '%s=VALUE', or with a line %s = VALUE in %s, or in the environment as %s%s.",
		v.Name, v.Name, v.Name, variablesFile, envPrefix, v.Name)
}

// validate checks the validation blocks of a variable; subject is where its value is given, or nil.
func (m *module) validate(scope *hcl.EvalContext, v *variable, inputs map[string]cty.Value, subject *hcl.Range) (diags hcl.Diagnostics) {
	for _, rule := range v.validations {
		used := map[string]cty.Value{}
		for _, t := range append(rule.condition.Variables(), rule.message.Variables()...) {
			if name, ok := attrName(t, 1); ok && t.RootName() == "var" && m.variables[name] != nil {
				used[name] = inputs[name]
			}
		}
		ctx := scope.NewChild()
		ctx.Variables = map[string]cty.Value{"var": cty.ObjectVal(used)}
		ok, problems := rule.condition.Value(ctx)
		if problems.HasErrors() {
			diags = append(diags, problems...)
			continue
		}
		ok, _ = ok.Unmark()
		ok, err := convert.Convert(ok, cty.Bool)
		if err != nil || ok.IsNull() {
			diags = append(diags, within(failure(rule.condition.Range().Ptr(), "Invalid validation", "The condition must be true or false."), rule.condition, ctx))
			continue
		}
		if !ok.IsKnown() || ok.True() {
			continue
		}
		message, problems := rule.message.Value(ctx)
		diags = append(diags, problems...)
		text := "The condition is not met."
		if message, err := convert.Convert(message, cty.String); err == nil && message.IsKnown() && !message.IsNull() {
			if message.IsMarked() {
				text = "The error message is sensitive and not shown."
			} else {
				text = message.AsString()
			}
		}
		if subject == nil {
			subject = v.Range.Ptr()
		}
		d := failure(subject, "Invalid value for variable", "Variable %q is not valid: %s\nThis was checked by the validation at %s.", v.Name, text, place(rule.condition.Range()))
		d.Extra = FailedValidation(v.Name)
		diags = append(diags, within(d, rule.condition, ctx))
	}
	return diags
}
