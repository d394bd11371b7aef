// Package iexec is the provider of iExec's apps and of the orders that sell them.
//
// What is known at plan time is shown at plan time: an app's address is CREATE2 over its fields and first owner, an order's
// hash is EIP-712 over its fields with a derived salt. Every action is "make sure that": it looks, acts if it must, and
// looks again. The chain is the truth; the market is where orders are shown.
package iexec

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	"github.com/zclconf/go-cty/cty"
	"golang.org/x/sync/semaphore"

	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/chain"
	"github.com/iexecform/iexecform/providers/iexec/market"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/iexec/sms"
	"github.com/iexecform/iexecform/providers/oci"
)

// New makes the provider. Wallets are looked for in the environment of the process.
func New() providers.Provider { return NewIn(os.Getenv) }

// NewIn makes the provider with an environment of its own, because a process may take its secrets out of its environment.
func NewIn(getenv func(string) string) providers.Provider { return provider{getenv: getenv} }

type provider struct {
	getenv     func(string) string
	standIn    *StandIn // nil: the chains that are configured
	skipTrials bool
	noMarket   bool // plans take the state's word for what it shows
}

// A resourceType is one kind of object: its table and what is done with it.
type resourceType interface {
	table() *schema.Table
	read(ctx context.Context, c *client, reqs []providers.ReadRequest) []providers.ReadResult
	plan(ctx context.Context, c *client, reqs []providers.PlanRequest) []providers.PlanResult
}

// A dataType is one kind of data source.
type dataType interface {
	table() *schema.Table
	readData(ctx context.Context, c *client, req providers.DataRequest) (providers.DataResult, error)
}

// An actionFunc does an action of one kind.
type actionFunc func(ctx context.Context, c *client, req providers.DoRequest) (json.RawMessage, error)

// A checkFunc checks preconditions of one kind.
type checkFunc func(ctx context.Context, c *client, ps []providers.Precondition) []error

func resourceTypes() []resourceType {
	return []resourceType{appEntry, datasetEntry, workerpoolEntry, secret{}, account{}, appOrder, datasetOrder, workerpoolOrder, requestOrder}
}

func dataTypes() []dataType {
	return []dataType{entryData{appEntry}, entryData{datasetEntry}, entryData{workerpoolEntry}, chainData{}, orderData{}, bookData{}, accountData{}, categoryData{}, dealsData{}, txData{}}
}

func actions() map[string]actionFunc {
	return map[string]actionFunc{
		"resolve": doResolve, "deploy": doDeploy, "await": doDeploy, "transfer": doTransfer, "change-policy": doChangePolicy,
		"sign": doSign, "publish": doPublish, "unpublish": doUnpublish, "close": doClose, "push-secret": doPushSecret,
		"withdraw": doMove, "deposit": doMove, trialBlockName: doTrial,
	}
}

func checks() map[string]checkFunc {
	return map[string]checkFunc{oci.DigestPrecondition: checkDigest, "owner": checkOwner, "consumed": checkConsumed, "stake": checkStake, trialBlockName: checkTrialFiles}
}

// Schema implements providers.Provider.
func (provider) Schema() *providers.Schema { return tables() }

var tables = sync.OnceValue(func() *providers.Schema {
	s := &providers.Schema{
		Provider: providerTable(), Resources: map[string]*schema.Table{}, Data: map[string]*schema.Table{}, Functions: functions(),
	}
	for _, t := range resourceTypes() {
		table := t.table()
		s.Resources[table.Type] = table
	}
	for _, t := range dataTypes() {
		table := t.table()
		s.Data[table.Type] = table
	}
	return s
})

func providerTable() *schema.Table {
	return &schema.Table{
		Type: "iexec",
		Doc: "Apps and orders on one chain, for one wallet. Name a built-in `chain`, or give `chain_id`, `rpc_url`, `hub` and `market_url` " +
			"of another one; each of these also overrides the built-in value. Use several blocks with `alias` for several chains or wallets.\n\n" +
			"Planning needs the wallet's address only. The key is needed when something is signed: it comes from a keystore file " +
			"(password from `IEXECFORM_WALLET_PASSWORD`, `password_file`, or a hidden prompt), or from `IEXECFORM_PRIVATE_KEY` or the variable " +
			"that `private_key_env` names, or it stays with clef, which signs when its user agrees.",
		Example: "provider \"iexec\" {\n  chain = \"arbitrum-sepolia-testnet\"\n  wallet {\n    keystore = \"~/.ethereum/keystore\"\n    address  = \"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\"\n  }\n}\n",
		Attrs: []schema.Attr{
			choiceAttr(schema.Attr{Name: "chain", Mode: schema.Optional, Doc: "A built-in chain: `arbitrum-mainnet`, `arbitrum-sepolia-testnet` or `localnet`."},
				chainNames()...),
			uintAttr(schema.Attr{Name: "chain_id", Mode: schema.Optional, Doc: "Chain id (EIP-155) of a chain that isn't built in."}, 1),
			textAttr(schema.Attr{Name: "rpc_url", Mode: schema.Optional, Doc: "URL of an Ethereum JSON-RPC endpoint. One with an access key in it belongs into a sensitive variable."}),
			addressAttr(schema.Attr{Name: "hub", Mode: schema.Optional, Doc: "Address of the PoCo hub."}),
			textAttr(schema.Attr{Name: "market_url", Mode: schema.Optional, Doc: "Base URL of the market API."}),
			textAttr(schema.Attr{Name: "sms_url", Mode: schema.Optional, Doc: "Base URL of the secret management service."}),
			uintAttr(schema.Attr{Name: "max_open_orders", Mode: schema.Optional, Default: cty.NumberIntVal(maxOpenOrders),
				Doc: "How many open orders of each kind the market lets a wallet have. A plan that needs more is refused. Set it only for a market with another limit."}, 1),
			finalityAttr(schema.Attr{Name: "confirmations", Mode: schema.Optional, Default: cty.StringVal("1"), Doc: "When a transaction counts: after so many blocks, that with the transaction included, or " +
				"`latest` (the same as 1), or when its block is `safe` or `finalized` in the node's words."}),
			uintAttr(schema.Attr{Name: "max_fee_gwei", Mode: schema.Optional, Doc: "Highest fee per gas to offer, in gwei, also when a transaction that doesn't get on is sent again with a higher fee. " +
				"An action that needs more is held, not failed. Without it a fee is raised to no more than twice what the network recommends."}, 1),
			uintAttr(schema.Attr{Name: "resend_after", Mode: schema.Optional, Default: cty.NumberIntVal(15), Doc: "Seconds after which a transaction that doesn't get on is broadcast again; " +
				"with a fee at least 12.5 % higher if its fee is too low by now, or blocks go by without it."}, 1),
			uintAttr(schema.Attr{Name: "max_pending", Mode: schema.Optional, Doc: "Transactions of the wallet that may be under way, not yet mined, at a time. Default: 1, or 64 for a node on this machine. " +
				"More is faster where the node takes several pending transactions of one account."}, 1),
			{Name: "watch_tags", Type: cty.Bool, Mode: schema.Optional, Default: cty.True,
				Doc: "Whether a plan compares the tags of deployed apps with their checksums, and warns where somebody has pushed over a tag: then workers run something else than what was reviewed. " +
					"One request for each distinct image, all at the same time, beside the rest of planning. A registry that can't be reached is told of in a note, and not waited for. `--refresh=false` leaves it out too."},
		},
		Blocks: []schema.Block{{
			Name: "wallet",
			Doc:  "Whose apps and orders these are. Without it: the key in `IEXECFORM_PRIVATE_KEY`, or the only key of the default keystore directory, or, on `localnet`, the first development account.",
			Attrs: []schema.Attr{
				textAttr(schema.Attr{Name: "keystore", Mode: schema.Optional, Doc: "Keystore directory or file, as of geth and the official CLI. `~` is the home directory."}),
				addressAttr(schema.Attr{Name: "address", Mode: schema.Optional, Doc: "Address of the wallet. Enough to plan with."}),
				textAttr(schema.Attr{Name: "password_file", Mode: schema.Optional, Doc: "File whose first line is the password of the keystore file."}),
				textAttr(schema.Attr{Name: "private_key_env", Mode: schema.Optional,
					Doc: "Name of an environment variable with the private key as hex. With it, several provider blocks can have a key each; `IEXECFORM_PRIVATE_KEY` is ignored."}),
				textAttr(schema.Attr{Name: "clef", Mode: schema.Optional,
					Doc: "URL or socket of clef, go-ethereum's external signer, such as `http://127.0.0.1:8550` or `~/.clef/clef.ipc`. Needs `address`. " +
						"It is asked for each transaction, order and change on the market, which a rule file of clef can approve of; its HTTP server waits for its user for half a minute only, its socket has no limit. " +
						"What clef refuses to sign is held, and asked for again by the next apply."}),
			},
		}},
	}
}

func chainNames() []string {
	var names []string
	for _, c := range poco.Chains() {
		names = append(names, c.Name)
	}
	sort.Strings(names)
	return names
}

// client implements providers.Client for one provider configuration.
type client struct {
	poco.Chain
	chain     *chain.Client
	market    *market.Client
	sms       *sms.Client // see secrets
	images    *oci.Resolver
	wallet    *chain.Wallet // nil when there is none: walletErr says why
	walletErr error
	sender    *chain.Sender // nil without wallet
	maxFee    *big.Int      // gwei per gas; nil: no cap

	remembered  map[string]string // of the network, by the state
	inUse       bool              // the state has objects there
	reorganised string            // how the chain differs from what the state remembers, or ""
	identified  bool              // somebody has asked whether it does
	maxOpen     int               // orders of a kind on the market
	writes      atomic.Int64      // to the market, that are left to do
	project     string
	workspace   string
	dir         string // of the configuration

	standsIn   bool // for tests: the network stands in for another one
	skipTrials bool
	noMarket   bool                // plans take the state's word for what the market shows
	trials     *semaphore.Weighted // at the same time

	known map[string]resourceType
	data  map[string]dataType

	registries func(context.Context) ([]common.Address, error)                // of the hub, in order of poco.EntryKinds; read once
	pinned     func(context.Context) (chain.Head, error)                      // read once
	fees       func(context.Context) (chain.Fees, error)                      // read once
	supply     func(context.Context) ([]market.Row, error)                    // open workerpool orders of the market; read once
	left       func(context.Context) ([]chain.PendingTx, error)               // by interrupted runs; read once
	undone     func(context.Context) (map[addr.Instance][]undoneOrder, error) // read once

	mu        sync.Mutex
	owners    map[entryKey]common.Address      // of entries, as read or as planned in this run
	unborn    map[common.Address]bool          // entries that this run plans to deploy
	given     map[common.Address]bool          // entries that this run plans to transfer
	watch     *oci.Watch                       // of the tags of apps; nil when there are none to be watched
	pinnedTo  map[addr.Instance]pinnedImage    // apps that stay as they are; nil when nobody wants to know
	tried     map[common.Address]bool          // apps that this run plans to try
	contracts map[common.Address]bool          // accounts: whether they have code
	accounts  map[common.Address]addr.Instance // hub accounts: whose resource each is
	listings  map[string]listingFunc           // of the market, by kind and owner: read once
	signed    map[common.Hash]string           // signatures made in this run
	observed  map[addr.Instance][]*signed      // signed orders as read, or taken up, in this run
	strayed   map[common.Hash]stray            // open orders, about what is offered here, that were not among them when their kind was planned
	closed    map[common.Hash]*closedOrder     // that may be undone
	gas       map[string]uint64                // estimates by shape of the call

	fingerprints fingerprints
}

// Open implements providers.Provider. Nothing is sent or asked.
func (p provider) Open(ctx context.Context, req providers.OpenRequest) (providers.Client, error) {
	c := &client{
		project: req.Project, workspace: req.Workspace, dir: req.Dir, images: oci.NewLocked(req.Locked),
		standsIn: p.standIn != nil, skipTrials: p.skipTrials, noMarket: p.noMarket, trials: semaphore.NewWeighted(int64(runtime.NumCPU())), tried: map[common.Address]bool{},
		known: map[string]resourceType{}, data: map[string]dataType{},
		owners: map[entryKey]common.Address{}, unborn: map[common.Address]bool{}, given: map[common.Address]bool{}, contracts: map[common.Address]bool{}, accounts: map[common.Address]addr.Instance{}, listings: map[string]listingFunc{},
		signed: map[common.Hash]string{}, observed: map[addr.Instance][]*signed{}, strayed: map[common.Hash]stray{}, closed: map[common.Hash]*closedOrder{}, inUse: len(req.Expect) > 0, gas: map[string]uint64{},
	}
	for _, t := range resourceTypes() {
		c.known[t.table().Type] = t
	}
	for _, t := range dataTypes() {
		c.data[t.table().Type] = t
	}
	cfg := objectOf(req.Config)
	if watch := cfg.v.Attr("watch_tags"); !c.standsIn && (watch.IsNull() || watch.True()) {
		c.pinnedTo = map[addr.Instance]pinnedImage{}
	}
	if err := c.settle(cfg); err != nil {
		return nil, err
	}
	if p.standIn != nil {
		var err error
		if cfg, err = p.standIn.take(ctx, c, cfg); err != nil {
			return nil, err
		}
	}
	if req.Known["chain_id"] == strconv.FormatUint(c.ID, 10) && req.Known["hub"] == c.Hub.Hex() {
		c.remembered = req.Known
	}
	if req.CheckNetwork != nil {
		if err := req.CheckNetwork(map[string]string{"chain_id": strconv.FormatUint(c.ID, 10), "hub": c.Hub.Hex()}); err != nil {
			return nil, err
		}
	}
	var err error
	if c.chain, err = chain.Dial(ctx, c.RPC, chain.Options{}); err != nil {
		return nil, providers.At("rpc_url", err)
	}
	if c.market, err = market.New(c.Market, c.Domain(), market.Options{}); err != nil {
		return nil, providers.At("market_url", err)
	}
	c.maxOpen = maxOpenOrders
	if n := cfg.num("max_open_orders"); n != nil && n.IsInt64() {
		c.maxOpen = int(n.Int64())
	}
	if err := c.openWallet(cfg, req, p.getenv); err != nil {
		return nil, err
	}
	c.registries = once(c.readRegistries)
	c.pinned = once(func(ctx context.Context) (chain.Head, error) { return c.chain.Pin(ctx) })
	c.begin(ctx, req.Expect)
	c.fees = once(func(ctx context.Context) (chain.Fees, error) { return c.chain.GasPrice(ctx) })
	c.supply = once(c.readSupply)
	c.left = once(c.readLeft)
	c.undone = once(c.readUndone)
	return c, nil
}

// begin asks the market for its orders already while the state is being read, if the state has orders.
func (c *client) begin(ctx context.Context, types []string) {
	if c.wallet == nil || c.noMarket {
		return
	}
	for _, typ := range types {
		if o, ok := c.known[typ].(order); ok {
			go func() { _, _ = c.list(ctx, o.kind) }() // asked again where it matters
		}
	}
}

// settle works out the chain from the provider block.
func (c *client) settle(cfg object) error {
	if name := cfg.str("chain"); name != "" {
		c.Chain, _ = poco.ChainByName(name)
	}
	if id := cfg.num("chain_id"); id != nil {
		if c.ID != 0 && id.Uint64() != c.ID {
			return providers.At("chain_id", fmt.Errorf("chain %s has id %d, not %s: leave out one of chain and chain_id", c.Name, c.ID, id))
		}
		if builtin, ok := poco.ChainByID(id.Uint64()); ok && c.ID == 0 {
			c.Explorer = builtin.Explorer
		}
		c.ID = id.Uint64()
	}
	if hub := cfg.str("hub"); hub != "" {
		c.Hub = common.HexToAddress(hub)
	}
	for _, set := range []struct {
		field *string
		name  string
	}{{&c.RPC, "rpc_url"}, {&c.Market, "market_url"}, {&c.SMS, "sms_url"}} {
		if text := cfg.str(set.name); text != "" {
			*set.field = strings.TrimSuffix(text, "/")
		}
	}
	var missing []string
	for name, there := range map[string]bool{"chain_id": c.ID != 0, "rpc_url": c.RPC != "", "hub": c.Hub != common.Address{}, "market_url": c.Market != ""} {
		if !there {
			missing = append(missing, name)
		}
	}
	sort.Strings(missing)
	if len(missing) == 4 {
		return fmt.Errorf("no chain is chosen: write provider \"iexec\" { chain = \"%s\" }; built-in chains are %s", "arbitrum-sepolia-testnet", strings.Join(chainNames(), ", "))
	}
	if len(missing) > 0 {
		return fmt.Errorf("a chain that isn't built in also needs %s", strings.Join(missing, ", "))
	}
	return nil
}

func (c *client) openWallet(cfg object, req providers.OpenRequest, getenv func(string) string) error {
	var w object
	configured := !cfg.v.Attr("wallet").IsNull()
	wc := chain.WalletConfig{Dir: req.Dir}
	if configured {
		w = objectOf(cfg.v.Attr("wallet"))
		wc.Keystore, wc.Address, wc.PasswordFile = w.str("keystore"), w.str("address"), w.str("password_file")
		wc.KeyEnv, wc.Clef = w.str("private_key_env"), w.str("clef")
	}
	if c.wallet == nil && c.ID == poco.Localnet().ID && wc.Keystore+wc.KeyEnv+wc.Clef == "" && getenv(chain.EnvPrivateKey) == "" {
		for _, account := range poco.DevAccounts() {
			if wc.Address == "" || account.Address == common.HexToAddress(wc.Address) {
				c.wallet = chain.KeyWallet(account.Key)
				break
			}
		}
	}
	if c.wallet == nil {
		wallet, err := chain.OpenWallet(wc, getenv, req.Prompt)
		if err != nil && !errors.Is(err, chain.ErrNoWallet) {
			return providers.At("wallet", err)
		}
		if err != nil {
			c.walletErr = err // only what needs an address fails
			return nil
		}
		c.wallet = wallet
	}
	c.maxFee = cfg.num("max_fee_gwei")
	opts, err := senderOptions(cfg)
	if err == nil {
		c.sender = chain.NewSender(c.chain, c.wallet.Signer, c.wallet.Address(), opts, req.Pending)
	}
	return err
}

// pin makes all reads of a plan see one block.
func (c *client) pin(ctx context.Context) error {
	_, err := c.pinned(ctx)
	return err
}

// address is the wallet's.
func (c *client) address() (common.Address, error) {
	if c.wallet == nil {
		return common.Address{}, c.walletErr
	}
	return c.wallet.Address(), nil
}

// signer is the wallet's, unlocked. SIDE EFFECTS: it may ask for the password.
func (c *client) signer(ctx context.Context) (chain.Signer, error) {
	if c.wallet == nil {
		return nil, c.walletErr
	}
	return c.wallet.Signer(ctx)
}

// Close implements providers.Closer.
func (c *client) Close() error {
	var wallet error
	if c.wallet != nil {
		wallet = c.wallet.Close()
	}
	c.stopWatching()
	return errors.Join(c.chain.Close(), c.market.Close(), wallet)
}

// Identity implements providers.Identified. It also refuses an endpoint of another chain than configured.
func (c *client) Identity(ctx context.Context) (map[string]string, error) {
	var id *big.Int
	var genesis common.Hash
	var idErr, genesisErr, hubErr error
	parallel(3, 3, func(i int) {
		switch i {
		case 0:
			id, idErr = c.chain.ChainID(ctx)
		case 1:
			genesis, genesisErr = c.readGenesis(ctx)
		case 2:
			_, hubErr = c.registries(ctx)
		}
	})
	if idErr != nil {
		return nil, idErr
	}
	if !id.IsUint64() || id.Uint64() != c.ID { // then the hub isn't there, either
		return nil, fmt.Errorf("the RPC endpoint %s is of chain %s, but the provider is configured for chain %d: correct rpc_url or chain", c.chain.URL(), id, c.ID)
	}
	if err := cmp.Or(genesisErr, hubErr); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.identified = true
	c.mu.Unlock()
	return map[string]string{"chain_id": strconv.FormatUint(c.ID, 10), "hub": c.Hub.Hex(), "genesis": genesis.Hex()}, nil
}

// Read implements providers.Client.
func (c *client) Read(ctx context.Context, reqs []providers.ReadRequest) []providers.ReadResult {
	if len(reqs) == 0 {
		return nil
	}
	return c.known[reqs[0].Addr.Resource.Type].read(ctx, c, reqs)
}

// Plan implements providers.Client.
func (c *client) Plan(ctx context.Context, reqs []providers.PlanRequest) []providers.PlanResult {
	return byType(false, reqs, func(r providers.PlanRequest) string { return r.Addr.Resource.Type },
		func(typ string, part []providers.PlanRequest) []providers.PlanResult {
			return c.known[typ].plan(ctx, c, part)
		})
}

// byType hands each type's part of a batch to do: side by side, or in order of the types' names, so that apps come before
// their orders.
func byType[Q, R any](sideBySide bool, reqs []Q, typeOf func(Q) string, do func(string, []Q) []R) []R {
	if len(reqs) > 0 && !slices.ContainsFunc(reqs, func(r Q) bool { return typeOf(r) != typeOf(reqs[0]) }) {
		return do(typeOf(reqs[0]), reqs)
	}
	parts := map[string][]int{}
	for i, r := range reqs {
		parts[typeOf(r)] = append(parts[typeOf(r)], i)
	}
	types := slices.Sorted(maps.Keys(parts))
	results := make([]R, len(reqs))
	limit := 1
	if sideBySide {
		limit = len(types)
	}
	parallel(len(types), limit, func(n int) {
		indexes := parts[types[n]]
		part := make([]Q, len(indexes))
		for k, i := range indexes {
			part[k] = reqs[i]
		}
		for k, r := range do(types[n], part) {
			results[indexes[k]] = r
		}
	})
	return results
}

// ReadData implements providers.Client.
func (c *client) ReadData(ctx context.Context, req providers.DataRequest) (providers.DataResult, error) {
	return c.data[req.Addr.Resource.Type].readData(ctx, c, req)
}

// Check implements providers.Client.
func (c *client) Check(ctx context.Context, ps []providers.Precondition) []error {
	c.chain.Unpin()
	return byType(true, ps, func(p providers.Precondition) string { return p.Kind }, func(kind string, part []providers.Precondition) []error {
		check := checks()[kind]
		if check == nil {
			errs := make([]error, len(part))
			for i := range errs {
				errs[i] = fmt.Errorf("precondition of unknown kind %q: the plan was made by another version", kind)
			}
			return errs
		}
		return check(ctx, c, part)
	})
}

// Do implements providers.Client.
func (c *client) Do(ctx context.Context, req providers.DoRequest) (json.RawMessage, error) {
	do := actions()[req.Action.Kind]
	if do == nil {
		return nil, fmt.Errorf("action of unknown kind %q: the plan was made by another version", req.Action.Kind)
	}
	return do(ctx, c, req)
}

// Ready implements providers.Readier: it looks for the container engine, unlocks the key, and looks whether the wallet has the gas.
func (c *client) Ready(ctx context.Context, actions []providers.Action) error {
	if err := c.readyForTrials(ctx, actions); err != nil {
		return err
	}
	c.writes.Store(int64(writesOf(actions)))
	if !slices.ContainsFunc(actions, func(a providers.Action) bool { return a.Cost.Gas > 0 || a.Cost.Signatures > 0 }) {
		return nil
	}
	if _, err := c.signer(ctx); err != nil {
		return err
	}
	lack, err := c.lackOfGas(ctx, actions)
	if err == nil && lack != "" {
		err = &chain.FundsError{Lack: lack}
	}
	return err
}

// lackOfGas says that the wallet can't pay for the actions' transactions, or "".
func (c *client) lackOfGas(ctx context.Context, actions []providers.Action) (string, error) {
	fee := new(big.Int)
	for _, a := range actions {
		if f, ok := new(big.Int).SetString(a.Cost.Fee, 10); ok {
			fee.Add(fee, f)
		}
	}
	if fee.Sign() == 0 {
		return "", nil
	}
	wallet, err := c.address()
	if err != nil {
		return "", err
	}
	balance, err := c.chain.Balance(ctx, wallet)
	if err != nil || balance.Cmp(fee) >= 0 {
		return "", err
	}
	return fmt.Sprintf("wallet %s has %s ETH and the plan's transactions need about %s ETH for gas: send it some", wallet, ether(balance), ether(fee)), nil
}

// Link implements providers.Linker.
func (c *client) Link(typ string, value schema.Object) string {
	if c.Explorer == "" || value.IsNull() {
		return ""
	}
	switch typ {
	case "iexec_app", "iexec_dataset", "iexec_workerpool":
		return c.Explorer + "/" + strings.TrimPrefix(typ, "iexec_") + "/" + object{value}.str("address")
	case "iexec_apporder", "iexec_datasetorder", "iexec_workerpoolorder": // it has no page of requests
		if hash := (object{value}).str("order_hash"); hash != "" {
			return c.Explorer + "/access/" + strings.TrimSuffix(strings.TrimPrefix(typ, "iexec_"), "order") + "/" + hash
		}
	}
	return ""
}

// cost is that of a transaction.
func (c *client) cost(ctx context.Context, gas uint64) providers.Cost {
	cost := providers.Cost{Gas: gas, Signatures: 0}
	if fees, err := c.fees(ctx); err == nil {
		price := fees.Base
		if price == nil {
			price = fees.Cap
		} else {
			price = new(big.Int).Add(price, fees.Tip)
		}
		cost.Fee = new(big.Int).Mul(price, new(big.Int).SetUint64(gas)).String()
		if c.sender != nil {
			cost.FeeMax = c.sender.MostFee(gas, fees).String()
		}
	}
	return cost
}

// estimate is the gas of a call; calls of one shape are estimated once. Where the node can't tell, it is the fallback.
func (c *client) estimate(ctx context.Context, shape string, msg chain.Msg, fallback uint64) uint64 {
	c.mu.Lock()
	gas, ok := c.gas[shape]
	c.mu.Unlock()
	if ok {
		return gas
	}
	gas = fallback
	if estimates, errs := c.chain.EstimateGas(ctx, []chain.Msg{msg}); errs[0] == nil {
		gas = estimates[0]
	}
	c.mu.Lock()
	c.gas[shape] = gas
	c.mu.Unlock()
	return gas
}

func ether(wei *big.Int) string {
	text := new(big.Float).Quo(new(big.Float).SetInt(wei), big.NewFloat(1e18)).Text('f', 9)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// once makes f run until it succeeds; then its result is kept.
func once[T any](f func(context.Context) (T, error)) func(context.Context) (T, error) {
	var mu sync.Mutex
	var done bool
	var value T
	return func(ctx context.Context) (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if done {
			return value, nil
		}
		v, err := f(ctx)
		if err == nil {
			value, done = v, true
		}
		return v, err
	}
}

// pack drops the error of packing arguments whose types are fixed in the source.
func pack(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

func marshal(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // only types of this package, which can all be written
	}
	return raw
}

func unmarshal(a providers.Action, into any) error {
	if err := json.Unmarshal(a.Payload, into); err != nil {
		return fmt.Errorf("payload of action %d: %w", a.ID, err)
	}
	return nil
}

func fail[R any](n int, one R) []R {
	all := make([]R, n)
	for i := range all {
		all[i] = one
	}
	return all
}

var (
	_ providers.Client     = (*client)(nil)
	_ providers.Identified = (*client)(nil)
	_ providers.Readier    = (*client)(nil)
	_ providers.Linker     = (*client)(nil)
	_ providers.Watcher    = (*client)(nil)
	_ providers.Closer     = (*client)(nil)
)
