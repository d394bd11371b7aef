// Command meter runs a program with the text of MEASURE_STDIN as its input, throws away what it prints, and prints its time and CPU
// time in nanoseconds and its peak memory in bytes. It is small: a process's peak memory is never less than that of the one that
// started it.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

func main() {
	cmd := exec.Command(os.Args[1], os.Args[2:]...) //nolint:gosec // that is what it is for
	var out bytes.Buffer
	cmd.Stdin = strings.NewReader(os.Getenv("MEASURE_STDIN"))
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	elapsed := time.Since(start)
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "%v\n%s\n", err, out.Bytes())
		os.Exit(1)
	}
	used := cmd.ProcessState.SystemTime() + cmd.ProcessState.UserTime()
	fmt.Println(elapsed.Nanoseconds(), used.Nanoseconds(), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss*1024)
}
