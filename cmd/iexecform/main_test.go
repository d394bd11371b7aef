package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest"
	"github.com/iexecform/iexecform/providers/iexec/localnet/nettest/officialcli"
	"github.com/iexecform/iexecform/state"
	"github.com/iexecform/iexecform/state/local"
	"github.com/iexecform/iexecform/state/s3/s3test"
)

// endQuickly keeps the race detector, which by default sleeps for a second at the end of a process, from doing so.
const endQuickly = "GORACE=atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"iexecform": checkedMain, "iexecform-released": released, "iexecform-dying": dying, "iexecform-tally": tallying})
}

// released is the program as a release of it.
func released() {
	version = "1.2.3"
	checkedMain()
}

// TestScripts runs testdata/*.txtar: what users see, one behaviour a script. Beside testscript's own commands there are:
//
//	localnet          start the local network (one for all scripts) and give the script an account of its own on it:
//	                  sets LOCALNET_RPC, LOCALNET_MARKET, LOCALNET_SMS, LOCALNET_IMAGE, LOCALNET_REGISTRY, LOCALNET_ADDRESS, LOCALNET_CONTRACTS,
//	                  IEXECFORM_PRIVATE_KEY and the variables rpc_url, market_url, sms_url and image (as IEXECFORM_VAR_…)
//	localnet second   the same, and another local network with the same account: sets the variables second_rpc_url and
//	                  second_market_url as well
//	sent [N]          fail unless the account sent N transactions since the last sent; without N, count anew
//	buy ADDRESS N     buy N units of the app order at the address, as a stranger
//	lock, unlock      hold the lock of the state in the current directory, as another user's apply; let it go
//	age NAME          make a key pair: sets NAME (capitals) to the recipient and NAME_KEY to the identity, which is in name.key too
//	postgres          start PostgreSQL (one for all scripts) and make a database: sets PGHOST, PGUSER, PGDATABASE and CONN
//	s3                start an S3 server (one for all scripts) and make a bucket: sets S3_URL, BUCKET and the credentials
//	gitlab            start a server that keeps states as GitLab does: sets GITLAB to the address of its states, and
//	                  GITLAB_PASSWORD; gitlab lock NAME locks one, as another would
//	between NAME URL PATTERN ANSWER   set NAME to the URL of a node that answers some calls otherwise than the one at URL
//	freeport NAME     set NAME to an address that nobody listens on
//	serve NAME CODE TYPE BODY   set NAME to the address of an HTTP server that always answers so
//	broken NAME HOW   set NAME to the address of a server that takes HTTP requests and then closes, hangs, babbles, or breaks off
//	asked NAME        wait until the broken server was asked something
//	overwrite REF     push another image under the reference
//	replace A B FILE  replace the text A in a file by B; both may use environment variables
//	capture NAME      set NAME to the last standard output
//	atlantis STAGE    run the steps of a stage of examples/ci/atlantis
//	official NOUN ARGS   run `iexec NOUN ARGS`, the official command line, which must say ok
func TestScripts(t *testing.T) {
	network := sync.OnceValue(func() *localnet.Network {
		return nettest.Start(t, func(o *localnet.Options) { o.MaxOpenOrders = -1 })
	})
	second := sync.OnceValue(func() *localnet.Network { return nettest.Start(t) })
	check := checkSchemas(t)
	programs := sync.OnceValue(func() string { return officialcli.Install(t) })
	examples, err := filepath.Abs(filepath.Join("..", "..", "examples"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           have,
		Setup: func(e *testscript.Env) error {
			name, value, _ := strings.Cut(endQuickly, "=")
			e.Setenv(name, value)
			check(e)
			e.Setenv("HOME", e.WorkDir+"/home")
			e.Setenv("EXAMPLES", examples)
			e.Setenv("XDG_CACHE_HOME", e.WorkDir+"/home/cache")
			return os.Mkdir(filepath.Join(e.WorkDir, "home"), 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"localnet": networks(t, network, second),
			"atlantis": atlantis,
			"sent":     sent,
			"buy":      buyer(t, network),
			"lock":     lock,
			"unlock":   unlock,
			"age":      ageKeys,
			"postgres": postgres(t),
			"s3":       bucket(t),
			"gitlab":   gitlab(t),
			"freeport": freePort,
			"between":  between,
			"serve":    serve,
			"broken":   broken,
			"asked":    asked,
			"replace":  replaceText,
			"overwrite": func(ts *testscript.TestScript, _ bool, args []string) {
				ref, err := name.ParseReference(args[0])
				ts.Check(err)
				image, err := random.Image(100, 1)
				ts.Check(err)
				ts.Check(remote.Write(ref, image))
			},
			"official": func(ts *testscript.TestScript, _ bool, args []string) { official(ts, programs(), args) },
			"capture": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
			},
		},
	})
}

// networks makes the command localnet.
func networks(t *testing.T, network, second func() *localnet.Network) func(*testscript.TestScript, bool, []string) {
	var accounts atomic.Int32
	return func(ts *testscript.TestScript, _ bool, args []string) {
		info, number := network().Info(), int(accounts.Add(1))
		account := nettest.NewAccount(t, network(), number)
		if slices.Equal(args, []string{"second"}) {
			nettest.NewAccount(t, second(), number)
			ts.Setenv("IEXECFORM_VAR_second_rpc_url", second().Info().RPCURL)
			ts.Setenv("IEXECFORM_VAR_second_market_url", second().Info().MarketURL)
		}
		cache, err := os.UserCacheDir()
		ts.Check(err)
		for name, value := range map[string]string{
			"LOCALNET_CONTRACTS": filepath.Join(cache, "iexecform", "contracts"),
			"LOCALNET_RPC":       info.RPCURL, "LOCALNET_MARKET": info.MarketURL, "LOCALNET_SMS": info.SMSURL, "LOCALNET_IMAGE": info.SampleImage,
			"LOCALNET_ADDRESS":         account.Address.Hex(),
			"LOCALNET_REGISTRY":        strings.SplitN(info.SampleImage, "/", 2)[0],
			"IEXECFORM_PRIVATE_KEY":    "0x" + hex.EncodeToString(crypto.FromECDSA(account.Key)),
			"IEXECFORM_VAR_rpc_url":    info.RPCURL,
			"IEXECFORM_VAR_market_url": info.MarketURL,
			"IEXECFORM_VAR_sms_url":    info.SMSURL,
			"IEXECFORM_VAR_image":      info.SampleImage,
		} {
			ts.Setenv(name, value)
		}
	}
}

// official runs the official command line in the current directory, which is its home.
func official(ts *testscript.TestScript, programs string, args []string) {
	cmd := officialcli.Command(context.Background(), programs, ts.MkAbs("."), args[0], append(args[1:], "--raw")...)
	out, err := cmd.CombinedOutput()
	ts.Logf("[official]\n%s", out)
	if err != nil || !bytes.Contains(out, []byte(`"ok":true`)) { // the exit code is 0 for some failures too
		ts.Fatalf("iexec %s: %v", strings.Join(args, " "), err)
	}
}

// have is the condition [have:PROGRAM]. A machine of a user may lack a program, and the script says what wasn't tested; CI may not.
func have(condition string) (bool, error) {
	program, ok := strings.CutPrefix(condition, "have:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", condition)
	}
	_, err := exec.LookPath(program)
	if program == "versitygw" {
		_, err = s3test.Build()
	}
	if err != nil && os.Getenv("CI") != "" {
		return false, err
	}
	return err == nil, nil
}

// held has the function that lets go of a held lock, by directory: scripts run side by side.
var held sync.Map

// brokenServers has a channel for each address, which is closed when something was asked.
var brokenServers sync.Map

func lock(ts *testscript.TestScript, _ bool, _ []string) {
	holder := state.Holder{ID: "42", Operation: "apply", Who: "alice@example", Created: "2026-01-02T03:04:05Z"}
	release, err := local.New(ts.MkAbs(".")).Lock(context.Background(), holder)
	ts.Check(err)
	var once sync.Once
	free := func() { once.Do(func() { ts.Check(release()) }) }
	held.Store(ts.MkAbs("."), free)
	ts.Defer(free)
}

func unlock(ts *testscript.TestScript, _ bool, _ []string) {
	free, ok := held.LoadAndDelete(ts.MkAbs("."))
	if !ok {
		ts.Fatalf("unlock: the lock of %s is not held", ts.MkAbs("."))
	}
	free.(func())()
}

func freePort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

func serve(ts *testscript.TestScript, _ bool, args []string) {
	code, err := strconv.Atoi(args[1])
	ts.Check(err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", args[2])
		w.WriteHeader(code)
		_, _ = w.Write([]byte(args[3]))
	}))
	ts.Defer(server.Close)
	ts.Setenv(args[0], server.Listener.Addr().String())
}

// broken is the script command broken.
func broken(ts *testscript.TestScript, _ bool, args []string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = listener.Close() })
	first := make(chan struct{})
	was := sync.OnceFunc(func() { close(first) })
	brokenServers.Store(listener.Addr().String(), first)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				was()
				switch args[1] {
				case "hangs":
					_, _ = io.Copy(io.Discard, conn) // until the client goes
				case "babbles":
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n<html>hello<")
				case "breaks off":
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{\"jsonrpc")
				}
			}()
		}
	}()
	ts.Setenv(args[0], listener.Addr().String())
}

// asked is the script command asked.
func asked(ts *testscript.TestScript, _ bool, args []string) {
	first, ok := brokenServers.Load(ts.Getenv(args[0]))
	if !ok {
		ts.Fatalf("asked: %s is no broken server", args[0])
	}
	<-first.(chan struct{})
}

func replaceText(ts *testscript.TestScript, _ bool, args []string) {
	old, text := args[0], args[1]
	file := ts.MkAbs(args[2])
	before := ts.ReadFile(args[2])
	if !strings.Contains(before, old) {
		ts.Fatalf("replace: %s doesn't have %q", args[2], old)
	}
	ts.Check(os.WriteFile(file, []byte(strings.ReplaceAll(before, old, text)), 0o644))
}
