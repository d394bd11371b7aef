package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/hcl/v2"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/config"
)

type fmtOptions struct {
	check, diff, recursive, list, write bool
}

func (a *app) fmtCommand() *cobra.Command {
	var o fmtOptions
	cmd := &cobra.Command{
		Use:   "fmt [PATH…]",
		Short: "Rewrite .hcl files in canonical style",
		Long: "Rewrites the .hcl files of the directory, or the given files and directories, in canonical style and lists\n" +
			"those that it changed. With - it formats standard input to standard output.\n\n" +
			"Exit code: 3 when --check finds a file that is not in canonical style, 2 for a syntax error.",
		RunE: func(_ *cobra.Command, paths []string) error { return a.fmt(o, paths) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.check, "check", false, "change nothing; exit 3 when a file is not in canonical style")
	flags.BoolVar(&o.diff, "diff", false, "print what differs")
	flags.BoolVar(&o.recursive, "recursive", false, "go into subdirectories too")
	flags.BoolVar(&o.list, "list", true, "list the files that differ")
	flags.BoolVar(&o.write, "write", true, "write the files")
	return cmd
}

func (a *app) fmt(o fmtOptions, paths []string) error {
	if len(paths) == 1 && paths[0] == "-" {
		return a.fmtStdin(o)
	}
	if len(paths) == 0 {
		paths = []string{"."}
	}
	var files []string
	for _, p := range paths {
		found, err := formattable(a.path(p), o.recursive)
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	sources := view.Sources{}
	var diags hcl.Diagnostics
	changed := false
	for _, file := range files {
		differs, more, err := a.fmtFile(o, file, sources)
		if err != nil {
			return err
		}
		changed = changed || differs
		diags = append(diags, more...)
	}
	return a.fmtEnd(o, changed, diags, sources)
}

func (a *app) fmtEnd(o fmtOptions, changed bool, diags hcl.Diagnostics, sources view.Sources) error {
	if diags.HasErrors() {
		if err := a.human().Diagnostics(diags, sources); err != nil {
			return err
		}
		return exitCode(exitChanges)
	}
	if o.check && changed {
		return exitCode(exitUnclean)
	}
	return nil
}

// fmtFile formats one file.
func (a *app) fmtFile(o fmtOptions, file string, sources view.Sources) (differs bool, diags hcl.Diagnostics, err error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return false, nil, fmt.Errorf("format: %w", err)
	}
	sources[file] = &hcl.File{Bytes: src}
	out, diags := config.Format(src, file)
	if diags.HasErrors() || bytes.Equal(src, out) {
		return false, diags, nil
	}
	name := file
	if rel, err := filepath.Rel(a.dir, file); err == nil {
		name = rel
	}
	if o.list {
		if err := a.human().Print("%s", name); err != nil {
			return false, nil, err
		}
	}
	if o.diff {
		if _, err := a.streams.Out.Write(diff.Diff("old/"+name, src, "new/"+name, out)); err != nil {
			return false, nil, err
		}
	}
	if o.check || !o.write {
		return true, diags, nil
	}
	if err := renameio.WriteFile(file, out, 0o644, renameio.WithExistingPermissions()); err != nil {
		return false, nil, fmt.Errorf("format %s: %w", name, err)
	}
	return true, diags, nil
}

func (a *app) fmtStdin(o fmtOptions) error {
	src, err := io.ReadAll(a.streams.In)
	if err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	const name = "<stdin>"
	out, diags := config.Format(src, name)
	changed := !diags.HasErrors() && !bytes.Equal(src, out)
	switch {
	case diags.HasErrors(), o.check && !o.diff:
	case o.diff:
		if changed {
			out = diff.Diff("old/"+name, src, "new/"+name, out)
		} else {
			out = nil
		}
		fallthrough
	default:
		if _, err := a.streams.Out.Write(out); err != nil {
			return err
		}
	}
	return a.fmtEnd(o, changed, diags, view.Sources{name: {Bytes: src}})
}

// formattable lists the .hcl files of a directory, or the file itself. Hidden files and directories are left out.
func formattable(path string, recursive bool) ([]string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file or directory %s to format", path)
	}
	if err != nil {
		return nil, fmt.Errorf("format: %w", err)
	}
	if !info.IsDir() {
		if !strings.HasSuffix(path, ".hcl") {
			return nil, fmt.Errorf("%s is not an .hcl file: only those can be formatted", path)
		}
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p != path && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.IsDir():
			if p != path && !recursive {
				return fs.SkipDir
			}
		case strings.HasSuffix(p, ".hcl"):
			files = append(files, p)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("format: %w", err)
	}
	return files, nil
}
