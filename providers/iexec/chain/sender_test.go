package chain_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/state"
)

// journal keeps notes as the engine does. fail, if set, may fail one, as a full disk does.
type journal struct {
	mu    sync.Mutex
	notes map[string]json.RawMessage
	all   []state.Note
	fail  func(n int, key string, data json.RawMessage) error
}

func (j *journal) Note(_ context.Context, key string, data json.RawMessage) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		if err := j.fail(len(j.all), key, data); err != nil {
			return err
		}
	}
	if j.notes == nil {
		j.notes = map[string]json.RawMessage{}
	}
	j.all = append(j.all, state.Note{Key: key, Data: data})
	if data == nil {
		delete(j.notes, key)
	} else {
		j.notes[key] = data
	}
	return nil
}

func (j *journal) pending() (list []state.Note) {
	for _, k := range slices.Sorted(maps.Keys(j.notes)) {
		list = append(list, state.Note{Key: k, Data: j.notes[k]})
	}
	return list
}

// account is a sender's ground: a fresh one of the development accounts on a real chain.
type account struct {
	t   testing.TB
	net *localnet.Network
	n   *node
	c   *chain.Client
	acc poco.Account
}

func newAccount(t testing.TB, index int) *account {
	net, n, c := network(t)
	return &account{t: t, net: net, n: n, c: c, acc: poco.DevAccounts()[index]}
}

// sender is that of a fresh process which finds the journal of the one before.
func (a *account) sender(j *journal, opts chain.SenderOptions) *chain.Sender {
	signer := func(context.Context) (chain.Signer, error) { return chain.NewKeySigner(a.acc.Key), nil }
	return chain.NewSender(a.c, signer, a.acc.Address, opts, j.pending())
}

func (a *account) nonce() uint64 {
	a.t.Helper()
	n, err := nettest.Client(a.t, a.net).NonceAt(a.t.Context(), a.acc.Address, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return n
}

// wantBalance checks that target has received exactly wei.
func (a *account) wantBalance(target common.Address, wei int64) {
	a.t.Helper()
	b, err := a.c.Balance(a.t.Context(), target)
	if err != nil {
		a.t.Fatal(err)
	}
	if b.Int64() != wei {
		a.t.Errorf("%s has received %s wei, want %d", target, b, wei)
	}
}

func (a *account) wantClean(j *journal) {
	a.t.Helper()
	if len(j.notes) != 0 {
		a.t.Errorf("%d notes are not settled: %v", len(j.notes), slices.Collect(maps.Keys(j.notes)))
	}
}

func target(n int) common.Address { return common.BigToAddress(big.NewInt(int64(0xabc000 + n))) }

func quiet(providers.Progress) {}

func give(to common.Address) chain.TxRequest {
	return chain.TxRequest{To: to, Value: big.NewInt(5), Purpose: "give"}
}

func TestSend(t *testing.T) {
	a := newAccount(t, 1)
	j := &journal{}
	var events []string
	a.n.before = func(calls []message) (*http.Response, error) {
		if calls[0].Method == "eth_sendRawTransaction" {
			j.mu.Lock()
			defer j.mu.Unlock()
			if len(j.notes) != 1 {
				t.Error("broadcast before it was journaled")
			}
		}
		return nil, nil
	}
	s := a.sender(j, chain.SenderOptions{})
	r, err := s.Send(t.Context(), give(target(1)), j, func(p providers.Progress) { events = append(events, p.Type) })
	if err != nil || r.Status != types.ReceiptStatusSuccessful {
		t.Fatalf("receipt %+v, %v", r, err)
	}
	a.wantBalance(target(1), 5)
	a.wantClean(j)
	if got := strings.Join(events, " "); got != "tx_sent tx_mined tx_confirmed" {
		t.Errorf("progress %s", got)
	}
	var note struct {
		Purpose  string
		To       common.Address
		Nonce    *uint64
		Attempts []struct {
			Hash        common.Hash
			Raw         hexutil.Bytes
			MaxFee, Tip string
		}
	}
	if err := json.Unmarshal(j.all[0].Data, &note); err != nil || note.Nonce == nil || note.To != target(1) || note.Attempts[0].Hash != r.TxHash {
		t.Errorf("note %s, %v", j.all[0].Data, err)
	}
	if want := fmt.Sprintf("tx/31337/%s/0", a.acc.Address.Hex()); j.all[0].Key != want {
		t.Errorf("key %s, want %s", j.all[0].Key, want)
	}
}

func finality(t *testing.T, text string) chain.Finality {
	t.Helper()
	f, err := chain.ParseFinality(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSendConfirmations(t *testing.T) {
	a := newAccount(t, 1)
	j := &journal{}
	s := a.sender(j, chain.SenderOptions{Finality: finality(t, "3")})
	mined := make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := s.Send(t.Context(), give(target(1)), j, func(p providers.Progress) {
			if p.Type == "tx_mined" {
				close(mined)
			}
		})
		done <- err
	}()
	<-mined
	other := poco.DevAccounts()[2]
	for range 2 {
		select {
		case err := <-done:
			t.Fatalf("confirmed too early: %v", err)
		default:
		}
		if _, err := nettest.Send(t, a.net, other.Key, other.Address, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	a.wantClean(j)
}

// Many at once: every nonce once, none left out, one lane, few looks for receipts.
func TestSendLane(t *testing.T) {
	a := newAccount(t, 1)
	j := &journal{}
	s := a.sender(j, chain.SenderOptions{})
	const size = 200
	var wg sync.WaitGroup
	for i := range size {
		wg.Go(func() {
			if _, err := s.Send(t.Context(), give(target(i)), j, quiet); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := a.nonce(); n != size {
		t.Errorf("%d transactions on chain, want %d", n, size)
	}
	for i := range size {
		a.wantBalance(target(i), 5)
	}
	a.wantClean(j)
	if n := a.n.count("eth_getTransactionReceipt"); n > 4*size {
		t.Errorf("%d receipts asked for", n)
	}
}

// Equal transactions are equal wishes within one run: each is sent.
func TestSendTwice(t *testing.T) {
	a := newAccount(t, 1)
	j := &journal{}
	s := a.sender(j, chain.SenderOptions{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if _, err := s.Send(t.Context(), give(target(1)), j, quiet); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	a.wantBalance(target(1), 15)
}

func TestSendRevert(t *testing.T) {
	a := newAccount(t, 1)
	j := &journal{}
	s := a.sender(j, chain.SenderOptions{})
	_, err := s.Send(t.Context(), chain.TxRequest{To: a.net.Info().Hub, Data: pack(t, "withdraw", big.NewInt(1e18)), Purpose: "withdraw"}, j, quiet)
	if revertOf(err) == nil || len(j.all) != 0 || a.nonce() != 0 || a.n.count("eth_sendRawTransaction") != 0 {
		t.Errorf("%v with %d notes and nonce %d; want a revert before anything is sent", err, len(j.all), a.nonce())
	}
}

// A transaction that passed the simulation and fails on chain: its reason is read again, and the matter is settled.
func TestSendFails(t *testing.T) {
	a := newAccount(t, 1)
	j := &journal{}
	data := poco.PackCreateApp(a.acc.Address, poco.App{Name: "a", Type: "DOCKER", Multiaddr: []byte("x"), Checksum: common.HexToHash("0x1")})
	if _, err := nettest.Send(t, a.net, poco.DevAccounts()[2].Key, a.net.Info().AppRegistry, data); err != nil {
		t.Fatal(err)
	}
	a.n.answer = func(call message) (message, bool) {
		return call.respond(hexutil.Uint64(1_000_000)), call.Method == "eth_estimateGas"
	}
	_, err := a.sender(j, chain.SenderOptions{}).Send(t.Context(), chain.TxRequest{To: a.net.Info().AppRegistry, Data: data, Purpose: "deploy"}, j, quiet)
	if r := revertOf(err); r == nil || r.Reason != "Create2: Failed on deploy" {
		t.Errorf("error %v, want the reason", err)
	}
	if a.nonce() != 1 {
		t.Errorf("nonce %d, want 1", a.nonce())
	}
	a.wantClean(j)
}

// The process dies at any point; the next one goes on. Nothing is lost, nothing doubled, and the nonces have no gap.
func TestSendKilled(t *testing.T) {
	dead := errors.New("killed")
	tests := []struct {
		name string
		kill func(j *journal, n *node, die func()) // arranges for die to be called
		same bool                                  // the next run sends the very bytes of this one
	}{
		{"before the note", func(j *journal, _ *node, die func()) {
			j.fail = func(int, string, json.RawMessage) error { die(); return dead }
		}, false},
		{"before the broadcast", func(_ *journal, n *node, die func()) {
			n.before = func(calls []message) (*http.Response, error) {
				if calls[0].Method == "eth_sendRawTransaction" {
					die()
					return nil, dead
				}
				return nil, nil
			}
		}, true},
		{"after the broadcast", func(_ *journal, n *node, die func()) {
			n.after = func(calls, _ []message) error {
				if calls[0].Method == "eth_sendRawTransaction" {
					die()
					return dead
				}
				return nil
			}
		}, true},
		{"before the receipt", func(_ *journal, n *node, die func()) {
			n.before = func(calls []message) (*http.Response, error) {
				if calls[0].Method == "eth_getTransactionReceipt" {
					die()
					return nil, dead
				}
				return nil, nil
			}
		}, true},
		{"before it is settled", func(j *journal, _ *node, die func()) {
			j.fail = func(_ int, _ string, data json.RawMessage) error {
				if data == nil {
					die()
					return dead
				}
				return nil
			}
		}, true},
	}
	a := newAccount(t, 1)
	for i, test := range tests {
		for _, resume := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, resume %v", test.name, resume), func(t *testing.T) {
				to := target(2 * i)
				if resume {
					to = target(2*i + 1)
				}
				start := a.nonce()
				j := &journal{}
				ctx, cancel := context.WithCancel(t.Context())
				test.kill(j, a.n, cancel)
				if _, err := a.sender(j, chain.SenderOptions{}).Send(ctx, give(to), j, quiet); err == nil {
					t.Fatal("it lived")
				}
				a.n.before, a.n.after, j.fail = nil, nil, nil

				pending := a.sender(j, chain.SenderOptions{}).Pending()
				if test.same != (len(pending) == 1) {
					t.Fatalf("pending %+v", pending)
				}
				s := a.sender(j, chain.SenderOptions{})
				if resume {
					// A provider looks first whether what it wants is there; so does this test.
					if err := s.Resume(t.Context(), chain.ResumeOptions{}, j, quiet); err != nil {
						t.Fatal(err)
					}
				}
				if b, err := a.c.Balance(t.Context(), to); err != nil || !resume || b.Sign() == 0 || len(j.notes) > 0 {
					if _, err := s.Send(t.Context(), give(to), j, quiet); err != nil {
						t.Fatal(err)
					}
				}
				a.wantBalance(to, 5)
				a.wantClean(j)
				if n := a.nonce(); n != start+1 {
					t.Errorf("%d transactions, want 1", n-start)
				}
				hashes := map[string]bool{}
				for _, n := range j.all {
					if n.Data != nil {
						hashes[string(n.Data)] = true
					}
				}
				if len(hashes) != 1 {
					t.Errorf("%d different transactions were signed", len(hashes))
				}
			})
		}
	}
}

// Another program with the same account takes the nonce of a transaction that was journaled and not sent.
func TestForeignNonce(t *testing.T) {
	a := newAccount(t, 1)
	j := &journal{}
	ctx, cancel := context.WithCancel(t.Context())
	a.n.before = func(calls []message) (*http.Response, error) {
		if calls[0].Method == "eth_sendRawTransaction" {
			cancel()
			return nil, errors.New("killed")
		}
		return nil, nil
	}
	if _, err := a.sender(j, chain.SenderOptions{}).Send(ctx, give(target(1)), j, quiet); err == nil {
		t.Fatal("it was sent")
	}
	a.n.before = nil
	if _, err := nettest.Send(t, a.net, a.acc.Key, target(2), nil); err != nil {
		t.Fatal(err)
	}
	saved := maps.Clone(j.notes)
	t.Run("resume", func(t *testing.T) {
		var events []string
		if err := a.sender(j, chain.SenderOptions{}).Resume(t.Context(), chain.ResumeOptions{}, j, func(p providers.Progress) { events = append(events, p.Type) }); err != nil {
			t.Fatal(err)
		}
		a.wantClean(j)
		if !slices.Equal(events, []string{"tx_lost"}) {
			t.Errorf("progress %v", events)
		}
		a.wantBalance(target(1), 0)
	})
	t.Run("send", func(t *testing.T) {
		j.notes = saved
		if _, err := a.sender(j, chain.SenderOptions{}).Send(t.Context(), give(target(1)), j, quiet); err != nil {
			t.Fatal(err)
		}
		a.wantClean(j)
		a.wantBalance(target(1), 5)
		if a.nonce() != 2 {
			t.Errorf("nonce %d, want 2", a.nonce())
		}
	})
	t.Run("behind the back", func(t *testing.T) { // between reading the count and the broadcast
		once := sync.OnceFunc(func() {
			if _, err := nettest.Send(t, a.net, a.acc.Key, target(2), nil); err != nil {
				t.Error(err)
			}
		})
		a.n.before = func(calls []message) (*http.Response, error) {
			if calls[0].Method == "eth_sendRawTransaction" {
				once()
			}
			return nil, nil
		}
		if _, err := a.sender(j, chain.SenderOptions{}).Send(t.Context(), give(target(3)), j, quiet); err != nil {
			t.Fatal(err)
		}
		a.wantClean(j)
		a.wantBalance(target(3), 5)
	})
}

// Two processes with one account at the same time both get everything done.
func TestTwoSenders(t *testing.T) {
	a := newAccount(t, 1)
	var wg sync.WaitGroup
	for p := range 2 {
		j := &journal{}
		s := a.sender(j, chain.SenderOptions{})
		for i := range 10 {
			wg.Go(func() {
				if _, err := s.Send(t.Context(), give(target(100*p+i)), j, quiet); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for p := range 2 {
		for i := range 10 {
			a.wantBalance(target(100*p+i), 5)
		}
	}
	if n := a.nonce(); n != 20 {
		t.Errorf("%d transactions, want 20", n)
	}
}

func TestSendHeld(t *testing.T) {
	a := newAccount(t, 1)
	held := func(t *testing.T, s *chain.Sender, j *journal, req chain.TxRequest, want string) {
		t.Helper()
		_, err := s.Send(t.Context(), req, j, quiet)
		var h *providers.HeldError
		if !errors.As(err, &h) || !strings.Contains(h.Reason, want) || len(j.notes) != 0 || a.nonce() != 0 {
			t.Errorf("%v with %d notes, want it held for %q", err, len(j.notes), want)
		}
	}
	t.Run("fee cap", func(t *testing.T) {
		j := &journal{}
		held(t, a.sender(j, chain.SenderOptions{MaxFee: big.NewInt(1)}), j, give(target(1)), "max_fee_gwei allows 0.000000001 gwei")
	})
	t.Run("funds", func(t *testing.T) {
		j := &journal{}
		req := give(target(1))
		req.Value = new(big.Int).Mul(big.NewInt(1e18), big.NewInt(1e6))
		held(t, a.sender(j, chain.SenderOptions{}), j, req, "has 10000 ETH")
	})
	t.Run("funds at broadcast", func(t *testing.T) {
		j := &journal{}
		a.n.answer = func(call message) (message, bool) {
			return call.fail(-32000, "insufficient funds for gas * price + value"), call.Method == "eth_sendRawTransaction"
		}
		held(t, a.sender(j, chain.SenderOptions{}), j, give(target(1)), "needs")
		a.n.answer = nil
	})
	t.Run("signer", func(t *testing.T) {
		j := &journal{}
		s := chain.NewSender(a.c, func(context.Context) (chain.Signer, error) { return nil, errors.New("locked") }, a.acc.Address, chain.SenderOptions{}, nil)
		if _, err := s.Send(t.Context(), give(target(1)), j, quiet); err == nil || len(j.all) != 0 {
			t.Errorf("%v with %d notes", err, len(j.all))
		}
	})
}

// A fee that the node finds too low is raised by an eighth at least, with the same nonce, all attempts in the note.
func TestBump(t *testing.T) {
	a := newAccount(t, 1)
	j := &journal{}
	refusals := 2
	a.n.answer = func(call message) (message, bool) {
		if call.Method != "eth_sendRawTransaction" || refusals == 0 {
			return message{}, false
		}
		refusals--
		return call.fail(-32000, "transaction underpriced"), true
	}
	r, err := a.sender(j, chain.SenderOptions{}).Send(t.Context(), give(target(1)), j, quiet)
	if err != nil {
		t.Fatal(err)
	}
	var note struct {
		Attempts []struct {
			Hash   common.Hash `json:"hash"`
			MaxFee string      `json:"max_fee"`
		}
	}
	if err := json.Unmarshal(j.all[2].Data, &note); err != nil || len(note.Attempts) != 3 || note.Attempts[2].Hash != r.TxHash {
		t.Fatalf("note %s", j.all[2].Data)
	}
	for i := range 2 {
		old, _ := new(big.Int).SetString(note.Attempts[i].MaxFee, 10)
		now, _ := new(big.Int).SetString(note.Attempts[i+1].MaxFee, 10)
		if least := old.Mul(old, big.NewInt(1125)); now.Mul(now, big.NewInt(1000)).Cmp(least) < 0 {
			t.Errorf("fee %s after %s", note.Attempts[i+1].MaxFee, note.Attempts[i].MaxFee)
		}
	}
	a.wantClean(j)
	a.wantBalance(target(1), 5)
}

// A transaction that the node forgot is broadcast again, the same bytes.
func TestStalled(t *testing.T) {
	a := newAccount(t, 1)
	j := &journal{}
	dropped := false
	var raws []string
	a.n.answer = func(call message) (message, bool) {
		if call.Method != "eth_sendRawTransaction" {
			return message{}, false
		}
		raws = append(raws, string(call.Params[0]))
		if dropped {
			return message{}, false
		}
		dropped = true
		return call.respond(common.HexToHash("0x1")), true
	}
	if _, err := a.sender(j, chain.SenderOptions{StallAfter: 50 * time.Millisecond}).Send(t.Context(), give(target(1)), j, quiet); err != nil {
		t.Fatal(err)
	}
	if len(raws) < 2 || raws[0] != raws[1] {
		t.Errorf("%d broadcasts, the first two equal: %v", len(raws), len(raws) > 1 && raws[0] == raws[1])
	}
	a.wantClean(j)
	a.wantBalance(target(1), 5)
}

func TestBrokenNote(t *testing.T) {
	a := newAccount(t, 1)
	key := "tx/31337/" + a.acc.Address.Hex() + "/0"
	j := &journal{notes: map[string]json.RawMessage{key: []byte(`{"attempts":[]}`)}}
	if _, err := a.sender(j, chain.SenderOptions{}).Send(t.Context(), give(target(1)), j, quiet); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("error %v, want one about the note", err)
	}
	j = &journal{notes: map[string]json.RawMessage{"order/1": []byte(`{}`), "tx/31337/" + target(1).Hex() + "/0": []byte(`{}`)}}
	if _, err := a.sender(j, chain.SenderOptions{}).Send(t.Context(), give(target(1)), j, quiet); err != nil {
		t.Errorf("notes of others: %v", err)
	}
}

func BenchmarkSend(b *testing.B) {
	a := newAccount(b, 1)
	j := &journal{}
	s := a.sender(j, chain.SenderOptions{})
	for b.Loop() {
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if _, err := s.Send(b.Context(), give(target(i)), j, quiet); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
}
