package chain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/iexecform/iexecform/state"
)

// transaction is a journaled transaction.
type transaction struct {
	from    common.Address
	chainID *big.Int
	nonce   uint64
	req     TxRequest
	gas     uint64

	claimed bool        // an errand of this process is at it; guarded by the Sender's mu
	tried   bool        // one was; guarded by the Sender's mu
	block   common.Hash // of the receipt that watch told about last; guarded by the Sender's mu

	// Of the errand that has claimed it.
	told      bool     // tx_mined was reported
	stalls    int      // how often it was nudged
	stalledAt *big.Int // head of the last time

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
func (t *transaction) fees() Fees { return feesOf(t.last()) }

// previousCap is that of the attempt before, or of the only one.
func (t *transaction) previousCap() *big.Int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return feesOf(t.attempts[max(len(t.attempts)-2, 0)]).Cap
}

func feesOf(tx *types.Transaction) Fees {
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
