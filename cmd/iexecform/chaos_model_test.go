package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/http/gitlabtest"
	"github.com/iexecform/iexecform/state/local"
)

// A model is what a story expects: what the configuration wants, every order that was ever signed, and what was sold of it.
type model struct {
	s        *story
	wants    map[string]*want // by name
	moved    [][2]string      // moved blocks, until a check
	stranger poco.Account     // whom entries are transferred to
	away     map[string]common.Address

	known   []*known // in the order in which they were first seen
	byHash  map[common.Hash]*known
	lives   map[string]map[common.Hash]bool // the orders that the state of a resource has had, by name, since it was made
	before  map[string]int64                // what was sold before that, and may count: see former
	unsure  map[string]bool                 // resources some of whose orders the state can't know any more
	told    map[common.Hash]bool            // orders of which a plan said that they stay usable
	now     map[common.Hash]bool            // of which the last run said so
	foreign map[common.Hash]bool            // transactions of the wallet that are not the program's

	objects map[string]object // of the state, journal included, by name
	settled map[string]string // objects as they were at the last check
	touched map[string]bool   // since then
	raced   bool              // others did something while the program was at it
	renewed bool              // all was destroyed, and somebody else applied meanwhile
	saved   *edition          // when the saved plan was made
	serial  uint64            // at the last check
	lineage string
}

// A known is one order that was signed.
type known struct {
	poco.SignedOrder
	hash      common.Hash
	kind      *poco.Kind
	resource  string // name; "" while it isn't known
	first     string // the name that it was first known by, from which its salt is derived
	sold      int64
	gone      bool // closed by others
	shown     bool // the market has shown it
	forgotten bool // the state has lost it
}

// An object is a resource in the state, as far as it matters.
type object struct {
	raw     json.RawMessage
	Address common.Address
	Orders  map[common.Hash]struct {
		Generation int64
		Order      poco.Order
		Sign       string
		Status     string
	}
	Settled, Replenished json.Number
}

// An edition is what tells one state from another.
type edition struct {
	lineage string
	serial  uint64
	records int // of the journal
}

func (m *model) begin(s *story) {
	*m = model{
		s: s, wants: map[string]*want{}, away: map[string]common.Address{}, byHash: map[common.Hash]*known{}, lives: map[string]map[common.Hash]bool{}, before: map[string]int64{},
		unsure: map[string]bool{}, told: map[common.Hash]bool{}, foreign: map[common.Hash]bool{}, objects: map[string]object{},
		settled: map[string]string{}, touched: map[string]bool{}, stranger: poco.DevAccounts()[5],
	}
	m.write()
}

// edit changes what is wanted, if that makes sense.
func (m *model) edit(verb string, args []string) {
	name := args[0]
	entryKind, orderKind := kindOf(name)
	w := m.wants[name]
	number := func(i int) int { n, _ := strconv.Atoi(args[i]); return n }
	switch {
	case verb == "entry" && orderKind == nil:
		if m.moving(name) || m.has(entryKind, number(1)) {
			return
		}
		m.wants[name] = &want{content: number(1)}
	case verb == "order" && orderKind != nil:
		entry := map[byte]string{'o': "a", 'p': "a", 'q': "b", 'r': "d", 's': "w"}[name[0]]
		if m.wants[entry] == nil || m.moving(name) {
			return
		}
		if w == nil {
			if orderKind == poco.WorkerpoolOrder {
				m.s.stake()
			}
			w = &want{entry: entry, tag: "tee", revoke: "auto", onDestroy: "close"}
			m.wants[name] = w
		}
		w.price, w.volume = number(1), number(2)
		w.below = min(w.below, w.volume)
	case verb == "set" && w != nil && orderKind != nil:
		switch value := args[2]; args[1] {
		case "price":
			w.price = number(2)
		case "volume":
			w.volume = number(2)
			w.below = min(w.below, w.volume)
		case "below":
			w.below = min(number(2), w.volume)
		case "tag":
			w.tag = value
		case "restrict":
			w.restrict = value
		case "revoke":
			w.revoke = value
		case "on_destroy":
			w.onDestroy = value
		case "entry":
			if kind, order := kindOf(value); m.wants[value] == nil || kind != entryKind || order != nil {
				return
			}
			w.entry = value
		}
	case verb == "drop" && w != nil:
		for other, o := range m.wants {
			if o.entry == name {
				m.edit("drop", []string{other})
			}
		}
		m.unsure[name] = m.unsure[name] || w.onDestroy != "close"
		delete(m.wants, name)
		m.moved = slices.DeleteFunc(m.moved, func(p [2]string) bool { return p[1] == name })
	case (verb == "rename" || verb == "move") && w != nil:
		to := args[1]
		if kind, order := kindOf(to); m.wants[to] != nil || kind != entryKind || order != orderKind || m.moving(to) || m.moving(name) || m.objects[to].raw != nil {
			return
		}
		delete(m.wants, name)
		m.wants[to] = w
		for other, o := range m.wants {
			if o.entry == name {
				o.entry = to
				m.touch(other)
			}
		}
		if verb == "move" {
			m.moved = append(m.moved, [2]string{name, to})
			m.unsure[to] = m.unsure[to] || m.unsure[name]
		} else {
			m.unsure[name] = m.unsure[name] || w.onDestroy != "close"
		}
		m.touch(to)
	default:
		return
	}
	m.touch(name)
	m.write()
}

// leave notes that everything is to be destroyed, perhaps while a twin makes it again.
func (m *model) leave(twin bool) {
	m.renewed = twin
	for name, w := range m.wants {
		m.unsure[name] = m.unsure[name] || w.onDestroy != "close"
		m.touch(name)
	}
}

// moving reports whether a name is part of a moved block.
func (m *model) moving(name string) bool {
	return slices.ContainsFunc(m.moved, func(p [2]string) bool { return p[0] == name || p[1] == name })
}

// has reports whether there is an entry of those fields: two resources can't be one entry.
func (m *model) has(kind *poco.EntryKind, content int) bool {
	for name, w := range m.wants {
		if k, order := kindOf(name); order == nil && k == kind && w.content == content {
			return true
		}
	}
	return false
}

// touch notes that a resource needn't be as it was at the last check; with an entry its orders.
func (m *model) touch(name string) {
	m.touched[name] = true
	for other, w := range m.wants {
		if w.entry == name && !m.touched[other] {
			m.touch(other)
		}
	}
}

// write writes the configuration.
func (m *model) write() {
	var b strings.Builder
	b.WriteString("data \"oci_image\" \"hello\" { reference = \"IMAGE\" }\n")
	for _, name := range slices.Sorted(maps.Keys(m.wants)) {
		w := m.wants[name]
		typ, label, _ := strings.Cut(resourceOf(name), ".")
		fmt.Fprintf(&b, "resource %q %q {\n", typ, label)
		entry, order := kindOf(name)
		switch {
		case order != nil:
			fmt.Fprintf(&b, "  %s = %s.address\n  %s = %d\n  volume = %d\n", order.Resource, resourceOf(w.entry), order.Price, w.price, w.volume)
			fmt.Fprintf(&b, "  tag = %q\n  requesterrestrict = %q\n  revoke = %q\n  on_destroy = %q\n", tagOf(w.tag), restrictOf(w.restrict), w.revoke, w.onDestroy)
			if order == poco.WorkerpoolOrder {
				b.WriteString("  category = 0\n")
			}
			if w.below > 0 {
				fmt.Fprintf(&b, "  replenish_below = %d\n", w.below)
			}
		case entry == poco.AppEntry && w.content%2 == 0: // looks at the registry
			fmt.Fprintf(&b, "  name = \"app %d\"\n  multiaddr = data.oci_image.hello.reference\n  checksum = data.oci_image.hello.checksum\n", w.content)
		case entry == poco.AppEntry:
			fmt.Fprintf(&b, "  name = \"app %d\"\n  multiaddr = \"docker.io/a/b:1\"\n  checksum = \"0x%064d\"\n", w.content, w.content)
		case entry == poco.WorkerpoolEntry:
			fmt.Fprintf(&b, "  description = \"pool %d\"\n", w.content)
		default:
			fmt.Fprintf(&b, "  name = \"data %d\"\n  multiaddr = \"https://example.com/%d\"\n  checksum = \"0x%064d\"\n", w.content, w.content, w.content)
		}
		b.WriteString("}\n")
	}
	for _, pair := range m.moved {
		fmt.Fprintf(&b, "moved {\n  from = %s\n  to = %s\n}\n", resourceOf(pair[0]), resourceOf(pair[1]))
	}
	m.s.write(b.String())
}

func tagOf(word string) string {
	if word == "none" {
		return common.Hash{}.Hex()
	}
	return common.BigToHash(big.NewInt(9)).Hex()
}

func restrictOf(word string) string {
	switch word {
	case "buyer":
		return poco.DevAccounts()[nettest.Buyer].Address.Hex()
	case "other":
		return poco.DevAccounts()[6].Address.Hex()
	}
	return common.Address{}.Hex()
}

func (m *model) registry(k *poco.EntryKind) common.Address {
	switch info := m.s.net.Info(); k {
	case poco.AppEntry:
		return info.AppRegistry
	case poco.DatasetEntry:
		return info.DatasetRegistry
	default:
		return info.WorkerpoolRegistry
	}
}

// address is an entry's in the state.
func (m *model) address(name string) (common.Address, bool) {
	a := m.objects[name].Address
	return a, a != common.Address{}
}

func (m *model) path(name string) string { return filepath.Join(m.s.dir, name) }

// edition is that of the state.
func (m *model) edition() *edition {
	loaded := m.load()
	return &edition{loaded.Snapshot.Lineage, loaded.Snapshot.Serial, loaded.Records}
}

func (m *model) load() *state.Loaded {
	loaded, err := m.s.program(io.Discard).load(m.s.t.Context())
	if err != nil {
		m.s.t.Fatalf("load the state: %v", err)
	}
	return loaded
}

// remote keeps the state on a server from now on, unless it has begun.
func (m *model) remote() {
	if m.s.env != nil || *m.edition() != (edition{}) {
		return
	}
	m.s.count.add(&m.s.count.remote)
	at := m.s.ground.states().Address(fmt.Sprintf("story%d", m.s.ground.accounts.Add(1)))
	m.s.backend(fmt.Sprintf("backend \"http\" {\n address = %q\n lock_address = %q\n unlock_address = %q\n lock_method = \"POST\"\n unlock_method = \"DELETE\"\n username = %q\n}",
		at, at+"/lock", at+"/lock", gitlabtest.User), "IEXECFORM_BACKEND_PASSWORD="+gitlabtest.Password)
}

// lose loses one of the state's files, where it is kept in files.
func (m *model) lose(what string) {
	name := local.SnapshotFile
	if what == "journal" {
		name = local.JournalFile
	}
	if m.s.file(name) == nil {
		return
	}
	if err := os.Remove(m.path(name)); err != nil {
		m.s.t.Fatal(err)
	}
	if what == "state" { // a journal without its state can't be used
		_ = os.Remove(m.path(local.JournalFile))
		m.lineage, m.serial = "", 0
	}
	m.s.count.add(&m.s.count.outside)
	for _, o := range m.known {
		o.forgotten = true // learn tells which are not
		m.unsure[o.resource] = true
	}
	for _, pair := range m.moved { // in the order in which they were made
		m.unsure[pair[1]] = m.unsure[pair[1]] || m.unsure[pair[0]]
	}
	clear(m.settled)
	m.learn("")
}

var exposed = regexp.MustCompile(`order (0x[0-9a-f]{64}) (?:stays|is dead)`)

// learn looks at the state, the market, and what a run said.
func (m *model) learn(text string) {
	m.now = map[common.Hash]bool{}
	for _, match := range exposed.FindAllStringSubmatch(strings.Join(strings.Fields(strings.NewReplacer("│", " ", "╷", " ", "╵", " ").Replace(text)), " "), -1) {
		m.told[common.HexToHash(match[1])], m.now[common.HexToHash(match[1])] = true, true
	}
	loaded := m.load()
	m.objects = map[string]object{}
	for i, o := range loaded.Snapshot.Resources {
		object := object{}
		if err := json.Unmarshal(o.Attributes, &object); err != nil {
			m.s.t.Fatalf("%s: %v", i, err)
		}
		var err error
		if object.raw, err = json.Marshal(o); err != nil {
			m.s.t.Fatal(err)
		}
		m.objects[i.Resource.Name] = object
	}
	for _, pair := range m.moved {
		if from, to := pair[0], pair[1]; m.lives[from] != nil && m.objects[from].raw == nil && m.objects[to].raw != nil && m.lives[to] == nil {
			m.lives[to], m.before[to] = m.lives[from], m.before[from]
		}
	}
	for name := range m.lives {
		if m.objects[name].raw == nil {
			delete(m.lives, name)
			delete(m.before, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.objects)) {
		_, kind := kindOf(name)
		if kind == nil {
			continue
		}
		if m.lives[name] == nil {
			m.lives[name], m.before[name] = map[common.Hash]bool{}, m.former(name)
		}
		orders := m.objects[name].Orders
		hashes := slices.SortedFunc(maps.Keys(orders), common.Hash.Cmp)
		if m.renewed && hashes != nil && !slices.ContainsFunc(hashes, func(h common.Hash) bool { return m.lives[name][h] }) {
			m.lives[name] = map[common.Hash]bool{} // it was destroyed and made again, or its orders were replaced and it is still there
			m.unsure[name] = true
		}
		for _, hash := range hashes {
			if o := orders[hash]; o.Sign != "" {
				k := m.learnOrder(kind, hash, o.Order, o.Sign)
				k.resource, k.first, k.forgotten, k.shown = name, cmp.Or(k.first, name), false, k.shown || o.Status == "open"
				m.lives[name][hash] = true
			}
		}
	}
	m.renewed = false
	m.learnRows()
}

// former is what the state of a new resource says to be sold already: all of an order of the same name, terms and volume that was
// sold out before that resource was removed. The salt is the same, and whether the state was lost can't be told.
func (m *model) former(name string) int64 {
	settled, _ := m.objects[name].Settled.Int64()
	for _, o := range m.known {
		if o.first == name && o.sold == settled && o.sold == volumeOf(o) {
			return settled
		}
	}
	return 0
}

func (m *model) learnOrder(kind *poco.Kind, hash common.Hash, order poco.Order, sign string) *known {
	k := m.byHash[hash]
	if k == nil {
		k = &known{SignedOrder: poco.SignedOrder{Order: order, Sign: common.FromHex(sign)}, hash: hash, kind: kind}
		m.byHash[hash] = k
		m.known = append(m.known, k)
	}
	return k
}

// sold is the kinds of order of stories.
var sold = poco.Kinds()[:3]

// learnRows learns the orders that the market shows.
func (m *model) learnRows() {
	for _, kind := range sold {
		for _, row := range m.s.list(kind) {
			m.learnOrder(kind, row.OrderHash, row.Order, row.Sign).shown = true
		}
	}
}

// list is the wallet's open orders of a kind.
func (s *story) list(k *poco.Kind) []market.Row {
	rows, err := s.book.ListByOwner(s.t.Context(), k, s.account.Address)
	if err != nil {
		s.t.Fatal(err)
	}
	return rows
}

// open is what remains of the wallet's open orders, by hash.
func (s *story) open() map[common.Hash]int64 {
	all := map[common.Hash]int64{}
	for _, kind := range sold {
		for _, row := range s.list(kind) {
			all[row.OrderHash] = row.Remaining.Int64()
		}
	}
	return all
}

// onOffer is the orders of a resource that the market shows, as they were first seen.
func (m *model) onOffer(name string) (list []*known) {
	m.learnRows()
	open := m.s.open()
	for _, o := range m.known {
		if _, ok := open[o.hash]; ok && o.resource == name {
			list = append(list, o)
		}
	}
	return list
}
