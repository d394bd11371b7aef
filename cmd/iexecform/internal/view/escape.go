package view

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"unicode"
	"unicode/utf8"
)

// Escaping returns a writer that shows what acts on a terminal, or reorders what is read, as an escape such as \u001b: names,
// market rows, answers of registries and reasons of reverts are texts of others. What passes is line ends, tabs and, if colour is
// on, the colours of this package.
func Escaping(w io.Writer, colour Palette) io.Writer { return &escaping{w: w, colour: bool(colour)} }

type escaping struct {
	w      io.Writer
	colour bool
	part   []byte // the beginning of a character or colour, of which the rest has not come yet
}

// The colours of Palette, and those of hcl's diagnostics.
var colours = regexp.MustCompile(`^\x1b\[(0|1|2|1;4|31|32|33|36)m`)

// maxColour is the length of the longest of them.
const maxColour = len("\x1b[1;4m")

// Write implements io.Writer.
func (e *escaping) Write(p []byte) (int, error) {
	text := append(e.part, p...)
	var out bytes.Buffer
	for len(text) > 0 {
		if e.colour && text[0] == '\x1b' {
			if colour := colours.Find(text); colour != nil {
				out.Write(colour)
				text = text[len(colour):]
				continue
			}
			if len(text) < maxColour && bytes.HasPrefix([]byte("\x1b["), text[:min(len(text), 2)]) {
				break // perhaps the rest comes
			}
		}
		if !utf8.FullRune(text) || text[0] == '\r' && len(text) == 1 {
			break
		}
		r, size := utf8.DecodeRune(text)
		switch {
		case r == '\r' && text[size] == '\n': // a line end of others
			out.WriteByte('\r')
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, text[0])
		case r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)):
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.Write(text[:size])
		}
		text = text[size:]
	}
	e.part = bytes.Clone(text)
	if _, err := e.w.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}
