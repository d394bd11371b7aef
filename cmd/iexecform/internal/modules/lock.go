package modules

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
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

type lockFile struct {
	Modules []entry `hcl:"module,block"`
}

// readLock reads the lock file; a missing one is empty.
func readLock(path string) (map[string]entry, error) {
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]entry{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the lock file: %w", err)
	}
	var file lockFile
	if err := hclsimple.Decode(LockFile, src, nil, &file); err != nil {
		return nil, fmt.Errorf("the lock file is damaged: %w. Restore it, or remove it and run `iexecform init`", err)
	}
	entries := map[string]entry{}
	for _, e := range file.Modules {
		entries[e.Source] = e
	}
	return entries, nil
}

// writeLock replaces the lock file, in one step.
func writeLock(path string, entries map[string]entry) error {
	file := hclwrite.NewEmptyFile()
	for i, key := range slices.Sorted(maps.Keys(entries)) {
		if i > 0 {
			file.Body().AppendNewline()
		}
		e := entries[key]
		file.Body().AppendBlock(gohcl.EncodeAsBlock(&e, "module"))
	}
	text := "# What the modules were when they were fetched. Made by iexecform init; keep it in the repository.\n\n" + string(file.Bytes())
	return renameio.WriteFile(path, []byte(text), 0o644)
}
