package config

import (
	"crypto/md5"  //nolint:gosec // for the functions of that name
	"crypto/sha1" //nolint:gosec // for the functions of that name
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
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

// openFile opens a regular file: devices and pipes may have no end.
func openFile(dir, path string) (*os.File, error) {
	at, err := locate(dir, path)
	if err != nil {
		return nil, function.NewArgError(0, err)
	}
	if info, err := os.Stat(at); err == nil && !info.Mode().IsRegular() {
		return nil, function.NewArgErrorf(0, "%q is no file but a %s", path, kindOfFile(info.Mode()))
	}
	f, err := os.Open(at)
	if err != nil {
		return nil, unknownFile(path, err)
	}
	return f, nil
}

func kindOfFile(m fs.FileMode) string {
	if m.IsDir() {
		return "directory"
	}
	return "device or pipe"
}

func readFile(dir, path string) ([]byte, error) {
	f, err := openFile(dir, path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	switch {
	case err != nil:
		return nil, unknownFile(path, err)
	case len(b) > maxText:
		return nil, function.NewArgErrorf(0, "%q has more than %d MB", path, maxText>>20)
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
		"filemd5": fileHash(dir, md5.New, hex.EncodeToString), "filesha1": fileHash(dir, sha1.New, hex.EncodeToString),
		"filesha256": fileHash(dir, sha256.New, hex.EncodeToString), "filesha512": fileHash(dir, sha512.New, hex.EncodeToString),
		"filebase64sha256": fileHash(dir, sha256.New, base64.StdEncoding.EncodeToString),
		"filebase64sha512": fileHash(dir, sha512.New, base64.StdEncoding.EncodeToString),
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
		"fileset": fileSetFunc(dir, maxFiles),
	}
}

// fileHash makes a function from a file's name to the hash of its bytes.
func fileHash(dir string, algorithm func() hash.Hash, encode func([]byte) string) function.Function {
	return textFunc(func(path string) (string, error) {
		f, err := openFile(dir, path)
		if err != nil {
			return "", err
		}
		defer func() { _ = f.Close() }()
		h := algorithm()
		if _, err := io.Copy(h, f); err != nil {
			return "", unknownFile(path, err)
		}
		return encode(h.Sum(nil)), nil
	})
}

// limitedFS has no more than so many files.
type limitedFS struct {
	fs.FS
	left int
}

// ReadDir implements fs.ReadDirFS.
func (l *limitedFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if l.left < 0 {
		return nil, fs.ErrInvalid
	}
	entries, err := fs.ReadDir(l.FS, name)
	l.left -= len(entries)
	return entries, err
}

// fileSetFunc lists the files under a directory that match a pattern, relative to it; "**" stands for directories. It looks at
// most at so many files.
func fileSetFunc(dir string, most int) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}, {Name: "pattern", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Set(cty.String)),
		Impl: func(args []cty.Value, ty cty.Type) (cty.Value, error) {
			root, err := locate(dir, args[0].AsString())
			if err != nil {
				return cty.UnknownVal(ty), function.NewArgError(0, err)
			}
			files := &limitedFS{FS: os.DirFS(root), left: most}
			names, err := doublestar.Glob(files, filepath.ToSlash(args[1].AsString()), doublestar.WithFilesOnly())
			if err == nil && files.left < 0 {
				err = fmt.Errorf("there are more than %d files to look at", most)
			}
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

func unknownFile(path string, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return function.NewArgErrorf(0, "there is no file %q; paths are relative to the configuration's directory", path)
	}
	return function.NewArgError(0, fmt.Errorf("cannot read %q: %w", path, err))
}

// templateFileFunc fills a file with variables. The template may use all functions but those of templates.
func templateFileFunc(dir string, inner map[string]function.Function) function.Function {
	return templateFunc("path", func(arg, vars cty.Value) (cty.Value, error) {
		src, err := readFile(dir, arg.AsString())
		if err != nil {
			return cty.DynamicVal, err
		}
		return render(src, arg.AsString(), vars, inner)
	})
}

// templateStringFunc fills a text with variables, as templateFileFunc does with a file.
func templateStringFunc(inner map[string]function.Function) function.Function {
	return templateFunc("template", func(arg, vars cty.Value) (cty.Value, error) {
		return render([]byte(arg.AsString()), "the template", vars, inner)
	})
}

func templateFunc(param string, fill func(arg, vars cty.Value) (cty.Value, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: param, Type: cty.String}, {Name: "vars", Type: cty.DynamicPseudoType}},
		Type: func(args []cty.Value) (cty.Type, error) {
			if !args[0].IsKnown() || !args[1].IsKnown() {
				return cty.DynamicPseudoType, nil
			}
			v, err := fill(args[0], args[1])
			return v.Type(), err
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return fill(args[0], args[1]) },
	})
}

func render(src []byte, name string, vars cty.Value, inner map[string]function.Function) (cty.Value, error) {
	if ty := vars.Type(); !ty.IsObjectType() && !ty.IsMapType() {
		return cty.DynamicVal, function.NewArgErrorf(1, "must be an object or map of the template's variables")
	}
	if diags := tooNested(src, name, hclsyntax.LexTemplate); diags.HasErrors() {
		return cty.DynamicVal, function.NewArgError(0, diags)
	}
	expr, diags := hclsyntax.ParseTemplate(src, name, hcl.InitialPos)
	if diags.HasErrors() {
		return cty.DynamicVal, function.NewArgError(0, diags)
	}
	limits := &limiter{}
	_ = hclsyntax.Walk(expr, limits)
	if limits.diags.HasErrors() {
		return cty.DynamicVal, function.NewArgError(0, limits.diags)
	}
	variables := vars.AsValueMap()
	for _, t := range expr.Variables() {
		if _, ok := variables[t.RootName()]; !ok {
			return cty.DynamicVal, function.NewArgErrorf(1, "has no %q, which %s needs at line %d; it has: %s",
				t.RootName(), name, t.SourceRange().Start.Line, strings.Join(keysOf(variables), ", "))
		}
	}
	v, diags := expr.Value(&hcl.EvalContext{Variables: variables, Functions: inner})
	if diags.HasErrors() {
		return cty.DynamicVal, function.NewArgError(0, diags)
	}
	return v, nil
}
