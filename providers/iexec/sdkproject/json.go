package sdkproject

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// A document is one JSON file.
type document struct {
	name string // relative to the project, with slashes
	src  []byte
	root *node
}

// A node is one JSON value and where it stands.
type node struct {
	kind       jsontext.Kind // as jsontext names the first byte: '{', '[', '"', '0', 't', 'f', 'n'
	text       string        // of a string, unquoted; of a number, as written
	members    []member      // of an object, as written; the last of equal names counts
	elements   []*node       // of an array
	start, end int64
}

type member struct {
	name  string
	value *node
}

// parse reads a JSON text as JSON.parse does: of equal names the last one counts. The error has file, line and column.
func parse(name string, src []byte) (*document, error) {
	d := &document{name: name, src: src}
	dec := jsontext.NewDecoder(bytes.NewReader(src), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	root, err := read(dec)
	if err == nil {
		if _, more := dec.ReadToken(); !errors.Is(more, io.EOF) {
			err = more
			if more == nil {
				err = &jsontext.SyntacticError{ByteOffset: root.end, Err: errors.New("something stands after the end of the value")}
			}
		}
	}
	if err != nil {
		return nil, d.syntaxError(err, dec.InputOffset())
	}
	d.root = root
	return d, nil
}

func (d *document) syntaxError(err error, offset int64) error {
	text := err.Error()
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntax):
		offset, text = syntax.ByteOffset, syntax.Err.Error()
		if errors.Is(err, io.ErrUnexpectedEOF) {
			offset, text = int64(len(d.src)), "the file ends too early"
		}
	case errors.Is(err, io.EOF):
		offset, text = int64(len(d.src)), "the file is empty"
	}
	line, column := d.position(offset)
	return fmt.Errorf("%s:%d:%d: not JSON: %s", d.name, line, column, strings.TrimPrefix(text, "jsontext: "))
}

// position is the line and the column, both from 1, of an offset.
func (d *document) position(offset int64) (line, column int) {
	before := d.src[:min(max(offset, 0), int64(len(d.src)))]
	line = 1 + bytes.Count(before, []byte("\n"))
	return line, 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
}

func read(dec *jsontext.Decoder) (*node, error) {
	if kind := dec.PeekKind(); kind != '{' && kind != '[' {
		raw, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		n := &node{kind: kind, end: dec.InputOffset(), start: dec.InputOffset() - int64(len(raw))}
		switch kind {
		case '"':
			text, err := jsontext.AppendUnquote(nil, raw)
			n.text = string(text)
			return n, err
		case '0':
			n.text = string(raw)
		}
		return n, nil
	}
	token, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	n := &node{kind: token.Kind(), start: dec.InputOffset() - 1}
	switch n.kind {
	case '{':
		for dec.PeekKind() != '}' {
			name, err := dec.ReadToken()
			if err != nil {
				return nil, err
			}
			m := member{name: name.String()}
			if m.value, err = read(dec); err != nil {
				return nil, err
			}
			n.members = append(n.members, m)
		}
	case '[':
		for dec.PeekKind() != ']' {
			e, err := read(dec)
			if err != nil {
				return nil, err
			}
			n.elements = append(n.elements, e)
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	n.end = dec.InputOffset()
	return n, nil
}

// get is the member of that name, or nil. It may be called on nil.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for i := len(n.members) - 1; i >= 0; i-- {
		if n.members[i].name == name {
			return n.members[i].value
		}
	}
	return nil
}

// scalar is the text of a string or a number, or "".
func (n *node) scalar() string {
	if n == nil || n.kind != '"' && n.kind != '0' {
		return ""
	}
	return n.text
}

// object reports whether n is an object.
func (n *node) object() bool { return n != nil && n.kind == '{' }

// compact is the value as JSON without white space, names in the author's order.
func (d *document) compact(n *node) string {
	raw := jsontext.Value(bytes.Clone(d.src[n.start:n.end]))
	if err := raw.Compact(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
		return ""
	}
	return string(raw)
}
