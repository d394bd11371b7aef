package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/iexecform/iexecform/internal/bounds"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Whatever text an object is named by, a name is made of it, or none at all.
func TestIdentifier(t *testing.T) {
	for text, want := range map[string]string{
		"Wind": "wind", "Größe 1": "größe_1", "a/b: c": "a_b_c", "2 apps": "_2_apps", "": "", "!?": "", "日本": "日本", "-x-": "x",
		strings.Repeat("long ", 20): strings.TrimSuffix(strings.Repeat("long_", 10), "_"),
	} {
		if got := identifier(text); got != want {
			t.Errorf("identifier(%q) is %q, want %q", text, got, want)
		}
	}
}

func FuzzIdentifier(f *testing.F) {
	f.Add("Größe 1")
	f.Add("\u0301 0")
	f.Fuzz(func(t *testing.T, text string) {
		defer bounds.Watch()()
		if got := identifier(text); got != "" && !hclsyntax.ValidIdentifier(got) {
			t.Errorf("identifier(%q) is %q, which is no name", text, got)
		}
	})
}

// BenchmarkDiscover finds 300 apps with 500 orders, and makes a state of them: discover, plan, apply, plan.
func BenchmarkDiscover(b *testing.B) {
	net := nettest.Start(b, func(o *localnet.Options) { o.MaxOpenOrders = -1 })
	c := nettest.Chain(net)
	provider := fmt.Sprintf("provider \"iexec\" {\n  chain      = \"localnet\"\n  rpc_url    = %q\n  market_url = %q\n  max_open_orders = 1000\n}\n", c.RPC, c.Market)
	made := b.TempDir()
	write(b, made, provider+`
resource "iexec_app" "a" {
  count     = 300
  name      = "app ${count.index % 100}"
  multiaddr = "docker.io/a/b:${count.index}"
  checksum  = "0xf8a48dc5125fe762e3e35b9493291b8472a68782dd19d741a7e7aa062ef73dd6"
}
resource "iexec_apporder" "o" {
  count    = 500
  app      = iexec_app.a[count.index % 300].address
  appprice = 5
  volume   = 100
}
`)
	program(b, made, "apply", "-auto-approve", "-input=false")
	for b.Loop() {
		dir := b.TempDir()
		write(b, dir, provider)
		var result struct {
			Objects  []any
			Seconds  float64
			Requests int
		}
		if err := json.Unmarshal(program(b, dir, "discover", "--owner", poco.DevAccounts()[0].Address.Hex(), "--out", "found.hcl", "--json"), &result); err != nil {
			b.Fatal(err)
		}
		if len(result.Objects) != 800 {
			b.Fatalf("discovered %d objects, want 800", len(result.Objects))
		}
		b.ReportMetric(result.Seconds, "discover-s")
		b.ReportMetric(float64(result.Requests), "requests")
		b.ReportMetric(measure(b, dir, "iexecform", "plan").time.Seconds(), "plan-s")
		b.ReportMetric(measure(b, dir, "iexecform", "apply", "-auto-approve").time.Seconds(), "apply-s")
		if out := program(b, dir, "plan"); !strings.Contains(string(out), "No changes") {
			b.Fatalf("the second plan is not empty:\n%s", out)
		}
	}
}

func write(b *testing.B, dir, text string) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
}

// program runs this program and returns what it prints.
func program(b *testing.B, dir string, args ...string) []byte {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	link := filepath.Join(b.TempDir(), "iexecform")
	if err := os.Symlink(self, link); err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), link, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		b.Fatalf("iexecform %v: %v\n%s%s", args, err, tail(stdout.String()), tail(stderr.String()))
	}
	return stdout.Bytes()
}
