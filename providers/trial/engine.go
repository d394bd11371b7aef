package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/providers/docker"
)

// ErrNoImage is that the engine neither has the image nor can pull it.
var ErrNoImage = errors.New("the image can't be had")

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
func (e worker) image(ctx context.Context, s *Spec) (image, error) {
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

func (e worker) inspect(ctx context.Context, name reference.Named) (image, error) {
	var found client.ImageInspectResult
	err := e.Ask(ctx, func(ctx context.Context) (err error) {
		found, err = e.ImageInspect(ctx, name.String())
		return err
	})
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

func (e worker) pull(ctx context.Context, name reference.Named) error {
	auth, err := credentials(name)
	if err != nil {
		return err
	}
	progress, err := e.ImagePull(ctx, name.String(), client.ImagePullOptions{
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

func (e worker) explain(ctx context.Context, verb string, name reference.Named, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("broken off before the trial: %w", context.Cause(ctx))
	}
	if silent := (*docker.SilentError)(nil); errors.As(err, &silent) {
		return fmt.Errorf("%s could not %s %s: %w", e.Name, verb, reference.FamiliarString(name), err)
	}
	help := "Check the name, push the image, or log in with docker login if it is private"
	if _, tagged := name.(reference.Digested); tagged {
		help = "Check the name and the checksum, push the image, or log in with docker login if it is private"
	}
	if strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") { // Docker takes plain HTTP from this machine's registries
		help = fmt.Sprintf("%s wants HTTPS of this registry. For Podman, write into /etc/containers/registries.conf: [[registry]], location = %q, insecure = true", e.Name, reference.Domain(name))
	}
	return fmt.Errorf("%w: %s could not %s %s: %w. %s", ErrNoImage, e.Name, verb, reference.FamiliarString(name), wording.OfExchange(err), help)
}
