package apply_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers/fake"
	"github.com/iexecform/iexecform/state/statetest"
)

var errKilled = errors.New("killed")

// A killer stops the world of one process at its n-th step: an append, a write of the state, a call of the provider, or
// an effect, each before and after. From then on nothing that the process does has any effect outside.
type killer struct {
	w        *world
	mu       sync.Mutex
	left     int     // steps until it dies
	at       string  // the only step that counts, or ""
	torn     float64 // how much of the append at which it dies is on disk
	snapshot []byte  // as stored before the append under way
	journal  []byte
	dead     bool
}

// step reports whether the process is dead.
func (k *killer) step(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead {
		return errKilled
	}
	if name == statetest.BeforeAppend {
		k.snapshot, k.journal = k.w.store.Raw()
	}
	if k.at != "" && k.at != name {
		return nil
	}
	if k.left--; k.left > 0 {
		return nil
	}
	k.dead = true
	if name == statetest.AfterAppend {
		_, journal := k.w.store.Raw()
		if written, ok := bytes.CutPrefix(journal, k.journal); ok { // or else it is a new journal
			k.w.store.Set(k.snapshot, journal[:len(k.journal)+int(k.torn*float64(len(written)))])
		}
	}
	return errKilled
}

func (k *killer) faults() fake.Faults {
	return fake.Faults{
		Before: func(_ context.Context, c fake.Call) error { return k.step("before " + c.Op) },
		After:  func(_ context.Context, c fake.Call) error { return k.step("after " + c.Op) },
	}
}

// machine is a world whose configuration changes, and whose processes die.
type machine struct {
	*world
	config  map[string]block
	lineage string
	serial  uint64
	deaths  *int
}

type block struct {
	kind    string
	size    int
	prepare bool
	refs    []string // of names before its own, so that there are no cycles
}

// deadly is the steps of which one of the first few is deadly; "" is any.
var deadly = []string{
	"", "", statetest.BeforeAppend, statetest.AfterAppend, statetest.Compacting, statetest.Compacting,
	"before " + fake.OpCreate, "after " + fake.OpCreate, "before " + fake.OpDelete, "after " + fake.OpDelete, "after " + fake.OpResize,
}

var names = []string{"a", "b", "c", "d", "e"}

func (m *machine) writeConfig() {
	m.t.Helper()
	var out, ids strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.config)) {
		b := m.config[name]
		fmt.Fprintf(&out, "resource \"fake_thing\" %q {\n  kind = %q\n  size = %d\n", name, b.kind, b.size)
		var refs []string
		for _, ref := range b.refs {
			if _, ok := m.config[ref]; ok {
				refs = append(refs, "${fake_thing."+ref+".id}")
			}
		}
		if len(refs) > 0 {
			fmt.Fprintf(&out, "  ref = %q\n", strings.Join(refs, " "))
		}
		if b.prepare {
			out.WriteString("  prepare = true\n")
		}
		out.WriteString("}\n")
		fmt.Fprintf(&ids, "fake_thing.%s.id, ", name)
	}
	fmt.Fprintf(&out, "output \"ids\" {\n  value = [%s]\n}\n", ids.String())
	m.write(out.String())
}

func (m *machine) edit(t *rapid.T) {
	for range rapid.IntRange(1, 3).Draw(t, "edits") {
		name := rapid.SampledFrom(names).Draw(t, "name")
		if rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
			delete(m.config, name)
			continue
		}
		b := block{
			kind: rapid.SampledFrom([]string{"box", "can"}).Draw(t, "kind"), size: rapid.IntRange(1, 3).Draw(t, "size"),
			prepare: rapid.Bool().Draw(t, "prepare"),
		}
		for _, ref := range names {
			if ref < name && rapid.Bool().Draw(t, "refers") {
				b.refs = append(b.refs, ref)
			}
		}
		m.config[name] = b
	}
	m.writeConfig()
}

// drift changes the cloud behind our back.
func (m *machine) drift(t *rapid.T) {
	ids := slices.Sorted(maps.Keys(m.cloud.Things()))
	if len(ids) == 0 {
		return
	}
	id := rapid.SampledFrom(ids).Draw(t, "id")
	if rapid.Bool().Draw(t, "gone") {
		m.cloud.Remove(id)
		return
	}
	thing := m.cloud.Things()[id]
	thing.Size = 9
	m.cloud.Put(id, thing)
}

// crash plans and applies, and dies on the way.
func (m *machine) crash(t *rapid.T) {
	o := plan.Options{Mode: rapid.SampledFrom([]plan.Mode{plan.Normal, plan.Normal, plan.Normal, plan.Destroy}).Draw(t, "mode")}
	if name := rapid.SampledFrom(names).Draw(t, "replace"); o.Mode == plan.Normal && rapid.IntRange(0, 3).Draw(t, "replaced") == 0 {
		if _, ok := m.config[name]; ok {
			o.Replace = []addr.Instance{{Resource: addr.Resource{Type: "fake_thing", Name: name}}}
		}
	}
	k := &killer{w: m.world, left: 1 << 30, torn: rapid.Float64Range(0, 1).Draw(t, "torn")}
	at, steps := rapid.SampledFrom(deadly).Draw(t, "at"), rapid.IntRange(1, 60).Draw(t, "steps")
	if at != "" {
		steps = steps%4 + 1
		if at == statetest.Compacting {
			steps = 1 // there is one in a run
		}
	}
	m.faults = k.faults()
	p := m.tryPlan(o)
	if p.diags.HasErrors() {
		m.t.Fatalf("plan: %v", p.diags)
	}
	p.options.Parallelism = rapid.SampledFrom([]int{1, 1, 4}).Draw(t, "parallelism")
	k.left, k.at, m.store.Fault = steps, at, k.step
	result, err := p.run(context.Background())
	m.store.Fault, m.faults = nil, fake.Faults{}
	if k.dead {
		*m.deaths++
	} else if err != nil || len(result.Errors) > 0 {
		m.t.Fatalf("nothing was wrong, and yet: %v, %+v", err, result)
	}
	m.decodes()
}

// fail plans and applies while some effects are refused or their answers lost.
func (m *machine) fail(t *rapid.T) {
	bad := rapid.SampledFrom(names).Draw(t, "bad")
	lost := rapid.Bool().Draw(t, "lost")
	fault := func(_ context.Context, c fake.Call) error {
		if slices.Contains([]string{fake.OpCreate, fake.OpResize, fake.OpDelete}, c.Op) && strings.Contains(c.ID, "/"+bad) {
			return errFault
		}
		return nil
	}
	if lost {
		m.faults.After = fault
	} else {
		m.faults.Before = fault
	}
	p := m.plan()
	_, err := p.run(context.Background())
	m.faults = fake.Faults{}
	// What the last run left unsettled is taken up before anything else, and that may fail.
	if err != nil && (len(p.Pending) == 0 || !errors.Is(err, errFault)) {
		m.t.Fatalf("apply: %v", err)
	}
	m.decodes()
}

// decodes checks that the state can be read, and never goes back.
func (m *machine) decodes() {
	m.t.Helper()
	s := m.load().Snapshot
	if s.Serial < m.serial || m.lineage != "" && s.Lineage != m.lineage {
		m.t.Fatalf("the state went from serial %d of %q to %d of %q", m.serial, m.lineage, s.Serial, s.Lineage)
	}
	m.serial, m.lineage = s.Serial, s.Lineage
}

// recover plans and applies undisturbed: then all is as configured, once, and nothing else of ours exists.
func (m *machine) recover() {
	m.t.Helper()
	was := m.serial
	result := m.apply()
	m.decodes()
	if result.Changed && m.serial != was+1 {
		m.t.Fatalf("serial went from %d to %d", was, m.serial)
	}
	things := m.cloud.Things()
	for id, thing := range things {
		kind, name, _ := strings.Cut(id, "/")
		name, _, _ = strings.Cut(name, "#")
		b, ok := m.config[name]
		if !ok || kind != b.kind || thing.Kind != b.kind || thing.Size != int64(b.size) {
			m.t.Fatalf("%s of size %d exists; configured is %+v", id, thing.Size, b)
		}
		if a := m.attributes("fake_thing." + name); a["id"] != id || a["token"] != thing.Token || a["size"] != float64(thing.Size) {
			m.t.Fatalf("the state has %v of %s: %+v", a, id, thing)
		}
	}
	if len(things) != len(m.config) || len(m.load().Snapshot.Resources) != len(m.config) {
		m.t.Fatalf("%d things exist and %d are in the state; configured are %v: there are %v",
			len(things), len(m.load().Snapshot.Resources), slices.Sorted(maps.Keys(m.config)), things)
	}
	m.settled()
}

// loseState loses all that is remembered of a settled world.
func (m *machine) loseState() {
	m.recover()
	effects := len(m.cloud.History())
	m.store.Set(nil, nil)
	m.serial, m.lineage = 0, ""
	m.recover()
	if after := m.cloud.History()[effects:]; len(after) > 0 {
		m.t.Fatalf("finding what exists had effects: %v", after)
	}
}

// TestCrashes kills apply anywhere, over and over, in between edits, faults and drift. Whatever happened: the state can be
// read, one undisturbed run makes everything as configured, exactly once, and the plan after it is empty.
func TestCrashes(t *testing.T) {
	deaths := 0
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{world: &world{t: t, dir: dir}, config: map[string]block{}, deaths: &deaths}
		m.edit(t)
		steps := map[string]func(*rapid.T){
			"edit": m.edit, "drift": m.drift, "crash": m.crash, "fail": m.fail,
			"recover": func(*rapid.T) { m.recover() }, "lose": func(*rapid.T) { m.loseState() },
		}
		often := []string{"crash", "crash", "crash", "crash", "edit", "edit", "drift", "fail", "recover", "lose"}
		for _, name := range rapid.SliceOfN(rapid.SampledFrom(often), 8, 24).Draw(t, "story") {
			steps[name](t)
		}
		m.recover()
	})
	if deaths < 100 {
		t.Errorf("only %d processes were killed: the test shows little", deaths)
	}
}
