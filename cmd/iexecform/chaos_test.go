package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestChaos tells stories, many at a time on one network, each with an account of its own: edits, applies that die or whose
// requests go wrong, and what others do in between. Each ends with the oracle. With CHAOS_DURATION they are drawn at random
// for so long: `make chaos`. A story that fails is made shorter, and printed so that it can be kept in testdata/chaos. Without
// it they are those of the first few seeds, which are known to pass: a new violation is to be found by who looks for one, and
// not to stop who changes something else.
func TestChaos(t *testing.T) {
	g, count := newGround(t), newCounts()
	g.network()
	begin := time.Now()
	t.Cleanup(func() { fmt.Print(count.report(time.Since(begin))) })
	text := os.Getenv("CHAOS_DURATION")
	if text == "" {
		for seed := range 32 {
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				t.Parallel()
				lines := aStory().Example(seed)
				if verdict := judged(t, func(j *judge) { g.tell(j, count, lines) }); verdict != "" {
					t.Errorf(violated, strings.Join(lines, "\n"), verdict)
				}
			})
		}
		return
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	var tellers sync.WaitGroup
	for range 16 {
		tellers.Go(func() { tellStories(t, g, count, begin.Add(duration)) })
	}
	tellers.Wait()
}

const violated = "the oracle is violated by the story\n\n%s\n\n%s"

// tellStories tells stories until it is late, or one fails.
func tellStories(t *testing.T, g *ground, count *counts, end time.Time) {
	var found struct{ story, verdict string } // the shortest that failed
	for time.Now().Before(end) && found.story == "" && !t.Failed() {
		failed := judged(t, func(j *judge) {
			rapid.Check(j, func(r *rapid.T) {
				if found.story == "" && (time.Now().After(end) || count.found()) {
					return
				}
				lines := aStory().Draw(r, "story")
				verdict := judged(t, func(j *judge) { g.tell(j, count, lines) })
				if verdict == "" {
					return
				}
				count.add(&count.failures)
				if story := strings.Join(lines, "\n"); found.story == "" || len(story) < len(found.story) {
					found.story, found.verdict = story, verdict
				}
				r.Fatalf("the oracle is violated")
			})
		})
		if failed != "" {
			count.add(&count.violations)
			t.Errorf(violated, found.story, found.verdict)
		}
	}
}

// TestChaosFound tells the stories that once failed: testdata/chaos.
func TestChaosFound(t *testing.T) {
	files, err := filepath.Glob("testdata/chaos/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no stories:", err)
	}
	g, count := newGround(t), newCounts()
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for line := range strings.Lines(string(text)) {
				if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
					lines = append(lines, line)
				}
			}
			if verdict := judged(t, func(j *judge) { g.tell(j, count, lines) }); verdict != "" {
				t.Error(verdict)
			}
		})
	}
}

// counts is what happened in all stories, and what they share beside the network.
type counts struct {
	paying sync.Mutex // guards the nonces of the buyer, the workerpool and the stranger
	ledger ledger

	mu                                                                         sync.Mutex
	stories, remote, runs, twins, ended, killed, outside, violations, failures int
	faults                                                                     map[string]int
}

func newCounts() *counts { return &counts{faults: map[string]int{}} }

func (c *counts) add(n *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}

// found reports whether a story has failed: then only that one is told again.
func (c *counts) found() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures > 0
}

func (c *counts) fault(what string) {
	what, _, _ = strings.Cut(what, "=")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[what]++
}

func (c *counts) report(took time.Duration) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	all := 0
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(c.faults)) {
		all += c.faults[kind]
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, c.faults[kind]))
	}
	fmt.Fprintf(&b, "%d stories, %d of them with the state on a server, in %s on %d processors\n", c.stories, c.remote, took.Round(time.Second), runtime.GOMAXPROCS(0))
	fmt.Fprintf(&b, "%6d runs of the program, and %d beside one of them\n", c.runs, c.twins)
	fmt.Fprintf(&b, "%6d crashes, %d of them of a process of its own\n", c.ended+c.killed, c.killed)
	fmt.Fprintf(&b, "%6d faults injected: %s\n", all, strings.Join(kinds, ", "))
	fmt.Fprintf(&b, "%6d outside changes\n", c.outside)
	fmt.Fprintf(&b, "%6d violations of the oracle\n", c.violations)
	return b.String()
}

// aStory draws one.
func aStory() *rapid.Generator[[]string] {
	return rapid.Custom(func(t *rapid.T) []string {
		lines := []string{"entry a 1", fmt.Sprintf("order o %d %d", aPrice().Draw(t, "price"), aVolume().Draw(t, "volume"))}
		lines = append(lines, rapid.SliceOfN(aStep(), 8, 24).Draw(t, "steps")...)
		if where := pick("", "", "", "remote").Draw(t, "store"); where != "" {
			lines = slices.Insert(lines, 0, where)
		}
		return lines
	})
}

func aPrice() *rapid.Generator[int]  { return rapid.IntRange(1, 9) }
func aVolume() *rapid.Generator[int] { return rapid.IntRange(1, 20) }

func pick(list ...string) *rapid.Generator[string] { return rapid.SampledFrom(list) }

// line draws a step of words, some of them drawn.
func line(format string, words ...*rapid.Generator[string]) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		all := make([]any, len(words))
		for i, w := range words {
			all[i] = w.Draw(t, "word")
		}
		return fmt.Sprintf(format, all...)
	})
}

func number(from, to int) *rapid.Generator[string] {
	return rapid.Map(rapid.IntRange(from, to), func(n int) string { return fmt.Sprint(n) })
}

// aStep draws a step; those that come often are there several times.
func aStep() *rapid.Generator[string] {
	entry, order := pick("a", "b", "d", "w"), pick("o", "o", "p", "q", "r", "s")
	edit := rapid.OneOf(
		line("set %s price %s", order, number(1, 9)), line("set %s price %s", order, number(1, 9)), line("set %s volume %s", order, number(1, 20)),
		line("set %s tag %s", order, pick("tee", "none")), line("set %s restrict %s", order, pick("none", "buyer", "other")),
		line("set %s revoke %s", order, pick("auto", "onchain", "unpublish")), line("set %s on_destroy %s", order, pick("close", "unpublish", "keep")),
		line("set %s below %s", order, number(0, 5)), line("set %s entry %s", order, entry),
		line("entry %s %s", entry, number(1, 4)), line("order %s %s %s", order, number(1, 9), number(1, 20)), line("order %s %s %s", order, number(1, 9), number(1, 20)),
		line("drop %s", order), line("drop %s", entry),
		line("rename %s %s", order, order), line("move %s %s", order, order), line("rename %s %s", entry, entry), line("move %s %s", entry, entry),
	)
	some := rapid.SliceOfN(aDisturbance(), 1, 4)
	run := line("%s%s", pick("apply", "apply", "apply", "apply", "save", "late", "late", "destroy"), rapid.Map(rapid.OneOf(some, some, some, rapid.SliceOfN(aDisturbance(), 0, 0)), func(list []string) string {
		return strings.Join(append([]string{""}, list...), " ")
	}))
	return rapid.OneOf(edit, edit, edit, run, run, run, run, rapid.Just("check"), outside(), outside())
}

// outside draws what others do.
func outside() *rapid.Generator[string] {
	entry, order := pick("a", "b", "d", "w"), pick("o", "o", "p", "q", "r", "s")
	return rapid.OneOf(
		line("buy %s %s", order, number(1, 8)), line("buy %s %s", order, number(1, 8)), line("copy %s %s", number(0, 9), number(1, 8)),
		line("unpublish %s", order), line("close %s", order), line("away %s", entry), line("back %s", entry), rapid.Just("tx"),
		rapid.Just("lose state"), rapid.Just("lose journal"),
	)
}

// aDisturbance draws one of a run. A run makes some 20 requests to the node, and 3 to 8 to the market.
func aDisturbance() *rapid.Generator[string] {
	while := rapid.Map(rapid.OneOf(
		line("buy %s %s", pick("o", "p"), number(1, 3)), line("copy %s %s", number(0, 5), number(1, 3)), rapid.Just("tx"), line("unpublish %s", pick("o", "p")),
		line("close %s", pick("o", "p")), line("away %s", pick("a", "b")), line("back %s", pick("a", "b")),
	), func(line string) string { return "others=" + strings.ReplaceAll(line, " ", "+") })
	any := pick("400", "429", "500", "503", "drop", "cut", "truncate", "stale", "twice", "slow", "kill", "killed", "stop", "stopped")
	deadly := pick("kill", "killed", "kill", "killed", "stop", "stopped")
	sending := pick("drop", "cut", "400", "full", "underpriced", "known", "low", "twice")
	first := pick("0", "0", "0", "1", "2")
	return rapid.OneOf(
		line("store:%s:%s", number(1, 16), pick("before", "after", "torn")), line("store:%s:%s", number(1, 16), pick("before", "after", "torn")),
		line("rpc:any:%s:%s:%s", number(0, 25), number(1, 3), any), line("market:any:%s:%s:%s", number(0, 8), number(1, 3), any),
		line("rpc:eth_sendRawTransaction:%s:1:%s", first, deadly), line("rpc:eth_sendRawTransaction:%s:1:%s", first, sending),
		line("market:POST:%s:1:%s", first, deadly), line("market:PUT:%s:1:%s", first, deadly), line("market:%s:%s:1:%s", pick("POST", "PUT"), first, any),
		line("rpc:%s:%s:%s:%s", pick("eth_call", "eth_call", "eth_getTransactionReceipt", "eth_getTransactionCount", "eth_getBlockByNumber"), number(0, 10), number(1, 2), any),
		line("registry:any:%s:%s:%s", number(0, 6), number(1, 2), any),
		line("rpc:any:%s:1:%s", number(0, 25), while), line("market:any:%s:1:%s", number(0, 8), while), line("rpc:eth_sendRawTransaction:%s:1:%s", first, while),
		line("market:POST:%s:1:%s", first, while),
		line("par:%s", pick("1", "1", "2")), line("par:%s", pick("1", "1", "2")), rapid.Just("proc"), line("twin:%s", pick("", "--lock-timeout=9s", "--lock=false", "--lock=false")),
	)
}
