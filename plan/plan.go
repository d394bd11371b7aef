// Package plan turns a configuration, a state and what providers say into a Plan: data that can be printed, saved,
// reviewed and obeyed.
//
// Four words are used strictly: prior (the state says), current (the providers say), desired (the configuration says),
// planned (what will be). A change is what happens to a resource; an action is one step that does it.
package plan

import (
	"encoding/json"
	"math/big"

	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// Mode is what a plan is for.
type Mode string

// The modes.
const (
	Normal      Mode = "normal"
	Destroy     Mode = "destroy"
	RefreshOnly Mode = "refresh-only"
)

// Plan is what apply will do, and why. It holds no secret but the signed orders that the state holds too: it is meant to be attached
// to a review, and signed off.
type Plan struct {
	Tool      string
	Mode      Mode
	Project   string
	Workspace string
	Lineage   string // of the state that it was made from; "" for an empty one
	Serial    uint64
	Records   int                  // journal records folded into that state: not 0 after an interrupted run
	Config    string               // sha256 of the configuration files, as hex
	Variables map[string]cty.Value // cty.NilVal for those that must not be seen or kept
	Outline   json.RawMessage      // of the configuration, for policy tools: see config.Config.Outline
	Targets   []string
	Exclude   []string // addresses that are left out
	LeftOut   []string // addresses that are left out with them, because they depend on them
	Complete  bool     // false when an error left something out: cannot be applied

	Moves     []state.Moved // in the state, all at once, before anything else
	Providers []Provider
	Changes   []Change           // sorted by address; no-ops included
	Reads     []Change           // of data sources that are read after the actions: Kind is Read; sorted by address
	Actions   []providers.Action // in the order of their numbers; After points backwards only
	Outputs   []OutputChange     // sorted by name; unchanged ones included
	Notices   []Notice
	Expect    []Expectation        // what is taken for granted besides what the actions expect
	Checks    []config.CheckResult // what the conditions of the configuration came to, sorted by kind and name
	Pending   []string             // what an interrupted run left unsettled, in words

	digest    string // of the file that it was read from; "" for a plan that was made
	encrypted bool   // that file was
}

// Encrypted reports whether p was read from an encrypted file.
func (p *Plan) Encrypted() bool { return p.encrypted }

// Provider is a provider configuration that the plan's actions use.
type Provider struct {
	Addr      addr.Provider
	Config    cty.Value         // sensitive attributes are null
	Sensitive []string          // names of those: apply evaluates them again
	Network   map[string]string // identity facts, or nil
}

// Read is the kind of what is planned for a data source.
const Read providers.ChangeKind = "read"

// Change is what happens to one resource instance.
type Change struct {
	Addr      addr.Instance
	Provider  addr.Provider
	Kind      providers.ChangeKind
	Before    schema.Object // current, or prior where it is gone; null when there was none
	After     schema.Object // planned, with unknowns where only apply can tell; null when it goes
	Because   []string
	Reason    Reason
	Protected bool            // prevent_destroy, afterwards
	Tainted   bool            // to be replaced by the next plan, afterwards
	DependsOn []addr.Instance // direct, sorted
	Importing string          // id of the object, when the state is to begin to know it because an import asks for it
	Prior     schema.Object   // as the state has it, where somebody else changed it (see drift.go); else none
	MovedFrom addr.Instance   // its address in the state, when that is another one; else zero
}

// OutputChange is what happens to an output value. Sensitive values are null.
type OutputChange struct {
	Name        string
	Before      cty.Value // cty.NilVal when there was none
	After       cty.Value // cty.NilVal when it goes; may hold unknowns
	Sensitive   bool
	Description string
}

// Changed reports whether applying would change the remembered output.
func (o OutputChange) Changed() bool {
	if o.Before == cty.NilVal || o.After == cty.NilVal {
		return o.Before != o.After
	}
	if o.Sensitive {
		return false
	}
	return !o.Before.RawEquals(o.After)
}

// Notice is something that the reviewer should know about an object, or about a provider's actions as a whole.
type Notice struct {
	Addr     addr.Instance `json:"Addr,omitzero"`      // zero: it is about Provider
	Provider string        `json:"provider,omitempty"` // addr.Provider text; "" with an Addr
	providers.Notice
}

// About names what the notice is about, without the attribute.
func (n Notice) About() string {
	if n.Provider != "" {
		return "provider " + n.Provider
	}
	return n.Addr.String()
}

// Expectation is a precondition and the provider that can check it.
type Expectation struct {
	Provider string `json:"provider"` // addr.Provider text
	providers.Precondition
}

// Empty reports whether applying would change nothing, not even the state.
func (p *Plan) Empty() bool {
	for _, o := range p.Outputs {
		if o.Changed() {
			return false
		}
	}
	return len(p.Actions) == 0 && len(p.Moves) == 0 && len(p.Pending) == 0
}

// Counts is a plan's summary in numbers.
type Counts struct {
	Changes      map[providers.ChangeKind]int
	Imports      int
	Transactions int // actions that take gas
	Signatures   int
	Requests     int
	Gas          uint64
	FeeWei       *big.Int // at the gas price of plan time
	FeeMaxWei    *big.Int // the most that the transactions are first sent with
	Income       *big.Int // the most that what is signed can bring in, in nRLC
	Spending     *big.Int // the most that it can cost, in nRLC
}

// Count adds up what the plan does.
func (p *Plan) Count() Counts {
	c := Counts{
		Changes: map[providers.ChangeKind]int{},
		FeeWei:  new(big.Int), FeeMaxWei: new(big.Int), Income: new(big.Int), Spending: new(big.Int),
	}
	for i := range p.Changes {
		c.Changes[p.Changes[i].Kind]++
		if p.Changes[i].Importing != "" {
			c.Imports++
		}
	}
	if len(p.Reads) > 0 {
		c.Changes[Read] = len(p.Reads)
	}
	for i := range p.Actions {
		cost := p.Actions[i].Cost
		if cost.Gas > 0 {
			c.Transactions++
		}
		c.Gas += cost.Gas
		c.Signatures += cost.Signatures
		c.Requests += cost.Requests
		addText(c.FeeWei, cost.Fee)
		addText(c.FeeMaxWei, cost.FeeMax)
		addText(c.Income, cost.Income)
		addText(c.Spending, cost.Spending)
	}
	return c
}

// addText adds a decimal number, if it is one.
func addText(sum *big.Int, text string) {
	if n, ok := new(big.Int).SetString(text, 10); ok {
		sum.Add(sum, n)
	}
}
