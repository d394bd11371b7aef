package config

import (
	"context"
	"runtime"
	"slices"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
)

// evaluator walks the graph once. In static mode (within Load) variables, computed attributes and whatever follows from
// them are unknown, and no handler is asked.
type evaluator struct {
	*Config
	static  bool
	loading bool // in static mode: what is known already is kept
	broken  map[hcl.Expression]bool
	sel     *selection
	handler Handler
	known   func(addr.Instance) bool // EvalRequest.Known
	exclude func(addr.Instance) bool // EvalRequest.Exclude
	phase   CheckPhase
	scope   *hcl.EvalContext // functions, path, iexecform

	here    *site     // the instance of a module that is being evaluated
	sites   [][]*site // by module.index
	byPath  map[addr.Module]*site
	open    map[*node]bool                    // calls of which not all instances are known (static mode)
	at      [][]nodeState                     // by node.index and site.index
	bad     map[addr.Instance]bool            // failed or skipped instances
	checked map[string]*CheckResult           // by CheckResult.ID
	data    map[addr.Instance][]addr.Instance // what data instances depend on
	result  *Evaluation
	diags   hcl.Diagnostics

	imports  importSet
	onImport func(Import) // EvalRequest.Import

	inspect func(Inspected) // is told of each block in static mode; may be nil
}

// nodeState is what is known of a node so far.
type nodeState struct {
	done      bool
	failed    bool              // there is no value
	someBad   bool              // some instances are bad
	value     cty.Value         // what references see, or NilVal: see seen
	block     *pending          // of a resource or data block: what its value is made of
	deps      []addr.Instance   // of a local, provider or output
	keys      map[addr.Key]bool // of a provider with for_each: whether the configuration can be used; nil while unknown
	instances []addr.Instance   // of a resource or data block, sorted
	all       []addr.Instance   // the instances and, for data, what they depend on; nil until asked for
}

// seen is what references see; of a block, it is made when there is the first. It is NilVal when there is none yet.
func (at *nodeState) seen() cty.Value {
	if at.value == cty.NilVal && at.block != nil {
		at.value = at.block.value()
	}
	return at.value
}

// pending is the instances of a block on their way to the handler.
type pending struct {
	node      *node
	here      *site
	keys      []addr.Key // of the whole expansion
	results   []Result   // by keys; none until known
	instances []Instance // those to ask for
	index     []int      // of instances, into keys
}

// Evaluate computes the instances of the configuration in waves and hands each wave to the request's Handler: all blocks
// whose references are done, data sources first. An error stops only what depends on it. The Evaluation is never nil.
func (c *Config) Evaluate(ctx context.Context, req EvalRequest) (*Evaluation, hcl.Diagnostics) {
	e := &evaluator{
		Config: c, handler: req.Handler, known: req.Known, exclude: req.Exclude, phase: req.Checks, onImport: req.Import,
		bad: map[addr.Instance]bool{}, checked: map[string]*CheckResult{}, data: map[addr.Instance][]addr.Instance{},
		result: &Evaluation{Outputs: map[string]OutputValue{}},
	}
	e.result.eval = e
	c.meter.reset()
	e.start(cty.StringVal(req.Workspace))
	if c.invalid {
		return e.result, hcl.Diagnostics{failure(nil, "Invalid configuration", "A configuration with errors cannot be evaluated. Correct the errors that were reported when it was loaded.")}
	}
	if e.sel, e.diags = c.selectNodes(req); e.diags.HasErrors() {
		return e.result, e.diags
	}
	e.setInputs(req.Inputs)
	e.run(ctx)
	r := e.result
	for _, list := range [][]addr.Instance{r.Instances, r.Failed, r.Skipped, r.Excluded} {
		slices.SortFunc(list, addr.Instance.Compare)
	}
	slices.SortFunc(r.Providers, addr.Provider.Compare)
	r.Checks = e.checkResults()
	e.checkTargets(req.Targets)
	return r, inOrder(discreet(e.explain(e.meter.exceeded(e.diags))))
}

func (e *evaluator) setInputs(inputs map[string]cty.Value) {
	for name, n := range e.variables {
		v, ok := inputs[name]
		if !ok {
			e.diags = append(e.diags, missingVariable(n.variable))
			*e.of(n) = nodeState{done: true, failed: true}
			continue
		}
		e.of(n).value = n.variable.mark(v)
	}
}

// run is the loop over the waves.
func (e *evaluator) run(ctx context.Context) {
	waiting := make([]int, len(e.nodes))
	var inline, data, resources []*node
	enqueue := func(n *node) {
		switch n.kind {
		case dataNode:
			data = append(data, n)
		case resourceNode:
			resources = append(resources, n)
		default:
			inline = append(inline, n)
		}
	}
	for _, n := range e.nodes {
		if !e.sel.has(n) {
			continue
		}
		for _, to := range n.deps {
			if e.sel.has(to) {
				waiting[n.index]++
			}
		}
		if waiting[n.index] == 0 {
			enqueue(n)
		}
	}
	finish := func(n *node) {
		for i := range e.at[n.index] {
			e.at[n.index][i].done = true
		}
		for _, user := range n.users {
			if !e.sel.has(user) {
				continue
			}
			if waiting[user.index]--; waiting[user.index] == 0 {
				enqueue(user)
			}
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			e.diags = append(e.diags, failure(nil, "Evaluation interrupted", "%s", sentence(err)))
			return
		}
		switch {
		case len(inline) > 0:
			n := inline[0]
			inline = inline[1:]
			e.everywhere(ctx, n)
			finish(n)
		case len(data) > 0:
			wave := declared(data)
			data = nil
			e.wave(ctx, wave, Handler.Data)
			for _, n := range wave {
				finish(n)
			}
		case len(resources) > 0:
			wave := declared(resources)
			resources = nil
			e.wave(ctx, wave, Handler.Resources)
			for _, n := range wave {
				finish(n)
			}
		default:
			return
		}
	}
}

// declared puts nodes in order of declaration.
func declared(nodes []*node) []*node {
	slices.SortFunc(nodes, func(a, b *node) int { return a.index - b.index })
	return nodes
}

// inline evaluates a node that needs no batch.
func (e *evaluator) inline(ctx context.Context, n *node) {
	at := e.of(n)
	if n.kind == variableNode {
		return // of the root; those of modules: see argument
	}
	values := e.context(n)
	var bad bool
	at.deps, bad = e.dependencies(n.refs, Block{scope: values})
	if bad || e.refsFailed(n.refs) {
		at.failed = true
		if n.kind == checkNode {
			e.note(CheckResult{Kind: CheckBlock, Name: n.name}, CheckError, "")
		}
		return
	}
	if diags := e.checkDependsOn(n); diags.HasErrors() {
		e.diags = append(e.diags, diags...)
		at.failed = true
		return
	}
	switch n.kind {
	case localNode:
		if e.broken[n.expr] {
			at.value = cty.DynamicVal
			return
		}
		if n.constant != cty.NilVal {
			at.value = n.constant
			return
		}
		v, diags := n.expr.Value(values)
		tooLarge, known := e.meter.survey(v)
		if tooLarge {
			v, diags = cty.DynamicVal, append(diags, failure(n.expr.Range().Ptr(), "Value is too large", "local.%s has more than %d parts.", n.name, e.meter.maxParts))
		}
		e.diags = append(e.diags, diags...)
		at.value, at.failed = v, diags.HasErrors()
		if e.loading && known && len(diags) == 0 && n.ofConstants() {
			n.constant = v
		}
	case outputNode:
		e.output(n, values)
	case providerNode:
		e.provider(ctx, n, values)
	case importNode:
		at.failed = !e.evaluateImport(n, values)
	case checkNode:
		e.check(n, values)
	case validationNode:
		e.validateArguments(n)
	}
}

func (e *evaluator) output(n *node, ctx *hcl.EvalContext) {
	at := e.of(n)
	if e.broken[n.expr] {
		return
	}
	ok, problems := e.assert(CheckResult{Kind: CheckOutput, Name: n.name, Module: e.here.path, Before: true}, n.asserts, ctx)
	if e.diags = append(e.diags, problems...); !ok {
		at.failed = true
		return
	}
	v, diags := n.expr.Value(ctx)
	if !diags.HasErrors() && isEphemeral(v) {
		d := failure(n.expr.Range().Ptr(), "Output refers to ephemeral values",
			"The value of output %q is ephemeral, but outputs are kept in the state. Use ephemeralasnull(...) if the rest of the value is to be kept.", n.name)
		diags = append(diags, within(d, n.expr, ctx))
	} else if !diags.HasErrors() && v.ContainsMarked() && !n.output.Sensitive {
		d := failure(n.expr.Range().Ptr(), "Output refers to sensitive values",
			"The value of output %q is sensitive. Add sensitive = true to the output, or use nonsensitive(...) if the value really may be seen by everyone.", n.name)
		diags = append(diags, within(d, n.expr, ctx))
	}
	e.diags = append(e.diags, diags...)
	if at.failed = diags.HasErrors(); at.failed {
		return
	}
	if n.module.parent != nil {
		if at.value = v; n.output.Sensitive {
			at.value = v.Mark(sensitiveMark)
		}
		return
	}
	v, _ = v.UnmarkDeep()
	e.result.Outputs[n.name] = OutputValue{Value: v, Sensitive: n.output.Sensitive, Description: n.output.Description, DependsOn: at.deps}
}

// wave evaluates blocks that don't depend on each other and asks the handler about all of their instances at once.
func (e *evaluator) wave(ctx context.Context, nodes []*node, ask func(Handler, context.Context, []Instance) []Result) {
	var (
		blocks []*pending
		batch  []Instance
	)
	for _, n := range nodes {
		for _, e.here = range e.sites[n.module.index] {
			if p := e.block(n); p != nil {
				blocks = append(blocks, p)
				batch = joined(batch, p.instances)
			}
		}
	}
	defer e.goHome()
	var results []Result
	if len(batch) > 0 && !e.static {
		results = ask(e.handler, ctx, batch)
		if len(results) != len(batch) {
			e.diags = append(e.diags, failure(nil, "Incomplete answer", "%d instances were handed over for planning and %d came back. This is a defect of the program.", len(batch), len(results)))
			results = append(results, make([]Result, len(batch))...)
		}
	}
	for _, p := range blocks { // results is cut along
		e.here = p.here
		at := e.of(p.node)
		for i, inst := range p.instances {
			r := Result{Object: inst.Value}
			if e.inspect != nil {
				e.inspect(Inspected{Block: inst.Block, Table: p.node.body.table, Addr: inst.Addr, Provider: inst.Provider, Count: p.node.count})
			}
			if !e.static {
				r = results[i]
				e.tell(p.node, r.Diags)
				if r.Diags.HasErrors() || r.isNone() {
					e.fail(p.node, inst.Addr)
					continue
				}
			}
			diags, ok := e.postconditions(p.node, inst, r)
			if e.tell(p.node, diags); !ok && !e.static {
				e.fail(p.node, inst.Addr)
				continue
			}
			p.results[p.index[i]] = r
		}
		if !e.static {
			results = results[len(p.instances):]
		}
		p.instances, p.index = nil, nil
		at.block = p
	}
}

// fail marks an instance as one that has no value.
func (e *evaluator) fail(n *node, i addr.Instance) {
	e.of(n).someBad, e.bad[i] = true, true
	e.result.Failed = append(e.result.Failed, i)
}

// tell takes up diagnostics about a block. For the data source of a check they are warnings.
func (e *evaluator) tell(n *node, diags hcl.Diagnostics) {
	if n.check != nil && !e.static {
		diags = asWarnings(diags)
	}
	e.diags = append(e.diags, diags...)
}

// excluded reports whether the request leaves out a block or an instance.
func (e *evaluator) excluded(i addr.Instance) bool { return e.exclude != nil && e.exclude(i) }

func (e *evaluator) leaveOut(i addr.Instance) {
	e.bad[i] = true
	e.result.Excluded = append(e.result.Excluded, i)
}

// joined is both lists, without a copy when the first is empty.
func joined(a, b []Instance) []Instance {
	if len(a) == 0 {
		return slices.Clip(b)
	}
	return append(a, b...)
}

// value is what references to the block see: an object or tuple when it is expanded. Instances without value are
// unknown.
func (p *pending) value() cty.Value {
	switch {
	case p.node.count != nil:
		values := make([]cty.Value, len(p.keys))
		for i, r := range p.results {
			values[i] = p.node.seen(r)
		}
		return cty.TupleVal(values)
	case p.node.forEach != nil:
		object := make(map[string]cty.Value, len(p.keys))
		for i, k := range p.keys {
			object[k.Value().AsString()] = p.node.seen(p.results[i])
		}
		return cty.ObjectVal(object)
	}
	return p.node.seen(p.results[0])
}

func (r Result) isNone() bool { return r.Value == cty.NilVal && r.Object.IsZero() }

// seen is what references to an instance see.
func (n *node) seen(r Result) cty.Value {
	if r.isNone() {
		return cty.DynamicVal
	}
	if r.Value == cty.NilVal {
		r.Value = r.Object.Cty()
	}
	return markSensitive(n, r.Value)
}

// markSensitive marks the sensitive attributes that have a value.
func markSensitive(n *node, v cty.Value) cty.Value {
	if v.IsNull() || !v.IsKnown() {
		return v
	}
	var attrs map[string]cty.Value
	for _, a := range n.body.table.Attrs {
		if !a.Sensitive || v.GetAttr(a.Name).IsNull() {
			continue
		}
		if attrs == nil {
			attrs = v.AsValueMap()
		}
		attrs[a.Name] = attrs[a.Name].Mark(sensitiveMark)
	}
	if attrs == nil {
		return v
	}
	return cty.ObjectVal(attrs)
}

// block expands a resource or data block and evaluates its instances. It returns nil when the block is skipped or fails
// as a whole.
func (e *evaluator) block(n *node) *pending {
	at := e.of(n)
	if n.body == nil {
		at.value = cty.DynamicVal // of unknown type: reported by Load
		return nil
	}
	whole := addr.Instance{Resource: e.address(n)}
	if e.excluded(whole) {
		at.failed, at.value = true, cty.DynamicVal
		e.leaveOut(whole)
		return nil
	}
	ctx := e.context(n)
	if e.refsFailed(n.refs) || e.expansionBad(n, ctx) || e.importsFailed(n) {
		at.failed = true
		e.bad[whole] = true
		e.result.Skipped = append(e.result.Skipped, whole)
		return nil
	}
	x, diags := e.expand(n, ctx)
	diags = append(diags, e.checkDependsOn(n)...)
	if !diags.HasErrors() && !x.unknown {
		diags = append(diags, e.checkNamed(n, x.keys)...)
	}
	e.diags = append(e.diags, diags...)
	if diags.HasErrors() {
		at.failed, at.value = true, cty.DynamicVal
		e.bad[whole] = true
		e.result.Failed = append(e.result.Failed, whole)
		return nil
	}
	if x.unknown { // only in static mode: check one instance of unknown key
		d := e.decoder(n, false)
		e.diags = append(e.diags, d.evaluate(x.ctx, whole).diags...)
		at.value = cty.DynamicVal
		return nil
	}
	if e.static && len(x.keys) > staticInstances {
		x.keys = x.keys[:staticInstances]
		e.instances(n, ctx, x)
		at.value = cty.DynamicVal
		return nil
	}
	return e.instances(n, ctx, x)
}

// instances evaluates the selected instances of an expanded block.
func (e *evaluator) instances(n *node, ctx *hcl.EvalContext, x expansion) *pending {
	at := e.of(n)
	p, resource := &pending{node: n, here: e.here, keys: x.keys, results: make([]Result, len(x.keys))}, e.address(n)
	shared, own := splitRefs(n.refs)
	sharedDeps, sharedBad := e.dependencies(shared, Block{scope: ctx})
	after := e.explicit(n)
	ready, places := make([]Instance, 0, len(x.keys)), make([]int, 0, len(x.keys)) // those whose references are there, and where in x.keys
	for i, key := range x.keys {
		if !e.sel.hasKey(n, e.here.path, key) {
			continue
		}
		inst := Instance{Addr: addr.Instance{Resource: resource, Key: key}, Check: n.check != nil}
		at.instances = append(at.instances, inst.Addr)
		if !key.IsZero() && e.excluded(inst.Addr) {
			at.someBad = true
			e.leaveOut(inst.Addr)
			continue
		}
		inst.Block = Block{Range: n.rng, body: n.body, scope: ctx, key: key, each: x.value(i)}
		deps, bad := sharedDeps, sharedBad
		if len(own) > 0 {
			ownDeps, ownBad := e.dependencies(own, inst.Block)
			deps, bad = union(sharedDeps, ownDeps), bad || ownBad
		}
		inst.DependsOn, inst.After = deps, after
		if n.kind == dataNode {
			e.data[inst.Addr] = deps
		}
		provider, usable, wrong := e.providerOf(n, inst.Block)
		if wrong.HasErrors() {
			e.tell(n, wrong)
			e.fail(n, inst.Addr)
			continue
		}
		inst.Provider, bad = provider, bad || !usable
		if bad {
			at.someBad, e.bad[inst.Addr] = true, true
			e.result.Skipped = append(e.result.Skipped, inst.Addr)
			continue
		}
		ready, places = append(ready, inst), append(places, i)
	}
	var problems folder
	p.instances, p.index = ready[:0], places[:0] // those without problems, in the same memory
	for r, v := range e.bodies(n, ready) {
		inst := ready[r]
		lifecycle, diags := e.lifecycleOf(n, inst)
		failed, ok := e.preconditions(n, inst)
		if diags = slices.Concat(v.diags, diags, failed); diags.HasErrors() || !ok {
			problems.add(diags)
			e.fail(n, inst.Addr)
			continue
		}
		inst.Lifecycle = lifecycle
		inst.Value, inst.Sensitive = v.value, v.sensitive
		p.instances = append(p.instances, inst)
		p.index = append(p.index, places[r])
	}
	e.result.Instances = append(e.result.Instances, at.instances...)
	e.tell(n, problems.result())
	e.unknownTargets(n, x.keys)
	return p
}

// explicit is what depends_on of a data block names.
func (e *evaluator) explicit(n *node) []addr.Instance {
	if n.kind != dataNode || len(n.dependsOn) == 0 {
		return nil
	}
	var refs []ref
	for _, r := range n.refs {
		if r.explicit {
			refs = append(refs, r)
		}
	}
	deps, _ := e.dependencies(refs, Block{})
	return deps
}

// bodies evaluates the bodies of a block's instances, on all processors: they only read.
func (e *evaluator) bodies(n *node, instances []Instance) []bodyValue {
	values := make([]bodyValue, len(instances))
	workers := min(runtime.GOMAXPROCS(0), len(instances))
	var common decoder
	if len(instances) > 0 {
		common = e.decoder(n, false)
		common.share(instances[0].scope)
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			d, scratch := common, keyScope{}
			for i := w; i < len(instances); i += workers {
				inst := &instances[i]
				if values[i] = d.evaluate(scratch.of(inst.Block), &inst.Addr); len(values[i].diags) > 0 {
					values[i] = d.evaluate(inst.context(), &inst.Addr) // a context of their own, to show values from
				}
			}
		})
	}
	wg.Wait()
	return values
}

// decoder is one for the body of a node. sensitiveOK lets sensitive values through.
func (e *evaluator) decoder(n *node, sensitiveOK bool) decoder {
	return decoder{body: n.body, sensitiveOK: sensitiveOK, static: e.static, broken: e.broken}
}

// unknownTargets reports targets with keys that the block doesn't have.
func (e *evaluator) unknownTargets(n *node, keys []addr.Key) {
	for _, target := range e.sel.targets[n] {
		if target.Resource.Module != e.here.path {
			continue
		}
		k := target.Key
		missing := !slices.Contains(keys, k)
		if missing && e.known != nil && e.known(target) {
			continue
		}
		if missing {
			e.diags = append(e.diags, failure(n.rng.Ptr(), "Unknown target", "%s has no instance %s. %s", n.name, k, keyForm(n)))
		}
	}
}

// context has the values that the node's expressions may name, and no more.
func (e *evaluator) context(n *node) *hcl.EvalContext { return e.contextOf(n.refs) }

func (e *evaluator) contextOf(refs []ref) *hcl.EvalContext {
	groups := map[string]map[string]cty.Value{}
	put := func(group, name string, v cty.Value) {
		if groups[group] == nil {
			groups[group] = map[string]cty.Value{}
		}
		groups[group][name] = v
	}
	data := map[string]map[string]cty.Value{}
	calls := map[*node]map[string]*node{}
	for _, r := range refs {
		if r.to.kind == callNode && calls[r.to] == nil {
			calls[r.to] = map[string]*node{}
		}
		if r.via != nil {
			if r.to.kind == outputNode {
				calls[r.via][r.to.name] = r.to // the reference to the call comes first
			}
			continue
		}
		v := e.of(r.to).seen()
		if v == cty.NilVal {
			v = cty.DynamicVal
		}
		switch r.to.kind {
		case variableNode:
			put("var", r.to.name, v)
		case localNode:
			put("local", r.to.name, v)
		case resourceNode:
			put(r.to.address.Type, r.to.address.Name, v)
		case dataNode:
			if data[r.to.address.Type] == nil {
				data[r.to.address.Type] = map[string]cty.Value{}
			}
			data[r.to.address.Type][r.to.address.Name] = v
		}
	}
	for call, outputs := range calls {
		put("module", call.name, e.callValue(call, outputs))
	}
	ctx := e.here.scope.NewChild()
	ctx.Variables = make(map[string]cty.Value, len(groups)+1)
	for name, values := range groups {
		ctx.Variables[name] = cty.ObjectVal(values)
	}
	if len(data) > 0 {
		types := make(map[string]cty.Value, len(data))
		for typ, values := range data {
			types[typ] = cty.ObjectVal(values)
		}
		ctx.Variables["data"] = cty.ObjectVal(types)
	}
	return ctx
}

// Eval computes an expression with the evaluated values, for a console. The value may be marked (it is sensitive then)
// and may hold unknown leaves. Diagnostics refer to the file name.
func (v *Evaluation) Eval(src []byte, filename string) (cty.Value, hcl.Diagnostics) {
	if diags := tooNested(src, filename, hclsyntax.LexExpression); diags.HasErrors() {
		return cty.DynamicVal, diags
	}
	expr, diags := hclsyntax.ParseExpression(src, filename, hcl.InitialPos)
	if diags.HasErrors() {
		return cty.DynamicVal, diags
	}
	e := v.eval
	if e == nil {
		return cty.DynamicVal, hcl.Diagnostics{failure(nil, "No value", "Nothing has been evaluated.")}
	}
	f := e.find(expr, scope{})
	if f.diags.HasErrors() {
		return cty.DynamicVal, f.diags
	}
	for _, r := range f.refs {
		if !e.hasValue(r) {
			f.diags = append(f.diags, failure(r.rng.Ptr(), "No value", "%s has no value, because it was not evaluated or failed.", r.to.id()))
		}
	}
	if f.diags.HasErrors() {
		return cty.DynamicVal, f.diags
	}
	return expr.Value(e.contextOf(f.refs))
}
