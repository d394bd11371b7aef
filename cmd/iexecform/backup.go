package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/pflag"

	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
)

// Commands that edit the state by hand keep the state as it was, in a file of its own each time: the name has the serial
// and, where that is taken, a counter. The other commands only continue a state that git has, and keep a copy on demand.

// backupSuffix ends the names of backups; init keeps them out of git.
const backupSuffix = ".backup"

// backupFlag is --backup.
type backupFlag struct{ file string }

// noBackup is the --backup of those who want none.
const noBackup = "-"

func (o *backupFlag) add(flags *pflag.FlagSet, otherwise string) {
	flags.StringVar(&o.file, "backup", "", "keep the state as it was in `FILE`, or nowhere with - (default: "+otherwise+")")
}

// backUp writes the snapshot to where --backup says, and else, if always, beside the state. It returns the file's name, or
// "" without one. An empty state is not worth a copy.
func (a *app) backUp(ctx context.Context, s *state.Snapshot, o backupFlag, always bool) (name string, err error) {
	if s.Serial == 0 || o.file == noBackup || o.file == "" && !always {
		return "", nil
	}
	b, err := a.codec.Encode(s)
	if err != nil {
		return "", err
	}
	if o.file != "" {
		if err := renameio.WriteFile(a.path(o.file), b, 0o600); err != nil {
			return "", fmt.Errorf("back up the state: %w. Nothing was changed. Name another file with --backup", err)
		}
		return o.file, nil
	}
	base, err := a.backupBase(ctx)
	if err != nil {
		return "", err
	}
	if name, err = writeBackup(base, s.Serial, b); err != nil {
		return "", fmt.Errorf("back up the state: %w. Nothing was changed. Name another file with --backup, or do without by --backup=-", err)
	}
	return name, nil
}

// writeBackup writes a new file whose name begins with base.
func writeBackup(base string, serial uint64, b []byte) (name string, err error) {
	for n := 1; ; n++ {
		name = fmt.Sprintf("%s.%d%s", base, serial, backupSuffix)
		if n > 1 {
			name = fmt.Sprintf("%s.%d-%d%s", base, serial, n, backupSuffix)
		}
		if err := writeExclusively(name, b); !errors.Is(err, fs.ErrExist) {
			return name, err
		}
	}
}

// erroredFile is what a state becomes that could not be saved where it belongs.
const erroredFile = "errored.state.json"

// keepErrored writes the state that could not be saved beside the configuration, and says so in the error, along with the
// actions that failed. What another run has overtaken isn't kept: it must not be pushed over what that one wrote.
func (a *app) keepErrored(err error, result *apply.Result) error {
	for _, e := range result.Errors {
		err = errors.Join(err, e)
	}
	var conflict *state.ConflictError
	var lost *state.LostLockError
	if !result.Changed || errors.As(err, &conflict) || errors.As(err, &lost) { // another run has gone on, from the journal
		return err
	}
	b, failed := a.codec.Encode(result.Snapshot)
	path := filepath.Join(a.dir, erroredFile)
	if failed == nil {
		failed = renameio.WriteFile(path, b, 0o600)
	}
	if failed != nil {
		return errors.Join(err, fmt.Errorf("and it could not be kept in %s either: %w", path, failed))
	}
	return errors.Join(err, fmt.Errorf("the state as it should be is in %s: when the place of the state works again, `iexecform plan` takes up the journal; "+
		"if the journal is lost too, run `iexecform state push %s`. Keep the file until then", path, erroredFile))
}

// backupBase is what the names of backups begin with: beside the state where it is a file, and else beside the configuration.
func (a *app) backupBase(ctx context.Context) (string, error) {
	if a.stateFile != "" {
		return a.path(a.stateFile), nil
	}
	workspace, err := a.workspace(ctx)
	if err != nil {
		return "", err
	}
	b, err := a.backend(ctx)
	if err != nil {
		return "", err
	}
	if files, ok := b.(*local.Backend); ok {
		return files.Path(workspace), nil
	}
	return filepath.Join(a.dir, local.SnapshotFile+"."+workspace), nil
}

func writeExclusively(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
