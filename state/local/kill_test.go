package local_test

import (
	"testing"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
	"github.com/iexecform/iexecform/state/statetest"
)

func TestMain(m *testing.M) {
	statetest.Main(m, func(dir string) (state.Store, error) { return local.New(dir), nil })
}

func TestProcesses(t *testing.T) {
	dir := t.TempDir()
	statetest.Processes(t, dir, func() state.Store { return local.New(dir) }, false)
}
