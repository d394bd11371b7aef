package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// Options is what a plan is made from.
type Options struct {
	Tool        string // version of the program
	Config      *config.Config
	Inputs      map[string]cty.Value
	Workspace   string
	State       *state.Loaded
	Providers   providers.Registry
	Prompt      providers.Prompter // may be nil
	Mode        Mode
	SkipRefresh bool            // take the state's word for what exists
	Targets     []addr.Instance // only these and what they depend on; without key: every instance
	Exclude     []addr.Instance // not these, nor what depends on them; without key: every instance
	Replace     []addr.Instance
	Imports     map[addr.Instance]string // ids of objects to import besides those of import blocks
	Parallelism int                      // reads of data sources at once; 0 means 10
	Acknowledge []string                 // names of policies that need not hold
	Locked      map[string]string        // see providers.OpenRequest
	Unprotected bool                     // neither prevent_destroy nor policies hold
	// PlanOnly means that nobody needs the State afterwards: the text of its objects, most of its memory, is let go as it is
	// decoded.
	PlanOnly bool
	// Override answers data sources in place of their providers, where it reports true. It may be nil.
	Override func(config.Instance) (cty.Value, bool)
}

// Build makes a plan, and the session with the open clients that it used, which the caller closes. With errors the plan
// is not Complete; it still shows what could be planned. SIDE EFFECTS: none outside.
func Build(ctx context.Context, o Options) (*Plan, *Session, hcl.Diagnostics) {
	loaded, moves, diags := moveState(o.Config, o.State)
	o.State = loaded
	b := newBuilder(o)
	b.plan.Moves = moves
	if diags = append(diags, b.checkAddresses()...); diags.HasErrors() {
		return b.plan, b.session, diags
	}
	evaluation, more := o.Config.Evaluate(ctx, config.EvalRequest{
		Inputs: o.Inputs, Workspace: o.Workspace, Targets: b.Targets, Known: b.remembers, Exclude: b.excludes(), ProvidersOnly: o.Mode != Normal, Handler: b,
		Import: b.ask,
	})
	diags = append(diags, more...)
	diags = append(diags, b.checkInstances("--exclude", b.Exclude, evaluation)...)
	diags = append(diags, b.checkInstances("--replace", b.Replace, evaluation)...)
	diags = append(diags, b.planRest(ctx, evaluation)...)
	diags = foldFailures(append(diags, b.unread...))
	diags = append(diags, b.require()...)
	diags = append(diags, b.finish(ctx, evaluation, diags)...)
	return b.plan, b.session, append(diags, b.enforce()...)
}

func newBuilder(o Options) *builder {
	if o.Parallelism <= 0 {
		o.Parallelism = 10
	}
	known := len(o.State.Snapshot.Resources)
	b := &builder{
		Options: o,
		plan: &Plan{
			Tool: o.Tool, Mode: o.Mode, Project: o.Config.Settings.Project, Workspace: o.Workspace,
			Lineage: o.State.Snapshot.Lineage, Serial: o.State.Snapshot.Serial, Records: o.State.Records,
			Config: o.Config.Digest(), Variables: o.Config.Public(o.Inputs), Outline: o.Config.Outline(),
		},
		session:   NewSession(o.Providers, o.State, o.Config.Settings.Project, o.Workspace, o.Config.Dir, o.Prompt),
		blocks:    map[addr.Provider]config.Block{},
		objects:   make(map[addr.Instance]*object, known),
		reading:   map[objectsOf]chan readPart{},
		told:      map[string]bool{},
		verify:    map[addr.Instance]*secondLook{},
		imports:   map[addr.Instance]config.Import{},
		imported:  map[addr.Instance]string{},
		mentioned: map[string]map[string]addr.Instance{},
	}
	b.session.Lock(o.Locked)
	for _, t := range o.Targets {
		b.plan.Targets = append(b.plan.Targets, t.String())
	}
	for _, t := range o.Exclude {
		b.plan.Exclude = append(b.plan.Exclude, t.String())
	}
	for to, id := range o.Imports {
		b.imports[to] = config.Import{To: to, ID: id}
	}
	return b
}

// A proposal is what a provider proposes for one instance. That of a data source has no more than actions.
type proposal struct {
	*providers.PlanResult
	addr      addr.Instance
	object    *object
	provider  addr.Provider
	before    schema.Object
	dependsOn []addr.Instance
	requires  []addr.Instance // that provide what it requires, sorted
	removed   bool            // no longer in the configuration
	protected bool            // prevent_destroy
	tainted   bool            // still, afterwards
	triggered bool            // replaced because of replace_triggered_by
}

// builder implements config.Handler: the evaluation drives it.
type builder struct {
	Options
	evaluation *config.Evaluation // once it is done
	plan       *Plan
	session    *Session
	blocks     map[addr.Provider]config.Block      // of the open providers
	objects    map[addr.Instance]*object           // those of the state when their provider is opened, others when they are planned
	order      []*proposal                         // dependencies first
	verify     map[addr.Instance]*secondLook       // of data sources
	imports    map[addr.Instance]config.Import     // that are asked for
	imported   map[addr.Instance]string            // ids of those that were read
	mentioned  map[string]map[string]addr.Instance // texts of the state's objects, by type: see managedBy
	targetSet  map[addr.Instance]bool              // see wanted; nil until asked for
	reading    map[objectsOf]chan readPart         // being read
	told       map[string]bool                     // texts of errors of reading
	unread     hcl.Diagnostics                     // about objects that could not be decoded or read: their Err is set
}

// An object is what the state and the network say about one instance, and what is proposed.
type object struct {
	stored               *state.Object // nil when the state doesn't know it
	prior                schema.Object // none when it is new, or the state is damaged there
	providers.ReadResult               // as refreshed
	proposal             *proposal     // nil when there is none yet
}

// proposed is what is proposed for an instance so far, or nil.
func (b *builder) proposed(i addr.Instance) *proposal {
	if o := b.objects[i]; o != nil {
		return o.proposal
	}
	return nil
}

// checkAddresses refuses --target and --replace addresses that name nothing.
func (b *builder) checkAddresses() (diags hcl.Diagnostics) {
	if len(b.Targets)+len(b.Exclude)+len(b.Replace) == 0 {
		return nil
	}
	known := map[addr.Resource]bool{}
	var names []string
	for _, d := range b.Config.Blocks() {
		known[d.Addr] = true
		names = append(names, d.Addr.String())
	}
	for i := range b.State.Snapshot.Resources {
		known[i.Resource.Block()] = true
		names = append(names, i.String())
	}
	for r := range known {
		for m := r.Module; m != ""; m = m.Parent() {
			known[addr.Resource{Module: m}] = true
			names = append(names, string(m))
		}
	}
	check := func(flag string, list []addr.Instance) {
		for _, t := range list {
			if known[t.Resource.Block()] {
				continue
			}
			diags = diags.Append(&hcl.Diagnostic{
				Severity: hcl.DiagError,
				Summary:  "No such resource",
				Detail: fmt.Sprintf("%s=%s names nothing in the configuration or the state.%s", flag, t,
					meant(t.Resource, names)),
			})
		}
	}
	check("--target", b.Targets)
	check("--exclude", b.Exclude)
	check("--replace", b.Replace)
	return diags
}

// meant suggests the resource with the most similar name, or else, where it is the only one, that of the same type.
func meant(r addr.Resource, names []string) string {
	if text := config.DidYouMean(r.String(), names); text != "" {
		return text
	}
	one := addr.Resource{Module: r.Module, Mode: r.Mode, Type: r.Type}.String()
	same := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !strings.HasPrefix(name, one) })
	slices.Sort(same)
	if same = slices.Compact(same); len(same) == 1 {
		return fmt.Sprintf(" Did you mean %q?", same[0])
	}
	return ""
}

// remembers reports whether the state has the target.
func (b *builder) remembers(target addr.Instance) bool {
	for i := range b.State.Snapshot.Resources {
		if matches([]addr.Instance{target}, i) {
			return true
		}
	}
	return false
}

// Provider opens a client and reads what the state knows of its objects.
func (b *builder) Provider(ctx context.Context, p addr.Provider, block config.Block) hcl.Diagnostics {
	if diags := b.open(ctx, p, block); diags.HasErrors() {
		return diags
	}
	b.refresh(ctx, p)
	return nil
}

func (b *builder) open(ctx context.Context, p addr.Provider, block config.Block) hcl.Diagnostics {
	if err := b.session.Open(ctx, p, block.Value.Cty()); err != nil {
		return hcl.Diagnostics{caused(block.Diagnostic(hcl.DiagError, providers.AttrOf(err), "Cannot use the provider",
			fmt.Sprintf("Provider %s: %s.", p, textOf(err))), err)}
	}
	b.blocks[p] = block
	network, remembered := b.session.Network(p)
	var err error
	if !b.SkipRefresh || !remembered {
		network, err = b.session.CheckNetwork(ctx, p)
	}
	if err != nil {
		text := textOf(err) + "."
		if !p.Key.IsZero() { // else the place of the block tells which
			text = fmt.Sprintf("Provider %s: %s", p, text)
		}
		return hcl.Diagnostics{caused(block.Diagnostic(hcl.DiagError, "", "Cannot use the provider", text), err)}
	}
	b.plan.Providers = append(b.plan.Providers, Provider{
		Addr: p, Config: redact(block.Value, block.Sensitive).Cty(), Sensitive: block.Sensitive, Network: network,
	})
	return nil
}

// Resources plans the instances of one wave, one call a provider configuration.
func (b *builder) Resources(ctx context.Context, instances []config.Instance) []config.Result {
	results := make([]config.Result, len(instances))
	b.refreshWave(instances)
	b.importWave(ctx, instances)
	objects := make([]*object, len(instances)) // nil where nothing is known
	batches := map[addr.Provider][]int{}
	var used []addr.Provider
	for i := range instances {
		in := &instances[i]
		if objects[i] = b.objects[in.Addr]; objects[i] != nil && objects[i].Err != nil {
			continue // in unread
		}
		if batches[in.Provider] == nil {
			used = append(used, in.Provider)
		}
		batches[in.Provider] = append(batches[in.Provider], i)
	}
	for _, p := range used {
		batch := batches[p]
		reqs, triggered := make([]providers.PlanRequest, len(batch)), make([]string, len(batch))
		for n, i := range batch {
			reqs[n] = b.request(instances[i].Addr, objects[i], instances[i].Value)
			triggered[n] = b.prepare(&reqs[n], instances[i])
		}
		client, ok := b.session.Client(p)
		if !ok {
			for _, i := range batch {
				results[i] = failed(instances[i], fmt.Errorf("provider %s is not open", p))
			}
			continue
		}
		planned := client.Plan(ctx, reqs)
		for n := range planned {
			i, result := batch[n], &planned[n]
			in := instances[i]
			if result.Err != nil {
				results[i] = failed(in, result.Err)
				continue
			}
			b.withhold(reqs[n], result)
			results[i].Object = result.Planned
			results[i].Diags = b.protect(in, b.propose(reqs[n], objects[i], p, result, in.DependsOn, false), triggered[n])
		}
	}
	return results
}

// request gathers what is known of an instance; desired is null when the object is to go.
func (b *builder) request(i addr.Instance, o *object, desired schema.Object) providers.PlanRequest {
	null := desired.Null()
	req := providers.PlanRequest{Addr: i, Prior: null, Current: null, Desired: desired, Replace: matches(b.Replace, i) || o.tainted(), Formerly: b.Config.MovedFrom(i)}
	if o != nil && !o.prior.IsZero() {
		req.Prior, req.Current = o.prior, o.Current
	}
	return req
}

func (b *builder) propose(req providers.PlanRequest, o *object, p addr.Provider, result *providers.PlanResult, dependsOn []addr.Instance, removed bool) *proposal {
	before := req.Current
	if before.IsNull() {
		before = req.Prior
	}
	if !result.Found.IsZero() {
		before = result.Found
	}
	if o != nil && len(o.Notices) > 0 {
		result.Notices = slices.Concat(o.Notices, result.Notices)
	}
	return b.add(&proposal{PlanResult: result, addr: req.Addr, object: o, provider: p, before: before, dependsOn: dependsOn, removed: removed})
}

func (b *builder) add(c *proposal) *proposal {
	if c.object == nil {
		c.object = &object{}
		b.objects[c.addr] = c.object
	}
	c.object.proposal = c
	b.order = append(b.order, c)
	return c
}

// planRest plans what the evaluation didn't come across: objects that are to go, or, refreshing only, all of them.
func (b *builder) planRest(ctx context.Context, evaluation *config.Evaluation) (diags hcl.Diagnostics) {
	failed := map[addr.Resource]bool{} // blocks that could not be evaluated: nothing of them goes
	var lost []addr.Instance           // modules of that kind
	b.evaluation = evaluation
	if b.Mode == Normal {
		for _, i := range slices.Concat(evaluation.Failed, evaluation.Skipped, evaluation.Excluded) {
			if failed[i.Resource] = true; i.Resource.Type == "" {
				lost = append(lost, i)
			}
		}
	}
	b.allRefreshed()
	var gone []addr.Instance
	for i := range b.State.Snapshot.Resources {
		if b.proposed(i) != nil { // it is in the configuration
			continue
		}
		if !failed[i.Resource] && !matches(lost, i) && (len(b.Targets) == 0 || b.Mode != Normal || matches(b.Targets, i)) {
			gone = append(gone, i)
		}
	}
	if b.Mode != Normal && len(b.Targets) > 0 {
		gone = b.withDependents(gone)
	}
	gone = b.stay(gone)
	b.tellExcluded(evaluation)
	gone = b.dependentsFirst(gone)
	batches := map[addr.Provider][]addr.Instance{}
	var used []addr.Provider
	for _, i := range gone {
		p := addr.ParseProvider(b.State.Snapshot.Resources[i].Provider)
		if batches[p] == nil {
			used = append(used, p)
		}
		batches[p] = append(batches[p], i)
	}
	for _, p := range used {
		diags = append(diags, b.planGone(ctx, p, batches[p])...)
	}
	return append(append(diags, b.planBack(ctx)...), b.openOwners(ctx)...)
}

// planBack plans the end of objects that the state has forgotten and that exist again.
func (b *builder) planBack(ctx context.Context) (diags hcl.Diagnostics) {
	if b.Mode == RefreshOnly || b.SkipRefresh {
		return nil
	}
	for _, p := range b.session.Providers() {
		client, _ := b.session.Client(p)
		rememberer, ok := client.(providers.Rememberer)
		if !ok {
			continue
		}
		back, err := rememberer.Back(ctx)
		if err != nil {
			diags = diags.Append(caused(errorf("Cannot read what exists", "Provider %s: %s.", p, textOf(err)), err))
			continue
		}
		var reqs []providers.PlanRequest
		for _, i := range back {
			table := b.Providers.ResourceTable(i.Resource.Type)
			if b.proposed(i) == nil && b.State.Snapshot.Resources[i] == nil && !matches(b.Exclude, i) && (len(b.Targets) == 0 || matches(b.Targets, i)) {
				reqs = append(reqs, b.request(i, nil, table.Blank().Null()))
			}
		}
		if len(reqs) > 0 {
			diags = append(diags, b.proposeEnds(p, reqs, client.Plan(ctx, reqs))...)
		}
	}
	return diags
}

// openOwners opens the providers of unsettled notes, so that what an interrupted run left is taken up although nothing uses
// its provider any more.
func (b *builder) openOwners(ctx context.Context) (diags hcl.Diagnostics) {
	for _, n := range b.State.Pending {
		p := addr.ParseProvider(n.Owner)
		if _, open := b.session.Client(p); n.Owner != "" && !open && !b.session.Failed(p) {
			diags = append(diags, b.openUnused(ctx, p, "An interrupted run left something unsettled", "an apply has settled it")...)
		}
	}
	return diags
}

// openUnused opens a provider that the configuration doesn't use, without a block. why and until are for the error that there
// is when it can't be had so.
func (b *builder) openUnused(ctx context.Context, p addr.Provider, why, until string) hcl.Diagnostics {
	table := b.Providers.ProviderTable(p.Name)
	if table == nil || p.Alias != "" {
		return hcl.Diagnostics{errorf("Provider configuration missing",
			"%s with provider %s, which the configuration no longer has. Put %s back until %s.", why, p, lacking(p), until)}
	}
	return b.Provider(ctx, p, config.Block{Value: table.Blank()})
}

// planGone plans objects of one provider configuration that the configuration doesn't have, or only refreshes them.
func (b *builder) planGone(ctx context.Context, p addr.Provider, gone []addr.Instance) (diags hcl.Diagnostics) {
	client, ok := b.session.Client(p)
	if !ok {
		if b.session.Failed(p) {
			return nil // told already
		}
		if diags = b.openUnused(ctx, p, fmt.Sprintf("%s is in the state", gone[0]), "the objects are gone, or run `iexecform state rm`"); diags.HasErrors() {
			return diags
		}
		b.allRefreshed()
		client, _ = b.session.Client(p)
	}
	var reqs []providers.PlanRequest
	for _, i := range gone {
		o := b.objects[i]
		if o == nil || o.Err != nil {
			continue // in unread
		}
		if b.Mode == RefreshOnly {
			b.proposeRefresh(i, o, p)
			continue
		}
		if d := b.prevented(i); d != nil {
			diags = diags.Append(d)
			continue
		}
		req := b.request(i, o, o.prior.Null())
		req.Removal = b.removal(i)
		reqs = append(reqs, req)
	}
	if len(reqs) == 0 {
		return diags
	}
	return append(diags, b.proposeEnds(p, reqs, client.Plan(ctx, reqs))...)
}

// proposeEnds takes in what a provider plans for objects that are to go.
func (b *builder) proposeEnds(p addr.Provider, reqs []providers.PlanRequest, planned []providers.PlanResult) (diags hcl.Diagnostics) {
	for n := range planned {
		i, result := reqs[n].Addr, &planned[n]
		if result.Err != nil {
			diags = diags.Append(caused(errorf("Planning failed", "%s: %s.", i, textOf(result.Err)), result.Err))
			continue
		}
		removed(reqs[n].Removal, result)
		var dependsOn []addr.Instance
		if o := b.objects[i]; o != nil {
			b.explainGone(i, result)
			dependsOn = o.stored.Dependencies
		}
		b.propose(reqs[n], b.objects[i], p, result, dependsOn, true)
	}
	return diags
}

// lacking is what a configuration without a provider configuration lacks.
func lacking(p addr.Provider) string {
	if p.Key.IsZero() {
		return "the provider block"
	}
	return fmt.Sprintf("the key %s of its for_each", p.Key.Value().AsString())
}

// proposeRefresh makes the state say what is.
func (b *builder) proposeRefresh(i addr.Instance, o *object, p addr.Provider) {
	result := &providers.PlanResult{Kind: providers.NoOp, Planned: o.Current, Notices: o.Notices}
	switch {
	case o.Current.IsNull():
		result.Kind = providers.Forget
		result.Because = []string{"it no longer exists"}
	case !o.Current.Equal(o.prior):
		result.Kind = providers.Update
	}
	b.add(&proposal{PlanResult: result, addr: i, object: o, provider: p, before: o.prior,
		dependsOn: o.stored.Dependencies, protected: o.stored.Protected, tainted: o.stored.Tainted})
}

// withDependents adds what depends on the targets that are to go: nothing may be left that refers to them.
func (b *builder) withDependents(all []addr.Instance) []addr.Instance {
	in := map[addr.Instance]bool{}
	for _, i := range all {
		in[i] = matches(b.Targets, i)
	}
	if b.Mode == Destroy {
		for _, i := range slices.Backward(b.dependentsFirst(all)) {
			for _, d := range b.State.Snapshot.Resources[i].Dependencies {
				in[i] = in[i] || in[d]
			}
		}
	}
	return slices.DeleteFunc(all, func(i addr.Instance) bool { return !in[i] })
}

// dependentsFirst sorts objects of the state so that each comes before those it depends on; otherwise by address.
func (b *builder) dependentsFirst(list []addr.Instance) []addr.Instance {
	slices.SortFunc(list, addr.Instance.Compare)
	var sorted []addr.Instance
	done := map[addr.Instance]bool{}
	member := map[addr.Instance]bool{}
	for _, i := range list {
		member[i] = true
	}
	var visit func(addr.Instance)
	visit = func(i addr.Instance) {
		if done[i] || !member[i] {
			return
		}
		done[i] = true
		for _, d := range b.State.Snapshot.Resources[i].Dependencies {
			visit(d)
		}
		sorted = append(sorted, i)
	}
	for _, i := range list {
		visit(i)
	}
	slices.Reverse(sorted)
	return sorted
}

// finish turns the proposals into the plan. It returns what clients have against it as a whole.
func (b *builder) finish(ctx context.Context, evaluation *config.Evaluation, diags hcl.Diagnostics) hcl.Diagnostics {
	p := b.plan
	aside := b.watched(ctx)
	p.Complete = !diags.HasErrors()
	p.Checks = evaluation.Checks
	p.Changes = make([]Change, 0, len(b.order))
	from := sources(p.Moves)
	for _, c := range b.order {
		i := c.addr
		if isData(i) || b.excluded(i) {
			continue
		}
		dependsOn := c.dependsOn // shared, so it must not be changed
		if slices.ContainsFunc(dependsOn, isData) {
			dependsOn = slices.DeleteFunc(slices.Clone(dependsOn), isData)
		}
		p.Changes = append(p.Changes, Change{
			Addr: i, Provider: c.provider, Kind: c.Kind, Before: c.before, After: c.Planned, Because: c.Because, DependsOn: dependsOn,
			Importing: b.imported[i], MovedFrom: from[i], Prior: b.drifted(c),
			Protected: c.protected, Tainted: c.tainted, Reason: b.reason(c),
		})
		for _, n := range c.Notices {
			p.Notices = append(p.Notices, Notice{Addr: i, Notice: n})
		}
		for _, e := range c.Expect {
			p.Expect = append(p.Expect, Expectation{Provider: c.provider.String(), Precondition: e})
		}
	}
	byAddress := func(x, y Change) int { return x.Addr.Compare(y.Addr) }
	slices.SortFunc(p.Changes, byAddress)
	slices.SortFunc(p.Reads, byAddress)
	if b.Mode == Normal {
		b.tellRenames()
	}
	slices.SortStableFunc(p.Notices, func(x, y Notice) int { return x.Addr.Compare(y.Addr) })
	slices.SortFunc(p.Providers, func(x, y Provider) int { return compareText(x.Addr.String(), y.Addr.String()) })
	b.orderActions()
	b.groupActions(ctx)
	p.Pending = b.session.Pending(ctx, p.Actions)
	p.Notices = append(p.Notices, aside...)
	refused := b.review(ctx)
	p.Complete = p.Complete && !refused.HasErrors()
	if b.Mode == Normal {
		p.Outputs = outputChanges(b.State.Snapshot, evaluation, len(b.Targets)+len(b.Exclude) > 0 || !p.Complete)
	} else if b.Mode == Destroy && len(b.Targets)+len(b.Exclude) == 0 {
		p.Outputs = outputChanges(b.State.Snapshot, &config.Evaluation{}, false)
	}
	return refused
}

// watched collects what clients noticed beside planning, and returns what is about providers.
func (b *builder) watched(ctx context.Context) (aside []Notice) {
	for _, p := range b.session.Providers() {
		client, _ := b.session.Client(p)
		watcher, ok := client.(providers.Watcher)
		if !ok {
			continue
		}
		for i, notices := range watcher.Noticed(ctx, b.SkipRefresh || len(b.Targets)+len(b.Exclude) > 0) {
			if i == (addr.Instance{}) {
				for _, n := range notices {
					aside = append(aside, Notice{Provider: p.String(), Notice: n})
				}
			} else if c := b.proposed(i); c != nil {
				c.Notices = append(c.Notices, notices...)
			}
		}
	}
	return aside
}

// review lets clients look at their actions together.
func (b *builder) review(ctx context.Context) (diags hcl.Diagnostics) {
	byProvider := ActionsByProvider(b.plan.Actions)
	for _, p := range b.session.Providers() {
		client, _ := b.session.Client(p)
		reviewer, ok := client.(providers.Reviewer)
		actions := byProvider[p.String()]
		if !ok || len(actions) == 0 {
			continue
		}
		notices, err := reviewer.Review(ctx, actions)
		for _, n := range notices {
			b.plan.Notices = append(b.plan.Notices, Notice{Provider: p.String(), Notice: n})
		}
		if err != nil {
			diags = diags.Append(caused(b.blocks[p].Diagnostic(hcl.DiagError, providers.AttrOf(err), "The plan can't be applied", textOf(err)+"."), err))
		}
	}
	return diags
}

func isData(i addr.Instance) bool { return i.Resource.Mode == addr.Data }

// wanted reports whether an instance is a target, or something that a target depends on.
func (b *builder) wanted(i addr.Instance) bool {
	if b.targetSet == nil {
		b.targetSet = map[addr.Instance]bool{}
		for _, c := range slices.Backward(b.order) { // dependents come later in order
			if matches(b.Targets, c.addr) {
				b.targetSet[c.addr] = true
			}
			if b.targetSet[c.addr] {
				for _, d := range c.dependsOn {
					b.targetSet[d] = true
				}
			}
		}
	}
	return b.targetSet[i]
}

func matches(list []addr.Instance, i addr.Instance) bool {
	return slices.ContainsFunc(list, func(t addr.Instance) bool {
		return t.Covers(i)
	})
}
