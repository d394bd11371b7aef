// Package builtin is the provider iexecform, which needs no network and no provider block: what projects tell each other.
package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
)

// New makes the provider.
func New() providers.Provider { return provider{} }

type provider struct{}

var tables = &providers.Schema{
	Provider: &schema.Table{Type: "iexecform", Doc: "What projects tell each other. It has no settings and needs no provider block.",
		Example: "provider \"iexecform\" {}\n"},
	Data: map[string]*schema.Table{stateTable.Type: stateTable},
}

var stateTable = &schema.Table{
	Type: "iexecform_state",
	Doc: "The outputs of another project, as they were last applied there. They are read from its state file when this project is planned, so apply the other one first. " +
		"Values of sensitive outputs aren't kept in a state, so they can't be read from it.",
	Example: "data \"iexecform_state\" \"apps\" {\n  path = \"../apps\"\n}\n\nresource \"iexec_apporder\" \"public\" {\n  app      = data.iexecform_state.apps.outputs.app\n  appprice = \"0.5 RLC\"\n  volume   = 1000\n}\n",
	Attrs: []schema.Attr{
		{Name: "path", Type: cty.String, Mode: schema.Required,
			Doc: "The other project's directory, or its state file; relative to this configuration's directory."},
		{Name: "outputs", Type: cty.DynamicPseudoType, Mode: schema.Computed, Lacks: "sensitive", Form: "object",
			Doc: "The outputs, by name, with the types that they have there."},
		{Name: "sensitive", Type: cty.Map(cty.String), Mode: schema.Computed,
			Doc: "The outputs that are sensitive and so not in `outputs`: their names, each with the reason."},
		{Name: "lineage", Type: cty.String, Mode: schema.Computed, Doc: "The state's lineage, which never changes."},
		{Name: "serial", Type: cty.Number, Mode: schema.Computed, Doc: "The state's serial, which rises with each change."},
	},
}

// Schema implements providers.Provider.
func (provider) Schema() *providers.Schema { return tables }

// Open implements providers.Provider.
func (provider) Open(_ context.Context, req providers.OpenRequest) (providers.Client, error) {
	return client{dir: req.Dir}, nil
}

type client struct{ dir string }

// ReadData implements providers.Client.
func (c client) ReadData(_ context.Context, req providers.DataRequest) (providers.DataResult, error) {
	values := req.Config.AsValueMap()
	snapshot, err := c.load(values["path"].AsString())
	if err != nil {
		return providers.DataResult{}, providers.At("path", err)
	}
	outputs, sensitive := map[string]cty.Value{}, map[string]cty.Value{}
	for _, name := range slices.Sorted(maps.Keys(snapshot.Outputs)) {
		o := snapshot.Outputs[name]
		if o.Sensitive {
			sensitive[name] = cty.StringVal("it is sensitive in that project, and values of sensitive outputs aren't kept in a state")
			continue
		}
		typ, err := ctyjson.UnmarshalType(o.Type)
		if err == nil {
			outputs[name], err = ctyjson.Unmarshal(o.Value, typ)
		}
		if err != nil {
			return providers.DataResult{}, providers.At("path", fmt.Errorf("output %q in the state is damaged: %w; apply that project again", name, err))
		}
	}
	values["outputs"], values["sensitive"] = cty.ObjectVal(outputs), cty.MapValEmpty(cty.String)
	if len(sensitive) > 0 {
		values["sensitive"] = cty.MapVal(sensitive)
	}
	values["lineage"], values["serial"] = cty.StringVal(snapshot.Lineage), cty.NumberUIntVal(snapshot.Serial)
	return providers.DataResult{Value: cty.ObjectVal(values)}, nil
}

// load reads the state at a path. A run that is under way, or that was interrupted, has not changed the outputs yet.
func (c client) load(path string) (*state.Snapshot, error) {
	file := path
	if !filepath.IsAbs(file) {
		file = filepath.Join(c.dir, file)
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		file = filepath.Join(file, local.SnapshotFile)
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no state at %s: apply that project first, or correct the path, which is relative to the directory of this configuration", file)
	}
	if err != nil {
		return nil, err
	}
	if e, err := state.DecodeEnvelope(b); err == nil && e.Encrypted {
		return nil, fmt.Errorf("the state at %s is encrypted: its outputs can't be read from here; give them as variables instead", file)
	}
	snapshot, err := state.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return snapshot, nil
}

var errNoResources = errors.New("the provider iexecform has no resources, only the data source iexecform_state")

// Read implements providers.Client.
func (client) Read(_ context.Context, reqs []providers.ReadRequest) []providers.ReadResult {
	return slices.Repeat([]providers.ReadResult{{Err: errNoResources}}, len(reqs))
}

// Plan implements providers.Client.
func (client) Plan(_ context.Context, reqs []providers.PlanRequest) []providers.PlanResult {
	return slices.Repeat([]providers.PlanResult{{Err: errNoResources}}, len(reqs))
}

// Check implements providers.Client.
func (client) Check(_ context.Context, ps []providers.Precondition) []error {
	return slices.Repeat([]error{errNoResources}, len(ps))
}

// Do implements providers.Client.
func (client) Do(context.Context, providers.DoRequest) (json.RawMessage, error) {
	return nil, errNoResources
}
