package orderbook

import (
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// deal is a match of orders, as the market answers it.
type deal struct {
	ID                   common.Hash  `json:"dealid"`
	ChainID              uint64       `json:"chainId"`
	App                  dealResource `json:"app"`
	Dataset              dealResource `json:"dataset"`
	Workerpool           dealResource `json:"workerpool"`
	Requester            checksummed  `json:"requester"`
	Beneficiary          checksummed  `json:"beneficiary"`
	Callback             checksummed  `json:"callback"`
	AppHash              common.Hash  `json:"appHash"`
	DatasetHash          common.Hash  `json:"datasetHash"`
	WorkerpoolHash       common.Hash  `json:"workerpoolHash"`
	RequestHash          common.Hash  `json:"requestHash"`
	Params               string       `json:"params"`
	Volume               *big.Int     `json:"volume"`
	Category             *big.Int     `json:"category"`
	Tag                  common.Hash  `json:"tag"`
	Trust                *big.Int     `json:"trust"`
	StartTime            *big.Int     `json:"startTime"`
	BotFirst             *big.Int     `json:"botFirst"`
	BotSize              *big.Int     `json:"botSize"`
	SchedulerRewardRatio *big.Int     `json:"schedulerRewardRatio"`
	WorkerStake          *big.Int     `json:"workerStake"`
	BlockNumber          uint64       `json:"blockNumber"`
	BlockTimestamp       string       `json:"blockTimestamp"`
	TransactionHash      common.Hash  `json:"transactionHash"`
}

type dealResource struct {
	Pointer checksummed `json:"pointer"`
	Owner   checksummed `json:"owner"`
	Price   *big.Int    `json:"price"`
}

// checksummed is an address that JSON shows in EIP-55 form.
type checksummed struct{ common.Address }

func (a checksummed) MarshalText() ([]byte, error) { return []byte(a.Hex()), nil }

func (b *book) addDeal(d *deal) {
	if b.dealsByID[d.ID] == nil {
		b.dealsByID[d.ID] = d
		b.deals = append(b.deals, d)
	}
}

// ordersMatched is the hub's event of that name.
type ordersMatched struct {
	Dealid, AppHash, DatasetHash, WorkerpoolHash, RequestHash [32]byte
	Volume                                                    *big.Int
}

// dealView is the hub's answer to viewDeal.
type dealView struct {
	App, Dataset, Workerpool                                        resourceView
	Trust, Category                                                 *big.Int
	Tag                                                             [32]byte
	Requester, Beneficiary, Callback                                common.Address
	Params                                                          string
	StartTime, BotFirst, BotSize, WorkerStake, SchedulerRewardRatio *big.Int
	Sponsor                                                         common.Address
}

type resourceView struct {
	Pointer, Owner common.Address
	Price          *big.Int
}

// newDeal puts together the event and the hub's answer to viewDeal.
func newDeal(chainID uint64, e ordersMatched, viewDeal []byte, log *types.Log, seconds uint64) (*deal, error) {
	out, err := poco.HubABI().Unpack("viewDeal", viewDeal)
	if err != nil {
		return nil, fmt.Errorf("read deal %x: %w", e.Dealid, err)
	}
	view := abi.ConvertType(out[0], new(dealView)).(*dealView)
	shown := func(r resourceView) dealResource {
		return dealResource{checksummed{r.Pointer}, checksummed{r.Owner}, r.Price}
	}
	return &deal{
		ID: e.Dealid, ChainID: chainID,
		App: shown(view.App), Dataset: shown(view.Dataset), Workerpool: shown(view.Workerpool),
		Requester: checksummed{view.Requester}, Beneficiary: checksummed{view.Beneficiary}, Callback: checksummed{view.Callback},
		AppHash: e.AppHash, DatasetHash: e.DatasetHash, WorkerpoolHash: e.WorkerpoolHash, RequestHash: e.RequestHash,
		Params: view.Params, Volume: e.Volume, Category: view.Category, Tag: view.Tag, Trust: view.Trust,
		StartTime: view.StartTime, BotFirst: view.BotFirst, BotSize: view.BotSize,
		SchedulerRewardRatio: view.SchedulerRewardRatio, WorkerStake: view.WorkerStake,
		BlockNumber: log.BlockNumber, BlockTimestamp: timestamp(int64(seconds) * 1000), TransactionHash: log.TxHash, //nolint:gosec // the time of a block
	}, nil
}
