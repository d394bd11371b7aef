package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/iexecform/iexecform/state"
)

// WorkspacesDir is the directory, beside the file of the default workspace, that has a directory for each other one.
const WorkspacesDir = "iexecform.state.d"

// Backend is a state.Backend in files.
type Backend struct {
	path  string
	codec *state.Codec
}

var _ state.Backend = (*Backend)(nil)

// NewBackend returns the backend whose default workspace is in the file, which ends in ".json".
func NewBackend(path string, codec *state.Codec) *Backend { return &Backend{path, codec} }

// Path is the file of a workspace.
func (b *Backend) Path(workspace string) string {
	if workspace == state.DefaultWorkspace {
		return b.path
	}
	return filepath.Join(b.dir(workspace), filepath.Base(b.path))
}

func (b *Backend) dir(workspace string) string {
	return filepath.Join(filepath.Dir(b.path), WorkspacesDir, workspace)
}

// Store implements state.Backend.
func (b *Backend) Store(workspace string) state.Store { return File(b.Path(workspace), b.codec) }

// Workspaces implements state.Backend.
func (b *Backend) Workspaces(context.Context) ([]string, error) {
	names := []string{state.DefaultWorkspace}
	entries, err := os.ReadDir(filepath.Dir(b.dir("any")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list workspaces: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() && e.Name()[0] != '.' {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Has implements state.Backend.
func (b *Backend) Has(_ context.Context, workspace string) (bool, error) {
	if workspace == state.DefaultWorkspace {
		return true, nil
	}
	info, err := os.Stat(b.dir(workspace))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.IsDir(), err
}

// Create implements state.Backend.
func (b *Backend) Create(_ context.Context, workspace string) error {
	if err := os.MkdirAll(b.dir(workspace), 0o755); err != nil {
		return fmt.Errorf("make workspace %s: %w", workspace, err)
	}
	return nil
}

// Delete implements state.Backend.
func (b *Backend) Delete(_ context.Context, workspace string) error {
	if workspace == state.DefaultWorkspace {
		return File(b.path, b.codec).remove()
	}
	if err := os.RemoveAll(b.dir(workspace)); err != nil {
		return fmt.Errorf("delete workspace %s: %w", workspace, err)
	}
	return nil
}

// Retire removes the files of a state that is kept elsewhere now, and nothing else. Its lock is held.
func (b *Backend) Retire(workspace string) error {
	if err := File(b.Path(workspace), b.codec).remove(); err != nil {
		return err
	}
	if workspace != state.DefaultWorkspace {
		_ = os.Remove(b.dir(workspace)) // unless there is more in it
	}
	return nil
}

func (s *Store) remove() error {
	for _, name := range []string{s.snapshot, s.logged, s.guard} {
		if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete the state: %w", err)
		}
	}
	return s.syncDir()
}
