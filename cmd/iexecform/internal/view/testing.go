package view

import (
	"encoding/xml"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/plan/suite"
)

// humanTesting shows test runs to people.
type humanTesting struct {
	*Human
	verbose bool
	sources Sources
	err     error // the first one
}

// Testing shows test runs. With verbose it prints the plan of each.
func (h *Human) Testing(verbose bool, sources Sources) *humanTesting {
	return &humanTesting{Human: h, verbose: verbose, sources: sources}
}

// Begin is told of the files first.
func (t *humanTesting) Begin([]*config.TestFile) {}

// Event shows an event.
func (t *humanTesting) Event(e suite.Event) {
	name := e.File.File.Name
	switch e.Type {
	case suite.FileStarted:
		t.keep(t.Print("%s... in progress", name))
	case suite.RunDone:
		t.keep(t.Print("  run %q... %s", e.Run.Run.Name, t.status(e.Run.Status)))
		if t.verbose && e.Run.Plan != nil {
			t.keep(t.Plan(e.Run.Plan))
		}
		t.keep(t.Diagnostics(e.Run.Diags, t.sources))
	case suite.TearingDown:
		t.keep(t.Print("%s... tearing down", name))
	case suite.FileDone:
		t.keep(t.Print("%s... %s", name, t.status(e.File.Status)))
		t.keep(t.Diagnostics(e.File.Diags, t.sources))
	}
}

func (t *humanTesting) keep(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *humanTesting) status(s suite.Status) string {
	switch s {
	case suite.Pass:
		return t.Colour.green("pass")
	case suite.Skip:
		return t.Colour.dim("skip")
	}
	return t.Colour.red(string(s))
}

// Results prints the summary.
func (t *humanTesting) Results(results []suite.FileResult) error {
	c := countRuns(results)
	verdict, rest := t.Colour.green("Success!"), ""
	if c.bad {
		verdict = t.Colour.red("Failure!")
	}
	if c.of[suite.Skip] > 0 {
		rest = fmt.Sprintf(", %d skipped", c.of[suite.Skip])
	}
	t.keep(t.Print("\n%s %d passed, %d failed%s.", verdict, c.of[suite.Pass], c.of[suite.Fail]+c.of[suite.Error], rest))
	return t.err
}

type runCounts struct {
	of  map[suite.Status]int
	bad bool // something failed, if only the end of a file
}

func countRuns(results []suite.FileResult) runCounts {
	c := runCounts{of: map[suite.Status]int{}}
	for _, f := range results {
		c.bad = c.bad || f.Status == suite.Fail || f.Status == suite.Error
		for _, r := range f.Runs {
			c.of[r.Status]++
		}
	}
	return c
}

// linesTesting shows test runs as JSON lines, of the same types as Terraform's.
type linesTesting struct {
	*Lines
	sources Sources
}

// Testing shows test runs.
func (l *Lines) Testing(sources Sources) *linesTesting { return &linesTesting{l, sources} }

// Begin prints which runs there are.
func (l *linesTesting) Begin(tests []*config.TestFile) {
	files := map[string][]string{}
	runs := 0
	for _, t := range tests {
		files[t.Name] = []string{}
		for _, r := range t.Runs {
			files[t.Name] = append(files[t.Name], r.Name)
			runs++
		}
	}
	l.line("info", fmt.Sprintf("Found %s and %s", counted(len(tests), "file"), counted(runs, "run")), "test_abstract", map[string]any{"test_abstract": files})
}

// Event prints an event.
func (l *linesTesting) Event(e suite.Event) {
	path := e.File.File.Name
	switch e.Type {
	case suite.FileStarted:
		l.line("info", path+"... in progress", "test_file", map[string]any{"@testfile": path, "test_file": map[string]any{"path": path, "progress": "starting"}})
	case suite.TearingDown:
		l.line("info", path+"... tearing down", "test_file", map[string]any{"@testfile": path, "test_file": map[string]any{"path": path, "progress": "teardown"}})
	case suite.FileDone:
		l.line("info", path+"... "+string(e.File.Status), "test_file", map[string]any{"@testfile": path, "test_file": map[string]any{
			"path": path, "progress": "complete", "status": e.File.Status, "elapsed_seconds": rounded(e.File.Elapsed)}})
		l.diagnostics(e.File.Diags, map[string]any{"@testfile": path})
	case suite.RunStarted, suite.RunDone:
		run := map[string]any{"path": path, "run": e.Run.Run.Name, "progress": "starting"}
		text := "in progress"
		if e.Type == suite.RunDone {
			run["progress"], run["status"], run["elapsed_seconds"] = "complete", e.Run.Status, rounded(e.Run.Elapsed)
			text = string(e.Run.Status)
		}
		where := map[string]any{"@testfile": path, "@testrun": e.Run.Run.Name, "test_run": run}
		l.line("info", fmt.Sprintf("  run %q... %s", e.Run.Run.Name, text), "test_run", where)
		if e.Type == suite.RunDone {
			l.diagnostics(e.Run.Diags, map[string]any{"@testfile": path, "@testrun": e.Run.Run.Name})
		}
	}
}

func (l *linesTesting) diagnostics(diags hcl.Diagnostics, where map[string]any) {
	for _, d := range toJSONDiagnostics(diags, l.sources) {
		level := "error"
		if d.Severity == "warning" {
			level = "warn"
		}
		fields := map[string]any{"diagnostic": d}
		for name, v := range where {
			fields[name] = v
		}
		l.line(level, upperFirst(d.Severity)+": "+d.Summary, "diagnostic", fields)
	}
}

// Results prints the summary.
func (l *linesTesting) Results(results []suite.FileResult) error {
	c := countRuns(results)
	status, verdict := suite.Pass, "Success!"
	if c.bad {
		status, verdict = suite.Fail, "Failure!"
	}
	l.line("info", fmt.Sprintf("%s %d passed, %d failed.", verdict, c.of[suite.Pass], c.of[suite.Fail]+c.of[suite.Error]), "test_summary", map[string]any{
		"test_summary": map[string]any{
			"status": status, "passed": c.of[suite.Pass], "failed": c.of[suite.Fail], "errored": c.of[suite.Error], "skipped": c.of[suite.Skip],
		}})
	return l.Err()
}

// The elements of a JUnit report, as far as CI services read them.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
		Output   string      `xml:"system-err,omitempty"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    string        `xml:"time,attr"`
		Skipped *junitProblem `xml:"skipped"`
		Failure *junitProblem `xml:"failure"`
		Error   *junitProblem `xml:"error"`
		Output  string        `xml:"system-err,omitempty"`
	}
	junitProblem struct {
		Message string `xml:"message,attr,omitempty"`
		Text    string `xml:",cdata"`
	}
)

// JUnit is the results as a JUnit report.
func JUnit(results []suite.FileResult, sources Sources) ([]byte, error) {
	var report junitSuites
	for _, f := range results {
		s := junitSuite{Name: f.File.Name, Tests: len(f.Runs), Time: junitTime(f.Elapsed)}
		for _, r := range f.Runs {
			c := junitCase{Name: r.Run.Name, Class: f.File.Name, Time: junitTime(r.Elapsed)}
			text, message, err := plainDiagnostics(r.Diags, sources)
			if err != nil {
				return nil, err
			}
			switch r.Status {
			case suite.Skip:
				s.Skipped++
				c.Skipped = &junitProblem{}
			case suite.Fail:
				s.Failures++
				c.Failure = &junitProblem{message, text}
			case suite.Error:
				s.Errors++
				c.Error = &junitProblem{message, text}
			default:
				c.Output = text
			}
			s.Cases = append(s.Cases, c)
		}
		if text, message, err := plainDiagnostics(f.Diags, sources); err != nil {
			return nil, err
		} else if f.Diags.HasErrors() { // the end of a file is none of its runs
			s.Tests, s.Errors = s.Tests+1, s.Errors+1
			s.Cases = append(s.Cases, junitCase{Name: "teardown", Class: f.File.Name, Time: junitTime(0), Error: &junitProblem{message, text}})
		}
		report.Suites = append(report.Suites, s)
	}
	b, err := xml.MarshalIndent(report, "", "  ")
	return append([]byte(xml.Header), append(b, '\n')...), err
}

func junitTime(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// plainDiagnostics is the diagnostics as text, and the first error's summary.
func plainDiagnostics(diags hcl.Diagnostics, sources Sources) (text, summary string, err error) {
	var b strings.Builder
	if err := writeDiagnostics(&b, diags, sources, DefaultWidth, false, false); err != nil {
		return "", "", err
	}
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			return b.String(), d.Summary, nil
		}
	}
	return b.String(), "", nil
}
