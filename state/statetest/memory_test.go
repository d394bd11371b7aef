package statetest_test

import (
	"testing"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/statetest"
)

func TestMemory(t *testing.T) {
	statetest.Run(t, func(*testing.T) func() state.Store {
		m := &statetest.Memory{}
		return func() state.Store { return m }
	})
}
