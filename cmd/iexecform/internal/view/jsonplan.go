package view

// The JSON document of a plan. It has the shape of Terraform's; what is our own is under "iexecform". docs/schemas has the
// JSON Schema of it. Two plans of the same things are the same document: it has no time stamp.

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
)

type jsonPlan struct {
	FormatVersion   string                `json:"format_version"`
	Tool            string                `json:"iexecform_version"`
	Variables       map[string]jsonInput  `json:"variables,omitempty"`
	PlannedValues   jsonValues            `json:"planned_values"`
	ResourceDrift   []jsonResourceChange  `json:"resource_drift,omitempty"`
	ResourceChanges []jsonResourceChange  `json:"resource_changes"`
	OutputChanges   map[string]jsonChange `json:"output_changes"`
	PriorState      jsonPrior             `json:"prior_state"`
	Configuration   json.RawMessage       `json:"configuration,omitempty"`
	Checks          []jsonCheck           `json:"checks,omitempty"`
	Applyable       bool                  `json:"applyable"`
	Complete        bool                  `json:"complete"`
	Errored         bool                  `json:"errored"`
	Own             jsonOwn               `json:"iexecform"`
}

// jsonInput is the value of a variable; null where it must not be seen.
type jsonInput struct {
	Value     json.RawMessage `json:"value"`
	Sensitive bool            `json:"sensitive,omitempty"`
}

// jsonPrior is the state as it was refreshed, before the plan.
type jsonPrior struct {
	FormatVersion string     `json:"format_version"`
	Tool          string     `json:"iexecform_version"`
	Values        jsonValues `json:"values"`
}

type jsonResourceChange struct {
	Address         string     `json:"address"`
	PreviousAddress string     `json:"previous_address,omitempty"`
	ModuleAddress   string     `json:"module_address,omitempty"`
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
	ReplacePaths    [][]string      `json:"replace_paths,omitempty"`
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
	Exclude       []string           `json:"exclude,omitempty"`
	LeftOut       []string           `json:"left_out,omitempty"` // with what is excluded
	Chains        []map[string]any   `json:"chains"`             // of each provider that has one: "provider", and what identifies it
	Actions       []providers.Action `json:"actions"`
	Costs         jsonCosts          `json:"costs"`
	Preconditions []jsonPrecondition `json:"preconditions"`
	Notices       []jsonNotice       `json:"notices"`
	Pending       []string           `json:"pending"`
	Summary       map[string]int     `json:"summary"`
}

type jsonCosts struct {
	Transactions int    `json:"transactions"`
	Gas          uint64 `json:"gas"`
	FeeWei       string `json:"fee_wei"`
	FeeMaxWei    string `json:"fee_max_wei"`
	Signatures   int    `json:"signatures"`
	Requests     int    `json:"requests"`
	Income       string `json:"income_max_nrlc"`
	Spending     string `json:"spending_max_nrlc"`
}

// jsonPrecondition is one that an action or, with action 0, the plan itself expects.
type jsonPrecondition struct {
	Action   int    `json:"action,omitempty"`
	Provider string `json:"provider"`
	Kind     string `json:"kind"`
	Summary  string `json:"summary"`
}

// jsonNotice is about an object or a provider.
type jsonNotice struct {
	Addr     string `json:"addr,omitempty"`
	Provider string `json:"provider,omitempty"`
	providers.Notice
}

func toJSONNotice(n plan.Notice) jsonNotice {
	if n.Provider != "" {
		return jsonNotice{Provider: n.Provider, Notice: n.Notice}
	}
	return jsonNotice{Addr: n.Addr.String(), Notice: n.Notice}
}

// Plan prints a plan as one document.
func (j *JSON) Plan(p *plan.Plan) error {
	digest, err := plan.Digest(p)
	if err != nil {
		return err
	}
	doc := jsonPlan{
		FormatVersion: "1.2", Tool: p.Tool, ResourceChanges: []jsonResourceChange{}, OutputChanges: map[string]jsonChange{},
		PlannedValues: newValues(), PriorState: jsonPrior{FormatVersion: "1.0", Tool: p.Tool, Values: newValues()},
		Checks: toJSONChecks(p.Checks), Variables: map[string]jsonInput{}, Configuration: p.Outline,
		Applyable: p.Complete && !p.Empty(), Complete: p.Complete, Errored: !p.Complete,
		Own: jsonOwn{
			Digest: digest, Mode: p.Mode, Project: p.Project, Workspace: p.Workspace, Lineage: p.Lineage, Serial: p.Serial,
			Config: p.Config, Targets: p.Targets, Exclude: p.Exclude, LeftOut: p.LeftOut, Chains: chains(p), Actions: orEmpty(p.Actions),
			Preconditions: preconditions(p), Notices: []jsonNotice{}, Pending: orEmpty(p.Pending),
		},
	}
	for name, v := range p.Variables {
		value, err := marshalValue(v)
		if err != nil {
			return fmt.Errorf("variable %s: %w", name, err)
		}
		doc.Variables[name] = jsonInput{Value: value, Sensitive: v == cty.NilVal}
	}
	for i := range p.Changes {
		if err := j.planned(&doc, p, &p.Changes[i]); err != nil {
			return fmt.Errorf("%s: %w", p.Changes[i].Addr, err)
		}
	}
	for i := range p.Reads {
		if err := j.planned(&doc, p, &p.Reads[i]); err != nil {
			return fmt.Errorf("%s: %w", p.Reads[i].Addr, err)
		}
	}
	for _, o := range p.Outputs {
		if err := plannedOutput(&doc, o); err != nil {
			return fmt.Errorf("output %s: %w", o.Name, err)
		}
	}
	for _, n := range p.Notices {
		doc.Own.Notices = append(doc.Own.Notices, toJSONNotice(n))
	}
	c := p.Count()
	doc.Own.Costs = jsonCosts{
		Transactions: c.Transactions, Gas: c.Gas, FeeWei: c.FeeWei.String(), FeeMaxWei: c.FeeMaxWei.String(),
		Signatures: c.Signatures, Requests: c.Requests, Income: c.Income.String(), Spending: c.Spending.String(),
	}
	doc.Own.Summary = summaryCounts(c)
	return writeJSON(j.Out, doc)
}

// planned adds what is planned for an object, and what it is and was.
func (j *JSON) planned(doc *jsonPlan, p *plan.Plan, c *plan.Change) error {
	change, err := j.resourceChange(p, c)
	if err != nil {
		return err
	}
	doc.ResourceChanges = append(doc.ResourceChanges, change)
	if c.Drifted() {
		drift, err := j.resourceChange(p, drifted(c))
		if err != nil {
			return err
		}
		drift.ActionReason = ""
		doc.ResourceDrift = append(doc.ResourceDrift, drift)
	}
	if !c.After.IsNull() {
		doc.PlannedValues.add(j.resource(c, change.Change.After, change.Change.AfterSensitive))
	}
	if known := c.Kind != providers.Create && c.Kind != providers.Adopt && c.Importing == ""; known && !c.Before.IsNull() && !c.Gone() {
		doc.PriorState.Values.add(j.resource(c, change.Change.Before, change.Change.BeforeSensitive))
	}
	return nil
}

// modeOf is an address's mode in Terraform's words.
func modeOf(r addr.Resource) string {
	if r.Mode == addr.Data {
		return "data"
	}
	return "managed"
}

func (j *JSON) resource(c *plan.Change, values json.RawMessage, sensitive any) jsonResource {
	r := c.Addr.Resource
	out := jsonResource{
		Address: c.Addr.String(), Mode: modeOf(r), Type: r.Type, Name: r.Name, Index: index(c.Addr.Key),
		Provider: c.Provider.String(), Values: values, Sensitive: sensitive, DependsOn: c.DependsOn, module: r.Module,
	}
	if table := tableOf(j.Tables, r); table != nil {
		out.SchemaVersion = table.Version
	}
	return out
}

// plannedOutput adds what is planned for an output, and what it is and was.
func plannedOutput(doc *jsonPlan, o plan.OutputChange) error {
	change, err := outputChange(o)
	if err != nil {
		return err
	}
	doc.OutputChanges[o.Name] = change
	for _, at := range []struct {
		values *jsonValues
		value  cty.Value
		text   json.RawMessage
	}{{&doc.PlannedValues, o.After, change.After}, {&doc.PriorState.Values, o.Before, change.Before}} {
		if at.value == cty.NilVal {
			continue
		}
		out := jsonOutput{Sensitive: o.Sensitive}
		if !o.Sensitive {
			if out.Type, err = ctyjson.MarshalType(at.value.Type()); err != nil {
				return err
			}
			out.Value = at.text
		}
		at.values.Outputs[o.Name] = out
	}
	return nil
}

// chains are what identifies the networks of the plan's providers; a chain id is a number.
func chains(p *plan.Plan) []map[string]any {
	list := []map[string]any{}
	for _, v := range p.Providers {
		if v.Network == nil {
			continue
		}
		chain := map[string]any{"provider": v.Addr.String()}
		for name, fact := range v.Network {
			if chain[name] = fact; name == "chain_id" {
				chain[name] = json.RawMessage(fact)
			}
		}
		list = append(list, chain)
	}
	return list
}

func preconditions(p *plan.Plan) []jsonPrecondition {
	list := []jsonPrecondition{}
	for i := range p.Actions {
		a := &p.Actions[i]
		for _, e := range a.Expect {
			list = append(list, jsonPrecondition{a.ID, a.Provider, e.Kind, e.Summary})
		}
	}
	for _, e := range p.Expect {
		list = append(list, jsonPrecondition{0, e.Provider, e.Kind, e.Summary})
	}
	return list
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
		Address: c.Addr.String(), Mode: modeOf(r), Type: r.Type, Name: r.Name, Index: index(c.Addr.Key),
		Provider: c.Provider.String(), Because: c.Because, ModuleAddress: string(r.Module),
	}
	sensitive := j.sensitive(r)
	change := jsonChange{Actions: changeActions(c), AfterUnknown: map[string]any{}, BeforeSensitive: sensitive(c.Before), AfterSensitive: sensitive(c.After)}
	var err error
	before, after := c.Before, c.After
	if c.Kind == providers.Create {
		before = before.Null()
	}
	if change.Before, err = marshalValue(masked(before, sensitive(before))); err != nil {
		return out, fmt.Errorf("%s: %w", c.Addr, err)
	}
	if change.After, err = marshalValue(masked(after, sensitive(after))); err != nil {
		return out, fmt.Errorf("%s: %w", c.Addr, err)
	}
	if u := unknowns(c.After.Cty()); u != nil {
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
		out.ActionReason = cmp.Or(string(c.Reason), "replace_because_cannot_update")
		change.ReplacePaths = j.replacePaths(c)
	case plan.Read:
		out.ActionReason = string(c.Reason)
	case providers.Delete, providers.Forget:
		if p.Mode == plan.Normal {
			out.ActionReason = cmp.Or(string(c.Reason), "delete_because_no_resource_config")
		}
	}
	out.Change = change
	return out, nil
}

// replacePaths are the attributes whose change makes another object necessary.
func (j *JSON) replacePaths(c *plan.Change) (paths [][]string) {
	table := tableOf(j.Tables, c.Addr.Resource)
	for _, d := range plan.Diff(c.Before, c.After) {
		if a := attrOf(table, d.Name); a != nil && a.ForceNew {
			paths = append(paths, []string{d.Name})
		}
	}
	return paths
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
	for _, object := range []schema.Object{c.Before, c.After} {
		for _, name := range []string{"address", "order_hash", "id"} {
			if object.IsNull() || !object.Has(name) {
				continue
			}
			if v := object.Attr(name); v.Type() == cty.String && v.IsKnown() && !v.IsNull() {
				return v.AsString()
			}
		}
	}
	return c.Addr.String()
}

// sensitive makes the mask of an object's sensitive attributes.
func (j *JSON) sensitive(r addr.Resource) func(schema.Object) map[string]any {
	return func(object schema.Object) map[string]any {
		mask := map[string]any{}
		if object.IsNull() {
			return mask
		}
		if table := tableOf(j.Tables, r); table != nil {
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
func masked(o schema.Object, mask map[string]any) cty.Value {
	attrs := map[string]cty.Value{}
	for name := range mask {
		if o.Has(name) {
			attrs[name] = cty.NullVal(o.Attr(name).Type())
		}
	}
	if len(attrs) == 0 || o.IsNull() {
		return o.Cty()
	}
	return o.With(attrs).Cty()
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
