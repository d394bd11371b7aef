package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state/http/gitlabtest"
	"github.com/iexecform/iexecform/state/pg/pgtest"
	"github.com/iexecform/iexecform/state/s3/s3test"
)

// tally is a provider whose action adds a line to the file TALLY, without looking whether it is there: done twice, it is there
// twice.
type tally struct{ slow }

func (t *tally) Open(context.Context, providers.OpenRequest) (providers.Client, error) { return t, nil }

func (t *tally) Do(_ context.Context, req providers.DoRequest) (json.RawMessage, error) {
	f, err := os.OpenFile(os.Getenv("TALLY"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteString(req.Action.Addr.String() + "\n"); err != nil {
		return nil, err
	}
	return json.RawMessage(`{"number": 7}`), f.Close()
}

// tallying is the program with that provider.
func tallying() {
	registry := func(func(string) string) providers.Registry { return providers.Registry{"slow": &tally{}} }
	os.Exit(runWith(registry, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}

const tallied = `
variable "name" {
  type = string
}
resource "slow_thing" "e" {
  for_each = toset([var.name])
  name     = each.key
}
`

const writers = 8

// load is eight processes, each with a checkout of its own, that plan to add a thing to the same state and apply that plan. Two
// that plan at the same time plan the same: only one may do it.
type load struct {
	program, dir string
	env          []string
	failed       func(format string, args ...any)

	done, refused atomic.Int32
}

func (l *load) run(dir string, args ...string) (string, error) {
	cmd := exec.Command(l.program, args...)
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), endQuickly, "TALLY="+filepath.Join(l.dir, "tally")), l.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// write is one writer.
func (l *load) write(dir string, more func(round int) bool) {
	for round := 0; more(round); round++ {
		list, err := l.run(dir, "state", "list")
		if err != nil {
			l.failed("state list: %v\n%s", err, list)
			return
		}
		name := fmt.Sprintf("e%d", strings.Count(list, "\n"))
		out, err := l.run(dir, "plan", "--out=p", "--var=name="+name, fmt.Sprintf("--target=slow_thing.e[%q]", name), "--lock-timeout=1m", "--detailed-exitcode")
		var exit *exec.ExitError
		if err == nil {
			continue // another has made it meanwhile
		}
		if !errors.As(err, &exit) || exit.ExitCode() != exitChanges {
			l.failed("plan: %v\n%s", err, out)
			return
		}
		out, err = l.run(dir, "apply", "p", "--lock-timeout=1m")
		switch {
		case err == nil:
			l.done.Add(1)
		case strings.Contains(out, "Saved plan is stale"):
			l.refused.Add(1)
		default:
			l.failed("apply: %v\n%s", err, out)
			return
		}
	}
}

// TestLoad runs eight writers against one state on each store: `make load DURATION=60s`; without LOAD_DURATION a few rounds.
func TestLoad(t *testing.T) {
	duration, _ := time.ParseDuration(os.Getenv("LOAD_DURATION"))
	for name, backend := range map[string]func(t *testing.T) (block string, env []string){
		"local": func(t *testing.T) (string, []string) {
			return fmt.Sprintf("backend \"local\" {\n path = %q\n}", filepath.Join(t.TempDir(), "shop.json")), nil
		},
		"pg": func(t *testing.T) (string, []string) {
			c, err := pgx.ParseConfig(pgtest.Start(t).Database(t))
			if err != nil {
				t.Fatal(err)
			}
			return "backend \"pg\" {}", []string{"PGHOST=" + c.Host, "PGUSER=" + c.User, "PGDATABASE=" + c.Database}
		},
		"s3": func(t *testing.T) (string, []string) {
			server := s3test.Start(t)
			var env []string
			for name, value := range s3test.Environment() {
				env = append(env, name+"="+value)
			}
			return fmt.Sprintf("backend \"s3\" {\n endpoint = %q\n bucket = %q\n key = \"shop.json\"\n use_path_style = true\n}", server.URL, server.Bucket(t)), env
		},
		"http": func(t *testing.T) (string, []string) {
			at := gitlabtest.Start(t).Address("shop")
			return fmt.Sprintf("backend \"http\" {\n address = %q\n lock_address = %q\n unlock_address = %q\n lock_method = \"POST\"\n unlock_method = \"DELETE\"\n username = %q\n}",
				at, at+"/lock", at+"/lock", gitlabtest.User), []string{"IEXECFORM_BACKEND_PASSWORD=" + gitlabtest.Password}
		},
	} {
		t.Run(name, func(t *testing.T) {
			block, env := backend(t)
			loadStore(t, name, block, env, duration)
		})
	}
}

func loadStore(t *testing.T, name, block string, env []string, duration time.Duration) {
	l := &load{program: filepath.Join(programs(t, "iexecform-tally"), "iexecform-tally"), dir: t.TempDir(), env: env, failed: t.Errorf}
	begin := time.Now()
	more := func(round int) bool { return round < 3 }
	if duration > 0 {
		more = func(int) bool { return time.Since(begin) < duration }
	}
	dirs := make([]string, writers)
	for i := range dirs {
		dirs[i] = filepath.Join(l.dir, fmt.Sprint(i))
		if err := os.Mkdir(dirs[i], 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dirs[i], "main.hcl"), []byte("iexecform {\n"+block+"\n}\n"+tallied), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := l.run(dirs[i], "init"); err != nil {
			t.Fatalf("init: %v\n%s", err, out)
		}
	}
	begin = time.Now()
	var wg sync.WaitGroup
	for _, dir := range dirs {
		wg.Go(func() { l.write(dir, more) })
	}
	wg.Wait()

	list, err := l.run(dirs[0], "state", "list")
	if err != nil {
		t.Fatalf("state list: %v\n%s", err, list)
	}
	remembered := map[string]bool{}
	for line := range strings.Lines(list) {
		remembered[strings.TrimSpace(line)] = true
	}
	log, err := os.ReadFile(filepath.Join(l.dir, "tally"))
	if err != nil {
		t.Fatal(err)
	}
	lost, double := int(l.done.Load())-len(remembered), 0
	times := map[string]int{}
	for line := range strings.Lines(string(log)) {
		address := strings.TrimSpace(line)
		if times[address]++; times[address] > 1 {
			double++
		}
		if !remembered[address] {
			t.Errorf("%s was made, and the state doesn't know it", address)
		}
	}
	fmt.Printf("%-5s %d writers, %5.1f s: %d applies done, %d refused, %d lost updates, %d double actions\n",
		name, writers, time.Since(begin).Seconds(), l.done.Load(), l.refused.Load(), lost, double)
	if lost != 0 || double != 0 || l.done.Load() == 0 {
		t.Errorf("%d applies done, %d lost updates, %d double actions", l.done.Load(), lost, double)
	}
}
