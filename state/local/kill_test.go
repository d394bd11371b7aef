package local_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
	"github.com/iexecform/iexecform/state/statetest"
)

// childDir, when set, makes the test binary the process that is killed.
const childDir = "IEXECFORM_TEST_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, countForever(dir))
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// countForever takes the lock and counts in the store without end, telling each number on stdout once it is kept: i in the
// journal; at every third, in the snapshot.
func countForever(dir string) error {
	ctx := context.Background()
	store := local.New(dir)
	if _, err := store.Lock(ctx, state.Holder{ID: strconv.Itoa(os.Getpid()), Operation: "count"}); err != nil {
		return err
	}
	loaded, err := store.Load(ctx)
	if err != nil {
		return err
	}
	s, n := loaded.Snapshot, count(loaded)
	for {
		n++
		number := json.RawMessage(strconv.Itoa(n))
		err := store.Append(ctx, statetest.Object(1, statetest.App, fmt.Sprintf(`{"n":%d}`, n)),
			state.Record{Type: state.NoteRec, Key: "n", Data: number})
		if err != nil {
			return err
		}
		fmt.Println(n)
		if n%3 != 0 {
			continue
		}
		next := statetest.Snapshot(s.Serial + 1)
		next.Resources[statetest.App].Attributes = json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))
		if err := store.Compact(ctx, next, []state.Note{{Key: "n", Data: number}}); err != nil {
			return err
		}
		s = next
	}
}

// count is what countForever had counted.
func count(loaded *state.Loaded) int {
	o := loaded.Snapshot.Resources[statetest.App]
	if o == nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.Trim(string(o.Attributes), "{}\"n: \n"))
	return n
}

func start(t *testing.T, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	return child, bufio.NewScanner(out)
}

// next waits for the next number that the child tells.
func next(t *testing.T, told *bufio.Scanner) int {
	t.Helper()
	if !told.Scan() {
		t.Fatal("the child ended by itself")
	}
	return number(t, told.Text())
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("the child says %q", text)
	}
	return n
}

// kill ends the child with SIGKILL and returns the last number that it told since, or 0.
func kill(t *testing.T, child *exec.Cmd, told *bufio.Scanner) int {
	t.Helper()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	last := 0
	for told.Scan() {
		last = number(t, told.Text())
	}
	_ = child.Wait() // says that it was killed
	return last
}

// A process that is killed anywhere leaves a state that can be read, holds everything acknowledged and at most the one
// step that was under way, and isn't locked.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	store := local.New(dir)
	for round := range 40 {
		child, told := start(t, dir)
		atLeast := 0
		for range 1 + rand.IntN(12) { // then at a random point of what follows
			atLeast = next(t, told)
		}
		for range rand.IntN(2000) {
			_ = rand.Int() // up to some ten microseconds
		}
		atLeast = max(atLeast, kill(t, child, told))
		loaded, err := store.Load(t.Context())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		n := count(loaded)
		if n < atLeast || n > atLeast+1 {
			t.Fatalf("round %d: the state counts %d, %d was acknowledged", round, n, atLeast)
		}
		if len(loaded.Pending) != 1 || string(loaded.Pending[0].Data) != strconv.Itoa(n) && string(loaded.Pending[0].Data) != strconv.Itoa(n-1) {
			t.Fatalf("round %d: the state counts %d and notes %v", round, n, loaded.Pending)
		}
	}
}

// The lock names its holder, and dies with it.
func TestKilledHolder(t *testing.T) {
	dir := t.TempDir()
	child, told := start(t, dir)
	next(t, told)
	store := local.New(dir)
	_, err := store.Lock(t.Context(), state.Holder{ID: "me"})
	var locked *state.LockedError
	if !errors.As(err, &locked) || locked.Holder == nil || locked.Holder.ID != strconv.Itoa(child.Process.Pid) {
		t.Errorf("got %v, want a LockedError that names the child", err)
	}
	kill(t, child, told)
	if !strings.Contains(contents(t, dir, local.LockFile), "count") {
		t.Error("the killed holder left no name: the test shows nothing")
	}
	unlock, err := store.Lock(t.Context(), state.Holder{ID: "me"})
	if err != nil {
		t.Fatalf("Lock after the holder was killed: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}
