package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	dockerconfig "github.com/docker/cli/cli/config"
	dockercontext "github.com/docker/cli/cli/context/docker"
	"github.com/docker/cli/cli/context/store"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrNoEngine is that no container engine can be reached. Its text says how to get one.
var ErrNoEngine = errors.New("no container engine answers")

// ErrNoImage is that the engine neither has the image nor can pull it.
var ErrNoImage = errors.New("the image can't be had")

const howToGetAnEngine = "Install Docker (on Debian and Ubuntu: apt-get install docker.io; on macOS and Windows: Docker Desktop), " +
	"or use Podman (systemctl --user start podman.socket), or set DOCKER_HOST or a docker context to an engine elsewhere"

// Engine is a container engine that speaks the Docker Engine API: Docker's, or Podman's.
type Engine struct {
	api  *client.Client
	name string // with its version
}

// Connect finds the engine as the docker command does: DOCKER_HOST, else the docker context that DOCKER_CONTEXT or the
// docker configuration names, else the usual socket. Where nobody listens there, Podman's sockets are tried. The error is
// ErrNoEngine. Close must be called.
func Connect(ctx context.Context) (*Engine, error) {
	options, where, err := endpoint()
	if err != nil {
		return nil, fmt.Errorf("%w: %w. %s", ErrNoEngine, err, howToGetAnEngine)
	}
	e, err := open(ctx, options)
	if err == nil || where != "" {
		return e, err
	}
	for _, socket := range []string{
		filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "podman", "podman.sock"), "/run/podman/podman.sock",
	} {
		if !filepath.IsAbs(socket) {
			continue
		}
		if e, failed := open(ctx, []client.Opt{client.WithHost("unix://" + socket)}); failed == nil {
			return e, nil
		}
	}
	return nil, err
}

// endpoint returns how to reach the engine, and where that was said: "" when it wasn't.
func endpoint() (options []client.Opt, where string, err error) {
	if host := os.Getenv(client.EnvOverrideHost); host != "" {
		if strings.HasPrefix(host, "ssh://") {
			ep := dockercontext.Endpoint{EndpointMeta: dockercontext.EndpointMeta{Host: host}}
			options, err = ep.ClientOpts()
			return options, client.EnvOverrideHost, err
		}
		return []client.Opt{client.FromEnv}, client.EnvOverrideHost, nil
	}
	name, where := os.Getenv("DOCKER_CONTEXT"), "DOCKER_CONTEXT"
	if name == "" {
		file, err := dockerconfig.Load(dockerconfig.Dir())
		if err != nil {
			return nil, "", fmt.Errorf("read the docker configuration: %w", err)
		}
		name, where = file.CurrentContext, file.Filename
	}
	if name == "" || name == "default" {
		return []client.Opt{client.FromEnv}, "", nil
	}
	contexts := store.New(dockerconfig.ContextStoreDir(), store.NewConfig(
		func() any { return &map[string]any{} },
		store.EndpointTypeGetter(dockercontext.DockerEndpoint, func() any { return &dockercontext.EndpointMeta{} }),
	))
	meta, err := contexts.GetMetadata(name)
	if err != nil {
		return nil, "", fmt.Errorf("docker context %s, named by %s: %w", name, where, err)
	}
	found, err := dockercontext.EndpointFromContext(meta)
	if err != nil {
		return nil, "", fmt.Errorf("docker context %s: %w", name, err)
	}
	ep, err := dockercontext.WithTLSData(contexts, name, found)
	if err != nil {
		return nil, "", fmt.Errorf("docker context %s: %w", name, err)
	}
	options, err = ep.ClientOpts()
	return options, where, err
}

func open(ctx context.Context, options []client.Opt) (*Engine, error) {
	api, err := client.New(append(slices.Clone(options), client.WithUserAgent("iexecform"))...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w. %s", ErrNoEngine, err, howToGetAnEngine)
	}
	version, err := api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		_ = api.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		help := howToGetAnEngine
		if errors.Is(err, os.ErrPermission) {
			help = "This user may not use it: join its group (for Docker: usermod -aG docker USER, then log in again)"
		}
		return nil, fmt.Errorf("%w at %s: %w. %s", ErrNoEngine, api.DaemonHost(), err, help)
	}
	name := "Docker"
	for _, c := range version.Components {
		if strings.HasPrefix(c.Name, "Podman") {
			name = "Podman"
		}
	}
	return &Engine{api: api, name: name + " " + version.Version}, nil
}

// Close closes the connections to the engine.
func (e *Engine) Close() error { return e.api.Close() }

// image is an image that the engine has.
type image struct {
	id, digest  string // digest is that of the manifest or index in its registry, "" for an image of this engine alone
	platform    string
	hasCommand  bool
	unavailable string // why a worker's engine couldn't pull it, "" when it could
}

// check returns what keeps a worker from running the image at all.
func (img image) check(command []string) (findings []Finding) {
	switch {
	case img.unavailable != "":
		return []Finding{failure(CheckPlatform, "APP_IMAGE_DOWNLOAD_FAILED", "the image has nothing for %s, which is what workers run: %s. Build it with --platform %s", Platform, img.unavailable, Platform)}
	case img.platform != Platform:
		findings = append(findings, failure(CheckPlatform, "APP_COMPUTE_FAILED", "the image is for %s, but workers run %s. Build it with --platform %s", img.platform, Platform, Platform))
	}
	if !img.hasCommand && len(command) == 0 {
		findings = append(findings, failure(CheckCommand, "APP_COMPUTE_FAILED", "the image has neither ENTRYPOINT nor CMD, and the trial gives no arguments: there is nothing to run"))
	}
	return findings
}

// image finds the image that is to be tried, and pulls it when the engine hasn't got it.
func (e *Engine) image(ctx context.Context, s *Spec) (image, error) {
	name, err := parseReference(s.Image, s.Digest)
	if err != nil {
		return image{}, err
	}
	img, err := e.inspect(ctx, name)
	if !errdefs.IsNotFound(err) {
		return img, e.explain(ctx, "look up", name, err)
	}
	if s.Progress != nil {
		s.Progress("Pulling " + reference.FamiliarString(name))
	}
	if err := e.pull(ctx, name); err != nil {
		for _, said := range []string{"no matching manifest for", "no image found in image index for"} { // Docker, Podman
			if strings.Contains(err.Error(), said) {
				return image{unavailable: err.Error()}, nil
			}
		}
		return image{}, e.explain(ctx, "pull", name, err)
	}
	img, err = e.inspect(ctx, name)
	return img, e.explain(ctx, "look up", name, err)
}

// parseReference reads a reference as docker does. Docker Hub's old name, which is in the multiaddr of early apps, means
// Docker Hub.
func parseReference(text, sum string) (reference.Named, error) {
	if rest, old := strings.CutPrefix(text, "registry.hub.docker.com/"); old {
		text = "docker.io/" + rest
	}
	name, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not an image reference: want [REGISTRY/]REPOSITORY[:TAG], such as docker.io/user/image:1.0 (%w)", text, err)
	}
	if sum == "" {
		return reference.TagNameOnly(name), nil
	}
	d, err := digest.Parse(sum)
	if err != nil {
		return nil, fmt.Errorf("%q is not an image digest: want sha256: and 64 hexadecimal digits (%w)", sum, err)
	}
	return reference.WithDigest(reference.TrimNamed(name), d)
}

func (e *Engine) inspect(ctx context.Context, name reference.Named) (image, error) {
	found, err := e.api.ImageInspect(ctx, name.String())
	if err != nil {
		return image{}, err
	}
	img := image{id: found.ID, platform: found.Os + "/" + found.Architecture}
	if found.Config != nil {
		img.hasCommand = len(found.Config.Entrypoint) > 0 || len(found.Config.Cmd) > 0
	}
	for _, text := range found.RepoDigests {
		repo, err := reference.ParseNormalizedNamed(text)
		if d, ok := repo.(reference.Digested); err == nil && ok && repo.Name() == name.Name() {
			img.digest = d.Digest().String()
		}
	}
	if d, ok := name.(reference.Digested); ok {
		img.digest = d.Digest().String() // an image may be known by several
	}
	return img, nil
}

func (e *Engine) pull(ctx context.Context, name reference.Named) error {
	auth, err := credentials(name)
	if err != nil {
		return err
	}
	progress, err := e.api.ImagePull(ctx, name.String(), client.ImagePullOptions{
		RegistryAuth: auth, Platforms: []ocispec.Platform{{OS: "linux", Architecture: "amd64"}},
	})
	if err != nil {
		return err
	}
	defer func() { _ = progress.Close() }()
	return progress.Wait(ctx)
}

// credentials are those of docker login.
func credentials(name reference.Named) (string, error) {
	file := dockerconfig.LoadDefaultConfigFile(io.Discard)
	host := reference.Domain(name)
	if host == "docker.io" {
		host = "https://index.docker.io/v1/"
	}
	found, err := file.GetAuthConfig(host)
	if err != nil {
		return "", fmt.Errorf("read the credentials for %s: %w", host, err)
	}
	if found.Username == "" && found.IdentityToken == "" && found.RegistryToken == "" {
		return "", nil
	}
	return authconfig.Encode(registry.AuthConfig{
		Username: found.Username, Password: found.Password, Auth: found.Auth, ServerAddress: found.ServerAddress,
		IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken,
	})
}

func (e *Engine) explain(ctx context.Context, verb string, name reference.Named, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted before the trial: %w", context.Cause(ctx))
	}
	help := "Check the name, push the image, or log in with docker login if it is private"
	if _, tagged := name.(reference.Digested); tagged {
		help = "Check the name and the checksum, push the image, or log in with docker login if it is private"
	}
	if strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") { // Docker takes plain HTTP from this machine's registries
		help = fmt.Sprintf("%s wants HTTPS of this registry. For Podman, write into /etc/containers/registries.conf: [[registry]], location = %q, insecure = true", e.name, reference.Domain(name))
	}
	return fmt.Errorf("%w: %s could not %s %s: %w. %s", ErrNoImage, e.name, verb, reference.FamiliarString(name), err, help)
}
