package iexec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Kinds of registry entry are tables: what they are made of, and what of them can be changed. Everything that is done with
// apps, datasets and workerpools is written once, over these tables. On chain an entry's fields are immutable, and it can't be
// deleted: a change of a field is another entry, a change of owner is a transfer (facts: Registry.sol, RegistryEntry.sol).

// entry is the resource type of one kind of registry entry: iexec_app, iexec_dataset, iexec_workerpool.
type entry struct{ *entryKind }

// An entryKind is what differs between kinds of entry.
type entryKind struct {
	kind     *poco.EntryKind
	intro    string // of the reference page
	example  string
	fields   []schema.Attr     // the kind's Fields, in the same order
	shown    map[string]string // what the data source says of fields and policies, by name
	blocks   []schema.Block    // nested blocks, which have nothing to do with the chain
	policies []policy          // what the owner can change, in the order of changePolicy's arguments
	gas      uint64            // of a creation, where the node can't tell
	// parse makes a multiaddr's bytes, and format a text of them, false if it has none; nil: UTF-8
	parse  func(text string) ([]byte, error)
	format func(raw []byte) (string, bool)
	// complete looks up what the configuration may leave out of the fields; nil: nothing
	complete func(ctx context.Context, c *client, p *entryPlan) error
	warnings func(p *entryPlan, warn func(attr, format string, args ...any)) // tells what is allowed but probably not meant
}

// A policy is an attribute that the owner can change.
type policy struct {
	schema.Attr
	view    string // its name in the hub's view
	initial int64  // what the contract sets it to
}

var appEntry = entry{&entryKind{
	kind: poco.AppEntry, gas: 600_000,
	intro: "An app: a Docker image, registered on chain. Its address is known before it is deployed, because it is made from its fields " +
		"and its first owner (CREATE2).",
	example: "data \"oci_image\" \"hello\" {\n  reference = \"docker.io/iexechub/python-hello-world:8.0.4\"\n}\n\n" +
		"resource \"iexec_app\" \"hello\" {\n  name      = \"hello-world\"\n  multiaddr = data.oci_image.hello.reference\n  checksum  = data.oci_image.hello.checksum\n\n  trial {\n    args = \"world\"\n  }\n}\n",
	fields: []schema.Attr{
		textAttr(schema.Attr{Name: "name", Mode: schema.Required, ForceNew: true, Doc: "Name of the app: free text."}),
		choiceAttr(schema.Attr{Name: "type", Mode: schema.Optional, ForceNew: true, Default: cty.StringVal("DOCKER"), Doc: "Always `DOCKER`."}, "DOCKER"),
		textAttr(schema.Attr{Name: "multiaddr", Mode: schema.Required, ForceNew: true,
			Doc: "Image reference with a tag, such as `docker.io/user/image:1.0`. It goes on chain as it is written. Workers pull by tag: without a tag, or by digest, the app doesn't run."}),
		bytes32Attr(schema.Attr{Name: "checksum", Mode: schema.OptionalComputed, ForceNew: true,
			Doc: "`0x` and the SHA-256 digest of what the tag resolves to. Left out, it is looked up in the image's registry, and followed: when the tag moves, the next plan deploys a new app."}),
		{Name: "mrenclave", Type: cty.String, Mode: schema.Optional, ForceNew: true, Default: cty.StringVal(""),
			Doc: "SGX enclave description. Empty for TDX apps; today's clients refuse apps where it isn't."},
	},
	shown: map[string]string{"name": "Name of the app.", "type": "Always `DOCKER`.", "multiaddr": "Image reference.",
		"checksum": "`0x` and the SHA-256 digest of the image.", "mrenclave": "SGX enclave description, usually empty."},
	blocks:   []schema.Block{trialBlock()},
	complete: completeApp, warnings: appWarnings,
}}

var datasetEntry = entry{&entryKind{
	kind: poco.DatasetEntry, gas: 600_000,
	intro: "A dataset: an encrypted file, registered on chain. Its address is known before it is deployed, because it is made from its fields " +
		"and its first owner (CREATE2).",
	example: "resource \"iexec_dataset\" \"genome\" {\n  name      = \"genome\"\n  multiaddr = \"https://example.com/genome.enc\"\n  checksum  = \"0x${filesha256(\"genome.enc\")}\"\n}\n",
	fields: []schema.Attr{
		textAttr(schema.Attr{Name: "name", Mode: schema.Required, ForceNew: true, Doc: "Name of the dataset: free text."}),
		multiaddrAttr(schema.Attr{Name: "multiaddr", Mode: schema.Required,
			Doc: "Where workers download the encrypted file: a URL, or `/ipfs/<cid>`. Two texts that are the same on chain, such as two forms of one CID, are the same dataset; another place is another dataset."}),
		bytes32Attr(schema.Attr{Name: "checksum", Mode: schema.Required, ForceNew: true,
			Doc: "`0x` and the SHA-256 digest of the encrypted file."}),
	},
	shown: map[string]string{"name": "Name of the dataset.", "multiaddr": "Where the encrypted file is: a URL, or `/ipfs/<cid>`.",
		"checksum": "`0x` and the SHA-256 digest of the encrypted file."},
	parse: poco.ParseMultiaddr, format: poco.FormatMultiaddr, warnings: datasetWarnings,
}}

var workerpoolEntry = entry{&entryKind{
	kind: poco.WorkerpoolEntry, gas: 550_000,
	intro: "A workerpool: who offers to compute tasks, registered on chain. Its address is known before it is deployed, because it is made from " +
		"its description and its first owner (CREATE2).",
	example: "resource \"iexec_workerpool\" \"here\" {\n  description = \"here\"\n}\n",
	fields: []schema.Attr{
		textAttr(schema.Attr{Name: "description", Mode: schema.Required, ForceNew: true, Doc: "Description of the workerpool: free text."}),
	},
	shown: map[string]string{"description": "Description of the workerpool.", "worker_stake_ratio": "What a worker stakes, in percent of the price.",
		"scheduler_reward_ratio": "The scheduler's share of the reward, in percent."},
	policies: []policy{
		{uintAttr(schema.Attr{Name: "worker_stake_ratio", Mode: schema.OptionalComputed,
			Doc: "What a worker stakes to contribute, in percent of the price (`workerStakeRatioPolicy`). Left out, it stays as it is; at first it is 30."}, 0), "workerStakeRatio", 30},
		{rangeAttr(schema.Attr{Name: "scheduler_reward_ratio", Mode: schema.OptionalComputed,
			Doc: "The scheduler's share of the reward, in percent (`schedulerRewardRatioPolicy`). Left out, it stays as it is; at first it is 1."}, 0, 100), "schedulerRewardRatio", 1},
	},
}}

// entryOf is the resource type of a kind.
func entryOf(k *poco.EntryKind) entry {
	return []entry{appEntry, datasetEntry, workerpoolEntry}[slices.Index(poco.EntryKinds(), k)]
}

// entryOfNoun is the resource type of a kind that a payload names.
func entryOfNoun(noun string) (entry, error) {
	for _, k := range poco.EntryKinds() {
		if k.Noun == noun {
			return entryOf(k), nil
		}
	}
	return entry{}, fmt.Errorf("%q is no kind of registry entry: the plan was made by another version", noun)
}

func (e entry) typ() string { return "iexec_" + e.kind.Noun }

// a is the noun with its article.
func (e entry) a() string {
	if strings.ContainsRune("aeiou", rune(e.kind.Noun[0])) {
		return "an " + e.kind.Noun
	}
	return "a " + e.kind.Noun
}

func (e entry) table() *schema.Table {
	noun, a := e.kind.Noun, e.a()
	doc := e.intro + "\n\n" +
		"Everything but `owner` is immutable on chain. A change of another argument deploys another " + noun + "; orders that refer to it follow. " +
		"A change of `owner` transfers the " + noun + ", which ends every order that the old owner signed.\n\n" +
		strings.ToUpper(a[:1]) + a[1:] + " can't be deleted: destroying the resource forgets it, and its orders are withdrawn by their own resources. " +
		strings.ToUpper(a[:1]) + a[1:] + " that exists already at the predicted address is adopted without a transaction."
	if len(e.policies) > 0 {
		doc = strings.Replace(doc, "Everything but `owner` is", "Everything but `owner` and the ratios is", 1)
	}
	t := &schema.Table{Type: e.typ(), Doc: doc, Example: e.example, Attrs: slices.Clone(e.fields), Blocks: e.blocks, Permanent: true}
	for _, p := range e.policies {
		t.Attrs = append(t.Attrs, p.Attr)
	}
	t.Attrs = append(t.Attrs,
		ownerAttr(schema.Attr{Name: "owner", Mode: schema.OptionalComputed, Doc: "Owner of the " + noun + "; the wallet, unless set."}),
		addressAttr(schema.Attr{Name: "address", Mode: schema.Computed, Doc: "Address of the " + noun + ", known at plan time."}),
		addressAttr(schema.Attr{Name: "first_owner", Mode: schema.Computed, Doc: "Owner at deployment, which the address is made from."}))
	return t
}

// fieldsOf is the immutable part of an object. The error is at its attribute.
func (e entry) fieldsOf(d object) (poco.EntryFields, error) {
	fields := make(poco.EntryFields, len(e.kind.Fields))
	for i, f := range e.kind.Fields {
		text := d.str(f.Name)
		switch {
		case f.Type == "bytes32":
			fields[i] = common.HexToHash(text).Bytes()
		case f.Name == "multiaddr" && e.parse != nil:
			raw, err := e.parse(text)
			if err != nil {
				return nil, providers.At(f.Name, err)
			}
			fields[i] = raw
		default:
			fields[i] = []byte(text)
		}
	}
	return fields, nil
}

// attrsOf is the attributes of the immutable part. The error names a field that has no text.
func (e entry) attrsOf(fields poco.EntryFields) (map[string]cty.Value, error) {
	attrs := make(map[string]cty.Value, len(fields))
	var odd []string
	for i, f := range e.kind.Fields {
		text, ok := string(bytes.ToValidUTF8(fields[i], []byte("\uFFFD"))), true
		switch {
		case f.Type == "bytes32":
			text = common.BytesToHash(fields[i]).Hex()
		case f.Name == "multiaddr" && e.format != nil:
			text, ok = e.format(fields[i])
		default:
			ok = text == string(fields[i])
		}
		if !ok {
			odd = append(odd, fmt.Sprintf("its %s is %#x, which no text stands for", f.Name, fields[i]))
		}
		attrs[f.Name] = cty.StringVal(text)
	}
	if odd != nil {
		return attrs, errors.New(strings.Join(odd, "; "))
	}
	return attrs, nil
}

// policiesOf reads the policies of registered entries, in one call: for each, its attributes.
func (c *client) policiesOf(ctx context.Context, e entry, entries []common.Address) ([]map[string]cty.Value, error) {
	if len(e.policies) == 0 || len(entries) == 0 {
		return make([]map[string]cty.Value, len(entries)), nil
	}
	calls := make([]chain.Call, len(entries))
	for i, a := range entries {
		calls[i] = chain.Call{To: c.Hub, Data: e.kind.PackView(a)}
	}
	all := make([]map[string]cty.Value, len(entries))
	for i, r := range c.chain.Calls(ctx, calls) {
		if r.Err != nil {
			return nil, fmt.Errorf("read %s %s: %w", e.kind.Noun, entries[i], r.Err) //nolint:gosec // one result for each
		}
		_, _, more, err := e.kind.UnpackView(r.Data)
		if err != nil {
			return nil, fmt.Errorf("read %s %s: %w", e.kind.Noun, entries[i], err) //nolint:gosec // one result for each
		}
		all[i] = e.policyAttrs(more)
	}
	return all, nil
}

func (e entry) policyAttrs(view map[string]any) map[string]cty.Value {
	attrs := map[string]cty.Value{}
	for _, p := range e.policies {
		if n, ok := view[p.view].(*big.Int); ok {
			attrs[p.Name] = bigNumber(n)
		}
	}
	return attrs
}

// read reads the owners, and the policies; the rest can't change.
func (e entry) read(ctx context.Context, c *client, reqs []providers.ReadRequest) []providers.ReadResult {
	if err := c.pin(ctx); err != nil {
		return fail(len(reqs), providers.ReadResult{Err: err})
	}
	addresses := make([]common.Address, len(reqs))
	for i, r := range reqs {
		addresses[i] = object{r.Prior}.address("address")
	}
	if e.kind == poco.AppEntry {
		c.watchTags(ctx, reqs)
	}
	owners, err := c.ownersOf(ctx, e.kind, addresses)
	if err != nil {
		return fail(len(reqs), providers.ReadResult{Err: err})
	}
	var there []common.Address
	for i, owner := range owners {
		if owner != (common.Address{}) {
			there = append(there, addresses[i])
		}
	}
	policies, err := c.policiesOf(ctx, e, there)
	if err != nil {
		return fail(len(reqs), providers.ReadResult{Err: err})
	}
	results := make([]providers.ReadResult, len(reqs))
	for i, r := range reqs {
		switch {
		case addresses[i] == (common.Address{}): // it was tried, and is not deployed
			results[i].Current = r.Prior
			continue
		case owners[i] == (common.Address{}):
			results[i].Current = r.Prior.Null()
			continue
		}
		c.rememberOwner(e.kind, addresses[i], owners[i])
		changed := policies[0]
		policies = policies[1:]
		was := object{r.Prior}.address("owner")
		if was != owners[i] {
			if changed == nil {
				changed = map[string]cty.Value{}
			}
			changed["owner"] = cty.StringVal(owners[i].Hex())
			if was != (common.Address{}) {
				results[i].Notices = []providers.Notice{{Level: providers.Warning, Attr: "owner",
					Summary: fmt.Sprintf("the %s was transferred from %s to %s: orders that the old owner signed are dead", e.kind.Noun, was, owners[i])}}
			}
		}
		results[i].Current = r.Prior
		if changed != nil {
			results[i].Current = object{r.Prior}.with(changed)
		}
	}
	return results
}
