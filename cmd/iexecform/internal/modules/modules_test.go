package modules

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
		"git::https://h/a?ref=a..b", "git::https://h/a//../..?ref=v1", "oci://h/a", "oci://h/a://x", "https://h/a.zip", "/abs",
	} {
		if s, err := parse(text, ""); err == nil {
			t.Errorf("%s: %+v", text, s)
		}
	}
}
