package trial

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// Reports are kept as two files, NAME.json and NAME.txt: the same report for machines and for people.

// FailedError is that a trial was made and not passed.
type FailedError struct {
	Report Report
	Kept   string // the file with the report, or ""
}

func (e *FailedError) Error() string {
	text := "the image did not pass its trial, so nothing that waits for it is done"
	if failures := e.Report.Failures(); len(failures) > 0 {
		text += ": " + printable(failures[0].Text)
	}
	text += "\n\n" + strings.TrimSpace(e.Report.Text())
	if e.Kept != "" {
		text += fmt.Sprintf("\n\nThe whole report is kept as %s and, as JSON, beside it", e.Kept)
	}
	return text
}

// Keep writes a report to name + ".json" and name + ".txt", which only this user can read, in place of an earlier one. It
// makes the directory.
func (r Report) Keep(name string) error {
	document, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	if err := renameio.WriteFile(name+".json", append(document, '\n'), 0o600); err != nil {
		return err
	}
	return renameio.WriteFile(name+".txt", []byte(r.Text()), 0o600)
}

// Kept reads a report that Keep wrote; false if there is none, or none that this program understands.
func Kept(name string) (r Report, ok bool) {
	document, err := os.ReadFile(name + ".json")
	if err != nil || json.Unmarshal(document, &r) != nil || r.FormatVersion != FormatVersion {
		return Report{}, false
	}
	return r, true
}
