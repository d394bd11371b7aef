package poco

import (
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"
)

// vectors reads a file of test vectors: from the folder that IEXECFORM_VECTORS names, or testdata/vectors.
func vectors[T any](t *testing.T, name string) T {
	t.Helper()
	dir := os.Getenv("IEXECFORM_VECTORS")
	if dir == "" {
		dir = filepath.Join("testdata", "vectors")
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	dec := json.NewDecoder(f)
	dec.UseNumber()
	var v T
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

func TestOrdersVectors(t *testing.T) {
	entries := vectors[[]struct {
		Kind               string
		ChainID            json.Number
		Hub                common.Address
		DomainSeparator    common.Hash
		PrivateKey         string
		Signer             common.Address
		Order              map[string]any
		OrderHash          common.Hash
		Sign               hexutil.Bytes
		CloseOperationHash common.Hash
		CloseOperationSign hexutil.Bytes
	}](t, "orders.json")
	seen := map[*Kind]int{}
	for i, e := range entries {
		k := kindNamed(t, e.Kind)
		seen[k]++
		id, _ := new(big.Int).SetString(e.ChainID.String(), 10)
		d := Domain{ChainID: id, Hub: e.Hub}
		equal(t, i, "separator", d.Separator(), e.DomainSeparator)
		o, err := k.Canonical(e.Order)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		for name, want := range e.Order {
			equal(t, i, name, o[name], want.(string))
		}
		hash, err := d.OrderHash(k, o)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		equal(t, i, "order hash", hash, e.OrderHash)
		closing, err := d.OperationHash(k, o, OpClose)
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		equal(t, i, "close operation hash", closing, e.CloseOperationHash)
		checkSign(t, i, e.PrivateKey, e.Signer, hash, e.Sign)
		checkSign(t, i, e.PrivateKey, e.Signer, closing, e.CloseOperationSign)

		// The document for external signers has the same digest, by go-ethereum's own EIP-712.
		doc, err := d.OrderDocument(k, o)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, i, "order document's digest", doc.Digest(), hash)
		equal(t, i, "order document's digest by go-ethereum", digestOf(t, doc), hash)
		if doc, err = d.OperationDocument(k, o, OpClose); err != nil {
			t.Fatal(err)
		}
		equal(t, i, "operation document's digest", doc.Digest(), closing)
		equal(t, i, "operation document's digest by go-ethereum", digestOf(t, doc), closing)
	}
	for _, k := range Kinds() {
		if seen[k] == 0 {
			t.Errorf("no vector of kind %s", k.Name)
		}
	}
}

// digestOf is the digest that an external signer makes of the document as it gets it.
func digestOf(t *testing.T, doc TypedData) common.Hash {
	t.Helper()
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var received apitypes.TypedData
	if err := json.Unmarshal(text, &received); err != nil {
		t.Fatal(err)
	}
	digest, _, err := apitypes.TypedDataAndHash(received)
	if err != nil {
		t.Fatal(err)
	}
	return common.BytesToHash(digest)
}

func TestAddressesVectors(t *testing.T) {
	file := vectors[struct {
		ProxyCodeHash common.Hash
		Entries       []struct {
			Kind, Name, Type, Multiaddr, Description string
			Registry, Owner, Address                 common.Address
			Checksum, Salt                           common.Hash
			MREnclave, Initializer                   hexutil.Bytes
		}
	}](t, "addresses.json")
	equal(t, 0, "proxy code hash", ProxyCodeHash(), file.ProxyCodeHash)
	if len(file.Entries) == 0 {
		t.Fatal("no entries")
	}
	for i, e := range file.Entries {
		var init []byte
		var address common.Address
		switch e.Kind {
		case "app":
			app := App{Name: e.Name, Type: e.Type, Multiaddr: []byte(e.Multiaddr), Checksum: e.Checksum, MREnclave: e.MREnclave}
			init, address = app.Initializer(), app.Address(e.Registry, e.Owner)
		case "dataset":
			dataset := Dataset{Name: e.Name, Multiaddr: []byte(e.Multiaddr), Checksum: e.Checksum}
			init, address = dataset.Initializer(), dataset.Address(e.Registry, e.Owner)
		case "workerpool":
			workerpool := Workerpool{Description: e.Description}
			init, address = workerpool.Initializer(), workerpool.Address(e.Registry, e.Owner)
		default:
			t.Fatalf("%d: unknown kind %q", i, e.Kind)
		}
		equal(t, i, "initializer", hexutil.Encode(init), e.Initializer.String())
		equal(t, i, "salt", EntrySalt(init, e.Owner), e.Salt)
		equal(t, i, "address", address, e.Address)
	}
}

func TestMarketAuthorizationVectors(t *testing.T) {
	entries := vectors[[]struct {
		ChainID       json.Number
		PrivateKey    string
		Address       common.Address
		Challenge     string
		Digest        common.Hash
		Authorization string
	}](t, "market-authorization.json")
	if len(entries) == 0 {
		t.Fatal("no entries")
	}
	for i, e := range entries {
		id, _ := new(big.Int).SetString(e.ChainID.String(), 10)
		digest := MarketChallengeDigest(id, e.Challenge)
		doc := MarketChallenge(id, e.Challenge)
		equal(t, i, "document's digest", doc.Digest(), digest)
		equal(t, i, "document's digest by go-ethereum", digestOf(t, doc), digest)
		equal(t, i, "digest", digest, e.Digest)
		sig := signWith(t, e.PrivateKey, digest)
		equal(t, i, "authorization", MarketAuthorization(digest, sig, e.Address), e.Authorization)
	}
}

func TestAppSecretsVectors(t *testing.T) {
	entries := vectors[[]struct {
		PrivateKey, Secret string
		Owner, App         common.Address
		Challenge          common.Hash
		Authorization      hexutil.Bytes
	}](t, "app-secrets.json")
	if len(entries) == 0 {
		t.Fatal("no entries")
	}
	for i, e := range entries {
		challenge := AppSecretChallenge(e.App, e.Secret)
		equal(t, i, "challenge", challenge, e.Challenge)
		checkSign(t, i, e.PrivateKey, e.Owner, PersonalDigest(challenge[:]), e.Authorization)
	}
}

func kindNamed(t *testing.T, name string) *Kind {
	t.Helper()
	for _, k := range Kinds() {
		if k.Name == name {
			return k
		}
	}
	t.Fatalf("unknown kind %q", name)
	return nil
}

func equal[T comparable](t *testing.T, i int, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%d: %s is %v, want %v", i, what, got, want)
	}
}

func signWith(t *testing.T, privateKey string, digest common.Hash) []byte {
	t.Helper()
	key, err := crypto.ToECDSA(common.FromHex(privateKey))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := Sign(key, digest)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func checkSign(t *testing.T, i int, privateKey string, signer common.Address, digest common.Hash, want hexutil.Bytes) {
	t.Helper()
	equal(t, i, "signature", hexutil.Encode(signWith(t, privateKey, digest)), want.String())
	got, err := Recover(digest, want)
	if err != nil {
		t.Fatalf("%d: %v", i, err)
	}
	equal(t, i, "recovered signer", got, signer)
}
