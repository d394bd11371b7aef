package oci

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/semaphore"
)

// Watching what tags stand for, beside other work that needn't know. Policy:
//   - Each distinct reference is looked up once, many at a time, and nothing is tried again.
//   - A registry is asked for one reference first. If it can't be reached, it isn't asked for the others.
//   - Nobody waits for a registry that lets nobody connect in connectTime; for one that does, at most watchTime.
const (
	watchJobs   = 32
	connectTime = 500 * time.Millisecond
	watchTime   = 10 * time.Second
)

// A Watch is lookups under way.
type Watch struct {
	registries map[string]*watched
	begun      time.Time
	stop       context.CancelFunc
}

// watched is one registry.
type watched struct {
	references []string
	connected  atomic.Bool
	stop       context.CancelCauseFunc
	done       chan struct{}

	mu    sync.Mutex
	found map[string]Sight
}

// A Sight is what a tag was seen to stand for. Err wraps one of the reasons ErrNotFound, ErrDenied and ErrUnavailable, or is about
// the reference.
type Sight struct {
	Image    Image
	Registry string // host name; "" for what is no reference
	Err      error
}

var errSlow = fmt.Errorf("%w: it did not answer in time", ErrUnavailable)

// NewWatch begins to look references up and returns at once. Results, or Stop, must be called.
func NewWatch(ctx context.Context, references []string) *Watch {
	r := resolverOver(remote.DefaultTransport.(*http.Transport).Clone())
	r.transport.Patience = -1
	r.slots = semaphore.NewWeighted(watchJobs)
	return r.watch(ctx, references)
}

func (r *Resolver) watch(ctx context.Context, references []string) *Watch {
	ctx, stop := context.WithCancel(ctx)
	w := &Watch{registries: map[string]*watched{}, begun: time.Now(), stop: stop}
	seen := map[string]bool{}
	for _, reference := range references {
		if seen[reference] {
			continue
		}
		seen[reference] = true
		host := ""
		if ref, err := parse(reference); err == nil {
			if host = ref.Context().RegistryStr(); host == name.DefaultRegistry {
				host = "docker.io" // as people know it
			}
		}
		g := w.registries[host]
		if g == nil {
			g = &watched{done: make(chan struct{}), found: map[string]Sight{}}
			w.registries[host] = g
		}
		g.references = append(g.references, reference)
	}
	for host, g := range w.registries {
		var inside context.Context
		inside, g.stop = context.WithCancelCause(ctx)
		go func() {
			defer close(g.done)
			g.look(inside, r, host)
		}()
	}
	return w
}

// look asks one registry for all its references.
func (g *watched) look(ctx context.Context, r *Resolver, host string) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { g.connected.Store(true) }})
	ask := func(reference string) error {
		image, err := r.Resolve(ctx, reference, "")
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g.mu.Lock()
		g.found[reference] = Sight{image, host, err}
		g.mu.Unlock()
		return err
	}
	if err := ask(g.references[0]); ctx.Err() != nil || errors.Is(err, ErrUnavailable) {
		g.rest(host, err)
		return
	}
	each(len(g.references)-1, func(i int) { _ = ask(g.references[i+1]) })
	if ctx.Err() != nil {
		g.rest(host, context.Cause(ctx))
	}
}

// rest gives the references that nothing is known of an error.
func (g *watched) rest(host string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, reference := range g.references {
		if _, ok := g.found[reference]; !ok {
			g.found[reference] = Sight{Registry: host, Err: err}
		}
	}
}

// Stop ends the lookups.
func (w *Watch) Stop() { w.stop() }

// Results returns what was seen, by reference, and ends the lookups that nobody waits for any more.
func (w *Watch) Results(ctx context.Context) map[string]Sight {
	defer w.stop()
	connect := time.NewTimer(time.Until(w.begun.Add(connectTime)))
	defer connect.Stop()
	answer := time.NewTimer(time.Until(w.begun.Add(watchTime)))
	defer answer.Stop()
	all := map[string]Sight{}
	for _, g := range w.registries {
		for waiting := true; waiting; {
			select {
			case <-g.done:
				waiting = false
			case <-connect.C:
				w.giveUp(func(g *watched) bool { return !g.connected.Load() })
			case <-answer.C:
				w.giveUp(func(*watched) bool { return true })
			case <-ctx.Done():
				w.giveUp(func(*watched) bool { return true })
				<-g.done
				waiting = false
			}
		}
		maps.Copy(all, g.found)
	}
	return all
}

// giveUp ends the lookups at some registries.
func (w *Watch) giveUp(at func(*watched) bool) {
	for _, g := range w.registries {
		if at(g) {
			g.stop(errSlow)
		}
	}
}
