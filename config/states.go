package config

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/iexecform/iexecform/config/schema"
)

// The backend and encryption blocks within the iexecform block say where the state is kept, and how. They are read before
// anything else of the configuration, so they hold literals only; what they lack may come from elsewhere. Secrets aren't
// accepted in them: configurations are in git.

// StateBlock is a backend or encryption block.
type StateBlock struct {
	Kind   string               // "backend" or "encryption"
	Type   string               // its label
	Values map[string]cty.Value // canonical; of the arguments that are set, and not to null
	Range  hcl.Range            // of the block's header
}

// StateTables are the tables of the blocks that say how the state is kept, by kind and type.
type StateTables map[string]map[string]*schema.Table

// stateKinds are the kinds of StateBlock.
var stateKinds = []string{"backend", "encryption"}

// WithStates makes Load know what there is to keep states in. Without it, blocks about that may hold anything.
func WithStates(t StateTables) LoadOption { return func(l *loader) { l.states = t } }

// ReadSettings reads the iexecform block of a directory, and looks at as little else as it can. The settings are those that
// Load gives. Files are those that were read, for diagnostics.
func ReadSettings(dir string, t StateTables) (Settings, map[string]*hcl.File, hcl.Diagnostics) {
	l := &loader{Config: &Config{Dir: dir, files: map[string]*hcl.File{}}, states: t}
	names, err := fileNames(dir)
	if err != nil {
		l.errorf(nil, "Cannot read the configuration directory", "%s. Give a directory with .hcl files, with --chdir.", upperFirst(err.Error()))
		return l.Settings, l.files, l.diags
	}
	var blocks, overrides hcl.Blocks
	for _, name := range names {
		path := filepath.Join(dir, name)
		src, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(src, []byte("iexecform")) {
			continue // Load tells that a file can't be read
		}
		body, diags := l.parse(src, path)
		if diags.HasErrors() {
			l.diags = append(l.diags, diags...)
			continue
		}
		content, _, _ := body.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "iexecform"}}})
		if isOverride(name) {
			overrides = append(overrides, content.Blocks...)
		} else {
			blocks = append(blocks, content.Blocks...)
		}
	}
	for _, block := range l.override(blocks, overrides) {
		l.declareSettings(block)
	}
	return l.Settings, l.files, inOrder(l.diags)
}

// declareStates reads the blocks about the state within the iexecform block.
func (l *loader) declareStates(blocks hcl.Blocks) {
	for _, block := range blocks {
		s := &StateBlock{Kind: block.Type, Type: block.Labels[0], Values: map[string]cty.Value{}, Range: block.DefRange}
		place := &l.Settings.Backend
		if s.Kind == "encryption" {
			place = &l.Settings.Encryption
		}
		if *place != nil {
			l.duplicate("The "+s.Kind+" block", block.DefRange, (*place).Range)
			continue
		}
		*place = s
		attrs, diags := block.Body.JustAttributes()
		l.diags = append(l.diags, diags...)
		var table *schema.Table
		if l.states != nil {
			types := l.states[s.Kind]
			if table = types[s.Type]; table == nil {
				names := slices.Sorted(maps.Keys(types))
				l.errorf(block.LabelRanges[0].Ptr(), "Unknown "+s.Kind, "There is no %s %q.%s There are: %s.", s.Kind, s.Type, DidYouMean(s.Type, names), strings.Join(names, ", "))
			}
		}
		for _, attr := range sortedAttrs(attrs) {
			v, diags := constant(attr.Expr)
			l.diags = append(l.diags, diags...)
			if diags.HasErrors() || v.IsNull() {
				continue
			}
			if table != nil {
				if v = l.stateValue(s, table, attr, v); v == cty.NilVal {
					continue
				}
			}
			s.Values[attr.Name] = v
		}
	}
}

// stateValue checks an argument of a block about the state. It returns cty.NilVal after an error.
func (l *loader) stateValue(s *StateBlock, table *schema.Table, attr *hcl.Attribute, v cty.Value) cty.Value {
	a := table.Attr(attr.Name)
	if a == nil {
		var names []string
		for _, known := range table.Attrs {
			names = append(names, known.Name)
		}
		l.errorf(attr.NameRange.Ptr(), "Unsupported argument", "A %s block %q has no argument %q.%s", s.Kind, s.Type, attr.Name, DidYouMean(attr.Name, names))
		return cty.NilVal
	}
	if a.Sensitive {
		l.errorf(s.without(attr), "Secret in the configuration", "%s is secret, and a configuration is shared: leave it out, and set the environment variable %s instead.",
			attr.Name, StateVariable(s.Kind, attr.Name))
		return cty.NilVal
	}
	v, err := StateValue(a, v)
	if err != nil {
		l.errorf(s.without(attr), "Invalid value", "Invalid value for %s of the %s block, at %s: %s.", attr.Name, s.Kind, place(attr.NameRange), strings.TrimSuffix(err.Error(), "."))
		return cty.NilVal
	}
	return v
}

// without is what a diagnostic about an argument shows: the block's header and not the value, which may be a secret that has
// no business there.
func (s *StateBlock) without(attr *hcl.Attribute) *hcl.Range {
	if attr.Range.Start.Line == s.Range.Start.Line {
		return nil
	}
	return s.Range.Ptr()
}

// StateValue makes the canonical value of an argument of a block about the state.
func StateValue(a *schema.Attr, v cty.Value) (cty.Value, error) {
	v, err := convert.Convert(v, a.Type)
	if err == nil && a.Parse != nil {
		v, err = a.Parse(v)
	}
	return v, err
}

// StateVariable is the environment variable that an argument of a block about the state comes from when nothing sets it.
func StateVariable(kind, argument string) string {
	return "IEXECFORM_" + strings.ToUpper(kind) + "_" + strings.ToUpper(argument)
}
