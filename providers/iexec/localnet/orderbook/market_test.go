package orderbook_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/google/go-cmp/cmp"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/localnet/orderbook"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

func TestPaths(t *testing.T) {
	m := start(t)
	for _, c := range []struct {
		method, path string
		status       int
		text         string
	}{
		{"GET", "/version", 200, ""},
		{"GET", "/nothing", 404, "Not Found"},
		{"GET", "/", 404, "Not Found"},
		{"DELETE", "/apporders", 405, "Method Not Allowed"},
		{"POST", "/challenge", 405, "Method Not Allowed"},
		{"PUT", "/apporders/0x12", 405, "Method Not Allowed"},
	} {
		a := m.do(c.method, c.path, "", nil)
		if a.status != c.status || c.text != "" && (a.text != c.text || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain")) {
			t.Errorf("%s %s: %d %s %q", c.method, c.path, a.status, a.header.Get("Content-Type"), a.text)
		}
	}
	zero := common.Hash{}.Hex()
	for path, want := range map[string]string{
		"/apporders":                                       "chainId is a required field",
		"/apporders?chainId=1":                             "chainId 1 is not supported",
		"/metrics":                                         "chainId is a required field",
		"/challenge?chainId=31337":                         "address is a required field",
		"/challenge?chainId=31337&address=0x12":            "address is not a valid ethereum address",
		"/challenge?chainId=31337&address=name.eth":        "address is not a valid ethereum address",
		"/apporders?chainId=31337":                         "app or appOwner is required",
		"/datasetorders?chainId=31337":                     "dataset or datasetOwner is required",
		"/apporders?chainId=31337&app=any&pageSize=9":      "pageSize must be greater than or equal to 10",
		"/apporders?chainId=31337&app=any&pageSize=1001":   "pageSize must be less than or equal to 1000",
		"/apporders?chainId=31337&app=any&minTag=0x1":      "minTag must be a bytes32 hexstring",
		"/apporders/0x12?chainId=31337":                    "orderHash must be a bytes32 hexstring",
		"/deals/0x12?chainId=31337":                        "dealid must be a bytes32 hexstring",
		"/apporders?chainId=31337&app=any&app=any":         "app must be a `string` type, but the final value was: `[\"any\",\"any\"]`.",
		"/apporders?chainId=31337&app=any&minVolume=0":     "minVolume must be greater than or equal to 1",
		"/workerpoolorders?chainId=31337&workerpool=0xzz1": "workerpool is not a valid ethereum address",
	} {
		m.wantError(m.get(path), 400, want)
	}
	for path, want := range map[string]string{
		"/apporders/" + zero + "?chainId=31337":        "apporder not found",
		"/workerpoolorders/" + zero + "?chainId=31337": "workerpoolorder not found",
		"/deals/" + zero + "?chainId=31337":            "deal not found",
		"/categories/9?chainId=31337":                  "category not found",
	} {
		m.wantError(m.get(path), 404, want)
	}
	category := m.get("/categories/1?chainId=31337").body
	if category["name"] != "S" || category["workClockTimeRef"] != json.Number("1200") {
		t.Errorf("category 1: %v", category)
	}
	if all := m.get("/categories?chainId=31337").body; all["count"] != json.Number("5") || len(all["categories"].([]any)) != 5 {
		t.Errorf("categories: %v", all)
	}
}

func TestChallenge(t *testing.T) {
	m := start(t)
	wallet := m.owner.Address
	first := m.challenge(wallet)
	if again := m.challenge(wallet); again != first {
		t.Errorf("an unused challenge %q is replaced by %q", first, again)
	}
	data := m.get("/challenge?chainId=31337&address=" + wallet.Hex()).body["data"]
	want := object{
		"types": object{
			"EIP712Domain": []any{object{"name": "name", "type": "string"}, object{"name": "version", "type": "string"}, object{"name": "chainId", "type": "uint256"}},
			"Challenge":    []any{object{"name": "challenge", "type": "string"}},
		},
		"domain":      object{"name": "iExec Gateway", "version": "1", "chainId": "31337"},
		"primaryType": "Challenge",
		"message":     object{"challenge": first},
	}
	if diff := cmp.Diff(any(want), data); diff != "" {
		t.Errorf("challenge (-want +got):\n%s", diff)
	}

	path, body := "/apporders?chainId=31337", object{}
	good := m.authorize(m.owner)
	digest, rest, _ := strings.Cut(good, "_")
	sig, address, _ := strings.Cut(rest, "_")
	for name, bad := range map[string]string{
		"none":              "",
		"Bearer":            "Bearer " + good,
		"upper-case digest": "0x" + strings.ToUpper(digest[2:]) + "_" + rest,
		"other wallet":      digest + "_" + sig + "_" + poco.DevAccounts()[2].Address.Hex(),
		"other digest":      common.Hash{1}.Hex() + "_" + rest,
		"bad signature":     digest + "_0x1234_" + address,
	} {
		a := m.do("POST", path, bad, body)
		if a.status != 403 || a.body["error"] != "invalid authorization" {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
	m.wantError(m.do("POST", path, good, "{"), 500, "Internal error")
	m.wantError(m.do("POST", path, good, strings.Repeat(" ", 1<<20+1)+"{}"), 500, "Internal error")
	m.wantError(m.do("POST", "/apporders?chainId=5", good, body), 400, "chainId 5 is not supported")
	if again := m.challenge(wallet); again != first {
		t.Error("a refused request has used the challenge up")
	}
	// Any form of the signature will do, and what follows the address is ignored; then the challenge is gone.
	raw := common.FromHex(sig)
	raw[64] -= 27
	m.wantError(m.do("POST", path, digest+"_"+hexutil.Encode(raw)+"_"+strings.ToLower(address)+"_more", body), 400, "order.sign is a required field")
	m.wantError(m.do("POST", path, good, body), 403, "invalid authorization")
	if again := m.challenge(wallet); again == first {
		t.Error("a used challenge is handed out again")
	}
}

func TestPublish(t *testing.T) {
	m := start(t)
	o := m.appOrder(1, 100)
	a := m.write("POST", poco.AppOrder, m.owner, bodyOf(o, object{"volume": 100, "app": strings.ToLower(m.app.Hex()), "extra": "dropped"}))
	if a.status != 200 || a.body["ok"] != true {
		t.Fatalf("%d %s", a.status, a.text)
	}
	hash := hashOf(t, poco.AppOrder, o.Order)
	published := a.body["published"].(object)
	order := object{"sign": hexutil.Encode(o.Sign)}
	for name, value := range o.Order {
		order[name] = value
	}
	order["appprice"], order["volume"] = json.Number("1"), json.Number("100")
	want := object{
		"orderHash": hash, "order": order, "chainId": json.Number("31337"), "publicationTimestamp": published["publicationTimestamp"],
		"signer": m.owner.Address.Hex(), "status": "open", "remaining": json.Number("100"),
	}
	if diff := cmp.Diff(want, published); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", published["publicationTimestamp"].(string)); err != nil {
		t.Error(err)
	}
	got := m.get("/apporders/" + strings.ToUpper(hash[2:4]) + "?chainId=31337")
	m.wantError(got, 400, "orderHash must be a bytes32 hexstring")
	want["ok"], want["chainId"] = true, "31337"
	if diff := cmp.Diff(want, m.get("/apporders/0x"+strings.ToUpper(hash[2:])+"?chainId=31337").body); diff != "" {
		t.Errorf("get (-want +got):\n%s", diff)
	}

	other := poco.DevAccounts()[2]
	m.wantError(m.write("POST", poco.AppOrder, other, bodyOf(m.appOrder(1, 1))), 403,
		"only order signer "+m.owner.Address.Hex()+" can publish an order")
	missing := nettest.Sign(t, m.owner, poco.AppOrder, nettest.AppOrder(common.Address{1}, 0, 1))
	m.wantError(m.write("POST", poco.AppOrder, m.owner, bodyOf(missing)), 403, "Resource not deployed")
	m.wantError(m.write("POST", poco.AppOrder, m.owner, bodyOf(o)), 403, "order already published")

	// Forms of the signature: v 27/28 or EIP-2098; others are refused, or the contract reverts on them.
	next := m.appOrder(1, 1)
	compact := bytes.Clone(next.Sign[:64])
	compact[32] |= (next.Sign[64] - 27) << 7
	low := bytes.Clone(next.Sign)
	low[64] -= 27
	for _, c := range []struct {
		sign   string
		status int
		text   string
	}{
		{hexutil.Encode(low), 403, "invalid sign"},
		{hexutil.Encode(m.appOrder(2, 2).Sign), 403, "invalid sign"},
		{"0x", 500, "Something went wrong, you should retry later."},
		{"0x1234", 500, "Something went wrong, you should retry later."},
		{"0xzz", 500, "Something went wrong, you should retry later."},
		{"1234", 400, "order.sign must be a valid signature"},
	} {
		m.wantError(m.write("POST", poco.AppOrder, m.owner, bodyOf(next, object{"sign": c.sign})), c.status, c.text)
	}
	if a := m.write("POST", poco.AppOrder, m.owner, bodyOf(next, object{"sign": hexutil.Encode(compact)})); a.status != 200 {
		t.Errorf("compact signature: %d %s", a.status, a.text)
	}

	// A content type other than JSON counts as an empty body.
	r, err := http.NewRequest("POST", m.net.Info().MarketURL+"/apporders?chainId=31337", strings.NewReader("order=1"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", m.authorize(m.owner))
	m.wantError(m.send(r), 400, "order.sign is a required field")
}

func TestFieldValidation(t *testing.T) {
	m := start(t)
	o := m.appOrder(1, 100)
	for _, c := range []struct {
		field  string
		value  any
		status int
		text   string
	}{
		{"volume", 0, 400, "order.volume must be greater than or equal to 1"},
		{"volume", "9007199254740992", 400, "order.volume must be less than or equal to 9007199254740991"},
		{"volume", "abc", 400, "order.volume must be a `number` type, but the final value was: `NaN` (cast from the value `\"abc\"`)."},
		{"volume", "", 400, "order.volume must be a `number` type, but the final value was: `NaN` (cast from the value `\"\"`)."},
		{"volume", true, 400, "order.volume must be a `number` type, but the final value was: `NaN` (cast from the value `true`)."},
		{"volume", 1.5, 400, "order.volume must be an integer"},
		{"volume", nil, 400, "order.volume is a required field"},
		{"appprice", -1, 400, "order.appprice must be greater than or equal to 0"},
		{"tag", "0x9", 400, "order.tag must be a bytes32 hexstring"},
		{"tag", []string{"tee"}, 500, "Internal error"},
		{"salt", nil, 400, "order.salt is a required field"},
		{"sign", nil, 400, "order.sign is a required field"},
		{"datasetrestrict", "0x12", 400, "order.datasetrestrict is not a valid ethereum address"},
		{"datasetrestrict", nil, 400, "order.datasetrestrict is a required field"},
		{"app", "name.eth", 400, "order.app is not a valid ethereum address"},
	} {
		m.wantError(m.write("POST", poco.AppOrder, m.owner, bodyOf(o, object{c.field: c.value})), c.status, c.text)
	}
	for body, text := range map[string]string{
		`{}`:             "order.sign is a required field",
		`{"order":null}`: "order is a required field",
		`{"order":"x"}`:  "order must be a `object` type, but the final value was: `\"x\"`.",
		`[]`:             "this must be a `object` type, but the final value was: `[]`.",
	} {
		m.wantError(m.write("POST", poco.AppOrder, m.owner, body), 400, text)
	}
	// What is lenient: the number that was meant is what is signed. Tags have no meaning here.
	for _, volume := range []any{"1e2", "0x64", " 100 ", 100} {
		o := m.appOrder(1, 100, poco.Order{"tag": common.BigToHash(big.NewInt(2)).Hex()})
		if a := m.write("POST", poco.AppOrder, m.owner, bodyOf(o, object{"volume": volume})); a.status != 200 {
			t.Errorf("volume %v: %d %s", volume, a.status, a.text)
		}
	}
	top := m.appOrder(9007199254740991, 9007199254740991)
	if a := m.write("POST", poco.AppOrder, m.owner, bodyOf(top)); a.status != 200 || !strings.Contains(a.text, `"remaining":9007199254740991`) {
		t.Errorf("highest price and volume: %d %s", a.status, a.text)
	}
}

func TestUnpublish(t *testing.T) {
	m := start(t)
	published := map[any]string{} // time by hash
	for range 3 {
		o := m.publish(m.appOrder(1, 1))
		published[o["orderHash"]] = o["publicationTimestamp"].(string)
	}
	restricted := m.appOrder(1, 1, poco.Order{"requesterrestrict": m.owner.Address.Hex()})
	m.publish(restricted)
	hash := hashOf(t, poco.AppOrder, restricted.Order)
	other := poco.DevAccounts()[2]
	put := func(account poco.Account, body any) answer { return m.write("PUT", poco.AppOrder, account, body) }

	for body, text := range map[string]string{
		`{}`:                         "orderHash is a required field",
		`{"orderHash":"0x12"}`:       "orderHash must be a bytes32 hexstring",
		`{"target":"unpublish_all"}`: "app is a required field",
		`{"target":"all"}`:           "target must be one of the following values: unpublish_orderHash, unpublish_last, unpublish_all",
		`[]`:                         "this must be a `object` type, but the final value was: `[]`.",
	} {
		m.wantError(put(m.owner, body), 400, text)
	}
	m.wantError(put(other, object{"orderHash": hash}), 403, "only order signer "+m.owner.Address.Hex()+" can unpublish an order")
	m.wantError(put(other, object{"target": "unpublish_all", "app": m.app}), 403,
		fmt.Sprintf("no open apporder published by signer %s for app %s", other.Address, m.app))
	unknown := common.Hash{1}.Hex()
	m.wantError(put(m.owner, object{"orderHash": unknown}), 403, "apporder with orderHash "+unknown+" is not published")

	unpublished := func(a answer) []any {
		t.Helper()
		if a.status != 200 {
			t.Fatalf("unpublish: %d %s", a.status, a.text)
		}
		return a.body["unpublished"].([]any)
	}
	if diff := cmp.Diff([]any{hash}, unpublished(put(m.owner, object{"target": "unpublish_orderHash", "orderHash": hash}))); diff != "" {
		t.Error(diff)
	}
	m.wantError(put(m.owner, object{"orderHash": hash}), 403, "apporder with orderHash "+hash+" is not published")
	m.wantError(m.get("/apporders/"+hash+"?chainId=31337"), 404, "apporder not found")
	last := m.publish(restricted) // the same signed order again
	published[hash] = last["publicationTimestamp"].(string)
	gone := unpublished(put(m.owner, object{"target": "unpublish_last", "app": strings.ToLower(m.app.Hex())}))
	if len(gone) != 1 {
		t.Errorf("unpublish_last: %v", gone)
	}
	gone = append(gone, unpublished(put(m.owner, object{"target": "unpublish_all", "app": m.app}))...)
	if len(gone) != 4 || !slices.IsSortedFunc(gone, func(a, b any) int { return strings.Compare(published[b], published[a]) }) {
		t.Errorf("unpublish_last, then unpublish_all: %v, want all four of %v, newest first", gone, published)
	}
	m.wantError(put(m.owner, object{"target": "unpublish_last", "app": m.app}), 403,
		fmt.Sprintf("no open apporder published by signer %s for app %s", m.owner.Address, m.app))
}

func TestMaxOpenOrders(t *testing.T) {
	m := start(t, func(o *localnet.Options) { o.MaxOpenOrders = 2 })
	one := m.appOrder(0, 1)
	m.publish(one)
	m.publish(m.appOrder(0, 1))
	third := m.appOrder(0, 1)
	m.wantError(m.write("POST", poco.AppOrder, m.owner, bodyOf(third)), 403,
		"maximum of 2 published open apporder has been reached for wallet "+m.owner.Address.Hex())
	if err := nettest.Buy(t, m.net, one, 1); err != nil {
		t.Fatal(err)
	}
	m.caughtUp() // a filled order makes room
	m.publish(third)
}

func TestDefaultMaxOpenOrders(t *testing.T) {
	m := start(t)
	for range 50 {
		m.publish(m.appOrder(0, 1))
	}
	m.wantError(m.write("POST", poco.AppOrder, m.owner, bodyOf(m.appOrder(0, 1))), 403,
		"maximum of 50 published open apporder has been reached for wallet "+m.owner.Address.Hex())
}

func TestFollowsTheChain(t *testing.T) {
	m := start(t)
	o := m.appOrder(3, 5)
	hash := m.publish(o)["orderHash"].(string)
	if err := nettest.Buy(t, m.net, o, 2); err != nil {
		t.Fatal(err)
	}
	m.wantStatus(hash, "open", 3)

	// Republishing a partly used order keeps what remains.
	if a := m.write("PUT", poco.AppOrder, m.owner, object{"orderHash": hash}); a.status != 200 {
		t.Fatal(a.text)
	}
	if again := m.publish(o); again["remaining"] != json.Number("3") {
		t.Errorf("published again: %v", again)
	}
	if err := nettest.Buy(t, m.net, o, 3); err != nil {
		t.Fatal(err)
	}
	m.wantStatus(hash, "filled", 0)
	m.wantError(m.write("POST", poco.AppOrder, m.owner, bodyOf(o)), 403, "order already published")
	m.wantError(m.write("PUT", poco.AppOrder, m.owner, object{"orderHash": hash}), 403, "apporder with orderHash "+hash+" is not published")

	closing := m.appOrder(0, 9)
	closed := m.publish(closing)["orderHash"].(string)
	unseen := m.appOrder(0, 9)
	for _, o := range []poco.SignedOrder{closing, unseen} {
		data, err := poco.PackManageOrder(poco.AppOrder, o.Order, poco.OpClose, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nettest.Send(t, m.net, m.owner.Key, m.net.Info().Hub, data); err != nil {
			t.Fatal(err)
		}
	}
	m.wantStatus(closed, "canceled", 0)
	m.wantError(m.write("POST", poco.AppOrder, m.owner, bodyOf(closing)), 403, "order already published")
	m.wantError(m.write("POST", poco.AppOrder, m.owner, bodyOf(unseen)), 403, "order already consumed")

	// A transfer kills the old owner's orders. Published again after the way back, the old record is open again.
	dying := m.appOrder(0, 4)
	first := m.publish(dying)
	dead := first["orderHash"].(string)
	heir := poco.DevAccounts()[2]
	nettest.Transfer(t, m.net, m.app, m.owner.Key, heir.Address)
	m.wantStatus(dead, "dead", 4)
	m.wantError(m.write("POST", poco.AppOrder, m.owner, bodyOf(dying)), 403, "only order signer "+heir.Address.Hex()+" can publish an order")
	nettest.Transfer(t, m.net, m.app, heir.Key, m.owner.Address)
	if again := m.publish(dying); again["publicationTimestamp"] != first["publicationTimestamp"] || again["status"] != "open" {
		t.Errorf("a dead order is published again as %v", again)
	}

	deals := m.get("/deals?chainId=31337&app=" + m.app.Hex() + "&apporderHash=" + hash).body
	if deals["count"] != json.Number("2") {
		t.Fatalf("deals: %v", deals)
	}
	newest := deals["deals"].([]any)[0].(object)
	if newest["volume"] != json.Number("3") || newest["app"].(object)["price"] != json.Number("3") || newest["appHash"] != hash ||
		newest["app"].(object)["owner"] != m.owner.Address.Hex() || newest["tag"] != o.Order["tag"] {
		t.Errorf("newest deal: %v", newest)
	}
	one := m.get("/deals/" + newest["dealid"].(string) + "?chainId=31337").body
	if one["dealid"] != newest["dealid"] || one["ok"] != true {
		t.Errorf("deal by id: %v", one)
	}
	if none := m.get("/deals?chainId=31337&appOwner=" + heir.Address.Hex()).body; none["count"] != json.Number("0") {
		t.Errorf("deals of another owner: %v", none)
	}
}

func TestOtherKinds(t *testing.T) {
	m := start(t)
	info, owner := m.net.Info(), m.owner
	dataset := poco.Dataset{Name: "d", Multiaddr: []byte("https://example.com/d")}
	workerpool := poco.Workerpool{Description: "w"}
	for registry, data := range map[common.Address][]byte{
		info.DatasetRegistry:    poco.PackCreateDataset(owner.Address, dataset),
		info.WorkerpoolRegistry: poco.PackCreateWorkerpool(owner.Address, workerpool),
	} {
		if _, err := nettest.Send(t, m.net, owner.Key, registry, data); err != nil {
			t.Fatal(err)
		}
	}
	post := func(k *poco.Kind, changes poco.Order) answer {
		o := k.Zero()
		o["volume"] = "2"
		for name, value := range changes {
			o[name] = value
		}
		return m.write("POST", k, owner, bodyOf(nettest.Sign(t, owner, k, o)))
	}
	want := func(a answer, text string) {
		t.Helper()
		if a.status != 200 || !strings.Contains(a.text, text) {
			t.Errorf("answer %d %s, want %s", a.status, a.text, text)
		}
	}
	d := dataset.Address(info.DatasetRegistry, owner.Address).Hex()
	w := workerpool.Address(info.WorkerpoolRegistry, owner.Address).Hex()
	want(post(poco.DatasetOrder, poco.Order{"dataset": d}), `"bulk":false`)
	want(post(poco.DatasetOrder, poco.Order{"dataset": d, "volume": "9007199254740991"}), `"bulk":true`)
	if bulk := m.get("/datasetorders?chainId=31337&dataset=" + d + "&bulkOnly=true").body; bulk["count"] != json.Number("1") {
		t.Errorf("bulk orders: %v", bulk)
	}
	want(post(poco.WorkerpoolOrder, poco.Order{"workerpool": w, "workerpoolprice": "3", "trust": "7"}), `"trust":7`)
	m.wantError(post(poco.WorkerpoolOrder, poco.Order{"workerpool": w, "workerpoolprice": "4"}), 403,
		"workerpool owner's stake is too low to cover required workerpool lock")
	for filter, count := range map[string]string{"minTrust=7": "1", "minTrust=8": "0", "category=0": "1", "category=1": "0", "workerpool=" + w: "1"} {
		if got := m.get("/workerpoolorders?chainId=31337&" + filter).body; got["count"] != json.Number(count) {
			t.Errorf("workerpool orders with %s: %v, want %s", filter, got["count"], count)
		}
	}

	request := poco.Order{"app": m.app.Hex(), "requester": owner.Address.Hex(), "params": `{"iexec_args":"a <b> \"c\""}`}
	m.wantError(post(poco.RequestOrder, request), 403, "No apporder published for app "+m.app.Hex())
	hash := m.publish(m.appOrder(5, 1))["orderHash"]
	m.wantError(post(poco.RequestOrder, request), 403, "appmaxprice for app "+m.app.Hex()+" is too low, actual best price is 5 nRLC")
	request["appmaxprice"] = "5"
	m.wantError(post(poco.RequestOrder, request), 403, "requester stake is too low to cover requestorder payment, minimum stake required is 10 nRLC")
	deposit, err := poco.TokenABI().Pack("approveAndCall", info.Hub, big.NewInt(10), []byte{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nettest.Send(t, m.net, owner.Key, info.RLC, deposit); err != nil {
		t.Fatal(err)
	}
	a := post(poco.RequestOrder, request)
	want(a, `"status":"open"`)
	if params := a.body["published"].(object)["order"].(object)["params"]; params != request["params"] {
		t.Errorf("params %q, want %q", params, request["params"])
	}
	if got := m.get("/requestorders?chainId=31337&requester=" + owner.Address.Hex()).body; got["count"] != json.Number("1") {
		t.Errorf("requests: %v", got)
	}
	// A request that nothing can match any more is dead.
	if a := m.write("PUT", poco.AppOrder, owner, object{"orderHash": hash}); a.status != 200 {
		t.Fatal(a.text)
	}
	if got := m.get("/requestorders?chainId=31337&requester=" + owner.Address.Hex()).body; got["count"] != json.Number("0") {
		t.Errorf("requests after the app's last order: %v", got)
	}
	// So are orders that the stake doesn't cover any more.
	want(post(poco.WorkerpoolOrder, poco.Order{"workerpool": w, "workerpoolprice": "10"}), `"status":"open"`)
	withdraw, err := poco.HubABI().Pack("withdraw", big.NewInt(10))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nettest.Send(t, m.net, owner.Key, info.Hub, withdraw); err != nil {
		t.Fatal(err)
	}
	m.caughtUp()
	if got := m.get("/workerpoolorders?chainId=31337&workerpool=" + w).body; got["count"] != json.Number("1") {
		t.Errorf("workerpool orders without stake: %v", got)
	}
	metrics := m.get("/metrics?chainId=31337").body
	if metrics["apporders"] != json.Number("0") || metrics["datasetorders"] != json.Number("2") || metrics["workerpoolorders"] != json.Number("1") {
		t.Errorf("metrics: %v", metrics)
	}
}

func TestList(t *testing.T) {
	m := start(t, func(o *localnet.Options) { o.MaxOpenOrders = -1 })
	friend := poco.DevAccounts()[3].Address.Hex()
	gpu := common.BigToHash(big.NewInt(0x109)).Hex()
	hashes := map[string]string{} // name of each order by its hash
	add := func(name string, price, volume uint64, changes ...poco.Order) {
		hashes[m.publish(m.appOrder(price, volume, changes...))["orderHash"].(string)] = name
	}
	add("dear", 9, 1)
	add("cheap", 1, 1)
	add("big", 5, 50)
	add("friends", 2, 1, poco.Order{"requesterrestrict": friend})
	add("gpu", 6, 1, poco.Order{"tag": gpu})
	add("dataset", 3, 1, poco.Order{"datasetrestrict": friend})

	list := func(filter string) []string {
		t.Helper()
		a := m.get("/apporders?chainId=31337&" + filter)
		if a.status != 200 {
			t.Fatalf("%s: %d %s", filter, a.status, a.text)
		}
		names := []string{}
		for _, o := range a.body["orders"].([]any) {
			names = append(names, hashes[o.(object)["orderHash"].(string)])
		}
		if a.body["count"] != json.Number(strconv.Itoa(len(names))) {
			t.Errorf("%s: count %v of %v", filter, a.body["count"], names)
		}
		return names
	}
	app, owner := "app="+m.app.Hex(), "appOwner="+strings.ToLower(m.owner.Address.Hex())
	everything := "&dataset=any&workerpool=any&requester=any"
	tag := common.BigToHash(big.NewInt(0x100)).Hex()
	for _, c := range []struct{ filter, want string }{
		{app, "cheap big gpu dear"},
		{owner, "cheap big gpu dear"},
		{app + everything, "cheap friends dataset big gpu dear"},
		{owner + everything, "cheap friends dataset big gpu dear"},
		{"app=any&" + owner + everything, "cheap friends dataset big gpu dear"},
		{app + "&requester=" + friend, "cheap friends big gpu dear"},
		{app + "&isRequesterStrict=true&requester=" + friend, "friends"},
		{app + "&dataset=" + friend + "&isDatasetStrict=1", "dataset"},
		{app + "&minVolume=2", "big"},
		{app + "&minTag=" + tag, "gpu"},
		{app + "&maxTag=" + common.BigToHash(big.NewInt(9)).Hex(), "cheap big dear"},
		{app + "&status=filled", "cheap big gpu dear"},
		{"app=" + friend, ""},
		{app + "&appOwner=" + friend, ""},
	} {
		if got := strings.Join(list(c.filter), " "); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.filter, got, c.want)
		}
	}

	for range 39 {
		add("more", 5, 1) // with the same price: oldest first
	}
	type pageOf struct {
		rows           int
		next           any
		count, firstIs string
	}
	for query, want := range map[string]pageOf{
		"":                         {20, json.Number("20"), "45", "cheap"},
		"&page=1":                  {20, json.Number("21"), "45", "friends"},
		"&pageSize=15&pageIndex=2": {15, json.Number("45"), "45", "more"},
		"&pageSize=15&pageIndex=3": {0, nil, "45", ""},
		"&pageSize=1000":           {45, nil, "45", "cheap"},
		"&pageIndex=2":             {5, nil, "45", "more"},
		"&pageIndex=0&page=3":      {20, json.Number("20"), "45", "cheap"},
	} {
		body := m.get("/apporders?chainId=31337&" + owner + everything + query).body
		orders := body["orders"].([]any)
		got := pageOf{rows: len(orders), next: body["nextPage"], count: string(body["count"].(json.Number))}
		if len(orders) > 0 {
			got.firstIs = hashes[orders[0].(object)["orderHash"].(string)]
		}
		if got != want {
			t.Errorf("page %q: %v, want %v", query, got, want)
		}
	}
}

func TestRateLimit(t *testing.T) {
	m := start(t, func(o *localnet.Options) {
		o.RateLimit = orderbook.RateLimit{Max: 3, Period: time.Hour}
	})
	for i, path := range []string{"/version", "/nothing", "/metrics?chainId=31337"} {
		a := m.get(path)
		if a.status == 429 || a.header.Get("X-RateLimit-Limit") != "3" || a.header.Get("X-RateLimit-Remaining") != strconv.Itoa(2-i) {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
	a := m.get("/version")
	m.wantError(a, 429, "Rate limit exceeded")
	reset, err := strconv.ParseFloat(a.header.Get("X-RateLimit-Reset"), 64)
	retry, retryErr := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || retryErr != nil || reset < float64(time.Now().Unix()) || retry < 3500 || retry > 3599 {
		t.Errorf("headers %v", a.header)
	}
	if free := start(t).get("/version"); free.header.Get("X-RateLimit-Limit") != "" {
		t.Error("loopback clients are limited by default")
	}
}
