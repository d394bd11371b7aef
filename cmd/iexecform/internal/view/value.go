package view

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
)

const (
	unknownText   = "(known after apply)"
	sensitiveText = "(sensitive value)"
	writeOnlyText = "(write-only, kept nowhere)"
)

// attrText is an attribute's value as people read it: by its Format, or as HCL. Further lines are indented by indent.
func attrText(a *schema.Attr, v cty.Value, indent string) string {
	switch {
	case a != nil && a.Sensitive && !v.IsNull():
		return sensitiveText
	case a != nil && a.Format != nil && v.IsWhollyKnown() && !v.IsNull():
		return a.Format(v)
	}
	return valueText(v, indent)
}

// valueText is a value as HCL, with a remark for what is unknown. Short lists take one line.
func valueText(v cty.Value, indent string) string {
	switch {
	case v.IsMarked():
		return sensitiveText
	case v == cty.NilVal || v.IsNull():
		return "null"
	case !v.IsKnown():
		return unknownText
	case v.Type() == cty.String:
		return stringText(v, indent)
	case v.Type().IsPrimitiveType():
		return quoted(v)
	case v.LengthInt() == 0 && (v.Type().IsObjectType() || v.Type().IsMapType()):
		return "{}"
	case v.Type().IsObjectType(), v.Type().IsMapType():
		return mapText(v, indent)
	}
	return listText(v, indent)
}

// stringText is text as HCL: in quotes, of several lines as a heredoc, and what jsonencode makes of an object or a list as what
// it was made of. Each stands for exactly this text.
func stringText(v cty.Value, indent string) string {
	text := v.AsString()
	switch {
	case strings.HasSuffix(text, "\n") && plain(text) == text && !heredocEnd.MatchString(text):
		var b strings.Builder
		b.WriteString("<<-EOT\n")
		for line := range strings.Lines(strings.NewReplacer("${", "$${", "%{", "%%{").Replace(text)) {
			if line != "\n" {
				b.WriteString(indent + "  ")
			}
			b.WriteString(line)
		}
		return b.String() + indent + "EOT"
	case (strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[")) && len(text) <= maxJSON:
		if made, ok := encoded(text); ok {
			return "jsonencode(" + valueText(made, indent) + ")"
		}
	}
	return quoted(v)
}

// encoded is the value of which jsonencode makes just this text.
func encoded(text string) (cty.Value, bool) {
	t, err := ctyjson.ImpliedType([]byte(text))
	if err != nil {
		return cty.NilVal, false
	}
	v, err := plan.DecodeValue([]byte(text), t)
	if err != nil {
		return cty.NilVal, false
	}
	again, err := ctyjson.Marshal(v, t)
	return v, err == nil && string(again) == text
}

const maxJSON = 64 << 10 // bytes of text that is shown as what it was made of

var heredocEnd = regexp.MustCompile(`(?m)^[ \t]*EOT[ \t]*$`)

func quoted(v cty.Value) string { return string(hclwrite.TokensForValue(v).Bytes()) }

func mapText(v cty.Value, indent string) string {
	elements := v.AsValueMap()
	names := slices.Sorted(maps.Keys(elements))
	keys := make([]string, len(names))
	width := 0
	for i, name := range names {
		keys[i] = name
		if v.Type().IsMapType() || !hclsyntax.ValidIdentifier(name) {
			keys[i] = quoted(cty.StringVal(name))
		}
		width = max(width, len(keys[i]))
	}
	var b strings.Builder
	b.WriteString("{\n")
	for i, name := range names {
		fmt.Fprintf(&b, "%s  %-*s = %s\n", indent, width, keys[i], valueText(elements[name], indent+"  "))
	}
	b.WriteString(indent + "}")
	return b.String()
}

func listText(v cty.Value, indent string) string {
	var items []string
	flat := true
	for _, e := range v.AsValueSlice() {
		text := valueText(e, indent+"  ")
		flat = flat && !strings.Contains(text, "\n")
		items = append(items, text)
	}
	if line := "[" + strings.Join(items, ", ") + "]"; flat && len(line) <= 60 {
		return line
	}
	var b strings.Builder
	b.WriteString("[\n")
	for _, item := range items {
		b.WriteString(indent + "  " + item + ",\n")
	}
	b.WriteString(indent + "]")
	return b.String()
}

// isCollection reports whether a type is a collection of objects: too much to print among attributes.
func isCollection(t cty.Type) bool {
	return (t.IsMapType() || t.IsListType() || t.IsSetType()) && t.ElementType().IsObjectType()
}

// collectionSize is such as "2 orders" for an attribute named orders.
func collectionSize(name string, v cty.Value) string {
	n := 0
	if !v.IsNull() {
		if !v.IsKnown() {
			return unknownText
		}
		n = v.LengthInt()
	}
	return plural(n, strings.TrimSuffix(name, "s"))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%s %ss", grouped(fmt.Sprint(n)), noun)
}

// grouped puts commas between the thousands of a decimal integer.
func grouped(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
