package state

// The encoding is made for git: JSON indented by two spaces, one attribute a line at every depth, the envelope in the
// order of Snapshot's fields, every other key sorted, numbers as they were written (never through a float), and a
// newline at the end. What can't be read with certainty is refused: unknown fields, duplicate keys, newer versions, and
// a text whose digest doesn't fit. The digest is that of the canonical form without the digest's own line, so other white
// space (git's line ends) does no harm, but a merge of two states by hand or by git is noticed. Format 1 had no digest.

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/iexecform/iexecform/config/addr"
)

// Encode writes a snapshot in the canonical form, always in format version Version. It fails when an object's
// attributes aren't a JSON object.
func Encode(s *Snapshot) ([]byte, error) {
	for a, o := range s.Resources {
		if o == nil || !isObject(o.Attributes) {
			return nil, fmt.Errorf("encode state: %s: attributes are not a JSON object", a)
		}
	}
	out := *s
	out.Version = Version
	b, err := canonical(&out)
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	at := bytes.Index(b, []byte("\n  \"serial\": ")) // a field of the envelope: text has no bare line end
	return slices.Concat(b[:at], digestLine(digestOf(b)), b[at:]), nil
}

// canonical is the text of a snapshot without its digest.
func canonical(s *Snapshot) ([]byte, error) {
	b, err := jsonv2.Marshal(s,
		jsonv2.Deterministic(true),
		jsontext.ReorderRawObjects(true),
		jsontext.Multiline(true),
		jsontext.WithIndent("  "))
	return append(b, '\n'), err
}

func digestOf(text ...[]byte) string {
	h := sha256.New()
	for _, b := range text {
		h.Write(b)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

func digestLine(digest string) []byte { return []byte("\n  \"digest\": \"" + digest + "\",") }

// Decode reads what Encode wrote. The attributes and origins of the result lie in b, which must not be changed afterwards, and have its
// white space. Errors are a *NewerError, a *DamagedError or an *EditedError; with the last, and only with it, comes what
// was read.
func Decode(b []byte) (*Snapshot, error) {
	if _, err := DecodeEnvelope(b); err != nil {
		return nil, err
	}
	var document struct {
		Snapshot
		Digest string `json:"digest"`
	}
	r := &objectReader{encoded: b, known: map[string]string{}}
	resources := jsonv2.WithUnmarshalers(jsonv2.UnmarshalFromFunc(r.resources))
	if err := jsonv2.Unmarshal(b, &document, jsonv2.RejectUnknownMembers(true), resources); err != nil {
		return nil, damaged(b, err)
	}
	s := &document.Snapshot
	for a, o := range s.Resources {
		if o == nil || !isObject(o.Attributes) {
			return nil, damagedAt(b, max(0, bytes.Index(b, []byte(a.String()))), fmt.Errorf("attributes of %s are not a JSON object", a))
		}
	}
	for name, o := range s.Outputs {
		if err := errors.Join(compact(&o.Type), compact(&o.Value)); err != nil {
			return nil, damaged(b, err)
		}
		s.Outputs[name] = o
	}
	return s, checkDigest(b, s, document.Digest)
}

// checkDigest returns an *EditedError when the digest isn't that of the snapshot s, which was read from b.
func checkDigest(b []byte, s *Snapshot, digest string) error {
	if digest == "" && s.Version < 2 {
		return nil
	}
	if before, after, ok := bytes.Cut(b, digestLine(digest)); ok && digestOf(before, after) == digest {
		return nil
	}
	text, err := canonical(s)
	if err != nil {
		return damaged(b, err)
	}
	if got := digestOf(text); got != digest {
		return &EditedError{Digest: digest, Content: got}
	}
	return nil
}

// objectReader reads the objects of an encoded snapshot, which are most of it, without copying what is in them.
type objectReader struct {
	encoded []byte
	known   map[string]string // names of providers
	block   addr.Resource     // of the last address
	plain   []byte            // the last text that was escaped
}

func (r *objectReader) resources(d *jsontext.Decoder, all *map[addr.Instance]*Object) error {
	if err := begin(d, '{'); err != nil {
		return err
	}
	*all = map[addr.Instance]*Object{}
	for d.PeekKind() == '"' {
		i, err := r.address(d)
		if err != nil {
			return err
		}
		if _, twice := (*all)[i]; twice {
			return fmt.Errorf("duplicate object %s", i)
		}
		o, err := r.object(d)
		if err != nil {
			return err
		}
		(*all)[i] = o
	}
	_, err := d.ReadToken()
	return err
}

// object returns nil for null.
func (r *objectReader) object(d *jsontext.Decoder) (*Object, error) {
	if d.PeekKind() == 'n' {
		return nil, d.SkipValue()
	}
	if err := begin(d, '{'); err != nil {
		return nil, err
	}
	o := new(Object)
	for d.PeekKind() == '"' {
		name, err := r.text(d)
		if err != nil {
			return nil, err
		}
		switch string(name) {
		case "provider":
			var text []byte
			if text, err = r.text(d); err == nil {
				o.Provider = r.share(text)
			}
		case "schema_version":
			err = jsonv2.UnmarshalDecode(d, &o.SchemaVersion)
		case "attributes":
			o.Attributes, err = r.raw(d)
		case "dependencies":
			o.Dependencies, err = r.addresses(d)
		case "prevent_destroy":
			err = jsonv2.UnmarshalDecode(d, &o.Protected)
		case "tainted":
			err = jsonv2.UnmarshalDecode(d, &o.Tainted)
		case "origin":
			if o.Origin, err = r.raw(d); err == nil && !isObject(o.Origin) {
				err = errors.New("the origin is not a JSON object")
			}
		default:
			err = fmt.Errorf("unknown member %q", name)
		}
		if err != nil {
			return nil, err
		}
	}
	_, err := d.ReadToken()
	return o, err
}

// raw reads a value, which stays where it is.
func (r *objectReader) raw(d *jsontext.Decoder) (json.RawMessage, error) {
	value, err := d.ReadValue()
	end := int(d.InputOffset())
	return r.encoded[end-len(value) : end : end], err
}

func (r *objectReader) addresses(d *jsontext.Decoder) (list []addr.Instance, err error) {
	if err := begin(d, '['); err != nil {
		return nil, err
	}
	for d.PeekKind() == '"' {
		i, err := r.address(d)
		if err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	return list, begin(d, ']')
}

// address reads an address. Those that follow one another are mostly of one block, and share its texts.
func (r *objectReader) address(d *jsontext.Decoder) (addr.Instance, error) {
	text, err := r.text(d)
	if err != nil {
		return addr.Instance{}, err
	}
	i, err := addr.ParseInstance(string(text))
	if i.Resource == r.block {
		i.Resource = r.block
	}
	r.block = i.Resource
	return i, err
}

func (r *objectReader) share(text []byte) string {
	s, ok := r.known[string(text)]
	if !ok {
		s = string(text)
		r.known[s] = s
	}
	return s
}

// begin reads a token that must be there.
func begin(d *jsontext.Decoder, want jsontext.Kind) error {
	t, err := d.ReadToken()
	if err == nil && t.Kind() != want {
		err = fmt.Errorf("found %s in place of %s", t.Kind(), want)
	}
	return err
}

// text reads a string. The bytes are good until more is read.
func (r *objectReader) text(d *jsontext.Decoder) ([]byte, error) {
	raw, err := d.ReadValue()
	switch {
	case err != nil:
		return nil, err
	case raw.Kind() != '"':
		return nil, fmt.Errorf("found %s in place of a string", raw.Kind())
	case bytes.IndexByte(raw, '\\') < 0:
		return raw[1 : len(raw)-1], nil
	}
	r.plain, err = jsontext.AppendUnquote(r.plain[:0], raw)
	return r.plain, err
}

// Envelope is what tells one snapshot from another.
type Envelope struct {
	Version   int
	Tool      string
	Lineage   string
	Serial    uint64
	Encrypted bool // all else is encrypted
}

// DecodeEnvelope reads no more of an encoded snapshot than it must. Its errors are those of Decode.
func DecodeEnvelope(b []byte) (Envelope, error) {
	var e Envelope
	fields := map[string]any{"version": &e.Version, "iexecform_version": &e.Tool, "lineage": &e.Lineage, "serial": &e.Serial}
	d := jsontext.NewDecoder(bytes.NewReader(b))
	if t, err := d.ReadToken(); err != nil {
		return e, damaged(b, err)
	} else if t.Kind() != '{' {
		return e, damagedAt(b, 0, errors.New("not a JSON object"))
	}
	var err error
	for err == nil && len(fields) > 0 && d.PeekKind() != '}' {
		var name jsontext.Value
		if name, err = d.ReadValue(); err != nil {
			break
		}
		key, _ := jsontext.AppendUnquote(nil, name)
		if field, ok := fields[string(key)]; ok {
			delete(fields, string(key))
			err = jsonv2.UnmarshalDecode(d, field)
		} else {
			err = d.SkipValue()
		}
	}
	if err == nil && d.PeekKind() == '"' { // a Codec writes it here
		name, nameErr := d.ReadToken()
		e.Encrypted, err = nameErr == nil && name.String() == "encrypted", nameErr
	}
	switch {
	case e.Version > Version: // whatever else is in there: it may be right for that version
		return e, &NewerError{What: "state", Version: e.Version, Known: Version, Tool: e.Tool}
	case err != nil:
		return e, damaged(b, err)
	case e.Version < 1:
		return e, damagedAt(b, int(d.InputOffset()), errors.New(`no "version" of 1 or more: this is not an iexecform state`))
	}
	return e, nil
}

func isObject(raw json.RawMessage) bool {
	t := bytes.TrimLeft(raw, " \t\r\n")
	return len(t) > 0 && t[0] == '{'
}

func compact(raw *json.RawMessage) error {
	if *raw == nil {
		return nil
	}
	return (*jsontext.Value)(raw).Compact()
}

// damaged makes a DamagedError of what stopped the reading of b.
func damaged(b []byte, err error) error {
	var syntactic *jsontext.SyntacticError
	var semantic *jsonv2.SemanticError
	offset := 0
	switch {
	case errors.As(err, &syntactic):
		offset, err = int(syntactic.ByteOffset), syntactic.Err
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends too early, so it was not written completely")
		}
	case errors.As(err, &semantic):
		offset = int(semantic.ByteOffset)
	case errors.Is(err, io.EOF):
		err = errors.New("it is empty")
	}
	return damagedAt(b, offset, err)
}

func damagedAt(b []byte, offset int, err error) error {
	before, after := b[:min(offset, len(b))], b[min(offset, len(b)):]
	for _, marker := range []string{"<<<<<<<", "=======", ">>>>>>>"} {
		if bytes.HasPrefix(after, []byte(marker)) {
			err = errors.New("git has left a merge conflict here: take one side as it is, with `git checkout --ours` or `--theirs`")
		}
	}
	return &DamagedError{Offset: offset, Line: 1 + bytes.Count(before, []byte("\n")), Err: err}
}
