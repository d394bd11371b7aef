// Package iexecform_test keeps the shape of the module as ARCHITECTURE.md has it.
package iexecform_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/iexecform/iexecform/"

// An importRule says which packages of the module a package may import. "x/…" stands for x and anything below it.
type importRule struct {
	pkg     string
	imports []string
}

// mayImport makes dependencies point one way, tests aside. The first rule that matches a package is the one for it.
var mayImport = []importRule{
	{"config/addr", nil},
	{"config/schema", nil},
	{"plan/dag", nil},
	{"internal/bounds", nil},
	{"internal/wording", nil},
	{"config", []string{"config/addr", "config/schema"}},
	{"state", []string{"config/addr", "internal/wording"}},
	{"state/…", []string{"config/addr", "internal/wording", "state", "state/…"}},
	{"plan/suite", []string{"config", "config/addr", "config/schema", "state", "state/memory", "providers", "plan", "plan/apply"}},
	{"providers", []string{"config/addr", "config/schema", "state"}},
	{"providers/iexec/poco", nil},
	{"providers/docker", []string{"internal/wording"}},
	{"providers/iexec/…", []string{"config/addr", "config/schema", "internal/wording", "state", "providers", "providers/docker", "providers/oci", "providers/retry", "providers/trace", "providers/trial", "providers/iexec/…"}},
	{"providers/builtin", []string{"config/schema", "state", "state/local", "providers"}},
	{"providers/providertest", []string{"config", "config/addr", "state", "state/local", "plan", "plan/apply", "providers"}},
	{"providers/…", []string{"config/addr", "config/schema", "internal/wording", "state", "providers", "providers/docker", "providers/retry", "providers/trace"}},
	{"plan", []string{"config", "config/addr", "config/schema", "internal/wording", "state", "providers"}},
	{"plan/apply", []string{"config", "config/addr", "config/schema", "state", "providers", "plan", "plan/dag"}},
	{"cmd/…", []string{"cmd/…", "config/…", "internal/wording", "plan/…", "providers/…", "state/…"}},
}

func matches(pattern, pkg string) bool {
	top, below := strings.CutSuffix(pattern, "/…")
	return pkg == top || below && strings.HasPrefix(pkg, top+"/")
}

// goFiles returns the module's Go files without tests, by package.
func goFiles(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := d.Name(); d.IsDir() && name != "." && (base == "testdata" || base == "node_modules" || base[0] == '.' || base[0] == '_') {
			return fs.SkipDir
		}
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			pkg := path.Dir(filepath.ToSlash(name))
			files[pkg] = append(files[pkg], name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestDependenciesPointOneWay(t *testing.T) {
	files := goFiles(t)
	if len(files) < 10 {
		t.Fatalf("found only %d packages", len(files))
	}
	for pkg, names := range files {
		rule := slices.IndexFunc(mayImport, func(r importRule) bool { return matches(r.pkg, pkg) })
		if rule < 0 {
			t.Errorf("package %s has no place in the architecture: add a rule for it to mayImport", pkg)
			continue
		}
		for _, name := range names {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range file.Imports {
				imported, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module)
				if ours && !slices.ContainsFunc(mayImport[rule].imports, func(p string) bool { return matches(p, imported) }) {
					t.Errorf("%s imports %s: %s may import %v only", name, imported, pkg, mayImport[rule].imports)
				}
			}
		}
	}
}

// The engine knows values, graphs and state. It has never heard of Ethereum, registries, or the network.
func TestEngineKnowsNoNetwork(t *testing.T) {
	goFiles(t) // the test's result depends on these files
	engine := []string{"./config/...", "./plan/...", "./state", "./providers"}
	out, err := exec.Command("go", append([]string{"list", "-deps"}, engine...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, module+"plan/apply") {
		t.Fatalf("go list -deps lists no plan/apply: %s", out)
	}
	for _, dep := range deps {
		for _, foreign := range []string{"net/http", "github.com/ethereum/go-ethereum", "github.com/google/go-containerregistry"} {
			if dep == foreign || strings.HasPrefix(dep, foreign+"/") {
				t.Errorf("the engine depends on %s: see why with `go mod why` or `go list -deps`", dep)
			}
		}
	}
}

// link is a Markdown link to a file of the module: [text](path), text in backquotes when it is a name in Go.
var link = regexp.MustCompile("\\[(`?)([^\\]`]+)`?\\]\\(([^)#:]+)(?:#[^)]*)?\\)")

// In ARCHITECTURE.md, [`Name`](path/to/file.go) means that the file declares Name; a method is Type.Method, and a
// package's name may stand in front.
func TestArchitectureLinks(t *testing.T) {
	names := 0
	for _, document := range []string{"ARCHITECTURE.md", "README.md", "CONTRIBUTING.md", "SECURITY.md"} {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			quoted, name, target := m[1] != "", m[2], m[3]
			if _, err := os.Stat(filepath.FromSlash(target)); err != nil {
				t.Errorf("%s: [%s](%s): %v", document, name, target, err)
				continue
			}
			if !quoted || !strings.HasSuffix(target, ".go") || strings.HasSuffix(name, ".go") {
				continue
			}
			if document == "ARCHITECTURE.md" {
				names++
			}
			pkg, declared := declarations(t, target)
			if !slices.Contains(declared, strings.TrimSuffix(strings.TrimPrefix(name, pkg+"."), "()")) {
				t.Errorf("%s: [`%s`](%s): the file declares no %s", document, name, target, name)
			}
		}
	}
	if names == 0 {
		t.Error("ARCHITECTURE.md links to nothing in the code: it must trace a plan and an apply with links of the form [`Name`](path/to/file.go)")
	}
}

// testLink is a link to a test: of Go, or a script.
var testLink = regexp.MustCompile("\\[`(Test|Fuzz)\\w+`\\]\\(\\S+_test\\.go\\)|\\]\\(cmd/iexecform/testdata/\\S+\\.txtar\\)")

// Each line of the table in SECURITY.md claims something, and names a test of it; TestArchitectureLinks sees to it that the test is
// there.
func TestSecurityClaims(t *testing.T) {
	text, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	claims := 0
	for row := range strings.Lines(string(text)) {
		if !strings.HasPrefix(row, "| ") || strings.HasPrefix(row, "| ---") || strings.HasPrefix(row, "| Claim") {
			continue
		}
		if claims++; !testLink.MatchString(row) {
			t.Errorf("SECURITY.md: no test of %s", row)
		}
	}
	if claims < 20 {
		t.Errorf("SECURITY.md makes %d claims only: its table isn't read", claims)
	}
}

// declarations returns a file's package name and what it declares at top level; methods as Type.Method.
func declarations(t *testing.T, name string) (pkg string, declared []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			prefix := ""
			if d.Recv != nil {
				prefix = receiver(d.Recv.List[0].Type) + "."
			}
			declared = append(declared, prefix+d.Name.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					declared = append(declared, s.Name.Name)
					if i, ok := s.Type.(*ast.InterfaceType); ok {
						for _, m := range i.Methods.List {
							for _, n := range m.Names {
								declared = append(declared, s.Name.Name+"."+n.Name)
							}
						}
					}
				case *ast.ValueSpec:
					for _, n := range s.Names {
						declared = append(declared, n.Name)
					}
				}
			}
		}
	}
	return file.Name.Name, declared
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}
