package sdkproject

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// A Chain is one that the project uses, with the project's own settings over the built-in ones.
type Chain struct {
	poco.Chain             // what isn't known is zero
	Builtin    *poco.Chain // nil for a chain of the project's own
	Where      string      // file:line, or "" where only an id is used
	SecretURLs []string    // names of the settings (rpc_url, market_url, sms_url) that hold a secret

	// Dead says why nothing can be done on it any more, or "".
	Dead string
}

// names are those that the versions of the SDK knew, and what became of the chains. Source: config.js of SDK 2 to 9.
var names = []struct {
	name string
	id   uint64
	dead string
}{
	{"arbitrum-mainnet", 42161, ""},
	{"arbitrum-sepolia-testnet", 421614, ""},
	{"mainnet", 1, "iExec runs no services for Ethereum's main chain"},
	{"ropsten", 3, "Ropsten was shut down"},
	{"rinkeby", 4, "Rinkeby was shut down"},
	{"goerli", 5, "Goerli was shut down"},
	{"kovan", 42, "Kovan was shut down"},
	{"viviani", 133, "Viviani was shut down"},
	{"bellecour", 134, "iExec's tools left Bellecour for Arbitrum"},
}

func idOfName(name string) uint64 {
	for _, n := range names {
		if n.name == name {
			return n.id
		}
	}
	if c, ok := poco.ChainByName(name); ok {
		return c.ID
	}
	return 0
}

// newChain is a chain as it is without the project's settings.
func newChain(id uint64) *Chain {
	c := &Chain{Chain: poco.Chain{ID: id, Name: "chain-" + strconv.FormatUint(id, 10)}}
	for _, n := range names {
		if n.id == id {
			c.Name, c.Dead = n.name, n.dead
		}
	}
	if builtin, ok := poco.ChainByID(id); ok {
		c.Chain, c.Builtin = builtin, &builtin
	}
	return c
}

// chainKeys are those that SDK 2 to 9 knew of a chain, beyond the ones that are migrated.
var chainKeys = []string{"ipfsGateway", "compass", "pocoSubgraph", "ensRegistry", "ensPublicResolver", "voucherHub", "voucherSubgraph",
	"resultProxy", "bridge", "native", "useGas", "defaultTeeFramework", "flavour", "enterprise", "gasPrice", "server", "scheduler"}

// readChains reads chain.json.
func (p *reader) readChains(d *document) {
	p.unknown(d, "", d.root, "default", "allowExperimentalNetworks", "chains", "providers")
	preferred := d.root.get("default").scalar()
	chains := d.root.get("chains")
	if chains == nil {
		return
	}
	if !chains.object() {
		p.find(providers.Unreadable, d, chains, "chains", "want an object of chains by name")
		return
	}
	for _, m := range chains.members {
		c := p.readChain(d, m.name, m.value)
		if c == nil {
			continue
		}
		if old := p.chains[c.ID]; old == nil || m.name == preferred {
			p.chains[c.ID] = c
		}
		if m.name == preferred {
			p.Default = c.ID
		}
	}
	if preferred != "" && p.Default == 0 {
		if p.Default = idOfName(preferred); p.Default == 0 {
			p.find(providers.Unreadable, d, d.root.get("default"), "default", "there is no chain "+preferred+" in the file")
		}
	}
}

func (p *reader) readChain(d *document, name string, n *node) *Chain {
	key := "chains." + name
	if !n.object() {
		p.find(providers.Unreadable, d, n, key, "want an object with id, host and hub")
		return nil
	}
	id := idOfName(name)
	if text := n.get("id").scalar(); text != "" {
		var err error
		if id, err = strconv.ParseUint(text, 10, 64); err != nil {
			p.find(providers.Unreadable, d, n.get("id"), key+".id", "want a chain id in decimal digits")
			return nil
		}
	}
	if id == 0 {
		p.find(providers.Unreadable, d, n, key, "it has no id")
		return nil
	}
	c := newChain(id)
	if c.Builtin == nil && c.Dead == "" {
		c.Name = name
	}
	c.Where = p.where(d, n, key)
	p.unknown(d, key, n, append([]string{"id", "host", "hub", "sms", "iexecGateway"}, chainKeys...)...)
	if hub := n.get("hub").scalar(); common.IsHexAddress(hub) {
		c.Hub = common.HexToAddress(hub)
	} else if hub != "" {
		p.find(providers.Unreadable, d, n.get("hub"), key+".hub", "want an address")
	}
	sms := n.get("sms")
	if sms.object() { // one for each framework
		sms = sms.get("tdx")
	}
	for _, set := range []struct {
		field   *string
		value   *node
		key, as string
	}{{&c.RPC, n.get("host"), "host", "rpc_url"}, {&c.Market, n.get("iexecGateway"), "iexecGateway", "market_url"}, {&c.SMS, sms, "sms", "sms_url"}} {
		text := strings.TrimSuffix(set.value.scalar(), "/")
		if u, err := url.Parse(text); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			continue // SDK 8 and older took the name of a network or a provider, too
		}
		*set.field = text
		if secretURL(text) {
			c.SecretURLs = append(c.SecretURLs, set.as)
			p.find(providers.Secrets, d, set.value, key+"."+set.key, "the URL has an access key in it")
		}
	}
	return c
}

var keyLike = regexp.MustCompile(`^[A-Za-z0-9_-]{16,}$`)

// secretURL reports whether a URL seems to hold an access key: a user, a query, or a long random word in its path.
func secretURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return true
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return true
	}
	for part := range strings.SplitSeq(u.Path, "/") {
		if keyLike.MatchString(part) && strings.ContainsAny(part, "0123456789") && !common.IsHexAddress(part) {
			return true
		}
	}
	return false
}
