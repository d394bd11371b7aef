package view

// JSON output. Documents have the shape that Terraform's have, so that tools made for those read ours: resource_changes,
// output_changes, values, diagnostics. What is our own is under "iexecform". Numbers are exact, however big.

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// JSON prints documents for machines.
type JSON struct {
	Out    io.Writer
	Tables Tables
	Tool   string // version of the program
}

type jsonValidation struct {
	FormatVersion string           `json:"format_version"`
	Valid         bool             `json:"valid"`
	ErrorCount    int              `json:"error_count"`
	WarningCount  int              `json:"warning_count"`
	Diagnostics   []jsonDiagnostic `json:"diagnostics"`
}

// Diagnostics prints diagnostics as one document: the result of validate, and what a command that failed prints.
func (j *JSON) Diagnostics(diags hcl.Diagnostics, sources Sources) error {
	v := jsonValidation{FormatVersion: "1.0", Valid: !diags.HasErrors(), Diagnostics: toJSONDiagnostics(diags, sources)}
	for _, d := range v.Diagnostics {
		if d.Severity == "error" {
			v.ErrorCount++
		} else {
			v.WarningCount++
		}
	}
	return writeJSON(j.Out, v)
}

// marshalValue is a value as JSON, null where it is unknown.
func marshalValue(v cty.Value) (json.RawMessage, error) {
	if v == cty.NilVal || v.IsNull() {
		return json.RawMessage("null"), nil
	}
	return ctyjson.Marshal(cty.UnknownAsNull(v), v.Type())
}

// unknowns has the shape of a value, with true where it is unknown; nil where nothing is.
func unknowns(v cty.Value) any {
	switch {
	case v == cty.NilVal || v.IsNull():
		return nil
	case !v.IsKnown():
		return true
	case v.IsWhollyKnown():
		return nil
	case v.Type().IsObjectType() || v.Type().IsMapType():
		shape := map[string]any{}
		for name, e := range v.AsValueMap() {
			if u := unknowns(e); u != nil {
				shape[name] = u
			}
		}
		return shape
	}
	var shape []any
	for _, e := range v.AsValueSlice() {
		u := unknowns(e)
		if u == nil {
			u = false
		}
		shape = append(shape, u)
	}
	return shape
}

type jsonState struct {
	FormatVersion string     `json:"format_version"`
	Tool          string     `json:"iexecform_version"`
	Lineage       string     `json:"lineage"`
	Serial        uint64     `json:"serial"`
	Values        jsonValues `json:"values"`
}

type jsonValues struct {
	Outputs    map[string]jsonOutput `json:"outputs"`
	RootModule *jsonModule           `json:"root_module"`

	modules map[addr.Module]*jsonModule
}

func newValues() jsonValues {
	root := &jsonModule{Resources: []jsonResource{}}
	return jsonValues{Outputs: map[string]jsonOutput{}, RootModule: root, modules: map[addr.Module]*jsonModule{"": root}}
}

func (v *jsonValues) add(r jsonResource) {
	at := v.module(r.module)
	at.Resources = append(at.Resources, r)
}

// module is the entry of a module, which is made when it isn't there yet.
func (v *jsonValues) module(path addr.Module) *jsonModule {
	m := v.modules[path]
	if m == nil {
		m = &jsonModule{Address: path, Resources: []jsonResource{}}
		v.modules[path] = m
		in := v.module(path.Parent())
		in.Children = append(in.Children, m)
	}
	return m
}

type jsonModule struct {
	Address   addr.Module    `json:"address,omitempty"`
	Resources []jsonResource `json:"resources"`
	Children  []*jsonModule  `json:"child_modules,omitempty"`
}

// State prints a whole state.
func (j *JSON) State(s *state.Snapshot, objects []Object, outputs []Output) error {
	doc := jsonState{
		FormatVersion: "1.0", Tool: s.Tool, Lineage: s.Lineage, Serial: s.Serial,
		Values: newValues(),
	}
	doc.Values.Outputs = toJSONOutputs(outputs)
	for _, o := range objects {
		r, err := j.object(o)
		if err != nil {
			return err
		}
		doc.Values.add(r)
	}
	return writeJSON(j.Out, doc)
}

// Object prints one object.
func (j *JSON) Object(o Object) error {
	r, err := j.object(o)
	if err != nil {
		return err
	}
	return writeJSON(j.Out, r)
}

// Outputs prints outputs by name.
func (j *JSON) Outputs(outputs []Output) error { return writeJSON(j.Out, toJSONOutputs(outputs)) }

// OutputValue prints one output's value.
func (j *JSON) OutputValue(o Output) error {
	if o.Value == nil {
		return writeJSON(j.Out, nil)
	}
	return writeJSON(j.Out, o.Value)
}

// Document prints any value as an indented document.
func (j *JSON) Document(v any) error { return writeJSON(j.Out, v) }

// Line prints any value on one line.
func (j *JSON) Line(v any) error {
	enc := json.NewEncoder(j.Out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Dot prints a graph in the DOT language. Nodes are printed in the given order, each with its label.
func Dot(w io.Writer, labels map[string]string, nodes []string, edges [][2]string) error {
	var err error
	print := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format, args...)
		}
	}
	print("digraph {\n  rankdir = \"RL\";\n  node [shape = rect, fontname = \"sans-serif\"];\n")
	for _, n := range nodes {
		if label, ok := labels[n]; ok {
			print("  %s [label = %s];\n", dotQuote(n), dotQuote(label))
		} else {
			print("  %s;\n", dotQuote(n))
		}
	}
	for _, e := range edges {
		print("  %s -> %s;\n", dotQuote(e[0]), dotQuote(e[1]))
	}
	print("}\n")
	return err
}

// dotQuote quotes an ID: in DOT only the quotation mark is escaped.
func dotQuote(s string) string {
	var b []byte
	for _, c := range []byte(s) {
		if c == '"' {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	return `"` + string(b) + `"`
}

// SortedOutputs lists a state's outputs by name.
func SortedOutputs(s *state.Snapshot) []Output {
	var list []Output
	for _, name := range slices.Sorted(maps.Keys(s.Outputs)) {
		list = append(list, Output{Name: name, Output: s.Outputs[name]})
	}
	return list
}

// jsonAddr names a resource in JSON lines.
type jsonAddr struct {
	Addr            string `json:"addr"`
	Module          string `json:"module"`
	Resource        string `json:"resource"`
	ImpliedProvider string `json:"implied_provider"`
	ResourceType    string `json:"resource_type"`
	ResourceName    string `json:"resource_name"`
	ResourceKey     any    `json:"resource_key"`
}

func toJSONAddr(i addr.Instance) jsonAddr {
	return jsonAddr{
		Addr: i.String(), Module: string(i.Resource.Module), Resource: i.Resource.Local().String() + i.Key.String(), ImpliedProvider: providers.NameOf(i.Resource.Type),
		ResourceType: i.Resource.Type, ResourceName: i.Resource.Name, ResourceKey: index(i.Key),
	}
}
