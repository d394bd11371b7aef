package fake

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

type client struct {
	*provider
	network string
	mu      sync.Mutex
	pending []request // noted by an earlier run and not settled
}

func (c *client) noteKey(r request) string { return "fake/" + c.network + "/" + r.Op + " " + r.ID }

func (c *client) takeUp(notes []state.Note) error {
	for _, n := range notes {
		if !strings.HasPrefix(n.Key, "fake/"+c.network+"/") {
			continue
		}
		var r request
		if err := json.Unmarshal(n.Data, &r); err != nil {
			return fmt.Errorf("note %q: %w", n.Key, err)
		}
		c.pending = append(c.pending, r)
	}
	return nil
}

// look returns a thing as it is, or will be when what is pending is done. A thing that will be has no token yet.
func (c *client) look(id string) (Thing, bool) {
	t, exists := c.cloud.get(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.pending {
		switch {
		case r.ID != id:
		case r.Op == OpDelete:
			t, exists = Thing{}, false
		case r.Op == OpCreate && !exists:
			t, exists = Thing{Kind: r.Kind, Size: r.Size}, true
		case r.Op == OpResize && exists:
			t.Size = r.Size
		}
	}
	return t, exists
}

// Identity implements providers.Identified.
func (c *client) Identity(ctx context.Context) (map[string]string, error) {
	return map[string]string{"network": c.network}, c.faults.before(ctx, Call{Op: OpIdentity})
}

// Ready implements providers.Readier.
func (c *client) Ready(ctx context.Context, _ []providers.Action) error {
	return c.faults.before(ctx, Call{Op: OpReady})
}

// Pending implements providers.Resumer.
func (c *client) Pending(context.Context, []providers.Action) []string {
	var all []string
	for _, r := range c.pending {
		all = append(all, r.Op+" "+r.ID)
	}
	return all
}

// Resume implements providers.Resumer.
func (c *client) Resume(ctx context.Context, req providers.ResumeRequest) error {
	for len(c.pending) > 0 {
		r := c.pending[0]
		call := Call{Op: r.Op, ID: r.ID}
		if err := c.faults.before(ctx, call); err != nil {
			return err
		}
		c.cloud.perform(r)
		if err := c.faults.after(ctx, call); err != nil {
			return err
		}
		if err := req.Journal.Note(ctx, c.noteKey(r), nil); err != nil {
			return err
		}
		req.Progress(providers.Progress{Type: "repeated", Message: r.Op + " " + r.ID})
		c.mu.Lock()
		c.pending = c.pending[1:]
		c.mu.Unlock()
	}
	return nil
}

// Read implements providers.Client.
func (c *client) Read(ctx context.Context, reqs []providers.ReadRequest) []providers.ReadResult {
	results := make([]providers.ReadResult, len(reqs))
	for i, req := range reqs {
		if results[i].Err = c.faults.before(ctx, Call{OpRead, req.Addr, req.Prior.Text("id")}); results[i].Err != nil {
			continue
		}
		id := req.Prior.Text("id")
		known := c.known(req.Prior)
		results[i].Current = req.Prior.Null()
		if len(known) > 0 {
			results[i].Current = value(req.Prior, id, known)
		}
		if _, ok := known[id]; !ok && id != "" {
			results[i].Notices = []providers.Notice{{Level: providers.Info, Summary: id + " is gone", Attr: "id"}}
		}
	}
	return results
}

// known is the things of an object that exist.
func (c *client) known(object schema.Object) map[string]Thing {
	known := map[string]Thing{}
	if object.IsNull() || object.Attr("things").IsNull() {
		return known
	}
	for id := range object.Attr("things").AsValueMap() {
		if t, ok := c.look(id); ok {
			known[id] = t
		}
	}
	return known
}

// ReadData implements providers.Client.
func (c *client) ReadData(ctx context.Context, req providers.DataRequest) (providers.DataResult, error) {
	id := schema.ObjectOf(req.Config).Text("id")
	if err := c.faults.before(ctx, Call{OpData, req.Addr, id}); err != nil {
		return providers.DataResult{}, err
	}
	t, ok := c.look(id)
	if !ok {
		return providers.DataResult{}, providers.At("id", fmt.Errorf("there is no thing %q", id))
	}
	values := req.Config.AsValueMap()
	values["kind"], values["size"], values["token"] = cty.StringVal(t.Kind), cty.NumberIntVal(t.Size), orNull(t.Token)
	same := expect(id, &t.Size)
	return providers.DataResult{Value: cty.ObjectVal(values), Verify: &providers.Action{
		Kind: OpVerify, Summary: "look at " + id + " again", Payload: same.Payload, Expect: []providers.Precondition{same},
	}}, nil
}

// An expectation is that a thing has a size, or doesn't exist.
type expectation struct {
	ID   string `json:"id"`
	Size *int64 `json:"size"`
}

func expect(id string, size *int64) providers.Precondition {
	summary := id + " doesn't exist"
	if size != nil {
		summary = fmt.Sprintf("%s has size %d", id, *size)
	}
	return providers.Precondition{Kind: "thing", Summary: summary, Payload: marshal(expectation{id, size})}
}

func (c *client) check(payload json.RawMessage) error {
	var e expectation
	if err := json.Unmarshal(payload, &e); err != nil {
		return err
	}
	t, exists := c.look(e.ID)
	switch {
	case !exists && e.Size != nil:
		return fmt.Errorf("%s is gone", e.ID)
	case exists && e.Size == nil:
		return fmt.Errorf("%s exists already", e.ID)
	case exists && t.Size != *e.Size:
		return fmt.Errorf("%s had size %d, and now has %d", e.ID, *e.Size, t.Size)
	}
	return nil
}

// Check implements providers.Client.
func (c *client) Check(ctx context.Context, ps []providers.Precondition) []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		if errs[i] = c.faults.before(ctx, Call{Op: OpCheck}); errs[i] == nil {
			errs[i] = c.check(p.Payload)
		}
	}
	return errs
}

// Do implements providers.Client.
func (c *client) Do(ctx context.Context, req providers.DoRequest) (json.RawMessage, error) {
	if req.Action.Kind == OpVerify {
		if err := c.faults.before(ctx, Call{Op: OpVerify, Addr: req.Action.Addr}); err != nil {
			return nil, err
		}
		return nil, c.check(req.Action.Payload)
	}
	var r request
	if err := json.Unmarshal(req.Action.Payload, &r); err != nil {
		return nil, fmt.Errorf("payload of action %d: %w", req.Action.ID, err)
	}
	t, exists := c.look(r.ID)
	so := map[string]bool{OpCreate: exists, OpResize: exists && t.Size == r.Size, OpDelete: !exists}
	if !so[r.Op] {
		if err := c.make(ctx, req, r); err != nil {
			return nil, err
		}
	}
	switch t, exists = c.look(r.ID); {
	case r.Op == OpDelete:
		return marshal(map[string]any{"things": map[string]any{r.ID: nil}}), nil
	case r.Op == OpPrepare:
		return nil, nil
	case !exists:
		return nil, fmt.Errorf("%s is gone", r.ID)
	case r.Op == OpCreate:
		return marshal(map[string]any{"things": map[string]any{r.ID: t.Kind}, "token": t.Token}), nil
	}
	return nil, nil
}

// Batch implements providers.Batcher: what is deleted is deleted together, one after the other.
func (c *client) Batch(_ context.Context, actions []*providers.Action) ([][]int, []providers.Notice) {
	all := make([]int, len(actions))
	for i := range all {
		all[i] = i
	}
	return [][]int{all}, nil
}

// DoBatch implements providers.Batcher.
func (c *client) DoBatch(ctx context.Context, reqs []providers.DoRequest) []providers.DoResult {
	results := make([]providers.DoResult, len(reqs))
	for i, req := range reqs {
		results[i].Patch, results[i].Err = c.Do(ctx, req)
	}
	return results
}

// make makes an effect, noted before and settled after. When it is not certain what became of it the note stays.
func (c *client) make(ctx context.Context, req providers.DoRequest, r request) error {
	if r.Op == OpCreate {
		if err := req.Journal.Patch(ctx, marshal(map[string]any{"things": map[string]any{r.ID: r.Kind}})); err != nil {
			return fmt.Errorf("cannot persist what is about to exist, so nothing was done: %w", err)
		}
	}
	if err := req.Journal.Note(ctx, c.noteKey(r), marshal(r)); err != nil {
		return fmt.Errorf("cannot persist the request, so nothing was done: %w", err)
	}
	call := Call{r.Op, req.Action.Addr, r.ID}
	if err := c.faults.before(ctx, call); err != nil {
		if noted := req.Journal.Note(ctx, c.noteKey(r), nil); noted != nil {
			return fmt.Errorf("%w; and the note of it can't be settled: %w", err, noted)
		}
		return err
	}
	c.cloud.perform(r)
	if err := c.faults.after(ctx, call); err != nil {
		return err
	}
	req.Progress(providers.Progress{Type: "done", Message: call.String()})
	return req.Journal.Note(ctx, c.noteKey(r), nil)
}

// value is an object with what the provider sets: its thing is id, and known are all of its things.
func value(object schema.Object, id string, known map[string]Thing) schema.Object {
	things := map[string]cty.Value{}
	for id, t := range known {
		things[id] = cty.StringVal(t.Kind)
	}
	values := map[string]cty.Value{"things": cty.MapVal(things)}
	values["id"], values["kind"], values["token"] = orNull(""), orNull(""), orNull("")
	values["size"] = cty.NullVal(cty.Number)
	if t, ok := known[id]; ok {
		values["id"], values["kind"], values["token"] = cty.StringVal(id), cty.StringVal(t.Kind), orNull(t.Token)
		values["size"] = cty.NumberIntVal(t.Size)
	}
	return object.With(values)
}

func orNull(s string) cty.Value {
	if s == "" {
		return cty.NullVal(cty.String)
	}
	return cty.StringVal(s)
}

func marshal(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types
	}
	return b
}

// sortedIDs are the ids of the things that keep accepts.
func sortedIDs(known map[string]Thing, keep func(id string, t Thing) bool) []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(known)) {
		if keep(id, known[id]) {
			ids = append(ids, id)
		}
	}
	return ids
}

// baseID is the id of the first thing of a kind for a resource. Those that --replace makes after it have #2 and so on.
func baseID(kind string, i addr.Instance) string {
	return kind + "/" + i.Resource.Name + i.Key.String()
}
