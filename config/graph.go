package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Edge says that block From refers to block To. The names are addresses: iexec_app.a, data.oci_image.i, var.v, local.l,
// output.o, provider.iexec or provider.iexec.alias.
type Edge struct{ From, To string }

// Graph returns the names of all blocks, sorted, and the references between them, sorted.
func (c *Config) Graph() (nodes []string, edges []Edge) {
	for _, n := range c.nodes {
		if n.kind == importNode {
			continue // part of the resource
		}
		nodes = append(nodes, n.id())
		for _, to := range n.deps {
			if to.kind != importNode {
				edges = append(edges, Edge{From: n.id(), To: to.id()})
			}
		}
	}
	slices.Sort(nodes)
	slices.SortFunc(edges, func(a, b Edge) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return nodes, edges
}

// sortNodes puts the nodes in order of reference and reports cycles.
func (l *loader) sortNodes() {
	waiting := make([]int, len(l.nodes))
	var ready []*node
	for _, n := range l.nodes {
		waiting[n.index] = len(n.deps)
		if len(n.deps) == 0 {
			ready = append(ready, n)
		}
	}
	for len(ready) > 0 {
		n := ready[0]
		ready = ready[1:]
		l.order = append(l.order, n)
		for _, user := range n.users {
			if waiting[user.index]--; waiting[user.index] == 0 {
				ready = append(ready, user)
			}
		}
	}
	if len(l.order) == len(l.nodes) {
		return
	}
	for _, members := range components(l.nodes, func(n *node) bool { return waiting[n.index] > 0 }) {
		if cycle := shortestCycle(members); cycle != nil {
			l.reportCycle(cycle)
		}
	}
}

// components are the strongly connected components among the nodes that belong, by Tarjan's algorithm. Each is in order
// of declaration.
func components(nodes []*node, belongs func(*node) bool) [][]*node {
	var (
		stack  []*node
		number = make([]int, len(nodes)) // 0: not visited
		low    = make([]int, len(nodes))
		onTop  = make([]bool, len(nodes))
		count  int
		found  [][]*node
		visit  func(n *node)
	)
	visit = func(n *node) {
		count++
		number[n.index], low[n.index] = count, count
		stack = append(stack, n)
		onTop[n.index] = true
		for _, to := range n.deps {
			switch {
			case !belongs(to):
			case number[to.index] == 0:
				visit(to)
				low[n.index] = min(low[n.index], low[to.index])
			case onTop[to.index]:
				low[n.index] = min(low[n.index], number[to.index])
			}
		}
		if low[n.index] != number[n.index] {
			return
		}
		at := slices.Index(stack, n)
		members := slices.Clone(stack[at:])
		stack = stack[:at]
		for _, m := range members {
			onTop[m.index] = false
		}
		slices.SortFunc(members, func(a, b *node) int { return a.index - b.index })
		found = append(found, members)
	}
	for _, n := range nodes {
		if belongs(n) && number[n.index] == 0 {
			visit(n)
		}
	}
	slices.SortFunc(found, func(a, b []*node) int { return a[0].index - b[0].index })
	return found
}

// shortestCycle finds a shortest way from the first member back to itself, or nil when there is none.
func shortestCycle(members []*node) []*node {
	start := members[0]
	inside := map[*node]bool{}
	for _, m := range members {
		inside[m] = true
	}
	from := map[*node]*node{}
	for queue := []*node{start}; len(queue) > 0; queue = queue[1:] {
		for _, to := range queue[0].deps {
			if to == start {
				var cycle []*node
				for n := queue[0]; n != nil; n = from[n] {
					cycle = append(cycle, n)
				}
				slices.Reverse(cycle)
				return cycle
			}
			if inside[to] && from[to] == nil {
				from[to] = queue[0]
				queue = append(queue, to)
			}
		}
	}
	return nil
}

func (l *loader) reportCycle(cycle []*node) {
	where := func(i int) hcl.Range {
		to := cycle[(i+1)%len(cycle)]
		for _, r := range cycle[i].refs {
			if r.to == to {
				return r.rng
			}
		}
		return cycle[i].rng
	}
	if len(cycle) == 1 {
		l.errorf(where(0).Ptr(), "Self-referential block", "%s refers to itself, so it cannot be computed. Name the value in another way, for example with a local value that both places use.", cycle[0].id())
		return
	}
	var lines strings.Builder
	for i, n := range cycle {
		fmt.Fprintf(&lines, "\n  %s refers to %s at %s", n.id(), cycle[(i+1)%len(cycle)].id(), place(where(i)))
	}
	l.errorf(where(0).Ptr(), "Cycle", "These blocks refer to each other in a circle, so that none can be computed first:%s\nRemove one of these references.", lines.String())
}
