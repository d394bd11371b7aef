package config_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iexecform/iexecform/config"
)

// The outline has the shape of "configuration" in Terraform's plans, and is the same in both syntaxes.
func TestOutline(t *testing.T) {
	module := "variable \"key\" {\n  sensitive = true\n}\nvariable \"name\" {}\noutput \"name\" {\n  value = var.name\n}\n"
	native := map[string]string{"m/main.hcl": module, "main.hcl": `
variable "names" {
  type        = list(string)
  default     = ["a"]
  description = "Names"
}
provider "iexec" {
  alias = "other"
  chain = "x"
  wallet {
    password = "hidden"
  }
}
resource "iexec_app" "a" {
  provider = iexec.other
  for_each = toset(var.names)
  name     = "${each.key} ${data.oci_image.i.checksum}"
  key      = "hidden"
}
data "oci_image" "i" {
  reference  = "docker.io/a/b:1"
  depends_on = [module.m]
}
resource "iexec_app" "b" {
  count = 2
  name  = upper(iexec_app.a["x"].address)
}
module "m" {
  source = "./m"
  key    = "hidden"
  name   = "shown"
}
output "open" {
  value       = module.m.name
  description = "Open"
}
output "closed" {
  value     = "hidden"
  sensitive = true
}
`}
	syntax := map[string]string{"m/main.hcl": module, "main.hcl.json": `{
"variable": {"names": {"type": "list(string)", "default": ["a"], "description": "Names"}},
"provider": {"iexec": {"alias": "other", "chain": "x", "wallet": {"password": "hidden"}}},
"resource": {"iexec_app": {
  "b": {"count": 2, "name": "${upper(iexec_app.a[\"x\"].address)}"},
  "a": {"provider": "iexec.other", "for_each": "${toset(var.names)}", "name": "${each.key} ${data.oci_image.i.checksum}", "key": "hidden"}
}},
"data": {"oci_image": {"i": {"reference": "docker.io/a/b:1", "depends_on": ["module.m"]}}},
"module": {"m": {"source": "./m", "key": "hidden", "name": "shown"}},
"output": {"open": {"value": "${module.m.name}", "description": "Open"}, "closed": {"value": "hidden", "sensitive": true}}
}`}
	const want = `{
 "provider_config": {
  "iexec": {"name": "iexec"},
  "iexec.other": {
   "name": "iexec",
   "alias": "other",
   "expressions": {
    "chain": {"constant_value": "x"},
    "wallet": {"password": {}}
   }
  },
  "oci": {"name": "oci"}
 },
 "root_module": {
  "outputs": {
   "closed": {"expression": {}, "sensitive": true},
   "open": {"expression": {"references": ["module.m.name", "module.m"]}, "description": "Open"}
  },
  "resources": [
   {
    "address": "iexec_app.a", "mode": "managed", "type": "iexec_app", "name": "a", "provider_config_key": "iexec.other",
    "expressions": {
     "key": {},
     "name": {"references": ["each.key", "data.oci_image.i.checksum", "data.oci_image.i"]}
    },
    "schema_version": 0,
    "for_each_expression": {"references": ["var.names"]}
   },
   {
    "address": "iexec_app.b", "mode": "managed", "type": "iexec_app", "name": "b", "provider_config_key": "iexec",
    "expressions": {"name": {"references": ["iexec_app.a[\"x\"].address", "iexec_app.a[\"x\"]", "iexec_app.a"]}},
    "schema_version": 0,
    "count_expression": {"constant_value": 2}
   },
   {
    "address": "data.oci_image.i", "mode": "data", "type": "oci_image", "name": "i", "provider_config_key": "oci",
    "expressions": {"reference": {"constant_value": "docker.io/a/b:1"}},
    "schema_version": 0,
    "depends_on": ["module.m"]
   }
  ],
  "module_calls": {
   "m": {
    "source": "./m",
    "expressions": {"key": {}, "name": {"constant_value": "shown"}},
    "module": {
     "outputs": {"name": {"expression": {"references": ["var.name"]}}},
     "variables": {"key": {"sensitive": true}, "name": {}}
    }
   }
  },
  "variables": {"names": {"default": ["a"], "description": "Names"}}
 }
}`
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(want)); err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string]map[string]string{"native": native, "JSON": syntax} {
		c, diags := config.Load(write(t, files), schemas)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		var got bytes.Buffer
		_ = json.Indent(&got, c.Outline(), "", " ")
		var pretty bytes.Buffer
		_ = json.Indent(&pretty, compact.Bytes(), "", " ")
		if diff := cmp.Diff(pretty.String(), got.String()); diff != "" {
			t.Errorf("%s: want -want +got:\n%s", name, diff)
		}
	}
}
