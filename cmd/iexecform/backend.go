package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/backends"
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
)

// Where the state is kept. Rules:
//   - Without a backend block it is beside the configuration, and nothing needs to be initialised.
//   - With one, `iexecform init` writes down, in this checkout, which block it has initialised, and what was given with
//     --backend-config. Other commands refuse to work with any other block: they would find no state there, and plan
//     everything anew.
//   - The encryption block isn't written down: a state tells by itself how it is stored.

// backendFile, in the data directory, is what init has written down. It holds no secret.
const backendFile = "backend.json"

// initialised is the content of backendFile.
type initialised struct {
	Version int                        `json:"version"`
	Type    string                     `json:"type"`
	Block   map[string]json.RawMessage `json:"block"`           // the arguments of the block
	Given   map[string]json.RawMessage `json:"given,omitempty"` // those of --backend-config
}

// backend is where the states of the configuration are.
func (a *app) backend(ctx context.Context) (state.Backend, error) {
	if a.opened != nil {
		return a.opened, nil
	}
	settings, was, err := a.stateSettings()
	if err != nil {
		return nil, err
	}
	is := placeOf(settings.Backend)
	switch {
	case was == nil && is == nil, was != nil && is != nil && was.sameBlock(is):
	case was != nil && is == nil && a.unconfigured():
		// A saved plan is applied without its configuration.
	case was == nil:
		return nil, fmt.Errorf("the state is to be kept in backend %q, which is not initialised in this checkout: run `iexecform init`", is.Type)
	default:
		return nil, fmt.Errorf("the backend block has changed since `iexecform init`: it was %s, and is %s. Run `iexecform init --migrate-state` to take the state along, "+
			"or `iexecform init --reconfigure` to use what is there", was, is)
	}
	codec, err := a.codecFor(settings.Encryption)
	if err != nil {
		return nil, err
	}
	a.opened, err = a.open(ctx, was, codec)
	return a.opened, err
}

// codecFor is how the state is stored.
func (a *app) codecFor(block *config.StateBlock) (*state.Codec, error) {
	if a.changing {
		return backends.Changing(block, a.environment())
	}
	return backends.Codec(block, a.environment())
}

// open opens the place that init has written down; nil is beside the configuration.
func (a *app) open(ctx context.Context, at *initialised, codec *state.Codec) (state.Backend, error) {
	a.codec = codec
	if at == nil {
		return local.NewBackend(filepath.Join(a.dir, local.SnapshotFile), codec), nil
	}
	values, err := at.values()
	if err != nil {
		return nil, err
	}
	return backends.Open(ctx, at.Type, values, a.environment(), codec)
}

// decodeState reads a file with a state. Of an encrypted one, the keys at hand must open it.
func (a *app) decodeState(b []byte) (*state.Snapshot, error) {
	e, err := state.DecodeEnvelope(b)
	if err != nil || !e.Encrypted {
		return state.Decode(b)
	}
	codec, err := a.keysAtHand()
	if err != nil {
		return nil, err
	}
	return codec.Decode(b)
}

// decodePlan reads a file with a plan. Of an encrypted one, the keys at hand must open it; for any other, nothing else is read.
func (a *app) decodePlan(name string, b []byte) (*plan.Plan, error) {
	p, err := plan.Decode(b, nil)
	if errors.Is(err, state.ErrNoKey) {
		var codec *state.Codec
		if codec, err = a.keysAtHand(); err == nil {
			p, err = plan.Decode(b, codec)
		}
	}
	if err != nil {
		return nil, unusable(name, err)
	}
	return p, nil
}

func unusable(planFile string, err error) error {
	return fmt.Errorf("cannot use the plan file %s: %w", planFile, err)
}

// keysAtHand reads, with all keys of the configuration and the environment, what is encrypted and what isn't.
func (a *app) keysAtHand() (*state.Codec, error) {
	settings, _, err := a.stateSettings()
	if err != nil {
		return nil, err
	}
	return backends.Changing(settings.Encryption, a.environment())
}

func (a *app) environment() backends.Environment {
	return backends.Environment{Getenv: a.getenv, Path: a.path}
}

// stateSettings reads what the configuration says of the state, and what init has written down.
func (a *app) stateSettings() (config.Settings, *initialised, error) {
	settings, files, diags := config.ReadSettings(a.dir, backends.Tables())
	if diags.HasErrors() {
		if _, _, err := a.loadConfig(); err != nil { // it tells all that is wrong
			return settings, nil, err
		}
		return settings, nil, &failure{err: diags, sources: files}
	}
	was, err := a.readInitialised()
	return settings, was, err
}

func (a *app) readInitialised() (*initialised, error) {
	path := a.dataPath(backendFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	was := new(initialised)
	if err == nil {
		err = json.Unmarshal(b, was)
	}
	if err == nil && was.Version != 1 {
		err = errors.New("another version of iexecform wrote it")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; run `iexecform init --reconfigure`", path, err)
	}
	return was, nil
}

// unconfigured reports whether there is no configuration.
func (a *app) unconfigured() bool {
	entries, err := os.ReadDir(a.dir)
	return err == nil && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return config.IsConfigFile(e.Name()) })
}

// placeOf is what init writes down of a backend block; nil of none, and of one that says no more than none.
func placeOf(block *config.StateBlock) *initialised {
	if block == nil || block.Type == backends.Local && len(block.Values) == 0 {
		return nil
	}
	return &initialised{Version: 1, Type: block.Type, Block: encodeValues(block.Values)}
}

func encodeValues(values map[string]cty.Value) map[string]json.RawMessage {
	encoded := map[string]json.RawMessage{}
	for name, v := range values {
		encoded[name], _ = ctyjson.SimpleJSONValue{Value: v}.MarshalJSON() // a literal that was parsed
	}
	return encoded
}

// values are the arguments of the block and those that were given.
func (p *initialised) values() (map[string]cty.Value, error) {
	table := backends.Tables()["backend"][p.Type]
	values := map[string]cty.Value{}
	for _, from := range []map[string]json.RawMessage{p.Given, p.Block} {
		for name, raw := range from {
			if table == nil || table.Attr(name) == nil {
				return nil, fmt.Errorf("%s names %s of backend %q, which this program doesn't know: run `iexecform init --reconfigure`", backendFile, name, p.Type)
			}
			v, err := ctyjson.Unmarshal(raw, table.Attr(name).Type)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w; run `iexecform init --reconfigure`", backendFile, name, err)
			}
			values[name] = v
		}
	}
	return values, nil
}

func sameRaw(a, b json.RawMessage) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

func (p *initialised) sameBlock(q *initialised) bool {
	return p.Type == q.Type && maps.EqualFunc(p.Block, q.Block, sameRaw)
}

// same reports whether two places are the same; nil is beside the configuration.
func (p *initialised) same(q *initialised) bool {
	if p == nil || q == nil {
		return p == q
	}
	return p.sameBlock(q) && maps.EqualFunc(p.Given, q.Given, sameRaw)
}

// String is a place as messages name it.
func (p *initialised) String() string {
	if p == nil {
		return "beside the configuration"
	}
	text := fmt.Sprintf("backend %q", p.Type)
	separator := " with "
	for _, name := range slices.Sorted(maps.Keys(p.Block)) {
		text += fmt.Sprintf("%s%s = %s", separator, name, p.Block[name])
		separator = ", "
	}
	return text
}

// write writes down which place was initialised.
func (p *initialised) write(path string) error {
	if p == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(path, append(b, '\n'), 0o644)
}
