package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/config"
)

func loadFiles(t testing.TB, files map[string]string) *config.Config {
	t.Helper()
	c, diags := config.Load(write(t, files), schemas)
	if len(diags) > 0 {
		t.Fatalf("load:\n%s", diagText(c.Dir, diags))
	}
	return c
}

func TestInputsPrecedence(t *testing.T) {
	files := map[string]string{
		"main.hcl": `
variable "a" { default = "default" }
variable "b" { default = "default" }
variable "c" { default = "default" }
variable "d" { default = "default" }
variable "e" { default = "default" }
variable "f" { default = "default" }
variable "g" { default = "default" }
variable "h" { default = "default" }
variable "i" { default = "default" }
variable "j" { default = "default" }`,
		"iexecform.tfvars":    `c = "tfvars"` + "\n" + `d = "tfvars"` + "\n" + `e = "tfvars"` + "\n" + `f = "tfvars"` + "\n" + `g = "tfvars"`,
		"2.auto.tfvars":       `d = "2"` + "\n" + `e = "2"`,
		"10.auto.tfvars":      `d = "10"`,
		".hidden.auto.tfvars": `d = "hidden"`,

		"iexecform.tfvars.json": `{"//": "not a template", "h": "${json}", "i": "json", "j": "json"}`,
		"3.auto.tfvars.json":    `{"i": 3, "j": 3}`,
		"4.auto.tfvars":         `j = "4"`,
		"given":                 `f = "given"` + "\n" + `g = "given"`,
	}
	c := loadFiles(t, files)
	inputs, diags := c.Inputs(config.InputSources{
		Environ: []string{"IEXECFORM_VAR_b=env", "IEXECFORM_VAR_c=env", "IEXECFORM_VAR_other=silent", "HOME=/"},
		Args: []config.InputArg{
			{Text: "f=flag"}, {Text: filepath.Join(c.Dir, "given"), File: true}, {Text: "g=flag=with=equals"},
		},
	})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	got := map[string]string{}
	for name, v := range inputs {
		v, err := convert.Convert(v, cty.String)
		if err != nil {
			t.Fatal(err)
		}
		got[name] = v.AsString()
	}
	want := map[string]string{"a": "default", "b": "env", "c": "tfvars", "d": "2", "e": "2", "f": "given", "g": "flag=with=equals", "h": "${json}", "i": "3", "j": "4"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestInputsConversion(t *testing.T) {
	for name, test := range map[string]struct {
		block, text, want string
	}{
		"untyped":       {``, `[1]`, `"[1]"`},
		"string":        {`type = string`, `a "b" ${c}`, `"a \"b\" ${c}"`},
		"number":        {`type = number`, `115792089237316195423570985008687907853269984665640564039457584007913129639935`, `115792089237316195423570985008687907853269984665640564039457584007913129639935`},
		"bool":          {`type = bool`, `true`, `true`},
		"list":          {`type = list(string)`, `["a", 1]`, `["a" "1"]`},
		"any":           {`type = any`, `{ a = [1] }`, `{a=[1]}`},
		"optional":      {`type = object({ a = string, b = optional(number, 7), c = optional(bool) })`, `{ a = 1 }`, `{a="1" b=7}`},
		"null":          {`type = number`, `null`, `null`},
		"not nullable":  {"type = number\nnullable = false\ndefault = 3", `null`, `3`},
		"sensitive":     {"sensitive = true", `x`, `MARKED`},
		"whole default": {"default = 18446744073709551617\ntype=number", "1", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			c := load(t, "variable \"v\" {\n"+test.block+"\n}")
			inputs, diags := c.Inputs(config.InputSources{Args: []config.InputArg{{Text: "v=" + test.text}}})
			if len(diags) > 0 {
				t.Fatal(diagText(c.Dir, diags))
			}
			if got := text(inputs["v"]); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestInputsDiagnostics(t *testing.T) {
	const price = "variable \"price\" {\n  type = number\n  validation {\n    condition     = var.price < var.max\n    error_message = \"${var.price} is more than ${var.max}.\"\n  }\n}\nvariable \"max\" {\n  default = 10\n}\n"
	for name, test := range map[string]struct {
		main   string
		tfvars string
		src    config.InputSources
		want   string
	}{
		"missing": {main: price, want: `main.hcl:1,1-17 error: Missing value for variable
  Variable "price" has no default and no value. Give it on the command line with --var 'price=VALUE', or with a line price = VALUE in iexecform.tfvars, or in the environment as IEXECFORM_VAR_price.
`},
		"undeclared on the command line": {main: price, src: args("price=1", "pirce=2"), want: `- error: Undeclared variable
  --var gives a value to "pirce", but there is no such variable. Did you mean "price"?
`},
		"spaces": {main: price, src: args("price = 1", "price=1"), want: `- error: Undeclared variable
  --var gives a value to "price ", but there is no such variable. Did you mean "price"? Leave out the space around the equals sign.
`},
		"undeclared in a file": {main: price, tfvars: "price = 1\nmaxx = 2\n", want: `iexecform.tfvars:2,1-5 warning: Undeclared variable
  The file gives a value to "maxx", but there is no such variable. Did you mean "max"? The value is ignored.
`},
		"wrong type": {main: price, tfvars: "price = [1]\n", want: `iexecform.tfvars:1,9-12 error: Invalid value for variable
  The value that iexecform.tfvars gives to variable "price", declared at main.hcl:1, does not fit its type number: number required, but have tuple.
`},
		"not an expression": {main: price, src: args("price=one"), want: `- error: Invalid value for variable
  The value that --var price gives to variable "price" is not an expression of type number. Variables may not be used here. Text within it must be in double quotes.
`},
		"validation": {main: price, tfvars: "price = 11\n", want: `iexecform.tfvars:1,9-11 error: Invalid value for variable
  Variable "price" is not valid: 11 is more than 10.
  This was checked by the validation at main.hcl:4.
`},
		"validation of a default": {main: strings.Replace(price, "type = number", "default = 20", 1), want: `main.hcl:1,1-17 error: Invalid value for variable
  Variable "price" is not valid: 20 is more than 10.
  This was checked by the validation at main.hcl:4.
`},
		"not nullable": {main: "variable \"v\" {\n  nullable = false\n}", tfvars: "v = null\n", want: `iexecform.tfvars:1,5-9 error: Invalid value for variable
  The value that iexecform.tfvars gives to variable "v", declared at main.hcl:1, does not fit its type any: the variable is not nullable.
`},
		"no such file": {main: price, src: config.InputSources{Args: []config.InputArg{{Text: "none.tfvars", File: true}, {Text: "price=1"}}}, want: `- error: Cannot read a variables file
  Open none.tfvars: no such file or directory.
`},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"main.hcl": test.main}
			if test.tfvars != "" {
				files["iexecform.tfvars"] = test.tfvars
			}
			c := loadFiles(t, files)
			_, diags := c.Inputs(test.src)
			mustPrint(t, c, diags)
			if diff := cmp.Diff(test.want, diagText(c.Dir, diags)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func args(texts ...string) config.InputSources {
	src := config.InputSources{}
	for _, text := range texts {
		src.Args = append(src.Args, config.InputArg{Text: text})
	}
	return src
}

func TestMissing(t *testing.T) {
	c := load(t, "variable \"b\" {}\nvariable \"a\" {}\nvariable \"c\" {\n  default = null\n}\nvariable \"d\" {}\n")
	var names []string
	for _, v := range c.Missing(args("d=1")) {
		names = append(names, v.Name)
	}
	if got := strings.Join(names, " "); got != "a b" {
		t.Errorf("missing %q", got)
	}
}

func TestSensitiveValuesAreNotShown(t *testing.T) {
	c := load(t, `
variable "key" {
  sensitive = true
  validation {
    condition     = length(var.key) > 100
    error_message = "${var.key} is short"
  }
}`)
	_, diags := c.Inputs(args("key=hunter2"))
	if !diags.HasErrors() {
		t.Fatal("the validation must fail")
	}
	mustPrint(t, c, diags)
	if out := diagText(c.Dir, diags); strings.Contains(out, "hunter2") {
		t.Errorf("the value is shown:\n%s", out)
	}
}

func TestBigIntegersAreExact(t *testing.T) {
	const most = "115792089237316195423570985008687907853269984665640564039457584007913129639935"
	for name, expr := range map[string]string{
		"literal":   most,
		"power":     "pow(2, 256) - 1",
		"product":   "pow(2, 128) * pow(2, 128) - 1",
		"text":      `tonumber("` + most + `")`,
		"json":      `jsondecode("{\"a\":` + most + `}").a`,
		"yaml":      `yamldecode("a: ` + most + `").a`,
		"encoded":   `jsondecode(jsonencode([` + most + `]))[0]`,
		"string":    `"${` + most + `}"`,
		"variable":  "var.most",
		"parseint":  `parseint("` + strings.Repeat("f", 64) + `", 16)`,
		"sum":       "sum([" + most + " - 5, 5])",
		"function":  `rlc("` + most + `")`,
		"remainder": most + " % pow(2, 300)",
	} {
		t.Run(name, func(t *testing.T) {
			c := load(t, "variable \"most\" {\n  type = number\n  default = "+most+"\n}\nresource \"iexec_apporder\" \"o\" {\n  app = \"0x1\"\n  appprice = 1\n  volume = "+expr+"\n}\n")
			r := &recorder{}
			if _, diags := evaluate(t, c, r); len(diags) > 0 {
				t.Fatal(diagText(c.Dir, diags))
			}
			if !strings.Contains(r.log.String(), "volume="+most+"}") {
				t.Errorf("not exact:\n%s", r.log.String())
			}
		})
	}
}

func TestBigIntegerThroughJSON(t *testing.T) {
	const most = "115792089237316195423570985008687907853269984665640564039457584007913129639935"
	c := load(t, "locals {\n  most = "+most+"\n}\noutput \"o\" {\n  value = local.most\n}\n")
	e, diags := evaluate(t, c, &recorder{})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	v := e.Outputs["o"].Value
	b, err := ctyjson.Marshal(v, cty.Number)
	if err != nil || string(b) != most {
		t.Fatalf("%s, %v", b, err)
	}
	back, err := ctyjson.Unmarshal(b, cty.Number)
	if err != nil || !back.RawEquals(v) {
		t.Errorf("%#v, %v", back, err)
	}
}
