package market

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/errgroup"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Lists have no snapshot: what is published, unpublished or bought while they are read shifts their pages. Policy: a
// list whose pages don't add up to its count is read again, and nothing comes twice.

// maxRows is where a list ends at the latest.
const maxRows = 1_000_000

// Query returns the open orders of a kind that the filter selects, in the market's order: cheapest first, of request
// orders the best paid. The filter's keys are the market's own parameters, paging aside; a restriction that is left out means
// orders without that restriction, and "any" all. limit 0 is none. SIDE EFFECTS: none.
func (c *Client) Query(ctx context.Context, k *poco.Kind, filter url.Values, limit int) ([]Row, error) {
	rows, err := readAll(ctx, c, "list "+k.Path, limit, func(ctx context.Context, page url.Values) ([]Row, int, error) {
		maps.Copy(page, filter)
		answer := pageJSON{reader: poco.NewReader(k)}
		err := c.get(ctx, "list "+k.Path, "/"+k.Path, page, &answer)
		return answer.rows, answer.count, err
	}, func(r *Row) common.Hash { return r.OrderHash })
	return rows, err
}

// readAll reads the pages of a list up to limit rows: the first, then as many as its count says, several at a time.
func readAll[T any](ctx context.Context, c *Client, op string, limit int,
	fetch func(ctx context.Context, page url.Values) (rows []T, count int, err error), key func(*T) common.Hash,
) ([]T, error) {
	if limit <= 0 || limit > maxRows {
		limit = maxRows
	}
	size := min(max(limit, 10), pageSize) // what the market allows
	read := func(ctx context.Context, index int) ([]T, int, error) {
		return fetch(ctx, url.Values{"pageSize": {strconv.Itoa(size)}, "pageIndex": {strconv.Itoa(index)}})
	}
	for range 3 {
		first, count, err := read(ctx, 0)
		if err != nil {
			return nil, err
		}
		pages := make([][]T, max((min(count, limit)+size-1)/size, 1))
		pages[0] = first
		counts := make([]int, len(pages))
		counts[0] = count
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(parallel)
		for i := 1; i < len(pages); i++ {
			g.Go(func() (err error) {
				pages[i], counts[i], err = read(ctx, i)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		rows := first
		if len(pages) > 1 {
			seen := make(map[common.Hash]bool, count)
			rows = slices.DeleteFunc(slices.Concat(pages...), func(row T) bool {
				double := seen[key(&row)]
				seen[key(&row)] = true
				return double
			})
		}
		if want := min(counts[len(counts)-1], limit); len(rows) == want || len(rows) > want && want == limit {
			return rows[:want:want], nil
		}
	}
	return nil, &Error{Op: op, Host: c.host, Status: http.StatusOK, Text: "pages that don't add up to its count; the list keeps changing: try again"}
}

// Deal is a match of orders: Volume tasks of one buyer at these prices.
type Deal struct {
	ID                                                common.Hash
	App, Dataset, Workerpool                          DealResource
	Requester, Beneficiary, Callback                  common.Address
	AppHash, DatasetHash, WorkerpoolHash, RequestHash common.Hash // of the orders; a deal without dataset has a hash all the same
	Params                                            string
	Volume, Category, Trust                           *big.Int
	Tag                                               common.Hash
	BlockNumber                                       *big.Int
	BlockTimestamp                                    string // RFC 3339
	TransactionHash                                   common.Hash
}

// DealResource is an app, dataset or workerpool in a Deal, its owner at that time, and the price in nRLC of each task.
type DealResource struct {
	Address, Owner common.Address // the zero address: none
	Price          *big.Int
}

// Deals returns the deals that the filter selects, newest first. The filter's keys are the market's own parameters, paging
// aside: app, appOwner, dataset, datasetOwner, workerpool, workerpoolOwner, requester, beneficiary, category, apporderHash and
// those of the other kinds. limit 0 is none. SIDE EFFECTS: none.
func (c *Client) Deals(ctx context.Context, filter url.Values, limit int) ([]Deal, error) {
	deals, err := readAll(ctx, c, "list deals", limit, func(ctx context.Context, page url.Values) ([]Deal, int, error) {
		maps.Copy(page, filter)
		answer := dealsJSON{}
		err := c.get(ctx, "list deals", "/deals", page, &answer)
		return answer.deals, answer.count, err
	}, func(d *Deal) common.Hash { return d.ID })
	slices.SortStableFunc(deals, func(a, b Deal) int {
		return cmp.Or(b.BlockNumber.Cmp(a.BlockNumber), a.ID.Cmp(b.ID))
	})
	return deals, err
}

// dealsJSON decodes a page of deals. Amounts may be JSON numbers or strings, and stay exact.
type dealsJSON struct {
	deals []Deal
	count int
}

func (p *dealsJSON) UnmarshalJSONFrom(dec *jsontext.Decoder) (err error) {
	p.deals, p.count, err = list(dec, "deals", func() (Deal, error) { return decodeDeal(dec) })
	return err
}

func decodeDeal(dec *jsontext.Decoder) (Deal, error) {
	var d Deal
	resource := func(r *DealResource) func(string) error {
		return func(name string) error {
			return scalarInto(dec, name, map[string]any{"pointer": &r.Address, "owner": &r.Owner, "price": &r.Price})
		}
	}
	err := object(dec, func(name string) error {
		switch name {
		case "app":
			return object(dec, resource(&d.App))
		case "dataset":
			return object(dec, resource(&d.Dataset))
		case "workerpool":
			return object(dec, resource(&d.Workerpool))
		}
		return scalarInto(dec, name, map[string]any{
			"dealid": &d.ID, "requester": &d.Requester, "beneficiary": &d.Beneficiary, "callback": &d.Callback,
			"appHash": &d.AppHash, "datasetHash": &d.DatasetHash, "workerpoolHash": &d.WorkerpoolHash, "requestHash": &d.RequestHash,
			"params": &d.Params, "volume": &d.Volume, "category": &d.Category, "trust": &d.Trust, "tag": &d.Tag,
			"blockNumber": &d.BlockNumber, "blockTimestamp": &d.BlockTimestamp, "transactionHash": &d.TransactionHash,
		})
	})
	for _, n := range []**big.Int{&d.App.Price, &d.Dataset.Price, &d.Workerpool.Price, &d.Category, &d.Trust, &d.BlockNumber} {
		if *n == nil {
			*n = new(big.Int)
		}
	}
	if err == nil && (d.ID == common.Hash{} || d.Volume == nil) {
		err = errors.New("a deal without dealid or volume")
	}
	return d, err
}

// scalarInto reads the value of a member into its place: a string, number, address or hash. Others are skipped.
func scalarInto(dec *jsontext.Decoder, name string, places map[string]any) error {
	value, err := scalar(dec)
	if err != nil || value == nil || places[name] == nil {
		return err
	}
	text, ok := fmt.Sprint(value), true
	switch place := places[name].(type) {
	case *string:
		*place = text
	case **big.Int:
		*place, ok = new(big.Int).SetString(text, 10)
		ok = ok && (*place).Sign() >= 0
	case *common.Address:
		*place, ok = common.HexToAddress(text), common.IsHexAddress(text)
	case *common.Hash:
		raw, err := hexutil.Decode(text)
		*place, ok = common.BytesToHash(raw), err == nil && len(raw) == 32
	}
	if !ok {
		return fmt.Errorf("%s is %q", name, text)
	}
	return nil
}

// list reads a page: its rows in the member of that name, and count.
func list[T any](dec *jsontext.Decoder, rows string, row func() (T, error)) (all []T, count int, err error) {
	count = -1
	err = object(dec, func(name string) error {
		switch name {
		case rows:
			if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '[' {
				return errors.Join(err, fmt.Errorf("%s is not an array", rows))
			}
			for dec.PeekKind() != ']' {
				one, err := row()
				if err != nil {
					return err
				}
				all = append(all, one)
			}
			_, err := dec.ReadToken()
			return err
		case "count":
			value, err := scalar(dec)
			if err != nil {
				return err
			}
			count, err = strconv.Atoi(fmt.Sprint(value))
			return err
		}
		return dec.SkipValue()
	})
	if err == nil && count < 0 {
		err = errors.New("a list without count")
	}
	return all, count, err
}
