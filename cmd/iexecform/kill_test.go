package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/state"
)

// dying is the program with a store that kills the process (SIGKILL) at its n-th write, before or after it, as
// DIE_AT and DIE_WHEN say. Every effect of an apply lies between two writes. With DIE_WHEN=full there is no room for a new
// snapshot instead.
func dying() {
	n, err := strconv.Atoi(os.Getenv("DIE_AT"))
	if err != nil {
		panic(err)
	}
	full := os.Getenv("DIE_WHEN") == "full"
	a := newApp(builtins, os.Stdin, os.Stdout, os.Stderr, os.Environ())
	open := a.openStore
	a.openStore = func(dir string) state.Store {
		return &mortal{Store: open(dir), left: n, after: os.Getenv("DIE_WHEN") == "after", full: full}
	}
	os.Exit(a.run(os.Args[1:]))
}

type mortal struct {
	state.Store
	left  int
	after bool
	full  bool
}

func (m *mortal) write(f func() error) error {
	m.left--
	if m.left == 0 && !m.after {
		die()
	}
	err := f()
	if m.left == 0 {
		die()
	}
	return err
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

func (m *mortal) Append(ctx context.Context, records ...state.Record) error {
	return m.write(func() error { return m.Store.Append(ctx, records...) })
}

func (m *mortal) Compact(ctx context.Context, s *state.Snapshot, pending []state.Note) error {
	if m.full {
		return syscall.ENOSPC
	}
	return m.write(func() error { return m.Store.Compact(ctx, s, pending) })
}

// TestKilled kills an apply at every write of its journal and state, before and after; then a plan and an apply must
// leave one app, one live order, no doubled transaction, and nothing to do.
func TestKilled(t *testing.T) {
	net := nettest.Start(t)
	c := nettest.Chain(net)
	account := poco.DevAccounts()[3]
	client := nettest.Client(t, net)
	orders, err := market.New(c.Market, c.Domain(), market.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = orders.Close() })
	bin := t.TempDir()
	for _, name := range []string{"iexecform", "iexecform-dying"} { // the test binary acts as the command that it is called
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}

	run := func(dir, name string, env []string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, name), args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), endQuickly, "IEXECFORM_PRIVATE_KEY="+hex.EncodeToString(crypto.FromECDSA(account.Key)))
		cmd.Env = append(cmd.Env, env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(dir string, args ...string) string {
		t.Helper()
		out, err := run(dir, "iexecform", nil, args...)
		if err != nil {
			t.Fatalf("iexecform %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	nonce := func() uint64 {
		t.Helper()
		n, err := client.NonceAt(t.Context(), account.Address, nil)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	live := func(app string) (open []market.Row) {
		t.Helper()
		rows, err := orders.ListByOwner(t.Context(), poco.AppOrder, account.Address)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r.Order["app"] == app {
				open = append(open, r)
			}
		}
		return open
	}
	write := func(dir, name, price string) {
		t.Helper()
		config := fmt.Sprintf(`
provider "iexec" {
  chain      = "localnet"
  rpc_url    = %q
  market_url = %q
}
data "oci_image" "hello" { reference = %q }
resource "iexec_app" "hello" {
  name      = %q
  multiaddr = data.oci_image.hello.reference
  checksum  = data.oci_image.hello.checksum
}
resource "iexec_apporder" "public" {
  app      = iexec_app.hello.address
  appprice = %q
  volume   = 1000
}
output "app" { value = iexec_app.hello.address }
`, c.RPC, c.Market, net.Info().SampleImage, name, price)
		if err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	// each runs what is to be killed at every point, until it comes through.
	each := func(what string, prepare func(dir, name string), transactions uint64, price string) {
		deaths := 0
		for _, when := range []string{"before", "after"} {
			for at := 1; ; at++ {
				name := fmt.Sprintf("%s-%s-%d", what, when, at)
				dir := t.TempDir()
				prepare(dir, name)
				before := nonce()
				out, err := run(dir, "iexecform-dying", []string{"DIE_AT=" + strconv.Itoa(at), "DIE_WHEN=" + when}, "apply", "--auto-approve")
				var exit *exec.ExitError
				if err != nil && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
					t.Fatalf("%s %d: %v\n%s", when, at, err, out)
				}
				killed := err != nil
				if killed {
					deaths++
					t.Logf("%s, killed %s write %d", what, when, at)
					must(dir, "plan")
					must(dir, "apply", "--auto-approve")
				}
				must(dir, "plan", "--detailed-exitcode")
				app := strings.TrimSpace(must(dir, "output", "--raw", "app"))
				if n := nonce() - before; n != transactions {
					t.Errorf("%s, %s write %d: %d transactions, want %d", what, when, at, n, transactions)
				}
				if open := live(app); len(open) != 1 || open[0].Order["appprice"] != price {
					t.Errorf("%s, %s write %d: live orders %v, want one at %s", what, when, at, open, price)
				}
				if _, err := os.Stat(filepath.Join(dir, "iexecform.state.journal")); err == nil {
					t.Errorf("%s, %s write %d: the journal is still there", what, when, at)
				}
				for _, row := range live(app) { // make room: the market has a limit
					unpublish(t, orders, account, row)
				}
				if !killed {
					break
				}
			}
		}
		if deaths < 10 {
			t.Errorf("killed %d times only", deaths)
		}
	}
	each("create", func(dir, name string) { write(dir, name, "0.5 RLC") }, 1, "500000000")
	each("price", func(dir, name string) {
		write(dir, name, "0.5 RLC")
		must(dir, "apply", "--auto-approve")
		write(dir, name, "0.7 RLC")
	}, 1, "700000000")
}

func unpublish(t *testing.T, orders *market.Client, account poco.Account, row market.Row) {
	t.Helper()
	if err := orders.Unpublish(t.Context(), poco.AppOrder, row.OrderHash, chain.NewKeySigner(account.Key)); err != nil {
		t.Fatal(err)
	}
}
