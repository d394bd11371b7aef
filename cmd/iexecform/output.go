package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/config"
)

type outputOptions struct {
	name      string
	json, raw bool
}

func (a *app) outputCommand() *cobra.Command {
	var o outputOptions
	cmd := &cobra.Command{
		Use:               "output [NAME]",
		Short:             "Print output values as they were last applied",
		Args:              arguments(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completeOutputs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.name = args[0]
			}
			switch {
			case o.raw && o.json:
				return &usageError{cmd, fmt.Errorf("--raw and --json exclude each other")}
			case o.raw && o.name == "":
				return &usageError{cmd, fmt.Errorf("--raw needs the NAME of one output")}
			}
			if err := a.output(cmd.Context(), o); err != nil {
				return &failure{err: err, json: o.json}
			}
			return nil
		},
	}
	a.addState(cmd)
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	cmd.Flags().BoolVar(&o.raw, "raw", false, "print a string, number or bool as it is, without quotes and newline")
	return cmd
}

func (a *app) output(ctx context.Context, o outputOptions) error {
	loaded, err := a.load(ctx)
	if err != nil {
		return err
	}
	outputs := view.SortedOutputs(loaded.Snapshot)
	if o.name == "" {
		switch {
		case o.json:
			return a.json().Outputs(outputs)
		case len(outputs) == 0:
			return a.human().Print("There are no outputs. Declare output blocks and run `iexecform apply`.")
		}
		return a.human().Outputs(outputs)
	}
	var names []string
	for _, out := range outputs {
		if out.Name == o.name {
			return a.printOutput(o, out)
		}
		names = append(names, out.Name)
	}
	return fmt.Errorf("there is no output %q in the state.%s An output block takes effect with `iexecform apply`",
		o.name, config.DidYouMean(o.name, names))
}

func (a *app) printOutput(o outputOptions, out view.Output) error {
	switch {
	case out.Sensitive && (o.raw || o.json):
		return fmt.Errorf("output %q is sensitive, and sensitive values are not kept in the state: there is nothing to print. "+
			"Remove sensitive = true from it, if it isn't", o.name)
	case o.json:
		return a.json().OutputValue(out)
	case !o.raw:
		return a.human().OutputValue(out)
	}
	v := out.Decoded()
	if !v.Type().IsPrimitiveType() || v.IsNull() {
		return fmt.Errorf("output %q is %s: --raw prints a string, number or bool. Use --json", o.name, friendly(v))
	}
	text, err := convert.Convert(v, cty.String)
	if err != nil {
		return fmt.Errorf("output %q: %w", o.name, err)
	}
	_, err = fmt.Fprint(a.streams.Out, text.AsString())
	return err
}

func friendly(v cty.Value) string {
	if v.IsNull() {
		return "null"
	}
	return "of type " + v.Type().FriendlyName()
}
