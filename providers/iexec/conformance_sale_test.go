package iexec_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// A sale is a whole market of one wallet: what it offers, and what it reads back of it.
const sale = `
resource "iexec_app" "a" {
  name      = "Nilearn"
  multiaddr = "docker.io/iexechub/nilearn:1.0"
  checksum  = "` + checksum + `"
}
resource "iexec_apporder" "app" {
  app      = iexec_app.a.address
  appprice = 10
  volume   = 5
}
resource "iexec_dataset" "d" {
  name      = "Größe"
  multiaddr = "/ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ"
  checksum  = "` + checksum + `"
}
resource "iexec_datasetorder" "dataset" {
  dataset      = iexec_dataset.d.address
  datasetprice = 20
  volume       = 6
  apprestrict  = iexec_app.a.address
}
resource "iexec_workerpool" "w" {
  description = "here"
}
resource "iexec_workerpoolorder" "workerpool" {
  workerpool      = iexec_workerpool.w.address
  workerpoolprice = 30
  volume          = 7
  category        = 1
}
`

const saleData = `
data "iexec_account" "mine" {}
output "account" { value = [data.iexec_account.mine.stake, data.iexec_account.mine.locked] }
data "iexec_deals" "sold" { app = iexec_app.a.address }
output "deals" { value = [for d in data.iexec_deals.sold.deals : d.dealid] }
output "income" { value = [data.iexec_deals.sold.app_income, data.iexec_deals.sold.dataset_income, data.iexec_deals.sold.workerpool_income] }
`

// The official CLI shows what we offer of every kind, buys it with `iexec order fill`, and agrees with our data sources on
// what was bought and on who has what.
func TestOfficialCLIBuys(t *testing.T) {
	w := newWorld(t)
	c := newCLI(w)
	owner := poco.DevAccounts()[0]
	var done struct{}
	c.sign(&done, "wallet", "import", hexutil.Encode(crypto.FromECDSA(owner.Key)))
	c.sign(&done, "account", "deposit", "1000", "nRLC")

	w.write(sale)
	w.Apply()
	w.Settled()
	w.wantAccount(c, 1000, 0)
	w.entriesAreShown(c)
	hashes := w.booksAreShown(c)

	c.write("orders.json", map[string]any{strconv.FormatUint(poco.Localnet().ID, 10): map[string]any{}})
	var filled struct{ DealID, Volume string }
	c.sign(&filled, "order", "fill", "--app", hashes["app"], "--dataset", hashes["dataset"], "--workerpool", hashes["workerpool"],
		"--params", `{"iexec_args":"hello"}`, "--skip-preflight-check", "--force")
	if filled.Volume != "1" {
		t.Errorf("the CLI bought %s tasks, want 1", filled.Volume)
	}
	w.caughtUp()
	w.Obey(w.Plan()) // takes note of what was sold
	w.Settled()
	w.wantAccount(c, 1000-60-9, 60+9) // the price, and the workerpool's stake of 30 %
	for kind, hash := range hashes {
		w.dealIsShown(c, kind, hash, filled.DealID)
	}
	w.write(sale + saleData)
	wantOutputs(t, w.Plan(), map[string]cty.Value{
		"deals": cty.TupleVal([]cty.Value{cty.StringVal(filled.DealID)}), "income": numbers(10, 20, 30), "account": numbers(1000-60-9, 60+9),
	})

	nettest.Finalize(t, w.net, common.HexToHash(filled.DealID), 0)
	const reward = 29 // a worker gets it, but for the scheduler's percent, rounded up
	w.wantAccount(c, 1000-reward, 0)
	wantOutputs(t, w.Plan(), map[string]cty.Value{"account": numbers(1000-reward, 0)})
}

// wantAccount compares `iexec account show`, in nRLC.
func (w *world) wantAccount(c *cli, stake, locked int64) {
	w.t.Helper()
	var shown struct {
		Balance struct{ Stake, Locked string }
	}
	c.run(&shown, "account", "show", poco.DevAccounts()[0].Address.Hex())
	if b := shown.Balance; b.Stake != fmt.Sprint(stake) || b.Locked != fmt.Sprint(locked) {
		w.t.Errorf("the CLI shows stake %s and locked %s, want %d and %d", b.Stake, b.Locked, stake, locked)
	}
}

// entriesAreShown: it shows the dataset and the workerpool as our state has them.
func (w *world) entriesAreShown(c *cli) {
	w.t.Helper()
	dataset, workerpool := w.Value("iexec_dataset.d"), w.Value("iexec_workerpool.w")
	var d struct {
		Address string
		Dataset struct{ Owner, DatasetName, DatasetMultiaddr, DatasetChecksum string }
	}
	c.run(&d, "dataset", "show", dataset.GetAttr("address").AsString())
	// The CLI reads /ipfs back as /p2p, its own encoding being the same.
	if d.Dataset.Owner != dataset.GetAttr("owner").AsString() || d.Dataset.DatasetName != "Größe" || d.Dataset.DatasetChecksum != checksum ||
		d.Dataset.DatasetMultiaddr != "/p2p/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ" {
		w.t.Errorf("the CLI shows %+v, our state has %#v", d, dataset)
	}
	var p struct {
		Address    string
		Workerpool struct{ Owner, WorkerpoolDescription string }
	}
	c.run(&p, "workerpool", "show", workerpool.GetAttr("address").AsString())
	if p.Workerpool.Owner != workerpool.GetAttr("owner").AsString() || p.Workerpool.WorkerpoolDescription != "here" {
		w.t.Errorf("the CLI shows %+v, our state has %#v", p, workerpool)
	}
}

// booksAreShown: it lists our order of each kind. The hashes are by the resources' names.
func (w *world) booksAreShown(c *cli) map[string]string {
	w.t.Helper()
	hashes := map[string]string{}
	for _, k := range []struct {
		noun, entry      string
		price, remaining string
		args             []string
	}{
		{"app", "iexec_app.a", "10", "5", nil},
		{"dataset", "iexec_dataset.d", "20", "6", []string{"--app", w.Value("iexec_app.a").GetAttr("address").AsString()}},
		{"workerpool", "iexec_workerpool.w", "30", "7", []string{"--category", "1"}},
	} {
		hashes[k.noun] = w.Value("iexec_" + k.noun + "order." + k.noun).GetAttr("order_hash").AsString()
		type row struct {
			OrderHash        string
			Price, Remaining json.Number
		}
		var book struct {
			AppOrders, DatasetOrders, WorkerpoolOrders []row
		}
		c.run(&book, "orderbook", append([]string{k.noun, w.Value(k.entry).GetAttr("address").AsString()}, k.args...)...)
		rows := append(append(book.AppOrders, book.DatasetOrders...), book.WorkerpoolOrders...)
		if want := (row{hashes[k.noun], json.Number(k.price), json.Number(k.remaining)}); len(rows) != 1 || rows[0] != want {
			w.t.Errorf("orderbook %s: the CLI lists %+v, want %+v", k.noun, rows, want)
		}
	}
	return hashes
}

// dealIsShown: it shows the one deal of an order.
func (w *world) dealIsShown(c *cli, kind, hash, deal string) {
	w.t.Helper()
	type order struct {
		Remaining json.Number
		Deals     struct {
			Count     json.Number
			LastDeals []struct {
				DealID string
				Volume json.Number
				App    struct {
					Pointer string
					Price   json.Number
				}
			}
		}
	}
	var shown map[string]json.RawMessage
	c.run(&shown, "order", "show", "--"+kind, hash, "--deals")
	var o order
	if err := json.Unmarshal(shown[kind+"order"], &o); err != nil {
		w.t.Fatalf("order show --%s: %v\n%s", kind, err, shown)
	}
	last := o.Deals.LastDeals
	if o.Deals.Count != "1" || len(last) != 1 || last[0].DealID != deal || last[0].Volume != "1" || last[0].App.Price != "10" ||
		last[0].App.Pointer != w.Value("iexec_app.a").GetAttr("address").AsString() {
		w.t.Errorf("order show --%s: the CLI shows %+v, want deal %s of one task", kind, o, deal)
	}
}
