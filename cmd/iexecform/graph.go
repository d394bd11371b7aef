package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/plan"
)

type graphOptions struct {
	planFile string // "-" for a plan made now
	plan     planOptions
}

// planNow is what --plan without a file means.
const planNow = "now"

func (a *app) graphCommand() *cobra.Command {
	var o graphOptions
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Print the graph of blocks, or of a plan's actions, in the DOT language",
		Long: "Prints which block refers to which, for `dot -Tsvg`. With --plan it prints the actions of a plan made now, with\n" +
			"--plan=FILE those of a saved plan: an arrow leads to what an action waits for.",
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if o.planFile != planNow {
					return &usageError{cmd, fmt.Errorf("%q is one argument too many: a plan file is given with --plan=FILE", args[0])}
				}
				o.planFile = args[0] // --plan FILE
			}
			return a.graph(cmd, o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.planFile, "plan", "", "print the actions of the saved plan `FILE`, or of a plan made now")
	flags.Lookup("plan").NoOptDefVal = planNow
	o.plan.addInputs(cmd, a)
	return cmd
}

func (a *app) graph(cmd *cobra.Command, o graphOptions) error {
	switch o.planFile {
	case "":
		c, _, err := a.loadConfig()
		if err != nil {
			return err
		}
		nodes, edges := c.Graph()
		pairs := make([][2]string, len(edges))
		for i, e := range edges {
			pairs[i] = [2]string{e.From, e.To}
		}
		return view.Dot(a.streams.Out, nil, nodes, pairs)
	case planNow:
		built, err := a.build(cmd.Context(), o.plan, "graph")
		if built != nil {
			defer built.close()
		}
		if err != nil {
			return err
		}
		return a.actionGraph(built.plan)
	}
	p, err := a.readPlan(o.planFile)
	if err != nil {
		return err
	}
	return a.actionGraph(p)
}

func (a *app) actionGraph(p *plan.Plan) error {
	labels := map[string]string{}
	var nodes []string
	var edges [][2]string
	for i := range p.Actions {
		action := &p.Actions[i]
		id := fmt.Sprint(action.ID)
		nodes = append(nodes, id)
		labels[id] = fmt.Sprintf("%d. %s %s", action.ID, action.Kind, action.Addr)
		for _, after := range action.After {
			edges = append(edges, [2]string{id, fmt.Sprint(after)})
		}
	}
	return view.Dot(a.streams.Out, labels, nodes, edges)
}
