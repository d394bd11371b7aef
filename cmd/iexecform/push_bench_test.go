package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/moby/client"

	"github.com/iexecform/iexecform/providers/docker/enginetest"
)

// BenchmarkPush pushes an image of 1 GB, in four layers that can't be compressed, to a registry of this machine that hasn't got
// it: with docker push, and with apply from each kind of source. ratio is the time by that of docker push, MB the peak memory
// of the whole program.
func BenchmarkPush(b *testing.B) {
	engine := enginetest.Start(b)
	b.Setenv("DOCKER_HOST", engine.Host)
	server := httptest.NewServer(registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(b.TempDir())), registry.Logger(log.New(io.Discard, "", 0))))
	b.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	dir := b.TempDir()
	round := 0
	for b.Loop() {
		round++
		b.StopTimer()
		image := largeImage(b, dir, uint64(round))
		tag, err := name.NewTag(fmt.Sprintf("%s/docker/large:%d", host, round))
		if err != nil {
			b.Fatal(err)
		}
		archive := filepath.Join(dir, "large.tar")
		if err := tarball.WriteToFile(archive, tag, image); err != nil {
			b.Fatal(err)
		}
		path, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
		if err == nil {
			err = path.AppendImage(image)
		}
		if err != nil {
			b.Fatal(err)
		}
		loadImage(b, engine, archive)
		b.StartTimer()

		begun := time.Now()
		if out, err := exec.CommandContext(b.Context(), "docker", "push", "--quiet", tag.String()).CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		docker := time.Since(begun)
		b.ReportMetric(docker.Seconds()*1000, "docker-ms")
		for kind, source := range map[string]string{"layout": "layout", "archive": "large.tar", "engine": "engine:" + tag.String()} {
			if err := os.RemoveAll(filepath.Join(dir, "iexecform.state.json")); err != nil {
				b.Fatal(err)
			}
			config := fmt.Sprintf("resource \"oci_image\" \"large\" {\n  source    = %q\n  reference = \"%s/%s/large:%d\"\n}\n", source, host, kind, round)
			if err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(config), 0o644); err != nil {
				b.Fatal(err)
			}
			c := measure(b, dir, "iexecform", "apply", "--auto-approve")
			c.report(b, kind)
			b.ReportMetric(float64(c.time)/float64(docker), kind+"-ratio")
		}
		b.StopTimer()
		if _, err := engine.ImageRemove(b.Context(), tag.String(), client.ImageRemoveOptions{Force: true}); err != nil {
			b.Fatal(err)
		}
		for _, name := range []string{"layout", "large.tar"} {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
	}
}

// largeImage is four layers of 250 MB each.
func largeImage(b *testing.B, dir string, seed uint64) v1.Image {
	b.Helper()
	image := v1.Image(empty.Image)
	for n := range uint64(4) {
		file := filepath.Join(dir, fmt.Sprintf("layer%d.tar", n))
		f, err := os.Create(file)
		if err != nil {
			b.Fatal(err)
		}
		var key [32]byte
		key[0], key[1] = byte(seed), byte(n)
		if err := writeLayer(f, fmt.Sprintf("data%d", n), io.LimitReader(rand.NewChaCha8(key), 250e6)); err != nil {
			b.Fatal(err)
		}
		layer, err := tarball.LayerFromFile(file)
		if err != nil {
			b.Fatal(err)
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			b.Fatal(err)
		}
	}
	return image
}

// writeLayer writes an archive of one file of 250 MB, and closes f.
func writeLayer(f *os.File, name string, content io.Reader) error {
	w := tar.NewWriter(f)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: 250e6})
	if err == nil {
		_, err = io.Copy(w, content)
	}
	return errors.Join(err, w.Close(), f.Close())
}

func loadImage(b *testing.B, engine *enginetest.Engine, archive string) {
	b.Helper()
	f, err := os.Open(archive)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	loaded, err := engine.ImageLoad(b.Context(), f)
	if err == nil {
		_, err = io.Copy(io.Discard, loaded)
		err = errors.Join(err, loaded.Close())
	}
	if err != nil {
		b.Fatal(err)
	}
}
