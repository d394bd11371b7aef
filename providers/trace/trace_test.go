package trace_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/iexecform/iexecform/providers/trace"
)

// What may be secret isn't logged; what helps to find a fault is.
func TestTransport(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "answer-s3cret")
	}))
	defer server.Close()
	for _, hidden := range []trace.Secrets{nil, {"/the/path"}} {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: trace.Level}))
		client := &http.Client{Transport: trace.Transport(http.DefaultTransport, "market", hidden)}
		url := strings.Replace(server.URL, "://", "://user:user-s3cret@", 1) + "/the/path?key=query-s3cret"
		req, err := http.NewRequestWithContext(trace.With(t.Context(), log), http.MethodPost, url, strings.NewReader("body-s3cret"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "header-s3cret")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		server.Close()
		if _, err := client.Do(req); err == nil {
			t.Error("no error of a server that is gone")
		}
		text := out.String()
		if strings.Contains(text, "s3cret") {
			t.Errorf("there are secrets in the log:\n%s", text)
		}
		if strings.Contains(text, "/the/path") == (hidden != nil) {
			t.Errorf("with %v hidden:\n%s", hidden, text)
		}
		for _, want := range []string{"service=market", "method=POST", "status=418", "sent=11", "error="} {
			if !strings.Contains(text, want) {
				t.Errorf("no %s in\n%s", want, text)
			}
		}
		server = httptest.NewServer(server.Config.Handler)
	}
	server.Close()
}

func TestNoLogger(t *testing.T) {
	if log := trace.From(t.Context()); log.Enabled(t.Context(), slog.LevelError) {
		t.Error("without logger something is logged")
	}
}
