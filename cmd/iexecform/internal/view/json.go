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
	"github.com/iexecform/iexecform/plan"
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

type jsonPlan struct {
	FormatVersion   string                `json:"format_version"`
	Tool            string                `json:"iexecform_version"`
	ResourceChanges []jsonResourceChange  `json:"resource_changes"`
	OutputChanges   map[string]jsonChange `json:"output_changes"`
	Applyable       bool                  `json:"applyable"`
	Complete        bool                  `json:"complete"`
	Errored         bool                  `json:"errored"`
	Diagnostics     []jsonDiagnostic      `json:"diagnostics,omitempty"`
	Own             jsonOwn               `json:"iexecform"`
}

type jsonResourceChange struct {
	Address         string     `json:"address"`
	PreviousAddress string     `json:"previous_address,omitempty"`
	Mode            string     `json:"mode"`
	Type            string     `json:"type"`
	Name            string     `json:"name"`
	Index           any        `json:"index,omitempty"`
	Provider        string     `json:"provider_name"`
	Change          jsonChange `json:"change"`
	ActionReason    string     `json:"action_reason,omitempty"`
	Because         []string   `json:"because,omitempty"`
}

type jsonChange struct {
	Actions         []string        `json:"actions"`
	Before          json.RawMessage `json:"before"`
	After           json.RawMessage `json:"after"`
	AfterUnknown    any             `json:"after_unknown"`
	BeforeSensitive any             `json:"before_sensitive"`
	AfterSensitive  any             `json:"after_sensitive"`
	Importing       *jsonImporting  `json:"importing,omitempty"`
}

type jsonImporting struct {
	ID string `json:"id"`
}

// jsonOwn is what plans of other tools don't have.
type jsonOwn struct {
	Digest        string             `json:"digest"`
	Mode          plan.Mode          `json:"mode"`
	Project       string             `json:"project"`
	Workspace     string             `json:"workspace"`
	Lineage       string             `json:"lineage"`
	Serial        uint64             `json:"serial"`
	Config        string             `json:"config_sha256"`
	Targets       []string           `json:"targets,omitempty"`
	Networks      []jsonNetwork      `json:"networks"`
	Actions       []providers.Action `json:"actions"`
	Costs         jsonCosts          `json:"costs"`
	Preconditions []jsonPrecondition `json:"preconditions"`
	Notices       []plan.Notice      `json:"notices"`
	Pending       []string           `json:"pending"`
	Summary       map[string]int     `json:"summary"`
}

type jsonNetwork struct {
	Provider string            `json:"provider"`
	Facts    map[string]string `json:"facts"`
}

type jsonCosts struct {
	Transactions int    `json:"transactions"`
	Gas          uint64 `json:"gas"`
	FeeWei       string `json:"fee_wei"`
	Signatures   int    `json:"signatures"`
	Requests     int    `json:"requests"`
}

// jsonPrecondition is one that an action or, with action 0, the plan itself expects.
type jsonPrecondition struct {
	Action   int    `json:"action,omitempty"`
	Provider string `json:"provider"`
	Kind     string `json:"kind"`
	Summary  string `json:"summary"`
}

// Plan prints a plan as one document, with the diagnostics that came up while it was made.
func (j *JSON) Plan(p *plan.Plan, diags hcl.Diagnostics, sources Sources) error {
	digest, err := plan.Digest(p)
	if err != nil {
		return err
	}
	doc := jsonPlan{
		FormatVersion: "1.2", Tool: p.Tool, ResourceChanges: []jsonResourceChange{}, OutputChanges: map[string]jsonChange{},
		Applyable: p.Complete && !p.Empty(), Complete: p.Complete, Errored: !p.Complete,
		Own: jsonOwn{
			Digest: digest, Mode: p.Mode, Project: p.Project, Workspace: p.Workspace, Lineage: p.Lineage, Serial: p.Serial,
			Config: p.Config, Targets: p.Targets, Networks: []jsonNetwork{}, Actions: orEmpty(p.Actions),
			Preconditions: []jsonPrecondition{}, Notices: orEmpty(p.Notices), Pending: orEmpty(p.Pending),
		},
	}
	if len(diags) > 0 {
		doc.Diagnostics = toJSONDiagnostics(diags, sources)
	}
	for i := range p.Changes {
		c, err := j.resourceChange(p, &p.Changes[i])
		if err != nil {
			return err
		}
		doc.ResourceChanges = append(doc.ResourceChanges, c)
	}
	for _, o := range p.Outputs {
		if doc.OutputChanges[o.Name], err = outputChange(o); err != nil {
			return fmt.Errorf("output %s: %w", o.Name, err)
		}
	}
	for _, v := range p.Providers {
		if v.Network != nil {
			doc.Own.Networks = append(doc.Own.Networks, jsonNetwork{Provider: v.Addr.String(), Facts: v.Network})
		}
	}
	for i := range p.Actions {
		a := &p.Actions[i]
		for _, e := range a.Expect {
			doc.Own.Preconditions = append(doc.Own.Preconditions, jsonPrecondition{a.ID, a.Provider, e.Kind, e.Summary})
		}
	}
	for _, e := range p.Expect {
		doc.Own.Preconditions = append(doc.Own.Preconditions, jsonPrecondition{0, e.Provider, e.Kind, e.Summary})
	}
	c := p.Count()
	doc.Own.Costs = jsonCosts{c.Transactions, c.Gas, c.FeeWei.String(), c.Signatures, c.Requests}
	doc.Own.Summary = summaryCounts(c)
	return writeJSON(j.Out, doc)
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func summaryCounts(c plan.Counts) map[string]int {
	n := c.Changes
	return map[string]int{
		"import": c.Imports,
		"add":    n[providers.Create], "adopt": n[providers.Adopt], "change": n[providers.Update],
		"replace": n[providers.Replace], "remove": n[providers.Delete], "forget": n[providers.Forget],
	}
}

func (j *JSON) resourceChange(p *plan.Plan, c *plan.Change) (jsonResourceChange, error) {
	r := c.Addr.Resource
	out := jsonResourceChange{
		Address: c.Addr.String(), Mode: "managed", Type: r.Type, Name: r.Name, Index: index(c.Addr.Key),
		Provider: c.Provider.String(), Because: c.Because,
	}
	sensitive := j.sensitive(r.Type)
	change := jsonChange{Actions: changeActions(c), AfterUnknown: map[string]any{}, BeforeSensitive: sensitive(c.Before), AfterSensitive: sensitive(c.After)}
	var err error
	before, after := c.Before, c.After
	if c.Kind == providers.Create {
		before = cty.NullVal(before.Type())
	}
	if change.Before, err = marshalValue(masked(before, sensitive(before))); err != nil {
		return out, fmt.Errorf("%s: %w", c.Addr, err)
	}
	if change.After, err = marshalValue(masked(after, sensitive(after))); err != nil {
		return out, fmt.Errorf("%s: %w", c.Addr, err)
	}
	if u := unknowns(c.After); u != nil {
		change.AfterUnknown = u
	}
	if moved(c) {
		out.PreviousAddress = c.MovedFrom.String()
	}
	if c.Importing != "" {
		change.Importing = &jsonImporting{ID: c.Importing}
	}
	switch c.Kind {
	case providers.Adopt:
		change.Importing = &jsonImporting{ID: identity(c)}
	case providers.Replace:
		out.ActionReason = "replace_because_cannot_update"
	case providers.Delete, providers.Forget:
		if p.Mode == plan.Normal {
			out.ActionReason = "delete_because_no_resource_config"
		}
	}
	out.Change = change
	return out, nil
}

// changeActions is a change's kind in Terraform's words. Adopting is a no-op, or an update, with "importing".
func changeActions(c *plan.Change) []string {
	switch c.Kind {
	case providers.Replace:
		return []string{"create", "delete"}
	case providers.Adopt:
		if !c.Before.IsNull() && len(plan.Diff(c.Before, c.After)) > 0 {
			return []string{"update"}
		}
		return []string{"no-op"}
	}
	return []string{string(c.Kind)}
}

// identity is what an adopted object is known by: its address or hash on chain.
func identity(c *plan.Change) string {
	for _, object := range []cty.Value{c.Before, c.After} {
		for _, name := range []string{"address", "order_hash", "id"} {
			if object.IsNull() || !object.Type().HasAttribute(name) {
				continue
			}
			if v := object.GetAttr(name); v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
				return v.AsString()
			}
		}
	}
	return c.Addr.String()
}

// sensitive makes the mask of an object's sensitive attributes.
func (j *JSON) sensitive(typ string) func(cty.Value) map[string]any {
	return func(object cty.Value) map[string]any {
		mask := map[string]any{}
		if j.Tables == nil || object.IsNull() {
			return mask
		}
		if table := j.Tables.ResourceTable(typ); table != nil {
			for _, a := range table.Attrs {
				if a.Sensitive || a.WriteOnly {
					mask[a.Name] = true
				}
			}
		}
		return mask
	}
}

// masked is the object with its sensitive attributes null.
func masked(object cty.Value, mask map[string]any) cty.Value {
	if len(mask) == 0 || object.IsNull() {
		return object
	}
	attrs := object.AsValueMap()
	for name := range mask {
		if v, ok := attrs[name]; ok {
			attrs[name] = cty.NullVal(v.Type())
		}
	}
	return cty.ObjectVal(attrs)
}

// outputAction is what happens to an output in Terraform's words.
func outputAction(o plan.OutputChange) string {
	switch {
	case !o.Changed():
		return "no-op"
	case o.Before == cty.NilVal:
		return "create"
	case o.After == cty.NilVal:
		return "delete"
	}
	return "update"
}

func outputChange(o plan.OutputChange) (jsonChange, error) {
	c := jsonChange{Actions: []string{outputAction(o)}, AfterUnknown: false, BeforeSensitive: o.Sensitive, AfterSensitive: o.Sensitive}
	if u := unknowns(o.After); u != nil {
		c.AfterUnknown = u
	}
	var err error
	if c.Before, err = marshalValue(o.Before); err != nil {
		return c, err
	}
	c.After, err = marshalValue(o.After)
	return c, err
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
	RootModule jsonModule            `json:"root_module"`
}

type jsonModule struct {
	Resources []jsonResource `json:"resources"`
}

// State prints a whole state.
func (j *JSON) State(s *state.Snapshot, objects []Object, outputs []Output) error {
	doc := jsonState{
		FormatVersion: "1.0", Tool: s.Tool, Lineage: s.Lineage, Serial: s.Serial,
		Values: jsonValues{Outputs: toJSONOutputs(outputs), RootModule: jsonModule{Resources: []jsonResource{}}},
	}
	for _, o := range objects {
		r, err := toJSONResource(o)
		if err != nil {
			return err
		}
		doc.Values.RootModule.Resources = append(doc.Values.RootModule.Resources, r)
	}
	return writeJSON(j.Out, doc)
}

// Object prints one object.
func (j *JSON) Object(o Object) error {
	r, err := toJSONResource(o)
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
		Addr: i.String(), Resource: i.String(), ImpliedProvider: providers.NameOf(i.Resource.Type),
		ResourceType: i.Resource.Type, ResourceName: i.Resource.Name, ResourceKey: index(i.Key),
	}
}
