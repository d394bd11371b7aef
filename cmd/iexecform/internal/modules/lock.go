package modules

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsimple"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/google/renameio/v2"
)

// LockFile is the name of the lock file, in the configuration's directory.
const LockFile = "iexecform.lock.hcl"

// entry is what the lock file says of a source.
type entry struct {
	Source   string `hcl:"source,label"`
	Resolved string `hcl:"resolved"` // the commit, or the digest of the manifest
	Digest   string `hcl:"digest"`   // of the files: golang.org/x/mod/sumdb/dirhash
}

// image is what the lock file says of an image reference.
type image struct {
	Reference string `hcl:"reference,label"`
	Digest    string `hcl:"digest"`
}

type lockFile struct {
	Modules []entry `hcl:"module,block"`
	Images  []image `hcl:"image,block"`
}

// Images are the digests that the lock file of a directory has of images, by reference.
func Images(dir string) (map[string]string, error) {
	file, err := readFile(filepath.Join(dir, LockFile))
	if err != nil {
		return nil, err
	}
	digests := map[string]string{}
	for _, i := range file.Images {
		digests[i.Reference] = i.Digest
	}
	return digests, nil
}

// LockImages writes the digests of images into the lock file of a directory. SIDE EFFECTS: the file.
func LockImages(dir string, digests map[string]string) error {
	path := filepath.Join(dir, LockFile)
	file, err := readFile(path)
	if err != nil {
		return err
	}
	file.Images = nil
	for _, reference := range slices.Sorted(maps.Keys(digests)) {
		file.Images = append(file.Images, image{reference, digests[reference]})
	}
	return file.write(path)
}

// readLock reads what the lock file says of modules, by source; a missing one is empty.
func readLock(path string) (map[string]entry, error) {
	file, err := readFile(path)
	if err != nil {
		return nil, err
	}
	entries := map[string]entry{}
	for _, e := range file.Modules {
		entries[e.Source] = e
	}
	return entries, nil
}

// writeLock replaces what the lock file says of modules, in one step.
func writeLock(path string, entries map[string]entry) error {
	file, err := readFile(path)
	if err != nil {
		return err
	}
	file.Modules = nil
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		file.Modules = append(file.Modules, entries[key])
	}
	return file.write(path)
}

func readFile(path string) (*lockFile, error) {
	file := &lockFile{}
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return file, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the lock file: %w", err)
	}
	if err := hclsimple.Decode(LockFile, src, nil, file); err != nil {
		return nil, fmt.Errorf("the lock file is damaged: %w. Restore it, or remove it and run `iexecform init`", err)
	}
	return file, nil
}

// write replaces the lock file, in one step.
func (f *lockFile) write(path string) error {
	out := hclwrite.NewEmptyFile()
	block := func(typ string, v any) {
		if len(out.Body().Blocks()) > 0 {
			out.Body().AppendNewline()
		}
		out.Body().AppendBlock(gohcl.EncodeAsBlock(v, typ))
	}
	for i := range f.Modules {
		block("module", &f.Modules[i])
	}
	for i := range f.Images {
		block("image", &f.Images[i])
	}
	text := "# What modules and images were when they were locked. Made by iexecform init; keep it in the repository.\n\n" + string(out.Bytes())
	return renameio.WriteFile(path, []byte(text), 0o644)
}
