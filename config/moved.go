package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
)

// moved and removed blocks are about objects of the state: moved { from = iexec_app.a, to = iexec_app.b } gives them
// another address, removed { from = iexec_apporder.o, mode = "forget" } says how they go. Policies: both are literal; both
// may stay when they have had their effect; an address that something moves away from, or that is removed, must not be
// configured any more; a move must end at something that is configured, or else it would end as a removal.

// Moved is a moved block.
type Moved struct {
	From, To addr.Instance
	Whole    bool      // of all instances of From, which keep their keys
	Range    hcl.Range // of the block's header

	fromRange, toRange hcl.Range
}

// Removed is a removed block.
type Removed struct {
	From  addr.Instance // without key: every instance
	Mode  schema.Removal
	Range hcl.Range // of the block's header

	fromRange hcl.Range
}

// arriving is an address that a moved block ends at.
type arriving struct {
	module addr.Module
	key    addr.Key
	from   addr.Instance
	rng    hcl.Range
}

// leaving is an address that must not be configured, because of a block that says that it is gone.
type leaving struct {
	module addr.Module
	key    addr.Key
	what   string // "moved", "removed"
	rng    hcl.Range
	advice string
}

func (l leaving) stillThere(address string) *hcl.Diagnostic {
	return failure(l.rng.Ptr(), strings.ToUpper(l.what[:1])+l.what[1:]+" object is still configured", "%s is in the configuration, so it can't be %s. %s", address, l.what, l.advice)
}

// Moves returns the moved blocks in order of declaration.
func (c *Config) Moves() []Moved { return c.moves }

// MovedTo follows the moved blocks from an address. It returns the address unchanged when nothing moves it, and the last
// of the blocks otherwise. ok is false when they lead in a circle.
func (c *Config) MovedTo(i addr.Instance) (to addr.Instance, by *Moved, ok bool) {
	for range len(c.moves) + 1 {
		next := c.moveOf(i)
		if next == nil {
			return i, by, true
		}
		i, _ = i.Moved(next.From, next.To)
		by = next
	}
	return i, by, false
}

// MovedFrom returns the addresses that the moved blocks lead from to an address, the latest first.
func (c *Config) MovedFrom(to addr.Instance) (from []addr.Instance) {
	queue := []addr.Instance{to}
	for range len(c.moves) + 1 {
		if len(queue) == 0 {
			break
		}
		i := queue[0]
		queue = queue[1:]
		for _, n := range slices.Concat(c.movesTo[i.Resource], c.moduleMoves) {
			if source, ok := i.Moved(c.moves[n].To, c.moves[n].From); ok {
				from, queue = append(from, source), append(queue, source)
			}
		}
	}
	return from
}

// moveOf is the block that moves an instance: one that names it, or one that names all.
func (c *Config) moveOf(i addr.Instance) *Moved {
	var whole *Moved
	for _, n := range c.movesFrom[i.Resource] {
		m := &c.moves[n]
		switch {
		case m.Whole:
			whole = m
		case m.From == i:
			return m
		}
	}
	if whole != nil {
		return whole
	}
	for _, n := range c.moduleMoves {
		m := &c.moves[n]
		if _, ok := i.Moved(m.From, m.To); ok && (whole == nil || !m.Whole) {
			whole = m
		}
	}
	return whole
}

// RemovedBy is the removed block about an instance, or nil.
func (c *Config) RemovedBy(i addr.Instance) *Removed {
	var whole *Removed
	for _, n := range c.removedFrom[i.Resource] {
		r := &c.removals[n]
		switch {
		case r.From == i:
			return r
		case r.From.Key.IsZero():
			whole = r
		}
	}
	return whole
}

func (l *loader) declareMoved(block *hcl.Block) {
	content, diags := block.Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "from", Required: true}, {Name: "to", Required: true}}})
	l.diags = append(l.diags, diags...)
	m := Moved{Range: block.DefRange}
	from, okFrom := l.moving(content.Attributes["from"], &m.fromRange)
	to, okTo := l.moving(content.Attributes["to"], &m.toRange)
	if !okFrom || !okTo {
		return
	}
	m.From, m.To, m.Whole = from, to, from.Key.IsZero() && to.Key.IsZero() && from.Resource.Module.LastKey().IsZero()
	switch {
	case from == to:
		l.errorf(&m.toRange, "Redundant move", "%s moves to itself. Remove the block.", from)
	case (from.Resource.Type == "") != (to.Resource.Type == ""):
		l.errorf(&m.toRange, "Invalid move", "%s can't become %s: a module moves to a module, and a resource to a resource.", from, to)
	case from.Resource.Type != to.Resource.Type:
		l.errorf(&m.toRange, "Invalid move", "%s can't become %s: its type is and stays %s.", from, to, from.Resource.Type)
	default:
		l.moves = append(l.moves, m)
	}
}

func (l *loader) declareRemoved(block *hcl.Block) {
	content, diags := block.Body.Content(&hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "from", Required: true}, {Name: "mode"}},
		Blocks:     []hcl.BlockHeaderSchema{{Type: "lifecycle"}},
	})
	l.diags = append(l.diags, diags...)
	r := Removed{Range: block.DefRange}
	from, ok := l.literalTarget(content.Attributes["from"], &r.fromRange)
	if !ok {
		return
	}
	r.From = from
	table := l.table("resource", from.Resource.Type, l.schemas.ResourceTable)
	if table == nil {
		l.errorf(&r.fromRange, "Unknown resource type", "There is no resource type %q.%s", from.Resource.Type, DidYouMean(from.Resource.Type, l.schemas.ResourceTypes()))
		return
	}
	if r.Mode, ok = l.removal(block, content, table); ok {
		l.removals = append(l.removals, r)
	}
}

// removal reads how a removed block wants the object to go: mode, or Terraform's lifecycle { destroy = … }.
func (l *loader) removal(block *hcl.Block, content *hcl.BodyContent, table *schema.Table) (mode schema.Removal, ok bool) {
	attr := content.Attributes["mode"]
	switch {
	case attr != nil && len(content.Blocks) > 0:
		l.errorf(content.Blocks[0].DefRange.Ptr(), "Invalid removed block", "mode says already how the object goes. Keep one of mode and lifecycle.")
		return "", false
	case attr != nil:
		var text string
		if !l.literal(attr, &text) {
			return "", false
		}
		modes := table.RemovalModes()
		names := make([]string, len(modes))
		for i, m := range modes {
			if names[i] = fmt.Sprintf("%q", string(m)); string(m) == text {
				return m, true
			}
		}
		l.errorf(attr.Expr.Range().Ptr(), "Invalid mode", "%q is not a way that objects of type %s can go. There are: %s.", text, table.Type, strings.Join(names, ", "))
		return "", false
	case len(content.Blocks) == 0:
		l.errorf(block.DefRange.Ptr(), "Invalid removed block", `It doesn't say how the object goes. Write mode = "forget" to leave the object as it is, or mode = "close" to end it.`)
		return "", false
	}
	inner, diags := content.Blocks[0].Body.Content(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "destroy", Required: true}}})
	l.diags = append(l.diags, diags...)
	var destroy bool
	if !l.literal(inner.Attributes["destroy"], &destroy) {
		return "", false
	}
	if destroy {
		return schema.RemoveClose, true
	}
	return schema.RemoveForget, true
}

// literalTarget reads an address whose key, if any, is literal.
func (l *loader) literalTarget(attr *hcl.Attribute, rng *hcl.Range) (addr.Instance, bool) {
	if attr == nil {
		return addr.Instance{}, false
	}
	*rng = attr.Expr.Range()
	i, key, ok := l.target(attr.Expr)
	if ok && key != nil {
		l.errorf(rng, "Invalid address", `The key must be literal, such as iexec_app.NAME["KEY"] or iexec_app.NAME[0].`)
		return i, false
	}
	return i, ok
}

// moving is literalTarget, or a module.
func (l *loader) moving(attr *hcl.Attribute, rng *hcl.Range) (i addr.Instance, ok bool) {
	if attr == nil {
		return i, false
	}
	if t, diags := hcl.AbsTraversalForExpr(attr.Expr); !diags.HasErrors() {
		if m, rest, ok := addr.ModuleOf(t); ok && m != "" && len(rest) == 0 {
			*rng = attr.Expr.Range()
			i.Resource.Module = m
			return i, true
		}
	}
	return l.literalTarget(attr, rng)
}

// checkModuleMove checks a move of a module.
func (l *loader) checkModuleMove(m *Moved, end addr.Module) {
	from, to := l.called(m.From.Resource.Module), l.called(end)
	switch {
	case l.incomplete:
	case from != nil && from != to && m.From.Resource.Module.LastKey().IsZero():
		l.diags = append(l.diags, leaving{what: "moved", rng: m.fromRange, advice: "Remove the moved block, or rename the module."}.stillThere(m.From.String()))
	case to == nil:
		l.errorf(&m.toRange, "Move to something that is not configured", "%s moves to %s, which the configuration doesn't have, so it would end.%s", m.From, end, l.otherModule(end))
	}
}

// called is the module of an address, or nil.
func (c *Config) called(at addr.Module) *module {
	for _, m := range c.modules {
		if m.path == at.Call() {
			return m
		}
	}
	return nil
}

// checkMoves checks moved and removed blocks against each other and against the blocks.
func (l *loader) checkMoves() {
	l.movesFrom, l.movesTo, l.removedFrom = map[addr.Resource][]int{}, map[addr.Resource][]int{}, map[addr.Resource][]int{}
	froms, tos := map[addr.Instance]hcl.Range{}, map[addr.Instance]hcl.Range{}
	for n, m := range l.moves {
		if first, twice := froms[m.From]; twice {
			l.errorf(&m.fromRange, "Ambiguous moves", "%s moves to another address at %s already: it can move once.", m.From, place(first))
			continue
		}
		if first, twice := tos[m.To]; twice {
			l.errorf(&m.toRange, "Ambiguous moves", "Another object moves to %s at %s already: an address has one object.", m.To, place(first))
			continue
		}
		froms[m.From], tos[m.To] = m.fromRange, m.toRange
		if m.From.Resource.Type == "" {
			l.moduleMoves = append(l.moduleMoves, n)
			continue
		}
		l.movesFrom[m.From.Resource] = append(l.movesFrom[m.From.Resource], n)
		l.movesTo[m.To.Resource] = append(l.movesTo[m.To.Resource], n)
		l.leave(m.From, m.Whole, leaving{what: "moved", rng: m.fromRange, advice: "Remove the moved block, or rename the resource."})
	}
	removed := map[addr.Instance]hcl.Range{}
	for n, r := range l.removals {
		if first, twice := removed[r.From]; twice {
			l.errorf(&r.fromRange, "Duplicate declaration", "How %s goes is said at %s already. Remove one of the two blocks.", r.From, place(first))
			continue
		}
		if first, twice := froms[r.From]; twice {
			l.errorf(&r.fromRange, "Ambiguous removal", "%s moves to another address at %s, so it is not there to be removed. Keep one of the two blocks.", r.From, place(first))
			continue
		}
		removed[r.From] = r.fromRange
		l.removedFrom[r.From.Resource] = append(l.removedFrom[r.From.Resource], n)
		l.leave(r.From, r.From.Key.IsZero(), leaving{what: "removed", rng: r.fromRange, advice: "Remove the removed block, or the resource."})
	}
	for n, m := range l.moves {
		if slices.Contains(l.moduleMoves, n) {
			end, _, ok := l.MovedTo(m.From)
			if ok {
				l.checkModuleMove(&m, end.Resource.Module)
				continue
			}
		} else if !slices.Contains(l.movesFrom[m.From.Resource], n) {
			continue // ambiguous
		}
		end, _, ok := l.MovedTo(m.From)
		switch {
		case !ok:
			l.errorf(&m.fromRange, "Cycle of moves", "The moved blocks lead from %s in a circle, so that it arrives nowhere. Remove one of them.", m.From)
		case l.resources[end.Resource.Block()] == nil && l.RemovedBy(end) == nil && !l.incomplete:
			f := finder{config: l.Config}
			l.errorf(&m.toRange, "Move to something that is not configured", "%s moves to %s, which the configuration doesn't have, so it would end.%s Write a removed block if it is to go.",
				m.From, end, f.otherBlock(end.Resource))
		case l.resources[end.Resource.Block()] != nil && !m.Whole && l.RemovedBy(end) == nil:
			to := l.resources[end.Resource.Block()]
			to.arriving = append(to.arriving, arriving{end.Resource.Module, end.Key, m.From, m.toRange})
		}
	}
}

// leave remembers that an address must not be configured, and reports a block where that is certain already.
func (l *loader) leave(from addr.Instance, whole bool, why leaving) {
	n := l.resources[from.Resource.Block()]
	switch {
	case n == nil:
	case whole && n.module.parent == nil:
		l.diags = append(l.diags, why.stillThere(n.name))
	default:
		why.module, why.key = from.Resource.Module, from.Key
		n.leaving = append(n.leaving, why)
	}
}
