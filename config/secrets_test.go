package config_test

import (
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
)

// No message shows a value that must not be shown, wherever it comes from and whatever is wrong.
func TestMessagesDontQuote(t *testing.T) {
	const secret = "s3cret"
	for _, test := range []struct {
		name   string
		files  map[string]string
		src    config.InputSources
		reason string // part of the message that tells what is wrong
	}{
		{"a function of a sensitive value", map[string]string{"main.hcl": `
variable "v" {
  sensitive = true
  default   = "s3cret"
}
resource "iexec_app" "a" {
  name = nonsensitive(file(var.v))
}`}, config.InputSources{}, `Call to function "file" failed`},
		{"a function of an ephemeral value", map[string]string{"main.hcl": `
variable "v" {
  ephemeral = true
}
resource "iexec_app" "a" {
  name = "a"
  key  = file(var.v)
}`}, config.InputSources{Args: []config.InputArg{{Text: "v=s3cret"}}}, `Call to function "file" failed`},
		{"a write-only attribute from a public value", map[string]string{"main.hcl": `
variable "v" {
  default = "s3cret"
}
resource "iexec_app" "a" {
  name = "a"
  key  = file(var.v)
}`}, config.InputSources{}, `Call to function "file" failed`},
		{"a write-only attribute of the wrong type", map[string]string{"main.hcl": `
variable "v" {
  default = ["s3cret"]
}
resource "iexec_app" "a" {
  name = "a"
  key  = var.v
}`}, config.InputSources{}, "string required"},
		{"a write-only attribute as it is", map[string]string{"main.hcl": `
resource "iexec_app" "a" {
  name = "a"
  key  = file("s3cret")
}`}, config.InputSources{}, `Call to function "file" failed`},
		{"a setting of a provider", map[string]string{"main.hcl": `
variable "v" {
  sensitive = true
}
provider "iexec" {
  retries = var.v
}
resource "iexec_app" "a" {
  name = "a"
}`}, config.InputSources{Environ: []string{"IEXECFORM_VAR_v=s3cret"}}, "The value for retries is not valid"},
		{"a wrong type on the command line", map[string]string{"main.hcl": `
variable "v" {
  type      = number
  sensitive = true
}`}, config.InputSources{Args: []config.InputArg{{Text: "v=s3cret(1)"}}}, "not an expression of type number"},
		{"a wrong type in a file", map[string]string{"main.hcl": `
variable "v" {
  type      = number
  ephemeral = true
}`, "iexecform.tfvars": `v = "s3cret"`}, config.InputSources{}, "does not fit its type number"},
		{"an expression in a file", map[string]string{"main.hcl": `
variable "v" {
  ephemeral = true
}`, "iexecform.tfvars": "v = s3cret\n"}, config.InputSources{}, "must be a literal value"},
		{"a syntax error in a file", map[string]string{"main.hcl": `
variable "v" {
  ephemeral = true
}`, "iexecform.tfvars": "v = \"s3cret\n"}, config.InputSources{}, "Invalid multi-line string"},
		{"a validation", map[string]string{"main.hcl": `
variable "v" {
  ephemeral = true
  validation {
    condition     = length(var.v) < 3
    error_message = "Not so long: ${var.v}"
  }
}`, "iexecform.tfvars": "v = \"s3cret\"\n"}, config.InputSources{}, "error message is sensitive"},
		{"a function in a validation", map[string]string{"main.hcl": `
variable "v" {
  sensitive = true
  validation {
    condition     = file(var.v) == "x"
    error_message = "No."
  }
}`}, config.InputSources{Environ: []string{"IEXECFORM_VAR_v=s3cret"}}, `Call to function "file" failed`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, diags := config.Load(write(t, test.files), schemas)
			inputs, more := c.Inputs(test.src)
			if diags = append(diags, more...); !diags.HasErrors() {
				_, more := c.Evaluate(t.Context(), config.EvalRequest{Inputs: inputs, Workspace: "default", Handler: &recorder{quiet: true}})
				diags = append(diags, more...)
			}
			var out strings.Builder
			if err := hcl.NewDiagnosticTextWriter(&out, c.Files(), 1000, false).WriteDiagnostics(diags); err != nil {
				t.Fatal(err)
			}
			if !diags.HasErrors() || !strings.Contains(out.String(), test.reason) {
				t.Errorf("want %q, got:\n%s", test.reason, &out)
			}
			if strings.Contains(out.String(), secret) {
				t.Errorf("the secret is shown:\n%s", &out)
			}
		})
	}
}

// Values of variables that a secret attribute is set from aren't public, however they get there, and no constant that may be
// secret is in the outline.
func TestPublic(t *testing.T) {
	c := load(t, `
variable "seen" {
  default = "a"
}
variable "declared" {
  default   = "b"
  sensitive = true
}
variable "password" {
  default = "c"
}
variable "part" {
  default = "d"
}
variable "each" {
  default = { x = "e" }
}
locals {
  key = "${var.part}!"
}
resource "iexec_app" "each" {
  for_each = var.each
  name     = each.key
  key      = each.value
}
resource "iexec_app" "literal" {
  for_each = { x = "f" }
  name     = each.key
  key      = each.value
}
provider "iexec" {
  wallet {
    password = var.password
  }
}
resource "iexec_app" "a" {
  name = var.seen
  key  = local.key
}
`)
	inputs, diags := c.Inputs(config.InputSources{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	for name, v := range c.Public(inputs) {
		if (v != cty.NilVal) != (name == "seen") {
			t.Errorf("%s: public is %#v, want seen only", name, v)
		}
	}
	outline := string(c.Outline())
	for _, secret := range []string{`"b"`, `"c"`, `"d"`, `"e"`, `"f"`} {
		if strings.Contains(outline, secret) {
			t.Errorf("the outline has %s: %s", secret, outline)
		}
	}
	if !strings.Contains(outline, `"seen":{"default":"a"}`) {
		t.Errorf("the outline lacks a default that is no secret: %s", outline)
	}
}
