package iexec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
)

// imported reads objects with a client of its own.
func (w *world) imported(ids map[string]string) (values map[string]cty.Value, errs map[string]error, requests int64) {
	w.t.Helper()
	client, count := w.client()
	var reqs []providers.ImportRequest
	for address, id := range ids {
		i, err := addr.ParseInstance(address)
		if err != nil {
			w.t.Fatal(err)
		}
		reqs = append(reqs, providers.ImportRequest{Addr: i, ID: id})
	}
	values, errs = map[string]cty.Value{}, map[string]error{}
	for n, r := range client.(providers.Importer).Import(w.t.Context(), reqs) {
		values[reqs[n].Addr.String()], errs[reqs[n].Addr.String()] = r.Value.Cty(), r.Err
	}
	return values, errs, count.Load()
}

// What is imported is what the state would have, and requests grow with batches and pages, not with objects.
func TestImportRequests(t *testing.T) {
	w := newWorld(t, func(o *localnet.Options) { o.MaxOpenOrders = -1 })
	for _, n := range []int{20, 45} {
		w.write(fmt.Sprintf("resource \"iexec_app\" \"a\" {\n  count = %[1]d\n  name = \"a\"\n  multiaddr = \"docker.io/a/b:${count.index}\"\n  checksum = %[2]q\n}\n"+
			"resource \"iexec_dataset\" \"d\" {\n  count = %[1]d\n  name = \"d${count.index}\"\n  multiaddr = \"https://example.org/${count.index}\"\n  checksum = %[2]q\n}\n"+
			"resource \"iexec_apporder\" \"o\" {\n  count = %[1]d\n  app = iexec_app.a[count.index].address\n  appprice = 1\n  volume = 1\n}\n", n, checksum))
		w.Apply()
		ids := map[string]string{}
		for i := range w.State().Snapshot.Resources {
			name := map[string]string{"iexec_apporder": "order_hash"}[i.Resource.Type]
			if name == "" {
				name = "address"
			}
			ids[i.String()] = w.Value(i.String()).GetAttr(name).AsString()
		}
		values, errs, requests := w.imported(ids)
		for address, v := range values {
			if want := w.Value(address); errs[address] != nil || !v.RawEquals(want) {
				t.Fatalf("%s: imported %#v, %v; want %#v", address, v, errs[address], want)
			}
		}
		if len(values) != 3*n || requests > 12 { // more or less: types are read side by side
			t.Errorf("%d objects took %d requests, want at most 12", len(values), requests)
		}
	}
}

// An order that was partly sold is imported with what remains of it, under any name; it then lives on as if made here.
func TestImportOrder(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 10")
	w.Apply()
	if err := nettest.Buy(t, w.net, w.signed(), 4); err != nil {
		t.Fatal(err)
	}
	hash, app := w.Value("iexec_apporder.o").GetAttr("order_hash").AsString(), w.Value("iexec_apporder.o").GetAttr("app").AsString()
	w.LoseState()
	write := func(price int) {
		w.write(fmt.Sprintf("import {\n  to = iexec_apporder.x[\"y\"]\n  id = %q\n}\nresource \"iexec_apporder\" \"x\" {\n  for_each = { y = %q }\n  app = each.value\n  appprice = %d\n  volume = 10\n}\n", hash, app, price))
	}
	write(10)
	before := w.nonce()
	w.step("import")
	x := w.Value("iexec_apporder.x[\"y\"]")
	if !x.GetAttr("consumed").RawEquals(cty.NumberIntVal(4)) || !x.GetAttr("remaining").RawEquals(cty.NumberIntVal(6)) {
		t.Errorf("consumed %#v, remaining %#v; want 4 and 6", x.GetAttr("consumed"), x.GetAttr("remaining"))
	}
	if w.nonce() != before {
		t.Error("importing sent a transaction")
	}
	w.wantLive(10)
	write(20) // 6 are left to sell
	w.step("close sign[1] publish[2] unpublish[3]")
	w.wantLive(20)
	if got := w.live()[0].Remaining.Int64(); got != 6 {
		t.Errorf("%d are on offer, want 6", got)
	}
	old := map[string]string{"iexec_apporder.x": hash}
	if _, errs, _ := w.imported(old); errs["iexec_apporder.x"] == nil || !strings.Contains(errs["iexec_apporder.x"].Error(), "is closed") {
		t.Errorf("importing the closed order: %v", errs)
	}
}

// Ids that aren't of such an object are refused, each by itself; the others are read.
func TestImportErrors(t *testing.T) {
	w := newWorld(t)
	w.write(appAndDataset)
	w.Apply()
	app, dataset := w.Value("iexec_app.a").GetAttr("address").AsString(), w.Value("iexec_dataset.d").GetAttr("address").AsString()
	values, errs, _ := w.imported(map[string]string{
		"iexec_app.right": app, "iexec_app.dataset": dataset, "iexec_app.short": app[:20], "iexec_app.checksum": strings.ToUpper(app[2:4]) + app[4:],
		"iexec_dataset.app": app, "iexec_apporder.address": app, "iexec_apporder.nothing": "0x" + strings.Repeat("01", 32), "iexec_account.a": app,
	})
	if errs["iexec_app.right"] != nil || !values["iexec_app.right"].RawEquals(w.Value("iexec_app.a")) {
		t.Errorf("the right one: %#v, %v", values["iexec_app.right"], errs["iexec_app.right"])
	}
	for address, text := range map[string]string{
		"iexec_app.dataset": "it is a dataset: use iexec_dataset", "iexec_app.short": "is not an address", "iexec_app.checksum": "is not an address",
		"iexec_dataset.app": "it is an app: use iexec_app", "iexec_apporder.address": "is not 32 bytes", "iexec_apporder.nothing": "the market has no order",
		"iexec_account.a": "can't be imported",
	} {
		if err := errs[address]; err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: error %v, want %q", address, err, text)
		}
	}
}

const appAndDataset = `
resource "iexec_app" "a" {
  name      = "a"
  multiaddr = "docker.io/a/b:1"
  checksum  = "` + checksum + `"
}
resource "iexec_dataset" "d" {
  name      = "d"
  multiaddr = "https://example.org/d"
  checksum  = "` + checksum + `"
}
`
