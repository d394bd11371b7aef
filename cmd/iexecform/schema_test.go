package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Whatever the scripts make the program print with --json is checked: it must be JSON, and plans, diagnostics and lines must
// be as docs/schemas says, every one of them. So a script fails that makes the program print what the schemas don't know.

// Environment variables for checkedMain: where the schemas are, and where it leaves what is wrong.
const (
	envSchemas    = "IEXECFORM_TEST_SCHEMAS"
	envViolations = "IEXECFORM_TEST_VIOLATIONS"
)

// checkSchemas returns what makes the programs of scripts check their output. What they find fails the test at its end.
func checkSchemas(t *testing.T) func(*testscript.Env) {
	schemas, err := filepath.Abs(filepath.Join("..", "..", "docs", "schemas"))
	if err != nil {
		t.Fatal(err)
	}
	violations := t.TempDir()
	t.Cleanup(func() {
		files, err := filepath.Glob(filepath.Join(violations, "*"))
		if err != nil {
			t.Error(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			t.Errorf("%s%v", text, errors.Join(err))
		}
	})
	return func(e *testscript.Env) {
		e.Setenv(envSchemas, schemas)
		e.Setenv(envViolations, violations)
	}
}

// checkedMain is main that checks what it prints with --json, if it is told where the schemas are.
func checkedMain() {
	schemas, violations := os.Getenv(envSchemas), os.Getenv(envViolations)
	if schemas == "" || !slices.ContainsFunc(os.Args, func(arg string) bool { return strings.TrimLeft(arg, "-") == "json" && arg != "json" }) {
		main()
	}
	var out bytes.Buffer
	code := run(os.Args[1:], os.Stdin, io.MultiWriter(os.Stdout, &out), os.Stderr, takeEnvironment())
	if err := checkOutput(schemas, out.Bytes()); err != nil {
		text := fmt.Sprintf("%s: %v\n", strings.Join(os.Args, " "), err)
		if f, err := os.CreateTemp(violations, ""); err == nil {
			_, _ = f.WriteString(text)
		}
		fmt.Fprint(os.Stderr, text)
		code = exitError
	}
	os.Exit(code)
}

// checkOutput checks what a command printed with --json.
func checkOutput(schemas string, out []byte) error {
	lines := bytes.HasPrefix(out, []byte(`{"@level"`))
	compiler, ids, err := schemaCompiler(schemas)
	if err != nil {
		return err
	}
	for n, dec := 1, json.NewDecoder(bytes.NewReader(out)); ; n++ {
		var raw json.RawMessage
		if err := dec.Decode(&raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("value %d that is printed is not JSON: %w", n, err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			return err
		}
		name := documentSchema(doc)
		if lines {
			name = "lines"
		}
		if name == "" {
			continue
		}
		schema, err := compiler.Compile(ids[name])
		if err != nil {
			return err
		}
		if err := schema.Validate(doc); err != nil {
			return fmt.Errorf("value %d is not as %s.schema.json says: %w\n%s", n, name, err, raw)
		}
		if object := doc.(map[string]any); lines && (n == 1) != (object["type"] == "version") {
			return fmt.Errorf("line %d has type %v: the first one, and no other, tells the version", n, object["type"])
		}
	}
}

// schemaCompiler reads the schemas of a directory and tells their ids by name.
func schemaCompiler(dir string) (*jsonschema.Compiler, map[string]string, error) {
	c, ids := jsonschema.NewCompiler(), map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*.schema.json"))
	if err != nil {
		return nil, nil, err
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		id, _ := doc.(map[string]any)["$id"].(string)
		if err := c.AddResource(id, doc); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		ids[strings.TrimSuffix(filepath.Base(name), ".schema.json")] = id
	}
	return c, ids, nil
}

// documentSchema names the schema of a document by what is in it; "" for one without.
func documentSchema(doc any) string {
	object, _ := doc.(map[string]any)
	switch {
	case object["resource_changes"] != nil:
		return "plan"
	case object["error_count"] != nil:
		return "diagnostics"
	case object["wanted"] != nil:
		return "trial"
	case object["note_count"] != nil:
		return "lint"
	}
	return ""
}

// What is not as the schemas say is noticed.
func TestSchemasAreStrict(t *testing.T) {
	const line = `{"@level":"info","@message":"iexecform dev","@module":"iexecform.ui","@timestamp":"2026-01-02T03:04:05.000000Z","iexecform":"dev","type":"version","ui":"1.2"}`
	schemas := filepath.Join("..", "..", "docs", "schemas")
	if err := checkOutput(schemas, []byte(line+"\n")); err != nil {
		t.Errorf("a good line: %v", err)
	}
	for name, bad := range map[string]string{
		"another key":     strings.Replace(line, `"ui"`, `"more":1,"ui"`, 1),
		"a key less":      strings.Replace(line, `"ui":"1.2"`, `"x":"1.2"`, 1),
		"unknown type":    strings.Replace(line, `"version"`, `"verse"`, 1),
		"version again":   line + "\n" + line,
		"not JSON":        line + "\nWarning",
		"bad diagnostics": `{"error_count":1}`,
		"bad plan":        `{"resource_changes":[]}`,
	} {
		if err := checkOutput(schemas, []byte(bad)); err == nil {
			t.Errorf("%s: nothing is said", name)
		}
	}
}
