package main

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
)

// What was found outside, written as configuration. Names come from the objects' own names and ids only, so that the same
// objects always get the same names: one that several share is followed by the beginning of the id.

// foundWriter writes found objects.
type foundWriter struct {
	providers providers.Registry
	name      string // of the provider
	file      *hclwrite.File
	objects   []providers.Found
	names     []string // of the resources, in order
}

// newFoundWriter chooses the resources' names, none of which is taken.
func newFoundWriter(registry providers.Registry, provider string, objects []providers.Found, taken map[addr.Resource]bool) *foundWriter {
	w := &foundWriter{providers: registry, name: provider, file: hclwrite.NewEmptyFile(), objects: objects, names: make([]string, len(objects))}
	type key struct{ typ, base string }
	bases := make([]string, len(objects))
	sharing := map[key]int{}
	byID := map[string]int{} // provider alias and id
	for i, o := range objects {
		bases[i] = identifier(o.Name)
		if bases[i] == "" && len(o.Refers) > 0 {
			if to, ok := byID[o.Provider+" "+o.Refers[0].To]; ok {
				bases[i] = w.names[to]
			}
		}
		if bases[i] == "" {
			_, bases[i], _ = strings.Cut(o.Type, "_")
		}
		sharing[key{o.Type, bases[i]}]++
		if _, ok := byID[o.Provider+" "+o.ID]; !ok {
			byID[o.Provider+" "+o.ID] = i
		}
		// What refers to others comes after them, so that the names of all of the same type are known only at its end.
		if i+1 == len(objects) || objects[i+1].Type != o.Type {
			for j := range objects[:i+1] {
				if objects[j].Type == o.Type && w.names[j] == "" {
					k := key{o.Type, bases[j]}
					w.names[j] = unique(o.Type, bases[j], objects[j].ID, sharing[k] > 1, taken)
				}
			}
		}
	}
	return w
}

// unique is a name that isn't taken, and takes it.
func unique(typ, base, id string, shared bool, taken map[addr.Resource]bool) string {
	digits := strings.ToLower(strings.TrimPrefix(id, "0x"))
	name := base
	for n := 6; ; n++ {
		if !shared && !taken[addr.Resource{Type: typ, Name: name}] {
			taken[addr.Resource{Type: typ, Name: name}] = true
			return name
		}
		shared = false
		name = base + "_" + digits[:min(n, len(digits))]
		if n > len(digits) {
			name += fmt.Sprintf("_%d", n-len(digits)+1)
		}
	}
}

// identifier makes a name of free text: lower case, with underscores for what a name can't have. It is "" where nothing is
// left.
func identifier(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "_"):
			b.WriteByte('_')
		}
		if b.Len() > 48 {
			break
		}
	}
	name := strings.TrimRight(b.String(), "_")
	if name != "" && !hclsyntax.ValidIdentifier(name) {
		name = "_" + name
	}
	if !hclsyntax.ValidIdentifier(name) {
		return ""
	}
	return name
}

// project writes the block with the project's name.
func (w *foundWriter) project(name string) {
	w.file.Body().AppendNewBlock("iexecform", nil).Body().SetAttributeValue("project", cty.StringVal(name))
	w.file.Body().AppendNewline()
}

// provider writes a provider block, with variables for what must not stand in a file.
func (w *foundWriter) provider(p providers.FoundProvider) {
	var references []func(*hclwrite.Body)
	settings := map[string]cty.Value{}
	for _, s := range p.Secrets {
		settings[s.Attr] = cty.StringVal("") // keeps its place among the others
		name := s.Attr
		if p.Alias != "" {
			name += "_" + p.Alias
		}
		body := w.file.Body().AppendNewBlock("variable", []string{name}).Body()
		body.SetAttributeRaw("type", hclwrite.TokensForIdentifier("string"))
		body.SetAttributeValue("sensitive", cty.True)
		if s.Optional {
			body.SetAttributeValue("default", cty.NullVal(cty.String))
		}
		w.file.Body().AppendNewline()
		references = append(references, func(b *hclwrite.Body) { b.SetAttributeTraversal(s.Attr, traversal("var", name)) })
	}
	body := config.WriteProvider(w.file, w.providers.ProviderTable(w.name), addr.Provider{Name: w.name, Alias: p.Alias}, p.Config.With(settings))
	for _, set := range references {
		set(body)
	}
}

// resources writes the objects, each with the block that imports it.
func (w *foundWriter) resources() {
	at := map[string]addr.Resource{} // of the active ones, by provider alias and id
	for i, o := range w.objects {
		if o.Inactive == "" && o.ID != "" {
			at[o.Provider+" "+o.ID] = addr.Resource{Type: o.Type, Name: w.names[i]}
		}
	}
	for i, o := range w.objects {
		to := addr.Resource{Type: o.Type, Name: w.names[i]}
		file := w.file
		if o.Inactive != "" {
			file = hclwrite.NewEmptyFile()
		}
		if o.Comment != "" {
			config.WriteComment(file, o.Comment)
		}
		body := config.WriteResource(file, w.providers.ResourceTable(o.Type), to, addr.Provider{Name: w.name, Alias: o.Provider}, o.Value)
		for _, r := range o.Refers {
			if target, ok := at[o.Provider+" "+r.To]; ok && body.GetAttribute(r.Attr) != nil {
				body.SetAttributeTraversal(r.Attr, traversal(target.Type, target.Name, r.Of))
			}
		}
		switch {
		case o.Inactive != "":
			config.WriteComment(w.file, o.Inactive)
			config.WriteComment(w.file, string(config.Source(file)))
			w.file.Body().AppendNewline()
		case o.ID != "":
			config.WriteImport(w.file, addr.Instance{Resource: to}, o.ID)
		}
	}
}

func traversal(names ...string) hcl.Traversal {
	t := hcl.Traversal{hcl.TraverseRoot{Name: names[0]}}
	for _, n := range names[1:] {
		t = append(t, hcl.TraverseAttr{Name: n})
	}
	return t
}
