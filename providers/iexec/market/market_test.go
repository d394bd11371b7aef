package market_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/internal/bounds"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// wallet is an Authenticator.
type wallet struct{ poco.Account }

func (w wallet) Address() common.Address { return w.Account.Address }

func (w wallet) SignTypedData(_ context.Context, doc poco.TypedData) ([]byte, error) {
	return poco.Sign(w.Key, doc.Digest())
}

// proxy stands before the market; its hook may answer a request, or fail it after the market has answered.
type proxy struct {
	mu     sync.Mutex
	count  map[string]int
	before func(r *http.Request) *http.Response
	after  func(r *http.Request) error
}

// errPage makes the hook after answer with a web page.
var errPage = errors.New("a page")

func (p *proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	if p.count == nil {
		p.count = map[string]int{}
	}
	p.count[r.Method]++
	p.mu.Unlock()
	if p.before != nil {
		if resp := p.before(r); resp != nil {
			return resp, nil
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && p.after != nil {
		if err := p.after(r); err != nil {
			_ = resp.Body.Close()
			if err == errPage {
				return answer(200, "<html>"), nil
			}
			return nil, err
		}
	}
	return resp, err
}

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

// ground is a real market with an app of me.
type ground struct {
	t   testing.TB
	net *localnet.Network
	p   *proxy
	c   *market.Client
	me  wallet
	app common.Address
}

func newGround(t testing.TB, opts ...func(*localnet.Options)) *ground {
	net := nettest.Start(t, opts...)
	g := &ground{t: t, net: net, p: &proxy{}, me: wallet{poco.DevAccounts()[1]}}
	g.c = g.client(market.Options{})
	app := poco.App{Name: "a", Type: "DOCKER", Multiaddr: []byte("x"), Checksum: common.HexToHash("0x1")}
	g.app = app.Address(net.Info().AppRegistry, g.me.Address())
	if _, err := nettest.Send(t, net, g.me.Key, net.Info().AppRegistry, poco.PackCreateApp(g.me.Address(), app)); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *ground) client(opts market.Options) *market.Client {
	g.t.Helper()
	opts.HTTPClient = &http.Client{Transport: g.p}
	c, err := market.New(g.net.Info().MarketURL, nettest.Chain(g.net).Domain(), opts)
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

// order is signed by the app's owner.
func (g *ground) order(n int, restrict common.Address) (poco.Order, common.Hash, string) {
	g.t.Helper()
	o := poco.AppOrder.Zero()
	o["app"], o["appprice"], o["volume"] = g.app.Hex(), "9007199254740991", "100"
	o["requesterrestrict"], o["salt"] = restrict.Hex(), common.BigToHash(big.NewInt(int64(n))).Hex()
	hash, err := nettest.Chain(g.net).Domain().OrderHash(poco.AppOrder, o)
	if err != nil {
		g.t.Fatal(err)
	}
	sig, err := poco.Sign(g.me.Key, hash)
	if err != nil {
		g.t.Fatal(err)
	}
	return o, hash, "0x" + hex.EncodeToString(sig)
}

func TestOrders(t *testing.T) {
	g := newGround(t)
	ctx := t.Context()
	o, hash, sign := g.order(1, common.Address{})
	if row, err := g.c.Get(ctx, poco.AppOrder, hash); err != nil || row != nil {
		t.Fatalf("get before: %v, %v", row, err)
	}
	for range 2 { // the second time it is there already
		row, err := g.c.Publish(ctx, poco.AppOrder, o, sign, g.me)
		if err != nil {
			t.Fatal(err)
		}
		if row.OrderHash != hash || row.Sign != sign || row.Signer != g.me.Address() || row.Status != market.Open ||
			row.Remaining.Int64() != 100 || row.Order["appprice"] != o["appprice"] || row.PublicationTimestamp == "" {
			t.Errorf("row %+v", row)
		}
		if fmt.Sprint(row.Order) != fmt.Sprint(o) {
			t.Errorf("order %v, want %v", row.Order, o)
		}
	}
	secret, _, sign2 := g.order(2, poco.DevAccounts()[3].Address)
	if _, err := g.c.Publish(ctx, poco.AppOrder, secret, sign2, g.me); err != nil {
		t.Fatal(err)
	}
	rows, err := g.c.ListByOwner(ctx, poco.AppOrder, g.me.Address())
	if err != nil || len(rows) != 2 {
		t.Errorf("%d rows, %v; want the restricted one too", len(rows), err)
	}
	for _, k := range poco.Kinds() {
		if rows, err := g.c.ListByOwner(ctx, k, poco.DevAccounts()[4].Address); err != nil || len(rows) != 0 {
			t.Errorf("%s of somebody else: %d rows, %v", k.Path, len(rows), err)
		}
	}
	for range 2 { // the second time there is nothing to do
		if err := g.c.Unpublish(ctx, poco.AppOrder, hash, g.me); err != nil {
			t.Fatal(err)
		}
	}
	if row, err := g.c.Get(ctx, poco.AppOrder, hash); err != nil || row != nil {
		t.Errorf("get after: %v, %v", row, err)
	}
	if _, err := g.c.Metrics(ctx); err != nil {
		t.Error(err)
	}
	if v, err := g.c.Version(ctx); err != nil || v == "" {
		t.Errorf("version %q, %v", v, err)
	}
}

// A wallet has one challenge at a time: however many publish at once, each succeeds.
func TestPublishAtOnce(t *testing.T) {
	g := newGround(t)
	other := g.client(market.Options{}) // another program with the same wallet
	var wg sync.WaitGroup
	for i := range 20 {
		c := g.c
		if i%4 == 0 {
			c = other
		}
		wg.Go(func() {
			o, _, sign := g.order(i, common.Address{})
			if _, err := c.Publish(t.Context(), poco.AppOrder, o, sign, g.me); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if rows, err := g.c.ListByOwner(t.Context(), poco.AppOrder, g.me.Address()); err != nil || len(rows) != 20 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

func TestPublishUnclear(t *testing.T) {
	g := newGround(t)
	isWrite := func(r *http.Request) bool { return r.Method == http.MethodPost || r.Method == http.MethodPut }
	tests := []struct {
		name   string
		before func(r *http.Request) *http.Response
		after  func(r *http.Request) error
	}{
		{name: "answer lost", after: func(r *http.Request) error {
			if isWrite(r) {
				return io.ErrUnexpectedEOF
			}
			return nil
		}},
		{name: "500 once", before: once(isWrite, answer(500, `{"ok":false,"error":"Internal error"}`))},
		{name: "stale challenge", before: once(isWrite, answer(403, `{"ok":false,"error":"invalid authorization"}`))},
		{name: "accepted and lost", before: once(isWrite, answer(200, `{"ok":true,"published":{},"unpublished":[]}`))},
		{name: "answer cut short", before: once(isWrite, answer(200, `{"ok":tr`))},
		{name: "empty answer", before: once(isWrite, answer(200, ``))},
		{name: "reads cut short", before: once(func(r *http.Request) bool { return r.Method == http.MethodGet }, answer(200, `{"ok":true,"data":{"mess`))},
		{name: "somebody else's page", after: func(r *http.Request) error {
			if !isWrite(r) {
				return nil
			}
			return errPage
		}},
		{name: "bad gateway", before: once(func(r *http.Request) bool { return r.Method == http.MethodGet }, answer(502, `<html>`))},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g.p.before, g.p.after = test.before, test.after
			defer func() { g.p.before, g.p.after = nil, nil }()
			o, hash, sign := g.order(i, common.Address{})
			if row, err := g.c.Publish(t.Context(), poco.AppOrder, o, sign, g.me); err != nil || row.Status != market.Open {
				t.Fatalf("row %+v, %v", row, err)
			}
			if test.after == nil {
				return
			}
			if err := g.c.Unpublish(t.Context(), poco.AppOrder, hash, g.me); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func once(which func(*http.Request) bool, resp *http.Response) func(*http.Request) *http.Response {
	var mu sync.Mutex
	return func(r *http.Request) *http.Response {
		mu.Lock()
		defer mu.Unlock()
		if resp == nil || !which(r) {
			return nil
		}
		now := resp
		resp = nil
		return now
	}
}

// What the market refuses is said with what to do, and not tried again.
func TestRefusals(t *testing.T) {
	g := newGround(t, func(o *localnet.Options) { o.MaxOpenOrders = 1 })
	o, hash, sign := g.order(1, common.Address{})
	if _, err := g.c.Publish(t.Context(), poco.AppOrder, o, sign, g.me); err != nil {
		t.Fatal(err)
	}
	check := func(name string, err error, parts ...string) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: no error", name)
			return
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %q, want it to say %q", name, err, part)
			}
		}
	}
	second, _, sign2 := g.order(2, common.Address{})
	posts := g.p.count[http.MethodPost]
	_, err := g.c.Publish(t.Context(), poco.AppOrder, second, sign2, g.me)
	check("maximum", err, "maximum of 1 published open apporder", "unpublish orders")
	if n := g.p.count[http.MethodPost] - posts; n != 1 {
		t.Errorf("a refused order was posted %d times", n)
	}
	var e *market.Error
	if !errors.As(err, &e) || e.Status != http.StatusForbidden {
		t.Errorf("error %#v, want a market.Error with its status", err)
	}
	posts = g.p.count[http.MethodPost]
	_, err = g.c.Publish(t.Context(), poco.AppOrder, second, sign, g.me)
	check("signature of another order", err, "not one of "+g.me.Address().Hex())
	_, err = g.c.Publish(t.Context(), poco.AppOrder, second, "0x1234", g.me)
	check("short signature", err, "2 bytes")
	if n := g.p.count[http.MethodPost] - posts; n != 0 {
		t.Errorf("an order with a wrong signature was posted %d times", n)
	}
	stranger := wallet{poco.DevAccounts()[5]}
	check("stranger", g.c.Unpublish(t.Context(), poco.AppOrder, hash, stranger), "only order signer", "use the wallet that published it")
	data, err := poco.PackManageOrder(poco.AppOrder, o, poco.OpClose, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.c.Unpublish(t.Context(), poco.AppOrder, hash, g.me); err != nil {
		t.Fatal(err)
	}
	if _, err := nettest.Send(t, g.net, g.me.Key, g.net.Info().Hub, data); err != nil {
		t.Fatal(err)
	}
	_, err = g.c.Publish(t.Context(), poco.AppOrder, o, sign, g.me)
	check("closed", err, "order already consumed", "closed on chain")
}

func TestErrorTexts(t *testing.T) {
	serve := func(status int, contentType, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(s.Close)
		return s.URL + "/5ecret"
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	tests := []struct {
		name, url string
		want      []string
	}{
		{"refused", gone.URL, []string{"cannot reach the market at 127.0.0.1:", "connection refused", "start `iexecform localnet`"}},
		{"html", serve(200, "text/html", "<html>"), []string{"answered HTML, not JSON", "is market_url right?"}},
		{"text", serve(404, "text/plain", "Not Found"), []string{`answered "Not Found", not JSON`, "404", "is market_url right?"}},
		{"empty", serve(200, "text/plain", ""), []string{"answered nothing"}},
		{"other JSON", serve(200, "application/json", `{"a":1}`), []string{"not JSON", "is market_url right?"}},
		{"other chain", serve(400, "application/json", `{"ok":false,"error":"chainId 31337 is not supported"}`), []string{"another chain"}},
		{"unavailable", serve(503, "application/json", `{"ok":false,"error":"Internal error"}`), []string{"try again later"}},
		{"too long", serve(200, "application/json", `{"ok":true,"x":"`+strings.Repeat("x", 2000)+`"}`), []string{"more than 1000 bytes"}},
		{"malformed row", serve(200, "application/json", `{"ok":true,"orders":[{}],"count":1}`), []string{"without order"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := market.New(test.url, poco.Localnet().Domain(), market.Options{RetryFor: -1, MaxResponse: 1000})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.ListByOwner(t.Context(), poco.AppOrder, common.Address{1})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want it to say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "5ecret") {
				t.Errorf("error %q shows a secret", err)
			}
		})
	}
	if _, err := market.New("localhost", poco.Localnet().Domain(), market.Options{}); err == nil {
		t.Error("a URL without scheme was taken")
	}
}

// After a 429 the client waits for one second more than it is told.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &proxy{}
		limited := answer(429, `{"ok":false,"error":"Rate limit exceeded"}`)
		limited.Header.Set("Retry-After", "4")
		first := once(func(*http.Request) bool { return true }, limited)
		p.before = func(r *http.Request) *http.Response {
			if resp := first(r); resp != nil {
				return resp
			}
			return answer(200, `{"ok":true,"version":"7"}`)
		}
		c, err := market.New("http://market.example", poco.Localnet().Domain(), market.Options{HTTPClient: &http.Client{Transport: p}})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if v, err := c.Version(t.Context()); err != nil || v != "7" {
			t.Fatalf("%q, %v", v, err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("waited %v, want 5s", took)
		}
	})
}

// listing is a market with n orders of one owner, in pages.
func listing(n int) *proxy {
	row := func(i int) string {
		return fmt.Sprintf(`{"order":{"app":"0xA131a4c9BF007D54A85A24204C830657AD356Ee6","appprice":9007199254740991,"volume":"100",`+
			`"tag":"0x%064x","datasetrestrict":"0x0000000000000000000000000000000000000000","workerpoolrestrict":"0x0000000000000000000000000000000000000000",`+
			`"requesterrestrict":"0x0000000000000000000000000000000000000000","salt":"0x%064x","sign":"0x%0130x"},"orderHash":"0x%064x","chainId":31337,`+
			`"publicationTimestamp":"2026-11-23T01:36:04.652Z","signer":"0x976EA74026E726554dB657fA54763abd0C3a0aa9","status":"open","remaining":100}`, 9, i, 5, i+1)
	}
	var pages []string
	for from := 0; from == 0 || from < n; from += 1000 {
		var rows []string
		for i := from; i < min(from+1000, n); i++ {
			rows = append(rows, row(i))
		}
		pages = append(pages, fmt.Sprintf(`{"ok":true,"orders":[%s],"count":%d}`, strings.Join(rows, ","), n))
	}
	return &proxy{before: func(r *http.Request) *http.Response {
		var index int
		if _, err := fmt.Sscan(r.URL.Query().Get("pageIndex"), &index); err != nil {
			panic(err)
		}
		return answer(200, pages[index])
	}}
}

func TestListPages(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 1001, 3500} {
		p := listing(n)
		c, err := market.New("http://market.example", poco.Localnet().Domain(), market.Options{HTTPClient: &http.Client{Transport: p}})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := c.ListByOwner(t.Context(), poco.AppOrder, common.Address{1})
		if err != nil || len(rows) != n {
			t.Fatalf("%d rows of %d, %v", len(rows), n, err)
		}
		for i, r := range rows {
			if r.OrderHash != common.BigToHash(big.NewInt(int64(i+1))) || r.Order["appprice"] != "9007199254740991" || r.Order["volume"] != "100" {
				t.Fatalf("row %d: %+v", i, r)
			}
		}
		if want := max((n+999)/1000, 1); p.count[http.MethodGet] != want {
			t.Errorf("%d rows took %d requests, want %d", n, p.count[http.MethodGet], want)
		}
	}
}

func FuzzRow(f *testing.F) {
	f.Add(`{"ok":true,"orders":[{"order":{"app":"0x","sign":1},"orderHash":"0x1","remaining":1e3,"status":null}],"count":"1"}`)
	f.Add(`{"ok":true,"count":-1,"orders":{}}`)
	f.Add(`{"ok":true,"orders":[`)
	f.Fuzz(func(t *testing.T, body string) {
		defer bounds.Watch()()
		p := &proxy{before: func(*http.Request) *http.Response { return answer(200, body) }}
		c, err := market.New("http://market.example", poco.Localnet().Domain(), market.Options{HTTPClient: &http.Client{Transport: p}, RetryFor: -1})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := c.ListByOwner(t.Context(), poco.AppOrder, common.Address{1})
		for _, r := range rows {
			if err == nil && (r.Remaining == nil || r.Order == nil) {
				t.Errorf("row %+v", r)
			}
		}
	})
}

func BenchmarkListByOwner(b *testing.B) {
	p := listing(10_000)
	c, err := market.New("http://market.example", poco.Localnet().Domain(), market.Options{HTTPClient: &http.Client{Transport: p}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if rows, err := c.ListByOwner(b.Context(), poco.AppOrder, common.Address{1}); err != nil || len(rows) != 10_000 {
			b.Fatal(len(rows), err)
		}
	}
}
