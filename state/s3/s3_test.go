package s3_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/s3"
	"github.com/iexecform/iexecform/state/s3/s3test"
	"github.com/iexecform/iexecform/state/statetest"
)

// ttl is long enough for a machine under load, and short enough to wait for.
const ttl = 500 * time.Millisecond

func TestMain(m *testing.M) {
	statetest.Main(m, func(place string) (state.Store, error) {
		url, bucket, _ := strings.Cut(place, " ")
		b, err := s3.Open(context.Background(), options(url, bucket))
		if err != nil {
			return nil, err
		}
		return b.Store("default"), nil
	})
}

func options(url, bucket string) s3.Options {
	return s3.Options{Endpoint: url, Bucket: bucket, Key: "shop/state.json", PathStyle: true, TTL: ttl}
}

func open(t *testing.T, o s3.Options) *s3.Backend {
	t.Helper()
	b, err := s3.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStore(t *testing.T) {
	s3test.Credentials(t)
	server := s3test.Start(t)
	for name, codec := range map[string]*state.Codec{"clear": nil, "encrypted": statetest.Encrypted(t)} {
		t.Run(name, func(t *testing.T) {
			statetest.Run(t, func(t *testing.T) func() state.Store {
				o := options(server.URL, server.Bucket(t))
				o.Codec, o.TTL = codec, time.Minute
				return func() state.Store { return open(t, o).Store("default") }
			})
		})
	}
}

func TestProcesses(t *testing.T) {
	s3test.Credentials(t)
	server := s3test.Start(t)
	bucket := server.Bucket(t)
	statetest.Processes(t, server.URL+" "+bucket, func() state.Store { return open(t, options(server.URL, bucket)).Store("default") }, true)
}
