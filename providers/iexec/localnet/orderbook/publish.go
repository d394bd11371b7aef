package orderbook

import (
	"context"
	"encoding/hex"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"

	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// publish checks an order in the market's own order of checks and keeps it. The book is locked from the first look at the
// chain on: what the chain does later, the watcher applies later, so nothing is missed in between.
func (s *Server) publish(ctx context.Context, k *poco.Kind, body any, wallet common.Address) (answer, error) {
	order, sign, err := validateOrder(k, body)
	if err != nil {
		return nil, err
	}
	hash, err := s.config.Domain.OrderHash(k, order)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.book.records[hash]
	if old != nil && old.status != statusDead {
		return nil, refused("order already published")
	}
	seen, err := s.look(ctx, k, order, hash, sign, wallet)
	if err != nil {
		return nil, err
	}
	if err := seen.check(wallet); err != nil {
		return nil, err
	}
	if limit := s.config.MaxOpenOrders; limit > 0 && len(s.book.open[key{k, "signer", wallet.Hex()}]) >= limit {
		return nil, refused("maximum of %d published open %s has been reached for wallet %s", limit, k.Noun, wallet)
	}
	remaining := remainingVolume(order, seen.consumed)
	if remaining == 0 {
		return nil, refused("order already consumed")
	}
	if err := checkStake(k, order, remaining, seen.stake); err != nil {
		return nil, err
	}
	if k == poco.RequestOrder {
		if why := s.book.unmatchable(order); why != "" {
			return nil, refused("%s", why)
		}
	}
	r := record{kind: k, hash: hash, order: order, sign: sign, signer: wallet, published: time.Now().UnixMilli()}
	if old != nil {
		r = *old // a dead order comes back as it was: old sign, old signer, old time
	}
	r.status, r.remaining = statusOpen, remaining
	stored := s.book.put(r)
	if err := s.journal.append(line{Put: stored.stored()}); err != nil {
		return nil, err
	}
	return object("ok", true, "published", answer(stored.text)), nil
}

// unmatchable says why a request can't be matched with what is published, or "".
func (b *book) unmatchable(request poco.Order) string {
	if why := b.matchable(poco.AppOrder, request); why != "" {
		return why
	}
	if request["dataset"] == zeroAddress {
		return ""
	}
	return b.matchable(poco.DatasetOrder, request)
}

// sight is what the chain says of an order that a wallet wants to publish.
type sight struct {
	registered bool
	owner      common.Address // of the resource; for a request, the requester
	verified   *bool          // whether the wallet has signed; nil if the chain can't tell from a sign of that form
	consumed   *big.Int
	stake      *big.Int // of the wallet, nRLC
}

// look asks the chain everything at once.
func (s *Server) look(ctx context.Context, k *poco.Kind, order poco.Order, hash common.Hash, sign string, wallet common.Address) (sight, error) {
	resource := common.HexToAddress(order[k.Resource])
	signature, signErr := hex.DecodeString(strings.TrimPrefix(sign, "0x"))
	hub, registry := s.config.Domain.Hub, s.config.Registries[k]
	var calls []poco.Call
	for _, c := range []struct {
		target common.Address
		abi    *abi.ABI
		method string
		args   []any
	}{
		{hub, poco.HubABI(), "viewConsumed", []any{hash}},
		{hub, poco.HubABI(), "viewAccount", []any{wallet}},
		{hub, poco.HubABI(), "verifySignature", []any{wallet, hash, signature}},
		{registry, poco.RegistryABI(), "isRegistered", []any{resource}},
		{registry, poco.RegistryABI(), "ownerOf", []any{poco.TokenID(resource)}},
	} {
		data, err := c.abi.Pack(c.method, c.args...)
		if err != nil {
			return sight{}, err
		}
		calls = append(calls, poco.Call{Target: c.target, CallData: data})
	}
	if k == poco.RequestOrder {
		calls = calls[:3]
	}
	results, err := s.config.Chain.Call(ctx, calls...)
	if err != nil || !results[0].Success || !results[1].Success || len(results[1].ReturnData) < 32 {
		return sight{}, errChain
	}
	seen := sight{
		registered: true, owner: resource,
		consumed: new(big.Int).SetBytes(results[0].ReturnData), stake: new(big.Int).SetBytes(results[1].ReturnData[:32]),
	}
	if signErr == nil && results[2].Success {
		seen.verified = new(isTrue(results[2].ReturnData))
	}
	if k != poco.RequestOrder {
		seen.registered, seen.owner = isTrue(results[3].ReturnData), common.BytesToAddress(results[4].ReturnData)
	}
	return seen, nil
}

func isTrue(word []byte) bool { return new(big.Int).SetBytes(word).Sign() != 0 }

// check refuses an order whose signature the chain would refuse, and whoever isn't its signer.
func (seen sight) check(wallet common.Address) error {
	switch {
	case !seen.registered:
		return refused("Resource not deployed")
	case seen.owner != wallet:
		return refused("only order signer %s can publish an order", seen.owner)
	case seen.verified == nil:
		return errChain
	case !*seen.verified:
		return refused("invalid sign")
	}
	return nil
}

// remainingVolume is what is left of an order whose volume is at most 2^53-1.
func remainingVolume(order poco.Order, consumed *big.Int) uint64 {
	volume, _ := strconv.ParseUint(order["volume"], 10, 64)
	if !consumed.IsUint64() || consumed.Uint64() >= volume {
		return 0
	}
	return volume - consumed.Uint64()
}

// checkStake checks that a workerpool's owner can lock, or a requester can pay, for what remains of the order.
func checkStake(k *poco.Kind, order poco.Order, remaining uint64, stake *big.Int) error {
	times := new(big.Int).SetUint64(remaining)
	price := func(name string) *big.Int {
		n, _ := new(big.Int).SetString(order[name], 10)
		return n
	}
	switch k {
	case poco.WorkerpoolOrder:
		need := new(big.Int).Mul(price("workerpoolprice"), big.NewInt(30))
		need.Mul(need.Quo(need, big.NewInt(100)), times)
		if stake.Cmp(need) < 0 {
			return refused("workerpool owner's stake is too low to cover required workerpool lock")
		}
	case poco.RequestOrder:
		need := new(big.Int).Add(price("appmaxprice"), price("datasetmaxprice"))
		need.Mul(need.Add(need, price("workerpoolmaxprice")), times)
		if stake.Cmp(need) < 0 {
			return refused("requester stake is too low to cover requestorder payment, minimum stake required is %s nRLC", need)
		}
	}
	return nil
}

// unpublish removes open orders of the wallet.
func (s *Server) unpublish(_ context.Context, k *poco.Kind, body any, wallet common.Address) (answer, error) {
	root, err := validateRoot(body)
	if err != nil {
		return nil, err
	}
	target, ok := root["target"].(string)
	if !ok && root["target"] == nil {
		target, ok = "unpublish_orderHash", true
	}
	if !ok || !slices.Contains([]string{"unpublish_orderHash", "unpublish_last", "unpublish_all"}, target) {
		return nil, badRequest("target must be one of the following values: unpublish_orderHash, unpublish_last, unpublish_all")
	}
	var gone []common.Hash
	if target == "unpublish_orderHash" {
		gone, err = s.unpublishOne(k, root["orderHash"], wallet)
	} else {
		gone, err = s.unpublishResource(k, root[k.Resource], wallet, target == "unpublish_last")
	}
	if err != nil {
		return nil, err
	}
	return object("ok", true, "unpublished", gone), nil
}

func (s *Server) unpublishOne(k *poco.Kind, value any, wallet common.Address) ([]common.Hash, error) {
	if value == nil {
		return nil, badRequest("orderHash is a required field")
	}
	text, _ := value.(string)
	hash, ok := parseBytes32(text)
	if !ok {
		return nil, badRequest("orderHash must be a bytes32 hexstring")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.book.records[hash]
	switch {
	case r == nil || r.kind != k || r.status != statusOpen:
		return nil, refused("%s with orderHash %s is not published", k.Noun, hash)
	case r.signer != wallet:
		return nil, refused("only order signer %s can unpublish an order", r.signer)
	}
	return []common.Hash{hash}, s.drop(k, []*record{r})
}

func (s *Server) unpublishResource(k *poco.Kind, value any, wallet common.Address, last bool) ([]common.Hash, error) {
	if value == nil {
		return nil, badRequest("%s is a required field", k.Resource)
	}
	text, _ := value.(string)
	if !common.IsHexAddress(text) {
		return nil, badRequest("%s is not a valid ethereum address", k.Resource)
	}
	resource := common.HexToAddress(text).Hex()
	s.mu.Lock()
	defer s.mu.Unlock()
	found := selectRecords(s.book.open[key{k, k.Resource, resource}], []filter{func(r *record) bool { return r.signer == wallet }})
	if len(found) == 0 {
		return nil, refused("no open %s published by signer %s for %s %s", k.Noun, wallet, k.Resource, resource)
	}
	slices.SortStableFunc(found, func(a, b *record) int { return int(b.published - a.published) })
	if last {
		found = found[:1]
	}
	gone := make([]common.Hash, len(found))
	for i, r := range found {
		gone[i] = r.hash
	}
	return gone, s.drop(k, found)
}

// drop removes records, and marks dead the requests that match nothing any more. s.mu is held.
func (s *Server) drop(k *poco.Kind, records []*record) error {
	lines := make([]line, 0, len(records))
	for _, r := range records {
		s.book.remove(r.hash)
		lines = append(lines, line{Remove: &r.hash})
	}
	for _, r := range records {
		lines = append(lines, s.sweepRequests(k, r.order[k.Resource])...)
	}
	return s.journal.append(lines...)
}

// sweepRequests marks dead the open requests for an app or dataset that match no open order any more. s.mu is held.
func (s *Server) sweepRequests(k *poco.Kind, resource string) (lines []line) {
	if k != poco.AppOrder && k != poco.DatasetOrder {
		return nil
	}
	for _, r := range slices.Clone(s.book.open[key{poco.RequestOrder, k.Resource, resource}]) {
		if s.book.matchable(k, r.order) != "" {
			lines = append(lines, s.setStatus(r, statusDead, r.remaining))
		}
	}
	return lines
}

// setStatus replaces a record by one with another status. s.mu is held.
func (s *Server) setStatus(r *record, status string, remaining uint64) line {
	changed := *r
	changed.status, changed.remaining = status, remaining
	return line{Put: s.book.put(changed).stored()}
}

// consume sets what remains of an order by what the chain says is consumed. s.mu is held.
func (s *Server) consume(r *record, consumed *big.Int) line {
	status, remaining := r.status, remainingVolume(r.order, consumed)
	if status == statusOpen && remaining == 0 {
		status = statusFilled
	}
	return s.setStatus(r, status, remaining)
}
