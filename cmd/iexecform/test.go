package main

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/google/renameio/v2"
	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/plan/suite"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/builtin"
	"github.com/iexecform/iexecform/providers/iexec"
	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/oci"
)

type testOptions struct {
	inputFlags
	directory     string
	filter        []string
	junit         string
	contracts     string
	json, verbose bool
}

// testView shows how tests go. Diagnostics may be called at any time.
type testView interface {
	Begin([]*config.TestFile)
	Event(suite.Event)
	Results([]suite.FileResult) error
	Diagnostics(hcl.Diagnostics, view.Sources) error
}

func (a *app) testCommand() *cobra.Command {
	o := testOptions{}
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Run *.iexectest.hcl files against a local network in this process",
		Long: "Runs the *.iexectest.hcl files of the directory and of its subdirectory tests: real plans and applies of the configuration, and\n" +
			"what should hold then. Everything happens on a local network in this process, whatever chain, wallet and registry the\n" +
			"configuration names: nothing is sent anywhere, no key is needed, and the state isn't touched. docs/testing.md tells the rest.\n\n" +
			"Exit code: 0 when all runs pass, else 1.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.test(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	o.addVariables(flags)
	flags.StringVar(&o.directory, "test-directory", "tests", "look for test files in the subdirectory `DIR` too")
	flags.StringArrayVar(&o.filter, "filter", nil, "run only the test file `FILE` (repeatable)")
	flags.StringVar(&o.junit, "junit-xml", "", "write the results to `FILE` as JUnit does")
	flags.BoolVar(&o.verbose, "verbose", false, "print the plan of each run")
	flags.BoolVar(&o.json, "json", false, "print JSON lines")
	flags.StringVar(&o.contracts, "contracts", "", "take the contracts from `DIR`, the npm package @iexec/poco unpacked or as tarball")
	return cmd
}

func (a *app) test(ctx context.Context, o testOptions) error {
	ctx, stop := a.interruptible(ctx, "Interrupt received: the run that is under way ends, and no other begins.")
	defer stop()
	c, _, err := a.loadConfig()
	if err != nil {
		return a.asJSON(o.json, err)
	}
	var v testView = a.human().Testing(o.verbose, c.Files())
	if o.json {
		v = view.NewLines(a.streams.Out, version, time.Now).Testing(c.Files())
	}
	tests, diags := c.LoadTests(o.directory)
	if err := v.Diagnostics(diags, c.Files()); err != nil {
		return err
	}
	if diags.HasErrors() {
		return exitCode(exitError)
	}
	if tests, err = filterTests(tests, o.filter); err != nil {
		return err
	}
	if len(tests) == 0 {
		return a.human().Print("There is no *.iexectest.hcl file in %s or its subdirectory %s: nothing to test.", a.dir, o.directory)
	}
	bench, err := newTestBench(ctx, o.contracts)
	if err != nil {
		return err
	}
	defer func() { _ = bench.network.Close() }() // it is in memory
	v.Begin(tests)
	results := suite.Run(ctx, tests, suite.Options{
		Tool: version, Config: c, Inputs: config.InputSources{Environ: a.env, Args: o.args}, Workspace: defaultWorkspace,
		Providers: bench.providers, Observe: v.Event,
	})
	if err := v.Results(results); err != nil {
		return err
	}
	if o.junit != "" {
		report, err := view.JUnit(results, c.Files())
		if err == nil {
			err = renameio.WriteFile(a.path(o.junit), report, 0o644)
		}
		if err != nil {
			return fmt.Errorf("write the JUnit report: %w", err)
		}
	}
	if slices.ContainsFunc(results, func(r suite.FileResult) bool { return r.Status == suite.Fail || r.Status == suite.Error }) {
		return exitCode(exitError)
	}
	if ctx.Err() != nil {
		return errors.New("interrupted: not all runs were made")
	}
	return nil
}

// filterTests keeps the files that were asked for, by their path or by their name alone.
func filterTests(tests []*config.TestFile, filter []string) ([]*config.TestFile, error) {
	if len(filter) == 0 {
		return tests, nil
	}
	var kept []*config.TestFile
	var names []string
	wanted := map[string]bool{}
	for _, t := range tests {
		names = append(names, t.Name)
		for _, f := range filter {
			if filepath.Clean(f) == filepath.Clean(t.Name) || f == filepath.Base(t.Name) || f+".iexectest.hcl" == filepath.Base(t.Name) {
				wanted[f] = true
				kept = append(kept, t)
				break
			}
		}
	}
	for _, f := range filter {
		if !wanted[f] {
			return nil, fmt.Errorf("--filter=%s: there is no such test file. There are: %s", f, strings.Join(names, ", "))
		}
	}
	return kept, nil
}

// testBench is the network of all test files. Each file has accounts and a part of the registry of its own, so it sees nothing
// of the others.
type testBench struct {
	network *localnet.Network
}

// SIDE EFFECTS: those of localnet.Start.
func newTestBench(ctx context.Context, contracts string) (*testBench, error) {
	const any = "127.0.0.1:0"
	network, err := localnet.Start(ctx, localnet.Options{RPC: any, Market: any, SMS: any, Registry: any, Contracts: contracts})
	if err != nil {
		return nil, fmt.Errorf("start the local network that tests run on: %w", err)
	}
	return &testBench{network}, nil
}

// providers are those of a released program, led to the network.
func (b *testBench) providers(file *config.TestFile) (providers.Registry, error) {
	info := b.network.Info()
	chain := poco.Localnet()
	chain.RPC, chain.Market, chain.SMS, chain.Registry = info.RPCURL, info.MarketURL, info.SMSURL, info.Registry
	images := oci.NewStandIn(info.Registry, file.Name)
	standIn := &iexec.StandIn{Chain: chain, Images: images.Resolver(), Key: b.keys(file.Name)}
	return providers.Registry{"iexec": standIn.Provider(), "iexecform": builtin.New(), "oci": images.Provider()}, nil
}

// keys makes the accounts of a file, each once: always the same ones.
func (b *testBench) keys(file string) func(context.Context, string) (*ecdsa.PrivateKey, error) {
	known := map[string]*ecdsa.PrivateKey{}
	return func(ctx context.Context, wallet string) (*ecdsa.PrivateKey, error) {
		if key := known[wallet]; key != nil {
			return key, nil
		}
		key, err := crypto.ToECDSA(crypto.Keccak256([]byte("iexecform test\x00" + filepath.ToSlash(file) + "\x00" + wallet)))
		if err != nil {
			return nil, err
		}
		if err := b.network.Fund(ctx, crypto.PubkeyToAddress(key.PublicKey)); err != nil {
			return nil, err
		}
		known[wallet] = key
		return key, nil
	}
}
