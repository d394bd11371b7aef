package config

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Parsing native syntax. A long file is parsed in pieces, on all processors; should one of them not stand for itself, because
// it ends within a heredoc or has a mistake, the file is parsed as one. HCL's parser is recursive, so text that is nested too
// deeply is refused before it gets there.

const (
	pieceSize = 16 << 10 // bytes of source, at least
	// maxNesting is how deep brackets, operators and templates may be within each other. A level takes some kilobytes of stack.
	maxNesting = 1000
)

// parseNative parses a file. The result is never nil; with errors it is what could be understood.
func parseNative(src []byte, path string) (*hcl.File, hcl.Diagnostics) {
	body, ok := parsePieces(src, path)
	if !ok {
		if diags := tooNested(src, path, hclsyntax.LexConfig); diags.HasErrors() {
			return &hcl.File{Bytes: src, Body: &hclsyntax.Body{}}, diags
		}
		file, diags := hclsyntax.ParseConfig(src, path, hcl.InitialPos)
		if file == nil {
			file = &hcl.File{Bytes: src, Body: &hclsyntax.Body{}}
		}
		return file, diags
	}
	return &hcl.File{Bytes: src, Body: body, Nav: navigation{body}}, nil
}

// piece is a part of a file that consists of whole blocks.
type piece struct {
	src   []byte
	start hcl.Pos
	body  *hclsyntax.Body
	ok    bool
}

// parsePieces parses a file of several pieces without mistakes. Where all pieces are valid on their own their borders are
// borders of blocks, because no token crosses them.
func parsePieces(src []byte, path string) (*hclsyntax.Body, bool) {
	pieces := cut(src)
	if len(pieces) < 2 {
		return nil, false
	}
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(pieces))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(pieces); i += workers {
				pieces[i].parse(path)
			}
		})
	}
	wg.Wait()
	whole := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}}
	for i := range pieces {
		if !pieces[i].ok {
			return nil, false
		}
		whole.Blocks = append(whole.Blocks, pieces[i].body.Blocks...)
	}
	last := pieces[len(pieces)-1].body
	whole.SrcRange, whole.EndRange = hcl.RangeBetween(pieces[0].body.SrcRange, last.SrcRange), last.EndRange
	return whole, true
}

func (p *piece) parse(path string) {
	if tooNested(p.src, path, hclsyntax.LexConfig).HasErrors() {
		return
	}
	file, diags := hclsyntax.ParseConfig(p.src, path, p.start)
	if len(diags) > 0 || file == nil {
		return
	}
	p.body = file.Body.(*hclsyntax.Body)
	p.ok = len(p.body.Attributes) == 0
}

var blockEnd = []byte("\n}\n")

// cut divides a file behind lines that close a block.
func cut(src []byte) (pieces []piece) {
	start := hcl.InitialPos
	for len(src) > 0 {
		end := len(src)
		if len(src) > pieceSize {
			if at := bytes.Index(src[pieceSize:], blockEnd); at >= 0 {
				end = pieceSize + at + len(blockEnd)
			}
		}
		pieces = append(pieces, piece{src: src[:end], start: start})
		start.Line += bytes.Count(src[:end], []byte("\n"))
		start.Byte += end
		src = src[end:]
	}
	return pieces
}

// navigation tells which block an offset is in: see hcl.File.Nav.
type navigation struct{ root *hclsyntax.Body }

// ContextString is the header of the block at the offset, or "".
func (n navigation) ContextString(offset int) string {
	for _, b := range n.root.Blocks {
		if r := b.Range(); r.Start.Byte <= offset && offset < r.End.Byte {
			text := b.Type
			for _, label := range b.Labels {
				text += fmt.Sprintf(" %q", label)
			}
			return text
		}
	}
	return ""
}

// tooNested reports text in which something is nested more than maxNesting deep.
func tooNested(src []byte, path string, lex func([]byte, string, hcl.Pos) (hclsyntax.Tokens, hcl.Diagnostics)) hcl.Diagnostics {
	if few(src) {
		return nil
	}
	type level struct {
		lines     bool // a new line begins something new
		operators int  // since the last separator
	}
	tokens, _ := lex(src, path, hcl.InitialPos) // mistakes are told by the parser
	open := []level{{lines: true}}
	depth := 0
	for _, t := range tokens {
		top := &open[len(open)-1]
		switch t.Type {
		case hclsyntax.TokenOBrack, hclsyntax.TokenTemplateControl: // x[i][j], and directives end with other directives
			top.operators++
			open = append(open, level{})
			depth += 2
		case hclsyntax.TokenOParen, hclsyntax.TokenOBrace, hclsyntax.TokenTemplateInterp, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
			open = append(open, level{lines: t.Type == hclsyntax.TokenOBrace})
			depth++
		case hclsyntax.TokenCParen, hclsyntax.TokenCBrack, hclsyntax.TokenCBrace, hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
			if len(open) > 1 {
				depth -= top.operators + 1
				open = open[:len(open)-1]
			}
		case hclsyntax.TokenComma, hclsyntax.TokenNewline:
			if t.Type == hclsyntax.TokenComma || top.lines {
				depth -= top.operators
				top.operators = 0
			}
		case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenPlus, hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent,
			hclsyntax.TokenQuestion, hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan,
			hclsyntax.TokenLessThanEq, hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq:
			top.operators++
			depth++
		}
		if depth > maxNesting {
			return hcl.Diagnostics{failure(&t.Range, "Expression is nested too deeply",
				"Brackets, operators and templates may be within each other %d deep at most. Name parts of the expression with local values.", maxNesting)}
		}
	}
	return nil
}

// few reports whether there are so few brackets and operators that they can't be nested too deeply.
func few(src []byte) bool {
	n := 0
	for i, b := range src {
		switch b {
		case '(', '[', '{', '!', '-', '+', '*', '/', '%', '<', '>', '&', '|', '?':
			n++
		case '=':
			if i > 0 && src[i-1] == '=' {
				n++
			}
		}
	}
	return n <= maxNesting/2 // a brace may open a text within a text
}

// tooNestedJSON reports JSON in which something is nested more than maxNesting deep.
func tooNestedJSON(src []byte, path string) hcl.Diagnostics {
	depth, text, at := 0, false, hcl.InitialPos
	for i := 0; i < len(src); i++ {
		switch b := src[i]; {
		case b == '\n':
			at.Line++
		case b == '"':
			text = !text
		case b == '\\' && text:
			i++
		case !text && (b == '{' || b == '['):
			depth++
		case !text && (b == '}' || b == ']'):
			depth--
		}
		if depth > maxNesting {
			at.Byte = i
			return hcl.Diagnostics{failure(&hcl.Range{Filename: path, Start: at, End: at}, "JSON is nested too deeply", "Objects and arrays may be within each other %d deep at most.", maxNesting)}
		}
	}
	return nil
}
