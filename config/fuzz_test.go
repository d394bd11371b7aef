package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/internal/bounds"
)

// seeds are the files of all archives, and bombs.
func seeds(f *testing.F, add func(name, source string)) {
	f.Helper()
	paths, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no archives: %v", err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if file.Name != "want" {
				add(file.Name, string(file.Data))
			}
		}
	}
}

// low are limits that keep each run short.
var low = config.WithLimits(10_000, 1<<20, 10_000)

// fuzzed are the kinds of files that FuzzLoad changes.
var fuzzed = []string{"main.hcl", "main.hcl.json", "main_override.hcl", "main_override.hcl.json", "a.iexectest.hcl"}

// FuzzLoad loads and evaluates files of all kinds and in both syntaxes, beside a small configuration and a module: whatever is
// in them, it ends, and says what is wrong.
func FuzzLoad(f *testing.F) {
	seeds(f, func(name, source string) {
		kind := uint8(0)
		if strings.HasSuffix(name, ".json") {
			kind = 1
		}
		f.Add(source, kind)
		f.Add(source, kind+2)
	})
	f.Add("run \"a\" {\n  command = apply\n  variables {\n    v = 1\n  }\n  plan_options {\n    mode = refresh-only\n    target = [iexec_app.base]\n  }\n"+
		"  assert {\n    condition = run.a.o == iexec_app.base.name\n    error_message = \"no ${var.v}\"\n  }\n  expect_failures = [var.v, output.o, iexec_app.base]\n}\n"+
		"override_data {\n  target = data.oci_image.base\n  values = { checksum = \"0x\" }\n}\nvariables {\n  v = 2\n}\n", uint8(4))
	dir := write(f, map[string]string{
		"base.hcl": "variable \"v\" {\n  default = 1\n}\nresource \"iexec_app\" \"base\" {\n  name = \"a\"\n}\ndata \"oci_image\" \"base\" {\n  reference = \"a\"\n}\noutput \"o\" {\n  value = var.v\n}\n",
		"m/m.hcl":  "variable \"v\" {\n  default = 1\n}\noutput \"o\" {\n  value = var.v\n}\n",
	})
	f.Fuzz(func(t *testing.T, source string, kind uint8) {
		defer bounds.Watch()()
		path := filepath.Join(dir, fuzzed[int(kind)%len(fuzzed)])
		if err := os.WriteFile(path, []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.Remove(path) }()
		c, diags := config.Load(dir, schemas, low, config.ForVersion("1.0.0"))
		mustPrint(t, c, diags)
		files, more := c.LoadTests("tests")
		mustPrint(t, c, more)
		for _, file := range files {
			for _, run := range file.Runs {
				_, more := run.Values(c, nil)
				mustPrint(t, c, more)
			}
		}
		inputs, more := c.Inputs(config.InputSources{})
		mustPrint(t, c, more)
		if diags.HasErrors() || more.HasErrors() {
			return
		}
		if len(c.Digest()) != 64 {
			t.Error("there is no digest")
		}
		e, diags := c.Evaluate(t.Context(), config.EvalRequest{Inputs: inputs, Handler: &recorder{quiet: true}})
		mustPrint(t, c, diags)
		if !diags.HasErrors() && len(e.Failed)+len(e.Skipped) > 0 {
			t.Errorf("failed %v, skipped %v, but no error", e.Failed, e.Skipped)
		}
	})
}

// FuzzInputs reads values of variables from files in both syntaxes and from the command line.
func FuzzInputs(f *testing.F) {
	for _, seed := range []string{"", "number = 1", "list = [\"a\", 1]\nobject = { a = 1 }", "number = 1e999999999", "secret = \"x\"\nother = 1", "a = <<E\nE\n"} {
		f.Add(seed, `{"number": 1, "list": ["${a}"]}`, "1")
	}
	f.Add("", `{"object": {"a": "b", "c": [1]}}`, `{ a = "b" }`)
	f.Add("", "{", `[for a in [1] : a]`)
	dir := write(f, map[string]string{"main.hcl": "variable \"number\" {\n  type = number\n  default = 1\n}\nvariable \"list\" {\n  type = list(string)\n  default = []\n}\n" +
		"variable \"object\" {\n  type = object({ a = string, c = optional(list(number), [1]) })\n  default = null\n}\nvariable \"any\" {\n  default = 1\n}\n" +
		"variable \"secret\" {\n  sensitive = true\n  default = \"\"\n}\n"})
	c, diags := config.Load(dir, schemas, low)
	if diags.HasErrors() {
		f.Fatal(diags)
	}
	native, json := filepath.Join(dir, "a.tfvars"), filepath.Join(dir, "a.tfvars.json")
	f.Fuzz(func(t *testing.T, nativeText, jsonText, arg string) {
		defer bounds.Watch()()
		for path, text := range map[string]string{native: nativeText, json: jsonText} {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		inputs, diags := c.Inputs(config.InputSources{Args: []config.InputArg{
			{Text: native, File: true}, {Text: json, File: true}, {Text: "object=" + arg}, {Text: "list=" + arg}, {Text: "any=" + arg},
		}})
		mustPrint(t, c, diags)
		if len(inputs) != 5 {
			t.Errorf("%d variables have values", len(inputs))
		}
	})
}

// FuzzFormat formats source: what comes out is formatted already, and has the same tokens, comments included, and meaning.
func FuzzFormat(f *testing.F) {
	seeds(f, func(_, source string) { f.Add(source) })
	f.Add("# a\n\n//b\nlocals{a=1#c\n/* d\n */ b= [1,\n2 , ]\n}\n")
	f.Add("locals {\n  a =0. 1\n}\n")
	f.Add("locals {\r\n  a = <<-E\r\n    x\r\n  E\r\n}\r\n")
	f.Fuzz(func(t *testing.T, source string) {
		defer bounds.Watch()()
		out, diags := config.Format([]byte(source), "main.hcl")
		if diags.HasErrors() {
			if string(out) != source {
				t.Error("source that is not valid was changed")
			}
			return
		}
		again, diags := config.Format(out, "main.hcl")
		if diags.HasErrors() {
			t.Fatalf("what came out is not valid: %v\n%s", diags, out)
		}
		if !bytes.Equal(again, out) {
			t.Errorf("not stable:\n%q\n%q", out, again)
		}
		if was, is := tokens(source), tokens(string(out)); was != is {
			t.Errorf("tokens were\n%s\nare\n%s", was, is)
		}
		if config.DigestOfSource([]byte(source)) != config.DigestOfSource(out) {
			t.Errorf("the meaning of\n%s\nchanged to\n%s", source, out)
		}
	})
}

// tokens is the source's tokens, a line each, without spaces at the ends of comments.
func tokens(source string) string {
	list, _ := hclsyntax.LexConfig([]byte(source), "main.hcl", hcl.InitialPos)
	var b strings.Builder
	for _, t := range list {
		text := string(t.Bytes)
		if t.Type == hclsyntax.TokenComment {
			text = strings.TrimSpace(text)
		}
		b.WriteString(t.Type.String() + " " + text + "\n")
	}
	return b.String()
}

// FuzzNesting looks how deep text is nested: a look at the bytes never finds less than the lexer does.
func FuzzNesting(f *testing.F) {
	seeds(f, func(_, source string) { f.Add([]byte(source)) })
	f.Fuzz(func(t *testing.T, source []byte) {
		if bytes, plain, tokens := config.NestingOf(source); plain && bytes < tokens {
			t.Errorf("%q is nested %d deep, by its bytes %d", source, tokens, bytes)
		}
	})
}
