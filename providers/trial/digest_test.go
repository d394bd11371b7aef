package trial

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/google/go-cmp/cmp"
)

// IndependentDirectoryDigest is computed by other code than the package's: of files in the order of their names.
func IndependentDirectoryDigest(contents ...string) string {
	var sums [][]byte
	for _, c := range contents {
		sums = append(sums, independentSum(c))
	}
	return "0x" + hex.EncodeToString(crypto.Keccak256(sums...))
}

func independentSum(content string) []byte {
	sum := sha256.Sum256([]byte(content))
	return sum[:]
}

// item is an entry of an archive.
type item struct {
	name, content, link string
	kind                byte
}

func archiveOf(t testing.TB, items ...item) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		kind := i.kind
		if kind == 0 {
			kind = tar.TypeReg
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: kind, Name: i.name, Size: int64(len(i.content)), Linkname: i.link, Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, i.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// checked reads an archive as an engine gives it, and checks it.
func checked(t testing.TB, items ...item) RunResult {
	t.Helper()
	all := []item{{name: "./", kind: tar.TypeDir}}
	for n, i := range items {
		if n%2 == 0 { // as Docker has names; Podman has them without
			i.name = "./" + i.name
			if i.kind == tar.TypeLink {
				i.link = "./" + i.link
			}
		}
		all = append(all, i)
	}
	out, err := readOutput(archiveOf(t, all...), t.TempDir(), DefaultOutputLimit)
	if err != nil {
		t.Fatal(err)
	}
	var run RunResult
	out.check(&job{}, &run)
	return run
}

// The constants are of the rules' sources: sha256 of "abc" is NIST's, the callback is a vector of the worker's own tests. All
// others are computed by other code.
func TestDigests(t *testing.T) {
	path := func(p string) item {
		return item{name: "computed.json", content: fmt.Sprintf(`{"deterministic-output-path": %q}`, p)}
	}
	const (
		abc      = "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
		word     = "0x0000000000000000000000000000000000000000000000000000000000000001"
		callback = "0xb10e2d527612073b26eecdfd717e6a320cf44b4afac2b0732d9fcbe2b7fa0cf6"
	)
	for name, test := range map[string]struct {
		items    []item
		want     []Digest
		warnings int
	}{
		"file":           {[]item{path("/iexec_out/r"), {name: "r", content: "abc"}}, []Digest{{FileRule, "/iexec_out/r", abc}}, 0},
		"file below":     {[]item{path("/iexec_out//d/./r"), {name: "d", kind: tar.TypeDir}, {name: "d/r", content: "abc"}}, []Digest{{FileRule, "/iexec_out/d/r", abc}}, 0},
		"hard link":      {[]item{{name: "a", content: "abc"}, {name: "r", kind: tar.TypeLink, link: "a"}, path("/iexec_out/r")}, []Digest{{FileRule, "/iexec_out/r", abc}}, 0},
		"link":           {[]item{{name: "d", kind: tar.TypeDir}, {name: "d/a", content: "abc"}, {name: "d/l", kind: tar.TypeSymlink, link: "../d/a"}, path("/iexec_out/d/l")}, []Digest{{FileRule, "/iexec_out/d/l", abc}}, 0},
		"empty file":     {[]item{path("/iexec_out/r"), {name: "r"}}, []Digest{{FileRule, "/iexec_out/r", hexOf(independentSum(""))}}, 1},
		"unknown member": {[]item{{name: "computed.json", content: `{"deterministic-output-path": "/iexec_out/r", "more": 1}`}, {name: "r", content: "abc"}}, []Digest{{FileRule, "/iexec_out/r", abc}}, 0},
		"directory": {
			[]item{path("/iexec_out/d/"), {name: "d", kind: tar.TypeDir}, {name: "d/b", content: "2"}, {name: "d/B", content: "3"}, {name: "d/a10", content: "1"}, {name: "d/a9", content: "4"}, {name: "e", content: "5"}},
			[]Digest{{DirectoryRule, "/iexec_out/d", IndependentDirectoryDigest("3", "1", "4", "2")}}, 0,
		},
		"directory of one": {[]item{{name: "d", kind: tar.TypeDir}, path("/iexec_out/d"), {name: "d/a", content: "abc"}}, []Digest{{DirectoryRule, "/iexec_out/d", IndependentDirectoryDigest("abc")}}, 0},
		"whole output": {
			[]item{path("/iexec_out"), {name: "r", content: "abc"}},
			[]Digest{{DirectoryRule, "/iexec_out", IndependentDirectoryDigest(`{"deterministic-output-path": "/iexec_out"}`, "abc")}}, 0,
		},
		"directories below don't count": {
			[]item{{name: "d", kind: tar.TypeDir}, path("/iexec_out/d"), {name: "d/a", content: "1"}, {name: "d/b", kind: tar.TypeDir}, {name: "d/b/c", content: "2"}},
			[]Digest{{DirectoryRule, "/iexec_out/d", IndependentDirectoryDigest("1")}}, 1,
		},
		"empty directory": {[]item{{name: "d", kind: tar.TypeDir}, path("/iexec_out/d")}, []Digest{{DirectoryRule, "/iexec_out/d", hexOf(crypto.Keccak256())}}, 1},
		"callback":        {[]item{{name: "computed.json", content: `{"callback-data": "` + word + `"}`}}, []Digest{{CallbackRule, "/iexec_out/computed.json", callback}}, 0},
		"callback and file": {
			[]item{{name: "computed.json", content: `{"callback-data": "0xABcd", "deterministic-output-path": "/iexec_out/r"}`}, {name: "r", content: "abc"}},
			[]Digest{{FileRule, "/iexec_out/r", abc}, {CallbackRule, "/iexec_out/computed.json", hexOf(crypto.Keccak256([]byte{0xab, 0xcd}))}}, 0,
		},
		"determinism.iexec":                    {[]item{{name: "determinism.iexec", content: "abc"}}, []Digest{{DeterminismRule, "/iexec_out/determinism.iexec", abc}}, 1},
		"determinism.iexec of 32 bytes":        {[]item{{name: "determinism.iexec", content: strings.ToUpper(abc[2:])}}, []Digest{{DeterminismRule, "/iexec_out/determinism.iexec", hexOf(independentSum(strings.ToUpper(abc[2:])))}}, 1},
		"determinism.iexec of 0x and 32 bytes": {[]item{{name: "determinism.iexec", content: word + "\n"}}, []Digest{{DeterminismRule, "/iexec_out/determinism.iexec", word}}, 1},
		"callback.iexec":                       {[]item{{name: "determinism.iexec", content: "abc"}, {name: "callback.iexec", content: word + "\n"}}, []Digest{{CallbackFileRule, "/iexec_out/callback.iexec", callback}}, 1},
		"computed.json before old":             {[]item{path("/iexec_out/r"), {name: "r", content: "abc"}, {name: "callback.iexec", content: word}}, []Digest{{FileRule, "/iexec_out/r", abc}}, 0},
	} {
		run := checked(t, test.items...)
		if diff := cmp.Diff(test.want, run.Digests); diff != "" || run.failed() || len(run.Findings) != test.warnings {
			t.Errorf("%s: %s %+v", name, diff, run.Findings)
		}
	}
}

// What an app may leave that has no digest, or that a worker refuses.
func TestOutputRefused(t *testing.T) {
	valid := []item{{name: "computed.json", content: `{"deterministic-output-path": "/iexec_out/r"}`}, {name: "r", content: "abc"}}
	for name, test := range map[string]struct {
		items []item
		check Check
		text  string
	}{
		"loop":                         {[]item{valid[0], {name: "r", kind: tar.TypeSymlink, link: "s"}, {name: "s", kind: tar.TypeSymlink, link: "r"}}, CheckComputed, "leads nowhere"},
		"link to nothing":              {[]item{valid[0], {name: "r", kind: tar.TypeSymlink, link: "s"}}, CheckComputed, "there is no r"},
		"link up":                      {append([]item{{name: "l", kind: tar.TypeSymlink, link: ".."}}, valid...), CheckLinks, `"l" to ".."`},
		"link up and down":             {append([]item{{name: "d/l", kind: tar.TypeSymlink, link: "../../iexec_out/r"}}, valid...), CheckLinks, "leading out"},
		"absolute link":                {append([]item{{name: "l", kind: tar.TypeSymlink, link: "/iexec_out/r"}}, valid...), CheckLinks, "leading out"},
		"device":                       {append([]item{{name: "null", kind: tar.TypeChar}}, valid...), CheckLinks, `1 entry besides files, directories and links: "null"`},
		"31 characters pass, 32 don't": {append([]item{{name: strings.Repeat("é", 31)}, {name: strings.Repeat("é", 32)}}, valid...), CheckNames, "1 file with a name"},
		"many links":                   {append(slices.Repeat([]item{{name: "l", kind: tar.TypeSymlink, link: "/x"}}, 12), valid...), CheckLinks, "12 symbolic links"},
		"computed directory":           {[]item{{name: "computed.json", kind: tar.TypeDir}}, CheckComputed, "not a file"},
		"computed null":                {[]item{{name: "computed.json", content: "null"}}, CheckComputed, "neither"},
		"computed number":              {[]item{{name: "computed.json", content: `{"callback-data": 12}`}}, CheckComputed, "not valid"},
		"empty callback":               {[]item{{name: "computed.json", content: `{"callback-data": "0x"}`}}, CheckComputed, "callback-data"},
		"bad callback.iexec":           {[]item{{name: "callback.iexec", content: "none"}}, CheckComputed, "callback.iexec is not"},
		"nothing":                      {nil, CheckComputed, "left no computed.json"},
	} {
		run := checked(t, test.items...)
		if !run.failed() {
			t.Errorf("%s passed: %+v", name, run)
			continue
		}
		if f := run.Findings[0]; f.Check != test.check || !strings.Contains(f.Text, test.text) {
			t.Errorf("%s: %+v", name, run.Findings)
		}
	}
}

// Directories are bounded as files are.
func TestTooManyDirectories(t *testing.T) {
	var items []item
	for n := range maxFiles + 1 {
		items = append(items, item{name: fmt.Sprintf("d%d", n), kind: tar.TypeDir})
	}
	run := checked(t, items...)
	if len(run.Findings) != 1 || run.Findings[0].Check != CheckSize || !strings.Contains(run.Findings[0].Text, "more than 65535 files and directories") {
		t.Errorf("%+v", run.Findings)
	}
	if run := checked(t, append(items[2:], item{name: "callback.iexec", content: "0x01"})...); run.failed() {
		t.Errorf("%+v", run.Findings)
	}
}

// An engine whose archive isn't of the directory isn't believed.
func TestHostileArchive(t *testing.T) {
	for _, name := range []string{"../etc/passwd", "/etc/passwd", "./d/../../etc/passwd"} {
		if _, err := readOutput(archiveOf(t, item{name: name, content: "x"}), t.TempDir(), 1000); err == nil || !strings.Contains(err.Error(), "outside of itself") {
			t.Errorf("%s: %v", name, err)
		}
	}
	whole := archiveOf(t, item{name: "a", content: strings.Repeat("x", 600)}).Bytes()
	if _, err := readOutput(bytes.NewReader(whole[:800]), t.TempDir(), 1000); err == nil {
		t.Error("an archive that ends in the middle of a file was taken as whole")
	}
}

// Escape sequences of an app don't reach the terminal.
func TestReportIsPrintable(t *testing.T) {
	r := Report{Image: "x", Wanted: 1, Runs: []RunResult{{Number: 1, Stderr: "\x1b[31mred", Digests: []Digest{{FileRule, "/iexec_out/\x1b[1m", "0x"}}, Findings: []Finding{failure(CheckExitCode, "", "\x1b]0;title\a")}}}}
	if text := r.Text(); strings.ContainsAny(text, "\x1b\a") || !strings.Contains(text, "[31mred") {
		t.Errorf("%q", text)
	}
}
