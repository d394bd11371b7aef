package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/spf13/pflag"

	"github.com/iexecform/iexecform/state"
)

// lockFlags say whether and how patiently the state is locked.
type lockFlags struct {
	noLock  bool
	timeout time.Duration
}

func (o *lockFlags) add(flags *pflag.FlagSet) {
	flags.Var((*inverted)(&o.noLock), "lock", "lock the state; --lock=false is for when nobody else can be using it")
	flags.Lookup("lock").NoOptDefVal = "true"
	flags.DurationVar(&o.timeout, "lock-timeout", 0, "keep trying to get the lock for a `DURATION` such as 30s")
}

// hold opens the store, takes its lock and loads the state. Whoever has no error calls unlock in the end.
func (a *app) hold(ctx context.Context, operation string, o lockFlags) (store state.Store, loaded *state.Loaded, unlock func(), err error) {
	if store, err = a.store(ctx); err != nil {
		return nil, nil, nil, err
	}
	if unlock, err = a.lock(ctx, store, operation, o); err != nil {
		return nil, nil, nil, err
	}
	if loaded, err = store.Load(ctx); err != nil {
		unlock()
		return nil, nil, nil, err
	}
	return store, loaded, unlock, nil
}

// lock takes the store's lock, trying again until the timeout. The returned function is never nil.
func (a *app) lock(ctx context.Context, store state.Store, operation string, o lockFlags) (unlock func(), err error) {
	if o.noLock {
		return func() {}, nil
	}
	holder := state.Holder{ID: rand.Text(), Operation: operation, Who: a.who(), Created: time.Now().UTC().Format(time.RFC3339)}
	// Whoever waits learns in the end who holds the lock, not that time is over.
	var held *state.LockedError
	try := func() (func() error, error) {
		release, err := store.Lock(ctx, holder)
		if err != nil && (!errors.As(err, &held) || o.timeout <= 0) {
			return nil, backoff.Permanent(err)
		}
		return release, err
	}
	told := func(error, time.Duration) {
		_, _ = fmt.Fprintln(a.human().Err, "Waiting for the lock of the state…")
	}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, time.Second
	patience := ctx
	if o.timeout > 0 {
		var cancel context.CancelFunc
		patience, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	release, err := backoff.Retry(patience, try, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(0), backoff.WithNotify(once(told)))
	switch {
	case err == nil:
	case held != nil && ctx.Err() == nil:
		return func() {}, held
	default:
		return func() {}, err
	}
	return func() {
		if err := release(); err != nil {
			_, _ = fmt.Fprintf(a.human().Err, "Warning: unlock the state: %s\n", err)
		}
	}, nil
}

// once makes a notification that is given the first time only.
func once(notify backoff.Notify) backoff.Notify {
	told := false
	return func(err error, d time.Duration) {
		if !told {
			told = true
			notify(err, d)
		}
	}
}
