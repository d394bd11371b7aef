package modules

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func archive(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Mode = 0o644; h.Typeflag == 0 && h.Size == 0 {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == 0 && h.Size == int64(len(h.Name)) {
			if _, err := w.Write([]byte(h.Name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = w.Flush() // a header may announce more than there is
	return b.Bytes()
}

func TestUnpackStaysInside(t *testing.T) {
	for _, bad := range []tar.Header{
		{Name: "../out"}, {Name: "/etc/out"}, {Name: "a/../../out"},
	} {
		dir := filepath.Join(t.TempDir(), "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := unpack(bytes.NewReader(archive(t, bad)), dir)
		if err == nil || !strings.Contains(err.Error(), "leads out of it") {
			t.Errorf("%s: %v", bad.Name, err)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "out")); left != nil {
			t.Errorf("%s was written", left)
		}
	}
	dir := t.TempDir()
	if err := unpack(bytes.NewReader(archive(t, tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/"}, tar.Header{Name: "link/x"})), dir); err != nil {
		t.Fatal(err) // the link isn't there, so the file is in a directory of its name
	}
	if info, err := os.Lstat(filepath.Join(dir, "link")); err != nil || !info.IsDir() {
		t.Error(info, err)
	}
}

// What isn't a plain file isn't unpacked, whatever it is called: nothing can be written through it.
func TestUnpackTakesPlainFilesOnly(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("as it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, h := range []tar.Header{
		{Name: "x", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "x", Typeflag: tar.TypeLink, Linkname: outside},
		{Name: "x", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, {Name: "x", Typeflag: tar.TypeBlock}, {Name: "x", Typeflag: tar.TypeFifo},
		{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "../../.."},
	} {
		dir := t.TempDir()
		if err := unpack(bytes.NewReader(archive(t, h, tar.Header{Name: "y"})), dir); err != nil {
			t.Errorf("%c: %v", h.Typeflag, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != "y" {
			t.Errorf("%c: %v, %v", h.Typeflag, entries, err)
		}
	}
	for name, headers := range map[string][]tar.Header{
		"the same file twice": {{Name: "a"}, {Name: "./a"}}, "a file as a directory": {{Name: "a"}, {Name: "a/b"}},
	} {
		if err := unpack(bytes.NewReader(archive(t, headers...)), t.TempDir()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "as it was" {
		t.Errorf("%q, %v", b, err)
	}
}

// A small download that becomes large, or makes endless directories, is refused.
func TestUnpackRefusesBombs(t *testing.T) {
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	if _, err := w.Write(archive(t, tar.Header{Name: "big", Size: maxBytes})); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 3 * maxBytes >> 20 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Close()
	r, err := gzip.NewReader(&bomb)
	if err != nil {
		t.Fatal(err)
	}
	var deep []tar.Header
	for i := range 100 {
		deep = append(deep, tar.Header{Name: strconv.Itoa(i) + strings.Repeat("/d", 400) + "/f"})
	}
	for name, c := range map[string]struct {
		r    io.Reader
		want string
	}{
		"zeros":       {r, "larger than"},
		"a long name": {bytes.NewReader(archive(t, tar.Header{Name: strings.Repeat("d/", 10_000) + "f"})), "too long"},
		"deep":        {bytes.NewReader(archive(t, deep...)), "too deep"},
	} {
		if err := unpack(c.r, t.TempDir()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCredentialsStayWithTheRegistry: those of docker login aren't sent to where a registry keeps its blobs.
func TestCredentialsStayWithTheRegistry(t *testing.T) {
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	var given []string
	blobs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given = append(given, r.Header.Get("Authorization"))
		images.ServeHTTP(w, r)
	}))
	defer blobs.Close()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, blobs.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return
		}
		images.ServeHTTP(w, r)
	}))
	defer front.Close()
	host := strings.TrimPrefix(front.URL, "http://")
	dir := t.TempDir()
	config := fmt.Sprintf(`{"auths":{%q:{"auth":"dTpzM2NyZXQ="}}}`, host) // u:s3cret
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	var layer bytes.Buffer
	w := gzip.NewWriter(&layer)
	_, _ = w.Write(archive(t, tar.Header{Name: "main.hcl"}))
	_ = w.Close()
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(layer.Bytes(), types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/m:1.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Install(t.Context(), t.TempDir(), Options{}).Package("oci://"+host+"/m:1.0", ""); err != nil {
		t.Fatal(err)
	}
	if len(given) == 0 || strings.Join(given, "") != "" {
		t.Errorf("the other server was given %q", given)
	}
}

func TestUnpackHasLimits(t *testing.T) {
	for what, data := range map[string][]byte{
		"larger than":     archive(t, tar.Header{Name: "big", Size: maxBytes + 1}),
		"more than 10000": archive(t, make([]tar.Header, maxFiles+1)...),
	} {
		if what != "larger than" {
			var headers []tar.Header
			for i := range maxFiles + 1 {
				headers = append(headers, tar.Header{Name: "f" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + filepath.Join("d", strings.Repeat("y", i/182+1))})
			}
			data = archive(t, headers...)
		}
		if err := unpack(bytes.NewReader(data), t.TempDir()); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestGitHasLimits fetches from real repositories that are too large: what git fetches, and what comes out of a small one.
func TestGitHasLimits(t *testing.T) {
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	repository := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", repository, "-c", "user.name=a", "-c", "user.email=a@a"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	commit := func(tag string, content []byte) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(repository, "main.hcl"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		run("add", ".")
		run("commit", "--quiet", "--message=x")
		run("tag", tag)
		return run("rev-parse", "HEAD")
	}
	noise := make([]byte, 3<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	run("init", "--quiet")
	first := commit("small", []byte("# small\n"))
	run("tag", "-d", "small")
	second := commit("large", noise)
	commit("zeros", make([]byte, maxBytes+1))

	const limit = 1 << 20
	fetch := func(most int64, ref, pinned string) error {
		_, err := git{most: most}.fetch(t.Context(), source{address: "file://" + repository, ref: ref}, pinned, t.TempDir())
		return err
	}
	for name, err := range map[string]error{
		"a tag": fetch(limit, "large", ""), "a commit": fetch(limit, second, second),
	} {
		if !errors.Is(err, errLargeRepository) || strings.Contains(err.Error(), "branches move") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := fetch(limit, "zeros", ""); !errors.Is(err, errLarge) {
		t.Errorf("a small repository with a large file: %v", err)
	}
	if err := fetch(limit, first, first); err != nil {
		t.Errorf("a commit that is small: %v", err)
	}
	// A server that gives no single commits gives all that it has.
	for name, value := range map[string]string{"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.version", "GIT_CONFIG_VALUE_0": "0"} {
		t.Setenv(name, value)
	}
	if err := fetch(4*limit, first, first); err != nil {
		t.Errorf("a commit of a server that gives none: %v", err)
	}
	if err := fetch(limit, first, first); !errors.Is(err, errLargeRepository) {
		t.Errorf("too much of a server that gives no commits: %v", err)
	}
}

func TestRegistry(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	push := func(repo string, layers ...[]byte) {
		t.Helper()
		var image = mutate.MediaType(empty.Image, types.OCIManifestSchema1)
		for _, l := range layers {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			_, _ = w.Write(l)
			_ = w.Close()
			var err error
			if image, err = mutate.AppendLayers(image, static.NewLayer(b.Bytes(), types.OCILayer)); err != nil {
				t.Fatal(err)
			}
		}
		ref, err := name.ParseReference(host + "/" + repo)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image); err != nil {
			t.Fatal(err)
		}
	}
	push("shop/offer:1.0", archive(t, tar.Header{Name: "main.hcl"}, tar.Header{Name: "sub/main.hcl"}))
	push("two:1.0", archive(t, tar.Header{Name: "a"}), archive(t, tar.Header{Name: "b"}))

	dir := t.TempDir()
	i := Install(t.Context(), dir, Options{})
	root, sub, err := i.Package("oci://"+host+"/shop/offer//sub", "1.0")
	if err != nil {
		t.Fatal(err)
	}
	if rel, err := filepath.Rel(root, sub); err != nil || rel != "sub" {
		t.Error(root, sub, err)
	}
	if b, err := os.ReadFile(filepath.Join(sub, "main.hcl")); err != nil || string(b) != "sub/main.hcl" {
		t.Errorf("%q %v", b, err)
	}
	if changed, err := i.Save(true); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if _, _, err := Open(dir).Package("oci://"+host+"/shop/offer:1.0", ""); err != nil {
		t.Error(err)
	}
	if _, _, err := i.Package("oci://"+host+"/two:1.0", ""); err == nil || !strings.Contains(err.Error(), "2 layers") {
		t.Error(err)
	}

	// The tag moves: a fresh checkout still gets what is locked, because the digest is.
	locked, err := readLock(filepath.Join(dir, LockFile))
	if err != nil {
		t.Fatal(err)
	}
	push("shop/offer:1.0", archive(t, tar.Header{Name: "other.hcl"}))
	if err := os.RemoveAll(filepath.Join(dir, Dir)); err != nil {
		t.Fatal(err)
	}
	again := Install(t.Context(), dir, Options{ReadOnly: true})
	if _, sub, err = again.Package("oci://"+host+"/shop/offer:1.0//sub", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(sub, "main.hcl")); err != nil {
		t.Error(err)
	}
	for key, e := range locked {
		if again.used[key] != e {
			t.Errorf("%s: %v, want %v", key, again.used[key], e)
		}
	}
	// A lock file that says another digest is not overruled.
	for key, e := range locked {
		e.Digest = "h1:another"
		if err := writeLock(filepath.Join(dir, LockFile), map[string]entry{key: e}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, Dir)); err != nil {
		t.Fatal(err)
	}
	_, _, err = Install(t.Context(), dir, Options{}).Package("oci://"+host+"/shop/offer:1.0", "")
	if err == nil || !strings.Contains(err.Error(), "h1:another") || strings.Count(err.Error(), "h1:") != 2 {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ text, version, key, subdir string }{
		{"git::https://example.com/a/b.git//x/y?ref=v1.0", "", "git::https://example.com/a/b.git?ref=v1.0", "x/y"},
		{"git::ssh://git@example.com/a.git", "v1", "git::ssh://git@example.com/a.git?ref=v1", ""},
		{"oci://localhost:5000/a/b:1.0//x", "", "oci://localhost:5000/a/b:1.0", "x"},
		{"oci://localhost:5000/a", "2", "oci://localhost:5000/a:2", ""},
		{"oci://r.example/a@sha256:00ff", "", "oci://r.example/a@sha256:00ff", ""},
	} {
		s, err := parse(c.text, c.version)
		if err != nil || s.key != c.key || s.subdir != c.subdir {
			t.Errorf("%s: %+v %v", c.text, s, err)
		}
	}
	for _, text := range []string{
		"hashicorp/x/y", "git::https://example.com/a.git", "git::--upload-pack=x?ref=a", "git::ext::sh -c x?ref=v1", "git::https://h/a?depth=1", "git::https://h/a?ref=-x",
		"git::https://h/a?ref=a..b", "git::https://user:s3cret@h/a?ref=v1", "git::https://token@h/a?ref=v1", "git::ssh://git:s3cret@h/a?ref=v1", "git::https://s3cret\x7f@h/a?ref=v1",
		"git::http://h/a?ref=v1", "git::git://h/a?ref=v1", "git::http://10.0.0.1/a?ref=v1", "git::https://h/a//../..?ref=v1", "oci://h/a", "oci://h/a://x", "https://h/a.zip", "/abs",
	} {
		if s, err := parse(text, ""); err == nil {
			t.Errorf("%s: %+v", text, s)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s is shown: %v", text, err)
		}
	}
}
