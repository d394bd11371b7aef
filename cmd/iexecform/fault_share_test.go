package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
)

// someFail are rules by which 30 % of all requests fail, a fifth of them in each way. The shares are of one random number, so
// each rule takes what the one before has left.
func someFail() (rules []faultproxy.Rule) {
	for i, fault := range []faultproxy.Fault{
		faultproxy.Status(http.StatusTooManyRequests, 0), faultproxy.Status(http.StatusServiceUnavailable, 0),
		faultproxy.Drop(nil), faultproxy.Cut(nil), faultproxy.Truncate(),
	} {
		rules = append(rules, faultproxy.Rule{Share: 0.06 * float64(i+1), Fault: fault})
	}
	return rules
}

// TestSomeFail applies the quickstart, and 100 apps with an order each, while 30 % of all requests fail, and compares the
// requests with those of an undisturbed run.
func TestSomeFail(t *testing.T) {
	t.Parallel() // it waits most of the time
	quickstart, err := os.ReadFile(filepath.Join("..", "..", "examples", "quickstart", "main.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	_, resources, ok := strings.Cut(string(quickstart), "# The digest that")
	if !ok {
		t.Fatal("the quickstart isn't as expected")
	}
	resources = "variable \"price\" {\n  default = \"0.5 RLC\"\n}\n# " + strings.Replace(resources, "127.0.0.1:5000/iexecform/hello-world:1.0", "IMAGE", 1)
	many := `
resource "iexec_app" "many" {
  count     = 100
  name      = "app ${count.index}"
  multiaddr = "IMAGE"
}
resource "iexec_apporder" "many" {
  count    = 100
  app      = iexec_app.many[count.index].address
  appprice = "0.5 RLC"
  volume   = 1000
}
`
	net := nettest.Start(t, func(o *localnet.Options) { o.MaxOpenOrders = -1 })
	g := newGround(t)
	for _, test := range []struct {
		name, config string
		apps         int
	}{{"quickstart", resources, 1}, {"100 apps", many, 100}} {
		t.Run(test.name, func(t *testing.T) {
			var requests [2]int
			var parts [2]string
			for i, rules := range [][]faultproxy.Rule{nil, someFail()} {
				w := g.worldOn(t, net)
				w.different = true // compared here
				w.write(test.config, "max_open_orders = 1000")
				for _, p := range []*faultproxy.Proxy{w.rpc, w.market, w.registry} {
					p.Set(rules...)
				}
				w.apply()
				for _, s := range []struct {
					name  string
					proxy *faultproxy.Proxy
				}{{"chain", w.rpc}, {"market", w.market}, {"registry", w.registry}} {
					requests[i] += s.proxy.Requests()
					parts[i] += fmt.Sprintf(" %s %d", s.name, s.proxy.Requests())
				}
				if n := len(w.rows()); n != test.apps {
					t.Errorf("%d orders are open, want %d", n, test.apps)
				}
				w.check(test.apps)
			}
			t.Logf("%s: %d requests undisturbed (%s), %d with 30 %% failing (%s): %.2f times as many",
				test.name, requests[0], strings.TrimSpace(parts[0]), requests[1], strings.TrimSpace(parts[1]), float64(requests[1])/float64(requests[0]))
			if requests[1] > 2*requests[0] && test.apps > 1 { // few requests say little
				t.Errorf("%d requests, more than twice %d", requests[1], requests[0])
			}
		})
	}
}
