package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	version "github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

const (
	hclSuffix  = ".hcl"
	jsonSuffix = ".hcl.json"
)

// IsConfigFile reports whether a file of that name is part of the configuration of its directory.
func IsConfigFile(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	native := strings.TrimSuffix(name, ".json")
	return strings.HasSuffix(native, hclSuffix) && !strings.HasSuffix(native, ".iexectest.hcl") && !strings.HasSuffix(native, ".lock.hcl")
}

// fileNames lists the configuration files of a directory, sorted, override files last.
func fileNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names, overrides []string
	for _, entry := range entries {
		name := entry.Name()
		if !IsConfigFile(name) {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
			continue
		}
		if isOverride(name) {
			overrides = append(overrides, name)
		} else {
			names = append(names, name)
		}
	}
	return append(names, overrides...), nil
}

// readFiles parses every configuration file and declares the blocks.
func (l *loader) readFiles() {
	names, err := fileNames(l.dir)
	if err != nil {
		l.errorf(nil, "Cannot read the configuration directory", "%s. Give a directory with .hcl files, with --chdir.", upperFirst(err.Error()))
		return
	}
	l.empty = l.empty || l.parent == nil && len(names) == 0
	var bodies []*hclsyntax.Body
	var blocks, overrides hcl.Blocks
	for _, name := range names {
		path := filepath.Join(l.dir, name)
		src, err := os.ReadFile(path)
		if err != nil {
			l.errorf(nil, "Cannot read a configuration file", "%s.", upperFirst(err.Error()))
			continue
		}
		body, diags := l.parse(src, path)
		l.diags = append(l.diags, diags...)
		bodies = append(bodies, body)
		if diags.HasErrors() { // what the file declares is uncertain: say nothing about it
			l.incomplete = true
			continue
		}
		content, diags := body.Content(rootSchema)
		l.diags = append(l.diags, diags...)
		if isOverride(name) {
			overrides = append(overrides, content.Blocks...)
		} else {
			blocks = append(blocks, content.Blocks...)
		}
	}
	if diags := checkVersion(bodies, l.program); diags.HasErrors() {
		l.diags = diags // a configuration for another version may use what this one doesn't know
		return
	}
	l.blocks = l.override(blocks, overrides)
	for _, block := range l.blocks {
		l.declare(block)
	}
}

// parse parses a file in either syntax and remembers its source. The body is what could be understood.
func (l *loader) parse(src []byte, path string) (*hclsyntax.Body, hcl.Diagnostics) {
	parse := parseNative
	if strings.HasSuffix(path, jsonSuffix) {
		parse = l.parseJSON
	}
	file, diags := parse(src, path)
	l.files[path] = file
	return file.Body.(*hclsyntax.Body), diags
}

// ForVersion makes Load refuse a configuration whose required_version the program's version doesn't satisfy, and then say
// nothing else of it. A version that is not a semantic version, such as that of a development build, satisfies all.
func ForVersion(program string) LoadOption { return func(l *loader) { l.program = program } }

func checkVersion(bodies []*hclsyntax.Body, program string) (diags hcl.Diagnostics) {
	v, err := version.NewVersion(program)
	if err != nil {
		return nil
	}
	for _, body := range bodies {
		for _, block := range body.Blocks {
			attr := block.Body.Attributes["required_version"]
			if block.Type != "iexecform" || attr == nil {
				continue
			}
			text, ok := literalOf(attr.Expr)
			if !ok || text.IsNull() || text.Type() != cty.String {
				continue // an error that is reported with all others
			}
			constraint, err := version.NewConstraint(text.AsString())
			if err != nil || constraint.Check(v) {
				continue
			}
			diags = append(diags, failure(attr.Expr.Range().Ptr(), "Unsupported program version",
				"This configuration requires iexecform %s, and this is %s. Install such a version, or change required_version.", text.AsString(), program))
		}
	}
	return diags
}
