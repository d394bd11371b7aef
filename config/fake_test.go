package config_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

// fakeSchemas is a small iexec and oci provider.
type fakeSchemas struct {
	providers, resources, data map[string]*schema.Table
}

func (f fakeSchemas) Names() []string                         { return keys(f.providers) }
func (f fakeSchemas) ProviderTable(name string) *schema.Table { return f.providers[name] }
func (f fakeSchemas) ResourceTable(typ string) *schema.Table  { return f.resources[typ] }
func (f fakeSchemas) DataTable(typ string) *schema.Table      { return f.data[typ] }
func (f fakeSchemas) ResourceTypes() []string                 { return keys(f.resources) }
func (f fakeSchemas) DataTypes() []string                     { return keys(f.data) }
func (f fakeSchemas) Functions() map[string]function.Function {
	return map[string]function.Function{"rlc": function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Number),
		Impl:   func(args []cty.Value, _ cty.Type) (cty.Value, error) { return parsePrice(args[0]) },
	})}
}

func keys[V any](m map[string]V) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	sort.Strings(list)
	return list
}

// parsePrice reads "N RLC" (whole), or a number of nRLC.
func parsePrice(v cty.Value) (cty.Value, error) {
	v, err := convert.Convert(v, cty.String)
	if err != nil {
		return v, err
	}
	text, rlc := strings.CutSuffix(v.AsString(), " RLC")
	n, ok := new(big.Int).SetString(text, 10)
	if !ok || n.Sign() < 0 {
		return cty.UnknownVal(cty.Number), fmt.Errorf(`%q is not an amount: write "1 RLC" or a whole number of nRLC`, v.AsString())
	}
	if rlc {
		n.Mul(n, big.NewInt(1e9))
	}
	return cty.ParseNumberVal(n.String())
}

func parseVolume(v cty.Value) (cty.Value, error) {
	if f := v.AsBigFloat(); !f.IsInt() || f.Sign() <= 0 {
		return v, errors.New("must be a whole number, 1 or more")
	}
	return v, nil
}

func parseAddress(v cty.Value) (cty.Value, error) {
	if !strings.HasPrefix(v.AsString(), "0x") {
		return v, fmt.Errorf("%q is not an address: it must start with 0x", v.AsString())
	}
	return v, nil
}

var schemas = fakeSchemas{
	providers: map[string]*schema.Table{
		"iexec": {
			Type: "iexec",
			Attrs: []schema.Attr{
				{Name: "chain", Type: cty.String, Mode: schema.Optional},
				{Name: "retries", Type: cty.Number, Mode: schema.Optional, Default: cty.NumberIntVal(3)},
				{Name: "api_key", Type: cty.String, Mode: schema.Optional},
			},
			Blocks: []schema.Block{{Name: "wallet", Attrs: []schema.Attr{
				{Name: "keystore", Type: cty.String, Mode: schema.Optional},
				{Name: "password", Type: cty.String, Mode: schema.Optional, Sensitive: true},
			}}},
		},
		"oci": {Type: "oci"},
	},
	resources: map[string]*schema.Table{
		"iexec_app": {
			Type: "iexec_app",
			Attrs: []schema.Attr{
				{Name: "name", Type: cty.String, Mode: schema.Required},
				{Name: "multiaddr", Type: cty.String, Mode: schema.Optional},
				{Name: "checksum", Type: cty.String, Mode: schema.OptionalComputed},
				{Name: "secret", Type: cty.String, Mode: schema.Optional, Sensitive: true},
				{Name: "key", Type: cty.String, Mode: schema.Optional, WriteOnly: true},
				{Name: "address", Type: cty.String, Mode: schema.Computed},
				{Name: "sign", Type: cty.String, Mode: schema.Computed},
			},
			Example: "resource \"iexec_app\" \"a\" {\n  name = \"Nilearn\" # at most 64 bytes\n}\n",
		},
		"iexec_apporder": {
			Type: "iexec_apporder",
			Attrs: []schema.Attr{
				{Name: "app", Type: cty.String, Mode: schema.Required, Parse: parseAddress},
				{Name: "appprice", Type: cty.Number, Mode: schema.Required, Accepts: cty.DynamicPseudoType, Parse: parsePrice},
				{Name: "volume", Type: cty.Number, Mode: schema.Optional, Default: cty.NumberIntVal(1), Parse: parseVolume},
				{Name: "tag", Type: cty.Set(cty.String), Mode: schema.Optional},
				{Name: "order_hash", Type: cty.String, Mode: schema.Computed},
				{Name: "sign", Type: cty.String, Mode: schema.Computed},
			},
			Blocks: []schema.Block{{Name: "restrict", Attrs: []schema.Attr{
				{Name: "requester", Type: cty.String, Mode: schema.Required, Parse: parseAddress},
				{Name: "dataset", Type: cty.String, Mode: schema.Optional},
			}}},
		},
	},
	data: map[string]*schema.Table{
		"oci_image": {
			Type: "oci_image",
			Attrs: []schema.Attr{
				{Name: "reference", Type: cty.String, Mode: schema.Required},
				{Name: "checksum", Type: cty.String, Mode: schema.Computed},
			},
		},
	},
}

// recorder is a Handler that plans what the fake providers would and writes down what it is asked.
type recorder struct {
	log       strings.Builder
	quiet     bool
	fail      map[string]bool // addresses to refuse
	instances map[addr.Instance]config.Instance
}

func (r *recorder) Provider(_ context.Context, p addr.Provider, block config.Block) hcl.Diagnostics {
	r.printf("provider %s %s sensitive=%v\n", p, text(block.Value.Cty()), block.Sensitive)
	if r.fail["provider."+p.String()] {
		return hcl.Diagnostics{block.Diagnostic(hcl.DiagError, "chain", "Refused", "As told.")}
	}
	return nil
}

func (r *recorder) Data(_ context.Context, instances []config.Instance) []config.Result {
	return r.results("data", instances, func(i config.Instance) cty.Value {
		attrs := i.Value.Cty().AsValueMap()
		attrs["checksum"] = cty.StringVal("0x" + attrs["reference"].AsString())
		return cty.ObjectVal(attrs)
	})
}

func (r *recorder) Resources(_ context.Context, instances []config.Instance) []config.Result {
	return r.results("resources", instances, func(i config.Instance) cty.Value {
		attrs := i.Value.Cty().AsValueMap()
		attrs["sign"] = cty.UnknownVal(cty.String)
		if i.Addr.Resource.Type == "iexec_app" {
			attrs["address"] = cty.StringVal("0x" + attrs["name"].AsString())
			if attrs["checksum"].IsNull() {
				attrs["checksum"] = cty.StringVal("0xlatest")
			}
		} else {
			attrs["order_hash"] = cty.StringVal("0xhash")
		}
		return cty.ObjectVal(attrs)
	})
}

func (r *recorder) results(what string, instances []config.Instance, plan func(config.Instance) cty.Value) []config.Result {
	r.printf("%s\n", what)
	results := make([]config.Result, len(instances))
	for i, inst := range instances {
		if !r.quiet {
			r.printf("  %s by %s %s <- %v\n", inst.Addr, inst.Provider, text(inst.Value.Cty()), inst.DependsOn)
		}
		if r.instances != nil {
			r.instances[inst.Addr] = inst
		}
		if r.fail[inst.Addr.String()] {
			results[i].Diags = hcl.Diagnostics{inst.Diagnostic(hcl.DiagError, "name", "Refused", "As told.")}
			continue
		}
		results[i].Value = plan(inst)
	}
	return results
}

func (r *recorder) printf(format string, args ...any) {
	if !r.quiet {
		fmt.Fprintf(&r.log, format, args...)
	}
}

// text writes a value; null attributes are left out.
func text(v cty.Value) string {
	switch {
	case v.IsMarked():
		return "MARKED"
	case !v.IsKnown():
		return "unknown"
	case v.IsNull():
		return "null"
	}
	switch ty := v.Type(); {
	case ty == cty.String:
		return fmt.Sprintf("%q", v.AsString())
	case ty == cty.Number:
		return v.AsBigFloat().Text('f', -1)
	case ty == cty.Bool:
		return fmt.Sprint(v.True())
	case ty.IsObjectType() || ty.IsMapType():
		var parts []string
		for k, e := range v.AsValueMap() {
			if e.IsMarked() || !e.IsNull() {
				parts = append(parts, k+"="+text(e))
			}
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, " ") + "}"
	default:
		var parts []string
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			parts = append(parts, text(e))
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
}

// diagText writes diagnostics, a paragraph each, without the directory.
func diagText(dir string, diags hcl.Diagnostics) string {
	var b strings.Builder
	for _, d := range diags {
		severity := "error"
		if d.Severity == hcl.DiagWarning {
			severity = "warning"
		}
		where := "-"
		if d.Subject != nil {
			where = d.Subject.String()
		}
		fmt.Fprintf(&b, "%s %s: %s\n  %s\n", where, severity, d.Summary, strings.ReplaceAll(d.Detail, "\n", "\n  "))
	}
	return strings.ReplaceAll(b.String(), dir+string(filepath.Separator), "")
}

// write makes a directory with files.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// load makes a configuration that must be valid.
func load(t testing.TB, main string) *config.Config {
	t.Helper()
	c, diags := config.Load(write(t, map[string]string{"main.hcl": main}), schemas)
	if len(diags) > 0 {
		t.Fatalf("load:\n%s", diagText(c.Dir, diags))
	}
	return c
}

// evaluate runs a valid configuration with a recorder and all inputs from defaults.
func evaluate(t testing.TB, c *config.Config, r *recorder, targets ...string) (*config.Evaluation, hcl.Diagnostics) {
	t.Helper()
	inputs, diags := c.Inputs(config.InputSources{})
	if diags.HasErrors() {
		t.Fatalf("inputs:\n%s", diagText(c.Dir, diags))
	}
	return c.Evaluate(t.Context(), config.EvalRequest{Inputs: inputs, Workspace: "default", Handler: r, Targets: parse(t, targets)})
}

func parse(t testing.TB, addresses []string) []addr.Instance {
	t.Helper()
	var list []addr.Instance
	for _, text := range addresses {
		i, err := addr.ParseInstance(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, i)
	}
	return list
}
