package iexec

import (
	"context"
	"maps"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// entryData is the data source of one kind of registry entry, as the chain has it: iexec_app, iexec_dataset, iexec_workerpool.
type entryData struct{ entry }

func (d entryData) table() *schema.Table {
	noun, a := d.kind.Noun, d.a()
	t := &schema.Table{
		Type:    d.typ(),
		Doc:     string(a[0]-'a'+'A') + a[1:] + " that is registered on chain, whoever owns it.",
		Example: "data \"" + d.typ() + "\" \"theirs\" {\n  address = \"0x201B033C191C6d9640B80C672d7E0C62b933f293\"\n}\n",
		Attrs: []schema.Attr{
			addressAttr(schema.Attr{Name: "address", Mode: schema.Required, Doc: "Address of the " + noun + "."}),
			addressAttr(schema.Attr{Name: "owner", Mode: schema.Computed, Doc: "Owner of the " + noun + "."}),
		},
	}
	for _, a := range d.fields {
		t.Attrs = append(t.Attrs, schema.Attr{Name: a.Name, Type: a.Type, Mode: schema.Computed, Doc: d.shown[a.Name]})
	}
	for _, y := range d.policies {
		t.Attrs = append(t.Attrs, schema.Attr{Name: y.Name, Type: y.Type, Mode: schema.Computed, Doc: d.shown[y.Name]})
	}
	return t
}

func (d entryData) readData(ctx context.Context, c *client, req providers.DataRequest) (providers.DataResult, error) {
	address := objectOf(req.Config).address("address")
	errs := make([]error, 1)
	views, err := c.viewsOf(ctx, d.kind, []common.Address{address}, errs)
	if err != nil {
		return providers.DataResult{}, err
	}
	if errs[0] != nil {
		return providers.DataResult{}, providers.At("address", errs[0])
	}
	attrs, _ := views[0].attrs(d.kind, address) // a likeness is enough to look at
	value := map[string]cty.Value{}
	maps.Copy(value, attrs)
	return providers.DataResult{Value: cty.ObjectVal(value)}, nil
}
