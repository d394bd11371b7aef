package config

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/iexecform/iexecform/config/addr"
)

// expansion is the instances of a block, in order of their keys.
type expansion struct {
	keys    []addr.Key
	values  []cty.Value // each.value, for for_each
	unknown bool        // the keys are unknown, and ctx stands for any instance (static mode)
	ctx     *hcl.EvalContext
}

func (x *expansion) value(i int) cty.Value {
	if x.values == nil {
		return cty.NilVal
	}
	return x.values[i]
}

var oneInstance = []addr.Key{{}}

func (e *evaluator) expand(n *node, ctx *hcl.EvalContext) (expansion, hcl.Diagnostics) {
	switch {
	case n.count != nil:
		return e.expandCount(n, ctx)
	case n.forEach != nil:
		return e.expandForEach(n, ctx)
	}
	return expansion{keys: oneInstance}, nil
}

const maxCount = 1_000_000

func (e *evaluator) expandCount(n *node, ctx *hcl.EvalContext) (x expansion, diags hcl.Diagnostics) {
	fail := func(format string, args ...any) (expansion, hcl.Diagnostics) {
		d := failure(n.count.Range().Ptr(), "Invalid count", format, args...)
		return x, hcl.Diagnostics{within(d, n.count, ctx)}
	}
	v, diags := e.expansionValue(n.count, ctx)
	if diags.HasErrors() {
		return x, diags
	}
	if isEphemeral(v) {
		return fail("The value is ephemeral, but the number of instances shows in the state. Compute it from values that may be kept.")
	}
	if v.ContainsMarked() {
		return fail("The value is sensitive, but the number of instances is public. Use nonsensitive(...) if it really may be seen by everyone.")
	}
	v, err := convert.Convert(v, cty.Number)
	switch {
	case err != nil:
		return fail("count must be a whole number: %s.", err)
	case !v.IsKnown() && e.static:
		x.unknown, x.ctx = true, ctx.NewChild()
		x.ctx.Variables = map[string]cty.Value{"count": cty.ObjectVal(map[string]cty.Value{"index": cty.UnknownVal(cty.Number)})}
		return x, nil
	case !v.IsKnown():
		return fail("The value is known only after apply, but the number of instances must be known to plan them. Compute it from values that are known now.")
	case v.IsNull():
		return fail("The value is null. Write a whole number; 0 for no instance.")
	}
	number, exact := v.AsBigFloat().Int64()
	switch {
	case exact != 0 || number < 0:
		return fail("count must be a whole number, 0 or more, and is %s.", v.AsBigFloat().Text('f', -1))
	case number > maxCount:
		return fail("count is %d, and may be %d at most.", number, maxCount)
	}
	x.keys = make([]addr.Key, number)
	for i := range x.keys {
		x.keys[i] = addr.IntKey(i)
	}
	return x, nil
}

func (e *evaluator) expandForEach(n *node, ctx *hcl.EvalContext) (x expansion, diags hcl.Diagnostics) {
	fail := func(format string, args ...any) (expansion, hcl.Diagnostics) {
		d := failure(n.forEach.Range().Ptr(), "Invalid for_each", format, args...)
		return x, hcl.Diagnostics{within(d, n.forEach, ctx)}
	}
	v, diags := e.expansionValue(n.forEach, ctx)
	if diags.HasErrors() {
		return x, diags
	}
	if v.HasMark(ephemeralMark) {
		return fail("The value is ephemeral, but the keys of instances are kept in the state. Compute them from values that may be kept.")
	}
	if v.IsMarked() { // a set with marked elements is itself marked
		return fail("The value is sensitive, but the keys of instances are public. Use nonsensitive(...) if they really may be seen by everyone.")
	}
	ty := v.Type()
	switch {
	case !ty.IsMapType() && !ty.IsObjectType() && !ty.IsSetType() && ty != cty.DynamicPseudoType:
		hint := ""
		if ty.IsTupleType() || ty.IsListType() {
			hint = " Write toset(...) around a list of strings."
		}
		return fail("for_each takes a map, an object or a set of strings, and this is a %s.%s", ty.FriendlyName(), hint)
	case v.IsNull():
		return fail("The value is null. Write {} for no instance.")
	case ty.IsSetType() && ty.ElementType() != cty.String && ty.ElementType() != cty.DynamicPseudoType:
		return fail("for_each takes sets of strings, and this is a %s. Convert the elements with tostring.", ty.FriendlyName())
	}
	unknown := func() (expansion, hcl.Diagnostics) {
		if !e.static {
			return fail("The keys are known only after apply, but they must be known to plan the instances. Compute them from values that are known now.")
		}
		child := ctx.NewChild()
		child.Variables = map[string]cty.Value{"each": cty.ObjectVal(map[string]cty.Value{"key": cty.UnknownVal(cty.String), "value": elementOf(ty)})}
		return expansion{unknown: true, ctx: child}, nil
	}
	if !v.IsKnown() {
		return unknown()
	}
	size := v.LengthInt()
	x.keys, x.values = make([]addr.Key, 0, size), make([]cty.Value, 0, size)
	for it := v.ElementIterator(); it.Next(); { // once only: a set is sorted for it
		key, value := it.Element()
		if ty.IsSetType() {
			key = value
			switch {
			case !key.IsKnown():
				return unknown()
			case key.IsNull():
				return fail("The set has a null element, which cannot be a key. Remove it, for example with compact(...).")
			}
		}
		x.keys = append(x.keys, addr.StringKey(key.AsString()))
		x.values = append(x.values, value)
	}
	return x, nil
}

// elementOf is an unknown each.value of a for_each of unknown keys.
func elementOf(ty cty.Type) cty.Value {
	switch {
	case ty.IsMapType() || ty.IsSetType():
		return cty.UnknownVal(ty.ElementType())
	}
	return cty.DynamicVal
}

func (e *evaluator) expansionValue(expr hcl.Expression, ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	if e.broken[expr] {
		return cty.DynamicVal, nil
	}
	return expr.Value(ctx)
}

// keyContext adds each or count to a context.
func keyContext(parent *hcl.EvalContext, key addr.Key, value cty.Value) *hcl.EvalContext {
	if key.IsZero() {
		return parent
	}
	ctx := parent.NewChild()
	name, object := keyVariable(key, value)
	ctx.Variables = map[string]cty.Value{name: object}
	return ctx
}

// keyVariable is each or count.
func keyVariable(key addr.Key, value cty.Value) (name string, object cty.Value) {
	if key.IsInt() {
		return "count", cty.ObjectVal(map[string]cty.Value{"index": key.Value()})
	}
	return "each", cty.ObjectVal(map[string]cty.Value{"key": key.Value(), "value": value})
}

// keyScope is a context that is used for one instance of a block after the other.
type keyScope struct{ ctx *hcl.EvalContext }

// of is what the block's expressions may name, until it is asked again.
func (s *keyScope) of(at Block) *hcl.EvalContext {
	if at.key.IsZero() {
		return at.scope
	}
	if s.ctx == nil {
		s.ctx = at.scope.NewChild()
		s.ctx.Variables = map[string]cty.Value{}
	}
	name, object := keyVariable(at.key, at.each)
	s.ctx.Variables[name] = object
	return s.ctx
}

// splitRefs separates the references that are the same for all instances from those that depend on the instance's key.
// References of the expansion alone are neither.
func splitRefs(refs []ref) (shared, own []ref) {
	for _, r := range refs {
		switch {
		case r.expansion:
		case r.mode == refExpr || r.mode == refEach:
			own = append(own, r)
		default:
			shared = append(shared, r)
		}
	}
	return shared, own
}

// refsFailed reports whether a reference is to a node without value.
func (e *evaluator) refsFailed(refs []ref) bool {
	if e.static {
		return false
	}
	for _, r := range refs {
		if r.via == nil && e.of(r.to).failed { // of modules: see dependencyIn
			return true
		}
	}
	return false
}

// expansionBad reports whether the keys of the block may depend on a bad instance.
func (e *evaluator) expansionBad(n *node, ctx *hcl.EvalContext) bool {
	var refs []ref
	for _, r := range n.refs {
		if r.expansion && r.mode != refEach {
			refs = append(refs, r)
		}
	}
	_, bad := e.dependencies(refs, Block{scope: ctx})
	return bad
}

// dependencies is what references from a block amount to, sorted, and whether some of it is bad.
func (e *evaluator) dependencies(refs []ref, at Block) (deps []addr.Instance, bad bool) {
	if e.static {
		return nil, false
	}
	var lists [][]addr.Instance
	for _, r := range refs {
		list, b := e.dependency(r, at)
		bad = bad || b
		if len(list) > 0 {
			lists = append(lists, list)
		}
	}
	return union(lists...), bad
}

func (e *evaluator) dependency(r ref, at Block) ([]addr.Instance, bool) {
	if r.via != nil {
		return e.dependencyIn(r, at)
	}
	to := e.of(r.to)
	if !r.to.instantiable() {
		return to.deps, false
	}
	key, ok := r.key, r.mode == refKey
	switch {
	case r.mode == refEach && !at.key.IsZero():
		key, ok = at.key, true
	case r.mode == refExpr:
		key, ok = e.key(r, at.context())
	}
	if !ok {
		return e.allOf(r.to, to), to.someBad
	}
	inst := addr.Instance{Resource: e.address(r.to), Key: key}
	if !to.has(inst) { // an error, or within try
		return nil, false
	}
	if r.to.kind == dataNode {
		return union([]addr.Instance{inst}, e.data[inst]), e.bad[inst]
	}
	return []addr.Instance{inst}, e.bad[inst]
}

func (at *nodeState) has(inst addr.Instance) bool {
	_, ok := slices.BinarySearchFunc(at.instances, inst, addr.Instance.Compare)
	return ok
}

// checkDependsOn reports instances in depends_on that aren't there.
func (e *evaluator) checkDependsOn(n *node) (diags hcl.Diagnostics) {
	for _, r := range n.refs {
		if r.via != nil {
			continue
		}
		to := e.of(r.to)
		if r.dependsOn && r.to.expanded() && to.seen() != cty.NilVal && to.seen().IsKnown() && !to.has(addr.Instance{Resource: e.address(r.to), Key: r.key}) {
			diags = append(diags, failure(r.rng.Ptr(), "Invalid depends_on", "%s has no instance %s. %s", r.to.name, r.key, keyForm(r.to)))
		}
	}
	return diags
}

// key computes the key of a reference.
func (e *evaluator) key(r ref, ctx *hcl.EvalContext) (addr.Key, bool) {
	v, diags := r.expr.Value(ctx)
	if diags.HasErrors() {
		return addr.Key{}, false
	}
	return keyOf(r.repeated(), v)
}

// keyOf is the key of n's instance that an index value means.
func keyOf(n *node, v cty.Value) (addr.Key, bool) {
	want := cty.String
	if n.count != nil {
		want = cty.Number
	}
	v, _ = v.Unmark()
	v, err := convert.Convert(v, want)
	if err != nil {
		return addr.Key{}, false
	}
	return addr.KeyOf(v)
}

// allOf is every instance of a block and, for data, what these depend on.
func (e *evaluator) allOf(n *node, at *nodeState) []addr.Instance {
	if n.kind == resourceNode {
		return at.instances
	}
	if at.all == nil {
		all := slices.Clone(at.instances)
		for _, inst := range at.instances {
			all = append(all, e.data[inst]...)
		}
		slices.SortFunc(all, addr.Instance.Compare)
		at.all = slices.Compact(all)
	}
	return at.all
}

// union joins sorted lists. It returns one of them when that has all of the others.
func union(lists ...[]addr.Instance) []addr.Instance {
	if len(lists) == 0 {
		return nil
	}
	longest, total := lists[0], 0
	for _, list := range lists {
		total += len(list)
		if len(list) > len(longest) {
			longest = list
		}
	}
	joined := make([]addr.Instance, 0, total-len(longest))
	for _, list := range lists {
		if !contains(longest, list) {
			joined = append(joined, list...)
		}
	}
	if len(joined) == 0 {
		return longest
	}
	joined = append(joined, longest...)
	slices.SortFunc(joined, addr.Instance.Compare)
	return slices.Compact(joined)
}

// contains reports whether the sorted list has all of the other, in time linear in the other.
func contains(list, other []addr.Instance) bool {
	if len(other) > len(list) {
		return false
	}
	if len(list) > 0 && len(other) == len(list) && &list[0] == &other[0] {
		return true
	}
	for _, inst := range other {
		if _, ok := slices.BinarySearchFunc(list, inst, addr.Instance.Compare); !ok {
			return false
		}
	}
	return true
}
