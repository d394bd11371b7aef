package fake_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/fake"
	"github.com/iexecform/iexecform/providers/providertest"
)

const config = `
resource "fake_thing" "a" {
  kind = "box"
  size = 2
}
resource "fake_thing" "b" {
  kind    = "can"
  prepare = true
  ref     = fake_thing.a.id
}
`

// The provider keeps the rules of every provider, with the store that users have.
func TestProvider(t *testing.T) {
	var cloud fake.Cloud
	p := providertest.New(t, providers.Registry{"fake": fake.New(&cloud, fake.Faults{})})
	p.Write(config)
	p.Apply()
	p.Settled()
	p.LoseState()
	p.Apply()
	p.Settled()
	want := []string{"create box/a", "prepare can/b", "create can/b"}
	got := cloud.History()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("effects %v, want %v", got, want)
	}
	if token := p.Value("fake_thing.b").GetAttr("token").AsString(); token != cloud.Things()["can/b"].Token {
		t.Errorf("the state has token %s, the cloud %s", token, cloud.Things()["can/b"].Token)
	}
	p.Options.Mode = plan.Destroy
	p.Apply()
	p.Settled()
	if things := cloud.Things(); len(things) > 0 {
		t.Errorf("left behind: %v", things)
	}
}

// A fault of Before prevents the effect and leaves nothing unsettled; a fault of After only loses the answer.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		faults  func(func(context.Context, fake.Call) error) fake.Faults
		things  int
		pending int
	}{
		"before": {func(f func(context.Context, fake.Call) error) fake.Faults { return fake.Faults{Before: f} }, 0, 0},
		"after":  {func(f func(context.Context, fake.Call) error) fake.Faults { return fake.Faults{After: f} }, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var cloud fake.Cloud
			fail := func(_ context.Context, c fake.Call) error {
				if c.Op == fake.OpCreate {
					return errors.New("fault")
				}
				return nil
			}
			p := providertest.New(t, providers.Registry{"fake": fake.New(&cloud, c.faults(fail))})
			p.Write(config)
			result, err := p.TryApply(t.Context(), p.Plan())
			if err != nil || result.Failed != 1 {
				t.Fatalf("result %+v, error %v", result, err)
			}
			if things, pending := len(cloud.Things()), len(p.State().Pending); things != c.things || pending != c.pending {
				t.Errorf("%d things and %d notes, want %d and %d", things, pending, c.things, c.pending)
			}
			p.Providers = providers.Registry{"fake": fake.New(&cloud, fake.Faults{})}
			p.Apply()
			p.Settled()
			if n := len(cloud.Things()); n != 2 {
				t.Errorf("%d things, want 2", n)
			}
		})
	}
}
