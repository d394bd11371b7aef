package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// DecodeObject makes an object of the type's schema from one of the state. Attributes that it lacks are null.
func DecodeObject(registry providers.Registry, typ string, object *state.Object) (schema.Object, error) {
	return newDecoder().object(registry, typ, object)
}

func (dec *decoder) object(registry providers.Registry, typ string, object *state.Object) (o schema.Object, err error) {
	table := registry.ResourceTable(typ)
	if table == nil {
		return o, fmt.Errorf("there is no resource type %s", typ)
	}
	if object.SchemaVersion > table.Version {
		return o, fmt.Errorf("its schema version is %d and this program knows %d: it was written by a newer iexecform", object.SchemaVersion, table.Version)
	}
	return dec.decode(object.Attributes, table)
}

// EncodeObject is the JSON of the known part of an object, as the state holds it: what is null or unknown is left out, at
// every depth. Numbers are exact.
func EncodeObject(o schema.Object) ([]byte, error) { return json.Marshal(known(o.Cty())) }

// known returns the known part of a value for encoding/json; nil when nothing is known.
func known(v cty.Value) any {
	if v.IsNull() || !v.IsKnown() {
		return nil
	}
	t := v.Type()
	switch {
	case t == cty.String:
		return v.AsString()
	case t == cty.Number:
		return json.Number(v.AsBigFloat().Text('f', -1))
	case t == cty.Bool:
		return v.True()
	case t.IsObjectType() || t.IsMapType():
		members := map[string]any{}
		for name, member := range v.AsValueMap() {
			if m := known(member); m != nil {
				members[name] = m
			}
		}
		return members
	}
	elements := []any{}
	for _, e := range v.AsValueSlice() {
		elements = append(elements, known(e))
	}
	return elements
}

// failed is the result of an instance that could not be planned.
func failed(in config.Instance, err error) config.Result {
	d := in.Diagnostic(hcl.DiagError, providers.AttrOf(err), "Planning failed", fmt.Sprintf("%s: %s.", in.Addr, textOf(err)))
	d.Extra = failure{textOf(err), cause{err}}
	return config.Result{Diags: hcl.Diagnostics{d}}
}

// cause is the Extra of a diagnostic that was made of an error.
type cause struct{ err error }

// Cause returns the error.
func (c cause) Cause() error { return c.err }

// caused makes an error a diagnostic's cause.
func caused(d *hcl.Diagnostic, err error) *hcl.Diagnostic {
	d.Extra = cause{err}
	return d
}

// failure is the Extra of failed's diagnostics: what went wrong, without where.
type failure struct {
	text string
	cause
}

// foldFailures keeps one of the failures of a block that have the same reason, and says how many there are: a network that
// is down is one message, not one an instance.
func foldFailures(diags hcl.Diagnostics) hcl.Diagnostics {
	type place struct{ text, at string }
	first := map[place]*hcl.Diagnostic{}
	more := map[place]int{}
	var kept hcl.Diagnostics
	for _, d := range diags {
		f, ok := d.Extra.(failure)
		if !ok {
			kept = append(kept, d)
			continue
		}
		at := place{text: f.text}
		if d.Subject != nil {
			at.at = d.Subject.String()
		}
		if first[at] != nil {
			more[at]++
			continue
		}
		first[at] = d
		kept = append(kept, d)
	}
	for at, n := range more {
		first[at].Detail += fmt.Sprintf(" The same goes for %d more instances of the block.", n)
	}
	return kept
}

// textOf is an error's text, in words, without the attribute's name in front and without a full stop at the end.
func textOf(err error) string {
	var at *providers.AttrError
	if errors.As(err, &at) && err == error(at) {
		err = at.Err
	}
	return strings.TrimRight(wording.Of(err).Error(), ". \n")
}

func errorf(summary, format string, args ...any) *hcl.Diagnostic {
	detail := fmt.Sprintf(format, args...)
	if r, n := utf8.DecodeRuneInString(detail); unicode.IsLower(r) && !strings.Contains(detail[:min(len(detail), 30)], "_") {
		detail = string(unicode.ToUpper(r)) + detail[n:]
	}
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail}
}

// redact is an object with the named attributes null; "block.attribute" names one of a nested object.
func redact(o schema.Object, names []string) schema.Object {
	if len(names) == 0 || o.IsNull() {
		return o
	}
	attrs := map[string]cty.Value{}
	for _, path := range names {
		name, below, nested := strings.Cut(path, ".")
		attr, done := attrs[name]
		if !done {
			attr = o.Attr(name)
		}
		switch {
		case !nested:
			attrs[name] = cty.NullVal(attr.Type())
		case !attr.IsNull() && attr.IsKnown():
			attrs[name] = redact(schema.ObjectOf(attr), []string{below}).Cty()
		}
	}
	return o.With(attrs)
}
