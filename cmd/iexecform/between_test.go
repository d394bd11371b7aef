package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"
)

// between makes the command between NAME URL PATTERN ANSWER: it sets NAME to the address of a server that hands JSON-RPC calls
// on to the URL, but answers those that match the pattern itself, with the members ANSWER such as "result":null.
func between(ts *testscript.TestScript, _ bool, args []string) {
	name, to, pattern, answer := args[0], args[1], regexp.MustCompile(args[2]), args[3]
	reply := func(call json.RawMessage) (json.RawMessage, error) {
		if pattern.Match(call) {
			var id struct{ ID json.RawMessage }
			err := json.Unmarshal(call, &id)
			return json.RawMessage(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,%s}`, id.ID, answer)), err
		}
		resp, err := http.Post(to, "application/json", bytes.NewReader(call))
		if err != nil {
			return nil, err
		}
		defer func() { _ = resp.Body.Close() }()
		return io.ReadAll(resp.Body)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var calls []json.RawMessage
		single := json.Unmarshal(body, &calls) != nil
		if single {
			calls = []json.RawMessage{body}
		}
		for i := range calls {
			if err == nil {
				calls[i], err = reply(calls[i])
			}
		}
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if single {
			_, _ = w.Write(calls[0])
			return
		}
		_ = json.NewEncoder(w).Encode(calls)
	}))
	ts.Defer(server.Close)
	ts.Setenv(name, server.URL)
}
