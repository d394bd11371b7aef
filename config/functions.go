package config

import (
	"crypto/md5"  //nolint:gosec // for the functions of that name
	"crypto/sha1" //nolint:gosec // for the functions of that name
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"maps"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	yaml "github.com/zclconf/go-cty-yaml"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// Functions of the language: Terraform's pure ones under Terraform's names, with the same results, but for pow, which is
// exact for whole numbers. There is none whose result changes from one call to the next (see impure): a plan made twice from
// the same files must be the same. Files are relative to the configuration's directory.

// Functions is every function of the language by name, extra included: those that have to do with files are relative to dir.
func Functions(dir string, extra map[string]function.Function) map[string]function.Function {
	all := functions(dir, extra, newMeter())
	delete(all, meterName)
	return all
}

// impure are functions of Terraform that would make a plan differ from itself, with what to do instead.
var impure = map[string]string{
	"timestamp":     "Give the time in a variable: --var \"now=$(date -u +%Y-%m-%dT%H:%M:%SZ)\"",
	"plantimestamp": "Give the time in a variable: --var \"now=$(date -u +%Y-%m-%dT%H:%M:%SZ)\"",
	"uuid":          "Write the value down, or make one of what it depends on: sha256(...)",
	"bcrypt":        "Give the hash in a variable.",
}

// baseContext has what every expression may use.
func baseContext(dir string, extra map[string]function.Function, m *meter) *hcl.EvalContext {
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "."
	}
	return &hcl.EvalContext{
		Functions: functions(dir, extra, m),
		Variables: map[string]cty.Value{"path": cty.ObjectVal(map[string]cty.Value{
			"module": cty.StringVal("."), "root": cty.StringVal("."), "cwd": cty.StringVal(filepath.ToSlash(cwd)),
		})},
	}
}

func functions(dir string, extra map[string]function.Function, m *meter) map[string]function.Function {
	all := map[string]function.Function{
		"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc, "max": stdlib.MaxFunc,
		"min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": powFunc, "signum": stdlib.SignumFunc, "sum": sumFunc,

		"chomp": stdlib.ChompFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc, "indent": stdlib.IndentFunc,
		"join": stdlib.JoinFunc, "lower": stdlib.LowerFunc, "upper": stdlib.UpperFunc, "regex": stdlib.RegexFunc,
		"regexall": stdlib.RegexAllFunc, "regex_replace": stdlib.RegexReplaceFunc, "replace": replaceFunc, "split": stdlib.SplitFunc,
		"strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc, "title": stdlib.TitleFunc, "trim": stdlib.TrimFunc,
		"trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc,
		"startswith": testFunc(strings.HasPrefix), "endswith": testFunc(strings.HasSuffix), "strcontains": testFunc(strings.Contains),

		"alltrue": boolsFunc(true), "anytrue": boolsFunc(false), "chunklist": stdlib.ChunklistFunc, "coalesce": coalesceFunc,
		"coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc,
		"distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc, "index": indexFunc,
		"keys": stdlib.KeysFunc, "length": lengthFunc, "lookup": lookupFunc, "matchkeys": matchKeysFunc, "merge": stdlib.MergeFunc, "one": oneFunc,
		"range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc, "setintersection": stdlib.SetIntersectionFunc,
		"setproduct": stdlib.SetProductFunc, "setsubtract": stdlib.SetSubtractFunc, "setunion": stdlib.SetUnionFunc,
		"slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "transpose": transposeFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,

		"base64decode": textFunc(decodeBase64), "base64encode": textFunc(encodeBase64), "csvdecode": stdlib.CSVDecodeFunc,
		"jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc, "yamldecode": yaml.YAMLDecodeFunc,
		"yamlencode": yaml.YAMLEncodeFunc, "urlencode": textFunc(func(s string) (string, error) { return url.QueryEscape(s), nil }),
		"urldecode": textFunc(url.QueryUnescape), "base64gzip": textFunc(encodeGzip), "base64gunzip": textFunc(decodeGzip),

		"md5": hashFunc(md5.New, hex.EncodeToString), "sha1": hashFunc(sha1.New, hex.EncodeToString),
		"sha256": hashFunc(sha256.New, hex.EncodeToString), "sha512": hashFunc(sha512.New, hex.EncodeToString),
		"base64sha256": hashFunc(sha256.New, base64.StdEncoding.EncodeToString), "base64sha512": hashFunc(sha512.New, base64.StdEncoding.EncodeToString),

		"formatdate": stdlib.FormatDateFunc, "timeadd": stdlib.TimeAddFunc, "timecmp": timeCompareFunc,

		"can": tryfunc.CanFunc, "try": tryfunc.TryFunc,
		"tobool": stdlib.MakeToFunc(cty.Bool), "tonumber": stdlib.MakeToFunc(cty.Number), "tostring": stdlib.MakeToFunc(cty.String),
		"tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)), "tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)),
		"toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)),

		"sensitive": marksFunc(func(v cty.Value) cty.Value { return v.Mark(sensitiveMark) }), "issensitive": isSensitiveFunc,
		"nonsensitive": marksFunc(withoutSensitive), "ephemeralasnull": marksFunc(ephemeralAsNull),
	}
	maps.Copy(all, fileFunctions(dir))
	maps.Copy(all, extra)
	inner := m.functions(all)
	all["templatefile"], all["templatestring"] = templateFileFunc(dir, inner), templateStringFunc(inner)
	for name, doc := range functionDocs {
		f := all[name]
		params := make([]string, len(f.Params()))
		if f.VarParam() != nil {
			params = append(params, "")
		}
		all[name] = f.WithNewDescriptions(doc, params)
	}
	return m.functions(all)
}

// textFunc makes a function from string to string.
func textFunc(f func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "str", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := f(args[0].AsString())
			if err != nil {
				return cty.UnknownVal(cty.String), function.NewArgError(0, err)
			}
			return cty.StringVal(s), nil
		},
	})
}

func hashFunc(algorithm func() hash.Hash, encode func([]byte) string) function.Function {
	return textFunc(func(s string) (string, error) {
		h := algorithm()
		h.Write([]byte(s))
		return encode(h.Sum(nil)), nil
	})
}

func testFunc(f func(s, part string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "str", Type: cty.String}, {Name: "part", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

const exactBits = 512 // of cty numbers

// powFunc is exact where both numbers are whole and the power isn't negative, and a float64's else.
var powFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "num", Type: cty.Number}, {Name: "power", Type: cty.Number}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		num, power := args[0].AsBigFloat(), args[1].AsBigFloat()
		p, exact := power.Uint64()
		if !num.IsInt() || !power.IsInt() || exact != big.Exact {
			return stdlib.Pow(args[0], args[1])
		}
		base, _ := num.Int(nil)
		if uint64(base.BitLen()) > 1 && p > exactBits || uint64(base.BitLen())*p > 2*exactBits {
			return stdlib.Pow(args[0], args[1])
		}
		n := base.Exp(base, new(big.Int).SetUint64(p), nil)
		return cty.NumberVal(new(big.Float).SetPrec(exactBits).SetInt(n)), nil
	},
})

var sumFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if !args[0].CanIterateElements() || args[0].LengthInt() == 0 {
			return cty.UnknownVal(cty.Number), function.NewArgErrorf(0, "must be a list or set of at least one number")
		}
		total := cty.Zero
		for it := args[0].ElementIterator(); it.Next(); {
			_, v := it.Element()
			v, err := convert.Convert(v, cty.Number)
			if err != nil || v.IsNull() {
				return cty.UnknownVal(cty.Number), function.NewArgErrorf(0, "must be a list or set of numbers without null")
			}
			total = total.Add(v)
		}
		return total, nil
	},
})

// replaceFunc takes the part as a regular expression when it is between slashes.
var replaceFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "str", Type: cty.String}, {Name: "substr", Type: cty.String}, {Name: "replace", Type: cty.String}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		str, part, with := args[0].AsString(), args[1].AsString(), args[2].AsString()
		if len(part) > 1 && strings.HasPrefix(part, "/") && strings.HasSuffix(part, "/") {
			re, err := regexp.Compile(part[1 : len(part)-1])
			if err != nil {
				return cty.UnknownVal(cty.String), function.NewArgError(1, err)
			}
			return cty.StringVal(re.ReplaceAllString(str, with)), nil
		}
		return cty.StringVal(strings.ReplaceAll(str, part, with)), nil
	},
})

// boolsFunc is alltrue (all) or anytrue: whether the list has no false, or a true.
func boolsFunc(all bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "list", Type: cty.List(cty.Bool)}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			result := cty.BoolVal(all)
			for it := args[0].ElementIterator(); it.Next(); {
				_, v := it.Element()
				switch {
				case v.IsKnown() && (!v.IsNull() && v.True()) != all:
					return cty.BoolVal(!all), nil
				case !v.IsKnown():
					result = cty.UnknownVal(cty.Bool)
				}
			}
			return result, nil
		},
	})
}

// coalesceFunc is the first argument that is neither null nor empty text, as the type that all of them fit.
var coalesceFunc = function.New(&function.Spec{
	VarParam: &function.Parameter{Name: "vals", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowDynamicType: true, AllowNull: true},
	Type: func(args []cty.Value) (cty.Type, error) {
		types := make([]cty.Type, len(args))
		for i, v := range args {
			types[i] = v.Type()
		}
		ty, _ := convert.UnifyUnsafe(types)
		if ty == cty.NilType {
			return cty.NilType, errors.New("all arguments must have one type")
		}
		return ty, nil
	},
	Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
		for i, v := range args {
			v, err := convert.Convert(v, ty)
			switch {
			case err != nil:
				return cty.UnknownVal(ty), function.NewArgError(i, err)
			case !v.IsKnown():
				return cty.UnknownVal(ty), nil
			case v.IsNull() || v.Type() == cty.String && v.AsString() == "":
				continue
			}
			return v, nil
		}
		return cty.UnknownVal(ty), errors.New("all arguments are null or empty text")
	},
})

var indexFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}, {Name: "value", Type: cty.DynamicPseudoType}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if ty := args[0].Type(); !ty.IsListType() && !ty.IsTupleType() {
			return cty.UnknownVal(cty.Number), function.NewArgErrorf(0, "must be a list")
		}
		for it := args[0].ElementIterator(); it.Next(); {
			i, v := it.Element()
			same, err := stdlib.Equal(v, args[1])
			switch {
			case err != nil:
				return cty.UnknownVal(cty.Number), err
			case !same.IsKnown():
				return cty.UnknownVal(cty.Number), nil
			case same.True():
				return i, nil
			}
		}
		return cty.UnknownVal(cty.Number), function.NewArgErrorf(1, "is not in the list")
	},
})

// lengthFunc counts elements, or the characters of text.
var lengthFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowDynamicType: true, AllowMarked: true}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if args[0].Type() == cty.String {
			return stdlib.Strlen(args[0])
		}
		if ty := args[0].Type(); ty.IsObjectType() {
			_, marks := args[0].Unmark()
			return cty.NumberIntVal(int64(len(ty.AttributeTypes()))).WithMarks(marks), nil
		}
		return stdlib.Length(args[0])
	},
})

// lookupFunc is stdlib's with an optional default.
var lookupFunc = function.New(&function.Spec{
	Params:   []function.Parameter{{Name: "map", Type: cty.DynamicPseudoType, AllowMarked: true}, {Name: "key", Type: cty.String, AllowMarked: true}},
	VarParam: &function.Parameter{Name: "default", Type: cty.DynamicPseudoType, AllowMarked: true, AllowNull: true, AllowUnknown: true, AllowDynamicType: true},
	Type: func(args []cty.Value) (cty.Type, error) {
		switch len(args) {
		case 2:
			ty := args[0].Type()
			if ty.IsMapType() {
				return ty.ElementType(), nil
			}
			key, _ := args[1].Unmark()
			if ty.IsObjectType() && key.IsKnown() && ty.HasAttribute(key.AsString()) {
				return ty.AttributeType(key.AsString()), nil
			}
			if ty.IsObjectType() && key.IsKnown() {
				return cty.NilType, function.NewArgErrorf(1, "is no key of the given object, and there is no default")
			}
			return cty.DynamicPseudoType, nil
		case 3:
			return stdlib.LookupFunc.ReturnTypeForValues(args)
		}
		return cty.NilType, errors.New("takes a map, a key and at most one default")
	},
	Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
		if len(args) == 2 {
			return hclIndex(args[0], args[1])
		}
		return stdlib.Lookup(args[0], args[1], args[2])
	},
})

func hclIndex(collection, key cty.Value) (cty.Value, error) {
	v, diags := hcl.Index(collection, key, nil)
	if diags.HasErrors() {
		return cty.DynamicVal, function.NewArgErrorf(1, "is no key of the given map, and there is no default")
	}
	return v, nil
}

var oneFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}},
	Type: func(args []cty.Value) (cty.Type, error) {
		ty := args[0].Type()
		switch {
		case ty.IsListType() || ty.IsSetType():
			return ty.ElementType(), nil
		case ty.IsTupleType() && ty.Length() == 0:
			return cty.DynamicPseudoType, nil
		case ty.IsTupleType() && ty.Length() == 1:
			return ty.TupleElementType(0), nil
		}
		return cty.NilType, function.NewArgErrorf(0, "must be a list, set or tuple of one element or none")
	},
	Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
		switch args[0].LengthInt() {
		case 0:
			return cty.NullVal(ty), nil
		case 1:
			it := args[0].ElementIterator()
			it.Next()
			_, v := it.Element()
			return v, nil
		}
		return cty.UnknownVal(ty), function.NewArgErrorf(0, "must be a list, set or tuple of one element or none")
	},
})

// matchKeysFunc is the values whose keys, in the same places, are among those searched for.
var matchKeysFunc = function.New(&function.Spec{
	Params: []function.Parameter{
		{Name: "values", Type: cty.List(cty.DynamicPseudoType)}, {Name: "keys", Type: cty.List(cty.DynamicPseudoType)},
		{Name: "searchset", Type: cty.List(cty.DynamicPseudoType)},
	},
	Type: func(args []cty.Value) (cty.Type, error) {
		if ty, _ := convert.UnifyUnsafe([]cty.Type{args[1].Type(), args[2].Type()}); ty == cty.NilType {
			return cty.NilType, function.NewArgErrorf(2, "must have elements of the type that the keys have")
		}
		return args[0].Type(), nil
	},
	Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
		if args[0].LengthInt() != args[1].LengthInt() {
			return cty.UnknownVal(ty), function.NewArgErrorf(1, "must have as many elements as values has")
		}
		var found []cty.Value
		keys, wanted := args[1].AsValueSlice(), args[2].AsValueSlice()
		for i, v := range args[0].AsValueSlice() {
			for _, w := range wanted {
				same, err := stdlib.Equal(keys[i], w)
				if err != nil || !same.IsKnown() {
					return cty.UnknownVal(ty), err
				}
				if same.True() {
					found = append(found, v)
					break
				}
			}
		}
		if len(found) == 0 {
			return cty.ListValEmpty(ty.ElementType()), nil
		}
		return cty.ListVal(found), nil
	},
})

// timeCompareFunc is -1, 0 or 1 as the first time is before, at or after the second.
var timeCompareFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "a", Type: cty.String}, {Name: "b", Type: cty.String}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		var times [2]time.Time
		for i := range times {
			var err error
			if times[i], err = time.Parse(time.RFC3339, args[i].AsString()); err != nil {
				return cty.UnknownVal(cty.Number), function.NewArgErrorf(i, "must be a time such as 2006-01-02T15:04:05Z")
			}
		}
		return cty.NumberIntVal(int64(times[0].Compare(times[1]))), nil
	},
})

// transposeFunc turns a map of lists of keys into the map from each of these to its keys, sorted.
var transposeFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "map", Type: cty.Map(cty.List(cty.String))}},
	Type:   function.StaticReturnType(cty.Map(cty.List(cty.String))),
	Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
		if !args[0].IsWhollyKnown() {
			return cty.UnknownVal(ty), nil
		}
		lists := map[string][]cty.Value{}
		for it := args[0].ElementIterator(); it.Next(); {
			key, list := it.Element()
			if list.IsNull() {
				return cty.UnknownVal(ty), function.NewArgErrorf(0, "must not have null")
			}
			for items := list.ElementIterator(); items.Next(); {
				_, item := items.Element()
				if item.IsNull() {
					return cty.UnknownVal(ty), function.NewArgErrorf(0, "must not have null")
				}
				lists[item.AsString()] = append(lists[item.AsString()], key)
			}
		}
		if len(lists) == 0 {
			return cty.MapValEmpty(cty.List(cty.String)), nil
		}
		out := make(map[string]cty.Value, len(lists))
		for name, keys := range lists {
			out[name] = cty.ListVal(keys)
		}
		return cty.MapVal(out), nil
	},
})
