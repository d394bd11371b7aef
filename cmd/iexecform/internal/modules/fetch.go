package modules

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/iexecform/iexecform/providers/oci"
)

// fetcher gets the files of a source.
type fetcher interface {
	// name is the source's entry in the lock file.
	name(s source) string
	// fetch writes the files into dir, those of the pinned commit or digest unless that is "", and returns what they are of.
	// SIDE EFFECTS: the network, files in dir.
	fetch(ctx context.Context, s source, pinned, dir string) (resolved string, err error)
}

// git fetches from repositories, with the program of that name.
type git struct{}

func (git) name(s source) string { return "git::" + s.address + "?ref=" + s.ref }

var commitForm = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

func (g git) fetch(ctx context.Context, s source, pinned, dir string) (string, error) {
	if pinned != "" && !commitForm.MatchString(pinned) {
		return "", fmt.Errorf("%q is not a commit. Correct %s", pinned, LockFile)
	}
	if pinned == "" && commitForm.MatchString(s.ref) {
		pinned = s.ref
	}
	repository, err := os.MkdirTemp("", "iexecform-git-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(repository) }() // nothing in it is needed any more
	if _, err := g.run(ctx, repository, "init", "--quiet", "--bare"); err != nil {
		return "", err
	}
	wanted := pinned
	if wanted == "" {
		wanted = "refs/tags/" + s.ref
	}
	if _, err := g.run(ctx, repository, "fetch", "--quiet", "--depth=1", "--no-tags", "--", s.address, wanted); err != nil {
		if pinned == "" {
			return "", fmt.Errorf("fetch tag %s of %s: %w. ref must be a tag or a whole commit: branches move", s.ref, s.address, err)
		}
		if _, all := g.run(ctx, repository, "fetch", "--quiet", "--", s.address, "+refs/*:refs/fetched/*"); all != nil { // a server that gives no single commits
			return "", fmt.Errorf("fetch commit %s of %s: %w", pinned, s.address, all)
		}
	} else {
		wanted = "FETCH_HEAD"
	}
	commit, err := g.run(ctx, repository, "rev-parse", "--verify", "--quiet", wanted+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("%s has no commit %s", s.address, s.ref)
	}
	resolved := strings.TrimSpace(string(commit))
	archive := filepath.Join(repository, "archive.tar")
	if _, err := g.run(ctx, repository, "archive", "--format=tar", "--output="+archive, resolved); err != nil {
		return "", err
	}
	f, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	return resolved, unpack(f, dir)
}

// userinfo is what git's own configuration may have put into the URLs that it complains of.
var userinfo = regexp.MustCompile(`://[^/@\s]+@`)

// run runs git without the configuration of any repository, and without questions.
func (git) run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...) //nolint:gosec // no shell; sources are checked, and come after --
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=https:http:ssh:git:file", "GIT_DIR="+dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(stderr.String())
		if text == "" {
			text = err.Error()
		}
		return nil, fmt.Errorf("git %s: %s", args[0], userinfo.ReplaceAllString(strings.ReplaceAll(text, "\n", "; "), "://…@"))
	}
	return stdout.Bytes(), nil
}

// artifacts are fetched from OCI registries: one layer, a tar archive.
type artifacts struct{}

func (artifacts) name(s source) string {
	if strings.Contains(s.ref, ":") {
		return ociScheme + s.address + "@" + s.ref
	}
	return ociScheme + s.address + ":" + s.ref
}

func (r artifacts) fetch(ctx context.Context, s source, pinned, dir string) (string, error) {
	text := strings.TrimPrefix(r.name(s), ociScheme)
	if pinned != "" {
		text = s.address + "@" + pinned
	}
	reference, err := name.ParseReference(text, name.StrictValidation)
	if err != nil {
		return "", fmt.Errorf("%s: %w", text, err)
	}
	found, err := remote.Get(reference, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithTransport(oci.Transport()))
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", text, err)
	}
	if found.MediaType.IsIndex() {
		return "", fmt.Errorf("%s is an index of several images, and a module is an artifact with one layer", text)
	}
	image, err := found.Image()
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", text, err)
	}
	layers, err := image.Layers()
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", text, err)
	}
	if len(layers) != 1 {
		return "", fmt.Errorf("%s has %d layers, and a module is an artifact with one: a tar.gz archive of its files", text, len(layers))
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", text, err)
	}
	defer func() { _ = content.Close() }() // only read
	return found.Digest.String(), unpack(io.Reader(content), dir)
}
