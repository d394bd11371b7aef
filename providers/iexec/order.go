package iexec

import (
	"cmp"
	"context"
	"fmt"
	"math/big"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// order is the resource type of one kind of order: iexec_apporder, and three more.
//
// A resource may have several signed orders alive: the one in force, top-ups, and older ones that were not closed. All
// their bodies are kept until each is closed or filled, because closing needs the body. `volume` is the total that the
// resource offers over its life: what was sold counts.
type order struct{ *orderKind }

func (o order) typ() string { return "iexec_" + o.kind.Noun }

// signedType is what is kept of each signed order.
var signedType = cty.Object(map[string]cty.Type{
	"order":      cty.Map(cty.String), // the fields, as text, without sign
	"sign":       cty.String,
	"status":     cty.String, // see the status constants
	"consumed":   cty.Number, // units sold, as last read
	"generation": cty.Number,
})

// Status of a signed order.
const (
	statusSigned  = "signed"  // not shown by the market: whoever has a copy can use it
	statusOpen    = "open"    // shown by the market
	statusClosing = "closing" // its CLOSE was about to be sent; consumed is what was sold before
	statusClosed  = "closed"  // closed on chain; consumed is what was sold before
	statusFilled  = "filled"  // sold out
	statusGone    = "gone"    // closed on chain from outside; consumed is what was last known to be sold
)

func (o order) table() *schema.Table {
	units := o.unit + "s"
	t := &schema.Table{Type: o.typ(), Doc: o.doc(), Example: o.example, Removals: []schema.Removal{schema.RemoveUnpublish}}
	for _, term := range o.terms {
		t.Attrs = append(t.Attrs, term.Attr)
	}
	t.Attrs = append(t.Attrs,
		uintAttr(schema.Attr{Name: "replenish_below", Mode: schema.Optional, Doc: "When fewer than this many " + units + " remain, offer `volume` more. Left out: never."}, 1),
		choiceAttr(schema.Attr{Name: "revoke", Mode: schema.Optional, Default: cty.StringVal("auto"),
			Doc: "How an order that a new one replaces ends: `auto` closes it on chain where it is better for the other side than the new one, `onchain` always, `unpublish` never."}, "auto", "onchain", "unpublish"),
		choiceAttr(schema.Attr{Name: "on_destroy", Mode: schema.Optional, Default: cty.StringVal("close"),
			Doc: "What ends the orders when the resource is removed: `close` (on chain, and off the market), `unpublish` (only hidden: copies stay usable), or `keep`."}, "close", "unpublish", "keep"),
		bytes32Attr(schema.Attr{Name: "order_hash", Mode: schema.Computed, Doc: "EIP-712 hash of the newest order, known at plan time."}),
		bytes32Attr(schema.Attr{Name: "salt", Mode: schema.Computed, Doc: "Salt of the newest order, derived from its terms and the resource's address."}),
		schema.Attr{Name: "sign", Type: cty.String, Mode: schema.Computed, Doc: "Signature of the newest order."},
		schema.Attr{Name: "remaining", Type: cty.Number, Mode: schema.Computed, Progress: byUse, Doc: "Units (" + units + ") on offer, when last applied: what remains of the orders on the market."},
		schema.Attr{Name: "consumed", Type: cty.Number, Mode: schema.Computed, Progress: byUse, Doc: "Units (" + units + ") that were bought, when last applied."},
		schema.Attr{Name: "settled", Type: cty.Number, Mode: schema.Computed, Progress: byUse, Doc: "Units (" + units + ") bought of orders that are closed or filled."},
		schema.Attr{Name: "replenished", Type: cty.Number, Mode: schema.Computed, Doc: "Units (" + units + ") offered beyond `volume` because of `replenish_below`."},
		schema.Attr{Name: "status", Type: cty.String, Mode: schema.Computed, Progress: soldOut, Doc: "`open`, `signed` when the market shows none of its orders, or `filled` when nothing remains."},
		schema.Attr{Name: "orders", Type: cty.Map(signedType), Mode: schema.Computed, Progress: byUse, Doc: "Every signed order that is neither closed nor filled, by hash, with its body: whoever reads it can use it."},
	)
	return t
}

func (o order) doc() string {
	rows := [][2]string{
		{"new", "sign, publish"},
		{o.tighter, "close the old order, sign, publish the new one, unpublish the old one"},
		{o.looser, "sign, publish the new order, unpublish the old one (close it too with `revoke = \"onchain\"`)"},
		{"volume + N", "sign and publish one more order of N; the old one stays"},
		{"volume - N", "close the old order, sign and publish what remains less N; nothing if nothing remains"},
	}
	if e := o.kind.Entry(); e != nil {
		rows = append(rows, [2]string{e.Noun + " replaced", "deploy the new " + e.Noun + ", sign, publish the new order, unpublish and close the old one"})
	}
	rows = append(rows, [][2]string{
		{"unpublished by somebody else, still valid", "publish the same signed order again"},
		{"closed or filled by somebody else", "a notice, or a new order if `replenish_below` says so"},
		{"remaining below `replenish_below`", "sign and publish one more order of `volume`"},
		{"removed from the configuration", "unpublish and close, or as `on_destroy` says"},
	}...)
	var b strings.Builder
	b.WriteString(o.intro + "\n\n" +
		"A signed order is a bearer instrument: taking it off the market only hides it, and only closing it on chain (a transaction) ends it. So:\n\n" +
		"| change | actions, in order |\n| --- | --- |\n")
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s | %s |\n", row[0], row[1])
	}
	b.WriteString("\n`volume` is the total over the life of the resource: a new order after a price change offers what remains of it. Sold units are progress, not drift.")
	return b.String()
}

// byUse says of an attribute that only being bought from changes it, or what other attributes tell.
func byUse(_, _ schema.Object) bool { return true }

// soldOut tells whether orders that were open are no more because they were bought, not because somebody took one off the
// market or closed it.
func soldOut(prior, current schema.Object) bool {
	now := map[common.Hash]*signed{}
	for _, s := range ordersOf(current) {
		now[s.hash] = s
	}
	for _, s := range ordersOf(prior) {
		if is := now[s.hash]; s.status == statusOpen && is != nil && is.status != statusOpen && is.status != statusFilled {
			return false
		}
	}
	return true
}

// A signed is one signed order that is known.
type signed struct {
	hash       common.Hash
	body       poco.Order
	sign       string // "" when it is still to be signed
	status     string
	consumed   *big.Int
	generation int64
	changed    bool // since the state was written
	undone     bool // it was closed, and is not any more: it is to be closed again
	begun      bool // an interrupted run was about to close it
}

func (s *signed) volume() *big.Int { return number(s.body["volume"]) }

// remaining is what can still be bought of it.
func (s *signed) remaining() *big.Int { return new(big.Int).Sub(s.volume(), s.consumed) }

// over reports whether nobody can use it any more.
func (s *signed) over() bool {
	return s.status == statusClosed || s.status == statusFilled || s.status == statusGone
}

// sold is what it counts for in the total once it is over. What somebody else closed counts whole: they didn't want it sold.
func (s *signed) sold() *big.Int {
	if s.status == statusClosed {
		return s.consumed
	}
	return s.volume()
}

// ordersOf reads the signed orders of an object, sorted by hash.
func ordersOf(o schema.Object) []*signed {
	if o.IsNull() || o.Attr("orders").IsNull() {
		return nil
	}
	orders := o.Attr("orders")
	list := make([]*signed, 0, orders.LengthInt())
	for it := orders.ElementIterator(); it.Next(); {
		hash, v := it.Element()
		list = append(list, signedOf(common.HexToHash(hash.AsString()), object{signedObject(v)}))
	}
	sort.Slice(list, func(i, j int) bool { return list[i].hash.Cmp(list[j].hash) < 0 })
	return list
}

var signedObject = schema.Objects(signedType)

func signedOf(hash common.Hash, o object) *signed {
	s := &signed{hash: hash, sign: o.str("sign"), status: o.str("status"), consumed: o.num0("consumed"), generation: o.num0("generation").Int64()}
	body := o.v.Attr("order")
	if body.IsNull() {
		s.body = poco.Order{}
		return s
	}
	s.body = make(poco.Order, body.LengthInt())
	for it := body.ElementIterator(); it.Next(); {
		name, text := it.Element()
		s.body[name.AsString()] = text.AsString()
	}
	return s
}

func (s *signed) value() cty.Value {
	body := map[string]cty.Value{}
	for name, text := range s.body {
		body[name] = cty.StringVal(text)
	}
	sign := cty.UnknownVal(cty.String)
	if s.sign != "" {
		sign = cty.StringVal(s.sign)
	}
	return cty.ObjectVal(map[string]cty.Value{
		"order": cty.MapVal(body), "sign": sign, "status": cty.StringVal(s.status),
		"consumed": bigNumber(s.consumed), "generation": cty.NumberIntVal(s.generation),
	})
}

func ordersValue(list []*signed) cty.Value {
	if len(list) == 0 {
		return cty.MapValEmpty(signedType)
	}
	all := map[string]cty.Value{}
	for _, s := range list {
		all[s.hash.Hex()] = s.value()
	}
	return cty.MapVal(all)
}

// salt makes an order one of a resource of a project: the same terms have the same hash whenever and wherever they are
// planned, so that a lost state finds its orders. generation counts up when an order of the same terms was used up.
func (c *client) salt(k *poco.Kind, resource addr.Instance, terms poco.Order, generation int64) string {
	h := crypto.NewKeccakState()
	write := func(text string) {
		_, _ = fmt.Fprintf(h, "%d:", len(text)) // a hash never fails to write
		_, _ = h.Write([]byte(text))
	}
	signer, _ := c.address()
	for _, text := range []string{"iexecform/1", strconv.FormatUint(c.ID, 10), c.Hub.Hex(), signer.Hex(), c.project, c.workspace, resource.String()} {
		write(text)
	}
	for _, f := range k.Fields {
		if f.Name != "salt" {
			write(f.Name)
			write(terms[f.Name])
		}
	}
	write(strconv.FormatInt(generation, 10))
	var salt common.Hash
	_, _ = h.Read(salt[:])
	return salt.Hex()
}

// A listing is what the market shows of an owner's orders.
type listing struct {
	byHash  map[common.Hash]*market.Row
	byIndex map[string][]*market.Row // by the field that is the kind's index
	count   int
}

type listingFunc = func(context.Context) (*listing, error)

// list reads, once a run, the open orders of the wallet.
func (c *client) list(ctx context.Context, k *poco.Kind) (*listing, error) {
	if c.noMarket {
		return nil, errNotAsked
	}
	owner, err := c.address()
	if err != nil {
		return nil, err
	}
	key := k.Noun + owner.Hex()
	c.mu.Lock()
	read := c.listings[key]
	if read == nil {
		read = once(func(ctx context.Context) (*listing, error) { return c.readListing(ctx, k, owner) })
		c.listings[key] = read
	}
	c.mu.Unlock()
	return read(ctx)
}

func (c *client) readListing(ctx context.Context, k *poco.Kind, owner common.Address) (*listing, error) {
	rows, err := c.market.ListByOwner(ctx, k, owner)
	if err != nil {
		return nil, err
	}
	l := &listing{byHash: make(map[common.Hash]*market.Row, len(rows)), byIndex: map[string][]*market.Row{}, count: len(rows)}
	index := orderOf(k).index
	for i := range rows {
		r := &rows[i]
		l.byHash[r.OrderHash] = r
		at := r.Order[index]
		l.byIndex[at] = append(l.byIndex[at], r)
	}
	return l, nil
}

// consumedOf reads how much of each order is used up, in one call.
func (c *client) consumedOf(ctx context.Context, hashes []common.Hash, block *big.Int) ([]*big.Int, error) {
	calls := make([]chain.Call, len(hashes))
	for i, h := range hashes {
		calls[i] = chain.Call{To: c.Hub, Data: pack(poco.HubABI().Pack("viewConsumed", h)), Block: block}
	}
	consumed := make([]*big.Int, len(hashes))
	if len(calls) == 0 {
		return consumed, nil
	}
	for i, r := range c.chain.Calls(ctx, calls) {
		if r.Err != nil {
			return nil, r.Err
		}
		consumed[i] = new(big.Int).SetBytes(r.Data)
	}
	return consumed, nil
}

// read looks at every signed order that is known: how much of it is used up, and whether the market shows it.
func (o order) read(ctx context.Context, c *client, reqs []providers.ReadRequest) []providers.ReadResult {
	if err := c.pin(ctx); err != nil {
		return fail(len(reqs), providers.ReadResult{Err: err})
	}
	results := make([]providers.ReadResult, len(reqs))
	known := make([][]*signed, len(reqs))
	var all []*signed
	var hashes []common.Hash
	for i, r := range reqs {
		known[i] = ordersOf(r.Prior)
		if results[i].Err = o.whole(r.Addr, known[i]); results[i].Err != nil {
			known[i] = nil
		}
		for _, s := range known[i] {
			if !s.over() || s.status == statusClosed { // that may be undone
				all = append(all, s)
				hashes = append(hashes, s.hash)
			}
		}
	}
	if len(all) > 0 {
		var consumed []*big.Int
		var rows *listing
		var chainErr, marketErr error
		parallel(2, 2, func(i int) {
			if i == 0 {
				consumed, chainErr = c.consumedOf(ctx, hashes, nil)
			} else {
				rows, marketErr = c.list(ctx, o.kind)
			}
		})
		if err := cmp.Or(chainErr, adviseMarket(marketErr)); err != nil {
			return fail(len(reqs), providers.ReadResult{Err: err})
		}
		for i, s := range all {
			if s.status == statusClosed {
				if consumed[i].Cmp(s.volume()) >= 0 {
					continue
				}
				s.undone = true
			}
			if err := o.observe(ctx, c, s, consumed[i], rows); err != nil {
				return fail(len(reqs), providers.ReadResult{Err: err})
			}
		}
	}
	c.mu.Lock()
	for i, r := range reqs {
		c.observed[r.Addr] = known[i]
	}
	c.mu.Unlock()
	for i, r := range reqs {
		results[i].Current = r.Prior
		if slices.ContainsFunc(known[i], func(s *signed) bool { return s.changed }) {
			results[i].Current = object{r.Prior}.with(summary(object{r.Prior}.num0("settled"), known[i]))
		}
		for _, s := range known[i] {
			if s.undone {
				results[i].Notices = append(results[i].Notices, noticeUndone(s))
			}
			if s.status == statusFilled || s.status == statusGone {
				results[i].Notices = append(results[i].Notices, providers.Notice{Level: providers.Info,
					Summary: fmt.Sprintf("order %s is %s", s.hash, map[string]string{statusFilled: o.filled, statusGone: "closed on chain, not by this project"}[s.status])})
			}
		}
	}
	return results
}

// whole refuses orders that lack something, as in a state that somebody has edited: they can't be withdrawn.
func (o order) whole(i addr.Instance, list []*signed) error {
	for _, s := range list {
		if len(s.body) != len(o.kind.Fields) {
			return fmt.Errorf("order %s in the state lacks fields: restore an older state, or run `iexecform state rm '%s'`: plan finds the orders that are on the market", s.hash, i)
		}
	}
	return nil
}

// observe brings a known order up to date. Without rows the market isn't asked.
func (o order) observe(ctx context.Context, c *client, s *signed, consumed *big.Int, rows *listing) (err error) {
	status, before := s.status, s.consumed
	s.begun = s.begun || status == statusClosing
	defer func() { s.changed = s.status != status || s.consumed.Cmp(before) != 0 }()
	if consumed.Cmp(s.volume()) >= 0 {
		// The chain doesn't tell sold out from closed; the market may.
		said := ""
		if rows != nil {
			row, err := c.market.Get(ctx, o.kind, s.hash)
			if err != nil {
				return err
			}
			if row != nil {
				said = row.Status
			}
		}
		switch {
		case said == "canceled" && s.status != statusClosing:
			s.status = statusGone
		case said != "filled" && s.status == statusClosing:
			s.status = statusClosed // by us
			s.consumed, err = c.soldBefore(ctx, o.kind, s.hash, s.consumed)
		default: // it may have been sold out before our closing arrived
			s.consumed, s.status = consumed, statusFilled
		}
		return err
	}
	s.consumed = consumed
	if rows == nil && s.status != statusClosing {
		return nil // as the state has it
	}
	s.status = statusSigned
	if rows != nil && rows.byHash[s.hash] != nil {
		s.status = statusOpen
	}
	return nil
}

// summary is the attributes that follow from the orders.
func summary(settled *big.Int, list []*signed) map[string]cty.Value {
	remaining, consumed, status := new(big.Int), new(big.Int).Set(settled), statusFilled
	for _, s := range list {
		if s.over() {
			consumed.Add(consumed, s.sold())
			continue
		}
		consumed.Add(consumed, s.consumed)
		if s.status == statusOpen {
			remaining.Add(remaining, s.remaining())
		}
		if status != statusOpen {
			status = s.status
		}
	}
	if status == statusClosing {
		status = statusSigned
	}
	return map[string]cty.Value{
		"orders": ordersValue(list), "settled": bigNumber(settled), "remaining": bigNumber(remaining),
		"consumed": bigNumber(consumed), "status": cty.StringVal(status),
	}
}

// sameTerms reports whether two orders offer the same: all fields but volume and salt.
func sameTerms(k *poco.Kind, a, b poco.Order) bool {
	return !slices.ContainsFunc(k.Fields, func(f poco.Field) bool {
		return f.Name != "volume" && f.Name != "salt" && a[f.Name] != b[f.Name]
	})
}

// desiredTerms reads the terms from a desired value, whose attributes are canonical already.
func (o order) desiredTerms(d object) poco.Order {
	t := make(poco.Order, len(o.kind.Fields))
	for _, f := range o.kind.Fields {
		switch {
		case f.Name == "salt" || f.Name == "volume":
		case f.Type == "uint256":
			t[f.Name] = d.num0(f.Name).String()
		default:
			t[f.Name] = d.str(f.Name)
		}
	}
	return t
}
