package main

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/localnet/orderbook"
)

// marketFaults are the scenarios of images and the market, B-30 to B-42.
func marketFaults() []scenario {
	return []scenario{
		{number: 36, title: "more open orders than the market takes", run: tooManyOrders},
		{number: 37, title: "300 orders against the market's rate limit, killed in between", run: rateLimit},
	}
}

// manyOrders are orders of the app a, each at a price of its own.
func manyOrders(n string) string {
	return strings.ReplaceAll(`
resource "iexec_apporder" "o" {
  count    = N
  app      = iexec_app.a.address
  appprice = 1 + count.index
  volume   = 1
}
`, "N", n)
}

func tooManyOrders(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + manyOrders("51"))
	const refusal = "would have up to 51 open apporders (0 now, 51 published, 0 withdrawn), and the market refuses more than 50: withdraw some first, offer more volume in fewer orders, or set max_open_orders"
	w.run(1, "plan", "--out=planned").tells(refusal, "This plan is incomplete", "iexec_app.a will be created")
	w.run(1, "apply", "planned").tells("The plan is incomplete")
	w.fail().tells(refusal)
	if w.sent() != 0 || len(w.rows()) != 0 {
		t.Errorf("%d transactions, %d orders, want none", w.sent(), len(w.rows()))
	}
	w.configs = nil
	w.write(anApp + manyOrders("50"))
	w.apply()
	w.check(1)
}

// lines are those of the output that have the text.
func (r result) lines(text string) (list []string) {
	for line := range strings.Lines(r.text) {
		if strings.Contains(line, text) {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

// refusals counts the answers 429 of a proxied service.
func refusals(p *faultproxy.Proxy) *atomic.Int64 {
	var n atomic.Int64
	p.Set(faultproxy.Rule{Fault: counting(&n)})
	return &n
}

func counting(n *atomic.Int64) faultproxy.Fault {
	return func(x *faultproxy.Exchange) {
		a := x.Forward()
		if a != nil && a.Status == http.StatusTooManyRequests {
			n.Add(1)
		}
		x.Answer(a)
	}
}

// At the market's default limits, 100 requests a minute and 50 open orders, 40 orders are published without one refusal.
func TestMarketDefaults(t *testing.T) {
	net := nettest.Start(t, func(o *localnet.Options) { o.RateLimit = orderbook.RateLimit{Max: 100} }) // loopback clients, too
	w := newGround(t).worldOn(t, net)
	w.write(anApp + manyOrders("40"))
	refused := refusals(w.market)
	plan := w.changes().tells("less than a minute: the market takes 100 requests a minute, and this plan makes about 83")
	w.apply()
	w.run(0, "plan", "--detailed-exitcode")
	t.Logf("40 orders: %d requests to the market for plan, apply and plan, %d of them answered 429\n%s",
		w.market.Requests(), refused.Load(), strings.Join(plan.lines("the market takes"), "\n"))
	if refused.Load() != 0 || len(w.rows()) != 40 {
		t.Errorf("%d requests were refused, %d orders are open", refused.Load(), len(w.rows()))
	}
}

// rateLimit has the market's limit run fifty times as fast.
func rateLimit(t *testing.T, g *ground) {
	net := nettest.Start(t, func(o *localnet.Options) {
		o.MaxOpenOrders = 300
		o.RateLimit = orderbook.RateLimit{Max: 100, Period: 1200 * time.Millisecond}
	})
	w := g.worldOn(t, net)
	w.different = true // an undisturbed run would take as long again
	const settings = "max_open_orders = 300"
	w.write(anApp+manyOrders("300"), settings)
	refused := refusals(w.market)
	plan := w.changes().tells("the market takes 100 requests", "this plan makes about 619")
	w.market.Set(faultproxy.Rule{Match: "POST /apporders", Skip: 150, Times: 1, Fault: faultproxy.Cut(w.kill)}, faultproxy.Rule{Fault: counting(refused)})
	w.die()
	half := len(w.rows())
	if half < 150 || half > 151 {
		t.Errorf("%d orders after the kill", half)
	}
	w.market.Set(faultproxy.Rule{Fault: counting(refused)})
	r := w.apply().tells("waiting 1s, as the market takes 100 requests", "orders are left to publish or withdraw, which takes")
	t.Logf("300 orders: %d requests, %d of them refused\n%s", w.market.Requests(), refused.Load(), strings.Join(plan.lines("the market takes"), "\n"))
	t.Logf("killed in between; then\n%s", strings.Join(r.lines("waiting"), "\n"))
	if n := refused.Load(); n > 16 {
		t.Errorf("%d requests were refused", n)
	}
	if n := w.market.Count("POST /apporders"); n > 302 {
		t.Errorf("%d posts for 300 orders", n)
	}
	w.check(1)
	if n := len(w.rows()); n != 300 {
		t.Errorf("%d orders are open, want 300", n)
	}
}
