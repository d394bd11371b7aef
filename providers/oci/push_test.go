package oci_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/oci"
	"github.com/iexecform/iexecform/providers/providertest"
)

// yard is a project and a registry that counts uploads and can be cut off.
type yard struct {
	*providertest.Project
	t       *testing.T
	host    string
	uploads atomic.Int32 // blobs begun to be sent
	landed  atomic.Int32 // blobs sent whole
	cutAt   atomic.Int32 // from this upload on, none is taken; 0: never
}

func newYard(t *testing.T) *yard {
	y := &yard{Project: providertest.New(t, providers.Registry{"oci": oci.New()}), t: t}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/blobs/uploads/") {
			n := y.uploads.Add(1)
			if cut := y.cutAt.Load(); cut != 0 && n >= cut {
				w.WriteHeader(http.StatusForbidden) // for good: the client doesn't try again
				return
			}
		}
		inner.ServeHTTP(w, r)
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/") {
			y.landed.Add(1)
		}
	}))
	t.Cleanup(server.Close)
	y.host = strings.TrimPrefix(server.URL, "http://")
	return y
}

func (y *yard) image(layers int64) v1.Image {
	y.t.Helper()
	image, err := random.Image(2000, layers)
	if err != nil {
		y.t.Fatal(err)
	}
	return image
}

// layout writes an OCI layout into the project's directory.
func (y *yard) layout(dir string, images ...v1.Image) {
	y.t.Helper()
	path, err := layout.Write(filepath.Join(y.Dir, dir), empty.Index)
	for _, image := range images {
		if err == nil {
			err = path.AppendImage(image)
		}
	}
	if err != nil {
		y.t.Fatal(err)
	}
}

func (y *yard) offer(source, tag string, more ...string) {
	y.Write(fmt.Sprintf("resource \"oci_image\" \"i\" {\n  source = %q\n  reference = \"%s/you/app:%s\"\n%s\n}\n", source, y.host, tag, strings.Join(more, "\n")))
}

func (y *yard) digestOf(tag string) string {
	y.t.Helper()
	ref, err := name.ParseReference(y.host + "/you/app:" + tag)
	if err != nil {
		y.t.Fatal(err)
	}
	found, err := remote.Head(ref)
	if err != nil {
		y.t.Fatal(err)
	}
	return found.Digest.String()
}

func digestText(t *testing.T, i interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	d, err := i.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func TestPushLayout(t *testing.T) {
	y := newYard(t)
	image := y.image(3)
	y.layout("app", image)
	y.offer("app", "1.0")
	made := y.Plan()
	if got := made.Changes[0].After.Attr("digest").AsString(); got != digestText(t, image) {
		t.Errorf("planned digest %s, want %s", got, digestText(t, image))
	}
	y.Obey(made)
	y.Settled()
	if got := y.digestOf("1.0"); got != digestText(t, image) {
		t.Errorf("pushed %s, want %s", got, digestText(t, image))
	}
	y.LoseState()
	if plan := y.Apply(); !strings.Contains(plan, "adopt") {
		t.Errorf("what is there isn't adopted:\n%s", plan)
	}
	y.Settled()
}

func TestPushArchive(t *testing.T) {
	y := newYard(t)
	image := y.image(2)
	tag, err := name.NewTag("some/thing:else")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(filepath.Join(y.Dir, "app.tar"), tag, image); err != nil {
		t.Fatal(err)
	}
	y.offer("app.tar", "1.0")
	y.Apply()
	y.Settled()
	if got := y.digestOf("1.0"); got != digestText(t, image) {
		t.Errorf("pushed %s, want %s", got, digestText(t, image))
	}
}

func TestPushKeepsIndexesWhole(t *testing.T) {
	y := newYard(t)
	index, err := random.Index(500, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	path, err := layout.Write(filepath.Join(y.Dir, "app"), empty.Index)
	if err == nil {
		err = path.AppendIndex(index)
	}
	if err != nil {
		t.Fatal(err)
	}
	y.offer("app", "1.0")
	y.Apply()
	y.Settled()
	if got := y.digestOf("1.0"); got != digestText(t, index) {
		t.Errorf("pushed %s, want the index %s", got, digestText(t, index))
	}
}

func TestPushOverATag(t *testing.T) {
	y := newYard(t)
	first, second := y.image(1), y.image(1)
	y.layout("one", first)
	y.layout("two", second)
	y.offer("one", "1.0")
	y.Apply()
	y.offer("two", "1.0")
	made := y.TryPlan()
	if text := made.Diags.Error(); !strings.Contains(text, digestText(t, first)) || !strings.Contains(text, digestText(t, second)) || !strings.Contains(text, "mutable = true") {
		t.Errorf("want a refusal with both digests, got %s", text)
	}
	y.offer("two", "1.0", "mutable = true")
	made = y.Plan()
	if text := made.String(); !strings.Contains(text, "replace") || !strings.Contains(text, digestText(t, first)) {
		t.Errorf("the plan doesn't show the replacement:\n%s", text)
	}
	// Somebody else pushes in between.
	third := y.image(1)
	ref, err := name.ParseReference(y.host + "/you/app:1.0")
	if err == nil {
		err = remote.Write(ref, third)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := y.TryApply(t.Context(), made); err == nil || !strings.Contains(err.Error(), digestText(t, third)) {
		t.Errorf("want a refusal that names what was pushed in the meantime, got %v", err)
	}
	if got := y.digestOf("1.0"); got != digestText(t, third) {
		t.Errorf("the tag was overwritten: %s", got)
	}
	y.Apply()
	y.Settled()
	if got := y.digestOf("1.0"); got != digestText(t, second) {
		t.Errorf("the tag is %s, want %s", got, digestText(t, second))
	}
}

func TestPushGoesOnWithWhatIsMissing(t *testing.T) {
	y := newYard(t)
	y.layout("app", y.image(12))
	y.offer("app", "1.0")
	y.cutAt.Store(6)
	made := y.Plan()
	result, err := y.TryApply(t.Context(), made)
	if err != nil || result.Failed != 1 {
		t.Fatalf("want the push to fail: %+v, %v", result, err)
	}
	sent := y.landed.Load()
	y.cutAt.Store(0)
	y.uploads.Store(0)
	y.Apply()
	y.Settled()
	if again := y.uploads.Load(); sent == 0 || again > 13-sent || again == 0 { // 12 layers and the configuration
		t.Errorf("%d of 13 blobs were sent, and then %d", sent, again)
	}
}

func TestPushRefusesWhatWasBuiltAgain(t *testing.T) {
	y := newYard(t)
	y.layout("app", y.image(1))
	y.offer("app", "1.0")
	made := y.Plan()
	if err := os.RemoveAll(filepath.Join(y.Dir, "app")); err != nil {
		t.Fatal(err)
	}
	y.layout("app", y.image(1))
	result, err := y.TryApply(context.WithoutCancel(t.Context()), made)
	if err != nil || len(result.Errors) != 1 || !strings.Contains(result.Errors[0].Error(), "built again") {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestTag(t *testing.T) {
	y := newYard(t)
	image := y.image(2)
	y.layout("app", image)
	more := fmt.Sprintf("}\nresource \"oci_tag\" \"t\" {\n source = oci_image.i.pinned_reference\n reference = \"%s/you/app:stable\"\n", y.host)
	y.offer("app", "1.0", more)
	y.Apply() // pushed and tagged in one plan
	y.Settled()
	if got := y.digestOf("stable"); got != digestText(t, image) {
		t.Errorf("stable is %s, want %s", got, digestText(t, image))
	}
	other := fmt.Sprintf("}\nresource \"oci_tag\" \"t\" {\n source = \"%s/you/app:stable\"\n reference = \"%s/you/copy:1.0\"\n", y.host, y.host)
	y.offer("app", "1.0", other)
	y.Apply() // another repository
	y.Settled()
}

func TestPushBadInput(t *testing.T) {
	y := newYard(t)
	y.layout("two", y.image(1), y.image(1))
	if err := os.WriteFile(filepath.Join(y.Dir, "text"), []byte("no image"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(y.Dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		"missing": "there is no missing", "text": "text is not a docker archive", "empty": "empty is not an OCI layout", "two": "two holds 2 images",
		"engine:a b": "is not the name of an image",
	} {
		y.offer(source, "1.0")
		if text := y.TryPlan().Diags.Error(); !strings.Contains(text, want) {
			t.Errorf("source %q: got %s, want %q in it", source, text, want)
		}
	}
	y.Write(fmt.Sprintf("resource \"oci_image\" \"i\" {\n  source = \"text\"\n  reference = \"%s/you/app\"\n}\n", y.host))
	if text := y.TryPlan().Diags.Error(); !strings.Contains(text, "names no tag") {
		t.Errorf("without a tag: %s", text)
	}
}
