package modules

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/dirhash"

	"github.com/iexecform/iexecform/internal/wording"
)

// Dir is where the files of modules are, in the configuration's directory.
const Dir = ".iexecform/modules"

// Store tells where modules are that were fetched. It implements config.Modules.
type Store struct {
	dir      string // of the configuration
	entries  map[string]entry
	verified map[string]error // by key
}

// Open returns the store of a configuration's directory. The lock file is read when a module is asked for.
func Open(dir string) *Store { return &Store{dir: dir, verified: map[string]error{}} }

func (s *Store) lock() (err error) {
	if s.entries == nil {
		s.entries, err = readLock(filepath.Join(s.dir, LockFile))
	}
	return err
}

// Package implements config.Modules: it verifies the files, and fetches nothing.
func (s *Store) Package(text, version string) (root, dir string, err error) {
	src, err := parse(text, version)
	if err != nil {
		return "", "", err
	}
	if err := s.lock(); err != nil {
		return "", "", err
	}
	e, known := s.entries[src.key]
	root = s.root(src)
	_, missing := os.Stat(root)
	switch {
	case !known:
		return "", "", fmt.Errorf("%s is not in %s. Run `iexecform init`, which fetches it", src.key, LockFile)
	case errors.Is(missing, fs.ErrNotExist):
		return "", "", fmt.Errorf("%s was not fetched yet. Run `iexecform init`", src.key)
	}
	if err := s.verify(src, e); err != nil {
		return "", "", err
	}
	return root, filepath.Join(root, filepath.FromSlash(src.subdir)), nil
}

func (s *Store) root(src source) string { return filepath.Join(s.dir, Dir, src.folder()) }

// verify compares the files with the lock file, once.
func (s *Store) verify(src source, e entry) error {
	err, done := s.verified[src.key]
	if !done {
		err = checkDigest(s.root(src), src, e)
		s.verified[src.key] = err
	}
	return err
}

func checkDigest(root string, src source, e entry) error {
	digest, err := digestOf(root)
	if err == nil && digest != e.Digest {
		err = fmt.Errorf("the files of %s in %s have digest %s, but %s says %s: they were changed. If you trust the source, remove the directory and run `iexecform init`, which fetches them again",
			src.key, root, digest, LockFile, e.Digest)
	}
	return err
}

// digestOf is the digest of a directory's files, in the form of Go's checksum database. Links are an error: their targets
// would not be in it.
func digestOf(dir string) (string, error) {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !d.Type().IsRegular() {
			err = fmt.Errorf("%s is not a regular file, so it is none of the module. Remove the directory and run `iexecform init`", path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return dirhash.HashDir(dir, "", dirhash.Hash1)
}

// Installer is a store that fetches what is missing.
type Installer struct {
	*Store
	ctx      context.Context
	options  Options
	used     map[string]entry
	failures map[string]error
}

// Options is how Install works.
type Options struct {
	Upgrade  bool                                  // resolve tags again
	ReadOnly bool                                  // the lock file must have everything already
	Fetched  func(source, resolved, digest string) // is told of each fetch; may be nil
}

// Install returns a store that fetches modules when they are asked for. SIDE EFFECTS: of its methods: the network, files
// under Dir, and, with Save, the lock file.
func Install(ctx context.Context, dir string, o Options) *Installer {
	return &Installer{Store: Open(dir), ctx: ctx, options: o, used: map[string]entry{}, failures: map[string]error{}}
}

// Package implements config.Modules: it fetches the source when it isn't there.
func (i *Installer) Package(text, version string) (root, dir string, err error) {
	src, err := parse(text, version)
	if err != nil {
		return "", "", err
	}
	if err := i.lock(); err != nil {
		return "", "", err
	}
	if _, done := i.used[src.key]; !done {
		if err, failed := i.failures[src.key]; failed {
			return "", "", err
		}
		if err := i.install(src); err != nil {
			i.failures[src.key] = err
			return "", "", err
		}
	}
	root = i.root(src)
	return root, filepath.Join(root, filepath.FromSlash(src.subdir)), nil
}

func (i *Installer) install(src source) error {
	e, known := i.entries[src.key]
	if !known && i.options.ReadOnly {
		return fmt.Errorf("%s is not in %s, which --lockfile=readonly keeps as it is", src.key, LockFile)
	}
	pinned := e.Resolved
	if i.options.Upgrade && !i.options.ReadOnly {
		pinned = ""
	}
	root := i.root(src)
	if _, err := os.Stat(root); err == nil && known {
		if err := i.verify(src, e); err != nil {
			return err
		}
		if pinned != "" {
			i.used[src.key] = e
			return nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(root), ".fetching-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(fresh) }() // it is gone unless something failed
	got := entry{Source: src.key}
	if got.Resolved, err = src.fetcher.fetch(i.ctx, src, pinned, fresh); err != nil {
		return wording.OfExchange(err)
	}
	if got.Digest, err = digestOf(fresh); err != nil {
		return err
	}
	if pinned != "" && got.Digest != e.Digest {
		return fmt.Errorf("%s at %s has digest %s, but %s says %s: the source gives other files than those that were locked", src.key, got.Resolved, got.Digest, LockFile, e.Digest)
	}
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	if err := os.Rename(fresh, root); err != nil {
		return err
	}
	i.used[src.key] = got
	if i.options.Fetched != nil {
		i.options.Fetched(src.key, got.Resolved, got.Digest)
	}
	return nil
}

// Save writes the lock file if it changed, and reports whether it did. Modules that were not asked for stay in it unless
// all is true, which says that there are no others. With ReadOnly it writes nothing.
func (i *Installer) Save(all bool) (changed bool, err error) {
	if err := i.lock(); err != nil {
		return false, err
	}
	entries := maps.Clone(i.used)
	for key, e := range i.entries {
		if _, used := entries[key]; !used && !all {
			entries[key] = e
		}
	}
	if i.options.ReadOnly || maps.Equal(i.entries, entries) {
		return false, nil
	}
	return true, writeLock(filepath.Join(i.dir, LockFile), entries)
}
