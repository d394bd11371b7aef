package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Override files (override.hcl, *_override.hcl, and both in JSON syntax) change blocks of the other files, in order of
// their names. Their rules are Terraform's: an argument replaces the one of its name; nested blocks replace all nested
// blocks of their type, but those of lifecycle are merged in turn; local values are replaced one by one. What is overridden
// must be there.

// isOverride reports whether a configuration file is an override file.
func isOverride(name string) bool {
	name = strings.TrimSuffix(strings.TrimSuffix(name, jsonSuffix), hclSuffix)
	return name == "override" || strings.HasSuffix(name, "_override")
}

// overridable are the types of blocks that can be overridden.
var overridable = []string{"iexecform", "provider", "resource", "data", "module", "variable", "locals", "output"}

// override applies the blocks of override files, in order, to the others.
func (l *loader) override(blocks, overrides hcl.Blocks) hcl.Blocks {
	if len(overrides) == 0 {
		return blocks
	}
	byKey := map[string]*hcl.Block{}
	locals := map[string]*hclsyntax.Body{} // that has it
	for _, b := range blocks {
		if b.Type == "locals" {
			for name := range syntax(b).Attributes {
				locals[name] = syntax(b)
			}
		} else if byKey[overrideKey(b)] == nil {
			byKey[overrideKey(b)] = b
		}
	}
	for _, o := range overrides {
		base := byKey[overrideKey(o)]
		switch {
		case !slices.Contains(overridable, o.Type):
			l.errorf(o.DefRange.Ptr(), "Invalid override", "A block of type %q cannot be overridden. Move it to a file that is no override file.", o.Type)
		case o.Type == "locals":
			for _, attr := range bySource(syntax(o).Attributes) {
				if locals[attr.Name] == nil {
					l.missingBase(attr.NameRange, "local."+attr.Name)
					continue
				}
				locals[attr.Name].Attributes[attr.Name] = attr
			}
		case base != nil:
			if attr := syntax(o).Attributes["depends_on"]; attr != nil {
				l.errorf(attr.NameRange.Ptr(), "Invalid override", "depends_on cannot be overridden. Change it where the block is declared, at %s.", place(base.DefRange))
			}
			base.Body = merged(syntax(base), syntax(o))
		case o.Type == "iexecform":
			blocks = append(blocks, o)
			byKey[overrideKey(o)] = o
		default:
			l.missingBase(o.DefRange, strings.TrimSpace(o.Type+" "+strings.Join(o.Labels, ".")))
		}
	}
	return blocks
}

func (l *loader) missingBase(rng hcl.Range, what string) {
	if !l.incomplete {
		l.errorf(&rng, "Nothing to override", "There is no %s outside of override files. Declare it in another file, or correct the name.", what)
	}
}

// syntax is the body of a block: every file is parsed to this.
func syntax(b *hcl.Block) *hclsyntax.Body { return b.Body.(*hclsyntax.Body) }

// overrideKey is what a block has in common with those that override it.
func overrideKey(b *hcl.Block) string {
	key := fmt.Sprintf("%s %q", b.Type, b.Labels)
	if attr := syntax(b).Attributes["alias"]; b.Type == "provider" && attr != nil {
		if v, diags := attr.Expr.Value(nil); !diags.HasErrors() {
			key += fmt.Sprintf(" %#v", v)
		}
	}
	return key
}

// merged is a body with what another one says instead.
func merged(base, over *hclsyntax.Body) *hclsyntax.Body {
	m := &hclsyntax.Body{Attributes: maps.Clone(base.Attributes), SrcRange: base.SrcRange, EndRange: base.EndRange}
	if over.Attributes["count"] != nil {
		delete(m.Attributes, "for_each")
	}
	if over.Attributes["for_each"] != nil {
		delete(m.Attributes, "count")
	}
	maps.Copy(m.Attributes, over.Attributes)
	replaced := map[string]bool{}
	var lifecycle *hclsyntax.Block
	for _, b := range over.Blocks {
		if b.Type == lifecycleBlock {
			lifecycle = b
			continue
		}
		replaced[madeBy(b)] = true
	}
	for _, b := range base.Blocks {
		if b.Type == lifecycleBlock && lifecycle != nil {
			both := *b
			both.Body, lifecycle = merged(b.Body, lifecycle.Body), nil
			b = &both
		}
		if !replaced[madeBy(b)] {
			m.Blocks = append(m.Blocks, b)
		}
	}
	for _, b := range over.Blocks {
		if b.Type != lifecycleBlock || b == lifecycle {
			m.Blocks = append(m.Blocks, b)
		}
	}
	return m
}

// madeBy is the type of the blocks that a block stands for: itself, or what a dynamic block makes.
func madeBy(b *hclsyntax.Block) string {
	if b.Type == dynamicBlock && len(b.Labels) == 1 {
		return b.Labels[0]
	}
	return b.Type
}

func bySource(attrs hclsyntax.Attributes) []*hclsyntax.Attribute {
	return slices.SortedFunc(maps.Values(attrs), func(a, b *hclsyntax.Attribute) int { return compareRanges(a.NameRange, b.NameRange) })
}
