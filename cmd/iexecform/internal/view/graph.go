package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A node is an action in a drawing of them, or several that are alike.
type node struct {
	actions []*actionText
	after   []int // indexes of nodes, all smaller than its own
}

// foldActions makes a graph of at most so many nodes, as far as it can. Actions become one node when they are of one kind, do
// it to one resource, and wait for the same nodes; if that leaves too many, to one type of resource; at last when they are of
// one kind and come equally late. Edges that follow from others are left out.
func foldActions(actions []actionText, most int) []node {
	depth := make([]int, len(actions))
	for i := range actions {
		for _, id := range actions[i].After {
			depth[i] = max(depth[i], depth[id-1]+1)
		}
	}
	var nodes []node
	for _, alike := range []func(i int, after []int) string{
		func(i int, _ []int) string { return fmt.Sprint(i) },
		func(i int, after []int) string {
			return fmt.Sprintf("%s\x00%s\x00%v", actions[i].Kind, actions[i].Block, after)
		},
		func(i int, after []int) string {
			return fmt.Sprintf("%s\x00%s\x00%v", actions[i].Kind, actions[i].Type, after)
		},
		func(i int, _ []int) string { return fmt.Sprintf("%s\x00%d", actions[i].Kind, depth[i]) },
	} {
		if nodes = foldAlike(actions, depth, alike); len(nodes) <= most {
			break
		}
	}
	reduce(nodes)
	return nodes
}

func foldAlike(actions []actionText, depth []int, alike func(i int, after []int) string) []node {
	var nodes []node
	var depths []int
	number := map[string]int{}
	of := make([]int, len(actions)) // the node of each action
	for i := range actions {
		var after []int
		for _, id := range actions[i].After {
			after = append(after, of[id-1])
		}
		after = sortedSet(after)
		key := alike(i, after)
		n, ok := number[key]
		if !ok {
			n = len(nodes)
			number[key] = n
			nodes, depths = append(nodes, node{}), append(depths, depth[i])
		}
		of[i] = n
		nodes[n].actions = append(nodes[n].actions, &actions[i])
		nodes[n].after = append(nodes[n].after, after...)
	}
	order := make([]int, len(nodes))
	for n := range order {
		order[n] = n
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(depths[a], depths[b]) })
	place := make([]int, len(nodes))
	sorted := make([]node, len(nodes))
	for at, n := range order {
		place[n], sorted[at] = at, nodes[n]
	}
	for n := range sorted {
		for i, a := range sorted[n].after {
			sorted[n].after[i] = place[a]
		}
		sorted[n].after = sortedSet(sorted[n].after)
	}
	return sorted
}

func sortedSet(list []int) []int {
	slices.Sort(list)
	return slices.Compact(list)
}

// reduce leaves out edges that follow from others.
func reduce(nodes []node) {
	above := make([]map[int]bool, len(nodes))
	for n := range nodes {
		above[n] = map[int]bool{}
		var direct []int
		for _, a := range slices.Backward(nodes[n].after) { // the nearest first
			if !above[n][a] {
				direct = append(direct, a)
			}
			above[n][a] = true
			for more := range above[a] {
				above[n][more] = true
			}
		}
		slices.Reverse(direct)
		nodes[n].after = direct
	}
}

// number is what tells the node's actions: "#3", or "×250".
func (n *node) number() string {
	if len(n.actions) == 1 {
		return fmt.Sprintf("#%d", n.actions[0].ID)
	}
	return "×" + grouped(fmt.Sprint(len(n.actions)))
}

// label is a short name of what the node's actions are about, of at most so many characters.
func (n *node) label(most int) string {
	first := n.actions[0]
	name := first.Addr
	for _, a := range n.actions[1:] {
		switch {
		case a.Type != first.Type:
			return "several types"
		case a.Block != first.Block:
			name = first.Type + ".…"
		case name == first.Addr && a.Addr != first.Addr:
			name = first.Block
		}
	}
	if short, ok := strings.CutPrefix(strings.TrimPrefix(name, "data."), first.Type+"."); ok && short != "…" {
		name = short
	}
	return middleCut(name, most)
}

func middleCut(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	tail := most / 2
	return string(runes[:most-tail-1]) + "…" + string(runes[len(runes)-tail:])
}

// tooltip is the node in words.
func (n *node) tooltip() string {
	first := n.actions[0]
	if len(n.actions) == 1 {
		lines := append([]string{fmt.Sprintf("%d. %s %s", first.ID, first.Kind, first.Addr)}, first.Summary)
		return strings.Join(append(lines, first.Remarks()...), "\n")
	}
	var list []string
	for _, a := range n.actions[:min(len(n.actions), 10)] {
		list = append(list, fmt.Sprintf("%d. %s %s", a.ID, a.Kind, a.Addr))
	}
	if more := len(n.actions) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("and %s more", grouped(fmt.Sprint(more))))
	}
	return strings.Join(list, "\n")
}
