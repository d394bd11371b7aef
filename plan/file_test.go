package plan_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/internal/bounds"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
)

func encode(t testing.TB, p *plan.Plan) []byte {
	t.Helper()
	document, _, err := plan.Encode(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// A plan that was changed by hand is refused, whatever was changed.
func TestDecodeRefusesChanges(t *testing.T) {
	document := encode(t, run(t, "testdata/replace.txtar").plan)
	body := bytes.Index(document, []byte(`"plan"`))
	for i := body + len(`"plan":`); i < len(document); i++ {
		for _, b := range []byte{document[i] ^ 1, '0', '"'} {
			changed := bytes.Clone(document)
			if changed[i] = b; changed[i] == document[i] {
				continue
			}
			if p, err := plan.Decode(changed, nil); err == nil && !sameButSpace(document, changed) {
				t.Fatalf("byte %d changed from %q to %q is not noticed:\n%s", i, document[i], b, p)
			}
		}
	}
}

func sameButSpace(a, b []byte) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

// White space carries no meaning: a plan may be formatted.
func TestDecodeCompact(t *testing.T) {
	p := run(t, "testdata/replace.txtar").plan
	var compact bytes.Buffer
	if err := json.Compact(&compact, encode(t, p)); err != nil {
		t.Fatal(err)
	}
	decoded, err := plan.Decode(compact.Bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if decoded.String() != p.String() {
		t.Errorf("decoded:\n%s\nmade:\n%s", decoded, p)
	}
}

func TestDecodeErrors(t *testing.T) {
	for name, c := range map[string]struct{ document, want string }{
		"empty":       {"", "not a plan file"},
		"not JSON":    {"PK\x03\x04", "not a plan file"},
		"other JSON":  {`{"version":1}`, "not a plan file"},
		"newer":       {`{"format":"iexecform-plan","version":2,"iexecform_version":"9.9","digest":"","plan":{}}`, "iexecform 9.9"},
		"no plan":     {`{"format":"iexecform-plan","version":1,"digest":""}`, "read plan file"},
		"null plan":   {`{"format":"iexecform-plan","version":1,"digest":"","plan":null}`, "changed after it was made"},
		"no version":  {`{"format":"iexecform-plan","digest":"sha256:00","plan":{}}`, "changed after it was made"},
		"bad digest":  {`{"format":"iexecform-plan","version":1,"digest":"sha256:00","plan":{}}`, "changed after it was made"},
		"state file":  {`{"version":1,"iexecform_version":"1","lineage":"x","serial":1}`, "iexecform plan --out"},
		"wrong types": {`{"format":1}`, "not a plan file"},
	} {
		if p, err := plan.Decode([]byte(c.document), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, error %v, want one with %q", name, p, err, c.want)
		}
	}
}

// A plan's secrets are not in its file.
func TestFileHoldsNoSecret(t *testing.T) {
	p := run(t, "testdata/outputs-sensitive.txtar").plan
	document := encode(t, p)
	for _, secret := range []string{"secret2", "hidden", "public"} {
		if bytes.Contains(document, []byte(secret)) {
			t.Errorf("%q is in the plan file:\n%s", secret, document)
		}
	}
	if len(p.Providers) != 1 || strings.Join(p.Providers[0].Sensitive, " ") != "password" {
		t.Errorf("providers %+v: apply can't know that the password is to be evaluated again", p.Providers)
	}
}

// Paths of unknown values are told apart even where their steps, written one after the other, read the same.
func TestUnknownPaths(t *testing.T) {
	unknown := cty.UnknownVal(cty.String)
	nested := func(a, b string, v cty.Value) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{a: cty.ObjectVal(map[string]cty.Value{b: v})})
	}
	for name, v := range map[string]cty.Value{
		"whole":   unknown,
		"dynamic": cty.DynamicVal,
		"object":  nested("a", "b", unknown),
		"list":    cty.ListVal([]cty.Value{cty.StringVal("x"), unknown, cty.NullVal(cty.String)}),
		"map":     cty.MapVal(map[string]cty.Value{"0": unknown, "1": cty.StringVal("")}),
		"tuple":   cty.TupleVal([]cty.Value{cty.Zero, nested("x", "y", unknown)}),
		"alike": cty.ObjectVal(map[string]cty.Value{
			"ab": nested("c", "d", unknown),
			"a":  cty.ObjectVal(map[string]cty.Value{"bc": cty.ObjectVal(map[string]cty.Value{"d": cty.NullVal(cty.String)})}),
		}),
		"spaces": cty.MapVal(map[string]cty.Value{
			"a b": cty.MapVal(map[string]cty.Value{"c": unknown}),
			"a":   cty.MapVal(map[string]cty.Value{"b c": cty.NullVal(cty.String)}),
		}),
		"set": cty.ObjectVal(map[string]cty.Value{"s": cty.SetVal([]cty.Value{cty.StringVal("x"), unknown})}),
		"set of objects": cty.SetVal([]cty.Value{
			cty.ObjectVal(map[string]cty.Value{"known": cty.True, "not": unknown}),
			cty.ObjectVal(map[string]cty.Value{"known": cty.False, "not": cty.StringVal("x")}),
		}),
		"number and text": cty.TupleVal([]cty.Value{
			cty.TupleVal([]cty.Value{unknown}),
			cty.ObjectVal(map[string]cty.Value{"0": cty.NullVal(cty.String)}),
		}),
	} {
		p := &plan.Plan{Mode: plan.Normal, Outputs: []plan.OutputChange{{Name: "o", After: v}}}
		decoded, err := plan.Decode(encode(t, p), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := v
		if strings.HasPrefix(name, "set") { // is unknown as a whole
			want = cty.UnknownVal(v.Type())
			if name == "set" {
				want = cty.ObjectVal(map[string]cty.Value{"s": cty.UnknownVal(cty.Set(cty.String))})
			}
		}
		if got := decoded.Outputs[0].After; !got.RawEquals(want) {
			t.Errorf("%s: got %#v, want %#v", name, got, want)
		}
		if got, want := decoded.String(), p.String(); got != want {
			t.Errorf("%s: decoded is %q, made was %q", name, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	a := addr.Instance{Resource: addr.Resource{Type: "fake_thing", Name: "a"}}
	p := &plan.Plan{
		Changes: []plan.Change{{Addr: a, Kind: providers.Create}, {Kind: providers.Create}, {Kind: providers.NoOp}},
		Actions: []providers.Action{
			{Cost: providers.Cost{Gas: 21000, Fee: "100000000000000000000"}},
			{Cost: providers.Cost{Signatures: 2, Requests: 3}},
			{Cost: providers.Cost{Gas: 1, Fee: "1"}},
			{},
		},
	}
	c := p.Count()
	if c.Changes[providers.Create] != 2 || c.Transactions != 2 || c.Gas != 21001 || c.Signatures != 2 || c.Requests != 3 ||
		c.FeeWei.String() != "100000000000000000001" {
		t.Errorf("got %+v", c)
	}
}

// FuzzDecode changes plans under a digest that fits: what can be decoded can be printed and encoded again, to the same.
func FuzzDecode(f *testing.F) {
	for _, path := range []string{"create", "replace", "outputs", "data-unused", "data-after", "check", "pending", "target"} {
		document := encode(f, run(f, filepath.Join("testdata", path+".txtar")).plan)
		var file struct{ Plan json.RawMessage }
		if err := json.Unmarshal(document, &file); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(file.Plan))
	}
	f.Add([]byte(`{}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"types":{"a_b":"string"},"changes":[{"addr":"a_b.c","kind":"create","after":{"value":"x"}}]}`))
	f.Add([]byte(`{"outputs":[{"name":"o","after":{"type":["list","string"],"value":["a"],"unknown":[[{}],[0],["x",1]]}}]}`))
	f.Add([]byte(`{"outputs":[{"name":"o","after":{"type":"number","value":1e999999999}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		defer bounds.Watch()()
		document, ok := plan.Sealed(body)
		if !ok {
			return
		}
		p, err := plan.Decode(document, nil)
		if err != nil {
			return
		}
		text := p.String()
		again, _, err := plan.Encode(p, nil)
		if err != nil {
			t.Fatalf("what was decoded can't be encoded: %v\n%s", err, document)
		}
		q, err := plan.Decode(again, nil)
		if err != nil {
			t.Fatalf("what was encoded can't be decoded: %v\n%s", err, again)
		}
		if q.String() != text {
			t.Fatalf("decoded:\n%s\nagain:\n%s", text, q)
		}
		if third, _, err := plan.Encode(q, nil); err != nil || !bytes.Equal(again, third) {
			t.Fatalf("another file (%v):\n%s\n%s", err, again, third)
		}
	})
}
