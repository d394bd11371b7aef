package iexec

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"os"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/oci"
)

// StandIn is one network in place of whatever chain a provider block names, for tests: nothing of the configured services is
// asked, and no key of the user is needed or used.
type StandIn struct {
	Chain  poco.Chain // with the services of the network
	Images *oci.Resolver
	// Key is the key of the account that stands in for a wallet, which must have funds. The same text stands for the same
	// wallet of the same chain.
	Key func(ctx context.Context, wallet string) (*ecdsa.PrivateKey, error)
}

// Provider makes the provider.
func (s *StandIn) Provider() providers.Provider { return provider{getenv: os.Getenv, standIn: s} }

// take puts the network in place of the one that the client has settled on, and returns the settings that stay.
func (s *StandIn) take(ctx context.Context, c *client, cfg object) (object, error) {
	wallet := fmt.Sprintf("%d %s", c.ID, c.Hub)
	if !cfg.v.Attr("wallet").IsNull() {
		w := objectOf(cfg.v.Attr("wallet"))
		for _, name := range []string{"address", "keystore", "private_key_env", "clef"} {
			wallet += " " + w.str(name)
		}
	}
	key, err := s.Key(ctx, wallet)
	if err != nil {
		return cfg, fmt.Errorf("make an account for the test: %w", err)
	}
	c.wallet, c.images, c.Chain = chain.KeyWallet(key), s.Images, s.Chain
	return object{cfg.with(map[string]cty.Value{
		"confirmations": cty.StringVal("1"), "max_fee_gwei": cty.NullVal(cty.Number), // of a chain that makes a block for each transaction
	})}, nil
}
