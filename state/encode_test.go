package state_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/internal/bounds"
	"github.com/iexecform/iexecform/state"
)

func instance(t testing.TB, text string) addr.Instance {
	t.Helper()
	i, err := addr.ParseInstance(text)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func sample(t testing.TB) *state.Snapshot {
	return &state.Snapshot{
		Version: 1, Tool: "0.1.0", Lineage: "5f3c", Serial: 7,
		Networks: map[string]map[string]string{"iexec": {"hub": "0xB2", "chain_id": "421614"}},
		Outputs: map[string]state.Output{
			"address": {Type: json.RawMessage(`"string"`), Value: json.RawMessage(`""`)},
			"secret":  {Sensitive: true},
		},
		Resources: map[addr.Instance]*state.Object{
			instance(t, `iexec_apporder.o["a<b"]`): {
				Provider: "iexec", SchemaVersion: 0,
				Attributes:   json.RawMessage(`{"volume":123456789012345678901234567890,"ratio":1.50,"live":[{"sign":"0x1","salt":"0x2"}],"tag":[],"none":null}`),
				Dependencies: []addr.Instance{instance(t, "iexec_app.a")},
			},
			instance(t, "iexec_app.a"): {Provider: "iexec.other", SchemaVersion: 2, Attributes: json.RawMessage(`{"name":"<é>"}`), Protected: true},
		},
	}
}

const sampleText = `{
  "version": 2,
  "iexecform_version": "0.1.0",
  "lineage": "5f3c",
  "digest": "sha256:f2d823b2a16ccd0b82d55e8ec44c8aea1993e838c974f331302160fae673c861",
  "serial": 7,
  "networks": {
    "iexec": {
      "chain_id": "421614",
      "hub": "0xB2"
    }
  },
  "outputs": {
    "address": {
      "type": "string",
      "value": ""
    },
    "secret": {
      "sensitive": true
    }
  },
  "resources": {
    "iexec_app.a": {
      "provider": "iexec.other",
      "schema_version": 2,
      "attributes": {
        "name": "<é>"
      },
      "prevent_destroy": true
    },
    "iexec_apporder.o[\"a<b\"]": {
      "provider": "iexec",
      "schema_version": 0,
      "attributes": {
        "live": [
          {
            "salt": "0x2",
            "sign": "0x1"
          }
        ],
        "none": null,
        "ratio": 1.50,
        "tag": [],
        "volume": 123456789012345678901234567890
      },
      "dependencies": [
        "iexec_app.a"
      ]
    }
  }
}
`

func encode(t testing.TB, s *state.Snapshot) []byte {
	t.Helper()
	b, err := state.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEncodeCanonical(t *testing.T) {
	s := sample(t)
	s.Version = 0 // Encode writes the version that it is
	b := encode(t, s)
	if diff := cmp.Diff(sampleText, string(b)); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
	decoded, err := state.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := decoded.Resources[instance(t, `iexec_apporder.o["a<b"]`)].Attributes; strings.Join(strings.Fields(string(got)), "") !=
		`{"live":[{"salt":"0x2","sign":"0x1"}],"none":null,"ratio":1.50,"tag":[],"volume":123456789012345678901234567890}` {
		t.Errorf("attributes = %s", got)
	}
	if diff := cmp.Diff(string(b), string(encode(t, decoded))); diff != "" {
		t.Errorf("encode(decode(x)) -want +got:\n%s", diff)
	}
}

func TestEncodeRefusesNonObjects(t *testing.T) {
	for _, attributes := range []string{"", "null", "[]", `"x"`} {
		s := sample(t)
		s.Resources[instance(t, "iexec_app.a")].Attributes = json.RawMessage(attributes)
		if _, err := state.Encode(s); err == nil || !strings.Contains(err.Error(), "iexec_app.a") {
			t.Errorf("attributes %q: %v, want an error naming the object", attributes, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"", "damaged at byte 0, line 1: it is empty"},
		"truncated":         {sampleText[:300], "damaged at byte 300, line 15: it ends too early"},
		"truncated early":   {sampleText[:10], "damaged at byte 10, line 2: it ends too early"},
		"not JSON":          {"<<<<<<< HEAD\n" + sampleText, "damaged at byte 0, line 1: git has left"},
		"conflict":          {strings.Replace(sampleText, "  \"serial\": 7,", "<<<<<<< HEAD\n  \"serial\": 7,", 1), "line 6: git has left a merge conflict here"},
		"other JSON":        {`[]`, "not a JSON object"},
		"trailing":          {sampleText + "{}", "damaged at byte"},
		"no version":        {`{"serial":3}`, `no "version"`},
		"version text":      {`{"version":"1"}`, "damaged at byte"},
		"unknown field":     {`{"version":1,"extra":1}`, "extra"},
		"unknown in object": {`{"version":1,"resources":{"a_b.c":{"attributes":{},"color":1}}}`, "color"},
		"duplicate field":   {`{"version":1,"serial":1,"serial":2}`, "duplicate"},
		"duplicate object":  {`{"version":1,"resources":{"a_b.c[\"x\"]":{"attributes":{}},"a_b.c[\"\\u0078\"]":{"attributes":{}}}}`, "duplicate"},
		"bad address":       {`{"version":1,"resources":{"x":{"attributes":{}}}}`, "resource address"},
		"null object":       {`{"version":1,"resources":{"a_b.c":null}}`, "attributes of a_b.c"},
		"no attributes":     {`{"version":1,"resources":{"a_b.c":{"provider":"a"}}}`, "attributes of a_b.c"},
		"list origin":       {`{"version":1,"resources":{"a_b.c":{"attributes":{},"origin":[]}}}`, "origin is not a JSON object"},
		"list attributes":   {`{"version":1,"resources":{"a_b.c":{"attributes":[]}}}`, "attributes of a_b.c"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := state.Decode([]byte(c.text))
			var damaged *state.DamagedError
			if !errors.As(err, &damaged) {
				t.Fatalf("got %v, want a DamagedError", err)
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "restore it from git") {
				t.Errorf("got %q, want it to hold %q and the way to recover", err, c.want)
			}
		})
	}
}

// Every proper prefix of a state is refused: a torn write is never taken for a state.
func TestDecodeRefusesEveryPrefix(t *testing.T) {
	for n := range len(sampleText) - 1 { // without the last newline it is whole
		if _, err := state.Decode([]byte(sampleText[:n])); err == nil {
			t.Fatalf("a state cut at byte %d was read", n)
		}
	}
}

// A state that isn't what was written is noticed, whatever was changed; other white space and another order change nothing.
func TestDecodeNoticesEdits(t *testing.T) {
	replace := func(old, by string) string { return strings.Replace(sampleText, old, by, 1) }
	digest := sampleText[strings.Index(sampleText, `  "digest"`):strings.Index(sampleText, `  "serial"`)]
	for name, text := range map[string]string{
		"a digit":      replace("123456789012345678901234567890", "123456789012345678901234567891"),
		"a serial":     replace(`"serial": 7`, `"serial": 8`),
		"a program":    replace("0.1.0", "0.1.1"),
		"a name":       replace("iexec_app.a", "iexec_app.b"),
		"a flag":       replace(`"prevent_destroy": true`, `"prevent_destroy": false`),
		"an element":   replace(`"tag": []`, `"tag": [1]`),
		"the digest":   replace(`"sha256:`, `"sha256:0`),
		"no digest":    replace(digest, ""),
		"other format": replace(`"version": 2`, `"version": 1`),
	} {
		s, err := state.Decode([]byte(text))
		var edited *state.EditedError
		if !errors.As(err, &edited) || s == nil || !strings.Contains(err.Error(), "state push --force") {
			t.Errorf("%s: got %v, want an EditedError and what was read", name, err)
		}
	}
	for name, text := range map[string]string{
		"line ends":   strings.ReplaceAll(sampleText, "\n", "\r\n"),
		"compact":     strings.NewReplacer("\n", "", "  ", "").Replace(sampleText),
		"order":       strings.TrimSuffix(replace(digest, ""), "\n}\n") + ",\n" + strings.TrimSuffix(digest, ",\n") + "\n}\n",
		"no line end": strings.TrimSuffix(sampleText, "\n"),
	} {
		if s, err := state.Decode([]byte(text)); err != nil || string(encode(t, s)) != sampleText {
			t.Errorf("%s: %v, want the state as it was written", name, err)
		}
	}
}

// States of format 1, which had no digest, are read, and written in today's format.
func TestDecodeFormat1(t *testing.T) {
	s, err := state.Decode([]byte(`{"version":1,"iexecform_version":"0.1.0","lineage":"l","serial":3,"resources":{"a_b.c":{"attributes":{"x":1}}}}`))
	if err != nil || s.Serial != 3 || len(s.Resources) != 1 {
		t.Fatalf("got %+v, %v", s, err)
	}
	if s, err = state.Decode(encode(t, s)); err != nil || s.Version != state.Version {
		t.Fatalf("got %+v, %v", s, err)
	}
}

func TestDecodeRefusesNewerVersion(t *testing.T) {
	for _, text := range []string{
		`{"version":3,"iexecform_version":"3.1.0","resources":[1]}`,
		`{"anything":{"a":[]},"iexecform_version":"3.1.0","version":3}`,
	} {
		_, err := state.Decode([]byte(text))
		var newer *state.NewerError
		if !errors.As(err, &newer) || newer.Version != 3 || newer.Tool != "3.1.0" {
			t.Fatalf("got %v, want a NewerError for version 3 of 3.1.0", err)
		}
		if want := "format version 3, written by iexecform 3.1.0"; !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(sampleText))
	f.Add([]byte(`{"version":1,"resources":{"a_b.c":{"attributes":{"x":1e400,"y":"\u003c"}}}}`))
	f.Add([]byte(`{"version":1,"outputs":{"o":{"type":"string","value":null}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		defer bounds.Watch()()
		s, err := state.Decode(b)
		if err != nil {
			return
		}
		once := encode(t, s)
		again, err := state.Decode(once)
		if err != nil {
			t.Fatalf("what Encode wrote can't be read: %v\n%s", err, once)
		}
		if diff := cmp.Diff(string(once), string(encode(t, again))); diff != "" {
			t.Fatalf("not a fixed point:\n%s", diff)
		}
	})
}

// large is 10,000 apps of about 600 bytes and as many orders of about 1.5 kB.
func large() *state.Snapshot {
	s := &state.Snapshot{Tool: "0.1.0", Lineage: "5f3c", Serial: 7, Resources: map[addr.Instance]*state.Object{}}
	for i := range 10_000 {
		hash := fmt.Sprintf("0x%064d", i)
		key := addr.StringKey(fmt.Sprintf("app-%d", i))
		app := addr.Instance{Resource: addr.Resource{Type: "iexec_app", Name: "a"}, Key: key}
		order := addr.Instance{Resource: addr.Resource{Type: "iexec_apporder", Name: "o"}, Key: key}
		s.Resources[app] = &state.Object{Provider: "iexec", Attributes: json.RawMessage(fmt.Sprintf(
			`{"address":%q,"checksum":%q,"first_owner":%q,"mrenclave":"","multiaddr":"docker.io/iexechub/python-hello-world:8.0.4","name":"app %d","owner":%q,"type":"DOCKER"}`,
			hash[:42], hash, hash[:42], i, hash[:42]))}
		signed := fmt.Sprintf(`{"app":%q,"appprice":12345678901234567890,"datasetrestrict":%q,"requesterrestrict":%q,"salt":%q,"sign":"%s%s","tag":%q,"volume":1000,"workerpoolrestrict":%q}`,
			hash[:42], hash[:42], hash[:42], hash, hash, hash, hash, hash[:42])
		s.Resources[order] = &state.Object{Provider: "iexec", Dependencies: []addr.Instance{app}, Attributes: json.RawMessage(fmt.Sprintf(
			`{"app":%q,"appprice":12345678901234567890,"live":[%s],"order_hash":%q,"remaining":998,"salt":%q,"sign":"%s%s","status":"open","tag":["tee","tdx"],"volume":1000}`,
			hash[:42], signed, hash, hash, hash, hash))}
	}
	return s
}

func BenchmarkEncode(b *testing.B) {
	s := large()
	b.SetBytes(int64(len(encode(b, s))))
	b.ReportAllocs()
	for b.Loop() {
		encode(b, s)
	}
}

func BenchmarkDecode(b *testing.B) {
	text := encode(b, large())
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := state.Decode(text); err != nil {
			b.Fatal(err)
		}
	}
}
