package local_test

import (
	"testing"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
	"github.com/iexecform/iexecform/state/statetest"
)

func TestStore(t *testing.T) {
	statetest.Run(t, func(t *testing.T) func() state.Store {
		dir := t.TempDir()
		return func() state.Store { return local.New(dir) }
	})
}
