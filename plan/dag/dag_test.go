package dag_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/iexecform/iexecform/plan/dag"
)

var errBroken = errors.New("broken")

func statuses(results []dag.Result) []string {
	var out []string
	for _, r := range results {
		out = append(out, r.Status.String())
	}
	return out
}

func TestWalkRunsWhatIsIndependentAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// 0 and 1, then 2 after both, then 3; 4 alone. A visit of i takes i+1 seconds.
		after := [][]int{nil, nil, {0, 1}, {2}, nil}
		start := time.Now()
		var mu sync.Mutex
		began := make([]time.Duration, len(after))
		results := dag.Walk(t.Context(), after, 10, func(_ context.Context, i int) error {
			mu.Lock()
			began[i] = time.Since(start)
			mu.Unlock()
			time.Sleep(time.Duration(i+1) * time.Second)
			return nil
		})
		if diff := cmp.Diff([]string{"done", "done", "done", "done", "done"}, statuses(results)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if diff := cmp.Diff([]time.Duration{0, 0, 2 * time.Second, 5 * time.Second, 0}, began); diff != "" {
			t.Errorf("began -want +got:\n%s", diff)
		}
		if took := time.Since(start); took != 9*time.Second {
			t.Errorf("took %v, want 9s: the longest path", took)
		}
	})
}

func TestWalkKeepsToItsParallelism(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var running, most atomic.Int32
		dag.Walk(t.Context(), make([][]int, 10), 3, func(context.Context, int) error {
			defer running.Add(-1)
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(time.Second)
			return nil
		})
		if took := time.Since(start); most.Load() > 3 || took != 4*time.Second {
			t.Errorf("ten visits of a second took %v, %d at a time; want 4s, 3 at a time", took, most.Load())
		}
	})
}

func TestWalkSkipsOnlyWhatDependsOnAFailure(t *testing.T) {
	after := [][]int{nil, {0}, {1}, nil, {3}, {1, 3}}
	results := dag.Walk(t.Context(), after, 2, func(_ context.Context, i int) error {
		if i == 1 {
			return errBroken
		}
		return nil
	})
	if diff := cmp.Diff([]string{"done", "failed", "skipped", "done", "done", "skipped"}, statuses(results)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if results[1].Err != errBroken || results[2].Err != nil {
		t.Errorf("errors: %v", results)
	}
}

func TestWalkGroupsVisitsAGroupOnceWithoutWhatIsSkipped(t *testing.T) {
	// 3, 4, 5 and 6 are a group after one node each; 2 fails; 7 waits for 4.
	after := [][]int{nil, nil, nil, {0}, {1}, {2}, nil, {4}}
	var mu sync.Mutex
	var groups [][]int
	results := dag.WalkGroups(t.Context(), after, []int{0, 0, 0, 9, 9, 9, 9, 0}, 4, func(_ context.Context, nodes []int) []error {
		mu.Lock()
		defer mu.Unlock()
		if len(nodes) > 1 {
			groups = append(groups, nodes)
		}
		errs := make([]error, len(nodes))
		for n, i := range nodes {
			if i == 2 || i == 3 {
				errs[n] = errBroken
			}
		}
		return errs
	})
	if diff := cmp.Diff([][]int{{3, 4, 6}}, groups); diff != "" {
		t.Errorf("groups -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"done", "done", "failed", "failed", "done", "skipped", "done", "done"}, statuses(results)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWalkLetsFinishWhatRunsWhenCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), keyType{}, "value"), time.Second)
		defer cancel()
		results := dag.Walk(ctx, [][]int{nil, nil, {0}, nil}, 2, func(ctx context.Context, i int) error {
			if ctx.Value(keyType{}) != "value" {
				t.Error("the context lost its values")
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Hour):
			}
			if i == 1 {
				return errBroken
			}
			return nil
		})
		if diff := cmp.Diff([]string{"done", "failed", "not started", "not started"}, statuses(results)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

type keyType struct{}

func TestWalkOneAtATimeIsInOrderOfNumbers(t *testing.T) {
	var order []int
	dag.Walk(t.Context(), [][]int{{5}, nil, {1}, nil, {2}, nil}, 0, func(_ context.Context, i int) error {
		order = append(order, i)
		return nil
	})
	if diff := cmp.Diff([]int{1, 2, 3, 4, 5, 0}, order); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWalkDoesNotReachCycles(t *testing.T) {
	results := dag.Walk(t.Context(), [][]int{{1}, {0}, nil, {0, 2}, {4}}, 2, func(context.Context, int) error { return nil })
	if diff := cmp.Diff([]string{"not started", "not started", "done", "not started", "not started"}, statuses(results)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCyclesAndOrder(t *testing.T) {
	for name, c := range map[string]struct {
		after  [][]int
		cycles [][]int
		order  []int // nil when there is a cycle
	}{
		"empty":      {nil, nil, []int{}},
		"one":        {[][]int{nil}, nil, []int{0}},
		"itself":     {[][]int{nil, {1}}, [][]int{{1}}, nil},
		"two":        {[][]int{{1}, {0}}, [][]int{{0, 1}}, nil},
		"separate":   {[][]int{{4}, {2}, {1}, {0}, {3}}, [][]int{{0, 3, 4}, {1, 2}}, nil},
		"diamond":    {[][]int{{1, 2}, {3}, {3}, nil}, nil, []int{3, 1, 2, 0}},
		"duplicates": {[][]int{{1, 1}, nil}, nil, []int{1, 0}},
		"by number":  {[][]int{nil, nil, nil}, nil, []int{0, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.cycles, dag.Cycles(c.after)); diff != "" {
				t.Errorf("cycles -want +got:\n%s", diff)
			}
			order, ok := dag.Order(c.after)
			if ok != (c.order != nil) {
				t.Fatalf("ok = %v", ok)
			}
			if diff := cmp.Diff(c.order, order); ok && diff != "" {
				t.Errorf("order -want +got:\n%s", diff)
			}
		})
	}
}

// graphs draws graphs of up to 12 nodes; with acyclic, edges go from lower to higher numbers of a permutation.
func graphs(t *rapid.T, acyclic bool) [][]int {
	n := rapid.IntRange(0, 12).Draw(t, "n")
	after := make([][]int, n)
	place := rapid.Permutation(identity(n)).Draw(t, "place")
	for i := range after {
		for j := range after {
			if acyclic && place[j] >= place[i] {
				continue
			}
			if rapid.IntRange(0, 4).Draw(t, "edge") == 0 {
				after[i] = append(after[i], j)
			}
		}
	}
	return after
}

func identity(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// reachable is the transitive closure of after, by Warshall's algorithm.
func reachable(after [][]int) [][]bool {
	n := len(after)
	reach := make([][]bool, n)
	for i := range reach {
		reach[i] = make([]bool, n)
		for _, j := range after[i] {
			reach[i][j] = true
		}
	}
	for k := range n {
		for i := range n {
			for j := range n {
				reach[i][j] = reach[i][j] || reach[i][k] && reach[k][j]
			}
		}
	}
	return reach
}

func TestWalkProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		after := graphs(t, true)
		reach := reachable(after)
		parallelism := rapid.IntRange(1, 4).Draw(t, "parallelism")
		fails := make([]bool, len(after))
		for i := range fails {
			fails[i] = rapid.IntRange(0, 5).Draw(t, "fails") == 0
		}
		var mu sync.Mutex
		visited := make([]int, len(after))
		group := make([]int, len(after)) // any: also of nodes that wait for one another
		for i := range group {
			group[i] = rapid.IntRange(0, 3).Draw(t, "group")
		}
		results := dag.WalkGroups(context.Background(), after, group, parallelism, func(_ context.Context, nodes []int) []error {
			mu.Lock()
			defer mu.Unlock()
			errs := make([]error, len(nodes))
			for n, i := range nodes {
				visited[i]++
				for _, before := range after[i] {
					if visited[before] != 1 || fails[before] || slices.Contains(nodes, before) {
						t.Errorf("%d was visited before %d was done", i, before)
					}
				}
				if group[i] != group[nodes[0]] || group[i] == 0 && len(nodes) > 1 {
					t.Errorf("%v were visited together", nodes)
				}
				if fails[i] {
					errs[n] = errBroken
				}
			}
			return errs
		})
		for i, r := range results {
			skipped := false
			for j := range after {
				// A failure before it that was itself visited, or that was skipped for another one.
				skipped = skipped || reach[i][j] && fails[j]
			}
			want := dag.Done
			if skipped {
				want = dag.Skipped
			} else if fails[i] {
				want = dag.Failed
			}
			if r.Status != want || (visited[i] == 1) == skipped {
				t.Errorf("node %d: %v, visited %d times; want %v", i, r.Status, visited[i], want)
			}
		}
	})
}

func TestCyclesProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		after := graphs(t, rapid.Bool().Draw(t, "acyclic"))
		reach := reachable(after)
		var want [][]int
		seen := map[int]bool{}
		for i := range after {
			if !reach[i][i] || seen[i] {
				continue
			}
			var component []int
			for j := range after {
				if reach[i][j] && reach[j][i] {
					component = append(component, j)
					seen[j] = true
				}
			}
			want = append(want, component)
		}
		if diff := cmp.Diff(want, dag.Cycles(after)); diff != "" {
			t.Fatalf("cycles -want +got:\n%s", diff)
		}
		order, ok := dag.Order(after)
		if ok != (want == nil) {
			t.Fatalf("ok = %v with cycles %v", ok, want)
		}
		if !ok {
			return
		}
		place := make([]int, len(after))
		for at, i := range order {
			place[i] = at
		}
		if sorted := slices.Sorted(slices.Values(order)); !slices.Equal(sorted, identity(len(after))) {
			t.Fatalf("order %v is not one of all nodes", order)
		}
		for i := range after {
			for _, before := range after[i] {
				if place[before] > place[i] {
					t.Fatalf("%d stands before %d in %v", i, before, order)
				}
			}
		}
	})
}

// chain is the deepest graph of n nodes.
func chain(n int) [][]int {
	after := make([][]int, n)
	for i := range n - 1 {
		after[i] = []int{i + 1}
	}
	return after
}

func BenchmarkOrder(b *testing.B) {
	after := chain(100_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := dag.Order(after); !ok {
			b.Fatal("cycle")
		}
	}
}

func BenchmarkWalk(b *testing.B) {
	after := chain(100_000)
	b.ReportAllocs()
	for b.Loop() {
		dag.Walk(b.Context(), after, 10, func(context.Context, int) error { return nil })
	}
}
