// Package orderbook is the market of the local network: an HTTP server that behaves as iExec's market API (api 7.1.2,
// watcher 7.0.1) does: paths, answers, error texts and status codes, order of checks, limits.
//
// It is the real one without its races: a challenge is used once even by requests at the same instant, and the limit of
// open orders holds. What follows from the chain (consumed, closed, transferred) is a watcher's work, as in the real one,
// so an answer may be behind the chain by the time that the watcher takes for a block; /metrics tells the last one.
package orderbook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

const (
	maxSafeInteger       = 1<<53 - 1
	defaultMaxOpenOrders = 50
	maxBody              = 1 << 20
	version              = "7.1.2" // of the market API that this one is like
)

// Chain is the chain that the orders are for.
type Chain interface {
	// Call makes read-only calls against the newest block; a call that reverts has no Success.
	Call(ctx context.Context, calls ...poco.Call) ([]poco.CallResult, error)
	// Head is the number of the newest block.
	Head() uint64
	// Block returns a block's time in Unix seconds and its logs.
	Block(number uint64) (seconds uint64, logs []*types.Log, err error)
	// Watch sends to wake, without blocking, after each new block, until stop is called.
	Watch(wake chan<- struct{}) (stop func())
}

// Config says what a Server serves.
type Config struct {
	Chain         Chain
	Domain        poco.Domain
	Registries    map[*poco.Kind]common.Address // of AppOrder, DatasetOrder, WorkerpoolOrder
	File          string                        // where orders are kept; "" is in memory only
	MaxOpenOrders int                           // by wallet and kind; 0 is 50, negative is none
	RateLimit     RateLimit
	Log           *slog.Logger // of what goes wrong inside; nil is quiet
}

// Server is the market. It is an http.Handler.
type Server struct {
	config     Config
	chainID    string
	handler    http.Handler
	challenges *challenges

	mu      sync.RWMutex // guards book and journal
	book    *book
	journal *journal

	stopWatch func()
	done      chan struct{}
	stop      chan struct{}
}

// New opens the market and catches up with the chain. Close must be called. SIDE EFFECTS: writes to config.File.
func New(ctx context.Context, config Config) (*Server, error) {
	if config.MaxOpenOrders == 0 {
		config.MaxOpenOrders = defaultMaxOpenOrders
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		config:     config,
		chainID:    config.Domain.ChainID.String(),
		challenges: newChallenges(config.Domain.ChainID),
		book:       newBook(config.Domain.ChainID.Uint64()),
		stop:       make(chan struct{}),
		done:       make(chan struct{}),
	}
	s.handler = config.RateLimit.Handler(s.routes())
	var err error
	if s.journal, err = openJournal(config.File, s.book); err != nil {
		return nil, err
	}
	wake := make(chan struct{}, 1)
	stopWatch := config.Chain.Watch(wake)
	if err := s.follow(ctx); err != nil {
		stopWatch()
		return nil, errors.Join(err, s.journal.close())
	}
	s.stopWatch = stopWatch
	go s.watch(wake) //nolint:gosec // it lives as long as the server
	return s, nil
}

// Close stops following the chain. The server must not be used any more.
func (s *Server) Close() error {
	s.stopWatch()
	close(s.stop)
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.journal.close(); err != nil {
		return fmt.Errorf("close the market: %w", err)
	}
	return nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// failure is an answer other than 200: status and text are all that a client gets.
type failure struct {
	status int
	text   string
}

func (f *failure) Error() string { return f.text }

func badRequest(format string, args ...any) error {
	return &failure{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func refused(format string, args ...any) error {
	return &failure{http.StatusForbidden, fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &failure{http.StatusNotFound, fmt.Sprintf(format, args...)}
}

var (
	errInternal      = &failure{http.StatusInternalServerError, "Internal error"}
	errChain         = &failure{http.StatusInternalServerError, "Something went wrong, you should retry later."}
	errAuthorization = &failure{http.StatusForbidden, "invalid authorization"}
)

// answer is the JSON of a success.
type answer = json.RawMessage

type endpoint func(r *http.Request) (answer, error)

func (s *Server) routes() http.Handler {
	paths := map[string]map[string]endpoint{
		"/version":    {http.MethodGet: s.getVersion},
		"/challenge":  {http.MethodGet: s.getChallenge},
		"/metrics":    {http.MethodGet: s.getMetrics},
		"/categories": {http.MethodGet: s.getCategories},
		"/deals":      {http.MethodGet: s.getDeals},
	}
	byID := map[string]endpoint{"categories": s.getCategory, "deals": s.getDeal}
	for _, k := range poco.Kinds() {
		paths["/"+k.Path] = map[string]endpoint{
			http.MethodGet:  func(r *http.Request) (answer, error) { return s.list(k, r) },
			http.MethodPost: func(r *http.Request) (answer, error) { return s.write(k, r, s.publish) },
			http.MethodPut:  func(r *http.Request) (answer, error) { return s.write(k, r, s.unpublish) },
		}
		byID[k.Path] = func(r *http.Request) (answer, error) { return s.getOrder(k, r) }
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		methods := paths[r.URL.Path]
		if head, id, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); ok && id != "" && !strings.Contains(id, "/") && byID[head] != nil {
			r.SetPathValue("id", id)
			methods = map[string]endpoint{http.MethodGet: byID[head]}
		}
		handle := methods[r.Method]
		switch {
		case methods == nil:
			plain(w, http.StatusNotFound)
		case handle == nil:
			for method := range maps.Keys(methods) {
				w.Header().Add("Allow", method)
			}
			plain(w, http.StatusMethodNotAllowed)
		default:
			s.reply(w, r, handle)
		}
	})
}

func plain(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, http.StatusText(status))
}

func (s *Server) reply(w http.ResponseWriter, r *http.Request, handle endpoint) {
	status := http.StatusOK
	body, err := handle(r)
	if err != nil {
		var f *failure
		if !errors.As(err, &f) {
			s.config.Log.Error("market", "method", r.Method, "path", r.URL.Path, "error", err)
			f = errInternal
		}
		status = f.status
		body = object("ok", false, "error", f.text)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// object writes a JSON object of names and values, in order. The values are of kinds that JSON can't refuse.
func object(pairs ...any) answer {
	out := []byte{'{'}
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			out = append(out, ',')
		}
		value, _ := json.Marshal(pairs[i+1]) //nolint:gosec // pairs
		out = append(append(appendString(out, pairs[i].(string)), ':'), value...)
	}
	return append(out, '}')
}

// checkChain checks the parameter that every path but /version needs.
func (s *Server) checkChain(q url.Values) error {
	id, err := text(q, "chainId")
	switch {
	case err != nil:
		return err
	case id == "":
		return badRequest("chainId is a required field")
	case id != s.chainID:
		return badRequest("chainId %s is not supported", id)
	}
	return nil
}

func (s *Server) getVersion(*http.Request) (answer, error) {
	return object("ok", true, "version", version), nil
}

func (s *Server) getMetrics(r *http.Request) (answer, error) {
	if err := s.checkChain(r.URL.Query()); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	pairs := []any{"ok", true, "lastBlock", s.book.lastBlock, "checkpointBlock", s.book.lastBlock}
	for _, k := range poco.Kinds() {
		pairs = append(pairs, k.Path, len(s.book.open[key{kind: k}]))
	}
	return object(pairs...), nil
}

func (s *Server) getChallenge(r *http.Request) (answer, error) {
	q := r.URL.Query()
	if err := s.checkChain(q); err != nil {
		return nil, err
	}
	wallet, err := address(q, "address")
	if err != nil {
		return nil, err
	}
	if wallet == "" {
		return nil, badRequest("address is a required field")
	}
	return object("ok", true, "data", challengeTypedData(s.chainID, s.challenges.of(common.HexToAddress(wallet)))), nil
}

// write does what publish and unpublish have in common: body, chain, authorization, in this order.
func (s *Server) write(k *poco.Kind, r *http.Request, do func(context.Context, *poco.Kind, any, common.Address) (answer, error)) (answer, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	if err := s.checkChain(r.URL.Query()); err != nil {
		return nil, err
	}
	wallet, ok := s.challenges.use(r.Header.Get("Authorization"))
	if !ok {
		return nil, errAuthorization
	}
	return do(r.Context(), k, body, wallet)
}

// readBody returns the decoded JSON, an object or an array; numbers are json.Number. A body of another content type
// counts as empty.
func readBody(r *http.Request) (any, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return map[string]any{}, nil
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(data) > maxBody {
		return nil, errInternal
	}
	if len(data) == 0 {
		return map[string]any{}, nil
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	var body any
	if err := dec.Decode(&body); err != nil {
		return nil, errInternal
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errInternal
	}
	switch body.(type) {
	case map[string]any, []any:
		return body, nil
	}
	return nil, errInternal
}

func (s *Server) getOrder(k *poco.Kind, r *http.Request) (answer, error) {
	if err := s.checkChain(r.URL.Query()); err != nil {
		return nil, err
	}
	hash, ok := parseBytes32(r.PathValue("id"))
	if !ok {
		return nil, badRequest("orderHash must be a bytes32 hexstring")
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := s.book.records[hash]
	if found == nil || found.kind != k {
		return nil, notFound("%s not found", k.Noun)
	}
	return object("ok", true, "orderHash", found.hash, "chainId", s.chainID, "order", json.RawMessage(found.renderOrder()),
		"remaining", found.remaining, "status", found.status, "publicationTimestamp", timestamp(found.published),
		"signer", found.signer.Hex()), nil
}

func (s *Server) getCategories(r *http.Request) (answer, error) {
	q := r.URL.Query()
	if err := s.checkChain(q); err != nil {
		return nil, err
	}
	page, err := parsePage(q)
	if err != nil {
		return nil, err
	}
	results, err := s.config.Chain.Call(r.Context(), poco.Call{Target: s.config.Domain.Hub, CallData: poco.HubABI().Methods["countCategory"].ID})
	if err != nil || !results[0].Success {
		return nil, errChain
	}
	all := make([]json.RawMessage, new(big.Int).SetBytes(results[0].ReturnData).Uint64())
	for i := range all {
		if all[i], err = s.category(r.Context(), uint64(i)); err != nil {
			return nil, err
		}
	}
	return pageAnswer("categories", all, page, func(c json.RawMessage) []byte { return c }), nil
}

func (s *Server) getCategory(r *http.Request) (answer, error) {
	if err := s.checkChain(r.URL.Query()); err != nil {
		return nil, err
	}
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 53)
	if err != nil {
		return nil, badRequest("catid must be a `number` type, but the final value was: `NaN` (cast from the value `%q`).", r.PathValue("id"))
	}
	category, err := s.category(r.Context(), id)
	if err != nil {
		return nil, err
	}
	return append([]byte(`{"ok":true,`), category[1:]...), nil
}

// category reads a category from the hub.
func (s *Server) category(ctx context.Context, id uint64) (answer, error) {
	data, err := poco.HubABI().Pack("viewCategory", new(big.Int).SetUint64(id))
	if err != nil {
		return nil, err
	}
	results, err := s.config.Chain.Call(ctx, poco.Call{Target: s.config.Domain.Hub, CallData: data})
	if err != nil {
		return nil, errChain
	}
	if !results[0].Success {
		return nil, notFound("category not found")
	}
	var out struct {
		Category struct {
			Name, Description string
			WorkClockTimeRef  *big.Int
		}
	}
	if err := poco.HubABI().UnpackIntoInterface(&out, "viewCategory", results[0].ReturnData); err != nil {
		return nil, err
	}
	return object("catid", id, "chainId", s.book.chainID, "name", out.Category.Name, "description", out.Category.Description,
		"workClockTimeRef", out.Category.WorkClockTimeRef), nil
}
