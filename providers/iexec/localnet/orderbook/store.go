package orderbook

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/ethereum/go-ethereum/common"
	"github.com/google/renameio/v2"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// line is one line of the file that keeps the market: what happened, in order. Exactly one member is set.
type line struct {
	Put    *storedOrder `json:"put,omitempty"`
	Remove *common.Hash `json:"remove,omitempty"`
	Deal   *deal        `json:"deal,omitempty"`
	Block  *uint64      `json:"block,omitempty"` // the chain has been followed up to this block
}

type storedOrder struct {
	Kind      string         `json:"kind"`
	Hash      common.Hash    `json:"hash"`
	Order     poco.Order     `json:"order"`
	Sign      string         `json:"sign"`
	Signer    common.Address `json:"signer"`
	Status    string         `json:"status"`
	Remaining uint64         `json:"remaining"`
	Published int64          `json:"published"`
}

func (r *record) stored() *storedOrder {
	return &storedOrder{r.kind.Noun, r.hash, r.order, r.sign, r.signer, r.status, r.remaining, r.published}
}

// journal appends lines to a file, or with a nil file does nothing. A line that a killed process left unfinished is
// dropped when the file is read.
type journal struct{ file *os.File }

// openJournal reads the file into b, rewrites it to what is still true, and opens it for appending. name "" keeps nothing.
func openJournal(name string, b *book) (*journal, error) {
	if name == "" {
		return &journal{}, nil
	}
	if err := readJournal(name, b); err != nil {
		return nil, fmt.Errorf("read the market's orders: %w", err)
	}
	var all bytes.Buffer
	enc := json.NewEncoder(&all)
	for _, r := range b.records {
		if err := enc.Encode(line{Put: r.stored()}); err != nil {
			return nil, err
		}
	}
	for _, d := range b.deals {
		if err := enc.Encode(line{Deal: d}); err != nil {
			return nil, err
		}
	}
	if err := enc.Encode(line{Block: &b.lastBlock}); err != nil {
		return nil, err
	}
	if err := renameio.WriteFile(name, all.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("rewrite the market's orders: %w", err)
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("keep the market's orders: %w", err)
	}
	return &journal{file: file}, nil
}

func readJournal(name string, b *book) error {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	kinds := map[string]*poco.Kind{}
	for _, k := range poco.Kinds() {
		kinds[k.Noun] = k
	}
	in := bufio.NewReader(file)
	for n := 1; ; n++ {
		text, err := in.ReadBytes('\n')
		if err == io.EOF {
			return nil // what is left in text is an unfinished line
		}
		if err != nil {
			return err
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return fmt.Errorf("%s: line %d: %w", name, n, err)
		}
		switch {
		case l.Put != nil:
			p := l.Put
			k, ok := kinds[p.Kind]
			if !ok {
				return fmt.Errorf("%s: line %d: unknown kind %q", name, n, p.Kind)
			}
			b.put(record{kind: k, hash: p.Hash, order: p.Order, sign: p.Sign, signer: p.Signer,
				status: p.Status, remaining: p.Remaining, published: p.Published})
		case l.Remove != nil:
			b.remove(*l.Remove)
		case l.Deal != nil:
			b.addDeal(l.Deal)
		case l.Block != nil:
			b.lastBlock = *l.Block
		}
	}
}

// append writes lines in one write.
func (j *journal) append(lines ...line) error {
	if j.file == nil || len(lines) == 0 {
		return nil
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("keep the market's orders: %w", err)
		}
	}
	if _, err := j.file.Write(out.Bytes()); err != nil {
		return fmt.Errorf("keep the market's orders: %w", err)
	}
	return nil
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}
