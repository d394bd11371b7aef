package oci

import (
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
)

// newStandIns makes stand-ins of one registry.
func newStandIns(t *testing.T, spaces ...string) (all []*StandIn) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	for _, space := range spaces {
		all = append(all, NewStandIn(strings.TrimPrefix(server.URL, "http://"), space))
	}
	return all
}

func TestStandInResolves(t *testing.T) {
	s := newStandIns(t, "a", "b")
	digest := func(r *Resolver, reference, platform string) string {
		t.Helper()
		image, err := r.Resolve(t.Context(), reference, platform)
		if err != nil {
			t.Fatal(err)
		}
		return image.Digest
	}
	images := s[0].Resolver()
	first := digest(images, "docker.io/user/hello:1.0", "")
	for _, same := range []string{
		digest(s[0].Resolver(), "docker.io/user/hello:1.0", ""), digest(s[1].Resolver(), "docker.io/user/hello:1.0", ""),
		digest(s[0].Resolver(), "user/hello:1.0", ""), digest(s[0].Resolver(), "user/hello:1.0", "linux/amd64"),
	} {
		if same != first {
			t.Errorf("the same image has the digests %s and %s", first, same)
		}
	}
	for _, other := range []string{"docker.io/user/hello:1.1", "docker.io/user/hallo:1.0", "registry.example.com:5000/user/hello:1.0", "[::1]:5000/user/hello:1.0"} {
		if digest(images, other, "") == first {
			t.Errorf("%s has the digest of another image", other)
		}
	}
	const known = "sha256:f8a48dc5125fe762e3e35b9493291b8472a68782dd19d741a7e7aa062ef73dd6"
	if got := digest(images, "docker.io/user/hello@"+known, ""); got != known {
		t.Errorf("a reference by digest has the digest %s", got)
	}
}

// What is pushed is there, in its own space only, and what nobody asked for as data isn't made up.
func TestStandInPushes(t *testing.T) {
	s := newStandIns(t, "a", "b")
	dir := t.TempDir()
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("hello:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(filepath.Join(dir, "hello.tar"), tag, image); err != nil {
		t.Fatal(err)
	}
	table := s[0].Provider().Schema().Resources["oci_image"]
	desired := table.Blank().With(map[string]cty.Value{
		"source": cty.StringVal("hello.tar"), "reference": cty.StringVal("ghcr.io/user/hello:1.0"), "mutable": cty.False,
	})
	null := desired.Null()
	object := addr.Instance{Resource: addr.Resource{Type: "oci_image", Name: "hello"}}
	plan := func(s *StandIn) (providers.Client, providers.PlanResult) {
		t.Helper()
		client, err := s.Provider().Open(t.Context(), providers.OpenRequest{Config: s.Provider().Schema().Provider.Blank().Cty(), Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		r := client.Plan(t.Context(), []providers.PlanRequest{{Addr: object, Prior: null, Current: null, Desired: desired}})[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return client, r
	}
	client, r := plan(s[0])
	if r.Kind != providers.Create || len(r.Actions) != 1 {
		t.Fatalf("planned %s with %d actions, want one push", r.Kind, len(r.Actions))
	}
	if _, err := client.Do(t.Context(), providers.DoRequest{Action: r.Actions[0], Progress: func(providers.Progress) {}}); err != nil {
		t.Fatal(err)
	}
	if _, again := plan(s[0]); again.Kind != providers.Adopt {
		t.Errorf("after the push: %s, want adopt", again.Kind)
	}
	if _, other := plan(s[1]); other.Kind != providers.Create {
		t.Errorf("in another space: %s, want create", other.Kind)
	}
	found, err := s[0].Resolver().Resolve(t.Context(), "ghcr.io/user/hello:1.0", "")
	if want := r.Planned.Text("digest"); err != nil || found.Digest != want {
		t.Errorf("looked up: %s (%v), want %s", found.Digest, err, want)
	}
}

func TestStandInData(t *testing.T) {
	s := newStandIns(t, "a")[0]
	client, err := s.Provider().Open(t.Context(), providers.OpenRequest{Config: s.Provider().Schema().Provider.Blank().Cty()})
	if err != nil {
		t.Fatal(err)
	}
	values := imageTable.Blank().Cty().AsValueMap()
	values["reference"] = cty.StringVal("ghcr.io/user/made-up:1.0")
	data, err := client.ReadData(t.Context(), providers.DataRequest{Addr: addr.Instance{Resource: addr.Resource{Mode: addr.Data, Type: "oci_image", Name: "m"}}, Config: cty.ObjectVal(values)})
	if err != nil {
		t.Fatal(err)
	}
	if data.Verify == nil {
		t.Fatal("nothing verifies a tag")
	}
	if _, err := client.Do(t.Context(), providers.DoRequest{Action: *data.Verify, Progress: func(providers.Progress) {}}); err != nil {
		t.Error(err)
	}
}
