package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/schema"
)

var stateTables = config.StateTables{
	"backend": {"shelf": {Type: "shelf", Attrs: []schema.Attr{
		{Name: "row", Type: cty.Number, Mode: schema.Required, Parse: func(v cty.Value) (cty.Value, error) {
			if v.LessThan(cty.NumberIntVal(1)).True() {
				return v, errors.New("rows are counted from 1")
			}
			return v, nil
		}},
		{Name: "label", Type: cty.String, Mode: schema.Optional},
		{Name: "key", Type: cty.String, Mode: schema.Optional, Sensitive: true},
	}}},
	"encryption": {"wax": {Type: "wax"}},
}

func readSettings(t *testing.T, files map[string]string) (config.Settings, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, _, diags := config.ReadSettings(dir, stateTables)
	if diags.HasErrors() {
		return s, diags.Error()
	}
	return s, ""
}

func TestReadSettings(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"native":   {"main.hcl": "iexecform {\n  project = \"p\"\n  backend \"shelf\" {\n    row = 2\n    label = null\n  }\n  encryption \"wax\" {}\n}\n", "other.hcl": "resource \"x_y\" \"z\" {\n"},
		"JSON":     {"main.hcl.json": `{"iexecform": {"project": "p", "backend": {"shelf": {"row": "2"}}, "encryption": {"wax": {}}}}`},
		"override": {"main.hcl": "iexecform {\n  project = \"p\"\n  backend \"shelf\" {\n    row = 1\n  }\n  encryption \"wax\" {}\n}\n", "x_override.hcl": "iexecform {\n  backend \"shelf\" {\n    row = 2\n  }\n}\n"},
	} {
		s, wrong := readSettings(t, files)
		if wrong != "" {
			t.Errorf("%s: %s", name, wrong)
			continue
		}
		b := s.Backend
		if b == nil || b.Type != "shelf" || len(b.Values) != 1 || !b.Values["row"].RawEquals(cty.NumberIntVal(2)) || s.Project != "p" || s.Encryption == nil || s.Encryption.Type != "wax" {
			t.Errorf("%s: %+v, backend %+v", name, s, b)
		}
	}
	if s, wrong := readSettings(t, map[string]string{"main.hcl": "resource \"x_y\" \"z\" {}\n"}); s.Backend != nil || wrong != "" {
		t.Errorf("without: %+v %s", s, wrong)
	}
}

func TestStateBlockErrors(t *testing.T) {
	block := func(text string) string { return "iexecform {\n  " + text + "\n}\n" }
	for text, want := range map[string]string{
		`backend "shel" {}`:                                `Did you mean "shelf"?`,
		"backend \"shelf\" {\n colour = 1\n}":              `has no argument "colour"`,
		"backend \"shelf\" {\n row = 0\n}":                 "rows are counted from 1",
		"backend \"shelf\" {\n row = var.row\n}":           "main.hcl:3",
		"backend \"shelf\" {\n key = \"hidden\"\n}":        "IEXECFORM_BACKEND_KEY",
		"backend \"shelf\" {}\n  backend \"shelf\" {}":     "declared at",
		"backend \"shelf\" {\n cupboard {\n }\n}":          "cupboard",
		"encryption \"wax\" {}\n  encryption \"shelf\" {}": "declared at",
	} {
		if _, wrong := readSettings(t, map[string]string{"main.hcl": block(text)}); !strings.Contains(wrong, want) || strings.Contains(wrong, "hidden") {
			t.Errorf("%s: %q, want %q", text, wrong, want)
		}
	}
}
