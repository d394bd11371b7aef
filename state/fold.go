package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/iexecform/iexecform/config/addr"
)

// Fold applies the records of a journal, in order, to the snapshot that they continue. The snapshot is left as it is.
// An error names the record by its index from 0: *RecordError.
func Fold(s *Snapshot, records []Record) (*Loaded, error) {
	f := folding{Loaded: Loaded{Snapshot: s}, base: s, open: map[int]int{}, notes: map[string]int{}, facts: map[string]map[string]string{}}
	for i, r := range records {
		if err := f.apply(r); err != nil {
			return nil, &RecordError{Index: i, Type: r.Type, Err: err}
		}
		if r.Type != NoteRec {
			f.Records++
		}
	}
	f.Open = slices.DeleteFunc(f.Open, func(r Record) bool { return r.Type == "" })
	f.Pending = slices.DeleteFunc(f.Pending, func(n Note) bool { return n.Data == nil })
	return &f.Loaded, nil
}

// RecordError is returned for a record that can't be applied.
type RecordError struct {
	Index int // from 0
	Type  string
	Err   error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("record %d (%s): %v", e.Index, e.Type, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// folding is a Loaded in the making. What is closed or settled stays in Open and Pending as a hole, a record without a
// type or a note without data, until the end: each record takes constant time.
type folding struct {
	Loaded
	base  *Snapshot
	open  map[int]int                  // action to index in Open
	notes map[string]int               // key to index in Pending
	facts map[string]map[string]string // of networks, that are not the base's
}

func (f *folding) apply(r Record) error {
	switch r.Type {
	case Begin:
		f.Open, f.open = nil, map[int]int{}
		return f.pin(r.Network)
	case Pin:
		return f.pin(r.Network)
	case Seen:
		return f.seen(r.Network)
	case Intent:
		f.close(r.Action)
		f.open[r.Action] = len(f.Open)
		f.Open = append(f.Open, r)
	case Failed:
		f.close(r.Action)
	case Patch:
		if r.Object == nil {
			return fmt.Errorf("no object")
		}
		return f.merge(r.Addr, r.Object)
	case Done:
		f.close(r.Action)
		if r.Object != nil {
			return f.merge(r.Addr, r.Object)
		}
	case Forget:
		f.close(r.Action)
		if r.Addr == nil {
			return fmt.Errorf("no address")
		}
		if _, ok := f.Snapshot.Resources[*r.Addr]; ok {
			delete(f.writable().Resources, *r.Addr)
		}
	case Move:
		moved, err := MoveObjects(f.Snapshot, r.Moves)
		if err != nil {
			return err
		}
		f.writable().Resources = moved.Resources
	case NoteRec:
		f.note(Note{Owner: r.Owner, Key: r.Key, Data: r.Data})
	default:
		return fmt.Errorf("unknown type of record: a newer program wrote it; use that one")
	}
	return nil
}

// writable returns the snapshot to change: a copy from the first change on.
func (f *folding) writable() *Snapshot {
	if f.Snapshot == f.base {
		c := *f.base
		c.Networks, c.Resources = maps.Clone(c.Networks), maps.Clone(c.Resources)
		if c.Networks == nil {
			c.Networks = map[string]map[string]string{}
		}
		if c.Resources == nil {
			c.Resources = map[addr.Instance]*Object{}
		}
		f.Snapshot = &c
	}
	return f.Snapshot
}

func (f *folding) pin(n *Network) error {
	if n != nil && !maps.Equal(f.Snapshot.Networks[n.Provider], n.Facts) {
		f.facts[n.Provider] = maps.Clone(n.Facts)
		f.writable().Networks[n.Provider] = f.facts[n.Provider]
	}
	return nil
}

func (f *folding) seen(n *Network) error {
	if n == nil {
		return errors.New("no network")
	}
	for name, value := range n.Facts {
		if f.Snapshot.Networks[n.Provider][name] == value {
			continue
		}
		if f.facts[n.Provider] == nil {
			f.facts[n.Provider] = maps.Clone(f.Snapshot.Networks[n.Provider])
			if f.facts[n.Provider] == nil {
				f.facts[n.Provider] = map[string]string{}
			}
			f.writable().Networks[n.Provider] = f.facts[n.Provider]
		}
		if value == "" {
			delete(f.facts[n.Provider], name)
		} else {
			f.facts[n.Provider][name] = value
		}
	}
	return nil
}

func (f *folding) close(action int) {
	if i, ok := f.open[action]; ok {
		f.Open[i].Type = ""
		delete(f.open, action)
	}
}

func (f *folding) merge(a *addr.Instance, patch *Object) error {
	if a == nil {
		return fmt.Errorf("no address")
	}
	before, known := f.Snapshot.Resources[*a]
	after := *patch
	after.Dependencies = slices.SortedFunc(slices.Values(patch.Dependencies), addr.Instance.Compare)
	attributes := json.RawMessage("{}")
	if known {
		attributes = before.Attributes
	}
	if after.Attributes == nil || string(after.Attributes) == "null" {
		after.Attributes = json.RawMessage("{}")
	}
	if !isObject(after.Attributes) {
		return fmt.Errorf("%s: the patch is not a JSON object", a)
	}
	switch {
	case isNull(after.Origin):
		after.Origin = nil
	case after.Origin == nil && known:
		after.Origin = before.Origin
	case after.Origin != nil && !isObject(after.Origin):
		return fmt.Errorf("%s: the origin is not a JSON object", a)
	}
	var err error
	if after.Attributes, err = MergePatch(attributes, after.Attributes); err != nil {
		return fmt.Errorf("%s: %w", a, err)
	}
	if known && before.equal(&after) {
		return nil
	}
	f.writable().Resources[*a] = &after
	return nil
}

func (o *Object) equal(p *Object) bool {
	return o.Provider == p.Provider && o.SchemaVersion == p.SchemaVersion && o.Protected == p.Protected && o.Tainted == p.Tainted &&
		sameJSON(o.Attributes, p.Attributes) && sameRaw(o.Origin, p.Origin) && slices.Equal(o.Dependencies, p.Dependencies)
}

// note keeps the last data of each key at the place of its first.
func (f *folding) note(n Note) {
	if i, ok := f.notes[n.Key]; ok {
		f.Pending[i].Owner, f.Pending[i].Data = n.Owner, n.Data
		if n.Data == nil {
			delete(f.notes, n.Key) // noted again, it is a new matter
		}
		return
	}
	if n.Data != nil {
		f.notes[n.Key] = len(f.Pending)
		f.Pending = append(f.Pending, n)
	}
}

// MergePatch applies an RFC 7386 merge patch: members of the patch replace those of the document, null removes, objects
// merge. The result is compact, its keys are sorted, and numbers are as they were written. A nil document is an empty one.
func MergePatch(document, patch json.RawMessage) (json.RawMessage, error) {
	merged, err := mergePatch(jsontext.Value(document), jsontext.Value(patch))
	if err == nil {
		err = merged.Format(jsontext.ReorderRawObjects(true))
	}
	if err != nil {
		return nil, fmt.Errorf("merge patch: %w", err)
	}
	return json.RawMessage(merged), nil
}

func mergePatch(document, patch jsontext.Value) (jsontext.Value, error) {
	if patch.Kind() != '{' {
		return patch.Clone(), nil
	}
	var changes map[string]jsontext.Value
	if err := jsonv2.Unmarshal(patch, &changes); err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	members := map[string]jsontext.Value{}
	if document.Kind() == '{' {
		if err := jsonv2.Unmarshal(document, &members); err != nil {
			return nil, fmt.Errorf("document: %w", err)
		}
	}
	for name, change := range changes {
		if change.Kind() == 'n' {
			delete(members, name)
			continue
		}
		merged, err := mergePatch(members[name], change)
		if err != nil {
			return nil, err
		}
		members[name] = merged
	}
	return jsonv2.Marshal(members)
}
