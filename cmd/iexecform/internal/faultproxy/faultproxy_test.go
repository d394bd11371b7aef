package faultproxy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
)

// counter is a server whose every answer is one more: to JSON-RPC calls, and to anything else.
func counter(t *testing.T) (url string, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var calls []struct{ ID json.RawMessage }
		var one struct{ ID json.RawMessage }
		body, _ := io.ReadAll(r.Body)
		switch {
		case json.Unmarshal(body, &calls) == nil:
			var answers []string
			for _, c := range calls {
				answers = append(answers, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%d}`, c.ID, asked.Add(1)))
			}
			_, _ = fmt.Fprintf(w, "[%s]", strings.Join(answers, ","))
		case json.Unmarshal(body, &one) == nil && one.ID != nil:
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%d}`, one.ID, asked.Add(1))
		default:
			_, _ = fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.RequestURI(), asked.Add(1))
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func start(t *testing.T, seed uint64) (*faultproxy.Proxy, *atomic.Int64) {
	url, asked := counter(t)
	p := faultproxy.New(url, seed)
	t.Cleanup(p.Close)
	return p, asked
}

// post returns the answer, or the error and "".
func post(p *faultproxy.Proxy, body string) (string, error) {
	return read(http.Post(p.URL(), "application/json", bytes.NewReader([]byte(body))))
}

func read(resp *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s, Retry-After %s", resp.Status, resp.Header.Get("Retry-After"))
	}
	return string(text), err
}

func call(method string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":[]}`, method)
}

func result(n int) string { return fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"result":%d}`, n) }

func TestFaults(t *testing.T) {
	var killed atomic.Int64
	kill := func() { killed.Add(1) }
	for _, test := range []struct {
		name  string
		fault faultproxy.Fault
		want  string // the answer, or what the error holds
		asked int64  // requests that reached the server
	}{
		{"drop", faultproxy.Drop(kill), "EOF", 0},
		{"cut", faultproxy.Cut(kill), "EOF", 1},
		{"before", faultproxy.Before(kill), result(1), 1},
		{"after", faultproxy.After(kill), result(1), 1},
		{"delay", faultproxy.Delay(1), result(1), 1},
		{"twice", faultproxy.Twice(), result(2), 2},
		{"truncate", faultproxy.Truncate(), "unexpected EOF", 1},
		{"status", faultproxy.Status(429, 3), "429 Too Many Requests, Retry-After 3", 0},
		{"reply", faultproxy.Always("a", `"result":null`), `{"jsonrpc":"2.0","id":7,"result":null}`, 0},
		{"reply to another", faultproxy.Always("b", `"result":null`), result(1), 1},
		{"stale, never asked before", faultproxy.Stale(), result(1), 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, asked := start(t, 0)
			killed.Store(0)
			p.Set(faultproxy.Rule{Match: "a", Fault: test.fault})
			got, err := post(p, call("a"))
			if err != nil {
				got = err.Error()
			}
			if strings.TrimSpace(got) != test.want && (err == nil || !strings.Contains(got, test.want)) {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if asked.Load() != test.asked {
				t.Errorf("the server was asked %d times, want %d", asked.Load(), test.asked)
			}
			if calls := map[string]int64{"drop": 1, "cut": 1, "before": 1, "after": 1}[test.name]; killed.Load() != calls {
				t.Errorf("the function was called %d times, want %d", killed.Load(), calls)
			}
		})
	}
}

func TestRules(t *testing.T) {
	p, _ := start(t, 0)
	get := func(path string) string {
		text, err := read(http.Get(p.URL() + path))
		if err != nil {
			return "failed"
		}
		return text
	}
	p.Set(
		faultproxy.Rule{Match: "a", With: `"id":7`, Skip: 1, Times: 1, Fault: faultproxy.Status(500, 0)},
		faultproxy.Rule{Match: "a", With: `"id":8`, Fault: faultproxy.Status(500, 0)},
		faultproxy.Rule{Match: "GET /orders", Times: 1, Fault: faultproxy.Status(500, 0)},
	)
	for i, wants := range []bool{true, false, true} {
		if _, err := post(p, call("a")); (err == nil) != wants {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if _, err := post(p, call("b")); err != nil {
		t.Errorf("another method: %v", err)
	}
	if _, err := post(p, `[`+call("b")+`,`+call("a")+`]`); err != nil {
		t.Errorf("a batch after the rule is used up: %v", err)
	}
	if got := get("/other") + get("/orders/1?x=2") + get("/orders/1?x=2"); got != "GET /other 6failedGET /orders/1?x=2 7" {
		t.Errorf("got %s", got)
	}
	if a, b, pages, all := p.Count("a"), p.Count("b"), p.Count("GET /orders"), p.Requests(); a != 4 || b != 2 || pages != 2 || all != 8 {
		t.Errorf("counted %d of a, %d of b, %d pages, %d requests", a, b, pages, all)
	}
	p.Set()
	p.Reset()
	if _, err := post(p, call("a")); err != nil || p.Count("a") != 1 {
		t.Errorf("without rules: %v, %d", err, p.Count("a"))
	}
}

// Calls of one batch get different answers, each with its id.
func TestBatch(t *testing.T) {
	p, _ := start(t, 0)
	p.Set(faultproxy.Rule{Fault: faultproxy.Always("a", `"error":{"code":-32000,"message":"no"}`)})
	got, err := post(p, `[{"jsonrpc":"2.0","id":1,"method":"b","params":[]},{"jsonrpc":"2.0","id":2,"method":"a","params":[]},{"jsonrpc":"2.0","id":3,"method":"b","params":[]}]`)
	want := `[{"jsonrpc":"2.0","id":1,"result":1},{"jsonrpc":"2.0","id":2,"error":{"code":-32000,"message":"no"}},{"jsonrpc":"2.0","id":3,"result":2}]`
	if got != want || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestStale(t *testing.T) {
	p, _ := start(t, 0)
	first, _ := post(p, call("a"))
	page, _ := read(http.Get(p.URL() + "/x"))
	p.Set(faultproxy.Rule{Fault: faultproxy.Stale()})
	if got, err := post(p, `[{"jsonrpc":"2.0","id":9,"method":"a","params":[]},{"jsonrpc":"2.0","id":10,"method":"c","params":[]}]`); err != nil || got != `[{"id":9,"jsonrpc":"2.0","result":1},{"jsonrpc":"2.0","id":10,"result":3}]` {
		t.Errorf("after %s: %s, %v", first, got, err)
	}
	if again, err := read(http.Get(p.URL() + "/x")); err != nil || again != page {
		t.Errorf("page %s and then %s, %v", page, again, err)
	}
}

// The same seed fails the same requests, whatever comes between; another seed fails others.
func TestRandom(t *testing.T) {
	failures := func(seed uint64, between bool) (pattern string) {
		p, _ := start(t, seed)
		p.Set(faultproxy.Rule{Match: "a", Share: 0.3, Fault: faultproxy.Drop(nil)})
		for range 200 {
			if _, err := post(p, call("a")); err != nil {
				pattern += "x"
			} else {
				pattern += "."
			}
			if between {
				_, _ = post(p, call("b"))
			}
		}
		return pattern
	}
	one := failures(1, false)
	if n := strings.Count(one, "x"); n < 30 || n > 90 {
		t.Errorf("%d of 200 failed, want about 60", n)
	}
	if other := failures(1, true); other != one {
		t.Errorf("the same seed:\n%s\n%s", one, other)
	}
	if other := failures(2, false); other == one {
		t.Error("another seed fails the same requests")
	}
}
