package main

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/localnet/orderbook"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// marketFaults are the scenarios of images and the market, B-30 to B-42.
func marketFaults() []scenario {
	return []scenario{
		{number: 30, title: "the image's tag moves between plan and apply", run: tagMoved},
		{number: 31, title: "the registry answers 404, 401 or 429", run: registryRefuses},
		{number: 32, title: "an image of several platforms gets one more", run: platformAdded},
		{number: 33, title: "the market is down", run: marketDown},
		{number: 34, title: "the market takes an order and loses it", run: lostWrite},
		{number: 35, title: "the order is published already, and another one of the same app", run: publishedAlready},
		{number: 36, title: "more open orders than the market takes", run: tooManyOrders},
		{number: 37, title: "300 orders against the market's rate limit, killed in between", run: rateLimit},
		{number: 38, title: "an order is bought from between plan and apply", run: boughtBetween},
		{number: 39, title: "an order is sold out", run: soldOutside},
		{number: 40, title: "somebody takes our order off the market", run: unpublishedOutside},
		{number: 41, title: "the owner closes our order elsewhere", run: closedOutside},
		{number: 42, title: "the app is given away", run: givenAway},
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
	r := w.apply().tells("s, as the market takes 100 requests", "orders are left to publish or withdraw, which takes")
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

// order is the only order of the resource o that the state knows.
func (w *world) order() (hash string, signed poco.SignedOrder) {
	w.t.Helper()
	var o struct {
		Orders map[string]struct {
			Order poco.Order
			Sign  hexutil.Bytes
		}
	}
	w.attributes("iexec_apporder.o", &o)
	if len(o.Orders) != 1 {
		w.t.Fatalf("%d orders in the state, want 1", len(o.Orders))
	}
	for h, x := range o.Orders {
		hash, signed = h, poco.SignedOrder{Order: x.Order, Sign: x.Sign}
	}
	return hash, signed
}

func (w *world) signer() chain.Signer { return chain.NewKeySigner(w.account.Key) }

// caughtUp waits until the market has seen the head of the chain.
func (w *world) caughtUp() {
	w.t.Helper()
	head, err := w.client.BlockNumber(w.t.Context())
	for last := uint64(0); err == nil && last < head; {
		last, err = w.book.Metrics(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// buying guards the nonces of the account that buys.
var buying sync.Mutex

// buy has a stranger buy of an order.
func (w *world) buy(o poco.SignedOrder, volume uint64) {
	w.t.Helper()
	buying.Lock()
	defer buying.Unlock()
	if err := nettest.Buy(w.t, w.net, o, volume); err != nil {
		w.t.Fatal(err)
	}
	w.caughtUp()
}

// bodies notes the bodies of requests.
func bodies(into *[]string, then faultproxy.Fault) faultproxy.Fault {
	return func(x *faultproxy.Exchange) {
		*into = append(*into, string(x.Body))
		then(x)
	}
}

func pass(x *faultproxy.Exchange) { x.Answer(x.Forward()) }

// ok answers as the market does when it has taken an order, and nothing comes of it.
func ok(x *faultproxy.Exchange) {
	x.Answer(&faultproxy.Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"ok":true,"published":{}}`)})
}

func lostWrite(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	var posted []string
	w.market.Set(faultproxy.Rule{Match: "POST /apporders", Times: 2, Fault: bodies(&posted, ok)}, faultproxy.Rule{Match: "POST /apporders", Fault: bodies(&posted, pass)})
	w.apply()
	if len(posted) != 3 || posted[0] != posted[1] || posted[1] != posted[2] {
		t.Errorf("posted %q, want the same order three times", posted)
	}
	w.check(1)
}

func publishedAlready(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	// The answer is lost, and the market says at the second try that it has the order.
	w.market.Set(faultproxy.Rule{Match: "POST /apporders", Times: 1, Fault: faultproxy.Cut(nil)},
		faultproxy.Rule{Match: "GET /apporders/", Times: 1, Fault: func(x *faultproxy.Exchange) {
			x.Answer(&faultproxy.Answer{Status: http.StatusNotFound, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"ok":false,"error":"apporder not found"}`)})
		}})
	w.apply()
	if n := w.market.Count("POST /apporders"); n != 2 {
		t.Errorf("%d posts, want 2", n)
	}
	w.check(1)
	// Another row of the same app, which is none of the configuration's, has no effect.
	other := nettest.Sign(t, w.account, poco.AppOrder, nettest.AppOrder(w.app("iexec_app.a"), 7, 7))
	row, err := w.book.Publish(t.Context(), poco.AppOrder, other.Order, hexutil.Encode(other.Sign), w.signer())
	if err != nil {
		t.Fatal(err)
	}
	w.run(0, "plan", "--detailed-exitcode")
	w.apply()
	if len(w.rows()) != 2 {
		t.Errorf("%d orders are open, want ours and the other", len(w.rows()))
	}
	if err := w.book.Unpublish(t.Context(), poco.AppOrder, row.OrderHash, w.signer()); err != nil {
		t.Fatal(err)
	}
	w.check(1)
}

func boughtBetween(t *testing.T, g *ground) {
	w := g.world(t)
	w.different = true // what was bought is in the state
	w.write(anApp + anOrder)
	w.apply()
	_, order := w.order()
	// A new price offers what was not bought: what is bought in between makes the plan wrong.
	w.write(anApp + strings.Replace(anOrder, "0.5 RLC", "0.7 RLC", 1))
	w.run(0, "plan", "--out=planned")
	w.buy(order, 3)
	w.market.Reset()
	w.run(1, "apply", "planned").tells("was bought from", "Nothing was sent. Plan again")
	if w.sent() != 1 || w.market.Count("POST ") != 0 {
		t.Error("something was sent, or published")
	}
	// volume is the total, so what is bought in between doesn't matter to a top-up.
	w.write(anApp + strings.Replace(anOrder, "1000", "1500", 1))
	w.run(0, "plan", "--out=planned")
	w.buy(order, 2)
	w.run(0, "apply", "planned")
	var total int64
	for _, row := range w.rows() {
		total += row.Remaining.Int64()
	}
	if total != 1500-3-2 {
		t.Errorf("%d are on offer, want 1495", total)
	}
	w.check(1)
	soldOutMeanwhile(t, g)
}

// soldOutMeanwhile: while the apply deploys another app everything is bought of an order that it is about to close. The chain says
// the same of both, and what was sold must not be offered again.
func soldOutMeanwhile(t *testing.T, g *ground) {
	w := g.world(t)
	w.different = true
	five := strings.Replace(anOrder, "1000", "5", 1)
	w.write(anApp + five)
	w.apply()
	_, order := w.order()
	w.write(anApp + strings.NewReplacer(`"a"`, `"A"`).Replace(anApp[strings.Index(anApp, "resource"):]) + strings.Replace(five, "0.5 RLC", "0.7 RLC", 1))
	w.rpc.Set(faultproxy.Rule{Match: "eth_sendRawTransaction", Times: 1, Fault: faultproxy.Before(func() {
		buying.Lock()
		defer buying.Unlock()
		if err := nettest.Buy(t, w.net, order, 5); err != nil {
			t.Error(err)
		}
	})})
	w.run(1, "apply", "--auto-approve", "--parallelism=1").tells("was sold out since the plan was made", "plan again")
	w.apply()
	if rows := w.rows(); len(rows) != 0 {
		t.Errorf("%d units are offered again that were sold", rows[0].Remaining)
	}
	w.check(2)
}

func soldOutside(t *testing.T, g *ground) {
	w := g.world(t)
	w.different = true
	w.write(anApp + strings.Replace(anOrder, "1000", "5", 1))
	w.apply()
	_, order := w.order()
	w.buy(order, 5)
	w.run(0, "plan", "--detailed-exitcode").tells("is sold out", "No changes")
	w.write(anApp + strings.Replace(anOrder, "1000", "5\n  replenish_below = 2", 1))
	w.changes().tells("5 more are offered")
	w.apply()
	if rows := w.rows(); len(rows) != 1 || rows[0].Remaining.Int64() != 5 {
		t.Errorf("rows %v, want a new order of 5", rows)
	}
	w.check(1)
}

func unpublishedOutside(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.apply()
	hash, order := w.order()
	if err := w.book.Unpublish(t.Context(), poco.AppOrder, common.HexToHash(hash), w.signer()); err != nil {
		t.Fatal(err)
	}
	w.changes().tells("it was unpublished and is still valid", "publish order "+hash, "!sign order")
	var posted []string
	w.market.Set(faultproxy.Rule{Match: "POST /apporders", Fault: bodies(&posted, pass)})
	w.apply()
	if len(posted) != 1 || !strings.Contains(posted[0], hexutil.Encode(order.Sign)) {
		t.Errorf("posted %q, want the order with its old signature", posted)
	}
	w.check(1)
}

func closedOutside(t *testing.T, g *ground) {
	w := g.world(t)
	w.different = true
	w.write(anApp + anOrder)
	w.apply()
	hash, order := w.order()
	data, err := poco.PackManageOrder(poco.AppOrder, order.Order, poco.OpClose, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nettest.Send(t, w.net, w.account.Key, w.net.Info().Hub, data); err != nil {
		t.Fatal(err)
	}
	w.caughtUp()
	// Who closes an order doesn't want it sold: it counts whole, and nothing is offered in its place.
	w.run(0, "plan", "--detailed-exitcode").tells("order " + hash + " is closed on chain, not by this project")
	w.write(anApp + strings.Replace(anOrder, "1000", "1200", 1))
	w.changes().tells("sign order", "!"+"sign order "+hash)
	w.apply()
	if rows := w.rows(); len(rows) != 1 || rows[0].Remaining.Int64() != 200 || rows[0].OrderHash.Hex() == hash {
		t.Errorf("rows %v, want a new order of 200", rows)
	}
	w.check(2)
}

func givenAway(t *testing.T, g *ground) {
	w := g.world(t)
	second := strings.Replace(strings.Replace(anOrder, `"o"`, `"p"`, 1), "0.5", "0.6", 1)
	w.write(anApp + anOrder + second)
	w.apply()
	stranger := nettest.NewAccount(t, w.net, int(g.accounts.Add(1)))
	app := w.app("iexec_app.a")
	nettest.Transfer(t, w.net, app, w.account.Key, stranger.Address)
	w.caughtUp()
	w.market.Reset()
	before := string(w.file("iexecform.state.json"))
	for _, run := range []result{w.run(1, "plan"), w.fail()} {
		run.tells("wallet "+w.account.Address.Hex()+" is no longer the owner", "iexec_apporder.o", "iexec_apporder.p", "belongs to "+stranger.Address.Hex())
	}
	if w.market.Count("POST ")+w.market.Count("PUT ") != 0 || w.sent() != 2 || string(w.file("iexecform.state.json")) != before {
		t.Error("something was signed, sent or written")
	}
	// It comes back.
	nettest.Transfer(t, w.net, app, stranger.Key, w.account.Address)
	w.caughtUp()
	w.apply()
	w.check(2)
}

// marketDown has the market say that it will be back much later, so that nobody waits for it.
func marketDown(t *testing.T, g *ground) {
	w := g.world(t)
	w.write(anApp + anOrder)
	w.market.Set(faultproxy.Rule{Fault: faultproxy.Status(http.StatusServiceUnavailable, 3600)})
	// The chain part is planned nevertheless, and with the flag all of it.
	w.run(1, "plan").tells("iexec_app.a will be created", "!iexec_apporder.o will be created", "This plan is incomplete", "503", "give --refresh=market=false")
	w.run(2, "plan", "--refresh=market=false", "--detailed-exitcode", "--out=planned").tells("iexec_app.a will be created", "iexec_apporder.o will be created", "the market was not asked")
	w.market.Reset()
	w.run(1, "apply", "planned").tells("publish failed", "503")
	if w.sent() != 1 || len(w.rows()) != 0 {
		t.Errorf("%d transactions, %d orders; want the app, and no order", w.sent(), len(w.rows()))
	}
	hash, order := w.order()
	if len(order.Sign) != 65 {
		t.Errorf("signature %x", order.Sign)
	}
	// What is left is to publish, with the same signature, while it is down and afterwards.
	w.run(2, "plan", "--refresh=market=false", "--detailed-exitcode").tells("publish order "+hash, "!sign order", "!deploy app")
	w.run(1, "apply", "--refresh=market=false", "--auto-approve").tells("publish failed")
	var posted []string
	w.market.Set(faultproxy.Rule{Match: "POST /apporders", Fault: bodies(&posted, pass)})
	w.changes().tells("publish order "+hash, "!sign order", "!deploy app")
	w.apply()
	if len(posted) != 1 || !strings.Contains(posted[0], hexutil.Encode(order.Sign)) {
		t.Errorf("posted %q, want the order as it was signed", posted)
	}
	// An outage changes nothing about what is there.
	w.market.Set(faultproxy.Rule{Fault: faultproxy.Status(http.StatusServiceUnavailable, 3600)})
	w.run(0, "plan", "--refresh=market=false", "--detailed-exitcode")
	w.run(1, "plan")
	w.check(1)
}
