package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/modules"
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers/oci"
)

// Images whose digests the configuration leaves open are followed: a tag that moves is a change of the next plan. Locked in
// the lock file they stay what they are, and a plan warns of a tag that moved, until init --upgrade takes the new one.

// followed are the attributes with a reference of which the digest is looked up, unless the other attribute is set.
var followed = map[addr.Resource]struct{ reference, unless string }{
	{Mode: addr.Data, Type: "oci_image"}:    {"reference", "platform"},
	{Mode: addr.Managed, Type: "iexec_app"}: {"multiaddr", "checksum"},
}

// lockImages locks the images that the configuration leaves open, as far as their references are known without network, and
// reports whether the lock file changed. SIDE EFFECTS: the lock file.
func (a *app) lockImages(ctx context.Context, v remarks, c *config.Config, o moduleFlags) (changed bool, err error) {
	locked, err := modules.Images(a.dir)
	if err != nil || len(locked) == 0 && !o.images {
		return false, err
	}
	references, err := a.openImages(c)
	if err != nil {
		return false, err
	}
	resolver, now := oci.NewResolver(), map[string]string{}
	for _, reference := range references {
		if digest := locked[reference]; digest != "" && !o.upgrade {
			now[reference] = digest
			continue
		}
		image, err := resolver.Resolve(ctx, reference, "")
		switch {
		case errors.Is(err, oci.ErrNotFound):
			_ = v.Remark("image_missing", "%s is not there yet, so it is not locked.", reference) // a remark
			continue
		case err != nil:
			return false, fmt.Errorf("lock the image %s: %w", reference, err)
		}
		if now[reference] = image.Digest; locked[reference] != image.Digest {
			_ = v.Remark("image_locked", "Locked %s: %s.", reference, image.Digest) // a remark
		}
	}
	if maps.Equal(locked, now) {
		return false, nil
	}
	if o.lockfile == "readonly" {
		return false, fmt.Errorf("--lockfile=readonly: %s would have other images. Run `iexecform init` without it, and commit the file", modules.LockFile)
	}
	return true, modules.LockImages(a.dir, now)
}

// openImages are the references whose digests the configuration leaves open, sorted; without those of images that it pushes.
func (a *app) openImages(c *config.Config) ([]string, error) {
	inputs, diags := c.Inputs(config.InputSources{Environ: a.env, Partial: true})
	if diags.HasErrors() {
		return nil, &failure{err: diags, sources: c.Files()}
	}
	blocks, diags := c.Inspect(inputs)
	if diags.HasErrors() {
		return nil, &failure{err: diags, sources: c.Files()}
	}
	open := map[string]bool{}
	for _, b := range blocks {
		attrs, ok := followed[addr.Resource{Mode: b.Addr.Resource.Mode, Type: b.Addr.Resource.Type}]
		if !ok || madeHere(b.Expression(attrs.reference)) || b.Expression(attrs.unless) != nil || !b.Value.Has(attrs.reference) {
			continue
		}
		v := b.Value.Attr(attrs.reference)
		if v.Type() == cty.String && v.IsKnown() && !v.IsNull() && !strings.Contains(v.AsString(), "@") {
			open[v.AsString()] = true
		}
	}
	return slices.Sorted(maps.Keys(open)), nil
}

// madeHere reports whether an expression refers to a resource.
func madeHere(expr hcl.Expression) bool {
	return expr != nil && slices.ContainsFunc(expr.Variables(), func(t hcl.Traversal) bool { return strings.Contains(t.RootName(), "_") })
}
