package state

// A journal as text: JSON lines, the first of which is the header. Rules, which hold for every store that keeps one:
//   - The header and each line in the clear end with a sum over itself and the sum of the line before, so that lines that were changed,
//     lost, repeated or put elsewhere are noticed, as those of an encrypted journal are. Format 1 had no sums.
//   - A last line that isn't whole (no newline, or its sum doesn't fit) is taken for one whose write was interrupted, so
//     that it was never acknowledged: it is left out, and the journal is torn.
//   - Any other line that can't be read is damage: an error, with the line's number.
//   - A journal continues one snapshot, named by the header. One that continues an older snapshot was left behind by a
//     crash between writing the snapshot and starting a new journal: its results are in the snapshot; its unsettled
//     notes count.
//   - A journal that continues a newer snapshot, or one of another lineage, means that the snapshot was replaced by
//     other means: an error.

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// JournalVersion is the version of the journal format that this program writes. Older ones are read, and continued as they
// are.
const JournalVersion = 2

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
	Torn    bool // what follows can't be read

	whole int
	seal  *seal // nil: in the clear
	sum   sum   // of the last whole line, in the clear
}

// Whole is how many bytes hold the header and the records; what follows was torn.
func (j *Journal) Whole() int { return j.whole }

// Appended tells that lines that Encode has made are stored. Lines that could not be stored may be in part: the journal must
// be read again.
func (j *Journal) Appended(lines []byte) {
	j.whole += len(lines)
	if len(lines) > 0 && j.sums() {
		j.sum = sumOf(lines)
	}
}

// sums reports whether lines after the header have sums.
func (j *Journal) sums() bool { return j.Header.Version > 1 && j.Header.Key == "" }

// sum is the sum at the end of a line, over all lines up to there; "" before the first. It is against accidents: who can
// write the journal can write sums too.
type sum string

const sumLength = 16

// next is the sum of a line, up to its last member, that follows one with the sum s.
func (s sum) next(line []byte) sum {
	h := sha256.New()
	h.Write([]byte(s))
	h.Write(line)
	return sum(hex.EncodeToString(h.Sum(nil))[:sumLength])
}

// member ends a line.
func (s sum) member() string { return `,"sum":"` + string(s) + "\"}\n" }

// sumOf is the sum of the last of lines, which end with sums.
func sumOf(lines []byte) sum {
	at := len(lines) - len("\"}\n")
	return sum(lines[at-sumLength : at])
}

// appendSum ends the last line with a sum: the one that begins at start and follows a line with the sum after.
func appendSum(b []byte, start int, after sum) []byte {
	b = b[:len(b)-len("}\n")] // of an object with members
	return append(b, after.next(b[start:]).member()...)
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
	text = appendSum(text, 0, "")
	if key != nil {
		if j.seal, err = newSeal(key, text[:len(text)-1]); err != nil {
			return nil, nil, err
		}
	}
	j.Appended(text)
	lines, err := j.Encode(j.Records)
	j.Appended(lines)
	return j, append(text, lines...), err
}

// Encode writes records as lines that follow those of the journal. Appended must be told when they are stored.
func (j *Journal) Encode(records []Record) (lines []byte, err error) {
	after := j.sum
	for _, r := range records {
		start := len(lines)
		if lines, err = appendLine(lines, r); err != nil {
			return nil, err
		}
		if j.sums() {
			lines = appendSum(lines, start, after)
			after = sumOf(lines)
		}
	}
	if j.seal == nil || len(lines) == 0 {
		return lines, nil
	}
	return j.seal.line(lines, j.whole)
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
	for number := 1; j.whole < len(b); number++ {
		line, rest, whole := bytes.Cut(b[j.whole:], []byte("\n"))
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
		j.whole += len(line) + 1
	}
	if j.whole == 0 {
		return nil, nil
	}
	j.Torn = j.whole < len(b)
	return j, nil
}

func (j *Journal) header(line []byte) error {
	// Of a newer version nothing but the version can be relied on.
	var h struct {
		Header
		Sum sum `json:"sum"`
	}
	if err := jsonv2.Unmarshal(line, &h); err != nil {
		return err
	}
	switch v := h.Version; {
	case v > JournalVersion:
		return &NewerError{What: "journal", Version: v, Known: JournalVersion}
	case v < 1:
		return errors.New(`no "version" of 1 or more`)
	}
	j.Header = h.Header
	return j.checkSum(line, h.Sum, h.Version > 1)
}

// checkSum checks the sum of the next line, if it must have one, and takes it over.
func (j *Journal) checkSum(line []byte, s sum, must bool) error {
	if s == "" && !must {
		return nil
	}
	text, ok := bytes.CutSuffix(line, []byte(strings.TrimSuffix(s.member(), "\n")))
	if !ok || j.sum.next(text) != s {
		return errors.New("its sum doesn't fit: it, or the line before it, was changed, lost, repeated or put elsewhere")
	}
	j.sum = s
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
	lines, err := j.seal.open(line, j.whole)
	if err != nil {
		return err
	}
	for l := range bytes.Lines(lines) {
		if err := j.record(bytes.TrimSuffix(l, []byte("\n"))); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) record(line []byte) error {
	var r struct {
		Record
		Sum sum `json:"sum"`
	}
	if err := jsonv2.Unmarshal(line, &r, jsonv2.RejectUnknownMembers(true)); err != nil {
		return err
	}
	if r.Type == "" {
		return errors.New("no type")
	}
	if err := j.checkSum(line, r.Sum, j.sums()); err != nil {
		return err
	}
	j.Records = append(j.Records, r.Record)
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
	loaded.Torn = j.Torn
	return loaded, nil
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
