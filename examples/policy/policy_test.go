// Package policy tests that a policy for Terraform's plans works unchanged on iexecform's.
package policy

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

type verdict struct {
	Deny    []string       `json:"deny"`
	Touched map[string]int `json:"touched"`
}

// judge evaluates plan.rego on the JSON of a plan.
func judge(t *testing.T, plan []byte, settings map[string]any) verdict {
	t.Helper()
	var input any
	if err := json.Unmarshal(plan, &input); err != nil {
		t.Fatal(err)
	}
	policy, err := os.ReadFile("plan.rego")
	if err != nil {
		t.Fatal(err)
	}
	results, err := rego.New(
		rego.Query("data.plan"), rego.Module("plan.rego", string(policy)), rego.Store(inmem.NewFromObject(settings)), rego.Input(input),
	).Eval(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(results[0].Expressions[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	var v verdict
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v verdict) check(t *testing.T, touched map[string]int, deny ...string) {
	t.Helper()
	if len(v.Deny) != len(deny) {
		t.Errorf("denied: %q, want %q", v.Deny, deny)
		return
	}
	for i, want := range deny {
		if v.Deny[i] != want {
			t.Errorf("denied: %q, want %q", v.Deny[i], want)
		}
	}
	for action, want := range touched {
		if v.Touched[action] != want {
			t.Errorf("%s: %d, want %d", action, v.Touched[action], want)
		}
	}
}

// The policy is one for Terraform.
func TestTerraformPlan(t *testing.T) {
	plan, err := os.ReadFile(filepath.Join("testdata", "terraform.json"))
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]any{"may_go": []any{}, "prices": []any{"amount"}, "types": []any{"shop_price"}}
	judge(t, plan, settings).check(t, map[string]int{"create": 2, "update": 1, "delete": 1},
		"shop_item.new: resources of type shop_item are not allowed",
		"shop_item.old[0] may not be deleted or replaced (delete, create)",
		"shop_price.basic: amount falls from 10 to 4")
	settings = map[string]any{"may_go": []any{"shop_item.old[0]"}, "prices": []any{}, "types": []any{"shop_item"}}
	judge(t, plan, settings).check(t, nil)
}

const config = `
variable "rpc_url" {}
variable "market_url" {}
variable "price" {}
provider "iexec" {
  chain      = "localnet"
  rpc_url    = var.rpc_url
  market_url = var.market_url
}
resource "iexec_app" "hello" {
  name      = "judged"
  multiaddr = "docker.io/a/b:1"
  checksum  = "0x00f51494d7a42a3c1c43464d9f09e06b2a99968e3b978f6cd11ab3410b7bcd14"
}
resource "iexec_apporder" "public" {
  for_each = toset(["basic"])
  app      = iexec_app.hello.address
  appprice = var.price
  volume   = 10
}
`

// The same policy, unchanged, judges plans of iexecform.
func TestOurPlans(t *testing.T) {
	program := filepath.Join(t.TempDir(), "iexecform")
	build := exec.Command("go", "build", "-o", program, "./cmd/iexecform")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	rpc, market := localnet(t, program)
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command(program, args...)
		var problems strings.Builder
		cmd.Dir, cmd.Stderr = dir, &problems
		cmd.Env = append(os.Environ(), "IEXECFORM_VAR_rpc_url="+rpc, "IEXECFORM_VAR_market_url="+market)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("iexecform %s: %v\n%s%s", strings.Join(args, " "), err, out, problems.String())
		}
		return out
	}
	settings := map[string]any{"may_go": []any{}, "prices": []any{"appprice"}, "types": []any{"iexec_app"}}
	run("plan", "-out=p", "-var=price=10")
	judge(t, run("show", "-json", "p"), settings).check(t, map[string]int{"create": 2, "update": 0, "delete": 0},
		`iexec_apporder.public["basic"]: resources of type iexec_apporder are not allowed`)
	settings["types"] = []any{"iexec_app", "iexec_apporder"}
	judge(t, run("show", "-json", "p"), settings).check(t, nil)

	run("apply", "p")
	run("plan", "-out=p", "-var=price=4")
	judge(t, run("show", "-json", "p"), settings).check(t, map[string]int{"create": 1, "delete": 1},
		`iexec_apporder.public["basic"] may not be deleted or replaced (create, delete)`,
		`iexec_apporder.public["basic"]: appprice falls from 10 to 4`)
	settings["may_go"] = []any{`iexec_apporder.public["basic"]`}
	run("plan", "-out=p", "-var=price=6")
	judge(t, run("show", "-json", "p"), settings).check(t, nil)

	run("plan", "-out=p", "-destroy", "-var=price=10")
	judge(t, run("show", "-json", "p"), settings).check(t, map[string]int{"delete": 1})
}

// localnet runs a local network until the test ends.
func localnet(t *testing.T, program string) (rpc, market string) {
	t.Helper()
	cmd := exec.Command(program, "localnet", "-json", "-rpc=127.0.0.1:0", "-market=127.0.0.1:0", "-sms=127.0.0.1:0", "-registry=127.0.0.1:0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the local network did not start: %v", err)
	}
	var info struct {
		RPC    string `json:"rpc_url"`
		Market string `json:"market_url"`
	}
	if err := json.Unmarshal(line, &info); err != nil {
		t.Fatal(err)
	}
	return info.RPC, info.Market
}
