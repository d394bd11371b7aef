package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// The resources are tags in registries: oci_image pushes what is on this machine under a tag, oci_tag gives an image that is
// in a registry another tag. Both know the digest when they are planned. Policy: a tag that stands for another digest is
// overwritten only where mutable says so, the plan shows both digests, and apply refuses when the tag has moved since. What
// is there is not sent again, so a push that was cut goes on with the layers that are missing. Nothing is ever deleted.

// The kinds of actions.
const (
	ActionPush = "push"
	ActionTag  = "tag"
)

// tagPrecondition is the kind of the precondition that a tag stands for what it did, or for nothing.
const tagPrecondition = "oci_tag"

const (
	imageType = "oci_image"
	tagType   = "oci_tag"
)

func resourceTables() map[string]*schema.Table {
	known := []schema.Attr{
		{Name: "digest", Type: cty.String, Mode: schema.Computed, Doc: "Digest of the manifest or index: `sha256:` and 64 hexadecimal digits. Known at plan time."},
		{Name: "checksum", Type: cty.String, Mode: schema.Computed, Doc: "The same digest in the form that `iexec_app.checksum` has: `0x` and 64 hexadecimal digits."},
		{Name: "pinned_reference", Type: cty.String, Mode: schema.Computed, Doc: "The reference with the digest in place of its tag: `REPOSITORY@sha256:…`."},
	}
	content := []schema.Attr{
		{Name: "media_type", Type: cty.String, Mode: schema.Computed, Doc: "Media type of the manifest or index."},
		{Name: "size", Type: cty.Number, Mode: schema.Computed, Doc: "Size of the manifest or index itself, in bytes."},
	}
	target := []schema.Attr{
		{Name: "reference", Type: cty.String, Mode: schema.Required, ForceNew: true, Parse: parseTag,
			Doc: "Where it goes: `[REGISTRY/]REPOSITORY:TAG`. The tag must be written out: iExec workers pull by tag."},
		{Name: "mutable", Type: cty.Bool, Mode: schema.Optional, Default: cty.False,
			Doc: "Whether the tag may be overwritten when it stands for another digest. An app on chain has one checksum for ever, so a tag of its own for each release is safer."},
	}
	image := &schema.Table{
		Type: imageType,
		Doc: "An image of this machine, pushed under a tag: what `docker tag` and `docker push` do. Its digest is known when it is planned, so `checksum` can be that of an app " +
			"in the same plan. Indexes of several platforms stay whole. What the registry has is not sent again.\n\n" +
			"A tag that stands for another digest is overwritten only with `mutable = true`, and the plan shows both digests. Destroying the resource forgets it: the image stays in the registry.",
		Example: "resource \"oci_image\" \"blur\" {\n  source    = \"blur.tar\" # made by docker save\n  reference = \"docker.io/you/blur-faces:1.0\"\n}\n\n" +
			"resource \"iexec_app\" \"blur\" {\n  name      = \"blur-faces\"\n  multiaddr = oci_image.blur.reference\n  checksum  = oci_image.blur.checksum\n}\n",
		Attrs: append([]schema.Attr{{Name: "source", Type: cty.String, Mode: schema.Required,
			Doc: "What is pushed: a docker archive (`docker save`), the directory of an OCI layout, or `engine:NAME:TAG` for an image of the local engine."}}, slices.Concat(target, known, content)...),
	}
	tag := &schema.Table{
		Type: tagType,
		Doc: "Another tag for an image that is in a registry: `docker tag` without pulling. Within a repository nothing but the manifest is sent.\n\n" +
			"A tag that stands for another digest is overwritten only with `mutable = true`. Destroying the resource forgets it: the tag stays.",
		Example: "resource \"oci_tag\" \"stable\" {\n  source    = oci_image.blur.pinned_reference\n  reference = \"docker.io/you/blur-faces:stable\"\n  mutable   = true\n}\n",
		Attrs: append([]schema.Attr{{Name: "source", Type: cty.String, Mode: schema.Required, Parse: parseReference,
			Doc: "The image: a reference by tag, which is followed, or by digest."}}, slices.Concat(target, known)...),
	}
	return map[string]*schema.Table{imageType: image, tagType: tag}
}

func parseTag(v cty.Value) (cty.Value, error) {
	_, err := tagOf(v.AsString())
	return v, err
}

// tagOf reads a reference that names a tag.
func tagOf(reference string) (name.Tag, error) {
	ref, err := parse(reference)
	if err != nil {
		return name.Tag{}, err
	}
	tag, ok := ref.(name.Tag)
	last := reference[strings.LastIndexByte(reference, '/')+1:]
	if !ok || !strings.Contains(last, ":") {
		return name.Tag{}, fmt.Errorf("%q names no tag: want [REGISTRY/]REPOSITORY:TAG, such as docker.io/user/image:1.0", reference)
	}
	return tag, nil
}

// A target is one resource on the way through plan and apply. It is the payload of its actions.
type target struct {
	Source    string `json:"source"`
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	Before    string `json:"before,omitempty"` // digest that the tag stands for at plan time; "": none
}

// value is an object with what is computed.
func value(o schema.Object, i Image) schema.Object {
	attrs := map[string]cty.Value{
		"digest": cty.StringVal(i.Digest), "checksum": cty.StringVal(i.Checksum()), "pinned_reference": cty.StringVal(i.Pinned()),
	}
	if o.Has("size") { // of a tag's source, which may be pushed by the same plan, it isn't known
		attrs["media_type"], attrs["size"] = cty.StringVal(i.MediaType), cty.NumberIntVal(i.Size)
	}
	return o.With(attrs)
}

// Read implements providers.Client: what the tags stand for now.
func (c *client) Read(ctx context.Context, reqs []providers.ReadRequest) []providers.ReadResult {
	results := make([]providers.ReadResult, len(reqs))
	each(len(reqs), func(i int) {
		prior := reqs[i].Prior
		found, err := c.images.Resolve(ctx, prior.Text("reference"), "")
		switch {
		case errors.Is(err, ErrNotFound):
			results[i].Current = prior.Null()
		case err != nil:
			results[i].Err = err
		case found.Digest == prior.Text("digest"):
			results[i].Current = prior
		default:
			results[i].Current = value(prior, found)
			results[i].Notices = []providers.Notice{{Level: providers.Warning, Attr: "reference",
				Summary: fmt.Sprintf("somebody pushed over %s: it stood for %s, and now for %s", prior.Text("reference"), prior.Text("digest"), found.Digest)}}
		}
	})
	return results
}

// Plan implements providers.Client.
func (c *client) Plan(ctx context.Context, reqs []providers.PlanRequest) []providers.PlanResult {
	results := make([]providers.PlanResult, len(reqs))
	each(len(reqs), func(i int) {
		req := reqs[i]
		if req.Desired.IsNull() {
			results[i] = providers.PlanResult{Kind: providers.Forget, Planned: req.Desired, Because: []string{"it stays in the registry"}}
			return
		}
		results[i] = c.plan(ctx, req)
	})
	return results
}

func (c *client) plan(ctx context.Context, req providers.PlanRequest) providers.PlanResult {
	fail := func(attr string, err error) providers.PlanResult {
		return providers.PlanResult{Err: providers.At(attr, err)}
	}
	d := req.Desired
	t := target{Source: d.Text("source"), Reference: d.Text("reference")}
	wanted, err := c.wanted(ctx, req.Addr.Resource.Type, t)
	if err != nil {
		return fail("source", err)
	}
	t.Digest = wanted.Digest
	wanted.Reference = t.Reference
	r := providers.PlanResult{Planned: value(d, wanted.Image)}
	if !req.Current.IsNull() && req.Current.Text("reference") == t.Reference {
		t.Before = req.Current.Text("digest")
	} else if t.Before, err = c.digestOf(ctx, t.Reference); err != nil {
		return fail("reference", err)
	}
	switch {
	case t.Before == t.Digest && req.Prior.IsNull():
		r.Kind, r.Found, r.Because = providers.Adopt, r.Planned, []string{"the registry has it under this tag already"}
		return r
	case t.Before == t.Digest && r.Planned.Equal(req.Prior):
		r.Kind = providers.NoOp
		return r
	case t.Before == t.Digest:
		r.Kind = providers.Update
		return r
	case t.Before == "":
		r.Kind = providers.Create
		if !req.Current.IsNull() {
			r.Kind = providers.Replace
		}
	case d.Attr("mutable").False():
		return fail("reference", fmt.Errorf("the tag %s stands for %s, and the source is %s: use a tag of its own for each release, or set mutable = true to overwrite it", t.Reference, t.Before, t.Digest))
	default:
		r.Kind = providers.Replace
		r.Because = []string{fmt.Sprintf("the tag moves from %s to %s", t.Before, t.Digest)}
	}
	kind, what := ActionPush, "push"
	if req.Addr.Resource.Type == tagType {
		kind, what = ActionTag, "tag"
	}
	a := providers.Action{Kind: kind, Summary: fmt.Sprintf("%s %s as %s", what, t.Digest, t.Reference), Payload: marshal(t), Cost: providers.Cost{Requests: 1},
		Expect: []providers.Precondition{t.precondition()}}
	if kind == ActionTag && wanted.movableSource {
		a.Expect = append(a.Expect, Image{Reference: t.Source, Digest: t.Digest}.Precondition())
	}
	r.Actions = []providers.Action{a}
	return r
}

// A source is what is to be pushed or tagged.
type source struct {
	Image
	movableSource bool
}

// wanted looks what the source is.
func (c *client) wanted(ctx context.Context, typ string, t target) (source, error) {
	if typ == tagType {
		if _, digest, ok := strings.Cut(t.Source, "@"); ok { // it may be pushed by this very plan
			return source{Image: Image{Digest: digest}}, nil
		}
		image, err := c.images.Resolve(ctx, t.Source, "")
		return source{Image: image, movableSource: true}, err
	}
	tag, err := tagOf(t.Reference)
	if err != nil {
		return source{}, err
	}
	local, end, err := openContent(ctx, c.dir, t.Source, tag)
	if err != nil {
		return source{}, err
	}
	defer end()
	image, err := describe(local)
	if err != nil {
		return source{}, fmt.Errorf("%s: %w", t.Source, err)
	}
	return source{Image: image}, nil
}

func describe(c content) (i Image, err error) {
	hash, err := c.Digest()
	if err != nil {
		return i, err
	}
	media, err := c.MediaType()
	if err != nil {
		return i, err
	}
	i.Digest, i.MediaType = hash.String(), string(media)
	i.Size, err = c.Size()
	return i, err
}

// digestOf is what a tag stands for, or "".
func (c *client) digestOf(ctx context.Context, reference string) (string, error) {
	image, err := c.images.Resolve(ctx, reference, "")
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return image.Digest, err
}

func (t target) precondition() providers.Precondition {
	summary := t.Reference + " doesn't exist"
	if t.Before != "" {
		summary = t.Reference + " is still " + t.Before
	}
	return providers.Precondition{Kind: tagPrecondition, Summary: summary, Payload: marshal(t)}
}

// checkTag tells whether a tag still stands for what it did when it was planned. That it is as wanted already is well, too.
func (c *client) checkTag(ctx context.Context, payload json.RawMessage) error {
	var t target
	if err := json.Unmarshal(payload, &t); err != nil {
		return err
	}
	now, err := c.now(ctx, t.Reference)
	switch {
	case err != nil:
		return err
	case now == t.Before || now == t.Digest:
		return nil
	case now == "":
		return fmt.Errorf("the tag %s is gone: it stood for %s when the plan was made", t.Reference, t.Before)
	case t.Before == "":
		return fmt.Errorf("the tag %s was pushed in the meantime: it stands for %s", t.Reference, now)
	}
	return fmt.Errorf("the tag %s moved from %s to %s since the plan was made", t.Reference, t.Before, now)
}

// now is what a tag stands for at this moment, or "".
func (c *client) now(ctx context.Context, reference string) (string, error) {
	image, err := c.images.refresh(ctx, request{reference: reference})
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return image.Digest, err
}

// doPush makes sure that the tag stands for the content. SIDE EFFECTS: uploads what the registry lacks.
func (c *client) doPush(ctx context.Context, req providers.DoRequest) error {
	var t target
	if err := json.Unmarshal(req.Action.Payload, &t); err != nil {
		return fmt.Errorf("payload of action %d: %w", req.Action.ID, err)
	}
	if now, err := c.now(ctx, t.Reference); err != nil || now == t.Digest {
		return err
	}
	tag, err := tagOf(t.Reference)
	if err != nil {
		return err
	}
	local, end, err := openContent(ctx, c.dir, t.Source, tag)
	if err != nil {
		return err
	}
	defer end()
	image, err := describe(local)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Source, err)
	}
	if image.Digest != t.Digest {
		return fmt.Errorf("%s is %s, and the plan was made for %s: it was built again since. Plan again", t.Source, image.Digest, t.Digest)
	}
	return c.send(ctx, tag, local, t, req.Progress)
}

// doTag makes sure that the tag stands for the image of the registry. SIDE EFFECTS: uploads what the repository lacks.
func (c *client) doTag(ctx context.Context, req providers.DoRequest) error {
	var t target
	if err := json.Unmarshal(req.Action.Payload, &t); err != nil {
		return fmt.Errorf("payload of action %d: %w", req.Action.ID, err)
	}
	if now, err := c.now(ctx, t.Reference); err != nil || now == t.Digest {
		return err
	}
	tag, err := tagOf(t.Reference)
	if err != nil {
		return err
	}
	from, err := parse(t.Source)
	if err != nil {
		return err
	}
	found, err := remote.Get(from.Context().Digest(t.Digest), c.options(ctx)...)
	if err != nil {
		return explain(t.Source, from, err)
	}
	if from.Context().String() == tag.Context().String() {
		if err := remote.Tag(tag, found, c.options(ctx)...); err != nil {
			return explain(t.Reference, tag, err)
		}
		return c.landed(ctx, t)
	}
	var copied content
	if found.MediaType.IsIndex() {
		copied, err = found.ImageIndex()
	} else {
		copied, err = found.Image()
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", t.Source, err)
	}
	return c.send(ctx, tag, copied, t, req.Progress)
}

// send pushes content, telling how far it is.
func (c *client) send(ctx context.Context, tag name.Tag, what content, t target, progress func(providers.Progress)) error {
	m, err := newMeter(c.pushes, what, tellPush(t, progress))
	if err != nil {
		return fmt.Errorf("%s: %w", t.Source, err)
	}
	if err := remote.Push(tag, what, append(c.options(ctx), remote.WithTransport(m))...); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("push %s: %w. What was sent stays there: the next apply sends the rest", t.Reference, explain(t.Reference, tag, err))
	}
	return c.landed(ctx, t)
}

// landed looks whether the tag stands for what was sent.
func (c *client) landed(ctx context.Context, t target) error {
	now, err := c.now(ctx, t.Reference)
	if err == nil && now != t.Digest {
		err = fmt.Errorf("%s was pushed, but the tag %s stands for %q: somebody else pushed at the same time, or the registry changed it", t.Digest, t.Reference, now)
	}
	return err
}

// tellPush tells each tenth of a push, and at most once a second.
func tellPush(t target, progress func(providers.Progress)) func(complete, total int64) {
	var last time.Time
	var told int64 = -1
	return func(complete, total int64) {
		tenth := 10 * complete / max(1, total)
		if tenth == told || time.Since(last) < time.Second && complete < total {
			return
		}
		last, told = time.Now(), tenth
		progress(providers.Progress{Type: "push_progress", Message: fmt.Sprintf("%s of %s sent", megabytes(complete), megabytes(total)),
			Fields: map[string]string{"reference": t.Reference, "complete": fmt.Sprint(complete), "total": fmt.Sprint(total)}})
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// options are those of every request that pushes. What is uploaded can't be sent again by the transport: the library begins the
// upload anew.
func (c *client) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithTransport(c.pushes),
		remote.WithRetryBackoff(remote.Backoff{Duration: 500 * time.Millisecond, Factor: 3, Jitter: 0.2, Steps: 4}), remote.WithUserAgent("iexecform"), remote.WithJobs(4),
	}
}

// pushTransport has more patience than that of lookups: registries answer a large upload when they have checked it.
func pushTransport() http.RoundTripper {
	t := Transport()
	t.ResponseHeaderTimeout = 10 * time.Minute
	return t
}

// each calls f for 0 to n-1, side by side: the resolver limits requests.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func marshal(v any) json.RawMessage {
	b, _ := json.Marshal(v) // strings only: can't fail
	return b
}
