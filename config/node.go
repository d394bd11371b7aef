package config

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

type nodeKind uint8

const (
	variableNode nodeKind = iota
	localNode
	providerNode
	dataNode
	resourceNode
	outputNode
	importNode
	checkNode
	callNode       // of a module
	validationNode // of the values that a call gives to the module's variables
)

// node is a block of the configuration (a local is one, too): what the graph of references consists of.
type node struct {
	kind   nodeKind
	index  int // in Config.nodes
	module *module
	name   string // variable, local, output: the name; provider: the address; data, resource: the address
	rng    hcl.Range

	variable *variable      // of a variable
	output   *Output        // of an output
	expr     hcl.Expression // of a local or output; of an import, the id; of a module's variable, what the call gives, or nil
	constant cty.Value      // of a local whose value is known once it is loaded; else NilVal
	call     *call          // of a call
	imports  *importBlock   // of an import; address is that of its resource

	provider     addr.Provider // of a provider, or the one that a resource uses
	body         *body         // of a provider (nil: implied), resource or data block (nil: of unknown type)
	address      addr.Resource
	count        hcl.Expression
	forEach      hcl.Expression
	dependsOn    []hcl.Expression
	providerExpr *hcl.Attribute
	providerKey  hcl.Expression // of the configuration, where its block has for_each
	keyGiven     *module        // whose call has providerKey; nil when it is the block's own
	lifecycle    *lifecycle     // of a resource or data block, or nil
	check        *node          // of the data source of a check: nothing else may refer to it
	asserts      []condition    // of a check; of an output, its preconditions

	imported []*node   // import nodes for the block
	leaving  []leaving // instances that moved and removed blocks say are gone
	arriving []arriving

	refs      []ref // all that the block refers to, in source order; with the provider that it uses
	eachValue bool  // the body uses each.value
	users     []*node
	deps      []*node // each once
}

// id is the node's address in messages and graphs.
func (n *node) id() string { return n.module.path.Qualify(n.localID()) }

func (n *node) localID() string {
	switch n.kind {
	case variableNode:
		return "var." + n.name
	case localNode:
		return "local." + n.name
	case providerNode:
		return "provider." + n.name
	case outputNode:
		return "output." + n.name
	case importNode:
		return "import of " + n.name
	case checkNode:
		return "check." + n.name
	case callNode:
		return "module." + n.name
	case validationNode:
		return "validation"
	}
	return n.name
}

// ofConstants reports whether a local of the root refers to nothing, or only to locals whose value is known once loaded.
func (n *node) ofConstants() bool {
	return n.module.parent == nil && !slices.ContainsFunc(n.refs, func(r ref) bool { return r.to.constant == cty.NilVal })
}

func (n *node) instantiable() bool { return n.kind == dataNode || n.kind == resourceNode }

func (n *node) expanded() bool { return n.count != nil || n.forEach != nil }

// refMode says which instances of a resource or data block a reference names.
type refMode uint8

const (
	refAll  refMode = iota // every instance
	refKey                 // the instance ref.key
	refExpr                // the instance whose key ref.expr computes
	refEach                // the instance with the referring instance's own key: NAME[each.key], or each.value over the block
)

// ref is a reference from one block to another.
type ref struct {
	to        *node
	via       *node // the call of a module, when to is in that module; mode, key and expr are about the module then
	mode      refMode
	key       addr.Key
	expr      hcl.Expression
	expansion bool          // it occurs in count or for_each only, which tells the keys but no attribute
	dependsOn bool          // it is one of depends_on: the instance must exist
	explicit  bool          // it is one of depends_on
	rest      hcl.Traversal // what follows the instance
	rng       hcl.Range
}

// Decl is a declared resource or data block.
type Decl struct {
	Addr     addr.Resource
	Provider addr.Provider
	Table    *schema.Table // nil when the type is unknown
	Range    hcl.Range     // of the block's header
	Expanded bool          // it has count or for_each
}

// Config is a loaded configuration. It is safe for concurrent use, but for Inputs, which adds to Files.
type Config struct {
	Dir      string // as given to Load
	Settings Settings

	schemas Schemas
	files   map[string]*hcl.File
	digest  func() string
	empty   bool
	invalid bool // Load found errors
	// incomplete means that a file has syntax errors, so that a reference to something undeclared is no error.
	incomplete bool
	scope      *hcl.EvalContext // functions and path
	meter      *meter           // of the functions

	nodes     []*node // in order of declaration
	order     []*node // in order of reference, without members of cycles
	*module           // the root
	modules   []*module
	resources map[addr.Resource]*node // of all modules
	imports   []*node
	policies  []*Policy

	moves       []Moved
	movesFrom   map[addr.Resource][]int // indexes into moves
	movesTo     map[addr.Resource][]int
	moduleMoves []int
	removals    []Removed
	removedFrom map[addr.Resource][]int // indexes into removals
}

// Files is every source read so far, by name, for hcl.NewDiagnosticTextWriter.
func (c *Config) Files() map[string]*hcl.File { return c.files }

// Digest is a SHA-256, in hex, over what the configuration files say: see digestOf.
func (c *Config) Digest() string { return c.digest() }

// Empty reports whether the directory has no .hcl file.
func (c *Config) Empty() bool { return c.empty }

// Blocks returns the resource and data blocks, sorted by address, managed before data.
func (c *Config) Blocks() []Decl {
	decls := make([]Decl, 0, len(c.resources))
	for _, n := range c.resources {
		d := Decl{Addr: n.address, Provider: n.provider, Range: n.rng, Expanded: n.expanded()}
		if n.body != nil {
			d.Table = n.body.table
		}
		decls = append(decls, d)
	}
	slices.SortFunc(decls, func(a, b Decl) int {
		return addr.Instance{Resource: a.Addr}.Compare(addr.Instance{Resource: b.Addr})
	})
	return decls
}

// Repetition is how a resource or data block makes instances.
type Repetition uint8

// The ways.
const (
	ByNone  Repetition = iota // one instance without key
	ByCount                   // numbered ones
	ByEach                    // one for each key
)

// Repetition tells how the block of an address makes instances; ok is false when there is no such block.
func (c *Config) Repetition(r addr.Resource) (how Repetition, ok bool) {
	n := c.resources[r.Block()]
	switch {
	case n == nil:
		return ByNone, false
	case n.count != nil:
		return ByCount, true
	case n.forEach != nil:
		return ByEach, true
	}
	return ByNone, true
}

// Providers returns the provider blocks, sorted by address. Implied default providers are not among them.
func (c *Config) Providers() []ProviderDecl {
	var decls []ProviderDecl
	for _, n := range c.providers {
		if n.body != nil {
			decls = append(decls, ProviderDecl{Addr: n.provider, Table: n.body.table, Range: n.rng})
		}
	}
	slices.SortFunc(decls, func(a, b ProviderDecl) int { return a.Addr.Compare(b.Addr) })
	return decls
}

// Variables returns the variable blocks, sorted by name.
func (c *Config) Variables() []Variable {
	list := make([]Variable, 0, len(c.variables))
	for _, name := range keysOf(c.variables) {
		list = append(list, c.variables[name].variable.Variable)
	}
	return list
}

// Outputs returns the output blocks, sorted by name.
func (c *Config) Outputs() []Output {
	list := make([]Output, 0, len(c.outputs))
	for _, name := range keysOf(c.outputs) {
		list = append(list, *c.outputs[name].output)
	}
	return list
}
