package trial

import (
	"archive/tar"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
)

// A Digest is what workers must agree on. Which of several counts is the request's choice.
type Digest struct {
	Rule  Rule   `json:"rule"`
	Path  string `json:"path"`  // in the container: the file or directory that it is the digest of
	Value string `json:"value"` // "0x" and 64 hexadecimal digits
}

// Rule is how a digest is computed.
type Rule string

const (
	// FileRule is the sha256 of the file that computed.json names as deterministic-output-path.
	FileRule Rule = "file"
	// DirectoryRule is the keccak256 over the sha256 of the files directly in the directory that computed.json names, sorted
	// by name. What is in directories below doesn't count.
	DirectoryRule Rule = "directory"
	// CallbackRule is the keccak256 of the bytes that computed.json has as callback-data.
	CallbackRule Rule = "callback"
	// DeterminismRule is what the workers before computed.json did with determinism.iexec: its sha256, or its content when
	// that is a 32-byte hexadecimal number.
	DeterminismRule Rule = "determinism.iexec"
	// CallbackFileRule is the keccak256 of the bytes in callback.iexec, which went before determinism.iexec.
	CallbackFileRule Rule = "callback.iexec"
)

// The files that tell what the result is.
const (
	computedFile    = "computed.json"
	determinismFile = "determinism.iexec"
	callbackFile    = "callback.iexec"
)

// computed is the content of computed.json that an app writes.
type computed struct {
	Path     *string `json:"deterministic-output-path"`
	Callback *string `json:"callback-data"`
}

var (
	hexBytes = regexp.MustCompile(`^0x([0-9a-fA-F]{2})+$`)
	bytes32  = regexp.MustCompile(`^0x[0-9a-fA-F]{64}$`)
)

// digests computes the digests of the output, or says why there is none.
func (o *output) digests(run *RunResult) {
	const noFile, noDigest = "POST_COMPUTE_COMPUTED_FILE_NOT_FOUND", "POST_COMPUTE_RESULT_DIGEST_COMPUTATION_FAILED"
	e, err := o.find(computedFile)
	if err != nil {
		o.oldDigests(run)
		if len(run.Digests) > 0 {
			run.add(warning(CheckComputed, noFile, "the app writes %s but no %s: early workers took it, today's fail the task. Write {\"deterministic-output-path\": %q} to %s",
				path.Base(run.Digests[0].Path), computedFile, run.Digests[0].Path, path.Join(outDir, computedFile)))
		} else if !run.failed() {
			run.add(failure(CheckComputed, noFile, "the app left no %s in %s: it must say there what the result is, as {\"deterministic-output-path\": \"%s/…\"} or {\"callback-data\": \"0x…\"}", computedFile, outDir, outDir))
		}
		return
	}
	var c computed
	content, err := o.read(e)
	if err == nil {
		err = json.Unmarshal(content, &c)
	}
	switch {
	case err != nil:
		run.add(failure(CheckComputed, noFile, "%s is not valid: %s", computedFile, err))
		return
	case c.Path == nil && c.Callback == nil:
		run.add(failure(CheckComputed, noDigest, "%s has neither deterministic-output-path nor callback-data", computedFile))
	}
	if c.Path != nil {
		if d, err := o.pathDigest(*c.Path, run); err != nil {
			run.add(failure(CheckComputed, noDigest, "deterministic-output-path %q in %s: %s", *c.Path, computedFile, err))
		} else {
			run.Digests = append(run.Digests, d)
		}
	}
	if c.Callback != nil {
		if !hexBytes.MatchString(*c.Callback) {
			run.add(failure(CheckComputed, noDigest, "callback-data in %s is not 0x and pairs of hexadecimal digits", computedFile))
			return
		}
		o.counted[computedFile] = true
		run.Digests = append(run.Digests, callbackDigest(CallbackRule, computedFile, *c.Callback))
	}
}

// pathDigest is the digest of a file or a directory, given as the app sees it.
func (o *output) pathDigest(given string, run *RunResult) (Digest, error) {
	clean := path.Clean(given)
	relative := "."
	if clean != outDir {
		var below bool
		if relative, below = strings.CutPrefix(clean, outDir+"/"); !below {
			return Digest{}, fmt.Errorf("it is not in %s", outDir)
		}
	}
	at, err := o.resolve(relative)
	if err != nil {
		return Digest{}, err
	}
	e := o.entries[at]
	if e.kind == tar.TypeReg {
		o.counted[at] = true
		if e.size == 0 {
			run.add(warning(CheckComputed, "", "%s is empty: workers with enclave find no digest for it", clean))
		}
		return Digest{FileRule, clean, hexOf(e.sum[:])}, nil
	}
	var sums []byte
	var below []string
	for _, name := range o.children(at) {
		target, err := o.resolve(name)
		if err != nil {
			return Digest{}, err
		}
		o.counted[name], o.counted[target] = true, true
		child := o.entries[target]
		if child.kind == tar.TypeDir {
			below = append(below, path.Base(name))
			continue
		}
		sums = append(sums, child.sum[:]...)
	}
	switch {
	case len(below) > 0:
		run.add(warning(CheckComputed, "", "%s, which the digest is computed of, has directories in it (%s): what is in them doesn't count. Keep it flat", clean, list(below[:min(len(below), maxListed)], len(below))))
	case len(sums) == 0:
		run.add(warning(CheckComputed, "", "%s is empty: workers with enclave find no digest for it", clean))
	}
	sum := keccak256(sums)
	return Digest{DirectoryRule, clean, hexOf(sum[:])}, nil
}

// oldDigests does as the workers before computed.json did.
func (o *output) oldDigests(run *RunResult) {
	if e, err := o.find(callbackFile); err == nil {
		content, err := o.read(e)
		if text := strings.TrimSpace(string(content)); err == nil && hexBytes.MatchString(text) {
			o.counted[callbackFile] = true
			run.Digests = []Digest{callbackDigest(CallbackFileRule, callbackFile, text)}
			return
		}
		run.add(failure(CheckComputed, "", "%s is not 0x and pairs of hexadecimal digits", callbackFile))
		return
	}
	e, err := o.find(determinismFile)
	if err != nil || e.kind != tar.TypeReg {
		return
	}
	o.counted[determinismFile] = true
	value := hexOf(e.sum[:])
	if e.size < 100 {
		content, err := o.read(e)
		if text := strings.TrimSpace(string(content)); err == nil && bytes32.MatchString(text) {
			value = strings.ToLower(text)
		}
	}
	run.Digests = []Digest{{DeterminismRule, path.Join(outDir, determinismFile), value}}
}

// callbackDigest is of valid hexadecimal text.
func callbackDigest(rule Rule, file, text string) Digest {
	data, _ := hex.DecodeString(text[2:])
	sum := keccak256(data)
	return Digest{rule, path.Join(outDir, file), hexOf(sum[:])}
}

func (o *output) read(e entry) ([]byte, error) {
	if e.kind != tar.TypeReg {
		return nil, fmt.Errorf("it is not a file")
	}
	return os.ReadFile(e.kept)
}

func hexOf(b []byte) string { return "0x" + hex.EncodeToString(b) }
