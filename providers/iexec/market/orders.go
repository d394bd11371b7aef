package market

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Statuses of a Row.
const (
	Open     = "open"     // listed, can be matched
	Filled   = "filled"   // used up
	Canceled = "canceled" // closed on chain
	Dead     = "dead"     // the signer no longer owns the resource, or the stake is too low
)

// Row is an order as the market stores it. Status and Remaining follow the chain with a delay.
type Row struct {
	OrderHash            common.Hash
	Order                poco.Order
	Sign                 string // hex with 0x
	Signer               common.Address
	Status               string
	Remaining            *big.Int
	PublicationTimestamp string // RFC 3339
}

const (
	pageSize = 1000 // the most that the market gives
	parallel = 4    // requests of one listing at a time
)

// Publish makes sure that the order is on the market and open, and returns its row. sign is the signature, hex with 0x, of auth's
// wallet, which must own the resource. SIDE EFFECTS: publishes the order.
func (c *Client) Publish(ctx context.Context, k *poco.Kind, order poco.Order, sign string, auth Authenticator) (Row, error) {
	op := "publish " + k.Noun
	hash, err := c.domain.OrderHash(k, order)
	if err != nil {
		return Row{}, fmt.Errorf("%s: %w", op, err)
	}
	op += " " + hash.Hex()
	// The market answers 500 for ever to a signature of a wrong form.
	sig, err := hexutil.Decode(sign)
	if err != nil {
		return Row{}, fmt.Errorf("%s: the signature is not hex with 0x: %w", op, err)
	}
	signer, err := poco.Recover(hash, sig)
	if err != nil {
		return Row{}, fmt.Errorf("%s: %w", op, err)
	}
	if signer != auth.Address() || sig[len(sig)-1] < 27 && len(sig) == 65 {
		return Row{}, fmt.Errorf("%s: the signature is not one of %s over this order (it is %s's; v must be 27 or 28); sign it again",
			op, auth.Address(), signer)
	}
	fields := make(map[string]string, len(order)+1)
	for _, f := range k.Fields {
		fields[f.Name] = order[f.Name]
	}
	fields["sign"] = sign
	body, err := jsonv2.Marshal(map[string]any{"order": fields}, jsonv2.Deterministic(true))
	if err != nil {
		return Row{}, fmt.Errorf("%s: %w", op, err)
	}
	var row *Row
	err = c.retry(ctx, func(ctx context.Context) error {
		c.begin(signer)
		_, werr := c.write(ctx, op, http.MethodPost, "/"+k.Path, body, auth)
		if werr != nil && !isUnclear(werr) && !isText(werr, textPublished) {
			c.end(ctx, signer, nil)
			return werr
		}
		var err error
		if row, err = c.look(ctx, k, signer, hash); err != nil {
			return err
		}
		switch {
		case row != nil && row.Status == Open:
			return nil
		case row != nil:
			return fmt.Errorf("%s: the market has it with status %q; an order that is %s cannot be offered again: sign one with a new salt", op, row.Status, row.Status)
		case werr != nil:
			return werr
		}
		return &Error{Op: op, Host: c.host, Status: http.StatusInternalServerError, Text: "published, and then: not found"}
	})
	if err != nil {
		return Row{}, err
	}
	return *row, nil
}

// Unpublish makes sure that the order is not on the market; that it wasn't there is success. The signed order stays valid until
// it is closed on chain. SIDE EFFECTS: unpublishes the order.
func (c *Client) Unpublish(ctx context.Context, k *poco.Kind, hash common.Hash, auth Authenticator) error {
	op := "unpublish " + k.Noun + " " + hash.Hex()
	body, err := json.Marshal(map[string]string{"target": "unpublish_orderHash", "orderHash": hash.Hex()})
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return c.retry(ctx, func(ctx context.Context) error {
		c.begin(auth.Address())
		_, err := c.write(ctx, op, http.MethodPut, "/"+k.Path, body, auth)
		c.end(ctx, auth.Address(), nil)
		switch {
		case err == nil, isText(err, k.Noun+" with orderHash "+hash.Hex()+" is not published"):
			return nil
		case isUnclear(err):
			if row, gerr := c.Get(ctx, k, hash); gerr == nil && (row == nil || row.Status != Open) {
				return nil
			}
		}
		return err
	})
}

// Get returns the order with that hash, whatever its status, or nil if the market doesn't have it. SIDE EFFECTS: none.
func (c *Client) Get(ctx context.Context, k *poco.Kind, hash common.Hash) (*Row, error) {
	op := "get " + k.Noun + " " + hash.Hex()
	row := rowJSON{reader: poco.NewReader(k)}
	err := c.get(ctx, op, "/"+k.Path+"/"+hash.Hex(), nil, &row)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound && e.Text == k.Noun+" not found" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if row.row.OrderHash != hash {
		return nil, &Error{Op: op, Host: c.host, Status: http.StatusOK, Text: "another order: " + row.row.OrderHash.Hex()}
	}
	return &row.row, nil
}

// ListByOwner returns all open orders of a kind that owner signed, restricted ones too, in the market's order. SIDE EFFECTS: none.
func (c *Client) ListByOwner(ctx context.Context, k *poco.Kind, owner common.Address) ([]Row, error) {
	return c.Query(ctx, k, ownerFilter(k, owner), 0)
}

func ownerFilter(k *poco.Kind, owner common.Address) url.Values {
	filter := url.Values{}
	// Without "any" a restriction filter hides every restricted order.
	for _, f := range []string{"app", "dataset", "workerpool", "requester"} {
		filter.Set(f, "any")
	}
	filter.Del(k.Resource)
	if k == poco.RequestOrder {
		for _, f := range []string{"app", "dataset"} {
			filter.Del(f)
		}
		filter.Set("requester", owner.Hex())
	} else {
		filter.Set(k.Resource+"Owner", owner.Hex())
	}
	return filter
}

// rowJSON decodes a Row token by token: lists are long. Amounts may be JSON numbers or strings, and stay exact.
type rowJSON struct {
	reader *poco.Reader
	row    Row
}

func (r *rowJSON) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	r.row = Row{}
	err := object(dec, func(name []byte) error {
		if string(name) == "order" {
			r.row.Order = poco.Order{}
			return object(dec, r.field(dec))
		}
		at := string(name) // the name is gone when the value is read
		text, err := scalarText(dec)
		if err != nil {
			return err
		}
		ok := true
		switch at {
		case "orderHash":
			_, err = hex.Decode(r.row.OrderHash[:], bytes.TrimPrefix(text, []byte("0x")))
			ok = len(text) == 66
		case "signer":
			r.row.Signer, ok = common.HexToAddress(string(text)), common.IsHexAddress(string(text))
		case "status":
			r.row.Status = status(text)
		case "remaining":
			r.row.Remaining, ok = new(big.Int).SetString(string(text), 10)
		case "publicationTimestamp":
			r.row.PublicationTimestamp = string(text)
		}
		if err != nil || !ok {
			return fmt.Errorf("%s is %q", at, text)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if r.row.Order == nil || r.row.OrderHash == (common.Hash{}) || r.row.Status == "" || r.row.Remaining == nil {
		return errors.New("an order without order, orderHash, status or remaining")
	}
	return r.reader.Complete(r.row.Order)
}

// field reads a member of "order".
func (r *rowJSON) field(dec *jsontext.Decoder) func(name []byte) error {
	var buffer [32]byte
	return func(name []byte) error {
		at := append(buffer[:0], name...)
		text, err := scalarText(dec)
		if err != nil || text == nil {
			return err
		}
		if string(at) == "sign" {
			r.row.Sign = string(text)
			return nil
		}
		return r.reader.Set(r.row.Order, at, text)
	}
}

// status is the text, without a copy of what is known.
func status(text []byte) string {
	for _, known := range []string{Open, Filled, Canceled, Dead} {
		if string(text) == known {
			return known
		}
	}
	return string(text)
}

// pageJSON decodes a page of a list.
type pageJSON struct {
	reader *poco.Reader
	rows   []Row
	count  int
}

func (p *pageJSON) UnmarshalJSONFrom(dec *jsontext.Decoder) (err error) {
	row := rowJSON{reader: p.reader}
	p.rows, p.count, err = list(dec, "orders", func() (Row, error) {
		err := row.UnmarshalJSONFrom(dec)
		return row.row, err
	})
	return err
}

// object reads an object; member must read the value of the member that it is called for. A name of bytes is good until then.
func object[N string | []byte](dec *jsontext.Decoder, member func(name N) error) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if tok.Kind() != '{' {
		return errors.New("not an object")
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if err := member(N(unquote(name))); err != nil {
			return err
		}
	}
	_, err = dec.ReadToken()
	return err
}

// scalarText reads the text of a string or of a number, good until more is read; anything else is skipped and nil.
func scalarText(dec *jsontext.Decoder) ([]byte, error) {
	switch dec.PeekKind() {
	case '"':
		value, err := dec.ReadValue()
		return unquote(value), err
	case '0':
		return dec.ReadValue()
	}
	return nil, dec.SkipValue()
}

// scalar reads a string, or a number as json.Number; anything else is skipped and nil.
func scalar(dec *jsontext.Decoder) (any, error) {
	number := dec.PeekKind() == '0'
	switch text, err := scalarText(dec); {
	case text == nil:
		return nil, err
	case number:
		return json.Number(text), err
	default:
		return string(text), err
	}
}

// unquote is the text of a JSON string that has been read, and so is well-formed.
func unquote(value jsontext.Value) []byte {
	if len(value) > 1 && bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1]
	}
	text, _ := jsontext.AppendUnquote(nil, value)
	return text
}
