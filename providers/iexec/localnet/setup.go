package localnet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// The setup is the first transactions of the first development account, always the same ones in the same order. So the
// contracts always have the same addresses, and a chain whose account has sent fewer of them gets the rest.
//
// Its order is that of a deployment of PoCo: token, library, diamond with its three facets, ten more facets, registries,
// configuration, categories; then RLC for the other development accounts.

const (
	setupLength = 48
	// setupDigest is the SHA-256 over receivers and data of the setup.
	setupDigest = "d384ae5e6fae6f5afcbae02acdcd4a60216821319f4daa143fb1f17171e151d0"
	// initialRLC is what each of the accounts 1 to 9 gets, in nRLC; account 0 owns the rest of the 87 million.
	initialRLC = 10_000 * 1_000_000_000
)

// addresses of what the setup deploys. Hub and token are those of poco.Localnet.
type addresses struct {
	hub, token                                       common.Address
	appRegistry, datasetRegistry, workerpoolRegistry common.Address
}

func localAddresses() addresses {
	local := poco.Localnet()
	deployer := poco.DevAccounts()[0].Address
	return addresses{
		hub: local.Hub, token: local.Token,
		appRegistry:        crypto.CreateAddress(deployer, 27),
		datasetRegistry:    crypto.CreateAddress(deployer, 28),
		workerpoolRegistry: crypto.CreateAddress(deployer, 29),
	}
}

// step is one transaction of the setup: a call, or with to nil a deployment.
type step struct {
	to   *common.Address
	data []byte
}

// facetCut is the diamond's struct of that name.
type facetCut struct {
	FacetAddress      common.Address
	Action            uint8 // 0 adds
	FunctionSelectors [][4]byte
}

// setupSteps builds the setup from the package.
func setupSteps(read contracts) ([]step, error) {
	b := builder{read: read, deployer: poco.DevAccounts()[0].Address}
	at := localAddresses()

	token := b.deploy("deployments/arbitrumSepolia/RLC.json")
	b.library = b.deploy("artifacts/contracts/libs/IexecLibOrders_v5.sol/IexecLibOrders_v5.json")
	init := b.deploy("deployments/arbitrumSepolia/DiamondInit.json")
	var cuts []facetCut
	var cutter abi.ABI
	for _, name := range []string{"DiamondCutFacet", "DiamondLoupeFacet", "OwnershipFacet"} {
		file := "deployments/arbitrumSepolia/" + name + ".json"
		cuts = append(cuts, facetCut{FacetAddress: b.deploy(file), FunctionSelectors: selectors(b.abi())})
		if name == "DiamondCutFacet" {
			cutter = b.abi()
		}
	}
	hub := b.deploy("artifacts/contracts/Diamond.sol/Diamond.json", cuts, struct {
		Owner, Init  common.Address
		InitCalldata []byte
	}{b.deployer, init, crypto.Keccak256([]byte("init()"))[:4]})
	if b.err == nil && (hub != at.hub || token != at.token) {
		return nil, fmt.Errorf("the hub comes to %s and the token to %s, want %s and %s", hub, token, at.hub, at.token)
	}

	for _, name := range []string{
		"IexecAccessorsABILegacyFacet", "IexecCategoryManagerFacet", "IexecConfigurationExtraFacet", "IexecConfigurationFacet",
		"IexecEscrowTokenFacet", "IexecOrderManagementFacet", "IexecPoco1Facet", "IexecPoco2Facet", "IexecPocoAccessorsFacet",
		"IexecRelayFacet",
	} {
		facet := b.deploy("artifacts/contracts/facets/" + name + ".sol/" + name + ".json")
		cut := facetCut{FacetAddress: facet, FunctionSelectors: selectors(b.abi())}
		b.call(hub, cutter, "diamondCut", []facetCut{cut}, common.Address{}, []byte{})
	}

	registries := map[string]common.Address{"App": at.appRegistry, "Dataset": at.datasetRegistry, "Workerpool": at.workerpoolRegistry}
	for _, name := range []string{"App", "Dataset", "Workerpool"} {
		dir := map[string]string{"App": "apps", "Dataset": "datasets", "Workerpool": "workerpools"}[name]
		got := b.deploy("artifacts/contracts/registries/" + dir + "/" + name + "Registry.sol/" + name + "Registry.json")
		if b.err == nil && got != registries[name] {
			return nil, fmt.Errorf("the %s registry comes to %s, want %s", name, got, registries[name])
		}
	}
	for _, registry := range []common.Address{at.appRegistry, at.datasetRegistry, at.workerpoolRegistry} {
		b.call(registry, *poco.RegistryABI(), "initialize", common.Address{})
	}
	b.call(hub, *poco.HubABI(), "configure", token, "Staked RLC", "SRLC", uint8(9),
		at.appRegistry, at.datasetRegistry, at.workerpoolRegistry, common.Address{})
	for _, c := range []struct {
		name    string
		seconds int64
	}{{"XS", 300}, {"S", 1200}, {"M", 3600}, {"L", 10800}, {"XL", 36000}} {
		b.call(hub, *poco.HubABI(), "createCategory", c.name, "{}", big.NewInt(c.seconds))
	}
	for _, a := range poco.DevAccounts()[1:] {
		b.call(token, *poco.TokenABI(), "transfer", a.Address, big.NewInt(initialRLC))
	}
	if b.err != nil {
		return nil, b.err
	}

	digest := sha256.New()
	for _, s := range b.steps {
		if s.to != nil {
			digest.Write(s.to[:])
		}
		sum := sha256.Sum256(s.data)
		digest.Write(sum[:])
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != setupDigest || len(b.steps) != setupLength {
		return nil, fmt.Errorf("the contracts are not those of %s: deploying them takes %d transactions with digest %s, want %d with %s",
			packageSpec, len(b.steps), got, setupLength, setupDigest)
	}
	return b.steps, nil
}

// builder collects steps; after the first error it does nothing.
type builder struct {
	read     contracts
	deployer common.Address
	library  common.Address
	last     artifact // of the latest deploy
	steps    []step
	err      error
}

// deploy adds a deployment and returns its address.
func (b *builder) deploy(file string, args ...any) common.Address {
	address := crypto.CreateAddress(b.deployer, uint64(len(b.steps)))
	if b.err != nil {
		return address
	}
	if b.last, b.err = b.read.read(file); b.err != nil {
		return address
	}
	code := b.last.code(b.library)
	if len(args) > 0 {
		packed, err := b.abi().Pack("", args...)
		if err != nil {
			b.err = fmt.Errorf("pack the constructor of %s: %w", file, err)
			return address
		}
		code = append(code, packed...)
	}
	b.steps = append(b.steps, step{data: code})
	return address
}

// abi parses the interface of the latest deployed contract.
func (b *builder) abi() abi.ABI {
	if b.err != nil {
		return abi.ABI{}
	}
	parsed, err := abi.JSON(bytes.NewReader(b.last.ABI))
	if err != nil {
		b.err = fmt.Errorf("read the interface of a contract of %s: %w", packageSpec, err)
	}
	return parsed
}

// call adds a call.
func (b *builder) call(to common.Address, contract abi.ABI, method string, args ...any) {
	if b.err != nil {
		return
	}
	data, err := contract.Pack(method, args...)
	if err != nil {
		b.err = fmt.Errorf("pack %s: %w", method, err)
		return
	}
	b.steps = append(b.steps, step{to: &to, data: data})
}

// selectors returns those of all functions, sorted, and of receive and fallback as the diamond knows them.
func selectors(contract abi.ABI) (out [][4]byte) {
	for _, m := range contract.Methods {
		out = append(out, [4]byte(m.ID))
	}
	if contract.HasReceive() {
		out = append(out, [4]byte{})
	}
	if contract.HasFallback() {
		out = append(out, [4]byte{0xff, 0xff, 0xff, 0xff})
	}
	slices.SortFunc(out, func(x, y [4]byte) int { return bytes.Compare(x[:], y[:]) })
	return out
}

// setup brings a chain to where the contracts are deployed, and checks that they are what the protocol expects. mine makes
// blocks of what was sent, where the chain doesn't do so by itself. SIDE EFFECTS: on a fresh chain, openContracts's, and new
// blocks.
func setup(ctx context.Context, client *rpc.Client, contractsDir string, mine func()) error {
	deployer := poco.DevAccounts()[0]
	sent, err := ethclient.NewClient(client).NonceAt(ctx, deployer.Address, nil)
	if err != nil {
		return fmt.Errorf("look for the contracts: %w", err)
	}
	if sent < setupLength {
		read, err := openContracts(ctx, contractsDir)
		if err != nil {
			return err
		}
		steps, err := setupSteps(read)
		if err != nil {
			return fmt.Errorf("prepare the contracts: %w", err)
		}
		if err := send(ctx, client, deployer, sent, steps[sent:], mine); err != nil {
			return fmt.Errorf("deploy the contracts: %w", err)
		}
	}

	at := localAddresses()
	results, err := call(ctx, client,
		poco.Call{Target: at.hub, CallData: poco.HubABI().Methods["eip712domain_separator"].ID},
		poco.Call{Target: at.appRegistry, CallData: poco.RegistryABI().Methods["proxyCodeHash"].ID})
	if err != nil {
		return fmt.Errorf("check the contracts: %w", err)
	}
	if got, want := results[0].ReturnData, poco.Localnet().Domain().Separator(); !bytes.Equal(got, want[:]) {
		return fmt.Errorf("check the hub at %s: its domain separator is %x, want %x", at.hub, got, want)
	}
	if got, want := results[1].ReturnData, poco.ProxyCodeHash(); !bytes.Equal(got, want[:]) {
		return fmt.Errorf("check the app registry at %s: its proxyCodeHash is %x, want %x", at.appRegistry, got, want)
	}
	return nil
}

// send puts the steps into blocks, from the account's nonce on, and checks that none reverted.
func send(ctx context.Context, client *rpc.Client, from poco.Account, nonce uint64, steps []step, mine func()) error {
	chainID := new(big.Int).SetUint64(poco.Localnet().ID)
	sending, looking := make([]rpc.BatchElem, len(steps)), make([]rpc.BatchElem, len(steps))
	receipts := make([]*types.Receipt, len(steps))
	for i, s := range steps {
		tx, err := types.SignNewTx(from.Key, types.LatestSignerForChainID(chainID), &types.DynamicFeeTx{
			ChainID: chainID, Nonce: nonce + uint64(i), To: s.to, Data: s.data,
			Gas: 10_000_000, GasTipCap: big.NewInt(1), GasFeeCap: big.NewInt(10_000_000_000),
		})
		if err != nil {
			return err
		}
		raw, err := tx.MarshalBinary()
		if err != nil {
			return err
		}
		sending[i] = rpc.BatchElem{Method: "eth_sendRawTransaction", Args: []any{hexutil.Bytes(raw)}, Result: new(common.Hash)}
		looking[i] = rpc.BatchElem{Method: "eth_getTransactionReceipt", Args: []any{tx.Hash()}, Result: &receipts[i]}
	}
	if err := batch(ctx, client, sending); err != nil {
		return err
	}
	for range 10 { // a machine that is busy makes blocks with less in them than there is, or nothing
		mine()
		if err := batch(ctx, client, looking); err != nil {
			return err
		}
		if !slices.Contains(receipts, nil) {
			break
		}
	}
	for i, r := range receipts {
		if r == nil {
			return fmt.Errorf("transaction %d was not mined", nonce+uint64(i))
		}
		if r.Status != types.ReceiptStatusSuccessful {
			return fmt.Errorf("transaction %d reverted", nonce+uint64(i))
		}
	}
	return nil
}

// batch makes calls that must all succeed, in requests of moderate size.
func batch(ctx context.Context, client *rpc.Client, calls []rpc.BatchElem) error {
	for part := range slices.Chunk(calls, 16) {
		if err := client.BatchCallContext(ctx, part); err != nil {
			return err
		}
		for _, e := range part {
			if e.Error != nil {
				return e.Error
			}
		}
	}
	return nil
}
