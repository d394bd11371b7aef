package config

import (
	"cmp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/iexecform/iexecform/config/schema"
)

// body is a provider, resource or data block bound to its table: looked up once, evaluated for each instance.
type body struct {
	table  *schema.Table
	attrs  []binding // all settable attributes of the table that the block sets, in the table's order
	rest   []int     // places of the others
	blocks []nested
	rng    hcl.Range
	later  bool // of a data block: what is unknown makes it unreadable, for now
}

// binding is an attribute as a block sets it.
type binding struct {
	attr   *schema.Attr
	place  int // in the order of the table, or of the nested block
	expr   hcl.Expression
	rng    hcl.Range
	block  string // name of the nested block, or ""
	shared bool   // the expression doesn't name each, count or an iterator: its value is that of all instances
}

// nested is a nested block; absent has no attributes.
type nested struct {
	block   *schema.Block
	typ     cty.Type // of its value
	absent  bool
	dynamic *dynamic // when it is there, or nil for always
	attrs   []binding
	rest    []int
	rng     hcl.Range
}

func (b binding) path() string {
	if b.block == "" {
		return b.attr.Name
	}
	return b.block + "." + b.attr.Name
}

// bodySchema is what HCL checks of a block with the table.
func (l *loader) bodySchema(t *schema.Table, meta []string) *hcl.BodySchema {
	s := l.bodies[t]
	if s == nil {
		s = &hcl.BodySchema{Attributes: attrSchema(t.Attrs)}
		for _, name := range meta {
			if name == lifecycleBlock {
				s.Blocks = append(s.Blocks, hcl.BlockHeaderSchema{Type: name})
				continue
			}
			s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: name})
		}
		for _, b := range t.Blocks {
			s.Blocks = append(s.Blocks, hcl.BlockHeaderSchema{Type: b.Name})
		}
		s.Blocks = append(s.Blocks, hcl.BlockHeaderSchema{Type: dynamicBlock, LabelNames: []string{"type"}})
		l.bodies[t] = s
	}
	return s
}

func attrSchema(attrs []schema.Attr) []hcl.AttributeSchema {
	list := make([]hcl.AttributeSchema, len(attrs))
	for i, a := range attrs {
		list[i].Name = a.Name
	}
	return list
}

// body binds a block to its table. The content has the meta-arguments.
func (l *loader) body(block *hcl.Block, t *schema.Table, meta ...string) (*body, *hcl.BodyContent) {
	content, diags := block.Body.Content(l.bodySchema(t, meta))
	l.diags = append(l.diags, diags...)
	b := &body{table: t, rng: block.DefRange}
	b.attrs, b.rest = l.bind(block.Body, content, t, t.Attrs, "")
	found, made := map[string]*hcl.Block{}, map[*hcl.Block]*dynamic{}
	for _, inner := range content.Blocks {
		if inner.Type == dynamicBlock {
			var d *dynamic
			var ok bool
			if inner, d, ok = l.dynamic(inner, t); !ok {
				continue
			}
			made[inner] = d
		}
		if first := found[inner.Type]; first != nil {
			l.errorf(inner.DefRange.Ptr(), "Duplicate declaration",
				"The block %q may occur once in %s, and is at %s already. Join the two.", inner.Type, t.Type, first.DefRange)
			continue
		}
		found[inner.Type] = inner
	}
	for i := range t.Blocks {
		n := nested{block: &t.Blocks[i], typ: t.Blocks[i].ObjectType(), absent: true}
		if inner := found[n.block.Name]; inner != nil {
			content, diags := inner.Body.Content(&hcl.BodySchema{Attributes: attrSchema(n.block.Attrs)})
			l.diags = append(l.diags, diags...)
			n.absent, n.dynamic, n.rng = false, made[inner], inner.DefRange
			n.attrs, n.rest = l.bind(inner.Body, content, t, n.block.Attrs, n.block.Name)
		}
		b.blocks = append(b.blocks, n)
	}
	return b, content
}

func (l *loader) bind(src hcl.Body, content *hcl.BodyContent, t *schema.Table, attrs []schema.Attr, block string) (set []binding, rest []int) {
	set = make([]binding, 0, len(content.Attributes))
	for i := range attrs {
		a := &attrs[i]
		given := content.Attributes[a.Name]
		switch {
		case given != nil && !a.Mode.Settable():
			l.errorf(given.NameRange.Ptr(), "Computed attribute set", "%s of %s is computed by the provider and cannot be set. Remove it.", a.Name, t.Type)
		case given != nil:
			set = append(set, binding{attr: a, place: i, expr: given.Expr, rng: given.Range, block: block})
			continue
		case a.Mode == schema.Required:
			what := t.Type
			if block != "" {
				what = block + " of " + what
			}
			l.errorf(src.MissingItemRange().Ptr(), "Missing required attribute", "%s needs %s. Write for example: %s", what, a.Name, exampleLine(t, a))
		}
		rest = append(rest, i)
	}
	return set, rest
}

// exampleLine is how the attribute may be set: the line of the table's example, or one made up from its type.
func exampleLine(t *schema.Table, a *schema.Attr) string {
	for line := range strings.Lines(t.Example) {
		name, value, ok := strings.Cut(line, "=")
		if ok && strings.TrimSpace(name) == a.Name {
			value, _, _ = strings.Cut(value, " #")
			return a.Name + " = " + strings.TrimSpace(value)
		}
	}
	value := `"…"`
	switch ty := a.Type; {
	case ty == cty.Number:
		value = "1"
	case ty == cty.Bool:
		value = "true"
	case ty.IsListType() || ty.IsSetType():
		value = `["…"]`
	case ty.IsMapType() || ty.IsObjectType():
		value = "{ … }"
	}
	return a.Name + " = " + value
}

// bodyValue is what a body evaluates to.
type bodyValue struct {
	value     schema.Object
	sensitive []string
	diags     hcl.Diagnostics
}

// decoder evaluates a body for one instance after the other. In static mode unknown values are let through, and attributes
// that the provider sets are unknown; the expressions in broken are unknown.
type decoder struct {
	*body
	sensitiveOK bool
	static      bool
	broken      map[hcl.Expression]bool
	shared      map[*binding]cty.Value // of the attributes that have one value for all instances; nil: see share

	ctx *hcl.EvalContext
	who any // the instance's address, to print
	out bodyValue
}

// share evaluates what is the same for all instances, in the context that they share. What has a problem, or is marked, is
// left to each instance.
func (d *decoder) share(ctx *hcl.EvalContext) {
	shared := map[*binding]cty.Value{}
	d.begin(ctx, nil)
	share := func(set []binding) {
		for i := range set {
			if b := &set[i]; b.shared {
				if v, diags := d.attr(b); len(diags) == 0 && len(d.out.sensitive) == 0 {
					shared[b] = v
				}
				d.out = bodyValue{}
			}
		}
	}
	share(d.body.attrs)
	for i := range d.blocks {
		share(d.blocks[i].attrs)
	}
	d.shared = shared
}

func (d *decoder) begin(ctx *hcl.EvalContext, who any) {
	d.ctx, d.who, d.out = ctx, who, bodyValue{}
}

// evaluate computes the body in ctx.
func (d *decoder) evaluate(ctx *hcl.EvalContext, who any) bodyValue {
	d.begin(ctx, who)
	values := make([]cty.Value, d.table.Size())
	d.attrs(d.table.Attrs, d.body.attrs, d.rest, values)
	for i := range d.blocks {
		values[len(d.table.Attrs)+i] = d.block(&d.blocks[i])
	}
	d.out.value = d.table.Make(values)
	return d.out
}

// block is the value of a nested block.
func (d *decoder) block(n *nested) cty.Value {
	there, unknown, outer := !n.absent, false, d.ctx
	if n.dynamic != nil {
		there, unknown, d.ctx = d.presence(n)
	}
	defer func() { d.ctx = outer }()
	values := make([]cty.Value, len(n.block.Attrs))
	if there || unknown && d.ctx != nil {
		d.attrs(n.block.Attrs, n.attrs, n.rest, values)
	}
	switch {
	case unknown:
		return cty.UnknownVal(n.typ)
	case !there:
		return cty.NullVal(n.typ)
	}
	attrs := make(map[string]cty.Value, len(values))
	for i, v := range values {
		attrs[n.block.Attrs[i].Name] = v
	}
	return cty.ObjectVal(attrs)
}

// attrs computes attributes: those that are set, and the rest.
func (d *decoder) attrs(all []schema.Attr, set []binding, rest []int, values []cty.Value) {
	for _, i := range rest {
		values[i] = d.leftOut(&all[i])
	}
	for i := range set {
		b := &set[i]
		if v, ok := d.shared[b]; ok {
			values[b.place] = v
			continue
		}
		v, diag := d.attr(b)
		if diag != nil {
			d.out.diags = append(d.out.diags, diag...)
			v = cty.UnknownVal(b.attr.Type)
		}
		values[b.place] = v
	}
}

// leftOut is the value of an attribute that isn't set.
func (d *decoder) leftOut(a *schema.Attr) cty.Value {
	switch {
	case a.Mode == schema.Optional && a.Default != cty.NilVal:
		return a.Default
	case d.static && (a.Mode == schema.Computed || a.Mode == schema.OptionalComputed):
		return cty.UnknownVal(a.Type)
	}
	return cty.NullVal(a.Type)
}

func (d *decoder) attr(b *binding) (cty.Value, hcl.Diagnostics) {
	if d.broken[b.expr] {
		return cty.UnknownVal(b.attr.Type), nil
	}
	v, diags := b.expr.Value(d.ctx)
	if diags.HasErrors() {
		return v, b.conceal(diags, d.rng)
	}
	secret := v.ContainsMarked() && !b.attr.WriteOnly
	if v.ContainsMarked() {
		kept := !d.sensitiveOK && !b.attr.WriteOnly
		if kept && isEphemeral(v) {
			return v, d.fail(b, "Ephemeral value in an attribute that is kept",
				"%s of %s is set from an ephemeral value, but everything in %s is kept, but for write-only attributes. Ephemeral values may be used in these and in provider blocks.",
				b.path(), d.who, d.table.Type)
		}
		if kept && !b.attr.Sensitive {
			return v, d.fail(b, "Sensitive value in a public attribute",
				"%s of %s is set from a sensitive value, but everything in %s is public. Use nonsensitive(...) if the value really may be seen by everyone.",
				b.path(), d.who, d.table.Type)
		}
		v, _ = v.UnmarkDeep()
		d.out.noteSensitive(b)
	}
	if v.IsNull() {
		if b.attr.Mode == schema.Required {
			return v, d.fail(b, "Missing required attribute", "%s needs %s, but its value is null. Write for example: %s", d.who, b.path(), exampleLine(d.table, b.attr))
		}
		return d.leftOut(b.attr), nil
	}
	accepts := b.attr.Accepts
	if accepts == cty.NilType {
		accepts = b.attr.Type
	}
	v, err := convert.Convert(v, accepts)
	if err != nil {
		return v, d.invalid(b, err, secret)
	}
	if !v.IsWhollyKnown() {
		if d.static || d.later {
			return cty.UnknownVal(b.attr.Type), nil
		}
		return v, d.fail(b, "Value known only after apply",
			"%s of %s is set from a value that is known only after apply, but everything that is planned must be known now. Use another attribute, or apply in two steps.",
			b.path(), d.who)
	}
	if b.attr.Parse != nil {
		if v, err = b.attr.Parse(v); err != nil {
			return v, d.invalid(b, err, secret)
		}
	}
	if !v.Type().Equals(b.attr.Type) {
		if v, err = convert.Convert(v, b.attr.Type); err != nil {
			return v, d.invalid(b, err, secret)
		}
	}
	return v, nil
}

// noteSensitive remembers the top-level name of an attribute with a sensitive value.
func (v *bodyValue) noteSensitive(b *binding) {
	name := cmp.Or(b.block, b.attr.Name)
	if !slices.Contains(v.sensitive, name) {
		v.sensitive = append(v.sensitive, name)
		slices.Sort(v.sensitive)
	}
}

// invalid tells what is wrong with a value; of a secret one the reason isn't shown, because it may quote it.
func (d *decoder) invalid(b *binding, err error, secret bool) hcl.Diagnostics {
	if secret {
		return d.fail(b, "Invalid value", "The value for %s is not valid. The reason is not shown, because the value is sensitive or ephemeral.", b.path())
	}
	return d.fail(b, "Invalid value", "Invalid value for %s: %s", b.path(), strings.TrimSuffix(err.Error(), ".")+".")
}

func (d *decoder) fail(b *binding, summary, format string, args ...any) hcl.Diagnostics {
	diag := failure(b.expr.Range().Ptr(), summary, format, args...)
	diag.Context = b.rng.Ptr()
	return b.conceal(hcl.Diagnostics{within(diag, b.expr, d.ctx)}, d.rng)
}

// find returns the binding of "attribute" or "block.attribute", and the range of a nested block.
func (b *body) find(name string) (*binding, hcl.Range) {
	for i := range b.attrs {
		if b.attrs[i].attr.Name == name {
			return &b.attrs[i], b.attrs[i].rng
		}
	}
	for i := range b.blocks {
		n := &b.blocks[i]
		if n.absent {
			continue
		}
		if n.block.Name == name {
			return nil, n.rng
		}
		for j := range n.attrs {
			if n.attrs[j].path() == name {
				return &n.attrs[j], n.attrs[j].rng
			}
		}
	}
	return nil, b.rng
}
