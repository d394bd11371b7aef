package oci_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/iexecform/iexecform/providers/oci"
)

// Plain HTTP is spoken on this machine only, whatever a name or an address looks like.
func TestPlainHTTPOnlyOnLoopback(t *testing.T) {
	for _, url := range []string{"http://registry.example/v2/", "http://10.0.0.1/v2/", "http://192.168.1.2:5000/v2/", "http://registry.local/v2/", "http://169.254.169.254/latest"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := oci.Transport().RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "plain HTTP is for registries on this machine only") {
			t.Errorf("%s: %v", url, err)
		}
	}
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := oci.Transport().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}
