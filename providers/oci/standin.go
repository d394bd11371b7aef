package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/iexecform/iexecform/providers"
)

// StandIn is one registry in place of all, for tests: no request leaves for another one. Repositories of different registries
// don't meet in it. What a data source or an app asks for is always there: a tag that nobody has pushed gets an image that is made
// from its name, so that its digest is always the same one.
type StandIn struct{ registry, space string }

// NewStandIn makes a stand-in of the registry at an address, host:port, which is spoken to in plain HTTP. Stand-ins of
// different spaces don't see each other's images.
func NewStandIn(registry, space string) *StandIn {
	sum := sha256.Sum256([]byte(space))
	return &StandIn{registry, "s" + hex.EncodeToString(sum[:4])}
}

// Resolver makes a resolver for what must exist.
func (s *StandIn) Resolver() *Resolver { return resolverOver(detour{s, true}) }

// Provider makes the provider.
func (s *StandIn) Provider() providers.Provider { return standInProvider{provider{}, s} }

type standInProvider struct {
	provider
	standIn *StandIn
}

// Open implements providers.Provider.
func (p standInProvider) Open(_ context.Context, req providers.OpenRequest) (providers.Client, error) {
	t := detour{p.standIn, false}
	return standInClient{&client{images: resolverOver(t), pushes: t, dir: req.Dir}}, nil
}

// standInClient has data sources find something.
type standInClient struct{ *client }

type mustExist struct{}

// ReadData implements providers.Client.
func (c standInClient) ReadData(ctx context.Context, req providers.DataRequest) (providers.DataResult, error) {
	return c.client.ReadData(context.WithValue(ctx, mustExist{}, true), req)
}

// detour is the way of requests to the stand-in.
type detour struct {
	standIn *StandIn
	exists  bool // manifests that are asked for are made
}

// RoundTrip implements http.RoundTripper.
func (d detour) RoundTrip(req *http.Request) (*http.Response, error) {
	there := req.Clone(req.Context())
	prefix := ""
	if rest, ok := strings.CutPrefix(req.URL.Path, "/v2/"); ok && rest != "" {
		prefix = d.standIn.space + "/" + namespace(req.URL.Host) + "/"
		there.URL.Path = "/v2/" + prefix + rest
	}
	there.URL.Scheme, there.URL.Host, there.Host = "http", d.standIn.registry, d.standIn.registry
	answer, err := http.DefaultTransport.RoundTrip(there)
	if err != nil {
		return nil, err
	}
	reference, digest, ok := manifestOf(there.URL.Path)
	exists := d.exists || req.Context().Value(mustExist{}) != nil
	switch {
	case answer.StatusCode != http.StatusNotFound || !ok || !exists:
	case digest != "":
		if req.Method == http.MethodHead { // nobody can make the image of a digest
			answer.StatusCode, answer.Status = http.StatusOK, ""
			answer.Header = http.Header{"Content-Type": {string(types.OCIManifestSchema1)}, "Docker-Content-Digest": {digest}, "Content-Length": {"1"}}
			answer.ContentLength = 1
		}
	default:
		_ = answer.Body.Close() // it is thrown away
		if err := d.standIn.push(req.Context(), reference); err != nil {
			return nil, err
		}
		if answer, err = http.DefaultTransport.RoundTrip(there); err != nil {
			return nil, err
		}
	}
	if location := answer.Header.Get("Location"); prefix != "" && location != "" {
		answer.Header.Set("Location", strings.Replace(location, "/v2/"+prefix, "/v2/", 1))
	}
	answer.Request = req
	return answer, nil
}

// namespace is a registry's part of a repository's name.
func namespace(host string) string {
	return strings.ToLower(strings.NewReplacer(":", "-", "[", "", "]", "").Replace(host))
}

// manifestOf is repository:tag, or the digest, of a request for a manifest.
func manifestOf(path string) (reference, digest string, ok bool) {
	repository, tag, ok := strings.Cut(strings.TrimPrefix(path, "/v2/"), "/manifests/")
	if strings.Contains(tag, ":") {
		return "", tag, ok
	}
	return repository + ":" + tag, "", ok
}

// push makes the image of a name. It is the same, to the digest, wherever it is made.
func (s *StandIn) push(ctx context.Context, reference string) error {
	ref, err := name.ParseReference(s.registry+"/"+reference, name.Insecure)
	if err != nil {
		return fmt.Errorf("make an image for %s: %w", reference, err)
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64", Created: v1.Time{Time: time.Unix(0, 0).UTC()}, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Labels: map[string]string{"org.opencontainers.image.ref.name": strings.TrimPrefix(reference, s.space+"/")}},
	})
	if err == nil {
		err = remote.Write(ref, image, remote.WithContext(ctx))
	}
	if err != nil {
		return fmt.Errorf("make an image for %s: %w", reference, err)
	}
	return nil
}
