package market

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// The market takes so many requests in each fixed window, which begins with its first request, and says in every answer how
// many are left and when the window ends. Policy: the client counts along, so that it never asks for more than the window
// takes, and begins a new window when the old one has ended by the market's own clock. A client that knows nothing yet, or
// shares its address with others, may be answered 429 all the same; then nothing is sent for one second more than Retry-After,
// which is truncated. (A token bucket would be slower and still be refused: it may spend a burst and a minute's worth of
// tokens within one window.)

// limit counts requests. The zero value knows of no limit.
type limit struct {
	mu     sync.Mutex
	most   int           // in a window; 0: nothing known
	left   int           // that the present window takes, without those under way
	flying int           // requests under way
	reset  float64       // when the window ends by the market's clock, in Unix seconds: tells windows apart
	until  time.Time     // the same by this machine's, at the latest; zero: the window has begun, or will, with a request under way
	told   bool          // somebody was told that its end is waited for
	period time.Duration // from beginning to end of a window, as last seen; 0: never
	change chan struct{} // closed at the next change; nil: nobody waits
}

type waitKey struct{}

// WithWait returns a context with which requests call f before they wait for the end of a window, once a window, with how long
// it takes.
func WithWait(ctx context.Context, f func(time.Duration)) context.Context {
	return context.WithValue(ctx, waitKey{}, f)
}

// wait returns when a request may be sent, and counts it. The caller must call update, or failed if there is no answer.
func (l *limit) wait(ctx context.Context) error {
	for {
		change, left, tell := l.take()
		if change == nil {
			return nil
		}
		if f, ok := ctx.Value(waitKey{}).(func(time.Duration)); ok && tell {
			f(left)
		}
		timer := time.NewTimer(left)
		select {
		case <-change:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// take counts a request that may be sent, and returns nil; or else what to wait for, at most so long, and whether to tell.
func (l *limit) take() (change <-chan struct{}, left time.Duration, tell bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !l.until.IsZero() && !now.Before(l.until) {
		l.until, l.left, l.told = time.Time{}, l.most-l.flying, false
	}
	if l.left > 0 || l.most == 0 && l.until.IsZero() {
		l.left--
		l.flying++
		return nil, 0, false
	}
	if l.change == nil {
		l.change = make(chan struct{})
	}
	if l.until.IsZero() {
		return l.change, time.Hour, false // no answer takes so long
	}
	tell, l.told = !l.told, true
	return l.change, l.until.Sub(now), tell
}

// changed lets those who wait look again. l.mu is held.
func (l *limit) changed() {
	if l.change != nil {
		close(l.change)
		l.change = nil
	}
}

// failed says that a request got no answer.
func (l *limit) failed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying--
	if l.until.IsZero() && l.flying == 0 {
		l.left = max(l.left, 1) // else nobody would ever tell
	}
	l.changed()
}

// update reads the X-RateLimit headers and Retry-After of an answer. The clocks may differ: the market's time is that of the
// Date header, which has whole seconds, so that the end of the window is at most a second late and never early.
func (l *limit) update(resp *http.Response, now time.Time) {
	const longest, rounding = 2 * time.Minute, 10 * time.Millisecond
	theirs := now
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		theirs = date
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying--
	defer l.changed()
	most, err := strconv.Atoi(resp.Header.Get("X-RateLimit-Limit"))
	if err == nil {
		l.most = max(most, 1)
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if err != nil {
			seconds = 5
		}
		l.until, l.left = now.Add(min(time.Duration(max(seconds, 0)+1)*time.Second, longest)), 0
		return
	}
	remaining, err := strconv.Atoi(resp.Header.Get("X-RateLimit-Remaining"))
	reset, rerr := strconv.ParseFloat(resp.Header.Get("X-RateLimit-Reset"), 64)
	if err != nil || rerr != nil || l.most == 0 {
		return
	}
	lasts := min(max(time.UnixMicro(int64(reset*1e6)).Sub(theirs), 0), longest)
	if remaining == l.most-1 {
		l.period = lasts.Truncate(time.Second)
	}
	switch end := now.Add(lasts + rounding); {
	case reset > l.reset+0.5: // a new window
		if l.until.IsZero() && l.reset > 0 {
			remaining = min(remaining, l.left)
		} else {
			remaining -= l.flying
		}
		l.reset, l.until, l.left = reset, end, remaining
	case reset > l.reset-0.5: // the same one
		l.left = min(l.left, remaining)
		if l.until.IsZero() || end.Before(l.until) {
			l.until = end
		}
	}
}

// estimate is how long so many requests, made from the beginning of a window, are held back.
func (l *limit) estimate(requests int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.most == 0 || requests == 0 {
		return 0
	}
	return time.Duration((requests-1)/l.most) * l.window()
}

// window is how long a window is: as seen, or the market's default.
func (l *limit) window() time.Duration { return cmp.Or(l.period, time.Minute) }
