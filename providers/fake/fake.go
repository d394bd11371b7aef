// Package fake is a provider whose cloud is a map in memory: it behaves as a real one does, costs nothing, and fails on
// demand. Tests of the engine and documentation use it.
//
// Rules, which are those of any provider here:
//   - A thing's id is made from its kind and the resource's address, so it is known at plan time, and a thing whose
//     resource the state lost is found again. Its token is made by the cloud.
//   - An object remembers every thing that was, or is about to be, made for it, so that none is left behind.
//   - An effect is noted before it is made. What is noted and not settled counts as made: Resume makes it so.
package fake

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// Thing is what the cloud has many of.
type Thing struct {
	Kind  string `json:"kind"`
	Size  int64  `json:"size"`
	Token string `json:"token,omitempty"` // of the cloud's making
}

// Cloud is where the things are. The zero Cloud is empty and ready for use; it is safe for concurrent use.
type Cloud struct {
	mu      sync.Mutex
	things  map[string]Thing
	history []string
	made    int
}

// Things returns the things by id.
func (c *Cloud) Things() map[string]Thing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.things)
}

// History returns the effects so far, such as "create box/a", oldest first. What was so already is no effect.
func (c *Cloud) History() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.history...)
}

// Put makes a thing, or replaces it, behind everybody's back. A thing without token gets one.
func (c *Cloud) Put(id string, t Thing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(id, t)
}

func (c *Cloud) put(id string, t Thing) {
	if t.Token == "" {
		c.made++
		t.Token = fmt.Sprintf("token-%d", c.made)
	}
	if c.things == nil {
		c.things = map[string]Thing{}
	}
	c.things[id] = t
}

// Remove removes a thing, if it is there, behind everybody's back.
func (c *Cloud) Remove(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.things, id)
}

func (c *Cloud) get(id string) (Thing, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.things[id]
	return t, ok
}

// A request is an effect to be made, as the journal notes it. Making it twice is making it once.
type request struct {
	Op   string `json:"op"`
	ID   string `json:"id"`
	Kind string `json:"kind,omitempty"`
	Size int64  `json:"size,omitempty"`
}

func (c *Cloud) perform(r request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, exists := c.things[r.ID]
	switch {
	case r.Op == OpCreate && !exists:
		c.put(r.ID, Thing{Kind: r.Kind, Size: r.Size})
	case r.Op == OpResize && exists && t.Size != r.Size:
		t.Size = r.Size
		c.put(r.ID, t)
	case r.Op == OpDelete && exists:
		delete(c.things, r.ID)
	case r.Op == OpPrepare:
	default:
		return
	}
	c.history = append(c.history, r.Op+" "+r.ID)
}

// Operations that faults can be injected into. The last five are actions, and the faults are around their effects.
const (
	OpOpen     = "open"
	OpIdentity = "identity"
	OpRead     = "read" // once for each object
	OpData     = "data"
	OpPlan     = "plan"   // once for each object
	OpImport   = "import" // once for each object
	OpCheck    = "check"
	OpReady    = "ready"
	OpVerify   = "verify" // looks at a data source again
	OpPrepare  = "prepare"
	OpCreate   = "create"
	OpResize   = "resize"
	OpDelete   = "delete"
)

// Call is an operation under way. Addr and ID are zero where the operation isn't about an object or a thing.
type Call struct {
	Op   string
	Addr addr.Instance
	ID   string
}

func (c Call) String() string { return c.Op + " " + c.ID }

// Faults makes calls fail, wait, or die. Each function may be nil, is called from many goroutines, and may block: the
// call is then slow. An error of Before fails the call before it does anything, which a *providers.HeldError makes held;
// an error of After loses the answer of a call that did all. Before is called for every operation, After for effects.
type Faults struct {
	Before func(ctx context.Context, c Call) error
	After  func(ctx context.Context, c Call) error
}

func (f Faults) before(ctx context.Context, c Call) error {
	if f.Before == nil {
		return nil
	}
	return f.Before(ctx, c)
}

func (f Faults) after(ctx context.Context, c Call) error {
	if f.After == nil {
		return nil
	}
	return f.After(ctx, c)
}

// New makes the provider of a cloud.
func New(cloud *Cloud, faults Faults) providers.Provider {
	return &provider{cloud: cloud, faults: faults}
}

type provider struct {
	cloud  *Cloud
	faults Faults
}

var tables = &providers.Schema{
	Provider: &schema.Table{Type: "fake", Doc: "A cloud in memory.", Attrs: []schema.Attr{
		{Name: "network", Type: cty.String, Mode: schema.Optional, Default: cty.StringVal("main"), Doc: "Network that the client says it reaches."},
		{Name: "password", Type: cty.String, Mode: schema.Optional, Sensitive: true, Doc: "Not used."},
	}},
	Resources: map[string]*schema.Table{"fake_thing": {Type: "fake_thing", Doc: "A thing in the cloud.", Attrs: []schema.Attr{
		{Name: "kind", Type: cty.String, Mode: schema.Required, ForceNew: true, Doc: "What it is."},
		{Name: "size", Type: cty.Number, Mode: schema.Optional, Default: cty.NumberIntVal(1), Doc: "How large it is. It can be resized in place."},
		{Name: "ref", Type: cty.String, Mode: schema.Optional, Doc: "Anything, such as another thing's id. Only the state has it."},
		{Name: "prepare", Type: cty.Bool, Mode: schema.Optional, Doc: "Prepare it before it is made, without waiting for what it refers to; and resize it only after what referred to it."},
		{Name: "id", Type: cty.String, Mode: schema.Computed, Doc: "`KIND/NAME`, known when it is planned."},
		{Name: "token", Type: cty.String, Mode: schema.Computed, Doc: "Made by the cloud: known only after apply."},
		{Name: "things", Type: cty.Map(cty.String), Mode: schema.Computed, Doc: "Kinds of the things that may exist for this resource, by id."},
	}}},
	Data: map[string]*schema.Table{"fake_thing": {Type: "fake_thing", Doc: "A thing that exists.", Attrs: []schema.Attr{
		{Name: "id", Type: cty.String, Mode: schema.Required, Doc: "Its id."},
		{Name: "kind", Type: cty.String, Mode: schema.Computed, Doc: "What it is."},
		{Name: "size", Type: cty.Number, Mode: schema.Computed, Doc: "How large it is."},
		{Name: "token", Type: cty.String, Mode: schema.Computed, Doc: "Its token."},
	}}},
}

// Schema implements providers.Provider.
func (*provider) Schema() *providers.Schema { return tables }

// Open implements providers.Provider.
func (p *provider) Open(ctx context.Context, req providers.OpenRequest) (providers.Client, error) {
	if err := p.faults.before(ctx, Call{Op: OpOpen}); err != nil {
		return nil, err
	}
	c := &client{provider: p, network: "main"}
	if network := req.Config.GetAttr("network"); !network.IsNull() {
		c.network = network.AsString()
	}
	return c, c.takeUp(req.Pending)
}
