package oci

import (
	"fmt"
	"net"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Transport carries requests to registries. Certificates are verified. Plain HTTP is spoken on the loopback interface only,
// whatever the library takes for a private network, and wherever a registry redirects to or says that tokens are: what would
// be pulled and the credentials of docker login would be open to anybody on the way.
func Transport() *SecureTransport {
	return &SecureTransport{remote.DefaultTransport.(*http.Transport).Clone()}
}

// SecureTransport is a transport that refuses plain HTTP to other machines.
type SecureTransport struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t *SecureTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if host := req.URL.Hostname(); req.URL.Scheme != "https" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return nil, fmt.Errorf("%s doesn't speak HTTPS, and plain HTTP is for registries on this machine only: anybody on the way could read "+
			"and change what is sent; have the registry speak HTTPS, with a certificate that this machine trusts", req.URL.Host)
	}
	return t.Transport.RoundTrip(req)
}
