package iexec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/oci"
)

// Planning an entry: predict its address, look whether it is there, and then keep, adopt or deploy it. What has to be read
// for that is read for all entries of a kind in one call.

// An entryPlan is one entry on the way through plan.
type entryPlan struct {
	entry
	req     providers.PlanRequest
	d       object           // what is desired, as far as it is complete
	fields  poco.EntryFields // nil until they matter
	image   *oci.Image       // when the checksum was looked up
	trial   *trialPayload    // that is to be made, or nil
	address common.Address
	owner   common.Address
	result  *providers.PlanResult
}

func (e entry) plan(ctx context.Context, c *client, reqs []providers.PlanRequest) []providers.PlanResult {
	results := make([]providers.PlanResult, len(reqs))
	var todo []*entryPlan
	for i, req := range reqs {
		unborn := !req.Prior.IsNull() && object{req.Prior}.str("address") == ""
		if req.Desired.IsNull() {
			results[i] = providers.PlanResult{Kind: providers.Forget, Planned: req.Desired,
				Because: []string{e.a() + " can't be deleted from the chain; it stays there without orders of this project"}}
			if unborn {
				results[i].Because = []string{"it was never deployed"}
			}
			continue
		}
		if unborn {
			req.Current = req.Desired.Null()
		}
		todo = append(todo, &entryPlan{entry: e, req: req, d: object{req.Desired}, result: &results[i]})
	}
	parallel(len(todo), 16, func(i int) { todo[i].result.Err = todo[i].desire(ctx, c) })
	c.planEntries(ctx, e, todo)
	c.warnOfContracts(ctx, todo)
	return results
}

// parallel calls f for 0 to n-1 and returns when all are done; at most limit run at a time.
func parallel(n, limit int, f func(int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, limit) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// desire completes what the configuration left out.
func (p *entryPlan) desire(ctx context.Context, c *client) error {
	wallet, err := c.address()
	if err != nil && p.d.str("owner") == "" && p.req.Current.IsNull() {
		return err
	}
	p.owner = wallet
	switch {
	case p.d.str("owner") != "":
		p.owner = p.d.address("owner")
	case !p.req.Current.IsNull():
		p.owner = object{p.req.Current}.address("owner") // left out: whoever has it keeps it
	}
	if p.complete != nil {
		return p.complete(ctx, c, p)
	}
	return nil
}

// completeApp looks the checksum up if it is left out, and what is remembered of its trial.
func completeApp(ctx context.Context, c *client, p *entryPlan) error {
	if err := lookUpImage(ctx, c, p); err != nil {
		return err
	}
	return p.prepareTrial(c)
}

// lookUpImage completes the checksum of an app.
func lookUpImage(ctx context.Context, c *client, p *entryPlan) error {
	if p.d.str("checksum") != "" {
		return nil
	}
	image, err := c.images.Resolve(ctx, p.d.str("multiaddr"), "")
	if err != nil {
		return providers.At("multiaddr", err)
	}
	p.result.Notices = append(p.result.Notices, image.Notices("multiaddr")...)
	p.image, p.d = &image, object{p.d.with(map[string]cty.Value{"checksum": cty.StringVal(image.Checksum())})}
	return nil
}

// planEntries decides on the entries whose fields are complete; what it needs from the chain it reads in one call, and nothing
// when all entries are kept.
func (c *client) planEntries(ctx context.Context, e entry, todo []*entryPlan) {
	var lookup []*entryPlan
	for _, p := range todo {
		if p.result.Err != nil {
			continue
		}
		var same bool
		if same, p.result.Err = p.sameFields(); p.result.Err != nil {
			continue
		}
		if same {
			p.address = object{p.req.Current}.address("address")
			p.keep(ctx, c)
			continue
		}
		// A new entry is the wallet's or the configured owner's; who had the old one doesn't matter.
		if p.d.str("owner") == "" {
			if p.owner, p.result.Err = c.address(); p.result.Err != nil {
				continue
			}
		}
		lookup = append(lookup, p)
	}
	if len(lookup) == 0 {
		return
	}
	registry, owners, err := c.lookUpEntries(ctx, e, lookup)
	if err != nil {
		for _, p := range lookup {
			p.result.Err = err
		}
		return
	}
	var there []*entryPlan
	for i, p := range lookup {
		if p.result.Err != nil {
			continue
		}
		p.begin(c)
		if owners[i] != (common.Address{}) {
			there = append(there, p)
			c.rememberOwner(e.kind, p.address, owners[i])
		} else {
			p.deploy(ctx, c, registry)
		}
	}
	c.foundAll(ctx, e, there)
}

// lookUpEntries predicts the addresses of new entries, and reads who owns them; the zero address for those that aren't there.
func (c *client) lookUpEntries(ctx context.Context, e entry, lookup []*entryPlan) (registry common.Address, owners []common.Address, err error) {
	if err := c.pin(ctx); err != nil {
		return registry, nil, err
	}
	if registry, err = c.registryOf(ctx, e.kind); err != nil {
		return registry, nil, err
	}
	addresses := make([]common.Address, len(lookup))
	for i, p := range lookup {
		p.address = e.kind.Address(registry, p.owner, p.fields)
		addresses[i] = p.address
	}
	if owners, err = c.ownersOf(ctx, e.kind, addresses); err != nil {
		return registry, nil, err
	}
	codes, err := c.chain.Codes(ctx, addresses)
	if err != nil {
		return registry, nil, err
	}
	for i, p := range lookup {
		p.result.Err = p.checkCode(codes[i], owners[i] != common.Address{})
	}
	return registry, owners, nil
}

// checkCode refuses an address that has other code than an entry's.
func (p *entryPlan) checkCode(code []byte, registered bool) error {
	switch is := crypto.Keccak256Hash(code); {
	case !registered && len(code) > 0:
		return fmt.Errorf("other code (hash %s) is at %s, where the %s would be deployed, and the registry doesn't know it: nothing is adopted. Change a field to get another address", is, p.address, p.kind.Noun)
	case registered && is != poco.EntryCodeHash():
		return fmt.Errorf("the code at %s (hash %s) is not that of a registry's %s (hash %s), though the registry has it: it is not adopted. Look who changed it, or whether rpc_url is right", p.address, is, p.kind.Noun, poco.EntryCodeHash())
	}
	return nil
}

// sameFields reports whether the desired fields are those of the entry that is there, so that it has the same address. If
// not, the fields are made.
func (p *entryPlan) sameFields() (bool, error) {
	if !p.req.Current.IsNull() && !slices.ContainsFunc(p.kind.Fields, func(f poco.Field) bool {
		return p.d.str(f.Name) != (object{p.req.Current}).str(f.Name)
	}) {
		return true, nil
	}
	var err error
	if p.fields, err = p.fieldsOf(p.d); err != nil || p.req.Current.IsNull() {
		return false, err
	}
	now, err := p.fieldsOf(object{p.req.Current}) // other text may be the same bytes
	return err == nil && slices.EqualFunc(p.fields, now, bytes.Equal), nil
}

// set completes the planned value; current is what is there of policies that the configuration leaves out.
func (p *entryPlan) set(first cty.Value, current object) {
	attrs := map[string]cty.Value{"owner": cty.StringVal(p.owner.Hex()), "address": cty.StringVal(p.address.Hex()), "first_owner": first}
	for _, y := range p.policies {
		if p.d.num(y.Name) == nil {
			attrs[y.Name] = bigNumber(y.of(current))
		}
	}
	p.result.Planned = p.d.with(attrs)
}

// of is the policy of an object; of a null one, what the contract begins with.
func (y policy) of(current object) *big.Int {
	if n := current.num(y.Name); n != nil {
		return n
	}
	return big.NewInt(y.initial)
}

// keep plans an entry that is there and has the desired fields; only its owner and its policies may differ, and the text of
// its fields.
func (p *entryPlan) keep(ctx context.Context, c *client) {
	current := object{p.req.Current}
	from := current.address("owner")
	p.result.Kind, p.result.Planned = providers.NoOp, p.req.Current
	c.rememberOwner(p.kind, p.address, p.owner)
	if p.req.Replace {
		p.result.Err = fmt.Errorf("%s can't be replaced by the same %s: its address is made from its fields, so the same fields are the same %s. Change a field instead", p.a(), p.kind.Noun, p.kind.Noun)
		return
	}
	if p.image != nil {
		p.result.Expect = p.image.Expect()
	} else if p.kind == poco.AppEntry {
		c.pinnedAs(p.req.Addr, current)
	}
	after := p.changePolicies(ctx, c, current, from, p.tryImage(c, nil))
	p.transfer(ctx, c, from, after)
	if p.result.Err == nil && (p.result.Actions != nil || p.fields != nil || p.settingsChanged()) {
		p.result.Kind = providers.Update
		if p.trial != nil {
			p.result.Because = []string{"this image has not passed this trial"}
		}
		p.set(current.v.Attr("first_owner"), current)
	}
}

// settingsChanged reports whether what only the state has differs: nested blocks.
func (p *entryPlan) settingsChanged() bool {
	return slices.ContainsFunc(p.blocks, func(b schema.Block) bool {
		return !p.d.v.Attr(b.Name).RawEquals(p.req.Current.Attr(b.Name))
	})
}

// changePolicies plans that the policies become those desired, after some of the actions, and returns the actions that end it.
func (p *entryPlan) changePolicies(ctx context.Context, c *client, current object, owner common.Address, after []int) []int {
	var want []*big.Int
	var changed []string
	for _, y := range p.policies {
		is, wanted := y.of(current), p.d.num(y.Name)
		if wanted != nil && wanted.Cmp(is) != 0 {
			changed = append(changed, y.Name)
			is = wanted
		}
		want = append(want, is)
	}
	if changed == nil || p.result.Err != nil {
		return after
	}
	wallet, err := c.address()
	switch {
	case err != nil:
		p.result.Err = err
		return after
	case owner != wallet:
		p.result.Err = providers.At(changed[0], fmt.Errorf("only its owner %s can change it, and the wallet is %s: leave it out, or use that wallet", owner, wallet))
		return after
	}
	var terms []string
	payload := policyPayload{Kind: p.kind.Noun, Address: p.address, Policies: map[string]string{}, Data: poco.PackChangePolicy(want[0], want[1])}
	for i, y := range p.policies {
		terms = append(terms, fmt.Sprintf("%s = %s", y.Name, want[i]))
		payload.Policies[y.Name] = want[i].String()
	}
	a := providers.Action{Kind: "change-policy", After: after, Payload: marshal(payload), Cost: c.cost(ctx, 50_000),
		Summary: fmt.Sprintf("change the policy of %s %s: %s", p.kind.Noun, p.address, strings.Join(terms, ", "))}
	if len(p.result.Actions) == 0 { // else the entry is made first
		a.Expect = []providers.Precondition{ownerPrecondition(p.kind, p.address, owner)}
	}
	p.result.Actions = append(p.result.Actions, a)
	return []int{len(p.result.Actions) - 1}
}

// transfer plans that the owner becomes the one desired.
func (p *entryPlan) transfer(ctx context.Context, c *client, from common.Address, after []int) {
	if from == p.owner || p.result.Err != nil {
		return
	}
	wallet, err := c.address()
	if err != nil {
		p.result.Err = err
		return
	}
	if from != wallet {
		p.result.Err = providers.At("owner", fmt.Errorf("only its owner %s can transfer the %s to %s, and the wallet is %s: write owner = \"%s\", or use that wallet", from, p.kind.Noun, p.owner, wallet, from))
		return
	}
	c.mu.Lock()
	c.given[p.address] = true
	c.mu.Unlock()
	p.result.Actions = append(p.result.Actions, providers.Action{
		Kind: "transfer", Late: true, Summary: fmt.Sprintf("transfer %s %s to %s", p.kind.Noun, p.address, p.owner), After: after,
		Payload: marshal(transferPayload{Kind: p.kind.Noun, Address: p.address, From: from, To: p.owner}),
		Cost:    c.cost(ctx, 60_000), Expect: []providers.Precondition{ownerPrecondition(p.kind, p.address, from)},
	})
	p.result.Notices = append(p.result.Notices, providers.Notice{Level: providers.Warning, Attr: "owner",
		Summary: "the transfer ends every order of this " + p.kind.Noun + " that " + from.Hex() + " signed"})
}

// begin plans an entry that the state doesn't know, or that takes the place of another.
func (p *entryPlan) begin(c *client) {
	r := p.result
	if p.warnings != nil {
		p.warnings(p, func(attr, format string, args ...any) {
			r.Notices = append(r.Notices, providers.Notice{Level: providers.Warning, Attr: attr, Summary: fmt.Sprintf(format, args...)})
		})
	}
	r.Kind = providers.Create
	switch {
	case !p.req.Current.IsNull():
		r.Kind = providers.Replace
	case !p.req.Prior.IsNull() && object{p.req.Prior}.str("address") != "":
		r.Because = []string{c.vanished()}
	}
}

// deploy plans an entry that isn't registered.
func (p *entryPlan) deploy(ctx context.Context, c *client, registry common.Address) {
	r := p.result
	unset := object{p.req.Desired.Null()}
	p.set(cty.StringVal(p.owner.Hex()), unset)
	c.rememberOwner(p.kind, p.address, p.owner)
	c.mu.Lock()
	c.unborn[p.address] = true
	c.mu.Unlock()
	data := p.kind.PackCreate(p.owner, p.fields)
	fields := make(map[string]string, len(p.fields))
	for _, f := range p.kind.Fields {
		fields[f.Name] = p.d.str(f.Name)
	}
	payload := marshal(deployPayload{Kind: p.kind.Noun, Address: p.address, Owner: p.owner, Fields: fields, Registry: registry, Data: data})
	from, err := c.address()
	if err != nil {
		r.Err = err
		return
	}
	if tx, _ := c.underWay(ctx, data); tx != nil { // if nobody can tell, apply finds out
		if r.Kind == providers.Create {
			r.Kind = providers.Adopt
		}
		r.Because = append(r.Because, fmt.Sprintf("transaction %s (nonce %d), which an interrupted apply sent, is pending: waiting", tx.Hash(), tx.Nonce))
		r.Actions = append(r.Actions, providers.Action{Kind: "await", Payload: payload,
			Summary: fmt.Sprintf("wait for transaction %s, nonce %d, which deploys %s %s", tx.Hash(), tx.Nonce, p.kind.Noun, p.address)})
		p.changePolicies(ctx, c, unset, p.owner, []int{0})
		return
	}
	after := []int(nil)
	if p.image != nil && p.image.Moved == "" {
		r.Actions = append(r.Actions, p.image.VerifyAction())
		after = []int{0}
	}
	after = p.tryImage(c, after)
	gas := c.estimate(ctx, fmt.Sprintf("%s/%d", p.kind.Create, len(data)), chain.Msg{From: from, To: registry, Data: data}, p.gas)
	r.Actions = append(r.Actions, providers.Action{
		Kind: "deploy", Summary: fmt.Sprintf("deploy %s %s", p.kind.Noun, p.address), After: after, Payload: payload, Cost: c.cost(ctx, gas),
	})
	r.Provides = []string{c.entryKey(p.address)}
	p.changePolicies(ctx, c, unset, p.owner, []int{len(r.Actions) - 1})
}

// foundAll plans entries that are registered already, though the state doesn't know them.
func (c *client) foundAll(ctx context.Context, e entry, there []*entryPlan) {
	addresses := make([]common.Address, len(there))
	for i, p := range there {
		addresses[i] = p.address
	}
	policies, err := c.policiesOf(ctx, e, addresses)
	for i, p := range there {
		if err != nil {
			p.result.Err = err
			continue
		}
		p.found(ctx, c, policies[i])
	}
}

func (p *entryPlan) found(ctx context.Context, c *client, policies map[string]cty.Value) {
	r := p.result
	if owner, _ := c.ownerOf(p.kind, p.address); owner != p.owner {
		r.Err = providers.At("owner", fmt.Errorf("%s %s exists, made by %s, and now belongs to %s: it was transferred away. Change a field to make another %s, or manage it with its owner's wallet", p.kind.Noun, p.address, p.owner, owner, p.kind.Noun))
		return
	}
	if p.image != nil {
		r.Expect = p.image.Expect()
	}
	current := p.d
	if policies != nil {
		current = object{p.d.with(policies)}
	}
	p.set(cty.StringVal(p.owner.Hex()), current)
	if r.Kind == providers.Replace {
		r.Because = append(r.Because, fmt.Sprintf("%s %s has these fields and exists already: nothing is deployed", p.kind.Noun, p.address))
	} else {
		r.Kind, r.Because = providers.Adopt, []string{"it is registered on the chain already"}
		as := maps.Clone(policies)
		for _, b := range p.blocks {
			if as == nil {
				as = map[string]cty.Value{}
			}
			as[b.Name] = cty.NullVal(b.ObjectType())
		}
		r.Found = object{r.Planned}.with(as)
	}
	p.changePolicies(ctx, c, current, p.owner, p.tryImage(c, nil))
}

// warnOfContracts tells what an owner that is a contract, such as a Safe, means for the orders of entries that become its.
func (c *client) warnOfContracts(ctx context.Context, todo []*entryPlan) {
	var becoming []*entryPlan
	var owners []common.Address
	for _, p := range todo {
		if wallet, _ := c.address(); p.result.Err == nil && p.result.Kind != providers.NoOp && p.owner != wallet {
			becoming, owners = append(becoming, p), append(owners, p.owner)
		}
	}
	contracts, err := c.areContracts(ctx, owners)
	for i, p := range becoming {
		switch {
		case err != nil:
			p.result.Err = errors.Join(p.result.Err, err)
		case contracts[i] && !c.receives(ctx, p):
			p.result.Err = providers.At("owner", fmt.Errorf("%s is a contract that doesn't take ERC-721 tokens (it has no onERC721Received), so the %s can't be transferred to it", p.owner, p.kind.Noun))
		case contracts[i]:
			p.result.Notices = append(p.result.Notices, providers.Notice{Level: providers.Warning, Attr: "owner",
				Summary: fmt.Sprintf("%s is a contract: it can presign orders of this %s on chain, but the market takes only orders that are signed with the owner's key, and will not show them", p.owner, p.kind.Noun)})
		}
	}
}

// receives reports whether the contract that the entry is transferred to, if it is, takes it.
func (c *client) receives(ctx context.Context, p *entryPlan) bool {
	if !slices.ContainsFunc(p.result.Actions, func(a providers.Action) bool { return a.Kind == "transfer" }) {
		return true
	}
	from := object{p.req.Current}.address("owner")
	registry, err := c.registryOf(ctx, p.kind)
	if err != nil {
		return true // it would be told before
	}
	_, errs := c.chain.EstimateGas(ctx, []chain.Msg{{From: from, To: registry, Data: poco.PackTransfer(from, p.owner, p.address)}})
	var revert *chain.RevertError
	return !errors.As(errs[0], &revert)
}

func appWarnings(p *entryPlan, warn func(attr, format string, args ...any)) {
	ref := p.d.str("multiaddr")
	last := ref[strings.LastIndex(ref, "/")+1:]
	switch _, tag, tagged := strings.Cut(last, ":"); {
	case strings.Contains(ref, "@"):
		warn("multiaddr", "workers can't pull %s: they need a tag, and don't understand digests (name:tag, without @sha256:…)", ref)
	case !tagged:
		warn("multiaddr", "workers can't pull %s: it has no tag, and they don't add :latest", ref)
	case tag == "latest":
		warn("multiaddr", "the tag latest moves: what workers run may not be what the checksum says. Use a tag of its own for each release")
	}
	if p.d.str("mrenclave") != "" {
		warn("mrenclave", "today's clients refuse apps with an mrenclave")
	}
}

func datasetWarnings(p *entryPlan, warn func(attr, format string, args ...any)) {
	place := p.d.str("multiaddr")
	if scheme, _, ok := strings.Cut(place, "://"); !ok && !strings.HasPrefix(place, "/ipfs/") && !strings.HasPrefix(place, "/p2p/") {
		warn("multiaddr", "workers can't download %s: it is neither a URL nor /ipfs/<cid>", place)
	} else if ok && scheme != "http" && scheme != "https" {
		warn("multiaddr", "workers may be unable to download %s: they know http, https and /ipfs/<cid>", place)
	}
	if common.HexToHash(p.d.str("checksum")) == (common.Hash{}) {
		warn("checksum", "with a checksum of zero nobody can tell whether the file that is downloaded is the right one")
	}
}
