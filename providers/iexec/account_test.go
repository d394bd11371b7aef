package iexec_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/providertest"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
)

func accountBlock(args string) string {
	return "resource \"iexec_account\" \"mine\" {\n" + args + "\n}\n"
}

func rlc(t testing.TB, amount string) *big.Int {
	t.Helper()
	n, err := poco.ParseAmount(amount)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// funds are the RLC that an account has in its wallet, and its stake at the hub, as the contracts tell.
func (w *world) funds(of common.Address) (wallet, stake *big.Int) {
	w.t.Helper()
	client, info := nettest.Client(w.t, w.net), w.net.Info()
	call := func(to common.Address) *big.Int {
		data, err := poco.TokenABI().Pack("balanceOf", of)
		if err != nil {
			w.t.Fatal(err)
		}
		out, err := client.CallContract(w.t.Context(), ethereum.CallMsg{To: &to, Data: data}, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		return new(big.Int).SetBytes(out)
	}
	return call(info.RLC), call(info.Hub)
}

// moved fails the test unless the wallet's RLC changed by the amount since before, and the account has the stake.
func (w *world) moved(before *big.Int, by, stake string) {
	w.t.Helper()
	change, left := rlc(w.t, strings.TrimPrefix(by, "-")), rlc(w.t, stake)
	if strings.HasPrefix(by, "-") {
		change.Neg(change)
	}
	wallet, now := w.funds(poco.DevAccounts()[0].Address)
	if got := new(big.Int).Sub(wallet, before); got.Cmp(change) != 0 || now.Cmp(left) != 0 {
		w.t.Errorf("the wallet has %s nRLC more and the account %s, want %s more and %s", got, now, change, left)
	}
	if got := w.Value("iexec_account.mine").GetAttr("stake").AsBigFloat().String(); got != new(big.Float).SetInt(left).String() {
		w.t.Errorf("the state says the stake is %s, want %s", got, left)
	}
}

// deposit gives the first account stake behind our back.
func (w *world) deposit(amount string) {
	w.t.Helper()
	if err := nettest.Deposit(w.t, w.net, poco.DevAccounts()[0], rlc(w.t, amount)); err != nil {
		w.t.Fatal(err)
	}
}

// income is stake that another account pays for the first one.
func (w *world) income(amount string) {
	w.t.Helper()
	payer, info := poco.DevAccounts()[5], w.net.Info()
	approve, err := poco.TokenABI().Pack("approve", info.Hub, rlc(w.t, amount))
	if err != nil {
		w.t.Fatal(err)
	}
	deposit, err := poco.HubABI().Pack("depositFor", rlc(w.t, amount), poco.DevAccounts()[0].Address)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, tx := range []struct {
		to   common.Address
		data []byte
	}{{info.RLC, approve}, {info.Hub, deposit}} {
		if _, err := nettest.Send(w.t, w.net, payer.Key, tx.to, tx.data); err != nil {
			w.t.Fatal(err)
		}
	}
}

// withdraw takes the first account's stake behind our back.
func (w *world) withdraw(amount string) {
	w.t.Helper()
	data, err := poco.HubABI().Pack("withdraw", rlc(w.t, amount))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := nettest.Send(w.t, w.net, poco.DevAccounts()[0].Key, w.net.Info().Hub, data); err != nil {
		w.t.Fatal(err)
	}
}

// What buyers paid is withdrawn: a line in a file.
func TestWithdrawWhatADealPaid(t *testing.T) {
	w := newWorld(t)
	owner := poco.DevAccounts()[0].Address
	w.write(appBlock("docker.io/a/b:1") + orderBlock("appprice = \"2.5 RLC\"\nvolume = 3") + accountBlock(`keep_at_most = "0 RLC"`))
	w.Apply()
	w.Settled()

	before, _ := w.funds(owner)
	deal, err := nettest.Fill(t, w.net, poco.AppOrder, w.signed(), 2)
	if err != nil {
		t.Fatal(err)
	}
	w.caughtUp()
	w.Settled() // paid when the task is done
	nettest.Finalize(t, w.net, deal, 0)
	made := w.Plan()
	if len(made.Actions) != 1 || made.Actions[0].Summary != "withdraw 2.5 RLC to wallet "+owner.Hex() {
		t.Fatalf("actions are %q\n%s", kinds(made), made)
	}
	w.Obey(w.saved(w.encode(made.Plan)))
	w.moved(before, "2.5 RLC", "0 RLC")
	w.Settled()

	nettest.Finalize(t, w.net, deal, 1) // drift again
	w.step("withdraw")
	w.moved(before, "5 RLC", "0 RLC")
	w.write(appBlock("docker.io/a/b:1") + orderBlock("appprice = \"2.5 RLC\"\nvolume = 3"))
	w.step("forget")
}

func TestAccountIsKeptBetweenBounds(t *testing.T) {
	w := newWorld(t)
	before, _ := w.funds(poco.DevAccounts()[0].Address)
	for _, step := range []struct{ args, do, moved, stake string }{
		{``, "adopt", "0 RLC", "0 RLC"},
		{`keep_at_least = "5 RLC"`, "deposit", "-5 RLC", "5 RLC"},
		{`keep_at_least = "4 RLC"`, "record", "-5 RLC", "5 RLC"},
		{"keep_at_least = \"4 RLC\"\nkeep_at_most = 5000000000", "record", "-5 RLC", "5 RLC"},
		{"keep_at_least = \"1 RLC\"\nkeep_at_most = \"4.5 RLC\"", "withdraw", "-4.5 RLC", "4.5 RLC"},
		{"keep_at_least = \"6 RLC\"\nkeep_at_most = \"6 RLC\"", "deposit", "-6 RLC", "6 RLC"},
		{`keep_at_most = "0 RLC"`, "withdraw", "0 RLC", "0 RLC"},
	} {
		w.write(accountBlock(step.args))
		w.step(step.do)
		w.moved(before, step.moved, step.stake)
	}
	w.deposit("1 nRLC")
	w.LoseState()
	w.step("adopt withdraw[1]")
	w.moved(before, "0 RLC", "0 RLC")
}

func TestStakeChangedSincePlan(t *testing.T) {
	w := newWorld(t)
	before, _ := w.funds(poco.DevAccounts()[0].Address)
	w.deposit("5 RLC")
	w.write(accountBlock(`keep_at_most = "1 RLC"`))
	made := w.Plan()
	w.withdraw("1 RLC")
	w.refused(made, "had 5 RLC", "has 4 RLC now", "withdraw")
	w.withdraw("3 RLC")
	w.refused(made, "nothing is left to withdraw")

	// More than expected is no reason to wait: what was reviewed is withdrawn, and the rest by the next plan.
	w.deposit("2 RLC")
	made = w.Plan()
	w.deposit("3 RLC")
	w.Obey(made)
	if _, stake := w.funds(poco.DevAccounts()[0].Address); stake.Cmp(rlc(t, "4 RLC")) != 0 {
		t.Errorf("stake %s, want 4 RLC", stake)
	}
	w.step("withdraw")
	w.moved(before, "-1 RLC", "1 RLC")

	w.write(accountBlock(`keep_at_least = "3 RLC"`))
	made = w.Plan()
	w.deposit("1 RLC")
	w.refused(made, "had 1 RLC", "has 2 RLC now", "deposit")
	w.deposit("1 RLC")
	w.refused(made, "nothing is left to deposit")
}

func TestAccountRefusals(t *testing.T) {
	w := newWorld(t)
	other := poco.DevAccounts()[3]
	if err := nettest.Deposit(t, w.net, poco.DevAccounts()[0], rlc(t, "1 RLC")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ hcl, fail string }{
		"bounds":       {accountBlock("keep_at_least = \"2 RLC\"\nkeep_at_most = \"1 RLC\""), "2 RLC is more than keep_at_most, which is 1 RLC"},
		"other wallet": {accountBlock(fmt.Sprintf("address = %q\nkeep_at_least = \"2 RLC\"", other.Address.Hex())), "only its own wallet can deposit 2 RLC"},
		"too much":     {accountBlock(`keep_at_least = "100000000 RLC"`), "99999999 RLC are missing"},
		"amount":       {accountBlock(`keep_at_most = "1.5"`), "1.5"},
		"twice":        {accountBlock(`keep_at_most = "0 RLC"`) + "resource \"iexec_account\" \"too\" {}\n", "two resources would move the same funds twice"},
	} {
		t.Run(name, func(t *testing.T) {
			w.write(test.hcl)
			if made := w.TryPlan(); !made.Diags.HasErrors() || !strings.Contains(made.Diags.Error(), test.fail) {
				t.Errorf("error %v, want it to say %q", made.Diags, test.fail)
			}
		})
	}
	w.write(accountBlock(fmt.Sprintf("address = %q\nkeep_at_most = \"2 RLC\"", other.Address.Hex()))) // watched
	w.step("adopt")
}

// notes is a journal in memory. fail may refuse a note after it is on disk, as a process that dies then does.
type notes struct {
	kept []state.Record
	fail func(data json.RawMessage) error
}

func (n *notes) Note(_ context.Context, key string, data json.RawMessage) error {
	n.kept = append(n.kept, state.Record{Type: state.NoteRec, Key: key, Data: data})
	if n.fail != nil {
		return n.fail(data)
	}
	return nil
}

func (*notes) Patch(context.Context, json.RawMessage) error { return nil }

func (*notes) Origin(map[string]string) {}

func (*notes) Seen(context.Context, map[string]string) error { return nil }

// do does the plan's only action, as apply does.
func (w *world) do(made *providertest.Made, j providers.Journal) error {
	w.t.Helper()
	client, ok := made.Session.Client(addr.Provider{Name: "iexec"})
	if !ok || len(made.Actions) != 1 {
		w.t.Fatalf("want one action of an open provider:\n%s", made)
	}
	client.Check(w.t.Context(), nil) // what is read from now on is new
	_, err := client.Do(w.t.Context(), providers.DoRequest{Action: made.Actions[0], Journal: j, Progress: func(providers.Progress) {}})
	return err
}

// Whatever happens in between, a withdrawal is made once.
func TestWithdrawOnce(t *testing.T) {
	w := newWorld(t)
	before, _ := w.funds(poco.DevAccounts()[0].Address)
	w.write(accountBlock(`keep_at_most = "2 RLC"`))
	w.Apply()
	crash := errors.New("crash")

	t.Run("done twice", func(t *testing.T) {
		w.income("3 RLC") // less than what is kept: the hub wouldn't refuse a second time
		w.income("2 RLC")
		made := w.Plan()
		sent := w.nonce()
		for range 2 {
			if err := w.do(made, &notes{}); err != nil {
				t.Fatal(err)
			}
		}
		if now := w.nonce(); now != sent+1 {
			t.Errorf("%d transactions, want 1", now-sent)
		}
		w.Settled()
	})
	withdrawn := rlc(t, "3 RLC")
	for name, settling := range map[string]bool{"before it is broadcast": false, "after it is mined": true} {
		t.Run("crash "+name, func(t *testing.T) {
			w.income("1 RLC")
			sent := w.nonce()
			j := &notes{fail: func(data json.RawMessage) error {
				if (data == nil) == settling {
					return crash
				}
				return nil
			}}
			if err := w.do(w.Plan(), j); !errors.Is(err, crash) {
				t.Fatalf("error %v, want the crash", err)
			}
			if err := local.New(w.Dir).Append(t.Context(), j.kept[0]); err != nil { // that it is settled isn't on disk
				t.Fatal(err)
			}
			w.income("1 RLC") // the amount of another withdrawal would be another one
			made := w.Plan()
			if got := kinds(made); got != "" || len(made.Pending) != 1 || made.Empty() ||
				!strings.Contains(made.String(), "apply, which takes it up, and plan again") {
				t.Fatalf("actions are %q and %v is pending, want the transaction to be taken up and nothing else\n%s", got, made.Pending, made)
			}
			w.Obey(made)
			for w.nonce() == sent { // the node has it, and mines it
				w.caughtUp()
			}
			w.Obey(w.Plan())
			w.Obey(w.Plan())
			w.Settled()
			if now := w.nonce(); now != sent+2 {
				t.Errorf("%d transactions, want 2", now-sent)
			}
			withdrawn.Add(withdrawn, rlc(t, "2 RLC"))
		})
	}
	before.Add(before, withdrawn)
	if wallet, stake := w.funds(poco.DevAccounts()[0].Address); wallet.Cmp(before) != 0 || stake.Cmp(rlc(t, "2 RLC")) != 0 {
		t.Errorf("the wallet has %s nRLC, and the account %s, want %s and 2 RLC", wallet, stake, before)
	}
}

// Gas that can't be paid is told by plan, and apply sends nothing.
func TestNoFundsForGas(t *testing.T) {
	w := newWorld(t)
	w.write("")
	poor := "wallet {\n  private_key_env = \"POOR_KEY\"\n}\n"
	t.Setenv("POOR_KEY", "0x"+strings.Repeat("11", 32))
	c := nettest.Chain(w.net)
	w.Write(fmt.Sprintf("provider \"iexec\" {\n  chain = \"localnet\"\n  rpc_url = %q\n  market_url = %q\n%s}\n", c.RPC, c.Market, poor) + appBlock("docker.io/a/b:1"))
	made := w.Plan()
	want := "has 0 ETH and the plan's transactions need about"
	for how, made := range map[string]*providertest.Made{"fresh": made, "saved": w.saved(w.encode(made.Plan))} {
		if !strings.Contains(made.String(), "warning provider iexec: wallet 0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A "+want) {
			t.Errorf("the %s plan doesn't warn:\n%s", how, made)
		}
	}
	var held *providers.HeldError
	if _, err := w.TryApply(t.Context(), made); err == nil || errors.As(err, &held) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	w.write(appBlock("docker.io/a/b:1"))
	if text := w.Plan().String(); strings.Contains(text, "for gas") {
		t.Errorf("a wallet with funds is warned of:\n%s", text)
	}
}
