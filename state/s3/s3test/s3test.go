// Package s3test starts an S3 server for tests: the Versity S3 Gateway over a directory. It is one that checks If-Match and
// If-None-Match and publishes an object in one step, under a lock for its key.
package s3test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cenkalti/backoff/v5"
	"github.com/gofrs/flock"
)

// gateway is the server's module. It is built in a module of its own, so that it is no dependency of this one.
const (
	gateway = "github.com/versity/versitygw/cmd/versitygw"
	version = "v1.8.0"
)

// The well-known credentials of the server.
const (
	Access = "test-access"
	Secret = "test-secret" //nolint:gosec // of a server on this machine, for tests
)

// Server is an S3 server on the loopback interface.
type Server struct {
	URL     string
	dir     string
	buckets atomic.Int32
	// Between, if set, handles requests instead of the server, which it may pass them on to.
	Between func(w http.ResponseWriter, r *http.Request, server http.Handler)
}

// Build builds the server, once for all tests of this user, and returns its path.
var Build = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "iexecform", "versitygw-"+version)
	path := filepath.Join(dir, "versitygw")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer func() { _ = lock.Unlock() }()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	cmd := exec.Command("go", "install", "-trimpath", "-ldflags", "-s -w", gateway+"@"+version)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", gateway, err, out)
	}
	return path, nil
})

// Start starts a server, which ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	path, err := Build()
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("the store in S3 was not tested: %v", err)
	}
	dir, err := os.MkdirTemp("", "s3") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{dir: filepath.Join(dir, "buckets")}
	socket := filepath.Join(dir, "s3.sock")
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(path, "--quiet", "--port", socket, "posix", s.dir) //nolint:gosec // built above
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+Access, "ROOT_SECRET_ACCESS_KEY="+Secret)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // an aborted test leaves no server behind
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "socket"})
			r.Out.Host = r.In.Host // it is signed
		},
		Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 64},
		ErrorLog:  log.New(io.Discard, "", 0), // clients that are killed
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Between != nil {
			s.Between(w, r, proxy)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	s.URL = front.URL
	_, err = backoff.Retry(t.Context(), func() (struct{}, error) {
		conn, err := dial(t.Context(), "", "")
		if err == nil {
			err = conn.Close()
		}
		return struct{}{}, err
	})
	if err != nil {
		t.Fatalf("versitygw: %v\n%s", err, said.String())
	}
	return s
}

// Bucket makes an empty bucket and returns its name. A bucket is a directory.
func (s *Server) Bucket(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", s.buckets.Add(1))
	if err := os.Mkdir(filepath.Join(s.dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// Objects returns the keys in a bucket.
func (s *Server) Objects(t testing.TB, bucket string) (keys []string) {
	t.Helper()
	root := filepath.Join(s.dir, bucket)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.Contains(path, ".sgwtmp") {
			rel, _ := filepath.Rel(root, path) // it lies below
			keys = append(keys, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Environment is the variables from which clients take the credentials, and nothing else.
func Environment() map[string]string {
	return map[string]string{
		"AWS_ACCESS_KEY_ID": Access, "AWS_SECRET_ACCESS_KEY": Secret, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	}
}

// Credentials sets the variables for this process and its children.
func Credentials(t *testing.T) {
	t.Helper()
	for name, value := range Environment() {
		t.Setenv(name, value)
	}
}
