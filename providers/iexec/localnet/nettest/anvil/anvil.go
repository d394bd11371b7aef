// Package anvil gives tests a second kind of node: anvil, Foundry's development node, which can drop transactions, stop
// mining and reorganise its chain.
//
// Policy: the program comes from one version of one npm package, which is fetched once into the user's cache; its integrity
// is checked at every use; without npm a test fails.
package anvil

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/ethereum/go-ethereum/rpc"
)

// Version is that of the npm packages @foundry-rs/anvil-….
const Version = "1.7.1"

// integrity is that of the tarball for each platform, by GOOS-GOARCH.
func integrity() string {
	return map[string]string{
		"linux-amd64":  "sha512-+XmShybEaxfCrr0OUUZwYEy2OnYZt5pHH9TzBtLv3+VrK0O/ANuNSVEahqNhKHlgX7GRJ59383ofNhxkRWIYTg==",
		"linux-arm64":  "sha512-ykHJmFOGdBR8+9smOKBm9ZZDCCCkLQctiHOAddLvmYx9mPeBDMfq6jP51hKYsO5MG8ClPLSlWe+JpiXPjoXgBQ==",
		"darwin-arm64": "sha512-JNeu3+A3f/npXLn8SR8EahVcqE7BpO9VQZMcPvSIy27/RNc1GsoEBvSLR99aSvt8sGKWAgNg/EzrtjAPq6mxcA==",
		"darwin-amd64": "sha512-OgwzwY+FsGrsPyDv4mmbhOwARO8s37YHrm2qaNzgSH4VlKnXgJCrnoT7bpgOhLyBPtxXjBT8L2E3b79deesXRg==",
	}[runtime.GOOS+"-"+runtime.GOARCH]
}

// Node is a running node. Its chain id is that of the local network, and its accounts are poco.DevAccounts.
type Node struct {
	URL string
	t   testing.TB
	rpc *rpc.Client
}

// Start starts a node on a free port, which ends with the test. It makes a block for each transaction. program is what Install
// returned.
func Start(t testing.TB, program string, args ...string) *Node {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var cmd *exec.Cmd
	var out io.Reader
	for {
		cmd = exec.CommandContext(ctx, program, append([]string{"--port", "0", "--hardfork", "prague"}, args...)...)
		var err error
		if out, err = cmd.StdoutPipe(); err == nil {
			err = cmd.Start()
		}
		if errors.Is(err, syscall.ETXTBSY) { // another child of this process still has it open for writing
			continue
		}
		if err != nil {
			t.Fatalf("start anvil: %v", err)
		}
		break
	}
	n := &Node{t: t}
	lines := bufio.NewScanner(out)
	var said strings.Builder
	for n.URL == "" && lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if host, ok := strings.CutPrefix(lines.Text(), "Listening on "); ok {
			n.URL = "http://" + host
		}
	}
	drained := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, out) // its log
		close(drained)
	}()
	t.Cleanup(func() {
		cancel()
		<-drained
		_ = cmd.Wait() // it was killed
	})
	if n.URL == "" {
		t.Fatalf("anvil ended:\n%s", said.String())
	}
	var err error
	if n.rpc, err = rpc.Dial(n.URL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.rpc.Close)
	return n
}

// Call calls a method of anvil's, such as anvil_mine or evm_setAutomine, and returns its result.
func (n *Node) Call(method string, args ...any) any {
	n.t.Helper()
	var result any
	if err := n.rpc.Call(&result, method, args...); err != nil {
		n.t.Errorf("%s: %v", method, err)
	}
	return result
}

// Install returns the program, which is there until the end of the test.
func Install(t testing.TB) string {
	t.Helper()
	platform := runtime.GOOS + "-" + runtime.GOARCH
	if integrity() == "" {
		t.Fatalf("there is no anvil for %s", platform)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "iexecform", "anvil")
	tarball := filepath.Join(dir, "foundry-rs-anvil-"+platform+"-"+Version+".tgz")
	if _, err := os.Stat(tarball); errors.Is(err, fs.ErrNotExist) {
		fetch(t, dir, "@foundry-rs/anvil-"+platform+"@"+Version, tarball)
	}
	data, err := os.ReadFile(tarball)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(data)
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum[:]); got != integrity() {
		t.Fatalf("%s has integrity %s, want %s; remove the file to have it fetched again", tarball, got, integrity())
	}
	program := filepath.Join(t.TempDir(), "anvil")
	unpack(t, data, program)
	return program
}

// fetch has npm download the tarball. Processes that do so at once don't disturb each other.
func fetch(t testing.TB, dir, spec, tarball string) {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Fatalf("this test needs anvil, the npm package %s, which is not in %s, and npm is not installed to fetch it: install npm", spec, dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	temp, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(temp) }()
	cmd := exec.CommandContext(t.Context(), npm, "pack", "--silent", spec)
	cmd.Dir = temp
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("fetch anvil: %v: %v\n%s", cmd, err, out)
	}
	if err := os.Rename(filepath.Join(temp, filepath.Base(tarball)), tarball); err != nil {
		t.Fatal(err)
	}
}

// unpack writes the program from the tarball to a file.
func unpack(t testing.TB, tarball []byte, file string) {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(tarball))
	if err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(zip); ; {
		header, err := archive.Next()
		if err != nil {
			t.Fatalf("find anvil in its package: %v", err)
		}
		if header.Name != "package/bin/anvil" {
			continue
		}
		program, err := io.ReadAll(archive)
		if err == nil {
			err = os.WriteFile(file, program, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
}
