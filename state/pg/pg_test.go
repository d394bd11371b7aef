package pg_test

import (
	"context"
	"testing"
	"time"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/pg"
	"github.com/iexecform/iexecform/state/pg/pgtest"
	"github.com/iexecform/iexecform/state/statetest"
)

func open(t *testing.T, o pg.Options) *pg.Backend {
	t.Helper()
	b, err := pg.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func TestStore(t *testing.T) {
	server := pgtest.Start(t)
	for name, codec := range map[string]*state.Codec{"clear": nil, "encrypted": statetest.Encrypted(t)} {
		t.Run(name, func(t *testing.T) {
			statetest.Run(t, func(t *testing.T) func() state.Store {
				o := pg.Options{ConnString: server.Database(t), Codec: codec}
				if err := open(t, o).Init(t.Context()); err != nil {
					t.Fatal(err)
				}
				return func() state.Store { return open(t, o).Store("default") }
			})
		})
	}
}

func TestMain(m *testing.M) {
	statetest.Main(m, func(place string) (state.Store, error) {
		b, err := pg.Open(context.Background(), pg.Options{ConnString: place, TTL: ttl})
		if err != nil {
			return nil, err
		}
		return b.Store("default"), nil
	})
}

// ttl is long enough for a machine under load, and short enough to wait for.
const ttl = 500 * time.Millisecond

func TestProcesses(t *testing.T) {
	o := pg.Options{ConnString: pgtest.Start(t).Database(t), TTL: ttl}
	if err := open(t, o).Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	statetest.Processes(t, o.ConnString, func() state.Store { return open(t, o).Store("default") }, true)
}
