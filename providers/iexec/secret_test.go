package iexec_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/iexec/sms"
)

// gate stands before the network's secret management service and may spoil the pushes.
type gate struct {
	*httptest.Server
	real  *sms.Client
	spoil atomic.Pointer[func(forward http.HandlerFunc) http.HandlerFunc]
}

func newGate(w *world) *gate {
	w.t.Helper()
	target, err := url.Parse(w.net.Info().SMSURL)
	if err != nil {
		w.t.Fatal(err)
	}
	g := &gate{}
	if g.real, err = sms.New(w.net.Info().SMSURL, sms.Options{}); err != nil {
		w.t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	g.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if spoil := g.spoil.Load(); spoil != nil && r.Method == http.MethodPost {
			(*spoil)(proxy.ServeHTTP)(rw, r)
			return
		}
		proxy.ServeHTTP(rw, r)
	}))
	w.t.Cleanup(g.Close)
	w.t.Cleanup(func() { _ = g.real.Close() })
	return g
}

// secretly writes an app with an order and a secret; without value, without the secret.
func (w *world) secretly(g *gate, name, value string) {
	hcl := appBlock("docker.io/iexechub/nilearn:"+name) + orderBlock("  appprice = 5\n  volume = 10")
	if value != "" {
		hcl += fmt.Sprintf("resource \"iexec_app_secret\" \"s\" {\n  app = iexec_app.a.address\n  value = %q\n}\n", value)
	}
	c := nettest.Chain(w.net)
	w.Write(fmt.Sprintf("provider \"iexec\" {\n  chain = \"localnet\"\n  rpc_url = %q\n  market_url = %q\n  sms_url = %q\n}\n%s", c.RPC, c.Market, g.URL, hcl))
}

func (g *gate) has(w *world, app common.Address) bool {
	w.t.Helper()
	there, err := g.real.Exists(w.t.Context(), app)
	if err != nil {
		w.t.Fatal(err)
	}
	return there
}

// An order is published when its app has its secret, not before; whatever goes wrong with the push.
func TestSecretComesBeforeTheOrder(t *testing.T) {
	w := newWorld(t)
	g := newGate(w)
	w.secretly(g, "1.0", "s3cret")
	refuse := func(http.HandlerFunc) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusUnauthorized) }
	}
	g.spoil.Store(&refuse)
	result, err := w.TryApply(t.Context(), w.Plan())
	if err != nil || result.Failed != 1 || result.Skipped != 1 || len(w.live()) != 0 {
		t.Fatalf("with a service that refuses: %+v, %v, %d orders on the market; want one failed, one skipped, none", result, err, len(w.live()))
	}
	g.spoil.Store(nil)
	w.step("push-secret publish[1]")
	app := common.HexToAddress(w.Value("iexec_app.a").GetAttr("address").AsString())
	if !g.has(w, app) {
		t.Error("the app has no secret")
	}
	w.Settled()

	// A secret that is added later holds up the new order, but nothing that is on the market already.
	w.secretly(g, "2.0", "")
	w.Apply()
	w.secretly(g, "2.0", "s3cret")
	w.step("push-secret")
	// Another app gets the new secret before its order is published, and then the old one's order goes.
	w.secretly(g, "3.0", "another")
	w.step("deploy push-secret[1] sign publish[1,2,3] unpublish[4] close[5]")
	if value := w.Value("iexec_app_secret.s"); value.GetAttr("status").AsString() != "pushed" || !value.GetAttr("value").IsNull() {
		t.Errorf("state: %#v", value)
	}
}

// An answer that is lost is looked for.
func TestLostAnswerOfAPush(t *testing.T) {
	w := newWorld(t)
	g := newGate(w)
	w.secretly(g, "1.0", "s3cret")
	lose := func(forward http.HandlerFunc) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			forward(httptest.NewRecorder(), r)
			connection, _, err := rw.(http.Hijacker).Hijack()
			if err == nil {
				_ = connection.Close()
			}
		}
	}
	g.spoil.Store(&lose)
	w.Apply()
	w.Settled()

	// Where the run itself is lost, the next one finds what it did.
	w.secretly(g, "2.0", "another")
	mislead := func(forward http.HandlerFunc) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			forward(httptest.NewRecorder(), r)
			rw.WriteHeader(http.StatusBadRequest)
		}
	}
	g.spoil.Store(&mislead)
	if result, err := w.TryApply(t.Context(), w.Plan()); err != nil || result.Failed != 1 {
		t.Fatalf("got %+v, %v; want one failure", result, err)
	}
	g.spoil.Store(nil)
	made := w.Plan()
	if !strings.Contains(made.String(), "an interrupted run pushed it") || strings.Contains(kinds(made), "push-secret") {
		t.Errorf("the next plan:\n%s", made)
	}
	w.Obey(made)
	w.Settled()
}

// Who else can push is the same owner from elsewhere. What was planned isn't taken for done then.
func TestSecretOfSomebodyElse(t *testing.T) {
	w := newWorld(t)
	g := newGate(w)
	owner := chain.NewKeySigner(poco.DevAccounts()[0].Key)
	w.secretly(g, "1.0", "")
	w.Apply()
	app := common.HexToAddress(w.Value("iexec_app.a").GetAttr("address").AsString())
	w.secretly(g, "1.0", "s3cret")
	made := w.Plan()
	if err := g.real.Push(t.Context(), app, "theirs", owner); err != nil {
		t.Fatal(err)
	}
	result, err := w.TryApply(t.Context(), made)
	if err != nil || result.Failed != 1 || !strings.Contains(result.Errors[0].Error(), "has a secret already") {
		t.Fatalf("got %+v, %v", result, err)
	}
	made = w.Plan()
	if got := made.Changes[1]; got.Kind != providers.Adopt || !strings.Contains(made.String(), "nobody can tell whether it has this value") {
		t.Errorf("the next plan:\n%s", made)
	}
	w.Obey(made)
	w.Settled()

	// The same at the last moment: between the look and the push.
	w.secretly(g, "2.0", "s3cret")
	overtake := func(forward http.HandlerFunc) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			app := common.HexToAddress(strings.Split(r.URL.Path, "/")[2])
			if err := g.real.Push(r.Context(), app, "theirs", owner); err != nil {
				t.Error(err)
			}
			forward(rw, r)
		}
	}
	g.spoil.Store(&overtake)
	if result, err := w.TryApply(t.Context(), w.Plan()); err != nil || result.Failed != 1 {
		t.Fatalf("got %+v, %v", result, err)
	}
	g.spoil.Store(nil)
	made = w.Plan()
	if !strings.Contains(made.String(), "nobody can tell whether it has this value") {
		t.Errorf("the next plan:\n%s", made)
	}
	w.Obey(made)
	if status := w.Value("iexec_app_secret.s").GetAttr("status").AsString(); status != "found" {
		t.Errorf("status %s, want found", status)
	}
	w.Settled()
}

// An app that changed hands since the plan was made gets no secret.
func TestSecretOfATransferredApp(t *testing.T) {
	w := newWorld(t)
	g := newGate(w)
	w.secretly(g, "1.0", "")
	w.Apply()
	app := common.HexToAddress(w.Value("iexec_app.a").GetAttr("address").AsString())
	w.secretly(g, "1.0", "s3cret")
	made := w.Plan()
	nettest.Transfer(t, w.net, app, poco.DevAccounts()[0].Key, poco.DevAccounts()[1].Address)
	if _, err := w.TryApply(t.Context(), made); err == nil || !strings.Contains(err.Error(), "changed hands") {
		t.Errorf("got %v", err)
	}
	if g.has(w, app) {
		t.Error("the secret was pushed")
	}
}
