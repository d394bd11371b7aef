package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A scenario is a fault that must leave nothing lost and nothing doubled: B-1 to B-60.
//
// To add one: put it into the list of a fault_*_test.go file. Its function makes a world of its own, sets rules on the
// world's proxies, runs the program, and ends with check, the oracle of all.
type scenario struct {
	number int
	title  string // what happens
	run    func(t *testing.T, g *ground)
	absent string // why it can't be run; then run is nil
}

func scenarios() []scenario {
	written := slices.Concat(killFaults(), sendFaults(), chainFaults(), marketFaults(), planFaults(), storeFaults())
	return append(written, unwritten(written)...)
}

// unwritten lists the scenarios that nobody has written yet.
func unwritten(written []scenario) (list []scenario) {
	for n := 1; n <= lastScenario; n++ {
		if !slices.ContainsFunc(written, func(s scenario) bool { return s.number == n }) {
			list = append(list, scenario{number: n, absent: "not written yet"})
		}
	}
	return list
}

const lastScenario = 60

// TestFaults runs the scenarios, and prints one line each and the count: `make faults`.
func TestFaults(t *testing.T) {
	all := scenarios()
	slices.SortFunc(all, func(a, b scenario) int { return cmp.Compare(a.number, b.number) })
	count := map[int]int{}
	for _, s := range all {
		count[s.number]++
		if (s.run == nil) != (s.absent != "") {
			t.Errorf("B-%d must have either a test or a reason why it has none", s.number)
		}
	}
	for n := 1; n <= lastScenario; n++ {
		if count[n] != 1 {
			t.Errorf("B-%d is there %d times", n, count[n])
		}
	}
	if len(count) != lastScenario {
		t.Errorf("there are scenarios beyond B-%d: %v", lastScenario, slices.Sorted(maps.Keys(count)))
	}

	report := newReport(all)
	t.Cleanup(report.print)
	g := newGround(t)
	for _, s := range all {
		if s.run == nil {
			continue
		}
		t.Run(fmt.Sprintf("B-%d", s.number), func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			t.Cleanup(func() { report.set(s.number, !t.Failed(), time.Since(begin)) })
			s.run(t, g)
		})
	}
}

// A report is what became of the scenarios.
type report struct {
	mu    sync.Mutex
	all   []scenario
	lines map[int]string
	count map[string]int
}

func newReport(all []scenario) *report {
	return &report{all: all, lines: map[int]string{}, count: map[string]int{}}
}

func (r *report) set(number int, ok bool, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	word := "passed"
	if !ok {
		word = "FAILED"
	}
	r.count[word]++
	r.lines[number] = fmt.Sprintf("%s  %5.1f s", word, took.Seconds())
}

func (r *report) print() {
	var b strings.Builder
	absent := 0
	for _, s := range r.all {
		name := fmt.Sprintf("B-%d", s.number)
		switch line, ran := r.lines[s.number]; {
		case s.absent != "":
			absent++
			fmt.Fprintf(&b, "%-5s absent           %s: %s\n", name, s.title, s.absent)
		case ran:
			fmt.Fprintf(&b, "%-5s %s  %s\n", name, line, s.title)
		}
	}
	fmt.Printf("%s%d passed, %d failed, %d can't be run\n", b.String(), r.count["passed"], r.count["FAILED"], absent)
}
