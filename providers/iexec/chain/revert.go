package chain

import (
	"encoding/hex"
	"errors"
	"strings"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/rpc"
)

// RevertError means that a contract refused a call.
type RevertError struct {
	Reason string // as the contract gave it, decoded; "" if it gave none
	Data   []byte // what it returned, or nil when the node doesn't tell
}

func (e *RevertError) Error() string {
	reason := e.Reason
	if reason == "" && len(e.Data) >= 4 {
		reason = "custom error 0x" + hex.EncodeToString(e.Data[:4])
	}
	if reason == "" {
		return "the contract reverted without a reason"
	}
	if words := explain(reason); words != "" {
		reason += " (" + words + ")"
	}
	return "the contract reverted: " + reason
}

// newRevertError decodes Error(string) and Panic(uint256); message is what the node said, used when there is no data.
func newRevertError(data []byte, message string) *RevertError {
	e := &RevertError{Data: data}
	if reason, err := abi.UnpackRevert(data); err == nil {
		e.Reason = reason
	} else if len(data) == 0 {
		_, reason, _ := strings.Cut(message, "reverted: ")
		e.Reason = strings.TrimPrefix(reason, "revert: ")
	}
	return e
}

// revertOf returns the revert that a node's error stands for, or nil. Some nodes say it in words only.
func revertOf(err error) *RevertError {
	var answer rpc.Error
	if !errors.As(err, &answer) {
		return nil
	}
	text := strings.ToLower(answer.Error())
	if answer.ErrorCode() != codeRevert && !strings.Contains(text, "revert") {
		return nil
	}
	var data []byte
	var with rpc.DataError
	if errors.As(err, &with) {
		if s, ok := with.ErrorData().(string); ok {
			if i := strings.Index(s, "0x"); i >= 0 {
				data, _ = hex.DecodeString(s[i+2:])
			}
		}
	}
	return newRevertError(data, answer.Error())
}

// explain puts the reasons of the PoCo contracts and the registries into words. Source: IexecPoco1Facet.sol, Registry.sol.
func explain(reason string) string {
	if code, ok := strings.CutPrefix(reason, "iExecV5-matchOrders-"); ok {
		return matchOrdersCodes[code]
	}
	return reasons[reason]
}

var reasons = map[string]string{
	"Create2: Failed on deploy":                         "the registry already has an entry with these very fields and first owner",
	"invalid-signature-format":                          "a signature must be 65 bytes r, s, v with v 27 or 28",
	"ERC721: transfer caller is not owner nor approved": "only the owner of the entry can transfer it",
	"ERC721: transfer of token that is not own":         "the entry has another owner",
	"ERC721: invalid token ID":                          "the registry has no such entry",
}

var matchOrdersCodes = map[string]string{
	"0x00": "the category of the workerpool order and of the request differ",
	"0x01": "the category does not exist",
	"0x02": "the workerpool's trust is below what the request wants",
	"0x03": "appprice is above the request's appmaxprice",
	"0x04": "datasetprice is above the request's datasetmaxprice",
	"0x05": "workerpoolprice is above the request's workerpoolmaxprice",
	"0x06": "the workerpool order lacks bits of the tag",
	"0x07": "the app order lacks the tee bit of the tag",
	"0x10": "the request is for another app",
	"0x11": "the request is for another dataset",
	"0x12": "the request is restricted to another workerpool",
	"0x13": "datasetrestrict of the app order does not allow the dataset",
	"0x14": "workerpoolrestrict of the app order does not allow the workerpool",
	"0x15": "requesterrestrict of the app order does not allow the requester",
	"0x16": "apprestrict of the dataset order does not allow the app",
	"0x17": "workerpoolrestrict of the dataset order does not allow the workerpool",
	"0x18": "requesterrestrict of the dataset order does not allow the requester",
	"0x19": "apprestrict of the workerpool order does not allow the app",
	"0x1a": "datasetrestrict of the workerpool order does not allow the dataset",
	"0x1b": "requesterrestrict of the workerpool order does not allow the requester",
	"0x20": "the app is not registered",
	"0x21": "the app order is not signed by the app's owner",
	"0x30": "the dataset is not registered",
	"0x31": "the dataset order is not signed by the dataset's owner",
	"0x40": "the workerpool is not registered",
	"0x41": "the workerpool order is not signed by the workerpool's owner",
	"0x50": "the request order is not signed by the requester",
	"0x60": "nothing remains of one of the orders",
}
