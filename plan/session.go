package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// Session is the open clients of one run. Plan and apply of one run share it.
type Session struct {
	registry providers.Registry
	state    *state.Loaded
	base     providers.OpenRequest
	clients  map[addr.Provider]providers.Client
	failed   map[addr.Provider]bool

	writeOnly map[addr.Instance]map[string]cty.Value
}

// NewSession makes a session without clients.
func NewSession(registry providers.Registry, loaded *state.Loaded, project, workspace, dir string, prompt providers.Prompter) *Session {
	return &Session{
		registry: registry, state: loaded,
		base:    providers.OpenRequest{Project: project, Workspace: workspace, Dir: dir, Pending: loaded.Pending, Prompt: prompt},
		clients: map[addr.Provider]providers.Client{},
		failed:  map[addr.Provider]bool{},

		writeOnly: map[addr.Instance]map[string]cty.Value{},
	}
}

// Lock makes clients that are opened from now on use what was locked: see providers.OpenRequest.
func (s *Session) Lock(locked map[string]string) { s.base.Locked = locked }

// Open opens the client of a provider configuration, unless it is open.
func (s *Session) Open(ctx context.Context, p addr.Provider, config cty.Value) error {
	if s.clients[p] != nil {
		return nil
	}
	provider := s.registry[p.Name]
	if provider == nil {
		return fmt.Errorf("there is no provider %q; there are %s", p.Name, strings.Join(s.registry.Names(), ", "))
	}
	req := s.base
	req.Config = config
	req.Expect = s.types(p)
	req.Known = s.state.Snapshot.Networks[p.String()]
	req.CheckNetwork = func(facts map[string]string) error { return s.sameNetwork(p, facts) }
	client, err := provider.Open(ctx, req)
	if err != nil {
		s.failed[p] = true
		return err
	}
	s.clients[p] = client
	return nil
}

// Client returns an open client.
func (s *Session) Client(p addr.Provider) (providers.Client, bool) {
	c, ok := s.clients[p]
	return c, ok
}

// Failed reports whether the client could not be opened.
func (s *Session) Failed(p addr.Provider) bool { return s.failed[p] }

// CheckNetwork asks an open client which network it reaches and compares it with the one that the state belongs to. It
// returns nil facts for a client without identity.
func (s *Session) CheckNetwork(ctx context.Context, p addr.Provider) (map[string]string, error) {
	identified, ok := s.clients[p].(providers.Identified)
	if !ok {
		return nil, nil
	}
	facts, err := identified.Identity(ctx)
	if err != nil {
		s.failed[p] = true
		return nil, err
	}
	if err := s.sameNetwork(p, facts); err != nil {
		s.failed[p] = true
		return nil, err
	}
	return facts, nil
}

// Network returns what the state remembers of the network of its objects of the provider configuration. Opening compared it
// with what the configuration alone tells; CheckNetwork, which asks the network, was not needed.
func (s *Session) Network(p addr.Provider) (facts map[string]string, ok bool) {
	facts = s.state.Snapshot.Networks[p.String()]
	return facts, facts != nil && s.inUse(p)
}

// sameNetwork refuses facts that contradict those of the state, if that has objects of the provider configuration.
func (s *Session) sameNetwork(p addr.Provider, facts map[string]string) error {
	if !s.inUse(p) {
		return nil
	}
	return sameNetwork(p.String(), s.state.Snapshot.Networks[p.String()], facts)
}

// types are those of which the state has objects of the provider configuration, sorted.
func (s *Session) types(p addr.Provider) []string {
	name := p.String()
	found := map[string]bool{}
	for i, object := range s.state.Snapshot.Resources {
		if object.Provider == name {
			found[i.Resource.Type] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// inUse reports whether the state has objects of the provider configuration: without any, its network may change.
func (s *Session) inUse(p addr.Provider) bool {
	return len(s.types(p)) > 0
}

// sameNetwork compares the facts that both know.
func sameNetwork(provider string, known, found map[string]string) error {
	var differ []string
	for name, was := range known {
		if is, ok := found[name]; ok && is != was {
			differ = append(differ, fmt.Sprintf("%s was %s and is now %s", name, was, is))
		}
	}
	if len(differ) == 0 {
		return nil
	}
	sort.Strings(differ)
	return NetworkErrorf("the state belongs to another network than provider %s reaches: %s. "+
		"Use the provider settings that the state was made with, or another directory or workspace for another network; "+
		"if the network itself was reset, run `iexecform state rebase-network`: the next plan then finds what exists", provider, strings.Join(differ, "; "))
}

// Pending says what an interrupted run left unsettled, and what becomes of it when the plan's actions are applied; in words.
func (s *Session) Pending(ctx context.Context, actions []providers.Action) []string {
	var all []string
	byProvider := ActionsByProvider(actions)
	for _, p := range s.Providers() {
		if r, ok := s.clients[p].(providers.Resumer); ok {
			all = append(all, r.Pending(ctx, byProvider[p.String()])...)
		}
	}
	return all
}

// ActionsByProvider sorts actions by the text of their provider configuration.
func ActionsByProvider(actions []providers.Action) map[string][]providers.Action {
	by := map[string][]providers.Action{}
	for _, a := range actions {
		by[a.Provider] = append(by[a.Provider], a)
	}
	return by
}

// Providers returns the open provider configurations, sorted.
func (s *Session) Providers() []addr.Provider {
	list := make([]addr.Provider, 0, len(s.clients))
	for p := range s.clients {
		list = append(list, p)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].String() < list[j].String() })
	return list
}

// Close closes the clients.
func (s *Session) Close() error {
	var errs []error
	for _, c := range s.clients {
		if closer, ok := c.(providers.Closer); ok {
			errs = append(errs, closer.Close())
		}
	}
	s.clients = map[addr.Provider]providers.Client{}
	return errors.Join(errs...)
}
