package iexec

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// categoryData is the data source iexec_category: how long tasks may take.
type categoryData struct{}

func (categoryData) table() *schema.Table {
	return &schema.Table{
		Type:    "iexec_category",
		Doc:     "A category of tasks, by its id or its name. Workerpool orders and request orders name one.",
		Example: "data \"iexec_category\" \"small\" {\n  name = \"S\"\n}\n",
		Attrs: []schema.Attr{
			uintAttr(schema.Attr{Name: "id", Mode: schema.OptionalComputed, Doc: "Number of the category. Give it or `name`."}, 0),
			textAttr(schema.Attr{Name: "name", Mode: schema.OptionalComputed, Doc: "Name of the category, such as `XS`; of several with that name the first is taken."}),
			{Name: "description", Type: cty.String, Mode: schema.Computed, Doc: "Its description."},
			{Name: "max_time", Type: cty.Number, Mode: schema.Computed, Doc: "How long a task may run, in seconds (workClockTimeRef). Final deadline of a deal is ten times that."},
		},
	}
}

type category struct {
	Name, Description string
	WorkClockTimeRef  *big.Int
}

func (categoryData) readData(ctx context.Context, c *client, req providers.DataRequest) (providers.DataResult, error) {
	if err := c.pin(ctx); err != nil {
		return providers.DataResult{}, err
	}
	d := objectOf(req.Config)
	id, name := d.num("id"), d.str("name")
	if (id == nil) == (name == "") {
		return providers.DataResult{}, errors.New("a category is chosen by its id or by its name: set one of the two")
	}
	all, err := c.categories(ctx)
	if err != nil {
		return providers.DataResult{}, err
	}
	at := slices.IndexFunc(all, func(x category) bool { return x.Name == name })
	attr := "name"
	if id != nil {
		attr, at = "id", -1
		if id.IsInt64() && id.Int64() < int64(len(all)) {
			at = int(id.Int64())
		}
	}
	if at < 0 {
		var known []string
		for i, x := range all {
			known = append(known, fmt.Sprintf("%d (%s)", i, x.Name))
		}
		return providers.DataResult{}, providers.At(attr, fmt.Errorf("chain %d has no such category; it has %s", c.ID, strings.Join(known, ", ")))
	}
	return providers.DataResult{Value: d.with(map[string]cty.Value{
		"id": cty.NumberIntVal(int64(at)), "name": cty.StringVal(all[at].Name), "description": cty.StringVal(all[at].Description),
		"max_time": bigNumber(all[at].WorkClockTimeRef),
	}).Cty()}, nil
}

// categories reads all categories at the pinned block.
func (c *client) categories(ctx context.Context) ([]category, error) {
	out := c.chain.Calls(ctx, []chain.Call{{To: c.Hub, Data: pack(poco.HubABI().Pack("countCategory"))}})[0]
	if out.Err != nil {
		return nil, fmt.Errorf("count the categories: %w", out.Err)
	}
	const most = 10_000 // there are five; a wrong hub may answer anything
	count := new(big.Int).SetBytes(out.Data)
	if !count.IsInt64() || count.Int64() > most {
		return nil, fmt.Errorf("the hub at %s says it has %s categories: is it the PoCo hub?", c.Hub, count)
	}
	calls := make([]chain.Call, count.Int64())
	for i := range calls {
		calls[i] = chain.Call{To: c.Hub, Data: pack(poco.HubABI().Pack("viewCategory", big.NewInt(int64(i))))}
	}
	all := make([]category, len(calls))
	for i, r := range c.chain.Calls(ctx, calls) {
		var view struct{ Category category }
		err := r.Err
		if err == nil {
			err = poco.HubABI().UnpackIntoInterface(&view, "viewCategory", r.Data)
		}
		if err != nil {
			return nil, fmt.Errorf("read category %d: %w", i, err)
		}
		all[i] = view.Category
	}
	return all, nil
}
