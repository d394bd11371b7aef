package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	ctyyaml "github.com/zclconf/go-cty-yaml"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

var ciExamples = filepath.Join("..", "..", "examples", "ci")

// readYAML reads a YAML file as encoding/json would read the same in JSON.
func readYAML(name string, into any) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	typ, err := ctyyaml.ImpliedType(b)
	if err != nil {
		return err
	}
	v, err := ctyyaml.Unmarshal(b, typ)
	if err != nil {
		return err
	}
	document, err := ctyjson.Marshal(v, typ)
	if err != nil {
		return err
	}
	return json.Unmarshal(document, into)
}

// atlantis runs the steps of a stage of examples/ci/atlantis/repos.yaml as Atlantis does: each in sh -c, with what the env steps
// printed in its environment.
func atlantis(ts *testscript.TestScript, neg bool, args []string) {
	var server struct {
		Workflows map[string]map[string]struct {
			Steps []struct {
				Run string
				Env *struct{ Name, Command string }
			}
		}
	}
	ts.Check(readYAML(filepath.Join(ts.Getenv("EXAMPLES"), "ci", "atlantis", "repos.yaml"), &server))
	steps := server.Workflows["iexecform"][args[0]].Steps
	if len(steps) == 0 {
		ts.Fatalf("atlantis: the workflow has no stage %s", args[0])
	}
	for _, step := range steps {
		command := step.Run
		if step.Env != nil {
			command = step.Env.Command
		}
		err := ts.Exec("sh", "-c", command)
		if neg && err != nil {
			return
		}
		ts.Check(err)
		if step.Env != nil {
			ts.Setenv(step.Env.Name, ts.ReadFile("stdout"))
		}
	}
	if neg {
		ts.Fatalf("atlantis %s should have failed", args[0])
	}
}

// The workflows for GitHub run the scripts that the scripted tests run, pin what they use, and keep secrets from whatever a
// pull request may change.
func TestWorkflows(t *testing.T) {
	known := regexp.MustCompile(`^(\.github/iexecform/([a-z-]+\.sh)|go install "github\.com/iexecform/iexecform/cmd/iexecform@\$VERSION"|gh run download "\$RUN" .*)$`)
	pinned := regexp.MustCompile(`^[a-z-]+/[a-z-]+@[0-9a-f]{40}$`)
	ran := map[string]bool{}
	for name, want := range map[string]map[string]string{
		"plan":    {"contents": "read"},
		"comment": {"actions": "read", "contents": "read", "pull-requests": "write"},
		"apply":   {"actions": "read", "contents": "write", "pull-requests": "read"},
	} {
		file := filepath.Join(ciExamples, "github", "workflows", "iexecform-"+name+".yml")
		var workflow struct {
			Permissions map[string]string
			Jobs        map[string]struct {
				Environment string
				Steps       []struct {
					Uses, Run string
					Env, With map[string]any
				}
			}
		}
		if err := readYAML(file, &workflow); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(workflow.Permissions) != len(want) {
			t.Errorf("%s may do %v, want %v", name, workflow.Permissions, want)
		}
		for scope, access := range want {
			if workflow.Permissions[scope] != access {
				t.Errorf("%s may do %v, want %v", name, workflow.Permissions, want)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if secret := strings.Contains(string(text), "secrets."); secret != (name == "apply") || secret && workflow.Jobs[name].Environment == "" {
			t.Errorf("%s: secrets belong to apply alone, and to an environment", name)
		}
		steps := workflow.Jobs[name].Steps
		if len(steps) == 0 {
			t.Errorf("%s has no steps", name)
		}
		for _, step := range steps {
			if step.Uses != "" {
				if !pinned.MatchString(step.Uses) {
					t.Errorf("%s uses %s, which isn't pinned to a commit", name, step.Uses)
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") && name != "apply" && step.With["persist-credentials"] != false {
					t.Errorf("%s leaves its token to what it checks out", name)
				}
				continue
			}
			m := known.FindStringSubmatch(step.Run)
			if m == nil { // also for ${{ … }}, which would be pasted into the command
				t.Errorf("%s runs %q, which no test runs", name, step.Run)
			} else if m[2] != "" {
				ran[m[2]] = true
			}
		}
	}
	scripts, err := filepath.Glob(filepath.Join(ciExamples, "github", "iexecform", "*.sh"))
	if err != nil || len(scripts) != len(ran) {
		t.Errorf("the workflows run %v, of the scripts %v (%v)", ran, scripts, err)
	}
	specification, err := os.ReadFile(filepath.Join("testdata", "row-135-github.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		if base := filepath.Base(script); !ran[base] || !strings.Contains(string(specification), "$CI_SCRIPTS/"+base) {
			t.Errorf("%s is run by no workflow, or by no test", base)
		}
	}
}
