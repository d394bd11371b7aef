package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/state/local"
)

// The benchmarks run the program as a user does: as it is released, one process a command, against a local network in a process
// of its own. Times are those of whole processes: ms is what passes, cpu-ms what they compute for, which says more where others
// work too. MB is the peak resident memory.

var benchSizes = []int{100, 1000, 10000}

// project is a directory with n apps and an order each. The images are made up, so nobody watches their tags.
func project(b *testing.B, n int) string {
	b.Helper()
	net := benchNetwork(b)
	dir := b.TempDir()
	var apps strings.Builder
	for i := range n {
		fmt.Fprintf(&apps, "    app-%d = { price = %d }\n", i, 10+i)
	}
	config := fmt.Sprintf(`
provider "iexec" {
  chain           = "localnet"
  rpc_url         = %q
  market_url      = %q
  max_open_orders = 100000
  watch_tags      = false
}
locals {
  apps = {
%s  }
}
resource "iexec_app" "many" {
  for_each  = local.apps
  name      = each.key
  multiaddr = "docker.io/iexechub/${each.key}:1.0"
  checksum  = "0xf8a48dc5125fe762e3e35b9493291b8472a68782dd19d741a7e7aa062ef73dd6"
}
resource "iexec_apporder" "many" {
  for_each = local.apps
  app      = iexec_app.many[each.key].address
  appprice = each.value.price
  volume   = 100
}
`, net.RPCURL, net.MarketURL, &apps)
	if err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(config), 0o644); err != nil {
		b.Fatal(err)
	}
	// The floor is told where the network is.
	if err := os.WriteFile(filepath.Join(dir, "floor"), []byte(net.RPCURL+"\n"+net.MarketURL+"\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	return dir
}

// benchNetwork starts a local network in a process of its own, so that what one network holds doesn't slow the next one.
func benchNetwork(b *testing.B) (info localnet.Info) {
	b.Helper()
	programs, err := benchPrograms()
	if err != nil {
		b.Fatal(err)
	}
	const anyPort = "127.0.0.1:0"
	cmd := exec.CommandContext(b.Context(), filepath.Join(programs, "iexecform"), "localnet", "--json", "--max-open-orders=-1", "--rpc="+anyPort, "--market="+anyPort, "--sms="+anyPort, "--registry="+anyPort)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var told bytes.Buffer
	cmd.Stderr = &told
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if err := json.NewDecoder(out).Decode(&info); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		b.Fatalf("the local network doesn't start: %v\n%s", err, told.String())
	}
	b.Cleanup(func() { _ = cmd.Wait() }) // the context ends before
	return info
}

// benchPrograms builds what is measured and the meter, once, and returns where they are. This binary, which has the tests and
// their libraries in it, starts more slowly and takes more memory.
var benchPrograms = sync.OnceValues(func() (dir string, err error) {
	if dir, err = filepath.Abs(filepath.Join("..", "..", "bin", "bench")); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+"/", ".", "./internal/floor", "./internal/meter")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return dir, nil
})

// A cost is what a process took.
type cost struct {
	time, cpu time.Duration
	memory    int64 // bytes, peak
}

// measure runs the program, or the floor.
func measure(b *testing.B, dir, name string, args ...string) cost {
	b.Helper()
	b.StopTimer()
	programs, err := benchPrograms()
	if err != nil {
		b.Fatal(err)
	}
	b.StartTimer()
	cmd := exec.CommandContext(b.Context(), filepath.Join(programs, "meter"), append([]string{filepath.Join(programs, name)}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "MEASURE_STDIN="+`iexec_app.many["app-7"].address`) // for console
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%s %v: %v\n%s", name, args, err, tail(string(out)))
	}
	var c cost
	if _, err := fmt.Sscan(string(out), &c.time, &c.cpu, &c.memory); err != nil {
		b.Fatalf("%s: %v\n%s", name, err, tail(string(out)))
	}
	return c
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

func median(costs []cost) cost {
	slices.SortFunc(costs, func(x, y cost) int { return int(x.time - y.time) })
	return costs[len(costs)/2]
}

func (c cost) report(b *testing.B, name string) {
	b.ReportMetric(float64(c.time.Microseconds())/1000, name+"-ms")
	b.ReportMetric(float64(c.cpu.Microseconds())/1000, name+"-cpu-ms")
	b.ReportMetric(float64(c.memory)/1e6, name+"-MB")
}

// BenchmarkPlan plans n apps and n orders in which nothing changes, in turn with the floor, a program that makes the same
// calls and no more, in five rounds or more. ratio is the median of plan's time by that of the floor's, times-1000 by that of
// 1,000 apps.
func BenchmarkPlan(b *testing.B) {
	const rounds = 5
	var thousand cost
	for _, n := range benchSizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			dir := project(b, n)
			measure(b, dir, "iexecform", "apply", "--auto-approve", "--parallelism=64")
			writeFloor(b, dir)
			var plans, floors []cost
			round := func() {
				plans = append(plans, measure(b, dir, "iexecform", "plan", "--detailed-exitcode"))
				floors = append(floors, measure(b, dir, "floor"))
			}
			for b.Loop() {
				round()
			}
			for len(plans) < rounds {
				round()
			}
			p, f := median(plans), median(floors)
			p.report(b, "plan")
			f.report(b, "floor")
			b.ReportMetric(float64(p.time)/float64(f.time), "ratio")
			switch {
			case n == 1000:
				thousand = p
			case thousand.time > 0:
				b.ReportMetric(float64(p.time)/float64(thousand.time), "times-1000")
			}
		})
	}
}

// BenchmarkApply deploys n apps and publishes n orders.
func BenchmarkApply(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			var all []cost
			for b.Loop() {
				b.StopTimer()
				dir := project(b, n)
				b.StartTimer()
				all = append(all, measure(b, dir, "iexecform", "apply", "--auto-approve", "--parallelism=64"))
			}
			median(all).report(b, "apply")
		})
	}
}

// BenchmarkOffline is what needs no network, with 1,000 apps and as many orders; the saved plan is that which makes them.
func BenchmarkOffline(b *testing.B) {
	dir := project(b, 1000)
	measure(b, dir, "iexecform", "plan", "--out=saved")
	measure(b, dir, "iexecform", "apply", "--auto-approve", "--parallelism=64", "saved")
	for name, command := range map[string][]string{
		"version": {"version"}, "validate": {"validate"}, "show": {"show"}, "show-plan": {"show", "saved"},
		"show-plan-json": {"show", "--json", "saved"}, "show-plan-html": {"show", "--html", "saved"}, "console": {"console"},
	} {
		b.Run(name, func(b *testing.B) { benchCommand(b, dir, name, command...) })
	}
}

func benchCommand(b *testing.B, dir, name string, command ...string) {
	b.Helper()
	var all []cost
	for b.Loop() {
		all = append(all, measure(b, dir, "iexecform", command...))
	}
	median(all).report(b, name)
}

// BenchmarkValidate is validate of 2,000 resources that are written one by one.
func BenchmarkValidate(b *testing.B) {
	var text strings.Builder
	text.WriteString("provider \"iexec\" {\n  chain = \"localnet\"\n}\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "resource \"iexec_app\" \"a%[1]d\" {\n  name      = \"a%[1]d\"\n  multiaddr = \"docker.io/user/app:%[1]d\"\n}\n"+
			"resource \"iexec_apporder\" \"o%[1]d\" {\n  app      = iexec_app.a%[1]d.address\n  appprice = %[1]d\n  volume   = 10\n}\n", i)
	}
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	benchCommand(b, dir, "validate", "validate")
}

// writeFloor writes the calls that the floor makes: target and data, a line each.
func writeFloor(b *testing.B, dir string) {
	b.Helper()
	loaded, err := local.New(dir).Load(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	registry := builtins(os.Getenv)
	f, err := os.OpenFile(filepath.Join(dir, "floor"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	hub := poco.Localnet().Hub
	client := dialFloor(b, dir)
	defer func() { _ = client.Close() }()
	data, _ := poco.HubABI().Pack("appregistry")
	apps := common.BytesToAddress(client.Calls(b.Context(), []chain.Call{{To: hub, Data: data}})[0].Data)
	for i, object := range loaded.Snapshot.Resources {
		v, err := plan.DecodeObject(registry, i.Resource.Type, object)
		if err != nil {
			b.Fatal(err)
		}
		to := hub
		if i.Resource.Type == "iexec_app" {
			to = apps
			data, _ = poco.RegistryABI().Pack("ownerOf", poco.TokenID(common.HexToAddress(v.Text("address"))))
		} else {
			data, _ = poco.HubABI().Pack("viewConsumed", common.HexToHash(v.Text("order_hash")))
		}
		if _, err := fmt.Fprintf(f, "%x%x\n", to, data); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

func dialFloor(b *testing.B, dir string) *chain.Client {
	b.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "floor"))
	if err != nil {
		b.Fatal(err)
	}
	client, err := chain.Dial(b.Context(), string(bytes.Fields(text)[0]), chain.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return client
}
