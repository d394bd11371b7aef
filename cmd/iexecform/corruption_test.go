package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	filippo "filippo.io/age"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/age"
	"github.com/iexecform/iexecform/state/local"
)

// How many files TestCorruption damages: most are read by the decoders, the others by the whole program.
const (
	corruptions  = 10_000
	wholeProgram = 300
)

// What may come of a damaged file.
const (
	fileAsWas    = "read as it was"                       // the damage changed no meaning: white space, say
	fileRepaired = "repaired, with a notice"              // the journal's unreadable end is left out
	fileEarlier  = "read as it was before its last lines" // a journal that was cut just between two lines: no trace is left
	fileRefused  = "refused, with a message"              // with what to do, and nothing sent
	fileAccepted = "SILENTLY ACCEPTED, or refused badly"  // a failure of the test
)

// A damagedFile is a kind of file, with examples of it that the program has made.
type damagedFile struct {
	name     string
	examples [][]byte
	read     func(was, is []byte) (outcome string, err error) // by the decoders
	program  func(t *testing.T, is []byte) (outcome, text string)
}

// TestCorruption damages states, journals and plan files: bits and bytes are changed, lines and blocks cut out, repeated,
// swapped, overwritten with zeros, or taken from another file of the kind. Each is read as it was, repaired from the journal,
// or refused.
func TestCorruption(t *testing.T) {
	kinds := damagedFiles(t, newGround(t))
	counts := map[string]map[string]int{}
	count := func(kind, outcome string) {
		if counts[kind] == nil {
			counts[kind] = map[string]int{}
		}
		counts[kind][outcome]++
	}
	for seed := range uint64(corruptions - wholeProgram) {
		k := kinds[seed%uint64(len(kinds))]
		was, is, damage := corrupt(seed, k.examples)
		outcome, err := readSafely(k, was, is)
		if outcome == fileRefused && !helpful(err) {
			outcome = fileAccepted
		}
		if outcome == fileAccepted {
			t.Errorf("seed %d: %s, %s: %s: %v\n%.2000s", seed, k.name, damage, outcome, err, is)
		}
		count(k.name, outcome)
	}
	var through []damagedFile
	for _, k := range kinds {
		if k.program != nil {
			through = append(through, k)
		}
	}
	for n := range uint64(wholeProgram) {
		seed := corruptions - wholeProgram + n
		k := through[seed%uint64(len(through))]
		was, is, damage := corrupt(seed, k.examples[:1])
		outcome, text := k.program(t, is)
		if want, _ := readSafely(k, was, is); outcome != want {
			t.Errorf("seed %d: %s, %s: %s, and the decoder says: %s\n%s", seed, k.name, damage, outcome, want, text)
		}
		if t.Failed() {
			break
		}
		count(k.name+", whole program", outcome)
	}
	total := 0
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		for _, outcome := range slices.Sorted(maps.Keys(counts[kind])) {
			t.Logf("%-32s %-40s %5d", kind, outcome, counts[kind][outcome])
			total += counts[kind][outcome]
		}
	}
	t.Logf("%d damaged files in all", total)
	for _, k := range kinds {
		if counts[k.name][fileRefused] == 0 || counts[k.name][fileAsWas]+counts[k.name][fileRepaired] == 0 {
			t.Errorf("%s: not all outcomes came up: the test shows little", k.name)
		}
	}
}

// TestNamesInAnotherCase changes the case of each letter of the names in states, journals and plan files: "plaN" is not
// "plan", though some JSON packages take it for that.
func TestNamesInAnotherCase(t *testing.T) {
	letters := regexp.MustCompile(`[A-Za-z]`)
	names := regexp.MustCompile(`"[A-Za-z_]+" ?:`)
	for _, k := range damagedFiles(t, newGround(t)) {
		tried := 0
		for _, was := range k.examples {
			for _, name := range names.FindAllIndex(was, -1) {
				for _, letter := range letters.FindAllIndex(was[name[0]:name[1]], -1) {
					is := bytes.Clone(was)
					is[name[0]+letter[0]] ^= 'a' ^ 'A'
					outcome, err := readSafely(k, was, is)
					if outcome != fileRepaired && (outcome != fileRefused || !helpful(err)) {
						t.Errorf("%s with %s: %s: %v", k.name, is[name[0]:name[1]], outcome, err)
					}
					tried++
				}
			}
		}
		if tried == 0 {
			t.Errorf("%s: no names", k.name)
		}
	}
}

// readSafely makes a panic a failure.
func readSafely(k damagedFile, was, is []byte) (outcome string, err error) {
	defer func() {
		if r := recover(); r != nil {
			outcome, err = fileAccepted, fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return k.read(was, is)
}

// helpful reports whether an error says what to do.
func helpful(err error) bool {
	return slices.ContainsFunc([]string{"restore", "lan again", "Make one with", "take one side", "use a newer iexecform", "or a later one", "use that iexecform",
		"state reencrypt", "give the"}, func(advice string) bool { return strings.Contains(err.Error(), advice) })
}

// corrupt damages one of the examples, and says how. It depends on the seed alone.
func corrupt(seed uint64, examples [][]byte) (was, is []byte, damage string) {
	r := rand.New(rand.NewPCG(seed, 0))
	was = examples[r.IntN(len(examples))]
	other := examples[r.IntN(len(examples))]
	block := func(b []byte) (from, to int) {
		from = r.IntN(len(b))
		return from, from + r.IntN(min(len(b)-from, 600)) + 1
	}
	lines := slices.Collect(bytes.Lines(was))
	join := func(lines ...[]byte) []byte { return slices.Concat(lines...) }
	whole := func(e []byte) bool { return bytes.Equal(is, e) }
	for is == nil || slices.ContainsFunc(examples, whole) {
		is = bytes.Clone(was)
		from, to := block(is)
		at, with := r.IntN(len(lines)), r.IntN(len(lines))
		switch n := r.IntN(13); n {
		case 0, 1, 2:
			damage = "a bit"
			is[from] ^= 1 << r.IntN(8)
		case 3:
			damage = "some bits"
			for range 2 + r.IntN(8) {
				is[r.IntN(len(is))] ^= 1 << r.IntN(8)
			}
		case 4:
			damage = "a byte"
			is[from] = byte(r.Uint32())
		case 5:
			damage, is = "cut short", is[:from]
		case 6:
			damage, is = "cut after a line", join(lines[:at]...)
		case 7:
			damage, is = "a block lost", slices.Concat(was[:from], was[to:])
		case 8:
			damage, is = "a block repeated", slices.Concat(was[:to], was[from:])
		case 9:
			damage, is = "a line lost", join(slices.Delete(slices.Clone(lines), at, at+1)...)
		case 10:
			damage, is = "a line repeated", join(slices.Insert(slices.Clone(lines), with, lines[at])...)
		case 11:
			damage = "lines swapped"
			lines := slices.Clone(lines)
			lines[at], lines[with] = lines[with], lines[at]
			is = join(lines...)
		case 12:
			if damage = "zeros"; bytes.Equal(other, was) {
				clear(is[from:to])
			} else {
				damage = "the rest of another"
				is = slices.Concat(was[:from], other[min(from, len(other)):])
			}
		}
	}
	return was, is, damage
}

// damagedFiles makes the files, by real plans and applies, whole and killed ones.
func damagedFiles(t *testing.T, g *ground) []damagedFile {
	cheap := anApp + anOrder + "output \"app\" { value = iexec_app.a.address }\n"
	dear := strings.Replace(cheap, "0.5 RLC", "0.7 RLC", 1)

	applied := g.world(t)
	applied.write(cheap)
	applied.apply()
	states := [][]byte{applied.file(local.SnapshotFile)}
	applied.write(dear)
	applied.run(0, "plan", "--out=first")
	applied.apply()
	states = append(states, applied.file(local.SnapshotFile))
	applied.write(cheap)
	applied.run(0, "plan", "--out=second")
	plans := [][]byte{applied.file("second"), applied.file("first")}
	newest := states[1:]

	cut := g.world(t)
	cut.write(cheap)
	cut.apply()
	cut.write(dear)
	cut.die("DIE_AT=9", "DIE_WHEN=after")
	interrupted, err := state.Decode(cut.file(local.SnapshotFile))
	if err != nil {
		t.Fatal(err)
	}
	journals := [][]byte{cut.file(local.JournalFile)}
	for at := 2; at < 9; at += 3 { // of the same snapshot, and shorter
		lines := slices.Collect(bytes.Lines(journals[0]))
		journals = append(journals, slices.Concat(lines[:min(at, len(lines))]...))
	}

	identity, err := filippo.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	cipher, err := age.New(age.Keys{Recipients: []string{identity.Recipient().String()}, Identities: []string{identity.String()}})
	if err != nil {
		t.Fatal(err)
	}
	codec := state.NewCodec(cipher)
	var sealedStates, sealedJournals, sealedPlans [][]byte
	for _, text := range states {
		sealedStates = append(sealedStates, sealState(t, codec, text))
	}
	for _, text := range journals {
		sealedJournals = append(sealedJournals, sealJournal(t, codec, text))
	}
	for _, text := range plans {
		sealedPlans = append(sealedPlans, sealPlan(t, codec, text))
	}
	applied.env = append(applied.env, "IEXECFORM_ENCRYPTION_IDENTITY="+identity.String())
	if err := os.WriteFile(filepath.Join(applied.dir, "sealed"), sealedPlans[0], 0o600); err != nil {
		t.Fatal(err)
	}
	return []damagedFile{
		{"state", slices.Concat(newest, states[:1]), readState(nil), applied.readDamagedState},
		{"journal", journals, readJournal(nil, interrupted), cut.readDamagedJournal},
		{"plan file", plans, readPlanFile(nil), applied.readDamagedPlan("second")},
		{"encrypted state", sealedStates, readState(codec), nil},
		{"encrypted journal", sealedJournals, readJournal(codec, interrupted), nil},
		{"encrypted plan file", sealedPlans, readPlanFile(codec), applied.readDamagedPlan("sealed")},
	}
}

func sealState(t *testing.T, codec *state.Codec, text []byte) []byte {
	t.Helper()
	s, err := state.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	b, err := codec.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sealJournal(t *testing.T, codec *state.Codec, text []byte) []byte {
	t.Helper()
	clear, err := (*state.Codec)(nil).DecodeJournal(text)
	if err != nil {
		t.Fatal(err)
	}
	j, b, err := codec.BeginJournal(clear.Header.Lineage, clear.Header.Serial, nil)
	for i := 0; err == nil && i < len(clear.Records); i++ {
		var line []byte
		line, err = j.Encode(clear.Records[i : i+1])
		j.Appended(line)
		b = append(b, line...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sealPlan(t *testing.T, codec *state.Codec, text []byte) []byte {
	t.Helper()
	p, err := plan.Decode(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := plan.Encode(p, codec)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readState(codec *state.Codec) func(was, is []byte) (string, error) {
	return func(was, is []byte) (string, error) {
		got, err := codec.Decode(is)
		if err != nil {
			return fileRefused, err
		}
		want, err := codec.Decode(was)
		if err != nil {
			return fileAccepted, err
		}
		text, err := state.Encode(got)
		wanted, wantErr := state.Encode(want)
		if err = errors.Join(err, wantErr); err != nil || !bytes.Equal(text, wanted) {
			return fileAccepted, err
		}
		return fileAsWas, nil
	}
}

func readJournal(codec *state.Codec, snapshot *state.Snapshot) func(was, is []byte) (string, error) {
	return func(was, is []byte) (string, error) {
		got, err := codec.DecodeJournal(is)
		if err != nil {
			return fileRefused, err
		}
		loaded, err := state.Resume(snapshot, got)
		if err != nil {
			return fileRefused, err
		}
		want, err := codec.DecodeJournal(was)
		if err != nil {
			return fileAccepted, err
		}
		switch {
		case got == nil:
			return fileRepaired, nil // the store tells that there was no whole header
		case got.Header != want.Header || len(got.Records) > len(want.Records) || !slices.EqualFunc(got.Records, want.Records[:len(got.Records)], func(a, b state.Record) bool { return reflect.DeepEqual(a, b) }):
			return fileAccepted, nil
		case loaded.Torn:
			return fileRepaired, nil
		case len(got.Records) == len(want.Records):
			return fileAsWas, nil
		case bytes.HasPrefix(was, is):
			return fileEarlier, nil
		}
		return fileAccepted, nil
	}
}

func readPlanFile(codec *state.Codec) func(was, is []byte) (string, error) {
	return func(was, is []byte) (string, error) {
		got, err := plan.Decode(is, codec)
		if err != nil {
			return fileRefused, err
		}
		want, err := plan.Decode(was, codec)
		if err != nil {
			return fileAccepted, err
		}
		text, _, err := plan.Encode(got, nil)
		wanted, _, wantErr := plan.Encode(want, nil)
		if err = errors.Join(err, wantErr); err != nil || !bytes.Equal(text, wanted) {
			return fileAccepted, err
		}
		return fileAsWas, nil
	}
}

// within runs the program in this process, on the project of the world, and fails the test when anything is sent.
func (w *world) within(t *testing.T, args ...string) (code int, text string) {
	t.Helper()
	w.rpc.Reset()
	w.market.Reset()
	var out syncBuffer
	env := append([]string{"IEXECFORM_PRIVATE_KEY=" + hex.EncodeToString(crypto.FromECDSA(w.account.Key))}, w.env...)
	code = run(append([]string{"--chdir=" + w.dir}, args...), strings.NewReader(""), &out, &out, env)
	if n := w.rpc.Count("eth_sendRawTransaction") + w.market.Count("POST ") + w.market.Count("PUT "); n > 0 {
		t.Errorf("iexecform %s sent something:\n%s", strings.Join(args, " "), out.String())
	}
	return code, out.String()
}

// damage puts a damaged file in the place of a good one, until the end of what it returns.
func (w *world) damage(t *testing.T, name string, text []byte) (restore func()) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	good := w.file(name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if !bytes.Equal(w.file(name), text) {
			t.Errorf("%s was changed although nothing was to be done", name)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// refuses runs an apply, which must not get through.
func (w *world) refuses(t *testing.T, args ...string) {
	t.Helper()
	if code, text := w.within(t, append([]string{"apply"}, args...)...); code != exitError {
		t.Errorf("apply goes on, with exit code %d:\n%s", code, text)
	}
}

func (w *world) readDamagedState(t *testing.T, is []byte) (outcome, text string) {
	defer w.damage(t, local.SnapshotFile, is)()
	code, text := w.within(t, "plan", "--detailed-exitcode")
	if code == exitError {
		w.refuses(t, "--auto-approve")
		return fileRefused, text
	}
	return fileAsWas, text
}

func (w *world) readDamagedJournal(t *testing.T, is []byte) (outcome, text string) {
	whole := w.file(local.JournalFile)
	defer w.damage(t, local.JournalFile, is)()
	code, text := w.within(t, "plan", "--detailed-exitcode")
	switch {
	case code == exitError:
		w.refuses(t, "--auto-approve")
		return fileRefused, text
	case strings.Contains(text, "Journal repaired"):
		return fileRepaired, text
	case bytes.HasPrefix(whole, is):
		return fileEarlier, text
	}
	return fileAsWas, text
}

func (w *world) readDamagedPlan(name string) func(*testing.T, []byte) (outcome, text string) {
	return func(t *testing.T, is []byte) (outcome, text string) {
		defer w.damage(t, name, is)()
		code, text := w.within(t, "show", name)
		if code == exitError {
			w.refuses(t, name)
			return fileRefused, text
		}
		return fileAsWas, text
	}
}
