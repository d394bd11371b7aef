package config

import (
	"context"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

// EvalRequest says what to evaluate.
type EvalRequest struct {
	Inputs    map[string]cty.Value // from Inputs
	Workspace string               // what iexecform.workspace is
	// Targets limits the evaluation to these instances and what they depend on; empty means all. An instance without
	// key stands for every instance of its block. Provider blocks are evaluated always; outputs only where all that they
	// refer to is within the limits.
	Targets []addr.Instance
	// Known reports whether a target that the configuration lacks is known elsewhere, such as in the state, and so no
	// error. It may be nil.
	Known func(target addr.Instance) bool
	// Exclude leaves out blocks, which it is asked about without key, or some of their instances, and with them all that depends
	// on them. It may be nil.
	Exclude func(addr.Instance) bool
	// ProvidersOnly limits the evaluation to the provider blocks and what they depend on.
	ProvidersOnly bool
	// UnwrittenOnly limits the evaluation to the provider blocks, to imports without a resource block, and to what these
	// depend on.
	UnwrittenOnly bool
	// Expression limits the evaluation to what its text refers to; nil is no limit. What is wrong with it is told by Eval.
	Expression []byte
	Handler    Handler
	Checks     CheckPhase
	// Import is told of each import, before its instance is handed to the Handler. It may be nil.
	Import func(Import)
}

// Handler receives evaluated blocks and says what they become. Its methods are called one at a time.
type Handler interface {
	// Provider is called once for each provider configuration, declared or implied, before any instance that uses it.
	Provider(ctx context.Context, p addr.Provider, block Block) hcl.Diagnostics
	// Data returns the values of data instances, in order. The instances of one call don't depend on each other.
	Data(ctx context.Context, instances []Instance) []Result
	// Resources returns the planned values of instances, in order. The instances of one call don't depend on each other.
	Resources(ctx context.Context, instances []Instance) []Result
}

// Result is what an instance becomes: what references see, of the table's ObjectType, as a value, or as an object that becomes
// one only if there are any. It may hold unknown leaves.
type Result struct {
	Value  cty.Value
	Object schema.Object
	Diags  hcl.Diagnostics // with an error, what depends on the instance is skipped silently
}

// Block is an evaluated block.
type Block struct {
	Value     schema.Object // canonical, known, unmarked; all null for an implied provider
	Sensitive []string      // names of the top-level attributes whose value was sensitive, sorted
	Range     hcl.Range     // of the block's header; the zero Range for an implied provider

	body  *body
	scope *hcl.EvalContext // without each and count
	key   addr.Key
	each  cty.Value // each.value, for for_each
}

// context is what the block's expressions may name. It is made anew: keeping one for each instance takes too much memory.
func (b Block) context() *hcl.EvalContext { return keyContext(b.scope, b.key, b.each) }

// AttrRange is where an attribute ("name", or "block.name" in a nested block) is set, or else the block's header.
func (b Block) AttrRange(name string) hcl.Range {
	if b.body == nil {
		return b.Range
	}
	_, rng := b.body.find(name)
	return rng
}

// Diagnostic makes an error or warning about an attribute (named as for AttrRange), with its source and the values of
// its expression; or about the whole block when attr is "".
func (b Block) Diagnostic(severity hcl.DiagnosticSeverity, attr, summary, detail string) *hcl.Diagnostic {
	d := &hcl.Diagnostic{Severity: severity, Summary: summary, Detail: detail}
	if !b.Range.Empty() {
		d.Subject = b.AttrRange(attr).Ptr()
	}
	if b.body == nil {
		return d
	}
	if set, rng := b.body.find(attr); set != nil {
		d.Subject, d.Context = set.expr.Range().Ptr(), rng.Ptr()
		d.Expression, d.EvalContext = set.expr, b.context()
		d = set.conceal(hcl.Diagnostics{d}, b.Range)[0]
	}
	return d
}

// Instance is an evaluated instance of a resource or data block. The Value of a data block, other than that of a resource,
// may hold unknown leaves: it can only be read when they are known.
type Instance struct {
	Block
	Addr     addr.Instance
	Provider addr.Provider
	// DependsOn is the instances that this one refers to directly, through locals, through its provider block, and
	// through data instances (which are listed, with what they depend on), and those of depends_on. Sorted. A reference
	// in count or for_each is none unless each.value is used: the keys are known before anything is done. Instances may
	// share the slice: it must not be changed.
	DependsOn []addr.Instance
	After     []addr.Instance // of DependsOn, those that depends_on names: what a data source is to be read after
	Lifecycle *Lifecycle      // nil without such a block
	Check     bool            // it is the data source of a check block: nothing else depends on it
}

// OutputValue is an evaluated output.
type OutputValue struct {
	Value       cty.Value // unmarked; it may hold unknown leaves
	Sensitive   bool
	Description string
	DependsOn   []addr.Instance // as for Instance
}

// Evaluation is the result of Evaluate.
type Evaluation struct {
	Outputs   map[string]OutputValue // without those that failed or depend on what failed
	Instances []addr.Instance        // all that the configuration has within the request's limits, sorted
	Providers []addr.Provider        // all that the handler accepted, sorted
	Failed    []addr.Instance        // instances with errors, sorted; without key when the block could not be expanded
	Skipped   []addr.Instance        // instances that depend on what failed or is excluded, sorted; without key as for Failed
	Excluded  []addr.Instance        // instances that the request leaves out, sorted; without key for a whole block

	Checks []CheckResult // sorted by kind and name: what the conditions came to

	Unwritten []Import // imports without a resource block: see WithoutBlocks

	eval *evaluator
}
