package state

import (
	"fmt"
	"slices"

	"github.com/iexecform/iexecform/config/addr"
)

// A Moved object has another address.
type Moved struct {
	From addr.Instance `json:"from"`
	To   addr.Instance `json:"to"`
}

// MoveObjects returns a snapshot in which objects have other addresses, all at once, and dependencies follow; the snapshot
// given is left as it is. It fails when there is nothing to move, or when an address is taken.
func MoveObjects(s *Snapshot, moves []Moved) (*Snapshot, error) {
	names := make(map[addr.Instance]addr.Instance, len(moves))
	taken := make(map[addr.Instance]bool, len(moves))
	for _, m := range moves {
		switch {
		case s.Resources[m.From] == nil:
			return nil, fmt.Errorf("the state has no %s", m.From)
		case taken[m.To]:
			return nil, fmt.Errorf("two objects can't both become %s", m.To)
		}
		names[m.From], taken[m.To] = m.To, true
	}
	for _, m := range moves {
		if _, leaves := names[m.To]; s.Resources[m.To] != nil && !leaves {
			return nil, fmt.Errorf("the state has %s already", m.To)
		}
	}
	moved := *s
	moved.Resources = make(map[addr.Instance]*Object, len(s.Resources))
	for i, object := range s.Resources {
		if to, ok := names[i]; ok {
			i = to
		}
		moved.Resources[i] = object.dependingOn(names)
	}
	return &moved, nil
}

// dependingOn is the object with other addresses for what it depends on.
func (o *Object) dependingOn(names map[addr.Instance]addr.Instance) *Object {
	if !slices.ContainsFunc(o.Dependencies, func(d addr.Instance) bool { _, ok := names[d]; return ok }) {
		return o
	}
	changed := *o
	changed.Dependencies = slices.Clone(o.Dependencies)
	for n, d := range changed.Dependencies {
		if to, ok := names[d]; ok {
			changed.Dependencies[n] = to
		}
	}
	slices.SortFunc(changed.Dependencies, addr.Instance.Compare)
	return &changed
}
