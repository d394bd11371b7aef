// Package age encrypts states, and the plan files beside them, with age (https://age-encryption.org/v1): with a passphrase, or for recipients, who read with
// their identities. What it writes is armored, so that the program age opens it too:
//
//	jq -r .encrypted iexecform.state.json | age --decrypt --identity key.txt
//
// age authenticates what it encrypts, but not who encrypted it: whoever has the passphrase or the recipients' public keys, and
// may write to the store, can replace the state by another. Keep other people from writing to the store.
package age

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/iexecform/iexecform/state"
)

// DefaultWorkFactor is the work to try a passphrase, as the logarithm of scrypt's N: about a second.
const DefaultWorkFactor = 18

// Keys is what encrypts and decrypts: a passphrase, or recipients and identities.
type Keys struct {
	Passphrase string
	WorkFactor int      // 10 to 22; 0 is DefaultWorkFactor
	Recipients []string // "age1…", who can read; none: nothing can be encrypted
	Identities []string // texts of identity files, with "AGE-SECRET-KEY-1…"; none: nothing can be decrypted
}

// New returns the cipher with those keys. With neither a passphrase nor recipients it only decrypts, with all keys that it
// has. An error never holds a key.
func New(k Keys) (state.Cipher, error) {
	c := &cipher{}
	if len(k.Recipients) > 0 && k.Passphrase != "" {
		return nil, errors.New("there are both recipients and a passphrase: age encrypts with one of them. Give one")
	}
	for _, text := range k.Recipients {
		list, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%q is not an age recipient: it begins with age1, and `age-keygen -y` prints it", text)
		}
		c.recipients = append(c.recipients, list...)
	}
	for _, text := range k.Identities {
		list, err := age.ParseIdentities(strings.NewReader(text))
		if err != nil {
			return nil, errors.New("an identity can't be read: it is what `age-keygen` prints, with a line that begins with AGE-SECRET-KEY-1")
		}
		c.identities = append(c.identities, list...)
	}
	if k.Passphrase != "" {
		if err := c.passphrase(k); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *cipher) passphrase(k Keys) error {
	factor := k.WorkFactor
	if factor == 0 {
		factor = DefaultWorkFactor
	}
	if factor < 10 || factor > 22 {
		return fmt.Errorf("a work factor of %d is out of range: 10 is instant, %d takes about a second, 22 is the most", factor, DefaultWorkFactor)
	}
	r, err := age.NewScryptRecipient(k.Passphrase)
	if err != nil {
		return err
	}
	r.SetWorkFactor(factor)
	i, err := age.NewScryptIdentity(k.Passphrase)
	if err != nil {
		return err
	}
	c.recipients, c.identities = append(c.recipients, r), append(c.identities, i)
	return nil
}

type cipher struct {
	recipients []age.Recipient
	identities []age.Identity
}

// Encrypt implements state.Cipher.
func (c *cipher) Encrypt(plain []byte) ([]byte, error) {
	if len(c.recipients) == 0 {
		return nil, errors.New("there is nobody to encrypt for: give recipients or a passphrase")
	}
	var text bytes.Buffer
	armored := armor.NewWriter(&text)
	w, err := age.Encrypt(armored, c.recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), armored.Close()); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// Decrypt implements state.Cipher.
func (c *cipher) Decrypt(text []byte) ([]byte, error) {
	if len(c.identities) == 0 {
		return nil, errors.New("there is no key: give the identity, or the passphrase, that reads it")
	}
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(text)), c.identities...)
	var plain []byte
	if err == nil {
		plain, err = io.ReadAll(r)
	}
	var mismatch *age.NoIdentityMatchError
	switch {
	case err == nil:
		return plain, nil
	case errors.As(err, &mismatch) && len(mismatch.StanzaTypes) == 1 && mismatch.StanzaTypes[0] == "scrypt":
		return nil, errors.New("the key is wrong: it is encrypted with a passphrase, and this is not the one")
	case errors.As(err, &mismatch):
		return nil, errors.New("the key is wrong: it is encrypted for recipients, and no identity that was given is one of theirs")
	}
	return nil, fmt.Errorf("it was changed since it was encrypted, or is damaged (%w)", err)
}
