package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/errgroup"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/remote"
)

const (
	journalSuffix = ".journal/"
	lockSuffix    = ".lock"
	// writer is the metadata that is unique to each write.
	writer = "iexecform-write"
	// maxObject is the most that is read of an object.
	maxObject = 1 << 30
)

// What the first line of a piece says.
const (
	begins    = "begin\n"    // what follows is the whole journal
	continues = "continue\n" // what follows is added
	takes     = "take\n"     // nothing is added
)

// medium is one state.
type medium struct {
	*Backend
	key   string
	lease *lease // nil when the lock isn't held
}

// position is a remote.Position.
type position struct {
	etag   string // of the snapshot; "" when there is none
	serial uint64 // of the snapshot
	next   int    // number of the next piece for that serial
}

func (m *medium) piece(serial uint64, number int) string {
	return fmt.Sprintf("%s%s%020d-%010d", m.key, journalSuffix, serial, number)
}

// pieces are the numbers of a journal's pieces.
type pieces struct {
	serial uint64
	keys   []string
	last   int
}

// listed sorts pieces by the snapshot that they continue, lowest first.
func (m *medium) listed(ctx context.Context) (groups []pieces, all []string, err error) {
	all, err = m.list(ctx, m.key+journalSuffix)
	for _, key := range all {
		serial, number, ok := strings.Cut(strings.TrimPrefix(key, m.key+journalSuffix), "-")
		s, err := strconv.ParseUint(serial, 10, 64)
		n, err2 := strconv.Atoi(number)
		if !ok || err != nil || err2 != nil {
			continue // none of ours
		}
		if len(groups) == 0 || groups[len(groups)-1].serial != s {
			groups = append(groups, pieces{serial: s})
		}
		g := &groups[len(groups)-1]
		g.keys, g.last = append(g.keys, key), n
	}
	return groups, all, err
}

// Read implements remote.Medium.
func (m *medium) Read(ctx context.Context) (*remote.Contents, error) {
	for {
		snapshot, err := m.get(ctx, m.key)
		if err != nil {
			return nil, err
		}
		at, c := position{}, &remote.Contents{}
		if snapshot != nil {
			at.etag = snapshot.etag
			if len(bytes.TrimSpace(snapshot.body)) > 0 {
				c.Snapshot = snapshot.body
				e, err := state.DecodeEnvelope(snapshot.body)
				if err != nil {
					return nil, err
				}
				at.serial = e.Serial
			}
		}
		groups, _, err := m.listed(ctx)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			if g.serial == at.serial {
				at.next = g.last + 1
			}
			if g.serial != at.serial && (g.serial < at.serial || len(g.keys) == 1) {
				continue // dead, or of a snapshot that was never put
			}
			if c.Journal, err = m.journal(ctx, g.keys); err != nil { // of a newer snapshot: the store's user tells
				return nil, err
			}
		}
		// Somebody may have replaced the snapshot, and removed pieces, in between.
		now, err := m.etag(ctx, m.key)
		if err != nil {
			return nil, err
		}
		if now == at.etag {
			c.At = at
			return c, nil
		}
	}
}

// journal reads the pieces with the keys. One that is gone was removed by whoever replaced the snapshot.
func (m *medium) journal(ctx context.Context, keys []string) ([]byte, error) {
	bodies := make([][]byte, len(keys))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i, key := range keys {
		g.Go(func() error {
			o, err := m.get(ctx, key)
			if o != nil {
				bodies[i] = o.body
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var text []byte
	begun := false
	for i, body := range bodies {
		kind, rest, _ := bytes.Cut(body, []byte("\n"))
		switch string(kind) + "\n" {
		case begins:
			text, begun = append([]byte(nil), rest...), true
		case continues:
			if begun { // else it came too late, when those before it were gone, and was refused
				text = append(text, rest...)
			}
		case takes, "\n": // "\n": gone
		default:
			return nil, fmt.Errorf("%s is no piece of a journal that this program knows: a newer one wrote it, or it was damaged", keys[i])
		}
	}
	if len(text) == 0 {
		return nil, nil
	}
	return text, nil
}

// take writes the piece with the next number.
func (m *medium) take(ctx context.Context, at *position, kind string, text []byte) error {
	_, err := m.put(ctx, m.piece(at.serial, at.next), append([]byte(kind), text...), "", nil)
	if errors.Is(err, errOther) {
		return m.refused(ctx)
	}
	if err == nil {
		at.next++
	}
	return err
}

// refused tells why a write was: the lock is lost, or somebody has written.
func (m *medium) refused(ctx context.Context) error {
	if m.lease != nil && m.lease.check(ctx) != nil {
		return remote.ErrLost
	}
	return remote.ErrBehind
}

// Append implements remote.Medium.
func (m *medium) Append(ctx context.Context, after remote.Position, p remote.Piece) (remote.Position, error) {
	at, kind := after.(position), continues
	if p.Begins {
		kind = begins
	}
	if err := m.take(ctx, &at, kind, p.Text); err != nil {
		return nil, err
	}
	now, err := m.etag(ctx, m.key)
	if err != nil {
		return nil, err
	}
	if now != at.etag {
		return nil, m.refused(ctx)
	}
	return at, nil
}

// Replace implements remote.Medium.
func (m *medium) Replace(ctx context.Context, after remote.Position, snapshot []byte, journal remote.Piece) (remote.Position, error) {
	at := after.(position)
	if snapshot == nil { // of the same serial: the last piece stays, so that its number isn't given again
		if err := m.take(ctx, &at, begins, journal.Text); err != nil {
			return nil, err
		}
		now, err := m.etag(ctx, m.key)
		if err == nil && now != at.etag {
			err = m.refused(ctx)
		}
		if err != nil {
			return nil, err
		}
		return at, m.removeBefore(ctx, at)
	}
	if err := m.take(ctx, &at, takes, nil); err != nil {
		return nil, err
	}
	err := m.beginJournal(ctx, journal)
	var etag string
	if err == nil {
		etag, err = m.put(ctx, m.key, snapshot, at.etag, nil)
	}
	if errors.Is(err, errOther) {
		return nil, m.refused(ctx)
	}
	if err != nil {
		return nil, err
	}
	at = position{etag: etag, serial: journal.Serial, next: 1}
	return at, m.removeBefore(ctx, at)
}

// beginJournal writes the first piece of the journal of a snapshot that is put next. There may be one of somebody who died
// before he put it.
func (m *medium) beginJournal(ctx context.Context, journal remote.Piece) error {
	key, body := m.piece(journal.Serial, 0), append([]byte(begins), journal.Text...)
	_, err := m.put(ctx, key, body, "", nil)
	if !errors.Is(err, errOther) {
		return err
	}
	etag, err := m.etag(ctx, key)
	if err == nil {
		_, err = m.put(ctx, key, body, etag, nil)
	}
	return err
}

// removeBefore removes the pieces of older snapshots, and those before the last one.
func (m *medium) removeBefore(ctx context.Context, at position) error {
	groups, _, err := m.listed(ctx)
	if err != nil {
		return err
	}
	var old []string
	for _, g := range groups {
		switch {
		case g.serial < at.serial:
			old = append(old, g.keys...)
		case g.serial == at.serial && len(g.keys) > 1:
			old = append(old, g.keys[:len(g.keys)-1]...)
		}
	}
	return m.remove(ctx, old)
}

// fence makes each write of whoever had the lock before be refused.
func (m *medium) fence(ctx context.Context) error {
	for {
		snapshot, err := m.get(ctx, m.key)
		if err != nil {
			return err
		}
		body, etag := blank, ""
		if snapshot != nil {
			body, etag = append(snapshot.body, '\n'), snapshot.etag
		}
		if _, err = m.put(ctx, m.key, body, etag, nil); err == nil {
			break
		}
		if !errors.Is(err, errOther) {
			return err
		}
	}
	for {
		c, err := m.Read(ctx)
		if err != nil {
			return err
		}
		at := c.At.(position)
		if err = m.take(ctx, &at, takes, nil); !errors.Is(err, remote.ErrBehind) && !errors.Is(err, remote.ErrLost) {
			return err
		}
	}
}

func unique() map[string]string { return map[string]string{writer: rand.Text()} }

// readAll reads an object, up to a limit.
func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxObject+1))
	if err == nil && len(b) > maxObject {
		err = errors.New("it is larger than any state")
	}
	return b, err
}

// serverTime is when the server answered, by its clock.
func serverTime(md middleware.Metadata) (time.Time, bool) {
	response, ok := awsmiddleware.GetRawResponse(md).(*smithyhttp.Response)
	if !ok {
		return time.Time{}, false
	}
	t, err := http.ParseTime(response.Header.Get("Date"))
	return t, err == nil
}
