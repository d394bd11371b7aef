package sms_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/iexec/sms"
)

func client(t *testing.T, url string) *sms.Client {
	t.Helper()
	c, err := sms.New(url, sms.Options{Timeout: 5 * time.Second, RetryFor: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// status is that of the failure, or 0.
func status(err error) int {
	var e *sms.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// An app has one secret, which only its owner gives it, for ever.
func TestPush(t *testing.T) {
	dir := t.TempDir()
	kept := func(o *localnet.Options) { o.DataDir = filepath.Join(dir, "net") }
	net, err := localnet.Start(t.Context(), localnet.Options{RPC: "127.0.0.1:0", Market: "127.0.0.1:0", SMS: "127.0.0.1:0", Registry: "127.0.0.1:0", DataDir: filepath.Join(dir, "net")})
	if err != nil {
		t.Fatal(err)
	}
	owner, stranger := poco.DevAccounts()[1], poco.DevAccounts()[2]
	app := nettest.CreateApp(t, net, owner, poco.App{Name: "secretive", Type: "DOCKER", Multiaddr: []byte("a/b:1")})
	other := nettest.CreateApp(t, net, owner, poco.App{Name: "open", Type: "DOCKER", Multiaddr: []byte("a/b:1")})
	c := client(t, net.Info().SMSURL)
	exists := func(c *sms.Client, app common.Address, want bool) {
		t.Helper()
		if there, err := c.Exists(t.Context(), app); err != nil || there != want {
			t.Errorf("there: %v, %v; want %v", there, err, want)
		}
	}
	exists(c, app, false)
	if err := c.Push(t.Context(), app, "s3cret", chain.NewKeySigner(stranger.Key)); status(err) != http.StatusUnauthorized || !strings.Contains(err.Error(), "use the wallet of the app's owner") {
		t.Errorf("a stranger pushes: %v", err)
	}
	for _, secret := range []string{"", strings.Repeat("é", sms.MaxSecret/2+1)} {
		if err := c.Push(t.Context(), app, secret, chain.NewKeySigner(owner.Key)); err == nil || status(err) != 0 {
			t.Errorf("a secret of %d bytes: %v, want it refused before it is sent", len(secret), err)
		}
	}
	exists(c, app, false)
	if err := c.Push(t.Context(), app, strings.Repeat("é", sms.MaxSecret/2), chain.NewKeySigner(owner.Key)); err != nil {
		t.Fatal(err)
	}
	exists(c, app, true)
	exists(c, other, false)
	var there *sms.ExistsError
	if err := c.Push(t.Context(), app, "another", chain.NewKeySigner(owner.Key)); !errors.As(err, &there) || there.App != app {
		t.Errorf("pushed again: %v", err)
	}
	if err := net.Close(); err != nil {
		t.Fatal(err)
	}
	exists(client(t, nettest.Start(t, kept).Info().SMSURL), app, true) // the network was stopped and started
}

// scripted answers requests in turn, and notes what they were.
type scripted struct {
	t       *testing.T
	mu      sync.Mutex
	answers []func(http.ResponseWriter)
	asked   []string
	bodies  []string
}

func answer(status int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(status) }
}

// hangUp closes the connection without an answer.
func hangUp(w http.ResponseWriter) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = connection.Close()
	}
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	s.asked, s.bodies = append(s.asked, r.Method), append(s.bodies, string(body))
	if len(s.asked) > len(s.answers) {
		s.t.Errorf("one request too many: %s %s", r.Method, r.URL)
		return
	}
	s.answers[len(s.asked)-1](w)
}

// What is repeated, and what comes of answers that are lost.
func TestUnclearAnswers(t *testing.T) {
	const yes, no = http.StatusNoContent, http.StatusNotFound
	for _, test := range []struct {
		name    string
		answers []func(http.ResponseWriter)
		asked   string
		want    string // part of the error; "" for none
	}{
		{"lost answer, and it is there", []func(http.ResponseWriter){hangUp, answer(yes)}, "POST HEAD", ""},
		{"lost answer, and it isn't there", []func(http.ResponseWriter){hangUp, answer(no), answer(yes)}, "POST HEAD POST", ""},
		{"error of the service, and it is there", []func(http.ResponseWriter){answer(502), answer(yes)}, "POST HEAD", ""},
		{"seen late", []func(http.ResponseWriter){answer(502), answer(no), answer(http.StatusConflict)}, "POST HEAD POST", ""},
		{"somebody was faster", []func(http.ResponseWriter){answer(http.StatusConflict)}, "POST", "has a secret already"},
		{"look again", []func(http.ResponseWriter){answer(502), answer(503), answer(no), answer(yes)}, "POST HEAD HEAD POST", ""},
		{"too large", []func(http.ResponseWriter){answer(http.StatusRequestEntityTooLarge)}, "POST", "more than 4096 bytes"},
		{"not an SMS", []func(http.ResponseWriter){answer(http.StatusOK)}, "POST", "not what a secret management service answers; check sms_url"},
		{"elsewhere", []func(http.ResponseWriter){func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}}, "POST", "set sms_url to the service's own URL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			script := &scripted{t: t, answers: test.answers}
			server := httptest.NewServer(script)
			defer server.Close()
			c, err := sms.New(server.URL, sms.Options{RetryFor: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			err = c.Push(t.Context(), common.Address{1}, "s3cret", chain.NewKeySigner(poco.DevAccounts()[1].Key))
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v, want success", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if got := strings.Join(script.asked, " "); got != test.asked {
				t.Errorf("asked %s, want %s", got, test.asked)
			}
			for i, body := range script.bodies {
				if want := map[string]string{"HEAD": "", "POST": "s3cret"}[script.asked[i]]; body != want {
					t.Errorf("%s sent %q, want %q", script.asked[i], body, want)
				}
			}
		})
	}
}

// An answer that quotes the secret isn't quoted.
func TestErrorsDontQuote(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte("<html>cannot parse " + string(body) + r.Header.Get("Authorization")))
	}))
	defer server.Close()
	var signed string
	err := client(t, server.URL).Push(t.Context(), common.Address{1}, "s3cret", remember{chain.NewKeySigner(poco.DevAccounts()[1].Key), &signed})
	if status(err) != http.StatusInternalServerError || signed == "" || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), signed) {
		t.Errorf("got %v", err)
	}
}

// remember notes the signature.
type remember struct {
	*chain.KeySigner
	signed *string
}

func (r remember) SignText(ctx context.Context, message []byte) ([]byte, error) {
	sign, err := r.KeySigner.SignText(ctx, message)
	*r.signed = common.Bytes2Hex(sign)
	return sign, err
}

func TestURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://sms.example":      "",
		"http://localhost:13300":   "",
		"http://[::1]:13300/":      "",
		"http://sms.example":       "everybody on the way could read the secrets",
		"sms.example":              "is not an https:// URL",
		"ftp://sms.example":        "is not an https:// URL",
		"http://127.0.0.1.example": "everybody on the way",
	} {
		switch _, err := sms.New(url, sms.Options{}); {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}
