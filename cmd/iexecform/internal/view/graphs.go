package view

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// Graph is a graph to be printed: blocks and what they refer to, or actions and what they wait for.
type Graph struct {
	Nodes []GraphNode `json:"nodes"`
	Edges []GraphEdge `json:"edges"`
}

// GraphNode is a node. Label is "" where the ID says it.
type GraphNode struct {
	ID    string `json:"id"`
	Label string `json:"label,omitempty"`
}

// GraphEdge leads to what a node refers to or waits for.
type GraphEdge struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// GraphFormats are what Graph.Write knows.
var GraphFormats = []string{"dot", "mermaid", "json"}

// Write prints the graph in one of GraphFormats.
func (g *Graph) Write(w io.Writer, format string) error {
	switch format {
	case "mermaid":
		return g.mermaid(w)
	case "json":
		return writeJSON(w, Graph{Nodes: orEmpty(g.Nodes), Edges: orEmpty(g.Edges)})
	}
	labels := map[string]string{}
	nodes := make([]string, len(g.Nodes))
	for i, n := range g.Nodes {
		if nodes[i] = n.ID; n.Label != "" {
			labels[n.ID] = n.Label
		}
	}
	edges := make([][2]string, len(g.Edges))
	for i, e := range g.Edges {
		edges[i] = [2]string{e.From, e.To}
	}
	return Dot(w, labels, nodes, edges)
}

// mermaid prints a flowchart. Nodes are numbered: an address is no id there.
func (g *Graph) mermaid(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString("flowchart RL\n")
	number := map[string]int{}
	for i, n := range g.Nodes {
		number[n.ID] = i + 1
		text := n.Label
		if text == "" {
			text = n.ID
		}
		fmt.Fprintf(&b, "  n%d[\"%s\"]\n", i+1, strings.NewReplacer("#", "#35;", `"`, "#quot;", "<", "#lt;", ">", "#gt;").Replace(text))
	}
	for _, e := range g.Edges {
		fmt.Fprintf(&b, "  n%d --> n%d\n", number[e.From], number[e.To])
	}
	_, err := w.Write(b.Bytes())
	return err
}
