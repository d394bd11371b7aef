package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/iexecform/iexecform/providers/docker"
)

// Content is an image, or an index of several platforms, that is on this machine.
type content interface {
	MediaType() (types.MediaType, error)
	Digest() (v1.Hash, error)
	Size() (int64, error) // of the manifest or index, in bytes
	RawManifest() ([]byte, error)
}

// enginePrefix marks a source that is in a local container engine.
const enginePrefix = "engine:"

// refName is the annotation that names an image of an OCI layout (image-spec, annotations).
const refName = "org.opencontainers.image.ref.name"

// openContent opens a source: an OCI layout (a directory), a docker archive (a file), or an image of the local engine. A
// source that holds several images must have one with the name or tag of the reference. end must be called when the content
// isn't read any more; it is nil with an error. SIDE EFFECTS: reads files, asks the engine.
func openContent(ctx context.Context, dir, source string, reference name.Tag) (what content, end func(), err error) {
	if engine, ok := strings.CutPrefix(source, enginePrefix); ok {
		return openEngine(ctx, engine)
	}
	what, err = openFile(dir, source, reference)
	return what, func() {}, err
}

func openFile(dir, source string, reference name.Tag) (content, error) {
	path := source
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no %s: build the image first (docker save -o FILE IMAGE, or an OCI layout), or name one of the local engine, engine:NAME:TAG", source)
	case err != nil:
		return nil, err
	case info.IsDir():
		return openLayout(path, source, reference)
	}
	return openArchive(path, source, reference)
}

func openLayout(path, source string, reference name.Tag) (content, error) {
	index, err := layout.ImageIndexFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("%s is not an OCI layout: %w", source, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("%s is not an OCI layout: %w", source, err)
	}
	var found []v1.Descriptor
	var names []string
	for _, m := range manifest.Manifests {
		at := m.Annotations[refName]
		if at == reference.TagStr() || at == reference.Name() || at == reference.String() {
			found = append(found, m)
		}
		names = append(names, at)
	}
	if len(manifest.Manifests) == 1 {
		found = manifest.Manifests
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%s holds %d images, and %d of them are named %s (%s): name one so, or give it a layout of its own", source, len(names), len(found), reference.TagStr(), strings.Join(names, ", "))
	}
	if found[0].MediaType.IsIndex() {
		return index.ImageIndex(found[0].Digest)
	}
	return index.Image(found[0].Digest)
}

func openArchive(path, source string, reference name.Tag) (content, error) {
	manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(path) })
	if err != nil {
		return nil, fmt.Errorf("%s is not a docker archive (docker save): %w", source, err)
	}
	var tag *name.Tag
	if len(manifest) != 1 {
		tag = &reference
	}
	image, err := tarball.ImageFromPath(path, tag)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; it holds %d images: save one of them alone, or under the name %s", source, err, len(manifest), reference)
	}
	return image, nil
}

// openEngine saves an image of the engine, because it is read more than once: into a file without a name, which goes with the
// process however that ends.
func openEngine(ctx context.Context, reference string) (_ content, end func(), err error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, nil, fmt.Errorf("%q is not the name of an image: want engine:NAME:TAG", reference)
	}
	engine, err := docker.Connect(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("image %s of the local engine: %w", reference, err)
	}
	defer func() { _ = engine.Close() }()
	f, err := os.CreateTemp("", "iexecform-image-")
	if err != nil {
		return nil, nil, fmt.Errorf("make a file for the image %s of the local engine: %w", reference, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // nothing of it is wanted
		}
	}()
	if err := os.Remove(f.Name()); err != nil {
		return nil, nil, err
	}
	size, err := save(ctx, engine, ref.Name(), f)
	if err != nil {
		return nil, nil, fmt.Errorf("image %s of the local engine: %w; is it built?", reference, err)
	}
	image, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(f, 0, size)), nil }, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("image %s of the local engine: %w", reference, err)
	}
	return image, func() { _ = f.Close() }, nil
}

func save(ctx context.Context, engine *docker.Engine, image string, w io.Writer) (size int64, err error) {
	r, err := engine.ImageSave(ctx, []string{image})
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Close() }() // it was only read
	return io.Copy(w, r)
}
