package main

import (
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	filippo "filippo.io/age"
	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/iexecform/iexecform/state/http/gitlabtest"
	"github.com/iexecform/iexecform/state/pg/pgtest"
	"github.com/iexecform/iexecform/state/s3/s3test"
)

// ageKeys is the script command age.
func ageKeys(ts *testscript.TestScript, _ bool, args []string) {
	i, err := filippo.GenerateX25519Identity()
	ts.Check(err)
	name := strings.ToUpper(args[0])
	ts.Setenv(name, i.Recipient().String())
	ts.Setenv(name+"_KEY", i.String())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".key"), []byte(i.String()+"\n"), 0o600))
}

// postgres is the script command postgres.
func postgres(t *testing.T) func(*testscript.TestScript, bool, []string) {
	server := sync.OnceValue(func() *pgtest.Server { return pgtest.Start(t) })
	return func(ts *testscript.TestScript, _ bool, _ []string) {
		conn := server().Database(t)
		c, err := pgx.ParseConfig(conn)
		ts.Check(err)
		ts.Setenv("PGHOST", c.Host)
		ts.Setenv("PGUSER", c.User)
		ts.Setenv("PGDATABASE", c.Database)
		ts.Setenv("CONN", "conn_str="+conn)
	}
}

// bucket is the script command s3.
func bucket(t *testing.T) func(*testscript.TestScript, bool, []string) {
	server := sync.OnceValue(func() *s3test.Server { return s3test.Start(t) })
	return func(ts *testscript.TestScript, _ bool, _ []string) {
		ts.Setenv("S3_URL", server().URL)
		ts.Setenv("BUCKET", server().Bucket(t))
		for name, value := range s3test.Environment() {
			ts.Setenv(name, value)
		}
	}
}

// gitlab is the script command gitlab.
func gitlab(t *testing.T) func(*testscript.TestScript, bool, []string) {
	server := sync.OnceValue(func() *gitlabtest.Server { return gitlabtest.Start(t) })
	return func(ts *testscript.TestScript, _ bool, args []string) {
		ts.Setenv("GITLAB", strings.TrimSuffix(server().Address(""), "/"))
		ts.Setenv("GITLAB_PASSWORD", gitlabtest.Password)
		if len(args) < 2 {
			return
		}
		r, err := http.NewRequest(http.MethodPost, server().Address(args[1])+"/lock",
			strings.NewReader(`{"ID":"42","Operation":"apply","Info":"","Who":"alice@example","Version":"","Created":"2026-01-02T03:04:05Z","Path":""}`))
		ts.Check(err)
		r.SetBasicAuth(gitlabtest.User, gitlabtest.Password)
		response, err := http.DefaultClient.Do(r)
		ts.Check(err)
		ts.Check(response.Body.Close())
	}
}
