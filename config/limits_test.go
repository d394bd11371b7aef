package config_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
)

// doubling is n local values, each made of the one before by a template with %[1]s for it.
func doubling(n int, first, next string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "locals {\n  l0 = %s\n", first)
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "  l%d = %s\n", i, strings.ReplaceAll(next, "PREV", fmt.Sprintf("local.l%d", i-1)))
	}
	return b.String() + "}\n"
}

func nested(n int, open, inner, closing string) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(closing, n)
}

// Configurations that ask for more than any machine has are refused, before they have taken much of it.
func TestLimits(t *testing.T) {
	const deep = 20_000
	for name, source := range map[string]string{
		"loops within loops":           "locals {\n  a = [for a in range(1000) : [for b in range(1000) : [for c in range(1000) : [for d in range(1000) : a]]]]\n}\n",
		"loops in try":                 "locals {\n  a = try([for a in range(1000) : [for b in range(1000) : [for c in range(1000) : a]]], 1)\n}\n",
		"loops in a template":          "locals {\n  a = \"%{for a in range(1000)}%{for b in range(1000)}%{for c in range(1000)}x%{endfor}%{endfor}%{endfor}\"\n}\n",
		"text in loops":                "locals {\n  a = [for a in range(1000) : [for b in range(1000) : \"" + strings.Repeat("x", 10_000) + "${a}\"]]\n}\n",
		"loops with splats":            "locals {\n  l = [for a in range(1000) : { k = [for b in range(1000) : b] }]\n  a = [for a in range(1000) : local.l[*].k[*]]\n}\n",
		"loops in count":               "resource \"iexec_app\" \"a\" {\n  count = length(flatten([for a in range(1000) : [for b in range(1000) : range(1000)]]))\n  name = \"a\"\n}\n",
		"loops in a condition":         "variable \"a\" {\n  default = 1\n  validation {\n    condition     = length([for a in range(1000) : [for b in range(1000) : [for c in range(1000) : var.a]]]) > 1\n    error_message = \"no\"\n  }\n}\n",
		"loops in a literal":           "variable \"a\" {\n  default = [for a in [1, 2] : [for b in [1, 2] : b]]\n}\n",
		"texts that double":            doubling(64, `"0123456789"`, `"${PREV}${PREV}"`),
		"lists that double":            doubling(64, `["a"]`, `concat(PREV, PREV)`),
		"joins that double":            doubling(64, `"0123456789"`, `join("", [PREV, PREV])`),
		"lists within lists":           doubling(64, `["a"]`, `[PREV, PREV]`),
		"objects within objects":       doubling(64, `{ a = 1 }`, `{ a = PREV, b = PREV }`),
		"numbers that double":          doubling(64, `10`, `PREV * PREV`) + "output \"a\" {\n  value = \"${local.l64}\"\n}\n",
		"number with many digits":      "locals {\n  a = \"${1e999999999}\"\n}\n",
		"small number":                 "locals {\n  a = \"${1e-99999999}\"\n}\n",
		"number of a text":             "locals {\n  a = \"${tonumber(\"1e999999999\")}\"\n}\n",
		"number of JSON":               "locals {\n  a = jsonencode(jsondecode(\"[1e999999999]\"))\n}\n",
		"power":                        "locals {\n  a = pow(10, 1e9)\n}\n",
		"number in a literal":          "variable \"a\" {\n  default = [1e999999999]\n}\n",
		"product":                      "locals {\n  a = setproduct(range(1000), range(1000), range(1000), range(1000))\n}\n",
		"format":                       "locals {\n  a = format(\"%999999999d\", 1)\n}\n",
		"format by an argument":        "locals {\n  a = format(\"%*d\", 999999999, 1)\n}\n",
		"join":                         "locals {\n  s = join(\"\", [for i in range(1000) : \"" + strings.Repeat("x", 1000) + "\"])\n  a = join(local.s, range(1000))\n}\n",
		"replace":                      "locals {\n  s = join(\"\", [for i in range(1000) : \"" + strings.Repeat("x", 1000) + "\"])\n  a = replace(local.s, \"x\", local.s)\n}\n",
		"indent":                       "locals {\n  a = indent(999999999, \"a\\nb\")\n}\n",
		"aliases of YAML":              "locals {\n  a = yamldecode(\"" + yamlBomb() + "\")\n}\n",
		"brackets":                     "locals {\n  a = " + nested(deep, "(", "1", ")") + "\n}\n",
		"brackets that are not closed": "locals {\n  a = " + nested(deep, "[", "", "") + "\n}\n",
		"objects":                      "locals {\n  a = " + nested(deep, "{ a = ", "1", "}") + "\n}\n",
		"calls":                        "locals {\n  a = " + nested(deep, "upper(", `"a"`, ")") + "\n}\n",
		"texts within texts":           "locals {\n  a = " + nested(deep, `"${`, "1", `}"`) + "\n}\n",
		"directives":                   "locals {\n  a = \"" + nested(deep, "%{if true}", "x", "%{endif}") + "\"\n}\n",
		"signs":                        "locals {\n  a = " + nested(deep, "!", "true", "") + "\n}\n",
		"minus signs":                  "locals {\n  a = " + nested(deep, "-", "1", "") + "\n}\n",
		"sums":                         "locals {\n  a = " + nested(deep, "1 + ", "1", "") + "\n}\n",
		"sums on many lines":           "locals {\n  a = (" + nested(deep, "1 +\n", "1", "") + ")\n}\n",
		"conditions":                   "locals {\n  a = " + nested(deep, "true ? 1 : ", "1", "") + "\n}\n",
		"indexes":                      "locals {\n  a = local.b" + nested(deep, "[local.c]", "", "") + "\n}\n",
		"loops in loops":               "locals {\n  a = " + nested(deep, "[for x in [1] : ", "x", "]") + "\n}\n",
		"file without end":             "locals {\n  a = file(\"/dev/zero\")\n}\n",
		"template without end":         "locals {\n  a = templatefile(\"/dev/zero\", {})\n}\n",
		"hash of a file without end":   "locals {\n  a = filesha256(\"/dev/zero\")\n}\n",
		"blocks":                       nested(deep, "a {\n", "", "}\n"),
	} {
		t.Run(name, func(t *testing.T) { refusedCheaply(t, "main.hcl", source) })
	}
	for name, source := range map[string]string{
		"arrays":    `{"locals": {"a": ` + nested(deep, "[", "1", "]") + `}}`,
		"objects":   nested(deep, `{"a": `, "1", "}"),
		"templates": `{"locals": {"a": "` + nested(deep, "${[", "1", "]}") + `"}}`,
	} {
		t.Run("JSON "+name, func(t *testing.T) { refusedCheaply(t, "main.hcl.json", source) })
	}
}

// yamlBomb is a list of lists of lists … as one line with aliases.
func yamlBomb() string {
	text := `a0: &a0 [x]\n`
	for i := 1; i < 40; i++ {
		text += fmt.Sprintf(`a%d: &a%[1]d [*a%d,*a%[2]d]\n`, i, i-1)
	}
	return text
}

// refusedCheaply fails unless a configuration is refused, having taken less than a gigabyte in all under low limits.
func refusedCheaply(t *testing.T, name, source string) {
	t.Helper()
	dir := write(t, map[string]string{name: source})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, diags := config.Load(dir, schemas, config.WithLimits(100_000, 10<<20, 100_000))
	if !diags.HasErrors() {
		_, diags = c.Inputs(config.InputSources{})
	}
	runtime.ReadMemStats(&after)
	if !diags.HasErrors() {
		t.Error("it is not refused")
	}
	if taken := (after.TotalAlloc - before.TotalAlloc) >> 20; taken > 1024 {
		t.Errorf("it took %d MB: %v", taken, diags[0])
	}
	if len(diags) > 100 {
		t.Errorf("%d diagnostics", len(diags))
	}
	mustPrint(t, c, diags)
}

func TestFilesLimit(t *testing.T) {
	dir := write(t, map[string]string{"a/b/c.txt": "", "a/d.txt": "", "e.txt": ""})
	list := func(most int) (int, error) {
		v, err := config.FileSet(dir, most).Call([]cty.Value{cty.StringVal("."), cty.StringVal("**")})
		if err != nil {
			return 0, err
		}
		return v.LengthInt(), nil
	}
	if n, err := list(5); n != 3 || err != nil { // two directories as well
		t.Errorf("%d files, %v", n, err)
	}
	if _, err := list(4); err == nil || !strings.Contains(err.Error(), "more than 4 files") {
		t.Errorf("error %v", err)
	}
}

// What is large, but not too large, is accepted.
func TestWithinLimits(t *testing.T) {
	load(t, "locals {\n  a = [for a in range(100) : [for b in range(1000) : { k = \"${a}-${b}\" }]]\n  b = "+nested(300, "(", "1", ")")+
		"\n  c = "+nested(900, "1 + ", "1", "")+"\n  d = <<EOT\n"+nested(900, "${1 + 1}\n", "", "")+"EOT\n  e = pow(10, 77) * pow(10, 77)\n}\n")
}
