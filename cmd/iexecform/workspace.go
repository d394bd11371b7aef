package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
)

// A workspace is one more state of the same configuration. Rules:
//   - Where its state is, the backend knows: in files, that of the workspace default is beside the configuration, and that of
//     NAME in iexecform.state.d/NAME.
//   - IEXECFORM_WORKSPACE selects one for a command, `workspace select` for all that follow in this checkout.
//   - A workspace must have been made: with a mistyped name everything would be planned, and sold, a second time.
//   - Its name is part of the salts of its orders, so that two workspaces never share an order.
//   - It is not the network: each state remembers its network and is refused on another one.
const (
	defaultWorkspace = state.DefaultWorkspace
	selectionFile    = "workspace" // in the data directory
	envWorkspace     = "IEXECFORM_WORKSPACE"
)

// The data directory holds what belongs to one checkout and can be made again: which workspace is selected.
const (
	dataDir    = ".iexecform"
	envDataDir = "IEXECFORM_DATA_DIR"
)

var workspacePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

func (a *app) dataPath(name string) string {
	dir := a.getenv(envDataDir)
	if dir == "" {
		dir = dataDir
	}
	return filepath.Join(a.path(dir), name)
}

// selected is the name of the selected workspace, whether it exists or not, and who selected it.
func (a *app) selected() (name, by string, err error) {
	if name := a.getenv(envWorkspace); name != "" {
		return name, "the environment variable " + envWorkspace, nil
	}
	file := a.dataPath(selectionFile)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return defaultWorkspace, "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("find the selected workspace: %w", err)
	}
	return strings.TrimSpace(string(b)), file, nil
}

// workspace is the selected workspace, which exists.
func (a *app) workspace(ctx context.Context) (string, error) {
	name, by, err := a.selected()
	if err != nil {
		return "", err
	}
	b, err := a.backend(ctx)
	if err != nil {
		return "", err
	}
	has, err := b.Has(ctx, name)
	if err != nil || has {
		return name, err
	}
	all, _ := b.Workspaces(ctx) // for a suggestion
	return "", fmt.Errorf("there is no workspace %q, which %s selects.%s Make it with `iexecform workspace new %s`, or select another one",
		name, by, config.DidYouMean(name, all), name)
}

// workspaces lists those that exist, sorted; default always does.
func (a *app) workspaces(ctx context.Context) ([]string, error) {
	b, err := a.backend(ctx)
	if err != nil {
		return nil, err
	}
	names, err := b.Workspaces(ctx)
	return slices.DeleteFunc(names, func(name string) bool { return !workspacePattern.MatchString(name) }), err
}

// store is where the selected workspace, or --state, keeps its state.
func (a *app) store(ctx context.Context) (state.Store, error) {
	if a.stateFile != "" {
		settings, _, err := a.stateSettings()
		if err == nil {
			a.codec, err = a.codecFor(settings.Encryption)
		}
		if err != nil {
			return nil, err
		}
		path := a.path(a.stateFile)
		if !strings.HasSuffix(path, ".json") {
			path = filepath.Join(path, local.SnapshotFile)
		}
		return a.wrapped(local.File(path, a.codec)), nil
	}
	name, err := a.workspace(ctx)
	if err != nil {
		return nil, err
	}
	b, err := a.backend(ctx)
	if err != nil {
		return nil, err
	}
	return a.wrapped(b.Store(name)), nil
}

func (a *app) wrapped(s state.Store) state.Store {
	if a.wrapStore == nil {
		return s
	}
	return a.wrapStore(s)
}

// load loads the state without locking it.
func (a *app) load(ctx context.Context) (*state.Loaded, error) {
	store, err := a.store(ctx)
	if err != nil {
		return nil, err
	}
	return store.Load(ctx)
}

// repaired tells what of a locked state could not be read: the next write writes over it.
func repaired(loaded *state.Loaded) hcl.Diagnostics {
	if !loaded.Torn {
		return nil
	}
	return hcl.Diagnostics{{Severity: hcl.DiagWarning, Summary: "Journal repaired", Detail: "The end of the state's journal can't be read: " +
		"its write was interrupted, or the file was cut or damaged. What stood there is left out. What is planned rests on what exists now, " +
		"so nothing is done twice; a transaction that was sent just then is taken into account when it is mined."}}
}

// addState adds --state to a command that reads or writes the state.
func (a *app) addState(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.stateFile, "state", "", "keep the state in `FILE`, which ends in .json, instead of the workspace's")
}

func (a *app) workspaceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "workspace",
		Short: "Keep several states of the same configuration",
		Long: "A workspace is one more state of the same configuration, in " + local.WorkspacesDir + "/NAME or\n" +
			"where the backend keeps it. Expressions see its name as\n" +
			"iexecform.workspace. " + envWorkspace + " selects one for a single command.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return a.unknownCommand(cmd, args[0])
		},
	}
	cmd.AddCommand(a.workspaceListCommand(), a.workspaceShowCommand(), a.workspaceNewCommand(), a.workspaceSelectCommand(), a.workspaceDeleteCommand())
	return cmd
}

func (a *app) workspaceListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the workspaces; a star marks the selected one",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			names, err := a.workspaces(cmd.Context())
			if err != nil {
				return err
			}
			selected, _, err := a.selected()
			if err != nil {
				return err
			}
			if asJSON {
				return a.json().Document(map[string]any{"workspaces": names, "selected": selected})
			}
			for _, name := range names {
				mark := " "
				if name == selected {
					mark = "*"
				}
				if err := a.human().Print("%s %s", mark, name); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) workspaceShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print the name of the selected workspace",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			name, _, err := a.selected()
			if err != nil {
				return err
			}
			return a.human().Print("%s", name)
		},
	}
}

func (a *app) workspaceNewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "new NAME",
		Short: "Make a workspace and select it",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.newWorkspace(cmd.Context(), args[0]); err != nil {
				return err
			}
			if err := a.selectWorkspace(args[0]); err != nil {
				return err
			}
			return a.human().Print("Made workspace %q and selected it.", args[0])
		},
	}
}

// newWorkspace makes a workspace.
func (a *app) newWorkspace(ctx context.Context, name string) error {
	if !workspacePattern.MatchString(name) || len(name) > 90 {
		return fmt.Errorf("%q can't be the name of a workspace: use letters, digits, '-', '_' and '.', at most 90, and begin with a letter or digit", name)
	}
	if name == defaultWorkspace {
		return errors.New("the workspace default exists always")
	}
	b, err := a.backend(ctx)
	if err != nil {
		return err
	}
	has, err := b.Has(ctx, name)
	if err != nil {
		return err
	}
	if has {
		return fmt.Errorf("workspace %q exists already: select it with `iexecform workspace select %s`", name, name)
	}
	return b.Create(ctx, name)
}

func (a *app) workspaceSelectCommand() *cobra.Command {
	var create bool
	cmd := &cobra.Command{
		Use:               "select NAME",
		Short:             "Use another workspace from now on",
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, name := cmd.Context(), args[0]
			b, err := a.backend(ctx)
			if err != nil {
				return err
			}
			has, err := b.Has(ctx, name)
			switch {
			case err != nil:
				return err
			case !has && !create:
				all, _ := b.Workspaces(ctx) // for a suggestion
				return fmt.Errorf("there is no workspace %q.%s `iexecform workspace new %s` makes it", name, config.DidYouMean(name, all), name)
			case !has:
				if err := a.newWorkspace(ctx, name); err != nil {
					return err
				}
			}
			if err := a.selectWorkspace(name); err != nil {
				return err
			}
			return a.human().Print("Selected workspace %q.", name)
		},
	}
	cmd.Flags().BoolVar(&create, "or-create", false, "make it if it doesn't exist")
	return cmd
}

// selectWorkspace remembers the selection. It refuses what the environment would overrule.
func (a *app) selectWorkspace(name string) error {
	if set := a.getenv(envWorkspace); set != "" && set != name {
		return fmt.Errorf("%s selects workspace %q and would overrule this: unset it first", envWorkspace, set)
	}
	file := a.dataPath(selectionFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("select workspace %s: %w", name, err)
	}
	if err := renameio.WriteFile(file, []byte(name+"\n"), 0o644); err != nil {
		return fmt.Errorf("select workspace %s: %w", name, err)
	}
	return nil
}

func (a *app) workspaceDeleteCommand() *cobra.Command {
	var force bool
	var lock lockFlags
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a workspace that has nothing left",
		Long: "Deletes the workspace's state. It is refused for one that still has resources: they would stay on chain and on the\n" +
			"market, and nobody would know them any more.",
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.deleteWorkspace(cmd.Context(), args[0], force, lock)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete it though its state has resources, which then stay as they are")
	lock.add(cmd.Flags())
	return cmd
}

func (a *app) deleteWorkspace(ctx context.Context, name string, force bool, o lockFlags) error {
	b, err := a.backend(ctx)
	if err != nil {
		return err
	}
	selected, _, err := a.selected()
	if err != nil {
		return err
	}
	has, err := b.Has(ctx, name)
	switch {
	case err != nil:
		return err
	case name == defaultWorkspace:
		return errors.New("the workspace default can't be deleted")
	case !has:
		all, _ := b.Workspaces(ctx) // for a suggestion
		return fmt.Errorf("there is no workspace %q.%s", name, config.DidYouMean(name, all))
	case name == selected:
		return fmt.Errorf("workspace %q is selected: select another one first, such as with `iexecform workspace select default`", name)
	}
	store := a.wrapped(b.Store(name))
	unlock, err := a.lock(ctx, store, "workspace delete", o)
	if err != nil {
		return err
	}
	defer unlock()
	loaded, err := store.Load(ctx)
	if err != nil && !force {
		return err
	}
	if !force && (len(loaded.Snapshot.Resources) > 0 || len(loaded.Pending) > 0) {
		return fmt.Errorf("workspace %q has %d resources in its state, which would stay as they are while nobody knows them any more: "+
			"run `%s=%s iexecform destroy` first, or give --force", name, len(loaded.Snapshot.Resources), envWorkspace, name)
	}
	if err := b.Delete(ctx, name); err != nil {
		return err
	}
	return a.human().Print("Deleted workspace %q.", name)
}
