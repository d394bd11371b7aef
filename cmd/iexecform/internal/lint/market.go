package lint

import (
	"cmp"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

var marketRules = []Rule{
	{
		ID: "mutable-image", Severity: Warning,
		Doc: "The tag `latest`, or none, comes to stand for another image with the next push: workers then run something else than the checksum says, " +
			"or a plan replaces the app without a change of the files. Give each release a tag of its own.",
		Example: "data \"oci_image\" \"hello\" {\n  reference = \"docker.io/user/hello:latest\"\n}\n",
		find:    mutableImages,
	}, {
		ID: "unpullable-image", Severity: Warning,
		Doc:     "Workers pull `REPOSITORY:TAG`. They don't understand digests (`@sha256:…`), and don't add `:latest` where there is no tag: such an app is registered and never runs. The digest belongs into `checksum`.",
		Example: "resource \"iexec_app\" \"hello\" {\n  name      = \"hello\"\n  multiaddr = \"docker.io/user/hello@sha256:f8a48dc5125fe762e3e35b9493291b8472a68782dd19d741a7e7aa062ef73dd6\"\n}\n",
		find:    unpullableImages,
	}, {
		ID: "unlimited-free-offer", Severity: Warning,
		Doc:     "A price of 0 with a volume above 10,000,000, without a restriction: whoever likes can use it for ever, and only closing the order on chain ends that. (A free dataset with the largest volume, which is what bulk use needs, is meant so.)",
		Example: "resource \"iexec_apporder\" \"public\" {\n  app      = iexec_app.hello.address\n  appprice = 0\n  volume   = 1000000000\n}\n",
		find:    unlimitedFreeOffers,
	}, {
		ID: "unmatched-tag", Severity: Warning,
		Doc:     "Today's market clients match only app and workerpool orders with the tags `tee` and `tdx`: another order stays on the market and is hardly ever found.",
		Example: "resource \"iexec_apporder\" \"public\" {\n  app      = iexec_app.hello.address\n  appprice = \"0.5 RLC\"\n  volume   = 1000\n  tag      = [\"tee\"]\n}\n",
		find:    unmatchedTags,
	}, {
		ID: "legacy-tee", Severity: Warning,
		Doc:     "`scone` and `gramine` in a tag, and an `mrenclave`, are those of SGX, which the network no longer has: current clients refuse them. TDX apps have the tags `tee` and `tdx` and no mrenclave.",
		Example: "resource \"iexec_apporder\" \"public\" {\n  app      = iexec_app.hello.address\n  appprice = \"0.5 RLC\"\n  volume   = 1000\n  tag      = [\"tee\", \"scone\"]\n}\n",
		find:    legacyTEE,
	}, {
		ID: "unreachable-restriction", Severity: Warning,
		Doc:     "An order for an entry of the wrong kind, such as `workerpoolrestrict` with the address of an app, can be matched by nobody.",
		Example: "resource \"iexec_apporder\" \"mine\" {\n  app                = iexec_app.hello.address\n  appprice           = \"0.5 RLC\"\n  volume             = 1000\n  workerpoolrestrict = iexec_app.hello.address\n}\n",
		find:    unreachableRestrictions,
	}, {
		ID: "void-restriction", Severity: Note,
		Doc:     "A restriction that is written out as the zero address restricts nothing: everybody can match the order, not nobody. Leave it out to say so.",
		Example: "resource \"iexec_apporder\" \"mine\" {\n  app               = iexec_app.hello.address\n  appprice          = \"0.5 RLC\"\n  volume            = 1000\n  requesterrestrict = \"0x0000000000000000000000000000000000000000\"\n}\n",
		find:    voidRestrictions,
	}, {
		ID: "equal-orders", Severity: Warning,
		Doc:     "Two orders of the same terms are both valid: together they offer twice the volume, and a change of one leaves the other on the market at the old price.",
		Example: "resource \"iexec_apporder\" \"a\" {\n  app      = iexec_app.hello.address\n  appprice = \"0.5 RLC\"\n  volume   = 1000\n}\n\nresource \"iexec_apporder\" \"b\" {\n  app      = iexec_app.hello.address\n  appprice = \"0.5 RLC\"\n  volume   = 1000\n}\n",
		find:    equalOrders,
	}, {
		ID: "entry-by-address", Severity: Note,
		Doc: "An offer for an app, dataset or workerpool that is named by a literal address: nothing here makes sure that it exists, or follows when it is replaced. " +
			"Refer to its resource, or to a data source.",
		Example: "resource \"iexec_apporder\" \"public\" {\n  app      = \"0x63C8E1bc7c19A7F2e2A7d0B5D4a3BA4a4DB5A3d5\"\n  appprice = \"0.5 RLC\"\n  volume   = 1000\n}\n",
		find:    entriesByAddress,
	}, {
		ID: "untried-app", Severity: Note,
		Doc: "An app that an order here sells, and that has no `trial` block: nobody has seen that a worker can run its image, nor that its result is always the same, which workers " +
			"must agree on. Told once, of the first such app.",
		Example: "resource \"iexec_app\" \"hello\" {\n  name      = \"hello\"\n  multiaddr = \"docker.io/user/hello:1.0\"\n}\n\nresource \"iexec_apporder\" \"public\" {\n  app      = iexec_app.hello.address\n  appprice = \"0.5 RLC\"\n  volume   = 1000\n}\n",
		find:    untriedApps,
	}, {
		ID: "lasting-copy", Severity: Note,
		Doc:     "`on_destroy` or `revoke` other than by closing on chain: an order that is only taken off the market stays usable by everybody who has a copy, at its old price.",
		Example: "resource \"iexec_apporder\" \"public\" {\n  app        = iexec_app.hello.address\n  appprice   = \"0.5 RLC\"\n  volume     = 1000\n  on_destroy = \"unpublish\"\n}\n",
		find:    lastingCopies,
	}, {
		ID: "price-without-unit", Severity: Note,
		Doc:     "A literal number is nRLC, a billionth of an RLC: a price from 1 to 999 without a unit was probably meant as RLC. Write `\"1 RLC\"`, or `\"1 nRLC\"` where it is meant.",
		Example: "resource \"iexec_apporder\" \"public\" {\n  app      = iexec_app.hello.address\n  appprice = 1\n  volume   = 1000\n}\n",
		find:    pricesWithoutUnit,
	}, {
		ID: "market-limit", Severity: Warning,
		Doc:     "The market refuses prices and volumes above 2^53-1: the order would be valid on chain and shown nowhere.",
		Example: "resource \"iexec_apporder\" \"public\" {\n  app      = iexec_app.hello.address\n  appprice = \"9007200 RLC\"\n  volume   = 1000\n}\n",
		find:    marketLimits,
	}, {
		ID: "wallet-without-address", Severity: Note,
		Doc:     "A provider block without a wallet's address can't be planned with where the key isn't, such as for a pull request. The address isn't secret.",
		Example: "provider \"iexec\" {\n  chain = \"arbitrum-mainnet\"\n}\n",
		find:    walletsWithoutAddress,
	}, {
		ID: "development-account", Severity: Warning,
		Doc:     "One of the well-known development accounts on a public chain: its private key is known to everybody, and what it owns or may use is anybody's.",
		Example: "provider \"iexec\" {\n  chain = \"arbitrum-mainnet\"\n  wallet {\n    address = \"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\"\n  }\n}\n",
		find:    developmentAccounts,
	}, {
		ID: "literal-credential", Severity: Warning,
		Doc:     "A URL with a password or an access key in it, written into the file. Put it into a variable with `sensitive = true`, and its value into the environment.",
		Example: "provider \"iexec\" {\n  chain   = \"arbitrum-mainnet\"\n  rpc_url = \"https://user:password@example.com\"\n  wallet {\n    address = \"0x47d0Ab8d36836F54FD9587e65125Bbab04958310\"\n  }\n}\n",
		find:    literalCredentials,
	}, {
		ID: "plain-http", Severity: Warning,
		Doc:     "`http://` to another machine: what is sent, secrets among it, can be read and changed on the way.",
		Example: "provider \"iexec\" {\n  chain   = \"arbitrum-mainnet\"\n  rpc_url = \"http://rpc.example.com\"\n  wallet {\n    address = \"0x47d0Ab8d36836F54FD9587e65125Bbab04958310\"\n  }\n}\n",
		find:    plainHTTP,
	}, {
		ID: "retired-name", Severity: Warning,
		Doc:     "Names of what is gone: the sidechain Bellecour (chain id 134) and its services.",
		Example: "provider \"iexec\" {\n  chain_id   = 134\n  rpc_url    = \"https://bellecour.iex.ec\"\n  hub        = \"0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f\"\n  market_url = \"https://api.market.v8-bellecour.iex.ec\"\n  wallet {\n    address = \"0x47d0Ab8d36836F54FD9587e65125Bbab04958310\"\n  }\n}\n",
		find:    retiredNames,
	},
}

// tagOf splits an image reference.
func tagOf(ref string) (tag string, tagged, digest bool) {
	_, tag, tagged = strings.Cut(ref[strings.LastIndex(ref, "/")+1:], ":")
	return tag, tagged, strings.Contains(ref, "@")
}

func mutableImages(p *pass) {
	look := func(b block, attr string, untagged bool) {
		ref, ok := b.text(attr)
		tag, tagged, digest := tagOf(ref)
		switch {
		case !ok || digest:
		case tagged && tag == "latest":
			p.report(b, attr, "Image tag that moves", "The tag latest stands for another image after the next push. Give each release a tag of its own, such as %s:1.0", strings.TrimSuffix(ref, ":latest"))
		case !tagged && untagged:
			p.report(b, attr, "Image tag that moves", "Without a tag %s means :latest, which stands for another image after the next push. Give each release a tag of its own, such as %s:1.0", ref, ref)
		}
	}
	p.of(func(b block) { look(b, "reference", true) }, "data.oci_image")
	p.of(func(b block) {
		if to, _, ok := b.refers("multiaddr"); !ok || to.Type != "oci_image" { // which is told of there
			look(b, "multiaddr", false)
		}
	}, "iexec_app")
}

func unpullableImages(p *pass) {
	p.of(func(b block) {
		if to, attr, ok := b.refers("multiaddr"); ok && to.Mode == addr.Data && to.Type == "oci_image" && attr == "pinned_reference" {
			p.report(b, "multiaddr", "Image that workers can't pull", "pinned_reference has a digest, and workers need a tag. Write %s.reference here, and %s.checksum for checksum.", to, to)
			return
		}
		ref, ok := b.text("multiaddr")
		switch _, tagged, digest := tagOf(ref); {
		case !ok:
		case digest:
			p.report(b, "multiaddr", "Image that workers can't pull", "Workers need a tag, and don't understand digests. Write name:tag here, and the digest as checksum = \"0x…\".")
		case !tagged:
			p.report(b, "multiaddr", "Image that workers can't pull", "%s has no tag, and workers don't add :latest. Write the tag out.", ref)
		}
	}, "iexec_app")
}

// many is more uses than anybody counts.
var many = big.NewInt(10_000_000)

func unlimitedFreeOffers(p *pass) {
	p.of(func(b block) { // not datasets: bulk use needs it
		priced := strings.TrimSuffix(strings.TrimPrefix(b.typ(), "iexec_"), "order") + "price"
		price, known := b.number(priced)
		volume, counted := b.number("volume")
		if !known || !counted || price.Sign() != 0 || volume.Cmp(many) <= 0 {
			return
		}
		for _, name := range restrictions(b.Table) {
			if text, ok := b.text(name); !ok || text != zeroAddress {
				return // restricted, or nobody knows
			}
		}
		p.report(b, priced, "Free for everybody, for ever", "%s offers %s uses at no price and without restriction. Set a price or a smaller volume; replenish_below renews a volume that runs out.", b.name(), volume)
	}, "iexec_apporder", "iexec_workerpoolorder")
}

var zeroAddress = common.Address{}.Hex()

// restrictions is an order's attributes that say who may match it.
func restrictions(t *schema.Table) (names []string) {
	for _, a := range t.Attrs {
		if strings.HasSuffix(a.Name, "restrict") {
			names = append(names, a.Name)
		}
	}
	return names
}

func unmatchedTags(p *pass) {
	p.of(func(b block) {
		names, ok := tagNames(b)
		if !ok || legacy(names) != "" || slices.Contains(names, "tee") && slices.Contains(names, "tdx") {
			return
		}
		p.report(b, "tag", "Order that hardly anybody can find", `Today's market clients match only orders with the tags tee and tdx. Leave tag out, which means these, or write tag = ["tee", "tdx"].`)
	}, "iexec_apporder", "iexec_workerpoolorder", "iexec_requestorder")
}

// tagNames reads an order's tag, if its bits have names.
func tagNames(b block) ([]string, bool) {
	text, ok := b.text("tag")
	if !ok {
		return nil, false
	}
	return poco.TagNames(common.HexToHash(text))
}

func legacy(names []string) string {
	for _, name := range names {
		if name == "scone" || name == "gramine" {
			return name
		}
	}
	return ""
}

func legacyTEE(p *pass) {
	p.of(func(b block) {
		if names, ok := tagNames(b); ok && legacy(names) != "" {
			p.report(b, "tag", "Tag of a retired technology", `%s is of SGX, which current clients refuse. Write tag = ["tee", "tdx"].`, legacy(names))
		}
	}, "iexec_apporder", "iexec_workerpoolorder", "iexec_requestorder")
	p.of(func(b block) {
		if text, ok := b.text("mrenclave"); ok && text != "" {
			p.report(b, "mrenclave", "App of a retired technology", "Current clients refuse apps with an mrenclave. Leave it out for a TDX app.")
		}
	}, "iexec_app")
}

func unreachableRestrictions(p *pass) {
	p.orders(func(b block) {
		for _, a := range b.Table.Attrs {
			want, restricts := strings.CutSuffix(a.Name, "restrict")
			if !restricts && a.Name != "app" && a.Name != "dataset" && a.Name != "workerpool" {
				continue
			}
			to, attr, ok := b.refers(a.Name)
			kind, entry := strings.CutPrefix(to.Type, "iexec_")
			if !ok || attr != "address" || !entry || kind == want || !slices.Contains([]string{"app", "dataset", "workerpool"}, kind) {
				continue
			}
			what := "a " + want
			if strings.HasPrefix(want, "a") {
				what = "an " + want
			}
			p.report(b, a.Name, "Order that nobody can match", "%s takes the address of %s, and %s is another kind of entry.", a.Name, what, to)
		}
	})
}

func voidRestrictions(p *pass) {
	p.orders(func(b block) {
		for _, name := range restrictions(b.Table) {
			if text, ok := b.text(name); ok && text == zeroAddress && b.literal(name) {
				p.report(b, name, "Restriction that restricts nothing", "The zero address stands for everybody. Leave %s out if that is meant.", name)
			}
		}
	})
}

func equalOrders(p *pass) {
	first := map[string]block{}
	p.orders(func(b block) {
		terms, ok := p.terms(b)
		if !ok {
			return
		}
		other, seen := first[terms]
		if !seen {
			first[terms] = b
			return
		}
		p.report(b, "", "Two orders of the same terms", "%s and %s offer the same at the same price. Both are valid at once. Raise the volume of one instead, or use replenish_below.", other.Addr, b.Addr)
	})
}

// terms is a text that is the same for two orders only if their terms are. It is false where that can't be known.
func (p *pass) terms(b block) (string, bool) {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s", b.typ(), b.Provider)
	for _, a := range b.Table.Attrs {
		if !a.Mode.Settable() || a.Name == "revoke" || a.Name == "on_destroy" || a.Name == "replenish_below" {
			continue
		}
		v, known := b.value(a.Name)
		switch expr := b.Expression(a.Name); {
		case known:
			fmt.Fprintf(&text, "\n%s=%#v", a.Name, v)
		case b.left(a.Name):
		case expr == nil:
			return "", false
		default:
			for _, t := range expr.Variables() {
				if t.RootName() == "each" || t.RootName() == "count" {
					return "", false
				}
			}
			fmt.Fprintf(&text, "\n%s: %s", a.Name, p.source(expr.Range()))
		}
	}
	return text.String(), true
}

func entriesByAddress(p *pass) {
	p.of(func(b block) {
		name := strings.TrimSuffix(strings.TrimPrefix(b.typ(), "iexec_"), "order")
		if _, ok := b.text(name); ok && b.literal(name) {
			p.report(b, name, "Offer of something that isn't looked at", "Nothing makes sure that there is such an entry. Refer to its resource, iexec_%s.NAME.address, or to data.iexec_%s.NAME.address.", name, name)
		}
	}, "iexec_apporder", "iexec_datasetorder", "iexec_workerpoolorder")
}

// untriedApps speaks once: whoever tries no app knows it after the first.
func untriedApps(p *pass) {
	sold := map[addr.Resource]bool{}
	p.of(func(b block) {
		if to, attr, ok := b.refers("app"); ok && attr == "address" {
			to.Module = b.Addr.Resource.Module
			sold[to] = true
		}
	}, "iexec_apporder")
	var first block
	seen := map[string]bool{}
	p.of(func(b block) {
		if !sold[b.Addr.Resource] || !b.left("trial") || b.Range.Empty() || seen[b.name()] {
			return
		}
		seen[b.name()] = true
		if r := b.Range; len(seen) == 1 || cmp.Or(strings.Compare(r.Filename, first.Range.Filename), cmp.Compare(r.Start.Byte, first.Range.Start.Byte)) < 0 {
			first = b
		}
	}, "iexec_app")
	switch others := len(seen) - 1; {
	case others == 0:
		p.report(first, "", "App that is sold untried", "Add a trial block: then its image is run as a worker runs it before anything of it is offered. `iexecform try %s` does that once.", first.name())
	case others > 0:
		p.report(first, "", "Apps that are sold untried", "Add a trial block to this one and %d more: then their images are run as a worker runs them before anything of them is offered. `iexecform try %s` does that once.", others, first.name())
	}
}

func lastingCopies(p *pass) {
	p.orders(func(b block) {
		if mode, ok := b.text("on_destroy"); ok && mode != "close" {
			p.report(b, "on_destroy", "Order that outlives its resource", "With %q copies of the order stay usable at its price after the resource is removed.", mode)
		}
		if mode, ok := b.text("revoke"); ok && mode == "unpublish" {
			p.report(b, "revoke", "Order that outlives its resource", "With %q copies of an order stay usable at its price after a new one replaced it.", mode)
		}
	})
}

func pricesWithoutUnit(p *pass) {
	p.orders(func(b block) {
		for _, a := range b.Table.Attrs {
			if a.Form != "amount of RLC" || !b.literal(a.Name) {
				continue
			}
			n, ok := b.number(a.Name)
			given, diags := b.Expression(a.Name).Value(nil)
			if !ok || diags.HasErrors() || given.Type() != cty.Number || n.Sign() == 0 || n.Cmp(big.NewInt(1000)) >= 0 {
				continue
			}
			p.report(b, a.Name, "Price without unit", "%s is %s, a billionth of an RLC each. Write \"%s RLC\" or \"%s nRLC\" to say which is meant.", n, poco.FormatAmount(n), n, n)
		}
	})
}

// marketMax is the largest number that the market accepts.
var marketMax = new(big.Int).SetUint64(1<<53 - 1)

func marketLimits(p *pass) {
	p.orders(func(b block) {
		for _, a := range b.Table.Attrs {
			if a.Form != "amount of RLC" && a.Name != "volume" {
				continue
			}
			if n, ok := b.number(a.Name); ok && n.Cmp(marketMax) > 0 {
				p.report(b, a.Name, "More than the market accepts", "The market refuses prices (in nRLC) and volumes above %s.", marketMax)
			}
		}
	})
}

// chainID is that of an iexec provider block.
func chainID(b block) (uint64, bool) {
	if id, ok := b.number("chain_id"); ok {
		return id.Uint64(), id.IsUint64()
	}
	name, ok := b.text("chain")
	chain, builtin := poco.ChainByName(name)
	return chain.ID, ok && builtin
}

func walletsWithoutAddress(p *pass) {
	used := map[addr.Provider]bool{}
	for _, b := range p.blocks {
		if b.Addr.Resource.Type != "" && b.Addr.Resource.Mode == addr.Managed {
			used[b.Provider] = true
		}
	}
	p.of(func(b block) {
		id, ok := chainID(b)
		if !ok || id == poco.Localnet().ID || !used[b.Provider] {
			return
		}
		if b.left("wallet") || b.left("wallet.address") && b.left("wallet.keystore") && b.left("wallet.clef") {
			p.report(b, "", "Provider that can't be planned with without the key", "Add wallet { address = \"0x…\" }: it is public, and a plan needs no more. Without it the key must be in the environment even to look.")
		}
	}, "provider.iexec")
}

func developmentAccounts(p *pass) {
	known := map[string]bool{}
	for _, a := range poco.DevAccounts() {
		known[a.Address.Hex()] = true
	}
	public := map[addr.Provider]bool{}
	p.of(func(b block) {
		id, ok := chainID(b)
		public[b.Provider] = ok && id != poco.Localnet().ID
		if text, ok := b.text("wallet.address"); ok && public[b.Provider] && known[text] {
			p.report(b, "wallet.address", "Wallet that belongs to everybody", "The private key of %s is in the documentation of every Ethereum development tool.", text)
		}
	}, "provider.iexec")
	for _, b := range p.blocks {
		if b.Addr.Resource.Type == "" || b.Addr.Resource.Mode != addr.Managed || !public[b.Provider] {
			continue
		}
		for _, name := range append(restrictions(b.Table), "owner") {
			if text, ok := b.text(name); ok && known[text] {
				p.report(b, name, "Account that belongs to everybody", "The private key of %s is in the documentation of every Ethereum development tool.", text)
			}
		}
	}
}

var urls = []string{"rpc_url", "market_url", "sms_url"}

// accessKey is a last step of a URL's path that is an access key, as Infura's and Alchemy's are.
var accessKey = regexp.MustCompile(`^[A-Za-z0-9_-]{28,}$`)

func literalCredentials(p *pass) {
	p.of(func(b block) {
		for _, name := range urls {
			text, ok := b.text(name)
			u, err := url.Parse(text)
			if !ok || err != nil || !b.literal(name) {
				continue
			}
			step := u.Path[strings.LastIndex(u.Path, "/")+1:]
			if u.User != nil || accessKey.MatchString(step) && strings.ContainsAny(step, "0123456789") {
				p.reportAt(b.AttrRange(name), "Credential in a file", "%s has an access key in it. Put it into a variable with sensitive = true, set by the environment.", name)
			}
		}
	}, "provider.iexec")
}

func plainHTTP(p *pass) {
	p.of(func(b block) {
		for _, name := range urls {
			text, ok := b.text(name)
			u, err := url.Parse(text)
			if !ok || err != nil || u.Scheme != "http" || slices.Contains(b.Sensitive, name) || here(u.Hostname()) {
				continue
			}
			p.reportAt(b.AttrRange(name), "Unencrypted connection", "%s goes to another machine by plain HTTP. Write https://.", name)
		}
	}, "provider.iexec")
}

// here reports whether a host is this machine or on a private network. A name without dots is in the same network, such as
// that of a container.
func here(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()
	}
	return !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost") || strings.HasSuffix(host, ".local") || strings.HasSuffix(host, ".internal")
}

func retiredNames(p *pass) {
	p.of(func(b block) {
		if id, ok := b.number("chain_id"); ok && id.Cmp(big.NewInt(134)) == 0 {
			p.report(b, "chain_id", "Chain that is gone", "iExec has left Bellecour. Its chains are now arbitrum-mainnet and arbitrum-sepolia-testnet.")
			return
		}
		for _, name := range urls {
			if text, ok := b.text(name); ok && strings.Contains(text, "bellecour") {
				p.reportAt(b.AttrRange(name), "Chain that is gone", "iExec has left Bellecour. Leave %s out: chain = \"arbitrum-mainnet\" knows it.", name)
			}
		}
	}, "provider.iexec")
}
