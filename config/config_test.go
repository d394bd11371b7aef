package config_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
)

func TestWhichFilesAreRead(t *testing.T) {
	c := loadFiles(t, map[string]string{
		"b.hcl":                  `locals { b = 1 }`,
		"a.hcl":                  `locals { a = 1 }`,
		".hidden.hcl":            `broken`,
		"x.iexectest.hcl":        `broken`,
		"iexecform.lock.hcl":     `broken`,
		"main.tf":                `broken`,
		"sub/main.hcl":           `broken`,
		"directory.hcl/main.hcl": `broken`,
	})
	nodes, _ := c.Graph()
	if got := strings.Join(nodes, " "); got != "local.a local.b" {
		t.Errorf("read %q", got)
	}
	if c.Empty() {
		t.Error("not empty")
	}
	if len(c.Files()) != 2 {
		t.Errorf("files %v", c.Files())
	}
}

func TestEmptyAndMissingDirectories(t *testing.T) {
	c, diags := config.Load(t.TempDir(), schemas)
	if !c.Empty() || len(diags) > 0 {
		t.Errorf("empty %v, %v", c.Empty(), diags)
	}
	if e, diags := evaluate(t, c, &recorder{}); len(e.Instances)+len(e.Outputs)+len(diags) > 0 {
		t.Errorf("%+v %v", e, diags)
	}
	c, diags = config.Load(filepath.Join(t.TempDir(), "none"), schemas)
	if c == nil || !diags.HasErrors() || diags[0].Summary != "Cannot read the configuration directory" {
		t.Error(diags)
	}
}

func TestDigest(t *testing.T) {
	digest := func(files map[string]string) string {
		c, _ := config.Load(write(t, files), schemas)
		return c.Digest()
	}
	one := digest(map[string]string{"a.hcl": "locals {\n  x = \"${1 + 2}\"\n  y = -1\n}\n", "other.txt": "x"})
	if len(one) != 64 {
		t.Error(one)
	}
	for name, files := range map[string]map[string]string{
		"other files": {"a.hcl": "locals {\n  x = \"${1 + 2}\"\n  y = -1\n}\n", "other.txt": "y"},
		"format":      {"a.hcl": "# as it should be\nlocals {\n  y = - 1\n\n  x = (1+2)\n}\n"},
		"file names":  {"b.hcl": "locals {\n  x = 1 + 2\n  y = -1\n}\n"},
		"division":    {"a.hcl": "locals {\n  y = -1\n}\n", "b.hcl": "locals {\n  x = \"${1 + 2}\"\n}\n"},
		"syntax":      {"a.hcl.json": `{"locals": {"x": "${1 + 2}", "y": -1}}`},
		"override":    {"a.hcl": "locals {\n  x = 1 + 2\n  y = 7\n}\n", "override.hcl": "locals {\n  y = -1\n}\n"},
	} {
		if digest(files) != one {
			t.Errorf("the digest depends on %s", name)
		}
	}
	for name, main := range map[string]string{
		"names":      "locals {\n  x = 1 + 2\n  z = -1\n}\n",
		"values":     "locals {\n  x = 1 + 2\n  y = 1\n}\n",
		"types":      "locals {\n  x = 1 + 2\n  y = \"-1\"\n}\n",
		"operations": "locals {\n  x = 1 - 2\n  y = -1\n}\n",
		"operands":   "locals {\n  x = 2 + 1\n  y = -1\n}\n",
		"text":       "locals {\n  x = \" ${1 + 2}\"\n  y = -1\n}\n",
		"one more":   "locals {\n  x = 1 + 2\n  y = -1\n}\nmoved {}\n",
		"references": "locals {\n  x = local.a\n  y = -1\n}\n",
		"others":     "locals {\n  x = local.b\n  y = -1\n}\n",
	} {
		if digest(map[string]string{"a.hcl": main}) == one {
			t.Errorf("the digest doesn't depend on %s", name)
		}
	}
}

func TestSettings(t *testing.T) {
	c := load(t, "iexecform {\n  project = \"p\"\n  required_version = \"~> 1.2\"\n}\n")
	if c.Settings.Project != "p" || c.Settings.RequiredVersion != "~> 1.2" {
		t.Errorf("%+v", c.Settings)
	}
	dir := write(t, map[string]string{"a.hcl": "unknown {\n", "b.hcl": "iexecform {\n  project = \"p\"\n  required_version = \"~> 1.2\"\n}\nunknown {}\n"})
	for version, ok := range map[string]bool{"1.2.0": true, "v1.9.1": true, "2.0.0": false, "1.1.9": false, "dev": true} {
		_, diags := config.Load(dir, schemas, config.ForVersion(version))
		if wrong := len(diags) == 1 && diags[0].Summary == "Unsupported program version"; wrong == ok || len(diags) == 0 {
			t.Errorf("%s: %v", version, diags)
		}
		if !ok && diags[0].Subject.Start.Line != 3 {
			t.Errorf("%s: at %v", version, diags[0].Subject)
		}
	}
}

func TestDeclarations(t *testing.T) {
	c := load(t, `
resource "iexec_app" "b" {
  count    = 2
  provider = iexec.second
  name     = var.v
}
resource "iexec_app" "a" {
  name = "a"
}
data "oci_image" "i" {
  reference = iexec_app.a.name
}
provider "iexec" {
  alias = "second"
}
variable "v" {
  type        = string
  description = "What it is."
  default     = "x"
  nullable    = false
}
output "o" {
  value       = [iexec_app.b, data.oci_image.i]
  description = "All."
}
locals {
  l = 1
}
`)
	var got []string
	for _, b := range c.Blocks() {
		got = append(got, fmt.Sprintf("%s %s %v %d %s", b.Addr, b.Provider, b.Expanded, b.Range.Start.Line, b.Table.Type))
	}
	for _, p := range c.Providers() {
		got = append(got, fmt.Sprintf("provider %s %s", p.Addr, p.Table.Type))
	}
	for _, v := range c.Variables() {
		got = append(got, fmt.Sprintf("var %s %s %s %q %v", v.Name, v.Type.FriendlyName(), text(v.Default), v.Description, v.Nullable))
	}
	for _, o := range c.Outputs() {
		got = append(got, fmt.Sprintf("output %s %q %v", o.Name, o.Description, o.Sensitive))
	}
	nodes, edges := c.Graph()
	got = append(got, strings.Join(nodes, " "))
	for _, e := range edges {
		got = append(got, e.From+" -> "+e.To)
	}
	want := []string{
		"iexec_app.a iexec false 7 iexec_app",
		"iexec_app.b iexec.second true 2 iexec_app",
		"data.oci_image.i oci false 10 oci_image",
		"provider iexec.second iexec",
		`var v string "x" "What it is." false`,
		`output o "All." false`,
		"data.oci_image.i iexec_app.a iexec_app.b local.l output.o provider.iexec provider.iexec.second provider.oci var.v",
		"data.oci_image.i -> iexec_app.a",
		"data.oci_image.i -> provider.oci",
		"iexec_app.a -> provider.iexec",
		"iexec_app.b -> provider.iexec.second",
		"iexec_app.b -> var.v",
		"output.o -> data.oci_image.i",
		"output.o -> iexec_app.b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestInstanceDiagnostics(t *testing.T) {
	c := load(t, `
resource "iexec_apporder" "o" {
  for_each = { a = 1 }
  app      = "0x1"
  appprice = each.value
  restrict {
    requester = "0x2"
  }
}
`)
	r := &recorder{instances: map[addr.Instance]config.Instance{}}
	if _, diags := evaluate(t, c, r); len(diags) > 0 {
		t.Fatal(diags)
	}
	inst := r.instances[parse(t, []string{`iexec_apporder.o["a"]`})[0]]
	for attr, line := range map[string]int{"": 2, "appprice": 5, "restrict": 6, "restrict.requester": 7, "order_hash": 2, "none": 2} {
		if got := inst.AttrRange(attr).Start.Line; got != line {
			t.Errorf("%q is at line %d, want %d", attr, got, line)
		}
	}
	d := inst.Diagnostic(hcl.DiagWarning, "appprice", "High price", "It is high.")
	var out strings.Builder
	if err := hcl.NewDiagnosticTextWriter(&out, c.Files(), 78, false).WriteDiagnostic(d); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Warning: High price", "line 5", "appprice = each.value", "each.value as 1", "It is high."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}
}

func TestHandlerAnswers(t *testing.T) {
	c := load(t, "resource \"iexec_app\" \"a\" {\n  name = \"a\"\n}\noutput \"o\" {\n  value = iexec_app.a.address\n}\n")
	for name, answer := range map[string][]config.Result{"too few": nil, "no value": {{}}} {
		e, _ := c.Evaluate(t.Context(), config.EvalRequest{Handler: fixed(answer)})
		if len(e.Failed) != 1 || len(e.Outputs) != 0 {
			t.Errorf("%s: %+v", name, e)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, diags := c.Evaluate(ctx, config.EvalRequest{Handler: fixed(nil)}); !diags.HasErrors() || diags[0].Summary != "Evaluation interrupted" {
		t.Error(diags)
	}
	bad, diags := config.Load(write(t, map[string]string{"main.hcl": "locals {\n  a = local.b\n}\n"}), schemas)
	if !diags.HasErrors() {
		t.Fatal("want an error")
	}
	if _, diags := bad.Evaluate(t.Context(), config.EvalRequest{Handler: fixed(nil)}); !diags.HasErrors() {
		t.Error("an invalid configuration was evaluated")
	}
}

// fixed is a Handler that gives the same answer to all.
type fixed []config.Result

func (f fixed) Provider(context.Context, addr.Provider, config.Block) hcl.Diagnostics { return nil }
func (f fixed) Data(context.Context, []config.Instance) []config.Result               { return f }
func (f fixed) Resources(context.Context, []config.Instance) []config.Result          { return f }

func TestSensitiveReferencesStayMarked(t *testing.T) {
	c := load(t, "resource \"iexec_app\" \"a\" {\n  name = \"a\"\n  secret = sensitive(\"x\")\n}\noutput \"o\" {\n  value = iexec_app.a.secret\n  sensitive = true\n}\noutput \"n\" {\n  value = iexec_app.a.name\n}\n")
	e, diags := evaluate(t, c, &recorder{})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if o := e.Outputs["o"]; !o.Sensitive || !o.Value.RawEquals(cty.StringVal("x")) {
		t.Errorf("%#v", o)
	}
	if v, _ := e.Eval([]byte("iexec_app.a.secret"), "<console>"); !v.IsMarked() {
		t.Error("the console would show a secret")
	}
}

func TestFormat(t *testing.T) {
	const source = "# kept\nlocals {\n a=1 # too\n  long   = 2\n}\n"
	got, diags := config.Format([]byte(source), "main.hcl")
	if want := "# kept\nlocals {\n  a    = 1 # too\n  long = 2\n}\n"; diags.HasErrors() || string(got) != want {
		t.Errorf("%s %v", got, diags)
	}
	again, _ := config.Format(got, "main.hcl")
	if string(again) != string(got) {
		t.Errorf("not stable: %s", again)
	}
	got, diags = config.Format([]byte("locals {"), "main.hcl")
	if !diags.HasErrors() || string(got) != "locals {" || diags[0].Subject.Filename != "main.hcl" {
		t.Errorf("%s %v", got, diags)
	}
}
