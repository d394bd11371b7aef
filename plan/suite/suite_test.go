package suite_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/plan/suite"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/fake"
)

var update = flag.Bool("update", false, "write the want sections of testdata")

// bench is a directory with a configuration and test files, and a cloud for each test file.
type bench struct {
	dir    string
	clouds map[string]*fake.Cloud
	faults fake.Faults
}

func (b *bench) providers(f *config.TestFile) (providers.Registry, error) {
	b.clouds[filepath.Base(f.Name)] = &fake.Cloud{}
	return providers.Registry{"fake": fake.New(b.clouds[filepath.Base(f.Name)], b.faults)}, nil
}

func write(t testing.TB, dir string, files []txtar.File) {
	t.Helper()
	for _, f := range files {
		if f.Name == "want" {
			continue
		}
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs the test files. What is wrong with them comes as diagnostics.
func (b *bench) run(ctx context.Context, t testing.TB) ([]suite.FileResult, hcl.Diagnostics) {
	t.Helper()
	c, diags := config.Load(b.dir, providers.Registry{"fake": fake.New(&fake.Cloud{}, b.faults)})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	tests, diags := c.LoadTests("tests")
	if diags.HasErrors() {
		return nil, diags
	}
	return suite.Run(ctx, tests, suite.Options{Tool: "1", Config: c, Workspace: "default", Providers: b.providers}), nil
}

func (b *bench) text(diags hcl.Diagnostics, indent string) string {
	var out strings.Builder
	for _, d := range diags {
		place := ""
		if d.Subject != nil {
			place = fmt.Sprintf("%s:%d: ", filepath.Base(d.Subject.Filename), d.Subject.Start.Line)
		}
		severity := map[hcl.DiagnosticSeverity]string{hcl.DiagError: "error", hcl.DiagWarning: "warning"}[d.Severity]
		fmt.Fprintf(&out, "%s%s: %s%s: %s\n", indent, severity, place, d.Summary, strings.ReplaceAll(d.Detail, "\n", " "))
	}
	return strings.ReplaceAll(out.String(), b.dir+"/", "")
}

// TestSuite runs the configurations and test files of testdata. The section want has what came of each run, and, with
// (history) in the archive's comment, what was done to the cloud, in order.
func TestSuite(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b := &bench{dir: t.TempDir(), clouds: map[string]*fake.Cloud{}}
			write(t, b.dir, archive.Files)
			results, diags := b.run(t.Context(), t)
			got := b.text(diags, "")
			for _, f := range results {
				name := filepath.Base(f.File.Name)
				got += fmt.Sprintf("%s: %s\n", name, f.Status)
				for _, r := range f.Runs {
					got += fmt.Sprintf("  %s: %s\n%s", r.Run.Name, r.Status, b.text(r.Diags, "    "))
				}
				got += b.text(f.Diags, "  ")
				if strings.Contains(string(archive.Comment), "(history)") {
					got += "  did: " + strings.Join(b.clouds[name].History(), ", ") + "\n"
				}
				if left := b.clouds[name].Things(); len(left) > 0 {
					t.Errorf("%s left %v", name, left)
				}
			}
			want := ""
			for i, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
					archive.Files[i].Data = []byte(got)
				}
			}
			if *update {
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

const oneThing = `
-- main.hcl --
resource "fake_thing" "a" {
  kind = "box"
}
-- a.iexectest.hcl --
run "first" {}
run "second" {}
`

// What goes wrong with the network is told: a run, and the end of the file.
func TestFaults(t *testing.T) {
	broken := errors.New("the cloud is down")
	for name, tt := range map[string]struct {
		op   string
		want string
	}{
		"the plan":  {fake.OpPlan, "error [error skip]"},
		"the apply": {fake.OpCreate, "error [error skip]"},
		"the end":   {fake.OpDelete, "error [pass pass] error: Action failed"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bench{dir: t.TempDir(), clouds: map[string]*fake.Cloud{}}
			b.faults.Before = func(_ context.Context, c fake.Call) error {
				if c.Op == tt.op {
					return broken
				}
				return nil
			}
			write(t, b.dir, txtar.Parse([]byte(oneThing)).Files)
			results, _ := b.run(t.Context(), t)
			got := fmt.Sprintf("%s %v", results[0].Status, []suite.Status{results[0].Runs[0].Status, results[0].Runs[1].Status})
			all := append(results[0].Runs[0].Diags, results[0].Diags...)
			if tt.op == fake.OpDelete {
				got += " error: " + all[0].Summary
			}
			if got != tt.want || !strings.Contains(all.Error(), broken.Error()) {
				t.Errorf("%s, want %s\n%v", got, tt.want, all)
			}
		})
	}
}

// An interrupted suite begins no other run, and no other file.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := &bench{dir: t.TempDir(), clouds: map[string]*fake.Cloud{}}
	b.faults.After = func(_ context.Context, c fake.Call) error {
		if c.Op == fake.OpCreate {
			cancel()
		}
		return nil
	}
	write(t, b.dir, txtar.Parse([]byte(oneThing+"-- b.iexectest.hcl --\nrun \"third\" {}\n")).Files)
	results, _ := b.run(ctx, t)
	if first, last := results[0].Runs[1].Status, results[1].Runs[0].Status; first != suite.Skip || last != suite.Skip || results[1].Status != suite.Skip {
		t.Errorf("the runs after the interrupt: %s and %s, want skip", first, last)
	}
	if n := len(b.clouds["a.iexectest.hcl"].History()); n != 1 {
		t.Errorf("%d effects, want that of the run that was under way", n)
	}
}

func TestProvidersOfAFile(t *testing.T) {
	b := &bench{dir: t.TempDir(), clouds: map[string]*fake.Cloud{}}
	write(t, b.dir, txtar.Parse([]byte(oneThing)).Files)
	c, _ := config.Load(b.dir, providers.Registry{"fake": fake.New(&fake.Cloud{}, fake.Faults{})})
	tests, _ := c.LoadTests("tests")
	results := suite.Run(t.Context(), tests, suite.Options{Config: c, Providers: func(*config.TestFile) (providers.Registry, error) {
		return nil, errors.New("no room")
	}})
	if f := results[0]; f.Status != suite.Error || f.Runs[0].Status != suite.Skip || !strings.Contains(f.Diags.Error(), "no room") {
		t.Errorf("%+v", f)
	}
}
