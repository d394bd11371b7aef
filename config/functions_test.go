package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/iexecform/iexecform/config"
)

func TestFunctions(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	c := loadFiles(t, map[string]string{
		"main.hcl":     "variable \"ephemeral\" {\n  ephemeral = true\n  default = \"e\"\n}\n",
		"a.txt":        "hello",
		"binary":       "\xff",
		"sub/b.txt":    "b",
		"sub/c/d.txt":  "d",
		"greet.tftpl":  "%{ for n in names }${upper(n)} %{ endfor }",
		"nested.tftpl": `${templatefile("greet.tftpl", {})}`,
	})
	e, diags := evaluate(t, c, &recorder{})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	abs, err := filepath.Abs(filepath.Join(c.Dir, "a.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string]string{
		`[abs(-1), ceil(1.2), floor(1.8), max(1, 3), min(1, 3), signum(-4), log(8, 2)]`: `[1 2 1 3 1 -1 3]`,
		`[pow(10, 30), pow(2, 0.5) > 1.41, pow(2, -1), pow(-1, 1001)]`:                  `[1000000000000000000000000000000 true 0.5 -1]`,
		`parseint("ff", 16)`: `255`,
		`sum([1, "2"])`:      `3`,
		`[chomp("a\n"), format("%03d-%s", 7, "x"), join(",", ["a", "b"]), lower("A"), upper("a"), strrev("ab"), title("ab c")]`:                     `["a" "007-x" "a,b" "a" "A" "ba" "Ab C"]`,
		`[indent(2, "a\nb"), regex("[0-9]+", "a12"), replace("a.b", ".", "-"), replace("a1b2", "/[0-9]/", "_"), regex_replace("a1", "[0-9]", "x")]`: `["a\n  b" "12" "a-b" "a_b_" "ax"]`,
		`[split(",", "a,b"), substr("hello", 1, 2), trim("xax", "x"), trimspace(" a "), trimprefix("ab", "a"), trimsuffix("ab", "b")]`:              `[["a" "b"] "el" "a" "a" "b" "a"]`,
		`[startswith("ab", "a"), endswith("ab", "a"), strcontains("abc", "b")]`:                                                                     `[true false true]`,
		`regexall("[a-z]", "a1b")`: `["a" "b"]`,
		`formatlist("%s!", ["a"])`: `["a!"]`,
		`[alltrue([true, "true"]), alltrue([]), alltrue([true, null]), anytrue([false, true]), anytrue([])]`:                      `[true true false true false]`,
		`[chunklist([1, 2, 3], 2), coalesce("", null, "a"), coalescelist([], [1]), compact(["", "a"])]`:                           `[[[1 2] [3]] "a" [1] ["a"]]`,
		`[concat([1], [2]), contains(["a"], "a"), distinct([1, 1]), element([1, 2], 3), flatten([[1], [[2]]])]`:                   `[[1 2] true [1] 2 [1 2]]`,
		`[index(["a", "b"], "b"), keys({ b = 1, a = 2 }), length("héé"), length([1]), length({ a = 1 })]`:                         `[1 ["a" "b"] 3 1 1]`,
		`[lookup({ a = 1 }, "a"), lookup({ a = 1 }, "b", 2), merge({ a = 1 }, { b = 2 }), one([]), one(["x"])]`:                   `[1 2 {a=1 b=2} null "x"]`,
		`[range(3), reverse([1, 2]), slice([1, 2, 3], 1, 2), sort(["b", "a"]), values({ a = 1 }), zipmap(["a"], [1])]`:            `[[0 1 2] [2 1] [2] ["a" "b"] [1] {a=1}]`,
		`[setintersection(["a", "b"], ["b"]), setsubtract(["a", "b"], ["b"]), setunion(["a"], ["b"]), setproduct(["a"], ["b"])]`:  `[["b"] ["a"] ["a" "b"] [["a" "b"]]]`,
		`transpose({ a = ["x", "y"], b = ["x"] })`:                                                                                `{x=["a" "b"] y=["a"]}`,
		`[base64encode("a"), base64decode("YQ=="), urlencode("a b"), jsonencode({ a = 1 }), csvdecode("a\n1")[0].a]`:              `["YQ==" "a" "a+b" "{\"a\":1}" "1"]`,
		`[yamldecode("a: [1]").a[0], yamlencode({ a = 1 }), jsondecode("[true]")[0]]`:                                             `[1 "\"a\": 1\n" true]`,
		`[base64gunzip(base64gzip("a")), urldecode("a+b%21")]`:                                                                    `["a" "a b!"]`,
		`[matchkeys(["a", "b", "c"], [1, 2, 1], [1]), matchkeys(["a"], ["x"], [])]`:                                               `[["a" "c"] []]`,
		`[timecmp("2024-02-03T00:00:00Z", "2024-02-03T01:00:00+01:00"), timecmp("2024-02-03T00:00:00Z", "2024-02-04T00:00:00Z")]`: `[0 -1]`,
		`templatestring("$${upper(n)}-%%{ if yes }1%%{ endif }", { n = "a", yes = true })`:                                        `"A-1"`,
		`[filemd5("a.txt") == md5("hello"), filesha1("a.txt") == sha1("hello"), filesha512("a.txt") == sha512("hello")]`:          `[true true true]`,
		`[filebase64sha256("a.txt") == base64sha256("hello"), filebase64sha512("a.txt") == base64sha512("hello")]`:                `[true true]`,
		`[md5("a"), sha1("a")]`:            `["0cc175b9c0f1b6a831c399e269772661" "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"]`,
		`[sha256("a"), base64sha256("a")]`: `["ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" "ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs="]`,
		`substr(sha512("a"), 0, 8)`:        `"1f40fc92"`,
		`[formatdate("YYYY-MM", "2024-02-03T00:00:00Z"), timeadd("2024-02-03T00:00:00Z", "1h")]`:                                       `["2024-02" "2024-02-03T01:00:00Z"]`,
		`[try(tonumber("x"), 1), can(tonumber("x")), tostring(1), tobool("true"), tolist(["a"]), toset(["b", "a"]), tomap({ a = 1 })]`: `[1 false "1" true ["a"] ["a" "b"] {a=1}]`,
		`[basename("a/b"), dirname("a/b"), fileexists("a.txt"), fileexists("none"), file("a.txt"), filebase64("binary")]`:              `["b" "a" true false "hello" "/w=="]`,
		`[fileset("sub", "**/*.txt"), fileset(".", "*.none")]`:                                                                         `[["b.txt" "c/d.txt"] []]`,
		`abspath("a.txt")`:                                    `"` + abs + `"`,
		`pathexpand("~/x")`:                                   `"` + home + `/x"`,
		`file("${path.module}/a.txt")`:                        `"hello"`,
		`filesha256("a.txt") == sha256("hello")`:              `true`,
		`templatefile("greet.tftpl", { names = ["a", "b"] })`: `"A B "`,
		`sensitive("a")`:                                      `MARKED`,
		`upper(sensitive("a"))`:                               `MARKED`,
		`nonsensitive(sensitive("a"))`:                        `"a"`,
		`[issensitive(var.ephemeral), issensitive(sensitive(1)), nonsensitive(var.ephemeral)]`: `[false true MARKED]`,
		`ephemeralasnull({a = var.ephemeral, b = [1, var.ephemeral], c = sensitive(2)})`:       `{b=[1 null] c=MARKED}`,
		`issensitive(sensitive("a"))`: `true`,
		`rlc("2 RLC")`:                `2000000000`,
		`iexecform.workspace`:         `"default"`,
	} {
		v, diags := e.Eval([]byte(expr), "<console>")
		if diags.HasErrors() {
			t.Errorf("%s: %v", expr, diags)
		} else if got := text(v); got != want {
			t.Errorf("%s\n got %s\nwant %s", expr, got, want)
		}
	}
	for expr, want := range map[string]string{
		`file("none")`:                     `there is no file "none"; paths are relative to the configuration's directory`,
		`file("binary")`:                   `not UTF-8`,
		`templatefile("greet.tftpl", {})`:  `has no "names", which greet.tftpl needs at line 1`,
		`templatefile("nested.tftpl", {})`: `There is no function named "templatefile"`,
		`sum([])`:                          `at least one number`,
		`one([1, 2])`:                      `one element or none`,
		`lookup({ a = 1 }, "b")`:           `there is no default`,
		`index([1], 2)`:                    `is not in the list`,
		`coalesce("", null)`:               `all arguments are null or empty text`,
		`timestamp()`:                      `a plan made twice from the same files must be the same. Give the time in a variable`,
		`[for x in [1] : plantimestamp()]`: `There is no function named "plantimestamp"`,
		`uuid()`:                           `Its result would change from plan to plan`,
		`can(bcrypt("a"))`:                 `Give the hash in a variable`,
		`provider::iexec::rlc("1")`:        `called by their own names: rlc(...)`,
		`timecmp("now", "then")`:           `must be a time such as 2006-01-02T15:04:05Z`,
		`matchkeys(["a"], [], [])`:         `as many elements as values has`,
		`base64gunzip("YQ==")`:             `not compressed with gzip`,
		`templatestring("$${a}", {})`:      `has no "a", which the template needs at line 1`,
		`base64decode("?")`:                `not Base64`,
		`each.key`:                         `each is known only inside`,
		`var.x`:                            `There is no variable "x"`,
		`1 +`:                              `Missing expression`,
	} {
		_, diags := e.Eval([]byte(expr), "<console>")
		if !strings.Contains(diags.Error(), want) {
			t.Errorf("%s: got %q, want %q", expr, diags.Error(), want)
		}
	}
}

func TestEvalSeesEvaluatedValues(t *testing.T) {
	c := load(t, "variable \"v\" {\n  default = 2\n}\nlocals {\n  l = var.v\n}\nresource \"iexec_app\" \"a\" {\n  count = local.l\n  name = \"n${count.index}\"\n}\nresource \"iexec_app\" \"failed\" {\n  name = \"f\"\n}\n")
	e, _ := evaluate(t, c, &recorder{fail: map[string]bool{"iexec_app.failed": true}})
	v, diags := e.Eval([]byte("[local.l, iexec_app.a[1].address, iexec_app.a[*].name, iexec_app.a[0].sign]"), "<console>")
	if len(diags) > 0 || text(v) != `[2 "0xn1" ["n0" "n1"] unknown]` {
		t.Errorf("%s %v", text(v), diags)
	}
	empty := &config.Evaluation{}
	if _, diags := empty.Eval([]byte("1"), "<console>"); !diags.HasErrors() {
		t.Error("an empty evaluation must be refused")
	}
}

// Every function says what it is for: the reference and editors show it.
func TestFunctionsAreDocumented(t *testing.T) {
	for name, f := range config.Functions(".", nil) {
		if f.Description() == "" {
			t.Errorf("%s has no description", name)
		}
	}
}
