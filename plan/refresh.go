package plan

import (
	"cmp"
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/providers"
)

// Reading what exists: the objects of the state are decoded and read while the evaluation goes on.

// refresh begins to decode and read the objects of one provider configuration, in one call a type, side by side, while the
// evaluation goes on. What is read is taken in by refreshed.
func (b *builder) refresh(ctx context.Context, p addr.Provider) {
	byType := map[string][]addr.Instance{}
	name := p.String()
	for i, object := range b.State.Snapshot.Resources {
		if object.Provider == name && !matches(b.Exclude, i) {
			byType[i.Resource.Type] = append(byType[i.Resource.Type], i)
		}
	}
	client, _ := b.session.Client(p)
	for typ, instances := range byType {
		part := make(chan readPart, 1)
		b.reading[objectsOf{p, typ}] = part
		go func() { part <- b.readType(ctx, client, instances) }()
	}
}

// objectsOf is the objects of one type that one provider configuration has in the state.
type objectsOf struct {
	provider addr.Provider
	typ      string
}

// refreshed waits for objects to be read. What can't be read is left out of the plan, and the rest goes on.
func (b *builder) refreshed(of objectsOf) {
	reading := b.reading[of]
	if reading == nil {
		return
	}
	delete(b.reading, of)
	part := <-reading
	for n, i := range part.instances {
		o := &part.objects[n]
		b.objects[i] = o
		switch {
		case o.Err == nil:
		case o.prior.IsZero():
			b.unread = b.unread.Append(errorf("Damaged state", "%s in the state: %s. Restore the state, or run `iexecform state rm '%s'`: plan will find what exists.", i, o.Err, i))
		case !b.told[o.Err.Error()]: // one fault of the network is one message, not one an object
			b.told[o.Err.Error()] = true
			b.unread = b.unread.Append(caused(errorf("Cannot read what exists", "%s: %s.", i, textOf(o.Err)), o.Err))
		}
	}
}

// allRefreshed waits for all objects, in a fixed order.
func (b *builder) allRefreshed() {
	all := slices.SortedFunc(maps.Keys(b.reading), func(x, y objectsOf) int {
		return cmp.Or(cmp.Compare(x.provider.String(), y.provider.String()), cmp.Compare(x.typ, y.typ))
	})
	for _, of := range all {
		b.refreshed(of)
	}
}

// A readPart is the objects of one type as the state has them and as they were read.
type readPart struct {
	instances []addr.Instance
	objects   []object
}

func (b *builder) readType(ctx context.Context, client providers.Client, instances []addr.Instance) readPart {
	slices.SortFunc(instances, addr.Instance.Compare)
	part := readPart{instances: instances, objects: b.decode(instances)}
	reqs := make([]providers.ReadRequest, 0, len(instances))
	places := make([]int, 0, len(instances))
	for n, i := range instances {
		switch o := &part.objects[n]; {
		case o.Err != nil:
		case b.SkipRefresh:
			o.Current = o.prior
		default:
			reqs, places = append(reqs, providers.ReadRequest{Addr: i, Prior: o.prior}), append(places, n)
		}
	}
	if len(reqs) == 0 {
		return part
	}
	for k, result := range client.Read(ctx, reqs) {
		part.objects[places[k]].ReadResult = result
	}
	return part
}

// decode reads the objects of the state, on all processors.
func (b *builder) decode(instances []addr.Instance) []object {
	objects := make([]object, len(instances))
	letGo := b.PlanOnly && len(b.Imports) == 0 && !b.Config.HasImports() // see managedBy
	share := 1 + (len(instances)-1)/runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for from := 0; from < len(instances); from += share {
		wg.Go(func() {
			dec := newDecoder()
			mine := objects[from:min(from+share, len(objects))]
			for n := range mine {
				i, o := instances[from+n], &mine[n]
				o.stored = b.State.Snapshot.Resources[i]
				if o.prior, o.Err = dec.object(b.Providers, i.Resource.Type, o.stored); letGo {
					o.stored.Attributes = nil
				}
			}
		})
	}
	wg.Wait()
	return objects
}

// refreshWave waits for the objects of the types that the instances of a wave have.
func (b *builder) refreshWave(instances []config.Instance) {
	if len(b.reading) == 0 {
		return
	}
	provider, typ := "", ""
	for i := range instances {
		a := instances[i].Addr
		if object := b.State.Snapshot.Resources[a]; object != nil && (object.Provider != provider || a.Resource.Type != typ) {
			provider, typ = object.Provider, a.Resource.Type
			b.refreshed(objectsOf{addr.ParseProvider(provider), typ})
		}
	}
}
