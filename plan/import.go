package plan

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// Imports are read while planning, those of a wave and a provider in one call; what they find is planned as if the state
// knew it. An address that the state knows is not imported again. A plan whose objects are as configured only writes the
// state.

// ask takes up an import block. What the caller of Build asks for comes before it.
func (b *builder) ask(in config.Import) {
	if b.Imports[in.To] == "" {
		b.imports[in.To] = in
	}
}

// importWave reads the objects that the instances of a wave import. Those that can't be read are left out of the plan.
func (b *builder) importWave(ctx context.Context, instances []config.Instance) {
	if len(b.imports) == 0 {
		return
	}
	batches := map[addr.Provider][]config.Import{}
	var used []addr.Provider
	for _, in := range instances {
		ask, ok := b.imports[in.Addr]
		if !ok || b.State.Snapshot.Resources[in.Addr] != nil {
			continue
		}
		if batches[in.Provider] == nil {
			used = append(used, in.Provider)
		}
		if by, ok := b.managedBy(in.Addr.Resource.Type, ask.ID); ok {
			err := fmt.Errorf("%s is managed already, by %s: an object has one address. If it got another one, write a moved block", ask.ID, by)
			b.unread = append(b.unread, importFailure(ask, err))
			b.objects[in.Addr] = &object{ReadResult: providers.ReadResult{Err: err}}
			continue
		}
		batches[in.Provider] = append(batches[in.Provider], ask)
	}
	for _, p := range used {
		values, diags := readImports(ctx, b.session, p, batches[p])
		b.unread = append(b.unread, diags...)
		for n, in := range batches[p] {
			if values[n].IsZero() {
				b.objects[in.To] = &object{ReadResult: providers.ReadResult{Err: fmt.Errorf("%s could not be imported", in.ID)}}
				continue
			}
			b.objects[in.To] = &object{prior: values[n], ReadResult: providers.ReadResult{Current: values[n]}}
			b.imported[in.To] = in.ID
		}
	}
}

// managedBy finds the object of the state, of a type, that an id names: one that mentions it.
func (b *builder) managedBy(typ, id string) (addr.Instance, bool) {
	words, ok := b.mentioned[typ]
	if !ok {
		words = map[string]addr.Instance{}
		for i, o := range b.State.Snapshot.Resources {
			if i.Resource.Type != typ {
				continue
			}
			for d := jsontext.NewDecoder(bytes.NewReader(o.Attributes)); ; {
				token, err := d.ReadToken()
				if err != nil { // the end: a state that can't be read was refused before
					break
				}
				if word := strings.ToLower(token.String()); token.Kind() == '"' {
					if other, taken := words[word]; !taken || i.Compare(other) < 0 {
						words[word] = i
					}
				}
			}
		}
		b.mentioned[typ] = words
	}
	by, ok := words[strings.ToLower(id)]
	return by, ok
}

// readImports reads objects in one call. There is none where the diagnostics have an error.
func readImports(ctx context.Context, s *Session, p addr.Provider, imports []config.Import) ([]schema.Object, hcl.Diagnostics) {
	values := make([]schema.Object, len(imports))
	client, ok := s.Client(p)
	if !ok {
		return values, nil // told already
	}
	importer, ok := client.(providers.Importer)
	if !ok {
		return values, hcl.Diagnostics{importFailure(imports[0], fmt.Errorf("provider %s can't import", p))}
	}
	reqs := make([]providers.ImportRequest, len(imports))
	for n, in := range imports {
		reqs[n] = providers.ImportRequest{Addr: in.To, ID: in.ID}
	}
	var diags hcl.Diagnostics
	for n, result := range importer.Import(ctx, reqs) {
		if result.Err != nil {
			diags = append(diags, importFailure(imports[n], result.Err))
			continue
		}
		values[n] = result.Value
	}
	return values, diags
}

func importFailure(in config.Import, err error) *hcl.Diagnostic {
	d := errorf("Cannot import", "%s: %s.", in.To, textOf(err))
	if !in.Range.Empty() {
		d.Subject = in.Range.Ptr()
		d.Detail += " Correct the id, or remove the import block."
	}
	d.Extra = failure{textOf(err), cause{err}}
	return d
}

// importFirst makes the remembering of an imported object its first action.
func importFirst(c *proposal, id string) {
	shift(c.Actions)
	for n := range c.Actions {
		if len(c.Actions[n].After) == 0 {
			c.Actions[n].After = []int{0}
		}
	}
	first := providers.Action{Kind: providers.ActionImport, Summary: "remember " + id, Early: true}
	c.Actions = append([]providers.Action{first}, c.Actions...)
}

// OnlyImport is the part of a plan that remembers the imported object of one instance as it is. It is nil when the plan
// doesn't import it.
func (p *Plan) OnlyImport(i addr.Instance) *Plan {
	n := slices.IndexFunc(p.Changes, func(c Change) bool { return c.Addr == i && c.Importing != "" })
	if n < 0 {
		return nil
	}
	only := *p
	only.Mode = RefreshOnly // it leaves the outputs as they are
	c := p.Changes[n]
	c.Kind, c.After, c.Because = providers.NoOp, c.Before, nil
	only.Complete, only.Changes, only.Notices, only.Expect, only.Outputs = true, []Change{c}, nil, nil, nil
	only.Targets = []string{i.String()}
	only.Actions = []providers.Action{{ID: 1, Kind: providers.ActionImport, Addr: i, Provider: c.Provider.String(), Summary: "remember " + c.Importing}}
	return &only
}

// Unwritten is an object that an import block names, and for which there is no resource block yet.
type Unwritten struct {
	Addr     addr.Instance
	ID       string
	Provider addr.Provider
	Table    *schema.Table
	Value    schema.Object
}

// ReadUnwritten reads the objects of the import blocks without a resource block, in order of their addresses. The
// configuration was loaded with config.WithoutBlocks. SIDE EFFECTS: none.
func ReadUnwritten(ctx context.Context, o Options) ([]Unwritten, hcl.Diagnostics) {
	b := newBuilder(o)
	defer func() { _ = b.session.Close() }() // nothing is lost with a connection
	evaluation, diags := o.Config.Evaluate(ctx, config.EvalRequest{
		Inputs: o.Inputs, Workspace: o.Workspace, UnwrittenOnly: true, Handler: unwrittenHandler{b},
	})
	if diags.HasErrors() {
		return nil, diags
	}
	slices.SortFunc(evaluation.Unwritten, func(x, y config.Import) int { return x.To.Compare(y.To) })
	batches := map[addr.Provider][]config.Import{}
	for _, in := range evaluation.Unwritten {
		batches[in.Provider] = append(batches[in.Provider], in)
	}
	var all []Unwritten
	for _, p := range evaluation.Providers {
		if len(batches[p]) == 0 {
			continue
		}
		values, more := readImports(ctx, b.session, p, batches[p])
		diags = append(diags, more...)
		for n, in := range batches[p] {
			all = append(all, Unwritten{Addr: in.To, ID: in.ID, Provider: p, Table: in.Table, Value: values[n]})
		}
	}
	slices.SortFunc(all, func(x, y Unwritten) int { return x.Addr.Compare(y.Addr) })
	return all, foldFailures(diags)
}

// unwrittenHandler evaluates what imports need: providers and data sources, but no resources.
type unwrittenHandler struct{ *builder }

func (u unwrittenHandler) Provider(ctx context.Context, p addr.Provider, block config.Block) hcl.Diagnostics {
	return u.open(ctx, p, block)
}

func (u unwrittenHandler) Resources(_ context.Context, instances []config.Instance) []config.Result {
	results := make([]config.Result, len(instances))
	for i, in := range instances {
		results[i].Diags = hcl.Diagnostics{in.Diagnostic(hcl.DiagError, "", "Import of something that is not known yet",
			"What is imported depends on "+in.Addr.String()+", but it must be known before resources are planned. Use a variable, a local value or a data source.")}
	}
	return results
}
