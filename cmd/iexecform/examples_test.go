package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// TestExamples validates, formats, plans and applies every example, and looks whether the second plan is empty. Where an
// example names the local network's usual ports, the test puts its own.
func TestExamples(t *testing.T) {
	net := nettest.Start(t)
	c := nettest.Chain(net)
	owner := poco.DevAccounts()[4]
	ports := strings.NewReplacer(
		`chain = "localnet"`, `chain = "localnet"`+"\n  rpc_url = \""+c.RPC+"\"\n  market_url = \""+c.Market+"\"\n  sms_url = \""+c.SMS+"\"",
		"127.0.0.1:5000", strings.SplitN(net.Info().SampleImage, "/", 2)[0],
	)
	// Variables that point an example for another chain to the local network.
	vars := map[string][]string{"seed-nilearn": {
		"chain=localnet", "rpc_url=" + c.RPC, "market_url=" + c.Market, "owner=" + owner.Address.Hex(),
	}}
	t.Setenv("IEXECFORM_VAR_api_key", "an example's secret")
	examples := filepath.Join("..", "..", "examples")
	entries, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, e := range entries {
		files, err := filepath.Glob(filepath.Join(examples, e.Name(), "*.hcl"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 { // ci and policy, which have tests of their own
			continue
		}
		seen++
		t.Run(e.Name(), func(t *testing.T) {
			dir := t.TempDir()
			source := filepath.Join(examples, e.Name())
			iexecform(t, 0, "fmt", "--check", source)
			iexecform(t, 0, "--chdir", source, "validate")
			iexecform(t, 0, "--chdir", source, "lint", "--strict")
			iexecform(t, 0, "--chdir", source, "test")
			if e.Name() == "trial" { // needs images: `make trial` makes and applies it
				return
			}
			copyFiles(t, source, dir, ports)
			var args []string
			for _, v := range vars[e.Name()] {
				args = append(args, "--var", v)
			}
			plan := filepath.Join(dir, "p")
			iexecform(t, 2, append([]string{"--chdir", dir, "plan", "--detailed-exitcode", "--out", plan}, args...)...)
			iexecform(t, 0, "--chdir", dir, "apply", plan)
			iexecform(t, 0, append([]string{"--chdir", dir, "plan", "--detailed-exitcode"}, args...)...)
		})
	}
	if seen < 3 {
		t.Errorf("found %d examples", seen)
	}
}

func iexecform(t *testing.T, want int, args ...string) {
	t.Helper()
	var out syncBuffer
	if code := run(args, strings.NewReader(""), &out, &out, os.Environ()); code != want {
		t.Fatalf("iexecform %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want, &out)
	}
}

func copyFiles(t *testing.T, from, to string, change *strings.Replacer) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, rel)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), []byte(change.Replace(string(text))), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
