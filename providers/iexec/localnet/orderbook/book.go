package orderbook

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Statuses of an order. Unpublished is none of them: the record is removed.
const (
	statusOpen     = "open"
	statusFilled   = "filled"   // wholly consumed
	statusCanceled = "canceled" // closed on chain
	statusDead     = "dead"     // its signer can't honour it any more
)

// record is a published order.
type record struct {
	kind      *poco.Kind
	hash      common.Hash
	order     poco.Order
	sign      string // as it was sent
	signer    common.Address
	status    string
	remaining uint64
	published int64 // Unix milliseconds

	price        uint64
	tag          common.Hash
	unrestricted bool   // no address in any field that restricts
	text         []byte // as publish and list answer it
}

// key names an index of the open orders of one kind: those with that value in that field; with no field, all of them.
type key struct {
	kind  *poco.Kind
	field string
	value string
}

// book holds the records, and for each index the open ones in the order in which lists give them. It isn't safe for
// concurrent use.
type book struct {
	chainID   uint64
	records   map[common.Hash]*record
	open      map[key][]*record
	deals     []*deal // in the order of the chain
	dealsByID map[common.Hash]*deal
	lastBlock uint64 // up to which the chain has been followed
}

func newBook(chainID uint64) *book {
	return &book{chainID: chainID, records: map[common.Hash]*record{}, open: map[key][]*record{}, dealsByID: map[common.Hash]*deal{}}
}

// keys returns the indexes that the record belongs to while it is open.
func (r *record) keys() []key {
	keys := []key{{kind: r.kind}, {r.kind, "signer", r.signer.Hex()}, {r.kind, r.kind.Resource, r.order[r.kind.Resource]}}
	if r.kind == poco.RequestOrder {
		keys = append(keys, key{r.kind, "app", r.order["app"]}, key{r.kind, "dataset", r.order["dataset"]})
	}
	return keys
}

// compare orders records as the market lists them: cheapest first (for requests: dearest first), then oldest, then by hash.
func compare(a, b *record) int {
	price := cmp.Compare(a.price, b.price)
	if a.kind == poco.RequestOrder {
		price = -price
	}
	return cmp.Or(price, cmp.Compare(a.published, b.published), bytes.Compare(a.hash[:], b.hash[:]))
}

// put adds or replaces the record with that hash.
func (b *book) put(r record) *record {
	if old := b.records[r.hash]; old != nil {
		b.remove(old.hash)
	}
	r.price, _ = strconv.ParseUint(r.order[r.kind.Price], 10, 64)
	r.tag = common.HexToHash(r.order["tag"])
	r.unrestricted = true
	for _, name := range queryOf(r.kind).restricts {
		r.unrestricted = r.unrestricted && r.order[restrictField(r.kind, name)] == zeroAddress
	}
	r.text = r.render(b.chainID)
	b.records[r.hash] = &r
	if r.status == statusOpen {
		for _, k := range r.keys() {
			i, _ := slices.BinarySearchFunc(b.open[k], &r, compare)
			b.open[k] = slices.Insert(b.open[k], i, &r)
		}
	}
	return &r
}

// remove drops the record with that hash.
func (b *book) remove(hash common.Hash) {
	r := b.records[hash]
	if r == nil {
		return
	}
	delete(b.records, hash)
	if r.status != statusOpen {
		return
	}
	for _, k := range r.keys() {
		if i, ok := slices.BinarySearchFunc(b.open[k], r, compare); ok {
			b.open[k] = slices.Delete(b.open[k], i, i+1)
		}
		if len(b.open[k]) == 0 {
			delete(b.open, k)
		}
	}
}

// timestamp is how the market writes the time of publication.
func timestamp(milliseconds int64) string {
	return time.UnixMilli(milliseconds).UTC().Format("2006-01-02T15:04:05.000Z")
}

// renderOrder writes the order with its sign; integers are JSON numbers (the market takes none above 2^53-1).
func (r *record) renderOrder() []byte {
	out := []byte{'{'}
	for _, f := range r.kind.Fields {
		out = append(out, '"')
		out = append(out, f.Name...)
		out = append(out, `":`...)
		if f.Type == "uint256" {
			out = append(out, r.order[f.Name]...)
		} else {
			out = appendString(out, r.order[f.Name])
		}
		out = append(out, ',')
	}
	out = append(out, `"sign":`...)
	return append(appendString(out, r.sign), '}')
}

func (r *record) render(chainID uint64) []byte {
	bulk := ""
	if r.kind == poco.DatasetOrder {
		volume, _ := strconv.ParseUint(r.order["volume"], 10, 64)
		bulk = fmt.Sprintf(`,"bulk":%t`, r.price == 0 && volume >= maxSafeInteger-1)
	}
	return fmt.Appendf(nil, `{"orderHash":"%s","order":%s,"chainId":%d,"publicationTimestamp":"%s","signer":"%s","status":"%s","remaining":%d%s}`,
		r.hash, r.renderOrder(), chainID, timestamp(r.published), r.signer, r.status, r.remaining, bulk)
}

func appendString(out []byte, text string) []byte {
	quoted, _ := json.Marshal(text) // a string can't fail
	return append(out, quoted...)
}

// matchable says whether an open order of the kind (AppOrder or DatasetOrder) could be matched with the request, and if
// not, why, in the market's words.
func (b *book) matchable(k *poco.Kind, request poco.Order) string {
	tee := k == poco.AppOrder && common.HexToHash(request["tag"])[31]&1 == 1
	maxPrice, _ := strconv.ParseUint(request[k.Resource+"maxprice"], 10, 64)
	for _, r := range b.open[key{k, k.Resource, request[k.Resource]}] {
		if tee && r.tag[31]&1 == 0 || !r.admits(request) {
			continue
		}
		if r.price <= maxPrice {
			return ""
		}
		return fmt.Sprintf("%smaxprice for %s %s is too low, actual best price is %d nRLC", k.Resource, k.Resource, request[k.Resource], r.price)
	}
	enabled := ""
	if tee {
		enabled = "tee enabled "
	}
	return fmt.Sprintf("No %s%s published for %s %s", enabled, k.Noun, k.Resource, request[k.Resource])
}

// admits says whether the order's restrictions, compared as plain addresses, allow the request.
func (r *record) admits(request poco.Order) bool {
	for _, f := range []string{"app", "dataset", "workerpool", "requester"} {
		restrict, ok := r.order[f+"restrict"]
		if ok && restrict != zeroAddress && restrict != request[f] {
			return false
		}
	}
	return true
}

const zeroAddress = "0x0000000000000000000000000000000000000000"
