package config

import "github.com/zclconf/go-cty/cty/function"

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
