// Package backends is the places where states can be kept, and the ways to encrypt them: the tables of the blocks that say
// so, and what is made of these.
//
// An argument comes from its block, from `init --backend-config`, or from the environment, in this order. Secrets come from the
// environment only, and are in no file and no message.
package backends

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/state"
)

// kind is one kind of place.
type kind struct {
	table *schema.Table
	open  func(ctx context.Context, s settings, codec *state.Codec) (state.Backend, error)
	// foreign are variables of other tools that an argument may come from too, as a prefix of its name in capitals.
	foreign string
}

func kinds() map[string]kind {
	return map[string]kind{
		"http":  {table: httpTable(), open: openHTTP, foreign: "TF_HTTP_"},
		"local": {table: localTable(), open: openLocal},
		"pg":    {table: pgTable(), open: openPG, foreign: "PG_"},
		"s3":    {table: s3Table(), open: openS3},
	}
}

// Local is the type of the backend that is used where none is configured.
const Local = "local"

// Tables are the tables of all backend and encryption blocks.
func Tables() config.StateTables {
	t := config.StateTables{"backend": {}, "encryption": {"age": ageTable()}}
	for name, k := range kinds() {
		t["backend"][name] = k.table
	}
	return t
}

// Environment is what a backend gets of the world.
type Environment struct {
	Getenv func(string) string
	Path   func(string) string // of a file that is named relative to the configuration
}

// Open opens a backend. SIDE EFFECTS: none; it is reached when something is asked of it.
func Open(ctx context.Context, typ string, values map[string]cty.Value, env Environment, codec *state.Codec) (state.Backend, error) {
	k, ok := kinds()[typ]
	if !ok {
		return nil, fmt.Errorf("there is no backend %q: this program has %s", typ, strings.Join(slices.Sorted(maps.Keys(kinds())), ", "))
	}
	s, err := resolve("backend", k, values, env)
	if err != nil {
		return nil, err
	}
	return k.open(ctx, s, codec)
}

// Parse makes the values of arguments that were given as NAME=VALUE. Secrets are refused: they would be kept in a file.
func Parse(typ string, args map[string]string) (map[string]cty.Value, error) {
	k, ok := kinds()[typ]
	if !ok {
		return nil, fmt.Errorf("there is no backend %q", typ)
	}
	values := map[string]cty.Value{}
	for _, name := range slices.Sorted(maps.Keys(args)) {
		a := k.table.Attr(name)
		if a == nil {
			return nil, fmt.Errorf("--backend-config: backend %q has no argument %q.%s", typ, name, config.DidYouMean(name, names(k.table)))
		}
		if a.Sensitive {
			return nil, fmt.Errorf("--backend-config: %s is secret, and would be kept in a file: set the environment variable %s instead", name, config.StateVariable("backend", name))
		}
		v, err := config.StateValue(a, cty.StringVal(args[name]))
		if err != nil {
			return nil, fmt.Errorf("--backend-config: %s: %w", name, err)
		}
		values[name] = v
	}
	return values, nil
}

func names(t *schema.Table) (list []string) {
	for _, a := range t.Attrs {
		list = append(list, a.Name)
	}
	return list
}

// settings are the arguments of a block with those of the environment.
type settings struct {
	Environment
	values map[string]cty.Value
}

// resolve adds to the values of a block what the environment has, and the defaults.
func resolve(what string, k kind, values map[string]cty.Value, env Environment) (settings, error) {
	s := settings{env, maps.Clone(values)}
	if s.values == nil {
		s.values = map[string]cty.Value{}
	}
	for i := range k.table.Attrs {
		a := &k.table.Attrs[i]
		if _, ok := s.values[a.Name]; ok {
			continue
		}
		variables := []string{config.StateVariable(what, a.Name)}
		if k.foreign != "" {
			variables = append(variables, k.foreign+strings.ToUpper(a.Name))
		}
		for _, variable := range variables {
			text := env.Getenv(variable)
			if text == "" {
				continue
			}
			v, err := config.StateValue(a, cty.StringVal(text))
			if err != nil && a.Sensitive {
				err = errors.New("its value isn't valid; it is secret, and not shown")
			}
			if err != nil {
				return s, fmt.Errorf("%s: %w", variable, err)
			}
			s.values[a.Name] = v
			break
		}
		_, ok := s.values[a.Name]
		switch {
		case ok:
		case a.Default != cty.NilVal:
			s.values[a.Name] = a.Default
		case a.Mode == schema.Required:
			return s, fmt.Errorf("the %s %q needs %s: set it in its block, with `iexecform init --backend-config=%s=…`, or in the environment variable %s",
				what, k.table.Type, a.Name, a.Name, variables[0])
		}
	}
	return s, nil
}

// text is an argument's text, or "".
func (s settings) text(name string) string {
	v, ok := s.values[name]
	if !ok {
		return ""
	}
	return v.AsString()
}

// duration is an argument's time, or 0.
func (s settings) duration(name string) time.Duration {
	d, _ := time.ParseDuration(s.text(name)) // checked by its Parse
	return d
}

// file is the path of a file or directory, "~" for the home directory, or "".
func (s settings) file(name string) string {
	text := s.text(name)
	if rest, ok := strings.CutPrefix(text, "~/"); ok {
		return s.Getenv("HOME") + "/" + rest
	}
	if text == "" {
		return ""
	}
	return s.Path(text)
}

func parseDuration(v cty.Value) (cty.Value, error) {
	if d, err := time.ParseDuration(v.AsString()); err != nil || d < 100*time.Millisecond {
		return v, errors.New(`want a time such as "30s" or "2m"`)
	}
	return v, nil
}

// ttl is the argument of every backend whose lock can outlive its holder.
func ttl(more string) schema.Attr {
	return schema.Attr{Name: "lock_ttl", Type: cty.String, Form: "time", Mode: schema.Optional, Default: cty.StringVal("1m"), Parse: parseDuration,
		Doc: "How long the lock outlives the last sign of life of its holder, such as `30s`. The holder gives four in that time." + more}
}
