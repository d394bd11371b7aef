// Package dag walks directed acyclic graphs, whatever their nodes are. A graph of n nodes is a slice of length n:
// after[i] are the nodes that come before node i, each in 0 … n-1. Time and memory are O(V+E), but for the queue of
// Walk, which is a heap.
package dag

import (
	"container/heap"
	"context"
	"slices"
)

// Status is what became of a node in a walk.
type Status uint8

// The statuses.
const (
	NotStarted Status = iota // the walk was cancelled first, or the node can't be reached because of a cycle
	Skipped                  // a node before it failed or was skipped
	Failed                   // its visit returned an error
	Done
)

func (s Status) String() string {
	return [...]string{"not started", "skipped", "failed", "done"}[s]
}

// Result is what became of a node. Err is the error of a Failed one.
type Result struct {
	Status Status
	Err    error
}

// Walk visits each node once, after all nodes before it were visited without error, at most parallelism (at least 1) at
// a time, the lowest of the nodes that may be visited first. A node after one that failed or was skipped is skipped;
// everything else goes on. Once ctx is cancelled nothing more is started, and what is under way may finish: visit's
// context has the values of ctx, but neither its cancellation nor its deadline. Walk returns when no visit is under way.
func Walk(ctx context.Context, after [][]int, parallelism int, visit func(ctx context.Context, i int) error) []Result {
	return WalkGroups(ctx, after, nil, parallelism, func(ctx context.Context, nodes []int) []error {
		return []error{visit(ctx, nodes[0])}
	})
}

// WalkGroups is Walk, but visits the nodes of a group together: group[i] is the number of node i's group, or 0 for none; nil
// is no groups. A group is visited when each of its nodes may be visited or is skipped, without those that are skipped;
// where groups wait for one another, one of them is visited in parts. visit gets nodes in ascending order, at least one, and
// returns an error or nil for each. A group counts as one visit.
func WalkGroups(ctx context.Context, after [][]int, group []int, parallelism int, visit func(ctx context.Context, nodes []int) []error) []Result {
	type outcome struct {
		nodes []int
		errs  []error
	}
	w := newWalk(after, group)
	outcomes := make(chan outcome)
	detached := context.WithoutCancel(ctx)
	for running := 0; ; running-- {
		for ; running < max(1, parallelism) && w.more(running > 0) && ctx.Err() == nil; running++ {
			nodes := w.next()
			go func() { outcomes <- outcome{nodes, visit(detached, nodes)} }()
		}
		if running == 0 {
			return w.results
		}
		o := <-outcomes
		for n, i := range o.nodes {
			if err := o.errs[n]; err != nil {
				w.settle(i, Result{Failed, err})
			} else {
				w.settle(i, Result{Status: Done})
			}
		}
	}
}

type walk struct {
	results []Result
	users   [][]int // the nodes that come after a node
	waiting []int   // how many edges into a node are not settled
	ready   queue   // of groups, their lowest node
	group   []int
	missing map[int]int   // by group: nodes that may still come
	held    map[int][]int // by group: nodes that may be visited
}

func newWalk(after [][]int, group []int) *walk {
	n := len(after)
	w := &walk{results: make([]Result, n), users: make([][]int, n), waiting: make([]int, n), group: group, missing: map[int]int{}, held: map[int][]int{}}
	for _, g := range group {
		w.missing[g]++
	}
	for i, before := range after {
		w.waiting[i] = len(before)
		for _, b := range before {
			w.users[b] = append(w.users[b], i)
		}
	}
	for i, before := range after {
		if len(before) == 0 {
			w.arrive(i)
		}
	}
	return w
}

func (w *walk) groupOf(i int) int {
	if w.group == nil {
		return 0
	}
	return w.group[i]
}

// arrive takes a node that may be visited.
func (w *walk) arrive(i int) {
	g := w.groupOf(i)
	if g == 0 {
		heap.Push(&w.ready, i)
		return
	}
	w.held[g] = append(w.held[g], i)
	w.complete(g)
}

// complete counts a node of a group that may be visited or is skipped.
func (w *walk) complete(g int) {
	if w.missing[g]--; w.missing[g] == 0 && len(w.held[g]) > 0 {
		heap.Push(&w.ready, slices.Min(w.held[g]))
	}
}

// more reports whether there is something to visit. When nothing is, and nothing under way can change that, a group that is
// not complete must do.
func (w *walk) more(underWay bool) bool {
	if len(w.ready) == 0 && !underWay {
		least := -1
		for g, nodes := range w.held {
			if w.missing[g] > 0 && (least < 0 || slices.Min(nodes) < least) {
				least = slices.Min(nodes)
			}
		}
		if least >= 0 {
			heap.Push(&w.ready, least)
		}
	}
	return len(w.ready) > 0
}

// next takes what is to be visited.
func (w *walk) next() []int {
	i := heap.Pop(&w.ready).(int)
	g := w.groupOf(i)
	if g == 0 {
		return []int{i}
	}
	nodes := w.held[g]
	delete(w.held, g)
	slices.Sort(nodes)
	return nodes
}

// settle notes a node's result, then makes ready or skips what waited for it alone.
func (w *walk) settle(i int, r Result) {
	w.results[i] = r
	settled := []int{i}
	for len(settled) > 0 {
		i, settled = settled[len(settled)-1], settled[:len(settled)-1]
		for _, user := range w.users[i] {
			if w.results[i].Status != Done {
				w.results[user].Status = Skipped
			}
			if w.waiting[user]--; w.waiting[user] > 0 {
				continue
			}
			if w.results[user].Status != Skipped {
				w.arrive(user)
				continue
			}
			settled = append(settled, user)
			if g := w.groupOf(user); g != 0 {
				w.complete(g)
			}
		}
	}
}

// queue is a heap.Interface of nodes, the lowest first.
type queue []int

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i] < q[j] }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(int)) }

func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// Order returns the nodes so that each stands after all nodes before it; the order depends on the graph only: it is that
// of a depth-first search from node 0 on. ok is false when there is a cycle; see Cycles.
func Order(after [][]int) (order []int, ok bool) {
	order, ok = make([]int, 0, len(after)), true
	components(after, func(c []int) {
		order = append(order, c...)
		ok = ok && !isCycle(after, c)
	})
	return order, ok
}

// Cycles returns the strongly connected components that hold a cycle, each sorted, the one with the lowest node first;
// nil for an acyclic graph.
func Cycles(after [][]int) [][]int {
	var cycles [][]int
	components(after, func(c []int) {
		if isCycle(after, c) {
			slices.Sort(c)
			cycles = append(cycles, c)
		}
	})
	slices.SortFunc(cycles, func(a, b []int) int { return a[0] - b[0] })
	return cycles
}

func isCycle(after [][]int, component []int) bool {
	return len(component) > 1 || slices.Contains(after[component[0]], component[0])
}

// components calls found with each strongly connected component, those before it first (Tarjan's algorithm, with a
// stack of its own: chains may be long).
func components(after [][]int, found func(component []int)) {
	type frame struct{ node, edge int }
	var (
		index = make([]int, len(after)) // order of discovery from 1; 0: not yet; done: in a component
		low   = make([]int, len(after)) // lowest index reachable within the stack
		stack []int
		calls []frame
		count int
	)
	const done = -1
	enter := func(i int) {
		count++
		index[i], low[i] = count, count
		stack = append(stack, i)
		calls = append(calls, frame{node: i})
	}
	for root := range after {
		if index[root] == 0 {
			enter(root)
		}
		for len(calls) > 0 {
			f := &calls[len(calls)-1]
			if f.edge < len(after[f.node]) {
				before := after[f.node][f.edge]
				f.edge++
				if index[before] == 0 {
					enter(before)
				} else if index[before] != done {
					low[f.node] = min(low[f.node], index[before])
				}
				continue
			}
			i := f.node
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				caller := calls[len(calls)-1].node
				low[caller] = min(low[caller], low[i])
			}
			if low[i] == index[i] {
				at := len(stack) - 1
				for stack[at] != i {
					at--
				}
				component := slices.Clone(stack[at:])
				stack = stack[:at]
				for _, member := range component {
					index[member] = done
				}
				found(component)
			}
		}
	}
}
