// Package docker finds the container engine: Docker's, or Podman's, which speaks the same API.
package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	dockerconfig "github.com/docker/cli/cli/config"
	dockercontext "github.com/docker/cli/cli/context/docker"
	"github.com/docker/cli/cli/context/store"
	"github.com/moby/moby/client"

	"github.com/iexecform/iexecform/internal/wording"
)

// ErrNoEngine is that no container engine can be reached. Its text says how to get one.
var ErrNoEngine = errors.New("no container engine answers")

const howToGetAnEngine = "Install Docker (on Debian and Ubuntu: apt-get install docker.io; on macOS and Windows: Docker Desktop), " +
	"or use Podman (systemctl --user start podman.socket), or set DOCKER_HOST or a docker context to an engine elsewhere"

// Engine is a connection to a container engine.
type Engine struct {
	*client.Client
	Name     string        // with its version
	Patience time.Duration // how long it may be silent; see Ask
}

// Connect finds the engine as the docker command does: DOCKER_HOST, else the docker context that DOCKER_CONTEXT or the
// docker configuration names, else the usual socket. Where nobody listens there, Podman's sockets are tried. The error is
// ErrNoEngine. DOCKER_CLIENT_TIMEOUT says, in seconds, how long the engine may be silent; a minute when it isn't set. Close must be
// called.
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
	e := &Engine{Client: api, Name: "Docker"}
	if e.Patience, err = patience(); err != nil {
		_ = api.Close()
		return nil, err
	}
	var version client.ServerVersionResult
	err = e.Ask(ctx, func(ctx context.Context) (err error) {
		version, err = api.ServerVersion(ctx, client.ServerVersionOptions{})
		return err
	})
	if err = wording.OfExchange(err); err != nil {
		_ = api.Close()
		silent := (*SilentError)(nil)
		help := howToGetAnEngine
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &silent):
			return nil, fmt.Errorf("%w at %s: %w", ErrNoEngine, api.DaemonHost(), err)
		case errors.Is(err, os.ErrPermission):
			help = "This user may not use it: join its group (for Docker: usermod -aG docker USER, then log in again)"
		}
		return nil, fmt.Errorf("%w at %s: %w. %s", ErrNoEngine, api.DaemonHost(), err, help)
	}
	for _, c := range version.Components {
		if strings.HasPrefix(c.Name, "Podman") {
			e.Name = "Podman"
		}
	}
	e.Name += " " + version.Version
	return e, nil
}
