package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/faultproxy"
)

// repository is one of the world's own, by the proxy.
func (w *world) repository() string {
	return fmt.Sprintf("%s/%s/app", w.registry.Host(), strings.ToLower(w.account.Address.Hex()[2:]))
}

// tag is a reference in the network's registry itself, for one by the proxy.
func (w *world) tag(reference string) name.Tag {
	w.t.Helper()
	_, rest, _ := strings.Cut(reference, "/")
	tag, err := name.NewTag(w.net.Info().Registry + "/" + rest)
	if err != nil {
		w.t.Fatal(err)
	}
	return tag
}

// push puts a new image under a tag, and returns its digest.
func (w *world) push(reference string) string {
	w.t.Helper()
	image := w.newImage("amd64")
	if err := remote.Write(w.tag(reference), image); err != nil {
		w.t.Fatal(err)
	}
	return w.digest(image)
}

func (w *world) newImage(architecture string) v1.Image {
	w.t.Helper()
	image, err := random.Image(64, 1)
	if err == nil {
		var config *v1.ConfigFile
		if config, err = image.ConfigFile(); err == nil {
			config.OS, config.Architecture = "linux", architecture
			image, err = mutate.ConfigFile(image, config)
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return image
}

func (w *world) digest(x interface{ Digest() (v1.Hash, error) }) string {
	w.t.Helper()
	h, err := x.Digest()
	if err != nil {
		w.t.Fatal(err)
	}
	return h.String()
}

// appOf is an app of an image whose digest is looked up, with more arguments of the data source.
func appOf(reference, more string) string {
	return fmt.Sprintf("data \"oci_image\" \"i\" {\n  reference = %q\n%s\n}\n", reference, more) +
		"resource \"iexec_app\" \"a\" {\n  name = \"a\"\n  multiaddr = data.oci_image.i.reference\n  checksum = data.oci_image.i.checksum\n}\n"
}

func tagMoved(t *testing.T, g *ground) {
	w := g.world(t)
	w.different = true // another image each time
	ref := w.repository() + ":1.0"
	before := w.push(ref)
	w.write(appOf(ref, "") + anOrder)
	w.run(0, "plan", "--out=planned")
	after := w.push(ref)
	w.market.Reset()
	w.run(1, "apply", "planned").tells(fmt.Sprintf("the tag %s moved from %s to %s", ref, before, after), "Nothing was sent. Plan again")
	if w.sent() != 0 || w.market.Count("POST ") != 0 || w.file("iexecform.state.journal") != nil {
		t.Error("something was sent, or signed")
	}
	// Pinned in the configuration, it may move.
	pinned := fmt.Sprintf("resource \"iexec_app\" \"a\" {\n  name = \"a\"\n  multiaddr = %q\n  checksum = \"0x%s\"\n}\n", ref, strings.TrimPrefix(before, "sha256:"))
	w.write(pinned + anOrder)
	w.run(0, "plan", "--out=planned")
	w.push(ref)
	w.run(0, "apply", "planned")
	w.check(1)
}

func registryRefuses(t *testing.T, g *ground) {
	w := g.world(t)
	w.different = true
	good, bad := w.repository()+":1.0", w.repository()+"-b:1.0"
	w.push(good)
	second := strings.NewReplacer(`"i"`, `"j"`, "image.i", "image.j", `"a"`, `"b"`)
	w.write(appOf(good, "") + second.Replace(appOf(bad, "")) + anOrder)
	_, path, _ := strings.Cut(bad, "/")
	path = "HEAD /v2/" + strings.Replace(path, ":", "/manifests/", 1)
	for _, c := range []struct {
		fault faultproxy.Fault
		says  []string
	}{
		{nil, []string{"image not found", "push the image, or correct the reference"}},
		{faultproxy.Status(http.StatusUnauthorized, 0), []string{"access to the image was denied", "docker login " + w.registry.Host()}},
		{faultproxy.Status(http.StatusTooManyRequests, 3600), []string{"the registry is unavailable", "allows no more requests for now"}},
	} {
		w.calm()
		if c.fault != nil {
			w.registry.Set(faultproxy.Rule{Match: path, Fault: c.fault})
		}
		w.run(1, "plan", "--out=planned").tells(append(c.says, "This plan is incomplete", "iexec_app.a will be created", "iexec_apporder.o will be created",
			"!iexec_app.b will be created", `data "oci_image" "j"`)...)
		w.run(1, "apply", "planned").tells("The plan is incomplete")
	}
	if w.sent() != 0 {
		t.Errorf("%d transactions were sent", w.sent())
	}
	w.calm()
	w.push(bad)
	w.apply()
	// With the digest locked, a registry that doesn't answer is a warning.
	w.run(0, "init", "--images")
	w.registry.Set(faultproxy.Rule{Match: path, Fault: faultproxy.Status(http.StatusTooManyRequests, 3600)})
	w.run(0, "plan", "--detailed-exitcode").tells("nobody looked what "+bad+" stands for", "allows no more requests for now")
	w.registry.Set(faultproxy.Rule{Match: path, Fault: faultproxy.Status(http.StatusNotFound, 0)})
	w.run(1, "plan").tells("image not found")
	w.check(2)
}

func platformAdded(t *testing.T, g *ground) {
	w := g.world(t)
	w.different = true
	ref := w.repository() + ":1.0"
	amd, arm := w.newImage("amd64"), w.newImage("arm64")
	of := func(images map[string]v1.Image) v1.ImageIndex {
		index := v1.ImageIndex(empty.Index)
		for _, architecture := range []string{"amd64", "arm64"} {
			if image := images[architecture]; image != nil {
				index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}})
			}
		}
		if err := remote.WriteIndex(w.tag(ref), index); err != nil {
			t.Fatal(err)
		}
		return index
	}
	checksum := func(x interface{ Digest() (v1.Hash, error) }) string {
		return "0x" + strings.TrimPrefix(w.digest(x), "sha256:")
	}
	one := of(map[string]v1.Image{"amd64": amd})
	const platform = "  platform = \"linux/amd64\""
	w.write(appOf(ref, platform))
	w.changes().tells(checksum(amd), "!"+checksum(one))
	w.apply()
	// One more platform changes nothing for who has chosen.
	both := of(map[string]v1.Image{"amd64": amd, "arm64": arm})
	w.run(0, "plan", "--detailed-exitcode")
	// To choose otherwise is a change that is shown: another platform, or the index.
	w.write(appOf(ref, "  platform = \"linux/arm64\""))
	w.changes().tells("iexec_app.a must be replaced", checksum(amd)+"\" -> \""+checksum(arm))
	w.write(appOf(ref, ""))
	w.changes().tells("iexec_app.a must be replaced", checksum(amd)+"\" -> \""+checksum(both))
	w.apply()
	w.orphans = 1 // an app can't be deleted
	// Who follows the index is shown that it has changed.
	of(map[string]v1.Image{"arm64": arm})
	w.changes().tells("iexec_app.a must be replaced")
	w.write(appOf(ref, platform))
	w.run(1, "plan").tells("it is for linux/arm64, not for linux/amd64")
	of(map[string]v1.Image{"amd64": amd, "arm64": arm})
	w.write(appOf(ref, ""))
	w.check(2)
}
