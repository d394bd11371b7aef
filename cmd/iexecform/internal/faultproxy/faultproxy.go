// Package faultproxy stands between a client and an HTTP server, in tests, and does to their exchanges what networks do.
//
// A rule says which requests it is for, which of these by count, and what fault they get. The first rule that takes a
// request decides; without one the request is passed on. The body of a request is read as JSON-RPC if it is, so that a rule
// can name a method; a batch is one request, and matches if one of its calls does. Random faults depend on the seed, the
// request's name and how many of that name came before, and so not on the order in which requests of different names arrive.
package faultproxy

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
)

// Rule gives a fault to some requests.
type Rule struct {
	// Match names the requests: a JSON-RPC method, or an HTTP method and the beginning of a path, "POST /apporders";
	// "" is every request.
	Match string
	With  string  // a text that the request's body must hold; "": any
	Skip  int     // matching requests that are let through first
	Times int     // how many get the fault after these; 0: all
	Share float64 // of these, at random; 0: each
	Fault Fault
}

// Fault deals with one request: it answers it, or not.
type Fault func(x *Exchange)

// Proxy is a server before another one. It is safe for concurrent use.
type Proxy struct {
	server *httptest.Server
	target string
	client *http.Client
	seed   uint64

	mu       sync.Mutex
	rules    []*rule
	requests int
	seen     map[string]int             // requests, by name
	first    map[string]json.RawMessage // answers to calls as they were first given; see Stale
	pages    map[string]*Answer         // the same of GET requests
}

type rule struct {
	Rule
	matched, treated int
}

// New starts a proxy on a free port of the loopback interface; target is the server's URL without a path.
func New(target string, seed uint64) *Proxy {
	p := &Proxy{
		target: target, seed: seed, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}},
		seen: map[string]int{}, first: map[string]json.RawMessage{}, pages: map[string]*Answer{},
	}
	p.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p.server = httptest.NewServer(p)
	return p
}

// Close ends the proxy, and the connections that it has.
func (p *Proxy) Close() {
	p.server.CloseClientConnections()
	p.server.Close()
	p.client.CloseIdleConnections()
}

// URL is where the proxy listens.
func (p *Proxy) URL() string { return p.server.URL }

// Host is the address of URL, as host:port.
func (p *Proxy) Host() string { return p.server.Listener.Addr().String() }

// Set replaces all rules. Their counts begin anew.
func (p *Proxy) Set(rules ...Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
	for _, r := range rules {
		p.rules = append(p.rules, &rule{Rule: r})
	}
}

// Requests is how many HTTP requests came since the last Reset.
func (p *Proxy) Requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// Count is how many JSON-RPC calls of a method came since the last Reset, or requests whose HTTP method and path begin so.
func (p *Proxy) Count(match string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, count := range p.seen {
		if matches(match, name) {
			n += count
		}
	}
	return n
}

// Reset counts anew, and forgets what Stale repeats.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = 0
	clear(p.seen)
	clear(p.first)
	clear(p.pages)
}

// matches reports whether a name is meant: an HTTP method with a path by its beginning.
func matches(match, name string) bool {
	return match == "" || match == name || strings.Contains(match, " ") && strings.HasPrefix(name, match)
}

// ServeHTTP passes a request on, or does to it what a rule says.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	x := &Exchange{proxy: p, w: w, request: r, Body: body}
	x.Calls, x.batch = parse(body)
	if fault := p.take(x); fault != nil {
		fault(x)
		return
	}
	x.Answer(x.Forward())
}

// take counts a request and finds what is to be done with it.
func (p *Proxy) take(x *Exchange) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	names := x.names()
	before := p.seen[names[0]]
	for _, name := range names {
		p.seen[name]++
	}
	for _, r := range p.rules {
		if !slices.ContainsFunc(names, func(name string) bool { return matches(r.Match, name) }) || !bytes.Contains(x.Body, []byte(r.With)) {
			continue
		}
		r.matched++
		if r.matched <= r.Skip || r.Times > 0 && r.treated == r.Times {
			continue
		}
		if r.Share > 0 && p.random(names[0], before) >= r.Share {
			continue
		}
		r.treated++
		return r.Fault
	}
	return nil
}

// random is a number from 0 to 1 for the n-th request of a name.
func (p *Proxy) random(name string, n int) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return rand.New(rand.NewPCG(p.seed, h.Sum64()+uint64(n))).Float64()
}

// Exchange is one request and its answer to be.
type Exchange struct {
	Body    []byte
	Calls   []Call // of JSON-RPC; none if it is something else
	batch   bool
	proxy   *Proxy
	w       http.ResponseWriter
	request *http.Request
}

// Call is one JSON-RPC call.
type Call struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Raw    json.RawMessage `json:"-"` // as it was sent
}

// Answer is what a server says. Body is whole.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

func parse(body []byte) (calls []Call, batch bool) {
	var raw []json.RawMessage
	if batch = json.Unmarshal(body, &raw) == nil; !batch {
		raw = []json.RawMessage{body}
	}
	for _, r := range raw {
		c := Call{Raw: r}
		if json.Unmarshal(r, &c) != nil || c.Method == "" || c.ID == nil {
			return nil, false
		}
		calls = append(calls, c)
	}
	return calls, batch
}

// names is what rules can call the request, at least one.
func (x *Exchange) names() (names []string) {
	for _, c := range x.Calls {
		names = append(names, c.Method)
	}
	if names == nil {
		names = []string{x.request.Method + " " + x.request.URL.RequestURI()}
	}
	return names
}

// Forward passes the request on and returns the answer; nil when there is none.
func (x *Exchange) Forward() *Answer { return x.forward(x.Body) }

func (x *Exchange) forward(body []byte) *Answer {
	// The client may be gone, killed for one, when the request is on its way: it arrives nevertheless.
	out, err := http.NewRequest(x.request.Method, x.proxy.target+x.request.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil
	}
	out.Header = x.request.Header.Clone()
	out.Header.Del("Accept-Encoding") // answers are read here
	resp, err := x.proxy.client.Do(out)
	if err != nil {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	a := &Answer{Status: resp.StatusCode, Header: resp.Header.Clone()}
	if a.Body, err = io.ReadAll(resp.Body); err != nil {
		return nil
	}
	a.Header.Del("Content-Length")
	x.remember(a)
	return a
}

// Answer gives the client an answer; nil cuts the connection.
func (x *Exchange) Answer(a *Answer) {
	if a == nil {
		x.Cut()
		return
	}
	for name, values := range a.Header {
		x.w.Header()[name] = values
	}
	x.w.WriteHeader(a.Status)
	_, _ = x.w.Write(a.Body) // the client may be gone
}

// Cut closes the connection without a word.
func (x *Exchange) Cut() {
	panic(http.ErrAbortHandler) // how net/http wants it said; it is not logged
}

// results reads the answers to calls by their ids.
func results(body []byte) map[string]json.RawMessage {
	var list []json.RawMessage
	if json.Unmarshal(body, &list) != nil {
		list = []json.RawMessage{body}
	}
	byID := map[string]json.RawMessage{}
	for _, raw := range list {
		var id struct{ ID json.RawMessage }
		if json.Unmarshal(raw, &id) == nil {
			byID[string(id.ID)] = raw
		}
	}
	return byID
}

// remember keeps first answers.
func (x *Exchange) remember(a *Answer) {
	p := x.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if x.Calls == nil {
		if uri := x.request.URL.RequestURI(); x.request.Method == http.MethodGet && p.pages[uri] == nil {
			p.pages[uri] = a
		}
		return
	}
	byID := results(a.Body)
	for _, c := range x.Calls {
		if answer, ok := byID[string(c.ID)]; ok && p.first[c.key()] == nil {
			p.first[c.key()] = answer
		}
	}
}

func (c Call) key() string { return c.Method + string(c.Params) }
