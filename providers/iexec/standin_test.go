package iexec_test

import (
	"context"
	"crypto/ecdsa"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/oci"
	"github.com/iexecform/iexecform/providers/providertest"
)

// A stand-in is asked in place of everything that a provider block names, and signs in place of the user.
func TestStandIn(t *testing.T) {
	t.Setenv(chain.EnvPrivateKey, "0x0000000000000000000000000000000000000000000000000000000000000001")
	net := nettest.Start(t)
	images := oci.NewStandIn(net.Info().Registry, t.Name())
	asked := map[string]common.Address{}
	standIn := &iexec.StandIn{Chain: nettest.Chain(net), Images: images.Resolver(), Key: func(ctx context.Context, wallet string) (*ecdsa.PrivateKey, error) {
		key, err := crypto.ToECDSA(crypto.Keccak256([]byte(wallet)))
		if err != nil {
			return nil, err
		}
		asked[wallet] = crypto.PubkeyToAddress(key.PublicKey)
		return key, net.Fund(ctx, asked[wallet])
	}}
	p := providertest.New(t, providers.Registry{"iexec": standIn.Provider(), "oci": images.Provider()})
	p.Write(`
provider "iexec" {
  chain         = "arbitrum-mainnet"
  confirmations = 50
  max_fee_gwei  = 1
  wallet {
    keystore      = "/nowhere"
    address       = "0x47d0Ab8d36836F54FD9587e65125Bbab04958310"
    password_file = "/nowhere"
  }
}
provider "iexec" {
  alias      = "other"
  chain_id   = 1
  rpc_url    = "https://rpc.example.invalid"
  hub        = "0x47d0Ab8d36836F54FD9587e65125Bbab04958310"
  market_url = "https://market.example.invalid"
  sms_url    = "https://sms.example.invalid"
}
resource "iexec_app" "a" {
  name      = "a"
  multiaddr = "registry.example.invalid/user/a:1.0"
}
resource "iexec_app" "b" {
  provider  = iexec.other
  name      = "a"
  multiaddr = "registry.example.invalid/user/a:1.0"
}
resource "iexec_apporder" "a" {
  app      = iexec_app.a.address
  appprice = "1 RLC"
  volume   = 1
}
resource "iexec_account" "b" {
  provider      = iexec.other
  keep_at_least = "5 RLC"
}
`)
	p.Apply()
	p.Settled()
	if len(asked) != 2 {
		t.Errorf("%d accounts, want one for each wallet and chain: %v", len(asked), asked)
	}
	owners := map[string]bool{}
	for _, address := range asked {
		owners[address.Hex()] = true
	}
	a, b := p.Value("iexec_app.a"), p.Value("iexec_app.b")
	for _, app := range []string{a.GetAttr("owner").AsString(), b.GetAttr("owner").AsString()} {
		if !owners[app] {
			t.Errorf("an app is owned by %s, want one of %v", app, asked)
		}
		delete(owners, app)
	}
	if a.GetAttr("checksum").AsString() != b.GetAttr("checksum").AsString() {
		t.Error("the same image has two digests")
	}
}
