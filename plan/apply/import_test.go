package apply_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers/fake"
)

const importAndMove = `
resource "fake_thing" "same" {
  kind = "box"
}
resource "fake_thing" "resized" {
  kind = "box"
  size = 2
}
resource "fake_thing" "replaced" {
  kind = "box"
  ref  = fake_thing.second.id
}
resource "fake_thing" "first" {
  kind = "box"
  size = 5
}
resource "fake_thing" "second" {
  kind = "box"
}
import {
  to = fake_thing.same
  id = "mine"
}
import {
  to = fake_thing.resized
  id = "yours"
}
import {
  to = fake_thing.replaced
  id = "theirs"
}
moved {
  from = fake_thing.a
  to   = fake_thing.first
}
moved {
  from = fake_thing.b
  to   = fake_thing.second
}
removed {
  from = fake_thing.left
  mode = "forget"
}
`

// Imports, moves and removals survive a death at any step: the next run finishes, makes nothing twice and forgets nothing.
func TestImportAndMoveSurviveCrashes(t *testing.T) {
	for n := 1; ; n++ {
		for _, torn := range []float64{0, 0.5, 1} {
			w := newWorld(t)
			w.write(things("a", "b: a", "left"))
			w.apply()
			for id, kind := range map[string]string{"mine": "box", "yours": "box", "theirs": "bag"} {
				w.cloud.Put(id, fake.Thing{Kind: kind, Size: 1})
			}
			effects := len(w.cloud.History())
			w.write(importAndMove)
			k := &killer{w: w, left: 1 << 30, torn: torn}
			w.faults = k.faults()
			p := w.plan()
			p.options.Parallelism = 1
			k.left, w.store.Fault = n, k.step
			if _, err := p.run(context.Background()); err != nil && !k.dead {
				t.Fatal(err)
			}
			w.store.Fault, w.faults = nil, fake.Faults{}
			w.apply()
			w.settled()
			w.exist("box/a 5", "box/b 1", "box/left 1", "box/replaced 1", "mine 1", "yours 2")
			var addresses []string
			for i := range w.load().Snapshot.Resources {
				addresses = append(addresses, i.String())
			}
			slices.Sort(addresses)
			want := []string{"fake_thing.first", "fake_thing.replaced", "fake_thing.resized", "fake_thing.same", "fake_thing.second"}
			if diff := cmp.Diff(want, addresses); diff != "" {
				t.Fatalf("killed at step %d: -want +got:\n%s", n, diff)
			}
			made := w.cloud.History()[effects:]
			slices.Sort(made)
			if diff := cmp.Diff([]string{"create box/replaced", "delete theirs", "resize box/a", "resize yours"}, made); diff != "" {
				t.Fatalf("killed at step %d: effects -want +got:\n%s", n, diff)
			}
			if !k.dead {
				if n < 20 {
					t.Errorf("there were only %d steps", n-1)
				}
				return
			}
		}
	}
}

// Only the import of one object is applied of a plan that has more, and outputs stay as they are.
func TestOnlyImport(t *testing.T) {
	w := newWorld(t)
	w.write(things("a") + "output \"o\" {\n  value = fake_thing.a.id\n}\n")
	w.apply()
	outputs := fmt.Sprint(w.load().Snapshot.Outputs)
	w.cloud.Put("mine", fake.Thing{Kind: "box", Size: 7, Token: "t"})
	w.write(things("a=3", "b=1: a"))
	b, err := addr.ParseInstance("fake_thing.b")
	if err != nil {
		t.Fatal(err)
	}
	m := w.tryPlan(plan.Options{Imports: map[addr.Instance]string{b: "mine"}, Targets: []addr.Instance{b}})
	if m.diags.HasErrors() {
		t.Fatal(m.diags)
	}
	m.options.Plan = m.OnlyImport(b)
	w.obey(m)
	w.exist("box/a 1", "mine 7")
	if diff := cmp.Diff(map[string]any{"id": "mine", "kind": "box", "size": 7.0, "token": "t", "things": map[string]any{"mine": "box"}}, w.attributes("fake_thing.b")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	loaded := w.load()
	if got := fmt.Sprint(loaded.Snapshot.Outputs); got != outputs {
		t.Errorf("outputs are %s, were %s", got, outputs)
	}
	if diff := cmp.Diff("[fake_thing.a]", fmt.Sprint(loaded.Snapshot.Resources[b].Dependencies)); diff != "" {
		t.Errorf("dependencies -want +got:\n%s", diff)
	}
	if p := m.OnlyImport(addr.Instance{}); p != nil {
		t.Errorf("what isn't imported can be applied: %v", p)
	}
	w.write(things("a", "b=7: a"))
	w.apply() // remembers ref
	w.settled()
}
