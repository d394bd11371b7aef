package view

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// graphs are directed acyclic graphs: the nodes that each node comes after.
var graphs = rapid.Custom(func(t *rapid.T) [][]int {
	after := make([][]int, rapid.IntRange(1, 40).Draw(t, "nodes"))
	for n := 1; n < len(after); n++ {
		after[n] = sortedSet(rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 3).Draw(t, "after"))
	}
	return after
})

// In a drawing nodes don't overlap, edges lead from node to node and never up, a row has no more nodes than it may have, and
// the same graph is always drawn the same.
func TestDraw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		after := graphs.Draw(t, "graph")
		f := frame{perRow: rapid.IntRange(1, 5).Draw(t, "row"), w: 100, h: 40, gapX: 10, gapY: 20, lane: 6}
		d := draw(after, f)
		rows := map[float64]int{}
		for n, p := range d.nodes {
			if p.x < -.01 || p.y < -.01 || p.x+f.w > d.width+.01 || p.y+f.h > d.height+.01 {
				t.Fatalf("node %d at %v is outside of the drawing", n, p)
			}
			for m, q := range d.nodes[:n] {
				if p.x < q.x+f.w-.01 && q.x < p.x+f.w-.01 && p.y < q.y+f.h-.01 && q.y < p.y+f.h-.01 {
					t.Fatalf("nodes %d and %d overlap: %v, %v", m, n, q, p)
				}
			}
			if rows[p.y]++; rows[p.y] > f.perRow {
				t.Fatalf("%d nodes in the row at %v", rows[p.y], p.y)
			}
		}
		edges := 0
		for n := range after {
			for _, a := range after[n] {
				from := point{d.nodes[a].x + f.w/2, d.nodes[a].y + f.h}
				to := point{d.nodes[n].x + f.w/2, d.nodes[n].y}
				if from.y >= to.y || !slices.ContainsFunc(d.edges, func(e []point) bool { return near(e[0], from) && near(e[len(e)-1], to) }) {
					t.Fatalf("no edge leads down from %d at %v to %d at %v", a, from, n, to)
				}
				edges++
			}
		}
		for _, e := range d.edges {
			if !slices.IsSortedFunc(e, func(a, b point) int { return int(a.y - b.y) }) {
				t.Fatalf("an edge leads up: %v", e)
			}
		}
		if len(d.edges) != edges {
			t.Fatalf("%d edges are drawn, of %d", len(d.edges), edges)
		}
		if again := draw(after, f); fmt.Sprint(again) != fmt.Sprint(d) {
			t.Fatal("drawn in two ways")
		}
	})
}

func near(a, b point) bool { return a.x-b.x < .01 && b.x-a.x < .01 && a.y-b.y < .01 && b.y-a.y < .01 }

// Folding loses no action, and keeps the order: what an action waits for is in a node before its own, from which a path of
// edges leads to it.
func TestFoldActions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		after := graphs.Draw(t, "graph")
		actions := make([]actionText, len(after))
		for n := range after {
			block := rapid.SampledFrom([]string{"t.a", "t.b", "u.a"}).Draw(t, "block")
			actions[n] = actionText{ID: n + 1, Kind: rapid.SampledFrom([]string{"make", "sign"}).Draw(t, "kind"), Block: block, Type: block[:1], Addr: fmt.Sprintf("%s[%d]", block, n)}
			for _, a := range after[n] {
				actions[n].After = append(actions[n].After, a+1)
			}
		}
		nodes := foldActions(actions, rapid.IntRange(1, 40).Draw(t, "most"))
		of := map[int]int{}
		for n := range nodes {
			for _, a := range nodes[n].actions {
				of[a.ID] = n
			}
			for _, a := range nodes[n].after {
				if a >= n {
					t.Fatalf("node %d comes after node %d", n, a)
				}
			}
		}
		if len(of) != len(actions) {
			t.Fatalf("%d actions are in nodes, of %d", len(of), len(actions))
		}
		var leads func(from, to int) bool
		leads = func(from, to int) bool {
			return from == to || slices.ContainsFunc(nodes[to].after, func(a int) bool { return a >= from && leads(from, a) })
		}
		for i := range actions {
			for _, a := range actions[i].After {
				if of[a] == of[i+1] || !leads(of[a], of[i+1]) {
					t.Fatalf("no path leads from action %d to %d", a, i+1)
				}
			}
		}
	})
}

func TestNodeLabels(t *testing.T) {
	hello := actionText{ID: 3, Kind: "deploy", Addr: `iexec_app.hello["a"]`, Block: "iexec_app.hello", Type: "iexec_app"}
	other := hello
	other.Addr, other.ID = `iexec_app.hello["b"]`, 4
	for _, test := range []struct {
		actions       []*actionText
		number, label string
	}{
		{[]*actionText{&hello}, "#3", `hello["a"]`},
		{[]*actionText{&hello, &other}, "×2", "hello"},
		{[]*actionText{{ID: 1, Addr: "data.oci_image.x", Block: "data.oci_image.x", Type: "oci_image"}}, "#1", "x"},
		{[]*actionText{{Addr: "t.a", Block: "t.a", Type: "t"}, {Addr: "t.b", Block: "t.b", Type: "t"}}, "×2", "t.…"},
		{[]*actionText{{Addr: "t.a", Block: "t.a", Type: "t"}, {Addr: "u.a", Block: "u.a", Type: "u"}}, "×2", "several types"},
		{[]*actionText{{ID: 9, Addr: "t.a_very_long_name_indeed", Block: "t.a_very_long_name_indeed", Type: "t"}}, "#9", "a_very_l…me_indeed"},
	} {
		n := node{actions: test.actions}
		if n.number() != test.number || n.label(18) != test.label {
			t.Errorf("%s: %q %q, want %q %q", test.actions[0].Addr, n.number(), n.label(18), test.number, test.label)
		}
	}
}

func BenchmarkDraw(b *testing.B) {
	actions := make([]actionText, 500)
	for n := range actions {
		actions[n] = actionText{ID: n + 1, Kind: fmt.Sprint("kind ", n%7), Block: fmt.Sprint("t.", n%50), Type: "t"}
		for a := n - 1; a >= 0 && a > n-40; a -= 13 {
			actions[n].After = append(actions[n].After, a+1)
		}
		slices.Sort(actions[n].After)
	}
	p := page{review: &review{Actions: actions}}
	for b.Loop() {
		p.drawActions()
	}
}
