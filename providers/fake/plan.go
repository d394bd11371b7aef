package fake

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// Plan implements providers.Client. It looks at the things that exist and at what is wanted, never at how things came to
// be so: a plan after a crash just finishes the job.
func (c *client) Plan(ctx context.Context, reqs []providers.PlanRequest) []providers.PlanResult {
	results := make([]providers.PlanResult, len(reqs))
	for i, req := range reqs {
		if err := c.faults.before(ctx, Call{Op: OpPlan, Addr: req.Addr}); err != nil {
			results[i].Err = err
		} else if req.Desired.IsNull() {
			results[i] = c.planRemoval(req)
		} else {
			results[i] = c.plan(req)
		}
	}
	return results
}

func (c *client) planRemoval(req providers.PlanRequest) providers.PlanResult {
	result := providers.PlanResult{Kind: providers.Forget, Planned: req.Desired}
	if req.Removal == schema.RemoveForget {
		return result
	}
	for _, id := range sortedIDs(c.known(req.Current), all) {
		result.Kind = providers.Delete
		result.Actions = append(result.Actions, action(request{Op: OpDelete, ID: id}))
	}
	return result
}

func all(string, Thing) bool { return true }

func (c *client) plan(req providers.PlanRequest) providers.PlanResult {
	known := c.known(req.Current)
	kind, base := req.Desired.Text("kind"), baseID(req.Desired.Text("kind"), req.Addr)
	for id := range c.cloud.Things() { // what the state lost is found
		if id == base || strings.HasPrefix(id, base+"#") {
			if t, ok := c.look(id); ok {
				known[id] = t
			}
		}
	}
	id := wantedID(req, known, kind, base)
	thing, exists := known[id]
	size, _ := req.Desired.Attr("size").AsBigFloat().Int64()
	create := !exists || thing.Token == ""
	others := sortedIDs(known, func(other string, _ Thing) bool { return other != id })

	result := providers.PlanResult{}
	add := func(r request, expect ...providers.Precondition) {
		a := action(r)
		a.Expect = expect
		if n := len(result.Actions); n > 0 {
			a.After = []int{n - 1}
		}
		result.Actions = append(result.Actions, a)
	}
	if !exists && req.Desired.Attr("prepare").RawEquals(cty.True) {
		add(request{Op: OpPrepare, ID: id})
		result.Actions[0].Early = true
	}
	if create && exists {
		add(request{Op: OpCreate, ID: id, Kind: kind, Size: size}) // for its token
	} else if create {
		add(request{Op: OpCreate, ID: id, Kind: kind, Size: size}, expect(id, nil))
	}
	if exists && thing.Size != size {
		add(request{Op: OpResize, ID: id, Size: size}, expect(id, &thing.Size))
		result.Actions[len(result.Actions)-1].Late = req.Desired.Attr("prepare").RawEquals(cty.True)
	}
	for _, other := range others {
		add(request{Op: OpDelete, ID: other})
	}

	values := map[string]cty.Value{
		"id": cty.StringVal(id), "token": orNull(thing.Token), "things": cty.MapVal(map[string]cty.Value{id: cty.StringVal(kind)}),
	}
	if create {
		values["token"] = cty.UnknownVal(cty.String)
	}
	result.Planned = req.Desired.With(values)
	switch {
	case req.Prior.IsNull() && len(known) > 0:
		result.Kind, result.Found = providers.Adopt, value(req.Desired, id, known)
	case req.Prior.IsNull():
		result.Kind = providers.Create
	case len(known) == 0:
		result.Kind, result.Because = providers.Create, []string{"it is gone"}
	case !exists:
		result.Kind, result.Because = providers.Replace, []string{"kind differs"}
		if req.Replace {
			result.Because = []string{"asked for"}
		}
	case len(result.Actions) > 0 || !result.Planned.Equal(req.Prior):
		result.Kind = providers.Update
	default:
		result.Kind = providers.NoOp
	}
	return result
}

// wantedID is the thing that is to be kept or made.
func wantedID(req providers.PlanRequest, known map[string]Thing, kind, base string) string {
	fit := sortedIDs(known, func(_ string, t Thing) bool { return t.Kind == kind })
	switch current := req.Current.Text("id"); {
	case len(fit) == 0:
		return base
	case req.Replace:
		for n := 2; ; n++ {
			if id := fmt.Sprintf("%s#%d", base, n); known[id] == (Thing{}) {
				return id
			}
		}
	case slices.Contains(fit, current):
		return current
	}
	return fit[0]
}

func action(r request) providers.Action {
	a := providers.Action{Kind: r.Op, Summary: r.Op + " " + r.ID, Payload: marshal(r), Cost: providers.Cost{Requests: 1}}
	if r.Op == OpDelete {
		a.Batch = r.Op
	}
	return a
}
