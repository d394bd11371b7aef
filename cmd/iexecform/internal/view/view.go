// Package view prints everything that the program prints: for people (Human) and for machines (JSON). What happened goes
// in as data, text comes out; nothing here decides or does anything.
//
// Rules of the output, human and JSON alike:
//   - Results go to standard output. Errors go to standard error, but with --json to standard output as JSON.
//   - Questions and progress go to standard error, where a person sees them even when the result goes into a file.
//   - Colour is used on terminals only, unless the environment says otherwise; no text depends on it.
//   - Sensitive values are never printed, only that there is one.
//   - Whatever is printed twice from the same data is the same, byte for byte.
package view

import (
	"io"
	"slices"
	"strings"

	"github.com/iexecform/iexecform/config/schema"
)

// Streams is where input comes from and output goes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	InTerminal  bool // a person can be asked
	OutTerminal bool
	ErrTerminal bool
	Width       int // columns of the terminal; DefaultWidth when there is none
	Colour      Palette
	ErrColour   Palette
}

// DefaultWidth is used when the output is not a terminal.
const DefaultWidth = 78

// Tables is what a view needs to know of resource types. A type that it doesn't know is printed without units.
type Tables interface {
	ResourceTable(typ string) *schema.Table // nil when there is no such type
	DataTable(typ string) *schema.Table     // nil when there is no such type
}

// Palette colours text, or doesn't.
type Palette bool

// ChoosePalette applies the conventions: NO_COLOR (any value but "") switches colour off, CLICOLOR_FORCE (any but "0")
// on, also where there is no terminal.
func ChoosePalette(terminal, never bool, env []string) Palette {
	value := func(name string) string {
		i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		if i < 0 {
			return ""
		}
		return env[i][len(name)+1:]
	}
	force := value("CLICOLOR_FORCE")
	switch {
	case never || value("NO_COLOR") != "":
		return false
	case force != "" && force != "0":
		return true
	}
	return Palette(terminal && value("TERM") != "dumb")
}

func (p Palette) sgr(code, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p Palette) bold(s string) string   { return p.sgr("1", s) }
func (p Palette) dim(s string) string    { return p.sgr("2", s) }
func (p Palette) red(s string) string    { return p.sgr("31", s) }
func (p Palette) green(s string) string  { return p.sgr("32", s) }
func (p Palette) yellow(s string) string { return p.sgr("33", s) }
func (p Palette) cyan(s string) string   { return p.sgr("36", s) }
