package statetest

import (
	"testing"

	filippo "filippo.io/age"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/age"
)

// Encrypted returns a Codec that encrypts with a new key.
func Encrypted(t testing.TB) *state.Codec {
	t.Helper()
	i, err := filippo.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	c, err := age.New(age.Keys{Recipients: []string{i.Recipient().String()}, Identities: []string{i.String()}})
	if err != nil {
		t.Fatal(err)
	}
	return state.NewCodec(c)
}
