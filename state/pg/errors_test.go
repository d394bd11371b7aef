package pg_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/pg"
	"github.com/iexecform/iexecform/state/pg/pgtest"
	"github.com/iexecform/iexecform/state/statetest"
)

func TestBackend(t *testing.T) {
	server := pgtest.Start(t)
	for name, test := range map[string]func(*testing.T, *pgtest.Server){"errors": errorTexts, "init": initAgain, "workspaces": workspaces, "reconnect": reconnect} {
		t.Run(name, func(t *testing.T) { test(t, server) })
	}
}

// What is wrong is said with what to do, and never with a password.
func errorTexts(t *testing.T, server *pgtest.Server) {
	const secret = "hunter2"
	said := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	_, err := pg.Open(t.Context(), pg.Options{ConnString: "postgres://u:" + secret + "@h:port/db"})
	said(err, "connection string of the database can't be read")

	at := server.Database(t)
	b := open(t, pg.Options{ConnString: pgtest.URL(at, secret)})
	_, err = b.Store("default").Load(t.Context())
	said(err, "run `iexecform init`")
	_, err = b.Workspaces(t.Context())
	said(err, "run `iexecform init`")

	b = open(t, pg.Options{ConnString: "host=/nowhere user=u password=" + secret, Patience: 1})
	_, err = b.Store("default").Load(t.Context())
	said(err, "/nowhere")
}

// Init may be run again, by several at once, and by whoever may only use the tables.
func initAgain(t *testing.T, server *pgtest.Server) {
	o := pg.Options{ConnString: server.Database(t), Schema: `my "states"`}
	var wg sync.WaitGroup
	for range 4 {
		b := open(t, o)
		wg.Go(func() {
			if err := b.Init(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	conn, err := pgx.Connect(t.Context(), o.ConnString)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	schema := pgx.Identifier{o.Schema}.Sanitize()
	if _, err := conn.Exec(t.Context(), `CREATE ROLE worker LOGIN; GRANT USAGE ON SCHEMA `+schema+` TO worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA `+schema+` TO worker`); err != nil {
		t.Fatal(err)
	}
	b := open(t, pg.Options{ConnString: strings.Replace(o.ConnString, "user=postgres", "user=worker", 1), Schema: o.Schema})
	if err := b.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	store := b.Store("default")
	unlock, err := store.Lock(t.Context(), state.Holder{ID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.Compact(t.Context(), statetest.Snapshot(1), nil), unlock()); err != nil {
		t.Error(err)
	}
}

func workspaces(t *testing.T, server *pgtest.Server) {
	b := open(t, pg.Options{ConnString: server.Database(t)})
	if err := b.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := func(want ...string) {
		t.Helper()
		if got, err := b.Workspaces(t.Context()); err != nil || !slices.Equal(got, want) {
			t.Errorf("workspaces %q, want %q: %v", got, want, err)
		}
		for name, want := range map[string]bool{"default": true, "b": slices.Contains(want, "b")} {
			if has, err := b.Has(t.Context(), name); err != nil || has != want {
				t.Errorf("has %s: %v, %v", name, has, err)
			}
		}
	}
	list("default")
	if err := b.Create(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	list("b", "default")
	if err := b.Store("b").Compact(t.Context(), statetest.Snapshot(1), nil); err != nil {
		t.Fatal(err)
	}
	if loaded, err := b.Store("default").Load(t.Context()); err != nil || loaded.Snapshot.Serial != 0 {
		t.Errorf("the default workspace has %+v: %v", loaded, err)
	}
	if err := b.Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	list("default")
}

// A connection that breaks between runs, or amid one, is made anew; a write is done once.
func reconnect(t *testing.T, server *pgtest.Server) {
	at := server.Database(t)
	b := open(t, pg.Options{ConnString: at})
	if err := b.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	store := b.Store("default")
	for n := range 5 {
		if _, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND application_name = 'iexecform'`); err != nil {
			t.Fatal(err)
		}
		if err := store.Append(t.Context(), state.Record{Type: state.NoteRec, Key: string(rune('a' + n)), Data: []byte("1")}); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := open(t, pg.Options{ConnString: at}).Store("default").Load(t.Context())
	if err != nil || len(loaded.Pending) != 5 {
		t.Errorf("%d notes: %v", len(loaded.Pending), err)
	}
}
