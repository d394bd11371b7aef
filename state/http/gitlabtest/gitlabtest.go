// Package gitlabtest is a server that keeps Terraform states as strictly as GitLab does, for tests.
package gitlabtest

import (
	"crypto/md5" //nolint:gosec // the protocol's check of transmission
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The user of the server.
const (
	User     = "gitlab-ci-token"
	Password = "test-job-token" //nolint:gosec // of a server of the tests
)

// Prefix is the path of the states.
const Prefix = "/api/v4/projects/42/terraform/state/"

// Server keeps states. Rules, which are GitLab's:
//   - Requests need basic authentication.
//   - A state is versioned: a version's number is the serial of the document, and given once.
//   - A locked state takes a document, and its deletion, only with the ID of the lock; one that is not locked, only without.
//   - Locking needs all seven members of the lock's information. A refusal (409) tells the ID of the lock that there is, but
//     the operation of the request.
//   - A deleted state can't be made again.
type Server struct {
	URL string
	// Plain makes it a server that looks at locks only, with the methods LOCK and UNLOCK at the state's address.
	Plain bool
	// Between, if set, handles requests instead of the server, which it may pass them on to.
	Between func(w http.ResponseWriter, r *http.Request, server http.Handler)

	mu     sync.Mutex
	states map[string]*stored
}

type stored struct {
	versions map[int64][]byte
	latest   []byte
	lock     map[string]string // nil when free
	deleted  bool
}

// Start starts a server, which ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{states: map[string]*stored{}}
	handler := http.HandlerFunc(s.serve)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Between != nil {
			s.Between(w, r, handler)
			return
		}
		handler(w, r)
	}))
	t.Cleanup(front.Close)
	s.URL = front.URL
	return s
}

// Address is that of a state.
func (s *Server) Address(name string) string { return s.URL + Prefix + name }

// Documents returns what the states hold, by name.
func (s *Server) Documents() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	documents := map[string]string{}
	for name, st := range s.states {
		if st.latest != nil && !st.deleted {
			documents[name] = string(st.latest)
		}
	}
	return documents
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if user, password, ok := r.BasicAuth(); !ok || user != User || password != Password {
		http.Error(w, `{"message":"401 Unauthorized"}`, http.StatusUnauthorized)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, Prefix)
	name, locking := strings.CutSuffix(name, "/lock")
	if !ok || name == "" || strings.Contains(name, "/") {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	locking = locking || s.Plain && (r.Method == "LOCK" || r.Method == "UNLOCK")
	st := s.states[name]
	if st == nil {
		st = &stored{versions: map[int64][]byte{}}
		if r.Method != http.MethodGet {
			s.states[name] = st
		}
	}
	switch {
	case st.deleted:
		http.Error(w, `{"message":"the state was deleted"}`, http.StatusUnprocessableEntity)
	case locking && (r.Method == http.MethodPost || r.Method == "LOCK"):
		s.lock(w, st, body)
	case locking && (r.Method == http.MethodDelete || r.Method == "UNLOCK"):
		if id := r.URL.Query().Get("ID"); st.lock != nil && id != "" && id != st.lock["ID"] {
			w.WriteHeader(http.StatusConflict)
			return
		}
		st.lock = nil
	case !locking && r.Method == http.MethodGet:
		if st.latest == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(st.latest)
	case !locking && r.Method == http.MethodPost:
		s.post(w, r, st, body)
	case !locking && r.Method == http.MethodDelete:
		if !st.matches(r) {
			w.WriteHeader(http.StatusLocked)
			return
		}
		st.deleted = true
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func (st *stored) matches(r *http.Request) bool { return st.lock["ID"] == r.URL.Query().Get("ID") }

func (s *Server) post(w http.ResponseWriter, r *http.Request, st *stored, body []byte) {
	sum := md5.Sum(body) //nolint:gosec // the protocol's check of transmission
	switch {
	case len(body) == 0:
		w.WriteHeader(http.StatusNoContent)
		return
	case r.Header.Get("Content-MD5") != base64.StdEncoding.EncodeToString(sum[:]):
		http.Error(w, "Content-MD5", http.StatusBadRequest)
		return
	case !st.matches(r):
		w.WriteHeader(http.StatusLocked)
		return
	}
	if !s.Plain {
		var document struct {
			Serial json.Number `json:"serial"`
		}
		_ = json.Unmarshal(body, &document) // then there is no serial
		serial, err := strconv.ParseInt(document.Serial.String(), 10, 64)
		if _, there := st.versions[serial]; there || err != nil {
			http.Error(w, `{"message":"Version has already been taken"}`, http.StatusUnprocessableEntity)
			return
		}
		st.versions[serial] = body
	}
	st.latest = body
}

func (s *Server) lock(w http.ResponseWriter, st *stored, body []byte) {
	var info map[string]string
	_ = json.Unmarshal(body, &info) // then all is missing
	for _, member := range []string{"ID", "Operation", "Info", "Who", "Version", "Created", "Path"} {
		if _, ok := info[member]; !ok {
			http.Error(w, member+" is missing", http.StatusBadRequest)
			return
		}
	}
	if st.lock == nil {
		st.lock = info
		return
	}
	answer, status := maps.Clone(info), http.StatusConflict
	for _, name := range []string{"ID", "Who", "Created"} {
		answer[name] = st.lock[name]
	}
	if s.Plain {
		answer, status = st.lock, http.StatusLocked
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}
