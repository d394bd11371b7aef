package config

import (
	"context"
	"maps"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
)

// site is an instance of a module: where blocks are evaluated.
type site struct {
	module   *module
	index    int // in evaluator.sites[module.index]
	path     addr.Module
	parent   *site // nil in the root
	key      addr.Key
	each     cty.Value            // each.value, for for_each
	unknown  map[string]cty.Value // each or count, when the key is unknown (static mode)
	scope    *hcl.EvalContext     // functions, path, iexecform
	children map[*module][]*site
	call     *hcl.EvalContext // of the arguments of its call; nil until asked for
}

// HasModule reports whether the evaluation came to an instance of a module.
func (v *Evaluation) HasModule(m addr.Module) bool {
	return m == "" || v.eval != nil && v.eval.byPath[m] != nil
}

// checkTargets reports targets in instances of modules that aren't there.
func (e *evaluator) checkTargets(targets []addr.Instance) {
	for _, t := range targets {
		m := t.Resource.Module
		found := m == "" || e.diags.HasErrors() || e.known != nil && e.known(t)
		for path := range e.byPath {
			found = found || m.Contains(path)
		}
		if !found {
			e.diags = append(e.diags, failure(nil, "Unknown target", "%s has no instance %s.", m.Call(), m))
		}
	}
}

// start makes the root's site and the states of its nodes.
func (e *evaluator) start(workspace cty.Value) {
	e.scope = e.Config.scope.NewChild()
	e.scope.Variables = map[string]cty.Value{"iexecform": cty.ObjectVal(map[string]cty.Value{"workspace": workspace})}
	e.open, e.byPath = map[*node]bool{}, map[addr.Module]*site{}
	e.sites, e.at = make([][]*site, len(e.modules)), make([][]nodeState, len(e.nodes))
	e.here = &site{module: e.module, scope: e.scope}
	e.sites[0] = []*site{e.here}
	states := make([]nodeState, len(e.nodes))
	for i := range states {
		if e.nodes[i].module.parent == nil {
			e.at[i] = states[i : i+1 : i+1]
		}
	}
}

func (e *evaluator) goHome() { e.here = e.sites[0][0] }

// of is the state of a node of this site, or of a module that this site is in.
func (e *evaluator) of(n *node) *nodeState {
	return &e.at[n.index][e.here.up(n.module).index]
}

// up is the site, or the one that it is in, of a module.
func (p *site) up(m *module) *site {
	if m.parent == nil {
		for p.parent != nil {
			p = p.parent
		}
	}
	for p.module != m {
		p = p.parent
	}
	return p
}

// address is that of a block in this site.
func (e *evaluator) address(n *node) addr.Resource {
	r := n.address
	r.Module = e.here.up(n.module).path
	return r
}

// everywhere evaluates a node that needs no batch in all sites of its module.
func (e *evaluator) everywhere(ctx context.Context, n *node) {
	defer e.goHome()
	if n.module.parent == nil && n.kind != callNode {
		e.inline(ctx, n)
		return
	}
	before := e.diags
	e.diags = nil
	if n.kind == variableNode {
		e.arguments(n)
	} else {
		for _, e.here = range e.sites[n.module.index] {
			if n.kind == callNode {
				e.makeSites(n)
			} else {
				e.inline(ctx, n)
			}
		}
	}
	if n.kind == callNode && n.call.module != nil {
		for _, inner := range n.call.module.own {
			e.at[inner.index] = make([]nodeState, len(e.sites[n.call.module.index]))
		}
	}
	var problems folder
	problems.add(e.diags)
	e.diags = append(before, problems.result()...)
}

// makeSites makes the instances of a module that a call makes here.
func (e *evaluator) makeSites(n *node) {
	if n.call.module == nil {
		return
	}
	at := e.of(n)
	ctx := e.context(n)
	if e.refsFailed(n.refs) || e.expansionBad(n, ctx) {
		at.failed = true
		e.result.Skipped = append(e.result.Skipped, e.all(n))
		return
	}
	x, diags := e.expand(n, ctx)
	if e.diags = append(e.diags, diags...); diags.HasErrors() {
		at.failed = true
		e.result.Failed = append(e.result.Failed, e.all(n))
		return
	}
	if x.unknown {
		e.open[n] = true
		e.makeSite(n, addr.Key{}, cty.NilVal).unknown = x.ctx.Variables
		return
	}
	if e.static && len(x.keys) > staticInstances {
		x.keys = x.keys[:staticInstances]
		e.open[n] = true
	}
	for i, key := range x.keys {
		e.makeSite(n, key, x.value(i))
	}
}

// all stands for all instances of a module.
func (e *evaluator) all(n *node) addr.Instance {
	return addr.Instance{Resource: addr.Resource{Module: e.here.path.Child(n.name, addr.Key{})}}
}

func (e *evaluator) makeSite(n *node, key addr.Key, each cty.Value) *site {
	m := n.call.module
	p := &site{module: m, index: len(e.sites[m.index]), path: e.here.path.Child(n.name, key), parent: e.here, key: key, each: each}
	p.scope = e.scope.NewChild()
	dir, err := filepath.Rel(e.Dir, m.dir)
	if err != nil {
		dir = m.dir
	}
	path := maps.Clone(e.Config.scope.Variables["path"].AsValueMap())
	path["module"] = cty.StringVal(filepath.ToSlash(dir))
	p.scope.Variables = map[string]cty.Value{"path": cty.ObjectVal(path)}
	e.sites[m.index], e.byPath[p.path] = append(e.sites[m.index], p), p
	if e.here.children == nil {
		e.here.children = map[*module][]*site{}
	}
	e.here.children[m] = append(e.here.children[m], p)
	return p
}

// arguments computes a variable of a module in all sites.
func (e *evaluator) arguments(n *node) {
	v := n.variable
	if n.expr == nil {
		for _, e.here = range e.sites[n.module.index] {
			e.of(n).value = v.mark(v.Default)
		}
		return
	}
	shared := map[*site]*hcl.EvalContext{}
	for _, p := range e.sites[n.module.index] {
		e.here = p.parent
		at := &e.at[n.index][p.index]
		if shared[p.parent] == nil {
			shared[p.parent] = e.context(n)
		}
		ctx := keyContext(shared[p.parent], p.key, p.each)
		if p.unknown != nil {
			ctx = ctx.NewChild()
			ctx.Variables = p.unknown
		}
		deps, bad := e.dependencies(n.refs, Block{scope: shared[p.parent], key: p.key, each: p.each})
		if bad || e.refsFailed(n.refs) {
			at.failed = true
			continue
		}
		at.deps = deps
		if e.broken[n.expr] {
			at.value = v.mark(cty.UnknownVal(v.Type))
			continue
		}
		value, diags := n.expr.Value(ctx)
		if e.diags = append(e.diags, diags...); diags.HasErrors() {
			at.failed, at.value = true, cty.UnknownVal(v.Type)
			continue
		}
		converted, err := v.convert(value)
		if err != nil {
			at.failed = true
			d := failure(n.expr.Range().Ptr(), "Invalid value for variable", "The value for %q of %s does not fit its type %s: %s.", n.name, p.path, typeexpr.TypeString(v.constraint), err)
			e.diags = append(e.diags, within(d, n.expr, ctx))
		}
		at.value = v.mark(converted)
	}
}

// validateArguments checks the values that a call gives to the variables of a module.
func (e *evaluator) validateArguments(n *node) {
	inputs := make(map[string]cty.Value, len(n.module.variables))
	for name, v := range n.module.variables {
		inputs[name] = e.of(v).value
	}
	for _, name := range keysOf(n.module.variables) {
		v := n.module.variables[name]
		subject := n.module.caller.rng.Ptr()
		if v.expr != nil {
			subject = v.expr.Range().Ptr()
		}
		if inputs[name] != cty.NilVal && inputs[name].IsWhollyKnown() {
			e.diags = append(e.diags, n.module.validate(e.here.scope, v.variable, inputs, subject)...)
		}
	}
}

// callValue is what references to a module see: its outputs that are named, or an object or tuple of them.
func (e *evaluator) callValue(call *node, outputs map[string]*node) cty.Value {
	at := e.here.up(call.module)
	if e.open[call] || call.call.module == nil || e.of(call).failed {
		return cty.DynamicVal
	}
	sites := at.children[call.call.module]
	values := make([]cty.Value, len(sites))
	for i, p := range sites {
		object := make(map[string]cty.Value, len(outputs))
		for name, n := range outputs {
			if object[name] = e.at[n.index][p.index].value; object[name] == cty.NilVal {
				object[name] = cty.DynamicVal
			}
		}
		values[i] = cty.ObjectVal(object)
	}
	switch {
	case call.count != nil:
		return cty.TupleVal(values)
	case call.forEach != nil:
		object := make(map[string]cty.Value, len(sites))
		for i, p := range sites {
			object[p.key.Value().AsString()] = values[i]
		}
		return cty.ObjectVal(object)
	}
	return values[0]
}

// dependencyIn is what a reference to something in a module amounts to: see dependency.
func (e *evaluator) dependencyIn(r ref, at Block) (deps []addr.Instance, bad bool) {
	var lists [][]addr.Instance
	for _, p := range e.sitesOf(r, at) {
		state := &e.at[r.to.index][p.index]
		bad = bad || state.failed || state.someBad
		list := state.deps
		if r.to.instantiable() {
			list = e.allOf(r.to, state)
		}
		if len(list) > 0 {
			lists = append(lists, list)
		}
	}
	return union(lists...), bad
}

// sitesOf are those of r.to's module that the reference is to.
func (e *evaluator) sitesOf(r ref, at Block) []*site {
	if e.of(r.via).failed {
		return nil
	}
	sites := e.here.up(r.via.module).children[r.via.call.module]
	key, ok := r.key, r.mode == refKey
	if r.mode == refExpr {
		key, ok = e.key(r, at.context())
	}
	if ok {
		p := e.byPath[e.here.up(r.via.module).path.Child(r.via.name, key)]
		if p == nil {
			return nil // an error, or within try
		}
		sites = []*site{p}
	}
	for depth := r.via.call.module.depth; depth < r.to.module.depth; depth++ {
		var inner []*site
		next := r.to.module
		for next.depth > depth+1 {
			next = next.parent
		}
		for _, p := range sites {
			inner = append(inner, p.children[next]...)
		}
		sites = inner
	}
	return sites
}

// hasValue reports whether everything that a reference names was evaluated.
func (e *evaluator) hasValue(r ref) bool {
	if r.via == nil {
		at := e.of(r.to)
		return at.done && !at.failed
	}
	for _, p := range e.sitesOf(r, Block{scope: e.here.scope}) {
		if at := &e.at[r.to.index][p.index]; !at.done || at.failed {
			return false
		}
	}
	return true
}
