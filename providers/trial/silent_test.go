package trial_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/iexecform/iexecform/providers/docker"
	"github.com/iexecform/iexecform/providers/trial"
)

// A standIn answers as an engine does, up to the request that the image's name says: it takes that, and never answers.
type standIn struct {
	silent  map[string]*atomic.Bool // by request: whether it was left without an answer
	removed map[string]*atomic.Bool // whether its container was removed
}

// requests of a trial, in order, and what a trial that they keep waiting says.
var requests = []struct{ name, path, says string }{
	{"inspect", "GET /images/", "look up"},
	{"create", "POST /containers/create", "create the container"},
	{"fill", "PUT /archive", "copy the input into the container"},
	{"attach", "POST /attach", "attach to the container"},
	{"wait", "POST /wait", "wait for the container"},
	{"start", "POST /start", "start the container"},
	{"kill", "POST /kill", "stop the container"},
	{"end", "", "wait for the container, which was killed"},
	{"state", "GET id-state/json", "look at the container"},
	{"prints", "", "read what the app prints"},
	{"changes", "GET /changes", "look for what the app changed"},
	{"output", "GET /archive", "copy the output out of the container"},
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path[strings.Index(r.URL.Path[1:], "/")+1:] // without the version of the API
	image := func(from string) string { return from[strings.LastIndex(from, "-")+1:] }
	var of string // the request that this trial is left alone with
	switch {
	case strings.HasPrefix(path, "/images/"):
		of = image(strings.TrimSuffix(strings.TrimSuffix(path, "/json"), ":latest"))
	case strings.HasPrefix(path, "/containers/create"):
		body, _ := io.ReadAll(r.Body)
		text, _, _ := strings.Cut(string(body)[strings.Index(string(body), "sha-"):], `"`)
		of = image(text)
	case strings.HasPrefix(path, "/containers/id-"):
		of = image(strings.Split(path, "/")[2])
	}
	for _, known := range requests {
		method, part, _ := strings.Cut(known.path, " ")
		if known.name == of && known.path != "" && r.Method == method && strings.Contains(path, part) {
			s.silent[of].Store(true)
			_, _ = io.Copy(io.Discard, r.Body) // else the server doesn't notice that the client is gone
			<-r.Context().Done()
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(path, "/version"):
		_, _ = io.WriteString(w, `{"Version": "1", "ApiVersion": "1.44"}`)
	case strings.HasPrefix(path, "/images/"):
		_, _ = fmt.Fprintf(w, `{"Id": "sha-%s", "Os": "linux", "Architecture": "amd64", "Config": {"Cmd": ["x"]}}`, of)
	case strings.HasPrefix(path, "/containers/create"):
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"Id": "id-%s"}`, of)
	case strings.HasSuffix(path, "/attach"):
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "tcp")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil && of == "prints" {
			s.silent[of].Store(true)
			_, _ = conn.Read(make([]byte, 1)) // until the client goes
		}
		if err == nil {
			_ = conn.Close()
		}
	case strings.HasSuffix(path, "/wait"):
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		if of == "kill" || of == "end" {
			s.silent[of].Store(true)
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, `{"StatusCode": 0}`)
	case strings.HasSuffix(path, "/json") && strings.Contains(path, "id-"):
		_, _ = io.WriteString(w, `{"State": {"ExitCode": 0}}`)
	case strings.HasSuffix(path, "/json"), strings.HasSuffix(path, "/changes"):
		_, _ = io.WriteString(w, `[]`)
	case strings.HasSuffix(path, "/archive") && r.Method == http.MethodGet:
		w.Header().Set("X-Docker-Container-Path-Stat", "e30=") // {}
		_ = tar.NewWriter(w).Close()
	case r.Method == http.MethodDelete:
		s.removed[of].Store(true)
		w.WriteHeader(http.StatusNoContent)
	default:
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
	}
}

// TestSilentEngine leaves trials without an answer at each request: they end all the same, and their container goes.
func TestSilentEngine(t *testing.T) {
	s := &standIn{map[string]*atomic.Bool{}, map[string]*atomic.Bool{}}
	for _, r := range requests {
		s.silent[r.name], s.removed[r.name] = new(atomic.Bool), new(atomic.Bool)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Setenv("DOCKER_HOST", "tcp://"+server.Listener.Addr().String())
	t.Setenv("DOCKER_CLIENT_TIMEOUT", "0.7")
	t.Run("requests", func(t *testing.T) {
		for n, r := range requests {
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				timeout := time.Hour
				if r.name == "kill" || r.name == "end" {
					timeout = time.Millisecond
				}
				_, err := trial.Run(t.Context(), trial.Spec{Image: "x/silent-" + r.name, Timeout: timeout})
				silent := (*docker.SilentError)(nil)
				if !errors.As(err, &silent) || !strings.Contains(err.Error(), r.says) || !strings.Contains(err.Error(), "DOCKER_CLIENT_TIMEOUT=SECONDS") {
					t.Errorf("error %v, want %q", err, r.says)
				}
				if strings.Contains(fmt.Sprint(err), "context") {
					t.Errorf("jargon: %v", err)
				}
				if !s.silent[r.name].Load() {
					t.Error("every request was answered")
				}
				if created := n > 1; s.removed[r.name].Load() != created {
					t.Errorf("removed: %v", !created)
				}
			})
		}
	})
}
