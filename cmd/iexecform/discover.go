package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

type discoverOptions struct {
	inputFlags
	owner, provider, out string
	json                 bool
}

func (a *app) discoverCommand() *cobra.Command {
	var o discoverOptions
	cmd := &cobra.Command{
		Use:   "discover --owner ADDRESS",
		Short: "Write the configuration of what an owner has already",
		Long: "Finds all that an owner has on the network of the configuration's provider block, and writes it as resources with\n" +
			"import blocks: to standard output, or to a new file. What the state manages already is left out.\n\n" +
			"Nothing is changed. The plan of what is written sends nothing; applying it makes the state know what exists.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.owner == "" {
				return &usageError{cmd, errors.New("--owner ADDRESS is missing: whose objects are to be found?")}
			}
			return a.asJSON(o.json, a.discover(cmd.Context(), o))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.owner, "owner", "", "find what `ADDRESS` has")
	flags.StringVar(&o.provider, "provider", "", "look with the `PROVIDER` configuration (NAME or NAME.ALIAS), if there are several")
	flags.StringVar(&o.out, "out", "", "write to the new `FILE` instead of standard output")
	flags.BoolVar(&o.json, "json", false, "print JSON: what was found and what it took; --out still writes the file")
	o.add(flags)
	return cmd
}

// discovered is what discover prints as JSON.
type discovered struct {
	Objects  []discoveredObject `json:"objects"`
	Managed  int                `json:"managed"` // of the owner's objects that the state has, which are left out
	Seconds  float64            `json:"seconds"`
	Requests int                `json:"requests"`
}

type discoveredObject struct {
	Address string `json:"address"`
	ID      string `json:"id"`
}

func (a *app) discover(ctx context.Context, o discoverOptions) error {
	if o.out != "" {
		if filepath.Ext(o.out) != ".hcl" {
			return fmt.Errorf("%s doesn't end in .hcl, so the configuration wouldn't have it: give another name", o.out)
		}
		if err := mustBeNew(a.path(o.out)); err != nil {
			return err
		}
	}
	c, _, err := a.loadConfig()
	if err != nil {
		return err
	}
	workspace, err := a.workspace(ctx)
	if err != nil {
		return err
	}
	loaded, err := a.load(ctx)
	if err != nil {
		return err
	}
	session := plan.NewSession(a.providers(), loaded, c.Settings.Project, workspace, a.dir, a.prompt(o.noInput))
	defer func() { _ = session.Close() }()
	at, client, err := a.discoverer(ctx, c, session, workspace, o)
	if err != nil {
		return err
	}
	start := time.Now()
	found, err := client.Discover(ctx, o.owner)
	if err != nil {
		return fmt.Errorf("discover: %w", err)
	}
	took := time.Since(start)
	total := len(found.Objects)
	objects := unmanaged(found.Objects, loaded.Snapshot)
	for i := range objects {
		objects[i].Provider = at.Alias
	}
	taken := map[addr.Resource]bool{}
	for _, b := range c.Blocks() {
		taken[b.Addr] = true
	}
	w := newFoundWriter(a.providers(), at.Name, objects, taken)
	config.WriteComment(w.file, fmt.Sprintf("What %s has on this network. Written by `iexecform discover`; yours to edit.\n"+
		"The import blocks make the state know what exists; they may go after `iexecform apply`.", o.owner))
	w.file.Body().AppendNewline()
	w.resources()
	if err := a.writeDiscovered(o, config.Source(w.file)); err != nil {
		return err
	}
	result := discovered{Objects: []discoveredObject{}, Managed: total - len(objects), Seconds: took.Seconds(), Requests: found.Requests}
	for i, f := range objects {
		result.Objects = append(result.Objects, discoveredObject{Address: f.Type + "." + w.names[i], ID: f.ID})
	}
	if o.json {
		return a.json().Document(result)
	}
	_, err = fmt.Fprintln(a.human().Err, result.summary(objects, o.out))
	return err
}

func (r discovered) summary(objects []providers.Found, out string) string {
	var types []string
	counts := map[string]int{}
	for _, f := range objects {
		_, noun, _ := strings.Cut(f.Type, "_")
		if counts[noun]++; counts[noun] == 1 {
			types = append(types, noun)
		}
	}
	for i, noun := range types {
		plural := "s"
		if counts[noun] == 1 {
			plural = ""
		}
		types[i] = fmt.Sprintf("%d %s%s", counts[noun], noun, plural)
	}
	if len(types) == 0 {
		types = []string{"nothing"}
	}
	text := fmt.Sprintf("Discovered %s in %.1f s, %d requests.", strings.Join(types, ", "), r.Seconds, r.Requests)
	if r.Managed > 0 {
		text += fmt.Sprintf(" %d more are in the state already and were left out.", r.Managed)
	}
	if out != "" {
		text += fmt.Sprintf(" Wrote %s.", out)
	}
	return text
}

// discoverer opens the provider configuration that can look.
func (a *app) discoverer(ctx context.Context, c *config.Config, session *plan.Session, workspace string, o discoverOptions) (addr.Provider, providers.Discoverer, error) {
	inputs, diags := a.inputs(ctx, c, o.inputFlags)
	settings := providerSettings{}
	if !diags.HasErrors() {
		var more hcl.Diagnostics
		_, more = c.Evaluate(ctx, config.EvalRequest{Inputs: inputs, Workspace: workspace, ProvidersOnly: true, Handler: settings})
		diags = append(diags, more...)
	}
	if diags.HasErrors() {
		return addr.Provider{}, nil, &failure{err: diags, sources: c.Files()}
	}
	var able []addr.Provider
	clients := map[addr.Provider]providers.Discoverer{}
	for _, p := range c.Providers() {
		if o.provider != "" && p.Addr.String() != o.provider {
			continue
		}
		if err := session.Open(ctx, p.Addr, settings[p.Addr]); err != nil {
			return addr.Provider{}, nil, fmt.Errorf("provider %s: %w", p.Addr, err)
		}
		client, _ := session.Client(p.Addr)
		if d, ok := client.(providers.Discoverer); ok {
			able, clients[p.Addr] = append(able, p.Addr), d
		}
	}
	switch {
	case len(able) == 0 && o.provider != "":
		return addr.Provider{}, nil, fmt.Errorf("there is no provider block for %s that can discover", o.provider)
	case len(able) == 0:
		return addr.Provider{}, nil, fmt.Errorf("no provider block in %s says where to look: write one first, such as provider \"iexec\" { chain = \"arbitrum-mainnet\" }", a.dir)
	case len(able) > 1:
		return addr.Provider{}, nil, fmt.Errorf("there are several networks to look on, %v: choose one with --provider", able)
	}
	if _, err := session.CheckNetwork(ctx, able[0]); err != nil {
		return addr.Provider{}, nil, fmt.Errorf("provider %s: %w", able[0], err)
	}
	return able[0], clients[able[0]], nil
}

// unmanaged leaves out what the state has: an object of the same type that mentions the id.
func unmanaged(objects []providers.Found, s *state.Snapshot) []providers.Found {
	mentioned := map[string]map[string]bool{} // strings of the objects' attributes, by type
	for i, o := range s.Resources {
		words := mentioned[i.Resource.Type]
		if words == nil {
			words = map[string]bool{}
			mentioned[i.Resource.Type] = words
		}
		for word := range bytes.SplitSeq(o.Attributes, []byte{'"'}) {
			words[string(word)] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(objects), func(f providers.Found) bool { return mentioned[f.Type][f.ID] })
}

func (a *app) writeDiscovered(o discoverOptions, source []byte) error {
	if o.out != "" {
		return writeWhole(a.path(o.out), source)
	}
	if o.json {
		return nil
	}
	_, err := a.streams.Out.Write(source)
	return err
}

// mustBeNew refuses a file that exists.
func mustBeNew(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists already, and nothing is ever overwritten: give another name, or move it away", path)
	}
	return nil
}

// writeWhole makes a new file that has all of the content, or doesn't make it.
func writeWhole(path string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".iexecform-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(content)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Link(temp.Name(), path); err != nil { // unlike a rename, it never replaces anything
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
