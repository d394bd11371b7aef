package config

import (
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Modules finds the files of modules that are not local. A file of the configuration's directory tells what was fetched;
// nothing is fetched here.
type Modules interface {
	// Package returns the directory of what was fetched for a source, and the module's directory in it. The errors say what
	// to do.
	Package(source, version string) (root, dir string, err error)
}

// WithModules tells Load where modules are that are not local.
func WithModules(m Modules) LoadOption { return func(l *loader) { l.fetched = m } }

// IsLocal reports whether a module source is a directory of the file system: it begins with ./ or ../
func IsLocal(source string) bool {
	return source == "." || source == ".." || strings.HasPrefix(source, "./") || strings.HasPrefix(source, "../")
}

// sourceDir finds the directory of a call's module. What was fetched may refer to its own files only.
func (l *loader) sourceDir(n *node, source, version *hcl.Attribute) (root, dir string, ok bool) {
	rng, text, constraint := source.Expr.Range().Ptr(), n.call.source, ""
	if version != nil && !l.literal(version, &constraint) {
		return "", "", false
	}
	if IsLocal(text) {
		if version != nil {
			l.errorf(version.NameRange.Ptr(), "Invalid version", "A directory has no versions. Remove version from module.%s.", n.name)
			return "", "", false
		}
		dir = filepath.Join(l.dir, filepath.FromSlash(text))
		if l.root != "" && !inside(l.root, dir) {
			l.errorf(rng, "Module outside of its package", "%s leads out of what was fetched for %s. A module that is fetched may use its own directories only.", text, l.path)
			return "", "", false
		}
		return l.root, dir, true
	}
	if l.fetched == nil {
		l.errorf(rng, "Module not installed", "module.%s is fetched from %s, and this command knows of local modules only.", n.name, text)
		return "", "", false
	}
	root, dir, err := l.fetched.Package(text, constraint)
	if err != nil {
		l.errorf(rng, "Module not installed", "module.%s: %s.", n.name, strings.TrimSuffix(err.Error(), "."))
		return "", "", false
	}
	return root, dir, true
}

// inside reports whether a path is a directory or in it, also when links are followed.
func inside(root, path string) bool {
	for _, follow := range []func(string) (string, error){func(p string) (string, error) { return filepath.Clean(p), nil }, filepath.EvalSymlinks} {
		outer, err := follow(root)
		if err != nil {
			return false
		}
		inner, err := follow(path)
		if err != nil {
			return true // it isn't there, which is reported
		}
		rel, err := filepath.Rel(outer, inner)
		if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			return false
		}
	}
	return true
}
