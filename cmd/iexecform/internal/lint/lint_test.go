package lint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/lint"
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec"
	"github.com/iexecform/iexecform/providers/oci"
)

// declared is what the examples refer to, by the text that begins its declaration. Nothing is found in it.
var declared = map[string]string{
	`resource "iexec_app" "hello" {`: `
  name      = "hello"
  multiaddr = "docker.io/user/hello:1.0"
  trial {}
}
`,
	`locals {`: `
  partners = ["0x47d0Ab8d36836F54FD9587e65125Bbab04958310"]
}
output "partners" {
  value = local.partners
}
`,
	`variable "rpc_url" {`: `
  default   = null
  sensitive = true
}
output "rpc_url" {
  value     = var.rpc_url
  sensitive = true
}
`,
}

// found is the findings about main.hcl, as "line: rule".
func found(t *testing.T, text string) []string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("main.hcl", text)
	for head, rest := range declared {
		if !strings.Contains(text, head) {
			write(fmt.Sprintf("more%d.hcl", len(rest)), head+rest)
		}
	}
	c, diags := config.Load(dir, providers.Registry{"iexec": iexec.New(), "oci": oci.New()})
	if diags.HasErrors() {
		t.Fatalf("%v\n%s", diags, text)
	}
	inputs, diags := c.Inputs(config.InputSources{Partial: true})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	findings, diags := lint.Run(c, inputs)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var list []string
	for _, f := range findings {
		name := filepath.Base(f.Subject.Filename)
		if name != "main.hcl" {
			t.Errorf("%s:%d: %s: %s", name, f.Subject.Start.Line, f.Rule.ID, f.Summary)
		}
		list = append(list, fmt.Sprintf("%d: %s", f.Subject.Start.Line, f.Rule.ID))
	}
	return list
}

// used makes a data source and a variable ones that something uses.
const used = `
output "used" {
  value = try(data.oci_image.hello.digest, var.wallet_password, null)
}
`

// TestExamples finds in each rule's example what the rule is about, and nothing else.
func TestExamples(t *testing.T) {
	ids := map[string]bool{}
	for _, r := range lint.Rules {
		t.Run(r.ID, func(t *testing.T) {
			if ids[r.ID] || r.Doc == "" || r.Severity != lint.Warning && r.Severity != lint.Note {
				t.Errorf("incomplete rule, or two of the same name: %+v", r)
			}
			ids[r.ID] = true
			text := r.Example
			switch r.ID {
			case "mutable-image":
				text += strings.Replace(used, ", var.wallet_password", "", 1)
			case "plain-secret":
				text += strings.Replace(used, "data.oci_image.hello.digest, ", "", 1)
			}
			list := found(t, text)
			if len(list) == 0 {
				t.Errorf("nothing found in:\n%s", text)
			}
			for _, f := range list {
				if _, id, _ := strings.Cut(f, ": "); id != r.ID {
					t.Errorf("found %s too", f)
				}
			}
		})
	}
}

// offer is an order that nothing is found in, with more attributes.
func offer(more ...string) string {
	return "resource \"iexec_apporder\" \"a\" {\napp = iexec_app.hello.address\nappprice = \"0.5 RLC\"\nvolume = 100\n" + strings.Join(more, "\n") + "\n}\n"
}

func TestFindings(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string // nil: nothing
	}{
		"a plain offer":               {offer(), nil},
		"a digest that is looked up":  {"data \"oci_image\" \"hello\" {\nreference = \"docker.io/user/hello@sha256:f8a48dc5125fe762e3e35b9493291b8472a68782dd19d741a7e7aa062ef73dd6\"\n}\noutput \"o\" {\nvalue = data.oci_image.hello.size\n}\n", nil},
		"a registry with a port":      {"data \"oci_image\" \"hello\" {\nreference = \"127.0.0.1:5000/hello\"\n}\noutput \"o\" {\nvalue = data.oci_image.hello.size\n}\n", []string{"2: mutable-image"}},
		"a tag that a variable says":  {"variable \"tag\" {}\nresource \"iexec_app\" \"b\" {\nname = \"b\"\nmultiaddr = \"docker.io/user/b:${var.tag}\"\n}\n", nil},
		"a tag that a default says":   {"variable \"tag\" {\ndefault = \"latest\"\n}\nresource \"iexec_app\" \"b\" {\nname = \"b\"\nmultiaddr = \"docker.io/user/b:${var.tag}\"\n}\n", []string{"6: mutable-image"}},
		"a reference that is pinned":  {"data \"oci_image\" \"i\" {\nreference = \"docker.io/user/b:1.0\"\n}\nresource \"iexec_app\" \"b\" {\nname = \"b\"\nmultiaddr = data.oci_image.i.pinned_reference\n}\n", []string{"6: unpullable-image"}},
		"no tag for a worker":         {"resource \"iexec_app\" \"b\" {\nname = \"b\"\nmultiaddr = \"docker.io/user/b\"\n}\n", []string{"3: unpullable-image"}},
		"free, but for one requester": {"resource \"iexec_apporder\" \"a\" {\napp = iexec_app.hello.address\nappprice = 0\nvolume = 100000000\nrequesterrestrict = local.partners[0]\n}\n", nil},
		"free, and not many":          {"resource \"iexec_apporder\" \"a\" {\napp = iexec_app.hello.address\nappprice = 0\nvolume = 10000000\n}\n", nil},
		"free data for bulk use":      {"resource \"iexec_dataset\" \"d\" {\nname = \"d\"\nmultiaddr = \"https://example.com/d\"\nchecksum = \"0x${sha256(\"d\")}\"\n}\nresource \"iexec_datasetorder\" \"d\" {\ndataset = iexec_dataset.d.address\ndatasetprice = 0\nvolume = 9007199254740990\ntag = []\n}\n", nil},
		"a tag without names":         {offer(`tag = ["tee", "gpu"]`), []string{"5: unmatched-tag"}},
		"gpu and tdx":                 {offer(`tag = ["tee", "tdx", "gpu"]`), nil},
		"gramine":                     {offer(`tag = ["tee", "gramine"]`), []string{"5: legacy-tee"}},
		"an enclave":                  {"resource \"iexec_app\" \"b\" {\nname = \"b\"\nmultiaddr = \"docker.io/user/b:1\"\nmrenclave = \"x\"\n}\n", []string{"4: legacy-tee"}},
		"restricted to a workerpool":  {"resource \"iexec_workerpool\" \"w\" {\ndescription = \"w\"\n}\n" + offer(`workerpoolrestrict = iexec_workerpool.w.address`), nil},
		"restricted to a requester that is an app, by key": {"resource \"iexec_app\" \"many\" {\nfor_each = toset([\"x\"])\nname = each.key\nmultiaddr = \"docker.io/user/b:1\"\ntrial {}\n}\n" +
			"resource \"iexec_apporder\" \"a\" {\nfor_each = iexec_app.many\napp = iexec_app.many[each.key].address\nappprice = \"0.5 RLC\"\nvolume = 100\nrequesterrestrict = iexec_app.many[each.key].address\n}\n", []string{"12: unreachable-restriction"}},
		"an app's owner as requester":            {"data \"iexec_app\" \"x\" {\naddress = \"0x47d0Ab8d36836F54FD9587e65125Bbab04958310\"\n}\n" + offer(`requesterrestrict = data.iexec_app.x.owner`), nil},
		"no restriction by a variable":           {"variable \"who\" {\ndefault = \"0x0000000000000000000000000000000000000000\"\n}\n" + offer(`requesterrestrict = var.who`), nil},
		"equal but for the price":                {offer() + "resource \"iexec_apporder\" \"b\" {\napp = iexec_app.hello.address\nappprice = \"0.6 RLC\"\nvolume = 100\n}\n", nil},
		"equal, written otherwise":               {offer() + "resource \"iexec_apporder\" \"b\" {\napp = iexec_app.hello.address\nappprice = 500000000\nvolume = 100\ntag = [\"tdx\", \"tee\"]\non_destroy = \"close\"\n}\n", []string{"7: equal-orders"}},
		"equal, counted":                         {offer("count = 2"), []string{"1: equal-orders"}},
		"one for each app":                       {"resource \"iexec_app\" \"many\" {\nfor_each = toset([\"x\", \"y\"])\nname = each.key\nmultiaddr = \"docker.io/user/b:1\"\n}\n" + "resource \"iexec_apporder\" \"a\" {\nfor_each = iexec_app.many\napp = each.value.address\nappprice = \"0.5 RLC\"\nvolume = 100\n}\n", nil},
		"orders of two providers":                {"provider \"iexec\" {\nchain = \"localnet\"\n}\nprovider \"iexec\" {\nalias = \"b\"\nchain = \"localnet\"\n}\n" + offer() + "resource \"iexec_apporder\" \"b\" {\nprovider = iexec.b\napp = iexec_app.hello.address\nappprice = \"0.5 RLC\"\nvolume = 100\n}\n", nil},
		"kept orders":                            {offer(`on_destroy = "keep"`, `revoke = "unpublish"`), []string{"5: lasting-copy", "6: lasting-copy"}},
		"nRLC by name":                           {"resource \"iexec_apporder\" \"a\" {\napp = iexec_app.hello.address\nappprice = \"1 nRLC\"\nvolume = 100\n}\n", nil},
		"nRLC by computation":                    {"resource \"iexec_apporder\" \"a\" {\nfor_each = { x = 1 }\napp = iexec_app.hello.address\nappprice = each.value\nvolume = 100\n}\n", nil},
		"a large volume":                         {"resource \"iexec_apporder\" \"a\" {\napp = iexec_app.hello.address\nappprice = \"1 RLC\"\nvolume = 9007199254740992\n}\n", []string{"4: market-limit"}},
		"the largest volume":                     {"resource \"iexec_apporder\" \"a\" {\napp = iexec_app.hello.address\nappprice = \"1 RLC\"\nvolume = 9007199254740991\n}\n", nil},
		"a wallet by address":                    {"provider \"iexec\" {\nchain = \"arbitrum-mainnet\"\nwallet {\naddress = \"0x47d0Ab8d36836F54FD9587e65125Bbab04958310\"\n}\n}\n", nil},
		"a wallet that a variable names":         {"variable \"me\" {}\nprovider \"iexec\" {\nchain = \"arbitrum-mainnet\"\nwallet {\naddress = var.me\n}\n}\n", nil},
		"a development account where it belongs": {"provider \"iexec\" {\nchain = \"localnet\"\nwallet {\naddress = \"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\"\n}\n}\n" + offer(`requesterrestrict = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"`), nil},
		"a development account as requester":     {"provider \"iexec\" {\nchain = \"arbitrum-mainnet\"\nwallet {\naddress = \"0x47d0Ab8d36836F54FD9587e65125Bbab04958310\"\n}\n}\n" + offer(`requesterrestrict = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"`), []string{"11: development-account"}},
		"a key in a URL":                         {"provider \"iexec\" {\nchain = \"localnet\"\nrpc_url = \"https://arbitrum-mainnet.infura.io/v3/0123456789abcdef0123456789abcdef\"\n}\n", []string{"3: literal-credential"}},
		"a key in a sensitive variable":          {"variable \"url\" {\nsensitive = true\ndefault = \"https://arbitrum-mainnet.infura.io/v3/0123456789abcdef0123456789abcdef\"\n}\nprovider \"iexec\" {\nchain = \"localnet\"\nrpc_url = var.url\n}\n", nil},
		"HTTP to this machine":                   {"provider \"iexec\" {\nchain = \"localnet\"\nrpc_url = \"http://[::1]:8545\"\nmarket_url = \"http://market:3000\"\nsms_url = \"http://10.1.2.3/\"\n}\n", nil},
		"HTTP to another one":                    {"provider \"iexec\" {\nchain = \"localnet\"\nsms_url = \"http://sms.example.com\"\n}\n", []string{"3: plain-http"}},
		"count without an index":                 {"resource \"iexec_apporder\" \"a\" {\ncount = length(local.partners) > 0 ? 1 : 0\napp = iexec_app.hello.address\nappprice = \"1 RLC\"\nvolume = 100\n}\n", nil},
		"unused":                                 {"locals {\na = local.b\nb = 1\n}\nvariable \"v\" {}\nprovider \"iexec\" {\nalias = \"x\"\nchain = \"localnet\"\n}\n", []string{"2: unused-declaration", "5: unused-declaration", "6: unused-declaration"}},
		"used by a validation":                   {"variable \"least\" {\ndefault = 1\n}\nvariable \"v\" {\ndefault = 2\nvalidation {\ncondition = var.v > var.least\nerror_message = \"No.\"\n}\n}\noutput \"v\" {\nvalue = var.v\n}\n", nil},
		"a contract's name":                      {"variable \"token\" {}\nvariable \"secret_index\" {}\noutput \"v\" {\nvalue = \"${var.token}${var.secret_index}\"\n}\n", nil},
		"a secret that is one":                   {"variable \"api_key\" {\nsensitive = true\n}\noutput \"v\" {\nvalue = var.api_key\nsensitive = true\n}\n", nil},
		"an app that is tried":                   {"resource \"iexec_app\" \"b\" {\nname = \"b\"\nmultiaddr = \"docker.io/user/b:1\"\ntrial {\nruns = 3\n}\n}\nresource \"iexec_apporder\" \"o\" {\napp = iexec_app.b.address\nappprice = \"0.5 RLC\"\nvolume = 100\n}\n", nil},
		"an app that nobody sells":               {"resource \"iexec_app\" \"b\" {\nname = \"b\"\nmultiaddr = \"docker.io/user/b:1\"\n}\n", nil},
		"an app that is sold twice":              {"resource \"iexec_app\" \"b\" {\nname = \"b\"\nmultiaddr = \"docker.io/user/b:1\"\n}\nresource \"iexec_apporder\" \"o\" {\napp = iexec_app.b.address\nappprice = \"0.5 RLC\"\nvolume = 100\n}\nresource \"iexec_apporder\" \"p\" {\napp = iexec_app.b.address\nappprice = \"0.5 RLC\"\nvolume = 100\nrequesterrestrict = local.partners[0]\n}\n", []string{"1: untried-app"}},
		"two apps that are sold":                 {"resource \"iexec_app\" \"b\" {\nname = \"b\"\nmultiaddr = \"docker.io/user/b:1\"\ntrial {}\n}\nresource \"iexec_apporder\" \"o\" {\napp = iexec_app.b.address\nappprice = \"0.5 RLC\"\nvolume = 100\n}\nresource \"iexec_app\" \"c\" {\nname = \"c\"\nmultiaddr = \"docker.io/user/b:1\"\n}\nresource \"iexec_apporder\" \"p\" {\napp = iexec_app.c.address\nappprice = \"0.5 RLC\"\nvolume = 100\n}\nresource \"iexec_app\" \"d\" {\nname = \"d\"\nmultiaddr = \"docker.io/user/b:1\"\n}\nresource \"iexec_apporder\" \"q\" {\napp = iexec_app.d.address\nappprice = \"0.5 RLC\"\nvolume = 100\n}\n", []string{"11: untried-app"}},
		"apps that are sold by key":              {"resource \"iexec_app\" \"b\" {\nfor_each = toset([\"x\", \"y\"])\nname = each.key\nmultiaddr = \"docker.io/user/b:1\"\n}\nresource \"iexec_apporder\" \"o\" {\nfor_each = iexec_app.b\napp = iexec_app.b[each.key].address\nappprice = \"0.5 RLC\"\nvolume = 100\n}\n", []string{"1: untried-app"}},
		"a trial that a condition adds":          {"variable \"tried\" {}\nresource \"iexec_app\" \"b\" {\nname = \"b\"\nmultiaddr = \"docker.io/user/b:1\"\ndynamic \"trial\" {\nfor_each = var.tried ? [1] : []\ncontent {}\n}\n}\nresource \"iexec_apporder\" \"o\" {\napp = iexec_app.b.address\nappprice = \"0.5 RLC\"\nvolume = 100\n}\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := found(t, tt.text); !slices.Equal(got, tt.want) {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

func TestIgnore(t *testing.T) {
	const keep = `on_destroy = "keep"`
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"on the line":        {offer(keep + ` # iexecform:ignore lasting-copy: it is meant`), nil},
		"on the line before": {offer("// iexecform:ignore lasting-copy", keep), nil},
		"lines before":       {offer("# iexecform:ignore lasting-copy", "# because", "", keep), nil},
		"not two lines on":   {offer("# iexecform:ignore lasting-copy", `tag = ["tee", "tdx"]`, keep), []string{"7: lasting-copy"}},
		"another rule":       {offer("# iexecform:ignore unmatched-tag", keep), []string{"6: lasting-copy"}},
		"several":            {offer(`tag = ["tee"] # iexecform:ignore unmatched-tag, lasting-copy`), nil},
		"the block":          {"# iexecform:ignore lasting-copy, unmatched-tag\n" + offer(keep, `tag = ["tee"]`), nil},
		"the block's line":   {strings.Replace(offer(keep), "{", "{ # iexecform:ignore lasting-copy", 1), nil},
		"the inner block":    {"provider \"iexec\" {\nchain = \"arbitrum-mainnet\"\n# iexecform:ignore development-account\nwallet {\n\naddress = \"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\"\n}\n}\n", nil},
		"within text":        {offer(`on_destroy = "keep"`) + "output \"o\" {\nvalue = \"# iexecform:ignore lasting-copy\"\n}\n", []string{"5: lasting-copy"}},
		"no such rule":       {offer("# iexecform:ignore lasting-copie", keep), []string{"5: bad-ignore", "6: lasting-copy"}},
		"no rule":            {offer("# iexecform:ignore", keep), []string{"5: bad-ignore", "6: lasting-copy"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := found(t, tt.text); !slices.Equal(got, tt.want) {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

// TestNoFalseAlarm finds nothing in what the reference pages show.
func TestNoFalseAlarm(t *testing.T) {
	schema := iexec.New().Schema()
	seen := 0
	for typ, table := range schema.Resources {
		t.Run(typ, func(t *testing.T) {
			text := strings.Replace(table.Example, "iexec_apporder.public.app", "iexec_apporder.a.app", 1)
			for _, block := range []string{
				"resource \"iexec_dataset\" \"genome\" {\n  name      = \"genome\"\n  multiaddr = \"https://example.com/genome.enc\"\n  checksum  = \"0x${sha256(\"genome\")}\"\n}\n",
				"resource \"iexec_app\" \"study\" {\n  name      = \"study\"\n  multiaddr = \"docker.io/user/study:1.0\"\n}\n",
				"resource \"iexec_workerpool\" \"here\" {\n  description = \"here\"\n}\n",
				offer(`requesterrestrict = "0x47d0Ab8d36836F54FD9587e65125Bbab04958310"`),
				"variable \"api_key\" {\n  sensitive = true\n}\noutput \"api_key\" {\n  value     = var.api_key\n  sensitive = true\n}\n",
			} {
				if head, _, _ := strings.Cut(block, "\n"); !strings.Contains(text, head) {
					text += block
				}
			}
			if list := found(t, strings.ReplaceAll(text, `filesha256("genome.enc")`, `sha256("")`)); len(list) > 0 {
				t.Errorf("%q in\n%s", list, text)
			}
			seen++
		})
	}
	if seen < 5 {
		t.Errorf("looked at %d examples", seen)
	}
}
