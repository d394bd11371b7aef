package state

// A journal as text: JSON lines, the first of which is the header. Rules, which hold for every store that keeps one:
//   - A last line that isn't whole (no newline, or not JSON) was never acknowledged: it is ignored.
//   - Any other line that can't be read is damage: an error, with the line's number.
//   - A journal continues one snapshot, named by the header. One that continues an older snapshot was left behind by a
//     crash between writing the snapshot and starting a new journal: its results are in the snapshot; its unsettled
//     notes count.
//   - A journal that continues a newer snapshot, or one of another lineage, means that the snapshot was replaced by
//     other means: an error.

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"

	jsonv2 "github.com/go-json-experiment/json"
)

// JournalVersion is the version of the journal format that this program writes.
const JournalVersion = 1

// Header is a journal's first line: the snapshot that it continues. Lineage is "" when there was none.
type Header struct {
	Version int    `json:"version"`
	Lineage string `json:"lineage"`
	Serial  uint64 `json:"serial"`
	Key     string `json:"key,omitzero"`  // of the lines, encrypted; "" when they are in the clear
	Salt    string `json:"salt,omitzero"` // tells apart journals with the same key
}

// Journal is a journal as read, or as begun.
type Journal struct {
	Header  Header
	Records []Record
	Whole   int // bytes that hold the header and the records; what follows was torn. Who appends adds what was appended

	seal *seal // nil: in the clear
}

// BeginJournal makes a journal that continues a snapshot and holds nothing but notes. It is as if it had been read from the
// text, which is to be stored.
func (c *Codec) BeginJournal(lineage string, serial uint64, notes []Note) (j *Journal, text []byte, err error) {
	j = &Journal{Header: Header{Version: JournalVersion, Lineage: lineage, Serial: serial}, Records: NoteRecords(notes)}
	var key []byte
	if c.Encrypts() {
		if key, j.Header.Key, err = c.ownKey(); err != nil {
			return nil, nil, err
		}
		j.Header.Salt = rand.Text()
	}
	if text, err = appendLine(nil, j.Header); err != nil {
		return nil, nil, err
	}
	if key != nil {
		if j.seal, err = newSeal(key, text[:len(text)-1]); err != nil {
			return nil, nil, err
		}
	}
	j.Whole = len(text)
	lines, err := j.Encode(j.Records)
	j.Whole += len(lines)
	return j, append(text, lines...), err
}

// Encode writes records as lines that follow those of the journal.
func (j *Journal) Encode(records []Record) ([]byte, error) {
	lines, err := encodeRecords(records)
	if err != nil || j.seal == nil || len(lines) == 0 {
		return lines, err
	}
	return j.seal.line(lines, j.Whole)
}

func encodeRecords(records []Record) ([]byte, error) {
	var b []byte
	for _, r := range records {
		var err error
		if b, err = appendLine(b, r); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func appendLine(b []byte, v any) ([]byte, error) {
	line, err := jsonv2.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode journal: %w", err)
	}
	return append(append(b, line...), '\n'), nil
}

// DecodeJournal reads a journal. It returns nil when b holds no whole header: nothing was ever acknowledged. An error may be
// a *NewerError, a *NotEncryptedError, an *EncryptedError, or one of the Cipher.
func (c *Codec) DecodeJournal(b []byte) (*Journal, error) {
	j := new(Journal)
	for number := 1; j.Whole < len(b); number++ {
		line, rest, whole := bytes.Cut(b[j.Whole:], []byte("\n"))
		if !whole {
			break
		}
		var err error
		if number == 1 {
			err = j.header(line)
		} else {
			err = j.line(line)
		}
		if newer := (*NewerError)(nil); errors.As(err, &newer) {
			return nil, err
		}
		if err != nil {
			if len(rest) == 0 && !errors.Is(err, errTampered) {
				break
			}
			return nil, fmt.Errorf("the journal is damaged at line %d: %w; restore the file, or move it away: plan finds "+
				"what exists, but not transactions that were signed and not yet mined", number, err)
		}
		if number == 1 {
			if err := c.unlock(j, line); err != nil {
				return nil, err
			}
		}
		j.Whole += len(line) + 1
	}
	if j.Whole == 0 {
		return nil, nil
	}
	return j, nil
}

func (j *Journal) header(line []byte) error {
	// Of a newer version nothing but the version can be relied on.
	if err := jsonv2.Unmarshal(line, &j.Header); err != nil {
		return err
	}
	switch v := j.Header.Version; {
	case v > JournalVersion:
		return &NewerError{What: "journal", Version: v, Known: JournalVersion}
	case v < 1:
		return errors.New(`no "version" of 1 or more`)
	}
	return nil
}

// unlock makes the lines that follow the header readable.
func (c *Codec) unlock(j *Journal, header []byte) error {
	if j.Header.Key == "" {
		return c.mayBePlain("journal")
	}
	key, err := c.keyOf(j.Header.Key)
	if err == nil {
		j.seal, err = newSeal(key, header)
	}
	return err
}

// line reads a line of records.
func (j *Journal) line(line []byte) error {
	if j.seal == nil {
		return j.record(line)
	}
	lines, err := j.seal.open(line, j.Whole)
	if err != nil {
		return err
	}
	for l := range bytes.Lines(lines) {
		if err := j.record(l); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) record(line []byte) error {
	var r Record
	if err := jsonv2.Unmarshal(line, &r, jsonv2.RejectUnknownMembers(true)); err != nil {
		return err
	}
	if r.Type == "" {
		return errors.New("no type")
	}
	j.Records = append(j.Records, r)
	return nil
}

// Resume folds a journal into the stored snapshot. Both may be nil: nothing stored.
func Resume(stored *Snapshot, j *Journal) (*Loaded, error) {
	s := stored
	if s == nil {
		s = &Snapshot{Version: Version}
	}
	if j == nil {
		return &Loaded{Snapshot: s}, nil
	}
	h, records := j.Header, j.Records
	switch {
	case stored == nil:
		s.Lineage, s.Serial = h.Lineage, h.Serial
	case h.Lineage != "" && h.Lineage != s.Lineage:
		return nil, fmt.Errorf("the journal continues a state of lineage %q, but the state has lineage %q: the state was "+
			"replaced; restore the one that belongs to the journal, or delete the journal: plan finds what exists", h.Lineage, s.Lineage)
	case h.Serial > s.Serial:
		return nil, fmt.Errorf("the journal continues the state with serial %d, but the state has serial %d: the state was "+
			"rolled back; restore serial %d, or delete the journal: plan finds what exists", h.Serial, s.Serial, h.Serial)
	case h.Serial < s.Serial:
		records = notesOnly(records)
	}
	loaded, err := Fold(s, records)
	if at := (*RecordError)(nil); errors.As(err, &at) {
		return nil, fmt.Errorf("the journal is damaged at line %d: %w", at.Index+2, err)
	}
	return loaded, err
}

func notesOnly(records []Record) []Record {
	var notes []Record
	for _, r := range records {
		if r.Type == NoteRec {
			notes = append(notes, r)
		}
	}
	return notes
}

// NoteRecords returns records that make the notes.
func NoteRecords(notes []Note) []Record {
	records := make([]Record, len(notes))
	for i, n := range notes {
		records[i] = Record{Type: NoteRec, Owner: n.Owner, Key: n.Key, Data: n.Data}
	}
	return records
}
