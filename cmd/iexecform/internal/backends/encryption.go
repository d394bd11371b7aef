package backends

import (
	"errors"
	"fmt"
	"os"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/age"
)

func ageTable() *schema.Table {
	return &schema.Table{
		Type: "age",
		Doc: "Encrypts the state, its journal and its backups, and saved plans, with [age](https://age-encryption.org), wherever they are kept: with a passphrase, or for recipients. " +
			"Version, lineage and serial stay readable. Without this block nothing is encrypted: the state holds no key, and is meant to be read in a review.\n\n" +
			"`iexecform state reencrypt` turns a state in the clear into an encrypted one, changes its keys, and turns it back. Keep the keys: without them a state can't be read.",
		Example: "iexecform {\n  encryption \"age\" {\n    recipients    = [\"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\"]\n    identity_file = \"~/.config/iexecform/age.txt\"\n  }\n}\n",
		Attrs: []schema.Attr{
			{Name: "recipients", Type: cty.List(cty.String), Mode: schema.Optional,
				Doc: "The public keys of those who can read it, `age1…`; `age-keygen -y` prints one's own."},
			{Name: "identity_file", Type: cty.String, Form: "file", Mode: schema.Optional,
				Doc: "The file with the secret key of a recipient, as `age-keygen` makes it. It must not be in the repository."},
			{Name: "identity", Type: cty.String, Mode: schema.Optional, Sensitive: true,
				Doc: "The text of such a file, from the environment variable `IEXECFORM_ENCRYPTION_IDENTITY`."},
			{Name: "passphrase", Type: cty.String, Mode: schema.Optional, Sensitive: true,
				Doc: "Instead of recipients, from the environment variable `IEXECFORM_ENCRYPTION_PASSPHRASE`."},
			{Name: "work_factor", Type: cty.Number, Mode: schema.Optional, Default: cty.NumberIntVal(age.DefaultWorkFactor),
				Doc: "How hard it is to try a passphrase, as the logarithm of scrypt's N, 10 to 22: 18 takes about a second for each reading and writing."},
		},
	}
}

// Codec is how a state is written and read: in the clear without a block.
func Codec(block *config.StateBlock, env Environment) (*state.Codec, error) {
	if block == nil {
		return nil, nil
	}
	k, err := encryptionKeys(block.Values, env)
	if err != nil {
		return nil, err
	}
	if len(k.Recipients) == 0 && k.Passphrase == "" {
		return nil, errors.New("the state is to be encrypted, and nobody is there to read it: give recipients in the encryption block, or the passphrase in IEXECFORM_ENCRYPTION_PASSPHRASE")
	}
	c, err := age.New(k)
	if err != nil {
		return nil, fmt.Errorf("encryption of the state: %w", err)
	}
	return state.NewCodec(c), nil
}

// Changing is how a state is read, however it is stored, and written as the block says. Former keys are the values of
// IEXECFORM_ENCRYPTION_FORMER_PASSPHRASE and _FORMER_IDENTITY; without a block also those that it would have used.
func Changing(block *config.StateBlock, env Environment) (*state.Codec, error) {
	codec, err := Codec(block, env)
	if err != nil {
		return nil, err
	}
	if codec == nil {
		codec = state.NewCodec(nil)
	}
	var ciphers []state.Cipher
	former := func(k age.Keys) error {
		k.Recipients = nil
		if k.Passphrase == "" && len(k.Identities) == 0 {
			return nil
		}
		c, err := age.New(k)
		if err != nil {
			return fmt.Errorf("former keys of the state: %w", err)
		}
		ciphers = append(ciphers, c)
		return nil
	}
	k := age.Keys{Passphrase: env.Getenv("IEXECFORM_ENCRYPTION_FORMER_PASSPHRASE")}
	if text := env.Getenv("IEXECFORM_ENCRYPTION_FORMER_IDENTITY"); text != "" {
		k.Identities = []string{text}
	}
	if err := former(k); err != nil {
		return nil, err
	}
	if block == nil {
		k, err := encryptionKeys(nil, env)
		if err == nil {
			err = former(k)
		}
		if err != nil {
			return nil, err
		}
	}
	return codec.Accepting(ciphers...), nil
}

func encryptionKeys(values map[string]cty.Value, env Environment) (age.Keys, error) {
	s, err := resolve("encryption", kind{table: ageTable()}, values, env)
	if err != nil {
		return age.Keys{}, err
	}
	factor, _ := s.values["work_factor"].AsBigFloat().Int64()
	k := age.Keys{Passphrase: s.text("passphrase"), WorkFactor: int(factor)}
	if v, ok := s.values["recipients"]; ok {
		for _, r := range v.AsValueSlice() {
			if r.IsNull() {
				return k, errors.New("a recipient of the state's encryption is null")
			}
			k.Recipients = append(k.Recipients, r.AsString())
		}
	}
	if text := s.text("identity"); text != "" {
		k.Identities = append(k.Identities, text)
	}
	if file := s.file("identity_file"); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return k, fmt.Errorf("the identity_file of the state's encryption: %w", err)
		}
		k.Identities = append(k.Identities, string(b))
	}
	return k, nil
}
