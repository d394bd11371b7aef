package view

import (
	"cmp"
	"math"
	"slices"
)

// Layered drawing of directed acyclic graphs, from top to bottom, after Sugiyama: rows, then the order within rows, then
// coordinates. Unlike in the usual form a row holds a limited number of nodes, so that a drawing fits a page, or a phone.
// Parts that aren't connected are drawn side by side.

type point struct{ x, y float64 }

// frame is the measures of a drawing.
type frame struct {
	perRow     int     // most nodes side by side
	w, h       float64 // of a node
	gapX, gapY float64
	lane       float64 // width of an edge that passes a row
}

func (f frame) width() float64 { return float64(f.perRow)*(f.w+f.gapX) - f.gapX }

// drawing has the upper left corners of nodes, and for each edge the points that it passes from top to bottom.
type drawing struct {
	nodes         []point
	edges         [][]point
	width, height float64
}

// draw places nodes; after[n] has the nodes, all smaller than n, that n comes after.
func draw(after [][]int, f frame) drawing {
	out := drawing{nodes: make([]point, len(after))}
	var x, y, rowHeight float64
	for _, part := range parts(after) {
		d := drawPart(part, after, f)
		if x > 0 && x+d.width > f.width() {
			x, y, rowHeight = 0, y+rowHeight+f.gapY, 0
		}
		for i, n := range part {
			out.nodes[n] = point{d.nodes[i].x + x, d.nodes[i].y + y}
		}
		for _, edge := range d.edges {
			for i := range edge {
				edge[i].x, edge[i].y = edge[i].x+x, edge[i].y+y
			}
			out.edges = append(out.edges, edge)
		}
		out.width = max(out.width, x+d.width)
		rowHeight = max(rowHeight, d.height)
		out.height = max(out.height, y+rowHeight)
		x += d.width + f.gapX
	}
	return out
}

// parts are the nodes that are connected with each other, in order.
func parts(after [][]int) [][]int {
	root := make([]int, len(after))
	var find func(int) int
	find = func(n int) int {
		if root[n] != n {
			root[n] = find(root[n])
		}
		return root[n]
	}
	for n := range after {
		root[n] = n
		for _, a := range after[n] {
			a, b := find(a), find(n)
			root[max(a, b)] = min(a, b)
		}
	}
	var list [][]int
	at := map[int]int{}
	for n := range after {
		r := find(n)
		i, ok := at[r]
		if !ok {
			i = len(list)
			at[r] = i
			list = append(list, nil)
		}
		list[i] = append(list[i], n)
	}
	return list
}

// A vertex is a node, or the place where an edge passes a row.
type vertex struct {
	node     int // index in the part; -1 for an edge that passes
	row      int
	up, down []int // vertices in the rows beside
	x        float64
}

type layering struct {
	frame
	vertices []vertex
	rows     [][]int
}

func drawPart(part []int, after [][]int, f frame) drawing {
	index := map[int]int{}
	for i, n := range part {
		index[n] = i
	}
	before := make([][]int, len(part))
	for i, n := range part {
		for _, a := range after[n] {
			before[i] = append(before[i], index[a])
		}
	}
	l := layering{frame: f}
	chains := l.build(before, rowsOf(before, f.perRow))
	l.order()
	l.place()
	d := drawing{nodes: make([]point, len(part)), height: float64(len(l.rows))*(f.h+f.gapY) - f.gapY}
	left := math.Inf(1)
	for _, v := range l.vertices {
		left = min(left, v.x-l.widthOf(v)/2)
	}
	for _, v := range l.vertices {
		d.width = max(d.width, v.x+l.widthOf(v)/2-left)
		if v.node >= 0 {
			d.nodes[v.node] = point{v.x - f.w/2 - left, l.top(v.row)}
		}
	}
	for _, chain := range chains {
		var edge []point
		for i, n := range chain {
			v := l.vertices[n]
			if i > 0 {
				edge = append(edge, point{v.x - left, l.top(v.row)})
			}
			if i < len(chain)-1 {
				edge = append(edge, point{v.x - left, l.top(v.row) + f.h})
			}
		}
		d.edges = append(d.edges, edge)
	}
	return d
}

func (l *layering) top(row int) float64 { return float64(row) * (l.h + l.gapY) }

func (l *layering) widthOf(v vertex) float64 {
	if v.node < 0 {
		return l.lane
	}
	return l.w
}

// rowsOf puts each node below those that it comes after, the ones with the longest way to go first, at most so many in a row.
func rowsOf(before [][]int, perRow int) []int {
	toGo := make([]int, len(before))
	for n := range slices.Backward(before) {
		for _, b := range before[n] {
			toGo[b] = max(toGo[b], toGo[n]+1)
		}
	}
	left := make([]int, len(before))
	for n := range left {
		left[n] = n
	}
	slices.SortStableFunc(left, func(a, b int) int { return cmp.Compare(toGo[b], toGo[a]) })
	row := make([]int, len(before))
	for n := range row {
		row[n] = -1
	}
	for r := 0; len(left) > 0; r++ {
		taken := 0
		var later []int
		for _, n := range left {
			ready := taken < perRow && !slices.ContainsFunc(before[n], func(b int) bool { return row[b] < 0 || row[b] == r })
			if !ready {
				later = append(later, n)
				continue
			}
			row[n] = r
			taken++
		}
		left = later
	}
	return row
}

// build makes the vertices and returns, for each edge, those that it passes.
func (l *layering) build(before [][]int, row []int) (chains [][]int) {
	add := func(node, row int) int {
		l.vertices = append(l.vertices, vertex{node: node, row: row})
		for len(l.rows) <= row {
			l.rows = append(l.rows, nil)
		}
		l.rows[row] = append(l.rows[row], len(l.vertices)-1)
		return len(l.vertices) - 1
	}
	for n := range before {
		add(n, row[n])
	}
	for n := range before {
		for _, b := range before[n] {
			chain := []int{b}
			for r := row[b] + 1; r < row[n]; r++ {
				chain = append(chain, add(-1, r))
			}
			chain = append(chain, n)
			for i, v := range chain[1:] {
				u := chain[i]
				l.vertices[u].down = append(l.vertices[u].down, v)
				l.vertices[v].up = append(l.vertices[v].up, u)
			}
			chains = append(chains, chain)
		}
	}
	return chains
}

// order sorts the rows by where the vertices' neighbours are, to and fro, and keeps what has the fewest crossings.
func (l *layering) order() {
	const sweeps = 12
	best, fewest := l.copyRows(), l.crossings()
	for s := 0; s < sweeps && fewest > 0; s++ {
		at := make([]float64, len(l.vertices))
		for _, row := range l.rows {
			for i, v := range row {
				at[v] = float64(i)
			}
		}
		sortRow := func(r int, neighbours func(vertex) []int) {
			slices.SortStableFunc(l.rows[r], func(a, b int) int {
				return cmp.Compare(mean(neighbours(l.vertices[a]), at, at[a]), mean(neighbours(l.vertices[b]), at, at[b]))
			})
			for i, v := range l.rows[r] {
				at[v] = float64(i)
			}
		}
		if s%2 == 0 {
			for r := 1; r < len(l.rows); r++ {
				sortRow(r, func(v vertex) []int { return v.up })
			}
		} else {
			for r := len(l.rows) - 2; r >= 0; r-- {
				sortRow(r, func(v vertex) []int { return v.down })
			}
		}
		if n := l.crossings(); n < fewest {
			best, fewest = l.copyRows(), n
		}
	}
	l.rows = best
}

func (l *layering) copyRows() [][]int {
	rows := make([][]int, len(l.rows))
	for r := range rows {
		rows[r] = slices.Clone(l.rows[r])
	}
	return rows
}

func mean(list []int, value []float64, none float64) float64 {
	if len(list) == 0 {
		return none
	}
	sum := 0.0
	for _, n := range list {
		sum += value[n]
	}
	return sum / float64(len(list))
}

func (l *layering) crossings() int {
	at := make([]int, len(l.vertices))
	for _, row := range l.rows {
		for i, v := range row {
			at[v] = i
		}
	}
	n := 0
	for _, row := range l.rows {
		var ends []int // lower ends of edges, sorted by their upper ends
		for _, v := range row {
			var down []int
			for _, d := range l.vertices[v].down {
				down = append(down, at[d])
			}
			slices.Sort(down)
			ends = append(ends, down...)
		}
		for i := range ends {
			for _, e := range ends[i+1:] {
				if e < ends[i] {
					n++
				}
			}
		}
	}
	return n
}

// place gives each vertex its x: as near as its row allows to the middle of its neighbours.
func (l *layering) place() {
	const sweeps = 24
	widest := 0.0
	for _, row := range l.rows {
		widest = max(widest, l.spread(row, nil, math.Inf(1)))
	}
	at := make([]float64, len(l.vertices))
	set := func(row []int, want []float64) {
		l.spread(row, want, widest)
		for _, v := range row {
			at[v] = l.vertices[v].x
		}
	}
	for _, row := range l.rows {
		want := make([]float64, len(row))
		for i := range want {
			want[i] = widest * (float64(i) + 0.5) / float64(len(row))
		}
		set(row, want)
	}
	for s := range sweeps {
		for i := range l.rows {
			r := i
			if s%2 == 1 {
				r = len(l.rows) - 1 - i
			}
			want := make([]float64, len(l.rows[r]))
			for i, n := range l.rows[r] {
				v := l.vertices[n]
				want[i] = mean(slices.Concat(v.up, v.down), at, at[n])
			}
			set(l.rows[r], want)
		}
	}
}

// spread sets the x of a row's vertices, from left to right within the width, to what is nearest to the wanted ones in the
// sense of least squares, and returns the width that the row needs at least. Without wanted ones it sets nothing.
func (l *layering) spread(row []int, want []float64, width float64) (need float64) {
	offset := make([]float64, len(row)) // of each middle, when the row is packed
	for i, n := range row {
		w := l.widthOf(l.vertices[n])
		if i > 0 {
			need += l.gapX
		}
		offset[i] = need + w/2
		need += w
	}
	if want == nil {
		return need
	}
	// What is left of each wanted x has to rise: pool those that don't (isotonic regression).
	type pool struct {
		sum float64
		n   int
	}
	var pools []pool
	for i := range row {
		pools = append(pools, pool{want[i] - offset[i], 1})
		for len(pools) > 1 {
			a, b := pools[len(pools)-2], pools[len(pools)-1]
			if a.sum/float64(a.n) <= b.sum/float64(b.n) {
				break
			}
			pools = append(pools[:len(pools)-2], pool{a.sum + b.sum, a.n + b.n})
		}
	}
	i := 0
	for _, p := range pools {
		shift := min(max(p.sum/float64(p.n), 0), width-need)
		for range p.n {
			l.vertices[row[i]].x = offset[i] + shift
			i++
		}
	}
	return need
}
