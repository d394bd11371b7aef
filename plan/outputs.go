package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/state"
)

func compareText(a, b string) int { return strings.Compare(a, b) }

// outputChanges compares the remembered outputs with those of an evaluation. With partial, outputs that the evaluation
// lacks are kept.
func outputChanges(s *state.Snapshot, evaluation *config.Evaluation, partial bool) []OutputChange {
	names := map[string]bool{}
	for name := range s.Outputs {
		names[name] = true
	}
	for name := range evaluation.Outputs {
		names[name] = true
	}
	var changes []OutputChange
	for _, name := range slices.Sorted(maps.Keys(names)) {
		c := OutputChange{Name: name, Before: cty.NilVal, After: cty.NilVal}
		if old, ok := s.Outputs[name]; ok {
			c.Sensitive = old.Sensitive
			c.Before = DecodeOutput(old)
		}
		if now, ok := evaluation.Outputs[name]; ok {
			c.After, c.Description = now.Value, now.Description
			wasSensitive := c.Sensitive
			c.Sensitive = now.Sensitive
			if now.Sensitive {
				c.After = cty.NullVal(cty.DynamicPseudoType)
				if c.Before != cty.NilVal && !wasSensitive {
					c.Before = cty.NilVal
				}
			} else if wasSensitive {
				c.Before = cty.NilVal
			}
		} else if partial {
			c.After = c.Before
		}
		changes = append(changes, c)
	}
	return changes
}

// DecodeOutput is a remembered output's value; a sensitive one is null.
func DecodeOutput(o state.Output) cty.Value {
	null := cty.NullVal(cty.DynamicPseudoType)
	if o.Sensitive {
		return null
	}
	typ, err := ctyjson.UnmarshalType(o.Type)
	if err != nil {
		return null
	}
	v, err := DecodeValue(o.Value, typ)
	if err != nil {
		return null
	}
	return v
}

// EncodeOutput is a wholly known output as it is remembered.
func EncodeOutput(v cty.Value, sensitive bool) (state.Output, error) {
	if sensitive {
		return state.Output{Sensitive: true}, nil
	}
	typ, err := ctyjson.MarshalType(v.Type())
	if err != nil {
		return state.Output{}, err
	}
	value, err := ctyjson.Marshal(v, v.Type())
	return state.Output{Type: typ, Value: value}, err
}
