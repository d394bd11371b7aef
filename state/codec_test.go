package state_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	filippo "filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/age"
)

func newCipher(t testing.TB) state.Cipher {
	t.Helper()
	i, err := filippo.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	c, err := age.New(age.Keys{Recipients: []string{i.Recipient().String()}, Identities: []string{i.String()}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func snapshotSample(t testing.TB) *state.Snapshot {
	return &state.Snapshot{Tool: "0.1", Lineage: "l", Serial: 3, Resources: map[addr.Instance]*state.Object{
		instance(t, "iexec_app.a"): {Provider: "iexec", Attributes: json.RawMessage(`{"name":"secret app"}`)},
	}}
}

func TestEncryptedSnapshot(t *testing.T) {
	codec := state.NewCodec(newCipher(t))
	s := snapshotSample(t)
	b, err := codec.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "secret app") || strings.Contains(string(b), "iexec_app") {
		t.Errorf("in the clear:\n%s", b)
	}
	e, err := state.DecodeEnvelope(b)
	if want := (state.Envelope{Version: state.Version, Tool: "0.1", Lineage: "l", Serial: 3, Encrypted: true}); err != nil || e != want {
		t.Errorf("envelope %+v, %v", e, err)
	}
	decoded, err := codec.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := state.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	again, err := state.Encode(decoded)
	if err != nil || string(again) != string(plain) {
		t.Errorf("%v\n%s", err, cmp.Diff(string(plain), string(again)))
	}

	wrong := state.NewCodec(newCipher(t))
	var encrypted *state.EncryptedError
	var clear *state.NotEncryptedError
	if _, err := (*state.Codec)(nil).Decode(b); !errors.As(err, &encrypted) {
		t.Errorf("without a key: %v", err)
	}
	if _, err := codec.Decode(plain); !errors.As(err, &clear) {
		t.Errorf("in the clear: %v", err)
	}
	if _, err := wrong.Decode(b); err == nil || !strings.Contains(err.Error(), "the key is wrong") {
		t.Errorf("another key: %v", err)
	}
	for from, to := range map[string]string{`"serial": 3`: `"serial": 4`, `"lineage": "l"`: `"lineage": "m"`} {
		if _, err := codec.Decode([]byte(strings.Replace(string(b), from, to, 1))); err == nil || !strings.Contains(err.Error(), "tampered with") {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// A Codec that changes the encryption reads what is in the clear, what was encrypted for others, and what it writes itself.
func TestAccepting(t *testing.T) {
	was := newCipher(t)
	codec := state.NewCodec(newCipher(t)).Accepting(was)
	for name, from := range map[string]*state.Codec{"clear": nil, "former": state.NewCodec(was), "own": codec} {
		b, err := from.Encode(snapshotSample(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := codec.Decode(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		j, text, err := from.BeginJournal("l", 3, []state.Note{{Key: "k", Data: raw(`1`)}})
		if err != nil {
			t.Fatal(err)
		}
		if read, err := codec.DecodeJournal(text); err != nil || len(read.Records) != len(j.Records) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func encryptedJournal(t *testing.T, codec *state.Codec, records []state.Record) (text []byte) {
	t.Helper()
	j, text, err := codec.BeginJournal("l", 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		line, err := j.Encode([]state.Record{r})
		if err != nil {
			t.Fatal(err)
		}
		j.Appended(line)
		text = append(text, line...)
	}
	return text
}

func TestEncryptedJournal(t *testing.T) {
	cipher := newCipher(t)
	codec := state.NewCodec(cipher)
	records := journalSample(t)
	text := encryptedJournal(t, codec, records)
	if strings.Contains(string(text), "deploy") || strings.Contains(string(text), "iexec_app") {
		t.Errorf("in the clear:\n%s", text)
	}
	read, err := state.NewCodec(cipher).DecodeJournal(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(records, read.Records, cmpopts.EquateEmpty(), cmpopts.EquateComparable(addr.Instance{})); diff != "" {
		t.Error(diff)
	}
	if read.Whole() != len(text) {
		t.Errorf("%d of %d bytes are whole", read.Whole(), len(text))
	}
	// Torn anywhere in the last line, it is the journal without that line.
	lines := strings.SplitAfter(string(text), "\n")
	last := len(text) - len(lines[len(lines)-2])
	for n := last; n < len(text); n++ {
		if read, err := codec.DecodeJournal(text[:n]); err != nil || read.Whole() != last {
			t.Fatalf("cut at byte %d: %v", n, err)
		}
	}

	var encrypted *state.EncryptedError
	var clear *state.NotEncryptedError
	if _, err := (*state.Codec)(nil).DecodeJournal(text); !errors.As(err, &encrypted) {
		t.Errorf("without a key: %v", err)
	}
	if _, err := codec.DecodeJournal(journalText(t, records)); !errors.As(err, &clear) {
		t.Errorf("in the clear: %v", err)
	}
	if _, err := state.NewCodec(newCipher(t)).DecodeJournal(text); err == nil || !strings.Contains(err.Error(), "the key is wrong") {
		t.Errorf("another key: %v", err)
	}
}

// resealed is a header with a sum that fits.
func resealed(line string) string {
	text := line[:strings.LastIndex(line, `,"sum":`)]
	hash := sha256.Sum256([]byte(text))
	return text + `,"sum":"` + hex.EncodeToString(hash[:8]) + "\"}\n"
}

// Lines that were changed, moved, repeated, left out or taken from another journal are noticed, wherever they are.
func TestTamperedJournal(t *testing.T) {
	codec := state.NewCodec(newCipher(t))
	records := journalSample(t)
	lines := strings.SplitAfter(strings.TrimSuffix(string(encryptedJournal(t, codec, records)), "\n"), "\n")
	other := strings.SplitAfter(string(encryptedJournal(t, codec, records[1:])), "\n")
	for name, changed := range map[string][]string{
		"moved":           {lines[0], lines[2], lines[1]},
		"repeated":        {lines[0], lines[1], lines[1]},
		"left out":        {lines[0], lines[2]},
		"another journal": {lines[0], other[1]},
		"another serial":  {resealed(strings.Replace(lines[0], `"serial":3`, `"serial":2`, 1)), lines[1]},
		"changed":         {lines[0], strings.Replace(lines[1], `"sealed":"`, `"sealed":"AAAA`, 1)},
		"cut short":       {lines[0], "{\"sealed\":\"AAAA\"}\n"},
	} {
		if _, err := codec.DecodeJournal([]byte(strings.Join(changed, ""))); err == nil || !strings.Contains(err.Error(), "tampered with") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
