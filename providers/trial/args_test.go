package trial

import (
	"slices"
	"strings"
	"testing"

	"github.com/iexecform/iexecform/internal/bounds"
)

func TestSplitArgs(t *testing.T) {
	for text, want := range map[string][]string{
		"":    nil,
		"   ": nil,
		`''`:  nil,
		`1st_param 2nd_param '3rd param' "4th param"`: {"1st_param", "2nd_param", "3rd param", "4th param"},
		`  a   b `:                {"a", "b"},
		`--name="a b"c`:           {"--name=a bc"},
		`a '' "" b`:               {"a", "b"},
		`"it's" '"quoted"'`:       {"it's", `"quoted"`},
		"a\tb\nc":                 {"a\tb\nc"},
		`$HOME *.txt a|b > c # d`: {"$HOME", "*.txt", "a|b", ">", "c", "#", "d"},
		`a\ b`:                    {`a\`, "b"},
		`a\"b c`:                  {`a\"b`, "c"},
		`"a\"b c"`:                {`a\"b c`},
		`'a\'b c'`:                {`a\'b c`},
		`\\ a`:                    {`\\`, "a"},
		`é "ü ö"`:                 {"é", "ü ö"},
	} {
		got, err := SplitArgs(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q: %v", text, got, want, err)
		}
	}
	for _, text := range []string{`'`, `"a b`, `it's`, `"a\"`, `a "b'`} {
		if got, err := SplitArgs(text); err == nil || !strings.Contains(err.Error(), "open") {
			t.Errorf("%s: got %q, want an error", text, got)
		}
	}
}

// Arguments without quotes and backslashes are split at spaces, whatever else is in them.
func FuzzSplitArgs(f *testing.F) {
	for _, text := range []string{"", "a b", `'a b' c`, `a\"b`, "\x00 \xff", `"`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		defer bounds.Watch()()
		args, err := SplitArgs(text)
		if slices.Contains(args, "") {
			t.Errorf("%q has an empty argument", args)
		}
		if strings.ContainsAny(text, `'"`) {
			return
		}
		want := strings.FieldsFunc(text, func(c rune) bool { return c == ' ' })
		if err != nil || !slices.Equal(args, want) {
			t.Errorf("%q: got %q, want %q: %v", text, args, want, err)
		}
	})
}
