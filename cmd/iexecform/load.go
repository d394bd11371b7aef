package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/pflag"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/backends"
	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// lazyTables makes the providers only when a view needs one of their tables.
type lazyTables struct{ *app }

func (t lazyTables) ResourceTable(typ string) *schema.Table { return t.providers().ResourceTable(typ) }
func (t lazyTables) DataTable(typ string) *schema.Table     { return t.providers().DataTable(typ) }

// inputFlags are where the values of variables come from.
type inputFlags struct {
	args    []config.InputArg
	noInput bool
	given   map[string]cty.Value // of a saved plan that is applied
	saved   bool                 // a saved plan is applied: only ephemeral variables can be set
}

func (o *inputFlags) add(flags *pflag.FlagSet) {
	o.addVariables(flags)
	addInput(flags, &o.noInput)
}

func (o *inputFlags) addVariables(flags *pflag.FlagSet) {
	flags.Var(&inputValue{list: &o.args}, "var", "set a variable: `NAME=VALUE` (repeatable)")
	flags.Var(&inputValue{list: &o.args, file: true}, "var-file", "read variables from `FILE` (repeatable)")
}

func addInput(flags *pflag.FlagSet, noInput *bool) {
	flags.Var((*inverted)(noInput), "input", "ask for what is missing; --input=false asks nothing")
	flags.Lookup("input").NoOptDefVal = "true"
}

// inputValue collects --var and --var-file in the order of the command line.
type inputValue struct {
	list *[]config.InputArg
	file bool
}

func (v *inputValue) Set(text string) error {
	*v.list = append(*v.list, config.InputArg{Text: text, File: v.file})
	return nil
}
func (v *inputValue) String() string { return "" }
func (v *inputValue) Type() string   { return "value" }

// inverted is a flag that is true unless it says false.
type inverted bool

func (v *inverted) Set(text string) error {
	switch text {
	case "true", "1", "t":
		*v = false
	case "false", "0", "f":
		*v = true
	default:
		return fmt.Errorf("want true or false, not %q", text)
	}
	return nil
}

func (v *inverted) String() string {
	if v != nil && bool(*v) {
		return "false"
	}
	return "true"
}
func (v *inverted) Type() string { return "bool" }

// withStates makes a configuration's backend and encryption blocks known.
func withStates() config.LoadOption { return config.WithStates(backends.Tables()) }

// loadConfig loads and checks the configuration. Warnings come with it; errors are a *failure.
func (a *app) loadConfig() (*config.Config, hcl.Diagnostics, error) {
	c, diags := config.Load(a.dir, a.providers(), config.ForVersion(version), a.withModules(), withStates())
	if diags.HasErrors() {
		return c, diags, &failure{err: diags, sources: c.Files()}
	}
	return c, diags, nil
}

// inputs collects the variables' values, and asks for those that are missing where somebody can be asked.
func (a *app) inputs(ctx context.Context, c *config.Config, o inputFlags) (map[string]cty.Value, hcl.Diagnostics) {
	src := config.InputSources{Environ: a.env, Args: o.args, Given: o.given, EphemeralOnly: o.saved}
	if a.mayAsk(o.noInput) && a.streams.InTerminal {
		for _, v := range c.Missing(src) {
			text, err := a.askVariable(ctx, v)
			if err != nil {
				return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "No value for variable " + v.Name, Detail: view.Sentence(err.Error())}}
			}
			src.Args = append(src.Args, config.InputArg{Text: v.Name + "=" + text})
		}
	}
	return c.Inputs(src)
}

func (a *app) askVariable(ctx context.Context, v config.Variable) (string, error) {
	question := "var." + v.Name
	if v.Description != "" {
		question += "\n  " + v.Description
	}
	question += "\n  Enter a value: "
	if v.Sensitive || v.Ephemeral {
		return prompter{a}.Secret(ctx, question)
	}
	_, _ = fmt.Fprint(a.human().Err, question)
	return a.readLine(ctx)
}

// readLine reads a line from standard input. io.EOF means that there was nothing at all.
func (a *app) readLine(ctx context.Context) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := bufio.NewReader(a.streams.In).ReadString('\n')
		if errors.Is(err, io.EOF) && text != "" {
			err = nil
		}
		answers <- answer{strings.TrimRight(text, "\r\n"), err}
	}()
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case got := <-answers:
		return got.text, got.err
	}
}

// prompter implements providers.Prompter on the terminal.
type prompter struct{ *app }

func (p prompter) Secret(ctx context.Context, question string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	_, _ = fmt.Fprint(p.human().Err, question)
	text, err := p.secret(p.streams.In)
	_, _ = fmt.Fprintln(p.human().Err)
	return text, err
}

// envInput forbids to ask, as --input=false does, when it is 0 or false.
const envInput = "IEXECFORM_INPUT"

// mayAsk reports whether questions are allowed.
func (a *app) mayAsk(noInput bool) bool {
	env := a.getenv(envInput)
	return !noInput && env != "0" && !strings.EqualFold(env, "false")
}

// prompt is nil where nobody can be asked.
func (a *app) prompt(noInput bool) providers.Prompter {
	if !a.mayAsk(noInput) || !a.streams.InTerminal {
		return nil
	}
	return prompter{a}
}

// parseAddresses parses the values of a repeatable flag or arguments.
func parseAddresses(what string, texts []string) ([]addr.Instance, error) {
	var list []addr.Instance
	for _, text := range texts {
		i, err := addr.ParseTarget(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		list = append(list, i)
	}
	return list, nil
}
