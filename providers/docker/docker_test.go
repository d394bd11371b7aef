package docker_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	dockerconfig "github.com/docker/cli/cli/config"
	dockercontext "github.com/docker/cli/cli/context/docker"
	"github.com/docker/cli/cli/context/store"

	"github.com/iexecform/iexecform/providers/docker"
	"github.com/iexecform/iexecform/providers/docker/enginetest"
)

// TestConnect finds the engine in each way that there is to say where it is.
func TestConnect(t *testing.T) {
	engine := enginetest.Start(t)
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	dockerconfig.SetDir(config)
	contexts := store.New(dockerconfig.ContextStoreDir(), store.NewConfig(func() any { return &map[string]any{} },
		store.EndpointTypeGetter(dockercontext.DockerEndpoint, func() any { return &dockercontext.EndpointMeta{} })))
	for name, host := range map[string]string{"here": engine.Host, "gone": "unix:///nowhere.sock"} {
		if err := contexts.CreateOrUpdate(store.Metadata{Name: name, Endpoints: map[string]any{
			dockercontext.DockerEndpoint: dockercontext.EndpointMeta{Host: host},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	runtime := t.TempDir()
	if err := os.Mkdir(filepath.Join(runtime, "podman"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(strings.TrimPrefix(engine.Host, "unix://"), filepath.Join(runtime, "podman", "podman.sock")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ host, context, current, runtime, fails string }{
		"DOCKER_HOST":         {host: engine.Host, context: "gone", current: "gone"},
		"DOCKER_HOST of none": {host: "unix:///nowhere.sock", context: "here", fails: "unix:///nowhere.sock"},
		"DOCKER_HOST wrong":   {host: "nonsense", fails: "nonsense"},
		"DOCKER_CONTEXT":      {context: "here", current: "gone"},
		"context of none":     {context: "gone", runtime: runtime, fails: "unix:///nowhere.sock"},
		"no such context":     {context: "other", fails: "docker context other, named by DOCKER_CONTEXT"},
		"currentContext":      {current: "here"},
		"default":             {current: "default", runtime: runtime},
		"nothing said":        {runtime: runtime},
	} {
		t.Setenv("DOCKER_HOST", test.host)
		t.Setenv("DOCKER_CONTEXT", test.context)
		t.Setenv("XDG_RUNTIME_DIR", test.runtime)
		if err := os.WriteFile(filepath.Join(config, "config.json"), fmt.Appendf(nil, `{"currentContext": %q}`, test.current), 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := docker.Connect(t.Context())
		if test.fails != "" {
			if !errors.Is(err, docker.ErrNoEngine) || !strings.Contains(err.Error(), test.fails) || !strings.Contains(err.Error(), "apt-get install docker.io") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.Contains(found.Name, " ") {
			t.Errorf("%s: the engine %q has no version", name, found.Name)
		}
		if err := found.Close(); err != nil {
			t.Error(err)
		}
	}
}
