package sdkproject

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// storeKeys are those of iexec.json that describe a page of a store, or a purchase.
var storeKeys = []string{"description", "license", "author", "social", "logo", "buyConf", "dapps", "category", "version", "type", "preview"}

// readIExec reads iexec.json: what the author wants, not what is.
func (p *reader) readIExec(d *document) {
	known := append([]string{"order"}, storeKeys...)
	for _, k := range poco.EntryKinds() {
		known = append(known, k.Noun)
		if n := d.root.get(k.Noun); n != nil {
			p.readDeclared(d, k, n)
		}
	}
	p.unknown(d, "", d.root, known...)
	var left []string
	for _, m := range d.root.members {
		if slices.Contains(storeKeys, m.name) {
			left = append(left, m.name)
		}
	}
	if len(left) > 0 {
		p.Findings = append(p.Findings, providers.Finding{Kind: providers.LeftOut, Where: d.name, Text: strings.Join(left, ", ") + ": about store pages and purchases"})
	}
	orders := d.root.get("order")
	if orders == nil {
		return
	}
	if !orders.object() {
		p.find(providers.Unreadable, d, orders, "order", "want an object")
		return
	}
	var nouns []string
	for _, k := range poco.Kinds() {
		nouns = append(nouns, k.Noun)
		if n := orders.get(k.Noun); n != nil {
			if o, ok := p.readOrder(d, k, n, "order."+k.Noun); ok {
				p.Wanted = append(p.Wanted, o)
			}
		}
	}
	p.unknown(d, "order", orders, nouns...)
}

func (p *reader) readDeclared(d *document, k *poco.EntryKind, n *node) {
	if !n.object() {
		p.find(providers.Unreadable, d, n, k.Noun, "want an object")
		return
	}
	known := []string{"owner"}
	e := Entry{Kind: k, Fields: map[string]string{}, Where: p.where(d, n, k.Noun)}
	for _, f := range k.Fields {
		known = append(known, f.Name)
		value := n.get(f.Name)
		text := value.scalar()
		switch {
		case value == nil:
			continue
		case value.object(): // SDK 6 to 8: mrenclave, which goes on chain like this
			text = d.compact(value)
		case f.Type == "bytes32":
			text = strings.ToLower(text)
		}
		e.Fields[f.Name] = text
	}
	if owner := n.get("owner").scalar(); common.IsHexAddress(owner) {
		e.Fields["owner"] = common.HexToAddress(owner).Hex()
		p.wallet(owner)
	}
	e.Name = e.Fields[k.Fields[0].Name]
	p.unknown(d, k.Noun, n, known...)
	p.Declared = append(p.Declared, e)
}

// readDeployed reads deployed.json: the last deployment of each kind on each chain.
func (p *reader) readDeployed(d *document) {
	var nouns []string
	for _, k := range poco.EntryKinds() {
		nouns = append(nouns, k.Noun)
		for _, m := range p.members(d, d.root.get(k.Noun), k.Noun) {
			key := k.Noun + "." + m.name
			id, err := strconv.ParseUint(m.name, 10, 64)
			if err != nil || id == 0 {
				p.find(providers.Unreadable, d, m.value, key, "want a chain id in decimal digits")
				continue
			}
			p.deployed(d, m.value, key, Entry{Kind: k, Chain: id}, m.value.scalar())
		}
	}
	p.unknown(d, "", d.root, nouns...)
}

// members are those of an object, which may be missing.
func (p *reader) members(d *document, n *node, key string) []member {
	if n == nil {
		return nil
	}
	if !n.object() {
		p.find(providers.Unreadable, d, n, key, "want an object")
	}
	return n.members
}

func (p *reader) deployed(d *document, n *node, key string, e Entry, address string) {
	if !common.IsHexAddress(address) {
		p.find(providers.Unreadable, d, n, key, "want an address")
		return
	}
	e.Address, e.Where = common.HexToAddress(address), p.where(d, n, key)
	if slices.ContainsFunc(p.Entries, func(o Entry) bool { return o.Kind == e.Kind && o.Chain == e.Chain && o.Address == e.Address }) {
		return
	}
	p.Entries = append(p.Entries, e)
}

// readOrders reads orders.json: the last signed order of each kind on each chain.
func (p *reader) readOrders(d *document) {
	for _, chain := range d.root.members {
		id, err := strconv.ParseUint(chain.name, 10, 64)
		if err != nil || id == 0 {
			p.find(providers.Unreadable, d, chain.value, chain.name, "want a chain id in decimal digits")
			continue
		}
		var nouns []string
		for _, k := range poco.Kinds() {
			nouns = append(nouns, k.Noun)
		}
		for _, m := range p.members(d, chain.value, chain.name) {
			key := chain.name + "." + m.name
			i := slices.Index(nouns, m.name)
			if i < 0 {
				p.find(providers.UnknownKey, d, m.value, key, "not a kind of order: left out")
				continue
			}
			o, ok := p.readOrder(d, poco.Kinds()[i], m.value, key)
			if !ok {
				continue
			}
			o.Chain, o.Sign = id, m.value.get("sign").scalar()
			if m.value.get("salt") == nil || !signature(o.Sign) {
				p.find(providers.Unreadable, d, m.value, key, "it lacks a salt or a signature of this version of the protocol")
				continue
			}
			p.Signed = append(p.Signed, o)
		}
	}
}

func signature(text string) bool {
	raw, err := hexutil.Decode(text)
	return err == nil && (len(raw) == 65 || len(raw) == 64)
}

// readOrder reads an order in any form that the SDK takes: amounts with units, tags by name, restrictions left out.
func (p *reader) readOrder(d *document, k *poco.Kind, n *node, key string) (Order, bool) {
	if !n.object() {
		p.find(providers.Unreadable, d, n, key, "want an object")
		return Order{}, false
	}
	values := map[string]any{}
	for name, zero := range k.Zero() {
		values[name] = zero
	}
	known := []string{"sign"}
	for _, f := range k.Fields {
		known = append(known, f.Name)
		v := n.get(f.Name)
		if v == nil {
			continue
		}
		text, err := orderField(d, f, v)
		if err != nil {
			p.find(providers.Unreadable, d, v, key+"."+f.Name, err.Error())
			return Order{}, false
		}
		values[f.Name] = text
	}
	p.unknown(d, key, n, known...)
	o, err := k.Canonical(values)
	if err != nil {
		p.find(providers.Unreadable, d, n, key, err.Error())
		return Order{}, false
	}
	return Order{Kind: k, Order: o, Where: p.where(d, n, key)}, true
}

func orderField(d *document, f poco.Field, v *node) (any, error) {
	switch text := v.scalar(); {
	case f.Name == "tag":
		names := []string{text}
		if v.kind == '[' {
			names = nil
			for _, e := range v.elements {
				names = append(names, e.scalar())
			}
		}
		tag, err := poco.ParseTag(names...)
		return tag.Hex(), err
	case f.Type == "uint256" && text == "":
		return "0", nil
	case f.Type == "uint256" && strings.Contains(f.Name, "price"):
		n, err := poco.ParseAmount(text)
		if err != nil {
			return nil, err
		}
		return n.String(), nil
	case f.Type == "uint256":
		return json.Number(text), nil
	case f.Type == "string" && (v.kind == '{' || v.kind == '['):
		return d.compact(v), nil
	default:
		return text, nil
	}
}

// readWallet reads wallet.json for the address only.
func (p *reader) readWallet(d *document) {
	p.wallet(d.root.get("address").scalar())
	for _, name := range []string{"crypto", "Crypto"} {
		if n := d.root.get(name); n != nil {
			p.find(providers.Secrets, d, n, name, "an encrypted key: not copied")
		}
	}
}

// iappKeys are those of iapp.config.json without counterpart.
var iappKeys = []string{"template", "dockerhubUsername", "walletFileName", "defaultChain", "projectName", "iappVersion"}

// readIApp reads iApp's configuration.
func (p *reader) readIApp(d *document) {
	p.unknown(d, "", d.root, iappKeys...)
	p.Name = d.root.get("projectName").scalar()
	if file := d.root.get("walletFileName").scalar(); file != "" {
		p.wallet(strings.TrimSuffix(path.Base(file), ".json"))
	}
	if name := d.root.get("defaultChain").scalar(); name != "" && p.Default == 0 {
		if p.Default = idOfName(name); p.Default == 0 {
			p.find(providers.Unreadable, d, d.root.get("defaultChain"), "defaultChain", "there is no chain "+name)
		}
	}
}

// readDeployments reads cache/CHAIN/deployments.json of iApp, newest last. Before there were chains it was
// cache/deployments.json, of Bellecour.
func (p *reader) readDeployments(d *document) {
	chain := path.Base(path.Dir(d.name))
	if chain == "cache" {
		chain = "bellecour"
	}
	id := idOfName(chain)
	if id == 0 {
		p.Findings = append(p.Findings, providers.Finding{Kind: providers.Unreadable, Where: d.name, Text: "there is no chain " + chain})
		return
	}
	for i, n := range d.root.elements {
		key := fmt.Sprintf("[%d]", i)
		if !n.object() {
			p.find(providers.Unreadable, d, n, key, "want an object")
			continue
		}
		p.unknown(d, key, n, "image", "app", "owner", "date", "sconifiedImage", "appContractAddress", "dockerImage", "tdx")
		e := Entry{Kind: poco.AppEntry, Chain: id, Name: p.Name}
		address, image := first(n, "app", "appContractAddress"), first(n, "image", "sconifiedImage", "dockerImage")
		if image != "" {
			e.Fields = map[string]string{"multiaddr": image}
		}
		if owner := n.get("owner").scalar(); common.IsHexAddress(owner) {
			p.wallet(owner)
		}
		p.deployed(d, n, key, e, address)
	}
}

// first is the first member that is there.
func first(n *node, names ...string) string {
	for _, name := range names {
		if text := n.get(name).scalar(); text != "" {
			return text
		}
	}
	return ""
}
