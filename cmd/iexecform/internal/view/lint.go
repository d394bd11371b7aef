package view

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/lint"
)

// Findings prints what lint found, with its source, and a summary.
func (h *Human) Findings(findings []lint.Finding, sources Sources) error {
	for _, f := range findings {
		var b bytes.Buffer
		shown := *f.Diagnostic
		shown.Summary = fmt.Sprintf("%s [%s]", f.Summary, f.Rule.ID)
		if err := hcl.NewDiagnosticTextWriter(&b, sources, uint(h.Width), bool(h.Colour)).WriteDiagnostic(&shown); err != nil {
			return err
		}
		text := b.Bytes()
		if f.Rule.Severity == lint.Note {
			text = bytes.Replace(text, []byte("Warning"), []byte("Note"), 1)
		}
		if _, err := h.Out.Write(text); err != nil {
			return err
		}
	}
	if len(findings) == 0 {
		return h.Print("Nothing found.")
	}
	warnings, notes := countFindings(findings)
	return h.Print("%s, %s.", counted(warnings, "warning"), counted(notes, "note"))
}

func countFindings(findings []lint.Finding) (warnings, notes int) {
	for _, f := range findings {
		if f.Rule.Severity == lint.Note {
			notes++
		} else {
			warnings++
		}
	}
	return warnings, notes
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

type jsonFindings struct {
	FormatVersion string        `json:"format_version"`
	Warnings      int           `json:"warning_count"`
	Notes         int           `json:"note_count"`
	Findings      []jsonFinding `json:"findings"`
}

// jsonFinding is a diagnostic with the name of a rule instead of a code.
type jsonFinding struct {
	Rule     string        `json:"rule"`
	Severity lint.Severity `json:"severity"`
	Summary  string        `json:"summary"`
	Detail   string        `json:"detail"`
	Range    *jsonRange    `json:"range"`
	Snippet  *jsonSnippet  `json:"snippet,omitempty"`
}

// Findings prints what lint found as one document.
func (j *JSON) Findings(findings []lint.Finding, sources Sources) error {
	doc := jsonFindings{FormatVersion: "1.0", Findings: make([]jsonFinding, 0, len(findings))}
	doc.Warnings, doc.Notes = countFindings(findings)
	for _, f := range findings {
		d := toJSONDiagnostics(hcl.Diagnostics{f.Diagnostic}, sources)[0]
		doc.Findings = append(doc.Findings, jsonFinding{f.Rule.ID, f.Rule.Severity, d.Summary, d.Detail, d.Range, d.Snippet})
	}
	return writeJSON(j.Out, doc)
}

// lintPage is the reference page of the rules.
func lintPage() string {
	var out strings.Builder
	out.WriteString("# Lint rules\n\n" +
		"`iexecform lint` looks for what is allowed but probably not meant, in the files alone: without network and state. " +
		"It knows the values that variables have by default, from tfvars files, the environment and `--var`; what it doesn't know, it doesn't judge.\n\n" +
		"It exits with 0; with `--strict`, and if there is a warning, with 2. Notes are often right, and never count. " +
		"With `--json` it prints one document: `format_version`, `warning_count`, `note_count`, and `findings`, each with `rule`, `severity`, `summary`, `detail`, `range` and `snippet`.\n\n" +
		"A comment silences rules on its line or the next, or, on or in front of a block's first line, within the block:\n\n" +
		"```hcl\n# iexecform:ignore mutable-image, plain-secret we want the newest here\n```\n")
	for _, r := range lint.Rules {
		fmt.Fprintf(&out, "\n## %s\n\n%s: %s\n\n```hcl\n%s```\n", r.ID, upperFirst(string(r.Severity)), r.Doc, r.Example)
	}
	return out.String()
}
