package plan

import (
	"context"
	"maps"
	"slices"

	"github.com/iexecform/iexecform/providers"
)

// groupActions lets clients put together what they can do in one go. Only actions of one depth in the graph are offered:
// they don't wait for one another, and neither do the groups that are made of them.
func (b *builder) groupActions(ctx context.Context) {
	type key struct {
		provider, batch string
		depth           int
	}
	depth := make([]int, len(b.plan.Actions))
	offers := map[key][]*providers.Action{}
	for i := range b.plan.Actions {
		a := &b.plan.Actions[i]
		for _, id := range a.After {
			depth[i] = max(depth[i], depth[id-1]+1)
		}
		if a.Batch != "" {
			k := key{a.Provider, a.Batch, depth[i]}
			offers[k] = append(offers[k], a)
		}
	}
	inOrder := slices.SortedFunc(maps.Keys(offers), func(x, y key) int { return offers[x][0].ID - offers[y][0].ID })
	for _, p := range b.session.Providers() {
		client, _ := b.session.Client(p)
		batcher, ok := client.(providers.Batcher)
		if !ok {
			continue
		}
		for _, k := range inOrder {
			actions := offers[k]
			if k.provider != p.String() || len(actions) < 2 {
				continue
			}
			groups, notices := batcher.Batch(ctx, actions)
			for _, group := range groups {
				for _, n := range group {
					actions[n].Group = actions[group[0]].ID
				}
			}
			for _, n := range notices {
				b.plan.Notices = append(b.plan.Notices, Notice{Provider: p.String(), Notice: n})
			}
		}
	}
}
