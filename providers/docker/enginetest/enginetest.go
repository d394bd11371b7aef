// Package enginetest gives tests a real container engine, and images to run on it.
//
// The engine is the one that this machine has; else, for root, a dockerd of the test's own, which needs no privilege for
// networks. Where neither is to be had, tests fail in CI (with the variable CI set) and are skipped elsewhere, with the
// reason. It is the only reason for which a test of this module is skipped.
package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/moby/client"
)

// startTime is how long dockerd may take to begin and to end.
const startTime = time.Minute

// Engine is a container engine for the length of a test.
type Engine struct {
	*client.Client
	Host string // for DOCKER_HOST
}

// Start returns an engine. SIDE EFFECTS: may run dockerd until the test and its subtests have ended.
func Start(t testing.TB) *Engine {
	t.Helper()
	e, err := dial(client.FromEnv)
	if err == nil {
		t.Cleanup(func() { _ = e.Close() })
		return e
	}
	e, failed := startDaemon(t)
	switch {
	case failed == nil:
		return e
	case os.Getenv("CI") != "":
		t.Fatalf("no container engine: %v; %v", err, failed)
	}
	t.Skipf("SKIPPED, nothing was tested: there is no container engine (%v), and none can be started: %v", err, failed)
	return nil
}

func dial(options ...client.Opt) (*Engine, error) {
	api, err := client.New(options...)
	if err != nil {
		return nil, err
	}
	if _, err := api.Ping(context.Background(), client.PingOptions{}); err != nil {
		_ = api.Close()
		return nil, err
	}
	return &Engine{api, api.DaemonHost()}, nil
}

// startDaemon runs dockerd with a directory of its own.
func startDaemon(t testing.TB) (*Engine, error) {
	dockerd, err := exec.LookPath("dockerd")
	if err != nil {
		return nil, fmt.Errorf("%w: install the Debian packages docker.io and busybox-static", err)
	}
	if os.Getuid() != 0 {
		return nil, errors.New("only root can run dockerd: start it, or set DOCKER_HOST")
	}
	dir, err := os.MkdirTemp("", "engine") // short: a socket's path may have 100 bytes only
	if err != nil {
		return nil, err
	}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	host := "unix://" + filepath.Join(dir, "docker.sock")
	cmd := exec.Command(dockerd, "--iptables=false", "--bridge=none", "--storage-driver=vfs", "--host="+host,
		"--data-root="+filepath.Join(dir, "data"), "--exec-root="+filepath.Join(dir, "exec"), "--pidfile="+filepath.Join(dir, "pid"))
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		_ = notify.Close() // nobody waits for an engine that is gone
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("dockerd: %v", err)
			}
		case <-time.After(startTime):
			_ = cmd.Process.Kill()
			t.Error("dockerd did not end")
		}
		_ = log.Close()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := ready(notify); err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("dockerd: %w\n%s", err, text[max(0, len(text)-2000):])
	}
	return dial(client.WithHost(host))
}

// ready waits until the daemon says that it is, as it does to systemd.
func ready(notify *net.UnixConn) error {
	if err := notify.SetReadDeadline(time.Now().Add(startTime)); err != nil {
		return err
	}
	b := make([]byte, 1000)
	for {
		n, err := notify.Read(b)
		if err != nil {
			return fmt.Errorf("did not become ready: %w", err)
		}
		if strings.Contains(string(b[:n]), "READY=1") {
			return nil
		}
	}
}

// commands of busybox that images have.
const commands = "cat date echo env false grep head ln ls mkdir mkfifo printf rm seq sh sleep sort stat tail touch true xargs"

// Image describes an image with busybox and the commands.
type Image struct {
	Files   map[string]string // by path; what begins with #! can be run
	Changes []string          // instructions of a Dockerfile, such as ENTRYPOINT ["/app"]
}

// Import makes an image, and returns a name for it that is in no registry. SIDE EFFECTS: it is removed when the test ends.
func (e *Engine) Import(t testing.TB, img Image) string {
	t.Helper()
	name := "iexecform.test/" + strings.ToLower(rand.Text()[:10]) + ":1.0"
	e.ImportAs(t, name, img)
	return name
}

// ImportAs is as Import, with a name.
func (e *Engine) ImportAs(t testing.TB, name string, img Image) {
	t.Helper()
	content, err := archive(img.Files)
	if err != nil {
		t.Fatal(err)
	}
	result, err := e.ImageImport(t.Context(), client.ImageImportSource{Source: content, SourceName: "-"}, name, client.ImageImportOptions{Changes: img.Changes})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = result.Close() }()
	if text, err := io.ReadAll(result); err != nil || bytes.Contains(text, []byte(`"error"`)) {
		t.Fatalf("import %s: %v %s", name, err, text)
	}
	t.Cleanup(func() {
		if _, err := e.ImageRemove(context.Background(), name, client.ImageRemoveOptions{Force: true}); err != nil {
			t.Errorf("remove %s: %v", name, err)
		}
	})
}

// Build makes an image as registries take it, with busybox, whose entrypoint is the script.
func Build(t testing.TB, platform, script string) v1.Image {
	t.Helper()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		r, err := archive(map[string]string{"app": script})
		return io.NopCloser(r), err
	})
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, _ = strings.Cut(platform, "/")
	file.Config.Entrypoint = []string{"/app"}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

// archive is a root file system with the files and busybox, as a tar archive.
func archive(files map[string]string) (io.Reader, error) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("%w: install the Debian package busybox-static", err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, content string) {
		h.Size = int64(len(content))
		err = errors.Join(err, w.WriteHeader(&h))
		if _, failed := io.WriteString(w, content); failed != nil {
			err = errors.Join(err, failed)
		}
	}
	for _, dir := range []string{"bin/", "tmp/", "etc/"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o777}, "")
	}
	add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, string(program))
	for command := range strings.FieldsSeq(commands) {
		add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + command, Linkname: "busybox"}, "")
	}
	for name, content := range files {
		mode := int64(0o644)
		if strings.HasPrefix(content, "#!") {
			mode = 0o755
		}
		add(tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(name, "/"), Mode: mode}, content)
	}
	return &b, errors.Join(err, w.Close())
}

// Starts returns a channel that is closed when a container with the label starts. It must be called before.
func (e *Engine) Starts(t testing.TB, label string) <-chan struct{} {
	t.Helper()
	events := e.Events(t.Context(), client.EventsListOptions{Filters: client.Filters{}.Add("event", "start").Add("label", label)})
	started := make(chan struct{})
	go func() {
		select {
		case <-events.Messages:
			close(started)
		case err := <-events.Err:
			if t.Context().Err() == nil {
				t.Errorf("listen to the engine: %v", err)
			}
		}
	}()
	return started
}

// AwaitStart waits until a container with the label starts, or returns at once if one has.
func (e *Engine) AwaitStart(t testing.TB, label string) {
	t.Helper()
	events := e.Events(t.Context(), client.EventsListOptions{Since: "1h", Filters: client.Filters{}.Add("event", "start").Add("label", label)})
	select {
	case <-events.Messages:
	case err := <-events.Err:
		t.Fatalf("listen to the engine: %v", err)
	}
}

// Containers returns how many containers have the label, running or not.
func (e *Engine) Containers(t testing.TB, label string) int {
	t.Helper()
	found, err := e.ContainerList(context.Background(), client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", label)})
	if err != nil {
		t.Fatal(err)
	}
	return len(found.Items)
}

// Volumes returns how many volumes have the label.
func (e *Engine) Volumes(t testing.TB, label string) int {
	t.Helper()
	found, err := e.VolumeList(context.Background(), client.VolumeListOptions{Filters: client.Filters{}.Add("label", label)})
	if err != nil {
		t.Fatal(err)
	}
	return len(found.Items)
}
