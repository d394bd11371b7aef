package iexec

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/iexec/sdkproject"
)

// Projects of iExec's own tools become configurations.
//
// Policy. The files say what to look for; the chain and the market say what is there, and that is written. Only what is there
// and can still be used becomes a resource. What exists half is written as a comment: it would have to be made, and what a
// migration writes makes nothing. Where nobody can be asked the files are believed, and the findings say so.

// lookFor is how long an endpoint may fail until its chain counts as out of reach.
const lookFor = 3 * time.Second

// Migrate implements providers.Migrator.
func (provider) Migrate(ctx context.Context, req providers.MigrateRequest) (*providers.Migration, error) {
	project, err := sdkproject.Read(req.Dir)
	if err != nil {
		return nil, err
	}
	m := &migration{project: project}
	m.Project, m.Findings = project.Name, project.Findings
	for _, ch := range project.Chains {
		m.chain(ctx, ch, req.Offline)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var rank []string
	for _, k := range poco.EntryKinds() {
		rank = append(rank, entryOf(k).typ())
	}
	for _, k := range poco.Kinds() {
		rank = append(rank, orderOf(k).typ())
	}
	sort.SliceStable(m.Objects, func(i, j int) bool {
		return slices.Index(rank, m.Objects[i].Type) < slices.Index(rank, m.Objects[j].Type)
	})
	return &m.Migration, nil
}

// migration is a Migration on the way.
type migration struct {
	providers.Migration
	project *sdkproject.Project
}

func (m *migration) find(kind providers.FindingKind, where, format string, args ...any) {
	m.Findings = append(m.Findings, providers.Finding{Kind: kind, Where: where, Text: fmt.Sprintf(format, args...)})
}

// chainMigration is what a project has on one chain.
type chainMigration struct {
	*migration
	*sdkproject.Chain
	alias   string
	client  *client // nil: out of reach, the files are believed
	entries []*migratedEntry
	orders  []*migratedOrder
	wallet  common.Address
}

type migratedEntry struct {
	sdkproject.Entry
	owner common.Address // zero where nobody was asked
	found *providers.Found
}

type migratedOrder struct {
	sdkproject.Order
	hash  common.Hash
	found *providers.Found // nil: not written
}

// chain migrates what the project has on a chain.
func (m *migration) chain(ctx context.Context, ch *sdkproject.Chain, offline bool) {
	c := &chainMigration{migration: m, Chain: ch}
	for _, e := range m.project.Entries {
		if e.Chain == ch.ID {
			c.entries = append(c.entries, &migratedEntry{Entry: e})
		}
	}
	for _, o := range m.project.Signed {
		if o.Chain == ch.ID {
			hash, err := c.Domain().OrderHash(o.Kind, o.Order)
			if err != nil {
				m.find(providers.Unreadable, o.Where, "%s", err)
				continue
			}
			c.orders = append(c.orders, &migratedOrder{Order: o, hash: hash})
		}
	}
	if !c.usable() {
		return
	}
	if len(m.Providers) > 0 {
		c.alias = strings.ReplaceAll(c.Name, "-", "_")
	}
	c.reach(ctx, offline)
	if c.client != nil {
		if err := c.look(ctx); err != nil {
			m.find(providers.Unverified, c.place(), "%s: taken from the files without looking", err)
			c.client = nil
		}
	}
	if c.client == nil {
		c.believe()
	}
	c.chooseWallet()
	c.declared()
	c.write()
}

// place names the chain for findings.
func (c *chainMigration) place() string { return cmp.Or(c.Where, "chain "+c.Name) }

// usable tells of a chain on which nothing can be done.
func (c *chainMigration) usable() bool {
	var left []string
	for _, e := range c.entries {
		left = append(left, e.Kind.Noun+" "+e.Address.Hex())
	}
	for _, o := range c.orders {
		left = append(left, o.Kind.Noun+" of "+o.Kind.Resource+" "+o.Order.Order[o.Kind.Resource])
	}
	lost := ""
	if len(left) > 0 {
		lost = " Left out: " + strings.Join(left, ", ") + "."
	}
	if c.Dead != "" {
		c.find(providers.DeadChain, c.place(), "%s, chain %d: %s.%s", c.Name, c.ID, c.Dead, lost)
		return false
	}
	var missing []string
	for _, s := range []struct {
		there bool
		name  string
	}{{c.RPC != "", "host"}, {c.Hub != common.Address{}, "hub"}, {c.Market != "", "iexecGateway"}} {
		if !s.there {
			missing = append(missing, s.name)
		}
	}
	if len(missing) > 0 {
		c.find(providers.NotWritten, c.place(), "chain %d isn't built in, and chain.json doesn't give its %s.%s", c.ID, strings.Join(missing, ", "), lost)
		return false
	}
	return true
}

// reach makes a client of the chain without a wallet, unless the chain is out of reach.
func (c *chainMigration) reach(ctx context.Context, offline bool) {
	if offline {
		c.find(providers.Unverified, c.place(), "offline: what the project has on %s was taken from the files without looking", c.Name)
		return
	}
	client, err := reach(ctx, c.Chain.Chain)
	if err != nil {
		c.find(providers.Unverified, c.place(), "%s: what the project has on %s was taken from the files without looking", err, c.Name)
		return
	}
	c.client = client
}

// reach makes a client that can only look.
func reach(ctx context.Context, ch poco.Chain) (*client, error) {
	c := &client{Chain: ch, walletErr: chain.ErrNoWallet}
	var err error
	if c.chain, err = chain.Dial(ctx, c.RPC, chain.Options{RetryFor: lookFor}); err != nil {
		return nil, err
	}
	if c.market, err = market.New(c.Market, c.Domain(), market.Options{RetryFor: lookFor}); err != nil {
		return nil, err
	}
	c.registries = once(c.readRegistries)
	c.pinned = once(func(ctx context.Context) (chain.Head, error) { return c.chain.Pin(ctx) })
	if _, err := c.Identity(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// look reads what is there of the project.
func (c *chainMigration) look(ctx context.Context) error {
	defer func() { _ = c.client.Close() }()
	if err := c.client.pin(ctx); err != nil {
		return err
	}
	c.addEntriesOfOrders()
	if err := c.lookAtEntries(ctx); err != nil {
		return err
	}
	if err := c.lookAtOrders(ctx); err != nil {
		return err
	}
	return c.lookAtMarket(ctx)
}

// addEntriesOfOrders adds what orders.json sells: it may be another app than deployed.json's.
func (c *chainMigration) addEntriesOfOrders() {
	for _, o := range c.orders {
		kind, address := o.Kind.Entry(), common.HexToAddress(o.Order.Order[o.Kind.Resource])
		if kind != nil && c.entry(address) == nil {
			c.entries = append(c.entries, &migratedEntry{Entry: sdkproject.Entry{Kind: kind, Chain: c.ID, Address: address, Where: o.Where + "." + o.Kind.Resource}})
		}
	}
}

func (c *chainMigration) entry(address common.Address) *migratedEntry {
	for _, e := range c.entries {
		if e.Address == address {
			return e
		}
	}
	return nil
}

func (c *chainMigration) lookAtEntries(ctx context.Context) error {
	var there []*migratedEntry
	for _, k := range poco.EntryKinds() {
		var list []*migratedEntry
		var addresses []common.Address
		for _, e := range c.entries {
			if e.Kind == k {
				list, addresses = append(list, e), append(addresses, e.Address)
			}
		}
		owners, err := c.client.ownersOf(ctx, k, addresses)
		if err != nil {
			return err
		}
		for i, e := range list {
			if e.owner = owners[i]; e.owner == (common.Address{}) {
				c.find(providers.NotWritten, e.Where, "%s", c.client.notThere(ctx, k, e.Address))
				continue
			}
			there = append(there, e)
		}
	}
	var kinds []*poco.EntryKind
	var addresses []common.Address
	for _, e := range there {
		kinds, addresses = append(kinds, e.Kind), append(addresses, e.Address)
	}
	found, err := c.client.viewEntries(ctx, kinds, addresses)
	if err != nil {
		return err
	}
	for i := range found {
		e := c.entry(common.HexToAddress(found[i].ID))
		e.found = &found[i]
		c.compare(e)
	}
	return nil
}

// compare tells where the files disagree with the chain.
func (c *chainMigration) compare(e *migratedEntry) {
	for _, d := range c.project.Declared {
		if d.Kind != e.Kind || !strings.HasPrefix(e.Where, "deployed.json") {
			continue
		}
		for _, f := range append(slices.Clone(e.Kind.Fields), poco.Field{Name: "owner"}) {
			is, says := (object{e.found.Value}).str(f.Name), d.Fields[f.Name]
			if _, said := d.Fields[f.Name]; said && is != says && (f.Name != "multiaddr" || !sameMultiaddr(e.Kind, is, says)) {
				c.find(providers.Differs, d.Where+"."+f.Name, "says %q; %s %s on %s has %q, which was written", says, e.Kind.Noun, e.Address, c.Name, is)
			}
		}
	}
	if image := e.Fields["multiaddr"]; image != "" && image != (object{e.found.Value}).str("multiaddr") {
		c.find(providers.Differs, e.Where, "says image %q; app %s on %s has %q, which was written", image, e.Address, c.Name, (object{e.found.Value}).str("multiaddr"))
	}
}

// sameMultiaddr reports whether two texts are the same bytes on chain.
func sameMultiaddr(k *poco.EntryKind, a, b string) bool {
	parse := entryOf(k).parse
	if parse == nil {
		return a == b
	}
	one, err := parse(a)
	two, err2 := parse(b)
	return err == nil && err2 == nil && bytes.Equal(one, two)
}

// lookAtOrders decides on each signed order of the project.
func (c *chainMigration) lookAtOrders(ctx context.Context) error {
	hashes := make([]common.Hash, len(c.orders))
	for i, o := range c.orders {
		hashes[i] = o.hash
	}
	consumed, err := c.client.consumedOf(ctx, hashes, nil)
	if err != nil {
		return err
	}
	for i, o := range c.orders {
		if err := c.lookAtOrder(ctx, o, consumed[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *chainMigration) lookAtOrder(ctx context.Context, o *migratedOrder, consumed *big.Int) error {
	body := o.Order.Order
	not := func(format string, args ...any) error {
		c.find(providers.NotWritten, o.Where, "%s %s "+format, append([]any{o.Kind.Noun, o.hash}, args...)...)
		return nil
	}
	owner := common.HexToAddress(body[o.Kind.Resource]) // of a request, the requester
	if o.Kind.Entry() != nil {
		if owner = c.entry(owner).owner; owner == (common.Address{}) {
			return not("is for %s %s, which doesn't exist", o.Kind.Resource, body[o.Kind.Resource])
		}
	}
	if signer, err := poco.Recover(o.hash, hexutil.MustDecode(o.Sign)); err != nil || signer != owner {
		return not("isn't signed by %s, who owns %s %s now: nobody can use it", owner, o.Kind.Resource, body[o.Kind.Resource])
	}
	if consumed.Cmp(number(body["volume"])) >= 0 {
		return not("is filled or closed: nothing of its volume of %s is left", body["volume"])
	}
	row, err := c.client.market.Get(ctx, o.Kind, o.hash)
	switch {
	case err != nil:
		return err
	case row != nil && row.Status != market.Open:
		return not("is %s on the market", row.Status)
	}
	found := foundOrder(o.Kind, o.hash, body)
	o.found = &found
	if row == nil {
		found.Inactive = fmt.Sprintf("Signed, but not on the market: order %s.\nPut in force, this would sign and publish another one.", o.hash)
		left := new(big.Int).Sub(number(body["volume"]), consumed)
		c.find(providers.Exposed, o.Where, "%s %s is signed but not on the market: who has a copy can use %s of it until it is closed on chain. It was written as a comment", o.Kind.Noun, o.hash, left)
	}
	return nil
}

// lookAtMarket finds the orders that the files don't have: `iexec app publish` and `iapp deploy` keep none.
func (c *chainMigration) lookAtMarket(ctx context.Context) error {
	known := map[common.Hash]bool{}
	for _, o := range c.orders {
		known[o.hash] = true
	}
	type book struct {
		kind  *poco.Kind
		owner common.Address
	}
	asked := map[book]bool{}
	for _, e := range c.entries {
		i := slices.IndexFunc(poco.Kinds(), func(k *poco.Kind) bool { return k.Entry() == e.Kind })
		b := book{poco.Kinds()[i], e.owner}
		if e.found == nil || asked[b] {
			continue
		}
		asked[b] = true
		rows, err := c.client.market.ListByOwner(ctx, b.kind, b.owner)
		if err != nil {
			return err
		}
		for _, r := range rows {
			sells := c.entry(common.HexToAddress(r.Order[b.kind.Resource]))
			if sells == nil || known[r.OrderHash] {
				continue
			}
			known[r.OrderHash] = true
			found := foundOrder(b.kind, r.OrderHash, r.Order)
			c.orders = append(c.orders, &migratedOrder{hash: r.OrderHash, found: &found, Order: sdkproject.Order{Kind: b.kind, Chain: c.ID, Order: r.Order}})
			c.find(providers.Differs, sells.Where, "%s %s is on the market, though no file has it: it was written", b.kind.Noun, r.OrderHash)
		}
	}
	return nil
}

// believe takes from the files what they have.
func (c *chainMigration) believe() {
	const unverified = "Not verified: as the project's files have it."
	for _, e := range c.entries {
		fields := e.Fields
		for _, d := range c.project.Declared {
			if d.Kind == e.Kind && strings.HasPrefix(e.Where, "deployed.json") {
				fields = d.Fields
			}
		}
		found, complete := declaredEntry(e.Kind, fields)
		if !complete {
			c.find(providers.NotWritten, e.Where, "only the chain knows all of %s %s: run again when it can be asked", e.Kind.Noun, e.Address)
			continue
		}
		found.ID, found.Comment = e.Address.Hex(), unverified
		e.owner, e.found = common.HexToAddress(fields["owner"]), &found
	}
	for _, o := range c.orders {
		if o.found == nil {
			found := foundOrder(o.Kind, o.hash, o.Order.Order)
			o.found = &found
		}
		o.found.Comment = unverified
	}
}

// declaredEntry is an entry as iexec.json describes it, and whether that is all of it.
func declaredEntry(k *poco.EntryKind, fields map[string]string) (found providers.Found, whole bool) {
	attrs := map[string]cty.Value{}
	whole = true
	table := tables().Resources[entryOf(k).typ()]
	for _, f := range append(slices.Clone(k.Fields), poco.Field{Name: "owner"}) {
		text, said := fields[f.Name]
		if !said || text == "" {
			whole = whole && (f.Name == "owner" || f.Name == "mrenclave" || f.Name == "type")
			continue
		}
		attrs[f.Name] = cty.StringVal(text)
		if a := table.Attr(f.Name); a.Parse != nil {
			if v, err := a.Parse(attrs[f.Name]); err == nil {
				attrs[f.Name] = v
			}
		}
	}
	return providers.Found{Type: table.Type, Name: fields[k.Fields[0].Name], Value: complete(table, attrs)}, whole
}

// chooseWallet takes the owner of most entries, or else who the files name first.
func (c *chainMigration) chooseWallet() {
	counts := map[common.Address]int{}
	for _, e := range c.entries {
		if e.found != nil && e.owner != (common.Address{}) {
			counts[e.owner]++
		}
	}
	for owner, n := range counts {
		if n > counts[c.wallet] || n == counts[c.wallet] && owner.Cmp(c.wallet) < 0 {
			c.wallet = owner
		}
	}
	if c.wallet == (common.Address{}) && len(c.project.Wallets) > 0 {
		c.wallet = c.project.Wallets[0]
	}
}

// declared tells what iexec.json wants that isn't there, and writes it as a comment.
func (c *chainMigration) declared() {
	if c.alias != "" {
		return // iexec.json is about the default chain
	}
	for _, d := range c.project.Declared {
		if slices.ContainsFunc(c.entries, func(e *migratedEntry) bool { return e.Kind == d.Kind && e.found != nil }) {
			continue
		}
		found, whole := declaredEntry(d.Kind, d.Fields)
		if !whole {
			continue
		}
		found.Inactive = "Not deployed on " + c.Name + ". Put in force, this would deploy it."
		found.Value = withoutOwner(found.Value)
		c.find(providers.NotWritten, d.Where, "this %s isn't deployed on %s: it was written as a comment", d.Kind.Noun, c.Name)
		c.entries = append(c.entries, &migratedEntry{Entry: d, found: &found})
	}
	for _, w := range c.project.Wanted {
		c.wanted(w)
	}
}

// wanted compares an unsigned order of iexec.json with the signed ones.
func (c *chainMigration) wanted(w sdkproject.Order) {
	var first *migratedOrder
	for _, o := range c.orders {
		if o.Kind != w.Kind || o.found == nil || o.Order.Order[w.Kind.Resource] != w.Order[w.Kind.Resource] {
			continue
		}
		if sameTerms(w.Kind, o.Order.Order, w.Order) && o.Order.Order["volume"] == w.Order["volume"] {
			return
		}
		if first == nil {
			first = o
		}
	}
	switch {
	case w.Order[w.Kind.Resource] == zeroAddress && w.Kind.Entry() != nil:
		c.find(providers.LeftOut, w.Where, "a template: it names no %s", w.Kind.Resource)
	case first != nil:
		for _, f := range w.Kind.Fields {
			if is, says := first.Order.Order[f.Name], w.Order[f.Name]; is != says && f.Name != "salt" {
				c.find(providers.Differs, w.Where+"."+f.Name, "says %s; the signed order %s has %s, which was written", says, first.hash, is)
			}
		}
	default:
		found := foundOrder(w.Kind, common.Hash{}, w.Order)
		found.ID = ""
		found.Inactive = "Never signed. Put in force, this would sign and publish it."
		c.find(providers.NotWritten, w.Where, "this %s was never signed, or is over: it was written as a comment", w.Kind.Noun)
		c.orders = append(c.orders, &migratedOrder{Order: w, found: &found})
	}
}

// write hands over the provider block and the objects.
func (c *chainMigration) write() {
	c.Providers = append(c.Providers, c.provider())
	add := func(f *providers.Found) {
		if f == nil {
			return
		}
		f.Provider = c.alias
		if c.alias != "" && f.Name != "" {
			f.Name += " " + c.Name
		}
		if table := tables().Resources[f.Type]; table.Attr("owner") != nil && (object{f.Value}).address("owner") == c.wallet {
			f.Value = withoutOwner(f.Value)
		}
		c.Objects = append(c.Objects, *f)
	}
	for _, e := range c.entries {
		add(e.found)
	}
	for _, o := range c.orders {
		add(o.found)
	}
}

func withoutOwner(o schema.Object) schema.Object {
	return o.With(map[string]cty.Value{"owner": cty.NullVal(cty.String)})
}

// provider is the chain's provider block: what is built in is left out.
func (c *chainMigration) provider() providers.FoundProvider {
	p := providers.FoundProvider{Alias: c.alias}
	attrs := map[string]cty.Value{}
	builtin := poco.Chain{}
	if c.Builtin != nil {
		builtin = *c.Builtin
		attrs["chain"] = cty.StringVal(builtin.Name)
	} else {
		attrs["chain_id"] = cty.NumberUIntVal(c.ID)
	}
	if c.Hub != builtin.Hub {
		attrs["hub"] = cty.StringVal(c.Hub.Hex())
	}
	for _, s := range []struct{ name, is, was string }{{"rpc_url", c.RPC, builtin.RPC}, {"market_url", c.Market, builtin.Market}, {"sms_url", c.SMS, builtin.SMS}} {
		switch {
		case slices.Contains(c.SecretURLs, s.name):
			p.Secrets = append(p.Secrets, providers.SecretSetting{Attr: s.name, Optional: s.was != ""})
		case s.is != s.was && s.is != "":
			attrs[s.name] = cty.StringVal(s.is)
		}
	}
	table := tables().Provider
	if c.wallet != (common.Address{}) {
		wallet := map[string]cty.Value{}
		for name, typ := range table.ObjectType().AttributeType("wallet").AttributeTypes() {
			wallet[name] = cty.NullVal(typ)
		}
		wallet["address"] = cty.StringVal(c.wallet.Hex())
		attrs["wallet"] = cty.ObjectVal(wallet)
	}
	p.Config = complete(table, attrs)
	return p
}

var _ providers.Migrator = provider{}
