package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/zclconf/go-cty/cty"

	"github.com/hashicorp/hcl/v2/hclparse"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/backends"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
)

// backendFlags are the flags of init about the backend.
type backendFlags struct {
	lockFlags
	skip                 bool
	config               []string
	migrate, reconfigure bool
}

func (o *backendFlags) add(flags *pflag.FlagSet) {
	o.lockFlags.add(flags)
	flags.Var((*inverted)(&o.skip), "backend", "initialise where the state is kept; --backend=false leaves it as it is")
	flags.Lookup("backend").NoOptDefVal = "true"
	flags.StringArrayVar(&o.config, "backend-config", nil, "`NAME=VALUE` of an argument that the backend block lacks, or a file of such arguments in HCL (repeatable); kept in "+dataDir+", so secrets are refused")
	flags.BoolVar(&o.migrate, "migrate-state", false, "copy the state from where it was kept before, all workspaces")
	flags.BoolVar(&o.reconfigure, "reconfigure", false, "use the backend with what it has, and forget where the state was kept before")
}

// initBackend makes the place ready that the backend block names, and writes down which it is. changed says whether it is
// another than before. SIDE EFFECTS: those of state.Initer; with --migrate-state, states are copied.
func (a *app) initBackend(ctx context.Context, v remarks, o backendFlags) (changed bool, err error) {
	if o.migrate && o.reconfigure {
		return false, errors.New("--migrate-state takes the state along, and --reconfigure leaves it behind: give one of them")
	}
	settings, was, err := a.stateSettings()
	if err != nil {
		if !o.reconfigure || settings.Backend == nil && settings.Encryption == nil && a.unconfigured() {
			return false, err
		}
		if was, err = nil, os.Remove(a.dataPath(backendFile)); err != nil { // it can't be read
			return false, err
		}
		if settings, _, err = a.stateSettings(); err != nil {
			return false, err
		}
	}
	is := placeOf(settings.Backend)
	switch {
	case is == nil && len(o.config) > 0:
		return false, errors.New("--backend-config completes a backend block, and there is none: write one, such as iexecform { backend \"pg\" {} }")
	case is != nil && len(o.config) > 0:
		given, err := a.givenArguments(is.Type, o.config)
		if err != nil {
			return false, err
		}
		is.Given = encodeValues(given)
	case is != nil && was != nil && was.Type == is.Type:
		is.Given = was.Given
	}
	codec, err := backends.Codec(settings.Encryption, a.environment())
	if err != nil {
		return false, err
	}
	to, err := a.open(ctx, is, codec)
	if err != nil {
		return false, err
	}
	changed = !was.same(is)
	if changed && !o.reconfigure {
		reader, err := backends.Changing(settings.Encryption, a.environment())
		if err != nil {
			return false, err
		}
		from, err := a.open(ctx, was, reader)
		if err != nil {
			return false, err
		}
		a.codec = codec
		if err := a.leave(ctx, v, from, to, was, is, o); err != nil {
			return false, err
		}
	} else if err := prepare(ctx, to); err != nil {
		return false, err
	}
	a.opened = to
	if !changed {
		return false, nil
	}
	if err := is.write(a.dataPath(backendFile)); err != nil {
		return false, fmt.Errorf("init: %w", err)
	}
	return true, v.Remark("backend", "The state is kept %s now.", inPlace(is))
}

func inPlace(p *initialised) string {
	if p == nil {
		return p.String()
	}
	return "in " + p.String()
}

func prepare(ctx context.Context, b state.Backend) error {
	if i, ok := b.(state.Initer); ok {
		return i.Init(ctx)
	}
	return nil
}

// givenArguments reads --backend-config.
func (a *app) givenArguments(typ string, args []string) (map[string]cty.Value, error) {
	texts := map[string]string{}
	for _, arg := range args {
		if name, value, ok := strings.Cut(arg, "="); ok {
			texts[strings.TrimSpace(name)] = value
			continue
		}
		file, diags := hclparse.NewParser().ParseHCLFile(a.path(arg))
		if diags.HasErrors() {
			return nil, fmt.Errorf("--backend-config %s: %w", arg, diags)
		}
		attrs, diags := file.Body.JustAttributes()
		for name, attr := range attrs {
			v, more := attr.Expr.Value(nil)
			if diags = append(diags, more...); !more.HasErrors() && v.Type() == cty.String && !v.IsNull() {
				texts[name] = v.AsString()
			} else if !more.HasErrors() {
				return nil, fmt.Errorf("--backend-config %s: %s must be text", arg, name)
			}
		}
		if diags.HasErrors() {
			return nil, fmt.Errorf("--backend-config %s: %w", arg, diags)
		}
	}
	return backends.Parse(typ, texts)
}

// leave leaves one backend for another, and takes the states along if that is asked for. It refuses to leave states behind.
func (a *app) leave(ctx context.Context, v remarks, from, to state.Backend, was, is *initialised, o backendFlags) error {
	names, err := from.Workspaces(ctx)
	if err != nil {
		return fmt.Errorf("look for states where they were kept before (%s): %w. `iexecform init --reconfigure` forgets that place", was, err)
	}
	if selected, _, err := a.selected(); err == nil && !slices.Contains(names, selected) { // a backend may not be able to list them
		if has, err := from.Has(ctx, selected); err == nil && has {
			names = append(names, selected)
		}
	}
	var found []string
	for _, name := range names {
		loaded, err := from.Store(name).Load(ctx)
		if err != nil {
			return fmt.Errorf("read the state of workspace %s where it was kept before (%s): %w. `iexecform init --reconfigure` forgets that place", name, was, err)
		}
		if !isEmpty(loaded) {
			found = append(found, name)
		}
	}
	if len(found) > 0 && !o.migrate {
		return fmt.Errorf("the state was kept %s, and is to be kept %s. Workspaces with a state there: %s. Run `iexecform init --migrate-state` to take them along, "+
			"or `iexecform init --reconfigure` to use what is in the new place", inPlace(was), inPlace(is), strings.Join(found, ", "))
	}
	if err := prepare(ctx, to); err != nil {
		return err
	}
	for _, name := range names {
		has, err := to.Has(ctx, name)
		if err == nil && !has {
			err = to.Create(ctx, name)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range found {
		if err := a.migrateState(ctx, v, from, to, name, o.lockFlags); err != nil {
			return fmt.Errorf("migrate the state of workspace %s: %w", name, err)
		}
	}
	return nil
}

func isEmpty(l *state.Loaded) bool {
	return l.Snapshot.Serial == 0 && l.Records == 0 && len(l.Pending) == 0 && len(l.Snapshot.Resources) == 0
}

// migrateState copies the state of a workspace, with its serial and lineage. It is refused where the new place has another
// state, or a newer one. Of a state in files a backup stays; in other places it stays as it is.
func (a *app) migrateState(ctx context.Context, v remarks, from, to state.Backend, name string, o lockFlags) error {
	source, target := from.Store(name), a.wrapped(to.Store(name))
	for _, store := range []state.Store{source, target} {
		unlock, err := a.lock(ctx, store, "init --migrate-state", o)
		if err != nil {
			return err
		}
		defer unlock()
	}
	loaded, err := source.Load(ctx)
	if err != nil {
		return err
	}
	there, err := target.Load(ctx)
	if err != nil {
		return fmt.Errorf("in the new place: %w", err)
	}
	s := *loaded.Snapshot
	if loaded.Records > 0 { // an interrupted run left them: what they made of the state has no serial of its own yet
		s.Serial++
	}
	if err := state.CheckPush(there.Snapshot, &s, false); err != nil {
		return fmt.Errorf("the new place has a state already: %w. `iexecform init --reconfigure` uses that one", err)
	}
	if err := target.Compact(ctx, &s, loaded.Pending); err != nil {
		return err
	}
	text := fmt.Sprintf("Copied the state of workspace %s, serial %d.", name, s.Serial)
	if files, ok := from.(*local.Backend); ok {
		backup, err := retire(files, name, s.Serial)
		if err != nil {
			return err
		}
		text += " The file is now " + backup + "."
	}
	return v.Remark("state_copied", "%s", text)
}

// retire turns the file of a state that is kept elsewhere now into a backup.
func retire(files *local.Backend, workspace string, serial uint64) (backup string, err error) {
	path := files.Path(workspace)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) { // there was a journal only
		return "gone", files.Retire(workspace)
	}
	if err == nil {
		backup, err = writeBackup(path, serial, b)
	}
	if err != nil {
		return "", err
	}
	return backup, files.Retire(workspace)
}
