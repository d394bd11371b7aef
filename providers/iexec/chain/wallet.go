package chain

// Policy of wallets. A plan needs an address only, so OpenWallet never decrypts, never connects and never asks; Signer does,
// once.
//
//   - What is configured is used, and at most one of these can be: clef, which needs `address` too; a key in the environment
//     variable that private_key_env names; a keystore (directory or file), of which it is the newest file of `address`, and
//     without that the keystore must hold one address.
//   - Else IEXECFORM_PRIVATE_KEY is used. With clef or private_key_env it is ignored: it may be another provider block's.
//   - Else the default keystore directory, that of geth and of the iexec CLI.
//   - `address` alone is enough to plan. What contradicts it is an error, never a choice.
//
// The password comes from IEXECFORM_WALLET_PASSWORD, else from the password file, else from the person.

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/iexecform/iexecform/providers"
)

// Environment variables with secrets.
const (
	EnvPrivateKey = "IEXECFORM_PRIVATE_KEY"     // hex, with or without 0x
	EnvPassword   = "IEXECFORM_WALLET_PASSWORD" // of the keystore file
)

// ErrNoWallet means that nothing says which account to use.
var ErrNoWallet = errors.New("no wallet: set `wallet { keystore = \"…\", address = \"0x…\" }` in the provider block " +
	"(the keystore is made by `geth account new` or `iexec wallet create`), or the environment variable " + EnvPrivateKey)

// FundsError means that the wallet can't pay for gas.
type FundsError struct{ Lack string }

func (e *FundsError) Error() string { return e.Lack }

// WalletConfig is the wallet block. Paths may begin with ~ and may be relative to Dir.
type WalletConfig struct {
	Keystore     string // directory or file; "": see the policy above
	Address      string // "": whose key there is
	PasswordFile string // first line is the password; "": none
	KeyEnv       string // name of an environment variable with the private key, as hex; "": none
	Clef         string // URL, or path of a socket, of clef; "": none
	Dir          string
}

// Wallet is an account whose key may still be locked. It is safe for concurrent use.
type Wallet struct {
	address      common.Address
	file         string // keystore file; "" with a key of the environment or without any key
	clef         string // see WalletConfig
	missing      error  // why there is no key, if there is none
	passwordFile string
	env          func(string) string
	prompt       providers.Prompter

	mu     sync.Mutex
	signer Signer
	err    error
}

// OpenWallet finds the account, following the policy above. env looks up environment variables; prompt may be nil.
// SIDE EFFECTS: none but reading the keystore.
func OpenWallet(cfg WalletConfig, env func(string) string, prompt providers.Prompter) (*Wallet, error) {
	w, err := openWallet(cfg, env, prompt)
	if err != nil && !errors.Is(err, ErrNoWallet) {
		return nil, fmt.Errorf("open wallet: %w", err)
	}
	return w, err
}

// KeyWallet is the wallet of a key that is at hand, such as a development account's.
func KeyWallet(key *ecdsa.PrivateKey) *Wallet {
	s := NewKeySigner(key)
	return &Wallet{address: s.address, signer: s}
}

func openWallet(cfg WalletConfig, env func(string) string, prompt providers.Prompter) (*Wallet, error) {
	w := &Wallet{env: env, prompt: prompt, passwordFile: resolvePath(cfg.PasswordFile, cfg.Dir, env)}
	if cfg.Address != "" {
		if !common.IsHexAddress(cfg.Address) {
			return nil, providers.At("address", fmt.Errorf("%q is not an address; want 0x and 40 hex digits", cfg.Address))
		}
		w.address = common.HexToAddress(cfg.Address)
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Clef != "" {
		w.clef = cfg.Clef
		if !strings.Contains(w.clef, "://") {
			w.clef = resolvePath(cfg.Clef, cfg.Dir, env)
		}
		return w, nil
	}
	variable := cfg.KeyEnv
	if variable == "" {
		variable = EnvPrivateKey
	}
	envSigner, err := keyOf(variable, env)
	if err != nil {
		return nil, err
	}
	if cfg.Keystore == "" && envSigner != nil {
		if cfg.Address != "" && envSigner.address != w.address {
			return nil, fmt.Errorf("%s is the key of %s, but the wallet's address is %s; unset the variable, or change address",
				variable, envSigner.address, w.address)
		}
		w.address, w.signer = envSigner.address, envSigner
		return w, nil
	}
	if cfg.KeyEnv != "" {
		err := fmt.Errorf("the environment variable %s is not set; set it to the wallet's private key", cfg.KeyEnv)
		if cfg.Address == "" {
			return nil, providers.At("private_key_env", err)
		}
		w.missing = err // the address is enough to plan
		return w, nil
	}
	path := resolvePath(cfg.Keystore, cfg.Dir, env)
	if path == "" {
		path = defaultKeystore(env)
	}
	file, address, err := findKey(path, cfg.Address != "", w.address)
	switch {
	case err == nil:
		w.file, w.address = file, address
	case errors.Is(err, fs.ErrNotExist) && cfg.Address != "":
		w.missing = err // enough to plan
	case errors.Is(err, fs.ErrNotExist) && cfg.Keystore == "":
		return nil, fmt.Errorf("%w (looked into %s)", ErrNoWallet, path)
	default:
		return nil, providers.At("keystore", err)
	}
	if envSigner != nil && envSigner.address != w.address {
		return nil, fmt.Errorf("%s is the key of %s, but the configured keystore is used and its account is %s; unset the variable, or remove keystore",
			EnvPrivateKey, envSigner.address, w.address)
	}
	return w, nil
}

// A key as hex isn't a name: without 0x it is too long, with it it begins with a digit.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// check refuses what contradicts itself.
func (cfg WalletConfig) check() error {
	var given []string
	for _, source := range []struct{ name, value string }{{"clef", cfg.Clef}, {"private_key_env", cfg.KeyEnv}, {"keystore", cfg.Keystore}} {
		if source.value != "" {
			given = append(given, source.name)
		}
	}
	if len(given) > 1 {
		return providers.At(given[0], fmt.Errorf("a wallet has one source of signatures, and %s are given; leave one", strings.Join(given, " and ")))
	}
	if cfg.KeyEnv != "" && !variableName.MatchString(cfg.KeyEnv) { // perhaps the key itself: it isn't shown
		return providers.At("private_key_env", errors.New("this is not the name of an environment variable, such as ALICE_PRIVATE_KEY; the key itself must not be in the configuration"))
	}
	if cfg.Clef == "" {
		return nil
	}
	if cfg.Address == "" {
		return providers.At("clef", errors.New("clef may have several accounts, and a plan doesn't ask it; set address, too"))
	}
	if scheme, _, ok := strings.Cut(cfg.Clef, "://"); ok && !slices.Contains([]string{"http", "https", "ws", "wss"}, scheme) {
		return providers.At("clef", fmt.Errorf("%q is neither an http:// or ws:// URL nor the path of a socket, such as http://127.0.0.1:8550 or ~/.clef/clef.ipc", cfg.Clef))
	}
	return nil
}

// keyOf is the signer of the key in an environment variable, or nil if it isn't set.
func keyOf(variable string, env func(string) string) (*KeySigner, error) {
	text := strings.TrimSpace(env(variable))
	if text == "" {
		return nil, nil
	}
	key, err := crypto.HexToECDSA(strings.TrimPrefix(text, "0x"))
	if err != nil { // the library's error might quote the key
		return nil, fmt.Errorf("the environment variable %s is not a private key; want 64 hex digits", variable)
	}
	return NewKeySigner(key), nil
}

// Address is the account, known without any password.
func (w *Wallet) Address() common.Address { return w.address }

// Exposed is the password file, if it counts and other users of the machine can read or write it. A keystore file alone opens
// nothing. On Windows, where modes say nothing, it is empty.
func (w *Wallet) Exposed() []string {
	if w.file == "" || w.passwordFile == "" || w.env(EnvPassword) != "" || runtime.GOOS == "windows" {
		return nil
	}
	info, err := os.Stat(w.passwordFile)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return nil // what is missing is told when it is needed
	}
	return []string{w.passwordFile}
}

// Format prints the address, whatever the verb.
func (w *Wallet) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "wallet "+w.address.Hex()) }

// Signer unlocks the account, once: the first outcome, good or bad, is that of all later calls too (unless ctx ended).
// SIDE EFFECTS: may ask a person for the password; connects to clef.
func (w *Wallet) Signer(ctx context.Context) (Signer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.signer != nil || w.err != nil {
		return w.signer, w.err
	}
	signer, err := w.unlock(ctx)
	if err != nil {
		err = fmt.Errorf("unlock wallet %s: %w", w.address, err)
		if ctx.Err() == nil {
			w.err = err
		}
		return nil, err
	}
	w.signer = signer
	return signer, nil
}

// Close ends the connection to an external signer, if there is one.
func (w *Wallet) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c, ok := w.signer.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (w *Wallet) unlock(ctx context.Context) (Signer, error) {
	if w.clef != "" {
		return dialClef(ctx, w.clef, w.address)
	}
	if errors.Is(w.missing, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no key: %w; add the keystore file there, or set %s", w.missing, EnvPrivateKey)
	}
	if w.missing != nil {
		return nil, fmt.Errorf("there is no key: %w", w.missing)
	}
	content, err := os.ReadFile(w.file)
	if err != nil {
		return nil, fmt.Errorf("read keystore file: %w", err)
	}
	password, source, err := w.password(ctx)
	if err != nil {
		return nil, err
	}
	key, err := keystore.DecryptKey(content, password)
	if errors.Is(err, keystore.ErrDecrypt) {
		return nil, fmt.Errorf("%s: wrong password (taken from %s); nothing was signed or sent; correct the password and run again", w.file, source)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not a keystore file that can be opened: %w", w.file, err)
	}
	if key.Address != w.address {
		return nil, fmt.Errorf("%s holds the key of %s, not of %s; rename or replace the file", w.file, key.Address, w.address)
	}
	return NewKeySigner(key.PrivateKey), nil
}

// password also says in words where it came from.
func (w *Wallet) password(ctx context.Context) (password, source string, err error) {
	if p := w.env(EnvPassword); p != "" {
		return p, "the environment variable " + EnvPassword, nil
	}
	if w.passwordFile != "" {
		content, err := os.ReadFile(w.passwordFile)
		if err != nil {
			return "", "", fmt.Errorf("read password file: %w", err)
		}
		line, _, _ := strings.Cut(string(content), "\n")
		return strings.TrimSuffix(line, "\r"), w.passwordFile, nil
	}
	if w.prompt == nil {
		return "", "", fmt.Errorf("%s is locked and nobody can be asked; set the environment variable %s, or password_file in the wallet block, or run in a terminal",
			w.file, EnvPassword)
	}
	p, err := w.prompt.Secret(ctx, fmt.Sprintf("Password of %s (%s)", w.address, w.file))
	if err != nil {
		return "", "", fmt.Errorf("ask for the password: %w", err)
	}
	return p, "the prompt", nil
}

// findKey finds the keystore file at path, a file or a directory: the newest one of want if only is set, else that of
// the only address there is. fs.ErrNotExist: there is none.
func findKey(path string, only bool, want common.Address) (file string, address common.Address, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", address, err
	}
	if !info.IsDir() {
		address, err = keyAddress(path)
		if err == nil && only && address != want {
			err = fmt.Errorf("%s is the key of %s, but address is %s; change one of them", path, address, want)
		}
		return path, address, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", address, err
	}
	files := map[common.Address]string{}
	for _, e := range entries { // sorted by name, so that the newest UTC-- file comes last, after <address>.json
		name := filepath.Join(path, e.Name())
		if e.IsDir() || (!strings.HasPrefix(e.Name(), "UTC--") && filepath.Ext(e.Name()) != ".json") {
			continue
		}
		a, ok := addressOfName(e.Name())
		if !ok {
			if a, err = keyAddress(name); err != nil {
				continue // some other file
			}
		}
		if old := filepath.Base(files[a]); !strings.HasPrefix(old, "UTC--") || strings.HasPrefix(e.Name(), "UTC--") {
			files[a] = name
		}
	}
	if only {
		if files[want] == "" {
			return "", want, fmt.Errorf("no key of %s in %s: %w", want, path, fs.ErrNotExist)
		}
		return files[want], want, nil
	}
	switch len(files) {
	case 0:
		return "", address, fmt.Errorf("no key in %s: %w", path, fs.ErrNotExist)
	case 1:
		for address, file = range files {
		}
		return file, address, nil
	}
	var list []string
	for a := range files {
		list = append(list, a.Hex())
	}
	slices.Sort(list)
	return "", address, fmt.Errorf("%s holds keys of several accounts; set address to one of %s", path, strings.Join(list, ", "))
}

// addressOfName reads the names UTC--<time>--<address> and <address>.json.
func addressOfName(name string) (common.Address, bool) {
	text := strings.TrimSuffix(name, ".json")
	if i := strings.LastIndex(text, "--"); i >= 0 {
		text = text[i+2:]
	}
	return common.HexToAddress(text), common.IsHexAddress(text)
}

// keyAddress is the address that a keystore file names, inside or by its name.
func keyAddress(file string) (common.Address, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return common.Address{}, err
	}
	var key struct {
		Address string          `json:"address"`
		Crypto  json.RawMessage `json:"crypto"` // encoding/json ignores case, so ethers' "Crypto" is read too
	}
	if err := json.Unmarshal(content, &key); err != nil || key.Crypto == nil {
		return common.Address{}, fmt.Errorf("%s is not a keystore file (web3 secret storage, version 3)", file)
	}
	if common.IsHexAddress(key.Address) {
		return common.HexToAddress(key.Address), nil
	}
	if a, ok := addressOfName(filepath.Base(file)); ok {
		return a, nil
	}
	return common.Address{}, fmt.Errorf("%s does not say whose key it is; rename it to <address>.json", file)
}

func resolvePath(path, dir string, env func(string) string) string {
	if path == "" {
		return ""
	}
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/' || rest[0] == filepath.Separator) {
		return filepath.Join(home(env), rest)
	}
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// defaultKeystore is where geth and the iexec CLI keep keys.
func defaultKeystore(env func(string) string) string {
	switch runtime.GOOS {
	case "darwin":
		return filepath.Join(home(env), "Library", "Ethereum", "keystore")
	case "windows":
		return filepath.Join(home(env), "AppData", "Roaming", "Ethereum", "keystore")
	default:
		return filepath.Join(home(env), ".ethereum", "keystore")
	}
}

func home(env func(string) string) string {
	if h := env("HOME"); h != "" {
		return h
	}
	h, err := os.UserHomeDir()
	if err != nil {
		return "."
	}
	return h
}
