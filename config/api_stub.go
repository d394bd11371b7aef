package config

import (
	"context"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
)

// Config is a loaded configuration.
type Config struct {
	Dir      string
	Settings Settings
	files    map[string]*hcl.File
}

// Load reads the *.hcl files of dir (not recursive; without hidden files, *.iexectest.hcl and *.lock.hcl) and checks all
// that can be checked without variables and without network. The Config is never nil; it must not be evaluated when the
// diagnostics have errors.
func Load(dir string, s Schemas) (*Config, hcl.Diagnostics) { return &Config{Dir: dir}, nil }

// Files is every source read so far, for hcl.NewDiagnosticTextWriter.
func (c *Config) Files() map[string]*hcl.File { return c.files }

// Digest is the SHA-256, in hex, over the sorted names and the contents of the .hcl files.
func (c *Config) Digest() string { return "" }

// Empty reports whether the directory has no .hcl file.
func (c *Config) Empty() bool { return true }

// CheckVersion tells whether the program's version satisfies required_version.
func (c *Config) CheckVersion(version string) hcl.Diagnostics { return nil }

// Blocks returns the resource and data blocks, sorted by address.
func (c *Config) Blocks() []Decl { return nil }

// Providers returns the provider blocks, sorted by address. Implicit default providers are not among them.
func (c *Config) Providers() []ProviderDecl { return nil }

// Variables returns the variable blocks, sorted by name.
func (c *Config) Variables() []Variable { return nil }

// Outputs returns the output blocks, sorted by name.
func (c *Config) Outputs() []Output { return nil }

// Edge says that block From refers to block To. The names are addresses: iexec_app.a, data.oci_image.i, var.v, local.l,
// output.o, provider.iexec or provider.iexec.alias.
type Edge struct{ From, To string }

// Graph returns the names of all blocks, sorted, and the references between them.
func (c *Config) Graph() (nodes []string, edges []Edge) { return nil, nil }

// InputSources is where values of variables come from, besides defaults and the tfvars files of the directory.
type InputSources struct {
	Environ []string   // as os.Environ: IEXECFORM_VAR_name=text
	Args    []InputArg // in the order of the command line
}

// InputArg is a --var (Text is NAME=VALUE) or a --var-file (Text is a file's name).
type InputArg struct {
	Text string
	File bool
}

// Missing returns the variables that have no default and no value in src, sorted: what a caller may prompt for.
func (c *Config) Missing(src InputSources) []Variable { return nil }

// Inputs returns the value of every variable; sensitive ones are marked.
func (c *Config) Inputs(src InputSources) (map[string]cty.Value, hcl.Diagnostics) { return nil, nil }

// EvalRequest says what to evaluate.
type EvalRequest struct {
	Inputs    map[string]cty.Value // from Inputs
	Workspace string
	// Targets limits the evaluation to these instances and what they depend on; empty means all. An instance without
	// key stands for every instance of its block. Provider blocks are always evaluated.
	Targets []addr.Instance
	// ProvidersOnly limits the evaluation to the provider blocks and what they depend on.
	ProvidersOnly bool
	Handler       Handler
}

// Evaluate computes the instances of the configuration in waves and hands each wave to the request's Handler.
func (c *Config) Evaluate(ctx context.Context, req EvalRequest) (*Evaluation, hcl.Diagnostics) {
	return &Evaluation{}, nil
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

// Result is what an instance becomes.
type Result struct {
	Value cty.Value       // what references see; it may hold unknown leaves
	Diags hcl.Diagnostics // with an error, what depends on the instance is skipped silently
}

// Block is an evaluated block.
type Block struct {
	Value     cty.Value // of the table's ObjectType: canonical, known, unmarked; all null for an implied provider
	Sensitive []string  // names of the top-level attributes whose value was sensitive, sorted
	Range     hcl.Range // of the block's header; the zero Range for an implied provider
}

// AttrRange is where the attribute (or nested block, or "block.attribute") is set, or else the block's header.
func (b Block) AttrRange(name string) hcl.Range { return b.Range }

// Diagnostic makes an error or warning about an attribute, or about the whole block when attr is "".
func (b Block) Diagnostic(severity hcl.DiagnosticSeverity, attr, summary, detail string) *hcl.Diagnostic {
	return nil
}

// Instance is an evaluated instance of a resource or data block.
type Instance struct {
	Block
	Addr     addr.Instance
	Provider addr.Provider
	// DependsOn is the instances that this one refers to directly, through locals, through its provider block, and
	// through data instances (which are listed, with what they depend on), and those of depends_on. Sorted. Instances
	// may share the slice: it must not be changed.
	DependsOn []addr.Instance
}

// OutputValue is an evaluated output.
type OutputValue struct {
	Value       cty.Value // unmarked; it may hold unknown leaves
	Sensitive   bool
	Description string
	DependsOn   []addr.Instance
}

// Evaluation is the result of Evaluate.
type Evaluation struct {
	Outputs   map[string]OutputValue
	Instances []addr.Instance // all that the configuration has within the request's targets, sorted
	Providers []addr.Provider // all that the handler was told of without error, sorted
	Failed    []addr.Instance // instances with errors, sorted; without key when the block could not be expanded
	Skipped   []addr.Instance // instances that depend on failed ones, sorted; without key as for Failed
}

// Eval computes an expression with the evaluated values, for a console.
func (e *Evaluation) Eval(src []byte, filename string) (cty.Value, hcl.Diagnostics) {
	return cty.NilVal, nil
}

// Format writes HCL source in canonical style. Source that doesn't parse is returned unchanged with the errors.
func Format(src []byte, filename string) ([]byte, hcl.Diagnostics) { return src, nil }
