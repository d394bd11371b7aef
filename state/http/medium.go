package http

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/remote"
)

// partSize is how much of a journal a part holds before the next one begins.
const partSize = 32 << 10

// part is a document with a part of the journal.
type part struct {
	Version int    `json:"version"`
	Serial  uint64 `json:"serial"`  // rises with every write of this document
	Journal string `json:"journal"` // the same in all parts of one journal
	Of      uint64 `json:"of"`      // serial of the snapshot that the journal continues
	More    bool   `json:"more"`    // there is a part after this one
	Write   string `json:"write"`   // unique
	Text    string `json:"text"`
}

const partVersion = 1

// medium is one state.
type medium struct {
	*Backend
	workspace string
	last      *part   // the journal's last part as it was read or written last
	number    int     // its number
	lease     *lease  // nil when the lock isn't held
	waited    watched // the lease of the holder that this client waits for
}

// position is a remote.Position: the snapshot's serial, and the journal's last part.
type position struct {
	snapshot uint64
	number   int
	serial   uint64
	write    string
}

func (m *medium) partAddress(number int) string {
	return m.address(m.o.Address, m.workspace, fmt.Sprintf("-journal-%d", number))
}

// Read implements remote.Medium.
func (m *medium) Read(ctx context.Context) (*remote.Contents, error) {
	for try := 1; ; try++ {
		c := &remote.Contents{}
		at := position{}
		var err error
		if c.Snapshot, err = m.get(ctx, m.address(m.o.Address, m.workspace, "")); err != nil {
			return nil, err
		}
		if c.Snapshot != nil {
			e, err := state.DecodeEnvelope(c.Snapshot)
			if err != nil {
				return nil, err
			}
			at.snapshot = e.Serial
		}
		again := false
		if c.Journal, again, err = m.readJournal(ctx); err != nil {
			return nil, err
		}
		if again || m.last != nil && m.last.Of > at.snapshot && try < 5 { // the journal begins anew while it is read
			continue
		}
		at.number = m.number
		if m.last != nil {
			at.serial, at.write = m.last.Serial, m.last.Write
		}
		c.At = at
		return c, nil
	}
}

// readJournal reads all parts, and remembers the last one. again says that they don't belong together.
func (m *medium) readJournal(ctx context.Context) (text []byte, again bool, err error) {
	m.last, m.number = nil, 0
	for number := 1; ; number++ {
		p, err := m.readPart(ctx, number)
		if err != nil {
			return nil, false, err
		}
		if p == nil || m.last != nil && p.Journal != m.last.Journal {
			return nil, m.last != nil, nil // none yet; or the one that was announced isn't there
		}
		m.last, m.number = p, number
		text = append(text, p.Text...)
		if !p.More {
			if len(text) == 0 {
				text = nil
			}
			return text, false, nil
		}
	}
}

func (m *medium) readPart(ctx context.Context, number int) (*part, error) {
	body, err := m.get(ctx, m.partAddress(number))
	if body == nil || err != nil {
		return nil, err
	}
	p := new(part)
	if err := json.Unmarshal(body, p); err != nil || p.Version != partVersion || p.Write == "" {
		return nil, fmt.Errorf("the document %s is no part of a journal that this program knows: a newer one wrote it, or the server keeps something else there", m.partAddress(number))
	}
	return p, nil
}

// writePart writes the part with that number in place of the one that was read or written last, nil for none.
func (m *medium) writePart(ctx context.Context, number int, p part, was *part) error {
	p.Version, p.Write = partVersion, rand.Text()
	if was != nil {
		p.Serial = was.Serial
	}
	p.Serial++
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if m.lease == nil { // no lock keeps others from writing, and not all servers look at serials
		is, err := m.readPart(ctx, number)
		if err != nil {
			return err
		}
		if (is == nil) != (was == nil) || is != nil && is.Write != was.Write {
			return remote.ErrBehind
		}
	}
	if err := m.update(ctx, m.partAddress(number), body, func(stored []byte) bool {
		is := part{}
		return json.Unmarshal(stored, &is) == nil && is.Write == p.Write
	}); err != nil {
		return err
	}
	m.last, m.number = &p, number
	return nil
}

// update writes a document. When the server refuses it, the document is read: same tells whether it is what was to be written,
// because an answer was lost; else somebody has written.
func (m *medium) update(ctx context.Context, address string, body []byte, same func([]byte) bool) error {
	status, answer, err := m.do(ctx, m.o.UpdateMethod, address, body)
	switch {
	case err == nil && status/100 == 2:
		return nil
	case status == http.StatusLocked, status == http.StatusConflict && m.lease != nil:
		return m.refused()
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		return m.refusal(m.o.UpdateMethod, status, answer)
	}
	if err == nil {
		err = m.refusal(m.o.UpdateMethod, status, answer)
	}
	stored, readErr := m.get(ctx, address)
	switch {
	case readErr != nil || stored == nil:
		return err
	case same(stored):
		return nil
	}
	var is, mine struct {
		Serial uint64 `json:"serial"`
	}
	if json.Unmarshal(stored, &is) == nil && json.Unmarshal(body, &mine) == nil && is.Serial >= mine.Serial {
		if lost := m.verify(ctx); errors.Is(lost, remote.ErrLost) {
			return lost
		}
		return remote.ErrBehind
	}
	return err
}

// refused is what the refusal of a write means that the server doesn't take from this client.
func (m *medium) refused() error {
	if m.lease != nil {
		return remote.ErrLost
	}
	return remote.ErrBehind
}

// current refuses to write after a position that is not where this client is.
func (m *medium) current(after remote.Position) (position, error) {
	at := after.(position)
	if m.number != at.number || m.last != nil && m.last.Write != at.write {
		return at, remote.ErrBehind
	}
	return at, nil
}

// Append implements remote.Medium.
func (m *medium) Append(ctx context.Context, after remote.Position, p remote.Piece) (remote.Position, error) {
	at, err := m.current(after)
	if err != nil {
		return nil, err
	}
	if err := m.verify(ctx); err != nil {
		return nil, err
	}
	switch {
	case p.Begins:
		err = m.begin(ctx, p)
	case m.last == nil:
		err = remote.ErrBehind // the journal that it continues is gone
	case len(m.last.Text) < partSize:
		next := *m.last
		next.Text += string(p.Text)
		err = m.writePart(ctx, m.number, next, m.last)
	default:
		err = m.nextPart(ctx, p.Text)
	}
	return m.after(at), err
}

func (m *medium) after(at position) remote.Position {
	at.number = m.number
	if m.last != nil {
		at.serial, at.write = m.last.Serial, m.last.Write
	}
	return at
}

// begin begins the journal anew, in its first part. The last part gets the next serial before, unless it is that.
func (m *medium) begin(ctx context.Context, p remote.Piece) error {
	was := m.last
	if m.number > 1 {
		if err := m.claim(ctx); err != nil {
			return err
		}
		var err error
		if was, err = m.readPart(ctx, 1); err != nil {
			return err
		}
	}
	return m.writePart(ctx, 1, part{Journal: rand.Text(), Of: p.Serial, Text: string(p.Text)}, was)
}

// nextPart goes on in another part, which is written before it is announced.
func (m *medium) nextPart(ctx context.Context, text []byte) error {
	before, number := *m.last, m.number
	was, err := m.readPart(ctx, number+1)
	if err != nil {
		return err
	}
	if err := m.claim(ctx); err != nil { // nobody else does the same
		return err
	}
	before = *m.last
	if err := m.writePart(ctx, number+1, part{Journal: before.Journal, Of: before.Of, Text: string(text)}, was); err != nil {
		return err
	}
	last := m.last
	announced := before
	announced.More = true
	if err := m.writePart(ctx, number, announced, &before); err != nil {
		return err
	}
	m.last, m.number = last, number+1
	return nil
}

// claim gives the journal's last part the next serial: whoever else has read it is behind.
func (m *medium) claim(ctx context.Context) error {
	if m.last == nil {
		return m.writePart(ctx, 1, part{Journal: rand.Text()}, nil)
	}
	return m.writePart(ctx, m.number, *m.last, m.last)
}

// fence claims whatever is there now.
func (m *medium) fence(ctx context.Context) error {
	for {
		_, again, err := m.readJournal(ctx)
		if err != nil {
			return err
		}
		if again {
			continue
		}
		if err := m.claim(ctx); err != remote.ErrBehind { //nolint:errorlint // as writePart returns it
			return err
		}
	}
}

// Replace implements remote.Medium.
func (m *medium) Replace(ctx context.Context, after remote.Position, snapshot []byte, journal remote.Piece) (remote.Position, error) {
	at, err := m.current(after)
	if err != nil {
		return nil, err
	}
	if err := m.verify(ctx); err != nil {
		return nil, err
	}
	if snapshot != nil {
		if err := m.claim(ctx); err != nil {
			return nil, err
		}
		address := withID(m.address(m.o.Address, m.workspace, ""), m.lockID(m.workspace))
		if err := m.update(ctx, address, snapshot, func(stored []byte) bool { return bytes.Equal(stored, snapshot) }); err != nil {
			return nil, err
		}
		at.snapshot = journal.Serial
	}
	err = m.begin(ctx, journal)
	switch {
	case err != nil && snapshot == nil:
		return nil, err
	case errors.Is(err, remote.ErrBehind): // somebody who ignores the lock has read the new snapshot, and begun its journal with the same notes
	case err != nil:
		return nil, fmt.Errorf("the state is written, but not its new journal: %w", err)
	}
	return m.after(at), nil
}
