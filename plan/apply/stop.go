package apply

import (
	"context"
	"time"

	"github.com/iexecform/iexecform/providers"
)

// errStopped is why what was under way is left to the next run.
var errStopped = &providers.HeldError{
	Reason:  "the run was interrupted, and it was not over in time",
	Unblock: "run apply again: what is in flight is in the journal, and the next run goes on with it",
}

// patience returns the context of what is under way: after an interrupt it goes on, but no longer than the timeout if there
// is one. end must be called.
func patience(ctx context.Context, timeout time.Duration) (work context.Context, end func()) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	if timeout <= 0 {
		return work, func() { cancel(nil) }
	}
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(timeout):
			cancel(errStopped)
		case <-work.Done():
		}
	})
	return work, func() {
		stop()
		cancel(nil)
	}
}
