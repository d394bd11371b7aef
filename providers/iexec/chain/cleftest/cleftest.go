// Package cleftest runs the real clef, go-ethereum's external signer, for tests.
//
// Policy: the Go tool builds exactly this version, once, into the user's cache. (Later versions of go-ethereum don't hold
// clef any more; what it speaks is the same.) The user of clef is played by the test, over clef's own UI protocol.
package cleftest

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/rpc"
)

const (
	program  = "github.com/ethereum/go-ethereum/cmd/clef"
	version  = "v1.16.8"
	password = "the user's password"
)

// Clef is a running clef.
type Clef struct {
	URL    string // of its HTTP endpoint
	Socket string // its IPC endpoint

	mu     sync.Mutex
	answer func(request string, body json.RawMessage) bool
	seen   []string
}

// Start runs clef for chain 31337 with the keys in its keystore, until the test ends. Its user approves of everything.
func Start(t testing.TB, keys ...*ecdsa.PrivateKey) *Clef {
	t.Helper()
	dir := t.TempDir()
	store := keystore.NewKeyStore(filepath.Join(dir, "keys"), keystore.LightScryptN, keystore.LightScryptP)
	for _, key := range keys {
		if _, err := store.ImportECDSA(key, password); err != nil {
			t.Fatal(err)
		}
	}
	c := &Clef{answer: func(string, json.RawMessage) bool { return true }}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, install(t), "--stdio-ui", "--suppress-bootwarn", "--nousb", "--loglevel", "1",
		"--keystore", filepath.Join(dir, "keys"), "--configdir", dir, "--4bytedb-custom", filepath.Join(dir, "4byte.json"), "--auditlog", "",
		"--chainid", "31337", "--ipcpath", filepath.Join(dir, "clef.ipc"), "--http", "--http.addr", "127.0.0.1", "--http.port", "0")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Dir, cmd.Stderr = dir, io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatalf("start clef: %v", err)
	}
	started := make(chan map[string]any, 1)
	conn, err := rpc.DialIO(ctx, stdout, stdin)
	if err != nil {
		t.Fatal(err)
	}
	var end error
	exited := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-exited
		conn.Close()
	})
	go func() {
		end = cmd.Wait()
		close(exited)
	}()
	if err := conn.RegisterName("ui", &user{c, started}); err != nil {
		t.Fatal(err)
	}
	select {
	case info := <-started:
		c.URL, _ = info["extapi_http"].(string)
		c.Socket, _ = info["extapi_ipc"].(string)
	case <-exited:
		t.Fatalf("clef did not start: %v", end)
	}
	return c
}

// User sets who answers from now on: request is ui_approveTx, ui_approveSignData or ui_approveListing, and body what clef
// shows. It returns whether the user approves.
func (c *Clef) User(answer func(request string, body json.RawMessage) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// Seen lists the requests that the user was asked about, oldest first.
func (c *Clef) Seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.seen...)
}

func (c *Clef) ask(request string, body json.RawMessage) bool {
	c.mu.Lock()
	c.seen = append(c.seen, request)
	answer := c.answer
	c.mu.Unlock()
	return answer(request, body)
}

// user is clef's user. Its exported methods are those of clef's UI protocol.
type user struct {
	clef    *Clef
	started chan map[string]any
}

type approval struct {
	Transaction json.RawMessage `json:"transaction,omitempty"`
	Approved    bool            `json:"approved"`
}

func (u *user) ApproveTx(body json.RawMessage) (approval, error) {
	var request approval
	if err := json.Unmarshal(body, &request); err != nil {
		return approval{}, err
	}
	request.Approved = u.clef.ask("ui_approveTx", body)
	return request, nil
}

func (u *user) ApproveSignData(body json.RawMessage) approval {
	return approval{Approved: u.clef.ask("ui_approveSignData", body)}
}

func (u *user) ApproveListing(body json.RawMessage) (map[string]any, error) {
	var request struct {
		Accounts []json.RawMessage `json:"accounts"`
	}
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, err
	}
	if !u.clef.ask("ui_approveListing", body) {
		request.Accounts = nil
	}
	return map[string]any{"accounts": request.Accounts}, nil
}

func (u *user) OnInputRequired(json.RawMessage) map[string]string {
	return map[string]string{"text": password}
}

func (u *user) OnSignerStartup(info struct {
	Info map[string]any `json:"info"`
}) {
	u.started <- info.Info
}

func (*user) ShowInfo(json.RawMessage)     {}
func (*user) ShowError(json.RawMessage)    {}
func (*user) OnApprovedTx(json.RawMessage) {}

// install returns clef's path. Processes that install it at once don't disturb each other.
func install(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "iexecform", "clef-"+version)
	path := filepath.Join(dir, "clef")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "install-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(temp) }()
	cmd := exec.CommandContext(t.Context(), "go", "install", program+"@"+version)
	cmd.Env = append(os.Environ(), "GOBIN="+temp, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build clef: %v: %v\n%s", cmd, err, out)
	}
	if err := os.Rename(temp, dir); err != nil {
		if _, statErr := os.Stat(path); statErr != nil { // else another process was first
			t.Fatalf("keep clef: %v", err)
		}
	}
	return path
}
