package poco

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/google/go-cmp/cmp"

	"github.com/iexecform/iexecform/internal/bounds"
)

// sample is the order of the spot vectors, as files may write it.
func sample(t *testing.T) Order {
	t.Helper()
	o, err := AppOrder.Canonical(map[string]any{
		"app": "c97b068bffdf6cf07c25d0cfb01bd079eebb134d", "appprice": json.Number("1000000000"), "volume": "0100",
		"tag":             "0x0000000000000000000000000000000000000000000000000000000000000009",
		"datasetrestrict": "0x0000000000000000000000000000000000000000", "workerpoolrestrict": "0x0000000000000000000000000000000000000000",
		"requesterrestrict": "0x0000000000000000000000000000000000000000", "salt": "0x" + strings.Repeat("11", 32),
		"sign": "0x1234", "orderHash": "ignored",
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestCanonicalOrder(t *testing.T) {
	o := sample(t)
	if o["app"] != "0xC97b068BffDf6Cf07C25d0Cfb01Bd079EebB134D" || o["appprice"] != "1000000000" || o["volume"] != "100" || len(o) != 8 {
		t.Errorf("not canonical: %v", o)
	}
	for _, c := range []struct {
		field string
		value any
		want  string
	}{
		{"app", nil, `apporder: field "app" is missing`},
		{"app", "nilearn.apps.iexec.eth", "is not an address"},
		{"appprice", 0.5, "is a float64"},
		{"appprice", json.Number("1e2"), "is not a decimal integer"},
		{"appprice", "-1", "is not a decimal integer"},
		{"appprice", "1 RLC", "is not a decimal integer"},
		{"volume", "", "is not a decimal integer"},
		{"volume", "115792089237316195423570985008687907853269984665640564039457584007913129639936", "from 0 to 2^256-1"},
		{"tag", "0x9", "is not 32 bytes"},
		{"salt", strings.Repeat("11", 33), "is not 32 bytes"},
		{"salt", "0x" + strings.Repeat("1g", 32), "is not 32 bytes"},
	} {
		values := map[string]any{}
		for k, v := range o {
			values[k] = v
		}
		values[c.field] = c.value
		if _, err := AppOrder.Canonical(values); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %v: error %v, want %q", c.field, c.value, err, c.want)
		}
	}
	delete(o, "salt")
	if _, err := Localnet().Domain().OrderHash(AppOrder, o); err == nil {
		t.Error("an order without salt has a hash")
	}
}

func TestOrderSpotVectors(t *testing.T) {
	key := DevAccounts()[0]
	for _, c := range []struct {
		chain                 uint64
		separator, hash, sign string
	}{
		{42161, "0x3b211ab198ac0c745a332d34416d88c417c2f06a87bd9f0d2fdd37b242c75402",
			"0x3fca5e6048008b8a5d3c1478ec8e317491e6c77c8994990b5472ea219f449b8e",
			"0xd9d3358eb0c0695fd3960edd08f561fca7740949a21b0898855f0589bb73e30b0e779224ba37b980fbad27a0e62437ebecd746d674117c829d5060058a03bf411b"},
		{421614, "0xde6e7a8f1c22386ba73ee5376e4ec7089a2d2b07ebbfce54d4cb386daa34cc92",
			"0x0def7b3831c68dd6724373f75bcda4c5324a2dcef793552818b92bbf2114b41c",
			"0x6180b122603deb01ff1b80201b915a90265c6b39d46dff01d0426e27f6c861c04cb6a075bd3ec9481348b9ddda7f0270ad08c8769b9e1f93c431339d504679da1c"},
	} {
		chain, ok := ChainByID(c.chain)
		if !ok {
			t.Fatalf("chain %d is not built in", c.chain)
		}
		d := chain.Domain()
		if got := d.Separator().Hex(); got != c.separator {
			t.Errorf("%s: separator %s, want %s", chain.Name, got, c.separator)
		}
		hash, err := d.OrderHash(AppOrder, sample(t))
		if err != nil || hash.Hex() != c.hash {
			t.Errorf("%s: hash %s (%v), want %s", chain.Name, hash, err, c.hash)
		}
		sig, err := Sign(key.Key, hash)
		if err != nil || hexutil.Encode(sig) != c.sign {
			t.Errorf("%s: signature %x (%v), want %s", chain.Name, sig, err, c.sign)
		}
	}
}

func TestTypeHashes(t *testing.T) {
	for k, want := range map[*Kind][2]string{
		AppOrder:        {"0x60815a0eeec47dddf1615fe53b31d016c31444e01b9d796db365443a6445d008", "0x0638bb0702457e2b4b01be8a202579b8bf97e587fb4f2cc4d4aad01f21a06ee0"},
		DatasetOrder:    {"0x6cfc932a5a3d22c4359295b9f433edff52b60703fa47690a04a83e40933dd47c", "0x075eb6f7578ff4292c241bd2484cd5c1d5e6ecc2ddd3317e1d8176b5a45865ec"},
		WorkerpoolOrder: {"0xaa3429fb281b34691803133d3d978a75bb77c617ed6bc9aa162b9b30920022bb", "0x322d980b7d7a6a1f7c39ff0c5445da6ae1d8e0393ff0dd468c8be3e2c8644388"},
		RequestOrder:    {"0xf24e853034a3a450aba845a82914fbb564ad85accca6cf62be112a154520fae0", "0x0ded7b52c2d77595a40d242eca751df172b18e686326dbbed3f4748828af77c7"},
	} {
		if got := [2]string{k.typeHash.Hex(), k.operationTypeHash.Hex()}; got != want {
			t.Errorf("%s: type hashes %v, want %v", k.Name, got, want)
		}
	}
	if want := "0x8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f"; domainTypeHash.Hex() != want {
		t.Errorf("domain type hash %s, want %s", domainTypeHash, want)
	}
}

func TestAppAddressSpotVector(t *testing.T) {
	app := App{Name: "hello-world", Type: "DOCKER", Multiaddr: []byte("docker.io/iexechub/python-hello-world:8.0.4"),
		Checksum: common.HexToHash("0xb0b664b7a6d249f81c067a9262b1763144eeb3ca63e553567f71673442ce9e84")}
	registry := common.HexToAddress("0x9950D94fb074182ee93ff79A50Cd698C4983281F")
	if got, want := app.Address(registry, DevAccounts()[0].Address).Hex(), "0x2AD1b288c454725220DAcd0E48634cd5fD9eD126"; got != want {
		t.Errorf("address %s, want %s", got, want)
	}
}

func TestMarketAndSecretSpotVectors(t *testing.T) {
	key := DevAccounts()[0]
	digest := MarketChallengeDigest(big.NewInt(42161), "Sign this message to log into iExec Gateway: abcdefghijklmnopqrstuvwxyzABCDEF")
	sig, err := Sign(key.Key, digest)
	if err != nil {
		t.Fatal(err)
	}
	want := "0x3b57c7ef302dee41a21c607f0f2453886cd57550506576bf0d13b745f1b0a3bd_0xf5d1af9ceb45d2f953634f6ed7a49610e387adadca101638f96bbd6403eaa9355521194b2203583217c5461ac33955c91c81d34041772cd108d903875aee24b51b_" + key.Address.Hex()
	if got := MarketAuthorization(digest, sig, key.Address); got != want {
		t.Errorf("authorization %s, want %s", got, want)
	}
	challenge := AppSecretChallenge(common.HexToAddress("0xC97b068BffDf6Cf07C25d0Cfb01Bd079EebB134D"), "my-secret")
	if want := "0xe4cf837efc3f618d4b8041eedc6b66e50f4c1dd969a9390e1dc91b875302c401"; challenge.Hex() != want {
		t.Errorf("challenge %s, want %s", challenge, want)
	}
	sig, err = Sign(key.Key, PersonalDigest(challenge[:]))
	if err != nil {
		t.Fatal(err)
	}
	if want := "0x74d842af4d320eb5c5966816a1272c3587d58d3bfb8769998283d6692a5ee52c150a78d0c8cd14935cee54ff9eb2668c9021d9dd23c89861426026676ddfcb221c"; hexutil.Encode(sig) != want {
		t.Errorf("signature %x, want %s", sig, want)
	}
}

func TestRecover(t *testing.T) {
	key := DevAccounts()[1]
	for n := range byte(8) { // both values of v occur
		digest := common.Hash{n}
		sig, err := Sign(key.Key, digest)
		if err != nil {
			t.Fatal(err)
		}
		low := bytes.Clone(sig)
		low[64] -= 27
		compact := bytes.Clone(sig[:64])
		compact[32] |= low[64] << 7
		for _, form := range [][]byte{sig, low, compact} {
			before := bytes.Clone(form)
			if got, err := Recover(digest, form); err != nil || got != key.Address {
				t.Errorf("recovered %s (%v) from %x, want %s", got, err, form, key.Address)
			}
			if !bytes.Equal(form, before) {
				t.Error("Recover changed its argument")
			}
		}
	}
	for _, bad := range [][]byte{nil, {1, 2}, make([]byte, 65), append(make([]byte, 64), 29), make([]byte, 66)} {
		if got, err := Recover(common.Hash{}, bad); err == nil {
			t.Errorf("recovered %s from %x", got, bad)
		}
	}
}

func TestTags(t *testing.T) {
	for _, c := range []struct {
		in   []string
		want int64
		text string
	}{
		{[]string{"tee", "tdx"}, 9, "tee,tdx"},
		{[]string{"tdx,tee"}, 9, "tee,tdx"},
		{[]string{"tee,scone"}, 3, "tee,scone"},
		{[]string{"tee", "gramine", "gpu"}, 0x105, "tee,gramine,gpu"},
		{nil, 0, common.Hash{}.Hex()},
		{[]string{""}, 0, common.Hash{}.Hex()},
		{[]string{"0x000000000000000000000000000000000000000000000000000000000000000A"}, 10, "scone,tdx"},
		{[]string{"0x0000000000000000000000000000000000000000000000000000000000000011"}, 17, "0x0000000000000000000000000000000000000000000000000000000000000011"},
	} {
		tag, err := ParseTag(c.in...)
		if err != nil || tag.Big().Int64() != c.want || FormatTag(tag) != c.text {
			t.Errorf("%q: %s as %q (%v), want %d as %q", c.in, tag, FormatTag(tag), err, c.want, c.text)
		}
		if again, err := ParseTag(FormatTag(tag)); err != nil || again != tag {
			t.Errorf("%q reads back as %s (%v)", FormatTag(tag), again, err)
		}
	}
	for _, bad := range [][]string{{"tee, tdx"}, {"TEE"}, {"sgx"}, {"0x9"}, {"tee", ""}, {"0xzz"}} {
		if tag, err := ParseTag(bad...); err == nil {
			t.Errorf("%q is %s, want an error", bad, tag)
		}
	}
}

func TestAmounts(t *testing.T) {
	for text, want := range map[string]string{
		"1 RLC": "1000000000", "0.5 RLC": "500000000", "0.000000001 RLC": "1", "007 nRLC": "7", "123": "123", "0": "0",
		"0 RLC": "0", "01.50 RLC": "1500000000",
		"115792089237316195423570985008687907853269984665640564039457584007913129639935": "115792089237316195423570985008687907853269984665640564039457584007913129639935",
	} {
		if got, err := ParseAmount(text); err != nil || got.String() != want {
			t.Errorf("%q: %v (%v), want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"1  RLC": "unit", "1RLC": "not a number", "1 rlc": "unit", " 1 RLC": "unit", "1 RLC ": "unit", "1 ": "unit", "": "not a number",
		"-1 RLC": "negative", "-1": "negative", "1.5": "fraction", "1.5 nRLC": "fraction", "0.0000000001 RLC": "9 decimals",
		"1. RLC": "after the point", ".5 RLC": "before the point", "1e9": "not a number", "1,5 RLC": "not a number", "+1": "not a number",
		"0x10": "not a number", "115792089237316195423570985008687907853269984665640564039457584007913129639936": "2^256-1",
	} {
		if got, err := ParseAmount(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, error %v, want %q", text, got, err, want)
		}
	}
	for n, want := range map[int64]string{0: "0 RLC", 1: "1 nRLC", 999: "999 nRLC", 1000: "0.000001 RLC", 500_000_000: "0.5 RLC", 12_000_000_000: "12 RLC"} {
		if got := FormatAmount(big.NewInt(n)); got != want {
			t.Errorf("%d nRLC: %q, want %q", n, got, want)
		}
	}
}

func FuzzAmount(f *testing.F) {
	for _, s := range []string{"1.5 RLC", "10 nRLC", "123", "0.000000001 RLC", "-1", "1. RLC", "00 RLC"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		defer bounds.Watch()()
		n, err := ParseAmount(text)
		if err != nil {
			return
		}
		again, err := ParseAmount(FormatAmount(n))
		if err != nil || again.Cmp(n) != 0 {
			t.Errorf("%q is %s, printed %q, read back %v (%v)", text, n, FormatAmount(n), again, err)
		}
	})
}

// TestSelectors holds the hand-written ABI to the contracts' selectors and topics.
func TestSelectors(t *testing.T) {
	want := map[string]string{
		"createApp": "3f7868ff", "predictApp": "e92118ed", "isRegistered": "c3c5a547", "tokenOfOwnerByIndex": "2f745c59",
		"ownerOf": "6352211e", "safeTransferFrom": "42842e0e", "owner": "8da5cb5b", "m_appName": "358982a3", "m_appType": "f8c2ceb3",
		"m_appMultiaddr": "39e75d45", "m_appChecksum": "84aaf12e", "m_appMREnclave": "e30d26a8", "viewApp": "e1523fb4",
		"appregistry": "45b637a9", "datasetregistry": "b1b11d2c", "workerpoolregistry": "90a0f546", "token": "fc0c546a",
		"domain": "c2fb26a6", "eip712domain_separator": "9910fd72", "viewConsumed": "4b2bec8c", "viewPresigned": "d286eb16",
		"verifySignature": "01751998", "verifyPresignatureOrSignature": "bf36994e", "viewAccount": "6b55f4a5", "viewDeal": "b74861b2",
		"viewCategory": "4f5f44ec", "countCategory": "c140996f", "withdraw": "2e1a7d4d", "withdrawTo": "c86283c8", "deposit": "b6b55f25",
		"approve": "095ea7b3", "allowance": "dd62ed3e", "approveAndCall": "cae9ca51", "manageAppOrder": "b2b07e66", "aggregate3": "82ad56cb",
	}
	topics := map[string]string{
		"Transfer":       "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
		"OrdersMatched":  "0xd811b592ed0899225773e8933d8df64bd0b62761a9d7aad4ed5b22735f4610a4",
		"SignedAppOrder": "0x50933cf5a9c44d5ed66b895deb27212aa33d811b46a7b41093e047e213c0bcab",
		"ClosedAppOrder": "0x7343f75be43aba524f85326508cd975d016ef7884676377366c69a7c32e30668",
		"Reward":         "0xc2aca55aa696938c7e95842e8939ca0fbb2120a3eeb8948cdcee2b70da566672",
	}
	got, gotTopics := map[string]string{}, map[string]string{}
	for _, a := range []*abi.ABI{HubABI(), RegistryABI(), AppABI(), TokenABI(), MulticallABI()} {
		for name, m := range a.Methods {
			if _, ok := want[name]; ok {
				got[name] = common.Bytes2Hex(m.ID)
			}
		}
		for name, e := range a.Events {
			if _, ok := topics[name]; ok {
				gotTopics[name] = e.ID.Hex()
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("selectors (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(topics, gotTopics); diff != "" {
		t.Errorf("topics (-want +got):\n%s", diff)
	}
}

func TestPackOrders(t *testing.T) {
	o := sample(t)
	data, err := PackManageOrder(AppOrder, o, OpClose, []byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	in, err := HubABI().Methods["manageAppOrder"].Inputs.Unpack(data[4:])
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(in[0])
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Order     struct{ App, Appprice any }
		Operation int
		Sign      []byte
	}
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if back.Operation != 1 || !bytes.Equal(back.Sign, []byte{1, 2, 3}) || back.Order.App != strings.ToLower(o["app"]) || back.Order.Appprice != 1e9 {
		t.Errorf("packed and unpacked: %s", text)
	}
	none := SignedOrder{Order: DatasetOrder.Zero()}
	data, err = PackMatchOrders(SignedOrder{Order: o, Sign: []byte{9}}, none,
		SignedOrder{Order: WorkerpoolOrder.Zero()}, SignedOrder{Order: RequestOrder.Zero()})
	if err != nil {
		t.Fatal(err)
	}
	if in, err = HubABI().Methods["matchOrders"].Inputs.Unpack(data[4:]); err != nil || len(in) != 4 {
		t.Errorf("matchOrders unpacks to %d orders (%v), want 4", len(in), err)
	}
	delete(o, "tag")
	if _, err := PackManageOrder(AppOrder, o, OpClose, nil); err == nil {
		t.Error("packed an order without tag")
	}
}

func TestAggregate3(t *testing.T) {
	calls := []Call{{Target: Multicall3, CallData: []byte{1}}, {AllowFailure: true, CallData: []byte{}}}
	in, err := MulticallABI().Methods["aggregate3"].Inputs.Unpack(PackAggregate3(calls)[4:])
	if err != nil || len(in) != 1 {
		t.Fatal(in, err)
	}
	want := []CallResult{{Success: true, ReturnData: []byte{1, 2}}, {ReturnData: []byte{}}}
	data, err := MulticallABI().Methods["aggregate3"].Outputs.Pack(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := UnpackAggregate3(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWellKnown(t *testing.T) {
	for i, want := range []string{"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"} {
		if got := DevAccounts()[i].Address.Hex(); got != want {
			t.Errorf("account %d is %s, want %s", i, got, want)
		}
	}
	if got := DevAccounts()[9].Address.Hex(); got != "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720" {
		t.Errorf("account 9 is %s", got)
	}
	for _, c := range Chains() {
		if byName, ok := ChainByName(c.Name); !ok || byName != c {
			t.Errorf("%s: not found by name", c.Name)
		}
	}
	if _, ok := ChainByName("bellecour"); ok {
		t.Error("bellecour is built in")
	}
	if _, ok := ChainByID(1); ok {
		t.Error("chain 1 is built in")
	}
}

func BenchmarkOrderHash(b *testing.B) {
	d := Localnet().Domain()
	o := AppOrder.Zero()
	for b.Loop() {
		if _, err := d.OrderHash(AppOrder, o); err != nil {
			b.Fatal(err)
		}
	}
}
