package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/pflag"

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
func (a *app) backUp(s *state.Snapshot, o backupFlag, always bool) (name string, err error) {
	if s.Serial == 0 || o.file == noBackup || o.file == "" && !always {
		return "", nil
	}
	b, err := state.Encode(s)
	if err != nil {
		return "", err
	}
	if o.file != "" {
		if err := renameio.WriteFile(a.path(o.file), b, 0o644); err != nil {
			return "", fmt.Errorf("back up the state: %w. Nothing was changed. Name another file with --backup", err)
		}
		return o.file, nil
	}
	base := a.stateFile
	if base != "" {
		base = a.path(base)
	} else {
		workspace, err := a.workspace()
		if err != nil {
			return "", err
		}
		base = filepath.Join(a.stateDir(workspace), local.SnapshotFile)
	}
	for n := 1; ; n++ {
		name = fmt.Sprintf("%s.%d%s", base, s.Serial, backupSuffix)
		if n > 1 {
			name = fmt.Sprintf("%s.%d-%d%s", base, s.Serial, n, backupSuffix)
		}
		err := writeExclusively(name, b)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("back up the state: %w. Nothing was changed. Name another file with --backup, or do without by --backup=-", err)
		}
		return name, nil
	}
}

func writeExclusively(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
