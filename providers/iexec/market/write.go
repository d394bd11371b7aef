package market

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/retry"
)

// A wallet writes one thing at a time, as the market has one challenge per wallet. What was written is looked at afterwards,
// for a write may be lost though it was answered with success. Where requests are limited, looks wait until nobody writes,
// and then share one listing: sixteen orders published side by side take 33 requests instead of 48.

// A lane is the writing of one wallet.
type lane struct {
	turn chan struct{} // one token: who has it may write

	mu      sync.Mutex
	writers int // that are not done writing
	looks   []*look
}

// A look asks for the row of an order that was written.
type look struct {
	kind *poco.Kind
	hash common.Hash
	row  *Row // nil: not listed
	err  error
	done chan struct{}
}

func (c *Client) lane(wallet common.Address) *lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lanes[wallet]
	if l == nil {
		l = &lane{turn: make(chan struct{}, 1)}
		l.turn <- struct{}{}
		c.lanes[wallet] = l
	}
	return l
}

// write performs one authorized request. Its error says whether it was refused (for good), or is unclear.
func (c *Client) write(ctx context.Context, op, method, path string, body []byte, auth Authenticator) ([]byte, error) {
	l := c.lane(auth.Address())
	start := time.Now()
	select {
	case <-l.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	retry.Queued(ctx, time.Since(start))
	defer func() { l.turn <- struct{}{} }()
	for try := 1; ; try++ {
		authorization, err := c.authorize(ctx, op, auth)
		if err != nil {
			return nil, err
		}
		answer, err := c.send(ctx, op, method, path, nil, body, authorization)
		if !isText(err, textAuthorization) || try == 5 {
			return answer, err
		}
		// Another program with the same wallet used the challenge.
		timer := time.NewTimer(time.Duration(try)*50*time.Millisecond + rand.N(200*time.Millisecond)) //nolint:gosec // nobody gains by guessing it
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// authorize answers a challenge. It doesn't repeat what fails, as others wait for their turn.
func (c *Client) authorize(ctx context.Context, op string, auth Authenticator) (string, error) {
	var out struct {
		Data struct {
			Message struct {
				Challenge string `json:"challenge"`
			} `json:"message"`
		} `json:"data"`
	}
	body, err := c.send(ctx, op, http.MethodGet, "/challenge", url.Values{"address": {auth.Address().Hex()}}, nil, "")
	if err == nil {
		err = c.decode(op, body, &out)
	}
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.unsent = true
		}
		return "", err
	}
	if out.Data.Message.Challenge == "" {
		return "", &Error{Op: op, Host: c.host, Status: http.StatusOK, Text: "a challenge without text"}
	}
	doc := poco.MarketChallenge(c.domain.ChainID, out.Data.Message.Challenge)
	sig, err := auth.SignTypedData(ctx, doc)
	if err != nil {
		return "", fmt.Errorf("%s: sign the market's challenge: %w", op, err)
	}
	return poco.MarketAuthorization(doc.Digest(), sig, auth.Address()), nil
}

// begin says that the wallet is going to write. The caller must call end, or look.
func (c *Client) begin(wallet common.Address) {
	l := c.lane(wallet)
	l.mu.Lock()
	l.writers++
	l.mu.Unlock()
}

// end says that the wallet is done writing, and wants to look, or not if that is nil. Who is last looks for all.
func (c *Client) end(ctx context.Context, wallet common.Address, mine *look) {
	l := c.lane(wallet)
	l.mu.Lock()
	defer l.mu.Unlock()
	if mine != nil {
		l.looks = append(l.looks, mine)
	}
	if l.writers--; l.writers == 0 && len(l.looks) > 0 {
		go c.lookAt(ctx, wallet, l.looks)
		l.looks = nil
	}
}

// look ends a write, and is Get; where requests are limited, together with others.
func (c *Client) look(ctx context.Context, k *poco.Kind, wallet common.Address, hash common.Hash) (*Row, error) {
	if limit, _ := c.RateLimit(); limit == 0 {
		c.end(ctx, wallet, nil)
		return c.Get(ctx, k, hash)
	}
	mine := &look{kind: k, hash: hash, done: make(chan struct{})}
	c.end(ctx, wallet, mine)
	select {
	case <-mine.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if mine.row == nil || mine.err != nil { // not open, or who looked was interrupted
		return c.Get(ctx, k, hash)
	}
	return mine.row, nil
}

// lookAt lists the first thousand orders of the wallet for the looks of each kind that more than one asks for.
func (c *Client) lookAt(ctx context.Context, wallet common.Address, looks []*look) {
	byKind := map[*poco.Kind][]*look{}
	for _, x := range looks {
		byKind[x.kind] = append(byKind[x.kind], x)
	}
	for k, list := range byKind {
		rows := map[common.Hash]*Row{}
		var err error
		if len(list) > 1 {
			var all []Row
			all, err = c.Query(ctx, k, ownerFilter(k, wallet), pageSize)
			for i := range all {
				rows[all[i].OrderHash] = &all[i]
			}
		}
		for _, x := range list {
			x.row, x.err = rows[x.hash], err
			close(x.done)
		}
	}
}
