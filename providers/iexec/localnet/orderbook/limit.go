package orderbook

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// RateLimit is how many requests a client may make in each fixed window, which starts with its first request. The zero
// value is the market's default, 100 in 60 s, and exempts loopback clients, as the market does; with Max set, loopback
// clients count too.
type RateLimit struct {
	Max    int
	Period time.Duration
}

// limiter counts requests by client address.
type limiter struct {
	max      int
	period   time.Duration
	loopback bool // whether loopback clients are exempt

	mu      sync.Mutex
	clients map[string]*window
}

type window struct {
	ends  time.Time
	count int
}

// Handler puts the limit before next. It counts every request, whatever its path. Counted answers have X-RateLimit headers,
// refused and others alike.
func (r RateLimit) Handler(next http.Handler) http.Handler {
	l := &limiter{max: r.Max, period: r.Period, loopback: r.Max == 0, clients: map[string]*window{}}
	if l.max == 0 {
		l.max = 100
	}
	if l.period == 0 {
		l.period = time.Minute
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		if ip := net.ParseIP(host); l.loopback && ip.IsLoopback() {
			next.ServeHTTP(w, r)
			return
		}
		for _, header := range []string{"X-Forwarded-For", "X-Real-IP"} {
			if v := r.Header.Get(header); v != "" {
				host = v
			}
		}
		remaining, ends := l.count(host, time.Now())
		w.Header().Set("X-RateLimit-Limit", strconv.Itoa(l.max))
		w.Header().Set("X-RateLimit-Remaining", strconv.Itoa(max(remaining, 0)))
		w.Header().Set("X-RateLimit-Reset", strconv.FormatFloat(float64(ends.UnixMicro())/1e6, 'f', -1, 64))
		if remaining >= 0 {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Retry-After", fmt.Sprint(int(time.Until(ends).Seconds()))) // truncated: up to a second early
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write(object("ok", false, "error", "Rate limit exceeded"))
	})
}

// count counts one request and returns how many are left, negative if it is one too many.
func (l *limiter) count(client string, now time.Time) (remaining int, ends time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.clients[client]
	if c == nil || now.After(c.ends) {
		c = &window{ends: now.Add(l.period)}
		l.clients[client] = c
	}
	c.count++
	return l.max - c.count, c.ends
}
