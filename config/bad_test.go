package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/iexecform/iexecform/config"
)

// leastBad is how many wrong files there are at least.
const leastBad = 150

// TestBadInput loads wrong configurations of every type of block, and evaluates those that only then are wrong. Each archive
// holds cases: a file, whose name says what is wrong with it (with .json for JSON syntax, .test for a test file, .override for
// an override file), and a file "want" with all that is said of it. There are a module in ./m, and a configuration that test
// and override files are about.
func TestBadInput(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var out []txtar.File
		for i := 0; i < len(archive.Files); i++ {
			f := archive.Files[i]
			got := said(t, f.Name, f.Data)
			cases++
			out = append(out, f, txtar.File{Name: "want", Data: []byte(got)})
			if i+1 < len(archive.Files) && archive.Files[i+1].Name == "want" {
				i++
			}
			name := strings.TrimSuffix(filepath.Base(path), ".txtar") + "/" + f.Name
			if !*update {
				t.Run(name, func(t *testing.T) {
					if !strings.Contains(got, "error:") && !strings.Contains(got, "warning:") {
						t.Error("nothing is wrong")
					}
					if diff := cmp.Diff(string(archive.Files[i].Data), got); diff != "" {
						t.Errorf("-want +got:\n%s", diff)
					}
				})
			}
		}
		if *update {
			archive.Files = out
			if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if cases < leastBad {
		t.Errorf("%d cases, want %d", cases, leastBad)
	}
}

const (
	badModule = `variable "text" {
  type = string
}
variable "number" {
  default = 1
}
output "out" {
  value = var.text
}
`
	badBase = `variable "v" {
  default = 1
}
data "oci_image" "i" {
  reference = "docker.io/a/b:1"
}
resource "iexec_app" "a" {
  name = "a"
}
resource "iexec_app" "two" {
  count = 2
  name  = "n${count.index}"
}
output "o" {
  value = var.v
}
check "c" {
  assert {
    condition     = var.v > 0
    error_message = "no"
  }
}
`
)

// said is what is said of a configuration of one file.
func said(t *testing.T, name string, source []byte) string {
	t.Helper()
	file, base := "main.hcl", ""
	switch filepath.Ext(name) {
	case ".json":
		file = "main.hcl.json"
	case ".test":
		file, base = "a.iexectest.hcl", badBase
	case ".override":
		file, base = "main_override.hcl", badBase
	}
	dir := write(t, map[string]string{"m/main.hcl": badModule, "base.hcl": base, file: string(source)})
	c, diags := config.Load(dir, schemas, config.ForVersion("1.0.0"))
	if !diags.HasErrors() {
		_, more := c.LoadTests("tests")
		diags = append(diags, more...)
	}
	if !diags.HasErrors() {
		inputs, more := c.Inputs(config.InputSources{})
		diags = append(diags, more...)
		if !more.HasErrors() {
			_, more = c.Evaluate(t.Context(), config.EvalRequest{Inputs: inputs, Workspace: "default", Handler: &recorder{quiet: true}})
			diags = append(diags, more...)
		}
	}
	mustPrint(t, c, diags)
	var b strings.Builder
	for _, d := range diags {
		b.WriteString(diagText(dir, hcl.Diagnostics{d}))
		b.WriteString(valuesText(d))
	}
	return strings.ReplaceAll(b.String(), dir, "DIR")
}

// valuesText is the values that are shown beside the source.
func valuesText(d *hcl.Diagnostic) string {
	if d.Expression == nil || d.EvalContext == nil {
		return ""
	}
	var b strings.Builder
	seen := map[string]bool{}
	for _, t := range d.Expression.Variables() {
		v, diags := t.TraverseAbs(d.EvalContext)
		source := ""
		for _, step := range t {
			switch step := step.(type) {
			case hcl.TraverseRoot:
				source += step.Name
			case hcl.TraverseAttr:
				source += "." + step.Name
			case hcl.TraverseIndex:
				source += "[" + text(step.Key) + "]"
			}
		}
		if !diags.HasErrors() && !seen[source] {
			seen[source] = true
			fmt.Fprintf(&b, "  with %s = %s\n", source, text(v))
		}
	}
	return b.String()
}
