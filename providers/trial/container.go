package trial

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/iexecform/iexecform/providers/docker"
)

// Label is on all containers of trials; its value is the image's reference.
const Label = "com.github.iexecform.trial"

// run makes one run of the app and reads its output into dir. The output is complete if the run didn't fail.
func (e worker) run(ctx context.Context, img image, j *job, number int, dir string) (run RunResult, out *output, err error) {
	run = RunResult{Number: number}
	c, err := e.create(ctx, img, j)
	if err != nil {
		return run, nil, err
	}
	defer func() {
		if failed := c.remove(ctx); failed != nil && err == nil {
			err = failed
		}
	}()
	if err := ctx.Err(); err != nil {
		return run, nil, err
	}
	if err := c.fill(ctx, j); err != nil {
		return run, nil, fmt.Errorf("copy the input into the container: %w", err)
	}
	streams, err := c.attach(ctx, dir, j.OutputLimit)
	if err == nil {
		defer streams.close()
		err = c.execute(ctx, j, &run)
	}
	if errors.Is(err, errRefused) {
		run.add(failure(CheckStart, "APP_COMPUTE_FAILED", "%s", err))
		return run, nil, nil
	}
	if err != nil {
		return run, nil, err
	}
	if err := streams.wait(ctx, e.Engine); err != nil {
		return run, nil, fmt.Errorf("read what the app prints: %w", err)
	}
	run.Stdout, run.Stderr = streams.stdout.tail(j.redact), streams.stderr.tail(j.redact)
	if err := c.changes(ctx, &run); err != nil {
		return run, nil, err
	}
	if run.failed() {
		return run, nil, nil // a worker doesn't look at the output either
	}
	out, err = c.output(ctx, dir, j)
	if err != nil {
		return run, nil, fmt.Errorf("copy the output out of the container: %w", err)
	}
	out.addStreams(streams)
	out.check(j, &run)
	return run, out, nil
}

// running is a container of a trial.
type running struct {
	engine *docker.Engine
	id     string
}

// create makes the container. It isn't cut short by the end of the context: then nobody would know what to remove.
func (e worker) create(ctx context.Context, img image, j *job) (*running, error) {
	network := container.NetworkMode("none")
	if j.Network {
		network = "default"
	}
	labels := map[string]string{Label: j.Image, ownerLabel: owner()}
	volume := func(at string) mount.Mount {
		return mount.Mount{Type: mount.TypeVolume, Target: at, VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: labels}}
	}
	name := "iexecform-trial-" + strings.ToLower(rand.Text()[:12])
	options := client.ContainerCreateOptions{
		Name: name,
		Config: &container.Config{
			Image: img.id, Cmd: j.command, Env: j.environment(), Labels: labels, AttachStdout: true, AttachStderr: true,
		},
		HostConfig: &container.HostConfig{
			NetworkMode: network,
			Mounts:      []mount.Mount{volume(inDir), volume(outDir)},
			Resources:   container.Resources{Memory: j.Memory, MemorySwap: j.Memory},
			LogConfig:   container.LogConfig{Type: "none"}, // what the app prints is read as it comes
		},
	}
	var created client.ContainerCreateResult
	err := e.Ask(context.WithoutCancel(ctx), func(ctx context.Context) (err error) {
		created, err = e.ContainerCreate(ctx, options)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create the container: %w", err)
	}
	return &running{e.Engine, created.ID}, nil
}

// remove kills the container and removes it with its volumes, also after the context has ended.
func (c *running) remove(ctx context.Context) error {
	err := c.engine.Ask(context.WithoutCancel(ctx), func(ctx context.Context) error {
		_, err := c.engine.ContainerRemove(ctx, c.id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		return err
	})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove the container %.12s: %w. Remove it with docker rm -f -v %.12s", c.id, err, c.id)
	}
	return nil
}

func (c *running) fill(ctx context.Context, j *job) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(j.writeInput(w)) }()
	err := c.engine.Watch(ctx, func(ctx context.Context, alive func()) error {
		_, err := c.engine.CopyToContainer(ctx, c.id, client.CopyToContainerOptions{DestinationPath: inDir, Content: lively{r, alive}})
		return err
	})
	_ = r.Close() // ends the writer, if the engine didn't read all
	return err
}

// lively tells of each read.
type lively struct {
	io.Reader
	alive func()
}

func (l lively) Read(p []byte) (int, error) {
	l.alive()
	return l.Reader.Read(p)
}

// errRefused is that the engine can't start the app, as when its program isn't there.
var errRefused = errors.New("the app can't be started")

func (c *running) start(ctx context.Context) error {
	err := c.engine.Ask(ctx, func(ctx context.Context) error {
		_, err := c.engine.ContainerStart(ctx, c.id, client.ContainerStartOptions{})
		return err
	})
	switch {
	case err == nil:
		return nil
	case errdefs.IsInvalidArgument(err) || errdefs.IsNotFound(err) || strings.Contains(err.Error(), "OCI"):
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	return fmt.Errorf("start the container: %w", err)
}

// wait begins to wait for the end of the container's next run. When that ends is not the engine's to say soon, but it must say that
// it has begun. end must be called.
func (c *running) wait(ctx context.Context) (ended client.ContainerWaitResult, end func(), err error) {
	waiting, end := context.WithCancel(ctx)
	err = c.engine.Ask(ctx, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, end)()
		ended = c.engine.ContainerWait(waiting, c.id, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
		select {
		case err := <-ended.Error:
			return err
		default:
			return nil
		}
	})
	if err != nil {
		err = fmt.Errorf("wait for the container: %w", err)
	}
	return ended, end, err
}

// execute starts the container and waits for its end, for at most the timeout.
func (c *running) execute(ctx context.Context, j *job, run *RunResult) error {
	ended, end, err := c.wait(ctx)
	defer end()
	if err != nil {
		return err
	}
	if err := c.start(ctx); err != nil {
		return err
	}
	timeout := time.NewTimer(j.Timeout)
	defer timeout.Stop()
	for waiting := true; waiting; {
		select {
		case err := <-ended.Error:
			return fmt.Errorf("wait for the container: %w", err)
		case <-ended.Result:
			waiting = false
		case <-timeout.C:
			if run.TimedOut {
				return fmt.Errorf("wait for the container, which was killed after %s: %w", j.Timeout, c.engine.Silent())
			}
			run.TimedOut = true
			err := c.engine.Ask(ctx, func(ctx context.Context) error {
				_, err := c.engine.ContainerKill(ctx, c.id, client.ContainerKillOptions{})
				return err
			})
			if err != nil && !errdefs.IsConflict(err) {
				return fmt.Errorf("stop the container after %s: %w", j.Timeout, err)
			}
			timeout.Reset(c.engine.Patience)
		}
	}
	var found client.ContainerInspectResult
	err = c.engine.Ask(ctx, func(ctx context.Context) (err error) {
		found, err = c.engine.ContainerInspect(ctx, c.id, client.ContainerInspectOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("look at the container: %w", err)
	}
	state := found.Container.State
	if state == nil {
		return errors.New("look at the container: the engine doesn't tell its state")
	}
	run.ExitCode = state.ExitCode
	run.Seconds = duration(state.StartedAt, state.FinishedAt).Seconds()
	switch {
	case run.TimedOut:
		run.add(failure(CheckTime, "APP_COMPUTE_FAILED", "the app did not end within %s and was killed", j.Timeout))
	case state.OOMKilled:
		run.add(failure(CheckMemory, "APP_COMPUTE_FAILED", "the app was killed: it used more than %s of memory", size(j.Memory)))
	case run.ExitCode == 137: // 128 and SIGKILL
		run.add(failure(CheckExitCode, "APP_COMPUTE_FAILED", "the app was killed (exit code 137), as happens when it needs more than the %s of memory", size(j.Memory)))
	case run.ExitCode != 0:
		run.add(failure(CheckExitCode, "APP_COMPUTE_FAILED", "the app ended with exit code %d: a worker accepts 0 only", run.ExitCode))
	case run.Seconds > 0.8*j.Timeout.Seconds():
		run.add(warning(CheckTime, "", "the app took %.1f s of %s: a slower worker may not make it", run.Seconds, j.Timeout))
	}
	return nil
}

// duration is between two times of the engine; 0 if it doesn't tell.
func duration(from, to string) time.Duration {
	start, err := time.Parse(time.RFC3339Nano, from)
	if err != nil {
		return 0
	}
	end, err := time.Parse(time.RFC3339Nano, to)
	if err != nil {
		return 0
	}
	return max(0, end.Sub(start))
}

// byEngine is what engines change in a container.
var byEngine = []string{
	inDir, outDir, "/etc", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf", "/run", "/run/.containerenv", "/.dockerenv",
	"/dev", "/dev/console", "/dev/pts", "/dev/shm", "/proc", "/sys",
}

// changes looks for what the app wrote elsewhere, which is lost.
func (c *running) changes(ctx context.Context, run *RunResult) error {
	var found client.ContainerDiffResult
	err := c.engine.Ask(ctx, func(ctx context.Context) (err error) {
		found, err = c.engine.ContainerDiff(ctx, c.id, client.ContainerDiffOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("look for what the app changed: %w", err)
	}
	parents := map[string]bool{} // directories that are there for what is in them
	for _, change := range found.Changes {
		parents[path.Dir(change.Path)] = true
	}
	for _, change := range found.Changes {
		if !parents[change.Path] && !slices.Contains(byEngine, change.Path) {
			run.Outside = append(run.Outside, change.Path)
		}
	}
	slices.Sort(run.Outside)
	if n := len(run.Outside); n > 0 {
		run.Outside = run.Outside[:min(n, maxListed)]
		run.add(warning(CheckOutside, "", "the app wrote %s outside of %s, which is lost: %s", count(n, "file"), outDir, list(run.Outside, n)))
	}
	return nil
}

// output reads what the app left.
func (c *running) output(ctx context.Context, dir string, j *job) (out *output, err error) {
	err = c.engine.Watch(ctx, func(ctx context.Context, alive func()) error {
		archive, err := c.engine.CopyFromContainer(ctx, c.id, client.CopyFromContainerOptions{SourcePath: outDir + "/."}) // Docker and Podman agree on names below it only
		if err != nil {
			return err
		}
		defer func() { _ = archive.Content.Close() }()
		out, err = readOutput(lively{archive.Content, alive}, dir, j.OutputLimit)
		return err
	})
	return out, err
}

// streams is what the app prints, on its way into files.
type streams struct {
	conn           client.HijackedResponse
	stdout, stderr *stream
	ended          chan struct{} // closed when all is read
	err            error         // of reading; to be read then
}

// attach begins to read what the app prints. close must be called.
func (c *running) attach(ctx context.Context, dir string, limit int64) (_ *streams, err error) {
	s := &streams{ended: make(chan struct{})}
	if s.stdout, err = newStream(filepath.Join(dir, "stdout"), limit); err != nil {
		return nil, err
	}
	if s.stderr, err = newStream(filepath.Join(dir, "stderr"), limit); err != nil {
		_ = s.stdout.file.Close()
		return nil, err
	}
	var attached client.ContainerAttachResult
	err = c.engine.Ask(ctx, func(ctx context.Context) (err error) {
		attached, err = c.engine.ContainerAttach(ctx, c.id, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
		return err
	})
	if err != nil {
		_ = s.stdout.file.Close()
		_ = s.stderr.file.Close()
		if silent := (*docker.SilentError)(nil); errors.As(err, &silent) {
			return nil, fmt.Errorf("attach to the container: %w", err)
		}
		if failed := c.start(ctx); failed != nil {
			return nil, failed // Podman prepares the start when it attaches, and tells only here why it can't
		}
		return nil, fmt.Errorf("attach to the container: %w", err)
	}
	s.conn = attached.HijackedResponse
	go func() {
		_, err := stdcopy.StdCopy(s.stdout, s.stderr, s.conn.Reader)
		s.err = errors.Join(err, s.stdout.flush(), s.stderr.flush())
		close(s.ended)
	}()
	return s, nil
}

// wait returns when all is read. The container must have ended, so there is little left.
func (s *streams) wait(ctx context.Context, e *docker.Engine) error {
	late := time.NewTimer(e.Patience)
	defer late.Stop()
	select {
	case <-late.C:
		return e.Silent()
	case <-s.ended:
		return s.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *streams) close() {
	s.conn.Close()
	<-s.ended
	_ = s.stdout.file.Close() // all was flushed
	_ = s.stderr.file.Close()
}

// stream is a file that takes a limited amount and remembers its end.
type stream struct {
	file  *os.File
	buf   *bufio.Writer
	hash  hash.Hash // sha256 of what is kept
	limit int64
	size  int64 // of all that was written, in bytes; what is over the limit isn't kept
	last  []byte
}

// maxTail is how much of what an app printed last is in a report, in bytes.
const maxTail = 2000

func newStream(name string, limit int64) (*stream, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep what the app prints: %w", err)
	}
	return &stream{file: f, buf: bufio.NewWriter(f), hash: sha256.New(), limit: limit}, nil
}

func (s *stream) Write(p []byte) (int, error) {
	if room := s.limit - s.size; room > 0 {
		kept := p[:min(int64(len(p)), room)]
		if _, err := s.buf.Write(kept); err != nil {
			return 0, err
		}
		_, _ = s.hash.Write(kept) // never fails
	}
	s.size += int64(len(p))
	s.last = append(s.last, p...)
	s.last = slices.Clone(s.last[max(0, len(s.last)-2*maxTail):])
	return len(p), nil
}

func (s *stream) flush() error { return s.buf.Flush() }

// tail is the end of what was printed, without secrets: more than that was remembered, so that none is cut in two.
func (s *stream) tail(redact func(string) string) string {
	text := redact(string(s.last))
	if len(text) > maxTail {
		text = "…" + text[len(text)-maxTail:]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
