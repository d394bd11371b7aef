package trial_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/moby/client"

	"github.com/iexecform/iexecform/providers/docker"
	"github.com/iexecform/iexecform/providers/docker/enginetest"
	"github.com/iexecform/iexecform/providers/trial"
)

// built is an image of a script for a platform, as a registry takes it.
func built(t *testing.T, script, platform string) v1.Image {
	t.Helper()
	return enginetest.Build(t, platform, "#!/bin/sh\n"+script)
}

// An image is pulled from its registry, by digest if one is given: then it doesn't matter what became of the tag.
func (e tester) pulled(t *testing.T) {
	if found, err := docker.Connect(t.Context()); err != nil {
		t.Fatal(err)
	} else if podman := strings.HasPrefix(found.Name, "Podman"); found.Close() == nil && podman {
		t.Log("not looked at: Podman pulls from registries without HTTPS only where its configuration says so")
		return
	}
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	reference := strings.TrimPrefix(server.URL, "http://") + "/user/app:1.0"
	push := func(put remote.Taggable) string {
		t.Helper()
		ref, err := name.ParseReference(reference)
		if err != nil {
			t.Fatal(err)
		}
		switch put := put.(type) {
		case v1.ImageIndex:
			err = remote.WriteIndex(ref, put)
		case v1.Image:
			err = remote.Write(ref, put)
		}
		if err != nil {
			t.Fatal(err)
		}
		found, err := remote.Head(ref)
		if err != nil {
			t.Fatal(err)
		}
		return found.Digest.String()
	}
	remove := func(names ...string) {
		for _, n := range names {
			if _, err := e.engine.ImageRemove(t.Context(), n, client.ImageRemoveOptions{Force: true}); err != nil {
				t.Errorf("remove %s: %v", n, err)
			}
		}
	}
	repository := strings.TrimSuffix(reference, ":1.0")
	first := built(t, writesResult+"echo first", "linux/amd64")
	digest := push(first)
	moved := push(built(t, writesResult+"echo moved", "linux/amd64"))
	for sum, want := range map[string]string{digest: "first\n", moved: "moved\n"} {
		report := e.try(t, trial.Spec{Image: reference, Digest: sum, Runs: 1})
		if !report.Passed || report.Digest != sum || report.Runs[0].Stdout != want {
			t.Errorf("want %s: %s", want, report.Text())
		}
	}
	report := e.try(t, trial.Spec{Image: reference, Runs: 1})
	if !report.Passed || report.Digest != moved {
		t.Errorf("want the digest of the tag, %s: %s", moved, report.Text())
	}
	remove(reference, repository+"@"+digest)

	arm := built(t, writesResult, "linux/arm64")
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: first, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	both := push(index)
	report = e.try(t, trial.Spec{Image: reference, Digest: both, Runs: 1})
	if !report.Passed || report.Digest != both || report.Runs[0].Stdout != "first\n" {
		t.Errorf("an index is of several platforms: %s", report.Text())
	}
	remove(repository + "@" + both)

	for what, put := range map[string]remote.Taggable{
		"an image": arm,
		"an index": mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}}),
	} {
		report := e.try(t, trial.Spec{Image: reference, Digest: push(put)})
		failures := report.Failures()
		if report.Passed || len(report.Runs) != 0 || len(failures) != 1 || failures[0].Check != trial.CheckPlatform || !strings.Contains(failures[0].Text, "--platform linux/amd64") {
			t.Errorf("%s of another platform: %s", what, report.Text())
		}
	}
	if _, err := e.engine.ImageRemove(t.Context(), repository+"@"+push(arm), client.ImageRemoveOptions{Force: true}); err != nil {
		t.Log("an engine may refuse to pull an image of another platform:", err)
	}

	const unknown = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	if _, err := trial.Run(t.Context(), trial.Spec{Image: reference, Digest: unknown}); err == nil || !strings.Contains(err.Error(), unknown) {
		t.Errorf("a digest that isn't there: %v", err)
	}
}
