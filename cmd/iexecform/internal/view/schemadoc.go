package view

// What the language has, as documents for machines: the tables of providers and the functions in Terraform's shape, and a
// JSON Schema of configuration files in JSON syntax, for editors. All of it is made from the tables that check configurations.

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

type jsonSchemas struct {
	FormatVersion string                        `json:"format_version"`
	Providers     map[string]jsonProviderSchema `json:"provider_schemas"`
}

type jsonProviderSchema struct {
	Provider  jsonTable               `json:"provider"`
	Resources map[string]jsonTable    `json:"resource_schemas"`
	Data      map[string]jsonTable    `json:"data_source_schemas"`
	Functions map[string]jsonFunction `json:"functions"`
}

type jsonTable struct {
	Version int       `json:"version"`
	Block   jsonBlock `json:"block"`
}

type jsonBlock struct {
	Attributes      map[string]jsonAttr   `json:"attributes"`
	Blocks          map[string]jsonNested `json:"block_types,omitempty"`
	Description     string                `json:"description"`
	DescriptionKind string                `json:"description_kind"`
}

type jsonNested struct {
	NestingMode string    `json:"nesting_mode"`
	Block       jsonBlock `json:"block"`
	MaxItems    int       `json:"max_items"`
}

type jsonAttr struct {
	Type            json.RawMessage `json:"type"`
	Description     string          `json:"description"`
	DescriptionKind string          `json:"description_kind"`
	Required        bool            `json:"required,omitempty"`
	Optional        bool            `json:"optional,omitempty"`
	Computed        bool            `json:"computed,omitempty"`
	Sensitive       bool            `json:"sensitive,omitempty"`
	WriteOnly       bool            `json:"write_only,omitempty"`
	Own             jsonOwnAttr     `json:"iexecform"`
}

// jsonOwnAttr is what schemas of other tools don't tell of an attribute.
type jsonOwnAttr struct {
	Accepts  json.RawMessage `json:"accepts,omitempty"` // type that a configuration may give, where that is another one
	Form     string          `json:"form,omitempty"`    // what the reference calls the type, such as "address"
	Default  json.RawMessage `json:"default,omitempty"`
	Replaces bool            `json:"forces_replacement,omitempty"`
	Progress bool            `json:"progress,omitempty"` // may change by use, which is no drift
}

type jsonFunctions struct {
	FormatVersion string                  `json:"format_version"`
	Functions     map[string]jsonFunction `json:"function_signatures"`
}

type jsonFunction struct {
	Description string          `json:"description"`
	ReturnType  json.RawMessage `json:"return_type"`
	Parameters  []jsonParameter `json:"parameters,omitempty"`
	Variadic    *jsonParameter  `json:"variadic_parameter,omitempty"`
}

type jsonParameter struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	IsNullable  bool            `json:"is_nullable,omitempty"`
	Type        json.RawMessage `json:"type"`
}

// Schemas prints what the blocks of every provider may hold.
func (j *JSON) Schemas(registry providers.Registry) error {
	doc := jsonSchemas{FormatVersion: "1.0", Providers: map[string]jsonProviderSchema{}}
	for name, p := range registry {
		s := p.Schema()
		doc.Providers[name] = jsonProviderSchema{
			Provider: toJSONTable(s.Provider), Resources: toJSONTables(s.Resources), Data: toJSONTables(s.Data), Functions: toJSONFunctions(s.Functions),
		}
	}
	return writeJSON(j.Out, doc)
}

// Functions prints the signatures of functions.
func (j *JSON) Functions(functions map[string]function.Function) error {
	return writeJSON(j.Out, jsonFunctions{FormatVersion: "1.0", Functions: toJSONFunctions(functions)})
}

func toJSONTables(tables map[string]*schema.Table) map[string]jsonTable {
	all := make(map[string]jsonTable, len(tables))
	for name, t := range tables {
		all[name] = toJSONTable(t)
	}
	return all
}

func toJSONTable(t *schema.Table) jsonTable {
	out := jsonTable{Version: t.Version, Block: toJSONBlock(t.Doc, t.Attrs)}
	for _, b := range t.Blocks {
		if out.Block.Blocks == nil {
			out.Block.Blocks = map[string]jsonNested{}
		}
		out.Block.Blocks[b.Name] = jsonNested{NestingMode: "single", Block: toJSONBlock(b.Doc, b.Attrs), MaxItems: 1}
	}
	return out
}

func toJSONBlock(doc string, attrs []schema.Attr) jsonBlock {
	out := jsonBlock{Attributes: make(map[string]jsonAttr, len(attrs)), Description: doc, DescriptionKind: "markdown"}
	for _, a := range attrs {
		j := jsonAttr{
			Type: typeJSON(a.Type), Description: a.Doc, DescriptionKind: "markdown", Required: a.Mode == schema.Required,
			Optional: a.Mode == schema.Optional || a.Mode == schema.OptionalComputed, Computed: a.Mode == schema.Computed || a.Mode == schema.OptionalComputed,
			Sensitive: a.Sensitive, WriteOnly: a.WriteOnly, Own: jsonOwnAttr{Form: a.Form, Replaces: a.ForceNew, Progress: a.Progress != nil},
		}
		if a.Accepts != cty.NilType {
			j.Own.Accepts = typeJSON(a.Accepts)
		}
		if a.Default != cty.NilVal {
			j.Own.Default, _ = marshalValue(a.Default) // a literal of our tables
		}
		out.Attributes[a.Name] = j
	}
	return out
}

// typeJSON is a type in cty's JSON notation, which is Terraform's too. What has none, such as an expression that a function
// looks at, is "dynamic".
func typeJSON(t cty.Type) json.RawMessage {
	b, err := ctyjson.MarshalType(t)
	if err != nil {
		return json.RawMessage(`"dynamic"`)
	}
	return b
}

func toJSONFunctions(functions map[string]function.Function) map[string]jsonFunction {
	all := make(map[string]jsonFunction, len(functions))
	for name, f := range functions {
		j := jsonFunction{Description: f.Description(), ReturnType: typeJSON(returnType(f))}
		for _, p := range f.Params() {
			j.Parameters = append(j.Parameters, toJSONParameter(p))
		}
		if v := f.VarParam(); v != nil {
			p := toJSONParameter(*v)
			j.Variadic = &p
		}
		all[name] = j
	}
	return all
}

func toJSONParameter(p function.Parameter) jsonParameter {
	return jsonParameter{Name: p.Name, Description: p.Description, IsNullable: p.AllowNull, Type: typeJSON(p.Type)}
}

// returnType is what a function returns, as far as that doesn't depend on its arguments.
func returnType(f function.Function) cty.Type {
	var types []cty.Type
	for _, p := range f.Params() {
		types = append(types, p.Type)
	}
	if t, err := f.ReturnType(types); err == nil {
		return t
	}
	return cty.DynamicPseudoType
}

// ConfigSchema prints a JSON Schema of configuration files in JSON syntax (*.hcl.json).
func (j *JSON) ConfigSchema(registry providers.Registry) error {
	provider, resource, data := object{}, object{}, object{}
	for _, name := range registry.Names() {
		s := registry[name].Schema()
		provider[name] = blocks(tableSchema(s.Provider, object{"alias": text("Another name, for a second configuration."), "for_each": anything("One configuration for each element.")}))
		for _, typ := range slices.Sorted(maps.Keys(s.Resources)) {
			resource[typ] = labelled(blocks(tableSchema(s.Resources[typ], metaArguments())))
		}
		for _, typ := range slices.Sorted(maps.Keys(s.Data)) {
			data[typ] = labelled(blocks(tableSchema(s.Data[typ], metaArguments())))
		}
	}
	root := object{
		"//":        anything("A comment."),
		"provider":  closed(provider, "Settings of providers."),
		"resource":  closed(resource, "What is to be."),
		"data":      closed(data, "What is looked up at every plan."),
		"iexecform": anything("Settings of the project."), "variable": anything("Inputs."), "locals": anything("Values with names."), "output": anything("Results."),
		"module": anything("Configurations that are used as a part of this one."), "import": anything("Objects to begin to know."),
		"moved": anything("Objects that have another address now."), "removed": anything("Objects that are to go."), "check": anything("Conditions that are looked at."),
	}
	doc := closed(root, "A configuration file of iexecform in JSON syntax (*.hcl.json).")
	doc["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	return writeJSON(j.Out, doc)
}

// object is a part of a JSON Schema.
type object = map[string]any

func anything(doc string) object { return object{"description": doc} }

func text(doc string) object { return object{"description": doc, "type": "string"} }

func closed(properties object, doc string) object {
	return object{"description": doc, "type": "object", "properties": properties, "additionalProperties": false}
}

// labelled is blocks by their name; a property "//" is a comment.
func labelled(body object) object {
	return object{"type": "object", "properties": object{"//": object{}}, "additionalProperties": body}
}

// blocks is a block, or a list of them.
func blocks(body object) object {
	return object{"anyOf": []any{body, object{"type": "array", "items": body}}}
}

func metaArguments() object {
	return object{
		"//": anything("A comment."), "count": anything("How many there are."), "for_each": anything("One for each element."), "depends_on": anything("Addresses that come first."),
		"provider": text("Which provider configuration is used."), "lifecycle": anything("How the plan treats it."), "dynamic": anything("Blocks that are computed."),
	}
}

func tableSchema(t *schema.Table, more object) object {
	properties, required := more, []string{}
	for _, a := range t.Attrs {
		if a.Mode.Settable() {
			properties[a.Name] = attrSchema(a)
		}
		if a.Mode == schema.Required {
			required = append(required, a.Name)
		}
	}
	for _, b := range t.Blocks {
		properties[b.Name] = blocks(tableSchema(&schema.Table{Attrs: b.Attrs, Doc: b.Doc}, object{}))
	}
	s := closed(properties, t.Doc)
	s["required"] = required
	return s
}

// attrSchema is what may be written for an attribute: a value of its type, or text, which may be a template.
func attrSchema(a schema.Attr) object {
	accepts := a.Accepts
	if accepts == cty.NilType {
		accepts = a.Type
	}
	out := object{"description": a.Doc}
	if a.Default != cty.NilVal {
		out["default"], _ = marshalValue(a.Default)
	}
	var kind string
	switch {
	case accepts == cty.Number:
		kind = "number"
	case accepts == cty.Bool:
		kind = "boolean"
	case accepts.IsListType() || accepts.IsSetType() || accepts.IsTupleType():
		kind = "array"
	case accepts.IsMapType() || accepts.IsObjectType():
		kind = "object"
	case accepts == cty.String:
		out["type"] = []string{"string", "number", "boolean", "null"} // they convert to text
		return out
	default:
		return out
	}
	out["type"] = []string{kind, "string", "null"}
	return out
}
