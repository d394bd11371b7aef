package config

import (
	"context"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

// A provider block with for_each and an alias makes one configuration a key. Which one a resource uses, its provider
// argument says, for each of its instances: provider = iexec.by_chain[each.key]. Policies: there is no default configuration
// with for_each; a key may be any expression that is known when planning; one configuration that fails stops only the
// instances that use it.

func (l *loader) declareProvider(block *hcl.Block) {
	name := block.Labels[0]
	table := l.table("provider", name, l.schemas.ProviderTable)
	if table == nil {
		l.errorf(block.LabelRanges[0].Ptr(), "Unknown provider", "There is no provider %q.%s There are: %s.",
			name, DidYouMean(name, l.schemas.Names()), strings.Join(l.schemas.Names(), ", "))
		return
	}
	p := addr.Provider{Name: name}
	body, content := l.body(block, table, "alias", "for_each")
	if alias := content.Attributes["alias"]; alias != nil && l.literal(alias, &p.Alias) && !hclsyntax.ValidIdentifier(p.Alias) {
		l.errorf(alias.Expr.Range().Ptr(), "Invalid name", "%q cannot be an alias: it must be a name.", p.Alias)
	}
	n := &node{kind: providerNode, name: p.String(), provider: p, body: body, rng: block.DefRange}
	if attr := content.Attributes["for_each"]; attr != nil {
		n.forEach = attr.Expr
		if p.Alias == "" {
			l.errorf(attr.NameRange.Ptr(), "Invalid for_each", "A provider block with for_each needs an alias, by which resources name it: provider = %s.ALIAS[each.key]", name)
		}
	}
	if first := l.providers[p]; first != nil {
		what := "The configuration of provider " + p.String()
		if p.Alias == "" {
			what += " without alias"
		}
		l.duplicate(what, block.DefRange, first.rng)
		return
	}
	l.providers[p] = l.append(n)
}

// providerName is the provider that a type belongs to: the part of its name before the first "_".
func providerName(typ string) string {
	name, _, _ := strings.Cut(typ, "_")
	return name
}

// useProvider finds the provider configuration of a resource, data or import block.
func (l *loader) useProvider(n *node) {
	n.provider.Name = providerName(n.address.Type)
	rng := n.rng
	if attr := n.providerExpr; attr != nil {
		rng = attr.Expr.Range()
		t, key, ok := providerTraversal(attr.Expr)
		if !ok {
			l.errorf(rng.Ptr(), "Invalid provider", "provider takes the name of a provider configuration, such as %s or %s.ALIAS, without quotes.", n.provider, n.provider)
			return
		}
		if t.RootName() != n.provider.Name {
			l.errorf(rng.Ptr(), "Invalid provider", "%s belongs to provider %s, not to %s. Write %s or %s.ALIAS.",
				n.address.Type, n.provider.Name, t.RootName(), n.provider.Name, n.provider.Name)
			return
		}
		n.provider.Alias, _ = attrName(t, 1)
		if n.providerKey = key; key != nil {
			l.use(n, key, scope{each: n.forEach != nil, count: n.count != nil})
		}
	}
	if !l.passed(n, rng) {
		return
	}
	keyed := n.providerKey != nil
	to := l.Config.providers[n.provider]
	switch {
	case to == nil && n.provider.Alias != "" && l.incomplete:
		return
	case to == nil && n.provider.Alias != "":
		l.errorf(rng.Ptr(), "Reference to undeclared provider", "There is no configuration of provider %s.%s Declare it with a block: provider %q { alias = %q }",
			n.provider, l.otherProvider(n.provider), n.provider.Name, n.provider.Alias)
		return
	case to != nil && to.forEach != nil && !keyed:
		l.errorf(rng.Ptr(), "Invalid provider", "Provider %s has for_each, so that there is one configuration a key. Write for example %s[each.key] in a block with for_each.", n.provider, n.provider)
		return
	case keyed && (to == nil || to.forEach == nil):
		l.errorf(rng.Ptr(), "Invalid provider", "Provider %s has no for_each, so there is one configuration only. Leave the index out: %s", n.provider, n.provider)
		return
	case to == nil:
		to = l.append(&node{kind: providerNode, name: n.provider.Name, provider: n.provider})
		to.module, l.Config.providers[n.provider] = l.Config.module, to
	}
	n.refs = append(n.refs, ref{to: to, rng: rng})
}

// providerTraversal splits the value of a provider argument into NAME or NAME.ALIAS and the key, if there is one.
func providerTraversal(expr hcl.Expression) (t hcl.Traversal, key hcl.Expression, ok bool) {
	if index, isIndex := expr.(*hclsyntax.IndexExpr); isIndex {
		expr, key = index.Collection, index.Key
	}
	t, diags := hcl.AbsTraversalForExpr(expr)
	if diags.HasErrors() {
		return nil, nil, false
	}
	if len(t) == 3 && key == nil {
		if index, isIndex := t[2].(hcl.TraverseIndex); isIndex {
			t, key = t[:2], hcl.StaticExpr(index.Key, expr.Range())
		}
	}
	if len(t) > 2 || len(t) < 2 && key != nil {
		return nil, nil, false
	}
	if _, named := attrName(t, 1); len(t) == 2 && !named {
		return nil, nil, false
	}
	return t, key, true
}

func (l *loader) otherProvider(p addr.Provider) string {
	var aliases []string
	for other := range l.Config.providers {
		if other.Name == p.Name && other.Alias != "" {
			aliases = append(aliases, other.Alias)
		}
	}
	if s := suggestion(p.Alias, aliases); s != "" {
		return " Did you mean " + p.Name + "." + s + "?"
	}
	return ""
}

// providerTable is the table of an implied provider.
func (c *Config) providerTable(p addr.Provider) *schema.Table {
	if t := c.schemas.ProviderTable(p.Name); t != nil {
		return t
	}
	return &schema.Table{Type: p.Name}
}

// provider evaluates a provider block and hands each of its configurations to the handler.
func (e *evaluator) provider(ctx context.Context, n *node, values *hcl.EvalContext) {
	at := e.of(n)
	if n.forEach == nil {
		at.failed = !e.configure(ctx, n, n.provider, Block{Range: n.rng, body: n.body, scope: values})
		return
	}
	x, diags := e.expandForEach(n, values)
	if e.diags = append(e.diags, diags...); diags.HasErrors() {
		at.failed = true
		return
	}
	if x.unknown { // only in static mode
		d := e.decoder(n, true)
		e.diags = append(e.diags, d.evaluate(x.ctx, n.id()).diags...)
		return
	}
	at.keys = make(map[addr.Key]bool, len(x.keys))
	for i, key := range x.keys {
		p := n.provider
		p.Key = key
		at.keys[key] = e.configure(ctx, n, p, Block{Range: n.rng, body: n.body, scope: values, key: key, each: x.value(i)})
	}
}

// configure evaluates one provider configuration and reports whether it can be used.
func (e *evaluator) configure(ctx context.Context, n *node, p addr.Provider, block Block) bool {
	if n.body == nil {
		block.Value = e.providerTable(p).Blank()
	} else {
		d := e.decoder(n, true)
		v := d.evaluate(block.context(), "provider."+p.String())
		e.diags = append(e.diags, v.diags...)
		if v.diags.HasErrors() {
			return false
		}
		block.Value, block.Sensitive = v.value, v.sensitive
	}
	if e.static {
		if e.inspect != nil && n.body != nil {
			e.inspect(Inspected{Block: block, Table: n.body.table, Provider: p})
		}
		return true
	}
	diags := e.handler.Provider(ctx, p, block)
	e.diags = append(e.diags, diags...)
	if diags.HasErrors() {
		return false
	}
	e.result.Providers = append(e.result.Providers, p)
	return true
}

// callContext is what the arguments of the call of a module that this site is in may name.
func (e *evaluator) callContext(m *module) *hcl.EvalContext {
	p := e.here.up(m)
	if p.call == nil {
		here := e.here
		e.here = p.parent
		p.call = keyContext(e.context(m.caller), p.key, p.each)
		e.here = here
		if p.unknown != nil {
			p.call = p.call.NewChild()
			p.call.Variables = p.unknown
		}
	}
	return p.call
}

// providerOf is the provider configuration that an instance of a node uses; ok is false when that configuration failed.
func (e *evaluator) providerOf(n *node, at Block) (p addr.Provider, ok bool, diags hcl.Diagnostics) {
	p = n.provider
	if n.providerKey == nil || e.broken[n.providerKey] {
		return p, true, nil
	}
	var ctx *hcl.EvalContext
	if n.keyGiven != nil {
		ctx = e.callContext(n.keyGiven)
	} else {
		ctx = at.context()
	}
	v, diags := n.providerKey.Value(ctx)
	if diags.HasErrors() {
		return p, false, diags
	}
	fail := func(format string, args ...any) (addr.Provider, bool, hcl.Diagnostics) {
		return p, false, hcl.Diagnostics{within(failure(n.providerKey.Range().Ptr(), "Invalid provider", format, args...), n.providerKey, ctx)}
	}
	if v.ContainsMarked() {
		return fail("The key of provider %s is sensitive or ephemeral, but it is kept in the state. Compute it from values that may be kept.", p)
	}
	v, err := convert.Convert(v, cty.String)
	switch {
	case err != nil || v.IsNull():
		return fail("The key of provider %s must be text.", p)
	case !v.IsKnown() && e.static:
		return p, true, nil
	case !v.IsKnown():
		return fail("The key of provider %s is known only after apply, but it must be known to plan. Compute it from values that are known now.", p)
	}
	p.Key = addr.StringKey(v.AsString())
	block := e.providers[p.Block()]
	if block == nil {
		return p, true, nil // told, or in a file that can't be read
	}
	keys := e.of(block).keys
	usable, known := keys[p.Key]
	if !known && keys != nil {
		names := make([]string, 0, len(keys))
		for key := range keys {
			names = append(names, key.Value().AsString())
		}
		return fail("Provider %s has no configuration with the key %q.%s Its for_each must have all keys that resources use.", p.Block(), v.AsString(), DidYouMean(v.AsString(), names))
	}
	return p, usable || keys == nil, nil
}
