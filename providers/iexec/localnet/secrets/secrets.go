// Package secrets is the secret management service of the local network: an HTTP server that answers as iExec's SMS does
// about the secrets of app developers. Source: AppComputeSecretController of iexec-sms.
//
// Nothing in the local network reads secrets, so only the fact that an app has one is kept.
package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/google/renameio/v2"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

const (
	maxSecret = 4096    // bytes of UTF-8
	maxBody   = 1 << 20 // bytes that are read at all
)

// Chain is the chain that the apps are on.
type Chain interface {
	// Call makes read-only calls against the newest block; a call that reverts has no Success.
	Call(ctx context.Context, calls ...poco.Call) ([]poco.CallResult, error)
}

// Config says what a Server serves.
type Config struct {
	Chain       Chain
	AppRegistry common.Address
	File        string       // where it is kept which apps have a secret; "" is in memory only
	Log         *slog.Logger // of what goes wrong inside; nil is quiet
}

// Server is the service. It is an http.Handler.
type Server struct {
	config Config
	mux    *http.ServeMux

	mu   sync.Mutex
	have map[common.Address]bool
}

// New opens the service. SIDE EFFECTS: none.
func New(config Config) (*Server, error) {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{config: config, mux: http.NewServeMux(), have: map[common.Address]bool{}}
	s.mux.HandleFunc("HEAD /apps/{app}/secrets", s.look)
	s.mux.HandleFunc("POST /apps/{app}/secrets", s.push)
	if config.File == "" {
		return s, nil
	}
	kept, err := os.ReadFile(config.File)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read which apps have a secret: %w", err)
	}
	var apps []common.Address
	if err := json.Unmarshal(kept, &apps); err != nil {
		return nil, fmt.Errorf("read which apps have a secret: %s: %w", config.File, err)
	}
	for _, app := range apps {
		s.have[app] = true
	}
	return s, nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// refuse answers as Spring does with the service's payload.
func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"data": nil, "error": []string{text}}) // the client is gone
}

// app is the address in the path, or false when an answer was sent.
func app(w http.ResponseWriter, r *http.Request) (common.Address, bool) {
	text := r.PathValue("app")
	if !common.IsHexAddress(text) || !strings.HasPrefix(text, "0x") {
		refuse(w, http.StatusNotFound, "Secret not found")
		return common.Address{}, false
	}
	return common.HexToAddress(text), true
}

func (s *Server) look(w http.ResponseWriter, r *http.Request) {
	address, ok := app(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	there := s.have[address]
	s.mu.Unlock()
	if !there {
		refuse(w, http.StatusNotFound, "Secret not found")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// push checks size, signature and presence, in this order.
func (s *Server) push(w http.ResponseWriter, r *http.Request) {
	address, ok := app(w, r)
	if !ok {
		return
	}
	secret, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	switch {
	case err != nil || len(secret) == 0:
		refuse(w, http.StatusBadRequest, "Required request body is missing")
		return
	case len(secret) > maxSecret:
		refuse(w, http.StatusRequestEntityTooLarge, "Secret size should not exceed 4 Kb")
		return
	}
	owner, err := s.owner(r.Context(), address)
	if err != nil {
		s.config.Log.Error("secrets", "app", address, "error", err)
		refuse(w, http.StatusInternalServerError, "Internal error")
		return
	}
	challenge := poco.AppSecretChallenge(address, string(secret))
	sign, err := hexutil.Decode(r.Header.Get("Authorization"))
	var by common.Address
	if err == nil {
		by, err = poco.Recover(poco.PersonalDigest(challenge[:]), sign)
	}
	if err != nil || by != owner || owner == (common.Address{}) {
		refuse(w, http.StatusUnauthorized, "Invalid authorization")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have[address] {
		refuse(w, http.StatusConflict, "Secret already exists")
		return
	}
	s.have[address] = true
	if err := s.save(); err != nil {
		delete(s.have, address)
		s.config.Log.Error("secrets", "app", address, "error", err)
		refuse(w, http.StatusInternalServerError, "Internal error")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// owner is the app's owner on chain; zero when there is no such app.
func (s *Server) owner(ctx context.Context, app common.Address) (common.Address, error) {
	data, err := poco.RegistryABI().Pack("ownerOf", poco.TokenID(app))
	if err != nil {
		return common.Address{}, err
	}
	results, err := s.config.Chain.Call(ctx, poco.Call{Target: s.config.AppRegistry, CallData: data})
	if err != nil || !results[0].Success {
		return common.Address{}, err
	}
	return common.BytesToAddress(results[0].ReturnData), nil
}

// save writes which apps have a secret, in order.
func (s *Server) save() error {
	if s.config.File == "" {
		return nil
	}
	apps := make([]common.Address, 0, len(s.have))
	for a := range s.have {
		apps = append(apps, a)
	}
	slices.SortFunc(apps, func(x, y common.Address) int { return bytes.Compare(x[:], y[:]) })
	text, err := json.Marshal(apps)
	if err != nil {
		return err
	}
	return renameio.WriteFile(s.config.File, text, 0o600)
}
