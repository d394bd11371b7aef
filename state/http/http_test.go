package http_test

import (
	"strings"
	"testing"
	"time"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/http"
	"github.com/iexecform/iexecform/state/http/gitlabtest"
	"github.com/iexecform/iexecform/state/statetest"
)

// ttl is long enough for a machine under load, and short enough to wait for.
const ttl = 500 * time.Millisecond

func TestMain(m *testing.M) {
	statetest.Main(m, func(address string) (state.Store, error) {
		b, err := http.Open(options(address))
		if err != nil {
			return nil, err
		}
		return b.Store("default"), nil
	})
}

// options are those of a state in GitLab.
func options(address string) http.Options {
	return http.Options{
		Address: address, LockAddress: address + "/lock", UnlockAddress: address + "/lock", LockMethod: "POST", UnlockMethod: "DELETE",
		Username: gitlabtest.User, Password: gitlabtest.Password, TTL: ttl,
	}
}

func open(t *testing.T, o http.Options) *http.Backend {
	t.Helper()
	b, err := http.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGitLab(t *testing.T) {
	server := gitlabtest.Start(t)
	for name, codec := range map[string]*state.Codec{"clear": nil, "encrypted": statetest.Encrypted(t)} {
		t.Run(name, func(t *testing.T) {
			statetest.Run(t, func(t *testing.T) func() state.Store {
				o := options(server.Address(strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())))
				o.TTL, o.Codec = time.Minute, codec
				return func() state.Store { return open(t, o).Store("default") }
			})
		})
	}
}

// A server that looks at locks only keeps apart those that respect them.
func TestPlainServer(t *testing.T) {
	server := gitlabtest.Start(t)
	server.Plain = true
	statetest.RunLocked(t, func(t *testing.T) func() state.Store {
		o := http.Options{Address: server.Address(strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())), Username: gitlabtest.User, Password: gitlabtest.Password}
		return func() state.Store { return open(t, o).Store("default") }
	})
}

func TestProcesses(t *testing.T) {
	address := gitlabtest.Start(t).Address("shop")
	statetest.Processes(t, address, func() state.Store { return open(t, options(address)).Store("default") }, true)
}
