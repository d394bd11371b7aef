// Package sdkproject reads projects of iExec's own tools: the SDK's command line (versions 2 to 9) and iApp.
//
// Policy. Only JSON that isn't JSON is an error, with file, line and column. Whatever else is odd is a finding, and reading
// goes on: old versions wrote other keys. Secrets are named and never kept: no field of a Project holds one but the URLs
// that Chain.SecretURLs lists, with which the chain is asked. Nothing outside the directory is read, and no network.
package sdkproject

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// maxFile is more than any file of a project has.
const maxFile = 16 << 20

// A Project is what the files say.
type Project struct {
	Name     string   // iApp's project name, or ""
	Chains   []*Chain // that the project has something on, the default one first, then by id
	Default  uint64   // chain id; 0 when the project says nothing
	Entries  []Entry  // apps, datasets and workerpools that were deployed
	Declared []Entry  // those that iexec.json describes: no chain, no address
	Signed   []Order  // of orders.json
	Wanted   []Order  // of iexec.json: not signed, no chain
	Wallets  []common.Address
	Findings []providers.Finding
}

// An Entry is an app, a dataset or a workerpool.
type Entry struct {
	Kind    *poco.EntryKind
	Chain   uint64
	Address common.Address
	Fields  map[string]string // by ABI name, and "owner": canonical where they can be read; nil when only the address is known
	Name    string            // for people, or ""
	Where   string
}

// An Order is one of orders.json, or one of iexec.json that was never signed.
type Order struct {
	Kind  *poco.Kind
	Chain uint64
	Order poco.Order // canonical
	Sign  string     // hex with 0x; "" in Wanted
	Where string
}

// reader is a Project on the way.
type reader struct {
	Project
	chains map[uint64]*Chain
}

// files are those of a project, and who reads them.
var files = []struct {
	name string
	read func(*reader, *document)
}{
	{"chain.json", (*reader).readChains},
	{"iexec.json", (*reader).readIExec},
	{"deployed.json", (*reader).readDeployed},
	{"orders.json", (*reader).readOrders},
	{"wallet.json", (*reader).readWallet},
	{"encrypted-wallet.json", (*reader).readWallet},
	{"iapp.config.json", (*reader).readIApp},
}

// Read reads the project in a directory. SIDE EFFECTS: none.
func Read(dir string) (*Project, error) {
	p := &reader{chains: map[uint64]*Chain{}}
	var errs []error
	found := false
	load := func(name string, read func(*reader, *document)) {
		src, err := readFile(filepath.Join(dir, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		found = true
		if err == nil {
			err = p.readFile(name, src, read)
		}
		errs = append(errs, err)
	}
	for _, f := range files {
		load(f.name, f.read)
	}
	caches, _ := filepath.Glob(filepath.Join(dir, "cache", "*", "deployments.json")) // the pattern is good
	for _, path := range append(caches, filepath.Join(dir, "cache", "deployments.json")) {
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return nil, err
		}
		load(filepath.ToSlash(name), (*reader).readDeployments)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("there is no iExec project in %s: it has none of chain.json, iexec.json, deployed.json, orders.json and iapp.config.json", dir)
	}
	p.readKeystore(dir)
	return p.finish(), nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes: that is no file of an iExec project", path, info.Size())
	}
	return os.ReadFile(path)
}

func (p *reader) readFile(name string, src []byte, read func(*reader, *document)) error {
	d, err := parse(name, src)
	if err != nil {
		return err
	}
	want := byte('{')
	if strings.HasSuffix(name, "deployments.json") {
		want = '['
	}
	if byte(d.root.kind) != want {
		line, column := d.position(d.root.start)
		return fmt.Errorf("%s:%d:%d: want a JSON %s", name, line, column, map[byte]string{'{': "object", '[': "array"}[want])
	}
	p.secrets(d, "", d.root)
	read(p, d)
	return nil
}

// finish keeps the chains that something is on.
func (p *reader) finish() *Project {
	used := map[uint64]bool{}
	for _, e := range p.Entries {
		used[e.Chain] = true
	}
	for _, o := range p.Signed {
		used[o.Chain] = true
	}
	if len(used) == 0 && p.Default != 0 {
		used[p.Default] = true
	}
	for _, id := range slices.Sorted(maps.Keys(used)) {
		c := p.chains[id]
		if c == nil {
			c = newChain(id)
		}
		p.Chains = append(p.Chains, c)
	}
	sort.SliceStable(p.Chains, func(i, j int) bool { return p.Chains[i].ID == p.Default && p.Chains[j].ID != p.Default })
	return &p.Project
}

func (p *reader) where(d *document, n *node, key string) string {
	line, _ := d.position(n.start)
	text := d.name + ":" + strconv.Itoa(line)
	if key != "" {
		text += " " + key
	}
	return text
}

func (p *reader) find(kind providers.FindingKind, d *document, n *node, key, text string) {
	p.Findings = append(p.Findings, providers.Finding{Kind: kind, Where: p.where(d, n, key), Text: text})
}

// unknown tells of members that no version of the tools wrote.
func (p *reader) unknown(d *document, key string, n *node, known ...string) {
	for _, m := range n.members {
		if !slices.Contains(known, m.name) && !isSecret(m.name) {
			p.find(providers.UnknownKey, d, m.value, join(key, m.name), "not a key of iExec's tools: left out")
		}
	}
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

var secretName = regexp.MustCompile(`(?i)private_?key|secret$|password|passphrase|mnemonic|access_?token|auth_?token|api_?key|project_?(id|secret)$`)

func isSecret(name string) bool { return secretName.MatchString(name) }

// secrets tells, by name only, where a file has secrets.
func (p *reader) secrets(d *document, key string, n *node) {
	for _, m := range n.members {
		at := join(key, m.name)
		said := m.value.kind == '"' && m.value.text != ""
		if said && (isSecret(m.name) || d.name == "chain.json" && strings.HasPrefix(at, "providers.")) {
			p.find(providers.Secrets, d, m.value, at, "not copied")
		}
		p.secrets(d, at, m.value)
	}
	for i, e := range n.elements {
		p.secrets(d, key+"["+strconv.Itoa(i)+"]", e)
	}
}

var keystoreFile = regexp.MustCompile(`^UTC--.*--(?:0x)?([0-9a-fA-F]{40})$`)

// readKeystore looks for keystore files, whose names have the address.
func (p *reader) readKeystore(dir string) {
	for _, sub := range []string{".", "keystore"} {
		list, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			continue
		}
		for _, f := range list {
			if m := keystoreFile.FindStringSubmatch(f.Name()); m != nil {
				p.wallet(m[1])
			}
		}
	}
}

func (p *reader) wallet(text string) {
	if !common.IsHexAddress(text) {
		return
	}
	if a := common.HexToAddress(text); a != (common.Address{}) && !slices.Contains(p.Wallets, a) {
		p.Wallets = append(p.Wallets, a)
	}
}
