package orderbook

import (
	"context"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// watch follows the chain until Close.
func (s *Server) watch(wake <-chan struct{}) {
	defer close(s.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case <-s.stop:
			return
		case <-wake:
			if err := s.follow(ctx); err != nil {
				s.config.Log.Error("market watcher", "error", err)
			}
		}
	}
}

// follow brings the book from its last block to the head of the chain. A chain that is shorter than the book remembers
// (it was killed before its last blocks were on disk) is followed from its head.
func (s *Server) follow(ctx context.Context) error {
	s.mu.RLock()
	next := min(s.book.lastBlock, s.config.Chain.Head()) + 1
	s.mu.RUnlock()
	for ; next <= s.config.Chain.Head(); next++ {
		seconds, logs, err := s.config.Chain.Block(next)
		if err != nil {
			return fmt.Errorf("follow the chain: %w", err)
		}
		if err := s.apply(ctx, next, seconds, logs); err != nil {
			return fmt.Errorf("follow the chain: block %d: %w", next, err)
		}
	}
	return nil
}

// apply takes over what a block's logs say of orders. The book is locked all the while, so that the journal tells of
// changes in the order in which they were made.
func (s *Server) apply(ctx context.Context, number, seconds uint64, logs []*types.Log) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	hub := poco.HubABI()
	closed := map[common.Hash]bool{}
	for _, k := range poco.Kinds() {
		closed[hub.Events[k.ClosedEvent()].ID] = true
	}
	transfer := poco.RegistryABI().Events["Transfer"].ID // the hub's Transfer of stake has the same topic
	var lines []line
	for _, log := range logs {
		if len(log.Topics) == 0 {
			continue
		}
		topic := log.Topics[0]
		switch {
		case log.Address == s.config.Domain.Hub && closed[topic] && len(log.Data) >= 32:
			lines = append(lines, s.orderClosed(common.BytesToHash(log.Data[:32]))...)
		case log.Address == s.config.Domain.Hub && topic == hub.Events["OrdersMatched"].ID:
			more, err := s.ordersMatched(ctx, log, seconds)
			if err != nil {
				return err
			}
			lines = append(lines, more...)
		case log.Address == s.config.Domain.Hub && topic == transfer && len(log.Topics) == 3:
			more, err := s.stakeLost(ctx, common.BytesToAddress(log.Topics[1][:]))
			if err != nil {
				return err
			}
			lines = append(lines, more...)
		case topic == transfer && len(log.Topics) == 4:
			for k, registry := range s.config.Registries {
				if log.Address == registry {
					lines = append(lines, s.transferred(k, log.Topics[3], log.Topics[2])...)
				}
			}
		}
	}
	s.book.lastBlock = number
	return s.journal.append(append(lines, line{Block: &number})...)
}

func (s *Server) orderClosed(hash common.Hash) []line {
	r := s.book.records[hash]
	if r == nil {
		return nil
	}
	lines := []line{s.setStatus(r, statusCanceled, 0)}
	return append(lines, s.sweepRequests(r.kind, r.order[r.kind.Resource])...)
}

func (s *Server) ordersMatched(ctx context.Context, log *types.Log, seconds uint64) ([]line, error) {
	var e ordersMatched
	if err := poco.HubABI().UnpackIntoInterface(&e, "OrdersMatched", log.Data); err != nil {
		return nil, err
	}
	hub := s.config.Domain.Hub
	hashes := []common.Hash{e.AppHash, e.DatasetHash, e.WorkerpoolHash, e.RequestHash}
	data, err := poco.HubABI().Pack("viewDeal", e.Dealid)
	if err != nil {
		return nil, err
	}
	calls := []poco.Call{{Target: hub, CallData: data}}
	for _, hash := range hashes {
		if data, err = poco.HubABI().Pack("viewConsumed", hash); err != nil {
			return nil, err
		}
		calls = append(calls, poco.Call{Target: hub, CallData: data})
	}
	results, err := s.config.Chain.Call(ctx, calls...)
	if err != nil {
		return nil, err
	}
	d, err := newDeal(s.book.chainID, e, results[0].ReturnData, log, seconds)
	if err != nil {
		return nil, err
	}
	s.book.addDeal(d)
	lines := []line{{Deal: d}}
	for i, hash := range hashes {
		r := s.book.records[hash]
		if r == nil {
			continue
		}
		lines = append(lines, s.consume(r, new(big.Int).SetBytes(results[i+1].ReturnData)))
		if s.book.records[hash].status != statusOpen {
			lines = append(lines, s.sweepRequests(r.kind, r.order[r.kind.Resource])...)
		}
	}
	return lines, nil
}

// transferred marks dead the open orders for a resource that its new owner hasn't signed.
func (s *Server) transferred(k *poco.Kind, token, to common.Hash) (lines []line) {
	resource, owner := common.BytesToAddress(token[:]).Hex(), common.BytesToAddress(to[:])
	for _, r := range slices.Clone(s.book.open[key{k, k.Resource, resource}]) {
		if r.signer != owner {
			lines = append(lines, s.setStatus(r, statusDead, r.remaining))
		}
	}
	if len(lines) > 0 {
		lines = append(lines, s.sweepRequests(k, resource)...)
	}
	return lines
}

// stakeLost marks dead the open orders that the account's stake doesn't cover any more.
func (s *Server) stakeLost(ctx context.Context, account common.Address) (lines []line, err error) {
	data, err := poco.HubABI().Pack("viewAccount", account)
	if err != nil {
		return nil, err
	}
	var found []*record
	for _, k := range []*poco.Kind{poco.WorkerpoolOrder, poco.RequestOrder} {
		found = append(found, s.book.open[key{k, "signer", account.Hex()}]...)
	}
	if len(found) == 0 {
		return nil, nil
	}
	results, err := s.config.Chain.Call(ctx, poco.Call{Target: s.config.Domain.Hub, CallData: data})
	if err != nil {
		return nil, err
	}
	if len(results[0].ReturnData) < 32 {
		return nil, fmt.Errorf("read the stake of %s: the hub's answer is too short", account)
	}
	stake := new(big.Int).SetBytes(results[0].ReturnData[:32])
	for _, r := range found {
		if checkStake(r.kind, r.order, r.remaining, stake) != nil {
			lines = append(lines, s.setStatus(r, statusDead, r.remaining))
		}
	}
	return lines, nil
}
