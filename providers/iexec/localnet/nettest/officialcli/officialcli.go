// Package officialcli gives tests iExec's own command line, which is what users come from, and what their buyers use.
//
// Policy: npm installs exactly one version, once, into the user's cache; its integrity is checked at every use; without npm
// a test fails.
package officialcli

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Version is that of the npm package iexec.
const Version = "9.0.1"

const integrity = "sha512-3wZ7dm+x6bosJ5HiwtCt9Lo24zAjOrHNFghAuk0YPB0+U0Xw/7ZYH1bdoMUoNTeTihLi8FjvdX1F18hZW4ZUpw=="

// Install returns where the CLI's programs are: iexec.js, and one for each noun. Processes that install it at once don't
// disturb each other.
func Install(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "iexecform", "cli", "iexec-"+Version)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		install(t, dir)
	}
	check(t, dir)
	return filepath.Join(dir, "node_modules", "iexec", "dist", "esm", "cli", "cmd")
}

// Command is `iexec NOUN ARGS` in a directory, by the program that iexec itself would start for the noun. HOME is the
// directory, so nothing of the user's is used.
func Command(ctx context.Context, programs, dir, noun string, args ...string) *exec.Cmd {
	program := filepath.Join(programs, "iexec-"+noun+".js")
	if _, err := os.Stat(program); err != nil { // a command of iexec's own, such as init
		program, args = filepath.Join(programs, "iexec.js"), append([]string{noun}, args...)
	}
	cmd := exec.CommandContext(ctx, "node", append([]string{program}, args...)...)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir}
	return cmd
}

func install(t testing.TB, dir string) {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Fatalf("this test compares with the official CLI, the npm package iexec@%s, which is not in %s, and npm is not installed to fetch it: install node 20 or newer, and npm", Version, dir)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "install-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(temp) }()
	if err := os.WriteFile(filepath.Join(temp, "package.json"), []byte("{\"private\": true}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "iexec@"+Version)
	cmd.Dir = temp
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("install the official CLI: %v: %v\n%s", cmd, err, out)
	}
	check(t, temp)
	if err := os.Rename(temp, dir); err != nil {
		if _, statErr := os.Stat(dir); statErr != nil { // else another process was first
			t.Fatalf("keep the official CLI: %v", err)
		}
	}
}

// check looks whether npm installed the very package that is pinned.
func check(t testing.TB, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "node_modules", ".package-lock.json"))
	if err != nil {
		t.Fatalf("%v; remove %s to have the official CLI installed again", err, dir)
	}
	var lock struct {
		Packages map[string]struct{ Version, Integrity string }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	if got := lock.Packages["node_modules/iexec"]; got.Version != Version || got.Integrity != integrity {
		t.Fatalf("the official CLI in %s is %s with integrity %s, want %s with %s; remove the directory to have it installed again",
			dir, got.Version, got.Integrity, Version, integrity)
	}
}
