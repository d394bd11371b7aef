package view

import (
	"fmt"
	"strings"
)

// Row is a feature of Terraform, and what iexecform does about it.
type Row struct {
	Number  int
	Feature string
	Text    string // what iexecform does, or why it doesn't
	Script  string // that specifies it; "" for one that isn't kept
	Status  string // of one that isn't kept: "later" or "no"
}

// rowGroups are the headings, each with its first row.
var rowGroups = []struct {
	from  int
	title string
}{
	{1, "Commands and flags"}, {40, "State, import and workspaces"}, {54, "Looking, testing and tools"}, {65, "Language"},
	{93, "Where the state is kept"}, {103, "State and plan files"}, {112, "Output"}, {125, "Behaviour and surroundings"},
}

// Comparison is the page for users of Terraform. scripts is where the scripts are, seen from the page.
func Comparison(rows []Row, scripts string) string {
	var out strings.Builder
	kept := 0
	for _, r := range rows {
		if r.Script != "" {
			kept++
		}
	}
	fmt.Fprintf(&out, "# For users of Terraform and OpenTofu\n\n"+
		"What they have, and what iexecform does about it. %d of %d features are kept, some of them in another form; each of these has a script\n"+
		"that runs the real program, and whose first line is what stands here. This page is made from the scripts by `make docs`: it can't\n"+
		"claim what isn't tested.\n", kept, len(rows))
	group := 0
	for _, r := range rows {
		if group < len(rowGroups) && r.Number >= rowGroups[group].from {
			fmt.Fprintf(&out, "\n## %s\n\n| | Feature | iexecform | |\n| --- | --- | --- | --- |\n", rowGroups[group].title)
			group++
		}
		status := r.Status
		if r.Script != "" {
			status = fmt.Sprintf("[tested](%s/%s)", scripts, r.Script)
		}
		fmt.Fprintf(&out, "| %d | %s | %s | %s |\n", r.Number, cell(r.Feature), cell(r.Text), status)
	}
	return out.String()
}

// cell keeps text from being anything but text in a table of Markdown.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`).Replace(s)
}
