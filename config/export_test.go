package config

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty/function"
)

// WithLimits makes an evaluation's limits lower, so that tests reach them soon.
func WithLimits(elements, text int64, parts int) LoadOption {
	return func(l *loader) { l.meter.maxElements, l.meter.maxText, l.meter.maxParts = elements, text, parts }
}

// DigestOfSource is the digest of a valid file in native syntax, as far as it consists of known blocks.
func DigestOfSource(src []byte) string {
	file, _ := parseNative(src, "main.hcl")
	content, _, _ := file.Body.PartialContent(rootSchema)
	return digestOf(content.Blocks)
}

// FileSet is the function fileset that looks at most at so many files.
func FileSet(dir string, most int) function.Function { return fileSetFunc(dir, most) }

// NestingOf is how deep text is nested, by its bytes, and whether they tell; and by the lexer.
func NestingOf(src []byte) (bytes int, plain bool, tokens int) {
	n, plain := nestingOf(src)
	list, _ := hclsyntax.LexConfig(src, "", hcl.InitialPos)
	exact := newNesting()
	for _, t := range list {
		exact.take(t.Type)
	}
	return n.deepest, plain, exact.deepest
}
