package config

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Text that is nested too deeply is refused before HCL's recursive parser gets to it. HCL's lexer tells how deep text is, but
// it keeps every token of a file, hundreds of bytes for a line; so the bytes are looked at first. Whatever is not plain about
// them (heredocs, directives, brackets that don't match) is left to the lexer, and so is all that seems too deep.

// maxNesting is how deep brackets, operators and templates may be within each other. A level takes some kilobytes of stack.
const maxNesting = 1000

// tooNested reports text in which something is nested more than maxNesting deep.
func tooNested(src []byte, path string, lex func([]byte, string, hcl.Pos) (hclsyntax.Tokens, hcl.Diagnostics)) hcl.Diagnostics {
	if few(src) {
		return nil
	}
	tokens, _ := lex(src, path, hcl.InitialPos) // mistakes are told by the parser
	n := newNesting()
	for _, t := range tokens {
		if n.take(t.Type); n.depth > maxNesting {
			return hcl.Diagnostics{failure(&t.Range, "Expression is nested too deeply",
				"Brackets, operators and templates may be within each other %d deep at most. Name parts of the expression with local values.", maxNesting)}
		}
	}
	return nil
}

// tooNestedConfig is tooNested for a file.
func tooNestedConfig(src []byte, path string) hcl.Diagnostics {
	if n, plain := nestingOf(src); plain && n.deepest <= maxNesting {
		return nil
	}
	return tooNested(src, path, hclsyntax.LexConfig)
}

// nesting counts how deep text is nested.
type nesting struct {
	open           []level
	depth, deepest int
}

type level struct {
	lines     bool // a new line begins something new
	operators int  // since the last separator
}

func newNesting() *nesting { return &nesting{open: []level{{lines: true}}} }

func (n *nesting) deeper(by int) {
	n.depth += by
	n.deepest = max(n.deepest, n.depth)
}

func (n *nesting) operator() {
	n.open[len(n.open)-1].operators++
	n.deeper(1)
}

func (n *nesting) begin(lines bool) {
	n.open = append(n.open, level{lines: lines})
	n.deeper(1)
}

func (n *nesting) end() {
	if last := len(n.open) - 1; last > 0 {
		n.depth -= n.open[last].operators + 1
		n.open = n.open[:last]
	}
}

func (n *nesting) separator(comma bool) {
	if top := &n.open[len(n.open)-1]; comma || top.lines {
		n.depth -= top.operators
		top.operators = 0
	}
}

// take takes up the next token.
func (n *nesting) take(t hclsyntax.TokenType) {
	switch t {
	case hclsyntax.TokenOBrack, hclsyntax.TokenTemplateControl: // x[i][j], and directives end with other directives
		n.operator()
		n.begin(false)
	case hclsyntax.TokenOParen, hclsyntax.TokenOBrace, hclsyntax.TokenTemplateInterp, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
		n.begin(t == hclsyntax.TokenOBrace)
	case hclsyntax.TokenCParen, hclsyntax.TokenCBrack, hclsyntax.TokenCBrace, hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
		n.end()
	case hclsyntax.TokenComma, hclsyntax.TokenNewline:
		n.separator(t == hclsyntax.TokenComma)
	case hclsyntax.TokenBang, hclsyntax.TokenMinus, hclsyntax.TokenPlus, hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPercent,
		hclsyntax.TokenQuestion, hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan,
		hclsyntax.TokenLessThanEq, hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq:
		n.operator()
	}
}

// nestingOf looks at the bytes of a file. plain is false where only the lexer knows.
func nestingOf(src []byte) (n *nesting, plain bool) {
	n = newNesting()
	var within []byte // the brackets and quotes that are open; '$' is an interpolation
	top := func() byte {
		if len(within) == 0 {
			return 0
		}
		return within[len(within)-1]
	}
	begin := func(b byte) {
		within = append(within, b)
		n.begin(b == '{')
	}
	end := func(b byte) bool {
		if top() != b {
			return false
		}
		within = within[:len(within)-1]
		n.end()
		return true
	}
	for i := 0; i < len(src); i++ {
		b, next := src[i], byte(0)
		if i+1 < len(src) {
			next = src[i+1]
		}
		if top() == '"' {
			switch {
			case b == '"':
				end('"')
			case b == '\\' && bytes.IndexByte([]byte(`"\nrtuU`), next) >= 0:
				i++
			case b == '$' && next == '{':
				begin('$')
				i++
			case b == '\n', b == '\\', (b == '$' || b == '%') && (next == b || next == '{'):
				return n, false
			}
			continue
		}
		ok := true
		switch {
		case isLetter(b):
			for i+1 < len(src) && (isLetter(src[i+1]) || src[i+1] >= '0' && src[i+1] <= '9' || src[i+1] == '-') {
				i++
			}
		case b >= '0' && b <= '9', b == ' ', b == '\t', b == '\r', b == '.', b == ':', b == '=' && next != '=':
		case b == '"', b == '{', b == '(':
			begin(b)
		case b == '[':
			n.operator()
			begin(b)
		case b == '}':
			ok = end('{') || end('$')
		case b == ')':
			ok = end('(')
		case b == ']':
			ok = end('[')
		case b == ',', b == '\n':
			n.separator(b == ',')
		case b == '#', b == '/' && next == '/': // the line's end belongs to it
			rest := bytes.IndexByte(src[i:], '\n')
			if rest < 0 {
				return n, false
			}
			i += rest
		case b == '/' && next == '*', b == '<' && next == '<':
			return n, false
		case b == '-', b == '+', b == '*', b == '/', b == '%', b == '<', b == '>', b == '&', b == '|', b == '?', b == '!', b == '=':
			n.operator()
			if next == '=' && (b == '<' || b == '>' || b == '!' || b == '=') || next == b && (b == '&' || b == '|') {
				i++
			}
		default:
			return n, false
		}
		if !ok {
			return n, false
		}
	}
	return n, len(within) == 0
}

func isLetter(b byte) bool { return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_' }

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
