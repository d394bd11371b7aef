package iexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/oci"
)

// app is the resource type iexec_app. On chain everything of an app but its owner is immutable, and an app can't be
// deleted: a change of a field is another app, a change of owner is a transfer (facts: App.sol, AppRegistry.sol).
type app struct{}

func (app) table() *schema.Table {
	return &schema.Table{
		Type: "iexec_app",
		Doc: "An app: a Docker image, registered on chain. Its address is known before it is deployed, because it is made from its fields " +
			"and its first owner (CREATE2).\n\n" +
			"Everything but `owner` is immutable on chain. A change of another argument deploys another app; orders that refer to it follow. " +
			"A change of `owner` transfers the app, which ends every order that the old owner signed.\n\n" +
			"An app can't be deleted: destroying the resource forgets it, and its orders are withdrawn by their own resources. " +
			"An app that exists already at the predicted address is adopted without a transaction.",
		Example: "data \"oci_image\" \"hello\" {\n  reference = \"docker.io/library/hello-world:latest\"\n}\n\n" +
			"resource \"iexec_app\" \"hello\" {\n  name      = \"hello-world\"\n  multiaddr = data.oci_image.hello.reference\n  checksum  = data.oci_image.hello.checksum\n}\n",
		Attrs: []schema.Attr{
			textAttr(schema.Attr{Name: "name", Mode: schema.Required, ForceNew: true, Doc: "Name of the app: free text."}),
			choiceAttr(schema.Attr{Name: "type", Mode: schema.Optional, ForceNew: true, Default: cty.StringVal("DOCKER"), Doc: "Always `DOCKER`."}, "DOCKER"),
			textAttr(schema.Attr{Name: "multiaddr", Mode: schema.Required, ForceNew: true,
				Doc: "Image reference with a tag, such as `docker.io/user/image:1.0`. It goes on chain as it is written. Workers pull by tag: without a tag, or by digest, the app doesn't run."}),
			bytes32Attr(schema.Attr{Name: "checksum", Mode: schema.OptionalComputed, ForceNew: true,
				Doc: "`0x` and the SHA-256 digest of what the tag resolves to. Left out, it is looked up in the image's registry, and followed: when the tag moves, the next plan deploys a new app."}),
			{Name: "mrenclave", Type: cty.String, Mode: schema.Optional, ForceNew: true, Default: cty.StringVal(""),
				Doc: "SGX enclave description. Empty for TDX apps; today's clients refuse apps where it isn't."},
			addressAttr(schema.Attr{Name: "owner", Mode: schema.OptionalComputed, Doc: "Owner of the app; the wallet, unless set."}),
			addressAttr(schema.Attr{Name: "address", Mode: schema.Computed, Doc: "Address of the app, known at plan time."}),
			addressAttr(schema.Attr{Name: "first_owner", Mode: schema.Computed, Doc: "Owner at deployment, which the address is made from."}),
		},
	}
}

// read reads the owners; the rest can't change.
func (app) read(ctx context.Context, c *client, reqs []providers.ReadRequest) []providers.ReadResult {
	if err := c.pin(ctx); err != nil {
		return fail(len(reqs), providers.ReadResult{Err: err})
	}
	addresses := make([]common.Address, len(reqs))
	for i, r := range reqs {
		addresses[i] = object{r.Prior}.address("address")
	}
	owners, err := c.ownersOf(ctx, poco.AppEntry, addresses)
	if err != nil {
		return fail(len(reqs), providers.ReadResult{Err: err})
	}
	results := make([]providers.ReadResult, len(reqs))
	for i, r := range reqs {
		if owners[i] == (common.Address{}) {
			results[i].Current = cty.NullVal(r.Prior.Type())
			continue
		}
		c.rememberOwner(addresses[i], owners[i])
		results[i].Current = r.Prior
		if was := (object{r.Prior}).address("owner"); was != owners[i] {
			results[i].Current = object{r.Prior}.with(map[string]cty.Value{"owner": cty.StringVal(owners[i].Hex())})
			if was != (common.Address{}) {
				results[i].Notices = []providers.Notice{{Level: providers.Warning, Attr: "owner",
					Summary: fmt.Sprintf("the app was transferred from %s to %s: orders that the old owner signed are dead", was, owners[i])}}
			}
		}
	}
	return results
}

// An appPlan is one app on the way through plan.
type appPlan struct {
	req     providers.PlanRequest
	app     poco.App
	image   *oci.Image // when the checksum was looked up
	address common.Address
	owner   common.Address
	result  *providers.PlanResult
}

func (app) plan(ctx context.Context, c *client, reqs []providers.PlanRequest) []providers.PlanResult {
	results := make([]providers.PlanResult, len(reqs))
	if err := c.pin(ctx); err != nil {
		return fail(len(reqs), providers.PlanResult{Err: err})
	}
	var todo []*appPlan
	for i, req := range reqs {
		if req.Desired.IsNull() {
			results[i] = providers.PlanResult{Kind: providers.Forget, Planned: req.Desired,
				Because: []string{"an app can't be deleted from the chain; it stays there without orders of this project"}}
			continue
		}
		todo = append(todo, &appPlan{req: req, result: &results[i]})
	}
	parallel(len(todo), 16, func(i int) { todo[i].result.Err = todo[i].desire(ctx, c) })
	c.planApps(ctx, todo)
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

// desire completes what the configuration left out: checksum and owner.
func (p *appPlan) desire(ctx context.Context, c *client) error {
	d := object{p.req.Desired}
	current := object{p.req.Current}
	wallet, err := c.address()
	if err != nil && d.str("owner") == "" && p.req.Current.IsNull() {
		return err
	}
	p.owner = wallet
	switch {
	case d.str("owner") != "":
		p.owner = d.address("owner")
	case !p.req.Current.IsNull():
		p.owner = current.address("owner") // left out: whoever has it keeps it
	}
	checksum := d.str("checksum")
	if checksum == "" {
		image, err := c.images.Resolve(ctx, d.str("multiaddr"), "")
		if err != nil {
			return providers.At("multiaddr", err)
		}
		p.image, checksum = &image, image.Checksum()
	}
	p.app = poco.App{Name: d.str("name"), Type: d.str("type"), Multiaddr: []byte(d.str("multiaddr")),
		Checksum: common.HexToHash(checksum), MREnclave: []byte(d.str("mrenclave"))}
	return nil
}

// planApps decides on the apps whose fields are complete; what it needs from the chain it reads in one call.
func (c *client) planApps(ctx context.Context, todo []*appPlan) {
	registry, err := c.registryOf(ctx, poco.AppEntry)
	if err != nil {
		for _, p := range todo {
			p.result.Err = err
		}
		return
	}
	var lookup []*appPlan
	for _, p := range todo {
		if p.result.Err != nil {
			continue
		}
		current := object{p.req.Current}
		if !p.req.Current.IsNull() && p.sameFields() {
			p.address = current.address("address")
			p.keep(c)
			continue
		}
		// A new app is the wallet's or the configured owner's; who had the old one doesn't matter.
		if owner := (object{p.req.Desired}).str("owner"); owner == "" {
			wallet, err := c.address()
			if err != nil {
				p.result.Err = err
				continue
			}
			p.owner = wallet
		}
		p.address = p.app.Address(registry, p.owner)
		lookup = append(lookup, p)
	}
	addresses := make([]common.Address, len(lookup))
	for i, p := range lookup {
		addresses[i] = p.address
	}
	owners, err := c.ownersOf(ctx, poco.AppEntry, addresses)
	for i, p := range lookup {
		if err != nil {
			p.result.Err = err
			continue
		}
		p.create(ctx, c, registry, owners[i])
	}
}

// sameFields reports whether the desired fields are those of the app that is there, so that it has the same address.
func (p *appPlan) sameFields() bool {
	for _, name := range []string{"name", "type", "multiaddr", "mrenclave"} {
		if !p.req.Desired.GetAttr(name).RawEquals(p.req.Current.GetAttr(name)) {
			return false
		}
	}
	return p.app.Checksum == common.HexToHash(object{p.req.Current}.str("checksum"))
}

// set completes the planned value.
func (p *appPlan) set(first common.Address) cty.Value {
	return object{p.req.Desired}.with(map[string]cty.Value{
		"checksum": cty.StringVal(p.app.Checksum.Hex()), "owner": cty.StringVal(p.owner.Hex()),
		"address": cty.StringVal(p.address.Hex()), "first_owner": cty.StringVal(first.Hex()),
	})
}

// keep plans an app that is there and has the desired fields; only its owner may differ.
func (p *appPlan) keep(c *client) {
	current := object{p.req.Current}
	from := current.address("owner")
	p.result.Kind, p.result.Planned = providers.NoOp, p.req.Current
	c.rememberOwner(p.address, p.owner)
	if p.req.Replace {
		p.result.Err = errors.New("an app can't be replaced by the same app: its address is made from its fields, so the same fields are the same app. Change a field instead")
		return
	}
	if p.image != nil {
		p.result.Expect = []providers.Precondition{p.image.Precondition()}
	}
	if from == p.owner {
		return
	}
	p.result.Planned = p.set(current.address("first_owner"))
	wallet, err := c.address()
	if err != nil {
		p.result.Err = err
		return
	}
	if from != wallet {
		p.result.Err = providers.At("owner", fmt.Errorf("only its owner %s can transfer the app to %s, and the wallet is %s: write owner = \"%s\", or use that wallet", from, p.owner, wallet, from))
		return
	}
	p.result.Kind = providers.Update
	p.result.Actions = []providers.Action{{
		Kind: "transfer", Summary: fmt.Sprintf("transfer app %s to %s", p.address, p.owner),
		Payload: marshal(transferPayload{App: p.address, From: from, To: p.owner}),
		Cost:    c.cost(context.Background(), 60_000), Expect: []providers.Precondition{ownerPrecondition(p.address, from)},
	}}
	p.result.Notices = append(p.result.Notices, providers.Notice{Level: providers.Warning, Attr: "owner",
		Summary: "the transfer ends every order of this app that " + from.Hex() + " signed"})
}

// create plans an app that the state doesn't know, or that takes the place of another.
func (p *appPlan) create(ctx context.Context, c *client, registry, owner common.Address) {
	r := p.result
	r.Planned = p.set(p.owner)
	r.Notices = append(r.Notices, p.warnings()...)
	r.Kind = providers.Create
	switch {
	case !p.req.Current.IsNull():
		r.Kind = providers.Replace
	case !p.req.Prior.IsNull():
		r.Because = []string{"it no longer exists on the chain"}
	}
	if owner != (common.Address{}) {
		p.found(c, owner)
		return
	}
	c.rememberOwner(p.address, p.owner)
	c.mu.Lock()
	c.unborn[p.address] = true
	c.mu.Unlock()
	after := []int(nil)
	if p.image != nil {
		r.Actions = append(r.Actions, p.image.VerifyAction())
		after = []int{0}
	}
	data := poco.PackCreateApp(p.owner, p.app)
	from, err := c.address()
	if err != nil {
		r.Err = err
		return
	}
	gas := c.estimate(ctx, fmt.Sprintf("createApp/%d", len(data)), chain.Msg{From: from, To: registry, Data: data}, 600_000)
	r.Actions = append(r.Actions, providers.Action{
		Kind: "deploy", Summary: fmt.Sprintf("deploy app %s", p.address), After: after,
		Payload: marshal(deployPayload{
			Address: p.address, Owner: p.owner, Name: p.app.Name, Type: p.app.Type, Multiaddr: string(p.app.Multiaddr),
			Checksum: p.app.Checksum, MREnclave: string(p.app.MREnclave), Registry: registry, Data: data,
		}),
		Cost: c.cost(ctx, gas),
	})
}

// found plans an app that is registered already, though the state doesn't know it.
func (p *appPlan) found(c *client, owner common.Address) {
	r := p.result
	c.rememberOwner(p.address, owner)
	if owner != p.owner {
		r.Err = providers.At("owner", fmt.Errorf("app %s exists, made by %s, and now belongs to %s: it was transferred away. Change a field to make another app, or manage it with its owner's wallet", p.address, p.owner, owner))
		return
	}
	if p.image != nil {
		r.Expect = []providers.Precondition{p.image.Precondition()}
	}
	if r.Kind == providers.Replace {
		r.Because = append(r.Because, fmt.Sprintf("app %s has these fields and exists already: nothing is deployed", p.address))
		return
	}
	r.Kind, r.Found = providers.Adopt, r.Planned
	r.Because = []string{"it is registered on the chain already"}
}

// warnings tells what is allowed but probably not meant.
func (p *appPlan) warnings() []providers.Notice {
	var all []providers.Notice
	warn := func(attr, format string, args ...any) {
		all = append(all, providers.Notice{Level: providers.Warning, Attr: attr, Summary: fmt.Sprintf(format, args...)})
	}
	ref := string(p.app.Multiaddr)
	last := ref[strings.LastIndex(ref, "/")+1:]
	switch _, tag, tagged := strings.Cut(last, ":"); {
	case strings.Contains(ref, "@"):
		warn("multiaddr", "workers can't pull %s: they need a tag, and don't understand digests (name:tag, without @sha256:…)", ref)
	case !tagged:
		warn("multiaddr", "workers can't pull %s: it has no tag, and they don't add :latest", ref)
	case tag == "latest":
		warn("multiaddr", "the tag latest moves: what workers run may not be what the checksum says. Use a tag of its own for each release")
	}
	if len(p.app.MREnclave) > 0 {
		warn("mrenclave", "today's clients refuse apps with an mrenclave")
	}
	return all
}

type deployPayload struct {
	Address   common.Address `json:"address"`
	Owner     common.Address `json:"owner"`
	Name      string         `json:"name"`
	Type      string         `json:"type"`
	Multiaddr string         `json:"multiaddr"`
	Checksum  common.Hash    `json:"checksum"`
	MREnclave string         `json:"mrenclave"`
	Registry  common.Address `json:"to"`
	Data      hexutil.Bytes  `json:"data"` // call data of the transaction
}

// doDeploy makes sure that the app is registered. SIDE EFFECTS: at most one transaction.
func doDeploy(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	var p deployPayload
	if err := unmarshal(req.Action, &p); err != nil {
		return nil, err
	}
	there := func() (bool, error) {
		owners, err := c.ownersOf(ctx, poco.AppEntry, []common.Address{p.Address})
		if err != nil || owners[0] == (common.Address{}) {
			return false, err
		}
		if owners[0] != p.Owner {
			return false, fmt.Errorf("app %s is registered and belongs to %s, not to %s: plan again", p.Address, owners[0], p.Owner)
		}
		return true, nil
	}
	if done, err := there(); done || err != nil {
		return nil, err
	}
	if c.sender == nil {
		return nil, c.walletErr
	}
	tx := chain.TxRequest{To: p.Registry, Data: p.Data, Purpose: "deploy " + req.Action.Addr.String()}
	if _, err := c.sender.Send(ctx, tx, req.Journal, req.Progress); err != nil {
		// Somebody may have made this very app in the meantime: then it is as wanted.
		if done, lookErr := there(); done && lookErr == nil {
			return nil, nil
		}
		return nil, err
	}
	done, err := there()
	if err == nil && !done {
		err = fmt.Errorf("the transaction succeeded, but app %s is not registered", p.Address)
	}
	return nil, err
}

type transferPayload struct {
	App  common.Address `json:"app"`
	From common.Address `json:"from"`
	To   common.Address `json:"to"`
}

// doTransfer makes sure that the app belongs to its new owner. SIDE EFFECTS: at most one transaction.
func doTransfer(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	var p transferPayload
	if err := unmarshal(req.Action, &p); err != nil {
		return nil, err
	}
	owners, err := c.ownersOf(ctx, poco.AppEntry, []common.Address{p.App})
	if err != nil || owners[0] == p.To {
		return nil, err
	}
	if c.sender == nil {
		return nil, c.walletErr
	}
	registry, err := c.registryOf(ctx, poco.AppEntry)
	if err != nil {
		return nil, err
	}
	tx := chain.TxRequest{To: registry, Data: poco.PackTransfer(p.From, p.To, p.App), Purpose: "transfer " + req.Action.Addr.String()}
	_, err = c.sender.Send(ctx, tx, req.Journal, req.Progress)
	return nil, err
}

// doResolve looks whether the image's tag still has the digest that was planned with.
func doResolve(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	return nil, errors.Join(checkDigest(ctx, c, req.Action.Expect)...)
}

func checkDigest(ctx context.Context, c *client, ps []providers.Precondition) []error {
	return c.images.Check(ctx, ps)
}

type ownerExpectation struct {
	App   common.Address `json:"app"`
	Owner common.Address `json:"owner"`
}

func ownerPrecondition(app, owner common.Address) providers.Precondition {
	return providers.Precondition{Kind: "owner", Summary: fmt.Sprintf("app %s belongs to %s", app, owner),
		Payload: marshal(ownerExpectation{App: app, Owner: owner})}
}

func checkOwner(ctx context.Context, c *client, ps []providers.Precondition) []error {
	errs := make([]error, len(ps))
	want := make([]ownerExpectation, len(ps))
	apps := make([]common.Address, len(ps))
	for i, p := range ps {
		if err := json.Unmarshal(p.Payload, &want[i]); err != nil {
			return fail(len(ps), err)
		}
		apps[i] = want[i].App
	}
	owners, err := c.ownersOf(ctx, poco.AppEntry, apps)
	if err != nil {
		return fail(len(ps), err)
	}
	for i, w := range want {
		if owners[i] != w.Owner {
			errs[i] = fmt.Errorf("app %s changed hands: it belonged to %s and now belongs to %s", w.App, w.Owner, owners[i])
		}
	}
	return errs
}
