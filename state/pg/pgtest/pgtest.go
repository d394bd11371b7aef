// Package pgtest starts PostgreSQL for tests.
package pgtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
)

// Server is a PostgreSQL server that listens on a socket in a temporary directory.
type Server struct {
	dir       string
	databases atomic.Int32
}

// program finds one of PostgreSQL's programs: Debian keeps the server's in a directory for each version.
func program(name string) string {
	paths, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(paths) > 0 {
		return paths[len(paths)-1]
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

// Start starts a server, which ends with the test. PostgreSQL refuses to run as root: then it runs as nobody.
func Start(t testing.TB) *Server {
	t.Helper()
	initdb, postgres := program("initdb"), program("postgres")
	if initdb == "" || postgres == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("PostgreSQL is missing: install the package postgresql")
		}
		t.Skip("the store in PostgreSQL was not tested: the package postgresql is not installed")
	}
	dir, err := os.MkdirTemp("", "pg") // the path of a socket must be short, and t.TempDir's can't be entered by others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // an aborted test leaves no server behind
	if os.Getuid() == 0 {
		attr.Credential = nobody(t)
		if err := os.Chown(dir, int(attr.Credential.Uid), int(attr.Credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	command := func(path string, args ...string) (*exec.Cmd, *bytes.Buffer) {
		var log bytes.Buffer
		cmd := exec.Command(path, args...) //nolint:gosec // a program of PostgreSQL
		cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = dir, attr, &log, &log
		return cmd, &log
	}
	cmd, log := command(initdb, "--pgdata", data, "--username", "postgres", "--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C")
	if err := cmd.Run(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, log)
	}
	cmd, log = command(postgres, "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT) // a fast shutdown
		_ = cmd.Wait()
	})
	s := &Server{dir: dir}
	_, err = backoff.Retry(t.Context(), func() (struct{}, error) { return struct{}{}, s.exec(t.Context(), "SELECT 1") })
	if err != nil {
		t.Fatalf("postgres: %v\n%s", err, log)
	}
	return s
}

func nobody(t testing.TB) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	id := func(text string) uint32 {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
	return &syscall.Credential{Uid: id(u.Uid), Gid: id(u.Gid)}
}

func (s *Server) connString(database string) string {
	return fmt.Sprintf("host=%s user=postgres dbname=%s", s.dir, database)
}

func (s *Server) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, s.connString("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, sql)
	return err
}

// Database makes an empty database and returns its connection string.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	if err := s.exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return s.connString(name)
}

// URL is a connection string of Database as a URL, with a password.
func URL(connString, password string) string {
	fields := map[string]string{}
	for _, f := range strings.Fields(connString) {
		name, value, _ := strings.Cut(f, "=")
		fields[name] = value
	}
	return fmt.Sprintf("postgres://%s:%s@/%s?host=%s", fields["user"], password, fields["dbname"], fields["host"])
}
