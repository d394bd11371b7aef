package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/retry"
	"github.com/iexecform/iexecform/providers/trace"
)

// DigestPrecondition is the kind of the precondition that a reference still has the digest that it had.
const DigestPrecondition = "oci_digest"

// Reasons why an image can't be resolved, to be tested for with errors.Is. A lookup that fails for another reason found
// something that can't be used.
var (
	ErrNotFound    = errors.New("image not found")
	ErrDenied      = errors.New("access to the image was denied")
	ErrUnavailable = errors.New("the registry is unavailable")
)

// Image is what a reference stood for when it was looked up.
type Image struct {
	Reference string // as it was asked for
	Platform  string // as it was asked for, or ""
	Digest    string // "sha256:" + hex
	MediaType string
	Size      int64  // of the manifest or index, in bytes
	Moved     string // what the reference stands for by now, where another digest is locked; else ""
	Unseen    error  // why the registry could not be asked whether a locked digest still holds; else nil
}

// Checksum is the digest as an iExec app has it: "0x" and hex.
func (i Image) Checksum() string { return "0x" + strings.TrimPrefix(i.Digest, "sha256:") }

// Pinned is the reference with the digest in place of its tag.
func (i Image) Pinned() string {
	repository, _, _ := strings.Cut(i.Reference, "@")
	if colon := strings.LastIndexByte(repository, ':'); colon > strings.LastIndexByte(repository, '/') {
		repository = repository[:colon]
	}
	return repository + "@" + i.Digest
}

// movable reports whether the reference may come to stand for something else. One that did already is no matter of apply.
func (i Image) movable() bool { return !strings.Contains(i.Reference, "@") && i.Moved == "" }

// Expect is what a plan expects that uses the image: that the reference still has the digest.
func (i Image) Expect() []providers.Precondition {
	if !i.movable() {
		return nil
	}
	return []providers.Precondition{i.Precondition()}
}

// Notices warn of a reference that stands for something else than what is locked. attr is the attribute with the reference.
func (i Image) Notices(attr string) []providers.Notice {
	if i.Unseen != nil {
		return []providers.Notice{{
			Level: providers.Warning, Attr: attr,
			Summary: fmt.Sprintf("nobody looked what %s stands for: the lock file's %s is taken", i.Reference, i.Digest),
			Detail:  fmt.Sprintf("%s. Apply looks again before it does anything.", i.Unseen),
		}}
	}
	if i.Moved == "" {
		return nil
	}
	return []providers.Notice{{
		Level: providers.Warning, Attr: attr,
		Summary: fmt.Sprintf("%s has moved: it is %s now, and the lock file has %s, which is kept", i.Reference, i.Moved, i.Digest),
		Detail: "Workers pull what the tag stands for, and compare it with nothing: they run what was not reviewed. " +
			"Run `iexecform init --upgrade` to take the new image, or push the old one again.",
	}}
}

// expectation is the payload of the precondition and of the action.
type expectation struct {
	Reference string `json:"reference"`
	Platform  string `json:"platform,omitempty"`
	Digest    string `json:"digest"`
}

func (i Image) expectation() json.RawMessage {
	b, _ := json.Marshal(expectation{i.Reference, i.Platform, i.Digest}) // strings only: can't fail
	return b
}

// Precondition is that the reference still has the digest.
func (i Image) Precondition() providers.Precondition {
	return providers.Precondition{
		Kind:    DigestPrecondition,
		Summary: fmt.Sprintf("%s is still %s", i.Reference, i.Digest),
		Payload: i.expectation(),
	}
}

// VerifyAction is an action, yet without an address, that looks whether the reference still has the digest.
func (i Image) VerifyAction() providers.Action {
	return providers.Action{
		Kind:    ActionResolve,
		Summary: fmt.Sprintf("look up %s: is still %s", i.Reference, i.Digest),
		Payload: i.expectation(),
		Cost:    providers.Cost{Requests: 1},
		Expect:  []providers.Precondition{i.Precondition()},
	}
}

const (
	maxAnswer = 16 << 20         // bytes; manifests, which are all that lookups read, are smaller
	patience  = 15 * time.Second // with one request: a registry that limits pulls does so for hours
)

// Resolver looks images up in their registries, each reference once. It is safe for concurrent use.
//
// Credentials are those of docker login. For plain HTTP see Transport. Requests are repeated as package retry says.
type Resolver struct {
	timeout   time.Duration // of one lookup with its retries
	transport *retry.Transport
	slots     *semaphore.Weighted // lookups at the same time

	locked map[string]string // digests, by reference

	flight singleflight.Group
	mu     sync.Mutex
	known  map[request]Image // what Resolve answered
}

type request struct{ reference, platform string }

// NewResolver makes a resolver that knows nothing yet.
func NewResolver() *Resolver { return NewLocked(nil) }

// NewLocked makes a resolver to which the references stand for the digests that are locked, whatever they stand for now, as
// long as the registry has those, or doesn't answer. A lookup for a platform is not locked.
func NewLocked(digests map[string]string) *Resolver {
	t := Transport()
	t.ResponseHeaderTimeout = 20 * time.Second
	r := resolverOver(t)
	r.locked = digests
	return r
}

func resolverOver(t http.RoundTripper) *Resolver {
	return &Resolver{
		timeout:   90 * time.Second,
		transport: &retry.Transport{Base: trace.Transport(t, "registry", nil), Limit: maxAnswer, Patience: patience},
		slots:     semaphore.NewWeighted(8),
		known:     map[request]Image{},
	}
}

// Resolve returns what the reference stands for: the digest that docker pull prints, which is that of the index when the
// tag has one. With a platform such as "linux/amd64" it is the digest of the manifest for that platform. The answer is
// the same for the life of the resolver. SIDE EFFECTS: none; without a platform the lookup doesn't count as a pull.
func (r *Resolver) Resolve(ctx context.Context, reference, platform string) (Image, error) {
	key := request{reference, platform}
	return r.once("resolve", key, func() (Image, error) {
		r.mu.Lock()
		image, ok := r.known[key]
		r.mu.Unlock()
		if ok {
			return image, nil
		}
		image, err := r.lookUp(ctx, key)
		digest := r.locked[reference]
		switch {
		case platform != "" || digest == "" || digest == image.Digest:
		case errors.Is(err, ErrUnavailable):
			image.Digest, image.Unseen, err = digest, err, nil
		case err == nil:
			moved := image.Digest
			image.Digest = digest
			if image, err = r.lookUp(ctx, request{reference: image.Pinned()}); err != nil {
				return image, fmt.Errorf("%s has moved to %s, and what the lock file has can't be had any more: %w. Run `iexecform init --upgrade` to take the new image", reference, moved, err)
			}
			image.Reference, image.Moved = reference, moved
		}
		if err == nil {
			r.mu.Lock()
			r.known[key] = image
			r.mu.Unlock()
		}
		return image, err
	})
}

// refresh looks up again, once for those who ask at the same time.
func (r *Resolver) refresh(ctx context.Context, key request) (Image, error) {
	return r.once("refresh", key, func() (Image, error) { return r.lookUp(ctx, key) })
}

func (r *Resolver) once(what string, key request, f func() (Image, error)) (Image, error) {
	v, err, _ := r.flight.Do(what+" "+key.reference+" "+key.platform, func() (any, error) { return f() })
	return v.(Image), err
}

// Check looks up again what the preconditions, all of kind DigestPrecondition, are about: one error or nil for each, in
// order. SIDE EFFECTS: none.
func (r *Resolver) Check(ctx context.Context, ps []providers.Precondition) []error {
	errs := make([]error, len(ps))
	same := map[string][]int{} // each once
	for i, p := range ps {
		same[string(p.Payload)] = append(same[string(p.Payload)], i)
	}
	var wg sync.WaitGroup
	for payload, indexes := range same {
		wg.Go(func() {
			err := r.check(ctx, []byte(payload))
			for _, i := range indexes {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errs
}

func (r *Resolver) check(ctx context.Context, payload []byte) error {
	var e expectation
	if err := json.Unmarshal(payload, &e); err != nil {
		return fmt.Errorf("the precondition %s isn't one on a digest: %w", payload, err)
	}
	image, err := r.refresh(ctx, request{e.Reference, e.Platform})
	if err != nil {
		return err
	}
	if image.Digest != e.Digest {
		return fmt.Errorf("the tag %s moved from %s to %s since the plan was made: plan again", e.Reference, e.Digest, image.Digest)
	}
	return nil
}

func (r *Resolver) lookUp(ctx context.Context, key request) (Image, error) {
	image := Image{Reference: key.reference, Platform: key.platform}
	ref, err := parse(key.reference)
	if err != nil {
		return image, err
	}
	var platform *v1.Platform
	if key.platform != "" {
		if platform, err = parsePlatform(key.platform); err != nil {
			return image, err
		}
	}
	if err := r.slots.Acquire(ctx, 1); err != nil {
		return image, err
	}
	defer r.slots.Release(1)
	limited, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	l := lookup{ref: ref, options: []remote.Option{
		remote.WithContext(limited),
		remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithTransport(r.transport),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryStatusCodes(), // the transport does it
		remote.WithUserAgent("iexecform"),
	}}
	found, err := l.head()
	if err == nil && platform != nil {
		found, err = l.forPlatform(found, *platform)
	}
	if err != nil {
		if ctx.Err() != nil {
			return image, context.Cause(ctx)
		}
		return image, explain(key.reference, ref, err)
	}
	if kind, _, _ := strings.Cut(string(found.MediaType), ";"); !isManifest(types.MediaType(kind)) {
		return image, fmt.Errorf("look up image %s: %w: %s answered with %q, which is no image; check the registry's name and what is between (a proxy, a login page)",
			key.reference, ErrUnavailable, ref.Context().RegistryStr(), kind)
	}
	if found.Digest.Algorithm != "sha256" {
		return image, fmt.Errorf("%s has the digest %s: only sha256 can be used", key.reference, found.Digest)
	}
	image.Digest, image.MediaType, image.Size = found.Digest.String(), string(found.MediaType), found.Size
	return image, nil
}

func isManifest(t types.MediaType) bool { return t.IsImage() || t.IsIndex() || t.IsSchema1() }

// parse reads a reference as docker does: the registry is Docker Hub and the tag is latest unless given. Docker Hub's
// old names mean the same here; elsewhere the reference stays as it was written.
func parse(reference string) (name.Reference, error) {
	rest, old := strings.CutPrefix(reference, "registry.hub.docker.com/")
	if old {
		rest = "docker.io/" + rest
	}
	ref, err := name.ParseReference(rest)
	if err != nil {
		return nil, fmt.Errorf("%q is not an image reference: want [REGISTRY/]REPOSITORY:TAG, such as docker.io/user/image:1.0", reference)
	}
	return ref, nil
}

func parsePlatform(text string) (*v1.Platform, error) {
	p, err := v1.ParsePlatform(text)
	if err != nil || p.OS == "" || p.Architecture == "" {
		return nil, fmt.Errorf("%q is not a platform: want OS/ARCHITECTURE[/VARIANT], such as linux/amd64", text)
	}
	return p, nil
}

// lookup is one reference on the way through a registry.
type lookup struct {
	ref     name.Reference
	options []remote.Option
}

// head asks for the digest alone. A registry that doesn't tell is asked for the manifest.
func (l lookup) head() (*v1.Descriptor, error) {
	found, err := remote.Head(l.ref, l.options...)
	if err == nil {
		return found, nil
	}
	var answer *transport.Error
	var network *url.Error
	if errors.As(err, &network) || errors.As(err, &answer) && answer.StatusCode != http.StatusMethodNotAllowed {
		return nil, err
	}
	full, err := remote.Get(l.ref, l.options...)
	if err != nil {
		return nil, err
	}
	return &full.Descriptor, nil
}

// forPlatform returns the manifest for a platform, which is the one found or in the index found.
func (l lookup) forPlatform(found *v1.Descriptor, want v1.Platform) (*v1.Descriptor, error) {
	digest := l.ref.Context().Digest(found.Digest.String())
	if found.MediaType.IsIndex() {
		index, err := remote.Index(digest, l.options...)
		if err != nil {
			return nil, err
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			return nil, err
		}
		var have []string
		for _, m := range manifest.Manifests {
			if m.Platform == nil || !m.MediaType.IsImage() {
				continue
			}
			if m.Platform.Satisfies(want) {
				return &m, nil
			}
			have = append(have, m.Platform.String())
		}
		return nil, wrongPlatform(want, have)
	}
	image, err := remote.Image(digest, l.options...)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	if have := config.Platform(); have == nil || !have.Satisfies(want) {
		return nil, wrongPlatform(want, []string{fmt.Sprint(have)})
	}
	return found, nil
}

type platformError struct{ want, have string }

func wrongPlatform(want v1.Platform, have []string) error {
	return &platformError{want.String(), strings.Join(have, ", ")}
}

func (e *platformError) Error() string {
	return fmt.Sprintf("it is for %s, not for %s: build it with --platform %s", e.have, e.want, e.want)
}

// explain says what a failed lookup means and what to do.
func explain(reference string, ref name.Reference, err error) error {
	registry := ref.Context().RegistryStr()
	err = wording.OfExchange(err)
	var platform *platformError
	if errors.As(err, &platform) {
		return fmt.Errorf("image %s can't be used: %w", reference, err)
	}
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return fmt.Errorf("look up image %s: %w: %w; check the registry's name %s and the network, then try again",
			reference, ErrUnavailable, err, registry)
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("look up image %s: %w: the registry %s has no such repository or tag; push the image, or correct the reference",
			reference, ErrNotFound, registry)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("look up image %s: %w: it is private or doesn't exist; correct the reference, or `docker login %s`",
			reference, ErrDenied, registry)
	case http.StatusTooManyRequests:
		return fmt.Errorf("look up image %s: %w: %s allows no more requests for now; wait, or `docker login %s` for a higher limit",
			reference, ErrUnavailable, registry, registry)
	}
	return fmt.Errorf("look up image %s: %w: %w; try again later", reference, ErrUnavailable, err)
}
