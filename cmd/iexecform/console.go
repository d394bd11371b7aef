package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/spf13/cobra"
	"github.com/zclconf/go-cty/cty"
	"golang.org/x/term"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/modules"
	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// The console only reads, and no more than an expression refers to: resources are what the state has, or with --plan what is
// planned; data sources are read over the network, each once.

type consoleOptions struct {
	planOptions
	plan, showSensitive bool
}

func (a *app) consoleCommand() *cobra.Command {
	var o consoleOptions
	cmd := &cobra.Command{
		Use:   "console",
		Short: "Evaluate expressions, typed or piped",
		Long: "Evaluates expressions with the configuration's values and prints what they come to. Resources are what the state has;\n" +
			"with --plan, what a plan made now says they will be. Variables without value are unknown. Nothing is ever changed.\n\n" +
			"`exit` or Ctrl-D ends it. Piped expressions, one a line, end at the first error with exit code 1.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return a.console(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	o.addInputs(cmd, a)
	flags.BoolVar(&o.plan, "plan", false, "make a plan first, and take resources from it")
	flags.BoolVar(&o.showSensitive, "show-sensitive", false, "print sensitive values")
	return cmd
}

func (a *app) console(ctx context.Context, o consoleOptions) error {
	c, done, err := a.openConsole(ctx, o)
	if err != nil {
		return err
	}
	defer done()
	c.reveal = o.showSensitive
	if in, ok := a.streams.In.(*os.File); ok && a.streams.InTerminal {
		return c.converse(ctx, in)
	}
	lines := bufio.NewReader(a.streams.In)
	for {
		text, err := expression(func(string) (string, error) { return lines.ReadString('\n') })
		if diags := c.eval(ctx, text); diags.HasErrors() {
			return &failure{err: diags, sources: c.sources(text)}
		}
		if err != nil {
			return ended(err)
		}
	}
}

// ended is nil for the end of the input.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("read an expression: %w", err)
}

// openConsole loads what expressions can refer to. done must be called.
func (a *app) openConsole(ctx context.Context, o consoleOptions) (c *console, done func(), err error) {
	if o.plan {
		b, err := a.build(ctx, o.planOptions, "console")
		if err != nil {
			return nil, nil, err
		}
		if err := a.human().Diagnostics(b.diags, b.config.Files()); err != nil {
			b.close()
			return nil, nil, err
		}
		c := newConsole(a, b.config, b.inputs, b.plan.Workspace, b.state, b.session)
		for i := range b.plan.Changes {
			c.planned[b.plan.Changes[i].Addr] = b.plan.Changes[i].After
		}
		return c, b.close, nil
	}
	workspace, err := a.workspace(ctx)
	if err != nil {
		return nil, nil, err
	}
	var loaded *state.Loaded
	stateErr := make(chan error, 1) // the state is read while the configuration is
	go func() {
		var err error
		loaded, err = a.load(ctx)
		stateErr <- err
	}()
	cfg, _, err := a.loadConfig()
	if err = cmp.Or(err, <-stateErr); err != nil {
		return nil, nil, err
	}
	inputs, diags := cfg.Inputs(config.InputSources{Environ: a.env, Args: o.args, Partial: true})
	if diags.HasErrors() {
		return nil, nil, &failure{err: diags, sources: cfg.Files()}
	}
	locked, err := modules.Images(a.dir)
	if err != nil {
		return nil, nil, err
	}
	session := plan.NewSession(a.providers(), loaded, cfg.Settings.Project, workspace, a.dir, a.prompt(o.noInput))
	session.Lock(locked)
	return newConsole(a, cfg, inputs, workspace, loaded, session), func() { _ = session.Close() }, nil
}

// console evaluates expressions. It is the config.Handler of its evaluations.
type console struct {
	app       *app
	config    *config.Config
	inputs    map[string]cty.Value
	workspace string
	state     *state.Loaded
	session   *plan.Session
	registry  providers.Registry
	reveal    bool // sensitive values

	settings map[addr.Provider]config.Block
	planned  map[addr.Instance]schema.Object
	data     map[addr.Instance]cty.Value // read so far
}

func newConsole(a *app, c *config.Config, inputs map[string]cty.Value, workspace string, loaded *state.Loaded, session *plan.Session) *console {
	return &console{
		app: a, config: c, inputs: inputs, workspace: workspace, state: loaded, session: session, registry: a.providers(),
		settings: map[addr.Provider]config.Block{}, planned: map[addr.Instance]schema.Object{}, data: map[addr.Instance]cty.Value{},
	}
}

const consoleFile = "<console>"

// sources are those of the configuration and the expression.
func (c *console) sources(text string) view.Sources {
	all := view.Sources{consoleFile: {Bytes: []byte(text)}}
	for name, file := range c.config.Files() {
		all[name] = file
	}
	return all
}

// eval prints an expression's value, or nothing for an empty one.
func (c *console) eval(ctx context.Context, text string) hcl.Diagnostics {
	if text = strings.TrimSpace(text); text == "" {
		return nil
	}
	evaluation, diags := c.config.Evaluate(ctx, config.EvalRequest{
		Inputs: c.inputs, Workspace: c.workspace, Expression: []byte(text), Handler: c,
	})
	if diags.HasErrors() {
		return diags
	}
	v, diags := evaluation.Eval([]byte(text), consoleFile)
	if diags.HasErrors() {
		return diags
	}
	if c.reveal {
		v, _ = v.UnmarkDeep()
	}
	if err := c.app.human().Value(v); err != nil {
		return view.Diagnose(err)
	}
	return nil
}

// converse is the console on a terminal, with a history of lines.
func (c *console) converse(ctx context.Context, in *os.File) error {
	lines := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, c.app.streams.Err}, "")
	read := func(prompt string) (string, error) {
		before, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return "", err
		}
		lines.SetPrompt(prompt)
		text, err := lines.ReadLine()
		return text, errors.Join(err, term.Restore(int(in.Fd()), before))
	}
	for {
		text, err := expression(read)
		if err != nil {
			_, _ = fmt.Fprintln(c.app.streams.Err)
			return ended(err)
		}
		if word := strings.TrimSpace(text); word == "exit" || word == "quit" {
			return nil
		}
		if err := c.app.human().Diagnostics(c.eval(ctx, text), c.sources(text)); err != nil {
			return err
		}
	}
}

// expression reads lines until all brackets are closed. At the end of the input it returns what there is, and io.EOF.
func expression(read func(prompt string) (string, error)) (string, error) {
	var text strings.Builder
	prompt := "> "
	for {
		line, err := read(prompt)
		text.WriteString(strings.TrimRight(line, "\r\n") + "\n")
		if err != nil || !open(text.String()) {
			return text.String(), err
		}
		prompt = ": "
	}
}

// open reports whether an expression has brackets, or a heredoc, to be closed.
func open(text string) bool {
	tokens, _ := hclsyntax.LexExpression([]byte(text), "", hcl.InitialPos) // what is wrong is told when it is evaluated
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOParen, hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			depth++
		case hclsyntax.TokenCParen, hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
			depth--
		}
	}
	return depth > 0
}

// Provider implements config.Handler: it is opened when a data source needs it.
func (c *console) Provider(_ context.Context, p addr.Provider, block config.Block) hcl.Diagnostics {
	c.settings[p] = block
	return nil
}

// Data implements config.Handler.
func (c *console) Data(ctx context.Context, instances []config.Instance) []config.Result {
	results := make([]config.Result, len(instances))
	for i, in := range instances {
		if value, ok := c.data[in.Addr]; ok {
			results[i].Value = value
			continue
		}
		value, err := c.read(ctx, in)
		if err != nil {
			results[i].Diags = hcl.Diagnostics{in.Diagnostic(hcl.DiagError, providers.AttrOf(err), "Cannot read the data source", view.Sentence(err.Error()))}
			continue
		}
		c.data[in.Addr], results[i].Value = value, value
	}
	return results
}

func (c *console) read(ctx context.Context, in config.Instance) (cty.Value, error) {
	if !in.Value.IsWhollyKnown() {
		return cty.UnknownVal(in.Value.Type()), nil
	}
	if _, open := c.session.Client(in.Provider); !open {
		if err := c.session.Open(ctx, in.Provider, c.settings[in.Provider].Value.Cty()); err != nil {
			return cty.NilVal, err
		}
		if _, err := c.session.CheckNetwork(ctx, in.Provider); err != nil {
			return cty.NilVal, err
		}
	}
	client, _ := c.session.Client(in.Provider)
	data, err := client.ReadData(ctx, providers.DataRequest{Addr: in.Addr, Config: in.Value.Cty()})
	return data.Value, err
}

// Resources implements config.Handler. What isn't applied yet is as configured, and what is computed of it unknown.
func (c *console) Resources(_ context.Context, instances []config.Instance) []config.Result {
	results := make([]config.Result, len(instances))
	for i, in := range instances {
		value, planned := c.planned[in.Addr]
		object := c.state.Snapshot.Resources[in.Addr]
		var err error
		switch {
		case planned:
		case object != nil:
			value, err = plan.DecodeObject(c.registry, in.Addr.Resource.Type, object)
		default:
			value = unapplied(c.registry.ResourceTable(in.Addr.Resource.Type), in.Value)
		}
		if results[i].Object = value; err != nil {
			results[i].Diags = hcl.Diagnostics{in.Diagnostic(hcl.DiagError, "", "Damaged state", fmt.Sprintf("%s in the state: %s.", in.Addr, err))}
		}
	}
	return results
}

// unapplied is a configured object in which what is computed is unknown.
func unapplied(table *schema.Table, configured schema.Object) schema.Object {
	unknown := map[string]cty.Value{}
	for _, a := range table.Attrs {
		if (a.Mode == schema.Computed || a.Mode == schema.OptionalComputed) && configured.Attr(a.Name).IsNull() {
			unknown[a.Name] = cty.UnknownVal(a.Type)
		}
	}
	return configured.With(unknown)
}
