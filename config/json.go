package config

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
)

// Files in HCL's JSON syntax (*.hcl.json) are turned into what the same configuration in native syntax is parsed to, so that
// all else knows one syntax. Which properties are blocks depends on where they are; all others are arguments. A text is a
// template, but where names are expected ("depends_on": ["iexec_app.a"]) it is the name. Properties named "//" are comments.

// nestedBlocks are the blocks within blocks, with the number of their labels; those of tables come on top of them.
var nestedBlocks = map[string]map[string]int{
	"iexecform":    {"backend": 1, "encryption": 1},
	"variable":     {"validation": 0},
	"output":       {"precondition": 0},
	"provider":     {dynamicBlock: 1},
	"resource":     {dynamicBlock: 1, lifecycleBlock: 0},
	"data":         {dynamicBlock: 1, lifecycleBlock: 0},
	"removed":      {lifecycleBlock: 0},
	"check":        {"assert": 0, "data": 2},
	lifecycleBlock: {"precondition": 0, "postcondition": 0},
	dynamicBlock:   {contentBlock: 0},
}

// nameArgs are the arguments, by type of block, whose text is a name or a type and no template.
var nameArgs = map[string][]string{
	"variable":     {"type"},
	"output":       {"depends_on"},
	"resource":     {"depends_on", "provider"},
	"data":         {"depends_on", "provider"},
	"module":       {"depends_on", "providers"},
	"import":       {"to", "provider"},
	"moved":        {"from", "to"},
	"removed":      {"from"},
	lifecycleBlock: {"ignore_changes", "replace_triggered_by"},
	dynamicBlock:   {"iterator"},
}

// jsonReader translates one file.
type jsonReader struct {
	loader *loader
	diags  hcl.Diagnostics
}

// parseJSON parses a file in JSON syntax.
func (l *loader) parseJSON(src []byte, path string) (*hcl.File, hcl.Diagnostics) {
	diags := tooNestedJSON(src, path)
	var expr hcl.Expression
	if !diags.HasErrors() {
		expr, diags = hcljson.ParseExpressionWithStartPos(src, path, hcl.InitialPos)
	}
	if diags.HasErrors() {
		return &hcl.File{Bytes: src, Body: &hclsyntax.Body{}}, diags
	}
	r := &jsonReader{loader: l}
	blocks := map[string]int{}
	for _, b := range rootSchema.Blocks {
		blocks[b.Type] = len(b.LabelNames)
	}
	return &hcl.File{Bytes: src, Body: r.body(expr, "", blocks)}, r.diags
}

func (r *jsonReader) errorf(rng hcl.Range, summary, format string, args ...any) {
	r.diags = append(r.diags, failure(&rng, summary, format, args...))
}

// body translates an object: the body of a block of that type, which may have the blocks.
func (r *jsonReader) body(expr hcl.Expression, typ string, blocks map[string]int) *hclsyntax.Body {
	rng := expr.Range()
	b := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}, SrcRange: rng, EndRange: hcl.Range{Filename: rng.Filename, Start: rng.End, End: rng.End}}
	pairs, diags := hcl.ExprMap(expr)
	if diags.HasErrors() {
		what := "The body of a block"
		if typ == "" {
			what = "A file in JSON syntax"
		}
		r.errorf(rng, "Invalid JSON configuration", "%s must be a JSON object: { … }", what)
		return b
	}
	for _, p := range pairs {
		name, at := key(p.Key), p.Key.Range()
		if name == "//" {
			continue
		}
		if labels, ok := blocks[name]; ok {
			r.blocks(b, &hclsyntax.Block{Type: name, TypeRange: at}, p.Value, labels)
			continue
		}
		if typ == "" { // a block of no known type: reported with all others
			b.Blocks = append(b.Blocks, &hclsyntax.Block{Type: name, TypeRange: at, Body: &hclsyntax.Body{SrcRange: at, EndRange: at}})
			continue
		}
		switch first := b.Attributes[name]; {
		case first != nil:
			r.errorf(at, "Attribute redefined", "The argument %q was already set at %s. Each argument may be set only once.", name, first.NameRange)
			continue
		case !hclsyntax.ValidIdentifier(name):
			r.errorf(at, "Invalid name", "%q cannot be an argument: a name starts with a letter, followed by letters, digits, underscores and dashes.", name)
			continue
		}
		b.Attributes[name] = &hclsyntax.Attribute{
			Name: name, Expr: r.expr(p.Value, isName(typ, name)), SrcRange: hcl.RangeBetween(at, p.Value.Range()), NameRange: at, EqualsRange: at,
		}
	}
	return b
}

func isName(block, arg string) bool {
	for _, name := range nameArgs[block] {
		if name == arg {
			return true
		}
	}
	return false
}

// blocks translates the value of a block type's property, of which that many labels are still to come: an object, or an
// array of them. The block is a pattern for those that it finds.
func (r *jsonReader) blocks(into *hclsyntax.Body, block *hclsyntax.Block, value hcl.Expression, labels int) {
	if list, diags := hcl.ExprList(value); !diags.HasErrors() {
		for _, element := range list {
			r.blocks(into, block, element, labels)
		}
		return
	}
	if v, diags := value.Value(nil); !diags.HasErrors() && v.IsNull() {
		return
	}
	if labels == 0 {
		found := *block
		found.Body = r.body(value, block.Type, r.nested(block))
		found.OpenBraceRange, found.CloseBraceRange = value.StartRange(), found.Body.EndRange
		into.Blocks = append(into.Blocks, &found)
		return
	}
	pairs, diags := hcl.ExprMap(value)
	if diags.HasErrors() {
		r.errorf(value.Range(), "Invalid JSON configuration", "A block of type %q is written as an object whose property is the block's label: {\"LABEL\": { … }}", block.Type)
		return
	}
	for _, p := range pairs {
		name, at := key(p.Key), p.Key.Range()
		if name == "//" {
			continue
		}
		next := *block
		next.TypeRange = at // the header: blocks of one type share the property that names it
		next.Labels = append(block.Labels[:len(block.Labels):len(block.Labels)], name)
		next.LabelRanges = append(block.LabelRanges[:len(block.LabelRanges):len(block.LabelRanges)], at)
		r.blocks(into, &next, p.Value, labels-1)
	}
}

// nested are the blocks that a block may have.
func (r *jsonReader) nested(block *hclsyntax.Block) map[string]int {
	t := r.loader.tableOf(block.Type, block.Labels)
	if t == nil {
		return nestedBlocks[block.Type]
	}
	all := map[string]int{}
	for name, labels := range nestedBlocks[block.Type] {
		all[name] = labels
	}
	for _, b := range t.Blocks {
		all[b.Name] = 0
	}
	return all
}

// key is the name of a property.
func key(expr hcl.Expression) string {
	v, diags := expr.Value(nil) // without context, a text is taken as it is
	if diags.HasErrors() || v.IsNull() || v.Type() != cty.String {
		return ""
	}
	return v.AsString()
}

// expr translates a value; texts in it are names instead of templates if names is true.
func (r *jsonReader) expr(e hcl.Expression, names bool) hclsyntax.Expression {
	rng := e.Range()
	if list, diags := hcl.ExprList(e); !diags.HasErrors() {
		tuple := &hclsyntax.TupleConsExpr{SrcRange: rng, OpenRange: e.StartRange()}
		for _, element := range list {
			tuple.Exprs = append(tuple.Exprs, r.expr(element, names))
		}
		return tuple
	}
	if pairs, diags := hcl.ExprMap(e); !diags.HasErrors() {
		object := &hclsyntax.ObjectConsExpr{SrcRange: rng, OpenRange: e.StartRange()}
		seen := map[string]hcl.Range{}
		for _, p := range pairs {
			if first, twice := seen[key(p.Key)]; twice {
				r.errorf(p.Key.Range(), "Duplicate object attribute", "%q was already set at %s.", key(p.Key), first)
			}
			seen[key(p.Key)] = p.Key.Range()
			object.Items = append(object.Items, hclsyntax.ObjectConsItem{KeyExpr: r.expr(p.Key, names), ValueExpr: r.expr(p.Value, names)})
		}
		return object
	}
	v, diags := e.Value(nil)
	r.diags = append(r.diags, diags...)
	if v.Type() != cty.String || !names && !strings.Contains(v.AsString(), "${") && !strings.Contains(v.AsString(), "%{") {
		return &hclsyntax.LiteralValueExpr{Val: v, SrcRange: rng}
	}
	start := rng.Start // behind the quotation mark; escapes before a place move it
	start.Column, start.Byte = start.Column+1, start.Byte+1
	lex, parse := hclsyntax.LexTemplate, hclsyntax.ParseTemplate
	if names {
		lex, parse = hclsyntax.LexExpression, hclsyntax.ParseExpression
	}
	if diags := tooNested([]byte(v.AsString()), rng.Filename, lex); diags.HasErrors() {
		diags[0].Subject = &rng
		r.diags = append(r.diags, diags...)
		return &hclsyntax.LiteralValueExpr{Val: v, SrcRange: rng}
	}
	expr, diags := parse([]byte(v.AsString()), rng.Filename, start)
	for _, d := range diags {
		if d.Subject != nil && d.Subject.End.Byte > rng.End.Byte {
			d.Subject = &rng
		}
		d.Detail = strings.TrimSuffix(d.Detail, ".") + fmt.Sprintf(", in %q.", v.AsString())
	}
	r.diags = append(r.diags, diags...)
	if wrap, ok := expr.(*hclsyntax.TemplateWrapExpr); ok { // "${…}" is how an expression is written
		return wrap.Wrapped
	}
	return expr
}
