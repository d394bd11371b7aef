package config

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// locate is where a file named in the configuration is.
func locate(dir, path string) (string, error) {
	path, err := expandHome(path)
	if err != nil || filepath.IsAbs(path) {
		return path, err
	}
	return filepath.Join(dir, path), nil
}

func expandHome(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~")
	if !ok || rest != "" && rest[0] != '/' {
		return path, nil
	}
	home, err := os.UserHomeDir()
	return home + rest, err
}

func readFile(dir, path string) ([]byte, error) {
	at, err := locate(dir, path)
	if err != nil {
		return nil, function.NewArgError(0, err)
	}
	b, err := os.ReadFile(at)
	if err != nil {
		return nil, unknownFile(path, err)
	}
	return b, nil
}

func validText(b []byte) (string, error) {
	if !utf8.Valid(b) {
		return "", errors.New("is not UTF-8 text; use the base64 functions for other data")
	}
	return string(b), nil
}

func fileFunctions(dir string) map[string]function.Function {
	return map[string]function.Function{
		"abspath": textFunc(func(path string) (string, error) {
			at, err := locate(dir, path)
			if err != nil {
				return "", err
			}
			at, err = filepath.Abs(at)
			return filepath.ToSlash(at), err
		}),
		"basename":   textFunc(func(path string) (string, error) { return filepath.Base(path), nil }),
		"dirname":    textFunc(func(path string) (string, error) { return filepath.ToSlash(filepath.Dir(path)), nil }),
		"pathexpand": textFunc(expandHome),
		"file": textFunc(func(path string) (string, error) {
			b, err := readFile(dir, path)
			if err != nil {
				return "", err
			}
			return validText(b)
		}),
		"filebase64": textFunc(func(path string) (string, error) {
			b, err := readFile(dir, path)
			return base64.StdEncoding.EncodeToString(b), err
		}),
		"filesha256": textFunc(func(path string) (string, error) {
			b, err := readFile(dir, path)
			sum := sha256.Sum256(b)
			return hex.EncodeToString(sum[:]), err
		}),
		"fileexists": function.New(&function.Spec{
			Params: []function.Parameter{{Name: "path", Type: cty.String}},
			Type:   function.StaticReturnType(cty.Bool),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				at, err := locate(dir, args[0].AsString())
				if err != nil {
					return cty.UnknownVal(cty.Bool), function.NewArgError(0, err)
				}
				return cty.BoolVal(isFile(at)), nil
			},
		}),
		"fileset": fileSetFunc(dir),
	}
}

// fileSetFunc lists the files under a directory that match a pattern, relative to it; "**" stands for directories.
func fileSetFunc(dir string) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "pattern", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Set(cty.String)),
		Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
			root, err := locate(dir, args[0].AsString())
			if err != nil {
				return cty.UnknownVal(ty), function.NewArgError(0, err)
			}
			names, err := doublestar.Glob(os.DirFS(root), filepath.ToSlash(args[1].AsString()), doublestar.WithFilesOnly())
			if err != nil {
				return cty.UnknownVal(ty), function.NewArgError(1, err)
			}
			if len(names) == 0 {
				return cty.SetValEmpty(cty.String), nil
			}
			values := make([]cty.Value, len(names))
			for i, name := range names {
				values[i] = cty.StringVal(name)
			}
			return cty.SetVal(values), nil
		},
	})
}

// templateFileFunc fills a template with variables. The template may use all other functions.
func templateFileFunc(dir string, inner map[string]function.Function) function.Function {
	render := func(args []cty.Value) (cty.Value, error) {
		path := args[0].AsString()
		src, err := readFile(dir, path)
		if err != nil {
			return cty.DynamicVal, err
		}
		ty := args[1].Type()
		if !ty.IsObjectType() && !ty.IsMapType() {
			return cty.DynamicVal, function.NewArgErrorf(1, "must be an object or map of the template's variables")
		}
		expr, diags := hclsyntax.ParseTemplate(src, path, hcl.InitialPos)
		if diags.HasErrors() {
			return cty.DynamicVal, function.NewArgError(0, diags)
		}
		variables := args[1].AsValueMap()
		for _, t := range expr.Variables() {
			if _, ok := variables[t.RootName()]; !ok {
				return cty.DynamicVal, function.NewArgErrorf(1, "has no %q, which %s needs at line %d; it has: %s",
					t.RootName(), path, t.SourceRange().Start.Line, strings.Join(keysOf(variables), ", "))
			}
		}
		v, diags := expr.Value(&hcl.EvalContext{Variables: variables, Functions: inner})
		if diags.HasErrors() {
			return cty.DynamicVal, function.NewArgError(0, diags)
		}
		return v, nil
	}
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "vars", Type: cty.DynamicPseudoType}},
		Type: func(args []cty.Value) (cty.Type, error) {
			if !args[0].IsKnown() || !args[1].IsKnown() {
				return cty.DynamicPseudoType, nil
			}
			v, err := render(args)
			return v.Type(), err
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return render(args) },
	})
}
