package iexec_test

import (
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

const (
	ipfsCID   = "/ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ"
	ipfsCIDv1 = "/ipfs/bafybeidsg6t7ici2osxjkukisd5inixiunqdpq2q5jy4a2ruzdf6ewsqk4"
)

// An entryCase is a kind of entry and arguments that make two different ones of it.
type entryCase struct {
	kind       *poco.EntryKind
	one, other string
}

func entryCases() []entryCase {
	return []entryCase{
		{poco.AppEntry, "name = \"one\"\nmultiaddr = \"docker.io/a/b:1\"\nchecksum = \"" + checksum + "\"\n",
			"name = \"one\"\nmultiaddr = \"docker.io/a/b:2\"\nchecksum = \"" + checksum + "\"\n"},
		{poco.DatasetEntry, "name = \"one\"\nmultiaddr = \"" + ipfsCID + "\"\nchecksum = \"" + checksum + "\"\n",
			"name = \"one\"\nmultiaddr = \"https://example.com/two\"\nchecksum = \"" + checksum + "\"\n"},
		{poco.WorkerpoolEntry, "description = \"one\"\n", "description = \"two\"\n"},
	}
}

func (k entryCase) block(args ...string) string {
	return fmt.Sprintf("resource \"iexec_%s\" \"e\" {\n%s}\n", k.kind.Noun, strings.Join(args, ""))
}

func (k entryCase) registry(w *world) common.Address {
	info := w.net.Info()
	return map[*poco.EntryKind]common.Address{poco.AppEntry: info.AppRegistry, poco.DatasetEntry: info.DatasetRegistry, poco.WorkerpoolEntry: info.WorkerpoolRegistry}[k.kind]
}

// seen is what the hub says of the entry in the state.
func (k entryCase) seen(w *world) (owner common.Address, fields poco.EntryFields, more map[string]any) {
	w.t.Helper()
	address := common.HexToAddress(k.value(w, "address"))
	owner, fields, more, err := k.kind.UnpackView(w.call(poco.Localnet().Hub, k.kind.PackView(address)))
	if err != nil {
		w.t.Fatal(err)
	}
	return owner, fields, more
}

func (k entryCase) value(w *world, attr string) string {
	w.t.Helper()
	return w.Value("iexec_" + k.kind.Noun + ".e").GetAttr(attr).AsString()
}

func (w *world) call(to common.Address, data []byte) []byte {
	w.t.Helper()
	out, err := nettest.Client(w.t, w.net).CallContract(w.t.Context(), ethereum.CallMsg{To: &to, Data: data}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// wantError fails unless the plan fails with the text, at the line that sets the argument.
func (w *world) wantError(argument, text string) {
	w.t.Helper()
	made := w.TryPlan()
	source, err := os.ReadFile(filepath.Join(w.Dir, "main.hcl"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, d := range made.Diags {
		if !strings.Contains(d.Detail, text) {
			continue
		}
		if d.Subject == nil || !strings.HasPrefix(strings.TrimSpace(strings.Split(string(source), "\n")[d.Subject.Start.Line-1]), argument+" ") {
			w.t.Errorf("%q is told at %v, want it at %s", text, d.Subject, argument)
		}
		return
	}
	w.t.Errorf("errors are %q, want %q", made.Diags.Error(), text)
}

// transferOutside gives the entry away as its owner could with any tool.
func (k entryCase) transferOutside(w *world, from, to poco.Account) {
	w.t.Helper()
	address := common.HexToAddress(k.value(w, "address"))
	if _, err := nettest.Send(w.t, w.net, from.Key, k.registry(w), poco.PackTransfer(from.Address, to.Address, address)); err != nil {
		w.t.Fatal(err)
	}
}

func forEachEntry(t *testing.T, test func(t *testing.T, k entryCase)) {
	for _, k := range entryCases() {
		t.Run(k.kind.Noun, func(t *testing.T) { test(t, k) })
	}
}

func TestEntryLife(t *testing.T) {
	forEachEntry(t, func(t *testing.T, k entryCase) {
		w := newWorld(t)
		me, other := poco.DevAccounts()[0].Address, poco.DevAccounts()[1].Address
		w.write(k.block(k.one))
		made := w.step("deploy")
		if got, want := made.Actions[0].Summary, fmt.Sprintf("deploy %s %s", k.kind.Noun, k.value(w, "address")); got != want {
			t.Errorf("the action is %q, want %q", got, want)
		}
		owner, fields, _ := k.seen(w)
		if owner != me || k.value(w, "owner") != me.Hex() || k.value(w, "first_owner") != me.Hex() {
			t.Errorf("owner %s, state %s, first %s, want %s", owner, k.value(w, "owner"), k.value(w, "first_owner"), me)
		}
		if got := k.kind.Address(k.registry(w), me, fields).Hex(); got != k.value(w, "address") {
			t.Errorf("what is on chain makes address %s, state %s", got, k.value(w, "address"))
		}

		before := w.nonce()
		w.LoseState()
		w.step("adopt")
		if now := w.nonce(); now != before {
			t.Errorf("adopting sent %d transactions", now-before)
		}

		first := k.value(w, "address")
		w.write(k.block(k.other))
		w.step("deploy")
		if k.value(w, "address") == first {
			t.Errorf("another %s has the same address", k.kind.Noun)
		}
		w.write(k.block(k.one))
		w.step("record") // the first one is still there
		if k.value(w, "address") != first {
			t.Errorf("address %s, want %s again", k.value(w, "address"), first)
		}

		w.write(k.block(k.one, "owner = \""+other.Hex()+"\"\n"))
		made = w.step("transfer")
		if want := fmt.Sprintf("the transfer ends every order of this %s that %s signed", k.kind.Noun, me); !strings.Contains(made.String(), want) {
			t.Errorf("the plan doesn't say %q:\n%s", want, made)
		}
		if owner, _, _ := k.seen(w); owner != other || k.value(w, "first_owner") != me.Hex() {
			t.Errorf("after the transfer: owner %s, first owner %s", owner, k.value(w, "first_owner"))
		}
		w.write(k.block(k.one, "owner = \""+me.Hex()+"\"\n"))
		w.wantError("owner", fmt.Sprintf("only its owner %s can transfer the %s", other, k.kind.Noun))

		before = w.nonce()
		w.write("")
		if made := w.step("forget"); !strings.Contains(made.String(), k.kind.Noun+" can't be deleted from the chain") {
			t.Errorf("%s", made)
		}
		if now := w.nonce(); now != before {
			t.Errorf("forgetting sent %d transactions", now-before)
		}
	})
}

func TestEntryTransferredFromOutside(t *testing.T) {
	forEachEntry(t, func(t *testing.T, k entryCase) {
		w := newWorld(t)
		from, to := poco.DevAccounts()[0], poco.DevAccounts()[1]
		w.write(k.block(k.one))
		w.step("deploy")
		w.write(k.block(k.one, "owner = \""+poco.DevAccounts()[2].Address.Hex()+"\"\n"))
		saved := w.encode(w.Plan().Plan)
		k.transferOutside(w, from, to)
		if _, err := w.TryApply(t.Context(), w.saved(saved)); err == nil || !strings.Contains(err.Error(), k.kind.Noun) || !strings.Contains(err.Error(), to.Address.Hex()) {
			t.Errorf("a plan that was made before is applied: %v", err)
		}
		w.write(k.block(k.one))
		made := w.Plan()
		if text := made.String(); !made.Empty() || !strings.Contains(text, fmt.Sprintf("the %s was transferred from %s to %s", k.kind.Noun, from.Address, to.Address)) {
			t.Errorf("%s", text)
		}
		w.LoseState()
		w.write(k.block(k.one, "owner = \""+from.Address.Hex()+"\"\n"))
		w.wantError("owner", fmt.Sprintf("now belongs to %s: it was transferred away", to.Address))
	})
}

func TestEntryForContract(t *testing.T) {
	forEachEntry(t, func(t *testing.T, k entryCase) {
		w := newWorld(t)
		safe, deaf := w.contract("63150b7a0260e01b60005260206000f3"), w.contract("60006000fd")
		w.write(k.block(k.one, "owner = \""+safe.Hex()+"\"\n"))
		made := w.step("deploy")
		if want := safe.Hex() + " is a contract: it can presign orders of this " + k.kind.Noun + " on chain, but the market takes only"; !strings.Contains(made.String(), want) {
			t.Errorf("the plan doesn't say %q:\n%s", want, made)
		}
		if owner, _, _ := k.seen(w); owner != safe || k.value(w, "first_owner") != safe.Hex() {
			t.Errorf("owner %s, first owner %s, want %s", owner, k.value(w, "first_owner"), safe)
		}
		w.LoseState()
		w.step("adopt")

		w.write(k.block(k.other))
		w.step("deploy")
		w.write(k.block(k.other, "owner = \""+deaf.Hex()+"\"\n"))
		w.wantError("owner", "doesn't take ERC-721 tokens")
		w.write(k.block(k.other, "owner = \""+safe.Hex()+"\"\n"))
		if made := w.step("transfer"); !strings.Contains(made.String(), safe.Hex()+" is a contract") {
			t.Errorf("%s", made)
		}
	})
}

// contract is an account with code (hex).
func (w *world) contract(code string) common.Address {
	w.t.Helper()
	n := len(code) / 2
	create := fmt.Sprintf("60%02x600c60003960%02x6000f3", n, n) // copy what follows these 12 bytes, and return it
	return w.transact(nil, common.FromHex("0x"+create+code))
}

func TestTransferListsDyingOrders(t *testing.T) {
	w := newWorld(t)
	other := poco.DevAccounts()[1].Address.Hex()
	app := strings.Replace(appBlock("docker.io/a/b:1"), "}\n", "%s}\n", 1)
	kept := strings.Replace(orderBlock("appprice = 7\nvolume = 20\non_destroy = \"keep\""), "\"o\"", "\"kept\"", 1)
	hidden := strings.Replace(orderBlock("appprice = 9\nvolume = 5\non_destroy = \"unpublish\""), "\"o\"", "\"hidden\"", 1)
	w.write(fmt.Sprintf(app, "") + kept + hidden)
	w.Apply()
	hashes := []string{w.Value("iexec_apporder.kept").GetAttr("order_hash").AsString(), w.Value("iexec_apporder.hidden").GetAttr("order_hash").AsString()}
	address := w.Value("iexec_app.a").GetAttr("address").AsString()

	w.write(fmt.Sprintf(app, "owner = \""+other+"\"\n"))
	text := w.Plan().String()
	for i, want := range []string{"20 runs at 7 nRLC", "5 runs at 9 nRLC"} {
		if want := fmt.Sprintf("order %s dies with the transfer of app %s: %s", hashes[i], address, want); !strings.Contains(text, want) {
			t.Errorf("the plan doesn't say %q:\n%s", want, text)
		}
	}
	w.Apply()
	w.Settled()
}

// TestTransferWithoutOrders removes an order, which is closed by its owner, and gives its app away, at once.
func TestTransferWithoutOrders(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 100")
	w.step("deploy sign publish[1,2]")
	order := w.signed()
	w.write(strings.Replace(appBlock("docker.io/iexechub/nilearn:1.0"), "}\n", "owner = \""+poco.DevAccounts()[1].Address.Hex()+"\"\n}\n", 1))
	w.Apply()
	w.Settled()
	w.caughtUp()
	w.wantLive()
	if err := nettest.Buy(t, w.net, order, 1); err == nil {
		t.Error("the order can still be bought")
	}
}

// TestOrdersOfTransferredApp: what somebody else owns can't be withdrawn, and needn't be, unless it comes back.
func TestOrdersOfTransferredApp(t *testing.T) {
	from, to := poco.DevAccounts()[0], poco.DevAccounts()[1]
	for what, hcl := range map[string]string{
		"removed": "",
		"moved":   appBlock("docker.io/iexechub/nilearn:2.0") + orderBlock("appprice = 10\nvolume = 100"),
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.offer("appprice = 10\nvolume = 100")
			w.step("deploy sign publish[1,2]")
			app, order := common.HexToAddress(w.Value("iexec_app.a").GetAttr("address").AsString()), w.signed()
			nettest.Transfer(t, w.net, app, from.Key, to.Address)
			w.caughtUp()
			w.write(hcl)
			made := w.Plan()
			if text := made.String(); !strings.Contains(text, "is dead while app "+app.Hex()+" belongs to somebody else") || strings.Contains(kinds(made), "close") {
				t.Errorf("%s", text)
			}
			w.Obey(made)
			w.Settled()
			if err := nettest.Buy(t, w.net, order, 1); err == nil {
				t.Error("the order can be bought from somebody who no longer owns the app")
			}
			if what == "removed" {
				return
			}
			nettest.Transfer(t, w.net, app, to.Key, from.Address) // it comes back: so does the order
			w.caughtUp()
			if text := w.Apply(); !strings.Contains(text, "close iexec_apporder.o") {
				t.Errorf("%s", text)
			}
			w.Settled()
			if err := nettest.Buy(t, w.net, order, 1); err == nil {
				t.Error("the old order can be bought again")
			}
		})
	}
}

func TestWorkerpoolPolicy(t *testing.T) {
	w := newWorld(t)
	k := entryCases()[2]
	ratios := func() [2]int64 {
		t.Helper()
		_, _, more := k.seen(w)
		got := [2]int64{more["workerStakeRatio"].(*big.Int).Int64(), more["schedulerRewardRatio"].(*big.Int).Int64()}
		v := w.Value("iexec_workerpool.e")
		for i, name := range []string{"worker_stake_ratio", "scheduler_reward_ratio"} {
			if !v.GetAttr(name).RawEquals(cty.NumberIntVal(got[i])) {
				t.Errorf("%s is %#v in the state and %d on chain", name, v.GetAttr(name), got[i])
			}
		}
		return got
	}
	want := func(stake, reward int64) {
		t.Helper()
		if got := ratios(); got != [2]int64{stake, reward} {
			t.Errorf("ratios are %v, want %d and %d", got, stake, reward)
		}
	}
	w.write(k.block(k.one))
	w.step("deploy")
	want(30, 1)
	w.write(k.block(k.one, "worker_stake_ratio = 30\n"))
	w.Settled()
	w.write(k.block(k.one, "scheduler_reward_ratio = 5\n"))
	made := w.step("change-policy")
	if got, want := made.Actions[0].Summary, "worker_stake_ratio = 30, scheduler_reward_ratio = 5"; !strings.HasSuffix(got, want) {
		t.Errorf("the action is %q, want %q", got, want)
	}
	want(30, 5)
	w.write(k.block(k.one))
	w.Settled() // left out: as it is

	w.write(k.block(k.other, "worker_stake_ratio = 50\nscheduler_reward_ratio = 0\n"))
	w.step("deploy change-policy[1]")
	want(50, 0)
	address := common.HexToAddress(k.value(w, "address"))
	if _, err := nettest.Send(t, w.net, poco.DevAccounts()[0].Key, address, poco.PackChangePolicy(big.NewInt(1), big.NewInt(2))); err != nil {
		t.Fatal(err)
	}
	w.step("change-policy")
	want(50, 0)
	w.LoseState()
	w.write(k.block(k.other, "worker_stake_ratio = 60\n"))
	w.step("adopt change-policy[1]")
	want(60, 0)

	other := poco.DevAccounts()[1]
	w.write(k.block(k.other, "worker_stake_ratio = 70\nowner = \""+other.Address.Hex()+"\"\n"))
	w.step("change-policy transfer[1]")
	want(70, 0)
	w.write(k.block(k.other, "worker_stake_ratio = 71\nowner = \""+other.Address.Hex()+"\"\n"))
	w.wantError("worker_stake_ratio", "only its owner "+other.Address.Hex()+" can change it")
	w.write(k.block("description = \"theirs\"\nscheduler_reward_ratio = 3\nowner = \"" + other.Address.Hex() + "\"\n"))
	w.wantError("scheduler_reward_ratio", "only its owner "+other.Address.Hex()+" can change it")
	w.write(k.block(k.one, "scheduler_reward_ratio = 101\n"))
	w.wantError("scheduler_reward_ratio", "from 0 to 100")
}

// The bytes count, and the text stays what the user wrote.
func TestDatasetMultiaddr(t *testing.T) {
	w := newWorld(t)
	k := entryCases()[1]
	w.write(k.block(k.one))
	w.step("deploy")
	_, fields, _ := k.seen(w)
	if want := common.FromHex("0xa5032212207237a7f4091a74ae95514890fa86a2e8a36037c350ea71c06a34c8cbe25a5057"); string(fields[1]) != string(want) {
		t.Errorf("multiaddr is %#x on chain, want %#x", fields[1], want)
	}
	first := k.value(w, "address")
	w.write(k.block(strings.Replace(k.one, ipfsCID, ipfsCIDv1, 1)))
	w.step("record")
	if k.value(w, "address") != first || k.value(w, "multiaddr") != ipfsCIDv1 {
		t.Errorf("%s at %s, want the same dataset %s", k.value(w, "multiaddr"), k.value(w, "address"), first)
	}
	w.LoseState()
	w.step("adopt")
	if k.value(w, "address") != first || k.value(w, "multiaddr") != ipfsCIDv1 {
		t.Errorf("%s at %s, want the same dataset %s", k.value(w, "multiaddr"), k.value(w, "address"), first)
	}
	for text, want := range map[string]string{"/ipfs/nonsense": "not a CID", "": "must not be empty"} {
		w.write(k.block(strings.Replace(k.one, ipfsCID, text, 1)))
		w.wantError("multiaddr", want)
	}
	for text, want := range map[string]string{"docker.io/a/b:1": "neither a URL nor /ipfs/<cid>", "ftp://example.com/a": "may be unable to download"} {
		w.write(k.block(strings.Replace(k.one, ipfsCID, text, 1)))
		if made := w.Plan(); !strings.Contains(made.String(), want) {
			t.Errorf("%q: the plan doesn't say %q:\n%s", text, want, made)
		}
	}
	w.write(k.block(strings.Replace(k.one, checksum, (common.Hash{}).Hex(), 1)))
	if made := w.Plan(); !strings.Contains(made.String(), "checksum of zero") {
		t.Errorf("%s", made)
	}
}

func TestEntryData(t *testing.T) {
	w := newWorld(t)
	all := ""
	for _, k := range entryCases() {
		all += k.block(k.one)
	}
	w.write(all)
	w.Apply()
	for _, k := range entryCases() {
		data := fmt.Sprintf("%sdata \"iexec_%s\" \"d\" {\n  address = iexec_%s.e.address\n}\noutput \"d\" {\n  value = data.iexec_%s.d\n}\n", all, k.kind.Noun, k.kind.Noun, k.kind.Noun)
		w.write(data)
		got := output(t, w.Plan(), "d").AsValueMap()
		want := w.Value("iexec_" + k.kind.Noun + ".e")
		for name, v := range got {
			if !v.RawEquals(want.GetAttr(name)) {
				t.Errorf("data iexec_%s: %s is %#v, want %#v", k.kind.Noun, name, v, want.GetAttr(name))
			}
		}
		for _, other := range entryCases() {
			if other.kind == k.kind {
				continue
			}
			address := other.value(w, "address")
			w.write(fmt.Sprintf("data \"iexec_%s\" \"d\" {\n  address = %q\n}\n", k.kind.Noun, address))
			w.wantError("address", fmt.Sprintf("there is no %s at %s on chain 31337; it is a", k.kind.Noun, address))
			w.wantError("address", "use iexec_"+other.kind.Noun)
		}
		w.write(fmt.Sprintf("data \"iexec_%s\" \"d\" {\n  address = \"0x00000000000000000000000000000000000000aa\"\n}\n", k.kind.Noun))
		w.wantError("address", "there is no "+k.kind.Noun+" at 0x00000000000000000000000000000000000000AA on chain 31337.")
		w.write(all)
	}
}

// TestImportEntry takes up entries that others made and gave away: the registry's log tells who made them.
func TestImportEntry(t *testing.T) {
	forEachEntry(t, func(t *testing.T, k entryCase) {
		w := newWorld(t)
		maker, owner := poco.DevAccounts()[2], poco.DevAccounts()[3]
		w.write(k.block(k.one, "owner = \""+maker.Address.Hex()+"\"\n"))
		w.step("deploy")
		address := k.value(w, "address")
		k.transferOutside(w, maker, owner)
		w.LoseState()
		block := k.block(k.one, "owner = \""+owner.Address.Hex()+"\"\n")
		w.write(block + fmt.Sprintf("import {\n  to = iexec_%s.e\n  id = %q\n}\n", k.kind.Noun, strings.ToLower(address)))
		before := w.nonce()
		w.step("import")
		if got := [3]string{k.value(w, "address"), k.value(w, "owner"), k.value(w, "first_owner")}; got != [3]string{address, owner.Address.Hex(), maker.Address.Hex()} {
			t.Errorf("address, owner and first owner are %v, want %s, %s and %s", got, address, owner.Address, maker.Address)
		}
		if now := w.nonce(); now != before {
			t.Errorf("importing sent %d transactions", now-before)
		}
		for _, other := range entryCases() {
			if other.kind != k.kind {
				w.write(other.block(other.one) + fmt.Sprintf("import {\n  to = iexec_%s.e\n  id = %q\n}\n", other.kind.Noun, address))
				if made := w.TryPlan(); !strings.Contains(made.Diags.Error(), fmt.Sprintf("there is no %s at %s on chain 31337; it is", other.kind.Noun, address)) {
					t.Errorf("errors are %q", made.Diags.Error())
				}
			}
		}
	})
}
