package addr_test

import (
	"testing"

	"github.com/zclconf/go-cty/cty"
	"pgregory.net/rapid"

	"github.com/iexecform/iexecform/config/addr"
)

// What String writes, ParseInstance reads, whatever the key holds.
func TestParseInstanceInvertsString(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z_][a-z0-9_-]{0,5}`)
		want := addr.Instance{Resource: addr.Resource{
			Mode: rapid.SampledFrom([]addr.Mode{addr.Managed, addr.Data}).Draw(t, "mode"),
			Type: name.Filter(func(s string) bool { return s != "data" }).Draw(t, "type"),
			Name: name.Draw(t, "name"),
		}}
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 1:
			want.Key = addr.IntKey(rapid.IntRange(0, 1<<40).Draw(t, "index"))
		case 2:
			want.Key = addr.StringKey(rapid.StringMatching(`[ -~]{0,8}`).Draw(t, "ascii"))
		case 3: // keys come from cty strings, which are normalised
			want.Key = addr.StringKey(cty.StringVal(rapid.String().Draw(t, "key")).AsString())
		}
		got, err := addr.ParseInstance(want.String())
		if err != nil || got != want {
			t.Fatalf("ParseInstance(%s) = %v, %v", want, got, err)
		}
	})
}

func TestParseInstanceRefuses(t *testing.T) {
	for _, text := range []string{"", "a", "a.b.c", "data.a", "a.b[", "a.b[]", "a.b[x]", `a.b["]`, `a.b["x"]["y"]`, "a.b[-1", "a.b[01", `a["x"].b`, "1.b", "a.b[0].c"} {
		if got, err := addr.ParseInstance(text); err == nil {
			t.Errorf("ParseInstance(%q) = %v, want an error", text, got)
		}
	}
}
