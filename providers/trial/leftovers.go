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

// A process that is killed leaves its container, which may run for ever, and its directory. Both have the process in their
// name, and the next trial of any process on the machine removes what belongs to one that is no more.

// ownerLabel is on all containers of trials; its value is the process that removes them.
const ownerLabel = Label + ".owner"

// dirPrefix begins the names of the directories of trials. The number of the process and a dash follow.
const dirPrefix = "iexecform-trial-"

// owner is this process, on the machines that an engine may know.
func owner() string {
	host, _ := os.Hostname() // where it has none, all have none
	return fmt.Sprintf("%s/%d", host, os.Getpid())
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
func (e *Engine) sweep(ctx context.Context) {
	host, _, _ := strings.Cut(owner(), "/")
	found, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", ownerLabel)})
	for _, c := range found.Items {
		where, number, _ := strings.Cut(c.Labels[ownerLabel], "/")
		if pid, bad := strconv.Atoi(number); err == nil && bad == nil && where == host && over(pid) {
			_ = (&running{api: e.api, id: c.ID}).remove(ctx) // another process may be doing the same
		}
	}
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*")) // the pattern is well formed
	for _, dir := range dirs {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		if pid, err := strconv.Atoi(number); err == nil && over(pid) {
			_ = os.RemoveAll(dir) // one of another user stays
		}
	}
}
