package state_test

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/iexecform/iexecform/state"
)

// values are JSON values without null, which a merge patch can't set.
func values(depth int) *rapid.Generator[any] {
	scalars := rapid.OneOf(
		rapid.SampledFrom([]any{json.Number("123456789012345678901234567890"), json.Number("1.50"), true, false}),
		rapid.Map(rapid.StringN(0, 3, 6), func(s string) any { return s }))
	if depth == 0 {
		return scalars
	}
	return rapid.OneOf(scalars,
		rapid.Map(rapid.SliceOfN(values(depth-1), 0, 2), func(v []any) any { return v }),
		rapid.Map(objects(depth-1), func(v map[string]any) any { return v }))
}

func objects(depth int) *rapid.Generator[map[string]any] {
	return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), values(depth), 0, 4)
}

// What CreatePatch makes, MergePatch applies; and nothing is patched that is the same.
func TestCreatePatchIsWhatMergePatchApplies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		encoded := func(label string) json.RawMessage {
			b, err := json.Marshal(objects(3).Draw(t, label))
			if err != nil {
				t.Fatal(err)
			}
			canonical, err := state.MergePatch(nil, b)
			if err != nil {
				t.Fatal(err)
			}
			return canonical
		}
		before, after := encoded("before"), encoded("after")
		patch, err := state.CreatePatch(before, after)
		if err != nil {
			t.Fatal(err)
		}
		merged, err := state.MergePatch(before, patch)
		if err != nil || string(merged) != string(after) {
			t.Fatalf("%s patched by %s is %s, %v; want %s", before, patch, merged, err, after)
		}
		if (string(patch) == "{}") != (string(before) == string(after)) {
			t.Fatalf("the patch from %s to %s is %s", before, after, patch)
		}
	})
}

func TestCreatePatch(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":1,"b":2}`, `{"a":1}`, `{"b":null}`},
		{`{"a":1}`, `{"a":null,"b":null}`, `{"a":null}`},
		{`{"a": {"x": [1, 2], "y":1}}`, `{"a":{"x":[1,2],"y":2}}`, `{"a":{"y":2}}`},
		{`{"n":1.0}`, `{"n":1.00}`, `{"n":1.00}`},
	} {
		got, err := state.CreatePatch(raw(c[0]), raw(c[1]))
		if err != nil || string(got) != c[2] {
			t.Errorf("CreatePatch(%s, %s) = %s, %v; want %s", c[0], c[1], got, err, c[2])
		}
	}
	for _, c := range [][2]string{{`[]`, `{}`}, {`{}`, `1`}, {``, `{}`}} {
		if got, err := state.CreatePatch(raw(c[0]), raw(c[1])); err == nil {
			t.Errorf("CreatePatch(%q, %q) = %s, want an error", c[0], c[1], got)
		}
	}
}

func TestOutputEqual(t *testing.T) {
	a := state.Output{Type: raw(`"string"`), Value: raw(`["x", 1]`)}
	for _, c := range []struct {
		b    state.Output
		want bool
	}{
		{state.Output{Type: raw(`"string"`), Value: raw(`["x",1]`)}, true},
		{state.Output{Type: raw(`"string"`), Value: raw(`["x",2]`)}, false},
		{state.Output{Type: raw(`"number"`), Value: raw(`["x",1]`)}, false},
		{state.Output{Sensitive: true}, false},
	} {
		if a.Equal(c.b) != c.want || c.b.Equal(a) != c.want {
			t.Errorf("%v equal to %v: want %v", a, c.b, c.want)
		}
	}
}
