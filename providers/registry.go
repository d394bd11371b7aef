package providers

import (
	"sort"
	"strings"

	"github.com/zclconf/go-cty/cty/function"

	"github.com/iexecform/iexecform/config/schema"
)

// Registry is the providers of a program, by name.
type Registry map[string]Provider

// Names returns the providers' names, sorted.
func (r Registry) Names() []string {
	names := make([]string, 0, len(r))
	for n := range r {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// NameOf is the name of the provider that a resource or data type belongs to: the part before its first "_".
func NameOf(typ string) string {
	name, _, _ := strings.Cut(typ, "_")
	return name
}

// ProviderTable returns the schema of a provider block, or nil.
func (r Registry) ProviderTable(name string) *schema.Table {
	if p := r[name]; p != nil {
		return p.Schema().Provider
	}
	return nil
}

// ResourceTable returns the schema of a resource type, or nil.
func (r Registry) ResourceTable(typ string) *schema.Table {
	if p := r[NameOf(typ)]; p != nil {
		return p.Schema().Resources[typ]
	}
	return nil
}

// DataTable returns the schema of a data source type, or nil.
func (r Registry) DataTable(typ string) *schema.Table {
	if p := r[NameOf(typ)]; p != nil {
		return p.Schema().Data[typ]
	}
	return nil
}

// ResourceTypes returns the names of all resource types, sorted.
func (r Registry) ResourceTypes() []string {
	var types []string
	for _, p := range r {
		for t := range p.Schema().Resources {
			types = append(types, t)
		}
	}
	sort.Strings(types)
	return types
}

// DataTypes returns the names of all data source types, sorted.
func (r Registry) DataTypes() []string {
	var types []string
	for _, p := range r {
		for t := range p.Schema().Data {
			types = append(types, t)
		}
	}
	sort.Strings(types)
	return types
}

// Functions returns the functions that providers add to the language, by name.
func (r Registry) Functions() map[string]function.Function {
	all := map[string]function.Function{}
	for _, p := range r {
		for name, f := range p.Schema().Functions {
			all[name] = f
		}
	}
	return all
}
