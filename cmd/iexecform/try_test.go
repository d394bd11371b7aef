package main

import (
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/iexecform/iexecform/providers/docker/enginetest"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/trial"
)

// TestTry runs testdata/try/*.txtar on a container engine. Beside testscript's own commands there are those of TestScripts
// named localnet, sent, replace, between and capture, and
//
//	image NAME FILE   make an image of a script, set NAME to its reference
//	push NAME FILE    as image, in a registry, over what is there under NAME; NAME_checksum is what an app has as checksum
//	clean NAME        check that no container and no volume of the image are left
//	started NAME      wait until a container of the image starts
//	left NAME         check that a container of the image is left
//	offered N         check that N orders of the script's account are open on the market
func TestTry(t *testing.T) {
	engine := enginetest.Start(t)
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	network := sync.OnceValue(func() *localnet.Network { return nettest.Start(t) })
	var repositories atomic.Int32
	t.Run("scripts", func(t *testing.T) {
		schemas := checkSchemas(t)
		testscript.Run(t, testscript.Params{
			Dir: "testdata/try", RequireExplicitExec: true, RequireUniqueNames: true,
			Setup: func(e *testscript.Env) error {
				name, value, _ := strings.Cut(endQuickly, "=")
				e.Setenv(name, value)
				schemas(e)
				e.Setenv("HOME", e.WorkDir)
				e.Setenv("DOCKER_HOST", engine.Host)
				e.Setenv("USER_NAME", fmt.Sprintf("user%d", repositories.Add(1)))
				return nil
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"localnet": networks(t, network, network), "sent": sent, "replace": replaceText, "between": between,
				"capture": func(ts *testscript.TestScript, _ bool, args []string) {
					ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
				},
				"offered": func(ts *testscript.TestScript, _ bool, args []string) {
					c := nettest.Chain(network())
					m, err := market.New(c.Market, c.Domain(), market.Options{})
					ts.Check(err)
					defer func() { _ = m.Close() }()
					rows, err := m.ListByOwner(t.Context(), poco.AppOrder, common.HexToAddress(ts.Getenv("LOCALNET_ADDRESS")))
					ts.Check(err)
					if fmt.Sprint(len(rows)) != args[0] {
						ts.Fatalf("%d orders are offered, want %s", len(rows), args[0])
					}
				},
				"image": func(ts *testscript.TestScript, _ bool, args []string) {
					ts.Setenv(args[0], engine.Import(t, enginetest.Image{
						Files: map[string]string{"app": ts.ReadFile(args[1])}, Changes: []string{`ENTRYPOINT ["/app"]`},
					}))
				},
				"push": func(ts *testscript.TestScript, _ bool, args []string) {
					ref, err := name.ParseReference(host + "/" + ts.Getenv("USER_NAME") + "/" + args[0] + ":1.0")
					ts.Check(err)
					img := enginetest.Build(t, trial.Platform, ts.ReadFile(args[1]))
					ts.Check(remote.Write(ref, img))
					digest, err := img.Digest()
					ts.Check(err)
					ts.Setenv(args[0], ref.String())
					ts.Setenv(args[0]+"_checksum", "0x"+digest.Hex)
				},
				"started": func(ts *testscript.TestScript, _ bool, args []string) {
					engine.AwaitStart(t, trial.Label+"="+ts.Getenv(args[0]))
				},
				"left": func(ts *testscript.TestScript, _ bool, args []string) {
					if engine.Containers(t, trial.Label+"="+ts.Getenv(args[0])) != 1 {
						ts.Fatalf("no container of %s is left", args[0])
					}
				},
				"clean": func(ts *testscript.TestScript, _ bool, args []string) {
					label := trial.Label + "=" + ts.Getenv(args[0])
					if n, m := engine.Containers(t, label), engine.Volumes(t, label); n != 0 || m != 0 {
						ts.Fatalf("%d containers and %d volumes of %s are left", n, m, args[0])
					}
				},
			},
		})
	})
	t.Run("interrupt", func(t *testing.T) {
		t.Setenv("DOCKER_HOST", engine.Host)
		image := engine.Import(t, enginetest.Image{Files: map[string]string{"app": "#!/bin/sh\nsleep 1000"}, Changes: []string{`ENTRYPOINT ["/app"]`}})
		label := trial.Label + "=" + image
		begun := engine.Starts(t, label)
		s := start(t, newSlow(), strings.NewReader(""))
		go func() {
			select {
			case <-begun:
				s.signals <- os.Interrupt
			case <-t.Context().Done():
			}
		}()
		if code := s.do("try", image); code != exitError || !strings.Contains(s.err.String(), "Interrupt received: the trial ends.") || !strings.Contains(s.err.String(), "was interrupted") {
			t.Errorf("exit code %d, %s", code, s.err)
		}
		if n, m := engine.Containers(t, label), engine.Volumes(t, label); n != 0 || m != 0 {
			t.Errorf("%d containers and %d volumes are left", n, m)
		}
	})
}
