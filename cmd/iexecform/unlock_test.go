package main

import (
	"context"
	"strings"
	"testing"

	"github.com/iexecform/iexecform/state"
)

// leasedStore is one whose lock outlives its holder.
type leasedStore struct {
	state.Store
	holder *state.Holder
}

func (s *leasedStore) Holder(context.Context) (*state.Holder, error) { return s.holder, nil }

func (s *leasedStore) ForceUnlock(context.Context, string) error {
	s.holder = nil
	return nil
}

// A lock that can outlive its holder is broken by its id, after yes.
func TestForceUnlock(t *testing.T) {
	store := &leasedStore{holder: &state.Holder{ID: "42", Who: "alice", Operation: "apply", Created: "2026-01-02T03:04:05Z"}}
	s := start(t, newSlow(), strings.NewReader("no\n"))
	s.wrapStore = func(state.Store) state.Store { return store }
	if code := s.do("force-unlock", "41"); code != exitError || !strings.Contains(s.err.String(), `"42"`) {
		t.Errorf("another id: exit code %d\n%s", code, s.err)
	}
	if code := s.do("force-unlock", "42"); code != exitError || store.holder == nil || !strings.Contains(s.err.String(), "Unlocking cancelled") {
		t.Errorf("no: exit code %d\n%s", code, s.err)
	}
	if code := s.do("force-unlock", "-force", "42"); code != exitOK || store.holder != nil {
		t.Errorf("--force: exit code %d\n%s", code, s.err)
	}
}
