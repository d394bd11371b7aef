package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/moby/client"
)

// A process that is killed leaves its container, which may run for ever, and its directory. Both say whose they are, and the
// next trial of any process on the machine removes what belongs to one that is no more.

// ownerLabel is on all containers of trials; its value is the process that removes them: HOST/PID.
const ownerLabel = Label + ".owner"

func owner() string { return fmt.Sprintf("%s/%d", host(), os.Getpid()) }

// dirPattern is what directories of this process's trials are called. Machines may share the place where they are.
func dirPattern() string { return fmt.Sprintf("%s%d-*", dirPrefix(), os.Getpid()) }

func dirPrefix() string { return "iexecform-trial-" + host() + "." }

// host is the name of the machine, or of the container that this process is in.
func host() string {
	name, _ := os.Hostname() // where it has none, all have none
	return name
}

// over reports whether a process of this machine has ended.
func over(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return true
	}
	err = p.Signal(syscall.Signal(0))
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH)
}

// sweep removes what killed processes left, as far as it can. SIDE EFFECTS: removes containers, volumes and directories.
func (e worker) sweep(ctx context.Context) {
	var found client.ContainerListResult
	_ = e.Ask(ctx, func(ctx context.Context) (err error) {
		found, err = e.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", ownerLabel)})
		return err
	})
	for _, c := range found.Items {
		where, number, _ := strings.Cut(c.Labels[ownerLabel], "/")
		if pid, err := strconv.Atoi(number); err == nil && where == host() && over(pid) {
			_ = (&running{e.Engine, c.ID}).remove(ctx) // another process may be doing the same
		}
	}
	entries, _ := os.ReadDir(os.TempDir())
	for _, d := range entries {
		rest, ours := strings.CutPrefix(d.Name(), dirPrefix())
		number, _, _ := strings.Cut(rest, "-")
		if pid, err := strconv.Atoi(number); ours && err == nil && over(pid) {
			_ = os.RemoveAll(filepath.Join(os.TempDir(), d.Name())) // one of another user stays
		}
	}
}
