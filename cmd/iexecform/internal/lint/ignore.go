package lint

import (
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/iexecform/iexecform/config"
)

// A comment `# iexecform:ignore RULE[, RULE…] [why]` silences rules on its own line or, when it stands alone, on the next
// line; in front of a block, within the whole block.

var ignoreForm = regexp.MustCompile(`iexecform:ignore\b[ \t]*([a-z0-9-]+(?:[ \t]*,[ \t]*[a-z0-9-]+)*)?`)

// span is lines of a file in which rules are silent.
type span struct {
	file        string
	first, last int
	rules       []string
}

type ignores []span

func (i ignores) has(f Finding) bool {
	return slices.ContainsFunc(i, func(s span) bool {
		line := f.Subject.Start.Line
		return s.file == f.Subject.Filename && s.first <= line && line <= s.last && slices.Contains(s.rules, f.Rule.ID)
	})
}

var badIgnore = Rule{
	ID: "bad-ignore", Severity: Warning,
	Doc:     "A comment `# iexecform:ignore` that names no rule, or one that isn't there, silences nothing.",
	Example: "# iexecform:ignore mutable-imag\n",
	find:    func(*pass) {}, // found where the comments are read
}

// ignoreComments reads the comments of all files.
func ignoreComments(files map[string]*hcl.File) (list ignores, wrong []Finding) {
	for name, file := range files {
		body, ok := file.Body.(*hclsyntax.Body)
		if !ok {
			continue // JSON has no comments
		}
		tokens, _ := hclsyntax.LexConfig(file.Bytes, name, hcl.InitialPos) // it was parsed already
		code := map[int]bool{}                                             // lines with something besides comments
		for _, t := range tokens {
			switch t.Type {
			case hclsyntax.TokenComment, hclsyntax.TokenNewline, hclsyntax.TokenEOF:
			default:
				code[t.Range.Start.Line] = true
			}
		}
		for _, t := range tokens {
			if t.Type != hclsyntax.TokenComment {
				continue
			}
			form := ignoreForm.FindSubmatch(t.Bytes)
			if form == nil {
				continue
			}
			s := span{file: name, first: t.Range.Start.Line}
			rules, bad := ruleNames(string(form[1]))
			if bad != "" {
				wrong = append(wrong, Finding{badIgnore, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Comment that ignores nothing", Detail: bad, Subject: commentRange(t)}})
			}
			s.rules = rules
			if !code[s.first] {
				s.first = nextLine(code, s.first, len(file.Bytes))
			}
			s.last = max(s.first, endOfBlock(body, s.first))
			list = append(list, s)
		}
	}
	return list, wrong
}

// commentRange is the comment without its line's end.
func commentRange(t hclsyntax.Token) *hcl.Range {
	r := t.Range
	text := strings.TrimRight(string(t.Bytes), "\r\n")
	r.End = hcl.Pos{Line: r.Start.Line, Column: r.Start.Column + len(text), Byte: r.Start.Byte + len(text)}
	return &r
}

func ruleNames(text string) (rules []string, bad string) {
	if text == "" {
		return nil, "Name the rules that are to be silent here: # iexecform:ignore RULE, RULE"
	}
	var all []string
	for _, r := range Rules {
		all = append(all, r.ID)
	}
	for id := range strings.SplitSeq(text, ",") {
		id = strings.TrimSpace(id)
		if _, ok := ByID(id); !ok {
			bad = "There is no rule \"" + id + "\"." + config.DidYouMean(id, all)
			continue
		}
		rules = append(rules, id)
	}
	return rules, bad
}

func nextLine(code map[int]bool, line, most int) int {
	for next := line + 1; next <= line+most; next++ {
		if code[next] {
			return next
		}
	}
	return line
}

// endOfBlock is the last line of the outermost block that begins on a line, or 0.
func endOfBlock(body *hclsyntax.Body, line int) int {
	for _, b := range body.Blocks {
		r := b.Range()
		if b.TypeRange.Start.Line == line {
			return b.CloseBraceRange.End.Line
		}
		if r.Start.Line <= line && line <= b.CloseBraceRange.End.Line {
			return endOfBlock(b.Body, line)
		}
	}
	return 0
}
