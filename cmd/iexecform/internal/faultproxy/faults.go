package faultproxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Delay waits before it passes the request on.
func Delay(d time.Duration) Fault {
	return func(x *Exchange) {
		time.Sleep(d)
		x.Answer(x.Forward())
	}
}

// Drop closes the connection without passing the request on, after f, which may be nil.
func Drop(f func()) Fault {
	return func(x *Exchange) {
		if f != nil {
			f()
		}
		x.Cut()
	}
}

// Cut passes the request on and closes the connection without an answer, after f, which may be nil.
func Cut(f func()) Fault {
	return func(x *Exchange) {
		x.Forward()
		if f != nil {
			f()
		}
		x.Cut()
	}
}

// Before calls f, and then passes the request on.
func Before(f func()) Fault {
	return func(x *Exchange) {
		f()
		x.Answer(x.Forward())
	}
}

// After passes the request on, and calls f before the answer is given.
func After(f func()) Fault {
	return func(x *Exchange) {
		a := x.Forward()
		f()
		x.Answer(a)
	}
}

// Twice passes the request on twice, and gives the second answer.
func Twice() Fault {
	return func(x *Exchange) {
		x.Forward()
		x.Answer(x.Forward())
	}
}

// Truncate passes the request on and ends in the middle of the answer.
func Truncate() Fault {
	return func(x *Exchange) {
		a := x.Forward()
		if a == nil {
			x.Cut()
		}
		x.w.Header().Set("Content-Type", a.Header.Get("Content-Type"))
		x.w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
		x.w.WriteHeader(a.Status)
		_, _ = x.w.Write(a.Body[:len(a.Body)/2])
		_ = http.NewResponseController(x.w).Flush() // the client may be gone
		x.Cut()
	}
}

// Status answers with an HTTP status and a line of text. retryAfter is in seconds; 0: not said.
func Status(code, retryAfter int) Fault {
	return func(x *Exchange) {
		a := &Answer{Status: code, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte(http.StatusText(code) + "\n")}
		if retryAfter > 0 {
			a.Header.Set("Retry-After", strconv.Itoa(retryAfter))
		}
		x.Answer(a)
	}
}

// Stale answers as the server first did, to calls and GET requests that it has answered before; others are passed on.
func Stale() Fault {
	return func(x *Exchange) {
		p := x.proxy
		if x.Calls == nil {
			p.mu.Lock()
			page := p.pages[x.request.URL.RequestURI()]
			p.mu.Unlock()
			if page == nil {
				page = x.Forward()
			}
			x.Answer(page)
			return
		}
		x.reply(func(c Call) json.RawMessage {
			p.mu.Lock()
			defer p.mu.Unlock()
			return withID(p.first[c.key()], c.ID)
		})
	}
}

// Reply answers calls itself: answer returns the members of the answer, such as `"result":null`, or "" to pass the call on.
func Reply(answer func(c Call) string) Fault {
	return func(x *Exchange) {
		x.reply(func(c Call) json.RawMessage {
			members := answer(c)
			if members == "" {
				return nil
			}
			return json.RawMessage(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,%s}`, c.ID, members))
		})
	}
}

// Always answers calls with members such as `"result":null`, those of the method only if it isn't "".
func Always(method, members string) Fault {
	return Reply(func(c Call) string {
		if method != "" && c.Method != method {
			return ""
		}
		return members
	})
}

// reply answers some calls and passes the rest on.
func (x *Exchange) reply(answer func(Call) json.RawMessage) {
	if x.Calls == nil {
		x.Answer(x.Forward())
		return
	}
	answers := make([]json.RawMessage, len(x.Calls))
	var rest []json.RawMessage
	for i, c := range x.Calls {
		if answers[i] = answer(c); answers[i] == nil {
			rest = append(rest, c.Raw)
		}
	}
	a := &Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}}
	if len(rest) > 0 {
		body := []byte(rest[0])
		if x.batch {
			body = marshal(rest)
		}
		if a = x.forward(body); a == nil || a.Status != http.StatusOK {
			x.Answer(a)
			return
		}
		byID := results(a.Body)
		for i, c := range x.Calls {
			if answers[i] == nil {
				answers[i] = byID[string(c.ID)]
			}
		}
	}
	if a.Body = bytes.TrimSpace(answers[0]); x.batch {
		a.Body = marshal(answers)
	}
	x.Answer(a)
}

// withID is an answer to another call.
func withID(answer, id json.RawMessage) json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(answer, &members) != nil {
		return nil
	}
	members["id"] = id
	return marshal(members)
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // made of what was read as JSON
	}
	return b
}
