// Package config turns a directory of .hcl files into desired values. Load reads and checks the files without variables
// and without network; Inputs collects the variables' values; Evaluate computes every instance in reference order and
// hands it to a Handler, whose answers are what later references see.
//
// Policies: all independent errors are reported at once; a reference is a dependency of exactly the instances that it
// can name; numbers are exact to 512 bits; nothing here reads anything but local files.
package config

import (
	"bytes"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

// Schemas is what the configuration language needs to know of providers.
type Schemas interface {
	Names() []string                         // of providers, sorted
	ProviderTable(name string) *schema.Table // nil when there is no such provider
	ResourceTable(typ string) *schema.Table  // nil when there is no such type
	DataTable(typ string) *schema.Table      // nil when there is no such type
	ResourceTypes() []string                 // sorted
	DataTypes() []string                     // sorted
	Functions() map[string]function.Function // added to the language; pure
}

// Settings is the iexecform block.
type Settings struct {
	Project         string // "" when left out
	RequiredVersion string // a constraint such as "~> 1.2", or ""
	Backend         *StateBlock
	Encryption      *StateBlock
}

// Variable is a variable block.
type Variable struct {
	Name        string
	Type        cty.Type  // cty.DynamicPseudoType for any
	Default     cty.Value // cty.NilVal when a value is required
	Description string
	Sensitive   bool // not shown
	Ephemeral   bool // not kept either
	Nullable    bool
	Range       hcl.Range // of the block's header
}

// Output is an output block.
type Output struct {
	Name        string
	Description string
	Sensitive   bool
	Range       hcl.Range // of the block's header
}

// ProviderDecl is a provider block.
type ProviderDecl struct {
	Addr  addr.Provider
	Table *schema.Table
	Range hcl.Range // of the block's header
}

// Format writes HCL source in canonical style, comments included. Source that doesn't parse is returned unchanged with
// the errors. The file name is for these. Source that would mean something else is returned unchanged too: a number with a space in
// it, as in 0. 1, would become another one.
func Format(src []byte, filename string) ([]byte, hcl.Diagnostics) {
	if _, diags := parseNative(src, filename); diags.HasErrors() {
		return src, diags
	}
	out := hclwrite.Format(src)
	was, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos)
	is, _ := hclsyntax.LexConfig(out, filename, hcl.InitialPos)
	if !slices.EqualFunc(was, is, sameToken) {
		return src, nil
	}
	return out, nil
}

// sameToken compares two tokens, but for spaces at the ends of comments.
func sameToken(a, b hclsyntax.Token) bool {
	if a.Type == hclsyntax.TokenComment && b.Type == hclsyntax.TokenComment {
		return bytes.Equal(bytes.TrimSpace(a.Bytes), bytes.TrimSpace(b.Bytes))
	}
	return a.Type == b.Type && bytes.Equal(a.Bytes, b.Bytes)
}
