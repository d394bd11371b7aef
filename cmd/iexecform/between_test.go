package main

import (
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
)

// between makes the command between NAME URL PATTERN ANSWER: it sets NAME to the address of a server that hands JSON-RPC calls
// on to the URL, but answers those that match the pattern itself, with the members ANSWER such as "result":null.
func between(ts *testscript.TestScript, _ bool, args []string) {
	name, to, pattern, answer := args[0], args[1], regexp.MustCompile(args[2]), args[3]
	proxy := faultproxy.New(to, 0)
	ts.Defer(proxy.Close)
	proxy.Set(faultproxy.Rule{Fault: faultproxy.Reply(func(c faultproxy.Call) string {
		if pattern.Match(c.Raw) {
			return answer
		}
		return ""
	})})
	ts.Setenv(name, proxy.URL())
}
