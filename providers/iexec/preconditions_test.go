package iexec_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/providertest"
)

// push puts another image under the tag and returns its digest.
func (w *world) push(reference string) string {
	w.t.Helper()
	tag, err := name.NewTag(reference)
	if err != nil {
		w.t.Fatal(err)
	}
	image, err := random.Image(64, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := remote.Write(tag, image, remote.WithContext(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		w.t.Fatal(err)
	}
	return digest.String()
}

// tag is a reference in the network's registry.
func (w *world) tag() string { return w.net.Info().Registry + "/team/app:1.0" }

// outside is all that an apply may change, as text: the wallet's transactions, the market, the state's files.
func (w *world) outside() string {
	w.t.Helper()
	text := fmt.Sprintf("nonce %d\nmarket %v\n", w.nonce(), w.live())
	for _, file := range []string{"iexecform.state.json", "iexecform.state.journal"} {
		content, err := os.ReadFile(filepath.Join(w.Dir, file))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
		text += file + " " + string(content) + "\n"
	}
	return text
}

func (w *world) encode(p *plan.Plan) []byte {
	w.t.Helper()
	document, _, err := plan.Encode(p, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return document
}

// saved is the plan as another process finds it in a file.
func (w *world) saved(document []byte) *providertest.Made {
	w.t.Helper()
	p, err := plan.Decode(document, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	loaded := w.State()
	session := plan.NewSession(w.Providers, loaded, p.Project, p.Workspace, w.Dir, nil)
	w.t.Cleanup(func() { _ = session.Close() })
	for _, v := range p.Providers {
		if err := session.Open(w.t.Context(), v.Addr, v.Config); err != nil {
			w.t.Fatal(err)
		}
	}
	return &providertest.Made{Plan: p, Session: session, Loaded: loaded}
}

// refused applies a plan that no longer fits, right away and as a saved one: each time nothing may happen, and the error
// must say what differs.
func (w *world) refused(made *providertest.Made, differs ...string) {
	w.t.Helper()
	before := w.outside()
	for how, made := range map[string]*providertest.Made{"fresh": made, "saved": w.saved(w.encode(made.Plan))} {
		result, err := w.TryApply(w.t.Context(), made)
		var failed *apply.PreconditionError
		if !errors.As(err, &failed) {
			w.t.Fatalf("%s plan: want a failed precondition, got %+v, %v\n%s", how, result, err, made)
		}
		for _, text := range differs {
			if !strings.Contains(err.Error(), text) {
				w.t.Errorf("%s plan: the error doesn't name %q: %v", how, text, err)
			}
		}
		if after := w.outside(); after != before {
			w.t.Errorf("%s plan: something was done\nbefore %s\nafter %s", how, before, after)
		}
	}
}

// imageApp is an app whose checksum is that of its image.
func imageApp(reference string) string {
	return fmt.Sprintf("data \"oci_image\" \"i\" {\n  reference = %q\n}\n", reference) +
		"resource \"iexec_app\" \"a\" {\n  name = \"Nilearn\"\n  multiaddr = data.oci_image.i.reference\n  checksum = data.oci_image.i.checksum\n}\n"
}

// followingApp is an app whose checksum is left out.
func followingApp(reference string) string {
	return fmt.Sprintf("resource \"iexec_app\" \"a\" {\n  name = \"Nilearn\"\n  multiaddr = %q\n}\n", reference)
}

func TestTagMovedSincePlan(t *testing.T) {
	w := newWorld(t)
	for _, app := range []string{imageApp(w.tag()), followingApp(w.tag())} {
		old := w.push(w.tag())
		w.write(app + orderBlock("appprice = 10\nvolume = 100"))
		made := w.Plan()
		if got := kinds(made); got != "resolve deploy[1] sign publish[2,3]" {
			t.Fatalf("actions are %q\n%s%s", got, app, made)
		}
		w.refused(made, w.tag(), old, w.push(w.tag()))
	}

	// Likewise when the app stays and only its order changes.
	w.step("resolve deploy[1] sign publish[2,3]")
	digest := func() string { return "sha256:" + w.Value("iexec_app.a").GetAttr("checksum").AsString()[2:] }
	w.write(followingApp(w.tag()) + orderBlock("appprice = 5\nvolume = 100"))
	made := w.Plan()
	w.refused(made, w.tag(), digest(), w.push(w.tag()))
}

func TestAppChangedHandsSincePlan(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 100")
	w.step("deploy sign publish[1,2]")
	w.offer("appprice = 20\nvolume = 100")
	up := w.Plan()
	w.offer("appprice = 5\nvolume = 100")
	down := w.Plan()

	from, to := poco.DevAccounts()[0], poco.DevAccounts()[1]
	app := w.Value("iexec_app.a").GetAttr("address").AsString()
	nettest.Transfer(t, w.net, common.HexToAddress(app), from.Key, to.Address)
	w.caughtUp()
	w.refused(up, app, from.Address.Hex(), to.Address.Hex())
	w.refused(down, app, from.Address.Hex(), to.Address.Hex())
}

func TestBoughtSincePlan(t *testing.T) {
	w := newWorld(t)
	w.offer("appprice = 10\nvolume = 100")
	w.step("deploy sign publish[1,2]")
	if err := nettest.Buy(t, w.net, w.signed(), 41); err != nil {
		t.Fatal(err)
	}
	hash := w.Value("iexec_apporder.o").GetAttr("order_hash").AsString()
	w.caughtUp()
	w.offer("appprice = 20\nvolume = 100") // closes the order and offers the 59 that remain
	made := w.Plan()
	if err := nettest.Buy(t, w.net, w.signed(), 1); err != nil {
		t.Fatal(err)
	}
	w.caughtUp()
	w.refused(made, hash, "41 of its units", "42 are now")
}

func TestSavedPlanIsAppliedOnce(t *testing.T) {
	w := newWorld(t)
	w.push(w.tag())
	for _, price := range []int64{10, 5} { // the first plan makes the state, the second changes it
		w.write(imageApp(w.tag()) + orderBlock(fmt.Sprintf("appprice = %d\nvolume = 100", price)))
		document := w.encode(w.Plan().Plan)
		w.Obey(w.saved(document))
		w.Settled()
		w.wantLive(price)

		before := w.outside()
		result, err := w.TryApply(t.Context(), w.saved(document))
		var stale *apply.StaleError
		if !errors.As(err, &stale) {
			t.Errorf("the second time: want a stale plan, got %+v, %v", result, err)
		}
		if after := w.outside(); after != before {
			t.Errorf("the second time something was done\nbefore %s\nafter %s", before, after)
		}
	}
}

func TestPlanMadeTwiceIsTheSame(t *testing.T) {
	w := newWorld(t)
	w.push(w.tag())
	w.write(imageApp(w.tag()) + orderBlock("appprice = 10\nvolume = 100"))
	same := func(what string) {
		first, second := w.encode(w.Plan().Plan), w.encode(w.Plan().Plan)
		if !bytes.Equal(first, second) {
			t.Errorf("%s: two plans differ\n%s\n%s", what, first, second)
		}
		if again := w.encode(w.saved(first).Plan); !bytes.Equal(first, again) {
			t.Errorf("%s: a saved plan is read as another\n%s\n%s", what, first, again)
		}
	}
	same("new")
	w.Apply()
	same("no change")
	w.write(imageApp(w.tag()) + orderBlock("appprice = 20\nvolume = 100"))
	same("price raised")
	w.push(w.tag())
	same("tag moved")
	w.write("")
	same("removed")
}
