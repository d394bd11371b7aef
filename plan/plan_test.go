package plan_test

import (
	"bytes"
	"context"
	"encoding/json"
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
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/fake"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/statetest"
)

var update = flag.Bool("update", false, "write the want and errors sections of testdata")

// A script is an archive of testdata: what is, what is wanted, and the plan that follows.
//
//	*.hcl       the configuration
//	prior       a configuration that is applied first, which makes the state and the things of the cloud
//	state.json  the state, instead of or after that; state.journal: its journal
//	current     the things of the cloud, instead of those: lines of ID KIND SIZE
//	want        the plan's text, and what is expected besides what the actions expect
//	errors      the diagnostics
//
// Its comment holds options, a line each; others are ignored: mode=MODE, target=ADDRESS, replace=ADDRESS, refresh=false,
// var=NAME=VALUE, fail=OPERATION or fail=OPERATION ADDRESS.
type script struct {
	archive  *txtar.Archive
	cloud    fake.Cloud
	store    statetest.Memory
	failures map[string]bool
	plan     *plan.Plan
	diags    hcl.Diagnostics
	dir      string
}

func TestPlan(t *testing.T) {
	for _, path := range scripts(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			s := run(t, path)
			got := map[string]string{"want": s.text(), "errors": s.errors()}
			if *update {
				s.write(t, path, got)
				return
			}
			for name, text := range got {
				if diff := cmp.Diff(s.section(name), text); diff != "" {
					t.Errorf("%s -want +got:\n%s", name, diff)
				}
			}
		})
	}
}

// TestPlanFile saves the plan of every script.
func TestPlanFile(t *testing.T) {
	for _, path := range scripts(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			p := run(t, path).plan
			document, digest, err := plan.Encode(p, nil)
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := plan.Decode(document, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(p.String(), decoded.String()); diff != "" {
				t.Errorf("text -made +decoded:\n%s", diff)
			}
			again, digestAgain, err := plan.Encode(decoded, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(document), string(again)); diff != "" {
				t.Errorf("file -made +decoded:\n%s", diff)
			}
			if d, err := plan.Digest(decoded); digest != digestAgain || err != nil || d != digest {
				t.Errorf("digests %s, %s, %s (%v)", digest, digestAgain, d, err)
			}
			if repeated, _, err := plan.Encode(run(t, path).plan, nil); err != nil || !bytes.Equal(document, repeated) {
				t.Errorf("the same inputs made another file (%v):\n%s", err, cmp.Diff(string(document), string(repeated)))
			}
		})
	}
}

func scripts(t testing.TB) []string {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	return paths
}

func (s *script) section(name string) string {
	for _, f := range s.archive.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func (s *script) write(t *testing.T, path string, got map[string]string) {
	var files []txtar.File
	for _, f := range s.archive.Files {
		if _, ours := got[f.Name]; !ours {
			files = append(files, f)
		}
	}
	for _, name := range []string{"want", "errors"} {
		if got[name] != "" {
			files = append(files, txtar.File{Name: name, Data: []byte(got[name])})
		}
	}
	s.archive.Files = files
	if err := os.WriteFile(path, txtar.Format(s.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run makes the plan of a script.
func run(t testing.TB, path string) *script {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{archive: archive, failures: map[string]bool{}, dir: t.TempDir()}
	if prior := s.section("prior"); prior != "" {
		s.prior(t, prior)
	}
	for _, f := range archive.Files {
		if filepath.Ext(f.Name) == ".hcl" {
			if err := os.WriteFile(filepath.Join(s.dir, f.Name), f.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	snapshot, journal := s.store.Raw()
	if text := s.section("state.json"); text != "" {
		snapshot = []byte(text)
	}
	if text := s.section("state.journal"); text != "" {
		journal = []byte(text)
	}
	s.store.Set(snapshot, journal)
	s.current(t)
	o, sources := s.options(t)
	p, session := s.build(t, s.dir, o, sources)
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	s.plan = p
	return s
}

// prior applies a configuration.
func (s *script) prior(t testing.TB, text string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "prior.hcl"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p, session := s.build(t, dir, plan.Options{Mode: plan.Normal}, config.InputSources{})
	if s.diags.HasErrors() {
		t.Fatalf("plan of prior: %v", s.diags)
	}
	loaded, err := s.store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	result, err := apply.Run(t.Context(), apply.Options{
		Plan: p, Tool: "1.0.0", Store: &s.store, State: loaded, Session: session, Providers: s.registry(), Parallelism: 1,
	})
	if err != nil || len(result.Errors) > 0 {
		t.Fatalf("apply of prior: %v, %v", err, result)
	}
	result.Snapshot.Lineage = "test"
	snapshot, err := state.Encode(result.Snapshot)
	if err != nil {
		t.Fatal(err)
	}
	_, journal := s.store.Raw()
	s.store.Set(snapshot, journal)
}

func (s *script) current(t testing.TB) {
	t.Helper()
	text := s.section("current")
	if text == "" {
		return
	}
	before := s.cloud.Things()
	for id := range before {
		s.cloud.Remove(id)
	}
	for line := range strings.Lines(text) {
		var id string
		var thing fake.Thing
		if _, err := fmt.Sscan(line, &id, &thing.Kind, &thing.Size); err == nil {
			thing.Token = before[id].Token
			s.cloud.Put(id, thing)
		} else if strings.TrimSpace(line) != "none" {
			t.Fatalf("line of current: %q", line)
		}
	}
}

func (s *script) options(t testing.TB) (plan.Options, config.InputSources) {
	t.Helper()
	o, sources := plan.Options{Mode: plan.Normal}, config.InputSources{}
	for line := range strings.Lines(string(s.archive.Comment)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		instance := func() addr.Instance {
			i, err := addr.ParseInstance(value)
			if err != nil {
				t.Fatal(err)
			}
			return i
		}
		switch name {
		case "mode":
			o.Mode = plan.Mode(value)
		case "target":
			o.Targets = append(o.Targets, instance())
		case "replace":
			o.Replace = append(o.Replace, instance())
		case "refresh":
			o.SkipRefresh = value == "false"
		case "var":
			sources.Args = append(sources.Args, config.InputArg{Text: value})
		case "fail":
			s.failures[value] = true
		}
	}
	return o, sources
}

func (s *script) registry() providers.Registry {
	faults := fake.Faults{Before: func(_ context.Context, c fake.Call) error {
		if s.failures[c.Op] || s.failures[c.Op+" "+c.Addr.String()] {
			return errors.New(c.Op + " doesn't work today")
		}
		return nil
	}}
	return providers.Registry{"fake": fake.New(&s.cloud, faults)}
}

func (s *script) build(t testing.TB, dir string, o plan.Options, sources config.InputSources) (*plan.Plan, *plan.Session) {
	t.Helper()
	registry := s.registry()
	cfg, diags := config.Load(dir, registry)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	inputs, diags := cfg.Inputs(sources)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	loaded, err := s.store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(loaded)
	if err != nil {
		t.Fatal(err)
	}
	o.Tool, o.Config, o.Inputs, o.Workspace, o.State, o.Providers = "1.0.0", cfg, inputs, "default", loaded, registry
	effects := len(s.cloud.History())
	p, session, diags := plan.Build(t.Context(), o)
	s.diags = diags
	if got := s.cloud.History(); len(got) != effects {
		t.Errorf("plan had effects: %v", got)
	}
	if after, err := json.Marshal(loaded); err != nil || !bytes.Equal(before, after) {
		t.Errorf("plan changed the state that it was given (%v)", err)
	}
	return p, session
}

// text is the plan's text and what it expects.
func (s *script) text() string {
	var out strings.Builder
	out.WriteString(s.plan.String())
	for _, e := range s.plan.Expect {
		fmt.Fprintf(&out, "expect %s: %s\n", e.Provider, e.Summary)
	}
	return out.String()
}

func (s *script) errors() string {
	var out strings.Builder
	for _, d := range s.diags {
		if d.Subject != nil {
			fmt.Fprintf(&out, "%s:%d: ", filepath.Base(d.Subject.Filename), d.Subject.Start.Line)
		}
		fmt.Fprintf(&out, "%s: %s\n", d.Summary, strings.ReplaceAll(d.Detail, s.dir+string(filepath.Separator), ""))
	}
	return out.String()
}
