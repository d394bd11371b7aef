package oci_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/iexecform/iexecform/providers/oci"
)

// Each reference is looked up once, a tag that isn't there is told from a registry that isn't.
func TestWatch(t *testing.T) {
	s := serve(t)
	s.push(t, "a:1", amd64)
	want := s.push(t, "a:2", amd64)
	list := []string{s.host + "/a:1", s.host + "/a:2", s.host + "/a:2", s.host + "/gone:1", "not a reference"}
	seen := oci.NewWatch(t.Context(), list).Results(t.Context())
	if len(seen) != 4 || seen[s.host+"/a:2"].Image.Digest != want || seen[s.host+"/a:1"].Image.Digest == want {
		t.Errorf("%+v", seen)
	}
	if err := seen[s.host+"/gone:1"].Err; !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("a tag that isn't there: %v", err)
	}
	if seen["not a reference"].Err == nil {
		t.Error("what is no reference was seen")
	}
	if n := s.count("HEAD 2"); n != 1 {
		t.Errorf("the reference was asked for %d times", n)
	}
}

// A registry that can't be used is asked once, whatever the number of its references.
func TestWatchAsksNoDeadRegistryAgain(t *testing.T) {
	var dials atomic.Int32
	dead := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		dials.Add(1)
		return nil, &net.DNSError{Err: "no such host", Name: "registry.example", IsNotFound: true}
	}}
	list := make([]string, 1000)
	for i := range list {
		list[i] = fmt.Sprintf("registry.example/u/app%d:1", i)
	}
	seen := oci.WatchOver(t.Context(), dead, list...).Results(t.Context())
	if len(seen) != len(list) {
		t.Errorf("%d references were answered for", len(seen))
	}
	for _, reference := range list {
		if !errors.Is(seen[reference].Err, oci.ErrUnavailable) || seen[reference].Registry != "registry.example" {
			t.Fatalf("%s: %+v", reference, seen[reference])
		}
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("it was dialled %d times", n)
	}
}

// Nobody waits for a registry that lets nobody connect, nor without end for one that says nothing.
func TestWatchDoesNotWait(t *testing.T) {
	for name, test := range map[string]struct {
		dial func(context.Context) (net.Conn, error)
		want time.Duration
	}{
		"no connection": {func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, 500 * time.Millisecond},
		"no answer": {func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				for b := make([]byte, 1000); ; {
					if _, err := theirs.Read(b); err != nil {
						return
					}
				}
			}()
			return ours, nil
		}, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				silent := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return test.dial(ctx) }}
				begun := time.Now()
				seen := oci.WatchOver(t.Context(), silent, "10.0.0.1:5000/u/app:1", "10.0.0.1:5000/u/app:2").Results(t.Context())
				if took := time.Since(begun); took != test.want {
					t.Errorf("waited for %s, want %s", took, test.want)
				}
				for _, tag := range []string{"1", "2"} {
					if err := seen["10.0.0.1:5000/u/app:"+tag].Err; !errors.Is(err, oci.ErrUnavailable) {
						t.Errorf("tag %s: %v", tag, err)
					}
				}
				silent.CloseIdleConnections()
			})
		})
	}
}

// Whoever stops waiting gets what is known.
func TestWatchInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		silent := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		w := oci.WatchOver(t.Context(), silent, "10.0.0.1:5000/u/app:1")
		cancel()
		if seen := w.Results(ctx); seen["10.0.0.1:5000/u/app:1"].Err == nil {
			t.Errorf("%+v", seen)
		}
	})
}
