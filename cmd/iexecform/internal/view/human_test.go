package view_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
)

// tables knows one type of resource.
type tables struct{}

var thing = schema.Table{Type: "demo_thing", Attrs: []schema.Attr{
	{Name: "name", Type: cty.String, ForceNew: true},
	{Name: "price", Type: cty.Number, Format: func(v cty.Value) string { return v.AsBigFloat().Text('f', 0) + " coins" }},
	{Name: "tags", Type: cty.List(cty.String)},
	{Name: "labels", Type: cty.Map(cty.String)},
	{Name: "secret", Type: cty.String, Sensitive: true},
	{Name: "receipt", Type: cty.String},
	{Name: "orders", Type: cty.Map(cty.Object(map[string]cty.Type{"hash": cty.String}))},
}}

func (tables) DataTable(string) *schema.Table { return nil }

func (tables) ResourceTable(typ string) *schema.Table {
	if typ == thing.Type {
		return &thing
	}
	return nil
}

// object makes a thing; attributes that are not given are null.
func object(attrs map[string]cty.Value) schema.Object { return thing.Blank().With(attrs) }

var nothing = thing.NullObject()

func instance(t testing.TB, text string) addr.Instance {
	t.Helper()
	i, err := addr.ParseInstance(text)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func orders(hashes ...string) cty.Value {
	m := map[string]cty.Value{}
	for _, h := range hashes {
		m[h] = cty.ObjectVal(map[string]cty.Value{"hash": cty.StringVal(h)})
	}
	return cty.MapVal(m)
}

// everyKind is a plan with a change of each kind.
func everyKind(t testing.TB) *plan.Plan {
	big256 := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	volume := cty.NumberVal(new(big.Float).SetPrec(512).SetInt(big256))
	existing := map[string]cty.Value{
		"name": cty.StringVal("a"), "price": cty.NumberIntVal(2), "tags": cty.ListVal([]cty.Value{cty.StringVal("x")}),
		"secret": cty.StringVal("hunter2"), "orders": orders("0x1"),
	}
	with := func(name string, v cty.Value) schema.Object {
		changed := map[string]cty.Value{}
		for n, old := range existing {
			changed[n] = old
		}
		changed[name] = v
		return object(changed)
	}
	i := func(text string) addr.Instance { return instance(t, text) }
	return &plan.Plan{
		Tool: "test", Mode: plan.Normal, Workspace: "default", Complete: true,
		Providers: []plan.Provider{{Addr: addr.Provider{Name: "demo"}, Config: cty.EmptyObjectVal, Network: map[string]string{"chain_id": "1"}}},
		Changes: []plan.Change{
			{Addr: i("demo_thing.adopted"), Kind: providers.Adopt, Before: object(existing), After: with("price", cty.NumberIntVal(3)), Because: []string{"it is there already"}},
			{Addr: i("demo_thing.created"), Kind: providers.Create, Before: nothing, After: object(map[string]cty.Value{
				"name": cty.StringVal("c \"quoted\""), "price": volume, "receipt": cty.UnknownVal(cty.String), "secret": cty.StringVal("hunter2"),
				"labels": cty.MapVal(map[string]cty.Value{"k": cty.StringVal("v")}), "orders": orders("0x1", "0x2"),
			})},
			{Addr: i("demo_thing.forgotten"), Kind: providers.Forget, Before: object(map[string]cty.Value{"name": cty.StringVal("f")}), After: nothing, Because: []string{"it no longer exists"}},
			{Addr: i("demo_thing.gone"), Kind: providers.Delete, Before: object(map[string]cty.Value{"name": cty.StringVal("g"), "secret": cty.StringVal("hunter2")}), After: nothing},
			{Addr: i(`demo_thing.many["k"]`), Kind: providers.Replace, Before: object(existing), After: with("name", cty.StringVal("b"))},
			{Addr: i("demo_thing.same"), Kind: providers.NoOp, Before: object(existing), After: object(existing)},
			{Addr: i("demo_thing.updated"), Kind: providers.Update, Before: object(existing), After: with("price", cty.NumberIntVal(9))},
		},
		Actions: []providers.Action{
			{ID: 1, Kind: "make", Addr: i("demo_thing.created"), Provider: "demo", Summary: "make c", Cost: providers.Cost{Gas: 572000, Fee: "57200000000000"}},
			{ID: 2, Kind: "sign", Addr: i("demo_thing.created"), Provider: "demo", Summary: "sign c", Cost: providers.Cost{Signatures: 1}},
			{ID: 3, Kind: "publish", Addr: i("demo_thing.created"), Provider: "demo", Summary: "publish c", After: []int{1, 2}, Cost: providers.Cost{Requests: 2},
				Expect: []providers.Precondition{{Kind: "free", Summary: "the name is free"}}},
		},
		Outputs: []plan.OutputChange{
			{Name: "gone", Before: cty.True, After: cty.NilVal},
			{Name: "late", Before: cty.NilVal, After: cty.UnknownVal(cty.String)},
			{Name: "same", Before: cty.True, After: cty.True},
			{Name: "secret", Before: cty.NilVal, After: cty.NullVal(cty.DynamicPseudoType), Sensitive: true},
			{Name: "size", Before: cty.NumberIntVal(1), After: cty.NumberIntVal(2)},
		},
		Notices: []plan.Notice{
			{Addr: i("demo_thing.gone"), Notice: providers.Notice{Level: providers.Exposure, Summary: "5 units at 2 coins", Detail: "Whoever kept a copy can use it."}},
			{Addr: i("demo_thing.created"), Notice: providers.Notice{Level: providers.Warning, Summary: "the tag can move", Attr: "tags", Detail: "Pin it."}},
			{Addr: i("demo_thing.same"), Notice: providers.Notice{Level: providers.Info, Summary: "3 units were bought"}},
		},
		Pending: []string{"transaction 0xabc, nonce 7, is not mined yet"},
	}
}

func human(out, err *bytes.Buffer) *view.Human {
	return &view.Human{Streams: view.Streams{Out: out, Err: err, Width: view.DefaultWidth}, Tables: tables{}}
}

func TestPlanOfEveryKind(t *testing.T) {
	var out bytes.Buffer
	if err := human(&out, &out).Plan(everyKind(t)); err != nil {
		t.Fatal(err)
	}
	const want = `Symbols of what will happen:
  + create
  ^ adopt
  ~ update in-place
  +/- replace: make a new one, withdraw the old one
  - destroy
  . forget

  # demo_thing.adopted will be adopted: it exists already
  # (because it is there already)
  ^ resource "demo_thing" "adopted" {
        name   = "a"
        orders = {…} # 1 order
      ~ price  = 2 coins -> 3 coins
        secret = (sensitive value)
        tags   = ["x"]
    }

  # demo_thing.created will be created
  + resource "demo_thing" "created" {
      + labels  = {
          "k" = "v"
        }
      + name    = "c \"quoted\""
      + orders  = {…} # 2 orders
      + price   = 115792089237316195423570985008687907853269984665640564039457584007913129639935 coins
      + receipt = (known after apply)
      + secret  = (sensitive value)
    }

  # demo_thing.forgotten will be forgotten
  # (because it no longer exists)
  . resource "demo_thing" "forgotten" {
      - name = "f" -> null
    }

  # demo_thing.gone will be destroyed
  - resource "demo_thing" "gone" {
      - name   = "g" -> null
      - secret = (sensitive value)
    }

  # demo_thing.many["k"] must be replaced
+/- resource "demo_thing" "many" {
      ~ name = "a" -> "b" # forces replacement
        # (4 unchanged attributes hidden)
    }

  # demo_thing.updated will be updated in-place
  ~ resource "demo_thing" "updated" {
      ~ price = 2 coins -> 9 coins
        # (4 unchanged attributes hidden)
    }

Actions, in order:

  1. make     demo_thing.created: make c
              gas ≈ 572,000 (0.000057 ETH)
  2. sign     demo_thing.created: sign c
              1 signature
  3. publish  demo_thing.created: publish c
              after 1, 2; 2 requests

What stays buyable:

  - demo_thing.gone: 5 units at 2 coins
    Whoever kept a copy can use it.

Warning: demo_thing.created.tags: the tag can move
  Pin it.

Notes:

  - demo_thing.same: 3 units were bought

Left by an interrupted apply, to be taken up first:

  - transaction 0xabc, nonce 7, is not mined yet

Changes to Outputs:
  - gone   = true -> null
  + late   = (known after apply)
  + secret = (sensitive value)
  ~ size   = 1 -> 2

Plan: 1 to add, 1 to adopt, 1 to change, 1 to replace, 1 to destroy, 1 to forget.
Actions: 3 — 1 transaction (about 572,000 gas, 0.000057 ETH), 1 signature, 2 requests.
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

// Colour adds to the text and changes none of it.
func TestColourChangesNoText(t *testing.T) {
	var plain, colourful bytes.Buffer
	h := human(&plain, &plain)
	if err := h.Plan(everyKind(t)); err != nil {
		t.Fatal(err)
	}
	h.Out, h.Colour = &colourful, true
	if err := h.Plan(everyKind(t)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plain.String(), "\x1b") {
		t.Error("text without colour has escape sequences")
	}
	stripped := regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(colourful.String(), "")
	if diff := cmp.Diff(plain.String(), stripped); diff != "" || plain.Len() == colourful.Len() {
		t.Errorf("with colour the text differs, or has none (-plain +colour):\n%s", diff)
	}
}

func TestPlanOfNothing(t *testing.T) {
	for mode, want := range map[plan.Mode]string{
		plan.Normal:      "No changes. Your apps and orders match the configuration.\n",
		plan.RefreshOnly: "No changes. The state matches what exists.\n",
		plan.Destroy:     "No changes. Nothing is left to destroy.\n",
	} {
		var out bytes.Buffer
		if err := human(&out, &out).Plan(&plan.Plan{Mode: mode, Complete: true}); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%s: got %q, want %q", mode, out.String(), want)
		}
	}
}

func TestJSONPlan(t *testing.T) {
	var out bytes.Buffer
	if err := (&view.JSON{Out: &out, Tables: tables{}}).Plan(everyKind(t)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Error("a sensitive value is in the document")
	}
	type change struct {
		Actions      []string
		Before       map[string]any
		After        map[string]any
		AfterUnknown map[string]any `json:"after_unknown"`
		Importing    *struct{ ID string }
	}
	var doc struct {
		FormatVersion   string `json:"format_version"`
		Applyable       bool
		ResourceChanges []struct {
			Address string
			Index   any
			Change  change
			Reason  string `json:"action_reason"`
		} `json:"resource_changes"`
		OutputChanges map[string]struct{ Actions []string } `json:"output_changes"`
		Iexecform     struct {
			Actions       []map[string]any
			Preconditions []map[string]any
			Costs         map[string]any
			Pending       []string
		}
	}
	dec := json.NewDecoder(&out)
	dec.UseNumber()
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	actions := map[string]string{}
	for _, c := range doc.ResourceChanges {
		actions[c.Address] = strings.Join(c.Change.Actions, ",")
		switch c.Address {
		case "demo_thing.created":
			if got := c.Change.After["price"]; got != json.Number("115792089237316195423570985008687907853269984665640564039457584007913129639935") {
				t.Errorf("price is %v: not exact", got)
			}
			if c.Change.AfterUnknown["receipt"] != true || c.Change.Before != nil {
				t.Errorf("created: before %v, after_unknown %v", c.Change.Before, c.Change.AfterUnknown)
			}
		case "demo_thing.adopted":
			if c.Change.Importing == nil {
				t.Error("adopted: no importing")
			}
		case `demo_thing.many["k"]`:
			if c.Index != "k" || c.Reason != "replace_because_cannot_update" {
				t.Errorf("replaced: index %v, reason %q", c.Index, c.Reason)
			}
		}
	}
	want := map[string]string{
		"demo_thing.adopted": "update", "demo_thing.created": "create", "demo_thing.forgotten": "forget", "demo_thing.gone": "delete",
		`demo_thing.many["k"]`: "create,delete", "demo_thing.same": "no-op", "demo_thing.updated": "update",
	}
	if diff := cmp.Diff(want, actions); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
	if doc.FormatVersion != "1.2" || !doc.Applyable || len(doc.Iexecform.Actions) != 3 || len(doc.Iexecform.Preconditions) != 1 ||
		doc.Iexecform.Costs["fee_wei"] != "57200000000000" || len(doc.Iexecform.Pending) != 1 || doc.OutputChanges["gone"].Actions[0] != "delete" {
		t.Errorf("document: %+v", doc)
	}
}

func TestDiagnose(t *testing.T) {
	for text, want := range map[string][2]string{
		"no such file":                               {"No such file", ""},
		"a failed; do b. Then c":                     {"A failed", "Do b. Then c."},
		"a failed. Do b":                             {"A failed", "Do b."},
		"iexec_app.a: it failed. Do b":               {"iexec_app.a: it failed", "Do b."},
		"several:\n  - one\n  - two\nDo":             {"Several:", "  - one\n  - two\nDo."},
		"the answer was: " + strings.Repeat("x", 80): {"The answer was", strings.Repeat("x", 80)},
	} {
		d := view.Diagnose(errors.New(text))[0]
		detail := strings.TrimSuffix(d.Detail, ".")
		if d.Severity != hcl.DiagError || d.Summary != want[0] || !strings.EqualFold(detail, strings.TrimSuffix(want[1], ".")) {
			t.Errorf("%q: summary %q, detail %q; want %q", text, d.Summary, d.Detail, want)
		}
	}
}

func TestCompactWarnings(t *testing.T) {
	warning := &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Careful", Detail: "at length"}
	failure := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Broken", Detail: "in detail"}
	for name, c := range map[string]struct {
		diags hcl.Diagnostics
		shown bool
	}{
		"warnings alone": {hcl.Diagnostics{warning, warning}, false},
		"with an error":  {hcl.Diagnostics{warning, failure}, true},
	} {
		var out bytes.Buffer
		h := human(&out, &out)
		h.Compact = true
		if err := h.Diagnostics(c.diags, nil); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(out.String(), "At length"); got != c.shown || !strings.Contains(out.String(), "Careful") {
			t.Errorf("%s: details shown: %v, want %v:\n%s", name, got, c.shown, out.String())
		}
	}
}

func TestChoosePalette(t *testing.T) {
	for _, c := range []struct {
		terminal, never bool
		env             []string
		want            view.Palette
	}{
		{true, false, nil, true},
		{false, false, nil, false},
		{true, true, nil, false},
		{true, false, []string{"NO_COLOR=1"}, false},
		{true, false, []string{"NO_COLOR="}, true},
		{false, false, []string{"CLICOLOR_FORCE=1"}, true},
		{false, false, []string{"CLICOLOR_FORCE=0"}, false},
		{false, false, []string{"CLICOLOR_FORCE=1", "NO_COLOR=1"}, false},
		{true, false, []string{"TERM=dumb"}, false},
	} {
		if got := view.ChoosePalette(c.terminal, c.never, c.env); got != c.want {
			t.Errorf("terminal %v, never %v, %q: got %v", c.terminal, c.never, c.env, got)
		}
	}
}
