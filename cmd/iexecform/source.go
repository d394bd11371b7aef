package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
	"github.com/iexecform/iexecform/providers"
)

// planSource is the configuration that a saved plan was made from, for what the plan doesn't hold: sensitive settings of
// providers, write-only attributes, and outputs and conditions that only the actions make known. Its fields are nil when it isn't needed
// or isn't there.
type planSource struct {
	config *config.Config
	inputs map[string]cty.Value
	lost   error // why it isn't there
}

// planSource loads the configuration of the plan if the plan needs it. A plan that doesn't is applied without. Flags may
// give values to ephemeral variables only: those of others are in the plan.
func (a *app) planSource(ctx context.Context, p *plan.Plan, flags inputFlags) (*planSource, error) {
	secrets := ""
	for i := range p.Actions {
		if act := &p.Actions[i]; len(act.WriteOnly) > 0 {
			secrets = fmt.Sprintf("%s of %s", strings.Join(act.WriteOnly, ", "), act.Addr)
		}
	}
	for _, v := range p.Providers {
		if len(v.Sensitive) > 0 {
			secrets = fmt.Sprintf("%s of provider %s", strings.Join(v.Sensitive, ", "), v.Addr)
		}
	}
	late := false
	for _, o := range p.Outputs {
		late = late || o.After != cty.NilVal && !o.After.IsWhollyKnown()
	}
	for _, c := range p.Checks {
		late = late || c.Status == config.CheckUnknown
	}
	s := &planSource{}
	if secrets == "" && !late {
		if len(flags.args) > 0 {
			return nil, errors.New("--var can't be given with this saved plan: the plan has all values that it needs. Nothing was sent. Plan again to change them")
		}
		return s, nil
	}
	c, _, err := a.loadConfig()
	switch {
	case err != nil:
		s.lost = err
	case c.Digest() != p.Config:
		s.lost = a.otherConfig()
	default:
		inputs, diags := a.inputs(ctx, c, inputFlags{args: flags.args, noInput: true, saved: true, given: p.Variables})
		if diags.HasErrors() {
			s.lost = &failure{err: diags, sources: c.Files()}
		} else {
			s.config, s.inputs = c, inputs
		}
	}
	if s.lost != nil && secrets != "" {
		if failed := (*failure)(nil); errors.As(s.lost, &failed) {
			return nil, s.lost // what is wrong with which variable; nothing was sent
		}
		return nil, fmt.Errorf("a plan file holds no secrets, so they are read from the configuration (%s): %w. "+
			"Nothing was sent. Apply in the directory of the configuration, or plan again", secrets, s.lost)
	}
	if ids := apply.Undecided(p); s.lost != nil && len(ids) > 0 {
		return nil, fmt.Errorf("the plan has conditions that only apply can tell, on %s, and they are in the configuration: %w. "+
			"Nothing was sent. Apply in the directory of the configuration, or plan again", strings.Join(ids, ", "), s.lost)
	}
	return s, nil
}

// open opens the plan's providers with the settings that the plan has, and the sensitive ones of the configuration.
func (s *planSource) open(ctx context.Context, p *plan.Plan, session *plan.Session) error {
	settings := providerSettings{}
	if s.config != nil {
		_, diags := s.config.Evaluate(ctx, config.EvalRequest{Inputs: s.inputs, Workspace: p.Workspace, ProvidersOnly: true, Handler: settings})
		if diags.HasErrors() {
			return &failure{err: diags, sources: s.config.Files()}
		}
	}
	for _, v := range p.Providers {
		value := v.Config
		if found, ok := settings[v.Addr]; ok && len(v.Sensitive) > 0 {
			attrs := value.AsValueMap()
			for _, name := range v.Sensitive {
				attrs[name] = found.GetAttr(name)
			}
			value = cty.ObjectVal(attrs)
		}
		if err := session.Open(ctx, v.Addr, value); err != nil {
			return fmt.Errorf("provider %s: %w", v.Addr, err)
		}
	}
	return nil
}

// writeOnly evaluates the write-only attributes that the plan's actions need, and puts them into the session. What they
// depend on is as the plan has it; data sources are read again.
func (s *planSource) writeOnly(ctx context.Context, p *plan.Plan, session *plan.Session, registry providers.Registry) error {
	var needed []addr.Instance
	for i := range p.Actions {
		if act := &p.Actions[i]; len(act.WriteOnly) > 0 {
			needed = append(needed, act.Addr)
		}
	}
	if len(needed) == 0 {
		return nil
	}
	objects := make(map[addr.Instance]schema.Object, len(p.Changes))
	for i := range p.Changes {
		objects[p.Changes[i].Addr] = p.Changes[i].After
	}
	planned := apply.Remembered{Session: session, Object: func(i addr.Instance) (schema.Object, bool) {
		v, ok := objects[i]
		return v, ok
	}}
	_, diags := s.config.Evaluate(ctx, config.EvalRequest{
		Inputs: s.inputs, Workspace: p.Workspace, Targets: needed, Handler: secretValues{planned, registry},
	})
	if diags.HasErrors() {
		return &failure{err: diags, sources: s.config.Files()}
	}
	return nil
}

// secretValues is a config.Handler that answers with what was planned, and puts write-only attributes into the session.
type secretValues struct {
	apply.Remembered
	registry providers.Registry
}

func (v secretValues) Resources(ctx context.Context, instances []config.Instance) []config.Result {
	for _, in := range instances {
		v.Session.SetWriteOnly(in.Addr, plan.WriteOnly(v.registry.ResourceTable(in.Addr.Resource.Type), in.Value))
	}
	return v.Remembered.Resources(ctx, instances)
}

// providerSettings is a config.Handler that keeps the settings of providers.
type providerSettings map[addr.Provider]cty.Value

func (s providerSettings) Provider(_ context.Context, p addr.Provider, block config.Block) hcl.Diagnostics {
	s[p] = block.Value.Cty()
	return nil
}
func (s providerSettings) Data(context.Context, []config.Instance) []config.Result      { return nil }
func (s providerSettings) Resources(context.Context, []config.Instance) []config.Result { return nil }
