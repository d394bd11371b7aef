package view_test

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
	"github.com/zclconf/go-cty/cty"
	"pgregory.net/rapid"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
)

func markdown(t rapid.TB, p *plan.Plan) string {
	var out bytes.Buffer
	if err := (&view.Markdown{Out: &out, Tables: tables{}}).Plan(p); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestMarkdownOfEveryKind(t *testing.T) {
	got := regexp.MustCompile(`sha256:[0-9a-f]{64}`).ReplaceAllString(markdown(t, everyKind(t)), "sha256:…")
	const want = "## iexecform plan: 1 to add, 1 to adopt, 1 to change, 1 to replace, 1 to destroy, 1 to forget\n" + `
3 actions: 1 transaction (about 572,000 gas, 0.000057 ETH), 1 signature, 2 requests.

> [!WARNING]
> Left by an interrupted apply, to be taken up first:
> - transaction 0xabc, nonce 7, is not mined yet

### What stays buyable

- 'demo_thing.gone': 5 units at 2 coins<br>Whoever kept a copy can use it.

### Destroyed, replaced or forgotten

- '.' 'demo_thing.forgotten' will be forgotten (because it no longer exists)
- '-' 'demo_thing.gone' will be destroyed
- '+/-' 'demo_thing.many["k"]' must be replaced

<details><summary>Warnings (1)</summary>

- 'demo_thing.created.tags': the tag can move<br>Pin it.

</details>

<details><summary>Changes (6)</summary>

'''diff
  # demo_thing.adopted will be adopted: it exists already
  # (because it is there already)
    name   = "a"
    orders = {…} # 1 order
-   price  = 2 coins
+   price  = 3 coins
    secret = (sensitive value)
    tags   = ["x"]

+ # demo_thing.created will be created
+   labels  = {
+     "k" = "v"
+   }
+   name    = "c \"quoted\""
+   orders  = {…} # 2 orders
+   price   = 115792089237316195423570985008687907853269984665640564039457584007913129639935 coins
+   receipt = (known after apply)
+   secret  = (sensitive value)

! # demo_thing.forgotten will be forgotten
! # (because it no longer exists)
-   name = "f"

- # demo_thing.gone will be destroyed
-   name   = "g"
-   secret = (sensitive value)

! # demo_thing.many["k"] must be replaced
-   name = "a" # forces replacement
+   name = "b" # forces replacement
    # (4 unchanged attributes hidden)

! # demo_thing.updated will be updated in-place
-   price = 2 coins
+   price = 9 coins
    # (4 unchanged attributes hidden)

'''

</details>

<details><summary>Actions, in order (3)</summary>

'''text
1. make demo_thing.created: make c
   gas ≈ 572,000 (0.000057 ETH)
2. sign demo_thing.created: sign c
   1 signature
3. publish demo_thing.created: publish c
   after 1, 2; 2 requests
'''

</details>

<details><summary>Costs</summary>

| action | number | gas ≈ | fee ≈ | signatures | requests |
| --- | ---: | ---: | ---: | ---: | ---: |
| 'make' | 1 | 572,000 | 0.000057 ETH | 0 | 0 |
| 'sign' | 1 |  |  | 1 | 0 |
| 'publish' | 1 |  |  | 0 | 2 |

</details>

<details><summary>Changes to outputs (4)</summary>

'''diff
-   gone = true
+   late = (known after apply)
+   secret = (sensitive value)
-   size = 1
+   size = 2
'''

</details>

<details><summary>Checked again before anything is done (1)</summary>

'''text
action 3: the name is free
'''

</details>

<details><summary>Notes (1)</summary>

- 'demo_thing.same': 3 units were bought

</details>

---

'iexecform apply FILE' does just this plan, and refuses if something that it takes for granted has changed.

Digest: 'sha256:…' · provider demo: 'chain_id' 1 · workspace: default · state: empty · configuration: sha256: · made by: iexecform test
`
	if diff := cmp.Diff(strings.ReplaceAll(want, "'", "`"), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if strings.Contains(got, "hunter2") {
		t.Error("a sensitive value is printed")
	}
}

func TestMarkdownOfNothing(t *testing.T) {
	got := markdown(t, &plan.Plan{Tool: "test", Mode: plan.Normal, Workspace: "default", Complete: true})
	if !strings.HasPrefix(got, "## iexecform plan: No changes. Your apps and orders match the configuration.\n\n---\n") {
		t.Error(got)
	}
}

// manyOrders is a plan in which n objects go, n stay usable, and n are made.
func manyOrders(t testing.TB, n int) *plan.Plan {
	hash := strings.Repeat("0123456789abcdef", 4)
	one := cty.StringVal(hash)
	full := object(map[string]cty.Value{"name": one, "receipt": one, "price": cty.NumberIntVal(7)})
	p := &plan.Plan{Tool: "test", Mode: plan.Normal, Workspace: "default", Complete: true}
	for _, part := range []struct {
		name          string
		kind          providers.ChangeKind
		before, after schema.Object
	}{{"made", providers.Create, nothing, full}, {"gone", providers.Delete, full, nothing}} {
		for i := range n {
			c := plan.Change{Kind: part.kind, Before: part.before, After: part.after}
			c.Addr = instance(t, fmt.Sprintf("demo_thing.%s[%d]", part.name, i))
			p.Changes = append(p.Changes, c)
			p.Actions = append(p.Actions, providers.Action{ID: len(p.Actions) + 1, Kind: "do", Addr: c.Addr, Provider: "demo", Summary: "do " + hash, Cost: providers.Cost{Signatures: 1}})
			if part.kind == providers.Delete {
				p.Notices = append(p.Notices, plan.Notice{Addr: c.Addr, Notice: providers.Notice{
					Level: providers.Exposure, Summary: "order 0x" + hash + " stays usable by whoever has a copy: 1000 runs at 0.25 RLC", Detail: "Close it.",
				}})
			}
		}
	}
	return p
}

// However many changes there are, a comment fits, says what it leaves out, and names everything that goes or stays usable, as
// long as the names fit at all.
func TestMarkdownFits(t *testing.T) {
	for _, test := range []struct {
		n     int
		cut   string // what it says
		named bool
	}{
		{10, "", true},
		{100, "Of what is destroyed, replaced, forgotten or stays usable, everything is here.", true},
		{1000, "is all here, but by name only.", true},
		{6_000, "is only counted, by resource.", false},
	} {
		got := markdown(t, manyOrders(t, test.n))
		if len(got) > view.MarkdownLimit {
			t.Errorf("%d: %d bytes", test.n, len(got))
		}
		if !strings.Contains(got, test.cut) || (test.cut == "") == strings.Contains(got, "cut to fit") {
			t.Errorf("%d: doesn't say %q:\n%.600s", test.n, test.cut, got)
		}
		if n := 2 * test.n; !strings.Contains(got, fmt.Sprintf("Changes (%s)", thousands(n))) {
			t.Errorf("%d: doesn't tell the number of changes", test.n)
		}
		exposed, gone, _ := strings.Cut(got, "### Destroyed")
		gone, _, _ = strings.Cut(gone, "<details>")
		for i := range test.n {
			key := fmt.Sprintf("[%d]", i)
			if test.named && (!strings.Contains(exposed, key) || !strings.Contains(gone, key)) {
				t.Fatalf("%d: %s is not named", test.n, key)
			}
		}
		if count := thousands(test.n); !test.named && (!strings.Contains(exposed, count) || !strings.Contains(gone, count)) {
			t.Errorf("%d: what goes is not counted", test.n)
		}
	}
}

func thousands(n int) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Whatever names and texts hold, the comment has only our own headings and tags, no link, no image and no mention, and no
// character that acts on a terminal or reorders text.
func TestMarkdownIsNotFooled(t *testing.T) {
	evil := []string{
		"](https://evil.example)", "![x](https://evil.example/x.png)", "<img src=x onerror=alert(1)>", "</details></summary>", "<!--", "-->",
		"```", "````", "`", "``", "~~~", "\n", "\r\n", "\n\n# big", "\n---\n", "@everyone", "@a/b", "#1", "a/b#1", "https://evil.example", "www.evil.example", "me@evil.example",
		"**b**", "__b__", "_i_", "~~s~~", "[x]", "[^1]", "|", "| a | b |", "&lt;", "&#64;", "\\", "$x$", ":tada:", "> q", "1. one", "- two", "* three", "    code",
		"\x1b[2J", "\x1b]0;t\x07", "\x00", "\x9b", "\u202e", "\u2066", "\u200b", "\u2028", "\ufeff", "\xff", "word", "a", " ", "0.5", "0x12",
	}
	nasty := rapid.Map(rapid.SliceOfN(rapid.SampledFrom(evil), 0, 6), func(parts []string) string { return strings.Join(parts, "") })
	rapid.Check(t, func(t *rapid.T) {
		value := nasty.Draw(t, "value")
		text := nasty.Draw(t, "text")
		i := addr.Instance{Resource: addr.Resource{Type: "demo_thing", Name: "x"}, Key: addr.StringKey(nasty.Draw(t, "key"))}
		full := object(map[string]cty.Value{"name": cty.StringVal(value), "labels": cty.MapVal(map[string]cty.Value{value: cty.StringVal(text)})})
		notice := func(level providers.Level) plan.Notice {
			return plan.Notice{Addr: i, Notice: providers.Notice{Level: level, Summary: text, Detail: value}}
		}
		p := &plan.Plan{
			Tool: text, Mode: plan.Normal, Project: value, Workspace: text, Complete: true, Targets: []string{i.String(), text}, Pending: []string{value},
			Changes: []plan.Change{
				{Addr: i, Kind: providers.Replace, Before: full, After: object(map[string]cty.Value{"name": cty.StringVal(text)}), Because: []string{text}, Importing: value},
				{Addr: i, Kind: providers.Delete, Before: full, After: nothing, Because: []string{value}, MovedFrom: i},
			},
			Actions: []providers.Action{{ID: 1, Kind: "do", Addr: i, Summary: text, Expect: []providers.Precondition{{Summary: value}}}},
			Outputs: []plan.OutputChange{{Name: "o", Before: cty.NilVal, After: cty.StringVal(value)}},
			Notices: []plan.Notice{notice(providers.Exposure), notice(providers.Warning), notice(providers.Info)},
		}
		checkHarmless(t, markdown(t, p))
		if rapid.IntRange(0, 9).Draw(t, "cut") == 1 { // the same when it doesn't fit
			p.Notices = append(p.Notices, slices.Repeat([]plan.Notice{notice(providers.Exposure)}, 1000)...)
			checkHarmless(t, markdown(t, p))
		}
	})
}

var (
	ourTags     = regexp.MustCompile(`^(<details><summary>[A-Za-z, ]+(\([\d,]+\))?</summary>|</details>|<br>)$`)
	ourHeadings = regexp.MustCompile(`^(iexecform plan: .*|What stays buyable|Destroyed, replaced or forgotten)$`)
	mention     = regexp.MustCompile(`@|#\d|www\.|://`)
)

func checkHarmless(t *rapid.T, source string) {
	if len(source) > view.MarkdownLimit {
		t.Fatalf("%d bytes", len(source))
	}
	if !utf8.ValidString(source) {
		t.Fatal("not UTF-8")
	}
	for _, r := range source {
		if r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)) {
			t.Fatalf("character %U", r)
		}
	}
	b := []byte(source)
	document := goldmark.New(goldmark.WithExtensions(extension.GFM, extension.Footnote)).Parser().Parse(text.NewReader(b))
	fail := func(n ast.Node, what string) { t.Fatalf("%s %s in:\n%s", n.Kind(), what, source) }
	err := ast.Walk(document, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Link, *ast.AutoLink, *ast.Image, *ast.Emphasis:
			fail(n, "made of a text")
		case *ast.HTMLBlock:
			for i := range n.Lines().Len() {
				line := n.Lines().At(i)
				if tag := strings.TrimSpace(string(line.Value(b))); !ourTags.MatchString(tag) {
					fail(n, tag)
				}
			}
		case *ast.RawHTML:
			if tag := string(n.Segments.Value(b)); !ourTags.MatchString(tag) {
				fail(n, tag)
			}
		case *ast.Heading:
			var title bytes.Buffer
			for c := n.FirstChild(); c != nil; c = c.NextSibling() {
				if leaf, ok := c.(*ast.Text); ok {
					title.Write(leaf.Value(b))
				}
			}
			if !ourHeadings.Match(title.Bytes()) {
				fail(n, title.String())
			}
		case *ast.Text:
			if _, inCode := n.Parent().(*ast.CodeSpan); !inCode && mention.Match(n.Value(b)) {
				fail(n, string(n.Value(b)))
			}
		case *ast.CodeBlock, *ast.List, *ast.ThematicBreak:
			if _, top := n.Parent().(*ast.Document); n.Kind() == ast.KindCodeBlock || !top && n.Kind() == ast.KindThematicBreak {
				fail(n, "made of a text")
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
