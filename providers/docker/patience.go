package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// An engine that takes requests and never answers must not hold up a run for ever. What takes a moment has a limit, and what moves
// bytes may not pause for longer. What an engine does for long (pulls, and the run of a container) is its caller's to limit.

// envPatience is how long an engine may be silent, in seconds; docker-compose's name for it.
const envPatience = "DOCKER_CLIENT_TIMEOUT"

const defaultPatience = time.Minute

// patience is how long the engine may be silent.
func patience() (time.Duration, error) {
	text := os.Getenv(envPatience)
	if text == "" {
		return defaultPatience, nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if d := time.Duration(seconds * float64(time.Second)); err == nil && d > 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%s is %q: want a number of seconds, such as 60", envPatience, text)
}

// SilentError is that an engine gave no sign of life for too long.
type SilentError struct{ For time.Duration }

func (e *SilentError) Error() string {
	return fmt.Sprintf("the engine gave no answer for %s. Restart it, or give it longer with %s=SECONDS", e.For, envPatience)
}

// Ask makes a request that takes a moment. The error is a *SilentError when it takes longer than the engine's Patience.
func (e *Engine) Ask(ctx context.Context, request func(context.Context) error) error {
	return e.Watch(ctx, func(ctx context.Context, _ func()) error { return request(ctx) })
}

// Watch makes a request that calls alive for each sign of life of the engine. The error is a *SilentError when there is none
// for as long as the engine's Patience.
func (e *Engine) Watch(ctx context.Context, request func(ctx context.Context, alive func()) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(e.Patience, func() { cancel(e.Silent()) })
	defer timer.Stop()
	err := request(ctx, func() { timer.Reset(e.Patience) })
	if silent := (*SilentError)(nil); err != nil && errors.As(context.Cause(ctx), &silent) {
		return silent
	}
	return err
}

// Silent is the error of an engine that was waited for in vain.
func (e *Engine) Silent() error { return &SilentError{e.Patience} }
