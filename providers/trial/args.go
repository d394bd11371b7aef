package trial

import (
	"fmt"
	"strings"
)

// SplitArgs splits arguments as the worker splits iexec_args, which isn't as a shell does: they are separated by spaces
// only; single and double quotes keep spaces, an empty pair of them leaves no argument; a backslash before a quote keeps
// the quote from opening or closing, and stays. The result of a blank text is nil. With an open quote the worker would drop
// all arguments and run the app without: here it is an error.
func SplitArgs(text string) ([]string, error) {
	var args []string
	var current strings.Builder
	var open byte // the quote that is open, or 0
	escaped := false
	end := func() {
		if current.Len() > 0 {
			args = append(args, current.String())
			current.Reset()
		}
	}
	for _, c := range []byte(text) { // what matters is ASCII
		quote := c == '"' || c == '\''
		switch {
		case quote && (open == 0 || c == open):
			switch {
			case escaped:
				current.WriteByte(c)
				escaped = false
			case open == 0:
				open = c
			default:
				open = 0
			}
		case c == ' ' && open == 0:
			end() // a backslash before it still keeps a quote after it
		default:
			current.WriteByte(c)
			escaped = c == '\\'
		}
	}
	if open != 0 {
		return nil, fmt.Errorf("the arguments %q have an open %c: the worker would drop them all. Close the quote, or put it between quotes of the other kind", text, open)
	}
	end()
	return args, nil
}
