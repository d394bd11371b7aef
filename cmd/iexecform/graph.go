package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/plan"
)

type graphOptions struct {
	planFile string // planNow for a plan made now
	typ      string
	format   string
	plan     planOptions
}

// planNow is what --plan without a file means.
const planNow = "now"

// graphTypes are the plans that --type asks for, as Terraform's users know them.
var graphTypes = []string{"plan", "plan-refresh-only", "plan-destroy", "apply"}

func (a *app) graphCommand() *cobra.Command {
	var o graphOptions
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Print the graph of blocks, or of a plan's actions",
		Long: "Prints which block refers to which, for `dot -Tsvg`. With --plan or --type it prints the actions of a plan made now, with\n" +
			"--plan=FILE those of a saved plan: an arrow leads to what an action waits for.",
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if o.planFile != planNow {
					return &usageError{cmd, fmt.Errorf("%q is one argument too many: a plan file is given with --plan=FILE", args[0])}
				}
				o.planFile = args[0] // --plan FILE
			}
			if err := o.check(cmd); err != nil {
				return err
			}
			return a.graph(cmd, o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.planFile, "plan", "", "print the actions of the saved plan `FILE`, or of a plan made now")
	flags.Lookup("plan").NoOptDefVal = planNow
	flags.StringVar(&o.typ, "type", "", "print the actions of a plan made now, of `TYPE` "+strings.Join(graphTypes, ", "))
	flags.StringVar(&o.format, "format", "dot", "print as `FORMAT` "+strings.Join(view.GraphFormats, ", "))
	o.plan.addInputs(cmd, a)
	return cmd
}

// check settles which plan is meant.
func (o *graphOptions) check(cmd *cobra.Command) error {
	if !slices.Contains(view.GraphFormats, o.format) {
		return &usageError{cmd, fmt.Errorf("there is no --format=%s.%s Known are %s", o.format, config.DidYouMean(o.format, view.GraphFormats), strings.Join(view.GraphFormats, ", "))}
	}
	if o.typ != "" {
		switch {
		case !slices.Contains(graphTypes, o.typ):
			return &usageError{cmd, fmt.Errorf("there is no --type=%s.%s Known are %s", o.typ, config.DidYouMean(o.typ, graphTypes), strings.Join(graphTypes, ", "))}
		case o.planFile != "" && o.planFile != planNow:
			return &usageError{cmd, fmt.Errorf("--type is for a plan made now, and the plan in %s has its own", o.planFile)}
		}
		o.planFile = planNow
		o.plan.destroy, o.plan.refreshOnly = o.typ == "plan-destroy", o.typ == "plan-refresh-only"
	}
	return o.plan.check(cmd)
}

func (a *app) graph(cmd *cobra.Command, o graphOptions) error {
	switch o.planFile {
	case "":
		c, _, err := a.loadConfig()
		if err != nil {
			return err
		}
		nodes, edges := c.Graph()
		var g view.Graph
		for _, n := range nodes {
			g.Nodes = append(g.Nodes, view.GraphNode{ID: n})
		}
		for _, e := range edges {
			g.Edges = append(g.Edges, view.GraphEdge{From: e.From, To: e.To})
		}
		return g.Write(a.streams.Out, o.format)
	case planNow:
		built, err := a.build(cmd.Context(), o.plan, "graph")
		if err != nil {
			return err
		}
		defer built.close()
		if built.diags.HasErrors() {
			return &failure{err: built.diags, sources: built.config.Files()}
		}
		return a.actionGraph(built.plan, o.format)
	}
	p, err := a.readPlan(o.planFile)
	if err != nil {
		return err
	}
	return a.actionGraph(p, o.format)
}

func (a *app) actionGraph(p *plan.Plan, format string) error {
	var g view.Graph
	for i := range p.Actions {
		action := &p.Actions[i]
		id := fmt.Sprint(action.ID)
		g.Nodes = append(g.Nodes, view.GraphNode{ID: id, Label: fmt.Sprintf("%d. %s %s", action.ID, action.Kind, action.Addr)})
		for _, after := range action.After {
			g.Edges = append(g.Edges, view.GraphEdge{From: id, To: fmt.Sprint(after)})
		}
	}
	return g.Write(a.streams.Out, format)
}
