package view

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page's template and style
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math/big"
	"slices"

	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
)

// HTML prints a plan as one page that loads nothing and holds no script, to be attached to a review.
type HTML struct {
	Out    io.Writer
	Tables Tables
}

var (
	//go:embed page.html
	pageTemplate string
	//go:embed page.css
	pageStyle string
)

// What is folded at first, so that a page of thousands of actions can be read as one of five.
const (
	groupFrom     = 6  // changes of one resource and kind
	openUpTo      = 8  // changes whose attributes are shown at once
	drawnUpTo     = 24 // actions that are drawn one by one
	drawableUpTo  = 400
	listedUpTo    = 50 // actions
	noticesListed = 20
)

// page is what the template prints.
type page struct {
	*review
	Title       string
	Style       template.CSS
	StyleHash   string
	Groups      []changeGroup
	ChangeOf    map[string]int // number of the change, by address
	Drawings    []svg
	Folded      bool // a node of the drawings stands for several actions
	FoldActions bool
	Total       billRow
}

// changeGroup is changes that are alike, or with Block "" one change.
type changeGroup struct {
	Block, Event, Symbol string
	Kind                 providers.ChangeKind
	Changes              []pageChange
}

type pageChange struct {
	*changeText
	ID      int
	Open    bool
	Telling []difference // of a change in a group: short texts by which it differs from the others
}

type svg struct {
	Class         string
	Width, Height int
	Nodes         []svgNode
	Edges         []svgEdge
}

type svgNode struct {
	First                        int // action
	Kind, Number, Label, Tooltip string
	Touch                        touch
	Many                         bool
	X, Y, W, H                   int
	XMany, YMany                 int
	XText, XNumber               int
	YKind, YLabel                int
}

type svgEdge struct{ Path, Tip string }

// Plan prints a plan.
func (h *HTML) Plan(p *plan.Plan) error {
	r, err := newReview(p, h.Tables)
	if err != nil {
		return err
	}
	t, err := template.New("page").Funcs(template.FuncMap{
		"count": func(n int) string { return grouped(fmt.Sprint(n)) },
		"head":  func(list []noticeText) []noticeText { return list[:min(len(list), noticesListed)] },
		"tail":  func(list []noticeText) []noticeText { return list[min(len(list), noticesListed):] },
		"markClass": func(mark string) string {
			return map[string]string{"+": "plus", "-": "minus", "~": "tilde"}[mark]
		},
	}).Parse(pageTemplate)
	if err != nil {
		return fmt.Errorf("page: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, newPage(r, p.Project)); err != nil {
		return fmt.Errorf("page: %w", err)
	}
	_, err = h.Out.Write(b.Bytes())
	return err
}

func newPage(r *review, project string) *page {
	hash := sha256.Sum256([]byte(pageStyle))
	p := &page{
		review: r, Title: "iexecform plan: " + r.Verdict, FoldActions: len(r.Actions) > listedUpTo,
		Style: template.CSS(pageStyle), StyleHash: "sha256-" + base64.StdEncoding.EncodeToString(hash[:]), //nolint:gosec // a file of this package
		Total: billRow{Kind: "all", wei: new(big.Int)},
	}
	if project != "" {
		p.Title = plain(project) + ": " + r.Verdict
	}
	p.groupChanges()
	for i := range r.Bill {
		row := &r.Bill[i]
		p.Total.Number += row.Number
		p.Total.Signatures += row.Signatures
		p.Total.Requests += row.Requests
		p.Total.gas += row.gas
		p.Total.wei.Add(p.Total.wei, row.wei)
	}
	p.drawActions()
	return p
}

func (p *page) groupChanges() {
	type alike struct {
		block, event string
	}
	var order []alike
	groups := map[alike]*changeGroup{}
	p.ChangeOf = map[string]int{}
	for i := range p.Changes {
		c := &p.Changes[i]
		p.ChangeOf[c.Addr] = i + 1
		key := alike{c.Block, c.Event}
		g := groups[key]
		if g == nil {
			order = append(order, key)
			g = &changeGroup{Block: c.Block, Event: c.Event, Symbol: c.Symbol, Kind: c.Kind}
			groups[key] = g
		}
		open := len(p.Changes) <= openUpTo && c.Kind != providers.Delete && c.Kind != providers.Forget
		g.Changes = append(g.Changes, pageChange{changeText: c, ID: i + 1, Open: open})
	}
	for _, key := range order {
		g := groups[key]
		if len(g.Changes) < groupFrom {
			g.Block = ""
		} else {
			g.tell()
		}
		p.Groups = append(p.Groups, *g)
	}
}

// tell finds what the changes of the group differ by.
func (g *changeGroup) tell() {
	const most, longest = 3, 40
	texts := map[string]string{} // of the first change that has the attribute
	differ := map[string]bool{}
	for _, c := range g.Changes {
		for _, d := range c.Lines {
			text := d.Text()
			if first, ok := texts[d.Name]; !ok {
				texts[d.Name] = text
			} else if first != text {
				differ[d.Name] = true
			}
		}
	}
	for i := range g.Changes {
		c := &g.Changes[i]
		for _, d := range c.Lines {
			if !d.Own && len(c.Telling) < most && len(d.Text()) <= longest && (differ[d.Name] || g.Kind == providers.Update) {
				c.Telling = append(c.Telling, d)
			}
		}
	}
}

// drawActions draws the graph twice: for a screen, and for a phone.
func (p *page) drawActions() {
	nodes := foldActions(p.Actions, drawnUpTo)
	if len(nodes) == 0 || len(nodes) > drawableUpTo {
		return
	}
	p.Folded = slices.ContainsFunc(nodes, func(n node) bool { return len(n.actions) > 1 })
	p.Drawings = []svg{
		drawNodes("wide", nodes, frame{perRow: 5, w: 172, h: 46, gapX: 18, gapY: 30, lane: 10}),
		drawNodes("narrow", nodes, frame{perRow: 2, w: 152, h: 46, gapX: 10, gapY: 26, lane: 6}),
	}
}

func drawNodes(class string, nodes []node, f frame) svg {
	const margin, shadow = 2, 4
	const padding, letter = 13, 7.3 // of the label
	after := make([][]int, len(nodes))
	for n := range nodes {
		after[n] = nodes[n].after
	}
	d := draw(after, f)
	out := svg{Class: class, Width: int(d.width) + 2*margin + shadow, Height: int(d.height) + 2*margin + shadow}
	for i, at := range d.nodes {
		n := &nodes[i]
		x, y, w := int(at.x)+margin, int(at.y)+margin, int(f.w)
		out.Nodes = append(out.Nodes, svgNode{
			First: n.actions[0].ID, Kind: n.actions[0].Kind, Number: n.number(), Label: n.label(int((f.w - 2*padding) / letter)), Tooltip: n.tooltip(),
			Touch: n.actions[0].Touch, Many: len(n.actions) > 1,
			X: x, Y: y, W: w, H: int(f.h), XMany: x + shadow, YMany: y + shadow,
			XText: x + padding, XNumber: x + w - 8, YKind: y + 19, YLabel: y + 36,
		})
	}
	for _, edge := range d.edges {
		for i := range edge {
			edge[i].x, edge[i].y = edge[i].x+margin, edge[i].y+margin
		}
		out.Edges = append(out.Edges, drawEdge(edge))
	}
	return out
}

// drawEdge is a line through the points, bent between rows, with an arrowhead.
func drawEdge(edge []point) svgEdge {
	const arrow = 6
	end := edge[len(edge)-1]
	var path bytes.Buffer
	fmt.Fprintf(&path, "M%.1f %.1f", edge[0].x, edge[0].y)
	for i, to := range edge[1:] {
		from := edge[i]
		if i == len(edge)-2 {
			to.y -= arrow - 1
		}
		bend := (to.y - from.y) * .5
		fmt.Fprintf(&path, "C%.1f %.1f %.1f %.1f %.1f %.1f", from.x, from.y+bend, to.x, to.y-bend, to.x, to.y)
	}
	tip := fmt.Sprintf("M%.1f %.1fl-3.5 -%dh7z", end.x, end.y, arrow)
	return svgEdge{path.String(), tip}
}
