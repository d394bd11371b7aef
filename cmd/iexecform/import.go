package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
)

// Two ways to let the state know what exists: `import ADDRESS ID` does so at once, for a resource that is configured; import
// blocks are planned, reviewed and applied like the rest, and --generate-config-out writes the resources that they lack.

func (a *app) importCommand() *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use:   "import ADDRESS ID",
		Short: "Let the state know an object that exists, for a resource of the configuration",
		Long: "Reads the object and writes the state at once, without a plan. Nothing is sent. The resource must be configured, and the\n" +
			"state must not know it yet. ID is the address of an app, dataset or workerpool, or the hash of an order.\n\n" +
			"An import block does the same by plan and apply, for many objects in one go: import { to = ADDRESS, id = \"ID\" }",
		Args: arguments(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := a.interruptible(cmd.Context(), interruptText)
			defer stop()
			return a.importObject(ctx, o, args[0], args[1])
		},
	}
	o.inputFlags.add(cmd.Flags())
	o.lockFlags.add(cmd.Flags())
	a.addState(cmd)
	return cmd
}

func (a *app) importObject(ctx context.Context, o planOptions, address, id string) error {
	to, err := addr.ParseInstance(address)
	if err != nil {
		return err
	}
	if to.Resource.Mode == addr.Data {
		return fmt.Errorf("%s is a data source: it is read at every plan and never kept, so there is nothing to import", to)
	}
	o.targets, o.imports = []string{address}, map[addr.Instance]string{to: id}
	b, err := a.buildImport(ctx, o, to)
	if err != nil {
		return err
	}
	defer b.close()
	only := b.plan.OnlyImport(to)
	if only == nil {
		if !b.diags.HasErrors() {
			return fmt.Errorf("%s is not an instance of the configuration. Import to one that is; `iexecform plan` shows them", to)
		}
		return &failure{err: b.diags, sources: b.config.Files()}
	}
	result, err := apply.Run(ctx, apply.Options{
		Plan: only, Tool: version, Store: b.store, State: b.state, Session: b.session, Providers: a.providers(),
	})
	if err != nil {
		return err
	}
	for _, e := range result.Errors {
		return e
	}
	if result.Interrupted {
		return errors.New("interrupted. Nothing was imported")
	}
	return a.human().Print("Imported %s: %s. Nothing was sent; `iexecform plan` shows whether it is as configured.", to, id)
}

// buildImport makes the plan of which the import is a part. It refuses what the configuration lacks or the state has.
func (a *app) buildImport(ctx context.Context, o planOptions, to addr.Instance) (*built, error) {
	c, _, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(c.Blocks(), func(d config.Decl) bool { return d.Addr == to.Resource }) {
		return nil, notConfigured(c, to)
	}
	b, err := a.build(ctx, o, "import")
	if err != nil {
		return nil, err
	}
	if _, known := b.state.Snapshot.Resources[to]; known {
		b.close()
		return nil, fmt.Errorf("%s is in the state already: an address has one object. Look at it with `iexecform state show '%s'`; "+
			"if it should be another one, forget it first with `iexecform state rm '%s'`", to, to, to)
	}
	return b, nil
}

// notConfigured says what is to be written so that a resource can be imported.
func notConfigured(c *config.Config, to addr.Instance) error {
	var names []string
	for _, d := range c.Blocks() {
		names = append(names, d.Addr.String())
	}
	return fmt.Errorf("there is no resource %s in the configuration.%s Write its block first:\n\n  resource %q %q {\n    # …\n  }\n\n"+
		"or write an import block and let `iexecform plan --generate-config-out=FILE.hcl` write the resource",
		to.Resource, config.DidYouMean(to.Resource.String(), names), to.Resource.Type, to.Resource.Name)
}

const generatedHeader = "Written by `iexecform plan --generate-config-out`; yours to edit."

// generateConfig writes the resource blocks that import blocks lack into a new file of the configuration. Where none is
// lacking there is no file.
func (a *app) generateConfig(ctx context.Context, o planOptions, name string) error {
	file := a.path(name)
	if err := a.checkGenerated(file, name); err != nil {
		return err
	}
	c, diags := config.Load(a.dir, a.providers(), config.WithoutBlocks, a.withModules(), withStates())
	if diags.HasErrors() {
		return &failure{err: diags, sources: c.Files()}
	}
	inputs, diags := a.inputs(ctx, c, o.inputFlags)
	if diags.HasErrors() {
		return &failure{err: diags, sources: c.Files()}
	}
	workspace, err := a.workspace(ctx)
	if err != nil {
		return err
	}
	loaded, err := a.load(ctx)
	if err != nil {
		return err
	}
	objects, diags := plan.ReadUnwritten(ctx, plan.Options{
		Tool: version, Config: c, Inputs: inputs, Workspace: workspace, State: loaded, Providers: a.providers(), Prompt: a.prompt(o.noInput),
	})
	if diags.HasErrors() {
		return &failure{err: diags, sources: c.Files()}
	}
	if len(objects) == 0 {
		_, _ = fmt.Fprintf(a.human().Err, "Every import block has its resource, so %s is not written.\n", name)
		return nil
	}
	out := hclwrite.NewEmptyFile()
	config.WriteComment(out, generatedHeader)
	out.Body().AppendNewline()
	for _, u := range objects {
		config.WriteComment(out, "Imported from "+u.ID)
		config.WriteResource(out, u.Table, u.Addr.Resource, u.Provider, u.Value)
	}
	if err := writeWhole(file, config.Source(out)); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.human().Err, "Wrote %s: resources of the import blocks that had none.\n", name)
	return nil
}

// checkGenerated refuses a file that would be overwritten, or that would be no part of the configuration.
func (a *app) checkGenerated(file, name string) error {
	base := filepath.Base(file)
	if filepath.Clean(filepath.Dir(file)) != filepath.Clean(a.dir) || !config.IsConfigFile(base) {
		return fmt.Errorf("%s would be no part of the configuration: name an .hcl file in its directory, such as --generate-config-out=imported.hcl", name)
	}
	return mustBeNew(file)
}
