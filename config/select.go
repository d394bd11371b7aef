package config

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
)

// selection is which part of the graph an evaluation covers: per node, all or some keys.
type selection struct {
	whole bool // everything
	nodes map[*node]*selected
	// targets is the keys that were asked for by name
	targets map[*node][]addr.Instance
}

// selected is what is selected of a node: everything, or so in instances of its module.
type selected struct {
	all bool
	in  map[addr.Module]*selectedKeys
}

type selectedKeys struct {
	all  bool
	keys map[addr.Key]bool
}

// spot is what to select of a node: an instance, or all in a module, or all in all.
type spot struct {
	module     addr.Module
	key        addr.Key
	all        bool // any key
	everywhere bool // in any module, any key
}

func (s *selection) has(n *node) bool { return s.whole || s.nodes[n] != nil }

func (s *selection) hasKey(n *node, module addr.Module, key addr.Key) bool {
	if s.whole {
		return true
	}
	at := s.nodes[n]
	return at != nil && (at.all || at.has(module, key))
}

func (s *selected) has(module addr.Module, key addr.Key) bool {
	in := s.in[module]
	return s.all || in != nil && (in.all || in.keys[key])
}

// selectNodes finds what a request covers. Unknown targets are errors.
func (c *Config) selectNodes(req EvalRequest) (*selection, hcl.Diagnostics) {
	s := &selection{whole: len(req.Targets) == 0 && !req.ProvidersOnly && !req.UnwrittenOnly && req.Expression == nil, nodes: map[*node]*selected{}, targets: map[*node][]addr.Instance{}}
	if s.whole {
		return s, nil
	}
	if req.Expression != nil {
		if expr, diags := hclsyntax.ParseExpression(req.Expression, "", hcl.InitialPos); !diags.HasErrors() {
			s.addRefs(c.find(expr, scope{}).refs, spot{all: true}, false)
		}
		return s, nil
	}
	var diags hcl.Diagnostics
	for _, p := range c.providers {
		if p.body != nil {
			s.add(p, spot{all: true})
		}
	}
	if req.UnwrittenOnly {
		for _, n := range c.imports {
			if c.resources[n.address.Block()] == nil {
				s.add(n, spot{all: true})
			}
		}
		return s, nil
	}
	for _, target := range req.Targets {
		n := c.resources[target.Resource.Block()]
		switch {
		case req.ProvidersOnly:
		case target.Resource.Type == "":
			if !s.addModule(c, target.Resource.Module) && (req.Known == nil || !req.Known(target)) {
				diags = append(diags, failure(nil, "Unknown target", "There is no %s in the configuration.%s", target, c.otherModule(target.Resource.Module)))
			}
		case (n == nil || !n.mayHave(target.Key)) && req.Known != nil && req.Known(target):
		case n == nil:
			f := finder{config: c}
			diags = append(diags, failure(nil, "Unknown target", "There is no %s in the configuration.%s", target.Resource, f.otherBlock(target.Resource)))
		case !n.mayHave(target.Key):
			diags = append(diags, failure(nil, "Unknown target", "%s has no instance %s. %s", n.name, target.Key, keyForm(n)))
		default:
			s.add(n, spot{target.Resource.Module, target.Key, target.Key.IsZero(), n.module.anyOf(target.Resource.Module)})
			if !target.Key.IsZero() {
				s.targets[n] = append(s.targets[n], target)
			}
		}
	}
	if !req.ProvidersOnly && !diags.HasErrors() {
		s.addOutputs(c)
	}
	return s, diags
}

// mayHave reports whether a key is of the kind that the block's instances have. The zero key means all.
func (n *node) mayHave(key addr.Key) bool {
	return key.IsZero() || n.expanded() && key.IsInt() == (n.count != nil)
}

func keyForm(n *node) string {
	switch {
	case n.count != nil:
		return "It has count, so its instances are " + n.name + "[0] and so on."
	case n.forEach != nil:
		return "It has for_each, so its instances are " + n.name + `["KEY"].`
	}
	return "It has no count or for_each: leave the key out."
}

// add selects an instance, or all, of a node and what that refers to.
func (s *selection) add(n *node, at spot) {
	at.all = at.all || at.everywhere || !n.expanded()
	if n.module.parent == nil {
		at.module, at.everywhere = "", false
	}
	if s.nodes[n] == nil {
		s.nodes[n] = &selected{in: map[addr.Module]*selectedKeys{}}
	}
	if !s.nodes[n].add(at) {
		return
	}
	for _, in := range n.imported {
		s.add(in, spot{all: true})
	}
	if caller := n.module.caller; caller != nil {
		s.add(caller, at.up(caller.module))
		if v := n.module.validation; v != nil && v != n {
			s.add(v, at.up(n.module))
		}
	}
	known := !at.all // the key that the expressions of n name
	if n.kind == variableNode && n.module.parent != nil && !at.everywhere {
		keys := at.module.Keys()
		at.key, known = keys[len(keys)-1], true
	}
	s.addRefs(n.refs, at, known)
}

// addRefs selects what a spot refers to; known says whether its key is what the expressions name as each or count.
func (s *selection) addRefs(refs []ref, at spot, known bool) {
	var ctx *hcl.EvalContext
	if known {
		ctx = keyContext(&hcl.EvalContext{}, at.key, cty.DynamicVal)
	}
	for _, r := range refs {
		key, found := r.key, r.mode == refKey
		switch {
		case r.mode == refEach && known:
			key, found = at.key, true
		case r.mode == refExpr && known:
			if v, diags := r.expr.Value(ctx); !diags.HasErrors() {
				key, found = keyOf(r.repeated(), v)
			}
		}
		switch {
		case r.via == nil:
			to := at.up(r.to.module)
			to.key, to.all = key, !found
			s.add(r.to, to)
		case found && r.to.module == r.via.call.module && !at.everywhere:
			s.add(r.to, spot{module: at.up(r.via.module).module.Child(r.via.name, key), all: true})
		default:
			s.add(r.to, spot{everywhere: true})
		}
	}
}

// add reports whether the spot is more than was selected.
func (s *selected) add(at spot) bool {
	if at.everywhere {
		more := !s.all
		s.all = true
		return more
	}
	in := s.in[at.module]
	if in == nil {
		in = &selectedKeys{keys: map[addr.Key]bool{}}
		s.in[at.module] = in
	}
	if s.all || in.all || !at.all && in.keys[at.key] {
		return false
	}
	in.all = in.all || at.all
	in.keys[at.key] = true
	return true
}

// up is all of a node in m, which is the spot's module or one that it is in.
func (at spot) up(m *module) spot {
	if !at.everywhere {
		at.module = at.module.Up(m.depth)
	}
	at.key, at.all = addr.Key{}, true
	return at
}

// addModule selects all of a module and reports whether there is one.
func (s *selection) addModule(c *Config, target addr.Module) (found bool) {
	for _, m := range c.modules {
		if !target.Call().Contains(m.path) {
			continue
		}
		found = true
		for _, n := range m.own {
			if n.instantiable() {
				s.add(n, spot{everywhere: true})
			}
		}
	}
	return found
}

// addOutputs selects the outputs and checks that refer to nothing outside of the selection.
func (s *selection) addOutputs(c *Config) {
	covered := map[*node]bool{}
	var covers func(n *node) bool
	covers = func(n *node) bool {
		if done, seen := covered[n]; seen {
			return done
		}
		ok := true
		for _, r := range n.refs {
			switch {
			case r.to.kind == localNode || r.to.kind == outputNode || r.to.kind == variableNode && r.to.module.parent != nil:
				ok = ok && covers(r.to)
			case r.to.instantiable():
				at := s.nodes[r.to]
				ok = ok && at != nil && (at.all || at.in[""] != nil && at.in[""].all || r.via == nil && r.mode == refKey && at.has("", r.key))
			}
		}
		covered[n] = ok
		return ok
	}
	for _, list := range []map[string]*node{c.outputs, c.checks} {
		for _, n := range list {
			if covers(n) {
				s.add(n, spot{all: true})
			}
		}
	}
}
