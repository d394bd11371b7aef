package orderbook_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// market is a network with an app of account 1, and a client of its market without any cleverness.
type market struct {
	*testing.T
	net   *localnet.Network
	owner poco.Account
	app   common.Address
}

func start(t *testing.T, opts ...func(*localnet.Options)) *market {
	t.Helper()
	m := &market{T: t, net: nettest.Start(t, opts...), owner: poco.DevAccounts()[1]}
	m.app = nettest.CreateApp(t, m.net, m.owner, poco.App{Name: "a", Type: "DOCKER", Multiaddr: []byte("docker.io/a/a:1")})
	return m
}

// object is a decoded JSON object; integers are json.Number.
type object = map[string]any

type answer struct {
	status int
	header http.Header
	text   string
	body   object
}

// do sends a request; body is JSON unless it is nil or a raw string.
func (m *market) do(method, path, authorization string, body any) answer {
	m.Helper()
	text, raw := body.(string)
	if !raw && body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			m.Fatal(err)
		}
		text = string(data)
	}
	r, err := http.NewRequest(method, m.net.Info().MarketURL+path, strings.NewReader(text))
	if err != nil {
		m.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return m.send(r)
}

func (m *market) send(r *http.Request) answer {
	m.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		m.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		m.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, text: string(data)}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		if err := dec.Decode(&a.body); err != nil {
			m.Fatalf("%s %s: %v in %s", r.Method, r.URL, err, data)
		}
	}
	return a
}

func (m *market) get(path string) answer {
	m.Helper()
	return m.do("GET", path, "", nil)
}

// challenge returns the text of the wallet's challenge.
func (m *market) challenge(wallet common.Address) string {
	m.Helper()
	a := m.get("/challenge?chainId=31337&address=" + strings.ToLower(wallet.Hex()))
	if a.status != 200 {
		m.Fatalf("challenge: %d %s", a.status, a.text)
	}
	return a.body["data"].(object)["message"].(object)["challenge"].(string)
}

func (m *market) authorize(account poco.Account) string {
	m.Helper()
	digest := poco.MarketChallengeDigest(big.NewInt(31337), m.challenge(account.Address))
	sig, err := poco.Sign(account.Key, digest)
	if err != nil {
		m.Fatal(err)
	}
	return poco.MarketAuthorization(digest, sig, account.Address)
}

func (m *market) write(method string, k *poco.Kind, account poco.Account, body any) answer {
	m.Helper()
	return m.do(method, "/"+k.Path+"?chainId=31337", m.authorize(account), body)
}

// bodyOf is the body that publishes the order, with other values for some of its fields; a nil one removes the field.
func bodyOf(o poco.SignedOrder, changes ...object) object {
	order := object{"sign": hexutil.Encode(o.Sign)}
	for name, value := range o.Order {
		order[name] = value
	}
	for _, change := range changes {
		for name, value := range change {
			order[name] = value
			if value == nil {
				delete(order, name)
			}
		}
	}
	return object{"order": order}
}

// appOrder signs an order for the app by its owner, with other values for some of its fields.
func (m *market) appOrder(price, volume uint64, changes ...poco.Order) poco.SignedOrder {
	m.Helper()
	o := nettest.AppOrder(m.app, price, volume)
	for _, change := range changes {
		for name, value := range change {
			o[name] = value
		}
	}
	return nettest.Sign(m, m.owner, poco.AppOrder, o)
}

func (m *market) publish(o poco.SignedOrder) object {
	m.Helper()
	a := m.write("POST", poco.AppOrder, m.owner, bodyOf(o))
	if a.status != 200 {
		m.Fatalf("publish: %d %s", a.status, a.text)
	}
	return a.body["published"].(object)
}

func hashOf(t testing.TB, k *poco.Kind, o poco.Order) string {
	t.Helper()
	hash, err := poco.Localnet().Domain().OrderHash(k, o)
	if err != nil {
		t.Fatal(err)
	}
	return hash.Hex()
}

func (m *market) wantError(a answer, status int, text string) {
	m.Helper()
	if a.status != status || a.body["error"] != text || a.body["ok"] != false {
		m.Errorf("answer %d %s, want %d %q", a.status, a.text, status, text)
	}
}

// caughtUp waits until the market has seen the head of the chain.
func (m *market) caughtUp() {
	m.Helper()
	head, err := nettest.Client(m, m.net).BlockNumber(m.Context())
	if err != nil {
		m.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		last, err := m.get("/metrics?chainId=31337").body["lastBlock"].(json.Number).Int64()
		if err != nil {
			m.Fatal(err)
		}
		if uint64(last) >= head {
			return
		}
	}
	m.Fatalf("the market has not seen block %d", head)
}

func (m *market) order(hash string) object {
	m.Helper()
	m.caughtUp()
	return m.get("/apporders/" + hash + "?chainId=31337").body
}

func (m *market) wantStatus(hash, status string, remaining int) {
	m.Helper()
	o := m.order(hash)
	if o["status"] != status || o["remaining"] != json.Number(strconv.Itoa(remaining)) {
		m.Errorf("order is %v with %v remaining, want %s with %d", o["status"], o["remaining"], status, remaining)
	}
}
