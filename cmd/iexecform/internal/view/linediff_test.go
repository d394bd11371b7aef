package view

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zclconf/go-cty/cty"
	"pgregory.net/rapid"
)

// Whatever two values are, the lines that stay and go are the first one, and those that stay and come the second one.
func TestLineDiff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"", "  a", "b", "  + c", "@@ -1 +1 @@", "- d"}), 2, 12), func(l []string) string {
			return "{\n" + strings.Join(l, "\n") + "\n}"
		})
		before, after := lines.Draw(t, "before"), lines.Draw(t, "after")
		if before == after {
			return
		}
		text := map[string]string{before: "", after: ""}
		var was, is []string
		hidden := false
		for _, l := range (difference{Mark: "~", Before: before, After: after}).Diff() {
			hidden = hidden || l.Mark == " " && strings.Contains(l.Text, " hidden)")
			if l.Mark != "+" {
				was = append(was, l.Text)
			}
			if l.Mark != "-" {
				is = append(is, l.Text)
			}
		}
		text[before], text[after] = strings.Join(was, "\n"), strings.Join(is, "\n")
		for want, got := range text {
			if !hidden && want != got {
				t.Fatalf("got\n%s\nwant\n%s", got, want)
			}
			lines := strings.Split(want, "\n")
			for _, l := range strings.Split(got, "\n") {
				if !strings.Contains(l, " hidden)") && !slices.Contains(lines, l) {
					t.Fatalf("%q is no line of\n%s", l, want)
				}
			}
		}
	})
}

// What is far from a difference is counted, also when the difference is at the end.
func TestLineDiffHides(t *testing.T) {
	list := func(last string) string { return "[\n" + strings.Repeat("  x,\n", 20) + last + "\n]" }
	got := (difference{Mark: "~", Before: list("  y,"), After: list("  z,")}).Diff()
	want := []diffLine{{" ", "["}, {" ", "  # (17 unchanged lines hidden)"}, {" ", "  x,"}, {" ", "  x,"}, {" ", "  x,"}, {"-", "  y,"}, {"+", "  z,"}, {" ", "]"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Text is shown as what stands for exactly this text.
func TestStringText(t *testing.T) {
	for text, want := range map[string]string{
		"a":                     `"a"`,
		"a\nb":                  `"a\nb"`,
		"a\n\n  b\n":            "<<-EOT\n    a\n\n      b\n  EOT",
		"${a}\n":                "<<-EOT\n    $${a}\n  EOT",
		"EOT\n":                 `"EOT\n"`,
		"a\tb\n":                `"a\tb\n"`,
		"\u202ea\n":             `"\u202ea\n"`,
		`{"a":[1,2]}`:           "jsonencode({\n    a = [1, 2]\n  })",
		`{"a": 1}`:              `"{\"a\": 1}"`,
		`{"a":1,"a":2}`:         `"{\"a\":1,\"a\":2}"`,
		`[1e999999999]`:         `"[1e999999999]"`,
		`{"b":1`:                `"{\"b\":1"`,
		`["${x}"]`:              "jsonencode([\"$${x}\"])",
		`{"a":"<b>"}`:           `"{\"a\":\"<b>\"}"`,
		`{"a":"\u003cb\u003e"}`: "jsonencode({\n    a = \"<b>\"\n  })",
	} {
		if got := stringText(cty.StringVal(text), "  "); got != want {
			t.Errorf("%q: got\n%s\nwant\n%s", text, got, want)
		}
	}
}
