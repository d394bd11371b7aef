package errcode

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

const root = "../../../.."

// The packages of HCL whose diagnostics users meet.
var ofHCL = []string{"", "/hclsyntax", "/json", "/ext/typeexpr", "/ext/dynblock", "/hclparse"}

// No code is twice in the table, nor a summary, and each says what it means.
func TestTable(t *testing.T) {
	ids, summaries := map[string]bool{}, map[string]string{}
	last := ""
	for _, c := range table {
		if !regexp.MustCompile(`^IXF[0-9]{4}$`).MatchString(c.ID) || ids[c.ID] {
			t.Errorf("%s: malformed, or twice in the table", c.ID)
		}
		if c.ID <= last {
			t.Errorf("%s comes after %s", c.ID, last)
		}
		ids[c.ID], last = true, c.ID
		if c.Meaning == "" || !strings.HasSuffix(c.Meaning, ".") {
			t.Errorf("%s: meaning %q", c.ID, c.Meaning)
		}
		if len(c.Summaries) == 0 && c.is == nil && c.ID != Other {
			t.Errorf("%s is the code of nothing", c.ID)
		}
		for _, s := range c.Summaries {
			if other := summaries[s]; other != "" {
				t.Errorf("%q has the codes %s and %s", s, other, c.ID)
			}
			summaries[s] = c.ID
		}
	}
}

// Every summary that is in the source, ours and HCL's, has a code of its own; and the table has none that isn't there.
func TestEverySummaryHasACode(t *testing.T) {
	found := map[string]string{} // where it is
	ours := collect(t, sources(t))
	maps.Copy(found, collect(t, hclSources(t)))
	maps.Copy(found, ours)
	if len(ours) < 50 || len(found) < 150 {
		t.Fatalf("found only %d summaries of ours and %d in all", len(ours), len(found))
	}
	known := map[string]bool{}
	for _, c := range table {
		for _, s := range c.Summaries {
			if known[s] = true; found[s] == "" {
				t.Errorf("%s: nothing in the source has the summary %q", c.ID, s)
			}
		}
	}
	for _, summary := range slices.Sorted(maps.Keys(found)) {
		if !known[summary] {
			t.Errorf("%s: %q has no code: add it to the table in table.go", found[summary], summary)
		}
	}
}

// sources are the module's directories with Go files.
func sources(t *testing.T) []string {
	dirs := map[string]bool{}
	for _, top := range []string{"config", "plan", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && d.Name() == "lint" {
				return fs.SkipDir
			}
			if err == nil && strings.HasSuffix(name, ".go") {
				dirs[filepath.Dir(name)] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return slices.Sorted(maps.Keys(dirs))
}

func hclSources(t *testing.T) []string {
	args := []string{"list", "-f", "{{.Dir}}"}
	for _, pkg := range ofHCL {
		args = append(args, "github.com/hashicorp/hcl/v2"+pkg)
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Fields(string(out))
}

// collect finds the summaries that Go files give to diagnostics: in literals that have a Severity, too, in calls of functions
// with a parameter of the name summary, in literals of types with such a field, and in tables whose name ends in Summaries.
// What is computed stands as "*".
func collect(t *testing.T, dirs []string) map[string]string {
	t.Helper()
	set := token.NewFileSet()
	type pkg struct {
		files  []*ast.File
		consts map[string]string
		params params
	}
	var pkgs []pkg
	found := map[string]string{}
	everywhere := params{}
	for _, dir := range dirs {
		p := pkg{consts: map[string]string{}, params: params{}}
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") || filepath.Base(name) == "lint.go" { // findings have the names of their rules
				continue
			}
			file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			p.files = append(p.files, file)
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.TypeSpec:
					if t, ok := n.Type.(*ast.StructType); ok {
						for i, field := range fieldNames(t.Fields) {
							if field == "summary" {
								p.params[n.Name.Name] = append(p.params[n.Name.Name], i)
							}
						}
					}
				case *ast.ValueSpec:
					if strings.HasSuffix(n.Names[0].Name, "Summaries") && len(n.Values) == 1 {
						for _, e := range n.Values[0].(*ast.CompositeLit).Elts {
							text := evaluator{}.texts(e.(*ast.KeyValueExpr).Value)[0]
							found[text] = set.Position(e.Pos()).String()
						}
					}
					for i, name := range n.Names {
						if i < len(n.Values) {
							if text, ok := n.Values[i].(*ast.BasicLit); ok && text.Kind == token.STRING {
								p.consts[name.Name], _ = strconv.Unquote(text.Value)
							}
						}
					}
				case *ast.FuncDecl:
					for i, name := range fieldNames(n.Type.Params) {
						if name == "summary" {
							p.params[n.Name.Name] = append(p.params[n.Name.Name], i)
							if n.Name.IsExported() {
								everywhere[n.Name.Name] = append(everywhere[n.Name.Name], i)
							}
						}
					}
				}
				return true
			})
		}
		pkgs = append(pkgs, p)
	}
	for _, p := range pkgs {
		for _, file := range p.files {
			for _, decl := range file.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				e := evaluator{consts: p.consts, function: f}
				for _, expr := range summariesOf(f, p.params, everywhere) {
					for _, text := range e.texts(expr) {
						if strings.Trim(text, "*") != "" && !strings.HasSuffix(text, ".") { // a sentence is no summary, but of a closure of the same name
							found[text] = set.Position(expr.Pos()).String()
						}
					}
				}
			}
		}
	}
	return found
}

func fieldNames(list *ast.FieldList) (names []string) {
	for _, field := range list.List {
		for _, name := range field.Names {
			names = append(names, name.Name)
		}
	}
	return names
}

// params is the positions of the parameter or field summary, by function or type.
type params map[string][]int

// summariesOf lists the expressions of a function that are summaries.
func summariesOf(f *ast.FuncDecl, own, everywhere params) (list []ast.Expr) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			name := ""
			switch fun := n.Fun.(type) {
			case *ast.Ident:
				name = fun.Name
			case *ast.SelectorExpr:
				name = fun.Sel.Name
			}
			positions := own[name]
			if positions == nil {
				positions = everywhere[name]
			}
			for _, at := range positions {
				if at < len(n.Args) {
					list = append(list, n.Args[at])
				}
			}
		case *ast.AssignStmt:
			if to, ok := n.Lhs[0].(*ast.SelectorExpr); ok && len(n.Lhs) == 1 && to.Sel.Name == "Summary" {
				list = append(list, n.Rhs[0])
			}
		case *ast.CompositeLit:
			if typ, ok := n.Type.(*ast.Ident); ok {
				for _, at := range own[typ.Name] {
					if at < len(n.Elts) {
						list = append(list, n.Elts[at])
					}
				}
			}
			fields := map[string]ast.Expr{}
			for _, e := range n.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok {
					if key, ok := kv.Key.(*ast.Ident); ok {
						fields[key.Name] = kv.Value
					}
				}
			}
			if fields["Severity"] != nil && fields["Summary"] != nil {
				list = append(list, fields["Summary"])
			}
		}
		return true
	})
	return list
}

// evaluator computes texts as far as the source tells.
type evaluator struct {
	consts   map[string]string
	function *ast.FuncDecl
}

var verb = regexp.MustCompile(`%[#+ 0-9.]*[a-z]`)

func (e evaluator) texts(expr ast.Expr) []string {
	switch x := expr.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(x.Value)
		return []string{text}
	case *ast.BinaryExpr:
		var all []string
		for _, left := range e.texts(x.X) {
			for _, right := range e.texts(x.Y) {
				all = append(all, left+right)
			}
		}
		return all
	case *ast.CallExpr:
		if f, ok := x.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
			if text, ok := x.Args[0].(*ast.BasicLit); ok {
				format, _ := strconv.Unquote(text.Value)
				return []string{verb.ReplaceAllString(format, "*")}
			}
		}
	case *ast.Ident:
		var all []string
		ast.Inspect(e.function, func(n ast.Node) bool {
			if a, ok := n.(*ast.AssignStmt); ok && len(a.Lhs) == len(a.Rhs) {
				for i, left := range a.Lhs {
					if name, ok := left.(*ast.Ident); ok && name.Name == x.Name && a.Rhs[i] != expr {
						all = append(all, e.texts(a.Rhs[i])...)
					}
				}
			}
			return true
		})
		if text, ok := e.consts[x.Name]; ok && len(all) == 0 {
			return []string{text}
		}
		if len(all) > 0 {
			return all
		}
	}
	return []string{"*"}
}

// Errors have the code of what is at their root, wherever they are wrapped.
func TestErrorsHaveCodes(t *testing.T) {
	for want, err := range map[string]error{
		"IXF2001": &state.LockedError{}, "IXF2002": &state.DamagedError{Err: errors.New("odd")}, "IXF2003": &state.NewerError{}, "IXF2004": &state.ConflictError{}, "IXF2006": &state.EditedError{},
		"IXF4001": &apply.StaleError{}, "IXF4002": &apply.PreconditionError{}, "IXF5002": &providers.HeldError{}, Other: os.ErrClosed,
	} {
		d := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Whatever it is", Extra: Cause{fmt.Errorf("wrapped: %w", err)}}
		if got := Of(d); got != want {
			t.Errorf("%T: code %s, want %s", err, got, want)
		}
	}
}

// A summary with parts that are computed has its code, and one that nothing knows the last resort.
func TestOf(t *testing.T) {
	for summary, want := range map[string]string{
		"Unknown resource type": "IXF1105", "Unsupported attribute": "IXF1203", "iexec_app.a: deploy failed": "IXF5001",
		"iexec_app.a: deploy is held": "IXF5002", "Something new": Other,
	} {
		if got := Of(&hcl.Diagnostic{Summary: summary}); got != want {
			t.Errorf("%q: code %s, want %s", summary, got, want)
		}
	}
}
