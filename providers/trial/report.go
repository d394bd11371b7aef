package trial

import (
	"fmt"
	"maps"
	"path"
	"strconv"
	"strings"
	"time"
)

// FormatVersion is that of the JSON of reports: docs/schemas/trial.schema.json.
const FormatVersion = "1.0"

// Report is what a trial found. It is data: the same app gives the same report but for times and what differs.
type Report struct {
	FormatVersion string `json:"format_version"`

	Image    string   `json:"image"`    // as it was asked for
	Digest   string   `json:"digest"`   // of the manifest or index; "" for an image that only the engine has
	ImageID  string   `json:"image_id"` // "" when the engine hasn't got it
	Platform string   `json:"platform"` // that workers run
	Engine   string   `json:"engine"`   // name and version
	Inputs   string   `json:"inputs"`   // Spec.Fingerprint
	Command  []string `json:"command"`  // the arguments, split; null for the image's own
	Limits   Limits   `json:"limits"`
	Passed   bool     `json:"passed"`  // all runs were made, and no finding is a failure
	Wanted   int      `json:"wanted"`  // number of runs asked for
	Digests  []Digest `json:"digests"` // on which all runs agree; empty when they don't

	Runs        []RunResult  `json:"runs"`
	Differences []Difference `json:"differences"`
	Findings    []Finding    `json:"findings"` // about the image and about the runs together
}

// Limits are those of each run.
type Limits struct {
	Timeout float64 `json:"timeout"` // seconds
	Memory  int64   `json:"memory"`  // bytes
	Output  int64   `json:"output"`  // bytes
	Network bool    `json:"network"`
}

// RunResult is one run of the app.
type RunResult struct {
	Number   int       `json:"number"`
	ExitCode int       `json:"exit_code"`
	TimedOut bool      `json:"timed_out"`
	Seconds  float64   `json:"seconds"`
	Files    int       `json:"files"` // in the output, links included
	Bytes    int64     `json:"bytes"` // of the output
	Digests  []Digest  `json:"digests"`
	Outside  []string  `json:"outside"` // paths written outside of /iexec_out, the first ones
	Stdout   string    `json:"stdout"`  // the end of it
	Stderr   string    `json:"stderr"`
	Findings []Finding `json:"findings"`
}

// A Finding is something that a check found.
type Finding struct {
	Severity Severity `json:"severity"`
	Check    Check    `json:"check"`
	Cause    string   `json:"cause,omitempty"` // what a worker would report, if it would
	Text     string   `json:"text"`
}

// Severity tells failures, which keep a trial from passing, from warnings.
type Severity string

// The severities.
const (
	Failure Severity = "failure"
	Warning Severity = "warning"
)

// Check is what was looked at.
type Check string

// The checks.
const (
	CheckPlatform    Check = "platform"
	CheckCommand     Check = "command"
	CheckStart       Check = "start"
	CheckExitCode    Check = "exit-code"
	CheckTime        Check = "time"
	CheckMemory      Check = "memory"
	CheckOutside     Check = "outside"
	CheckSize        Check = "size"
	CheckNames       Check = "names"
	CheckLinks       Check = "links"
	CheckExpect      Check = "expect"
	CheckComputed    Check = "computed"
	CheckDeterminism Check = "determinism"
)

func failure(c Check, cause, format string, args ...any) Finding {
	return Finding{Failure, c, cause, fmt.Sprintf(format, args...)}
}

func warning(c Check, cause, format string, args ...any) Finding {
	return Finding{Warning, c, cause, fmt.Sprintf(format, args...)}
}

func (r *RunResult) add(f Finding) { r.Findings = append(r.Findings, f) }

func (r *RunResult) failed() bool { return anyFailure(r.Findings) }

func anyFailure(findings []Finding) bool {
	for _, f := range findings {
		if f.Severity == Failure {
			return true
		}
	}
	return false
}

// counted returns the paths that the digests of the last run or of the first depend on.
func (r *Report) counted(first, last *output) map[string]bool {
	counts := maps.Clone(first.counted)
	maps.Copy(counts, last.counted)
	a, b := r.Runs[0].Digests, r.Runs[len(r.Runs)-1].Digests
	for i := range a {
		if len(a) != len(b) || a[i].Rule != b[i].Rule || a[i].Path != b[i].Path {
			counts[computedFile] = true // it names something else
		}
	}
	return counts
}

// conclude says whether the trial passed, and makes the report fit for JSON: only Command may be null.
func (r *Report) conclude(j *job) {
	r.Passed = len(r.Runs) == j.Runs && !anyFailure(r.Findings)
	for i := range r.Runs {
		run := &r.Runs[i]
		r.Passed = r.Passed && !run.failed()
		for k := range run.Findings {
			run.Findings[k].Text = j.redact(run.Findings[k].Text)
		}
		for k := range run.Outside {
			run.Outside[k] = j.redact(run.Outside[k])
		}
		for k := range run.Digests {
			run.Digests[k].Path = j.redact(run.Digests[k].Path)
		}
		run.Digests, run.Outside, run.Findings = notNil(run.Digests), notNil(run.Outside), notNil(run.Findings)
	}
	for i := range r.Differences {
		r.Differences[i].Path = j.redact(r.Differences[i].Path)
	}
	if r.Passed {
		r.Digests = r.Runs[0].Digests
	}
	r.Digests, r.Runs, r.Differences, r.Findings = notNil(r.Digests), notNil(r.Runs), notNil(r.Differences), notNil(r.Findings)
}

// notNil is the list, or an empty one.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// Failures returns what keeps the trial from passing, in order.
func (r Report) Failures() (all []Finding) {
	for _, run := range r.Runs {
		for _, f := range run.Findings {
			if f.Severity == Failure {
				all = append(all, f)
			}
		}
	}
	for _, f := range r.Findings {
		if f.Severity == Failure {
			all = append(all, f)
		}
	}
	return all
}

// Text is the report for people.
func (r Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Trial of %s\n", r.Image)
	if r.Digest != "" {
		fmt.Fprintf(&b, "  digest   %s\n", r.Digest)
	} else if r.ImageID != "" {
		fmt.Fprintf(&b, "  image    %s, which is in no registry yet\n", r.ImageID)
	}
	if r.Command != nil {
		fmt.Fprintf(&b, "  command  %q\n", r.Command)
	}
	network := "no network"
	if r.Limits.Network {
		network = "with network"
	}
	fmt.Fprintf(&b, "  limits   %s, %s of memory, %s of output, %s\n", seconds(r.Limits.Timeout), size(r.Limits.Memory), size(r.Limits.Output), network)
	fmt.Fprintf(&b, "  engine   %s\n", r.Engine)
	for _, run := range r.Runs {
		run.text(&b, r.Wanted)
	}
	for _, d := range r.Differences {
		d.text(&b)
	}
	if len(r.Findings) > 0 {
		b.WriteByte('\n')
		writeFindings(&b, "", r.Findings)
	}
	b.WriteByte('\n')
	switch failures := len(r.Failures()); {
	case !r.Passed:
		fmt.Fprintf(&b, "The app failed %s.\n", count(failures, "check"))
	case len(r.Runs) == 1:
		b.WriteString("The app passed. One run doesn't show whether its result is always the same.\n")
	default:
		fmt.Fprintf(&b, "The app passed: all %d runs agree.\n", len(r.Runs))
	}
	return b.String()
}

func (r *RunResult) text(b *strings.Builder, wanted int) {
	fmt.Fprintf(b, "\nRun %d of %d: ", r.Number, wanted)
	if r.TimedOut {
		fmt.Fprintf(b, "killed after %s", seconds(r.Seconds))
	} else {
		fmt.Fprintf(b, "exit code %d after %s", r.ExitCode, seconds(r.Seconds))
	}
	if r.Files > 0 {
		fmt.Fprintf(b, ", output of %s with %s", count(r.Files, "file"), size(r.Bytes))
	}
	b.WriteByte('\n')
	for _, d := range r.Digests {
		fmt.Fprintf(b, "  digest   %s (%s)\n", d.Value, printable(d.describe()))
	}
	writeFindings(b, "  ", r.Findings)
	if r.failed() {
		writeStream(b, "standard output", r.Stdout)
		writeStream(b, "standard error", r.Stderr)
	}
}

func (d Digest) describe() string {
	switch d.Rule {
	case FileRule, DeterminismRule:
		return "of the file " + d.Path
	case DirectoryRule:
		return "of the files in " + d.Path
	}
	return "of the callback data in " + d.Path
}

func writeStream(b *strings.Builder, name, text string) {
	if text = strings.TrimRight(text, "\n"); text != "" {
		fmt.Fprintf(b, "  %s ends with:\n    %s\n", name, strings.ReplaceAll(printable(text), "\n", "\n    "))
	}
}

func writeFindings(b *strings.Builder, indent string, findings []Finding) {
	for _, f := range findings {
		word := "Warning"
		if f.Severity == Failure {
			word = "Failed"
		}
		fmt.Fprintf(b, "%s%s: %s.", indent, word, printable(f.Text))
		if f.Cause != "" {
			fmt.Fprintf(b, " A worker reports %s.", f.Cause)
		}
		b.WriteByte('\n')
	}
}

func (d *Difference) text(b *strings.Builder) {
	name := printable(path.Clean(d.Path))
	where := "is not a file in both"
	switch {
	case d.Sizes[0] < 0:
		where = fmt.Sprintf("is missing in run %d", d.Runs[0])
	case d.Sizes[1] < 0:
		where = fmt.Sprintf("is missing in run %d", d.Runs[1])
	case d.Offset >= 0:
		where = fmt.Sprintf("differs from byte %d on", d.Offset)
	case !d.Counts:
		where = "differs"
	}
	weight := "the digest depends on it"
	if !d.Counts {
		weight = "the digest doesn't depend on it"
	}
	fmt.Fprintf(b, "\nRuns %d and %d: %s %s (%s)\n", d.Runs[0], d.Runs[1], name, where, weight)
	if d.Diff != "" {
		fmt.Fprintf(b, "    %s\n", strings.ReplaceAll(printable(strings.TrimRight(d.Diff, "\n")), "\n", "\n    "))
	}
	for i, bytes := range d.Bytes {
		if bytes != "" {
			fmt.Fprintf(b, "    run %d: %s\n", d.Runs[i], bytes)
		}
	}
}

// printable keeps an app from sending commands to the reader's terminal.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c != '\n' && c != '\t' && !strconv.IsPrint(c) {
			return '\uFFFD'
		}
		return c
	}, text)
}

func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d < 10*time.Second {
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 0, 64) + " s"
}

// size is a number of bytes in the largest unit that leaves at least 1 of it.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(n), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return strconv.FormatFloat(float64(int64(value*10))/10, 'f', -1, 64) + " " + units[unit]
}

func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(noun, "y"))
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// list joins the first of n names.
func list(names []string, n int) string {
	text := strings.Join(names, ", ")
	if more := n - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
