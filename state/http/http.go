// Package http keeps states on a server that speaks Terraform's HTTP protocol, as GitLab's managed states do.
//
// Documents, of a state with the address A. The protocol has one document at an address, so that each has one of its own:
//   - A, the snapshot.
//   - A-journal-1, A-journal-2, …, the journal in parts of some ten kilobytes, each written anew when it grows. A part tells
//     whether there is another after it. None is ever deleted, but they are written over by those of the next journal.
//   - A-lease, the sign of life of the lock's holder.
//
// Each has a serial of its own that rises with every write.
//
// What holds:
//   - A record is on the server before what it announces happens, so that nothing is lost with this machine. A snapshot is
//     replaced in three steps: the last part of the journal gets the next serial, the snapshot is written, the journal begins
//     anew. A crash in between leaves what the next run reads right.
//   - The server keeps the lock, and takes a snapshot from its holder only. Before anything else is written, it is asked
//     whether the lock is still held.
//   - A server that refuses a serial that it has, as GitLab does, keeps apart runs that ignore the lock too: the journal's last
//     part is what they compete for. On other servers, they are kept apart by the lock alone.
//   - The protocol's locks have no end. The holder's lease rises; whoever waits for the lock and sees it not rise for its time,
//     by his own clock, breaks the lock. So that takes `--lock-timeout`, or force-unlock.
//   - Whoever takes over or breaks a lock gives the journal's last part the next serial.
//   - Workspaces need {workspace} in the addresses. The server can't list them.
package http

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the protocol's check of transmission
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/remote"
)

// DefaultTTL is the lock's time to live. Each sign of life is a document that the server may keep.
const DefaultTTL = 5 * time.Minute

// Options is where the server is and what it wants.
type Options struct {
	Address                     string
	UpdateMethod                string // "" is POST
	LockAddress, LockMethod     string // "" is Address, and LOCK
	UnlockAddress, UnlockMethod string // "" is Address, and UNLOCK
	Username, Password          string
	CA, Certificate, Key        string // PEM; "" is the system's, and none
	TTL                         time.Duration
	Patience                    time.Duration // how long a request is made again while the server can't be reached; 0 is 20 s
	Codec                       *state.Codec  // nil: in the clear
}

// Backend is a state.Backend on a server.
type Backend struct {
	o      Options
	client *http.Client

	mu   sync.Mutex
	held map[string]string // ids of the locks that are held, by workspace
}

var _ state.Backend = (*Backend)(nil)

const placeholder = "{workspace}"

// Open returns the backend. It is reached when something is asked of it.
func Open(o Options) (*Backend, error) {
	or := func(s *string, otherwise string) {
		if *s == "" {
			*s = otherwise
		}
	}
	or(&o.UpdateMethod, http.MethodPost)
	or(&o.LockAddress, o.Address)
	or(&o.LockMethod, "LOCK")
	or(&o.UnlockAddress, o.Address)
	or(&o.UnlockMethod, "UNLOCK")
	if o.TTL <= 0 {
		o.TTL = DefaultTTL
	}
	if o.Patience <= 0 {
		o.Patience = 20 * time.Second
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(o.CA)) {
			return nil, errors.New("client_ca_certificate_pem holds no certificate in PEM")
		}
	}
	if o.Certificate != "" || o.Key != "" {
		pair, err := tls.X509KeyPair([]byte(o.Certificate), []byte(o.Key))
		if err != nil {
			return nil, errors.New("client_certificate_pem and client_private_key_pem are not a certificate and its key in PEM")
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	return &Backend{o: o, held: map[string]string{}, client: &http.Client{
		Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if via[0].Method != http.MethodGet || len(via) > 5 {
				return fmt.Errorf("the server redirects to %s: give that address", r.URL.Host+r.URL.Path)
			}
			return nil
		},
	}}, nil
}

// Store implements state.Backend.
func (b *Backend) Store(workspace string) state.Store {
	return remote.New(&medium{Backend: b, workspace: workspace}, b.o.Codec, b.o.TTL)
}

// Workspaces implements state.Backend. The server can't list those that there are besides the default one.
func (b *Backend) Workspaces(context.Context) ([]string, error) {
	return []string{state.DefaultWorkspace}, nil
}

// Has implements state.Backend.
func (b *Backend) Has(ctx context.Context, workspace string) (bool, error) {
	if workspace == state.DefaultWorkspace {
		return true, nil
	}
	if !strings.Contains(b.o.Address, placeholder) {
		return false, nil
	}
	status, body, err := b.do(ctx, http.MethodGet, b.address(b.o.Address, workspace, "-journal-1"), nil)
	if err == nil && status == http.StatusOK {
		return len(body) > 0, nil
	}
	if err == nil && status != http.StatusNotFound && status != http.StatusNoContent && status != http.StatusUnprocessableEntity { // the last: deleted
		err = b.refusal(http.MethodGet, status, body)
	}
	if err != nil {
		return false, fmt.Errorf("look for workspace %s: %w", workspace, err)
	}
	return false, nil
}

// Create implements state.Backend.
func (b *Backend) Create(ctx context.Context, workspace string) error {
	if !strings.Contains(b.o.Address, placeholder) {
		return fmt.Errorf("make workspace %s: the address of the backend is that of one state: put %s where the names of states differ", workspace, placeholder)
	}
	m := &medium{Backend: b, workspace: workspace}
	if err := m.fence(ctx); err != nil {
		return fmt.Errorf("make workspace %s: %w", workspace, err)
	}
	return nil
}

// Delete implements state.Backend.
func (b *Backend) Delete(ctx context.Context, workspace string) error {
	for _, suffix := range []string{"", "-lease", "-journal-1"} { // the last is what Has looks for
		address := b.address(b.o.Address, workspace, suffix)
		if suffix == "" {
			address = withID(address, b.lockID(workspace))
		}
		status, body, err := b.do(ctx, http.MethodDelete, address, nil)
		if err == nil && status != http.StatusNotFound && status/100 != 2 {
			err = b.refusal(http.MethodDelete, status, body)
		}
		if err != nil {
			return fmt.Errorf("delete workspace %s: %w", workspace, err)
		}
	}
	return nil
}

func (b *Backend) lockID(workspace string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held[workspace]
}

func (b *Backend) setLock(workspace, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held[workspace] = id
}

// address is that of one of a workspace's documents. The suffix goes before the query.
func (b *Backend) address(of, workspace, suffix string) string {
	of = strings.ReplaceAll(of, placeholder, url.PathEscape(workspace))
	path, query, has := strings.Cut(of, "?")
	if has {
		query = "?" + query
	}
	return path + suffix + query
}

func withID(address, id string) string {
	if id == "" {
		return address
	}
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	return address + separator + "ID=" + url.QueryEscape(id)
}

// get reads a document. It returns nil when there is none.
func (b *Backend) get(ctx context.Context, address string) ([]byte, error) {
	status, body, err := b.do(ctx, http.MethodGet, address, nil)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusNotFound, status == http.StatusNoContent, status == http.StatusOK && len(body) == 0:
		return nil, nil
	case status != http.StatusOK:
		return nil, b.refusal(http.MethodGet, status, body)
	}
	return body, nil
}

// maxDocument is the most that is read of a document.
const maxDocument = 1 << 28

// do makes a request, again while the server can't be reached, is busy or at fault.
func (b *Backend) do(ctx context.Context, method, address string, body []byte) (status int, answer []byte, err error) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 50*time.Millisecond, 3*time.Second
	status, err = backoff.Retry(ctx, func() (int, error) {
		r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
		if err != nil {
			return 0, backoff.Permanent(errors.New("the address of the backend is no URL"))
		}
		if b.o.Username != "" || b.o.Password != "" {
			r.SetBasicAuth(b.o.Username, b.o.Password)
		}
		if len(body) > 0 {
			sum := md5.Sum(body) //nolint:gosec // the protocol's check of transmission
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
		}
		response, err := b.client.Do(r)
		if err != nil {
			return 0, withoutQuery(err)
		}
		defer func() { _ = response.Body.Close() }()
		answer, err = io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
		switch code := response.StatusCode; {
		case err != nil:
			return code, wording.OfExchange(err)
		case len(answer) > maxDocument:
			return code, backoff.Permanent(errors.New("the server's answer is larger than any state"))
		case code == http.StatusTooManyRequests, code >= http.StatusInternalServerError && code != http.StatusNotImplemented:
			if after, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
				return code, errors.Join(b.refusal(method, code, answer), backoff.RetryAfter(after))
			}
			return code, b.refusal(method, code, answer)
		}
		return response.StatusCode, nil
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(b.o.Patience))
	return status, answer, err
}

func withoutQueryText(address string) string {
	path, _, _ := strings.Cut(address, "?")
	return path
}

// withoutQuery leaves out of an error what may be secret in an address.
func withoutQuery(err error) error {
	var e *url.Error
	if !errors.As(err, &e) {
		return err
	}
	if u, parseErr := url.Parse(e.URL); parseErr == nil {
		return fmt.Errorf("%s %s: %w", e.Op, u.Host+u.Path, wording.OfExchange(e.Err))
	}
	return wording.OfExchange(e.Err)
}

// refusal is the error of an answer.
func (b *Backend) refusal(method string, status int, body []byte) error {
	text := fmt.Sprintf("the server answers %s with %d %s", method, status, http.StatusText(status))
	switch status {
	case http.StatusUnauthorized:
		return errors.New(text + ": set IEXECFORM_BACKEND_PASSWORD, and username in the backend block or IEXECFORM_BACKEND_USERNAME, to what it accepts")
	case http.StatusForbidden:
		return errors.New(text + ": the user may not do this with the state; in GitLab that takes the role Maintainer")
	}
	if words := strings.TrimSpace(string(body[:min(len(body), 200)])); words != "" {
		text += fmt.Sprintf(": %q", words)
	}
	return errors.New(text)
}
