package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
)

// TestBadTrials has the program look at wrong trial blocks. The archive holds cases: a part of an app, whose name says what is
// wrong with it, and a file "want" with all that is said. What validate can't tell, as it reads no files, plan does.
func TestBadTrials(t *testing.T) {
	network := nettest.Start(t).Info()
	path := filepath.Join("testdata", "bad", "trial.txtar")
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("data.txt", "data")
	run := func(args ...string) (said string, ok bool) {
		cmd := exec.CommandContext(t.Context(), "iexecform", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), endQuickly)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		err := cmd.Run()
		return stderr.String(), err == nil
	}
	got := txtar.Archive{Comment: archive.Comment}
	for _, f := range archive.Files {
		if f.Name == "want" {
			continue
		}
		write("main.hcl", fmt.Sprintf("provider \"iexec\" {\n  chain      = \"localnet\"\n  rpc_url    = %q\n  market_url = %q\n}\n", network.RPCURL, network.MarketURL))
		write("app.hcl", fmt.Sprintf("resource \"iexec_app\" \"a\" {\nname = \"a\"\nmultiaddr = \"docker.io/a/b:1\"\nchecksum = \"0x%064d\"\n%s}\n", 1, f.Data))
		by := "validate"
		said, ok := run(by)
		if ok {
			by = "plan"
			if said, ok = run(by, "--concise", "--skip-trial"); ok {
				t.Errorf("%s: nothing is wrong", f.Name)
			}
		}
		got.Files = append(got.Files, f, txtar.File{Name: "want", Data: []byte(by + " says:\n" + said)})
	}
	golden(t, path, txtar.Format(&got))
}
