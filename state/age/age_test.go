package age_test

import (
	"strings"
	"testing"

	filippo "filippo.io/age"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/age"
)

func must(t *testing.T, k age.Keys) state.Cipher {
	t.Helper()
	c, err := age.New(k)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func keyPair(t *testing.T) (recipient, identity string) {
	t.Helper()
	i, err := filippo.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return i.Recipient().String(), "# a comment\n" + i.String() + "\n"
}

func TestCipher(t *testing.T) {
	recipient, identity := keyPair(t)
	other, otherIdentity := keyPair(t)
	phrase := age.Keys{Passphrase: "correct horse", WorkFactor: 10}
	for name, c := range map[string]struct {
		from, to age.Keys
		err      string
	}{
		"passphrase":             {from: phrase, to: phrase},
		"recipient":              {from: age.Keys{Recipients: []string{recipient}}, to: age.Keys{Identities: []string{identity}}},
		"two recipients, second": {from: age.Keys{Recipients: []string{recipient, other}}, to: age.Keys{Identities: []string{otherIdentity}}},
		"any of several keys":    {from: phrase, to: age.Keys{Passphrase: "correct horse", WorkFactor: 10, Identities: []string{identity}}},
		"wrong passphrase":       {from: phrase, to: age.Keys{Passphrase: "wrong", WorkFactor: 10}, err: "the key is wrong: it is encrypted with a passphrase"},
		"wrong identity":         {from: age.Keys{Recipients: []string{recipient}}, to: age.Keys{Identities: []string{otherIdentity}}, err: "the key is wrong: it is encrypted for recipients"},
		"passphrase for a recipient's": {
			from: age.Keys{Recipients: []string{recipient}}, to: phrase, err: "the key is wrong: it is encrypted for recipients"},
		"no identity":  {from: age.Keys{Recipients: []string{recipient}}, to: age.Keys{Recipients: []string{recipient}}, err: "there is no key"},
		"no recipient": {from: age.Keys{Identities: []string{identity}}, err: "nobody to encrypt for"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := must(t, c.from).Encrypt([]byte("secret"))
			if err == nil {
				var plain []byte
				if plain, err = must(t, c.to).Decrypt(text); err == nil && string(plain) != "secret" {
					t.Errorf("decrypted %q", plain)
				}
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

// Every change of a byte of the text is an error, or changes nothing.
func TestTampered(t *testing.T) {
	recipient, identity := keyPair(t)
	c := must(t, age.Keys{Recipients: []string{recipient}, Identities: []string{identity}})
	text, err := c.Encrypt([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		changed := append([]byte(nil), text...)
		changed[i] ^= 1
		if plain, err := c.Decrypt(changed); err == nil && string(plain) != "secret" {
			t.Fatalf("byte %d changed: %q", i, plain)
		}
	}
	middle := append([]byte(nil), text...)
	at := len(text) - 60
	middle[at] = 'A' + (middle[at]-'A'+1)%26
	if _, err := c.Decrypt(middle); err == nil || !strings.Contains(err.Error(), "was changed since it was encrypted") {
		t.Errorf("error %v", err)
	}
}

// What is wrong with a key is said without the key.
func TestBadKeys(t *testing.T) {
	recipient, _ := keyPair(t)
	for want, k := range map[string]age.Keys{
		"is not an age recipient":          {Recipients: []string{"age1nonsense"}},
		"an identity can't be read":        {Identities: []string{"AGE-SECRET-KEY-1HIDDEN"}},
		"both recipients and a passphrase": {Recipients: []string{recipient}, Passphrase: "HIDDEN"},
		"work factor of 30":                {Passphrase: "HIDDEN", WorkFactor: 30},
	} {
		if _, err := age.New(k); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "HIDDEN") {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
