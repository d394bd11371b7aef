package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/state"
)

// Output is an output value.
type Output struct {
	Name string
	state.Output
}

// Value is the output's value; null when it is sensitive or can't be read.
func (o Output) Decoded() cty.Value { return plan.DecodeOutput(o.Output) }

// Outputs prints outputs as HCL, a line or more each.
func (h *Human) Outputs(outputs []Output) error {
	var b bytes.Buffer
	writeOutputs(&b, outputs)
	_, err := h.Out.Write(b.Bytes())
	return err
}

// OutputValue prints one output's value as HCL.
func (h *Human) OutputValue(o Output) error { return h.Print("%s", outputValue(o, "")) }

// Value prints a value as HCL; marked parts of it are sensitive.
func (h *Human) Value(v cty.Value) error { return h.Print("%s", valueText(v, "")) }

func writeOutputs(b *bytes.Buffer, outputs []Output) {
	width := 0
	for _, o := range outputs {
		width = max(width, len(o.Name))
	}
	for _, o := range outputs {
		fmt.Fprintf(b, "%-*s = %s\n", width, o.Name, outputValue(o, ""))
	}
}

func outputValue(o Output, indent string) string {
	if o.Sensitive {
		return sensitiveText
	}
	return valueText(o.Decoded(), indent)
}

// jsonOutput is an output in JSON; a sensitive one has neither type nor value.
type jsonOutput struct {
	Sensitive bool            `json:"sensitive"`
	Type      json.RawMessage `json:"type,omitempty"`
	Value     json.RawMessage `json:"value,omitempty"`
}

func toJSONOutputs(outputs []Output) map[string]jsonOutput {
	all := make(map[string]jsonOutput, len(outputs))
	for _, o := range outputs {
		all[o.Name] = jsonOutput{Sensitive: o.Sensitive, Type: o.Type, Value: o.Value}
	}
	return all
}

// Object is a resource instance as the state has it.
type Object struct {
	Addr  addr.Instance
	Value schema.Object // of the type's schema
	*state.Object
}

// Objects prints objects as the blocks that would make them, computed attributes included.
func (h *Human) Objects(objects []Object) error {
	var b bytes.Buffer
	for i, o := range objects {
		if i > 0 {
			b.WriteByte('\n')
		}
		h.object(&b, o)
	}
	_, err := h.Out.Write(b.Bytes())
	return err
}

func (h *Human) object(b *bytes.Buffer, o Object) {
	r := o.Addr.Resource
	b.WriteString(h.Colour.bold("# "+o.Addr.String()+":") + originLine(o.Origin) + "\n")
	fmt.Fprintf(b, "resource %q %q {\n", r.Type, r.Name)
	table := tableOf(h.Tables, r)
	attrs := withinBlocks(table, plan.Diff(o.Value.Null(), o.Value))
	width := nameWidth(attrs)
	for _, d := range attrs {
		fmt.Fprintf(b, "    %-*s = %s\n", width, d.Name, attrText(attrOf(table, d.Name), d.After, "    "))
	}
	b.WriteString("}\n")
}

// originLine says how an object was made, where that is known.
func originLine(origin json.RawMessage) string {
	var facts map[string]string
	if json.Unmarshal(origin, &facts) != nil || len(facts) == 0 {
		return ""
	}
	var made []string
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		made = append(made, strings.Trim(fmt.Sprintf("%q", name+" "+facts[name]), `"`)) // on one line
	}
	return "\n# made in " + strings.Join(made, ", ")
}

// State prints a whole state.
func (h *Human) State(objects []Object, outputs []Output) error {
	if len(objects)+len(outputs) == 0 {
		return h.Print("The state is empty: nothing was applied yet.")
	}
	if err := h.Objects(objects); err != nil || len(outputs) == 0 {
		return err
	}
	var b bytes.Buffer
	if len(objects) > 0 {
		b.WriteByte('\n')
	}
	b.WriteString(h.Colour.bold("Outputs:") + "\n\n")
	writeOutputs(&b, outputs)
	_, err := h.Out.Write(b.Bytes())
	return err
}

// jsonResource has the form of a resource in Terraform's state JSON.
type jsonResource struct {
	Address       string          `json:"address"`
	Mode          string          `json:"mode"`
	Type          string          `json:"type"`
	Name          string          `json:"name"`
	Index         any             `json:"index,omitempty"`
	Provider      string          `json:"provider_name"`
	SchemaVersion int             `json:"schema_version"`
	Values        json.RawMessage `json:"values"`
	Sensitive     any             `json:"sensitive_values"` // the mask of the values
	DependsOn     []addr.Instance `json:"depends_on,omitempty"`
	Origin        json.RawMessage `json:"origin,omitempty"`

	module addr.Module
}

func (j *JSON) object(o Object) (jsonResource, error) {
	mask := j.sensitive(o.Addr.Resource)(o.Value)
	values, err := marshalValue(masked(o.Value, mask))
	if err != nil {
		return jsonResource{}, fmt.Errorf("%s: %w", o.Addr, err)
	}
	r := o.Addr.Resource
	return jsonResource{
		Address: o.Addr.String(), Mode: "managed", Type: r.Type, Name: r.Name, Index: index(o.Addr.Key),
		Provider: o.Provider, SchemaVersion: o.SchemaVersion, Values: values,
		Sensitive: mask, DependsOn: o.Dependencies, Origin: o.Origin, module: r.Module,
	}, nil
}

// index is an instance key for JSON: a number, a string, or nil.
func index(k addr.Key) any {
	if k.IsZero() {
		return nil
	}
	if k.IsInt() {
		return json.RawMessage(strings.Trim(k.String(), "[]"))
	}
	return k.Value().AsString()
}

// Facts prints pairs of names and values, aligned, under a title.
func (h *Human) Facts(title string, facts [][2]string) error {
	width := 0
	for _, f := range facts {
		width = max(width, len(f[0]))
	}
	var b bytes.Buffer
	b.WriteString(h.Colour.bold(title) + "\n")
	for _, f := range facts {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, f[0], f[1])
	}
	_, err := h.Out.Write(b.Bytes())
	return err
}
