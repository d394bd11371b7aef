package oci

import "testing"

func TestParseNormalisesDockerHub(t *testing.T) {
	for reference, want := range map[string]string{
		"alpine":                                "index.docker.io/library/alpine:latest",
		"user/x:1":                              "index.docker.io/user/x:1",
		"docker.io/user/x:1":                    "index.docker.io/user/x:1",
		"docker.io/alpine:3":                    "index.docker.io/library/alpine:3",
		"index.docker.io/user/x:1":              "index.docker.io/user/x:1",
		"registry.hub.docker.com/user/x:1":      "index.docker.io/user/x:1",
		"registry.hub.docker.com/alpine:3":      "index.docker.io/library/alpine:3",
		"ghcr.io/registry.hub.docker.com/x:1":   "ghcr.io/registry.hub.docker.com/x:1",
		"registry.hub.docker.com.example.org/x": "registry.hub.docker.com.example.org/x:latest",
	} {
		ref, err := parse(reference)
		if err != nil || ref.Name() != want {
			t.Errorf("%s: got %v, %v; want %s", reference, ref, err, want)
		}
	}
}
