package oci_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	"github.com/iexecform/iexecform/providers/docker/enginetest"
	"github.com/iexecform/iexecform/providers/oci"
	"github.com/iexecform/iexecform/providers/providertest"
)

// yard is a project and a registry that counts what it is sent and can be cut off.
type yard struct {
	*providertest.Project
	t    *testing.T
	host string

	mu      sync.Mutex
	age     int              // which calm a connection must be of
	active  sync.WaitGroup   // requests on such connections
	uploads int              // blobs begun to be sent
	bytes   int64            // of blobs, that arrived
	landed  map[string]int64 // sizes of the blobs sent whole, by digest
	cuts    cuts
}

// cuts says which upload is cut: counted are those of more bytes than in.
type cuts struct {
	at, n int           // 0: none is; and how many there were
	in    int64         // after so many bytes the connection is closed; 0: it is refused
	once  bool          // those after it are taken, and not refused too
	made  chan struct{} // closed when it is cut: those after it wait for that
}

func newYard(t *testing.T) *yard {
	y := &yard{Project: providertest.New(t, providers.Registry{"oci": oci.New()}), t: t, landed: map[string]int64{}}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	sizes := map[string]int64{} // of what arrived, by the path of its upload
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		y.mu.Lock()
		if y.age != r.Context().Value(y) {
			y.mu.Unlock()
			panic(http.ErrAbortHandler) // of a push that is over
		}
		y.active.Add(1)
		y.mu.Unlock()
		defer y.active.Done()
		sending := strings.Contains(r.URL.Path, "/blobs/uploads/")
		if r.Method == http.MethodPatch && sending && !y.take(r) {
			w.WriteHeader(http.StatusForbidden) // for good: the client doesn't try again
			return
		}
		body := &counted{ReadCloser: r.Body}
		r.Body = body
		answer := &answered{ResponseWriter: w}
		inner.ServeHTTP(answer, r)
		y.mu.Lock()
		defer y.mu.Unlock()
		switch {
		case r.Method == http.MethodPatch && sending:
			y.bytes += body.n
			sizes[r.URL.Path] = body.n
		case r.Method == http.MethodPut && sending && answer.code == http.StatusCreated:
			y.landed[r.URL.Query().Get("digest")] = sizes[r.URL.Path]
		}
	}))
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		y.mu.Lock()
		defer y.mu.Unlock()
		return context.WithValue(ctx, y, y.age)
	}
	server.Start()
	t.Cleanup(server.Close)
	y.host = strings.TrimPrefix(server.URL, "http://")
	return y
}

// cut cuts an upload.
func (y *yard) cut(at int, in int64, once bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.cuts = cuts{at: at, in: in, once: once, made: make(chan struct{})}
}

// take counts an upload and cuts it if that is due. It is false when it is refused.
func (y *yard) take(r *http.Request) bool {
	y.mu.Lock()
	y.uploads++
	if r.ContentLength > y.cuts.in {
		y.cuts.n++
	}
	c := y.cuts
	y.mu.Unlock()
	switch {
	case c.at == 0 || c.n < c.at || r.ContentLength <= c.in:
		return true
	case c.n > c.at:
		<-c.made
		return c.once
	}
	defer close(c.made)
	if c.in > 0 {
		if n, err := io.CopyN(io.Discard, r.Body, c.in); err != nil {
			y.t.Errorf("the upload that is to be cut after %d bytes has %d: %v", c.in, n, err)
		}
		y.mu.Lock()
		y.bytes += c.in
		y.mu.Unlock()
		panic(http.ErrAbortHandler) // closes the connection
	}
	return false
}

// calm ends the cutting and begins to count anew, when all is over that a push has begun. It returns what was landed.
func (y *yard) calm() map[string]int64 {
	y.mu.Lock()
	y.age++
	y.mu.Unlock()
	y.active.Wait()
	y.mu.Lock()
	defer y.mu.Unlock()
	landed := y.landed
	y.uploads, y.bytes, y.landed, y.cuts = 0, 0, map[string]int64{}, cuts{}
	return landed
}

type counted struct {
	io.ReadCloser
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	return n, err
}

type answered struct {
	http.ResponseWriter
	code int
}

func (a *answered) WriteHeader(code int) {
	a.code = code
	a.ResponseWriter.WriteHeader(code)
}

func (y *yard) image(layers, size int64) v1.Image {
	y.t.Helper()
	image, err := random.Image(size, layers)
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

// blobs are the sizes of what an image consists of, by digest, without the manifest.
func blobs(t *testing.T, image v1.Image) map[string]int64 {
	t.Helper()
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{manifest.Config.Digest.String(): manifest.Config.Size}
	for _, l := range manifest.Layers {
		sizes[l.Digest.String()] = l.Size
	}
	return sizes
}

func TestPushLayout(t *testing.T) {
	y := newYard(t)
	image := y.image(3, 2000)
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
	image := y.image(2, 2000)
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
	first, second := y.image(1, 2000), y.image(1, 2000)
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
	third := y.image(1, 2000)
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

// A push that is cut, between blobs or inside of one, goes on with what is missing: what was sent whole is not sent again.
func TestPushGoesOnWithWhatIsMissing(t *testing.T) {
	for name, in := range map[string]int64{"between blobs": 0, "inside of a blob": 300_000} {
		t.Run(name, func(t *testing.T) {
			y := newYard(t)
			image := y.image(11, 500_000)
			y.layout("app", image)
			y.offer("app", "1.0")
			y.cut(6, in, false)
			made := y.Plan()
			result, err := y.TryApply(t.Context(), made)
			if err != nil || result.Failed != 1 || !strings.Contains(result.Errors[0].Error(), "the next apply sends the rest") {
				t.Fatalf("want the push to fail: %+v, %v", result, err)
			}
			before := y.calm()
			y.Apply()
			y.Settled()
			var rest int64
			for digest, size := range blobs(t, image) {
				_, again := y.landed[digest]
				switch whole, sent := before[digest]; {
				case sent && (again || whole != size):
					t.Errorf("%s of %d bytes was sent (%d), and again: %v", digest, size, whole, again)
				case !sent && !again:
					t.Errorf("%s is missing", digest)
				case !sent:
					rest += size
				}
			}
			if len(before) == 0 || len(y.landed) == 0 || y.bytes != rest || y.uploads != len(y.landed) {
				t.Errorf("%d blobs were sent, and then %d of %d bytes in %d uploads with %d bytes", len(before), len(y.landed), rest, y.uploads, y.bytes)
			}
			if got := y.digestOf("1.0"); got != digestText(t, image) {
				t.Errorf("pushed %s, want %s", got, digestText(t, image))
			}
		})
	}
}

// A connection that breaks inside of a blob costs that blob, within one apply.
func TestPushOutlivesABrokenConnection(t *testing.T) {
	y := newYard(t)
	image := y.image(5, 500_000)
	y.layout("app", image)
	y.offer("app", "1.0")
	y.cut(4, 300_000, true)
	y.Apply()
	y.Settled()
	var whole int64
	for _, size := range blobs(t, image) {
		whole += size
	}
	if y.bytes != whole+300_000 || y.uploads != 7 { // five layers, the configuration, and one again
		t.Errorf("%d bytes were sent in %d uploads, of an image of %d", y.bytes, y.uploads, whole)
	}
}

// What is there counts as sent, and what was sent in vain doesn't.
func TestPushTellsHowFarItIs(t *testing.T) {
	y := newYard(t)
	image := y.image(6, 500_000)
	var whole int64
	for _, size := range blobs(t, image) {
		whole += size
	}
	tag, err := name.NewTag(y.host + "/you/app:1.0")
	if err != nil {
		t.Fatal(err)
	}
	push := func() (last int64, err error) {
		err = oci.MeasuredPush(t.Context(), tag, image, func(complete, total int64) {
			if total != whole || complete < 0 || complete > total {
				t.Errorf("%d of %d are sent, of an image of %d", complete, total, whole)
			}
			last = complete
		})
		return last, err
	}
	y.cut(5, 300_000, false)
	if last, err := push(); err == nil || last >= whole {
		t.Errorf("%d were sent: %v", last, err)
	}
	y.calm()
	y.cut(1, 300_000, true)
	if last, err := push(); err != nil || last != whole {
		t.Errorf("%d of %d were sent: %v", last, whole, err)
	}
	if y.bytes >= whole {
		t.Errorf("%d bytes were sent again", y.bytes)
	}
}

func TestPushRefusesWhatWasBuiltAgain(t *testing.T) {
	y := newYard(t)
	y.layout("app", y.image(1, 2000))
	y.offer("app", "1.0")
	made := y.Plan()
	if err := os.RemoveAll(filepath.Join(y.Dir, "app")); err != nil {
		t.Fatal(err)
	}
	y.layout("app", y.image(1, 2000))
	result, err := y.TryApply(context.WithoutCancel(t.Context()), made)
	if err != nil || len(result.Errors) != 1 || !strings.Contains(result.Errors[0].Error(), "built again") {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestTag(t *testing.T) {
	y := newYard(t)
	image := y.image(2, 2000)
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
	y.layout("two", y.image(1, 2000), y.image(1, 2000))
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

// An image of the engine is saved on the way, and nothing of that is left.
func TestPushFromAnEngine(t *testing.T) {
	engine := enginetest.Start(t)
	t.Setenv("DOCKER_HOST", engine.Host)
	y := newYard(t)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	y.offer("engine:"+engine.Import(t, enginetest.Image{}), "1.0")
	y.Apply()
	y.Settled()
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%v is left: %v", left, err)
	}
	y.offer("engine:no/such:1.0", "1.0")
	if text := y.TryPlan().Diags.Error(); !strings.Contains(text, "no/such:1.0 of the local engine") || !strings.Contains(text, "is it built?") {
		t.Error(text)
	}
}
