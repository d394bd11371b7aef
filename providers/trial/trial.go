// Package trial runs an app's image as an iExec worker does and says whether a worker's result would be accepted: that the
// app ends well, keeps the worker's limits, and gives the same digest each time.
//
// Policy:
//   - Like the worker: the image's entrypoint is kept, the arguments are split by the worker's rules, /iexec_in and
//     /iexec_out are mounts, the environment is complete. All runs of a trial are the same task, as it is for the workers
//     that are to agree; the container's name and host name differ, as they do there.
//   - Unlike the worker: no network unless asked for, memory is limited, there is no enclave, and secrets are in the
//     container's plain environment. The size of the output is looked at when the run has ended.
//   - The mounts are anonymous volumes of the engine, filled and read through its API: so an engine of another user, of
//     another machine or in a virtual machine does as well, and what the app writes as root can be read and removed. Copies of
//     the output are kept in a directory of mode 0700, as flat files under names of ours, until the trial ends.
//   - Whatever was made is removed at the end, whether it is reached or the context ends before. Only a pulled image stays. What
//     a process left that was killed, the next trial on the machine removes.
//   - What is wrong with the app is in the Report. An error means that there was no trial.
//   - Values of secrets are in no report.
package trial

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/providers/docker"
)

// Defaults of a Spec. The limits of memory and output are those of today's workers for results and enclaves.
const (
	DefaultRuns        = 2
	DefaultTimeout     = 300 * time.Second // of the category XS
	DefaultMemory      = 6 << 30           // bytes
	DefaultOutputLimit = 50 << 20          // bytes
)

// MaxRuns is how many runs a trial may have.
const MaxRuns = 1000

// Platform is what workers run.
const Platform = "linux/amd64"

// Category is a class of tasks by how long they may take.
type Category struct {
	Name    string
	Timeout time.Duration
}

// categories are those that the protocol is deployed with, by number.
func categories() []Category {
	return []Category{
		{"XS", 300 * time.Second}, {"S", 1200 * time.Second}, {"M", 3600 * time.Second}, {"L", 10800 * time.Second}, {"XL", 36000 * time.Second},
	}
}

// ParseCategory finds a category by its name, in any case, or its number.
func ParseCategory(text string) (Category, error) {
	all := categories()
	for i, c := range all {
		if strings.EqualFold(text, c.Name) || text == strconv.Itoa(i) {
			return c, nil
		}
	}
	return Category{}, fmt.Errorf("%q is no category: want XS, S, M, L, XL or 0 to %d", text, len(all)-1)
}

// ParseSize reads a number of bytes, such as "512MiB"; units are powers of 1024.
func ParseSize(text string) (int64, error) {
	n, err := units.RAMInBytes(text)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is no size: want such as 512MiB or 6GiB", text)
	}
	return n, nil
}

// FormatSize is a number of bytes that ParseSize reads back.
func FormatSize(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size && n%unit.size == 0 {
			return strconv.FormatInt(n/unit.size, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// ParseInputFile reads "[URL=]FILE".
func ParseInputFile(text string) InputFile {
	if at := strings.LastIndexByte(text, '='); at >= 0 {
		return InputFile{URL: text[:at], Path: text[at+1:]}
	}
	return InputFile{Path: text}
}

// CheckSecretName tells why no app sees a secret of that name.
func CheckSecretName(name string) error {
	if !secretName.MatchString(name) {
		return fmt.Errorf("an app sees no secret as %s, only as IEXEC_APP_DEVELOPER_SECRET or as IEXEC_REQUESTER_SECRET_1, _2 and so on", name)
	}
	return nil
}

// Spec says what to try. Only Image is required.
type Spec struct {
	Image  string // reference, as docker pull takes it
	Digest string // "sha256:…" of the manifest or index. "" takes what the engine has for the reference, or else pulls it

	Args       string            // split as the worker splits iexec_args; blank leaves the image's own command
	Datasets   []string          // files. One is the task's dataset; several are a bulk
	InputFiles []InputFile       // in order
	Secrets    map[string]string // by the name that the app sees: IEXEC_APP_DEVELOPER_SECRET, IEXEC_REQUESTER_SECRET_1, …
	Expect     []string          // files that the output must have, relative to /iexec_out

	Runs        int           // DefaultRuns when 0
	Timeout     time.Duration // of each run; DefaultTimeout when 0
	Memory      int64         // bytes; DefaultMemory when 0
	OutputLimit int64         // bytes of a run's output; DefaultOutputLimit when 0
	Network     bool          // the engine's default network instead of none

	Progress func(text string) // told what is being done, if not nil
}

// InputFile is a file of the request that the worker would download.
type InputFile struct {
	Path string
	URL  string // where the request has it: it gives the file its name in /iexec_in. The file's base name when ""
}

// Run tries an image on the engine that DOCKER_HOST, the docker context or the usual sockets lead to. The error tells why
// there was no trial: docker.ErrNoEngine, ErrNoImage, a file that can't be read, an invalid Spec, or that the context has ended.
// SIDE EFFECTS: pulls the image; runs containers and removes them.
func Run(ctx context.Context, spec Spec) (Report, error) {
	j, err := spec.prepare()
	if err != nil {
		return Report{}, err
	}
	e, err := docker.Connect(ctx)
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = e.Close() }()
	return worker{e}.try(ctx, j)
}

// A worker runs trials on an engine.
type worker struct{ *docker.Engine }

func (e worker) try(ctx context.Context, j *job) (_ Report, err error) {
	r := Report{
		FormatVersion: FormatVersion, Image: j.Image, Platform: Platform, Engine: e.Name, Inputs: j.fingerprint, Command: j.command,
		Limits: Limits{Timeout: j.Timeout.Seconds(), Memory: j.Memory, Output: j.OutputLimit, Network: j.Network},
		Wanted: j.Runs,
	}
	e.sweep(ctx)
	img, err := e.image(ctx, &j.Spec)
	if err != nil {
		return Report{}, err
	}
	r.Digest, r.ImageID = img.digest, img.id
	if r.Findings = img.check(j.command); len(r.Findings) > 0 {
		r.conclude(j)
		return r, nil
	}
	dir, err := os.MkdirTemp("", dirPattern()) // mode 0700
	if err != nil {
		return Report{}, fmt.Errorf("make a directory for the trial: %w", err)
	}
	defer func() {
		if failed := os.RemoveAll(dir); failed != nil && err == nil {
			err = fmt.Errorf("remove the trial's directory: %w", failed)
		}
	}()
	if err := e.runs(ctx, img, j, dir, &r); err != nil {
		if ctx.Err() != nil {
			return Report{}, fmt.Errorf("the trial of %s was broken off: %w", j.Image, context.Cause(ctx))
		}
		return Report{}, fmt.Errorf("try %s: %w", j.Image, wording.OfExchange(err))
	}
	r.conclude(j)
	return r, nil
}

// runs makes the runs, one after the other so that they don't slow each other down, and compares each with the first. It
// ends at the first failure: another run would tell nothing more.
func (e worker) runs(ctx context.Context, img image, j *job, dir string, r *Report) error {
	var first *output
	for n := 1; n <= j.Runs; n++ {
		j.progress("Run %d of %d", n, j.Runs)
		place := filepath.Join(dir, fmt.Sprint(n))
		if err := os.Mkdir(place, 0o700); err != nil {
			return fmt.Errorf("make a directory for the output of run %d: %w", n, err)
		}
		run, out, err := e.run(ctx, img, j, n, place)
		if err != nil {
			return fmt.Errorf("run %d: %w", n, err)
		}
		r.Runs = append(r.Runs, run)
		if run.failed() {
			return nil
		}
		if first == nil {
			first = out
			continue
		}
		differences, err := j.compare(first, out, n, r.counted(first, out))
		if err != nil {
			return fmt.Errorf("compare the output of the runs 1 and %d: %w", n, err)
		}
		r.Differences = append(r.Differences, differences...)
		if !slices.Equal(r.Runs[0].Digests, run.Digests) {
			r.Findings = append(r.Findings, failure(CheckDeterminism, "", "the results of the runs 1 and %d have different digests: workers that run this app find no consensus", n))
			return nil
		}
		if err := os.RemoveAll(place); err != nil {
			return fmt.Errorf("remove the output of run %d: %w", n, err)
		}
	}
	return nil
}

// FileError is that a file of a Spec can't be read.
type FileError struct {
	As  string // "dataset" or "input file"
	Err error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("%s: %s. Check the path", e.As, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// job is a Spec with its defaults and with what is known of its files.
type job struct {
	Spec
	command     []string // nil leaves the image's own
	datasets    []input
	inputs      []input
	fingerprint string
}

// input is a file that the app finds in /iexec_in.
type input struct {
	path, name string
	sum        [sha256.Size]byte
}

var secretName = regexp.MustCompile(`^IEXEC_(APP_DEVELOPER_SECRET|REQUESTER_SECRET_[1-9][0-9]*)$`)

// Fingerprint identifies the inputs of the trial apart from the image and the values of secrets: a trial of the same image
// digest with the same fingerprint needn't be repeated. It reads the files.
func (s Spec) Fingerprint() (string, error) {
	j, err := s.prepare()
	if err != nil {
		return "", err
	}
	return j.fingerprint, nil
}

func (s Spec) prepare() (*job, error) {
	j := &job{Spec: s}
	switch {
	case s.Image == "":
		return nil, fmt.Errorf("the trial has no image")
	case s.Runs < 0 || s.Timeout < 0 || s.Memory < 0 || s.OutputLimit < 0:
		return nil, fmt.Errorf("the number of runs and the limits of a trial can't be negative")
	case s.Runs > MaxRuns:
		return nil, fmt.Errorf("a trial of %d runs: want %d at most", s.Runs, MaxRuns)
	}
	j.Runs = cmp.Or(s.Runs, DefaultRuns)
	j.Timeout = cmp.Or(s.Timeout, DefaultTimeout)
	j.Memory = cmp.Or(s.Memory, DefaultMemory)
	j.OutputLimit = cmp.Or(s.OutputLimit, DefaultOutputLimit)
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		if err := CheckSecretName(name); err != nil {
			return nil, err
		}
	}
	for _, name := range s.Expect {
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("expected file %s: want a path relative to %s", name, outDir)
		}
	}
	var err error
	if j.command, err = SplitArgs(s.Args); err != nil {
		return nil, err
	}
	for _, p := range s.Datasets {
		in := input{path: p}
		if in.sum, err = fileSum(p); err != nil {
			return nil, &FileError{"dataset", err}
		}
		in.name = datasetAddress(in.sum)
		j.datasets = append(j.datasets, in)
	}
	for _, f := range s.InputFiles {
		in := input{path: f.Path, name: inputFileName(cmp.Or(f.URL, filepath.Base(f.Path)))}
		if in.sum, err = fileSum(f.Path); err != nil {
			return nil, &FileError{"input file", err}
		}
		j.inputs = append(j.inputs, in)
	}
	j.fingerprint = j.identify()
	return j, nil
}

func (j *job) identify() string {
	type named struct{ Name, Base, Sum string }
	list := func(inputs []input) (all []named) {
		for _, in := range inputs {
			all = append(all, named{in.name, filepath.Base(in.path), hex.EncodeToString(in.sum[:])})
		}
		return all
	}
	b, _ := json.Marshal(struct { // strings and numbers only: can't fail
		Command             []string
		Datasets, Inputs    []named
		Secrets, Expect     []string
		Runs                int
		Timeout             time.Duration
		Memory, OutputLimit int64
		Network             bool
	}{
		j.command, list(j.datasets), list(j.inputs), slices.Sorted(maps.Keys(j.Secrets)), j.Expect,
		j.Runs, j.Timeout, j.Memory, j.OutputLimit, j.Network,
	})
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (j *job) progress(format string, args ...any) {
	if j.Progress != nil {
		j.Progress(fmt.Sprintf(format, args...))
	}
}

func fileSum(name string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return sum, err
	}
	if !info.Mode().IsRegular() {
		return sum, fmt.Errorf("%s is not a regular file", name)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, fmt.Errorf("read %s: %w", name, err)
	}
	h.Sum(sum[:0])
	return sum, nil
}
