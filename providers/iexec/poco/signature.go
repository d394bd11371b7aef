package poco

import "github.com/ethereum/go-ethereum/accounts/abi"

// Signature is the signature of the contract method that call data is for, such as "withdraw(uint256)", or "" for one that
// isn't used. External signers show it, and the arguments, to people.
func Signature(callData []byte) string {
	if len(callData) < 4 {
		return ""
	}
	for _, a := range []*abi.ABI{HubABI(), RegistryABI(), TokenABI(), MulticallABI()} {
		if method, err := a.MethodById(callData); err == nil {
			return method.Sig
		}
	}
	return ""
}
