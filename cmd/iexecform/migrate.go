package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
)

// migratedFile is what migrate writes.
const migratedFile = "migrated.hcl"

type migrateOptions struct {
	out           string
	offline, json bool
}

func (a *app) migrateCommand() *cobra.Command {
	var o migrateOptions
	cmd := &cobra.Command{
		Use:   "migrate DIR",
		Short: "Write the configuration that is equivalent to a project of iExec's own tools",
		Long: "Reads a project of the official command line (chain.json, iexec.json, deployed.json, orders.json of any version) or of\n" +
			"iApp (iapp.config.json and its cache), looks on the chain and on the market what of it is there, and writes " + migratedFile + ":\n" +
			"provider blocks, resources, and import blocks. The plan of it sends nothing.\n\n" +
			"Where the files and the chain disagree the chain wins; the report says so. Keys and passwords in the files are named\n" +
			"in the report and never copied. Nothing of the project is changed.",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asJSON(o.json, a.migrate(cmd.Context(), args[0], o))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.out, "out", "", "write into the new or empty directory `OUTDIR` instead of DIR")
	flags.BoolVar(&o.offline, "offline", false, "ask neither chain nor market: believe the files")
	flags.BoolVar(&o.json, "json", false, "print the report as JSON")
	return cmd
}

func (a *app) migrate(ctx context.Context, dir string, o migrateOptions) error {
	if info, err := os.Stat(a.path(dir)); err != nil || !info.IsDir() {
		return fmt.Errorf("there is no directory %s to migrate", dir)
	}
	out := dir
	if o.out != "" {
		out = o.out
	}
	if err := a.mayMigrateInto(out, o.out != ""); err != nil {
		return err
	}
	name, migrator, err := a.migrator()
	if err != nil {
		return err
	}
	ctx, stop := a.interruptible(ctx, "Interrupted: nothing was written.")
	defer stop()
	m, err := migrator.Migrate(ctx, providers.MigrateRequest{Dir: a.path(dir), Offline: o.offline})
	if err != nil {
		return cannotMigrate(dir, err)
	}
	report := view.Migration{From: dir, Objects: []view.MigratedObject{}, Findings: append([]providers.Finding{}, m.Findings...)}
	if len(m.Providers) > 0 {
		report.File = filepath.Join(out, migratedFile)
		var source []byte
		source, report.Objects = a.migrated(name, m)
		if err := a.writeMigrated(out, source); err != nil {
			return err
		}
	}
	if o.json {
		return a.json().Document(report)
	}
	return a.human().Migration(report)
}

// cannotMigrate shows each of several errors by itself.
func cannotMigrate(dir string, err error) error {
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	var diags hcl.Diagnostics
	for _, err := range errs {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Cannot migrate " + dir, Detail: view.Sentence(err.Error()) + " Nothing was written."})
	}
	return diags
}

// migrator is the provider that can read projects of other tools.
func (a *app) migrator() (string, providers.Migrator, error) {
	registry := a.providers()
	for _, name := range registry.Names() {
		if m, ok := registry[name].(providers.Migrator); ok {
			return name, m, nil
		}
	}
	return "", nil, errors.New("no provider of this program can migrate projects")
}

// mayMigrateInto refuses directories in which the new file would meet others.
func (a *app) mayMigrateInto(dir string, given bool) error {
	list, err := os.ReadDir(a.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	for _, f := range list {
		switch {
		case given:
			return fmt.Errorf("%s isn't empty (it has %s), and nothing is ever overwritten: give a new directory with --out", dir, f.Name())
		case filepath.Ext(f.Name()) == ".hcl":
			return fmt.Errorf("%s has %s already, and nothing is ever overwritten: give a new directory with --out", dir, f.Name())
		}
	}
	return nil
}

// migrated is the configuration, and what it has.
func (a *app) migrated(provider string, m *providers.Migration) ([]byte, []view.MigratedObject) {
	w := newFoundWriter(a.providers(), provider, m.Objects, map[addr.Resource]bool{})
	config.WriteComment(w.file, "Written by `iexecform migrate`; yours to edit. The import blocks make the state know what exists; they may go after\n"+
		"`iexecform apply`.")
	w.file.Body().AppendNewline()
	if m.Project != "" {
		w.project(m.Project)
	}
	for _, p := range m.Providers {
		w.provider(p)
	}
	w.resources()
	objects := make([]view.MigratedObject, 0, len(m.Objects))
	for i, o := range m.Objects {
		objects = append(objects, view.MigratedObject{Address: o.Type + "." + w.names[i], ID: o.ID, Comment: o.Inactive != ""})
	}
	return config.Source(w.file), objects
}

// writeMigrated writes the file, and makes its directory if need be; if that fails, neither is there.
func (a *app) writeMigrated(dir string, source []byte) error {
	path := a.path(dir)
	made := false
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		made = true
	}
	err := writeWhole(filepath.Join(path, migratedFile), source)
	if err != nil && made {
		return errors.Join(err, os.Remove(path))
	}
	return err
}
