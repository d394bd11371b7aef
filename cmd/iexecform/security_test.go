package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
)

// A place is a project some of whose services are others than the local network's.
type place struct {
	t   *testing.T
	dir string
	env []string
}

// newPlace makes a project with an app, an order and a secret, whose services are at the URLs, or at those of the network where
// a URL is "".
func newPlace(t *testing.T, net *localnet.Network, rpc, market, sms, more string) *place {
	t.Helper()
	info, account := net.Info(), nettest.NewAccount(t, net, 1)
	orElse := func(url, otherwise string) string {
		if url == "" {
			return otherwise
		}
		return url
	}
	config := fmt.Sprintf(`
provider "iexec" {
  chain      = "localnet"
  rpc_url    = %q
  market_url = %q
  sms_url    = %q
}
resource "iexec_app" "a" {
  name      = %q
  multiaddr = "docker.io/a/b:1"
  checksum  = "0x00f51494d7a42a3c1c43464d9f09e06b2a99968e3b978f6cd11ab3410b7bcd14"
}
resource "iexec_apporder" "o" {
  app      = iexec_app.a.address
  appprice = 5
  volume   = 10
}
resource "iexec_app_secret" "s" {
  app   = iexec_app.a.address
  value = "what the app is told"
}
%s`, orElse(rpc, info.RPCURL), orElse(market, info.MarketURL), orElse(sms, info.SMSURL), filepath.Base(t.TempDir()), more)
	p := &place{t: t, dir: t.TempDir(), env: []string{
		"IEXECFORM_PRIVATE_KEY=" + hex.EncodeToString(crypto.FromECDSA(account.Key)), "IEXECFORM_LOG=trace", "HOME=" + t.TempDir(),
	}}
	if err := os.WriteFile(filepath.Join(p.dir, "main.hcl"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// fails runs the program in this process, which must fail, and returns all that it prints and logs.
func (p *place) fails(args ...string) string {
	p.t.Helper()
	var out syncBuffer
	if code := run(append([]string{"--chdir=" + p.dir}, args...), strings.NewReader(""), &out, &out, p.env); code != exitError {
		p.t.Errorf("iexecform %s: exit code %d\n%s", strings.Join(args, " "), code, out.String())
	}
	return out.String()
}

// moduleOf is a module block.
func moduleOf(source string) string {
	return fmt.Sprintf("module \"m\" {\n  source = %q\n}\n", source)
}

// TestSelfSignedServersAreRefused: whatever is fetched or sent, a certificate that nobody vouches for ends it, before the server
// is asked anything.
func TestSelfSignedServersAreRefused(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	host := server.Listener.Addr().String()
	net := nettest.Start(t)
	image := fmt.Sprintf("data \"oci_image\" \"i\" {\n  reference = %q\n}\n", host+"/a/b:1")
	for name, c := range map[string]struct{ rpc, market, sms, more, command string }{
		"chain":      {rpc: server.URL, command: "plan"},
		"market":     {market: server.URL, command: "plan"},
		"secrets":    {sms: server.URL, command: "apply --auto-approve"},
		"registry":   {more: image, command: "plan"},
		"OCI module": {more: moduleOf("oci://" + host + "/a/b:1"), command: "init"},
		"git module": {more: moduleOf("git::https://" + host + "/a/b.git?ref=v1"), command: "init"},
	} {
		t.Run(name, func(t *testing.T) {
			said := newPlace(t, net, c.rpc, c.market, c.sms, c.more).fails(strings.Fields(c.command)...)
			if !strings.Contains(said, "certificate") {
				t.Errorf("no word of the certificate:\n%s", said)
			}
		})
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the server was asked %d times", n)
	}
}

// TestRedirectionsAreNotFollowed: a service that sends elsewhere gets no second request made, and the other place nothing of
// the URL.
func TestRedirectionsAreNotFollowed(t *testing.T) {
	var reached atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer elsewhere.Close()
	var asked atomic.Int64
	sends := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer sends.Close()
	net := nettest.Start(t)
	for name, c := range map[string]struct{ rpc, market, sms, command string }{
		"chain":   {rpc: sends.URL, command: "plan"},
		"market":  {market: sends.URL, command: "plan"},
		"secrets": {sms: sends.URL, command: "apply --auto-approve"},
	} {
		asked.Store(0)
		said := newPlace(t, net, c.rpc, c.market, c.sms, "").fails(strings.Fields(c.command)...)
		if !strings.Contains(said, "307") || asked.Load() == 0 {
			t.Errorf("%s: it was asked %d times, and no word of the redirection:\n%s", name, asked.Load(), said)
		}
	}
	if n := reached.Load(); n > 0 {
		t.Errorf("the other server was asked %d times", n)
	}
}

// TestURLsKeepTheirSecrets: the keys in the URLs of services are in no message, no JSON and no log, whatever goes wrong, even
// when the service repeats them.
func TestURLsKeepTheirSecrets(t *testing.T) {
	const secret = "s3cretkey"
	var answer func(w http.ResponseWriter, r *http.Request)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	defer server.Close()
	repeated := func(r *http.Request) string {
		basic, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Header.Get("Authorization"), "Basic "))
		return r.RequestURI + " " + r.URL.RawQuery + " " + r.Header.Get("Authorization") + " " + string(basic)
	}
	status := func(code int, form string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(code)
			_, _ = fmt.Fprintf(w, form, repeated(r))
		}
	}
	answers := map[string]func(w http.ResponseWriter, r *http.Request){
		"plain":     status(404, "%s"),
		"forbidden": status(403, `{"ok":false,"error":%q}`),
		"message":   status(401, `{"error":{"message":%q}}`),
		"long":      status(400, strings.Repeat("x", 60)+"%s"),
		"garbage":   status(200, "%s"),
		"page":      status(200, "<html>%s"),
		"failure":   status(200, `{"ok":false,"error":%q}`),
		"JSON-RPC":  status(200, `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":%q}}`),
		"batch":     status(200, `[{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":%q}}]`),
	}
	net := nettest.Start(t)
	for _, form := range []string{"http://user:%s@HOST/", "http://HOST/v3/%s", "http://HOST/v3/%s/rpc?x=1", "http://HOST/?apikey=%s", "http://HOST/?apikey=%s%%2F"} {
		url := fmt.Sprintf(strings.Replace(form, "HOST", server.Listener.Addr().String(), 1), secret)
		for name, a := range answers {
			answer = a
			for service, p := range map[string]*place{
				"chain": newPlace(t, net, url, "", "", ""), "market": newPlace(t, net, "", url, "", ""), "secrets": newPlace(t, net, "", "", url, ""),
			} {
				for _, command := range []string{"apply --auto-approve", "apply --auto-approve --json"} {
					// What is on the line of the file is the user's own; only the service's part counts.
					said := p.fails(strings.Fields(command)...)
					said = strings.ReplaceAll(said, fmt.Sprintf("%q", url), "")
					if strings.Contains(said, secret) || strings.Contains(said, base64.StdEncoding.EncodeToString([]byte("user:"+secret))) {
						t.Fatalf("%s, %s, %s, %s:\n%s", form, name, service, command, said)
					}
				}
			}
		}
	}
}

// TestGitKeepsItsSecrets: what git's own configuration puts into URLs isn't shown when git complains of them.
func TestGitKeepsItsSecrets(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	host := server.Listener.Addr().String()
	for name, value := range map[string]string{
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "url.http://s3cretkey@" + host + "/.insteadOf", "GIT_CONFIG_VALUE_0": "https://example.org/",
	} {
		t.Setenv(name, value)
	}
	net := nettest.Start(t)
	said := newPlace(t, net, "", "", "", moduleOf("git::https://example.org/a/b.git?ref=v1")).fails("init")
	if strings.Contains(said, "s3cretkey") || !strings.Contains(said, host) {
		t.Errorf("it says:\n%s", said)
	}
	said = newPlace(t, net, "", "", "", moduleOf("git::https://user:s3cretkey@"+host+"/a/b.git?ref=v1")).fails("init")
	if !strings.Contains(said, "credential helper") || strings.Count(said, "s3cretkey") > 1 { // the line of the file
		t.Errorf("it says:\n%s", said)
	}
}

// TestFileModes: what may be used by whoever reads it is for its owner only, whatever the umask.
func TestFileModes(t *testing.T) {
	net := nettest.Start(t)
	p := newPlace(t, net, "", "", "", "")
	defer syscall.Umask(syscall.Umask(0))
	logged := filepath.Join(p.dir, "log")
	p.env = append(p.env, "IEXECFORM_LOG_PATH="+logged)
	for _, args := range [][]string{
		{"plan", "--out=planned", "--json-into=lines"}, {"apply", "--backup=before", "planned"}, {"state", "mv", "iexec_app.a", "iexec_app.b"},
		{"state", "mv", "--backup=named", "iexec_app.b", "iexec_app.a"},
	} {
		var out syncBuffer
		if code := run(append([]string{"--chdir=" + p.dir}, args...), strings.NewReader(""), &out, &out, p.env); code != exitOK {
			t.Fatalf("iexecform %v: exit code %d\n%s", args, code, out.String())
		}
	}
	for name, want := range map[string]os.FileMode{
		"planned": 0o600, "lines": 0o600, "log": 0o600, ".iexecform.state.lock": 0o600, "iexecform.state.json.1.backup": 0o600, "named": 0o600,
		"iexecform.state.json": 0o644, // made to be committed, and says so
	} {
		info, err := os.Stat(filepath.Join(p.dir, name))
		if err != nil {
			t.Error(err)
		} else if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
}

// TestNothingActsOnTheTerminal: texts of others can't move the cursor, change the title or hide what comes after them.
func TestNothingActsOnTheTerminal(t *testing.T) {
	const evil = "\x1b[2J\x1b]0;pwned\x07\u202e\u009b31m"
	text, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"ok":false,"error":%s,"errors":[{"code":"UNKNOWN","message":%s}]}`, text, text)
	}))
	defer server.Close()
	answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":%s}}`, text)
	}))
	defer answers.Close()
	net := nettest.Start(t)
	image := fmt.Sprintf("data \"oci_image\" \"i\" {\n  reference = %q\n}\n", server.Listener.Addr().String()+"/a/b:1")
	name := "locals {\n  evil = \"\\u001b[2J\\u202e\"\n}\noutput \"o\" {\n  value = local.evil\n}\n"
	for what, p := range map[string]*place{
		"chain": newPlace(t, net, answers.URL, "", "", ""), "market": newPlace(t, net, "", server.URL, "", ""), "registry": newPlace(t, net, "", "", "", image),
		"names": newPlace(t, net, "", "", "", name),
	} {
		p.env = append([]string{"IEXECFORM_LOG=off", "CLICOLOR_FORCE=1"}, p.env...)
		var out syncBuffer
		run([]string{"--chdir=" + p.dir, "plan"}, strings.NewReader(""), &out, &out, p.env)
		shown := regexp.MustCompile(`\x1b\[(0|1|2|1;4|31|32|33|36)m`).ReplaceAllString(out.String(), "")
		if strings.ContainsAny(shown, "\x1b\x07\u202e\u009b") {
			t.Errorf("%s: %q", what, shown)
		}
		if !strings.Contains(shown, `\u001b[2J`) && !strings.Contains(shown, `\x1b[2J`) {
			t.Errorf("%s: the text isn't shown at all:\n%s", what, shown)
		}
	}
}
