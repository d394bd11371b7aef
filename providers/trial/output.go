package trial

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
)

// Limits that no Spec can change.
const (
	maxNameLength = 31        // UTF-16 units of a file's name: the worker's limit
	maxFiles      = 1<<16 - 1 // and directories: what a zip archive holds without extension; the worker makes one of the output
	maxListed     = 10        // of a kind in a report
)

// output is what a run left in /iexec_out. Its files are kept as flat files with names of ours: nothing that the app chose
// reaches the file system.
type output struct {
	entries  map[string]entry // by path relative to /iexec_out, "." for itself
	files    int              // and links
	bytes    int64
	dir      string
	kept     int             // files in dir
	counted  map[string]bool // paths that the digests depend on
	partial  bool            // a limit was reached
	findings []Finding
}

type entry struct {
	kind   byte // tar.TypeReg, TypeDir or TypeSymlink
	size   int64
	sum    [sha256.Size]byte
	kept   string // file with the content
	target string // of a link
}

var errTooLarge = errors.New("too large")

// readOutput reads the archive of what is in the directory, whatever that is. It stops at the limits.
func readOutput(r io.Reader, dir string, limit int64) (*output, error) {
	o := &output{entries: map[string]entry{".": {kind: tar.TypeDir}}, counted: map[string]bool{}, dir: dir}
	archive := tar.NewReader(r)
	var odd, outside []string
	for seen := 0; ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean(header.Name)
		switch {
		case !filepath.IsLocal(name):
			return nil, fmt.Errorf("the engine's archive has a path outside of itself: %q", header.Name)
		case name == ".":
			continue
		}
		if header.Typeflag != tar.TypeDir {
			o.files++
		}
		if seen++; seen > maxFiles {
			o.partial = true
			o.findings = append(o.findings, failure(CheckSize, "", "the output has more than %d files and directories, more than a zip archive holds: the worker makes one of it", maxFiles))
			break
		}
		switch header.Typeflag {
		case tar.TypeDir:
			o.entries[name] = entry{kind: tar.TypeDir}
		case tar.TypeSymlink:
			o.entries[name] = entry{kind: tar.TypeSymlink, target: header.Linkname}
			if path.IsAbs(header.Linkname) || !filepath.IsLocal(path.Join(path.Dir(name), header.Linkname)) { //nolint:gosec // this is the check
				outside = append(outside, fmt.Sprintf("%q to %q", name, header.Linkname))
			}
		case tar.TypeLink:
			o.entries[name] = o.entries[path.Clean(header.Linkname)]
		case tar.TypeReg:
			kept, err := o.keep(archive, limit)
			if errors.Is(err, errTooLarge) {
				o.partial = true
				o.findings = append(o.findings, tooLarge(limit))
			} else if err != nil {
				return nil, err
			}
			o.entries[name] = kept
		default:
			odd = append(odd, fmt.Sprintf("%q", name))
		}
		if o.partial {
			break
		}
	}
	if n := len(outside); n > 0 {
		o.findings = append(o.findings, failure(CheckLinks, "", "the output has %s leading out of %s: %s. The worker reads the output on its own file system, where they lead elsewhere or nowhere",
			count(n, "symbolic link"), outDir, list(outside[:min(n, maxListed)], n)))
	}
	if n := len(odd); n > 0 {
		o.findings = append(o.findings, failure(CheckLinks, "", "the output has %s besides files, directories and links: %s", count(n, "entry"), list(odd[:min(n, maxListed)], n)))
	}
	return o, nil
}

func tooLarge(limit int64) Finding {
	return failure(CheckSize, "", "the output is larger than %s", size(limit))
}

// keep stores a file's content.
func (o *output) keep(r io.Reader, limit int64) (entry, error) {
	e := entry{kind: tar.TypeReg, kept: filepath.Join(o.dir, fmt.Sprint(o.kept))}
	o.kept++
	f, err := os.OpenFile(e.kept, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return e, err
	}
	h := sha256.New()
	e.size, err = io.Copy(io.MultiWriter(f, h), io.LimitReader(r, limit-o.bytes+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return e, err
	}
	h.Sum(e.sum[:0])
	if o.bytes += e.size; o.bytes > limit {
		return e, errTooLarge
	}
	return e, nil
}

// addStreams adds what the worker adds to the output of a successful run: what the app printed, if anything.
func (o *output) addStreams(s *streams) {
	for name, stream := range map[string]*stream{"stdout.txt": s.stdout, "stderr.txt": s.stderr} {
		if stream.size == 0 {
			continue
		}
		if o.bytes += stream.size - o.entries[name].size; stream.size > stream.limit || o.bytes > stream.limit {
			if !o.partial {
				o.findings = append(o.findings, tooLarge(stream.limit))
			}
			o.partial = true
		}
		if _, there := o.entries[name]; !there {
			o.files++
		}
		o.entries[name] = entry{kind: tar.TypeReg, size: stream.size, sum: [sha256.Size]byte(stream.hash.Sum(nil)), kept: stream.file.Name()}
	}
}

// check looks at the output as the worker does and computes its digests.
func (o *output) check(j *job, run *RunResult) {
	run.Files, run.Bytes = o.files, o.bytes
	for _, f := range o.findings {
		run.add(f)
	}
	var long, missing []string
	for _, name := range slices.Sorted(maps.Keys(o.entries)) {
		if base := path.Base(name); o.entries[name].kind != tar.TypeDir && len(utf16.Encode([]rune(base))) > maxNameLength {
			long = append(long, fmt.Sprintf("%q", name))
		}
	}
	if n := len(long); n > 0 {
		run.add(failure(CheckNames, "POST_COMPUTE_TOO_LONG_RESULT_FILE_NAME", "the output has %s with a name of more than %d characters: %s",
			count(n, "file"), maxNameLength, list(long[:min(n, maxListed)], n)))
	}
	if o.partial {
		return // nothing is known of the rest
	}
	for _, name := range j.Expect {
		if _, err := o.find(path.Clean(filepath.ToSlash(name))); err != nil {
			missing = append(missing, name)
		}
	}
	if n := len(missing); n > 0 {
		run.add(failure(CheckExpect, "", "the output lacks %s: %s", count(n, "expected file"), list(missing[:min(n, maxListed)], n)))
	}
	o.digests(run)
}

// find returns what is at a path relative to /iexec_out, through links as long as they stay within it.
func (o *output) find(name string) (entry, error) {
	name, err := o.resolve(name)
	if err != nil {
		return entry{}, err
	}
	return o.entries[name], nil
}

// resolve returns the path of what a path leads to.
func (o *output) resolve(name string) (string, error) {
	at, rest := ".", strings.Split(name, "/")
	for followed := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		e, ok := o.entries[next]
		switch {
		case !filepath.IsLocal(next):
			return "", fmt.Errorf("%s leads out of %s", name, outDir)
		case !ok:
			return "", fmt.Errorf("there is no %s in %s", name, outDir)
		case e.kind == tar.TypeSymlink:
			if followed++; followed > 40 || path.IsAbs(e.target) {
				return "", fmt.Errorf("%s is a link that leads nowhere in %s", name, outDir)
			}
			rest = append(strings.Split(e.target, "/"), rest...)
		default:
			at = next
		}
	}
	return at, nil
}

// children returns the paths of what is in a directory, sorted.
func (o *output) children(dir string) (names []string) {
	for name := range o.entries {
		if name != "." && path.Dir(name) == dir {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
