package localnet

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// sampleImage is in every registry of a local network.
const sampleImage = "iexecform/hello-world:1.0"

// newRegistry makes an OCI registry that keeps its blobs in dir, or with dir "" in memory. The library keeps manifests in
// memory only: those of dir are put again, from a file of all writes, when the registry is opened.
func newRegistry(dir string) (http.Handler, func() error, error) {
	quiet := registry.Logger(log.New(io.Discard, "", 0))
	if dir == "" {
		return registry.New(quiet), func() error { return nil }, nil
	}
	blobs := filepath.Join(dir, "blobs")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return nil, nil, fmt.Errorf("open registry: %w", err)
	}
	inner := registry.New(quiet, registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)))
	file := filepath.Join(dir, "manifests.jsonl")
	if err := replayManifests(inner, file); err != nil {
		return nil, nil, fmt.Errorf("open registry: %w", err)
	}
	out, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open registry: %w", err)
	}
	return &manifestKeeper{inner: inner, out: out}, out.Close, nil
}

// manifestWrite is one PUT or DELETE of a manifest.
type manifestWrite struct {
	Method      string `json:"method"`
	Path        string `json:"path"`
	ContentType string `json:"content_type,omitempty"`
	Body        []byte `json:"body,omitempty"`
}

// manifestKeeper appends every successful write of a manifest to a file.
type manifestKeeper struct {
	inner http.Handler
	mu    sync.Mutex
	out   *os.File
}

func (k *manifestKeeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/manifests/") || r.Method != http.MethodPut && r.Method != http.MethodDelete {
		k.inner.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	k.mu.Lock()
	defer k.mu.Unlock()
	status := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	k.inner.ServeHTTP(status, r)
	if status.status >= 300 {
		return
	}
	write := manifestWrite{Method: r.Method, Path: r.URL.Path, ContentType: r.Header.Get("Content-Type"), Body: body}
	_ = json.NewEncoder(k.out).Encode(write) // too late to refuse; what is lost is the image after a restart
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// replayManifests does the writes in file again. An unfinished last one is dropped.
func replayManifests(to http.Handler, file string) error {
	in, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	for dec := json.NewDecoder(in); ; {
		var w manifestWrite
		if err := dec.Decode(&w); err != nil {
			if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil
			}
			return fmt.Errorf("%s: %w", file, err)
		}
		r, err := http.NewRequest(w.Method, w.Path, bytes.NewReader(w.Body))
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		r.Header.Set("Content-Type", w.ContentType)
		to.ServeHTTP(discard{}, r)
	}
}

// discard is an answer that nobody reads.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// pushSample pushes the sample image to the registry at addr and returns its reference.
func pushSample(ctx context.Context, addr string) (string, error) {
	ref, err := name.NewTag(addr + "/" + sampleImage)
	if err != nil {
		return "", fmt.Errorf("push the sample image: %w", err)
	}
	image, err := sample()
	if err != nil {
		return "", fmt.Errorf("make the sample image: %w", err)
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
		return "", fmt.Errorf("push the sample image: %w", err)
	}
	return ref.String(), nil
}

// sample builds a linux/amd64 image of one text file. It is the same, to the digest, wherever it is built.
func sample() (v1.Image, error) {
	text := []byte("Hello from the local network of iexecform.\n")
	created := time.Unix(0, 0).UTC()
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	if err := archive.WriteHeader(&tar.Header{Name: "hello.txt", Mode: 0o644, Size: int64(len(text)), ModTime: created}); err != nil {
		return nil, err
	}
	if _, err := archive.Write(text); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(image, static.NewLayer(layer.Bytes(), types.OCIUncompressedLayer))
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", "amd64", v1.Time{Time: created}
	config.Config.Cmd = []string{"/hello.txt"}
	return mutate.ConfigFile(image, config)
}
