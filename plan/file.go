package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// A plan file is one JSON document: a header, and the plan, whose digest is in the header. The same inputs make the same
// bytes. It holds its own types, so that it can be read without the schemas that it was made with. An encrypted one has the
// same header, and instead of digest and plan the text of such a document, as the Cipher made it.
const (
	fileFormat  = "iexecform-plan"
	fileVersion = 1
)

type file struct {
	Format    string          `json:"format"`
	Version   int             `json:"version"`
	Tool      string          `json:"iexecform_version"`
	Encrypted string          `json:"encrypted,omitempty"` // a whole file in the clear
	Digest    string          `json:"digest,omitempty"`    // "sha256:" and the hex digest of the compact JSON of Plan
	Plan      json.RawMessage `json:"plan,omitempty"`
}

type filePlan struct {
	Tool      string                     `json:"iexecform_version,omitempty"` // that of the header; absent in the first plan files
	Mode      Mode                       `json:"mode"`
	Project   string                     `json:"project,omitempty"`
	Workspace string                     `json:"workspace"`
	Lineage   string                     `json:"lineage"`
	Serial    uint64                     `json:"serial"`
	Records   int                        `json:"journal_records,omitempty"`
	Config    string                     `json:"config_sha256"`
	Variables map[string]*fileValue      `json:"variables,omitempty"`
	Targets   []string                   `json:"targets,omitempty"`
	Exclude   []string                   `json:"exclude,omitempty"`
	LeftOut   []string                   `json:"left_out,omitempty"`
	Complete  bool                       `json:"complete"`
	Types     map[string]json.RawMessage `json:"types"`
	Moves     []state.Moved              `json:"moves,omitempty"`
	Providers []fileProvider             `json:"providers"`
	Changes   []fileChange               `json:"changes"`
	Reads     []fileRead                 `json:"reads,omitempty"`
	Actions   []providers.Action         `json:"actions"`
	Outputs   []fileOutput               `json:"outputs,omitempty"`
	Notices   []Notice                   `json:"notices,omitempty"`
	Expect    []Expectation              `json:"expect,omitempty"`
	Checks    []config.CheckResult       `json:"checks,omitempty"`
	Pending   []string                   `json:"pending,omitempty"`
	Outline   json.RawMessage            `json:"configuration,omitempty"`
}

type fileProvider struct {
	Addr      string            `json:"addr"`
	Config    json.RawMessage   `json:"config"` // value with type
	Sensitive []string          `json:"sensitive,omitempty"`
	Network   map[string]string `json:"network,omitempty"`
}

type fileChange struct {
	Addr      addr.Instance        `json:"addr"`
	Provider  string               `json:"provider"`
	Kind      providers.ChangeKind `json:"kind"`
	Because   []string             `json:"because,omitempty"`
	Reason    Reason               `json:"reason,omitempty"`
	Protected bool                 `json:"prevent_destroy,omitempty"`
	Tainted   bool                 `json:"tainted,omitempty"`
	Before    *fileValue           `json:"before,omitempty"`
	After     *fileValue           `json:"after,omitempty"`
	Prior     *fileValue           `json:"prior,omitempty"`
	DependsOn []addr.Instance      `json:"depends_on,omitempty"`
	Importing string               `json:"importing,omitempty"`
	MovedFrom *addr.Instance       `json:"moved_from,omitempty"`
}

// fileRead is a change of kind Read. Its value has its own type.
type fileRead struct {
	Addr     addr.Instance `json:"addr"`
	Provider string        `json:"provider"`
	Because  []string      `json:"because,omitempty"`
	Reason   Reason        `json:"reason,omitempty"`
	After    *fileValue    `json:"after"`
}

type fileOutput struct {
	Name        string     `json:"name"`
	Description string     `json:"description,omitempty"`
	Sensitive   bool       `json:"sensitive,omitempty"`
	Before      *fileValue `json:"before,omitempty"`
	After       *fileValue `json:"after,omitempty"`
}

// A fileValue is a cty value: unknown leaves are null in Value and listed in Unknown. Type is absent where the type is
// that of the resource.
type fileValue struct {
	Type    json.RawMessage `json:"type,omitempty"`
	Value   json.RawMessage `json:"value"`
	Unknown [][]any         `json:"unknown,omitempty"`
}

// Encode writes the plan file, encrypted if the codec of the state encrypts, and returns the digest of the plan too.
func Encode(p *Plan, codec *state.Codec) (document []byte, digest string, err error) {
	body, err := encodePlan(p)
	if err != nil {
		return nil, "", fmt.Errorf("encode plan: %w", err)
	}
	digest = digestOf(body)
	document, err = file{Format: fileFormat, Version: fileVersion, Tool: p.Tool, Digest: digest, Plan: body}.encode()
	if err != nil || !codec.Encrypts() {
		return document, digest, err
	}
	text, err := codec.Encrypt(document)
	if err != nil {
		return nil, "", fmt.Errorf("encrypt the plan: %w", err)
	}
	document, err = file{Format: fileFormat, Version: fileVersion, Tool: p.Tool, Encrypted: string(text)}.encode()
	return document, digest, err
}

func (f file) encode() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(f)
	return out.Bytes(), err
}

// Digest is the digest that the plan's file has; of a plan that was read, the one that it was read with.
func Digest(p *Plan) (string, error) {
	if p.digest != "" {
		return p.digest, nil
	}
	body, err := encodePlan(p)
	if err != nil {
		return "", fmt.Errorf("encode plan: %w", err)
	}
	return digestOf(body), nil
}

func digestOf(compact []byte) string {
	sum := sha256.Sum256(compact)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Decode reads a plan file, in the clear or encrypted: the codec must have the key then, and is not looked at otherwise. It
// refuses, before anything of it is trusted, one whose digest doesn't fit. The error is a *FileError, and is ErrNoKey too where
// there is no key at all.
func Decode(document []byte, codec *state.Codec) (*Plan, error) {
	p, err := decodeFile(document, codec)
	if err != nil {
		return nil, &FileError{err}
	}
	return p, nil
}

// decodeHeader reads all of a file but the plan.
func decodeHeader(document []byte) (f file, err error) {
	if err := jsonv2.Unmarshal(document, &f); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) && len(document) > 0 {
			return f, fmt.Errorf("this is not a whole plan file: it ends after %d bytes, in the midst of its JSON. Copy it again, or plan again with `iexecform plan --out FILE`", len(document))
		}
		if syntax := (*jsontext.SyntacticError)(nil); errors.As(err, &syntax) {
			err = syntax.Err // without the library's name
		}
		return f, fmt.Errorf("this is not a plan file: %w. Make one with `iexecform plan --out FILE`", wording.OfFile(err))
	}
	if f.Format != fileFormat {
		return f, errors.New("this is not a plan file: it lacks \"format\": \"" + fileFormat + "\". Make one with `iexecform plan --out FILE`")
	}
	if f.Version < 1 {
		return f, errors.New("the plan file has no format version of 1 or more: it was changed after it was made. Plan again")
	}
	if f.Version > fileVersion {
		return f, fmt.Errorf("the plan file has format version %d, written by iexecform %s; this program reads up to %d: use that iexecform, or plan again", f.Version, f.Tool, fileVersion)
	}
	return f, nil
}

// decrypted is the file that is encrypted in f.
func (f file) decrypted(codec *state.Codec) (file, error) {
	plain, err := codec.Decrypt([]byte(f.Encrypted))
	switch {
	case errors.Is(err, state.ErrNoKey):
		return f, fmt.Errorf("the plan file is encrypted, and %w to read it: go where the configuration is that has the encryption block (--chdir), "+
			"or give the key in IEXECFORM_ENCRYPTION_IDENTITY or IEXECFORM_ENCRYPTION_PASSPHRASE", err)
	case err != nil:
		return f, fmt.Errorf("the plan file can't be decrypted: %w. Give the key in IEXECFORM_ENCRYPTION_IDENTITY or IEXECFORM_ENCRYPTION_PASSPHRASE, "+
			"or in the encryption block; if it is the right one, the file is damaged: plan again", err)
	}
	inner, err := decodeHeader(plain)
	if err != nil {
		return f, fmt.Errorf("what is encrypted in the plan file: %w", err)
	}
	if inner.Encrypted != "" || f.Plan != nil || f.Digest != "" {
		return f, errors.New("the plan file was changed after it was made: it has more than one plan. Plan again")
	}
	if inner.Tool != f.Tool {
		return f, otherTool(f.Tool, inner.Tool)
	}
	return inner, nil
}

func otherTool(outside, inside string) error {
	return fmt.Errorf("the plan file was changed after it was made: it says that iexecform %s has written it, but it was %s. Plan again", outside, inside)
}

func decodeFile(document []byte, codec *state.Codec) (*Plan, error) {
	f, err := decodeHeader(document)
	encrypted := f.Encrypted != ""
	if err == nil && encrypted {
		f, err = f.decrypted(codec)
	}
	if err != nil {
		return nil, err
	}
	compact := jsontext.Value(f.Plan)
	if err := compact.Compact(); err != nil { // there is none
		return nil, fmt.Errorf("read plan file: it has no plan, so it was changed after it was made: %w. Plan again", err)
	}
	if got := digestOf(compact); got != f.Digest {
		return nil, fmt.Errorf("the plan file was changed after it was made: its digest is %s, but its content has %s. Plan again", f.Digest, got)
	}
	var body filePlan
	if err := jsonv2.Unmarshal(compact, &body); err != nil {
		return nil, fmt.Errorf("read plan file: %w", err)
	}
	if body.Tool != "" && body.Tool != f.Tool {
		return nil, otherTool(f.Tool, body.Tool)
	}
	p, err := body.plan()
	if err != nil {
		return nil, fmt.Errorf("read plan file: %w", err)
	}
	p.Tool, p.digest, p.encrypted = f.Tool, f.Digest, encrypted
	return p, nil
}

func encodePlan(p *Plan) ([]byte, error) {
	body := filePlan{
		Tool: p.Tool, Mode: p.Mode, Project: p.Project, Workspace: p.Workspace, Lineage: p.Lineage, Serial: p.Serial, Records: p.Records,
		Config: p.Config, Targets: p.Targets, Exclude: p.Exclude, LeftOut: p.LeftOut, Complete: p.Complete, Types: map[string]json.RawMessage{}, Variables: map[string]*fileValue{},
		Providers: []fileProvider{}, Changes: make([]fileChange, 0, len(p.Changes)), Actions: p.Actions,
		Notices: p.Notices, Expect: p.Expect, Pending: p.Pending, Moves: p.Moves, Checks: p.Checks, Outline: p.Outline,
	}
	if body.Actions == nil {
		body.Actions = []providers.Action{}
	}
	for name, v := range p.Variables {
		value, err := encodeValue(v, true)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", name, err)
		}
		body.Variables[name] = value
	}
	for _, v := range p.Providers {
		settings, err := ctyjson.Marshal(v.Config, cty.DynamicPseudoType)
		if err != nil {
			return nil, fmt.Errorf("provider %s: %w", v.Addr, err)
		}
		body.Providers = append(body.Providers, fileProvider{Addr: v.Addr.String(), Config: settings, Sensitive: v.Sensitive, Network: v.Network})
	}
	for _, c := range p.Changes {
		fc := fileChange{Addr: c.Addr, Provider: c.Provider.String(), Kind: c.Kind, Because: c.Because, DependsOn: c.DependsOn, Importing: c.Importing, Reason: c.Reason, Protected: c.Protected, Tainted: c.Tainted}
		if c.MovedFrom != (addr.Instance{}) {
			fc.MovedFrom = &c.MovedFrom
		}
		typ := c.Addr.Resource.Type
		if body.Types[typ] == nil {
			t, err := ctyjson.MarshalType(c.Before.Type())
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Addr, err)
			}
			body.Types[typ] = t
		}
		var err error
		if fc.Before, err = encodeValue(c.Before.Cty(), false); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Addr, err)
		}
		if fc.After, err = encodeValue(c.After.Cty(), false); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Addr, err)
		}
		if fc.Prior, err = encodeValue(c.Prior.Cty(), false); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Addr, err)
		}
		body.Changes = append(body.Changes, fc)
	}
	for _, r := range p.Reads {
		after, err := encodeValue(r.After.Cty(), true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Addr, err)
		}
		body.Reads = append(body.Reads, fileRead{Addr: r.Addr, Provider: r.Provider.String(), Because: r.Because, Reason: r.Reason, After: after})
	}
	for _, o := range p.Outputs {
		fo := fileOutput{Name: o.Name, Description: o.Description, Sensitive: o.Sensitive}
		var err error
		if fo.Before, err = encodeValue(o.Before, true); err != nil {
			return nil, fmt.Errorf("output %s: %w", o.Name, err)
		}
		if fo.After, err = encodeValue(o.After, true); err != nil {
			return nil, fmt.Errorf("output %s: %w", o.Name, err)
		}
		body.Outputs = append(body.Outputs, fo)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

func encodeValue(v cty.Value, typed bool) (*fileValue, error) {
	if v == cty.NilVal || v.IsNull() && !typed {
		return nil, nil
	}
	fv := &fileValue{}
	if typed {
		t, err := ctyjson.MarshalType(v.Type())
		if err != nil {
			return nil, err
		}
		fv.Type = t
	}
	if !v.IsWhollyKnown() {
		v = wholeSets(v)
		err := cty.Walk(v, func(path cty.Path, leaf cty.Value) (bool, error) {
			if !leaf.IsKnown() {
				fv.Unknown = append(fv.Unknown, encodePath(path))
			}
			return true, nil
		})
		if err != nil {
			return nil, err
		}
		v = cty.UnknownAsNull(v)
	}
	value, err := ctyjson.Marshal(v, v.Type())
	fv.Value = value
	return fv, err
}

// wholeSets makes each set with unknown parts unknown as a whole: elements of sets have no path.
func wholeSets(v cty.Value) cty.Value {
	v, _ = cty.Transform(v, func(_ cty.Path, part cty.Value) (cty.Value, error) {
		if part.Type().IsSetType() && !part.IsWhollyKnown() {
			return cty.UnknownVal(part.Type()), nil
		}
		return part, nil
	}) // fails only when the function does
	return v
}

// encodePath is a path as names and numbers; null stands for an element of a set.
func encodePath(path cty.Path) []any {
	steps := make([]any, 0, len(path))
	for _, s := range path {
		switch s := s.(type) {
		case cty.GetAttrStep:
			steps = append(steps, s.Name)
		case cty.IndexStep:
			key, _ := addr.KeyOf(s.Key)
			switch {
			case key.IsZero():
				steps = append(steps, nil)
			case key.IsInt():
				n, _ := s.Key.AsBigFloat().Int64()
				steps = append(steps, n)
			default:
				steps = append(steps, s.Key.AsString())
			}
		}
	}
	return steps
}

func (f filePlan) plan() (*Plan, error) {
	p := &Plan{
		Mode: f.Mode, Project: f.Project, Workspace: f.Workspace, Lineage: f.Lineage, Serial: f.Serial, Records: f.Records,
		Config: f.Config, Targets: f.Targets, Exclude: f.Exclude, LeftOut: f.LeftOut, Complete: f.Complete, Actions: f.Actions,
		Notices: f.Notices, Expect: f.Expect, Pending: f.Pending, Moves: f.Moves, Checks: f.Checks, Outline: f.Outline,
	}
	dec := newDecoder()
	for name, v := range f.Variables {
		value, err := v.decode(dec, cty.NilType, cty.NilVal)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", name, err)
		}
		if p.Variables == nil {
			p.Variables = map[string]cty.Value{}
		}
		p.Variables[name] = value
	}
	types, objects := map[string]cty.Type{}, map[string]func(cty.Value) schema.Object{}
	for name, raw := range f.Types {
		t, err := ctyjson.UnmarshalType(raw)
		if err != nil {
			return nil, fmt.Errorf("type of %s: %w", name, err)
		}
		if !t.IsObjectType() {
			return nil, fmt.Errorf("type of %s: it is a %s, but resources are objects", name, t.FriendlyName())
		}
		types[name], objects[name] = t, schema.Objects(t)
	}
	for _, v := range f.Providers {
		settings, err := DecodeValue(v.Config, cty.DynamicPseudoType)
		if err != nil {
			return nil, fmt.Errorf("provider %s: %w", v.Addr, err)
		}
		p.Providers = append(p.Providers, Provider{Addr: addr.ParseProvider(v.Addr), Config: settings, Sensitive: v.Sensitive, Network: v.Network})
	}
	for _, fc := range f.Changes {
		typ, ok := types[fc.Addr.Resource.Type]
		if !ok || fc.Addr == (addr.Instance{}) {
			return nil, fmt.Errorf("%s: its type is missing", fc.Addr)
		}
		if slices.Contains(fc.DependsOn, addr.Instance{}) {
			return nil, fmt.Errorf("%s: a dependency has no address", fc.Addr)
		}
		c := Change{Addr: fc.Addr, Provider: addr.ParseProvider(fc.Provider), Kind: fc.Kind, Because: fc.Because, DependsOn: fc.DependsOn, Importing: fc.Importing, Reason: fc.Reason, Protected: fc.Protected, Tainted: fc.Tainted}
		if fc.MovedFrom != nil {
			c.MovedFrom = *fc.MovedFrom
		}
		for _, object := range []struct {
			of     *fileValue
			into   *schema.Object
			absent cty.Value
		}{{fc.Before, &c.Before, cty.NullVal(typ)}, {fc.After, &c.After, cty.NullVal(typ)}, {fc.Prior, &c.Prior, cty.NilVal}} {
			v, err := object.of.decode(dec, typ, object.absent)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", fc.Addr, err)
			}
			*object.into = objects[fc.Addr.Resource.Type](v)
		}
		p.Changes = append(p.Changes, c)
	}
	for _, fr := range f.Reads {
		r := Change{Addr: fr.Addr, Provider: addr.ParseProvider(fr.Provider), Kind: Read, Because: fr.Because, Reason: fr.Reason}
		after, err := fr.After.decode(dec, cty.NilType, cty.NilVal)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fr.Addr, err)
		}
		if after == cty.NilVal || !after.Type().IsObjectType() || after.IsNull() || !after.IsKnown() || !isData(r.Addr) {
			return nil, fmt.Errorf("%s: what is read is an object of a data source", fr.Addr)
		}
		r.After = schema.ObjectOf(after)
		r.Before = r.After.Null()
		p.Reads = append(p.Reads, r)
	}
	for _, fo := range f.Outputs {
		o := OutputChange{Name: fo.Name, Description: fo.Description, Sensitive: fo.Sensitive}
		var err error
		if o.Before, err = fo.Before.decode(dec, cty.NilType, cty.NilVal); err != nil {
			return nil, fmt.Errorf("output %s: %w", fo.Name, err)
		}
		if o.After, err = fo.After.decode(dec, cty.NilType, cty.NilVal); err != nil {
			return nil, fmt.Errorf("output %s: %w", fo.Name, err)
		}
		p.Outputs = append(p.Outputs, o)
	}
	for _, n := range p.Notices {
		if (n.Addr == addr.Instance{}) == (n.Provider == "") {
			return nil, errors.New("a notice must be about an object or a provider")
		}
	}
	for _, c := range p.Checks {
		if (c.Kind == config.CheckResource) == (c.Addr == addr.Instance{}) {
			return nil, fmt.Errorf("a check of kind %q must have a name or an address", c.Kind)
		}
	}
	for n, a := range p.Actions {
		if a.ID != n+1 {
			return nil, fmt.Errorf("action %d has number %d", n+1, a.ID)
		}
		if a.Addr == (addr.Instance{}) {
			return nil, fmt.Errorf("action %d has no address", a.ID)
		}
		for _, after := range a.After {
			if after < 1 || after >= a.ID {
				return nil, fmt.Errorf("action %d waits for %d", a.ID, after)
			}
		}
		if a.Group != 0 && (a.Group < 1 || a.Group > a.ID || p.Actions[a.Group-1].Group != a.Group || p.Actions[a.Group-1].Provider != a.Provider) {
			return nil, fmt.Errorf("action %d can't be done together with %d", a.ID, a.Group)
		}
	}
	return p, nil
}

// decode returns absent where there is no value. typ is the type of a value that doesn't tell it.
func (fv *fileValue) decode(dec *decoder, typ cty.Type, absent cty.Value) (v cty.Value, err error) {
	switch {
	case fv == nil:
		return absent, nil
	case fv.Type != nil: // may be any; the decoder reads those of objects in a state
		if typ, err = ctyjson.UnmarshalType(fv.Type); err != nil {
			return cty.NilVal, err
		}
		v, err = DecodeValue(fv.Value, typ)
	case typ == cty.NilType:
		return cty.NilVal, errors.New("a value lacks its type")
	default:
		v, err = dec.decodeValue(fv.Value, typ)
	}
	if err != nil || len(fv.Unknown) == 0 {
		return v, err
	}
	return withUnknown(v, fv.Unknown), nil
}

// withUnknown is v with its parts at the paths unknown. Paths that lead nowhere change nothing.
func withUnknown(v cty.Value, paths [][]any) cty.Value {
	t := v.Type()
	rest := map[any][][]any{} // below each part, what of it is unknown
	for _, path := range paths {
		if len(path) == 0 {
			return cty.UnknownVal(t)
		}
		switch step := path[0].(type) {
		case string, float64:
			rest[step] = append(rest[step], path[1:])
		}
	}
	if v.IsNull() {
		return v
	}
	switch {
	case t.IsObjectType(), t.IsMapType():
		parts := v.AsValueMap()
		for name, part := range parts {
			if below := rest[name]; below != nil {
				parts[name] = withUnknown(part, below)
			}
		}
		if t.IsObjectType() {
			return cty.ObjectVal(parts)
		}
		if len(parts) > 0 {
			return cty.MapVal(parts)
		}
	case t.IsListType(), t.IsTupleType():
		parts := v.AsValueSlice()
		for n, part := range parts {
			if below := rest[float64(n)]; below != nil {
				parts[n] = withUnknown(part, below)
			}
		}
		if t.IsTupleType() {
			return cty.TupleVal(parts)
		}
		if len(parts) > 0 {
			return cty.ListVal(parts)
		}
	}
	return v
}
