package config

import (
	"bytes"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

// Writing configuration. What is written means exactly the value: text as people read it ("1.5 RLC") is used only where
// it reads back as the same value. What a block says by leaving an attribute out is left out. Source makes
// the canonical style of the whole file.

// WriteResource appends the resource block of an object and returns its body, in which an attribute may be replaced, say by a
// reference. Null, computed and sensitive attributes and defaults are left out. The provider is written when it has an alias.
func WriteResource(f *hclwrite.File, t *schema.Table, r addr.Resource, p addr.Provider, o schema.Object) *hclwrite.Body {
	body := appendBlock(f, "resource", r.Type, r.Name)
	if p.Alias != "" {
		body.SetAttributeRaw("provider", raw(p.String()))
	}
	writeBody(body, t, o)
	return body
}

// WriteImport appends an import block.
func WriteImport(f *hclwrite.File, to addr.Instance, id string) {
	body := appendBlock(f, "import")
	body.SetAttributeRaw("to", raw(to.String()))
	body.SetAttributeValue("id", cty.StringVal(id))
}

// Source is the file in canonical style, one newline at its end.
func Source(f *hclwrite.File) []byte {
	return append(bytes.TrimRight(hclwrite.Format(f.Bytes()), "\n"), '\n')
}

// appendBlock appends a block with an empty line after it: to look whether one is needed before it would take time in
// proportion to the file.
func appendBlock(f *hclwrite.File, typ string, labels ...string) *hclwrite.Body {
	body := f.Body().AppendNewBlock(typ, labels).Body()
	f.Body().AppendNewline()
	return body
}

func writeAttrs(body *hclwrite.Body, attrs []schema.Attr, o schema.Object) {
	for i := range attrs {
		a := &attrs[i]
		value := o.Attr(a.Name)
		if !a.Mode.Settable() || a.Sensitive || value.IsNull() || a.Default != cty.NilVal && value.RawEquals(a.Default) {
			continue
		}
		if text, ok := readable(a, value); ok {
			body.SetAttributeRaw(a.Name, raw(text))
			continue
		}
		body.SetAttributeValue(a.Name, value)
	}
}

// readable is the value as people read it, if that means the same value.
func readable(a *schema.Attr, v cty.Value) (string, bool) {
	if a.Format == nil {
		return "", false
	}
	text := a.Format(v)
	expr, diags := hclsyntax.ParseExpression([]byte(text), "", hcl.InitialPos)
	if diags.HasErrors() {
		return "", false
	}
	back, diags := expr.Value(nil)
	if diags.HasErrors() || back.IsNull() {
		return "", false
	}
	if a.Accepts != cty.NilType {
		var err error
		if back, err = convert.Convert(back, a.Accepts); err != nil {
			return "", false
		}
	}
	if a.Parse != nil {
		var err error
		if back, err = a.Parse(back); err != nil {
			return "", false
		}
	}
	return text, back.RawEquals(v)
}

// raw is text that is HCL already.
func raw(text string) hclwrite.Tokens {
	return hclwrite.Tokens{{Type: hclsyntax.TokenIdent, Bytes: []byte(text)}}
}

// WriteProvider appends the provider block of an object and returns its body. Null and
// sensitive attributes and defaults are left out.
func WriteProvider(f *hclwrite.File, t *schema.Table, p addr.Provider, o schema.Object) *hclwrite.Body {
	body := appendBlock(f, "provider", p.Name)
	if p.Alias != "" {
		body.SetAttributeValue("alias", cty.StringVal(p.Alias))
	}
	writeBody(body, t, o)
	return body
}

func writeBody(body *hclwrite.Body, t *schema.Table, o schema.Object) {
	writeAttrs(body, t.Attrs, o)
	for _, b := range t.Blocks {
		if inner := o.Attr(b.Name); !inner.IsNull() {
			writeAttrs(body.AppendNewBlock(b.Name, nil).Body(), b.Attrs, schema.ObjectOf(inner))
		}
	}
}

// WriteComment appends comment lines to what comes next.
func WriteComment(f *hclwrite.File, text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight("# "+strings.TrimRight(line, "\n"), " ")
		f.Body().AppendUnstructuredTokens(hclwrite.Tokens{{Type: hclsyntax.TokenComment, Bytes: []byte(line + "\n")}})
	}
}
