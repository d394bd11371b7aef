// Package bounds keeps tests of what reads untrusted bytes from passing while it hangs, or asks for all memory.
package bounds

import (
	"fmt"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// What a few kilobytes may take to be read. Both are far more than they need, also on a busy machine with the race detector.
const (
	longest = 30 * time.Second
	largest = 512 << 20 // bytes allocated, all in all
)

// Watch panics, with the stacks of all goroutines, if too much time passes or too much is allocated before done is called. A
// fuzzer keeps the input then.
func Watch() (done func()) {
	start, before := time.Now(), allocated()
	check := func() {
		took, size := time.Since(start), allocated()-before
		if took > longest || size > largest {
			debug.SetTraceback("all")
			panic(fmt.Sprintf("reading this took %s and %d MB", took.Round(time.Millisecond), size>>20))
		}
	}
	stop := make(chan struct{})
	go func() {
		ticks := time.NewTicker(20 * time.Millisecond)
		defer ticks.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticks.C:
				check()
			}
		}
	}()
	return func() {
		close(stop)
		check()
	}
}

// allocated is the bytes that the process has allocated since it began.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
