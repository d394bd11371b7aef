package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// TestNothingLeaks applies a project with a secret, killed after each write of its journal and state, with all logging on,
// and searches whatever is written or printed on the way for the secret, the private key and what opens it. What is public,
// the app's address, must be found in each of these places: the search works.
func TestNothingLeaks(t *testing.T) {
	const (
		secret   = `t0p-s3cret "quoted" <é>`
		password = "0pen-s3same"
	)
	net := nettest.Start(t)
	c := nettest.Chain(net)
	account := poco.DevAccounts()[3]
	bin := programs(t, "iexecform", "iexecform-dying")
	keys := filepath.Join(t.TempDir(), "keys")
	if _, err := keystore.NewKeyStore(keys, keystore.LightScryptN, keystore.LightScryptP).ImportECDSA(account.Key, password); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
variable "secret" {
  type      = string
  ephemeral = true
}
variable "rpc_url" {
  sensitive = true
}
provider "iexec" {
  chain      = "localnet"
  rpc_url    = var.rpc_url
  market_url = %q
  sms_url    = %q
  wallet {
    keystore = %q
    address  = %q
  }
}
resource "iexec_app" "hello" {
  name      = "NAME"
  multiaddr = "docker.io/a/b:1"
  checksum  = "0x00f51494d7a42a3c1c43464d9f09e06b2a99968e3b978f6cd11ab3410b7bcd14"
}
resource "iexec_app_secret" "key" {
  app   = iexec_app.hello.address
  value = var.secret
}
resource "iexec_apporder" "public" {
  app      = iexec_app.hello.address
  appprice = 5
  volume   = 10
}
output "app" { value = iexec_app.hello.address }
output "rpc" {
  value     = var.rpc_url
  sensitive = true
}
`, c.Market, c.SMS, keys, account.Address)

	w := &watch{t: t, secrets: map[string]string{}, seen: map[string]bool{}}
	raw := crypto.FromECDSA(account.Key)
	w.hide("secret", "t0p-s3cret") // a part that no quoting changes
	w.hide("secret", hex.EncodeToString([]byte("t0p-s3cret")))
	w.hide("secret", base64.StdEncoding.EncodeToString([]byte(secret))[:12])
	w.hide("password", password)
	w.hide("private key", hex.EncodeToString(raw))
	w.hide("private key", string(raw))
	w.hide("private key", base64.StdEncoding.EncodeToString(raw))
	w.hide("private key", new(big.Int).SetBytes(raw).String())

	run := func(dir, program string, env []string, args ...string) (killed bool, err error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, program), args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), endQuickly, "IEXECFORM_WALLET_PASSWORD="+password, "IEXECFORM_VAR_rpc_url="+c.RPC, "IEXECFORM_VAR_secret="+secret,
			"IEXECFORM_LOG=trace", "IEXECFORM_LOG_PATH="+filepath.Join(dir, "log"))
		cmd.Env = append(cmd.Env, env...)
		printed, err := cmd.CombinedOutput()
		w.search("output of "+args[0], printed)
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
			return true, nil
		}
		if err != nil {
			err = fmt.Errorf("iexecform %s: %w\n%s", strings.Join(args, " "), err, printed)
		}
		return false, err
	}
	must := func(dir string, args ...string) {
		t.Helper()
		if _, err := run(dir, "iexecform", nil, args...); err != nil {
			t.Fatal(err)
		}
	}
	project := func(name string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(strings.ReplaceAll(config, "NAME", name)), 0o644); err != nil {
			t.Fatal(err)
		}
		return dir
	}

	for at := 1; ; at++ {
		name := fmt.Sprintf("leak-%d", at)
		dir := project(name)
		app := poco.App{Name: name, Type: "DOCKER", Multiaddr: []byte("docker.io/a/b:1"),
			Checksum: common.HexToHash("0x00f51494d7a42a3c1c43464d9f09e06b2a99968e3b978f6cd11ab3410b7bcd14")}.Address(net.Info().AppRegistry, account.Address)
		w.public = app.Hex()
		challenge := poco.AppSecretChallenge(app, secret)
		authorization, err := poco.Sign(account.Key, poco.PersonalDigest(challenge[:]))
		if err != nil {
			t.Fatal(err)
		}
		w.hide("authorization", hex.EncodeToString(authorization))
		must(dir, "plan", "--out=planned")
		killed, err := run(dir, "iexecform-dying", []string{"DIE_AT=" + strconv.Itoa(at), "DIE_WHEN=after"}, "apply", "planned")
		if err != nil {
			t.Fatal(err)
		}
		w.searchDir(dir)
		if killed {
			must(dir, "apply", "--auto-approve", "--json")
			w.searchDir(dir)
			continue
		}
		must(dir, "plan", "--detailed-exitcode")
		if at < 10 {
			t.Errorf("killed %d times only", at-1)
		}
		// Everything that shows something, and what goes wrong.
		must(dir, "plan", "--json")
		must(dir, "show", "--json")
		must(dir, "show", "planned")
		must(dir, "output", "--json")
		must(dir, "graph")
		must(dir, "state", "pull")
		for _, bad := range []struct{ env, args string }{
			{"IEXECFORM_VAR_secret=" + secret + "2", "plan"},
			{"IEXECFORM_VAR_secret=" + strings.Repeat(secret, 1000), "plan"},
			{"IEXECFORM_WALLET_PASSWORD=" + password + "2", "destroy --auto-approve"},
			{"", "plan --var rpc_url=" + c.RPC + "/" + password + " --var"},
			{"", "plan --var rpc_url=" + password},
			{"", "apply --var rpc_url=" + password + " planned"},
			{"IEXECFORM_VAR_rpc_url=http://user:" + password + "@127.0.0.1:1/" + password, "plan"},
		} {
			if _, err := run(dir, "iexecform", []string{cmp.Or(bad.env, "X=")}, strings.Fields(bad.args)...); err == nil {
				t.Errorf("iexecform %s with what is wrong: no error", bad.args)
			}
		}
		must(dir, "destroy", "--auto-approve")
		w.searchDir(dir)
		break
	}
	for _, place := range []string{"output of plan", "output of apply", "output of show", "iexecform.state.json", "iexecform.state.journal", "planned", "log"} {
		if !w.seen[place] {
			t.Errorf("%s was never seen to hold the app's address: what it holds is not searched", place)
		}
	}
}

// programs makes the test binary run as each of the commands, and returns their directory.
func programs(t *testing.T, names ...string) string {
	t.Helper()
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

// watch looks for what must not be there, and notes where it saw what may.
type watch struct {
	t       *testing.T
	secrets map[string]string // what it is, by text
	public  string
	seen    map[string]bool
}

func (w *watch) hide(what, text string) { w.secrets[text] = what }

func (w *watch) search(place string, content []byte) {
	w.t.Helper()
	lower := bytes.ToLower(content)
	for text, what := range w.secrets {
		if bytes.Contains(content, []byte(text)) || bytes.Contains(lower, bytes.ToLower([]byte(text))) {
			w.t.Errorf("%s holds the %s:\n%s", place, what, content)
		}
	}
	if bytes.Contains(content, []byte(w.public)) {
		w.seen[place] = true
	}
}

// searchDir searches all files of a project.
func (w *watch) searchDir(dir string) {
	w.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		w.search(d.Name(), content)
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
}
