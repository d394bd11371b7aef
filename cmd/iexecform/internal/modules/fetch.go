package modules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
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
type git struct {
	most int64 // bytes that a file of a repository may have while it is fetched: all objects are in one
}

// maxRepository is many times maxBytes, because a server may give nothing but the whole history.
const maxRepository = 512 << 20

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
	switch _, err := g.run(ctx, repository, "fetch", "--quiet", "--depth=1", "--no-tags", "--", s.address, wanted); {
	case err == nil:
		wanted = "FETCH_HEAD"
	case errors.Is(err, errLargeRepository):
		return "", fmt.Errorf("fetch %s: %w", s.address, err)
	case pinned == "":
		return "", fmt.Errorf("fetch tag %s of %s: %w. ref must be a tag or a whole commit: branches move", s.ref, s.address, err)
	default: // a server that gives no single commits; a clone has its refs in one file
		all := filepath.Join(repository, "all")
		if _, err := g.run(ctx, repository, "clone", "--quiet", "--mirror", "--", s.address, all); err != nil {
			return "", fmt.Errorf("fetch commit %s of %s: %w", pinned, s.address, err)
		}
		repository = all
	}
	commit, err := g.run(ctx, repository, "rev-parse", "--verify", "--quiet", wanted+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("%s has no commit %s", s.address, s.ref)
	}
	resolved := strings.TrimSpace(string(commit))
	return resolved, g.unpack(ctx, repository, resolved, dir)
}

// unpack writes the files of a commit into dir. What is small in a repository may be a large archive, so it is none on the disk.
func (g git) unpack(ctx context.Context, repository, commit, dir string) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	cmd := g.command(ctx, repository, "archive", "--format=tar", commit)
	archive, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("git archive: %w", err)
	}
	err = unpack(archive, dir)
	if err != nil {
		end() // nobody reads on
	}
	if ended := cmd.Wait(); err == nil && ended != nil {
		err = fmt.Errorf("git archive: %w", ended)
	}
	return err
}

// userinfo is what git's own configuration may have put into the URLs that it complains of.
var userinfo = regexp.MustCompile(`://[^/@\s]+@`)

// bounded is a script that lets the program that it becomes, and all that that starts, write no file of more than so many blocks
// of 512 bytes: git has no such limit. Writing more is an error, as on a full disk. However few objects are fetched, they are in one file.
const bounded = `trap "" XFSZ; ulimit -f "$0" && exec git -c fetch.unpackLimit=1 "$@"`

var errLargeRepository = errors.New("the repository is too large for a module, so git was stopped; keep the module in a repository of its own, or in an OCI artifact")

// command is git without the configuration of any repository, and without questions.
func (g git) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", bounded, strconv.FormatInt(g.most/512, 10)}, args...)...) //nolint:gosec // the script is ours; sources are checked, and come after --
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=https:http:ssh:git:file", "GIT_DIR="+dir)
	return cmd
}

func (g git) run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	out, err := g.command(ctx, dir, args...).Output()
	if err == nil {
		return out, nil
	}
	text := err.Error()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && len(exit.Stderr) > 0 {
		text = strings.TrimSpace(string(exit.Stderr)) // its beginning and its end
	}
	if strings.Contains(text, "File too large") {
		return nil, errLargeRepository
	}
	return nil, fmt.Errorf("git %s: %s", args[0], userinfo.ReplaceAllString(strings.ReplaceAll(text, "\n", "; "), "://…@"))
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
