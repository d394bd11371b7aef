package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/state/local"
)

// check applies undisturbed, and looks whether all is as it must be. An entry that is away comes back first: what can be done
// about its orders only its owner can.
func (s *story) check() {
	m := &s.model
	for _, name := range []string{"a", "b", "d", "w"} {
		s.others("back", []string{name})
	}
	for _, run := range [][]string{{"apply", "--auto-approve"}, {"plan", "--detailed-exitcode"}} {
		if r := s.run(nil, run...); r.code != 0 {
			s.t.Fatalf("undisturbed, %s: exit code %d\n%s", strings.Join(run, " "), r.code, r.text)
		}
	}
	m.moved = nil
	m.write()
	if b := s.file(local.JournalFile); b != nil {
		s.t.Fatalf("the journal is still there:\n%s", b)
	}
	if n := m.edition().records; n > 0 {
		s.t.Fatalf("%d records of the journal are still there", n)
	}
	s.checkTransactions()
	s.checkEntries()
	s.checkOffers()
	s.checkState()
}

func (s *story) checkTransactions() {
	if pending, err := s.client.PendingNonceAt(s.t.Context(), s.account.Address); err != nil || pending != s.nonce() {
		s.t.Fatalf("nonce %d with what is pending, %d without, %v", pending, s.nonce(), err)
	}
	var queue struct{ Pending, Queued map[string]json.RawMessage }
	if err := s.client.Client().CallContext(s.t.Context(), &queue, "txpool_contentFrom", s.account.Address); err != nil || len(queue.Pending)+len(queue.Queued) > 0 {
		s.t.Fatalf("transactions are left in the node's pool: %s, %s, %v", slices.Collect(maps.Keys(queue.Pending)), slices.Collect(maps.Keys(queue.Queued)), err)
	}
	seen := map[string]common.Hash{}
	for _, tx := range s.count.ledger.of(s, s.account.Address) {
		if s.model.foreign[tx.Hash] {
			continue
		}
		intent := tx.To.Hex() + tx.Input.String()
		if other, twice := seen[intent]; twice {
			s.t.Fatalf("transactions %s and %s do the same", other, tx.Hash)
		}
		seen[intent] = tx.Hash
		if tx.Status == 0 && !s.model.raced {
			s.t.Fatalf("transaction %s to %s reverted", tx.Hash, tx.To)
		}
	}
}

// checkEntries looks at the entries of the configuration.
func (s *story) checkEntries() {
	for name, w := range s.model.wants {
		if w.entry != "" {
			continue
		}
		address, ok := s.model.address(name)
		if !ok {
			s.t.Fatalf("%s is not in the state", name)
		}
		kind, _ := kindOf(name)
		if owner := s.ownerOf(kind, address); owner != s.account.Address {
			s.t.Fatalf("%s %s belongs to %s", name, address, owner)
		}
	}
}

func (s *story) ownerOf(k *poco.EntryKind, entry common.Address) common.Address {
	data, err := poco.RegistryABI().Pack("ownerOf", new(big.Int).SetBytes(entry[:]))
	if err != nil {
		s.t.Fatal(err)
	}
	var out hexutil.Bytes
	if err := s.client.Client().CallContext(s.t.Context(), &out, "eth_call", map[string]any{"to": s.model.registry(k), "data": hexutil.Bytes(data)}, "latest"); err != nil {
		s.t.Fatalf("owner of %s: %v", entry, err)
	}
	return common.BytesToAddress(out)
}

// consumed reads what the hub says of all orders.
func (s *story) consumed() []int64 {
	var batch []rpc.BatchElem
	data := make([]hexutil.Bytes, len(s.model.known))
	for i, o := range s.model.known {
		call, err := poco.HubABI().Pack("viewConsumed", o.hash)
		if err != nil {
			s.t.Fatal(err)
		}
		batch = append(batch, rpc.BatchElem{Method: "eth_call", Args: []any{map[string]any{"to": s.net.Info().Hub, "data": hexutil.Bytes(call)}, "latest"}, Result: &data[i]})
	}
	if len(batch) > 0 {
		if err := s.client.Client().BatchCallContext(s.t.Context(), batch); err != nil {
			s.t.Fatal(err)
		}
	}
	all := make([]int64, len(data))
	for i := range data {
		all[i] = new(big.Int).SetBytes(data[i]).Int64()
	}
	return all
}

// offers reports whether an order has the terms that a resource is to have.
func (m *model) offers(w *want, o *known) bool {
	entry, ok := m.address(w.entry)
	return ok && o.Order[o.kind.Resource] == entry.Hex() && o.Order[o.kind.Price] == fmt.Sprint(w.price) &&
		o.Order["tag"] == tagOf(w.tag) && o.Order["requesterrestrict"] == restrictOf(w.restrict)
}

// sells reports whether the configuration has orders of an entry.
func (m *model) sells(kind *poco.Kind, entry string) bool {
	for name, w := range m.wants {
		if _, k := kindOf(name); k == kind && m.objects[w.entry].Address.Hex() == entry {
			return true
		}
	}
	return false
}

func volumeOf(o *known) int64 {
	n, _ := new(big.Int).SetString(o.Order["volume"], 10)
	return n.Int64()
}

// checkOffers looks at everything that can be bought.
func (s *story) checkOffers() {
	m, open, consumed := &s.model, s.open(), s.consumed()
	offered := map[string]int64{}
	live := map[string]common.Hash{} // by resource, terms and generation
	for i, o := range m.known {
		volume := volumeOf(o)
		if consumed[i] != volume && consumed[i] != o.sold {
			s.t.Fatalf("the model is wrong: %d were sold of order %s, not %d", consumed[i], o.hash, o.sold)
		}
		state, inState := m.objects[o.resource].Orders[o.hash]
		w := m.wants[o.resource]
		if _, shown := open[o.hash]; shown && w != nil && inState && m.offers(w, o) {
			offered[o.resource] += open[o.hash]
			key := fmt.Sprint(o.resource, volume, state.Generation)
			if other, ok := live[key]; ok {
				s.t.Fatalf("%s has two open orders of the same terms and generation: %s and %s", o.resource, other, o.hash)
			}
			live[key] = o.hash
			continue
		}
		if consumed[i] >= volume { // nobody can use it any more
			continue
		}
		_, shown := open[o.hash]
		what := fmt.Sprintf("order %s of %s (%d of %d at %s, sold %d, shown %t, in the state %t, told %t, %t)", o.hash, o.resource, volume-consumed[i], volume, o.Order[o.kind.Price], o.sold, shown, inState, m.told[o.hash], m.now[o.hash])
		switch {
		case o.forgotten && (!shown || !m.sells(o.kind, o.Order[o.kind.Resource])):
			// The state that knew it was lost, and what the market shows of an owner doesn't tell whose it is: only orders on
			// the market, for an entry of which orders are configured, can be noticed.
		case o.forgotten && m.now[o.hash] && (w == nil || o.first != o.resource || o.Order[o.kind.Resource] != m.objects[w.entry].Address.Hex()):
			// It was noticed. Recognised can only be what was signed for what its resource sells, and under its name.
		case inState && !m.now[o.hash]:
			s.t.Fatalf("%s can be bought, and the plan doesn't say so", what)
		case !m.told[o.hash]:
			s.t.Fatalf("%s can be bought, and no plan said so", what)
		case shown && w != nil && m.lives[o.resource][o.hash]: // else it was kept when the resource was destroyed
			s.t.Fatalf("%s is on the market, and the configuration doesn't offer it", what)
		}
	}
	for hash := range open {
		if m.byHash[hash] == nil {
			s.t.Fatalf("order %s is on the market, and nobody knows it", hash)
		}
	}
	for name, w := range m.wants {
		if w.entry != "" {
			s.checkVolume(name, w, offered[name])
		}
	}
	for name := range m.unsure {
		usable := false
		for i, o := range m.known {
			usable = usable || o.resource == name && consumed[i] < volumeOf(o)
		}
		if m.wants[name] == nil && !usable {
			delete(m.unsure, name) // nothing is left that a new resource of that name could find
		}
	}
}

// checkVolume looks whether what is offered is the total less what was sold.
func (s *story) checkVolume(name string, w *want, offered int64) {
	m := &s.model
	least, most := m.before[name], m.before[name] // sold: what others closed counts whole, unless the program was about to close it
	for hash := range m.lives[name] {
		o := m.byHash[hash]
		least += o.sold
		if o.gone {
			most += volumeOf(o)
		} else {
			most += o.sold
		}
	}
	replenished, _ := m.objects[name].Replenished.Int64()
	total := int64(w.volume) + replenished
	low, high := max(0, total-most), max(0, total-least)
	if m.unsure[name] {
		low = 0
	}
	if offered < low || offered > high {
		s.t.Fatalf("%s offers %d, and must offer %d to %d: volume %d, replenished %d, sold %d to %d", name, offered, low, high, w.volume, replenished, least, most)
	}
	if offered < int64(w.below) {
		s.t.Fatalf("%s offers %d, which is fewer than %d", name, offered, w.below)
	}
}

// checkState looks whether the state has just what the configuration has, and whether what nobody touched is as it was.
func (s *story) checkState() {
	m := &s.model
	for name := range m.objects {
		if m.wants[name] == nil {
			s.t.Fatalf("%s is in the state, and not in the configuration", name)
		}
	}
	for name := range m.wants {
		now := string(m.objects[name].raw)
		if now == "" {
			s.t.Fatalf("%s is not in the state", name)
		}
		if was, ok := m.settled[name]; ok && !m.touched[name] && was != now {
			s.t.Fatalf("%s changed in the state, and nobody touched it: from\n%s\nto\n%s", name, was, now)
		}
		m.settled[name] = now
	}
	for name := range m.settled {
		if m.wants[name] == nil {
			delete(m.settled, name)
		}
	}
	clear(m.touched)
	snapshot := m.load().Snapshot
	if snapshot.Serial < m.serial || m.lineage != "" && snapshot.Lineage != m.lineage {
		s.t.Fatalf("the state went from serial %d of %q to %d of %q", m.serial, m.lineage, snapshot.Serial, snapshot.Lineage)
	}
	m.serial, m.lineage = snapshot.Serial, snapshot.Lineage
}

// A ledger has the transactions of a chain by sender.
type ledger struct {
	mu   sync.Mutex
	next uint64
	by   map[common.Address][]sentTx
}

type sentTx struct {
	Hash   common.Hash
	From   common.Address
	To     common.Address
	Input  hexutil.Bytes
	Status hexutil.Uint64 `json:"-"`
}

// of is the transactions of an account up to now.
func (l *ledger) of(s *story, from common.Address) []sentTx {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = map[common.Address][]sentTx{}
	}
	head, err := s.client.BlockNumber(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for ; l.next <= head; l.next++ {
		var block struct{ Transactions []sentTx }
		var receipts []struct{ Status hexutil.Uint64 }
		number := hexutil.EncodeUint64(l.next)
		batch := []rpc.BatchElem{
			{Method: "eth_getBlockByNumber", Args: []any{number, true}, Result: &block},
			{Method: "eth_getBlockReceipts", Args: []any{number}, Result: &receipts},
		}
		if err := s.client.Client().BatchCallContext(s.t.Context(), batch); err != nil {
			s.t.Fatal(err)
		}
		for i, tx := range block.Transactions {
			tx.Status = receipts[i].Status
			l.by[tx.From] = append(l.by[tx.From], tx)
		}
	}
	return l.by[from]
}
