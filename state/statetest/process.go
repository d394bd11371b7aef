package statetest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/iexecform/iexecform/state"
)

// childPlace, when set, makes the test binary the process that is killed or stopped.
const childPlace = "IEXECFORM_TEST_STATE"

// Main is what a TestMain calls whose tests call Processes: open opens the store at a place in another process.
func Main(m *testing.M, open func(place string) (state.Store, error)) {
	if place := os.Getenv(childPlace); place != "" {
		store, err := open(place)
		if err == nil {
			err = countForever(store)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// countForever takes the lock and counts in the store without end, telling each number on stdout once it is kept: i in the
// journal; at every third, in the snapshot.
func countForever(store state.Store) error {
	ctx := context.Background()
	if _, err := lockWhenFree(ctx, store, state.Holder{ID: strconv.Itoa(os.Getpid()), Operation: "count"}); err != nil {
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
		err := store.Append(ctx, Object(1, App, fmt.Sprintf(`{"n":%d}`, n)), state.Record{Type: state.NoteRec, Key: "n", Data: number})
		if err != nil {
			return err
		}
		fmt.Println(n)
		if n%3 != 0 {
			continue
		}
		next := Snapshot(s.Serial + 1)
		next.Resources[App].Attributes = json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))
		if err := store.Compact(ctx, next, []state.Note{{Key: "n", Data: number}}); err != nil {
			return err
		}
		s = next
	}
}

// lockWhenFree tries again while somebody else holds the lock.
func lockWhenFree(ctx context.Context, store state.Store, h state.Holder) (unlock func() error, err error) {
	return backoff.Retry(ctx, func() (func() error, error) {
		unlock, err := store.Lock(ctx, h)
		if locked := (*state.LockedError)(nil); err != nil && !errors.As(err, &locked) {
			err = backoff.Permanent(err)
		}
		return unlock, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(10*time.Millisecond)), backoff.WithMaxElapsedTime(time.Minute))
}

// count is what countForever had counted.
func count(loaded *state.Loaded) int {
	o := loaded.Snapshot.Resources[App]
	if o == nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.Trim(string(o.Attributes), "{}\"n: \n"))
	return n
}

// child is a process that counts.
type child struct {
	*exec.Cmd
	told *bufio.Scanner
	errs bytes.Buffer
}

func startChild(t *testing.T, place string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command(os.Args[0])}
	c.Env = append(os.Environ(), childPlace+"="+place, "GORACE=atexit_sleep_ms=0")
	c.Stderr = &c.errs
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	c.told = bufio.NewScanner(out)
	return c
}

// next waits for the next number that the child tells.
func (c *child) next(t *testing.T) int {
	t.Helper()
	if !c.told.Scan() {
		_ = c.Wait()
		t.Fatalf("the child ended by itself: %s", &c.errs)
	}
	return number(t, c.told.Text())
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("the child says %q", text)
	}
	return n
}

// ended waits for the child's end and returns the last number that it told since, or 0.
func (c *child) ended(t *testing.T) (last int) {
	t.Helper()
	for c.told.Scan() {
		last = number(t, c.told.Text())
	}
	_ = c.Wait() // tells how it ended
	return last
}

// Processes runs the part of the suite in which the process that writes dies or is stopped. place is what TestMain's open
// gets. outlives tells that the lock ends some time after its holder instead of at once, which then should be less than a
// second.
func Processes(t *testing.T, place string, open func() state.Store, outlives bool) {
	rounds := 12
	if outlives { // each takes as long as a lock
		rounds = 4
	}
	t.Run("killed", func(t *testing.T) { killed(t, place, open(), rounds) })
	t.Run("the lock names its holder, and ends after it", func(t *testing.T) { killedHolder(t, place, open()) })
	if outlives {
		t.Run("stopped", func(t *testing.T) { stopped(t, place, open()) })
	}
}

// killed: a process that is killed anywhere leaves a state that can be read, holds everything acknowledged and at most the
// one step that was under way, and isn't locked for longer than it must.
func killed(t *testing.T, place string, store state.Store, rounds int) {
	for round := range rounds {
		c := startChild(t, place)
		atLeast := 0
		for range 1 + rand.IntN(12) { // then at a random point of what follows
			atLeast = c.next(t)
		}
		for range rand.IntN(2000) {
			_ = rand.Int() // up to some ten microseconds
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		atLeast = max(atLeast, c.ended(t))
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

func killedHolder(t *testing.T, place string, store state.Store) {
	c := startChild(t, place)
	c.next(t)
	_, err := store.Lock(t.Context(), state.Holder{ID: "me"})
	var locked *state.LockedError
	if !errors.As(err, &locked) || locked.Holder == nil || locked.Holder.ID != strconv.Itoa(c.Process.Pid) {
		t.Errorf("got %v, want a LockedError that names the child", err)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.ended(t)
	unlock, err := lockWhenFree(t.Context(), store, state.Holder{ID: "me"})
	if err != nil {
		t.Fatalf("Lock after the holder was killed: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}

// stopped: a process that is stopped loses its lock in time. Once another has it, the stopped one goes on and writes nothing.
func stopped(t *testing.T, place string, store state.Store) {
	for round := range 3 {
		c := startChild(t, place)
		for range 1 + rand.IntN(6) {
			c.next(t)
		}
		if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		unlock, err := lockWhenFree(t.Context(), store, state.Holder{ID: "me", Operation: "take over"})
		if err != nil {
			t.Fatalf("Lock while the holder is stopped: %v", err)
		}
		loaded, err := store.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n := count(loaded)
		if round > 0 { // in the first round it fails by its lost lock alone
			appendTo(t, store, Object(1, App, fmt.Sprintf(`{"n":%d}`, n+1)))
			n++
		}
		if err := c.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if told := c.ended(t); told > n {
			t.Errorf("round %d: the stopped process wrote %d after another had the lock and loaded %d", round, told, n)
		}
		if text := c.errs.String(); !strings.Contains(text, "the lock of the state is lost") {
			t.Errorf("round %d: the stopped process says %q, want that its lock is lost", round, text)
		}
		if loaded, err = store.Load(t.Context()); err != nil || count(loaded) != n {
			t.Errorf("round %d: the state counts %d, want %d: %v", round, count(loaded), n, err)
		}
		next := Snapshot(loaded.Snapshot.Serial + 1)
		next.Resources[App].Attributes = json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))
		compactTo(t, store, next, loaded.Pending...)
		if err := unlock(); err != nil {
			t.Fatal(err)
		}
	}
}
