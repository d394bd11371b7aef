package iexec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/zclconf/go-cty/cty"

	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// account is the resource type iexec_account: what an address has at the hub, kept between two bounds.
//
// Policy: every address has an account, so there is none to make or to delete; stake beyond a bound is drift, whoever caused
// it. An action moves the amount that was reviewed, or nothing: never when that is more than what is beyond the bound by
// then. Whether it is done is told by the stake, and nothing is planned while a movement of an interrupted run is under way.
type account struct{}

func (account) table() *schema.Table {
	return &schema.Table{
		Type:      "iexec_account",
		Permanent: true,
		Doc: "The account of an address at the hub: where sellers are paid, and what buyers pay from. You can withdraw your funds at any time: " +
			"with `keep_at_most = \"0 RLC\"` every plan that finds some withdraws them to the wallet.\n\n" +
			"Stake above `keep_at_most` plans a withdrawal of the excess, stake below `keep_at_least` a deposit of what is missing, one transaction each. " +
			"The rest stays as it is. What is locked for deals that aren't finished can't be withdrawn, and doesn't count. " +
			"Destroying the resource forgets it: nothing is moved.",
		Example: "resource \"iexec_account\" \"income\" {\n  keep_at_most = \"0 RLC\"\n}\n",
		Attrs: []schema.Attr{
			addressAttr(schema.Attr{Name: "address", Mode: schema.OptionalComputed, Doc: "Whose account; the wallet's, unless set. That of another address is only watched: the bounds must hold already."}),
			priceAttr(schema.Attr{Name: "keep_at_most", Mode: schema.Optional, Doc: "What is above is withdrawn to the wallet."}),
			priceAttr(schema.Attr{Name: "keep_at_least", Mode: schema.Optional, Doc: "What is missing is deposited, from the wallet's RLC."}),
			priceAttr(schema.Attr{Name: "stake", Mode: schema.Computed, Doc: "What can be spent or withdrawn, in nRLC."}),
			priceAttr(schema.Attr{Name: "locked", Mode: schema.Computed, Doc: "What is held back for deals that aren't finished, in nRLC."}),
		},
	}
}

// A balance is what an address has at the hub, in nRLC.
type balance struct{ stake, locked *big.Int }

// balancesOf reads accounts, in one call.
func (c *client) balancesOf(ctx context.Context, addresses []common.Address) ([]balance, error) {
	calls := make([]chain.Call, len(addresses))
	for i, a := range addresses {
		calls[i] = chain.Call{To: c.Hub, Data: pack(poco.HubABI().Pack("viewAccount", a))}
	}
	balances := make([]balance, len(addresses))
	for i, out := range c.chain.Calls(ctx, calls) {
		if out.Err == nil && len(out.Data) != 64 {
			out.Err = fmt.Errorf("there is no PoCo hub at %s on chain %d", c.Hub, c.ID)
		}
		if out.Err != nil {
			return nil, fmt.Errorf("read account %s: %w", addresses[i], out.Err) //nolint:gosec // one result for each
		}
		balances[i] = balance{new(big.Int).SetBytes(out.Data[:32]), new(big.Int).SetBytes(out.Data[32:])}
	}
	return balances, nil
}

func (account) read(ctx context.Context, c *client, reqs []providers.ReadRequest) []providers.ReadResult {
	if err := c.pin(ctx); err != nil {
		return fail(len(reqs), providers.ReadResult{Err: err})
	}
	addresses := make([]common.Address, len(reqs))
	for i, r := range reqs {
		addresses[i] = object{r.Prior}.address("address")
	}
	balances, err := c.balancesOf(ctx, addresses)
	if err != nil {
		return fail(len(reqs), providers.ReadResult{Err: err})
	}
	results := make([]providers.ReadResult, len(reqs))
	for i, r := range reqs {
		results[i].Current = balances[i].set(object{r.Prior})
	}
	return results
}

func (b balance) set(o object) schema.Object {
	return o.with(map[string]cty.Value{"stake": bigNumber(b.stake), "locked": bigNumber(b.locked)})
}

// An accountPlan is one account on the way through plan.
type accountPlan struct {
	req     providers.PlanRequest
	d       object // what is desired, with its address
	address common.Address
	balance balance
	result  *providers.PlanResult
}

func (account) plan(ctx context.Context, c *client, reqs []providers.PlanRequest) []providers.PlanResult {
	results := make([]providers.PlanResult, len(reqs))
	if err := c.pin(ctx); err != nil {
		return fail(len(reqs), providers.PlanResult{Err: err})
	}
	var todo []*accountPlan
	var addresses []common.Address
	for i, req := range reqs {
		if req.Desired.IsNull() {
			results[i] = providers.PlanResult{Kind: providers.Forget, Planned: req.Desired,
				Because: []string{"the account stays as it is; withdraw what is in it with keep_at_most"}}
			continue
		}
		p := &accountPlan{req: req, d: object{req.Desired}, result: &results[i]}
		if p.result.Err = p.desire(c); p.result.Err == nil {
			todo, addresses = append(todo, p), append(addresses, p.address)
		}
	}
	balances, err := c.balancesOf(ctx, addresses)
	for i, p := range todo {
		if p.result.Err = err; err == nil {
			p.balance = balances[i]
			p.result.Err = p.decide(ctx, c)
		}
	}
	return results
}

// desire completes the address, and refuses what contradicts itself.
func (p *accountPlan) desire(c *client) error {
	if p.d.str("address") == "" {
		wallet, err := c.address()
		if err != nil {
			return err
		}
		p.d = object{p.d.with(map[string]cty.Value{"address": cty.StringVal(wallet.Hex())})}
	}
	p.address = p.d.address("address")
	if p.req.Replace {
		return errors.New("an account can't be replaced: every address has one, for ever")
	}
	most, least := p.d.num("keep_at_most"), p.d.num("keep_at_least")
	if most != nil && least != nil && least.Cmp(most) > 0 {
		return providers.At("keep_at_least", fmt.Errorf("%s is more than keep_at_most, which is %s: an account can't be kept above the one and below the other", poco.FormatAmount(least), poco.FormatAmount(most)))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other, ok := c.accounts[p.address]; ok && other != p.req.Addr {
		return providers.At("address", fmt.Errorf("%s has the account of %s already: two resources would move the same funds twice; leave one", other, p.address))
	}
	c.accounts[p.address] = p.req.Addr
	return nil
}

// decide says how the account changes.
func (p *accountPlan) decide(ctx context.Context, c *client) error {
	now, r := p.balance.set(p.d), p.result
	r.Kind, r.Planned = providers.NoOp, now
	switch {
	case p.req.Prior.IsNull():
		r.Kind, r.Found, r.Because = providers.Adopt, now, []string{"every address has an account at the hub"}
	case !now.Equal(p.req.Current):
		r.Kind = providers.Update
	}
	stake := p.balance.stake
	if most := p.d.num("keep_at_most"); most != nil && stake.Cmp(most) > 0 {
		return p.move(ctx, c, movement{Kind: "withdraw", Account: p.address, Stake: stake.String(), Then: most.String()}, "keep_at_most")
	}
	if least := p.d.num("keep_at_least"); least != nil && stake.Cmp(least) < 0 {
		return p.move(ctx, c, movement{Kind: "deposit", Account: p.address, Stake: stake.String(), Then: least.String()}, "keep_at_least")
	}
	return nil
}

// move plans a movement because of the bound attr.
func (p *accountPlan) move(ctx context.Context, c *client, m movement, attr string) error {
	r, then := p.result, p.d.num(attr)
	amount := new(big.Int).Sub(p.balance.stake, then)
	amount.Abs(amount)
	wallet, err := c.address()
	if err != nil {
		return err
	}
	if p.address != wallet {
		return providers.At(attr, fmt.Errorf("account %s has %s, and only its own wallet can %s %s, but the wallet is %s: use that wallet, or leave the bound out to watch the account only",
			p.address, poco.FormatAmount(p.balance.stake), m.Kind, poco.FormatAmount(amount), wallet))
	}
	if tx := c.movementUnderWay(); tx != nil {
		r.Notices = append(r.Notices, providers.Notice{Level: providers.Warning, Attr: attr, Summary: fmt.Sprintf(
			"%s is wanted, but an interrupted run's transaction %s (%s) is under way: apply, which takes it up, and plan again", m.Kind, tx.Hash(), tx.Purpose)})
		return nil
	}
	if err := p.pack(ctx, c, &m, amount); err != nil {
		return providers.At(attr, err)
	}
	if m.Kind == "withdraw" && p.balance.locked.Sign() > 0 {
		r.Notices = append(r.Notices, providers.Notice{Level: providers.Info, Attr: attr, Summary: fmt.Sprintf(
			"%s more are locked for deals that aren't finished, and can't be withdrawn yet", poco.FormatAmount(p.balance.locked))})
	}
	if r.Kind == providers.NoOp {
		r.Kind = providers.Update
	}
	r.Because = append(r.Because, fmt.Sprintf("%s is in the account, and %s is %s", poco.FormatAmount(p.balance.stake), attr, poco.FormatAmount(then)))
	r.Planned = object{r.Planned}.with(map[string]cty.Value{"stake": bigNumber(then)})
	direction := map[string]string{"withdraw": "to", "deposit": "from"}[m.Kind]
	gas := c.estimate(ctx, m.Kind, chain.Msg{From: wallet, To: m.To, Data: m.Data}, 80_000)
	r.Actions = []providers.Action{{
		Kind: m.Kind, Summary: fmt.Sprintf("%s %s %s wallet %s", m.Kind, poco.FormatAmount(amount), direction, wallet),
		Payload: marshal(m), Cost: c.cost(ctx, gas), Expect: []providers.Precondition{m.precondition()},
	}}
	return nil
}

// pack completes the transaction, and looks whether the wallet has what is to be deposited.
func (p *accountPlan) pack(ctx context.Context, c *client, m *movement, amount *big.Int) error {
	token, err := c.token(ctx)
	if err != nil {
		return err
	}
	if m.Kind == "withdraw" {
		m.To, m.Data = c.Hub, pack(poco.HubABI().Pack("withdraw", amount))
		return nil
	}
	out := c.chain.Calls(ctx, []chain.Call{{To: token, Data: pack(poco.TokenABI().Pack("balanceOf", p.address))}})[0]
	if out.Err != nil {
		return fmt.Errorf("read the wallet's RLC: %w", out.Err)
	}
	if has := new(big.Int).SetBytes(out.Data); has.Cmp(amount) < 0 {
		return fmt.Errorf("the account has %s, so %s are missing, and wallet %s has only %s: send it some, or lower keep_at_least",
			poco.FormatAmount(p.balance.stake), poco.FormatAmount(amount), p.address, poco.FormatAmount(has))
	}
	m.To, m.Data = token, pack(poco.TokenABI().Pack("approveAndCall", c.Hub, amount, []byte{}))
	return nil
}

// token is the RLC contract. It refuses hubs whose RLC is the chain's own coin.
func (c *client) token(ctx context.Context) (common.Address, error) {
	out := c.chain.Calls(ctx, []chain.Call{{To: c.Hub, Data: pack(poco.HubABI().Pack("token"))}})[0]
	if out.Err != nil {
		return common.Address{}, fmt.Errorf("read the hub's token: %w", out.Err)
	}
	token := common.BytesToAddress(out.Data)
	if token == (common.Address{}) {
		return token, fmt.Errorf("chain %d has RLC as its own coin, and accounts of such chains aren't managed: use the official tools there, and leave the bounds out", c.ID)
	}
	return token, nil
}

// movementUnderWay is the first transaction of an interrupted run that moves stake, or nil.
func (c *client) movementUnderWay() *chain.PendingTx {
	if c.sender == nil {
		return nil
	}
	for _, tx := range c.sender.Pending() {
		if tx.ChainID.IsUint64() && tx.ChainID.Uint64() == c.ID && movesStake(tx) {
			return &tx
		}
	}
	return nil
}

func movesStake(tx chain.PendingTx) bool {
	return slices.Contains([]string{"withdraw(uint256)", "approveAndCall(address,uint256,bytes)"}, poco.Signature(tx.Data))
}

// A movement is the payload of a withdrawal or deposit, and of what it takes for granted. Amounts are in nRLC, as decimal text.
type movement struct {
	Kind    string         `json:"kind"` // of the action
	Account common.Address `json:"account"`
	Stake   string         `json:"stake"` // that it was planned with
	Then    string         `json:"then"`  // stake afterwards
	To      common.Address `json:"to,omitzero"`
	Data    hexutil.Bytes  `json:"data,omitempty"` // call data of the transaction
}

func (m movement) precondition() providers.Precondition {
	bound := "at least"
	if m.Kind == "deposit" {
		bound = "at most"
	}
	stake, _, _ := m.amounts()
	m.To, m.Data = common.Address{}, nil
	return providers.Precondition{Kind: "stake", Payload: marshal(m),
		Summary: fmt.Sprintf("account %s has %s %s", m.Account, bound, poco.FormatAmount(stake))}
}

func (m movement) amounts() (stake, then *big.Int, err error) {
	stake, ok := new(big.Int).SetString(m.Stake, 10)
	then, ok2 := new(big.Int).SetString(m.Then, 10)
	if !ok || !ok2 {
		return new(big.Int), new(big.Int), fmt.Errorf("%q or %q is no amount of nRLC", m.Stake, m.Then)
	}
	return stake, then, nil
}

// compare says whether the account is as the movement makes it, and otherwise why it can't be done any more.
func (m movement) compare(now *big.Int) (done bool, err error) {
	stake, then, err := m.amounts()
	if err != nil {
		return false, err
	}
	sign := 1 // of what is to leave
	if m.Kind == "deposit" {
		sign = -1
	}
	if now.Cmp(then)*sign <= 0 {
		return true, nil
	}
	if now.Cmp(stake)*sign < 0 {
		return false, fmt.Errorf("account %s had %s when the plan was made and has %s now, so that the amount of the %s would be wrong: plan again",
			m.Account, poco.FormatAmount(stake), poco.FormatAmount(now), m.Kind)
	}
	return false, nil
}

// doMove makes sure that what was planned is withdrawn or deposited. SIDE EFFECTS: at most one transaction.
func doMove(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error) {
	var m movement
	if err := unmarshal(req.Action, &m); err != nil {
		return nil, err
	}
	there := func() (bool, error) {
		balances, err := c.balancesOf(ctx, []common.Address{m.Account})
		if err != nil {
			return false, err
		}
		return m.compare(balances[0].stake)
	}
	if done, err := there(); done || err != nil {
		return nil, err
	}
	if c.sender == nil {
		return nil, c.walletErr
	}
	// The receipt is the evidence: stake that somebody else moved meanwhile is the next plan's matter.
	tx := chain.TxRequest{To: m.To, Data: m.Data, Purpose: req.Action.Summary, Done: func(context.Context) (bool, error) { return there() }}
	_, err := c.sender.Send(ctx, tx, req.Journal, req.Progress)
	return nil, err
}

// checkStake looks whether the amounts of movements are still right.
func checkStake(ctx context.Context, c *client, ps []providers.Precondition) []error {
	errs := make([]error, len(ps))
	movements := make([]movement, len(ps))
	addresses := make([]common.Address, len(ps))
	for i, p := range ps {
		if err := json.Unmarshal(p.Payload, &movements[i]); err != nil {
			return fail(len(ps), err)
		}
		addresses[i] = movements[i].Account
	}
	balances, err := c.balancesOf(ctx, addresses)
	if err != nil {
		return fail(len(ps), err)
	}
	for i, m := range movements {
		switch done, err := m.compare(balances[i].stake); {
		case err != nil:
			errs[i] = err
		case done:
			errs[i] = fmt.Errorf("account %s has %s already, so that nothing is left to %s", m.Account, poco.FormatAmount(balances[i].stake), m.Kind)
		}
	}
	return errs
}
