package localnet

import (
	"net"
	"net/http"
	"net/url"
)

// local keeps web pages of others out: a browser on this machine reaches the loopback interface, too, for any page that it shows.
// The Host header must be of this machine, so that a name that somebody points here isn't served, and the Origin, where there
// is one, as well.
func local(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		u, err := url.Parse(origin)
		if !isLocal(r.Host) || origin != "" && (err != nil || !isLocal(u.Host)) {
			http.Error(w, "the local network serves programs and pages of this machine only", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// isLocal reports whether host, or host:port, is this machine by its loopback interface.
func isLocal(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
