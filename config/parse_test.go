package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/iexecform/iexecform/config"
)

// A long file is parsed in pieces, and means what it would as several files. Places in it are right.
func TestLongFiles(t *testing.T) {
	long := func(inner string) string {
		var b strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&b, "resource \"iexec_app\" \"a%d\" {\n  name = \"n%[1]d\"\n}\n", i)
			if i == 500 {
				b.WriteString(inner)
			}
		}
		return b.String()
	}
	const heredoc = "resource \"iexec_app\" \"h\" {\n  name = <<EOT\na\n}\nresource \"iexec_app\" \"x\" {\n}\nEOT\n}\n"
	for name, test := range map[string]struct{ inner, text string }{
		"plain":   {"", ""},
		"heredoc": {strings.Repeat("# x\n", 3000) + heredoc, "a\n}\nresource \"iexec_app\" \"x\" {\n}\n"},
		"comment": {strings.Repeat("# x\n", 3000) + "/*\n}\nresource \"iexec_app\" \"x\" {\n}\n*/\nresource \"iexec_app\" \"h\" {\n  name = \"c\"\n}\n", "c"},
	} {
		t.Run(name, func(t *testing.T) {
			c := load(t, long(test.inner))
			want := 1000
			if test.text != "" {
				want++
				r := &recorder{}
				e, _ := evaluate(t, c, r)
				if v, diags := e.Eval([]byte("iexec_app.h.name"), "test"); diags.HasErrors() || v.AsString() != test.text {
					t.Errorf("%#v %v", v, diags)
				}
			}
			blocks := c.Blocks()
			if len(blocks) != want {
				t.Errorf("%d blocks, want %d", len(blocks), want)
			}
			for _, b := range blocks {
				source := c.Files()[b.Range.Filename].Bytes
				header := fmt.Sprintf("resource %q %q", b.Addr.Type, b.Addr.Name)
				if got := string(source[b.Range.Start.Byte:b.Range.End.Byte]); got != header {
					t.Fatalf("%s is at %q", header, got)
				}
				if line := strings.Count(string(source[:b.Range.Start.Byte]), "\n") + 1; line != b.Range.Start.Line {
					t.Fatalf("%s is in line %d, not %d", header, line, b.Range.Start.Line)
				}
			}
		})
	}
	dir := write(t, map[string]string{"main.hcl": long("resource \"iexec_app\" \"bad\" {\n  name = \n}\n")})
	if _, diags := config.Load(dir, schemas); len(diags) != 1 || diags[0].Subject.Start.Line != 501*3+2 {
		t.Error(diagText(dir, diags))
	}
	dir = write(t, map[string]string{"main.hcl": long("resource \"iexec_app\" \"bad\" {\n  nam = 1\n  name = \"x\"\n}\n")})
	c, diags := config.Load(dir, schemas)
	if len(diags) != 1 || diags[0].Subject.Start.Line != 501*3+2 {
		t.Error(diagText(dir, diags))
	}
	nav, ok := c.Files()[diags[0].Subject.Filename].Nav.(interface{ ContextString(int) string })
	if !ok || nav.ContextString(diags[0].Subject.Start.Byte) != `resource "iexec_app" "bad"` {
		t.Error("the block is not named")
	}
}

// Most files are plain enough to tell by their bytes how deep they are nested.
func TestNesting(t *testing.T) {
	for source, want := range map[string]int{
		"":                  0,
		"a = [1, [2]]\n":    4,
		"a = \"x\"\n# }{\n": 1,
		"b \"c\" {\n  d = \"docker.io/${each.key}:1.0\"\n}\n":                3,
		"locals {\n  apps = {\n    a-1 = { price = 10 }\n  }\n}\n":           3,
		"a = -1 + 2 == 3 && !(x ? y : z) // ok\nb = {for k in l : k => 1}\n": 7,
	} {
		bytes, plain, tokens := config.NestingOf([]byte(source))
		if !plain || bytes != want || tokens > want {
			t.Errorf("%q: %d (plain: %t), by the lexer %d, want %d", source, bytes, plain, tokens, want)
		}
	}
	for _, source := range []string{"a = <<X\n}\nX\n", "a = \"%{if b}c%{endif}\"\n", "/* { */\n", "a = (1]\n", "a = \"x", "a = \"$${b}\"\n", "# x", "a = {", "é = 1\n", "a = \"\n\"\n", "a = \"\\${b}\"\n"} {
		if _, plain, _ := config.NestingOf([]byte(source)); plain {
			t.Errorf("%q is plain", source)
		}
	}
}
