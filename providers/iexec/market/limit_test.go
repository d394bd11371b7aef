package market_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/sync/errgroup"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/localnet/orderbook"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// A limited market is the local network's, behind the limit of the real one, whose clock is that of the test's bubble.
type limited struct {
	http.Handler
	requests atomic.Int64
	refused  atomic.Int64
}

func newLimited(url string, limit orderbook.RateLimit) *limited {
	direct := &http.Transport{DisableKeepAlives: true} // idle connections would keep time from passing
	return &limited{Handler: limit.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := r.Clone(r.Context())
		out.URL.Scheme, out.URL.Host, out.Host, out.RequestURI = "http", url, url, ""
		resp, err := direct.RoundTrip(out)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))}
}

func (l *limited) RoundTrip(r *http.Request) (*http.Response, error) {
	l.requests.Add(1)
	from := r.Clone(r.Context())
	from.RemoteAddr = "192.0.2.1:1234"
	answer := httptest.NewRecorder()
	l.ServeHTTP(answer, from)
	answer.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if answer.Code == http.StatusTooManyRequests {
		l.refused.Add(1)
	}
	return answer.Result(), nil
}

// publish publishes orders from number to number, sixteen at a time as an apply does, in a bubble.
func (g *ground) publish(ctx context.Context, c *market.Client, from, to int) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(16)
	for i := from; i < to; i++ {
		all.Go(func() error {
			o, _, sign := g.order(i, common.Address{})
			_, err := c.Publish(ctx, poco.AppOrder, o, sign, g.me)
			return err
		})
	}
	return all.Wait()
}

func (g *ground) inBubble(l *limited) *market.Client {
	g.t.Helper()
	c, err := market.New("http://market.example", nettest.Chain(g.net).Domain(), market.Options{HTTPClient: &http.Client{Transport: l}})
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

// At the market's default limits orders are published without one refusal, as fast as the limit allows, and what is said in
// advance is true.
func TestLimit(t *testing.T) {
	g := newGround(t, func(o *localnet.Options) { o.MaxOpenOrders = -1 })
	number := 0
	for _, test := range []struct {
		orders int
		took   time.Duration // without what the requests themselves take
		limit  orderbook.RateLimit
	}{
		{orders: 40, took: 0},
		{orders: 300, took: 6 * time.Minute},
		{orders: 30, took: 12 * time.Second, limit: orderbook.RateLimit{Max: 10, Period: 2 * time.Second}},
	} {
		t.Run(fmt.Sprint(test.orders), func(t *testing.T) {
			from := number
			number += test.orders
			synctest.Test(t, func(t *testing.T) {
				l := newLimited(g.net.Info().MarketURL[len("http://"):], test.limit)
				c := g.inBubble(l)
				if _, err := c.Version(t.Context()); err != nil { // so that the limit is known
					t.Fatal(err)
				}
				requests, estimate := c.Estimate(test.orders)
				var waits []time.Duration
				var mu sync.Mutex
				ctx := market.WithWait(t.Context(), func(d time.Duration) {
					mu.Lock()
					defer mu.Unlock()
					waits = append(waits, d)
				})
				start := time.Now()
				if err := g.publish(ctx, c, from, from+test.orders); err != nil {
					t.Fatal(err)
				}
				took := time.Since(start)
				t.Logf("%d orders: %d requests (estimated %d, ideal %d), %d of them answered 429; %v of waiting (estimated %v) in %d waits",
					test.orders, l.requests.Load(), requests, 2*test.orders, l.refused.Load(), took, estimate, len(waits))
				if n := l.refused.Load(); n != 0 {
					t.Errorf("%d requests were refused", n)
				}
				// Which orders are looked up by one listing depends on who comes first, so a few more may be needed.
				if n, ideal := int(l.requests.Load()), 2*test.orders; n-requests > 10 || requests > ideal+ideal/20 {
					t.Errorf("%d requests, estimated as %d; ideal is %d", n, requests, ideal)
				}
				windows := time.Duration(len(waits)) * time.Second // the market's clock has whole seconds
				if took < test.took || took > test.took+windows || estimate != test.took {
					t.Errorf("took %v, estimated as %v, want %v", took, estimate, test.took)
				}
			})
			rows, err := g.c.ListByOwner(t.Context(), poco.AppOrder, g.me.Address())
			if err != nil || len(rows) != number {
				t.Errorf("%d orders are open, want %d; %v", len(rows), number, err)
			}
		})
	}
}

// Who shares the limit with others is refused now and then, waits, and goes on.
func TestLimitShared(t *testing.T) {
	g := newGround(t, func(o *localnet.Options) { o.MaxOpenOrders = -1 })
	synctest.Test(t, func(t *testing.T) {
		l := newLimited(g.net.Info().MarketURL[len("http://"):], orderbook.RateLimit{})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var others sync.WaitGroup
		others.Go(func() {
			for tick := time.Tick(time.Second); ctx.Err() == nil; <-tick {
				r := httptest.NewRequest(http.MethodGet, "/version", nil)
				r.RemoteAddr = "192.0.2.1:1234"
				l.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
		start := time.Now()
		if err := g.publish(t.Context(), g.inBubble(l), 0, 100); err != nil {
			t.Fatal(err)
		}
		stop()
		others.Wait()
		t.Logf("100 orders took %v, %d of %d requests were refused", time.Since(start), l.refused.Load(), l.requests.Load())
		if took := time.Since(start); took > 8*time.Minute || l.refused.Load() > 100 {
			t.Errorf("took %v, %d requests were refused", took, l.refused.Load())
		}
	})
}

// A run that is interrupted anywhere is gone on with by another: each order is there once.
func TestLimitInterrupted(t *testing.T) {
	g := newGround(t, func(o *localnet.Options) { o.MaxOpenOrders = -1 })
	synctest.Test(t, func(t *testing.T) {
		l := newLimited(g.net.Info().MarketURL[len("http://"):], orderbook.RateLimit{})
		for _, patience := range []time.Duration{time.Second, 61 * time.Second, 119 * time.Second, time.Hour} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			err := g.publish(ctx, g.inBubble(l), 0, 150)
			cancel()
			if patience == time.Hour && err != nil || patience < time.Hour && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("after %v: %v", patience, err)
			}
		}
		if n := l.refused.Load(); n > 3*16 { // a run begins without knowing what is left of the window
			t.Errorf("%d requests were refused", n)
		}
	})
	rows, err := g.c.ListByOwner(t.Context(), poco.AppOrder, g.me.Address())
	if err != nil || len(rows) != 150 {
		t.Errorf("%d orders, %v", len(rows), err)
	}
}
