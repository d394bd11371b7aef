package chain

// Policy of clef, go-ethereum's external signer (and of whatever speaks its API: account_list, account_signTransaction,
// account_signTypedData, account_signData). It shows people what it signs, so it gets whole documents, one at a time. What
// comes back is not trusted: it must be of the account and of the very thing that was asked for. Who refuses holds the
// action: nothing is lost, and the next apply asks again.

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/iexecform/iexecform/providers"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/providers/retry"
)

// Answers of clef.
const (
	clefDenied     = "request denied" // its user, or a rule, refused
	clefNotInTime  = -32002           // its HTTP server gave up waiting for its user
	noMethod       = -32601           // JSON-RPC
	textPlain      = "text/plain"     // content type of a personal message
	signTimeLimits = "clef's HTTP server waits for half a minute only: its IPC socket has no such limit"
)

// clefSigner is a Signer that asks clef.
type clefSigner struct {
	endpoint string // as it is shown: a URL without user and path, or the path of a socket
	address  common.Address
	rpc      *rpc.Client
	turn     chan struct{} // holds one token while nobody is asked
}

// dialClef connects, and looks whether clef has the account unless clef won't say. SIDE EFFECTS: clef may ask its user whether
// the accounts may be listed.
func dialClef(ctx context.Context, endpoint string, address common.Address) (*clefSigner, error) {
	shown := endpoint
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		shown = redactURL(u)
	}
	client, err := rpc.DialContext(ctx, endpoint)
	if err != nil {
		return nil, unreachable(shown, err)
	}
	s := &clefSigner{endpoint: shown, address: address, rpc: client, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	var held *providers.HeldError
	var list []common.Address
	switch err := s.call(ctx, "the list of accounts", &list, "account_list"); {
	case errors.As(err, &held):
		return s, nil // its signatures will tell
	case err != nil:
		client.Close()
		return nil, err
	case !slices.Contains(list, address):
		client.Close()
		return nil, fmt.Errorf("clef at %s doesn't have account %s, but %s; correct address, or add its key to clef's keystore", shown, address, listOf(list))
	}
	return s, nil
}

func unreachable(endpoint string, err error) error {
	return fmt.Errorf("clef at %s can't be reached: %w; start it, or correct clef in the wallet block", endpoint, retry.Cause(err))
}

func listOf(list []common.Address) string {
	if len(list) == 0 {
		return "none at all"
	}
	var all []string
	for _, a := range list {
		all = append(all, a.Hex())
	}
	return strings.Join(all, ", ")
}

// call asks clef, after whoever is being asked now.
func (s *clefSigner) call(ctx context.Context, what string, result any, method string, args ...any) error {
	select {
	case <-s.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { s.turn <- struct{}{} }()
	err := s.rpc.CallContext(ctx, result, method, args...)
	var answer rpc.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.As(err, &answer):
		return unreachable(s.endpoint, err)
	case containsAny(answer.Error(), clefDenied):
		return &providers.HeldError{Reason: "clef at " + s.endpoint + " was asked for " + what + " and refused", Unblock: "approve it in clef, and run again"}
	case answer.ErrorCode() == clefNotInTime:
		return &providers.HeldError{Reason: "clef at " + s.endpoint + " was asked for " + what + " and nobody approved it in time",
			Unblock: "approve it in clef, and run again (" + signTimeLimits + ")"}
	}
	if answer.ErrorCode() == noMethod {
		return fmt.Errorf("%s is not clef, as it doesn't know %s: correct clef in the wallet block", s.endpoint, method)
	}
	return fmt.Errorf("clef at %s, asked for %s: %w", s.endpoint, what, err)
}

// Address is the account.
func (s *clefSigner) Address() common.Address { return s.address }

// SignTypedData implements Signer.
func (s *clefSigner) SignTypedData(ctx context.Context, doc poco.TypedData) ([]byte, error) {
	return s.sign(ctx, "the signature of a "+doc.PrimaryType, doc.Digest(), "account_signTypedData", s.address.Hex(), doc)
}

// SignText implements Signer.
func (s *clefSigner) SignText(ctx context.Context, message []byte) ([]byte, error) {
	return s.sign(ctx, "the signature of a message", poco.PersonalDigest(message), "account_signData", textPlain, s.address.Hex(), hexutil.Bytes(message))
}

func (s *clefSigner) sign(ctx context.Context, what string, digest common.Hash, method string, args ...any) ([]byte, error) {
	var sig hexutil.Bytes
	if err := s.call(ctx, what, &sig, method, args...); err != nil {
		return nil, err
	}
	by, err := poco.Recover(digest, sig)
	if err != nil || len(sig) != 65 {
		return nil, fmt.Errorf("clef at %s, asked for %s, returned no signature but %s", s.endpoint, what, sig)
	}
	if by != s.address {
		return nil, fmt.Errorf("clef at %s, asked for %s as %s, signed something else, or with the key of another account", s.endpoint, what, s.address)
	}
	if sig[64] < 27 {
		sig[64] += 27
	}
	return sig, nil
}

// SignTx implements Signer.
func (s *clefSigner) SignTx(ctx context.Context, tx *types.Transaction, chainID *big.Int) (*types.Transaction, error) {
	data := hexutil.Bytes(tx.Data())
	to := common.NewMixedcaseAddress(*tx.To())
	args := &apitypes.SendTxArgs{
		From: common.NewMixedcaseAddress(s.address), To: &to, Input: &data, Value: hexutil.Big(*tx.Value()),
		Nonce: hexutil.Uint64(tx.Nonce()), Gas: hexutil.Uint64(tx.Gas()), ChainID: (*hexutil.Big)(chainID),
	}
	if tx.Type() == types.LegacyTxType {
		args.GasPrice = (*hexutil.Big)(tx.GasPrice())
	} else {
		args.MaxFeePerGas, args.MaxPriorityFeePerGas = (*hexutil.Big)(tx.GasFeeCap()), (*hexutil.Big)(tx.GasTipCap())
	}
	var signature *string // clef refuses call data that it can't explain
	if text := poco.Signature(tx.Data()); text != "" {
		signature = &text
	}
	what := fmt.Sprintf("the signature of a transaction to %s with nonce %d", tx.To(), tx.Nonce())
	var answer struct {
		Raw hexutil.Bytes `json:"raw"`
	}
	if err := s.call(ctx, what, &answer, "account_signTransaction", args, signature); err != nil {
		return nil, err
	}
	signed := new(types.Transaction)
	if err := signed.UnmarshalBinary(answer.Raw); err != nil {
		return nil, fmt.Errorf("clef at %s, asked for %s, returned no transaction: %w", s.endpoint, what, err)
	}
	rules := types.LatestSignerForChainID(chainID)
	if rules.Hash(signed) != rules.Hash(tx) {
		return nil, fmt.Errorf("clef at %s, asked for %s, signed another one: were its fields edited? It is signed as it is, or not at all", s.endpoint, what)
	}
	if by, err := types.Sender(rules, signed); err != nil || by != s.address {
		return nil, fmt.Errorf("clef at %s, asked for %s as %s, signed with the key of another account", s.endpoint, what, s.address)
	}
	return signed, nil
}

// Close ends the connection.
func (s *clefSigner) Close() error {
	s.rpc.Close()
	return nil
}
