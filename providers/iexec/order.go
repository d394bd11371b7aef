package iexec

import (
	"cmp"
	"context"
	"fmt"
	"math/big"
	"slices"
	"sort"
	"strconv"

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

// order is the resource type of one kind of order that an owner signs for a resource: iexec_apporder.
//
// A resource may have several signed orders alive: the one in force, top-ups, and older ones that were not closed. All
// their bodies are kept until each is closed or filled, because closing needs the body. `volume` is the total that the
// resource offers over its life: what was sold counts.
type order struct{ kind *poco.Kind }

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
	statusGone    = "gone"    // consumed on chain, closed or filled from outside
)

func (o order) table() *schema.Table {
	zero := cty.StringVal(common.Address{}.Hex())
	return &schema.Table{
		Type: o.typ(),
		Doc: "An order that offers runs of an app: signed by the app's owner, published on the market, settled on chain. Its hash is known before it is signed.\n\n" +
			"A signed order is a bearer instrument: taking it off the market only hides it, and only closing it on chain (a transaction) ends it. So:\n\n" +
			"| change | actions, in order |\n| --- | --- |\n" +
			"| new | sign, publish |\n" +
			"| price up, restriction added or changed, tag changed | close the old order, sign, publish the new one, unpublish the old one |\n" +
			"| price down, restriction lifted | sign, publish the new order, unpublish the old one (close it too with `revoke = \"onchain\"`) |\n" +
			"| volume + N | sign and publish one more order of N; the old one stays |\n" +
			"| volume - N | close the old order, sign and publish what remains less N; nothing if nothing remains |\n" +
			"| app replaced | deploy the new app, sign, publish the new order, unpublish and close the old one |\n" +
			"| unpublished by somebody else, still valid | publish the same signed order again |\n" +
			"| closed or filled by somebody else | a notice, or a new order if `replenish_below` says so |\n" +
			"| remaining below `replenish_below` | sign and publish one more order of `volume` |\n" +
			"| removed from the configuration | unpublish and close, or as `on_destroy` says |\n\n" +
			"`volume` is the total over the life of the resource: a new order after a price change offers what remains of it. Sold units are progress, not drift.",
		Example: "resource \"iexec_apporder\" \"public\" {\n  app      = iexec_app.hello.address\n  appprice = \"0.5 RLC\"\n  volume   = 1000000\n  tag      = [\"tee\", \"tdx\"]\n}\n",
		Attrs: []schema.Attr{
			addressAttr(schema.Attr{Name: "app", Mode: schema.Required, ForceNew: true, Doc: "Address of the app."}),
			priceAttr(schema.Attr{Name: "appprice", Mode: schema.Required, ForceNew: true, Doc: "Price of one run: `\"1.5 RLC\"`, `\"10 nRLC\"`, or an integer of nRLC. The market accepts at most 2^53-1 nRLC."}),
			uintAttr(schema.Attr{Name: "volume", Mode: schema.Required, Doc: "Number of runs to offer in total. The market accepts at most 2^53-1."}, 1),
			tagAttr(schema.Attr{Name: "tag", Mode: schema.Optional, ForceNew: true, Default: cty.StringVal(common.BigToHash(big.NewInt(9)).Hex()),
				Doc: "What the run needs: names such as `[\"tee\", \"tdx\"]`, the default, or 32 bytes of hex. Today's market clients match only tee with tdx."}),
			addressAttr(schema.Attr{Name: "datasetrestrict", Mode: schema.Optional, ForceNew: true, Default: zero, Doc: "Only with this dataset, or group of datasets. The zero address: no restriction."}),
			addressAttr(schema.Attr{Name: "workerpoolrestrict", Mode: schema.Optional, ForceNew: true, Default: zero, Doc: "Only on this workerpool, or group. The zero address: no restriction."}),
			addressAttr(schema.Attr{Name: "requesterrestrict", Mode: schema.Optional, ForceNew: true, Default: zero, Doc: "Only for this requester, or group. The zero address: no restriction."}),
			uintAttr(schema.Attr{Name: "replenish_below", Mode: schema.Optional, Doc: "When fewer than this many runs remain, offer `volume` more. Left out: never."}, 1),
			choiceAttr(schema.Attr{Name: "revoke", Mode: schema.Optional, Default: cty.StringVal("auto"),
				Doc: "How an order that a new one replaces ends: `auto` closes it on chain where it is better for buyers than the new one, `onchain` always, `unpublish` never."}, "auto", "onchain", "unpublish"),
			choiceAttr(schema.Attr{Name: "on_destroy", Mode: schema.Optional, Default: cty.StringVal("close"),
				Doc: "What ends the orders when the resource is removed: `close` (on chain, and off the market), `unpublish` (only hidden: copies stay usable), or `keep`."}, "close", "unpublish", "keep"),
			bytes32Attr(schema.Attr{Name: "order_hash", Mode: schema.Computed, Doc: "EIP-712 hash of the newest order, known at plan time."}),
			bytes32Attr(schema.Attr{Name: "salt", Mode: schema.Computed, Doc: "Salt of the newest order, derived from its terms and the resource's address."}),
			{Name: "sign", Type: cty.String, Mode: schema.Computed, Doc: "Signature of the newest order."},
			{Name: "remaining", Type: cty.Number, Mode: schema.Computed, Doc: "Runs that can still be bought, when last applied."},
			{Name: "consumed", Type: cty.Number, Mode: schema.Computed, Doc: "Runs that were bought, when last applied."},
			{Name: "settled", Type: cty.Number, Mode: schema.Computed, Doc: "Runs bought of orders that are closed or filled."},
			{Name: "replenished", Type: cty.Number, Mode: schema.Computed, Doc: "Runs offered beyond `volume` because of `replenish_below`."},
			{Name: "status", Type: cty.String, Mode: schema.Computed, Doc: "`open`, or `filled` when nothing remains."},
			{Name: "orders", Type: cty.Map(signedType), Mode: schema.Computed, Doc: "Every signed order that is neither closed nor filled, by hash, with its body: whoever reads it can use it."},
		},
	}
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
}

func (s *signed) volume() *big.Int {
	n, _ := new(big.Int).SetString(s.body["volume"], 10)
	if n == nil {
		return new(big.Int)
	}
	return n
}

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
func ordersOf(v cty.Value) []*signed {
	if v.IsNull() || v.GetAttr("orders").IsNull() {
		return nil
	}
	var list []*signed
	for hash, o := range v.GetAttr("orders").AsValueMap() {
		e := object{o}
		s := &signed{hash: common.HexToHash(hash), body: poco.Order{}, sign: e.str("sign"), status: e.str("status"),
			consumed: e.num0("consumed"), generation: e.num0("generation").Int64()}
		if body := o.GetAttr("order"); !body.IsNull() {
			for name, text := range body.AsValueMap() {
				s.body[name] = text.AsString()
			}
		}
		list = append(list, s)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].hash.Cmp(list[j].hash) < 0 })
	return list
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
	byHash map[common.Hash]*market.Row
	byApp  map[common.Address][]*market.Row
	count  int
}

type listingFunc = func(context.Context) (*listing, error)

// list reads, once a run, the open orders of the wallet.
func (c *client) list(ctx context.Context, k *poco.Kind) (*listing, error) {
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
	l := &listing{byHash: make(map[common.Hash]*market.Row, len(rows)), byApp: map[common.Address][]*market.Row{}, count: len(rows)}
	for i := range rows {
		r := &rows[i]
		l.byHash[r.OrderHash] = r
		a := common.HexToAddress(r.Order[k.Resource])
		l.byApp[a] = append(l.byApp[a], r)
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
	known := make([][]*signed, len(reqs))
	var all []*signed
	var hashes []common.Hash
	for i, r := range reqs {
		known[i] = ordersOf(r.Prior)
		for _, s := range known[i] {
			if !s.over() {
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
		if err := cmp.Or(chainErr, marketErr); err != nil {
			return fail(len(reqs), providers.ReadResult{Err: err})
		}
		for i, s := range all {
			if err := o.observe(ctx, c, s, consumed[i], rows); err != nil {
				return fail(len(reqs), providers.ReadResult{Err: err})
			}
		}
	}
	results := make([]providers.ReadResult, len(reqs))
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
			if s.status == statusFilled || s.status == statusGone {
				results[i].Notices = append(results[i].Notices, providers.Notice{Level: providers.Info,
					Summary: fmt.Sprintf("order %s is %s", s.hash, map[string]string{statusFilled: "sold out", statusGone: "closed on chain, not by this project"}[s.status])})
			}
		}
	}
	return results
}

// observe brings a known order up to date.
func (o order) observe(ctx context.Context, c *client, s *signed, consumed *big.Int, rows *listing) error {
	status, before := s.status, s.consumed
	defer func() { s.changed = s.status != status || s.consumed.Cmp(before) != 0 }()
	full := consumed.Cmp(s.volume()) >= 0
	switch {
	case full && s.status == statusClosing:
		s.status = statusClosed // by us: consumed stays what it was before
		return nil
	case full:
		// The chain doesn't tell sold out from closed; the market may.
		s.consumed, s.status = consumed, statusFilled
		row, err := c.market.Get(ctx, o.kind, s.hash)
		if err != nil {
			return err
		}
		if row != nil && row.Status == "canceled" {
			s.status = statusGone
		}
		return nil
	}
	s.consumed, s.status = consumed, statusSigned
	if rows.byHash[s.hash] != nil {
		s.status = statusOpen
	}
	return nil
}

// summary is the attributes that follow from the orders.
func summary(settled *big.Int, list []*signed) map[string]cty.Value {
	remaining, consumed := new(big.Int), new(big.Int).Set(settled)
	for _, s := range list {
		if s.over() {
			consumed.Add(consumed, s.sold())
			continue
		}
		consumed.Add(consumed, s.consumed)
		remaining.Add(remaining, s.remaining())
	}
	status := statusOpen
	if remaining.Sign() == 0 {
		status = statusFilled
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

// better reports whether a buyer would rather use old than new terms: cheaper, or allowing what the new ones don't. Then
// it must be closed before the new order is offered.
func (o order) better(old, now poco.Order) bool {
	before, _ := new(big.Int).SetString(old[o.kind.Price], 10)
	after, _ := new(big.Int).SetString(now[o.kind.Price], 10)
	if before == nil || after == nil || before.Cmp(after) < 0 || old["tag"] != now["tag"] {
		return true
	}
	zero := common.Address{}.Hex()
	for _, restrict := range []string{"apprestrict", "datasetrestrict", "workerpoolrestrict", "requesterrestrict"} {
		if old[restrict] != now[restrict] && now[restrict] != "" && now[restrict] != zero {
			return true
		}
	}
	return false
}
