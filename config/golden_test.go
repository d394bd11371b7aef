package config_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
)

var update = flag.Bool("update", false, "write the want sections of testdata")

// golden runs every archive of a directory: its files are the configuration, its want section the result of run; its
// comment holds options, a line each.
func golden(t *testing.T, pattern string, run func(t *testing.T, dir string, options []string) string) {
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{}
			want := -1
			for i, f := range archive.Files {
				if f.Name == "want" {
					want = i
					continue
				}
				files[f.Name] = string(f.Data)
			}
			got := run(t, write(t, files), strings.Fields(string(archive.Comment)))
			if *update {
				if want < 0 {
					want = len(archive.Files)
					archive.Files = append(archive.Files, txtar.File{Name: "want"})
				}
				archive.Files[want].Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want < 0 {
				t.Fatalf("no want section, got:\n%s", got)
			}
			if diff := cmp.Diff(string(archive.Files[want].Data), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestLoadDiagnostics(t *testing.T) {
	golden(t, "testdata/diag/*.txtar", func(t *testing.T, dir string, _ []string) string {
		c, diags := config.Load(dir, schemas)
		mustPrint(t, c, diags)
		return diagText(dir, diags)
	})
}

// mustPrint checks that every diagnostic can be printed with its source.
func mustPrint(t *testing.T, c *config.Config, diags hcl.Diagnostics) {
	t.Helper()
	var b strings.Builder
	if err := hcl.NewDiagnosticTextWriter(&b, c.Files(), 78, false).WriteDiagnostics(diags); err != nil {
		t.Error(err)
	}
}

// TestEvaluate runs archives with options var=NAME=VALUE, target=ADDRESS, fail=ADDRESS, known=ADDRESS, providers,
// unwritten.
func TestEvaluate(t *testing.T) {
	golden(t, "testdata/eval/*.txtar", func(t *testing.T, dir string, options []string) string {
		var load []config.LoadOption
		unwritten := slices.Contains(options, "unwritten")
		if unwritten {
			load = append(load, config.WithoutBlocks)
		}
		c, diags := config.Load(dir, schemas, load...)
		if diags.HasErrors() {
			t.Fatalf("load:\n%s", diagText(dir, diags))
		}
		src := config.InputSources{}
		r := &recorder{fail: map[string]bool{}}
		var targets []string
		known := map[string]bool{}
		only := false
		for _, option := range options {
			name, value, _ := strings.Cut(option, "=")
			switch name {
			case "var":
				src.Args = append(src.Args, config.InputArg{Text: value})
			case "target":
				targets = append(targets, value)
			case "known":
				known[value] = true
			case "fail":
				r.fail[value] = true
			case "providers":
				only = true
			case "unwritten":
			default:
				t.Fatalf("unknown option %q", option)
			}
		}
		inputs, diags := c.Inputs(src)
		if diags.HasErrors() {
			t.Fatalf("inputs:\n%s", diagText(dir, diags))
		}
		req := config.EvalRequest{Inputs: inputs, Workspace: "default", Handler: r, ProvidersOnly: only, UnwrittenOnly: unwritten, Targets: parse(t, targets),
			Import: func(in config.Import) { r.printf("import %s id %s\n", in.To, in.ID) },
			Known:  func(i addr.Instance) bool { return known[i.String()] }}
		e, diags := c.Evaluate(t.Context(), req)
		mustPrint(t, c, diags)
		for _, name := range keys(e.Outputs) {
			o := e.Outputs[name]
			r.printf("output %s = %s sensitive=%v <- %v\n", name, text(o.Value), o.Sensitive, o.DependsOn)
		}
		for _, in := range e.Unwritten {
			r.printf("unwritten %s by %s id %s\n", in.To, in.Provider, in.ID)
		}
		r.printf("instances %v\nproviders %v\nfailed %v\nskipped %v\n", e.Instances, e.Providers, e.Failed, e.Skipped)
		return r.log.String() + fmt.Sprint(diagText(dir, diags))
	})
}
