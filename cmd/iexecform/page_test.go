package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
)

var screenshot = flag.String("screenshot", "", "write a picture of the page of a plan to this `file`")

// TestPage looks at pages of `show --html` in a real browser, which must be installed: Debian's package chromium. One page is of
// some changes of each kind, one of 510 actions, one of names that are meant to deceive.
func TestPage(t *testing.T) {
	net := nettest.Start(t, func(o *localnet.Options) { o.MaxOpenOrders = -1 })
	small := reviewedPage(t, net)
	large := largePage(t, net)
	evil := evilPage(t, net)
	browser := startBrowser(t)

	t.Run("renders", func(t *testing.T) {
		for _, page := range []string{small, large, evil} {
			backgrounds := map[string]bool{}
			for _, scheme := range []string{"light", "dark"} {
				for _, width := range []int64{1100, 360} {
					name := fmt.Sprintf("%s %s %d", filepath.Base(page), scheme, width)
					seen := browser.open(t, page, scheme, width)
					if got := seen.requests(); len(got) != 1 {
						t.Errorf("%s: the page made requests: %q", name, got)
					}
					if got := seen.messages(); len(got) > 0 {
						t.Errorf("%s: the browser has something to say: %q", name, got)
					}
					if over := evaluate[float64](t, browser, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
						t.Errorf("%s: one must scroll %v pixels to the side", name, over)
					}
					if faint := evaluate[[]string](t, browser, faintText); len(faint) > 0 {
						t.Errorf("%s: text that can hardly be read: %q", name, faint)
					}
					drawn := evaluate[[]string](t, browser, brokenDrawing)
					if len(drawn) > 0 {
						t.Errorf("%s: the graph: %q", name, drawn)
					}
					if foreign := evaluate[int](t, browser, `document.querySelectorAll("script, img, iframe, object, form, base, [onerror], [style]").length`); foreign > 0 {
						t.Errorf("%s: %d elements that aren't the page's", name, foreign)
					}
					backgrounds[evaluate[string](t, browser, `getComputedStyle(document.body).backgroundColor`)] = true
				}
			}
			if len(backgrounds) != 2 {
				t.Errorf("%s: light and dark are not two: %v", filepath.Base(page), backgrounds)
			}
		}
	})

	t.Run("shows names as they are", func(t *testing.T) {
		browser.open(t, evil, "light", 1100)
		for _, text := range []string{"</style></title></code><script>alert(1)</script>", "u202e", "{{.}}"} {
			if !evaluate[bool](t, browser, fmt.Sprintf("document.body.textContent.includes(%q)", text)) {
				t.Errorf("the page lacks %s", text)
			}
		}
	})

	t.Run("folds", func(t *testing.T) {
		browser.open(t, small, "light", 1100)
		first := `document.querySelector("#change-1")`
		shown := func() bool { return evaluate[bool](t, browser, first+`.querySelector("dl").checkVisibility()`) }
		if shown() {
			t.Error("what goes is unfolded at first")
		}
		for _, want := range []bool{true, false} {
			browser.do(t, chromedp.Click(chromedp.CSS("#change-1 > summary")))
			if shown() != want {
				t.Errorf("after a click the change is shown: %v, want %v", !want, want)
			}
		}
		for _, want := range []bool{true, false} {
			browser.do(t, chromedp.Click(chromedp.CSS("#everything")))
			browser.await(t, fmt.Sprint(everythingShown, " == ", want))
		}
		browser.media(t, "print", "light")
		browser.await(t, everythingShown)
		browser.media(t, "", "light")
	})

	t.Run("leads from the graph to the actions", func(t *testing.T) {
		browser.open(t, large, "light", 1100)
		if evaluate[bool](t, browser, `document.querySelector("#action-1").checkVisibility()`) {
			t.Error("510 actions are unfolded at first")
		}
		nodes := evaluate[[]string](t, browser, `[...document.querySelectorAll("figure.wide a")].map(a => a.textContent.replace(/[^]*\n/, ""))`)
		if want := []string{"deploy×170many", "sign×170many", "publish×170many"}; !slices.Equal(nodes, want) {
			t.Errorf("510 actions are drawn as %q, want %q", nodes, want)
		}
		browser.do(t, chromedp.Click(chromedp.CSS(`figure.wide a[href="#action-1"] .box`)))
		if !evaluate[bool](t, browser, `document.querySelector("#action-1").checkVisibility() && document.querySelector("#action-1").matches(":target")`) {
			t.Error("a click on a node of the graph doesn't lead to its action")
		}
	})

	// The test would see what must not be.
	t.Run("control", func(t *testing.T) {
		bad := filepath.Join(t.TempDir(), "bad.html")
		writeFile(t, bad, `<p style="color: #ddd">faint</p><div style="width: 2000px">wide</div><img src="http://127.0.0.1:1/"><script>console.error("oh")</script>`)
		seen := browser.open(t, bad, "light", 360)
		if len(seen.requests()) != 2 || len(seen.messages()) == 0 || len(evaluate[[]string](t, browser, faintText)) != 1 ||
			evaluate[float64](t, browser, `document.documentElement.scrollWidth - innerWidth`) <= 0 {
			t.Errorf("requests %q, messages %q", seen.requests(), seen.messages())
		}
	})

	if *screenshot != "" {
		browser.open(t, small, "light", 1000)
		browser.do(t, chromedp.EmulateViewport(1000, 1900))
		picture, err := chromedp.Run(browser.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(*screenshot, picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	// faintText lists texts with a contrast below 4.5, what WCAG 2.2 asks for (AA). Colours are those of sRGB.
	faintText = `(() => {
		const parse = c => c.match(/[\d.]+/g).map(Number);
		const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b };
		const back = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c } return [255, 255, 255] };
		const faint = [];
		const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		for (let n; n = texts.nextNode();) {
			const e = n.parentElement;
			if (!n.data.trim() || !e.checkVisibility() || e.closest("svg, script")) continue;
			const [a, b] = [light(parse(getComputedStyle(e).color)), light(back(e))].sort((x, y) => y - x);
			if ((a + .05) / (b + .05) < 4.5) faint.push(n.data.trim().slice(0, 40));
		}
		return [...new Set(faint)];
	})()`

	// brokenDrawing tells what is wrong with the graph that is shown: there must be one, with nodes side by side, edges from
	// above to below, and texts within their boxes.
	brokenDrawing = `(() => {
		const figures = [...document.querySelectorAll("figure")].filter(f => f.checkVisibility());
		if (figures.length != 1) return [figures.length + " drawings"];
		const wrong = [];
		const boxes = [...figures[0].querySelectorAll("a")].map(a => [a, a.querySelector(".box").getBoundingClientRect()]);
		if (boxes.length < 3 || figures[0].querySelectorAll(".edge").length < 2) wrong.push("too little");
		for (const [i, [a, r]] of boxes.entries()) {
			for (const t of a.querySelectorAll("text")) {
				const b = t.getBoundingClientRect();
				if (b.left < r.left || b.right > r.right || b.top < r.top || b.bottom > r.bottom) wrong.push("outside of its box: " + t.textContent);
			}
			for (const [, s] of boxes.slice(i + 1))
				if (r.left < s.right && s.left < r.right && r.top < s.bottom && s.top < r.bottom) wrong.push("boxes overlap: " + a.textContent);
		}
		if (figures[0].scrollWidth > figures[0].clientWidth) wrong.push("wider than the page");
		return wrong;
	})()`

	everythingShown = `[...document.querySelectorAll("main dl, main table")].every(e => e.checkVisibility({contentVisibilityAuto: true}))`
)

// reviewedPage is the page of a plan that changes the catalogue of the examples: a lower price, and an app that goes.
func reviewedPage(t *testing.T, net *localnet.Network) string {
	t.Helper()
	dir := t.TempDir()
	c := nettest.Chain(net)
	here := strings.NewReplacer(
		`chain = "localnet"`, `chain = "localnet"`+"\n  rpc_url = \""+c.RPC+"\"\n  market_url = \""+c.Market+"\"",
		"127.0.0.1:5000", strings.SplitN(net.Info().SampleImage, "/", 2)[0],
	)
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "many-apps", "main.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	before := here.Replace(string(text))
	var after strings.Builder
	for line := range strings.Lines(before) {
		if !strings.Contains(line, "blur-faces =") {
			after.WriteString(strings.ReplaceAll(line, "0.5 RLC", "0.4 RLC"))
		}
	}
	name := filepath.Join(dir, "main.hcl")
	writeFile(t, name, before)
	iexecform(t, 0, "--chdir", dir, "apply", "--auto-approve")
	writeFile(t, name, after.String())
	return pageOf(t, dir, "small.html")
}

// evilPage is the page of a plan whose names and values are made to become markup.
func evilPage(t *testing.T, net *localnet.Network) string {
	t.Helper()
	dir := t.TempDir()
	c := nettest.Chain(net)
	const evil = `\"'></style></title></code><script>alert(1)</script><img src=http://127.0.0.1:1/ onerror=alert(1)><base href=//127.0.0.1:1/>\u202e{{.}}`
	writeFile(t, filepath.Join(dir, "main.hcl"), fmt.Sprintf(`
iexecform {
  project = "evil"
}
provider "iexec" {
  chain      = "localnet"
  rpc_url    = %q
  market_url = %q
}
resource "iexec_app" "evil" {
  for_each  = toset(["%s"])
  name      = each.key
  multiaddr = "docker.io/a/b:1"
  checksum  = "0xf8a48dc5125fe762e3e35b9493291b8472a68782dd19d741a7e7aa062ef73dd6"
}
resource "iexec_apporder" "evil" {
  for_each = iexec_app.evil
  app      = each.value.address
  appprice = 1
  volume   = 1
}
output "evil" {
  value = keys(iexec_app.evil)
}
`, c.RPC, c.Market, evil))
	return pageOf(t, dir, "evil.html")
}

func largePage(t *testing.T, net *localnet.Network) string {
	t.Helper()
	dir := t.TempDir()
	c := nettest.Chain(net)
	writeFile(t, filepath.Join(dir, "main.hcl"), fmt.Sprintf(`
provider "iexec" {
  chain           = "localnet"
  rpc_url         = %q
  market_url      = %q
  max_open_orders = 1000
}
resource "iexec_app" "many" {
  count     = 170
  name      = "app-${count.index}"
  multiaddr = "docker.io/iexechub/app-${count.index}:1.0"
  checksum  = "0xf8a48dc5125fe762e3e35b9493291b8472a68782dd19d741a7e7aa062ef73dd6"
}
resource "iexec_apporder" "many" {
  count    = 170
  app      = iexec_app.many[count.index].address
  appprice = 10 + count.index
  volume   = 100
}
`, c.RPC, c.Market))
	return pageOf(t, dir, "large.html")
}

// pageOf plans what is in the directory and returns the name of the plan's page.
func pageOf(t *testing.T, dir, name string) string {
	t.Helper()
	iexecform(t, 0, "--chdir", dir, "plan", "--out", "p")
	var out, stderr bytes.Buffer
	if code := run([]string{"--chdir", dir, "show", "--html", "p"}, strings.NewReader(""), &out, &stderr, os.Environ()); code != 0 {
		t.Fatalf("show --html: exit code %d: %s", code, &stderr)
	}
	file := filepath.Join(dir, name)
	writeFile(t, file, out.String())
	return file
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A browser is a tab of one.
type browser struct{ ctx context.Context }

func startBrowser(t *testing.T) *browser {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	options := chromedp.WithAllocatorOptions(chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()))
	ctx, stop := chromedp.NewContext(ctx, options)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the end of the process
		stop()
		cancel()
	})
	if err := chromedp.Do(ctx); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no browser: %v. Install Debian's package chromium", err)
		}
		t.Skipf("SKIPPED, nothing was tested: no browser: %v. Install Debian's package chromium", err)
	}
	return &browser{ctx}
}

func (b *browser) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

func evaluate[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// await waits until an expression is true.
func (b *browser) await(t *testing.T, expression string) {
	t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(10*time.Second))); err != nil {
		t.Errorf("%s: %v", expression, err)
	}
}

func (b *browser) media(t *testing.T, media, scheme string) {
	t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Media: media, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// observed is what a page did while it was loaded.
type observed struct {
	mu     sync.Mutex
	asked  []string
	logged []string
}

func (o *observed) requests() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked)
}

func (o *observed) messages() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.logged)
}

func (o *observed) see(event any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, "data:") {
			o.asked = append(o.asked, e.Request.URL)
		}
	case *log.EventEntryAdded:
		o.logged = append(o.logged, e.Entry.Text)
	case *runtime.EventConsoleAPICalled:
		o.logged = append(o.logged, "console."+string(e.Type))
	case *runtime.EventExceptionThrown:
		o.logged = append(o.logged, e.ExceptionDetails.Text)
	}
}

// open shows a file and returns what happened while it was loaded.
func (b *browser) open(t *testing.T, file, scheme string, width int64) *observed {
	t.Helper()
	b.media(t, "", scheme)
	b.do(t, chromedp.EmulateViewport(width, 800), chromedp.Navigate("about:blank"))
	seen := &observed{}
	ctx, stop := context.WithCancel(b.ctx)
	defer stop()
	if err := chromedp.Listen(ctx, seen.see); err != nil {
		t.Fatal(err)
	}
	b.do(t, chromedp.Navigate("file://"+file))
	return seen
}
