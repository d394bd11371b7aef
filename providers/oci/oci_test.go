package oci_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/oci"
)

// server is a registry that counts manifest requests and can be made to misbehave.
type server struct {
	host string

	mu       sync.Mutex
	requests map[string]int // "HEAD latest" → 2
	fault    http.HandlerFunc
	faults   int // how many requests get the fault; -1: all
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{requests: map[string]int{}}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/manifests/") && r.Method != http.MethodPut {
			s.mu.Lock()
			s.requests[r.Method+" "+filepath.Base(r.URL.Path)]++
			fault := s.fault
			if s.faults == 0 {
				fault = nil
			} else if s.faults > 0 {
				s.faults--
			}
			s.mu.Unlock()
			if fault != nil {
				fault(w, r)
				return
			}
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	s.host = strings.TrimPrefix(h.URL, "http://")
	return s
}

// answer makes the next n manifest requests, or all with -1, get a status code.
func (s *server) answer(n, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.fault = n, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func (s *server) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[what]
}

// push puts a new image for a platform under the reference and returns its digest.
func (s *server) push(t *testing.T, repository string, platform v1.Platform) string {
	t.Helper()
	image := newImage(t, platform)
	if err := remote.Write(s.tag(t, repository), image); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.requests) // those of the push
	return digest(t, image)
}

func (s *server) tag(t *testing.T, repository string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s.host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

var (
	amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = v1.Platform{OS: "linux", Architecture: "arm64"}
)

func newImage(t *testing.T, platform v1.Platform) v1.Image {
	t.Helper()
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture = platform.OS, platform.Architecture
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

func digest(t *testing.T, x interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := x.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func resolve(t *testing.T, r *oci.Resolver, reference, platform string) oci.Image {
	t.Helper()
	image, err := r.Resolve(t.Context(), reference, platform)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestResolveTakesTheDigestFromHead(t *testing.T) {
	s := serve(t)
	want := s.push(t, "user/image:1.0", amd64)
	r := oci.NewResolver()
	reference := s.host + "/user/image:1.0"
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if image, err := r.Resolve(t.Context(), reference, ""); err != nil || image.Digest != want {
				t.Errorf("got %v, %v; want %s", image, err, want)
			}
		})
	}
	wg.Wait()
	image := resolve(t, r, reference, "")
	if image.Checksum() != "0x"+strings.TrimPrefix(want, "sha256:") {
		t.Errorf("checksum %s of %s", image.Checksum(), want)
	}
	if want := s.host + "/user/image@" + want; image.Pinned() != want {
		t.Errorf("pinned %s, want %s", image.Pinned(), want)
	}
	if image.MediaType != "application/vnd.docker.distribution.manifest.v2+json" || image.Size == 0 {
		t.Errorf("got %+v", image)
	}
	if heads, gets := s.count("HEAD 1.0"), s.count("GET 1.0"); heads != 1 || gets != 0 {
		t.Errorf("%d HEAD and %d GET requests, want one HEAD", heads, gets)
	}
}

// A locked reference stands for what is locked, and warns when its tag has moved; preconditions are about the tag as it is.
func TestResolveLocked(t *testing.T) {
	s := serve(t)
	old := s.push(t, "user/image:1.0", amd64)
	reference := s.host + "/user/image:1.0"
	locked := map[string]string{reference: old}
	image := resolve(t, oci.NewLocked(locked), reference, "")
	if image.Digest != old || image.Moved != "" || len(image.Expect()) != 1 || len(image.Notices("reference")) != 0 {
		t.Errorf("in its place: %+v", image)
	}
	before := image.Expect()
	now := s.push(t, "user/image:1.0", arm64)
	r := oci.NewLocked(locked)
	image = resolve(t, r, reference, "")
	if image.Digest != old || image.Reference != reference || image.Moved != now || image.Size == 0 || len(image.Expect()) != 0 {
		t.Errorf("moved: %+v", image)
	}
	if n := image.Notices("reference"); len(n) != 1 || !strings.Contains(n[0].Summary, now) || !strings.Contains(n[0].Summary, old) {
		t.Errorf("notices %+v", n)
	}
	if err := r.Check(t.Context(), before)[0]; err == nil || !strings.Contains(err.Error(), "moved from "+old) {
		t.Errorf("a precondition of before: %v", err)
	}
	gone := oci.NewLocked(map[string]string{reference: "sha256:" + strings.Repeat("0", 64)})
	if _, err := gone.Resolve(t.Context(), reference, ""); err == nil || !strings.Contains(err.Error(), "init --upgrade") {
		t.Errorf("what is locked is gone: %v", err)
	}
}

func TestResolvePlatforms(t *testing.T) {
	s := serve(t)
	forAMD, forARM := newImage(t, amd64), newImage(t, arm64)
	attestation := mutate.IndexAddendum{Add: newImage(t, amd64), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}}
	index := mutate.AppendManifests(empty.Index, attestation,
		mutate.IndexAddendum{Add: forARM, Descriptor: v1.Descriptor{Platform: &arm64}},
		mutate.IndexAddendum{Add: forAMD, Descriptor: v1.Descriptor{Platform: &amd64}})
	if err := remote.WriteIndex(s.tag(t, "i:multi"), index); err != nil {
		t.Fatal(err)
	}
	single := s.push(t, "i:arm", arm64)
	r := oci.NewResolver()
	for _, c := range []struct{ tag, platform, want string }{
		{"multi", "", digest(t, index)},
		{"multi", "linux/amd64", digest(t, forAMD)},
		{"multi", "linux/arm64", digest(t, forARM)},
		{"arm", "linux/arm64", single},
	} {
		if got := resolve(t, r, s.host+"/i:"+c.tag, c.platform); got.Digest != c.want {
			t.Errorf("%s for %q: got %s, want %s", c.tag, c.platform, got.Digest, c.want)
		}
	}
	if got := resolve(t, r, s.host+"/i:multi", "").MediaType; got != "application/vnd.oci.image.index.v1+json" {
		t.Errorf("the index has media type %s", got)
	}
	for tag, platform := range map[string]string{"multi": "windows/amd64", "arm": "linux/amd64"} {
		_, err := r.Resolve(t.Context(), s.host+"/i:"+tag, platform)
		if err == nil || !strings.Contains(err.Error(), "linux/arm64") || !strings.Contains(err.Error(), "not for "+platform) {
			t.Errorf("%s for %s: got %v, want an error that names both platforms", tag, platform, err)
		}
	}
}

func TestResolveWithoutDigestHeader(t *testing.T) {
	s := serve(t)
	image := newImage(t, amd64)
	if err := remote.Write(s.tag(t, "i:1"), image); err != nil {
		t.Fatal(err)
	}
	manifest, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	s.faults, s.fault = -1, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
		w.Header().Set("Content-Length", fmt.Sprint(len(manifest)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(manifest)
		}
	}
	if got := resolve(t, oci.NewResolver(), s.host+"/i:1", ""); got.Digest != digest(t, image) {
		t.Errorf("got %s, want %s", got.Digest, digest(t, image))
	}
}

func TestResolveTriesAgain(t *testing.T) {
	for _, code := range []int{http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable} {
		s := serve(t)
		want := s.push(t, "i:1", amd64)
		s.answer(2, code)
		image, err := oci.NewImpatientResolver().Resolve(t.Context(), s.host+"/i:1", "")
		if err != nil || image.Digest != want {
			t.Errorf("after two answers %d: got %v, %v", code, image, err)
		}
	}
}

// What isn't a manifest never becomes a digest.
func TestResolveRefusesOtherAnswers(t *testing.T) {
	s := serve(t)
	for name, c := range map[string]struct {
		fault http.HandlerFunc
		says  string
	}{
		"page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "<html>please log in</html>")
		}, "text/html"},
		"page with a digest": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
			_, _ = io.WriteString(w, "<html>please log in</html>")
		}, "text/html"},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			for err := error(nil); err == nil && r.Method == http.MethodGet; {
				_, err = w.Write(make([]byte, 1<<20))
			}
		}, "the answer has more than"},
	} {
		t.Run(name, func(t *testing.T) {
			s.faults, s.fault = -1, c.fault
			image, err := oci.NewImpatientResolver().Resolve(t.Context(), s.host+"/i:1", "")
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %+v, %v, want an error with %q", image, err, c.says)
			}
		})
	}
}

func TestResolveErrors(t *testing.T) {
	s := serve(t)
	s.push(t, "i:1", amd64)
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, c := range map[string]struct {
		code      int
		reference string
		platform  string
		is        error
		says      []string
	}{
		"no repository":   {reference: s.host + "/none:1", is: oci.ErrNotFound, says: []string{s.host, "push the image"}},
		"no tag":          {reference: s.host + "/i:2", is: oci.ErrNotFound, says: []string{"i:2"}},
		"unauthorized":    {code: 401, is: oci.ErrDenied, says: []string{"docker login " + s.host}},
		"forbidden":       {code: 403, is: oci.ErrDenied},
		"limited":         {code: 429, is: oci.ErrUnavailable, says: []string{"wait"}},
		"server error":    {code: 503, is: oci.ErrUnavailable, says: []string{"503", "try again later"}},
		"unreachable":     {reference: strings.TrimPrefix(closed.URL, "http://") + "/i:1", is: oci.ErrUnavailable, says: []string{"network"}},
		"bad reference":   {reference: "No/Capitals", says: []string{`"No/Capitals" is not an image reference`, "docker.io/user/image:1.0"}},
		"empty reference": {reference: "", says: []string{"is not an image reference"}},
		"bad platform":    {platform: "linux", says: []string{`"linux" is not a platform`}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.code != 0 {
				s.answer(-1, c.code)
				defer s.answer(0, 0)
			}
			if c.reference == "" && name != "empty reference" {
				c.reference = s.host + "/i:1"
			}
			_, err := oci.NewImpatientResolver().Resolve(t.Context(), c.reference, c.platform)
			if err == nil || c.is != nil && !errors.Is(err, c.is) {
				t.Fatalf("got %v, want %v", err, c.is)
			}
			if c.platform == "" {
				c.says = append(c.says, c.reference)
			}
			for _, want := range c.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
		})
	}
}

func TestResolveEndsWithItsContext(t *testing.T) {
	s := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.faults, s.fault = -1, func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if _, err := oci.NewResolver().Resolve(ctx, s.host+"/i:1", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// What docker login stored is used.
func TestResolveWithCredentials(t *testing.T) {
	s := serve(t)
	want := s.push(t, "i:1", amd64)
	var got string
	s.faults, s.fault = 1, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		w.Header().Set("Docker-Content-Digest", want)
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Content-Length", "1")
	}
	// The library learns the scheme from /v2/, which this registry leaves open: a server that asks stands in front.
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if strings.Contains(r.URL.Path, "/manifests/") {
			s.fault(w, r)
		}
	}))
	defer front.Close()
	host := strings.TrimPrefix(front.URL, "http://")
	dir := t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte("user:password"))
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, auth)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	if image := resolve(t, oci.NewResolver(), host+"/i:1", ""); image.Digest != want {
		t.Errorf("got %+v", image)
	}
	if got != "Basic "+auth {
		t.Errorf("Authorization: %q", got)
	}
}

func TestPinned(t *testing.T) {
	for reference, want := range map[string]string{
		"x":                           "x@sha256:ab",
		"docker.io/user/x:1":          "docker.io/user/x@sha256:ab",
		"localhost:5000/x":            "localhost:5000/x@sha256:ab",
		"localhost:5000/x:1":          "localhost:5000/x@sha256:ab",
		"x:1@sha256:cd":               "x@sha256:ab",
		"registry.hub.docker.com/u/x": "registry.hub.docker.com/u/x@sha256:ab",
	} {
		if got := (oci.Image{Reference: reference, Digest: "sha256:ab"}).Pinned(); got != want {
			t.Errorf("%s: got %s, want %s", reference, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	s := serve(t)
	before := s.push(t, "i:1", amd64)
	s.push(t, "i:2", amd64)
	r := oci.NewResolver()
	moves, stays := resolve(t, r, s.host+"/i:1", ""), resolve(t, r, s.host+"/i:2", "")
	after := s.push(t, "i:1", amd64)
	if resolve(t, r, s.host+"/i:1", "").Digest != before {
		t.Error("the answer changed within a run")
	}
	p := []providers.Precondition{stays.Precondition(), moves.Precondition(), stays.Precondition(), {Payload: json.RawMessage(`[]`)}}
	errs := r.Check(t.Context(), p)
	if errs[0] != nil || errs[2] != nil {
		t.Errorf("what stayed: %v, %v", errs[0], errs[2])
	}
	want := fmt.Sprintf("the tag %s/i:1 moved from %s to %s since the plan was made: plan again", s.host, before, after)
	if errs[1] == nil || errs[1].Error() != want {
		t.Errorf("got %v, want %s", errs[1], want)
	}
	if errs[3] == nil {
		t.Error("a precondition of another kind was taken")
	}
	if n := s.count("HEAD 2"); n != 1 {
		t.Errorf("two preconditions on i:2 were checked by %d lookups, want one", n)
	}
}

func TestProvider(t *testing.T) {
	s := serve(t)
	sum := s.push(t, "i:1", amd64)
	provider := oci.New()
	client, err := provider.Open(t.Context(), providers.OpenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	table := provider.Schema().Data["oci_image"]
	config := map[string]cty.Value{}
	for attr, typ := range table.ObjectType().AttributeTypes() {
		config[attr] = cty.NullVal(typ)
	}
	config["reference"] = cty.StringVal(s.host + "/i:1")
	request := providers.DataRequest{
		Addr:   addr.Instance{Resource: addr.Resource{Mode: addr.Data, Type: "oci_image", Name: "x"}},
		Config: cty.ObjectVal(config),
	}
	got, err := client.ReadData(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Value.Type().Equals(table.ObjectType()) {
		t.Errorf("the value is a %#v, not what the schema says", got.Value.Type())
	}
	want := map[string]cty.Value{
		"reference": config["reference"], "platform": cty.NullVal(cty.String), "digest": cty.StringVal(sum),
		"checksum":         cty.StringVal("0x" + strings.TrimPrefix(sum, "sha256:")),
		"pinned_reference": cty.StringVal(s.host + "/i@" + sum),
		"media_type":       cty.StringVal("application/vnd.docker.distribution.manifest.v2+json"),
		"size":             got.Value.GetAttr("size"),
	}
	if !got.Value.RawEquals(cty.ObjectVal(want)) {
		t.Errorf("got %#v", got.Value)
	}
	payload := fmt.Sprintf(`{"reference":%q,"digest":%q}`, s.host+"/i:1", sum)
	expect := []providers.Precondition{{Kind: "oci_digest", Summary: s.host + "/i:1 is still " + sum, Payload: json.RawMessage(payload)}}
	verify := &providers.Action{Kind: "resolve", Addr: request.Addr, Summary: "look up " + s.host + "/i:1: is still " + sum,
		Payload: json.RawMessage(payload), Cost: providers.Cost{Requests: 1}, Expect: expect}
	if diff := cmp.Diff(verify, got.Verify, cmp.Comparer(func(a, b addr.Instance) bool { return a == b })); diff != "" {
		t.Errorf("verify -want +got:\n%s", diff)
	}

	do := func() error {
		_, err := client.Do(t.Context(), providers.DoRequest{Action: *got.Verify})
		return err
	}
	if err := errors.Join(append(client.Check(t.Context(), expect), do())...); err != nil {
		t.Errorf("nothing moved: %v", err)
	}
	s.push(t, "i:1", amd64)
	for _, err := range append(client.Check(t.Context(), expect), do()) {
		if err == nil || !strings.Contains(err.Error(), "moved") {
			t.Errorf("the tag moved: %v", err)
		}
	}
}

func TestProviderNeedsNoVerificationOfADigest(t *testing.T) {
	s := serve(t)
	sum := s.push(t, "i:1", amd64)
	client, err := oci.New().Open(t.Context(), providers.OpenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.ReadData(t.Context(), providers.DataRequest{
		Addr: addr.Instance{Resource: addr.Resource{Mode: addr.Data, Type: "oci_image", Name: "x"}},
		Config: cty.ObjectVal(map[string]cty.Value{
			"reference": cty.StringVal(s.host + "/i@" + sum), "platform": cty.NullVal(cty.String)}),
	})
	if err != nil || got.Verify != nil || got.Value.GetAttr("digest").AsString() != sum {
		t.Errorf("got %#v, %v", got, err)
	}
}

func TestProviderErrors(t *testing.T) {
	s := serve(t)
	client, err := oci.New().Open(t.Context(), providers.OpenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	image := addr.Instance{Resource: addr.Resource{Mode: addr.Data, Type: "oci_image", Name: "x"}}
	other := addr.Instance{Resource: addr.Resource{Mode: addr.Data, Type: "oci_tag", Name: "x"}}
	config := cty.ObjectVal(map[string]cty.Value{"reference": cty.StringVal(s.host + "/none:1"), "platform": cty.NullVal(cty.String)})
	if _, err := client.ReadData(t.Context(), providers.DataRequest{Addr: image, Config: config}); providers.AttrOf(err) != "reference" {
		t.Errorf("got %v, want an error about reference", err)
	}
	if _, err := client.ReadData(t.Context(), providers.DataRequest{Addr: other, Config: config}); err == nil {
		t.Error("an unknown data source was read")
	}
	if errs := client.Check(t.Context(), []providers.Precondition{{Kind: "else"}}); errs[0] == nil {
		t.Error("an unknown precondition holds")
	}
	if _, err := client.Do(t.Context(), providers.DoRequest{Action: providers.Action{Kind: "else"}}); err == nil {
		t.Error("an unknown action was done")
	}
}

// The schema refuses what can't be looked up before any request.
func TestSchemaParses(t *testing.T) {
	table := oci.New().Schema().Data["oci_image"]
	for attr, values := range map[string]map[string]bool{
		"reference": {"docker.io/a/b:1": true, "A:1": false, "a b": false, "": false},
		"platform":  {"linux/amd64": true, "linux/arm64/v8": true, "linux": false, "": false, "a/b/c/d": false},
	} {
		for text, ok := range values {
			v, err := table.Attr(attr).Parse(cty.StringVal(text))
			if (err == nil) != ok || ok && !v.RawEquals(cty.StringVal(text)) {
				t.Errorf("%s = %q: %#v, %v", attr, text, v, err)
			}
		}
	}
	if bytes.Contains([]byte(table.Example), []byte("\t")) {
		t.Error("the example is indented by tabs")
	}
}
