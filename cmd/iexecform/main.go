// Command iexecform plans and applies iExec apps and their orders from .hcl files.
package main

import (
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/providers"
)

// version is set by the linker in a release.
var version = "dev"

func main() {
	if len(os.Args) < 2 || os.Args[1] != "localnet" { // which goes on for long
		collectLate()
	}
	log.SetOutput(io.Discard) // what libraries tell there comes as errors, too
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, takeEnvironment()))
}

// collectLate puts off the first garbage collection until 96 MiB are in use: a command lives for a moment, and needs most of what
// it allocates until the end. One with more to do than that goes on with a garbage collector that rather saves memory.
// GOGC and GOMEMLIMIT have the last word. SIDE EFFECTS: sets the garbage collector of the process.
func collectLate() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(96 << 20)
	debug.SetGCPercent(-1)
	runtime.AddCleanup(new([16]byte), func(int) { // runs after the first collection
		debug.SetGCPercent(50)
		debug.SetMemoryLimit(math.MaxInt64)
	}, 0)
}

// ownPrefix begins the names of the program's variables.
const ownPrefix = "IEXECFORM_"

var hexKey = regexp.MustCompile(`^(0x)?[0-9a-fA-F]{64}$`)

// takeEnvironment returns the environment, and keeps what is secret in it from the programs that are started: git, npm and
// credential helpers. That is the program's own variables, and whatever looks like a private key, as the configuration
// may name any variable as that of a key. SIDE EFFECTS: removes these from the environment of the process.
func takeEnvironment() []string {
	env := os.Environ()
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, ownPrefix) || hexKey.MatchString(strings.TrimSpace(value)) {
			_ = os.Unsetenv(name) // it is there
		}
	}
	return env
}

// run runs the program with the providers that it is released with.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	return runWith(builtins, args, stdin, stdout, stderr, env)
}

// runWith runs the program with other providers, which are made when a command needs them first.
func runWith(makeProviders func(getenv func(string) string) providers.Registry, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	return newApp(makeProviders, stdin, stdout, stderr, env).run(args)
}

func newApp(makeProviders func(getenv func(string) string) providers.Registry, stdin io.Reader, stdout, stderr io.Writer, env []string) *app {
	a := &app{
		streams: view.Streams{
			In: stdin, Out: stdout, Err: stderr,
			InTerminal: isTerminal(stdin), OutTerminal: isTerminal(stdout), ErrTerminal: isTerminal(stderr),
			Width: width(stdout, stderr),
		},
		env:    env,
		secret: readSecret,
		exit:   os.Exit,
		interrupts: func() (<-chan os.Signal, func()) {
			c := make(chan os.Signal, 2)
			signal.Notify(c, os.Interrupt, syscall.SIGTERM)
			return c, func() { signal.Stop(c) }
		},
	}
	a.providers = sync.OnceValue(func() providers.Registry { return makeProviders(a.getenv) })
	return a
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width is the columns of the first stream that is a terminal.
func width(streams ...any) int {
	for _, s := range streams {
		if f, ok := s.(*os.File); ok {
			if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
				return w
			}
		}
	}
	return view.DefaultWidth
}

// readSecret reads a line from a terminal without echo.
func readSecret(in io.Reader) (string, error) {
	f, ok := in.(*os.File)
	if !ok {
		return "", fmt.Errorf("standard input is not a terminal")
	}
	b, err := term.ReadPassword(int(f.Fd()))
	return string(b), err
}
