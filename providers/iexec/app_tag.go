package iexec

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/oci"
)

// Workers pull an app's image by its tag and compare nothing, so whoever can push to the registry can change what they run,
// while the chain still has the old checksum. A plan looks what the tags of apps that stay as they are stand for now. Policy:
//   - It begins when the apps are read and is asked when all else is planned (see oci.Watch for whom it waits for), so it
//     costs no time where the registry can't be reached, and hardly any where it can.
//   - It warns and plans nothing: only a push of the old image, or another app, sets it right.
//   - Apps whose checksum is looked up need no watching: they follow their tag.

// A pinnedImage is a tag and what it must stand for.
type pinnedImage struct{ reference, digest string }

// watchTags begins to look up the tags of apps, unless nobody wants to know.
func (c *client) watchTags(ctx context.Context, reqs []providers.ReadRequest) {
	if c.pinnedTo == nil {
		return
	}
	var references []string
	for _, r := range reqs {
		app := object{r.Prior}
		if reference := app.str("multiaddr"); app.str("address") != "" && !strings.Contains(reference, "@") { // a digest can't move
			references = append(references, reference)
		}
	}
	watch := oci.NewWatch(ctx, references)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = watch
}

// pinnedAs notes that an app stays as it is, with the checksum that the configuration has.
func (c *client) pinnedAs(i addr.Instance, app object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pinnedTo != nil {
		c.pinnedTo[i] = pinnedImage{app.str("multiaddr"), digestOf(app)}
	}
}

func (c *client) stopWatching() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watch != nil {
		c.watch.Stop()
	}
}

// Noticed implements providers.Watcher.
func (c *client) Noticed(ctx context.Context, partial bool) map[addr.Instance][]providers.Notice {
	c.mu.Lock()
	watch, pinned := c.watch, maps.Clone(c.pinnedTo)
	c.mu.Unlock()
	all := map[addr.Instance][]providers.Notice{}
	aside := c.noticeReorg()
	if !partial {
		aside = append(aside, c.noticeStrays()...)
	}
	if len(aside) > 0 {
		all[addr.Instance{}] = aside
	}
	if watch == nil || len(pinned) == 0 {
		return all
	}
	unseen, why := map[string]int{}, map[string]error{}
	sights := watch.Results(ctx)
	for i, p := range pinned {
		warn := func(format string, args ...any) {
			all[i] = append(all[i], providers.Notice{Level: providers.Warning, Attr: "multiaddr", Summary: fmt.Sprintf(format, args...),
				Detail: "An app's checksum is for ever. Push the reviewed image under the tag again; or review what the tag stands for, give it a tag of its own, and deploy that as another app."})
		}
		switch seen, ok := sights[p.reference]; {
		case !ok: // the state had another reference
		case errors.Is(seen.Err, oci.ErrNotFound):
			warn("the tag %s is gone from its registry: workers can't pull the image of this app", p.reference)
		case seen.Err != nil:
			unseen[seen.Registry]++
			why[seen.Registry] = seen.Err
		case seen.Image.Digest != p.digest:
			warn("somebody pushed over the tag %s: it stands for %s now, and the app's checksum is that of %s. What workers will run is no longer what was reviewed", p.reference, seen.Image.Digest, p.digest)
		}
	}
	for _, registry := range slices.Sorted(maps.Keys(unseen)) {
		all[addr.Instance{}] = append(all[addr.Instance{}], providers.Notice{Level: providers.Info, Attr: "watch_tags",
			Summary: fmt.Sprintf("whether the tags of %s at %s still stand for what was reviewed is not known: %s", countOf(unseen[registry], "app"), registry, reasonOf(why[registry]))})
	}
	return all
}

// reasonOf is why a tag was not seen, in few words.
func reasonOf(err error) string {
	for _, known := range []error{oci.ErrDenied, oci.ErrUnavailable} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return err.Error()
}

func countOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
