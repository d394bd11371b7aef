package state

// Every store keeps the same bytes, made and read by a Codec: the canonical snapshot of encode.go and the lines of
// journal.go, or these encrypted. Rules of the encrypted form:
//   - Version, lineage and serial are readable, so that a server and a person can tell one state from another. They are
//     compared with those inside.
//   - A snapshot is encrypted as a whole. Its text is what the Cipher made, so that the cipher's own tools open it.
//   - A journal has a key of its own in its header, encrypted by the Cipher; each line is sealed with that key and bound to
//     its header and its place, so that lines can't be changed, moved or repeated. A Cipher may be slow, an append may not.
//   - What isn't stored as the Codec would write it is refused, but where a Codec was told to accept it.

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/crypto/chacha20poly1305"
)

// Cipher encrypts and authenticates. It is safe for concurrent use.
type Cipher interface {
	// Encrypt returns text.
	Encrypt(plain []byte) ([]byte, error)
	// Decrypt opens what Encrypt made. Its errors say whether the key is wrong or the text was changed; where to get another
	// text is the caller's to say.
	Decrypt(text []byte) ([]byte, error)
}

// Codec turns snapshots and journals into the bytes that stores keep, and back. A nil *Codec writes in the clear. It is
// safe for concurrent use.
type Codec struct {
	cipher Cipher // nil: in the clear
	former []Cipher
	any    bool // what is in the clear, or encrypted by a former Cipher, is read too

	mu      sync.Mutex
	keys    map[string][]byte // keys of journals by their encrypted form, because a Cipher may be slow
	own     []byte            // key of the journals that this Codec begins; nil until then
	wrapped string            // own, encrypted
}

// NewCodec returns a Codec that encrypts with a Cipher; nil is in the clear.
func NewCodec(c Cipher) *Codec { return &Codec{cipher: c} }

// Accepting returns a Codec that writes like c and also reads what is in the clear, and what former Ciphers encrypted: to
// change how a state is encrypted.
func (c *Codec) Accepting(former ...Cipher) *Codec {
	return &Codec{cipher: c.writer(), former: former, any: true}
}

// Encrypts reports whether c writes in any other way than in the clear.
func (c *Codec) Encrypts() bool { return c.writer() != nil }

func (c *Codec) writer() Cipher {
	if c == nil {
		return nil
	}
	return c.cipher
}

// NotEncryptedError is returned for a state in the clear that should be encrypted.
type NotEncryptedError struct{ What string }

func (e *NotEncryptedError) Error() string {
	return fmt.Sprintf("the %s is not encrypted, and the configuration says that it should be: run `iexecform state reencrypt` to encrypt it, "+
		"or remove the encryption block. If it was encrypted before, somebody has replaced it: restore it", e.What)
}

// EncryptedError is returned for an encrypted state where no encryption is configured.
type EncryptedError struct{ What string }

func (e *EncryptedError) Error() string {
	return fmt.Sprintf("the %s is encrypted, and the configuration doesn't say so: put the encryption block back and give the key; "+
		"or run `iexecform state reencrypt` with the key to store it in the clear", e.What)
}

// mayBePlain refuses what is in the clear where it must not be.
func (c *Codec) mayBePlain(what string) error {
	if c.Encrypts() && !c.any {
		return &NotEncryptedError{what}
	}
	return nil
}

// ErrNoKey is returned where something is encrypted and a Codec has no Cipher to open it with.
var ErrNoKey = errors.New("there is no key")

// Encrypt makes text of what is kept beside the state, such as a plan file, with the keys of the state. c must encrypt.
func (c *Codec) Encrypt(plain []byte) ([]byte, error) { return c.cipher.Encrypt(plain) }

// Decrypt opens what Encrypt made, with whatever Cipher fits. The error is ErrNoKey, or those of the Ciphers.
func (c *Codec) Decrypt(text []byte) ([]byte, error) {
	readers := c.readers()
	if len(readers) == 0 {
		return nil, ErrNoKey
	}
	var errs []error
	for _, k := range readers {
		plain, err := k.Decrypt(text)
		if err == nil {
			return plain, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// open decrypts a part of the state.
func (c *Codec) open(what string, text []byte) ([]byte, error) {
	plain, err := c.Decrypt(text)
	switch {
	case errors.Is(err, ErrNoKey):
		return nil, &EncryptedError{what}
	case err != nil:
		return nil, fmt.Errorf("the %s can't be decrypted: %w; if the key is right, it is damaged: restore it from git or a backup", what, err)
	}
	return plain, nil
}

func (c *Codec) readers() []Cipher {
	switch {
	case c == nil:
		return nil
	case c.cipher == nil:
		return c.former
	}
	return append([]Cipher{c.cipher}, c.former...)
}

// sealed is an encrypted snapshot.
type sealed struct {
	Version   int    `json:"version"`
	Tool      string `json:"iexecform_version"`
	Lineage   string `json:"lineage"`
	Serial    uint64 `json:"serial"`
	Encrypted string `json:"encrypted"`
}

// Encode writes a snapshot as it is to be stored.
func (c *Codec) Encode(s *Snapshot) ([]byte, error) {
	plain, err := Encode(s)
	if err != nil || !c.Encrypts() {
		return plain, err
	}
	text, err := c.cipher.Encrypt(plain)
	if err != nil {
		return nil, fmt.Errorf("encrypt the state: %w", err)
	}
	out := sealed{Version: Version, Tool: s.Tool, Lineage: s.Lineage, Serial: s.Serial, Encrypted: string(text)}
	b, err := jsonv2.Marshal(&out, jsontext.Multiline(true), jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	return append(b, '\n'), nil
}

// Decode reads what Encode wrote. What the function Decode says of b and of errors holds here too; an error may also be a
// *NotEncryptedError, an *EncryptedError, or one of the Cipher.
func (c *Codec) Decode(b []byte) (*Snapshot, error) {
	e, err := DecodeEnvelope(b)
	if err != nil {
		return nil, err
	}
	if !e.Encrypted {
		if err := c.mayBePlain("state"); err != nil {
			return nil, err
		}
		return Decode(b)
	}
	var outer sealed
	if err := jsonv2.Unmarshal(b, &outer, jsonv2.RejectUnknownMembers(true)); err != nil {
		return nil, damaged(b, err)
	}
	plain, err := c.open("state", []byte(outer.Encrypted))
	if err != nil {
		return nil, err
	}
	s, err := Decode(plain)
	if err != nil {
		return nil, fmt.Errorf("what is encrypted in the state: %w", err)
	}
	if s.Serial != outer.Serial || s.Lineage != outer.Lineage {
		return nil, fmt.Errorf("the encrypted state was tampered with: it says that it has lineage %q and serial %d, but what is encrypted has "+
			"lineage %q and serial %d; restore it from git or a backup", outer.Lineage, outer.Serial, s.Lineage, s.Serial)
	}
	return s, nil
}

// Follows tells whether a snapshot may replace what is stored, nil for nothing, when the journal continues the snapshot
// with that serial. same means that it is what is stored already. A snapshot must have a greater serial than the stored one,
// or be the same; any other is refused with a *ConflictError.
func (c *Codec) Follows(stored []byte, journal uint64, next *Snapshot) (same bool, err error) {
	serial := journal
	if stored != nil {
		e, err := DecodeEnvelope(stored)
		if err != nil {
			return false, err
		}
		serial = e.Serial
	}
	switch {
	case next.Serial > serial:
		return false, nil
	case next.Serial == serial && stored == nil && len(next.Resources)+len(next.Outputs)+len(next.Networks) == 0:
		return true, nil // still nothing to store
	case next.Serial == serial && stored != nil:
		// The store may hold the same in other words: other white space, or encrypted.
		decoded, err := c.Decode(stored)
		if err != nil {
			return false, err
		}
		was, err := Encode(decoded)
		if err != nil {
			return false, err
		}
		is, err := Encode(next)
		if err != nil {
			return false, err
		}
		if bytes.Equal(was, is) {
			return true, nil
		}
	}
	return false, &ConflictError{Stored: serial, Written: next.Serial}
}

// seal encrypts the lines of one journal; nil is in the clear.
type seal struct {
	aead   cipher.AEAD
	header []byte
}

// sealedLine is one or more records, encrypted.
type sealedLine struct {
	Sealed string `json:"sealed"`
}

func newSeal(key, header []byte) (*seal, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	return &seal{aead, header}, nil
}

// place is what a line is bound to: the header, and where in the journal the line begins.
func (s *seal) place(offset int) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(s.header), uint64(offset)) //nolint:gosec // never negative
}

func (s *seal) line(lines []byte, offset int) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(lines)+s.aead.Overhead())
	_, _ = rand.Read(nonce)
	return appendLine(nil, sealedLine{base64.StdEncoding.EncodeToString(s.aead.Seal(nonce, nonce, lines, s.place(offset)))})
}

var errTampered = errors.New("the encrypted journal was tampered with")

func (s *seal) open(line []byte, offset int) ([]byte, error) {
	var l sealedLine
	if err := jsonv2.Unmarshal(line, &l, jsonv2.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(l.Sealed)
	if err != nil || len(b) < s.aead.NonceSize() {
		return nil, errTampered
	}
	nonce, text := b[:s.aead.NonceSize()], b[s.aead.NonceSize():]
	plain, err := s.aead.Open(nil, nonce, text, s.place(offset))
	if err != nil {
		return nil, errTampered
	}
	return plain, nil
}

// ownKey is the key of the journals that c begins, as it is and encrypted.
func (c *Codec) ownKey() (key []byte, wrapped string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own == nil {
		key := make([]byte, chacha20poly1305.KeySize)
		_, _ = rand.Read(key)
		text, err := c.cipher.Encrypt(key)
		if err != nil {
			return nil, "", fmt.Errorf("encrypt the journal: %w", err)
		}
		c.own, c.wrapped = key, string(text)
	}
	return c.own, c.wrapped, nil
}

// keyOf is the key of a journal, of which the header has the encrypted form.
func (c *Codec) keyOf(wrapped string) ([]byte, error) {
	if c == nil {
		return nil, &EncryptedError{"journal"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if wrapped == c.wrapped && c.own != nil {
		return c.own, nil
	}
	if key := c.keys[wrapped]; key != nil {
		return key, nil
	}
	key, err := c.open("journal", []byte(wrapped))
	if err != nil {
		return nil, err
	}
	if len(key) != chacha20poly1305.KeySize {
		return nil, errTampered
	}
	if c.keys == nil {
		c.keys = map[string][]byte{}
	}
	c.keys[wrapped] = key
	return key, nil
}
