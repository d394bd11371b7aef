package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// The exit codes. Scripts rely on them.
const (
	exitOK      = 0
	exitError   = 1
	exitChanges = 2 // plan --detailed-exitcode, and fmt for a syntax error
	exitUnclean = 3 // fmt --check
)

// app is what the commands share.
type app struct {
	streams    view.Streams
	env        []string
	providers  func() providers.Registry
	wrapStore  func(state.Store) state.Store // for tests; may be nil
	secret     func(io.Reader) (string, error)
	exit       func(int)
	interrupts func() (c <-chan os.Signal, stop func())

	opened state.Backend // once it was needed
	codec  *state.Codec  // of the opened backend, or of --state
	// changing reads a state however it is stored, to store it as the configuration says.
	changing bool

	dir       string // where the configuration and the state are
	stateFile string // --state; "" is the workspace's
	noColor   bool
}

// exitCode is an error that says no more than how to exit: all has been printed.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// failure is an error that is shown with source, or as JSON.
type failure struct {
	err     error
	sources view.Sources
	json    bool
}

func (e *failure) Error() string { return e.err.Error() }
func (e *failure) Unwrap() error { return e.err }

// usageError is about the command line.
type usageError struct {
	command *cobra.Command
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }

func (a *app) run(args []string) int {
	ctx, closeLog, err := a.logged(context.Background())
	if err != nil {
		return a.report(err)
	}
	defer closeLog()
	root := a.rootCommand()
	if args, err = a.prepare(root, args); err == nil {
		root.SetArgs(args)
		err = root.ExecuteContext(ctx)
	}
	return a.report(err)
}

// report prints an error and returns the exit code.
func (a *app) report(err error) int {
	var code exitCode
	var usage *usageError
	var failed *failure
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		_, _ = fmt.Fprintf(a.human().Err, "Error: %s\nRun `%s --help` for the usage.\n", usage.err, usage.command.CommandPath())
		return exitError
	case errors.As(err, &failed) && failed.json:
		if (&view.JSON{Out: a.streams.Out}).Diagnostics(diagnose(failed.err), failed.sources) == nil {
			return exitError
		}
	}
	var sources view.Sources
	if failed != nil {
		err, sources = failed.err, failed.sources
	}
	_ = a.human().Diagnostics(diagnose(err), sources)
	return exitError
}

// diagnose gives the errors that have a short name their name.
func diagnose(err error) hcl.Diagnostics {
	var diags hcl.Diagnostics
	var stale *apply.StaleError
	var broken *apply.PreconditionError
	var locked *state.LockedError
	summary := ""
	switch {
	case errors.As(err, &diags):
		return diags
	case errors.As(err, &stale):
		summary = "Saved plan is stale"
	case errors.As(err, &broken):
		summary = "Plan precondition failed"
	case errors.As(err, &locked):
		summary = "The state is locked"
	default:
		return view.Diagnose(err)
	}
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: summary, Detail: view.Sentence(err.Error())}}
}

func (a *app) human() *view.Human {
	s := a.streams
	s.Colour = view.ChoosePalette(s.OutTerminal, a.noColor, a.env)
	s.ErrColour = view.ChoosePalette(s.ErrTerminal, a.noColor, a.env)
	bars := s.Err
	s.Out, s.Err = view.Escaping(s.Out, s.Colour), view.Escaping(s.Err, s.ErrColour)
	return &view.Human{Streams: s, Bars: bars, Tables: lazyTables{a}}
}

func (a *app) json() *view.JSON {
	return &view.JSON{Out: a.streams.Out, Tables: lazyTables{a}, Tool: version}
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "iexecform",
		Short: "Plan and apply iExec apps and their orders",
		Long: "iexecform makes what .hcl files describe: iExec apps, and the orders that sell them.\n" +
			"`plan` shows what would change and every step of it; `apply` does those steps and nothing else.",
		Args:              cobra.ArbitraryArgs,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return a.unknownCommand(cmd, args[0])
		},
	}
	root.SetIn(a.streams.In)
	root.SetOut(a.streams.Out)
	root.SetErr(a.streams.Err)
	root.Version = version
	root.SetVersionTemplate("iexecform {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().StringVar(&a.dir, "chdir", ".", "work in `DIR` instead of the current directory")
	root.PersistentFlags().BoolVar(&a.noColor, "no-color", false, "print without colour")
	root.AddCommand(
		a.initCommand(), a.getCommand(), a.modulesCommand(), a.validateCommand(), a.lintCommand(), a.testCommand(), a.fmtCommand(), a.planCommand(), a.applyCommand(), a.destroyCommand(), a.importCommand(),
		a.showCommand(), a.outputCommand(), a.stateCommand(), a.taintCommand(), a.untaintCommand(), a.refreshCommand(), a.workspaceCommand(), a.lockCommand(), a.forceUnlockCommand(), a.graphCommand(), a.consoleCommand(), a.discoverCommand(), a.migrateCommand(), a.tryCommand(), a.localnetCommand(), a.versionCommand(), a.docsCommand(), a.providersCommand(), a.metadataCommand(),
	)
	return root
}

func (a *app) unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	return &usageError{cmd, fmt.Errorf("there is no command %q.%s", cmd.CommandPath()+" "+name, config.DidYouMean(name, names))}
}

// flagError adds a suggestion to the error about an unknown flag.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		name := "--" + unknown.GetSpecifiedName()
		err = fmt.Errorf("there is no flag %s.%s", name, config.DidYouMean(name, names))
	}
	return &usageError{cmd, err}
}

// arguments makes a cobra argument check that reports like every other error of usage.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{cmd, err}
		}
		return nil
	}
}

// prepare turns what Terraform's users type into what the flags library expects: one dash before a long flag, and
// arguments from the environment, IEXECFORM_CLI_ARGS for every command and IEXECFORM_CLI_ARGS_name for one, which are
// split at white space and put before those of the command line.
func (a *app) prepare(root *cobra.Command, args []string) ([]string, error) {
	takesValue := map[string]bool{}
	var collect func(*cobra.Command)
	collect = func(c *cobra.Command) {
		for _, set := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
			set.VisitAll(func(f *pflag.Flag) { takesValue[f.Name] = f.NoOptDefVal == "" })
		}
		for _, sub := range c.Commands() {
			collect(sub)
		}
	}
	collect(root)
	args = normalise(args, takesValue)
	cmd, rest, err := root.Find(args)
	if err != nil || cmd == root {
		return args, nil // cobra tells what is wrong
	}
	names := strings.Fields(cmd.CommandPath())[1:]
	extra := append(strings.Fields(a.getenv("IEXECFORM_CLI_ARGS")),
		strings.Fields(a.getenv("IEXECFORM_CLI_ARGS_"+strings.Join(names, "_")))...)
	if len(extra) == 0 {
		return args, nil
	}
	return append(append(names, normalise(extra, takesValue)...), rest...), nil
}

// normalise adds the second dash to long flags that have one.
func normalise(args []string, takesValue map[string]bool) []string {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...)
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !strings.HasPrefix(arg, "-") || name == "" {
			out = append(out, arg)
			continue
		}
		if !strings.HasPrefix(arg, "--") && len(name) > 1 {
			arg = "-" + arg
		}
		out = append(out, arg)
		if takesValue[name] && !hasValue && i+1 < len(args) {
			i++
			out = append(out, args[i])
		}
	}
	return out
}

func (a *app) getenv(name string) string {
	for _, e := range a.env {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

// path is a file's name as the user gave it, relative to --chdir.
func (a *app) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(a.dir, name)
}

// interruptible returns a context that ends at the first interrupt. The second ends the process at once.
func (a *app) interruptible(ctx context.Context, say string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals, stop := a.interrupts()
	ended := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-ended:
				return
			case <-signals:
			}
			if n > 0 {
				_, _ = fmt.Fprintln(a.streams.Err, "Interrupted again: exiting at once. The journal holds what was begun; the next run takes it up.")
				a.exit(exitError)
			}
			_, _ = fmt.Fprintln(a.streams.Err, "\n"+say)
			cancel(errInterrupted)
		}
	}()
	return ctx, func() {
		stop()
		close(ended)
		cancel(nil)
	}
}

// errInterrupted is why the context of a command has ended that was interrupted.
var errInterrupted = wording.Of(context.Canceled)

// who is user@host, as far as the system tells.
func (a *app) who() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return name + "@" + host
}
