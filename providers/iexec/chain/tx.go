package chain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/state"
)

// transaction is a journaled transaction.
type transaction struct {
	from    common.Address
	chainID *big.Int
	nonce   uint64
	req     TxRequest
	gas     uint64

	claimed bool        // a Send of this process is at it; guarded by the Sender's mu
	block   common.Hash // of the receipt that watch told about last; guarded by the Sender's mu
	told    bool        // tx_mined was reported; of the Send that has claimed it

	mu       sync.Mutex
	attempts []*types.Transaction // same nonce and payload; the newest last; never empty once journaled
	sent     bool                 // this process has given the newest attempt to the node
	sentAt   time.Time
}

// note is the JSON of a journaled transaction. The raw bytes can be sent by whoever has them; they are no secret otherwise.
type note struct {
	Purpose  string        `json:"purpose"`
	To       string        `json:"to"`
	Nonce    uint64        `json:"nonce"`
	Attempts []noteAttempt `json:"attempts"` // any of them may be mined
}

type noteAttempt struct {
	Hash   common.Hash   `json:"hash"`
	Raw    hexutil.Bytes `json:"raw"`
	MaxFee string        `json:"max_fee"` // wei per gas
	Tip    string        `json:"tip"`
}

func (t *transaction) key() string {
	return "tx/" + t.chainID.String() + "/" + t.from.Hex() + "/" + strconv.FormatUint(t.nonce, 10)
}

func (t *transaction) last() *types.Transaction {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.attempts[len(t.attempts)-1]
}

func (t *transaction) hash() common.Hash { return t.last().Hash() }

func (t *transaction) hashes() []common.Hash {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]common.Hash, len(t.attempts))
	for i, tx := range t.attempts {
		list[i] = tx.Hash()
	}
	return list
}

func (t *transaction) setAttempts(attempts []*types.Transaction) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attempts, t.sent = attempts, false
}

func (t *transaction) setSent(sent bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent, t.sentAt = sent, time.Now()
}

// sentFor tells whether the newest attempt was given to the node, and how long ago.
func (t *transaction) sentFor() (bool, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent, time.Since(t.sentAt)
}

// fees are those of the newest attempt.
func (t *transaction) fees() Fees {
	tx := t.last()
	if tx.Type() == types.LegacyTxType {
		return Fees{Cap: tx.GasPrice()}
	}
	return Fees{Cap: tx.GasFeeCap(), Tip: tx.GasTipCap()}
}

func (t *transaction) same(req TxRequest) bool {
	return t.req.To == req.To && bytes.Equal(t.req.Data, req.Data) && t.req.Value.Cmp(req.Value) == 0
}

func (t *transaction) unsigned(fees Fees) *types.Transaction {
	to := t.req.To
	if fees.Tip == nil {
		return types.NewTx(&types.LegacyTx{Nonce: t.nonce, To: &to, Value: t.req.Value, Gas: t.gas, GasPrice: fees.Cap, Data: t.req.Data})
	}
	return types.NewTx(&types.DynamicFeeTx{ChainID: t.chainID, Nonce: t.nonce, To: &to, Value: t.req.Value, Gas: t.gas,
		GasFeeCap: fees.Cap, GasTipCap: fees.Tip, Data: t.req.Data})
}

func (t *transaction) note(attempts []*types.Transaction) (json.RawMessage, error) {
	n := note{Purpose: t.req.Purpose, To: t.req.To.Hex(), Nonce: t.nonce}
	for _, tx := range attempts {
		raw, err := tx.MarshalBinary()
		if err != nil {
			return nil, fmt.Errorf("encode transaction: %w", err)
		}
		n.Attempts = append(n.Attempts, noteAttempt{Hash: tx.Hash(), Raw: raw, MaxFee: tx.GasFeeCap().String(), Tip: tx.GasTipCap().String()})
	}
	return json.Marshal(n)
}

// readNote returns the transaction of a note, or nil if it is none of this account's.
func readNote(n state.Note, from common.Address) (*transaction, error) {
	parts := strings.Split(n.Key, "/")
	if len(parts) != 4 || parts[0] != "tx" || common.HexToAddress(parts[2]) != from || n.Data == nil {
		return nil, nil
	}
	fail := func(why string) (*transaction, error) {
		return nil, fmt.Errorf("journal note %q cannot be read: %s; it stands for a transaction that may be under way, so nothing is sent: restore the journal", n.Key, why)
	}
	chainID, ok := new(big.Int).SetString(parts[1], 10)
	nonce, err := strconv.ParseUint(parts[3], 10, 64)
	if !ok || err != nil {
		return fail("the key is malformed")
	}
	var data note
	if err := json.Unmarshal(n.Data, &data); err != nil {
		return fail(err.Error())
	}
	t := &transaction{from: from, chainID: chainID, nonce: nonce}
	for _, a := range data.Attempts {
		tx := new(types.Transaction)
		if err := tx.UnmarshalBinary(a.Raw); err != nil {
			return fail(err.Error())
		}
		if tx.Nonce() != nonce || tx.To() == nil || tx.Hash() != a.Hash {
			return fail("its transaction is another one")
		}
		t.attempts = append(t.attempts, tx)
	}
	if len(t.attempts) == 0 {
		return fail("it has no transaction")
	}
	tx := t.last()
	t.gas = tx.Gas()
	t.req = TxRequest{To: *tx.To(), Data: tx.Data(), Value: tx.Value(), Purpose: data.Purpose}
	return t, nil
}

// quote is what a transaction takes now.
type quote struct {
	gas     uint64 // with margin
	count   uint64 // the account's transactions in the newest block
	fees    Fees
	balance *big.Int
}

// quote simulates the request and reads what sending it takes. A *providers.HeldError if fees or funds don't allow it.
func (s *Sender) quote(ctx context.Context, req TxRequest) (quote, error) {
	var gas, count hexutil.Uint64
	var balance hexutil.Big
	msg := Msg{From: s.from, To: req.To, Data: req.Data, Value: req.Value}
	var price feeRead
	elems := append([]rpc.BatchElem{
		{Method: "eth_estimateGas", Args: []any{msg.args()}, Result: &gas},
		{Method: "eth_getTransactionCount", Args: []any{s.from, "latest"}, Result: &count},
		{Method: "eth_getBalance", Args: []any{s.from, "latest"}, Result: &balance},
	}, price.elems()...)
	if err := s.c.batch(ctx, elems); err != nil {
		return quote{}, err
	}
	q := quote{gas: uint64(gas) * (100 + s.opts.GasMargin) / 100, count: uint64(count), balance: balance.ToInt()}
	for _, e := range elems[:3] {
		if e.Error != nil {
			return quote{}, s.held(s.c.itemError(e.Error), q, req)
		}
	}
	fees, err := price.fees(s.c, elems[3:])
	if err != nil {
		return quote{}, err
	}
	if q.fees, err = s.limit(fees, fees.Base); err != nil {
		return quote{}, err
	}
	if q.balance.Cmp(q.cost(req)) < 0 {
		return quote{}, s.held(errFunds, q, req)
	}
	return q, nil
}

// cost is the most that the transaction can take, in wei.
func (q quote) cost(req TxRequest) *big.Int {
	need := new(big.Int)
	if q.fees.Cap != nil {
		need.Mul(new(big.Int).SetUint64(q.gas), q.fees.Cap)
	}
	return need.Add(need, req.Value)
}

// MostFee is the most, in wei, that a transaction of estimated gas can take as it is first sent, at fees as they are now.
func (s *Sender) MostFee(gas uint64, fees Fees) *big.Int {
	limit := fees.Cap
	if s.opts.MaxFee != nil && limit.Cmp(s.opts.MaxFee) > 0 {
		limit = s.opts.MaxFee
	}
	return new(big.Int).Mul(new(big.Int).SetUint64(gas*(100+s.opts.GasMargin)/100), limit)
}

// limit keeps fees within MaxFee, as long as that leaves least for the cap (nil: the cap itself).
func (s *Sender) limit(fees Fees, least *big.Int) (Fees, error) {
	if s.opts.MaxFee == nil || fees.Cap.Cmp(s.opts.MaxFee) <= 0 {
		return fees, nil
	}
	if least == nil || least.Cmp(s.opts.MaxFee) > 0 {
		return Fees{}, &providers.HeldError{
			Reason:  fmt.Sprintf("gas needs a fee of %s wei, above the maximum of %s wei", fees.Cap, s.opts.MaxFee),
			Unblock: "wait until gas is cheaper, or raise the maximum fee, and run again",
		}
	}
	fees.Cap = s.opts.MaxFee
	if fees.Tip != nil && fees.Tip.Cmp(fees.Cap) > 0 {
		fees.Tip = fees.Cap
	}
	return fees, nil
}

// raised is the least that a node accepts instead of an old fee: an eighth more.
func raised(fee *big.Int) *big.Int {
	more := new(big.Int).Rsh(fee, 3)
	return more.Add(more.Add(more, fee), big.NewInt(1))
}

func higher(a, b *big.Int) *big.Int {
	if b != nil && b.Cmp(a) > 0 {
		return b
	}
	return a
}

// The answers of a node to a raw transaction that matter. errLost is the poller's judgement.
var (
	errUnderpriced = errors.New("the node finds the fee too low")
	errNonceHeld   = errors.New("the node holds another transaction with this nonce")
	errFunds       = errors.New("insufficient funds")
	errLost        = errors.New("the nonce went to another transaction")
)

// refusals are answers after which the transaction is certainly not in the node's pool. Words of geth, Nitro, Nethermind, Besu,
// Erigon and anvil.
var refusals = []string{
	"insufficient funds", "insufficient balance", "intrinsic gas", "exceeds block gas limit", "block gas limit exceeded", "gas limit too high",
	"exceeds the configured cap", "invalid sender", "invalid chain id", "invalid signature", "not supported", "oversized data", "nonce too high",
}

func isRefusal(err error) bool {
	var answer rpc.Error
	return errors.As(err, &answer) && containsAny(answer.Error(), refusals...)
}

func isFunds(err error) bool {
	return errors.Is(err, errFunds) || containsAny(err.Error(), "insufficient funds", "insufficient balance")
}

// classify reduces the answers that are fine to nil: the node has the transaction, or had it.
func classify(err error) error {
	var answer rpc.Error
	if err == nil || !errors.As(err, &answer) {
		return err
	}
	text := answer.Error()
	switch {
	case containsAny(text, "already known", "alreadyknown", "known transaction", "already imported", "already exists"):
		return nil
	case containsAny(text, "nonce too low", "nonce is too low", "old nonce", "oldnonce", "nonce has already been used"):
		return nil
	case containsAny(text, "replacement"):
		return errNonceHeld
	case containsAny(text, "underpriced", "less than block base fee", "fee too low", "feetoolow", "gas price too low", "below current base fee"):
		return errUnderpriced
	}
	return err
}

func containsAny(text string, words ...string) bool {
	text = strings.ToLower(text)
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// held turns a lack of funds into a *providers.HeldError and leaves other errors as they are.
func (s *Sender) held(err error, q quote, req TxRequest) error {
	if !isFunds(err) {
		return err
	}
	reason := fmt.Sprintf("%s has not enough for gas", s.from)
	if q.balance != nil {
		reason = fmt.Sprintf("%s needs %s wei (transactions under way come on top) and has %s wei", s.from, q.cost(req), q.balance)
	}
	return &providers.HeldError{Reason: reason, Unblock: fmt.Sprintf("send it to %s and run again", s.from)}
}

func (c *Client) sendRaw(ctx context.Context, raw []byte) error {
	var hash common.Hash
	return c.call(ctx, "broadcast", &hash, "eth_sendRawTransaction", hexutil.Bytes(raw))
}

// replay performs a message as a call at a block, to learn why it failed there.
func (c *Client) replay(ctx context.Context, m Msg, block *big.Int) error {
	var out hexutil.Bytes
	return c.call(ctx, "replay", &out, "eth_call", m.args(), hexutil.EncodeBig(block))
}
