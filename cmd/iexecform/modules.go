package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/modules"
	"github.com/iexecform/iexecform/config"
)

// withModules makes a configuration's modules known that were fetched.
func (a *app) withModules() config.LoadOption { return config.WithModules(modules.Open(a.dir)) }

// moduleFlags say how modules are fetched.
type moduleFlags struct {
	upgrade  bool
	images   bool
	noGet    bool
	lockfile string
}

func (o *moduleFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&o.upgrade, "upgrade", false, "look again what the tags of modules and of locked images are, and write that to "+modules.LockFile)
	flags.BoolVar(&o.images, "images", false, "lock the images whose digests are looked up, too: a tag that moves is no change then, but a warning, until --upgrade")
	flags.Var((*inverted)(&o.noGet), "get", "fetch modules; --get=false only checks those that are there")
	flags.Lookup("get").NoOptDefVal = "true"
	flags.StringVar(&o.lockfile, "lockfile", "", "`readonly` keeps "+modules.LockFile+" as it is: it is an error when it lacks something")
}

// install loads the configuration, fetches its modules and locks its images; fetched says whether there was something to do. SIDE EFFECTS:
// files under modules.Dir, the lock file.
func (a *app) install(ctx context.Context, v remarks, o moduleFlags) (c *config.Config, fetched bool, err error) {
	if o.lockfile != "" && o.lockfile != "readonly" {
		return nil, false, fmt.Errorf("--lockfile can be readonly, or left out, and not %q", o.lockfile)
	}
	if o.noGet {
		c, _, err = a.loadConfig()
		return c, false, err
	}
	installer := modules.Install(ctx, a.dir, modules.Options{
		Upgrade: o.upgrade, ReadOnly: o.lockfile == "readonly",
		Fetched: func(source, resolved, digest string) {
			fetched = true
			_ = v.Remark("module_fetched", "Fetched %s: %s (%s).", source, resolved, digest) // what was done stays done
		},
	})
	c, diags := config.Load(a.dir, a.providers(), config.ForVersion(version), config.WithModules(installer), withStates())
	changed, err := installer.Save(!diags.HasErrors()) // what was fetched is locked, also when the configuration has to follow
	if diags.HasErrors() {
		return c, fetched, &failure{err: diags, sources: c.Files()}
	}
	if err != nil {
		return c, fetched, fmt.Errorf("write %s: %w", modules.LockFile, err)
	}
	images, err := a.lockImages(ctx, v, c, o)
	if err != nil {
		return c, fetched, err
	}
	if changed || images {
		fetched = true
		err = v.Remark("lock_written", "Wrote %s: keep it in the repository.", modules.LockFile)
	}
	return c, fetched, err
}

func (a *app) getCommand() *cobra.Command {
	var o moduleFlags
	cmd := &cobra.Command{
		Use:   "get",
		Short: "Fetch modules",
		Long:  "get does what init does for modules, and nothing else.",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, fetched, err := a.install(cmd.Context(), a.human(), o)
			if err != nil || fetched {
				return err
			}
			return a.human().Print("Nothing to do: all modules are there, as %s says.", modules.LockFile)
		},
	}
	cmd.Flags().BoolVar(&o.upgrade, "update", false, "look again what the tags of modules are, and write that to "+modules.LockFile)
	return cmd
}

// moduleEntry is a module call in JSON, in Terraform's form.
type moduleEntry struct {
	Key    string `json:"key"` // its address without the word module
	Source string `json:"source"`
	Dir    string `json:"dir"`
	Addr   string `json:"address"`
}

func (a *app) modulesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "modules",
		Short: "List the modules that the configuration calls",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			c, _, err := a.loadConfig()
			if err != nil {
				return err
			}
			doc := struct {
				FormatVersion string        `json:"format_version"`
				Modules       []moduleEntry `json:"modules"`
			}{"1.0", []moduleEntry{}}
			for _, call := range c.ModuleCalls() {
				dir, err := filepath.Rel(a.dir, call.Dir)
				if err != nil {
					dir = call.Dir
				}
				doc.Modules = append(doc.Modules, moduleEntry{call.Addr.Names(), call.Source, filepath.ToSlash(dir), string(call.Addr)})
			}
			if asJSON {
				encoder := json.NewEncoder(a.streams.Out)
				encoder.SetEscapeHTML(false)
				return encoder.Encode(doc)
			}
			if len(doc.Modules) == 0 {
				return a.human().Print("The configuration calls no modules.")
			}
			for _, m := range doc.Modules {
				if err := a.human().Print("%s from %s", m.Addr, m.Source); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
