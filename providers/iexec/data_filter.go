package iexec

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// A marketFilter is an argument that selects from a list of the market.
type marketFilter struct {
	schema.Attr
	param string       // the market's name for it; "" is the one for who signed an order
	of    []*poco.Kind // kinds of order that have it; nil: all
}

// limitAttr is the argument that ends a list early.
func limitAttr(what string) schema.Attr {
	return uintAttr(schema.Attr{Name: "limit", Mode: schema.Optional, Doc: "At most so many " + what + ". Left out: all."}, 1)
}

// limitOf is the value of limitAttr, 0 for none.
func limitOf(o object) int {
	if n := o.num("limit"); n != nil && n.IsInt64() {
		return int(n.Int64())
	}
	return 0
}

// marketQuery is the market's parameters for the filters that o sets. kind is nil where there are no kinds.
func marketQuery(o object, filters []marketFilter, kind *poco.Kind) (url.Values, error) {
	query := url.Values{}
	for _, f := range filters {
		v := o.v.Attr(f.Name)
		if v.IsNull() {
			continue
		}
		param := f.param
		if kind != nil {
			if f.of != nil && !slices.Contains(f.of, kind) {
				return nil, providers.At(f.Name, fmt.Errorf("the market can't select a %s by %s: leave it out", kind.Noun, f.Name))
			}
			if param == "" {
				param = ownerParam(kind)
			}
			if query.Has(param) {
				return nil, providers.At(f.Name, fmt.Errorf("a %s is signed by its %s: set only one of %s and %s", kind.Noun, param, param, f.Name))
			}
		}
		switch v.Type() {
		case cty.String:
			query.Set(param, v.AsString())
		case cty.Bool:
			query.Set(param, strconv.FormatBool(v.True()))
		default:
			n, err := bigInt(v)
			if err != nil {
				return nil, providers.At(f.Name, err)
			}
			query.Set(param, n.String())
		}
	}
	return query, nil
}

// ownerParam is the market's parameter for who signed an order.
func ownerParam(k *poco.Kind) string {
	if k == poco.RequestOrder {
		return k.Resource
	}
	return k.Resource + "Owner"
}

// addressOrAnyAttr is an address, or "any".
func addressOrAnyAttr(a schema.Attr) schema.Attr {
	a.Type, a.Form = cty.String, `address, or "any"`
	a.Parse = func(v cty.Value) (cty.Value, error) {
		if v.AsString() == "any" {
			return v, nil
		}
		v, err := parseAddress(v)
		if err != nil {
			err = errors.New(err.Error() + `, or "any"`)
		}
		return v, err
	}
	return a
}

// kindAttr is a kind of order by its noun.
func kindAttr(a schema.Attr) schema.Attr {
	var nouns []string
	for _, k := range poco.Kinds() {
		nouns = append(nouns, k.Noun)
	}
	return choiceAttr(a, nouns...)
}

// kindOf is the kind with that noun, or nil.
func kindOf(noun string) *poco.Kind {
	for _, k := range poco.Kinds() {
		if k.Noun == noun {
			return k
		}
	}
	return nil
}

// listOf is a list of objects of the type, which may be empty.
func listOf(typ cty.Type, values []cty.Value) cty.Value {
	if len(values) == 0 {
		return cty.ListValEmpty(typ)
	}
	return cty.ListVal(values)
}
