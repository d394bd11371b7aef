package view

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
	wordwrap "github.com/mitchellh/go-wordwrap"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/errcode"
	"github.com/iexecform/iexecform/internal/wording"
)

// Sources is the text of the files that diagnostics point into.
type Sources map[string]*hcl.File

// writeDiagnostics prints diagnostics with the source that they are about. With compact, warnings are only their
// summaries, unless there is an error too.
func writeDiagnostics(w io.Writer, diags hcl.Diagnostics, sources Sources, width int, colour Palette, compact bool) error {
	compact = compact && !diags.HasErrors()
	var summaries []string
	out := hcl.NewDiagnosticTextWriter(w, sources, 0, bool(colour)) // without wrapping
	for _, d := range diags {
		if compact && d.Severity == hcl.DiagWarning {
			summaries = append(summaries, "- "+d.Summary+place(d))
			continue
		}
		shown := *d
		shown.Detail = wrap(upperFirst(d.Detail), width, "")
		if err := out.WriteDiagnostic(&shown); err != nil {
			return err
		}
	}
	if len(summaries) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "%s\n\n%s\n\n", colour.yellow("Warnings:"), strings.Join(summaries, "\n"))
	return err
}

func place(d *hcl.Diagnostic) string {
	if d.Subject == nil {
		return ""
	}
	return fmt.Sprintf(" (%s:%d)", d.Subject.Filename, d.Subject.Start.Line)
}

// Diagnose makes diagnostics of an error: its own, if it has any.
func Diagnose(err error) hcl.Diagnostics {
	var diags hcl.Diagnostics
	if errors.As(err, &diags) {
		return diags
	}
	first, rest, _ := strings.Cut(wording.Of(err).Error(), "\n")
	summary, detail := firstClause(first)
	if detail != "" && rest != "" {
		detail += "\n"
	}
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: upperFirst(summary), Detail: Sentence(detail + rest), Extra: errcode.Cause{Err: err}}}
}

// firstClause splits an error message into what is wrong and the rest: after the first sentence or semicolon, and when
// that is too long for a line at a colon.
func firstClause(s string) (summary, rest string) {
	for _, sep := range []string{"; ", ". "} {
		if i := strings.Index(s, sep); i > 0 && i <= DefaultWidth {
			return s[:i], s[i+2:]
		}
	}
	if len(s) > DefaultWidth {
		if i := strings.LastIndex(s[:DefaultWidth], ": "); i > 0 {
			return s[:i], s[i+2:]
		}
	}
	return s, ""
}

// Sentence makes a sentence of an error's text.
func Sentence(text string) string {
	text = upperFirst(strings.TrimRight(text, " \n"))
	if text == "" || strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}

func upperFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 || strings.ContainsAny(firstWord(s), "_./\"'") {
		return s
	}
	return string(unicode.ToUpper(r)) + s[n:]
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return strings.TrimRight(word, ".:,;")
}

// wrap breaks lines that are too long, but for those that begin with a space: they are laid out already.
func wrap(text string, width int, indent string) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if !strings.HasPrefix(line, " ") {
			line = wordwrap.WrapString(line, uint(max(20, width-len(indent))))
		}
		lines = append(lines, strings.Split(line, "\n")...)
	}
	return indent + strings.Join(lines, "\n"+indent)
}

// jsonDiagnostic has the form that Terraform's validate -json made known.
type jsonDiagnostic struct {
	Severity string       `json:"severity"`
	Code     string       `json:"code"`
	Summary  string       `json:"summary"`
	Detail   string       `json:"detail"`
	Range    *jsonRange   `json:"range,omitempty"`
	Snippet  *jsonSnippet `json:"snippet,omitempty"`
}

type jsonRange struct {
	Filename string  `json:"filename"`
	Start    jsonPos `json:"start"`
	End      jsonPos `json:"end"`
}

type jsonPos struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

type jsonSnippet struct {
	Context              *string       `json:"context"`
	Code                 string        `json:"code"`
	StartLine            int           `json:"start_line"`
	HighlightStartOffset int           `json:"highlight_start_offset"`
	HighlightEndOffset   int           `json:"highlight_end_offset"`
	Values               []jsonOperand `json:"values"`
}

// jsonOperand is a value that the expression of a diagnostic refers to.
type jsonOperand struct {
	Traversal string `json:"traversal"`
	Statement string `json:"statement"`
}

func toJSONDiagnostics(diags hcl.Diagnostics, sources Sources) []jsonDiagnostic {
	list := make([]jsonDiagnostic, 0, len(diags))
	for _, d := range diags {
		j := jsonDiagnostic{Severity: severity(d), Code: errcode.Of(d), Summary: d.Summary, Detail: d.Detail}
		if r := d.Subject; r != nil {
			j.Range = &jsonRange{Filename: r.Filename, Start: jsonPos(r.Start), End: jsonPos(r.End)}
			j.Snippet = snippet(d, sources[r.Filename])
		}
		list = append(list, j)
	}
	return list
}

func severity(d *hcl.Diagnostic) string {
	if d.Severity == hcl.DiagWarning {
		return "warning"
	}
	return "error"
}

// snippet is the lines that the diagnostic's subject is on, with offsets in bytes of the subject in them.
func snippet(d *hcl.Diagnostic, file *hcl.File) *jsonSnippet {
	r := *d.Subject
	if file == nil || r.Start.Byte > len(file.Bytes) || r.End.Byte > len(file.Bytes) || r.End.Byte < r.Start.Byte {
		return nil
	}
	start := bytes.LastIndexByte(file.Bytes[:r.Start.Byte], '\n') + 1
	end := len(file.Bytes)
	if i := bytes.IndexByte(file.Bytes[r.End.Byte:], '\n'); i >= 0 {
		end = r.End.Byte + i
	}
	s := &jsonSnippet{
		Code: string(file.Bytes[start:end]), StartLine: r.Start.Line,
		HighlightStartOffset: r.Start.Byte - start, HighlightEndOffset: r.End.Byte - start, Values: operands(d),
	}
	if nav, ok := file.Nav.(interface{ ContextString(int) string }); ok {
		if context := nav.ContextString(r.Start.Byte); context != "" {
			s.Context = &context
		}
	}
	return s
}

// operands lists the values that the diagnostic's expression refers to, where they are known and not sensitive.
func operands(d *hcl.Diagnostic) []jsonOperand {
	list := []jsonOperand{}
	if d.Expression == nil || d.EvalContext == nil {
		return list
	}
	seen := map[string]bool{}
	for _, t := range d.Expression.Variables() {
		text := string(hclwrite.TokensForTraversal(t).Bytes())
		v, diags := t.TraverseAbs(d.EvalContext)
		if diags.HasErrors() || seen[text] || !v.IsWhollyKnown() || v.ContainsMarked() {
			continue
		}
		seen[text] = true
		statement := "is " + v.Type().FriendlyName()
		if v.IsNull() || v.Type().IsPrimitiveType() {
			statement = "is " + quoted(v)
		}
		list = append(list, jsonOperand{Traversal: text, Statement: statement})
	}
	return list
}

// writeJSON writes an indented document, by the rules of encoding/json but in one pass. A number that is a text is a
// json.RawMessage.
func writeJSON(w io.Writer, v any) error {
	b, err := jsonv2.Marshal(v, jsonv1.DefaultOptionsV1(), jsontext.EscapeForHTML(false), jsontext.Multiline(true), jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}
