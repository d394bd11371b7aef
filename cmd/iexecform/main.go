// Command iexecform plans and applies iExec apps and their orders from .hcl files.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/providers"
)

// version is set by the linker in a release.
var version = "dev"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

// run runs the program with the providers that it is released with.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	return runWith(builtins, args, stdin, stdout, stderr, env)
}

// runWith runs the program with other providers, which are made when a command needs them first.
func runWith(makeProviders func() providers.Registry, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	return newApp(makeProviders, stdin, stdout, stderr, env).run(args)
}

func newApp(makeProviders func() providers.Registry, stdin io.Reader, stdout, stderr io.Writer, env []string) *app {
	return &app{
		streams: view.Streams{
			In: stdin, Out: stdout, Err: stderr,
			InTerminal: isTerminal(stdin), OutTerminal: isTerminal(stdout), ErrTerminal: isTerminal(stderr),
			Width: width(stdout, stderr),
		},
		env:       env,
		providers: sync.OnceValue(makeProviders),
		secret:    readSecret,
		exit:      os.Exit,
		interrupts: func() (<-chan os.Signal, func()) {
			c := make(chan os.Signal, 2)
			signal.Notify(c, os.Interrupt, syscall.SIGTERM)
			return c, func() { signal.Stop(c) }
		},
	}
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
