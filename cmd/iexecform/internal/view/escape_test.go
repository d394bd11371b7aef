package view_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
)

func TestEscaping(t *testing.T) {
	for text, want := range map[string]string{
		"plain <é> 世界\n\tline\r\n":         "plain <é> 世界\n\tline\r\n",
		"\x1b[2J\x1b]0;title\x07":          `\u001b[2J\u001b]0;title\u0007`,
		"over\rwritten":                    `over\u000dwritten`,
		"\u202egnp.exe \u2066 \u200b":      `\u202egnp.exe \u2066 \u200b`,
		"\u009b31m":                        `\u009b31m`,
		"\x9b31m \xff":                     `\x9b31m \xff`,
		"\x1b[31mred\x1b[0m":               `\u001b[31mred\u001b[0m`,
		"\x1b[31;8mhidden \x1b[5mblinking": `\u001b[31;8mhidden \u001b[5mblinking`,
	} {
		var out bytes.Buffer
		if _, err := view.Escaping(&out, false).Write([]byte(text)); err != nil || out.String() != want {
			t.Errorf("%q: got %q, want %q (%v)", text, out.String(), want, err)
		}
	}
	var out bytes.Buffer
	if _, err := view.Escaping(&out, true).Write([]byte("\x1b[31mred\x1b[0m\x1b[8mhidden\x1b[1Aup")); err != nil || out.String() != "\x1b[31mred\x1b[0m\\u001b[8mhidden\\u001b[1Aup" {
		t.Errorf("with colour: %q", out.String())
	}
}

// However a text is cut into writes, nothing acts on a terminal but the colours of this package, and what is harmless stays.
func TestEscapingOfAnything(t *testing.T) {
	ours := regexp.MustCompile(`\x1b\[(0|1|2|1;4|31|32|33|36)m`)
	parts := rapid.SampledFrom([]string{"a", "é", "世", "\n", "\r\n", "\r", "\x1b", "[", "3", "1", "m", "\x1b[31m", "\x1b[0m", "\x1b[2J", "\x9b", "\u009b", "\u202e", "\xe4\xb8"})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(parts).Draw(t, "text"), "")
		var out bytes.Buffer
		w := view.Escaping(&out, true)
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "write")
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		shown := strings.ReplaceAll(ours.ReplaceAllString(out.String(), ""), "\r\n", "\n")
		for _, r := range shown {
			if r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf)) {
				t.Fatalf("%q passes, of %q", r, text)
			}
		}
		for _, harmless := range []string{"a", "é", "世", "\n"} {
			if strings.Count(shown, harmless) < strings.Count(text, harmless) && !strings.HasSuffix(text, harmless) {
				t.Fatalf("%q is lost: %q became %q", harmless, text, shown)
			}
		}
	})
}
