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
	targets map[*node][]addr.Key
}

type selected struct {
	all  bool
	keys map[addr.Key]bool
}

func (s *selection) has(n *node) bool { return s.whole || s.nodes[n] != nil }

func (s *selection) hasKey(n *node, key addr.Key) bool {
	if s.whole {
		return true
	}
	at := s.nodes[n]
	return at != nil && (at.all || at.keys[key])
}

// selectNodes finds what a request covers. Unknown targets are errors.
func (c *Config) selectNodes(req EvalRequest) (*selection, hcl.Diagnostics) {
	s := &selection{whole: len(req.Targets) == 0 && !req.ProvidersOnly && !req.UnwrittenOnly && req.Expression == nil, nodes: map[*node]*selected{}, targets: map[*node][]addr.Key{}}
	if s.whole {
		return s, nil
	}
	if req.Expression != nil {
		if expr, diags := hclsyntax.ParseExpression(req.Expression, "", hcl.InitialPos); !diags.HasErrors() {
			s.addRefs(c.find(expr, scope{}).refs, true, addr.Key{})
		}
		return s, nil
	}
	var diags hcl.Diagnostics
	for _, p := range c.providers {
		if p.body != nil {
			s.add(p, addr.Key{}, true)
		}
	}
	if req.UnwrittenOnly {
		for _, n := range c.imports {
			if c.resources[n.address] == nil {
				s.add(n, addr.Key{}, true)
			}
		}
		return s, nil
	}
	for _, target := range req.Targets {
		n := c.resources[target.Resource]
		switch {
		case req.ProvidersOnly:
		case (n == nil || !n.mayHave(target.Key)) && req.Known != nil && req.Known(target):
		case n == nil:
			f := finder{config: c}
			diags = append(diags, failure(nil, "Unknown target", "There is no %s in the configuration.%s", target.Resource, f.otherBlock(target.Resource)))
		case !n.mayHave(target.Key):
			diags = append(diags, failure(nil, "Unknown target", "%s has no instance %s. %s", n.name, target.Key, keyForm(n)))
		default:
			s.add(n, target.Key, target.Key.IsZero())
			if !target.Key.IsZero() {
				s.targets[n] = append(s.targets[n], target.Key)
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
func (s *selection) add(n *node, key addr.Key, all bool) {
	all = all || !n.expanded()
	at := s.nodes[n]
	if at == nil {
		at = &selected{keys: map[addr.Key]bool{}}
		s.nodes[n] = at
	}
	if at.all || !all && at.keys[key] {
		return
	}
	at.all = at.all || all
	at.keys[key] = true
	for _, in := range n.imported {
		s.add(in, addr.Key{}, true)
	}
	s.addRefs(n.refs, all, key)
}

// addRefs selects what all instances of a block refer to, or the one with the key.
func (s *selection) addRefs(refs []ref, all bool, key addr.Key) {
	var ctx *hcl.EvalContext
	if !all {
		ctx = keyContext(&hcl.EvalContext{}, key, cty.DynamicVal)
	}
	for _, r := range refs {
		switch {
		case r.mode == refKey:
			s.add(r.to, r.key, false)
			continue
		case r.mode == refEach && !all:
			s.add(r.to, key, false)
			continue
		case r.mode == refExpr && !all:
			if v, diags := r.expr.Value(ctx); !diags.HasErrors() {
				if k, ok := keyOf(r.to, v); ok {
					s.add(r.to, k, false)
					continue
				}
			}
		}
		s.add(r.to, addr.Key{}, true)
	}
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
			case r.to.kind == localNode:
				ok = ok && covers(r.to)
			case r.to.instantiable():
				at := s.nodes[r.to]
				ok = ok && at != nil && (at.all || r.mode == refKey && at.keys[r.key])
			}
		}
		covered[n] = ok
		return ok
	}
	for _, list := range []map[string]*node{c.outputs, c.checks} {
		for _, n := range list {
			if covers(n) {
				s.add(n, addr.Key{}, true)
			}
		}
	}
}
