package iexec_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/chain/cleftest"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// providerBlock is a provider of the network with settings of its own.
func (w *world) providerBlock(settings string) string {
	c := nettest.Chain(w.net)
	return fmt.Sprintf("provider \"iexec\" {\n  chain      = \"localnet\"\n  rpc_url    = %q\n  market_url = %q\n%s\n}\n", c.RPC, c.Market, settings)
}

// refuseTo makes clef's user refuse requests of these kinds.
func refuseTo(clef *cleftest.Clef, kinds ...string) {
	clef.User(func(request string, _ json.RawMessage) bool { return !slices.Contains(kinds, request) })
}

// held applies the plan and fails the test unless that ends with so many actions done, held and skipped.
func (w *world) held(done, held, skipped int) *apply.Result {
	w.t.Helper()
	made := w.Plan()
	result, err := w.TryApply(w.t.Context(), made)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, made)
	}
	if result.Done != done || result.Held != held || result.Skipped != skipped || result.Failed != 0 || len(result.Errors) != held {
		w.t.Fatalf("%d done, %d held, %d skipped, %d failed (%v), want %d, %d, %d and none\n%s",
			result.Done, result.Held, result.Skipped, result.Failed, result.Errors, done, held, skipped, made)
	}
	return result
}

// What clef's user refuses is held: nothing of it happens, the rest does, and the next apply resumes.
func TestClefRefusalHoldsActions(t *testing.T) {
	w := newWorld(t)
	me := poco.DevAccounts()[1]
	clef := cleftest.Start(t, me.Key)
	nonce := func() uint64 {
		t.Helper()
		n, err := nettest.Client(t, w.net).NonceAt(t.Context(), me.Address, nil)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	write := func(price int) {
		w.Write(w.providerBlock(fmt.Sprintf("wallet {\n  clef = %q\n  address = %q\n}", clef.URL, me.Address.Hex())) +
			appBlock("docker.io/a/b:1") + orderBlock(fmt.Sprintf("appprice = %d\nvolume = 10", price)))
	}
	open := func(prices ...string) {
		t.Helper()
		rows, err := w.market.ListByOwner(t.Context(), poco.AppOrder, me.Address)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range rows {
			got = append(got, r.Order["appprice"])
		}
		if !slices.Equal(got, prices) {
			t.Fatalf("prices %v are on offer, want %v", got, prices)
		}
	}

	write(5)
	refuseTo(clef, "ui_approveTx")
	result := w.held(1, 1, 1) // signed; not deployed, so not published
	if text := result.Errors[0].Error(); !strings.Contains(text, "deploy of iexec_app.a") || !strings.Contains(text, "refused") || !strings.Contains(text, "approve it in clef, and run again") {
		t.Errorf("the error is %q", text)
	}
	if loaded := w.State(); nonce() != 0 || len(loaded.Pending) != 0 || loaded.Records != 0 {
		t.Errorf("%d transactions were sent, %v is pending, %d records are left", nonce(), loaded.Pending, loaded.Records)
	}
	refuseTo(clef, "ui_approveSignData")
	w.held(1, 1, 0) // deployed; the market's challenge isn't signed
	open()
	refuseTo(clef)
	w.step("publish")
	open("5")

	write(7) // a rise: the old order is closed first
	refuseTo(clef, "ui_approveTx", "ui_approveSignData", "ui_approveListing")
	w.held(0, 1, 3)
	open("5")
	refuseTo(clef)
	w.Apply()
	w.Settled()
	open("7")
	if nonce() != 2 {
		t.Errorf("%d transactions were sent, want 2", nonce())
	}
}

// Two provider blocks, two keys: each signs, sends and publishes for itself.
func TestTwoWallets(t *testing.T) {
	w := newWorld(t)
	one, two := poco.DevAccounts()[3], poco.DevAccounts()[4]
	t.Setenv("KEY_OF_ONE", hexutil.Encode(crypto.FromECDSA(one.Key)))
	t.Setenv("KEY_OF_TWO", hexutil.Encode(crypto.FromECDSA(two.Key))[2:])
	t.Setenv(chain.EnvPrivateKey, "no key at all, and none of theirs")
	block := func(alias, name string) string {
		return fmt.Sprintf("resource \"iexec_app\" %[2]q {\n  provider = %[1]s\n  count = 3\n  name = \"app ${count.index}\"\n  multiaddr = \"docker.io/a/b:1\"\n  checksum = %[3]q\n}\n"+
			"resource \"iexec_apporder\" %[2]q {\n  provider = %[1]s\n  count = 3\n  app = iexec_app.%[2]s[count.index].address\n  appprice = 1\n  volume = 10\n}\n", alias, name, checksum)
	}
	providers := w.providerBlock("wallet {\n  private_key_env = \"KEY_OF_ONE\"\n}") +
		w.providerBlock(fmt.Sprintf("alias = \"two\"\nwallet {\n  private_key_env = \"KEY_OF_TWO\"\n  address = %q\n}", two.Address.Hex()))
	w.Write(providers + block("iexec", "one") + block("iexec.two", "two"))
	w.Apply()
	w.Settled()
	for name, account := range map[string]poco.Account{"one": one, "two": two} {
		for i := range 3 {
			if owner := w.Value(fmt.Sprintf("iexec_app.%s[%d]", name, i)).GetAttr("owner").AsString(); owner != account.Address.Hex() {
				t.Errorf("app %s[%d] belongs to %s, want %s", name, i, owner, account.Address)
			}
		}
		rows, err := w.market.ListByOwner(t.Context(), poco.AppOrder, account.Address)
		if err != nil || len(rows) != 3 {
			t.Errorf("%d orders of %s are on offer (%v), want 3", len(rows), name, err)
		}
		if n, err := nettest.Client(t, w.net).NonceAt(t.Context(), account.Address, nil); err != nil || n != 3 {
			t.Errorf("%d transactions of %s (%v), want 3", n, name, err)
		}
	}
	state, err := os.ReadFile(filepath.Join(w.Dir, "iexecform.state.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range []string{"KEY_OF_ONE", "KEY_OF_TWO"} {
		if key := strings.TrimPrefix(os.Getenv(variable), "0x"); strings.Contains(strings.ToLower(string(state)), key) {
			t.Errorf("the state holds the key of %s", variable)
		}
	}

	w.Write(providers)
	w.Apply()
	w.Settled()
}

// A wallet that can't sign ends apply before anything happens, and says what to do; what contradicts itself ends plan.
func TestWalletThatCannotSign(t *testing.T) {
	w := newWorld(t)
	me, other := poco.DevAccounts()[1], poco.DevAccounts()[2]
	clef := cleftest.Start(t, other.Key)
	t.Setenv("NOT_A_KEY", "0x1234")
	t.Setenv("KEY", hexutil.Encode(crypto.FromECDSA(other.Key)))
	if err := os.WriteFile(filepath.Join(w.Dir, "image.json"), []byte(`{"name": "not a keystore"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(wallet string) { w.Write(w.providerBlock("wallet {\n"+wallet+"\n}") + appBlock("docker.io/a/b:1")) }
	at := fmt.Sprintf("\naddress = %q", me.Address.Hex())

	for name, test := range map[string]struct{ wallet, fail string }{
		"clef without address":      {fmt.Sprintf("clef = %q", clef.URL), "set address"},
		"not a keystore":            {`keystore = "image.json"`, "image.json is not a keystore file"},
		"no such keystore":          {`keystore = "missing"`, "no such file"},
		"not a key":                 {`private_key_env = "NOT_A_KEY"`, "NOT_A_KEY is not a private key"},
		"key of another address":    {`private_key_env = "KEY"` + at, "KEY is the key of " + other.Address.Hex()},
		"unset variable":            {`private_key_env = "UNSET"`, "UNSET is not set"},
		"several sources of a key":  {`private_key_env = "KEY"` + "\n" + `keystore = "image.json"`, "one source of signatures"},
		"variable with a key in it": {fmt.Sprintf("private_key_env = %q", os.Getenv("KEY")), "name of an environment variable"},
	} {
		t.Run(name, func(t *testing.T) {
			write(test.wallet)
			made := w.TryPlan()
			if !made.Diags.HasErrors() || !strings.Contains(made.Diags.Error(), test.fail) {
				t.Errorf("error %v, want it to say %q", made.Diags, test.fail)
			}
			if key := os.Getenv("KEY")[2:]; strings.Contains(fmt.Sprint(made.Diags), key) {
				t.Errorf("the error shows the key: %v", made.Diags)
			}
		})
	}
	for name, test := range map[string]struct{ wallet, fail string }{
		"clef without the account": {fmt.Sprintf("clef = %q", clef.URL) + at, "doesn't have account " + me.Address.Hex()},
		"nobody at clef's URL":     {`clef = "http://127.0.0.1:1"` + at, "clef at http://127.0.0.1:1 can't be reached"},
		"a node at clef's URL":     {fmt.Sprintf("clef = %q", w.net.Info().RPCURL) + at, "is not clef"},
		"unset variable":           {`private_key_env = "UNSET"` + at, "UNSET is not set"},
	} {
		t.Run(name, func(t *testing.T) {
			write(test.wallet)
			made := w.Plan() // the address is enough
			before := w.outside()
			if _, err := w.TryApply(t.Context(), made); err == nil || !strings.Contains(err.Error(), test.fail) || !strings.Contains(err.Error(), "Nothing was sent") {
				t.Errorf("error %v, want it to say %q", err, test.fail)
			}
			if after := w.outside(); after != before {
				t.Errorf("something was done\nbefore %s\nafter %s", before, after)
			}
		})
	}
}
