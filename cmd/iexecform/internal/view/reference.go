package view

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/errcode"
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// Reference is the reference pages by file name: one for each provider, resource and data source, one for each way to keep
// states, one for the functions that
// providers add, one for the commands. It is made from the tables that check configurations, so that it can't tell
// otherwise than the program does.
func Reference(registry providers.Registry, states config.StateTables, root *cobra.Command) map[string]string {
	pages := map[string]string{}
	var index strings.Builder
	index.WriteString("# Reference\n\nThese pages are made from the program's own tables by `make docs`.\n\n- [Commands](commands.md)\n- [Functions](functions.md)\n- [Diagnostic codes](codes.md)\n- For machines: [providers](providers.json), [functions](functions.json), [JSON Schema of *.hcl.json files](config.schema.json), [of plans, lines and diagnostics](../schemas)\n- [Lint rules](lint.md)\n")
	page := func(file, title string, t *schema.Table) {
		pages[file] = tablePage(title, t)
		fmt.Fprintf(&index, "- [%s](%s)\n", title, file)
	}
	for _, name := range registry.Names() {
		s := registry[name].Schema()
		page("provider-"+name+".md", "Provider "+name, s.Provider)
		for _, typ := range slices.Sorted(maps.Keys(s.Resources)) {
			page("resource-"+typ+".md", "Resource "+typ, s.Resources[typ])
		}
		for _, typ := range slices.Sorted(maps.Keys(s.Data)) {
			page("data-"+typ+".md", "Data source "+typ, s.Data[typ])
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(states)) {
		for _, name := range slices.Sorted(maps.Keys(states[kind])) {
			title := strings.ToUpper(kind[:1]) + kind[1:] + " " + name
			pages[kind+"-"+name+".md"] = tablePage(title, states[kind][name]) + stateNote(kind)
			fmt.Fprintf(&index, "- [%s](%s-%s.md)\n", title, kind, name)
		}
	}
	pages["functions.md"] = functionsPage(registry.Functions())
	pages["lint.md"] = lintPage()
	pages["codes.md"] = errcode.Page()
	document := func(name string, print func(*JSON) error) {
		var out bytes.Buffer
		_ = print(&JSON{Out: &out}) // a buffer never fails
		pages[name] = out.String()
	}
	document("providers.json", func(j *JSON) error { return j.Schemas(registry) })
	document("functions.json", func(j *JSON) error { return j.Functions(config.Functions(".", registry.Functions())) })
	document("config.schema.json", func(j *JSON) error { return j.ConfigSchema(registry) })
	pages["commands.md"] = commandsPage(root)
	pages["README.md"] = index.String()
	return pages
}

// stateNote says where the arguments of a block about the state come from.
func stateNote(kind string) string {
	given := ""
	if kind == "backend" {
		given = "from `iexecform init --backend-config=NAME=VALUE`, then "
	}
	return fmt.Sprintf("\nThe block stands within the iexecform block and holds literals only. What it leaves out comes %sfrom the environment variable `%s`; secrets come from there only.\n"+
		"See [States and stores](../state.md).\n", given, config.StateVariable(kind, "name"))
}

func tablePage(title string, t *schema.Table) string {
	var out strings.Builder
	fmt.Fprintf(&out, "# %s\n\n%s\n", title, t.Doc)
	if t.Example != "" {
		fmt.Fprintf(&out, "\n## Example\n\n```hcl\n%s```\n", t.Example)
	}
	var arguments, attributes []schema.Attr
	for _, a := range t.Attrs {
		if a.Mode.Settable() {
			arguments = append(arguments, a)
		} else {
			attributes = append(attributes, a)
		}
	}
	if len(arguments)+len(t.Blocks) > 0 {
		out.WriteString("\n## Arguments\n\n")
		attrList(&out, arguments)
	}
	for _, b := range t.Blocks {
		fmt.Fprintf(&out, "\n### Block `%s`\n\n%s\n\n", b.Name, b.Doc)
		attrList(&out, b.Attrs)
	}
	if len(attributes) > 0 {
		out.WriteString("\n## Attributes\n\nBesides the arguments, expressions can use:\n\n")
		attrList(&out, attributes)
	}
	return out.String()
}

func attrList(out *strings.Builder, attrs []schema.Attr) {
	for _, a := range attrs {
		fmt.Fprintf(out, "- `%s` (%s%s)", a.Name, friendlyType(a), map[schema.Mode]string{
			schema.Required: ", required", schema.Optional: ", optional", schema.OptionalComputed: ", optional",
		}[a.Mode])
		if a.Default != cty.NilVal {
			fmt.Fprintf(out, ", default `%s`", defaultText(a))
		}
		if a.ForceNew {
			out.WriteString(", a change makes a new one")
		}
		if a.Sensitive {
			out.WriteString(", sensitive")
		}
		if a.WriteOnly {
			out.WriteString(", write-only")
		}
		fmt.Fprintf(out, ": %s\n", a.Doc)
	}
}

func friendlyType(a schema.Attr) string {
	if a.Form != "" {
		return a.Form
	}
	t := a.Type
	if t.IsMapType() && t.ElementType().IsObjectType() {
		return "map of object"
	}
	return t.FriendlyName()
}

func defaultText(a schema.Attr) string {
	if a.Format != nil {
		return a.Format(a.Default)
	}
	if a.Default.Type() == cty.String {
		return quoted(a.Default)
	}
	return valueText(a.Default, "")
}

func functionsPage(added map[string]function.Function) string {
	var out strings.Builder
	out.WriteString("# Functions\n\nThe functions that have to do with files take paths relative to the configuration's directory. Functions whose result changes from " +
		"one call to the next, such as timestamp and uuid, are not there: a plan made twice from the same files must be the same.\n\n## For iExec\n\n")
	functionList(&out, added)
	out.WriteString("\n## Of the language\n\nThese are Terraform's, under the same names.\n\n")
	functionList(&out, config.Functions(".", nil))
	return out.String()
}

func functionList(out *strings.Builder, functions map[string]function.Function) {
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		f := functions[name]
		var params []string
		for _, p := range f.Params() {
			params = append(params, p.Name)
		}
		if p := f.VarParam(); p != nil {
			params = append(params, p.Name+"…")
		}
		fmt.Fprintf(out, "- `%s(%s)`: %s\n", name, strings.Join(params, ", "), f.Description())
	}
}

func commandsPage(root *cobra.Command) string {
	var out strings.Builder
	out.WriteString("# Commands\n\n")
	fmt.Fprintf(&out, "%s\n\nFlags of every command:\n\n```\n%s```\n", root.Long, root.PersistentFlags().FlagUsages())
	writeCommands(&out, root)
	return out.String()
}

func writeCommands(out *strings.Builder, parent *cobra.Command) {
	for _, c := range parent.Commands() {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		fmt.Fprintf(out, "\n## %s\n\n%s\n\n```\n%s\n", c.CommandPath(), text, c.UseLine())
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" {
				flags.AddFlag(f)
			}
		})
		if flags.HasFlags() {
			fmt.Fprintf(out, "\n%s", flags.FlagUsages())
		}
		out.WriteString("```\n")
		writeCommands(out, c)
	}
}
