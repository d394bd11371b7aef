package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/iexecform/iexecform/config"
)

// TestJSONSyntax loads the same configuration in both syntaxes: the digests and all that is evaluated must be the same.
func TestJSONSyntax(t *testing.T) {
	paths, err := filepath.Glob("testdata/json/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%v %v", paths, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var digests, logs []string
			for _, f := range archive.Files {
				dir := write(t, map[string]string{f.Name: string(f.Data)})
				c, diags := config.Load(dir, schemas)
				if len(diags) > 0 {
					t.Fatalf("%s:\n%s", f.Name, diagText(dir, diags))
				}
				r := &recorder{}
				e, diags := evaluate(t, c, r)
				if len(diags) > 0 {
					t.Fatalf("%s:\n%s", f.Name, diagText(dir, diags))
				}
				for _, name := range keys(e.Outputs) {
					r.printf("output %s = %s\n", name, text(e.Outputs[name].Value))
				}
				digests, logs = append(digests, c.Digest()), append(logs, r.log.String())
			}
			if diff := cmp.Diff(logs[0], logs[1]); diff != "" {
				t.Errorf("-%s +%s:\n%s", archive.Files[0].Name, archive.Files[1].Name, diff)
			}
			if digests[0] != digests[1] {
				t.Errorf("digests %v", digests)
			}
		})
	}
}
