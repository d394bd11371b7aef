package main

import (
	"context"
	"flag"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

var update = flag.Bool("update", false, "write the plans of testdata/orders")

// TestOrderPlans tells the life of one order of each kind. Each step is planned, applied, and planned again, which must find
// nothing; the first plan's text is kept. Addresses and hashes are the same in every run, because the network's contracts and
// the accounts are; only gas is left out.
func TestOrderPlans(t *testing.T) {
	only := fmt.Sprintf("requesterrestrict = %q\n", poco.DevAccounts()[nettest.Buyer].Address)
	for _, story := range []struct {
		kind     *poco.Kind
		price    string // the argument that goes up and down
		restrict string
	}{
		{poco.AppOrder, "appprice", only},
		{poco.DatasetOrder, "datasetprice", only},
		{poco.WorkerpoolOrder, "workerpoolprice", only},
		{poco.RequestOrder, "workerpoolmaxprice", ""},
	} {
		t.Run(story.kind.Noun, func(t *testing.T) {
			t.Parallel()
			s := newSeller(t, story.kind)
			if story.restrict == "" {
				story.restrict = fmt.Sprintf("workerpool = %q\n", s.workerpool())
			}
			var plans txtar.Archive
			for _, step := range []struct {
				name, price string
				volume      int
				more        string
				outside     func()
			}{
				{"create", "1 RLC", 100, "", nil},
				{"no-op", "1 RLC", 100, "", nil},
				{"price up", "2 RLC", 100, "", nil},
				{"price down", "1.5 RLC", 100, "", nil},
				{"volume up", "1.5 RLC", 150, "", nil},
				{"volume down", "1.5 RLC", 130, "", nil},
				{"restrict", "1.5 RLC", 130, story.restrict, nil},
				{"unrestrict", "1.5 RLC", 130, "", nil},
				{"unpublished outside", "1.5 RLC", 130, "", s.unpublish},
				{"closed outside", "1.5 RLC", 130, "", s.close},
				{"volume up again", "1.5 RLC", 140, "", nil},
				{"filled by a buyer", "1.5 RLC", 140, "", s.fill},
				{"destroy", "", 0, "", nil},
			} {
				s.write("")
				if step.volume > 0 {
					s.write(fmt.Sprintf("resource %q \"o\" {\n%s%s = %q\nvolume = %d\n%s}\n", "iexec_"+s.kind.Noun, s.terms, story.price, step.price, step.volume, step.more))
				}
				if step.outside != nil {
					step.outside()
				}
				plans.Files = append(plans.Files, txtar.File{Name: step.name, Data: []byte(s.apply())})
			}
			golden(t, filepath.Join("testdata", "orders", story.kind.Noun+".txtar"), txtar.Format(&plans))
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v; run with -update to write it", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A seller has one order resource on a network of its own.
type seller struct {
	t      *testing.T
	net    *localnet.Network
	market *market.Client
	kind   *poco.Kind
	dir    string
	terms  string // arguments that never change
	owner  poco.Account
}

// newSeller makes what the order of the kind is about, and the stake that it needs.
func newSeller(t *testing.T, k *poco.Kind) *seller {
	t.Helper()
	s := &seller{t: t, net: nettest.Start(t), kind: k, dir: t.TempDir(), owner: poco.DevAccounts()[0]}
	c := nettest.Chain(s.net)
	var err error
	if s.market, err = market.New(c.Market, c.Domain(), market.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.market.Close() })
	app := poco.App{Name: "story", Type: "DOCKER", Multiaddr: []byte("docker.io/iexechub/story:1.0"), Checksum: common.Hash{1}}
	switch info := s.net.Info(); k {
	case poco.AppOrder:
		s.terms = fmt.Sprintf("app = %q\n", nettest.CreateApp(t, s.net, s.owner, app))
	case poco.DatasetOrder:
		d := poco.Dataset{Name: "story", Multiaddr: []byte("https://example.com/story"), Checksum: common.Hash{1}}
		s.send(info.DatasetRegistry, poco.PackCreateDataset(s.owner.Address, d))
		s.terms = fmt.Sprintf("dataset = %q\n", d.Address(info.DatasetRegistry, s.owner.Address))
	case poco.WorkerpoolOrder:
		s.terms = fmt.Sprintf("workerpool = %q\ncategory = 1\n", s.workerpool())
	default: // the market takes a request only when there is an app order that fits it
		owner := poco.DevAccounts()[1]
		address := nettest.CreateApp(t, s.net, owner, app)
		offer := nettest.Sign(t, owner, poco.AppOrder, nettest.AppOrder(address, 1, 1000))
		if _, err := s.market.Publish(t.Context(), poco.AppOrder, offer.Order, fmt.Sprintf("%#x", offer.Sign), chain.NewKeySigner(owner.Key)); err != nil {
			t.Fatal(err)
		}
		s.terms = fmt.Sprintf("app = %q\nappmaxprice = \"1 nRLC\"\ncategory = 1\n", address)
	}
	if k == poco.WorkerpoolOrder || k == poco.RequestOrder {
		if err := nettest.Deposit(t, s.net, s.owner, big.NewInt(1000e9)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *seller) send(to common.Address, data []byte) {
	s.t.Helper()
	if _, err := nettest.Send(s.t, s.net, s.owner.Key, to, data); err != nil {
		s.t.Fatal(err)
	}
}

// workerpool makes a workerpool of the owner's.
func (s *seller) workerpool() common.Address {
	s.t.Helper()
	registry, w := s.net.Info().WorkerpoolRegistry, poco.Workerpool{Description: "story"}
	s.send(registry, poco.PackCreateWorkerpool(s.owner.Address, w))
	return w.Address(registry, s.owner.Address)
}

func (s *seller) write(hcl string) {
	s.t.Helper()
	c := nettest.Chain(s.net)
	text := fmt.Sprintf("provider \"iexec\" {\nchain = \"localnet\"\nrpc_url = %q\nmarket_url = %q\n}\n", c.RPC, c.Market) + hcl
	if err := os.WriteFile(filepath.Join(s.dir, "main.hcl"), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

var gas = regexp.MustCompile(`(gas ≈ [0-9,]+ \([0-9.]+ ETH\)|about [0-9,]+ gas, [0-9.]+ ETH, at most [0-9.]+ ETH|about [0-9]+ gas instead of [0-9]+, which is [0-9]+ % less)`)

// apply plans, applies, looks whether a second plan is empty, and returns the first plan's text.
func (s *seller) apply() string {
	s.t.Helper()
	var out syncBuffer
	if code := run([]string{"--chdir", s.dir, "plan"}, strings.NewReader(""), &out, &out, os.Environ()); code != 0 {
		s.t.Fatalf("plan: exit code %d\n%s", code, &out)
	}
	text, _, _ := strings.Cut(out.String(), "\nNote: the plan was not saved") // what follows is advice
	iexecform(s.t, 0, "--chdir", s.dir, "apply", "--auto-approve")
	iexecform(s.t, 0, "--chdir", s.dir, "plan", "--detailed-exitcode")
	return gas.ReplaceAllString(text, "gas")
}

// live is the seller's orders that the market shows.
func (s *seller) live() []market.Row {
	s.t.Helper()
	rows, err := s.market.ListByOwner(s.t.Context(), s.kind, s.owner.Address)
	if err != nil || len(rows) == 0 {
		s.t.Fatalf("%d open orders (%v)", len(rows), err)
	}
	return rows
}

// unpublish takes all orders off the market, without iexecform.
func (s *seller) unpublish() {
	for _, r := range s.live() {
		if err := s.market.Unpublish(s.t.Context(), s.kind, r.OrderHash, chain.NewKeySigner(s.owner.Key)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// close closes all open orders on chain, without iexecform.
func (s *seller) close() {
	for _, r := range s.live() {
		data, err := poco.PackManageOrder(s.kind, r.Order, poco.OpClose, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		s.send(s.net.Info().Hub, data)
	}
	s.caughtUp()
}

// fill has a buyer, or for a request a seller, take all of the open orders.
func (s *seller) fill() {
	for _, r := range s.live() {
		order := poco.SignedOrder{Order: r.Order, Sign: common.FromHex(r.Sign)}
		if _, err := nettest.Fill(s.t, s.net, s.kind, order, r.Remaining.Uint64()); err != nil {
			s.t.Fatal(err)
		}
	}
	s.caughtUp()
}

// caughtUp waits until the market has seen the head of the chain.
func (s *seller) caughtUp() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	head, err := nettest.Client(s.t, s.net).BlockNumber(ctx)
	for last := uint64(0); err == nil && last < head; {
		last, err = s.market.Metrics(ctx)
	}
	if err != nil {
		s.t.Fatalf("the market has not seen block %d: %v", head, err)
	}
}
