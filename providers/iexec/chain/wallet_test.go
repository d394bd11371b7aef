package chain_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

const keyHex = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80" // of the first development account

func env(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

type prompter struct {
	answer string
	asked  int
}

func (p *prompter) Secret(context.Context, string) (string, error) {
	p.asked++
	return p.answer, nil
}

// keyFile writes a keystore file of a development account, with a light scrypt.
func keyFile(t *testing.T, dir, name string, account int, password string, capital bool) string {
	t.Helper()
	a := poco.DevAccounts()[account]
	text, err := keystore.EncryptKey(&keystore.Key{Address: a.Address, PrivateKey: a.Key}, password, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	if capital { // as ethers writes it
		text = []byte(strings.Replace(string(text), `"crypto"`, `"Crypto"`, 1))
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func utc(year int, a common.Address) string {
	return fmt.Sprintf("UTC--%d-01-31T12-00-00.123000000Z--%s", year, a.Hex()[2:])
}

// A password file that others can read is told, unless it doesn't count.
func TestExposedPasswordFile(t *testing.T) {
	dir := t.TempDir()
	keyFile(t, dir, "mine.json", 2, "pass", false)
	file := filepath.Join(dir, "password")
	for mode, want := range map[os.FileMode]int{0o600: 0, 0o400: 0, 0o640: 1, 0o604: 1, 0o622: 1} {
		if err := os.WriteFile(file, []byte("pass"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		w, err := chain.OpenWallet(chain.WalletConfig{Keystore: dir, PasswordFile: file}, env(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Exposed(); len(got) != want {
			t.Errorf("mode %o: %v", mode, got)
		}
		if w, err = chain.OpenWallet(chain.WalletConfig{Keystore: dir, PasswordFile: file}, env(chain.EnvPassword, "pass"), nil); err != nil || len(w.Exposed()) > 0 {
			t.Errorf("mode %o, with a password in the environment: %v, %v", mode, w, err)
		}
		if err := os.Chmod(file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenWallet(t *testing.T) {
	accs := poco.DevAccounts()
	dir, one, empty := t.TempDir(), t.TempDir(), t.TempDir()
	keyFile(t, dir, utc(2024, accs[0].Address), 0, "old", true)
	keyFile(t, dir, utc(2025, accs[0].Address), 0, "pass", true)
	keyFile(t, dir, accs[0].Address.Hex()+".json", 0, "json", false)
	keyFile(t, dir, strings.ToLower(accs[1].Address.Hex())+".json", 1, "pass", false)
	file := keyFile(t, one, "mine.json", 2, "pass", false)
	if err := os.WriteFile(filepath.Join(one, "other.json"), []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	sub := map[string]string{"linux": ".ethereum/keystore", "darwin": "Library/Ethereum/keystore", "windows": "AppData/Roaming/Ethereum/keystore"}[runtime.GOOS]
	if err := os.MkdirAll(filepath.Join(home, sub), 0o700); err != nil {
		t.Fatal(err)
	}
	keyFile(t, filepath.Join(home, sub), utc(2024, accs[3].Address), 3, "pass", false)
	tests := []struct {
		name string
		cfg  chain.WalletConfig
		env  []string
		want int    // account
		fail string // part of the error
	}{
		{name: "newest of the address", cfg: chain.WalletConfig{Keystore: dir, Address: strings.ToLower(accs[0].Address.Hex())}, want: 0},
		{name: "address.json", cfg: chain.WalletConfig{Keystore: dir, Address: accs[1].Address.Hex()}, want: 1},
		{name: "several", cfg: chain.WalletConfig{Keystore: dir}, fail: accs[1].Address.Hex()},
		{name: "the only one", cfg: chain.WalletConfig{Keystore: one}, want: 2},
		{name: "file", cfg: chain.WalletConfig{Keystore: file}, want: 2},
		{name: "relative file", cfg: chain.WalletConfig{Keystore: "mine.json", Dir: one}, want: 2},
		{name: "home", cfg: chain.WalletConfig{Keystore: "~/" + sub}, env: []string{"HOME", home}, want: 3},
		{name: "default", env: []string{"HOME", home}, want: 3},
		{name: "file of another", cfg: chain.WalletConfig{Keystore: file, Address: accs[0].Address.Hex()}, fail: "change one of them"},
		{name: "environment", env: []string{"HOME", home, chain.EnvPrivateKey, "0x" + keyHex}, want: 0},
		{name: "environment, same address", cfg: chain.WalletConfig{Address: accs[0].Address.Hex()}, env: []string{chain.EnvPrivateKey, keyHex}, want: 0},
		{name: "environment, other address", cfg: chain.WalletConfig{Address: accs[1].Address.Hex()}, env: []string{chain.EnvPrivateKey, keyHex}, fail: accs[1].Address.Hex()},
		{name: "environment and other keystore", cfg: chain.WalletConfig{Keystore: one}, env: []string{chain.EnvPrivateKey, keyHex}, fail: "unset the variable"},
		{name: "environment malformed", env: []string{chain.EnvPrivateKey, keyHex[1:]}, fail: "not a private key"},
		{name: "address malformed", cfg: chain.WalletConfig{Address: "0x12"}, fail: "0x12"},
		{name: "missing directory", cfg: chain.WalletConfig{Keystore: filepath.Join(empty, "no")}, fail: "no such file"},
		{name: "empty directory", cfg: chain.WalletConfig{Keystore: empty}, fail: "no key in"},
		{name: "not a keystore", cfg: chain.WalletConfig{Keystore: filepath.Join(one, "other.json")}, fail: "not a keystore file"},
		{name: "no wallet", env: []string{"HOME", empty}, fail: chain.EnvPrivateKey},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, err := chain.OpenWallet(test.cfg, env(append(test.env, chain.EnvPassword, "pass")...), nil)
			if test.fail != "" {
				if err == nil || !strings.Contains(err.Error(), test.fail) || strings.Contains(err.Error(), keyHex[:20]) {
					t.Fatalf("error %v, want it to say %q", err, test.fail)
				}
				return
			}
			if err != nil || w.Address() != accs[test.want].Address {
				t.Fatalf("wallet %v, %v; want account %d", w, err, test.want)
			}
			s, err := w.Signer(t.Context())
			if err != nil || s.Address() != w.Address() {
				t.Fatalf("signer %v, %v", s, err)
			}
			text := []byte("text")
			sig, err := s.SignText(t.Context(), text)
			if err != nil {
				t.Fatal(err)
			}
			if by, err := poco.Recover(poco.PersonalDigest(text), sig); err != nil || by != w.Address() || sig[64] < 27 {
				t.Errorf("signed by %s, %v", by, err)
			}
		})
	}
	if _, err := chain.OpenWallet(chain.WalletConfig{}, env("HOME", empty), nil); !errors.Is(err, chain.ErrNoWallet) {
		t.Errorf("error %v, want ErrNoWallet", err)
	}
}

// An address alone is enough to plan.
func TestWalletWithoutKey(t *testing.T) {
	me := poco.DevAccounts()[5].Address
	w, err := chain.OpenWallet(chain.WalletConfig{Address: me.Hex()}, env("HOME", t.TempDir()), nil)
	if err != nil || w.Address() != me {
		t.Fatalf("wallet %v, %v", w, err)
	}
	if _, err := w.Signer(t.Context()); err == nil || !strings.Contains(err.Error(), chain.EnvPrivateKey) {
		t.Errorf("error %v, want the ways to give a key", err)
	}
}

func TestWalletPassword(t *testing.T) {
	dir := t.TempDir()
	file := keyFile(t, dir, "key.json", 0, "pass", false)
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("pass\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	right, wrong := &prompter{answer: "pass"}, &prompter{answer: "5ecret"}
	tests := []struct {
		name   string
		cfg    chain.WalletConfig
		env    []string
		prompt *prompter
		fail   []string
	}{
		{name: "file", cfg: chain.WalletConfig{PasswordFile: "password"}},
		{name: "environment first", cfg: chain.WalletConfig{PasswordFile: "password"}, env: []string{chain.EnvPassword, "5ecret"}, fail: []string{file, "wrong password", chain.EnvPassword, "nothing was signed"}},
		{name: "prompt", prompt: right},
		{name: "prompt, wrong", prompt: wrong, fail: []string{file, "wrong password", "prompt"}},
		{name: "nobody", fail: []string{chain.EnvPassword, "password_file", "terminal"}},
		{name: "no such file", cfg: chain.WalletConfig{PasswordFile: "gone"}, fail: []string{"password file"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.cfg.Keystore, test.cfg.Dir = file, dir
			var w *chain.Wallet
			var err error
			if test.prompt != nil {
				w, err = chain.OpenWallet(test.cfg, env(test.env...), test.prompt)
			} else {
				w, err = chain.OpenWallet(test.cfg, env(test.env...), nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				_, err = w.Signer(t.Context())
				if (err != nil) != (test.fail != nil) {
					t.Fatalf("error %v", err)
				}
				for _, part := range test.fail {
					if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "5ecret") {
						t.Errorf("error %q, want it to say %q", err, part)
					}
				}
			}
			if test.prompt != nil && test.prompt.asked != 1 {
				t.Errorf("asked %d times", test.prompt.asked)
			}
		})
	}
}

// However a signer is printed, the key is not.
func TestKeysAreNotPrinted(t *testing.T) {
	a := poco.DevAccounts()[0]
	w := chain.KeyWallet(a.Key)
	s, err := w.Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	key := s.(*chain.KeySigner)
	for _, v := range []any{w, s, *key, struct{ S *chain.KeySigner }{key}, struct{ S chain.KeySigner }{*key}, []*chain.Wallet{w}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	text := strings.ToLower(out.String())
	for _, secret := range []string{keyHex, new(big.Int).SetBytes(common.FromHex(keyHex)).String(), fmt.Sprintf("%x", []byte(keyHex[:10]))} {
		if strings.Contains(text, secret) {
			t.Errorf("the key is shown in %s", text)
		}
	}
	if !strings.Contains(text, strings.ToLower(a.Address.Hex())) {
		t.Error("nothing was printed at all")
	}
}

func TestSignTx(t *testing.T) {
	a := poco.DevAccounts()[0]
	tx, err := chain.NewKeySigner(a.Key).SignTx(t.Context(), types.NewTx(&types.DynamicFeeTx{ChainID: big.NewInt(5), Gas: 21000}), big.NewInt(5))
	if err != nil {
		t.Fatal(err)
	}
	if from, err := types.Sender(types.LatestSignerForChainID(big.NewInt(5)), tx); err != nil || from != a.Address {
		t.Errorf("signed by %s, %v", from, err)
	}
}
