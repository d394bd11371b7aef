package view

import (
	"bytes"
	"fmt"

	"github.com/iexecform/iexecform/providers"
)

// Migration is what became of a project of another tool.
type Migration struct {
	From     string              `json:"from"`
	File     string              `json:"file,omitempty"` // "" when nothing was written
	Objects  []MigratedObject    `json:"objects"`
	Findings []providers.Finding `json:"findings"`
}

// MigratedObject is a resource that was written.
type MigratedObject struct {
	Address string `json:"address"`
	ID      string `json:"id,omitempty"`
	Comment bool   `json:"comment,omitempty"` // written as a comment only
}

// findings are the kinds of finding in the order in which they matter to people, and how they are called.
var findings = []struct {
	kind    providers.FindingKind
	heading string
}{
	{providers.Unverified, "Not verified"},
	{providers.Differs, "Where the project disagrees with what is there, or with itself"},
	{providers.Exposed, "Still usable by others"},
	{providers.NotWritten, "Not written as resources"},
	{providers.DeadChain, "Chains that are gone"},
	{providers.Secrets, "Secrets in the files, none of which was copied: delete them there"},
	{providers.Unreadable, "Not understood"},
	{providers.UnknownKey, "Unknown keys"},
	{providers.LeftOut, "Without counterpart"},
}

// Migration prints what was written and what the reader should know.
func (h *Human) Migration(m Migration) error {
	var b bytes.Buffer
	active := 0
	for _, o := range m.Objects {
		if !o.Comment {
			active++
		}
	}
	if m.File == "" {
		fmt.Fprintf(&b, "%s has nothing on a chain that can be reached: nothing was written.\n", m.From)
	} else {
		fmt.Fprintf(&b, "%s %s: %s", h.Colour.green("Wrote"), m.File, plural(active, "resource"))
		if n := len(m.Objects) - active; n > 0 {
			fmt.Fprintf(&b, ", and %d only as a comment", n)
		}
		b.WriteString(".\n")
	}
	for _, o := range m.Objects {
		if o.Comment {
			fmt.Fprintf(&b, "  # %s\n", o.Address)
		} else {
			fmt.Fprintf(&b, "  %s  %s\n", o.Address, o.ID)
		}
	}
	for _, group := range findings {
		first := true
		for _, f := range m.Findings {
			if f.Kind != group.kind {
				continue
			}
			if first {
				b.WriteString("\n" + h.Colour.bold(group.heading) + "\n")
				first = false
			}
			fmt.Fprintf(&b, "  %s: %s\n", f.Where, f.Text)
		}
	}
	if active > 0 {
		b.WriteString("\n`iexecform plan` shows the imports, `iexecform apply` remembers them. Neither sends anything.\n")
	}
	_, err := h.Out.Write(b.Bytes())
	return err
}
