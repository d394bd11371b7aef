package iexec

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"
	"golang.org/x/crypto/scrypt"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/iexec/sms"
)

// secret is the resource type of the secret that an app's developer gives it: iexec_app_secret.
//
// The secret management service takes one secret for each app, for ever, and never tells it again. So the value is
// write-only, presence is all that can be read, and a changed value is noticed by its fingerprint, which the state keeps. A
// secret is pushed after its app is deployed and before orders of the app are published: an order that is published first
// can be matched by a task that lacks the secret.
type secret struct{}

// Status of a secret.
const (
	secretPushing = "pushing" // about to be pushed, after a look has shown that there is none
	secretPushed  = "pushed"  // pushed by this project
	secretFound   = "found"   // it was there already: whether it has the configured value nobody can tell
)

func (secret) table() *schema.Table {
	return &schema.Table{
		Type:      "iexec_app_secret",
		Permanent: true,
		Doc: "The secret that the developer of an app gives it. The secret management service (SMS) hands it to the app's TEE tasks, and to nobody else.\n\n" +
			"An app has one secret, for ever: it can't be read, changed or removed. So another value needs another app (change its name, or the tag of its image), " +
			"and plan refuses anything else. The secret is pushed after the app is deployed and before its orders are published, without `depends_on`.\n\n" +
			"`value` is write-only: it is in no state, plan, log or output. Set it from a variable with `ephemeral = true`, which may come from the environment. " +
			"A saved plan needs the variable again when it is applied.",
		Example: "variable \"api_key\" {\n  type      = string\n  ephemeral = true\n  sensitive = true\n}\n" +
			"resource \"iexec_app_secret\" \"api_key\" {\n  app   = iexec_app.hello.address\n  value = var.api_key\n}\n",
		Attrs: []schema.Attr{
			addressAttr(schema.Attr{Name: "app", Mode: schema.Required, ForceNew: true, Doc: "Address of the app, which the wallet must own when the secret is pushed."}),
			{Name: "value", Type: cty.String, Mode: schema.Required, WriteOnly: true, Doc: "The secret: UTF-8 text of 1 to 4096 bytes.",
				Parse: func(v cty.Value) (cty.Value, error) { return v, sms.Check(v.AsString()) }},
			{Name: "fingerprint", Type: cty.String, Mode: schema.Computed, Doc: "Slow salted hash (scrypt) of the value, by which a changed value is noticed. A value that can be guessed can be found with it: use random ones."},
			{Name: "status", Type: cty.String, Mode: schema.Computed, Doc: "`pushed`, or `found` when the app had a secret already, of which nobody can tell whether it is this one."},
		},
	}
}

// fingerprints computes fingerprints, each once a run.
type fingerprints struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]string
}

// of is the fingerprint of an app's secret: "scrypt:" and 32 bytes of hex, made with N = 2^15, r = 8, p = 1 (32 MiB and a
// tenth of a second) and, as salt, the SHA-256 of "iexecform app secret", the chain's id (8 bytes, big-endian) and the app.
func (f *fingerprints) of(chainID uint64, app common.Address, value string) string {
	salt := sha256.New()
	_, _ = salt.Write([]byte("iexecform app secret")) // a hash takes all
	_, _ = salt.Write(binary.BigEndian.AppendUint64(nil, chainID))
	_, _ = salt.Write(app[:])
	salted := salt.Sum(nil)
	key := sha256.Sum256(append(salted, value...))
	f.mu.Lock()
	known := f.known[key]
	f.mu.Unlock()
	if known != "" {
		return known
	}
	hash, err := scrypt.Key([]byte(value), salted, 1<<15, 8, 1, 32)
	if err != nil {
		panic(err) // only for parameters out of range
	}
	known = "scrypt:" + hex.EncodeToString(hash)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil {
		f.known = map[[sha256.Size]byte]string{}
	}
	f.known[key] = known
	return known
}

// secrets is the client of the secret management service, made when it is needed first.
func (c *client) secrets(context.Context) (*sms.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sms != nil {
		return c.sms, nil
	}
	if c.SMS == "" {
		return nil, errors.New("no secret management service is known for this chain: set sms_url in the provider block")
	}
	made, err := sms.New(c.SMS, sms.Options{})
	if err != nil {
		return nil, fmt.Errorf("provider iexec: %w", err)
	}
	c.sms = made
	return made, nil
}

// secretKey is what a secret provides and the orders of its app require.
func (c *client) secretKey(app common.Address) string {
	return fmt.Sprintf("iexec/%d/app/%s/secret", c.ID, app.Hex())
}

// read looks which apps have a secret, as far as the state knows them.
func (secret) read(ctx context.Context, c *client, reqs []providers.ReadRequest) []providers.ReadResult {
	results := make([]providers.ReadResult, len(reqs))
	parallel(len(reqs), 16, func(i int) {
		prior, r := object{reqs[i].Prior}, &results[i]
		r.Current = prior.v.Null()
		app := prior.address("app")
		if app == (common.Address{}) { // pushing it was given up
			return
		}
		there, err := c.hasSecret(ctx, app)
		switch {
		case err != nil:
			r.Err = err
		case there:
			r.Current = prior.v
		case prior.str("status") != secretPushing:
			r.Notices = []providers.Notice{{Level: providers.Warning, Attr: "app",
				Summary: fmt.Sprintf("the secret management service no longer has the secret of app %s", app)}}
		}
	})
	return results
}

func (c *client) hasSecret(ctx context.Context, app common.Address) (bool, error) {
	service, err := c.secrets(ctx)
	if err != nil {
		return false, err
	}
	return service.Exists(ctx, app)
}

// A secretPlan is one secret on the way through plan.
type secretPlan struct {
	req         providers.PlanRequest
	result      *providers.PlanResult
	app         common.Address
	fingerprint string
	there       bool // the app has a secret
}

func (secret) plan(ctx context.Context, c *client, reqs []providers.PlanRequest) []providers.PlanResult {
	results := make([]providers.PlanResult, len(reqs))
	if err := c.pin(ctx); err != nil {
		return fail(len(reqs), providers.PlanResult{Err: err})
	}
	var todo []*secretPlan
	var apps []common.Address
	for i, req := range reqs {
		if req.Desired.IsNull() {
			results[i] = providers.PlanResult{Kind: providers.Forget, Planned: req.Desired}
			if !req.Current.IsNull() {
				results[i].Because = []string{fmt.Sprintf("the secret of app %s can't be removed: it stays in the secret management service", object{req.Current}.str("app"))}
			}
			continue
		}
		p := &secretPlan{req: req, result: &results[i], app: object{req.Desired}.address("app")}
		todo, apps = append(todo, p), append(apps, p.app)
	}
	if err := c.learnOwners(ctx, poco.AppEntry, apps); err != nil {
		return fail(len(reqs), providers.PlanResult{Err: err})
	}
	parallel(len(todo), 16, func(i int) { todo[i].result.Err = todo[i].look(ctx, c) })
	parallel(len(todo), runtime.GOMAXPROCS(0), func(i int) { // each takes 32 MiB
		if p := todo[i]; p.result.Err == nil {
			p.fingerprint = c.fingerprints.of(c.ID, p.app, object{p.req.Desired}.str("value"))
			p.decide(c)
		}
	})
	return results
}

// look finds out whether the app has a secret.
func (p *secretPlan) look(ctx context.Context, c *client) (err error) {
	switch {
	case p.knownApp():
		p.there = !p.req.Current.IsNull()
	case c.registered(p.app):
		p.there, err = c.hasSecret(ctx, p.app)
	default: // the service takes secrets of registered apps only
		_, err = c.secrets(ctx)
	}
	return err
}

// knownApp reports whether the state knows of a secret of this app.
func (p *secretPlan) knownApp() bool {
	return !p.req.Prior.IsNull() && object{p.req.Prior}.address("app") == p.app
}

func (p *secretPlan) decide(c *client) {
	prior, r := object{p.req.Prior}, p.result
	status := secretPushed
	fresh := prior.address("app") == common.Address{}
	switch {
	case p.knownApp() && p.there && prior.str("fingerprint") != p.fingerprint:
		r.Err = providers.At("value", fmt.Errorf("app %s has its one secret for ever, and this value is another than the one that it was given (the fingerprints differ). "+
			"Give the former value; or, for a new one, make a new app: change a field of it, such as its name or the tag of its image, and the new app gets the new secret", p.app))
		return
	case p.req.Replace && p.knownApp() && p.there:
		r.Err = fmt.Errorf("the secret of app %s can't be replaced: an app has one secret for ever. Change a field of the app, and the new app gets its own", p.app)
		return
	case p.knownApp() && p.there && prior.str("status") == secretPushing:
		r.Kind, r.Because = providers.Update, []string{"an interrupted run pushed it"}
	case p.knownApp() && p.there:
		r.Kind, status = providers.NoOp, prior.str("status")
	case p.there:
		status = secretFound
		if r.Kind = providers.Adopt; !fresh {
			r.Kind = providers.Replace
		}
		r.Because = []string{fmt.Sprintf("app %s has a secret already", p.app)}
		r.Notices = []providers.Notice{{Level: providers.Warning, Attr: "value",
			Summary: fmt.Sprintf("app %s has a secret already, and nobody can tell whether it has this value: a secret can't be read", p.app),
			Detail:  "From now on a change of the value in the configuration will be noticed. If the app has a wrong secret, make a new app: change a field of it."}}
	default:
		r.Kind = providers.Create
		if !fresh && !p.knownApp() {
			r.Kind = providers.Replace
		}
		p.push(c)
	}
	r.Planned = object{p.req.Desired}.with(map[string]cty.Value{
		"value": cty.NullVal(cty.String), "fingerprint": cty.StringVal(p.fingerprint), "status": cty.StringVal(status),
	})
	if r.Kind == providers.Adopt {
		r.Found = r.Planned
	}
}

// push plans to give the app its secret.
func (p *secretPlan) push(c *client) {
	r := p.result
	wallet, err := c.address()
	if err != nil {
		r.Err = err
		return
	}
	switch owner, ok := c.ownerOf(poco.AppEntry, p.app); {
	case !ok:
		r.Err = providers.At("app", fmt.Errorf("no app is registered at %s, and this configuration doesn't deploy one there: refer to iexec_app.NAME.address, or correct the address", p.app))
		return
	case owner != wallet:
		r.Err = providers.At("app", fmt.Errorf("app %s belongs to %s, and only its owner can give it a secret, but the wallet is %s: use the owner's wallet", p.app, owner, wallet))
		return
	}
	push := providers.Action{
		Kind: "push-secret", Summary: fmt.Sprintf("give app %s its secret, for ever", p.app), WriteOnly: []string{"value"},
		Payload: marshal(pushPayload{App: p.app, Fingerprint: p.fingerprint}), Cost: providers.Cost{Signatures: 1, Requests: 2},
	}
	if c.registered(p.app) {
		push.Expect = []providers.Precondition{ownerPrecondition(poco.AppEntry, p.app, wallet)}
	}
	r.Actions, r.Provides, r.Requires = []providers.Action{push}, []string{c.secretKey(p.app)}, []string{c.trialKey(p.app)}
}

type pushPayload struct {
	App         common.Address `json:"app"`
	Fingerprint string         `json:"fingerprint"`
}

// CheckWriteOnly implements providers.WriteOnlyChecker.
func (c *client) CheckWriteOnly(_ context.Context, a providers.Action, values map[string]cty.Value) error {
	if a.Kind == trialBlockName {
		return checkTrialSecrets(a, values)
	}
	var p pushPayload
	if err := unmarshal(a, &p); err != nil {
		return err
	}
	value := values["value"]
	if a.Kind != "push-secret" || value == cty.NilVal || value.IsNull() || !value.IsKnown() {
		return fmt.Errorf("action %d, %s, has no value to work with", a.ID, a.Kind)
	}
	if c.fingerprints.of(c.ID, p.App, value.AsString()) != p.Fingerprint {
		return fmt.Errorf("the secret of app %s is not the one that the plan was made with: its fingerprint differs (give it that value, and this plan can be applied)", p.App)
	}
	return nil
}

// doPushSecret makes sure that the app has its secret. It notes the fingerprint before it pushes, so that the value is known
// again when the answer is lost with the process. SIDE EFFECTS: the secret, for ever.
func doPushSecret(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	if err := c.CheckWriteOnly(ctx, req.Action, req.WriteOnly); err != nil {
		return nil, err
	}
	var p pushPayload
	if err := unmarshal(req.Action, &p); err != nil {
		return nil, err
	}
	service, err := c.secrets(ctx)
	if err != nil {
		return nil, err
	}
	there, err := service.Exists(ctx, p.App)
	if err != nil {
		return nil, err
	}
	if there {
		return nil, &sms.ExistsError{App: p.App}
	}
	signer, err := c.signer(ctx)
	if err != nil {
		return nil, err
	}
	status := func(status any) json.RawMessage {
		set := map[string]any{"app": p.App.Hex(), "fingerprint": p.Fingerprint, "status": status}
		if status == nil {
			set["app"], set["fingerprint"] = nil, nil
		}
		return marshal(set)
	}
	if err := req.Journal.Patch(ctx, status(secretPushing)); err != nil {
		return nil, fmt.Errorf("cannot persist the fingerprint of the secret, so it was not pushed: %w", err)
	}
	err = service.Push(ctx, p.App, req.WriteOnly["value"].AsString(), signer)
	var exists *sms.ExistsError
	if errors.As(err, &exists) { // somebody else was faster: it isn't this one
		return nil, errors.Join(err, req.Journal.Patch(ctx, status(nil)))
	}
	if err != nil {
		return nil, err
	}
	return status(secretPushed), nil
}

var _ providers.WriteOnlyChecker = (*client)(nil)
