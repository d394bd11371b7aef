// Package oci is the provider of what OCI registries hold: the digests of images, and images and tags that are put there.
package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// ActionResolve is the kind of the action that looks a reference up again.
const ActionResolve = "resolve"

// New makes the provider.
func New() providers.Provider { return provider{} }

type provider struct{}

var tables = &providers.Schema{
	Provider: &schema.Table{
		Type: "oci",
		Doc: "Looks images up in their registries, and pushes and tags them. It needs no configuration: registries and their credentials are those that " +
			"`docker login` has stored (`~/.docker/config.json`, credential helpers included).",
	},
	Resources: resourceTables(),
	Data:      map[string]*schema.Table{imageTable.Type: imageTable},
}

var imageTable = &schema.Table{
	Type: "oci_image",
	Doc: "What an image reference stands for now. The lookup is one `HEAD` request, which doesn't count as a pull, made once " +
		"per reference and run. When a plan's actions depend on the image, apply looks again first and stops if the tag has " +
		"moved in between.\n\n" +
		"`registry.hub.docker.com/user/image`, `index.docker.io/user/image`, `docker.io/user/image` and `user/image` are the " +
		"same repository for the lookup; `reference` stays as it was written, because an app's address depends on every " +
		"character of it.",
	Example: `data "oci_image" "hello" {
  reference = "docker.io/iexechub/python-hello-world:8.0.4"
}

resource "iexec_app" "hello" {
  name      = "hello-world"
  multiaddr = data.oci_image.hello.reference
  checksum  = data.oci_image.hello.checksum
}
`,
	Attrs: []schema.Attr{
		{Name: "reference", Type: cty.String, Mode: schema.Required, Parse: parseReference,
			Doc: "Image reference: `[REGISTRY/]REPOSITORY:TAG`. As with docker, the registry is Docker Hub and the tag is `latest` unless given. " +
				"iExec workers need the tag written out. A registry on the loopback interface may speak plain HTTP, any other must speak HTTPS."},
		{Name: "platform", Type: cty.String, Mode: schema.Optional, Parse: parsePlatformValue,
			Doc: "`OS/ARCHITECTURE`, such as `linux/amd64`: take the manifest for that platform, and fail if there is none. Left out, a tag with " +
				"several platforms stands for its index, which is the digest that `docker pull` prints and what iExec apps use. " +
				"With a platform the lookup reads manifests, which counts as a pull."},
		{Name: "digest", Type: cty.String, Mode: schema.Computed,
			Doc: "Digest of the manifest or index: `sha256:` and 64 hexadecimal digits."},
		{Name: "checksum", Type: cty.String, Mode: schema.Computed,
			Doc: "The same digest in the form that `iexec_app.checksum` has: `0x` and 64 hexadecimal digits."},
		{Name: "pinned_reference", Type: cty.String, Mode: schema.Computed,
			Doc: "The reference with the digest in place of its tag: `REPOSITORY@sha256:…`. It always means the same image, but iExec workers can't pull it."},
		{Name: "media_type", Type: cty.String, Mode: schema.Computed,
			Doc: "Media type of the manifest or index, such as `application/vnd.oci.image.index.v1+json`."},
		{Name: "size", Type: cty.Number, Mode: schema.Computed,
			Doc: "Size of the manifest or index itself, in bytes."},
	},
}

func parseReference(v cty.Value) (cty.Value, error) {
	_, err := parse(v.AsString())
	return v, err
}

func parsePlatformValue(v cty.Value) (cty.Value, error) {
	_, err := parsePlatform(v.AsString())
	return v, err
}

// Schema implements providers.Provider.
func (provider) Schema() *providers.Schema { return tables }

// Open implements providers.Provider.
func (provider) Open(_ context.Context, req providers.OpenRequest) (providers.Client, error) {
	return &client{images: NewLocked(req.Locked), pushes: pushTransport(), dir: req.Dir}, nil
}

type client struct {
	images *Resolver
	pushes http.RoundTripper
	dir    string // relative sources are relative to it
}

// ReadData implements providers.Client. A reference that is a digest needs no verification.
func (c *client) ReadData(ctx context.Context, req providers.DataRequest) (providers.DataResult, error) {
	if req.Addr.Resource.Type != imageTable.Type {
		return providers.DataResult{}, fmt.Errorf("the provider oci has no data source %s, only oci_image", req.Addr.Resource.Type)
	}
	values := req.Config.AsValueMap()
	platform := ""
	if p := values["platform"]; !p.IsNull() {
		platform = p.AsString()
	}
	image, err := c.images.Resolve(ctx, values["reference"].AsString(), platform)
	if err != nil {
		return providers.DataResult{}, providers.At("reference", err)
	}
	values["digest"] = cty.StringVal(image.Digest)
	values["checksum"] = cty.StringVal(image.Checksum())
	values["pinned_reference"] = cty.StringVal(image.Pinned())
	if image.Unseen == nil { // else they are null
		values["media_type"], values["size"] = cty.StringVal(image.MediaType), cty.NumberIntVal(image.Size)
	}
	result := providers.DataResult{Value: cty.ObjectVal(values), Notices: image.Notices("reference")}
	if image.movable() {
		verify := image.VerifyAction()
		verify.Addr = req.Addr
		result.Verify = &verify
	}
	return result, nil
}

// Check implements providers.Client.
func (c *client) Check(ctx context.Context, ps []providers.Precondition) []error {
	errs := make([]error, len(ps))
	var ours []providers.Precondition
	var at []int
	for i, p := range ps {
		switch p.Kind {
		case DigestPrecondition:
			ours, at = append(ours, p), append(at, i)
		case tagPrecondition:
			errs[i] = c.checkTag(ctx, p.Payload)
		default:
			errs[i] = fmt.Errorf("the provider oci knows no precondition %q: the plan was made by another version; plan again", p.Kind)
		}
	}
	for k, err := range c.images.Check(ctx, ours) {
		errs[at[k]] = err
	}
	return errs
}

// Do implements providers.Client.
func (c *client) Do(ctx context.Context, req providers.DoRequest) (json.RawMessage, error) {
	switch req.Action.Kind {
	case ActionResolve:
		return nil, c.images.check(ctx, req.Action.Payload)
	case ActionPush:
		return nil, c.doPush(ctx, req)
	case ActionTag:
		return nil, c.doTag(ctx, req)
	}
	return nil, fmt.Errorf("the provider oci knows no action %q: the plan was made by another version; plan again", req.Action.Kind)
}
