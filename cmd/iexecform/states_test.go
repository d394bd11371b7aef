package main

import (
	"os"
	"strings"
	"sync"
	"testing"

	filippo "filippo.io/age"
	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

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
