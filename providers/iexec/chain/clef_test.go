package chain_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/chain/cleftest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

var localnetID = new(big.Int).SetUint64(poco.Localnet().ID)

// clefWallet is the wallet of an account that clef is to have.
func clefWallet(t *testing.T, endpoint string, address common.Address) *chain.Wallet {
	t.Helper()
	w, err := chain.OpenWallet(chain.WalletConfig{Clef: endpoint, Address: address.Hex()}, env(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// closeTx is the transaction that closes an order: call data that clef shows to its user.
func closeTx(t *testing.T, nonce uint64) *types.Transaction {
	t.Helper()
	order := poco.AppOrder.Zero()
	data, err := poco.PackManageOrder(poco.AppOrder, order, poco.OpClose, nil)
	if err != nil {
		t.Fatal(err)
	}
	hub := poco.Localnet().Hub
	return types.NewTx(&types.DynamicFeeTx{ChainID: localnetID, Nonce: nonce, To: &hub, Data: data, Gas: 70_000,
		GasFeeCap: big.NewInt(2e9), GasTipCap: big.NewInt(1)})
}

// documents are what iexecform signs.
func documents(t *testing.T) map[string]poco.TypedData {
	t.Helper()
	domain := poco.Localnet().Domain()
	docs := map[string]poco.TypedData{"challenge": poco.MarketChallenge(localnetID, "Sign this message to log into iExec Gateway: abc")}
	for _, k := range poco.Kinds() {
		order, err := domain.OrderDocument(k, k.Zero())
		if err != nil {
			t.Fatal(err)
		}
		operation, err := domain.OperationDocument(k, k.Zero(), poco.OpClose)
		if err != nil {
			t.Fatal(err)
		}
		docs[k.Noun], docs["close of "+k.Noun] = order, operation
	}
	return docs
}

func TestClefSigns(t *testing.T) {
	me, other := poco.DevAccounts()[1], poco.DevAccounts()[2]
	clef := cleftest.Start(t, me.Key, other.Key)
	for name, endpoint := range map[string]string{"HTTP": clef.URL, "socket": clef.Socket} {
		t.Run(name, func(t *testing.T) {
			s, err := clefWallet(t, endpoint, me.Address).Signer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			same := chain.NewKeySigner(me.Key)
			for name, doc := range documents(t) {
				sig, err := s.SignTypedData(t.Context(), doc)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if want, _ := same.SignTypedData(t.Context(), doc); !slices.Equal(sig, want) {
					t.Errorf("%s: signature %x, with the key it is %x", name, sig, want)
				}
			}
			challenge := poco.AppSecretChallenge(me.Address, "s3cret")
			sig, err := s.SignText(t.Context(), challenge[:])
			if err != nil {
				t.Fatal(err)
			}
			if want, _ := same.SignText(t.Context(), challenge[:]); !slices.Equal(sig, want) {
				t.Errorf("message: signature %x, with the key it is %x", sig, want)
			}
			tx := closeTx(t, 3)
			legacy := types.NewTx(&types.LegacyTx{Nonce: 4, To: tx.To(), Data: tx.Data(), Gas: 70_000, GasPrice: big.NewInt(2e9), Value: new(big.Int)})
			for _, tx := range []*types.Transaction{tx, legacy} {
				signed, err := s.SignTx(t.Context(), tx, localnetID)
				if err != nil {
					t.Fatal(err)
				}
				if want, _ := same.SignTx(t.Context(), tx, localnetID); signed.Hash() != want.Hash() {
					t.Errorf("transaction %s, with the key it is %s", signed.Hash(), want.Hash())
				}
			}
		})
	}
}

func TestClefRefuses(t *testing.T) {
	me := poco.DevAccounts()[1]
	clef := cleftest.Start(t, me.Key)
	clef.User(func(string, json.RawMessage) bool { return false })
	s, err := clefWallet(t, clef.URL, me.Address).Signer(t.Context()) // the list of accounts isn't needed
	if err != nil {
		t.Fatal(err)
	}
	_, typed := s.SignTypedData(t.Context(), documents(t)["apporder"])
	_, text := s.SignText(t.Context(), []byte("text"))
	_, tx := s.SignTx(t.Context(), closeTx(t, 0), localnetID)
	for name, err := range map[string]error{"typed data": typed, "text": text, "transaction": tx} {
		var held *providers.HeldError
		if !errors.As(err, &held) || !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), "approve it in clef") {
			t.Errorf("%s: error %v, want it held", name, err)
		}
	}
	clef.User(func(string, json.RawMessage) bool { return true })
	if _, err := s.SignText(t.Context(), []byte("text")); err != nil {
		t.Errorf("approved of now: %v", err)
	}
	if want := []string{"ui_approveListing", "ui_approveSignData", "ui_approveSignData", "ui_approveTx", "ui_approveSignData"}; !slices.Equal(clef.Seen(), want) {
		t.Errorf("clef's user was asked %v, want %v", clef.Seen(), want)
	}
}

// An external signer isn't trusted to have signed what was asked for.
func TestClefSignsSomethingElse(t *testing.T) {
	me, other := poco.DevAccounts()[1], chain.NewKeySigner(poco.DevAccounts()[2].Key)
	mine := chain.NewKeySigner(me.Key)
	foreign, _ := other.SignText(t.Context(), []byte("text"))
	edited, _ := mine.SignTx(t.Context(), closeTx(t, 7), localnetID)
	theirs, _ := other.SignTx(t.Context(), closeTx(t, 3), localnetID)
	raw := func(tx *types.Transaction) map[string]any {
		b, err := tx.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{"raw": common.Bytes2Hex(b), "tx": tx}
	}
	for name, answers := range map[string]struct {
		text any
		tx   map[string]any
		fail [2]string
	}{
		"other key":  {"0x" + common.Bytes2Hex(foreign), raw(theirs), [2]string{"another account", "with the key of another account"}},
		"other text": {"0x" + strings.Repeat("ff", 64) + "1b", raw(edited), [2]string{"no signature", "signed another one"}},
		"rubbish":    {"0x12", map[string]any{"raw": "1234"}, [2]string{"no signature", "no transaction"}},
	} {
		t.Run(name, func(t *testing.T) {
			answers.tx["raw"] = "0x" + answers.tx["raw"].(string)
			url := jsonRPC(t, map[string]any{"account_list": []common.Address{me.Address}, "account_signData": answers.text, "account_signTransaction": answers.tx})
			s, err := clefWallet(t, url, me.Address).Signer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.SignText(t.Context(), []byte("text")); err == nil || !strings.Contains(err.Error(), answers.fail[0]) {
				t.Errorf("text: error %v, want %q", err, answers.fail[0])
			}
			if _, err := s.SignTx(t.Context(), closeTx(t, 3), localnetID); err == nil || !strings.Contains(err.Error(), answers.fail[1]) {
				t.Errorf("transaction: error %v, want %q", err, answers.fail[1])
			}
		})
	}
}

// Clef's HTTP server gives up on its user after half a minute, with this answer.
func TestClefUserIsLate(t *testing.T) {
	me := poco.DevAccounts()[1]
	url := jsonRPC(t, map[string]any{"account_list": []common.Address{me.Address}, "account_signData": &rpcError{Code: -32002, Message: "request timed out"}})
	s, err := clefWallet(t, url, me.Address).Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var held *providers.HeldError
	if _, err := s.SignText(t.Context(), []byte("text")); !errors.As(err, &held) || !strings.Contains(err.Error(), "nobody approved it in time") {
		t.Errorf("error %v, want it held", err)
	}
}

// jsonRPC is a server that gives fixed results or errors, or doesn't know the method.
func jsonRPC(t *testing.T, results map[string]any) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var call message
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
			t.Error(err)
		}
		answer := call.fail(-32601, "the method "+call.Method+" does not exist/is not available")
		if result, ok := results[call.Method]; ok {
			answer = call.respond(result)
		}
		if failure, ok := results[call.Method].(*rpcError); ok {
			answer = call.fail(failure.Code, failure.Message)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestClefConfiguration(t *testing.T) {
	me, other := poco.DevAccounts()[1], poco.DevAccounts()[2]
	for name, test := range map[string]struct {
		cfg  chain.WalletConfig
		fail string
	}{
		"no address":     {chain.WalletConfig{Clef: "http://127.0.0.1:1"}, "set address"},
		"scheme":         {chain.WalletConfig{Clef: "ftp://127.0.0.1", Address: me.Address.Hex()}, "neither an http:// or ws:// URL"},
		"with keystore":  {chain.WalletConfig{Clef: "http://127.0.0.1:1", Address: me.Address.Hex(), Keystore: "keys"}, "clef and keystore"},
		"with a key":     {chain.WalletConfig{Clef: "http://127.0.0.1:1", Address: me.Address.Hex(), KeyEnv: "KEY"}, "clef and private_key_env"},
		"two keys":       {chain.WalletConfig{Keystore: "keys", KeyEnv: "KEY"}, "private_key_env and keystore"},
		"unset variable": {chain.WalletConfig{KeyEnv: "KEY"}, "KEY is not set"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := chain.OpenWallet(test.cfg, env(), nil); err == nil || !strings.Contains(err.Error(), test.fail) {
				t.Errorf("error %v, want it to say %q", err, test.fail)
			}
		})
	}

	clef := cleftest.Start(t, other.Key)
	node := jsonRPC(t, nil)
	for name, test := range map[string]struct{ endpoint, fail string }{
		"nobody there":    {"http://127.0.0.1:1", "can't be reached: connection refused"},
		"no such socket":  {filepath.Join(t.TempDir(), "clef.ipc"), "can't be reached: no such file"},
		"not clef":        {node, "is not clef"},
		"another account": {clef.URL, "doesn't have account " + me.Address.Hex() + ", but " + other.Address.Hex()},
	} {
		t.Run(name, func(t *testing.T) {
			w := clefWallet(t, test.endpoint, me.Address) // enough to plan
			if w.Address() != me.Address {
				t.Errorf("address %s", w.Address())
			}
			if _, err := w.Signer(t.Context()); err == nil || !strings.Contains(err.Error(), test.fail) {
				t.Errorf("error %v, want it to say %q", err, test.fail)
			}
		})
	}
}
