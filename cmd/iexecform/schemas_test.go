package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// output runs the program, which must succeed, and returns what it prints.
func output(t *testing.T, args ...string) []byte {
	t.Helper()
	var out, problems bytes.Buffer
	if code := run(args, strings.NewReader(""), &out, &problems, nil); code != exitOK {
		t.Fatalf("iexecform %s: exit code %d: %s", strings.Join(args, " "), code, &problems)
	}
	return out.Bytes()
}

type block struct {
	Attributes map[string]json.RawMessage
	Blocks     map[string]struct{ Block block } `json:"block_types"`
}

// names adds the names of all attributes of a block.
func (b block) names(into map[string]bool) {
	for name := range b.Attributes {
		into[name] = true
	}
	for _, nested := range b.Blocks {
		nested.Block.names(into)
	}
}

var documented = regexp.MustCompile("(?m)^- `([a-z_0-9]+)")

// Every attribute that the reference pages tell of is in the JSON, and no other; the same goes for functions.
func TestSchemasAreWhatIsDocumented(t *testing.T) {
	var doc struct {
		Schemas map[string]struct {
			Provider  struct{ Block block }
			Resources map[string]struct{ Block block } `json:"resource_schemas"`
			Data      map[string]struct{ Block block } `json:"data_source_schemas"`
		} `json:"provider_schemas"`
	}
	if err := json.Unmarshal(output(t, "providers", "schema", "-json"), &doc); err != nil {
		t.Fatal(err)
	}
	blocks := map[string]block{}
	for name, p := range doc.Schemas {
		blocks["provider-"+name] = p.Provider.Block
		for typ, r := range p.Resources {
			blocks["resource-"+typ] = r.Block
		}
		for typ, d := range p.Data {
			blocks["data-"+typ] = d.Block
		}
	}
	dir := t.TempDir()
	if code := run([]string{"docs", dir}, strings.NewReader(""), io.Discard, io.Discard, nil); code != exitOK {
		t.Fatalf("iexecform docs: exit code %d", code)
	}
	all := pages(t, dir)
	for page, text := range all {
		name := strings.TrimSuffix(page, ".md")
		if kind, _, _ := strings.Cut(name, "-"); !slices.Contains([]string{"provider", "resource", "data"}, kind) {
			continue
		}
		want, got := map[string]bool{}, map[string]bool{}
		for _, m := range documented.FindAllStringSubmatch(text, -1) {
			want[m[1]] = true
		}
		blocks[name].names(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-documented +JSON):\n%s", name, diff)
		}
		delete(blocks, name)
	}
	if len(blocks) > 0 {
		t.Errorf("without a page: %v", slices.Sorted(maps.Keys(blocks)))
	}
	var functions struct {
		Signatures map[string]struct{ Description string } `json:"function_signatures"`
	}
	if err := json.Unmarshal(output(t, "metadata", "functions", "-json"), &functions); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range documented.FindAllStringSubmatch(all["functions.md"], -1) {
		want = append(want, m[1])
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(functions.Signatures))); diff != "" {
		t.Errorf("functions (-documented +JSON):\n%s", diff)
	}
	for name, f := range functions.Signatures {
		if f.Description == "" {
			t.Errorf("function %s has no description", name)
		}
	}
}

// Editors can check files in JSON syntax.
func TestConfigSchema(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(output(t, "providers", "schema", "-json-schema")))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	id := filepath.ToSlash(filepath.Join(t.TempDir(), "config.schema.json"))
	if err := c.AddResource(id, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	const good = `{"//": "sells an app", "provider": {"iexec": {"chain": "localnet", "wallet": {"address": "0x00"}}},
		"resource": {"iexec_apporder": {"public": {"app": "${iexec_app.a.address}", "appprice": "0.5 RLC", "volume": 10, "tag": ["tee", "tdx"], "lifecycle": {"prevent_destroy": true}}}},
		"data": {"oci_image": {"a": [{"reference": "docker.io/a/b:1"}]}}, "output": {"x": {"value": 1}}}`
	for text, ok := range map[string]bool{
		good: true,
		strings.Replace(good, "volume", "volumes", 1):                    false,
		strings.Replace(good, `"volume": 10, `, "", 1):                   false,
		strings.Replace(good, `"volume": 10`, `"volume": [10]`, 1):       false,
		strings.Replace(good, "iexec_apporder", "iexec", 1):              false,
		strings.Replace(good, `"output"`, `"outputs"`, 1):                false,
		strings.Replace(good, `"volume": 10`, `"volume": "${var.n}"`, 1): true,
	} {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); (err == nil) != ok {
			t.Errorf("%s\ngot %v, want valid: %t", text, err, ok)
		}
	}
}
